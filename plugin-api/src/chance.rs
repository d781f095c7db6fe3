//! Made-up values: whatever a type asks `serde` for, it gets, and the JSON that would have said so is written down.
//!
//! The host checks laws when a plugin loads, also where no event is stored yet. It asks the plugin for examples of its
//! own event types; an author writes nothing for that, because a type that is `Deserialize` says what it wants: fields
//! by name, numbers of a width, variants out of a list. What a type does not say in advance (the text form of a key or
//! a time, a field behind `flatten`, the variants of a tagged enum) it says by refusing, and [`Chance::json`] learns
//! from each refusal and begins again. A type that stays unsatisfied has no examples.

mod learned;
mod maker;

use crate::refusal::from_json;
use learned::Learned;
use maker::Maker;
use serde::de::DeserializeOwned;

/// How often a type may refuse before it has no example.
const ATTEMPTS: u32 = 128;

/// A source of made-up values: the same seed gives the same values.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
    extreme: bool,
}

impl Chance {
    /// A source of ordinary values: small numbers and few words, so that events meet in their aggregates. With
    /// `extreme` numbers from the ends of their ranges and odd texts.
    pub fn new(seed: u64, extreme: bool) -> Self {
        Self { state: seed, extreme }
    }

    /// Whether extreme values are wanted.
    pub fn is_extreme(&self) -> bool {
        self.extreme
    }

    /// The next number (`SplitMix64`).
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }

    /// One of `choices`, if there are any.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(choices.len()).ok()?;
        choices.get(usize::try_from(self.below(count)).ok()?)
    }

    /// JSON that reads as `T`; none if no try of many does.
    pub fn json<T: DeserializeOwned>(&mut self) -> Option<Vec<u8>> {
        let mut learned = Learned::default();
        (0..ATTEMPTS).find_map(|_| {
            let mut maker = Maker::new(self, &mut learned);
            let outcome = T::deserialize(&mut maker);
            let json = maker.into_json();
            if let Err(mut fault) = outcome.map(drop) {
                learned.of_object("", Some(&[]), None, &mut fault);
                return None;
            }
            from_json::<T>(&json).is_ok().then_some(json)
        })
    }
}

#[cfg(test)]
mod tests;
