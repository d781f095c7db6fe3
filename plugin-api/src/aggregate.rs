//! The bytes of an aggregate key: text parts so encoded that bytes sort as the parts do, one after the other.
//!
//! Each part's UTF-8 with 00 written as `00 FF`, then `00 01`; behind the last part `00 00`. No key is a prefix of
//! another, so an event key may follow directly (the tuple layer of `FoundationDB` does the same with one byte less,
//! which would let keys with more parts run into the rows of keys with fewer).

/// The parts do not decode: these bytes were not written by [`encode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an encoded aggregate key")]
pub struct AggregateError;

/// Appends the encoding of `parts` to `out`.
pub fn encode<'a>(parts: impl IntoIterator<Item = &'a str>, out: &mut Vec<u8>) {
    encode_parts(parts, out);
    out.extend_from_slice(&[0, 0]);
}

/// Appends the encoding that all keys share whose parts begin with `whole` and go on with a part that starts with
/// `start`: the lower bound, and the prefix, of such keys.
pub fn encode_prefix<'a>(whole: impl IntoIterator<Item = &'a str>, start: &str, out: &mut Vec<u8>) {
    encode_parts(whole, out);
    escape(start, out);
}

/// The parts of an encoded key.
pub fn decode(bytes: &[u8]) -> Result<Vec<String>, AggregateError> {
    let mut parts = Vec::new();
    walk(bytes, &mut |part| parts.push(part.to_owned()))?;
    Ok(parts)
}

/// How many parts an encoded key has. Fails where [`decode`] does.
pub fn count(bytes: &[u8]) -> Result<usize, AggregateError> {
    let mut parts = 0;
    walk(bytes, &mut |_| parts += 1)?;
    Ok(parts)
}

fn walk(mut bytes: &[u8], visit: &mut dyn FnMut(&str)) -> Result<(), AggregateError> {
    while let (Some(part), rest) = next_part(bytes)? {
        let unescaped = part.contains(&0).then(|| unescape(part));
        let text = std::str::from_utf8(unescaped.as_deref().unwrap_or(part));
        visit(text.map_err(|_| AggregateError)?);
        bytes = rest;
    }
    Ok(())
}

/// The first part of a key as it is encoded, and what follows; no part at the end of the key, which nothing may follow.
fn next_part(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), AggregateError> {
    let mut searched = 0;
    loop {
        let ahead = bytes.get(searched..).unwrap_or_default();
        let zero = searched + ahead.iter().position(|byte| *byte == 0).ok_or(AggregateError)?;
        let (part, end) = bytes.split_at(zero);
        match end {
            [_, 0xff, ..] => searched = zero + 2,
            [_, 1, rest @ ..] => return Ok((Some(part), rest)),
            [_, 0] if part.is_empty() => return Ok((None, &[])),
            _ => return Err(AggregateError),
        }
    }
}

/// A part, every 00 of which is followed by FF, without these.
fn unescape(part: &[u8]) -> Vec<u8> {
    let mut last = 1;
    part.iter().copied().filter(|byte| std::mem::replace(&mut last, *byte) != 0).collect()
}

fn encode_parts<'a>(parts: impl IntoIterator<Item = &'a str>, out: &mut Vec<u8>) {
    for part in parts {
        escape(part, out);
        out.extend_from_slice(&[0, 1]);
    }
}

fn escape(part: &str, out: &mut Vec<u8>) {
    for byte in part.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(parts: &[String]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(parts.iter().map(String::as_str), &mut out);
        out
    }

    /// Few letters, so that parts are often equal, prefixes of each other, or hold the bytes that are escaped.
    fn parts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[\u{0}\u{1}aé\u{10ffff}]{0,3}", 1..4)
    }

    proptest! {
        // Goal: bytes sort as the parts do, no key is a prefix of another, and decoding gives the parts back.
        #[test]
        fn keys_sort_as_their_parts((left, right) in (parts(), parts())) {
            let (one, other) = (encoded(&left), encoded(&right));
            prop_assert_eq!(one.cmp(&other), left.cmp(&right));
            prop_assert_eq!(left != right, !one.starts_with(&other) && !other.starts_with(&one));
            prop_assert_eq!(count(&one), Ok(left.len()));
            prop_assert_eq!(decode(&one), Ok(left));
        }

        // Goal: a prefix finds just the keys that it should. Method: compare with the definition over parts.
        #[test]
        fn prefixes_find_their_keys((key, prefix) in (parts(), parts())) {
            let (last, whole) = prefix.split_last().expect("one part at least");
            let mut bytes = Vec::new();
            encode_prefix(whole.iter().map(String::as_str), last, &mut bytes);
            let part = key.get(whole.len());
            let fits = key.starts_with(whole) && part.is_some_and(|part| part.starts_with(last));
            let found = encoded(&key).starts_with(&bytes);
            // An empty last part also is the prefix of the end of the key that has no such part.
            let ends = last.is_empty() && key == whole;
            prop_assert_eq!(found, fits || ends);
        }

        // Goal: decoding is strict. Method: whatever random bytes decode to encodes to just those bytes.
        #[test]
        fn decoding_is_strict(
            bytes in prop::collection::vec(prop::sample::select(vec![0, 1, 2, b'a', 0xc3, 0xff]), 0..12),
        ) {
            prop_assert_eq!(decode(&bytes).map(|parts| parts.len()), count(&bytes));
            if let Ok(parts) = decode(&bytes) {
                prop_assert_eq!(encoded(&parts), bytes);
            }
        }
    }
}
