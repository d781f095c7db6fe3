//! The key rule: which key an event has. Final: a server that minted other keys would store old events again.
//!
//! Key bytes 0..8: the instant of `eventTime`, rounded half up to the millisecond, as NTP64. Key bytes 8..16, the
//! tail: the first 8 bytes of the SHA-256 of
//!
//! - for an event: its pre-hash text (UTF-8), then the byte 00;
//! - for an error declaration: the same pre-hash text, which the declaration shares with the event that it voids,
//!   then the byte 01, then `declarationTime` in UTC at milliseconds, 24 bytes such as `2020-11-04T00:00:00.000Z`.
//!
//! The byte before the end keeps an event and its declaration apart, though standard and hash call them the same;
//! the time keeps two declarations apart. No event has the input of a declaration: one ends with 00, the other with
//! `Z`, and the time's length is fixed. So whoever sends an event, in whatever notation, through whatever replica,
//! gives it the same key, and a declaration knows the key of what it voids without having seen it.

use laterbase_plugin::{EventKey, ValidTime};
use sha2::{Digest, Sha256};

use crate::instant;

/// The tail of an event's key, or of a declaration's if `declared_ms` is its time.
pub fn tail(prehash: &str, declared_ms: Option<i64>) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(prehash.as_bytes());
    match declared_ms {
        None => hash.update([0]),
        Some(millis) => {
            hash.update([1]);
            hash.update(instant::format(millis).as_bytes());
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// The whole key; none if the instant lies outside 1970..2106.
pub fn key(time_ms: i64, prehash: &str, declared_ms: Option<i64>) -> Option<EventKey> {
    Some(EventKey::new(ValidTime::from_millis(time_ms)?, tail(prehash, declared_ms)))
}
