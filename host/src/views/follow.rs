//! How arrivals become entries: each event's entries are brought to what the arrivals up to a point say.
//!
//! ```text
//! arrivals  c+1 ..= end  -> their keys  -> all stored values of each, with their arrivals, mapped (`mapping`)
//!                                          -> settle each key: periods of `voids`, spans of entries
//!                           keys that they void -> settle each once more
//! ```
//! Settling looks at what is stored and when it arrived, never at what changed: a late event, a retraction that comes
//! before its event, a second retraction, a clash that changes the winner, and a batch that is run again are all the
//! same case. Nearly always a key has one value that has just arrived and nothing voids it; then nothing is looked up.
//!
//! Everything goes into the [`Tail`]; the rows are only read.

use super::build::Build;
use super::computes::{Failure, Mapped};
use super::history::{self, Value as Dated};
use super::layout::Cursor;
use super::mapping::{self, Batch, Call, Numbers, Read};
use super::rows::Rows;
use super::slot::{Slot, first_since};
use super::tail::Tail;
use crate::core::event::{Arrival, EventKey};
use crate::core::tables::{Result, Tables};
use std::collections::BTreeSet;

/// Where the Keyspaces that are furthest behind stand, where to go from there, and which ones they are.
pub(super) fn due(tails: &[Tail], head: u64) -> Option<(u64, u64, Vec<usize>)> {
    let positions: Vec<u64> = tails.iter().map(Tail::position).collect();
    let start = positions.iter().copied().min()?;
    let ahead = positions.iter().copied().filter(|position| *position > start).min();
    let until = ahead.unwrap_or(u64::MAX).min(head);
    let lagging = (0..tails.len()).filter(|at| positions.get(*at) == Some(&start)).collect();
    (until > start).then_some((start, until, lagging))
}

/// Brings those Keyspaces of `build` that were mapped, and stand at its start, to the end of `batch`.
pub(super) fn settle(
    events: &dyn Tables,
    rows: &dyn Rows,
    build: &Build,
    tails: &mut [Tail],
    batch: Batch,
) -> Result<()> {
    let at_start = tails.iter_mut().zip(&build.keyspaces).filter(|(tail, _)| tail.position() == batch.start);
    let mut slots: Vec<Slot<'_>> =
        at_start.map(|(tail, keyspace)| Slot::new(keyspace, tail, rows, false)).collect::<Result<_>>()?;
    let Batch { start, end, check, arrived, calls } = batch;
    let mut step =
        Step { events, build, slots: &mut slots, arrived, start, settling: Vec::new(), scanned: None };
    step.settle_all(&calls)?;
    for slot in slots {
        slot.tail.active.end = Cursor { arrival: end, check };
    }
    Ok(())
}

/// Settles the events that were set aside once more: the code that failed on them was replaced.
pub(super) fn retry(
    events: &dyn Tables,
    rows: &dyn Rows,
    build: &Build,
    tails: &mut [Tail],
    keys: &BTreeSet<EventKey>,
) -> Result<()> {
    let start = tails.iter().map(Tail::position).min().unwrap_or(0);
    let slots = build.keyspaces.iter().zip(tails);
    let mut slots: Vec<Slot<'_>> =
        slots.map(|(keyspace, tail)| Slot::new(keyspace, tail, rows, true)).collect::<Result<_>>()?;
    // When they arrived is noted with the reason.
    let arrived = mapping::Numbers::default();
    let mut step =
        Step { events, build, slots: &mut slots, arrived, start, settling: Vec::new(), scanned: None };
    let calls = step.read(keys.iter().copied())?;
    step.settle_all(&calls)
}

/// One step under way.
struct Step<'s, 'b> {
    events: &'s dyn Tables,
    build: &'s Build,
    slots: &'s mut [Slot<'b>],
    /// What arrived in this step.
    arrived: Numbers,
    /// The arrival before the step.
    start: u64,
    /// The keys that are being settled.
    settling: Vec<EventKey>,
    /// The arrivals of their values before this step, if they had to be looked for.
    scanned: Option<Numbers>,
}

impl Step<'_, '_> {
    fn settle_all(&mut self, calls: &[Call]) -> Result<()> {
        let voided = self.settle(calls)?;
        if !voided.is_empty() {
            // What those void in their turn is settled with their own arrivals.
            let calls = self.read(voided)?;
            self.settle(&calls)?;
        }
        Ok(())
    }

    fn read(&self, keys: impl IntoIterator<Item = EventKey>) -> Result<Vec<Call>> {
        let positions: Vec<usize> = self.slots.iter().map(|slot| slot.keyspace.position).collect();
        mapping::read(self.events, self.build, &positions, keys)
    }

    /// Brings the entries of these values' keys to what is stored; returns the keys that they void.
    fn settle(&mut self, calls: &[Call]) -> Result<BTreeSet<EventKey>> {
        let mut voided = BTreeSet::new();
        self.settling = calls.iter().flat_map(|call| &call.values).map(|read| read.key).collect();
        self.scanned = None;
        for call in calls {
            for (slot, mapped) in call.mapped.iter().enumerate() {
                for values in call.values.chunk_by(|one, next| one.key == next.key) {
                    self.settle_key(slot, values, mapped, &mut voided)?;
                }
            }
        }
        for slot in &mut *self.slots {
            slot.seal();
        }
        Ok(voided)
    }

    /// Brings one key's entries in one Keyspace to what is stored.
    fn settle_key(
        &mut self,
        slot: usize,
        values: &[Read],
        mapped: &Mapped,
        voided: &mut BTreeSet<EventKey>,
    ) -> Result<()> {
        let place = self.slots.get_mut(slot).expect("slot is in range");
        if let [read] = values
            && let Some(arrival) = self.arrived.get((read.key, read.hash))
            && place.settle_new(read, arrival, mapped)?
        {
            return Ok(());
        }
        let emitted: Vec<_> = values.iter().map(|value| Slot::emitted(value, mapped)).collect();
        let arrivals = self.arrivals_of(slot, values, &emitted)?;
        let slot = self.slots.get_mut(slot).expect("slot is in range");
        slot.note_values(values, &arrivals);
        let dated = |(index, arrival): (usize, &Option<u64>)| {
            let order = values.get(index).and_then(|value| value.order.as_ref());
            let order = order.map(|(type_number, version, data)| (*type_number, *version, &**data));
            arrival.map(|arrival| Dated { index, arrival, order })
        };
        let winners = history::winners(arrivals.iter().enumerate().filter_map(dated).collect());
        slot.write_voids(values, &winners, voided);
        slot.write_entries(values, &emitted, &winners)
    }

    /// The arrival of each value of a key; none for one that arrives later.
    fn arrivals_of(
        &mut self,
        slot: usize,
        values: &[Read],
        emitted: &[std::result::Result<super::slot::Aggregates<'_>, Failure>],
    ) -> Result<Vec<Option<u64>>> {
        let place = self.slots.get(slot).expect("slot is in range");
        let (has_several, key) = (values.len() > 1, values.first().expect("a key has a value").key);
        let mut arrivals = Vec::with_capacity(values.len());
        for value in values {
            let name = (value.key, value.hash);
            let known = match self.arrived.get(name) {
                Some(arrival) => Some(arrival),
                None if has_several => place.noted(name)?,
                None => None,
            };
            arrivals.push(known);
        }
        if arrivals.iter().all(Option::is_some) {
            return Ok(arrivals);
        }
        // At most one of those without an arrival has arrived before: when it was the only value of its key.
        let mut found = place.failed_since(key)?;
        for aggregate in emitted.iter().flatten().flat_map(std::collections::BTreeMap::keys) {
            if found.is_some() {
                break;
            }
            found = place.entry(aggregate, key)?.and_then(|body| first_since(&body));
        }
        let adds_or_fails = |rows: &std::result::Result<super::slot::Aggregates<'_>, Failure>| {
            rows.as_ref().map_or(true, |rows| !rows.is_empty())
        };
        let matters = emitted.iter().any(adds_or_fails) || values.iter().any(Read::retracts);
        let hash = match found {
            Some(since) => self.events.arrival(Arrival(since))?.map(|row| (row.hash, since)),
            None if has_several && matters || emitted.iter().any(std::result::Result::is_err) => {
                self.look_for(key, values, &mut arrivals)?;
                None
            }
            None => None,
        };
        if let Some((hash, since)) = hash {
            let mut open = arrivals.iter_mut().zip(values);
            let with = open.find(|(known, value)| known.is_none() && value.hash == hash);
            if let Some((arrival, _)) = with {
                *arrival = Some(since);
            }
        }
        Ok(arrivals)
    }

    /// Dates the values of this key that arrived before this step, from the arrivals themselves.
    fn look_for(&mut self, key: EventKey, values: &[Read], arrivals: &mut [Option<u64>]) -> Result<()> {
        if self.scanned.is_none() {
            self.scanned =
                Some(mapping::scan(self.events, &self.settling.iter().copied().collect(), self.start)?);
        }
        for (arrival, value) in arrivals.iter_mut().zip(values).filter(|(arrival, _)| arrival.is_none()) {
            *arrival = self.scanned.as_ref().and_then(|scanned| scanned.get((key, value.hash)));
        }
        Ok(())
    }
}
