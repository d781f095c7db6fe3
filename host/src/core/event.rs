//! What an event is to the host: its key, its value, the dots under which it was admitted.

pub use laterbase_plugin::{EventKey, ValidTime};
use std::fmt;
use std::str::FromStr;

/// A random id of one incarnation of one replica's Root; never configured, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub [u8; 8]);

/// The number of an admission at its Origin: 1, 2, 3… in commit order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// One admission of one (key, value).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Where it was admitted.
    pub origin: Origin,
    /// As the how-manieth.
    pub seq: Seq,
}

/// The local number of a stored event, admitted or merged, in commit order from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arrival(pub u64);

/// An event's value: a type, a version, and bytes that belong to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value<'a> {
    /// The number of the type.
    pub type_number: u32,
    /// The version of the type that `data` is written in.
    pub version: u32,
    /// The user's bytes.
    pub data: &'a [u8],
}

/// The first 16 bytes of BLAKE3 over key and value: names one of the values that a key may have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueHash(pub [u8; 16]);

impl Value<'_> {
    /// The hash that names this value under `key`.
    pub fn hash(&self, key: EventKey) -> ValueHash {
        let (type_number, version) = (self.type_number.to_be_bytes(), self.version.to_be_bytes());
        ValueHash(hash_of::<HASHED_BYTES, 16>(&[&key.0, &type_number, &version, self.data]))
    }
}

/// Values up to this length, with their keys, are hashed in one piece.
const HASHED_BYTES: usize = 512;

/// The first bytes of BLAKE3 over the parts, one behind the other, which are mostly no more than `ROOM` bytes. A short
/// text in one piece costs little more than its one block or two; in parts it costs half as much again.
pub(super) fn hash_of<const ROOM: usize, const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let (mut room, mut length) = ([0; ROOM], 0);
    let mut is_whole = true;
    for part in parts {
        match room.get_mut(length..length + part.len()) {
            Some(place) => place.copy_from_slice(part),
            None => is_whole = false,
        }
        length += part.len();
    }
    let hash = match room.get(..length).filter(|_| is_whole) {
        Some(whole) => blake3::hash(whole),
        None => parts.iter().fold(&mut blake3::Hasher::new(), |hasher, part| hasher.update(part)).finalize(),
    };
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// The text is not what it should be: 16 hex digits, or `origin:seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an origin is 16 lower-case hex digits, a dot is origin:seq")]
pub struct DotError;

impl FromStr for Origin {
    type Err = DotError;

    fn from_str(text: &str) -> Result<Self, DotError> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| DotError)?;
        bytes.try_into().map(Self).map_err(|_| DotError)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.seq.0)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dot({self})")
    }
}

impl fmt::Display for ValueHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ValueHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Goal: a hash does not depend on whether its parts fit into one piece: it is in every row on disk.
        #[test]
        fn hashes_are_over_the_parts(data in proptest::collection::vec(any::<u8>(), 0..1100), key: [u8; 16]) {
            let key = EventKey(key);
            let value = Value { type_number: 7, version: 9, data: &data };
            let bytes = [key.0.as_slice(), &[0, 0, 0, 7, 0, 0, 0, 9], data.as_slice()].concat();
            let mut expected = [0; 16];
            blake3::Hasher::new().update(&bytes).finalize_xof().fill(&mut expected);
            prop_assert_eq!(value.hash(key), ValueHash(expected));
        }
    }
}
