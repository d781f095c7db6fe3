//! What the index does not hold yet: the newest arrivals of one Keyspace, mapped and in memory.
//!
//! ```text
//! arrivals --follow--> active segment --(full, or nothing comes in)--> flushing segment --write--> index
//! readers: index at some cursor, with the segments behind that cursor over it
//! ```
//! One write transaction for many arrivals costs little more than one for a few, so the index is written in large
//! batches, and reads do not wait for them. Everything here shares what is equal with its older selves: the thread that
//! follows the arrivals publishes a new [`Tail`] after every step, readers keep the one they took. Entries in a segment
//! replace those in the index; taking a segment into account twice changes nothing.

use super::layout::{self, Cursor};
use super::runs::{Pending, Runs};
use crate::core::event::{EventKey, ValueHash};
use imbl::OrdMap;
use std::sync::Arc;

/// A row that is no entry takes about so many bytes of memory.
const REST_ROW_BYTES: usize = 128;

/// Some arrivals that follow on each other, by what they change.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// Where it ends.
    pub(super) end: Cursor,
    /// The entries.
    pub(super) entries: Runs,
    /// Voided event and voiding event to the arrivals over which that holds.
    pub(super) voids: OrdMap<(EventKey, EventKey), Arc<[u8]>>,
    /// Values of keys with several, to their arrivals.
    pub(super) values: OrdMap<(EventKey, ValueHash), u64>,
    /// Events that could not be mapped, to the reason as a row; none: it can be.
    pub(super) failures: OrdMap<EventKey, Option<Arc<[u8]>>>,
}

/// Both segments at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// Being written into the index; older than `active`.
    pub(super) flushing: Option<Segment>,
    /// Takes the newest arrivals.
    pub(super) active: Segment,
    /// How often events that were set aside were tried again: that changes rows without an arrival.
    pub(super) epoch: u64,
}

impl Segment {
    /// How many rows it will write.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.rest_len()
    }

    /// About how many bytes of memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.entries.bytes() + self.rest_len() * REST_ROW_BYTES
    }

    fn rest_len(&self) -> usize {
        self.voids.len() + self.values.len() + self.failures.len()
    }
}

impl Tail {
    /// A tail behind `cursor`, with nothing in it.
    pub(super) fn behind(cursor: Cursor) -> Self {
        Self { active: Segment { end: cursor, ..Segment::default() }, ..Self::default() }
    }

    /// How far it follows the arrivals.
    pub(super) fn position(&self) -> u64 {
        self.active.end.arrival
    }

    /// The segments that end behind `cursor`, the older one first.
    pub(super) fn segments(&self, cursor: u64) -> impl Iterator<Item = &Segment> {
        self.both().filter(move |segment| segment.end.arrival > cursor)
    }

    /// All that is in memory, the older segment first.
    pub(super) fn both(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.flushing.iter().chain([&self.active])
    }

    /// The entries of one aggregate behind `cursor`, in key order, the newer over the older.
    pub(super) fn of(&self, aggregate: &[u8], cursor: u64) -> Vec<Pending> {
        let mut entries = Vec::new();
        for segment in self.segments(cursor) {
            segment.entries.over(aggregate, &mut entries);
        }
        entries
    }

    /// The first aggregate whose entries behind `cursor` are at or behind `from`.
    pub(super) fn next_aggregate(&self, from: &[u8], cursor: u64) -> Option<Vec<u8>> {
        let least = self.segments(cursor).filter_map(|segment| segment.entries.next_key(from)).min()?;
        Some(layout::aggregate_of(least).to_vec())
    }
}
