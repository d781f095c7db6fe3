//! Bytes on their way between replicas: compressed, with a checksum and an announced length that is believed only up
//! to a bound.
//!
//! ```text
//! method 1 | length 4, plain | BLAKE3 16, of the plain bytes | the bytes, as they are (0) or Zstandard (1)
//! method 1 | name 4, of a dictionary | length 4, plain | BLAKE3 16 | Zstandard with that dictionary (2)
//! ```

use super::dictionary::{Dictionary, DictionaryName};
use super::error::FrameError;
use crate::core::limits::DICTIONARY_PLAIN_BYTES_MAX;
use std::io;
use zstd::zstd_safe::CParameter;

/// Fewer bytes than this gain nothing from compression.
const COMPRESSED_MIN: usize = 128;
/// Zstandard's level: 3 keeps up with a disk on one core.
const LEVEL: i32 = 3;
const PLAIN: u8 = 0;
const ZSTANDARD: u8 = 1;
const WITH_DICTIONARY: u8 = 2;
const HEAD_BYTES: usize = 1 + 4 + 4 + 16;

/// Packs `plain`, which has at most 4 GiB.
pub(super) fn pack(plain: &[u8]) -> Vec<u8> {
    pack_with(plain, None)
}

/// The same, with a dictionary if there is one and `plain` is small enough to gain from it.
pub(super) fn pack_with(plain: &[u8], dictionary: Option<&Dictionary>) -> Vec<u8> {
    let dictionary = dictionary.filter(|_| plain.len() <= DICTIONARY_PLAIN_BYTES_MAX);
    let compressed = match dictionary {
        Some(dictionary) => compress_with(plain, dictionary).ok(),
        None if plain.len() < COMPRESSED_MIN => None,
        None => zstd::bulk::compress(plain, LEVEL).ok(),
    };
    let mut packed = Vec::with_capacity(HEAD_BYTES + plain.len());
    let body = match (&compressed, dictionary) {
        (Some(compressed), Some(dictionary)) if compressed.len() < plain.len() => {
            packed.push(WITH_DICTIONARY);
            packed.extend_from_slice(&dictionary.name());
            compressed
        }
        (Some(compressed), None) if compressed.len() < plain.len() => {
            packed.push(ZSTANDARD);
            compressed
        }
        _ => {
            packed.push(PLAIN);
            plain
        }
    };
    let length = u32::try_from(plain.len()).expect("a page is far below 4 GiB");
    packed.extend_from_slice(&length.to_be_bytes());
    packed.extend_from_slice(&checksum(plain));
    packed.extend_from_slice(body);
    packed
}

/// The dictionary that `packed` names, if it is packed with one.
pub(super) fn dictionary_of(packed: &[u8]) -> Option<DictionaryName> {
    let (method, rest) = packed.split_first()?;
    (*method == WITH_DICTIONARY).then(|| rest.first_chunk().copied()).flatten()
}

/// Unpacks what [`pack`] made; at most `bytes_max` are allocated, whatever is announced.
pub(super) fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, FrameError> {
    unpack_with(packed, bytes_max, None)
}

/// Unpacks what [`pack_with`] made, with the dictionary that it names.
pub(super) fn unpack_with(
    packed: &[u8],
    bytes_max: usize,
    dictionary: Option<&Dictionary>,
) -> Result<Vec<u8>, FrameError> {
    let (method, mut rest) = packed.split_first().ok_or(FrameError::Truncated)?;
    let mut named = None;
    if *method == WITH_DICTIONARY {
        let (name, behind) = rest.split_first_chunk().ok_or(FrameError::Truncated)?;
        named = dictionary.filter(|dictionary| dictionary.name() == *name);
        rest = behind;
    }
    let (length, rest) = rest.split_first_chunk().ok_or(FrameError::Truncated)?;
    let (sum, body) = rest.split_first_chunk::<16>().ok_or(FrameError::Truncated)?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > bytes_max {
        return Err(FrameError::TooLong { bytes: length, bytes_max });
    }
    let broken = |_| FrameError::Form("the page does not unpack");
    let plain = match (*method, named) {
        (PLAIN, _) => body.to_vec(),
        (ZSTANDARD, _) => zstd::bulk::decompress(body, length).map_err(broken)?,
        (WITH_DICTIONARY, Some(dictionary)) => decompress_with(body, length, dictionary).map_err(broken)?,
        (WITH_DICTIONARY, None) => {
            return Err(FrameError::Form("the page is packed with a dictionary that is not here"));
        }
        _ => return Err(FrameError::Form("the page is packed by a method that is not known here")),
    };
    if plain.len() != length || checksum(&plain) != *sum {
        return Err(FrameError::Form("the page's checksum is wrong: it was damaged on its way"));
    }
    Ok(plain)
}

/// A new context each time: that costs about 50 us, and keeping one for each dictionary a megabyte.
fn compress_with(plain: &[u8], dictionary: &Dictionary) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::with_dictionary(LEVEL, dictionary.bytes())?;
    // The name is in the head already.
    compressor.set_parameter(CParameter::DictIdFlag(false))?;
    compressor.compress(plain)
}

fn decompress_with(body: &[u8], length: usize, dictionary: &Dictionary) -> io::Result<Vec<u8>> {
    zstd::bulk::Decompressor::with_dictionary(dictionary.bytes())?.decompress(body, length)
}

fn checksum(plain: &[u8]) -> [u8; 16] {
    let mut sum = [0; 16];
    blake3::Hasher::new().update(plain).finalize_xof().fill(&mut sum);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was packed comes back, small or large; damage anywhere is found.
    #[test]
    fn packs_and_finds_damage() {
        for plain in [Vec::new(), b"short".to_vec(), b"the same again, ".repeat(1000)] {
            let packed = pack(&plain);
            assert_eq!(unpack(&packed, 1 << 20).expect("unpacks"), plain);
            for at in 0..packed.len() {
                let mut damaged = packed.clone();
                damaged[at] ^= 1;
                let got = unpack(&damaged, 1 << 20);
                assert!(got.is_err() || got == Ok(plain.clone()), "byte {at}");
                assert!(unpack(&packed[..at], 1 << 20).is_err(), "cut at {at}");
            }
        }
    }

    /// A bomb is refused by its announced length, and one that lies about it by its bound.
    #[test]
    fn a_bomb_allocates_nothing() {
        let bomb = pack(&vec![0; 1 << 20]);
        assert!(bomb.len() < 1 << 10);
        assert!(matches!(unpack(&bomb, 1 << 10), Err(FrameError::TooLong { .. })));
        let mut liar = bomb;
        liar[1..5].copy_from_slice(&100_u32.to_be_bytes());
        assert!(unpack(&liar, 1 << 10).is_err());
    }
}
