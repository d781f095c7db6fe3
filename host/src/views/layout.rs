//! The bytes of the derived rows that are not the index's; `FORMAT.md` has them as a table.
//!
//! An encoded aggregate key is never a prefix of another, so an event key follows it directly.

use super::answer::SetAside;
use super::computes::{Failure, FailureKind, Revision};
use super::index::bytes::{put_number, put_piece, take_number, take_piece};
use super::rows::Table;
use crate::core::event::EventKey;
use crate::core::tables::TableError;

/// A change of any row's bytes raises this number, and with it every revision.
pub(super) const FORMAT: u32 = 2;
/// A reason is cut behind this many bytes.
const REASON_BYTES_MAX: usize = 300;

/// The bytes of a row are not what the engine writes.
pub(super) fn corrupt(table: &'static str, row: &[u8], reason: &'static str) -> TableError {
    TableError::Corrupt { table, row: data_encoding::HEXLOWER.encode(row), reason }
}

/// Two keys, one behind the other: of an event of an aggregate, and of a void.
pub(super) fn joined(front: &[u8], event: EventKey) -> Vec<u8> {
    let mut key = Vec::with_capacity(front.len() + 16);
    key.extend_from_slice(front);
    key.extend_from_slice(&event.0);
    key
}

/// The aggregate key in front of an event key.
pub(super) fn aggregate_of(joined: &[u8]) -> &[u8] {
    joined.split_last_chunk::<16>().map_or(&[], |(aggregate, _)| aggregate)
}

/// The event key at the end of a row's key.
pub(super) fn event_of(row: &[u8]) -> Result<EventKey, TableError> {
    match row.split_last_chunk::<16>() {
        Some((_, event)) => Ok(EventKey(*event)),
        None => Err(corrupt("derived", row, "the row's key is shorter than an event key")),
    }
}

/// How far a Keyspace's index has followed the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The last arrival that it has taken in.
    pub(super) arrival: u64,
    /// That arrival's running hash.
    pub(super) check: [u8; 8],
}

/// A Keyspace's row in `meta`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// All of the arrivals up to here are in the index.
    pub(super) cursor: Cursor,
    /// Some of the arrivals up to here may be: a flush was begun. Never behind `cursor`.
    pub(super) begun: Cursor,
    /// How many aggregates have numbers.
    pub(super) numbers: u64,
}

impl Position {
    /// The position as a row's value.
    pub(super) fn write(self) -> [u8; 40] {
        let mut row = [0; 40];
        row[..8].copy_from_slice(&self.cursor.arrival.to_be_bytes());
        row[8..16].copy_from_slice(&self.cursor.check);
        row[16..24].copy_from_slice(&self.begun.arrival.to_be_bytes());
        row[24..32].copy_from_slice(&self.begun.check);
        row[32..].copy_from_slice(&self.numbers.to_be_bytes());
        row
    }

    /// The position from a row's value.
    pub(super) fn read(row: &[u8]) -> Result<Self, TableError> {
        let read = |mut row: &[u8]| {
            let mut next = || {
                let (number, rest) = row.split_first_chunk::<8>()?;
                row = rest;
                Some(*number)
            };
            let cursor = Cursor { arrival: u64::from_be_bytes(next()?), check: next()? };
            let begun = Cursor { arrival: u64::from_be_bytes(next()?), check: next()? };
            Some(Self { cursor, begun, numbers: u64::from_be_bytes(next()?) })
        };
        read(row).ok_or_else(|| corrupt("meta", row, "not 40 bytes"))
    }
}

/// The arrivals over which something holds: since, until (none: still).
pub(super) type Period = (u64, Option<u64>);

/// Periods as a row's value.
pub(super) fn write_periods(periods: &[Period]) -> Vec<u8> {
    let mut row = Vec::new();
    for (since, until) in periods {
        put_number(&mut row, *since);
        put_number(&mut row, until.unwrap_or(0));
    }
    row
}

/// The periods in a row's value.
pub(super) fn read_periods(row: &[u8]) -> Result<Vec<Period>, TableError> {
    let (mut rest, mut periods) = (row, Vec::new());
    while !rest.is_empty() {
        let mut period = || Some((take_number(&mut rest)?, take_number(&mut rest)?));
        let (since, until) = period().ok_or_else(|| corrupt("voids", row, "not periods"))?;
        periods.push((since, Some(until).filter(|until| *until != 0)));
    }
    Ok(periods)
}

/// Why an event is set aside, as a row's value: over which arrivals, whether the plugin's code is to blame, and the
/// reason.
pub(super) fn write_failure(periods: &[Period], failure: &Failure) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_piece(&mut bytes, &write_periods(periods));
    bytes.push(match failure.kind {
        FailureKind::Refused => 0,
        FailureKind::Broken => 1,
    });
    let end = failure.message.floor_char_boundary(REASON_BYTES_MAX);
    bytes.extend_from_slice(failure.message.get(..end).unwrap_or_default().as_bytes());
    bytes
}

/// An event that is set aside.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    /// The arrivals over which it is.
    periods: Vec<Period>,
    /// What people are told.
    pub(super) aside: SetAside,
    /// Whether the plugin's code is to blame.
    pub(super) kind: FailureKind,
}

impl Failed {
    /// The first arrival of an event that is set aside.
    pub(super) fn since(&self) -> Option<u64> {
        self.periods.first().map(|(since, _)| *since)
    }

    /// Whether it is set aside for whoever knows the arrivals up to `known`.
    pub(super) fn counts(&self, known: u64) -> bool {
        let holds = |(since, until): &Period| *since <= known && until.is_none_or(|until| known < until);
        self.periods.iter().any(holds)
    }
}

/// An event that is set aside, from its row; the key ends in the event's.
pub(super) fn read_failure(key: &[u8], row: &[u8]) -> Result<Failed, TableError> {
    let mut rest = row;
    let periods = take_piece(&mut rest);
    let (periods, (kind, reason)) =
        periods.zip(rest.split_first()).ok_or_else(|| corrupt("poison", key, "shorter than its kind"))?;
    let kind = if *kind == 0 { FailureKind::Refused } else { FailureKind::Broken };
    let aside = SetAside { key: event_of(key)?, reason: String::from_utf8_lossy(reason).into_owned() };
    Ok(Failed { periods: read_periods(periods)?, aside, kind })
}

/// The row of `meta` with a Keyspace's position. It exists as long as the Keyspace's tables are in use.
pub(super) fn position_row(keyspace: Revision) -> Vec<u8> {
    named(b'k', &[keyspace])
}

/// The row of `meta` that says that `states` belong to `keyspace`.
pub(super) fn states_row(keyspace: Revision, states: Revision) -> Vec<u8> {
    named(b's', &[keyspace, states])
}

/// The row of `meta` that says that `table` is being taken away; none for `meta` itself.
pub(super) fn going_row(table: Table) -> Option<Vec<u8>> {
    table.parts().map(|_| [&[GOING], table.name().as_bytes()].concat())
}

/// The first byte of every [`going_row`].
pub(super) const GOING: u8 = b'g';

/// The table that a [`going_row`] names.
pub(super) fn going_table(row: &[u8]) -> Option<Table> {
    let name = row.strip_prefix(&[GOING])?;
    Table::named(std::str::from_utf8(name).ok()?)
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
