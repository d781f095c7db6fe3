//! Where rows begin: at event keys whose keyed hash ends in zero bits, so that borders depend on the events alone.
//!
//! The key of the hash is BLAKE3 of the Root's name. It is no secret: whoever writes to the Root can mint keys that
//! make a fat leaf, in the aggregates that he writes to, and pays for it in linear time there; such leaves are counted.

use crate::core::event::EventKey;

/// A leaf holds 2 to the power of this many entries on average.
const LEAF_BITS: u32 = 6;
/// An inner row holds 2 to the power of this many children on average.
const INNER_BITS: u32 = 5;
/// A checkpoint of an Ordered View stands before every event key with so many zero bits; each begins a leaf.
const CHECKPOINT_BITS: u32 = 8;
/// A leaf with so many entries, 32 times the mean, is no chance: it is reported.
pub(in crate::views) const FAT_LEAF_ENTRIES: usize = 32 << LEAF_BITS;

const _: () = assert!(CHECKPOINT_BITS >= LEAF_BITS, "a checkpoint begins a leaf");

/// Decides where the rows of one Root's indexes begin.
#[derive(Clone, Debug)]
pub(in crate::views) struct Borders {
    key: [u8; 32],
}

impl Borders {
    /// The borders of the Root called `root`.
    pub(in crate::views) fn new(root: &str) -> Self {
        Self { key: blake3::derive_key("laterbase index borders 1", root.as_bytes()) }
    }

    /// Rows of all levels below this begin at `event`: 0 for most events, 1 where a leaf begins, 2 where an inner row
    /// of level 1 begins too, and so on.
    pub(in crate::views) fn height(&self, event: EventKey) -> u8 {
        let zeros = self.zeros(event);
        let above = zeros.checked_sub(LEAF_BITS).map_or(0, |more| 1 + more / INNER_BITS);
        u8::try_from(above).expect("64 bits give less than 13 levels")
    }

    /// Whether an Ordered View keeps the state before `event`.
    pub(in crate::views) fn is_checkpoint(&self, event: EventKey) -> bool {
        self.zeros(event) >= CHECKPOINT_BITS
    }

    fn zeros(&self, event: EventKey) -> u32 {
        let hash = blake3::keyed_hash(&self.key, &event.0);
        let (last, _) = hash.as_bytes().split_first_chunk().expect("32 bytes hold 8");
        u64::from_be_bytes(*last).trailing_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: rows have the promised mean sizes, and Roots differ. Method: count borders among many keys.
    #[test]
    fn borders_are_as_frequent_as_promised() {
        let borders = Borders::new("epcis");
        let key = |n: u32| EventKey((u128::from(n) << 64).to_be_bytes());
        let heights: Vec<u8> = (0..200_000).map(|n| borders.height(key(n))).collect();
        let count = |least| heights.iter().filter(|height| **height >= least).count();
        assert!((2_900..3_400).contains(&count(1)), "{}", count(1));
        assert!((60..140).contains(&count(2)), "{}", count(2));
        let other = Borders::new("tally");
        assert!((0..200_000).any(|n| borders.height(key(n)) != other.height(key(n))));
        assert!((0..200_000).all(|n| !borders.is_checkpoint(key(n)) || borders.height(key(n)) > 0));
    }
}
