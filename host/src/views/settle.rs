//! How arrivals become rows: each event's rows are brought to what the events say now.
//!
//! ```text
//! arrivals  c+1 ..= end  -> their keys  -> settle each: winner and losers of the key
//!                                          -> upcast -> retracts -> rows of `voids`
//!                                                    -> map      -> rows of `deltas`, flagged if voided
//!                           keys that they void -> settle each once more
//! aggregates touched      -> head (version = end, live count), Snapshots at or behind the change deleted
//! ```
//! Settling looks at the state of the events, never at what changed: a late event, a retraction that comes before its
//! event, a second retraction, a clash that changes the winner, and a batch that is run again are all the same case.
//! It may look further than `end`, because the events may already hold more; that only does later work early.

use super::build::{Build, Keyspace};
use super::computes::{Emission, Failure, FailureKind, Upcast};
use super::layout::{self, Cursor, Head};
use super::rows::{Rows, RowsMut, Table, keys_under};
use crate::core::event::{Arrival, EventKey, Value};
use crate::core::limits::AGGREGATE_KEY_BYTES_MAX;
use crate::core::tables::{Position, Result, Tables};
use crate::plugin::event_ref;
use laterbase_plugin::aggregate;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// So many arrivals are indexed in one write transaction at most.
pub(super) const BATCH_ARRIVALS_MAX: u64 = 1024;
/// So many events are shown to a plugin in one call at most.
const CALL_EVENTS_MAX: usize = 256;
/// With so many bytes of data a call is full, whatever the number of its events.
const CALL_BYTES_MAX: usize = 4 << 20;

/// Indexes the next arrivals for those Keyspaces of `build` that are furthest behind, up to the last arrival in
/// `events`. Returns how far the whole build is then.
pub(super) fn advance(events: &dyn Tables, rows: &mut dyn RowsMut, build: &Build) -> Result<u64> {
    let (head, cursors) = (events.head()?, cursors(rows, build)?);
    let Some(start) = cursors.iter().copied().min() else { return Ok(head.arrivals) };
    let ahead = cursors.iter().copied().filter(|cursor| *cursor > start).min();
    let end = (start + BATCH_ARRIVALS_MAX).min(ahead.unwrap_or(u64::MAX)).min(head.arrivals);
    if end <= start {
        return Ok(start);
    }
    let (keys, check) = arrived(events, start, end)?;
    let lagging = build.keyspaces.iter().zip(&cursors).filter(|(_, cursor)| **cursor == start);
    let keyspaces: Vec<&Keyspace> = lagging.map(|(keyspace, _)| keyspace).collect();
    let mut settling = Settling {
        events,
        rows,
        build,
        touched: vec![BTreeMap::new(); keyspaces.len()],
        keyspaces,
        losers: head.arrivals > head.events,
    };
    settling.settle_all(keys)?;
    settling.finish(Cursor { arrival: end, check })?;
    Ok(cursors.into_iter().map(|cursor| cursor.max(end)).min().unwrap_or(end))
}

/// How far the whole build has followed the events; none if it has no Keyspaces.
pub(super) fn position(rows: &(impl Rows + ?Sized), build: &Build) -> Result<Option<u64>> {
    Ok(cursors(rows, build)?.into_iter().min())
}

/// How far one Keyspace has followed the events.
pub(super) fn cursor(rows: &(impl Rows + ?Sized), keyspace: &Keyspace) -> Result<u64> {
    match rows.get(Table::Meta, &layout::cursor_row(keyspace.tables))? {
        Some(row) => Ok(Cursor::read(&row)?.arrival),
        None => Ok(0),
    }
}

fn cursors(rows: &(impl Rows + ?Sized), build: &Build) -> Result<Vec<u64>> {
    build.keyspaces.iter().map(|keyspace| cursor(rows, keyspace)).collect()
}

/// The keys of the arrivals behind `start` up to and with `end`, and the running hash at `end`.
fn arrived(events: &dyn Tables, start: u64, end: u64) -> Result<(BTreeSet<EventKey>, [u8; 8])> {
    let (mut keys, mut check) = (BTreeSet::new(), [0; 8]);
    events.arrivals(Arrival(start + 1), &mut |number, row| {
        if number.0 > end {
            return ControlFlow::Break(());
        }
        keys.insert(row.key);
        check = row.check;
        ControlFlow::Continue(())
    })?;
    Ok((keys, check))
}

/// What one batch does to an aggregate.
#[derive(Clone, Copy, Debug)]
struct Touched {
    /// The first event whose contribution changed.
    first: EventKey,
    /// How many un-voided events came, less those that went.
    live: i64,
}

/// One batch under way.
struct Settling<'b> {
    events: &'b dyn Tables,
    rows: &'b mut dyn RowsMut,
    build: &'b Build,
    keyspaces: Vec<&'b Keyspace>,
    /// Per Keyspace: what happened to which aggregate.
    touched: Vec<BTreeMap<Vec<u8>, Touched>>,
    /// True if any key has more than one value.
    losers: bool,
}

/// One stored value of a key, copied out of the events.
struct Stored {
    key: EventKey,
    type_number: u32,
    version: u32,
    data: Vec<u8>,
    /// True for the value that holds the key.
    wins: bool,
}

/// What the plugins say of one stored value.
struct Read {
    key: EventKey,
    wins: bool,
    /// What it voids, or why nothing can be said of this value.
    voids: std::result::Result<Vec<EventKey>, Failure>,
    /// Its position among the upcast events; none if it has no upcast form.
    upcast: Option<usize>,
}

impl Settling<'_> {
    fn settle_all(&mut self, keys: BTreeSet<EventKey>) -> Result<()> {
        let voided = self.settle_in_calls(keys)?;
        // What those void in their turn is settled with their own arrivals.
        self.settle_in_calls(voided)?;
        Ok(())
    }

    /// Settles `keys` in calls of bounded size; returns the keys that they void.
    fn settle_in_calls(&mut self, keys: BTreeSet<EventKey>) -> Result<BTreeSet<EventKey>> {
        let (mut voided, mut call, mut bytes) = (BTreeSet::new(), Vec::new(), 0);
        for key in keys {
            let before = call.len();
            self.load(key, &mut call)?;
            bytes += call.iter().skip(before).map(|stored| stored.data.len()).sum::<usize>();
            if call.len() >= CALL_EVENTS_MAX || bytes >= CALL_BYTES_MAX {
                voided.extend(self.settle(&std::mem::take(&mut call))?);
                bytes = 0;
            }
        }
        voided.extend(self.settle(&call)?);
        Ok(voided)
    }

    /// Appends the values of `key`, the winner first; nothing if the key is not known.
    fn load(&self, key: EventKey, out: &mut Vec<Stored>) -> Result<()> {
        let stored = |value: Value<'_>, wins| Stored {
            key,
            type_number: value.type_number,
            version: value.version,
            data: value.data.to_vec(),
            wins,
        };
        let Some(winner) = self.events.event(key)? else { return Ok(()) };
        out.push(stored(winner.value, true));
        if self.losers {
            self.events.walk(Some(Position { key, loser: None }), &mut |event| {
                if event.key != key {
                    return ControlFlow::Break(());
                }
                out.push(stored(event.value, false));
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    /// Brings the rows of these values' keys to what the events say; returns the keys that they void.
    fn settle(&mut self, call: &[Stored]) -> Result<BTreeSet<EventKey>> {
        if call.is_empty() {
            return Ok(BTreeSet::new());
        }
        let (reads, upcast) = self.read(call);
        let mut voided = BTreeSet::new();
        for values in reads.chunk_by(|one, next| one.key == next.key) {
            self.write_voids(values, &mut voided)?;
        }
        for slot in 0..self.keyspaces.len() {
            let position = self.keyspaces.get(slot).expect("slot is in range").position;
            let mapped = self.build.plugins.map(position, &upcast);
            for values in reads.chunk_by(|one, next| one.key == next.key) {
                self.write_deltas(slot, values, &mapped)?;
            }
        }
        Ok(voided)
    }

    /// What the plugins say of these values, and the upcast events.
    fn read(&self, call: &[Stored]) -> (Vec<Read>, Vec<Upcast>) {
        let refs: Vec<_> = call
            .iter()
            .map(|stored| {
                let value =
                    Value { type_number: stored.type_number, version: stored.version, data: &stored.data };
                event_ref(stored.key, value)
            })
            .collect();
        let (mut reads, mut upcast) = (Vec::with_capacity(call.len()), Vec::with_capacity(call.len()));
        let mut results = self.build.plugins.upcast(&refs).into_iter();
        for stored in call {
            let result = results.next().unwrap_or_else(|| Err(short("upcast")));
            let (voids, position) = match result {
                Ok(Some(event)) => {
                    upcast.push(event);
                    (Ok(Vec::new()), Some(upcast.len() - 1))
                }
                Ok(None) => (Ok(Vec::new()), None),
                Err(failure) => (Err(failure), None),
            };
            reads.push(Read { key: stored.key, wins: stored.wins, voids, upcast: position });
        }
        let mut retracts = self.build.plugins.retracts(&upcast).into_iter();
        for read in reads.iter_mut().filter(|read| read.upcast.is_some()) {
            read.voids = retracts.next().unwrap_or_else(|| Err(short("retracts")));
        }
        (reads, upcast)
    }

    /// Writes what the values of one key void, and adds those keys, then and now, to `voided`.
    fn write_voids(&mut self, values: &[Read], voided: &mut BTreeSet<EventKey>) -> Result<()> {
        let table = Table::Voids(self.build.voids);
        let targets = |wins| {
            let of = values.iter().filter(move |value| value.wins == wins);
            of.filter_map(|value| value.voids.as_ref().ok()).flatten().copied().collect::<BTreeSet<_>>()
        };
        let (now, lost) = (targets(true), targets(false));
        let Some(value) = values.first() else { return Ok(()) };
        for target in lost.difference(&now) {
            self.rows.delete(table, &layout::joined(&target.0, value.key))?;
        }
        for target in &now {
            self.rows.put(table, &layout::joined(&target.0, value.key), &[])?;
        }
        voided.extend(now);
        voided.extend(lost);
        Ok(())
    }

    /// Writes what the values of one key add to one Keyspace.
    fn write_deltas(
        &mut self,
        slot: usize,
        values: &[Read],
        mapped: &[std::result::Result<Vec<Emission>, Failure>],
    ) -> Result<()> {
        let keyspace = *self.keyspaces.get(slot).expect("slot is in range");
        let Some(key) = values.first().map(|value| value.key) else { return Ok(()) };
        let (mut now, mut failure, mut retracts) = (Aggregates::new(), None, false);
        let mut lost = BTreeSet::new();
        for value in values {
            match (value.wins, emitted(value, mapped).and_then(|rows| grouped(keyspace, rows))) {
                (true, Ok(aggregates)) => now = aggregates,
                (true, Err(reason)) => failure = Some(reason),
                (false, Ok(aggregates)) => lost.extend(aggregates.into_keys()),
                // Pure functions fail again: this value never had rows.
                (false, Err(_)) => {}
            }
            retracts |= value.wins && value.voids.as_ref().is_ok_and(|voids| !voids.is_empty());
        }
        let voided = !retracts && self.is_voided(key)?;
        for aggregate in lost.into_iter().filter(|aggregate| !now.contains_key(*aggregate)) {
            self.replace(slot, aggregate, key, None)?;
        }
        for (aggregate, deltas) in now {
            self.replace(slot, aggregate, key, Some(&layout::write_deltas(voided, deltas)))?;
        }
        let poison = Table::Poison(keyspace.tables);
        match failure.filter(|_| !voided) {
            Some(failure) => self.rows.put(poison, &key.0, &layout::write_failure(&failure)),
            None => self.rows.delete(poison, &key.0),
        }
    }

    fn is_voided(&self, key: EventKey) -> Result<bool> {
        let table = Table::Voids(self.build.voids);
        Ok(!keys_under(&*self.rows, table, &key.0, &key.0, 1)?.is_empty())
    }

    /// Replaces the row of (aggregate, event) and notes what that does to the aggregate.
    fn replace(&mut self, slot: usize, aggregate: &[u8], key: EventKey, new: Option<&[u8]>) -> Result<()> {
        let keyspace = *self.keyspaces.get(slot).expect("slot is in range");
        let (table, row) = (Table::Deltas(keyspace.tables), layout::joined(aggregate, key));
        let old = self.rows.get(table, &row)?;
        if old.as_deref() == new {
            return Ok(());
        }
        match new {
            Some(value) => self.rows.put(table, &row, value)?,
            None => self.rows.delete(table, &row)?,
        }
        let (was, is) = (old.as_deref().is_some_and(layout::is_live), new.is_some_and(layout::is_live));
        if was || is {
            let touched = self.touched.get_mut(slot).expect("one map a slot");
            let touched = touched.entry(aggregate.to_vec()).or_insert(Touched { first: key, live: 0 });
            touched.first = touched.first.min(key);
            touched.live += i64::from(is) - i64::from(was);
        }
        Ok(())
    }

    /// Writes heads and cursors, and deletes the Snapshots that hold no longer.
    fn finish(self, cursor: Cursor) -> Result<()> {
        self.rows.put(Table::Meta, &layout::voids_row(self.build.voids), &[])?;
        for (keyspace, touched) in self.keyspaces.iter().zip(self.touched) {
            let under = layout::snapshots_rows(keyspace.tables);
            let snapshots = keys_under(&*self.rows, Table::Meta, &under, &under, usize::MAX)?;
            let snapshots: Vec<Table> = snapshots
                .iter()
                .filter_map(|row| layout::revisions_of(row).last().copied().map(Table::Snapshots))
                .collect();
            for (aggregate, touched) in touched {
                write_head(self.rows, keyspace, &aggregate, touched.live, cursor.arrival)?;
                for table in &snapshots {
                    forget(self.rows, *table, &aggregate, touched.first)?;
                }
            }
            self.rows.put(Table::Meta, &layout::cursor_row(keyspace.tables), &cursor.write())?;
        }
        Ok(())
    }
}

/// Deltas by aggregate key, each aggregate's in the order of emission.
type Aggregates<'m> = BTreeMap<&'m [u8], Vec<&'m [u8]>>;

/// What `map` gave for a value; nothing for a type that no Schema owns.
fn emitted<'m>(
    value: &Read,
    mapped: &'m [std::result::Result<Vec<Emission>, Failure>],
) -> std::result::Result<&'m [Emission], Failure> {
    if let Err(failure) = &value.voids {
        return Err(failure.clone());
    }
    match value.upcast.map(|position| mapped.get(position)) {
        None => Ok(&[]),
        Some(Some(Ok(rows))) => Ok(rows),
        Some(Some(Err(failure))) => Err(failure.clone()),
        Some(None) => Err(short("map")),
    }
}

/// One event's emissions by aggregate, if each key is one.
fn grouped<'m>(keyspace: &Keyspace, rows: &'m [Emission]) -> std::result::Result<Aggregates<'m>, Failure> {
    let mut aggregates = Aggregates::new();
    for (aggregate, delta) in rows {
        if aggregate.len() > AGGREGATE_KEY_BYTES_MAX {
            let message =
                format!("an aggregate key of {} bytes; at most {AGGREGATE_KEY_BYTES_MAX}", aggregate.len());
            return Err(Failure { kind: FailureKind::Refused, message });
        }
        if !aggregate::decode(aggregate).is_ok_and(|parts| parts.len() == keyspace.parts) {
            let message = format!("an aggregate key that is not one of {} parts", keyspace.parts);
            return Err(Failure { kind: FailureKind::Broken, message });
        }
        aggregates.entry(aggregate.as_slice()).or_default().push(delta.as_slice());
    }
    Ok(aggregates)
}

fn short(call: &str) -> Failure {
    Failure { kind: FailureKind::Broken, message: format!("`{call}` did not answer for every event") }
}

fn write_head(
    rows: &mut dyn RowsMut,
    keyspace: &Keyspace,
    aggregate: &[u8],
    live: i64,
    version: u64,
) -> Result<()> {
    let table = Table::Heads(keyspace.tables);
    let old = rows.get(table, aggregate)?.map(|row| Head::read(&row)).transpose()?;
    let before = old.map_or(0, |head| head.live);
    let after = before
        .checked_add_signed(live)
        .ok_or_else(|| layout::corrupt("heads", aggregate, "fewer events are counted than there are"))?;
    match after {
        0 => rows.delete(table, aggregate),
        live => rows.put(table, aggregate, &Head { version, live }.write()),
    }
}

/// Deletes the Snapshots of an aggregate at or behind `first`.
fn forget(rows: &mut dyn RowsMut, table: Table, aggregate: &[u8], first: EventKey) -> Result<()> {
    for key in keys_under(rows, table, aggregate, &layout::joined(aggregate, first), usize::MAX)? {
        rows.delete(table, &key)?;
    }
    Ok(())
}
