//! Aggregate keys of two identifiers, which together may be longer than a key.

use sha2::{Digest, Sha256};

/// The most bytes of two identifiers together that stand in one aggregate key.
const PAIR_BYTES_MAX: usize = 380;
/// How many bytes of its hash stand for an identifier that is too long.
const HASH_BYTES: usize = 10;

/// The key of `first` and `second`, and `second` itself if only its hash stands in the key. `first` always stands
/// there as it is, so that keys sort and are found by it.
pub(crate) fn pair(first: &str, second: &str) -> ((String, String), Option<String>) {
    if first.len() + second.len() <= PAIR_BYTES_MAX {
        return ((first.to_owned(), second.to_owned()), None);
    }
    let digest: [u8; 32] = Sha256::digest(second.as_bytes()).into();
    let start = digest.first_chunk::<HASH_BYTES>().expect("a digest is longer");
    ((first.to_owned(), data_encoding::BASE64URL_NOPAD.encode(start)), Some(second.to_owned()))
}
