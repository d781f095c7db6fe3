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
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), bytes.iter());
    loop {
        match (bytes.next(), part.is_empty()) {
            (Some(0), at_start) => match (bytes.next(), at_start) {
                (Some(0), true) => break,
                (Some(1), _) => {
                    parts.push(String::from_utf8(std::mem::take(&mut part)).map_err(|_| AggregateError)?);
                }
                (Some(0xff), _) => part.push(0),
                _ => return Err(AggregateError),
            },
            (Some(byte), _) => part.push(*byte),
            (None, _) => return Err(AggregateError),
        }
    }
    if bytes.next().is_some() { Err(AggregateError) } else { Ok(parts) }
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
