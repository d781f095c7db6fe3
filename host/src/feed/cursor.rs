//! The cursor: all that a walk needs to go on, in the caller's hands.
//!
//! ```text
//! version 1 | flags 1 | root 8 | scope 4 | left 8 | key 16 | winner 16 | [loser 16] | pin | checksum 8
//! flags      1: a scope, 2: a loser, 4: the pin is a name of 16 bytes and kept in the tables
//! root       the first 8 bytes of BLAKE3 over the Root's name
//! pin        per Origin, ascending: origin 8 | last seq 8 | check 4
//! checksum   the first 8 bytes of BLAKE3 over all before it
//! ```
//! All numbers are big-endian; the whole is base64url without padding. It needs no secrecy: whoever makes one up can
//! only mislead himself. The checksum tells damage from a walk that is gone.

use super::{FeedError, KeepPin};
use crate::core::event::{EventKey, Origin, Seq, ValueHash};
use crate::core::knowledge::{Knowledge, SEQ_MAX};
use crate::core::limits::PIN_BYTES_MAX;
use crate::core::tables::{Position, Tables};
use data_encoding::BASE64URL_NOPAD;

/// The first byte of every cursor of this layout.
const VERSION: u8 = 1;

/// The longest text that can be a cursor: the fixed parts, both hashes and the longest pin.
const TEXT_BYTES_MAX: usize = (PIN_BYTES_MAX + 128) * 4 / 3;

const SCOPED: u8 = 1;
const LOSER: u8 = 2;
const NAMED: u8 = 4;

/// Where a walk stands: everything up to and with this place was given out or need not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The key that was passed last.
    pub(super) key: EventKey,
    /// The value that was passed first, because it held the key then. A merge may make a loser of it, and on another
    /// replica it may be one.
    pub(super) winner: ValueHash,
    /// The greatest hash passed of the key's other values; none if only the first was.
    pub(super) loser: Option<ValueHash>,
}

impl Mark {
    /// The same place in the order of the tables.
    pub(super) fn position(&self) -> Position {
        Position { key: self.key, loser: self.loser }
    }
}

/// What a walk is pinned to: per Origin the last seq, and the check over 1..=last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin(pub(super) Vec<(Origin, Seq, u32)>);

/// Where the pin is: in the cursor, or in the tables under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PinPlace {
    Here(Pin),
    Kept([u8; 16]),
}

/// A cursor in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) mark: Mark,
    /// How many dots are left behind the mark, at most.
    pub(super) left: u64,
    pub(super) pin: PinPlace,
}

impl Pin {
    /// The dots pinned.
    pub(super) fn knowledge(&self) -> Knowledge {
        self.0.iter().map(|&(origin, last, _)| (origin, last)).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let prefixes = self.0.iter();
        prefixes
            .flat_map(|(origin, last, check)| {
                [&origin.0[..], &last.0.to_be_bytes(), &check.to_be_bytes()].concat()
            })
            .collect()
    }

    fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut pin = Vec::new();
        while !bytes.is_empty() {
            let origin = Origin(take(&mut bytes)?);
            let last = u64::from_be_bytes(take(&mut bytes)?);
            let check = u32::from_be_bytes(take(&mut bytes)?);
            let ascends = pin.last().is_none_or(|(before, _, _)| *before < origin);
            if !ascends || !(1..=SEQ_MAX).contains(&last) {
                return None;
            }
            pin.push((origin, Seq(last), check));
        }
        Some(Self(pin))
    }
}

impl PinPlace {
    /// The place for `pin`, and what to keep if that place is the tables.
    pub(super) fn of(pin: Pin) -> (Self, Option<KeepPin>) {
        let bytes = pin.bytes();
        if bytes.len() <= PIN_BYTES_MAX {
            return (Self::Here(pin), None);
        }
        let name = hash16(&bytes);
        (Self::Kept(name), Some(KeepPin { name, bytes }))
    }

    /// The pin itself.
    pub(super) fn open(&self, tables: &dyn Tables) -> Result<Pin, FeedError> {
        let gone = |reason| FeedError::PinGone { origin: None, reason };
        match self {
            Self::Here(pin) => Ok(pin.clone()),
            Self::Kept(name) => {
                let bytes = tables.pin(*name)?.ok_or(gone("it is not kept here, or no longer"))?;
                if hash16(&bytes) != *name {
                    return Err(gone("what is kept under its name is damaged"));
                }
                Pin::read(&bytes).ok_or(gone("what is kept under its name is damaged"))
            }
        }
    }
}

impl Cursor {
    /// The cursor of a walk over `root` under the filters of `scope`, as text.
    pub(super) fn text(&self, root: &str, scope: Option<u32>) -> String {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = flag(scope.is_some(), SCOPED)
            | flag(self.mark.loser.is_some(), LOSER)
            | flag(matches!(self.pin, PinPlace::Kept(_)), NAMED);
        let mut bytes = vec![VERSION, flags];
        bytes.extend(root_hash(root));
        bytes.extend(scope.unwrap_or(0).to_be_bytes());
        bytes.extend(self.left.to_be_bytes());
        bytes.extend(self.mark.key.0);
        bytes.extend(self.mark.winner.0);
        bytes.extend(self.mark.loser.iter().flat_map(|loser| loser.0));
        match &self.pin {
            PinPlace::Here(pin) => bytes.extend(pin.bytes()),
            PinPlace::Kept(name) => bytes.extend(name),
        }
        bytes.extend(checksum(&bytes));
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Reads the text of a cursor that was made for `root` and the filters of `scope`.
    pub(super) fn read(text: &str, root: &str, scope: Option<u32>) -> Result<Self, FeedError> {
        let bad = |reason| FeedError::BadCursor { reason };
        if text.len() > TEXT_BYTES_MAX {
            return Err(bad("is longer than any that is written here"));
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| bad("is not base64url"))?;
        let (body, check) = bytes.split_last_chunk::<8>().ok_or(bad("is too short"))?;
        if checksum(body) != *check {
            return Err(bad("is damaged: its checksum does not agree"));
        }
        let Some(parts) = Parts::read(body) else { return Err(bad("is not of this version's layout")) };
        if parts.root != root_hash(root) {
            return Err(FeedError::CursorMismatch { other: "another root" });
        }
        if parts.scope != scope {
            return Err(FeedError::CursorMismatch { other: "other filters" });
        }
        Ok(parts.cursor)
    }
}

/// A cursor and what it was made for.
struct Parts {
    root: [u8; 8],
    scope: Option<u32>,
    cursor: Cursor,
}

impl Parts {
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let [version, flags] = take(&mut bytes)?;
        if version != VERSION || flags >= NAMED << 1 {
            return None;
        }
        let root = take(&mut bytes)?;
        let scope = u32::from_be_bytes(take(&mut bytes)?);
        let left = u64::from_be_bytes(take(&mut bytes)?);
        let key = EventKey(take(&mut bytes)?);
        let winner = ValueHash(take(&mut bytes)?);
        let loser = if flags & LOSER > 0 { Some(ValueHash(take(&mut bytes)?)) } else { None };
        let pin = if flags & NAMED > 0 {
            PinPlace::Kept(bytes.try_into().ok()?)
        } else {
            PinPlace::Here(Pin::read(bytes)?)
        };
        let scope = (flags & SCOPED > 0).then_some(scope);
        Some(Self { root, scope, cursor: Cursor { mark: Mark { key, winner, loser }, left, pin } })
    }
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn root_hash(root: &str) -> [u8; 8] {
    checksum(root.as_bytes())
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

fn hash16(bytes: &[u8]) -> [u8; 16] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a hash has 32 bytes")
}
