//! Numbers and pieces in packed rows: LEB128, and bytes behind their length.

/// Appends a number: seven bits a byte, the least first.
pub(in crate::views) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        let [.., least] = number.to_be_bytes();
        out.push(least | 0x80);
        number >>= 7;
    }
    let [.., least] = number.to_be_bytes();
    out.push(least);
}

/// Takes a number off the front.
pub(in crate::views) fn take_number(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Appends bytes behind their length.
pub(in crate::views) fn put_piece(out: &mut Vec<u8>, piece: &[u8]) {
    put_number(out, piece.len() as u64);
    out.extend_from_slice(piece);
}

/// Takes bytes behind their length off the front.
pub(in crate::views) fn take_piece<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(input)?).ok()?;
    let (piece, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Whatever is written is read back, and what is cut off is noticed.
        #[test]
        fn numbers_and_pieces_round_trip(
            number: u64,
            shift in 0_u32..64,
            piece in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number >> shift);
            put_piece(&mut bytes, &piece);
            let mut input = bytes.as_slice();
            prop_assert_eq!(take_number(&mut input), Some(number >> shift));
            prop_assert_eq!(take_piece(&mut input), Some(piece.as_slice()));
            prop_assert!(input.is_empty());
            let mut cut = &bytes[..bytes.len() - 1];
            prop_assert!(take_number(&mut cut).is_none() || take_piece(&mut cut).is_none());
        }
    }
}
