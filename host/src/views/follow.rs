//! How arrivals become entries: each event's entries are brought to what the arrivals up to a point say.
//!
//! ```text
//! arrivals  c+1 ..= end  -> their keys  -> settle each: all stored values of the key, with their arrivals
//!                                          -> upcast -> retracts -> periods of `voids`
//!                                                    -> map      -> spans of entries
//!                           keys that they void -> settle each once more
//! ```
//! Settling looks at what is stored and when it arrived, never at what changed: a late event, a retraction that comes
//! before its event, a second retraction, a clash that changes the winner, and a batch that is run again are all the
//! same case. Nearly always a key has one value that has just arrived and nothing voids it; then nothing is looked up.
//!
//! Everything goes into the [`Tail`]; the rows are only read.

use super::build::{Build, Keyspace};
use super::computes::{Emission, Failure, FailureKind, Upcast};
use super::history::{self, Value as Dated};
use super::layout::Cursor;
use super::rows::Rows;
use super::slot::{Aggregates, Mapped, Read, Slot, Stored, first_since};
use super::tail::Tail;
use crate::core::event::{Arrival, EventKey, Value, ValueHash};
use crate::core::limits::{AGGREGATE_KEY_BYTES_MAX, AGGREGATES_PER_EVENT_MAX, DELTA_BYTES_MAX};
use crate::core::tables::{Position, Result, StoredEvent, Tables};
use crate::plugin::event_ref;
use laterbase_plugin::aggregate;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// So many arrivals are followed in one step at most.
pub(super) const BATCH_ARRIVALS_MAX: u64 = 1024;
/// So many events are shown to a plugin in one call at most.
const CALL_EVENTS_MAX: usize = 256;
/// With so many bytes of data a call is full, whatever the number of its events.
const CALL_BYTES_MAX: usize = 4 << 20;

/// Follows the next arrivals for those Keyspaces of `build` that are furthest behind, up to the last arrival in
/// `events`. `tails` are those of the Keyspaces, in their order. Returns how far the whole build is then.
pub(super) fn follow(events: &dyn Tables, rows: &dyn Rows, build: &Build, tails: &mut [Tail]) -> Result<u64> {
    let head = events.head()?;
    let positions: Vec<u64> = tails.iter().map(Tail::position).collect();
    let Some(start) = positions.iter().copied().min() else { return Ok(head.arrivals) };
    let ahead = positions.iter().copied().filter(|position| *position > start).min();
    let end = (start + BATCH_ARRIVALS_MAX).min(ahead.unwrap_or(u64::MAX)).min(head.arrivals);
    if end <= start {
        return Ok(start);
    }
    let slots = build.keyspaces.iter().zip(tails).filter(|(_, tail)| tail.position() == start);
    let mut slots: Vec<Slot<'_>> =
        slots.map(|(keyspace, tail)| Slot::new(keyspace, tail, rows, false)).collect::<Result<_>>()?;
    let (arrived, check) = arrived(events, start, end)?;
    let keys = arrived.keys().map(|(key, _)| *key).collect();
    let has_losers = head.arrivals > head.events;
    let mut step = Step::new(events, build, &mut slots, (start, has_losers));
    step.arrived = arrived;
    step.settle_all(&keys)?;
    for slot in slots {
        slot.tail.active.end = Cursor { arrival: end, check };
    }
    Ok(positions.into_iter().map(|position| position.max(end)).min().unwrap_or(end))
}

/// Settles the events that were set aside once more: the code that failed on them was replaced.
pub(super) fn retry(
    events: &dyn Tables,
    rows: &dyn Rows,
    build: &Build,
    tails: &mut [Tail],
    keys: BTreeSet<EventKey>,
) -> Result<()> {
    let (head, start) = (events.head()?, tails.iter().map(Tail::position).min().unwrap_or(0));
    let slots = build.keyspaces.iter().zip(tails);
    let mut slots: Vec<Slot<'_>> =
        slots.map(|(keyspace, tail)| Slot::new(keyspace, tail, rows, true)).collect::<Result<_>>()?;
    let has_losers = head.arrivals > head.events;
    let mut step = Step::new(events, build, &mut slots, (start, has_losers));
    // What failed has no entry that tells when it arrived.
    step.arrived = step.scan(&keys)?;
    step.settle_all(&keys)
}

/// The values that arrived behind `start` up to and with `end`, each with its arrival, and the running hash at `end`.
fn arrived(events: &dyn Tables, start: u64, end: u64) -> Result<(Numbers, [u8; 8])> {
    let (mut values, mut check) = (Numbers::new(), [0; 8]);
    events.arrivals(Arrival(start + 1), &mut |number, row| {
        if number.0 > end {
            return ControlFlow::Break(());
        }
        values.insert((row.key, row.hash), number.0);
        check = row.check;
        ControlFlow::Continue(())
    })?;
    Ok((values, check))
}

/// The arrivals of values.
type Numbers = BTreeMap<(EventKey, ValueHash), u64>;

/// One step under way.
struct Step<'s, 'b> {
    events: &'s dyn Tables,
    build: &'s Build,
    slots: &'s mut [Slot<'b>],
    /// What arrived in this step.
    arrived: Numbers,
    /// The arrival before the step.
    start: u64,
    /// True if any key has more than one value.
    has_losers: bool,
    /// The keys that are being settled.
    settling: BTreeSet<EventKey>,
    /// The arrivals of their values before this step, if they had to be looked for.
    scanned: Option<Numbers>,
}

impl<'s, 'b> Step<'s, 'b> {
    fn new(
        events: &'s dyn Tables,
        build: &'s Build,
        slots: &'s mut [Slot<'b>],
        (start, has_losers): (u64, bool),
    ) -> Self {
        let (arrived, settling) = (Numbers::new(), BTreeSet::new());
        Self { events, build, slots, arrived, start, has_losers, settling, scanned: None }
    }

    fn settle_all(&mut self, keys: &BTreeSet<EventKey>) -> Result<()> {
        let voided = self.settle_in_calls(keys)?;
        // What those void in their turn is settled with their own arrivals.
        self.settle_in_calls(&voided)?;
        Ok(())
    }

    /// Settles `keys` in calls of bounded size; returns the keys that they void.
    fn settle_in_calls(&mut self, keys: &BTreeSet<EventKey>) -> Result<BTreeSet<EventKey>> {
        (self.settling, self.scanned) = (keys.clone(), None);
        let (mut voided, mut call, mut bytes) = (BTreeSet::new(), Vec::new(), 0);
        for key in keys {
            let before = call.len();
            self.load(*key, &mut call)?;
            bytes += call.iter().skip(before).map(|stored: &Stored| stored.data.len()).sum::<usize>();
            if call.len() >= CALL_EVENTS_MAX || bytes >= CALL_BYTES_MAX {
                self.settle(&std::mem::take(&mut call), &mut voided)?;
                bytes = 0;
            }
        }
        self.settle(&call, &mut voided)?;
        Ok(voided)
    }

    /// Appends the values of `key`, the winner first; nothing if the key is not known.
    fn load(&self, key: EventKey, out: &mut Vec<Stored>) -> Result<()> {
        let stored = |event: &StoredEvent<'_>| {
            let Value { type_number, version, data } = event.value;
            Stored { key, hash: event.hash, type_number, version, data: data.to_vec() }
        };
        let Some(winner) = self.events.event(key)? else { return Ok(()) };
        out.push(stored(&winner));
        if self.has_losers {
            self.events.walk(Some(Position { key, loser: None }), &mut |event| {
                if event.key != key {
                    return ControlFlow::Break(());
                }
                out.push(stored(&event));
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    /// Brings the entries of these values' keys to what is stored; adds the keys that they void to `voided`.
    fn settle(&mut self, call: &[Stored], voided: &mut BTreeSet<EventKey>) -> Result<()> {
        if call.is_empty() {
            return Ok(());
        }
        let (reads, upcast) = self.read(call);
        for slot in 0..self.slots.len() {
            let position = self.slots.get(slot).expect("slot is in range").keyspace.position;
            let mapped = self.build.plugins.map(position, &upcast);
            for values in reads.chunk_by(|one, next| one.stored.key == next.stored.key) {
                self.settle_key(slot, values, &mapped, voided)?;
            }
        }
        Ok(())
    }

    /// What the plugins say of these values, and the upcast events.
    fn read<'c>(&self, call: &'c [Stored]) -> (Vec<Read<'c>>, Vec<Upcast>) {
        let refs: Vec<_> = call
            .iter()
            .map(|Stored { key, type_number, version, data, .. }| {
                event_ref(*key, Value { type_number: *type_number, version: *version, data })
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
            reads.push(Read { stored, voids, upcast: position });
        }
        let mut retracts = self.build.plugins.retracts(&upcast).into_iter();
        for read in reads.iter_mut().filter(|read| read.upcast.is_some()) {
            read.voids = retracts.next().unwrap_or_else(|| Err(short("retracts")));
        }
        (reads, upcast)
    }

    /// Brings one key's entries in one Keyspace to what is stored.
    fn settle_key(
        &mut self,
        slot: usize,
        values: &[Read<'_>],
        mapped: &Mapped,
        voided: &mut BTreeSet<EventKey>,
    ) -> Result<()> {
        let keyspace = self.slots.get(slot).expect("slot is in range").keyspace;
        let emitted: Vec<_> = values
            .iter()
            .map(|value| emitted(value, mapped).and_then(|rows| grouped(keyspace, rows)))
            .collect();
        let arrivals = self.arrivals_of(slot, values, &emitted)?;
        let slot = self.slots.get_mut(slot).expect("slot is in range");
        slot.note_values(values, &arrivals);
        let dated = |(index, arrival): (usize, &Option<u64>)| {
            arrival.map(|arrival| Dated { index, arrival, order: values.get(index).map(Read::order) })
        };
        let winners = history::winners(arrivals.iter().enumerate().filter_map(dated).collect());
        slot.write_voids(values, &winners, voided);
        slot.write_entries(values, &emitted, &winners)
    }

    /// The arrival of each value of a key; none for one that arrives later.
    fn arrivals_of(
        &mut self,
        slot: usize,
        values: &[Read<'_>],
        emitted: &[std::result::Result<Aggregates<'_>, Failure>],
    ) -> Result<Vec<Option<u64>>> {
        let place = self.slots.get(slot).expect("slot is in range");
        let has_several = values.len() > 1;
        let mut arrivals = Vec::with_capacity(values.len());
        for value in values {
            let name = (value.stored.key, value.stored.hash);
            let known = match self.arrived.get(&name) {
                Some(arrival) => Some(*arrival),
                None if has_several => place.noted(name)?,
                None => None,
            };
            arrivals.push(known);
        }
        if arrivals.iter().all(Option::is_some) {
            return Ok(arrivals);
        }
        // At most one of those without an arrival has arrived before: when it was the only value of its key.
        let mut found = place.failed_since(values.first().expect("a key has a value").stored.key)?;
        for aggregate in emitted.iter().flatten().flat_map(BTreeMap::keys) {
            if found.is_some() {
                break;
            }
            let key = values.first().expect("a key has a value").stored.key;
            found = place.entry(aggregate, key)?.and_then(|body| first_since(&body));
        }
        let speaks = |value: &Read<'_>| value.voids.as_ref().is_ok_and(|voids| !voids.is_empty());
        let adds_or_fails = |rows: &std::result::Result<Aggregates<'_>, Failure>| {
            rows.as_ref().map_or(true, |rows| !rows.is_empty())
        };
        let matters = emitted.iter().any(adds_or_fails) || values.iter().any(speaks);
        let hash = match found {
            Some(since) => self.events.arrival(Arrival(since))?.map(|row| (row.hash, since)),
            None if has_several && matters || emitted.iter().any(std::result::Result::is_err) => {
                self.look_for(values)?
            }
            None => None,
        };
        if let Some((hash, since)) = hash {
            let with = arrivals
                .iter_mut()
                .zip(values)
                .find(|(known, value)| known.is_none() && value.stored.hash == hash);
            if let Some((arrival, _)) = with {
                *arrival = Some(since);
            }
        }
        Ok(arrivals)
    }

    /// The value of this key that arrived before this step, from the arrivals themselves.
    fn look_for(&mut self, values: &[Read<'_>]) -> Result<Option<(ValueHash, u64)>> {
        if self.scanned.is_none() {
            self.scanned = Some(self.scan(&self.settling)?);
        }
        let key = values.first().expect("a key has a value").stored.key;
        let range = (key, ValueHash([0; 16]))..=(key, ValueHash([0xff; 16]));
        let mut found = self.scanned.iter().flat_map(|scanned| scanned.range(range.clone()));
        Ok(found.next().map(|((_, hash), arrival)| (*hash, *arrival)))
    }

    /// The arrivals of all values of `keys` before this step. Reads every arrival: for what nothing else tells.
    fn scan(&self, keys: &BTreeSet<EventKey>) -> Result<Numbers> {
        let mut found = Numbers::new();
        self.events.arrivals(Arrival(1), &mut |number, row| {
            if number.0 > self.start {
                return ControlFlow::Break(());
            }
            if keys.contains(&row.key) {
                found.insert((row.key, row.hash), number.0);
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

/// What `map` gave for a value; nothing for a type that no Schema owns.
fn emitted<'m>(value: &Read<'_>, mapped: &'m Mapped) -> std::result::Result<&'m [Emission], Failure> {
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

/// One event's emissions by aggregate, if they are within their bounds.
fn grouped<'m>(keyspace: &Keyspace, rows: &'m [Emission]) -> std::result::Result<Aggregates<'m>, Failure> {
    let refused = |message| Err(Failure { kind: FailureKind::Refused, message });
    let mut aggregates = Aggregates::new();
    for (aggregate, delta) in rows {
        if aggregate.len() > AGGREGATE_KEY_BYTES_MAX {
            return refused(format!(
                "an aggregate key of {} bytes; at most {AGGREGATE_KEY_BYTES_MAX}",
                aggregate.len()
            ));
        }
        if delta.len() > DELTA_BYTES_MAX {
            return refused(format!("a delta of {} bytes; at most {DELTA_BYTES_MAX}", delta.len()));
        }
        if !aggregate::decode(aggregate).is_ok_and(|parts| parts.len() == keyspace.parts) {
            let message = format!("an aggregate key that is not one of {} parts", keyspace.parts);
            return Err(Failure { kind: FailureKind::Broken, message });
        }
        aggregates.entry(aggregate.as_slice()).or_default().push(delta.as_slice());
    }
    if aggregates.len() > AGGREGATES_PER_EVENT_MAX {
        return refused(format!(
            "an event of {} aggregates; at most {AGGREGATES_PER_EVENT_MAX}",
            aggregates.len()
        ));
    }
    Ok(aggregates)
}

fn short(call: &str) -> Failure {
    Failure { kind: FailureKind::Broken, message: format!("`{call}` did not answer for every event") }
}
