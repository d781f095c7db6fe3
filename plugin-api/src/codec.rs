//! The canonical codec of deltas and states: equal values are equal bytes, and nothing else decodes.
//!
//! The host compares states as bytes (a repair stops as soon as a recomputed state equals the stored one), so one
//! value must never have two encodings. Hence no floats (two zeros, many NaNs), no hash maps (no order) and no
//! `usize` (no fixed width). Integers are big-endian at their own width, lengths are four bytes, maps and sets are
//! written in ascending order, and decoding refuses everything that encoding would not have written.
//!
//! `#[derive(Canonical)]` writes a struct's fields in order, and before an enum's fields the variant's position as
//! one byte. The layout is therefore the type: to reorder fields, raise the View's or Keyspace's revision.

use crate::event::{EventKey, ValidTime};
use std::collections::{BTreeMap, BTreeSet};

/// Why bytes do not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// Bytes are left behind the value.
    #[error("{bytes} bytes are left behind the value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A bool, an Option or an enum begins with a byte that names none of its variants.
    #[error("{tag} names no variant")]
    Tag {
        /// The byte.
        tag: u8,
    },
    /// A text is not UTF-8, or a number is no character.
    #[error("a text is not UTF-8")]
    Text,
    /// The elements of a map or set do not strictly ascend.
    #[error("the elements of a map or set do not ascend")]
    Order,
}

/// A value with exactly one encoding. Derive it for structs and enums.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no canonical encoding",
    label = "not Canonical",
    note = "add `#[derive(Canonical)]` to your own structs and enums",
    note = "equal values must be equal bytes: use integers instead of floats and usize (cents, not 0.01), \
            and BTreeMap or BTreeSet instead of HashMap or HashSet"
)]
pub trait Canonical: Sized {
    /// Appends the value's only encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one value off the front of `input`.
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError>;

    /// The value's only encoding.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// The value that `bytes` encode, all of them.
    fn from_bytes(mut bytes: &[u8]) -> Result<Self, CodecError> {
        let value = Self::decode(&mut bytes)?;
        if bytes.is_empty() { Ok(value) } else { Err(CodecError::Trailing { bytes: bytes.len() }) }
    }
}

/// Takes `length` bytes off the front.
#[inline]
fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], CodecError> {
    let (taken, rest) = input.split_at_checked(length).ok_or(CodecError::Truncated)?;
    *input = rest;
    Ok(taken)
}

/// Takes `N` bytes off the front. Borrowed: an array inside the `Result` would be copied piece by piece and read
/// back at once, which stalls the processor (measured: 3 times slower for a fold of integers).
#[inline]
fn take_array<'a, const N: usize>(input: &mut &'a [u8]) -> Result<&'a [u8; N], CodecError> {
    let (taken, rest) = input.split_first_chunk().ok_or(CodecError::Truncated)?;
    *input = rest;
    Ok(taken)
}

fn encode_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).expect("a state has fewer than 2^32 elements").encode(out);
}

fn decode_length(input: &mut &[u8]) -> Result<usize, CodecError> {
    usize::try_from(u32::decode(input)?).map_err(|_| CodecError::Truncated)
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Canonical for $integer {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
                take_array(input).map(|bytes| Self::from_be_bytes(*bytes))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

impl Canonical for bool {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(CodecError::Tag { tag }),
        }
    }
}

impl Canonical for char {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode(out);
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Self::from_u32(u32::decode(input)?).ok_or(CodecError::Text)
    }
}

impl Canonical for String {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let length = decode_length(input)?;
        let text = std::str::from_utf8(take(input, length)?).map_err(|_| CodecError::Text)?;
        Ok(text.to_owned())
    }
}

impl<const N: usize> Canonical for [u8; N] {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        take_array(input).copied()
    }
}

impl Canonical for EventKey {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Canonical::decode(input).map(Self)
    }
}

impl Canonical for ValidTime {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        u64::decode(input).map(Self)
    }
}

impl<T: Canonical> Canonical for Box<T> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode(self, out);
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        T::decode(input).map(Self::new)
    }
}

impl<T: Canonical> Canonical for Option<T> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        bool::decode(input)?.then(|| T::decode(input)).transpose()
    }
}

impl<T: Canonical> Canonical for Vec<T> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        for element in self {
            element.encode(out);
        }
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        // Nothing is reserved for the announced length: bytes that lie about it end before memory does.
        let length = decode_length(input)?;
        (0..length).map(|_| T::decode(input)).collect()
    }
}

impl<K: Canonical + Ord, V: Canonical> Canonical for BTreeMap<K, V> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let mut map = Self::new();
        for _ in 0..decode_length(input)? {
            let key = K::decode(input)?;
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(CodecError::Order);
            }
            map.insert(key, V::decode(input)?);
        }
        Ok(map)
    }
}

impl<T: Canonical + Ord> Canonical for BTreeSet<T> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        for element in self {
            element.encode(out);
        }
    }
    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let mut set = Self::new();
        for _ in 0..decode_length(input)? {
            let element = T::decode(input)?;
            if set.last().is_some_and(|last| *last >= element) {
                return Err(CodecError::Order);
            }
            set.insert(element);
        }
        Ok(set)
    }
}

impl Canonical for () {
    fn encode(&self, _: &mut Vec<u8>) {}
    #[inline]
    fn decode(_: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(())
    }
}

macro_rules! tuples {
    ($(($($name:ident . $index:tt),+))*) => {$(
        impl<$($name: Canonical),+> Canonical for ($($name,)+) {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)+
            }
            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
                Ok(($($name::decode(input)?,)+))
            }
        }
    )*};
}
tuples! {
    (A.0) (A.0, B.1) (A.0, B.1, C.2) (A.0, B.1, C.2, D.3)
    (A.0, B.1, C.2, D.3, E.4) (A.0, B.1, C.2, D.3, E.4, F.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, crate::Canonical)]
    struct Named {
        count: u64,
        tags: BTreeSet<String>,
        pair: (bool, char),
    }

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, crate::Canonical)]
    struct Wrapped(i32, Option<Box<Named>>);

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, crate::Canonical)]
    struct Nothing;

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, crate::Canonical)]
    enum Choice {
        None,
        Wrapped(Wrapped),
        Fields { key: EventKey, time: ValidTime, rows: BTreeMap<i16, Vec<u128>> },
        Nothing(Nothing),
    }

    fn named() -> impl Strategy<Value = Named> {
        (any::<u64>(), prop::collection::btree_set(".{0,4}", 0..4), any::<(bool, char)>())
            .prop_map(|(count, tags, pair)| Named { count, tags, pair })
    }

    fn choice() -> impl Strategy<Value = Choice> {
        prop_oneof![
            Just(Choice::None),
            Just(Choice::Nothing(Nothing)),
            (any::<i32>(), prop::option::of(named().prop_map(Box::new)))
                .prop_map(|(number, named)| Choice::Wrapped(Wrapped(number, named))),
            (
                any::<[u8; 16]>(),
                any::<u64>(),
                prop::collection::btree_map(any::<i16>(), prop::collection::vec(any::<u128>(), 0..3), 0..4)
            )
                .prop_map(|(key, time, rows)| Choice::Fields {
                    key: EventKey(key),
                    time: ValidTime(time),
                    rows
                }),
        ]
    }

    proptest! {
        // Goal: a value and its bytes name each other, and no strict prefix of an encoding decodes.
        #[test]
        fn values_round_trip(value in choice(), cut in any::<prop::sample::Index>()) {
            let bytes = value.to_bytes();
            prop_assert_eq!(Choice::from_bytes(&bytes), Ok(value));
            prop_assert!(Choice::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        }

        // Goal: one encoding a value. Method: whatever random bytes decode to encodes to just those bytes.
        #[test]
        fn decoding_is_strict(bytes in prop::collection::vec(0_u8..4, 0..40)) {
            if let Ok(value) = Choice::from_bytes(&bytes) {
                prop_assert_eq!(value.to_bytes(), bytes.clone());
            }
            if let Ok(value) = <(Option<bool>, BTreeMap<u8, BTreeSet<u8>>)>::from_bytes(&bytes) {
                prop_assert_eq!(value.to_bytes(), bytes);
            }
        }
    }

    // Goal: every refusal is provoked once, and the layout is the documented one.
    #[test]
    fn layout_and_refusals() {
        assert_eq!((1_u16, -1_i8, String::from("é")).to_bytes(), [0, 1, 255, 0, 0, 0, 2, 0xc3, 0xa9]);
        assert_eq!(Choice::None.to_bytes(), [0]);
        assert_eq!(Choice::Nothing(Nothing).to_bytes(), [3]);
        assert_eq!(u32::from_bytes(&[0, 0, 0]), Err(CodecError::Truncated));
        assert_eq!(u8::from_bytes(&[1, 2, 3]), Err(CodecError::Trailing { bytes: 2 }));
        assert_eq!(bool::from_bytes(&[2]), Err(CodecError::Tag { tag: 2 }));
        assert_eq!(Choice::from_bytes(&[4]), Err(CodecError::Tag { tag: 4 }));
        assert_eq!(String::from_bytes(&[0, 0, 0, 1, 0xff]), Err(CodecError::Text));
        assert_eq!(char::from_bytes(&[0, 0, 0xd8, 0]), Err(CodecError::Text));
        assert_eq!(BTreeSet::<u8>::from_bytes(&[0, 0, 0, 2, 1, 1]), Err(CodecError::Order));
        assert_eq!(BTreeMap::<u8, u8>::from_bytes(&[0, 0, 0, 2, 2, 0, 1, 0]), Err(CodecError::Order));
        assert_eq!(Vec::<u64>::from_bytes(&[255; 12]), Err(CodecError::Truncated));
    }
}
