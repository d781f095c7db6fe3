//! One Keyspace as a step of following works on it: what its tail and rows say of a key, and what is written there.
//!
//! Lookups go from the newest to the oldest: the active segment, the one that is being flushed, the index. What a pass
//! over keys writes becomes one sorted run; no key is looked up in the pass that writes it.

use super::build::Keyspace;
use super::computes::{Failure, FailureKind, Mapped};
use super::history;
use super::index::Id;
use super::index::bytes::{put_number, put_piece};
use super::index::entry::{self, Span, write_body};
use super::index::read::Aggregate;
use super::layout;
use super::mapping::Read;
use super::rows::{Rows, Table};
use super::runs::Run;
use super::tail::Tail;
use crate::core::event::{EventKey, ValueHash};
use crate::core::limits::{AGGREGATE_KEY_BYTES_MAX, AGGREGATES_PER_EVENT_MAX, DELTA_BYTES_MAX};
use crate::core::tables::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Deltas by aggregate key, each aggregate's in the order of emission.
pub(super) type Aggregates<'m> = BTreeMap<&'m [u8], Vec<&'m [u8]>>;

/// One Keyspace that is brought forward.
pub(super) struct Slot<'b> {
    pub(super) keyspace: &'b Keyspace,
    pub(super) tail: &'b mut Tail,
    rows: &'b dyn Rows,
    /// True if any event is voided.
    has_voids: bool,
    /// True if events are settled again that may have been set aside.
    is_retry: bool,
    /// The entries of this pass.
    run: Run,
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
        Ok(Self { keyspace, tail, rows, has_voids, is_retry, run: Run::default() })
    }

    /// Ends a pass: its entries can be looked up from now on.
    pub(super) fn seal(&mut self) {
        let mut run = std::mem::take(&mut self.run);
        run.sort();
        self.tail.active.entries.add(run);
    }

    /// What `map` gave for a value, if it is within its bounds; nothing for a type that no Schema owns.
    pub(super) fn emitted<'m>(
        value: &Read,
        mapped: &'m Mapped,
    ) -> std::result::Result<Aggregates<'m>, Failure> {
        if let Err(failure) = &value.voids {
            return Err(failure.clone());
        }
        let Some(position) = value.mapped else { return Ok(Aggregates::new()) };
        let mut aggregates = Aggregates::new();
        for (aggregate, delta) in mapped.of(position)? {
            check(aggregate, delta)?;
            aggregates.entry(aggregate).or_default().push(delta);
        }
        if aggregates.len() > AGGREGATES_PER_EVENT_MAX {
            return Err(too_many(aggregates.len()));
        }
        Ok(aggregates)
    }

    /// Writes the entries of a value that has just arrived and is alone under its key; false, and nothing is written,
    /// if there is more to it.
    pub(super) fn settle_new(&mut self, read: &Read, arrival: u64, mapped: &Mapped) -> Result<bool> {
        let Read { key, voids: Ok(voids), mapped: position, .. } = read else { return Ok(false) };
        if !voids.is_empty() || self.is_retry || !self.voided(*key)?.is_empty() {
            return Ok(false);
        }
        let Some(position) = position else { return Ok(true) };
        let Ok(rows) = mapped.of(*position) else { return Ok(false) };
        let are_distinct = || rows.clone().map(|(key, _)| key).collect::<BTreeSet<_>>().len() == rows.len();
        if rows.len() > AGGREGATES_PER_EVENT_MAX
            || rows.clone().any(|(key, delta)| check(key, delta).is_err())
            || rows.len() > 1 && !are_distinct()
        {
            return Ok(false);
        }
        for (aggregate, delta) in rows {
            let body = |bytes: &mut Vec<u8>| {
                put_number(bytes, arrival << 1);
                put_piece(bytes, delta);
            };
            self.run.push_with(aggregate, *key, body, true);
        }
        Ok(true)
    }

    /// The arrival of a value that was noted because its key has several.
    pub(super) fn noted(&self, name: (EventKey, ValueHash)) -> Result<Option<u64>> {
        if let Some(arrival) = self.tail.both().rev().find_map(|segment| segment.values.get(&name)) {
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
    pub(super) fn note_values(&mut self, values: &[Read], arrivals: &[Option<u64>]) {
        if values.len() > 1 {
            let noted = values.iter().zip(arrivals);
            for (value, arrival) in noted.filter_map(|(value, arrival)| Some((value, (*arrival)?))) {
                self.tail.active.values.insert((value.key, value.hash), arrival);
            }
        }
    }

    /// The entry of an event in an aggregate as it was before this pass, from wherever it is.
    pub(super) fn entry(&self, aggregate: &[u8], event: EventKey) -> Result<Option<Vec<u8>>> {
        let key = layout::joined(aggregate, event);
        match self.tail.both().rev().find_map(|segment| segment.entries.get(&key)) {
            Some(row) => Ok(Some(row.body.to_vec())),
            None => self.indexed(aggregate, event),
        }
    }

    /// The entry of an event in the index.
    fn indexed(&self, aggregate: &[u8], event: EventKey) -> Result<Option<Vec<u8>>> {
        let Some(id) = number_of(self.rows, self.keyspace, aggregate)? else { return Ok(None) };
        let index = Table::Index(self.keyspace.tables);
        Aggregate::open(self.rows, index, Some(id), Vec::new(), entry::NOW)?.stored(event)
    }

    /// Whether the index has no entry of this event in this aggregate.
    fn is_fresh(&self, aggregate: &[u8], event: EventKey) -> Result<bool> {
        let key = layout::joined(aggregate, event);
        match self.tail.both().rev().find_map(|segment| Some(segment.entries.get(&key)?.fresh)) {
            // What is being flushed may be in the index by the time that somebody asks.
            Some(fresh) => Ok(fresh && self.tail.active.entries.get(&key).is_some()),
            None => Ok(self.indexed(aggregate, event)?.is_none()),
        }
    }

    /// Since when an event is set aside, if it was ever.
    pub(super) fn failed_since(&self, key: EventKey) -> Result<Option<u64>> {
        let row = match self.tail.both().rev().find_map(|segment| segment.failures.get(&key)) {
            Some(row) => row.as_ref().map(|row| row.to_vec()),
            None => self.rows.get(Table::Poison(self.keyspace.tables), &key.0)?,
        };
        Ok(row.map(|row| layout::read_failure(&key.0, &row)).transpose()?.and_then(|failed| failed.since()))
    }

    /// Writes what the values of one key void, and adds those keys to `voided`.
    pub(super) fn write_voids(
        &mut self,
        values: &[Read],
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
                self.tail.active.voids.insert((target, value.key), row.into());
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
        values: &[Read],
        emitted: &[std::result::Result<Aggregates<'_>, Failure>],
        winners: &[history::Winner],
    ) -> Result<()> {
        let (Some(value), false) = (values.first(), winners.is_empty()) else { return Ok(()) };
        let voided = self.voided(value.key)?;
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
            let fresh = self.is_fresh(aggregate, value.key)?;
            self.run.push(aggregate, value.key, &write_body(&spans), fresh);
        }
        self.write_failure(value.key, winners, emitted, &counts, is_new);
        Ok(())
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

/// Whether a delta and the aggregate that it goes to are within their bounds.
fn check(aggregate: &[u8], delta: &[u8]) -> std::result::Result<(), Failure> {
    let refused = |message| Err(Failure { kind: FailureKind::Refused, message });
    if aggregate.len() > AGGREGATE_KEY_BYTES_MAX {
        return refused(format!(
            "an aggregate key of {} bytes; at most {AGGREGATE_KEY_BYTES_MAX}",
            aggregate.len()
        ));
    }
    if delta.len() > DELTA_BYTES_MAX {
        return refused(format!("a delta of {} bytes; at most {DELTA_BYTES_MAX}", delta.len()));
    }
    Ok(())
}

fn too_many(aggregates: usize) -> Failure {
    let message = format!("an event of {aggregates} aggregates; at most {AGGREGATES_PER_EVENT_MAX}");
    Failure { kind: FailureKind::Refused, message }
}
