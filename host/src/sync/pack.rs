//! Bytes on their way between replicas: compressed, with a checksum and an announced length that is believed only up
//! to a bound.
//!
//! ```text
//! method 1 | length 4, plain | BLAKE3 16, of the plain bytes | the bytes, as they are (0) or Zstandard (1)
//! ```

use super::error::FrameError;

/// Fewer bytes than this gain nothing from compression.
const COMPRESSED_MIN: usize = 128;
/// Zstandard's level: 3 keeps up with a disk on one core.
const LEVEL: i32 = 3;
const PLAIN: u8 = 0;
const ZSTANDARD: u8 = 1;
const HEAD_BYTES: usize = 1 + 4 + 16;

/// Packs `plain`, which has at most 4 GiB.
pub(super) fn pack(plain: &[u8]) -> Vec<u8> {
    let compressed =
        if plain.len() < COMPRESSED_MIN { None } else { zstd::bulk::compress(plain, LEVEL).ok() };
    let (method, body) = match &compressed {
        Some(compressed) if compressed.len() < plain.len() => (ZSTANDARD, compressed.as_slice()),
        _ => (PLAIN, plain),
    };
    let length = u32::try_from(plain.len()).expect("a page is far below 4 GiB");
    let mut packed = Vec::with_capacity(HEAD_BYTES + body.len());
    packed.push(method);
    packed.extend_from_slice(&length.to_be_bytes());
    packed.extend_from_slice(&checksum(plain));
    packed.extend_from_slice(body);
    packed
}

/// Unpacks what [`pack`] made; at most `bytes_max` are allocated, whatever is announced.
pub(super) fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, FrameError> {
    let (method, rest) = packed.split_first().ok_or(FrameError::Truncated)?;
    let (length, rest) = rest.split_first_chunk().ok_or(FrameError::Truncated)?;
    let (sum, body) = rest.split_first_chunk::<16>().ok_or(FrameError::Truncated)?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > bytes_max {
        return Err(FrameError::TooLong { bytes: length, bytes_max });
    }
    let plain = match *method {
        PLAIN => body.to_vec(),
        ZSTANDARD => {
            zstd::bulk::decompress(body, length).map_err(|_| FrameError::Form("the page does not unpack"))?
        }
        _ => return Err(FrameError::Form("the page is packed by a method that is not known here")),
    };
    if plain.len() != length || checksum(&plain) != *sum {
        return Err(FrameError::Form("the page's checksum is wrong: it was damaged on its way"));
    }
    Ok(plain)
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
