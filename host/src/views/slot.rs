//! One Keyspace as a step of following works on it: what its tail and rows say of a key, and what is written there.
//!
//! Lookups go from the newest to the oldest: the active segment, the one that is being flushed, the index.

use super::build::Keyspace;
use super::computes::{Emission, Failure};
use super::history;
use super::index::Id;
use super::index::entry::{self, Span, write_body};
use super::index::read::Aggregate;
use super::layout;
use super::rows::{Rows, Table};
use super::tail::{Pending, Tail};
use crate::core::event::{EventKey, ValueHash};
use crate::core::tables::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// One stored value of a key, copied out of the events.
pub(super) struct Stored {
    pub(super) key: EventKey,
    pub(super) hash: ValueHash,
    pub(super) type_number: u32,
    pub(super) version: u32,
    pub(super) data: Vec<u8>,
}

/// What the plugins say of one stored value.
pub(super) struct Read<'c> {
    pub(super) stored: &'c Stored,
    /// What it voids, or why nothing can be said of this value.
    pub(super) voids: std::result::Result<Vec<EventKey>, Failure>,
    /// Its position among the upcast events; none if it has no upcast form.
    pub(super) upcast: Option<usize>,
}

/// What `map` gave for a batch.
pub(super) type Mapped = [std::result::Result<Vec<Emission>, Failure>];
/// Deltas by aggregate key, each aggregate's in the order of emission.
pub(super) type Aggregates<'m> = BTreeMap<&'m [u8], Vec<&'m [u8]>>;

/// One Keyspace that is brought forward.
pub(super) struct Slot<'b> {
    pub(super) keyspace: &'b Keyspace,
    pub(super) tail: &'b mut Tail,
    pub(super) rows: &'b dyn Rows,
    /// True if any event is voided.
    pub(super) has_voids: bool,
    /// True if events are settled again that may have been set aside.
    pub(super) is_retry: bool,
}

impl Read<'_> {
    /// Values of one key in the order in which the least one holds it.
    pub(super) fn order(&self) -> (u32, u32, &[u8]) {
        (self.stored.type_number, self.stored.version, &self.stored.data)
    }

    pub(super) fn retracts(&self) -> bool {
        self.voids.as_ref().is_ok_and(|voids| !voids.is_empty())
    }
}

impl<'b> Slot<'b> {
    pub(super) fn new(
        keyspace: &'b Keyspace,
        tail: &'b mut Tail,
        rows: &'b dyn Rows,
        is_retry: bool,
    ) -> Result<Self> {
        let mut has_voids = tail.both().any(|segment| !segment.voids.is_empty());
        rows.scan(Table::Voids(keyspace.tables), &[0], &mut |_, _| {
            has_voids = true;
            ControlFlow::Break(())
        })?;
        Ok(Self { keyspace, tail, rows, has_voids, is_retry })
    }

    /// The arrival of a value that was noted because its key has several.
    pub(super) fn noted(&self, name: (EventKey, ValueHash)) -> Result<Option<u64>> {
        let in_tail = [Some(&self.tail.active), self.tail.flushing.as_ref()];
        if let Some(arrival) = in_tail.into_iter().flatten().find_map(|segment| segment.values.get(&name)) {
            return Ok(Some(*arrival));
        }
        let row = self
            .rows
            .get(Table::Values(self.keyspace.tables), &layout::joined(&name.0.0, EventKey(name.1.0)))?;
        let number = |row: Vec<u8>| {
            let number = row.try_into().map(u64::from_be_bytes);
            number.map_err(|row| layout::corrupt("values", &row, "not 8 bytes"))
        };
        row.map(number).transpose()
    }

    /// Notes the arrivals of values whose key has several.
    pub(super) fn note_values(&mut self, values: &[Read<'_>], arrivals: &[Option<u64>]) {
        if values.len() > 1 {
            let noted = values.iter().zip(arrivals);
            for (value, arrival) in noted.filter_map(|(value, arrival)| Some((value.stored, (*arrival)?))) {
                self.tail.active.values.insert((value.key, value.hash), arrival);
            }
        }
    }

    /// The entry of an event in an aggregate as it is now, from wherever it is.
    pub(super) fn entry(&self, aggregate: &[u8], event: EventKey) -> Result<Option<Vec<u8>>> {
        let key = layout::joined(aggregate, event);
        let in_tail = [Some(&self.tail.active), self.tail.flushing.as_ref()];
        let pending = in_tail.into_iter().flatten().find_map(|segment| segment.entries.get(key.as_slice()));
        match pending {
            Some(pending) => Ok(Some(pending.body().bytes().to_vec())),
            None => self.indexed(aggregate, event),
        }
    }

    /// Since when an event is set aside, if it was ever.
    pub(super) fn failed_since(&self, key: EventKey) -> Result<Option<u64>> {
        let in_tail = [Some(&self.tail.active), self.tail.flushing.as_ref()];
        let row = match in_tail.into_iter().flatten().find_map(|segment| segment.failures.get(&key)) {
            Some(row) => row.as_ref().map(|row| row.to_vec()),
            None => self.rows.get(Table::Poison(self.keyspace.tables), &key.0)?,
        };
        Ok(row.map(|row| layout::read_failure(&key.0, &row)).transpose()?.and_then(|failed| failed.since()))
    }

    /// The entry of an event in the index.
    pub(super) fn indexed(&self, aggregate: &[u8], event: EventKey) -> Result<Option<Vec<u8>>> {
        let tables = self.keyspace.tables;
        let Some(id) = number_of(self.rows, self.keyspace, aggregate)? else { return Ok(None) };
        let index = Table::Index(tables);
        Aggregate::open(self.rows, index, Some(id), Vec::new(), entry::NOW)?.stored(event)
    }

    /// Writes what the values of one key void, and adds those keys to `voided`.
    pub(super) fn write_voids(
        &mut self,
        values: &[Read<'_>],
        winners: &[history::Winner],
        voided: &mut BTreeSet<EventKey>,
    ) {
        let targets: BTreeSet<EventKey> =
            values.iter().filter_map(|value| value.voids.as_ref().ok()).flatten().copied().collect();
        for target in targets {
            let voids = |winner: &&history::Winner| {
                let value = values.get(winner.index).map(|value| &value.voids);
                value.is_some_and(|voids| voids.as_ref().is_ok_and(|voids| voids.contains(&target)))
            };
            let periods: Vec<_> = winners.iter().filter(voids).map(|winner| winner.period).collect();
            if let (false, Some(value)) = (periods.is_empty(), values.first()) {
                let row = layout::write_periods(&periods);
                self.tail.active.voids.insert((target, value.stored.key), row.into());
                self.has_voids = true;
                voided.insert(target);
            }
        }
    }

    /// The periods over which an event is voided.
    pub(super) fn voided(&self, event: EventKey) -> Result<Vec<layout::Period>> {
        if !self.has_voids {
            return Ok(Vec::new());
        }
        let mut by_voider: BTreeMap<EventKey, Vec<u8>> = BTreeMap::new();
        let mut outcome = Ok(());
        self.rows.scan(Table::Voids(self.keyspace.tables), &event.0, &mut |key, row| {
            if !key.starts_with(&event.0) {
                return ControlFlow::Break(());
            }
            match layout::event_of(key) {
                Ok(voider) => {
                    by_voider.insert(voider, row.to_vec());
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        outcome?;
        for segment in self.tail.both() {
            let range = (event, EventKey([0; 16]))..=(event, EventKey([0xff; 16]));
            let rows = segment.voids.range(range).map(|((_, voider), row)| (*voider, row.to_vec()));
            by_voider.extend(rows);
        }
        let mut periods = Vec::new();
        for row in by_voider.values() {
            periods.extend(layout::read_periods(row)?);
        }
        Ok(periods)
    }

    /// Writes what the values of one key add to aggregates.
    pub(super) fn write_entries(
        &mut self,
        values: &[Read<'_>],
        emitted: &[std::result::Result<Aggregates<'_>, Failure>],
        winners: &[history::Winner],
    ) -> Result<()> {
        let (Some(value), false) = (values.first(), winners.is_empty()) else { return Ok(()) };
        let key = value.stored.key;
        let voided = self.voided(key)?;
        let is_new = values.len() == 1 && voided.is_empty();
        let aggregates: BTreeSet<&[u8]> =
            emitted.iter().flatten().flat_map(BTreeMap::keys).copied().collect();
        let counts = |winner: &history::Winner| {
            let retracts = values.get(winner.index).is_some_and(Read::retracts);
            if retracts { Vec::new() } else { voided.clone() }
        };
        for aggregate in aggregates {
            let adds = |winner: &history::Winner| {
                let rows = emitted.get(winner.index)?.as_ref().ok()?;
                rows.get(aggregate).map(|deltas| deltas.iter().map(|delta| delta.to_vec()).collect())
            };
            let spans: Vec<Span> = history::spans(winners, &adds, &counts);
            let joined = layout::joined(aggregate, key);
            let fresh = is_new || self.is_fresh(&joined, aggregate, key)?;
            let pending = Pending::new(key, &write_body(&spans), fresh);
            self.tail.active.entries.insert(joined.into(), pending);
        }
        self.write_failure(key, winners, emitted, &counts, is_new);
        Ok(())
    }

    /// Whether the index has no entry of this event in this aggregate.
    pub(super) fn is_fresh(&self, joined: &[u8], aggregate: &[u8], event: EventKey) -> Result<bool> {
        if let Some(pending) = self.tail.active.entries.get(joined) {
            return Ok(pending.fresh);
        }
        let in_flush =
            self.tail.flushing.as_ref().is_some_and(|segment| segment.entries.contains_key(joined));
        Ok(!in_flush && self.indexed(aggregate, event)?.is_none())
    }

    /// Sets the event aside for as long as the value that holds its key cannot be taken and is not voided.
    pub(super) fn write_failure(
        &mut self,
        key: EventKey,
        winners: &[history::Winner],
        emitted: &[std::result::Result<Aggregates<'_>, Failure>],
        voided: &dyn Fn(&history::Winner) -> Vec<layout::Period>,
        is_new: bool,
    ) {
        let failure = |winner: &history::Winner| emitted.get(winner.index)?.as_ref().err();
        let periods = history::periods(winners, &|winner| failure(winner).is_some(), voided);
        match winners.iter().rev().find_map(failure).filter(|_| !periods.is_empty()) {
            Some(failure) => {
                let row = layout::write_failure(&periods, failure);
                self.tail.active.failures.insert(key, Some(row.into()));
            }
            None if is_new && !self.is_retry => {}
            None => {
                self.tail.active.failures.insert(key, None);
            }
        }
    }
}

/// The number of an aggregate, if it has one.
pub(super) fn number_of(rows: &dyn Rows, keyspace: &Keyspace, aggregate: &[u8]) -> Result<Option<Id>> {
    let row = rows.get(Table::Numbers(keyspace.tables), aggregate)?;
    let number = |row: Vec<u8>| {
        let number = row.try_into().map(u64::from_be_bytes);
        number.map_err(|row| layout::corrupt("numbers", &row, "not 8 bytes"))
    };
    row.map(number).transpose()
}

pub(super) fn first_since(body: &[u8]) -> Option<u64> {
    entry::Body::of(body).spans()?.first().map(|span| span.since)
}
