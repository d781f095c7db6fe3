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
        let mut hasher = blake3::Hasher::new();
        hasher.update(&key.0);
        hasher.update(&self.type_number.to_be_bytes());
        hasher.update(&self.version.to_be_bytes());
        hasher.update(self.data);
        let mut hash = [0; 16];
        hasher.finalize_xof().fill(&mut hash);
        ValueHash(hash)
    }
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
