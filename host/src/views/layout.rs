//! The bytes of the derived rows; `FORMAT.md` has them as a table.
//!
//! An encoded aggregate key is never a prefix of another, so an event key follows it directly.

use super::answer::SetAside;
use super::computes::{Failure, FailureKind, Revision};
use super::rows::Table;
use crate::core::event::EventKey;
use crate::core::tables::TableError;

/// A change of any row's bytes raises this number, and with it every revision.
pub(super) const FORMAT: u32 = 1;
/// A reason is cut behind this many bytes.
const REASON_BYTES_MAX: usize = 300;

/// The bytes of a row are not what the engine writes.
pub(super) fn corrupt(table: &'static str, row: &[u8], reason: &'static str) -> TableError {
    TableError::Corrupt { table, row: data_encoding::HEXLOWER.encode(row), reason }
}

/// The key of a row of one event of one aggregate, and of a void: two keys, one behind the other.
pub(super) fn joined(front: &[u8], event: EventKey) -> Vec<u8> {
    let mut key = Vec::with_capacity(front.len() + 16);
    key.extend_from_slice(front);
    key.extend_from_slice(&event.0);
    key
}

/// The event key at the end of a row's key.
pub(super) fn event_of(row: &[u8]) -> Result<EventKey, TableError> {
    match row.split_last_chunk::<16>() {
        Some((_, event)) => Ok(EventKey(*event)),
        None => Err(corrupt("deltas", row, "the row's key is shorter than an event key")),
    }
}

/// What one event adds to one aggregate: a flag, then each delta behind its length, in the order of emission.
pub(super) fn write_deltas<'d>(voided: bool, deltas: impl IntoIterator<Item = &'d [u8]>) -> Vec<u8> {
    let mut bytes = vec![u8::from(voided)];
    for delta in deltas {
        let length = u32::try_from(delta.len()).expect("a plugin's buffer has at most 4 GiB");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(delta);
    }
    bytes
}

/// True if the row's event counts.
pub(super) fn is_live(row: &[u8]) -> bool {
    row.first() == Some(&0)
}

/// The deltas of a row.
pub(super) fn read_deltas(row: &[u8]) -> impl Iterator<Item = Result<&[u8], TableError>> {
    let mut rest = row.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let split = rest.split_first_chunk::<4>().and_then(|(length, behind)| {
            behind.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
        });
        let Some((delta, behind)) = split else {
            rest = &[];
            return Some(Err(corrupt("deltas", row, "a delta ends behind its row")));
        };
        rest = behind;
        Some(Ok(delta))
    })
}

/// What the engine knows of an aggregate with at least one un-voided event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Rises whenever an un-voided event comes, goes or changes.
    pub(super) version: u64,
    /// How many un-voided events there are.
    pub(super) live: u64,
}

impl Head {
    /// The head as a row's value.
    pub(super) fn write(self) -> [u8; 16] {
        pair(self.version, self.live)
    }

    /// The head from a row's value.
    pub(super) fn read(row: &[u8]) -> Result<Self, TableError> {
        let (version, live) = unpair(row).ok_or_else(|| corrupt("heads", row, "not 16 bytes"))?;
        Ok(Self { version, live })
    }
}

/// How far a Keyspace has followed the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The last arrival that it has taken in.
    pub(super) arrival: u64,
    /// That arrival's running hash.
    pub(super) check: [u8; 8],
}

impl Cursor {
    /// The cursor as a row's value.
    pub(super) fn write(self) -> [u8; 16] {
        pair(self.arrival, u64::from_be_bytes(self.check))
    }

    /// The cursor from a row's value.
    pub(super) fn read(row: &[u8]) -> Result<Self, TableError> {
        let (arrival, check) = unpair(row).ok_or_else(|| corrupt("meta", row, "not 16 bytes"))?;
        Ok(Self { arrival, check: check.to_be_bytes() })
    }
}

/// A Snapshot's value: how many events are folded, then the state.
pub(super) fn write_snapshot(events: u64, state: &[u8]) -> Vec<u8> {
    [&events.to_be_bytes(), state].concat()
}

/// The count and the state in a Snapshot's value.
pub(super) fn read_snapshot(row: &[u8]) -> Result<(u64, &[u8]), TableError> {
    let (count, state) =
        row.split_first_chunk::<8>().ok_or_else(|| corrupt("snapshots", row, "shorter than its count"))?;
    Ok((u64::from_be_bytes(*count), state))
}

/// Why an event is set aside, as a row's value.
pub(super) fn write_failure(failure: &Failure) -> Vec<u8> {
    let kind = match failure.kind {
        FailureKind::Refused => 0,
        FailureKind::Broken => 1,
    };
    let end = failure.message.floor_char_boundary(REASON_BYTES_MAX);
    let mut bytes = vec![kind];
    bytes.extend_from_slice(failure.message.get(..end).unwrap_or_default().as_bytes());
    bytes
}

/// An event that is set aside, and whether the plugin's code is to blame.
pub(super) fn read_failure(key: &[u8], row: &[u8]) -> Result<(SetAside, FailureKind), TableError> {
    let (kind, reason) = row.split_first().ok_or_else(|| corrupt("poison", key, "empty"))?;
    let kind = if *kind == 0 { FailureKind::Refused } else { FailureKind::Broken };
    Ok((SetAside { key: event_of(key)?, reason: String::from_utf8_lossy(reason).into_owned() }, kind))
}

/// The row of `meta` with a Keyspace's cursor. It exists as long as the Keyspace's tables are in use.
pub(super) fn cursor_row(keyspace: Revision) -> Vec<u8> {
    named(b'k', &[keyspace])
}

/// The row of `meta` that says that `snapshots` belong to `keyspace`.
pub(super) fn snapshots_row(keyspace: Revision, snapshots: Revision) -> Vec<u8> {
    named(b's', &[keyspace, snapshots])
}

/// The start of all [`snapshots_row`]s of a Keyspace.
pub(super) fn snapshots_rows(keyspace: Revision) -> Vec<u8> {
    named(b's', &[keyspace])
}

/// The row of `meta` that says that a table of voids is in use.
pub(super) fn voids_row(voids: Revision) -> Vec<u8> {
    named(b'v', &[voids])
}

/// The row of `meta` that says that `table` is being taken away; none for `meta` itself.
pub(super) fn going_row(table: Table) -> Option<Vec<u8>> {
    let (letter, revision) = match table {
        Table::Meta => return None,
        Table::Voids(revision) => (b'v', revision),
        Table::Deltas(revision) => (b'd', revision),
        Table::Heads(revision) => (b'h', revision),
        Table::Poison(revision) => (b'p', revision),
        Table::Snapshots(revision) => (b's', revision),
    };
    let mut row = vec![GOING, letter];
    row.extend_from_slice(&revision.0);
    Some(row)
}

/// The first byte of every [`going_row`].
pub(super) const GOING: u8 = b'g';

/// The table that a [`going_row`] names.
pub(super) fn going_table(row: &[u8]) -> Option<Table> {
    let (front, revision) = row.split_first_chunk::<2>()?;
    let revision = Revision(revision.try_into().ok()?);
    match *front {
        [GOING, b'v'] => Some(Table::Voids(revision)),
        [GOING, b'd'] => Some(Table::Deltas(revision)),
        [GOING, b'h'] => Some(Table::Heads(revision)),
        [GOING, b'p'] => Some(Table::Poison(revision)),
        [GOING, b's'] => Some(Table::Snapshots(revision)),
        _ => None,
    }
}

/// The revisions in a row of `meta`, behind its letter.
pub(super) fn revisions_of(row: &[u8]) -> Vec<Revision> {
    let names = row.get(1..).unwrap_or_default();
    names.chunks_exact(16).filter_map(|name| name.try_into().ok().map(Revision)).collect()
}

fn named(letter: u8, revisions: &[Revision]) -> Vec<u8> {
    let mut row = vec![letter];
    row.extend(revisions.iter().flat_map(|revision| revision.0));
    row
}

fn pair(first: u64, second: u64) -> [u8; 16] {
    ((u128::from(first) << 64) | u128::from(second)).to_be_bytes()
}

fn unpair(row: &[u8]) -> Option<(u64, u64)> {
    let (first, second) = row.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*first), u64::from_be_bytes(second.try_into().ok()?)))
}
