//! What the index does not hold yet: the newest arrivals of one Keyspace, mapped and in memory.
//!
//! ```text
//! arrivals --follow--> active segment --(full, or nothing comes in)--> flushing segment --write--> index
//! readers: index at some cursor, with the segments behind that cursor over it
//! ```
//! One write transaction for many arrivals costs little more than one for a few, so the index is written in large
//! batches, and reads do not wait for them. Maps are persistent (they share what is equal with their older selves):
//! the thread that follows the arrivals publishes a new [`Tail`] after every batch, readers keep the one they took.
//! Entries in a segment replace those in the index; taking a segment into account twice changes nothing.

use super::index::entry::Body;
use super::layout::{self, Cursor};
use crate::core::event::{EventKey, ValueHash};
use imbl::OrdMap;
use std::ops::Bound;
use std::sync::Arc;

/// The entry of one event in one aggregate.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The event.
    pub(super) event: EventKey,
    /// True if the index has no entry of it in this aggregate.
    pub(super) fresh: bool,
    body: Arc<[u8]>,
}

impl Pending {
    /// An entry with this body.
    pub(super) fn new(event: EventKey, body: &[u8], fresh: bool) -> Self {
        Self { event, fresh, body: body.into() }
    }

    /// What it adds.
    pub(super) fn body(&self) -> Body<'_> {
        Body::of(&self.body)
    }
}

/// Some arrivals that follow on each other, by what they change.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// Where it ends.
    pub(super) end: Cursor,
    /// Aggregate key and event key, one behind the other, to the entry.
    pub(super) entries: OrdMap<Arc<[u8]>, Pending>,
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
}

impl Segment {
    /// How many rows it will write.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.voids.len() + self.values.len() + self.failures.len()
    }

    /// The entries whose keys start with `aggregate`, in order.
    pub(super) fn of<'s>(&'s self, aggregate: &'s [u8]) -> impl Iterator<Item = &'s Pending> {
        let rows = self.entries.range::<_, [u8]>((Bound::Included(aggregate), Bound::Unbounded));
        rows.take_while(move |(key, _)| key.starts_with(aggregate)).map(|(_, pending)| pending)
    }
}

impl Tail {
    /// A tail behind `cursor`, with nothing in it.
    pub(super) fn behind(cursor: Cursor) -> Self {
        Self { flushing: None, active: Segment { end: cursor, ..Segment::default() } }
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
    pub(super) fn both(&self) -> impl Iterator<Item = &Segment> {
        self.flushing.iter().chain([&self.active])
    }

    /// The entries of one aggregate behind `cursor`, in key order, the newer over the older.
    pub(super) fn of(&self, aggregate: &[u8], cursor: u64) -> Vec<Pending> {
        let mut merged: Vec<Pending> = Vec::new();
        for segment in self.segments(cursor) {
            if merged.is_empty() {
                merged.extend(segment.of(aggregate).cloned());
                continue;
            }
            for newer in segment.of(aggregate) {
                match merged.binary_search_by_key(&newer.event, |pending| pending.event) {
                    Ok(at) => {
                        if let Some(older) = merged.get_mut(at) {
                            *older = Pending { fresh: older.fresh, ..newer.clone() };
                        }
                    }
                    Err(at) => merged.insert(at, newer.clone()),
                }
            }
        }
        merged
    }

    /// The first aggregate whose entries behind `cursor` are at or behind `from`.
    pub(super) fn next_aggregate(&self, from: &[u8], cursor: u64) -> Option<Vec<u8>> {
        let first = |segment: &Segment| {
            let from = (Bound::Included(from), Bound::Unbounded);
            segment.entries.range::<_, [u8]>(from).next().map(|(key, _)| Arc::clone(key))
        };
        let least = self.segments(cursor).filter_map(first).min()?;
        Some(layout::aggregate_of(&least).to_vec())
    }
}
