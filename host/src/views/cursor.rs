//! The cursor of a paged view: where the next page starts, and of which query it is a page.
//!
//! It names no revision and no position inside a table, only the last aggregate key that was passed and how many
//! arrivals the first page knew, so it goes on after a reload, a restart, and while events arrive. It is no secret and
//! grants nothing; the checksum finds typing errors, the scope finds a cursor used with another query.
//!
//! Bytes, before base64url: version 2 (1), scope (8), arrival (8), that arrival's check (8), aggregate key (1..),
//! checksum (4: BLAKE3 of all before it).

use super::bounds::Bounds;
use super::computes::Revision;
use super::error::ViewError;
use data_encoding::BASE64URL_NOPAD;

/// The first byte of a cursor.
const VERSION: u8 = 2;
/// No cursor that this server wrote is longer: a key of 400 bytes and 29 around it, in base64.
const TEXT_BYTES_MAX: usize = 576;

/// What the first page of a walk knew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pin {
    /// The last arrival.
    pub(super) arrival: u64,
    /// That arrival's running hash.
    pub(super) check: [u8; 8],
}

/// Names the query whose pages belong together: root, view, prefix and bounds, but not the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope([u8; 8]);

impl Scope {
    /// The scope of a listing of `view` under the encoded `prefix`.
    pub(super) fn new(root: &str, view: &str, prefix: &[u8], bounds: &Bounds) -> Self {
        let hash = Revision::of(&[root.as_bytes(), view.as_bytes(), prefix, &bounds.canonical()]);
        Self(*hash.0.first_chunk().expect("16 bytes hold 8"))
    }
}

/// The cursor behind the aggregate `last`.
pub(super) fn write(scope: Scope, pin: Pin, last: &[u8]) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&scope.0);
    bytes.extend_from_slice(&pin.arrival.to_be_bytes());
    bytes.extend_from_slice(&pin.check);
    bytes.extend_from_slice(last);
    let check = checksum(&bytes);
    bytes.extend_from_slice(&check);
    BASE64URL_NOPAD.encode(&bytes)
}

/// The pin and the aggregate key in a cursor, if it belongs to `scope`.
pub(super) fn read(scope: Scope, text: &str) -> Result<(Pin, Vec<u8>), ViewError> {
    let bytes = if text.len() > TEXT_BYTES_MAX { None } else { BASE64URL_NOPAD.decode(text.as_bytes()).ok() };
    let bytes = bytes.ok_or(ViewError::BadCursor)?;
    let (body, check) = bytes.split_last_chunk::<4>().ok_or(ViewError::BadCursor)?;
    if *check != checksum(body) {
        return Err(ViewError::BadCursor);
    }
    let fields = |body: &[u8]| {
        let rest = body.strip_prefix(&[VERSION])?;
        let (of, rest) = rest.split_first_chunk::<8>()?;
        let (arrival, rest) = rest.split_first_chunk::<8>()?;
        let (check, last) = rest.split_first_chunk::<8>()?;
        Some((*of, Pin { arrival: u64::from_be_bytes(*arrival), check: *check }, last.to_vec()))
    };
    let (of, pin, last) = fields(body).ok_or(ViewError::BadCursor)?;
    if of == scope.0 { Ok((pin, last)) } else { Err(ViewError::CursorMismatch) }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("32 bytes hold 4")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Goal: a cursor is read back for its own query only; any changed or cut text is refused.
    #[test]
    fn a_cursor_belongs_to_one_query() {
        let bounds = Bounds::default();
        let scope = Scope::new("tally", "total", b"p", &bounds);
        let pin = Pin { arrival: 7, check: [3; 8] };
        let text = write(scope, pin, b"apple\0\x01\0\0");
        assert_eq!(read(scope, &text).unwrap(), (pin, b"apple\0\x01\0\0".to_vec()));

        let at = Bounds { at_ms: Some(1), ..bounds.clone() };
        let others =
            [("tally", "last", "p", &bounds), ("t", "allytotal", "p", &bounds), ("tally", "total", "p", &at)];
        for (root, view, prefix, bounds) in others {
            let other = Scope::new(root, view, prefix.as_bytes(), bounds);
            assert!(matches!(read(other, &text), Err(ViewError::CursorMismatch)));
        }
        for end in 0..text.len() {
            assert!(matches!(read(scope, &text[..end]), Err(ViewError::BadCursor)));
        }
        for garbage in ["", "%", "AAAA", "é", &"A".repeat(4000)] {
            assert!(matches!(read(scope, garbage), Err(ViewError::BadCursor)));
        }
    }

    proptest! {
        // Whatever key a cursor holds comes back; a changed character is found, unless it changes no byte.
        #[test]
        fn cursors_round_trip(key in vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>(), bit in 0..7) {
            let scope = Scope([7; 8]);
            let text = write(scope, Pin::default(), &key);
            prop_assert_eq!(read(scope, &text).expect("just written"), (Pin::default(), key.clone()));
            let mut bytes = text.into_bytes();
            *at.get_mut(&mut bytes) ^= 1_u8 << bit;
            let damaged = String::from_utf8(bytes).expect("seven bits are ASCII");
            prop_assert!(matches!(read(scope, &damaged), Err(ViewError::BadCursor)), "{}", damaged);
        }

        // Made up with a right checksum: an error by name, or a key to go on behind, which the tables need not hold.
        #[test]
        fn forged_cursors_do_no_harm(body in vec(any::<u8>(), 0..60), text in "[A-Za-z0-9_-]{0,60}") {
            let mut bytes = body;
            let check = checksum(&bytes);
            bytes.extend(check);
            drop(read(Scope([7; 8]), &BASE64URL_NOPAD.encode(&bytes)));
            prop_assert!(read(Scope([7; 8]), &text).is_err(), "no checksum is right by chance");
        }
    }
}
