//! Stored events to try code on, and what it says of them.

use crate::core::event::{Arrival, EventKey, Value};
use crate::core::tables::{Position, Result, Tables};
use crate::plugin::{EventRef, event_ref};
use crate::views::build::Build;
use crate::views::computes::{Failure, Upcast};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What a hook gave for each event.
type Results<T> = Vec<std::result::Result<Vec<T>, Failure>>;

/// So many events are compared, spread over the arrivals.
const EVENTS_MAX: u64 = 1024;
/// The data of so many bytes is enough.
const BYTES_MAX: usize = 16 << 20;
/// So many events are shown to a plugin in one call.
const CALL_EVENTS: usize = 256;

/// An event and its arrival.
pub(super) struct Sampled {
    pub(super) arrival: u64,
    pub(super) stored: Stored,
}

/// One stored event.
pub(super) struct Stored {
    pub(super) key: EventKey,
    type_number: u32,
    version: u32,
    data: Vec<u8>,
}

/// An aggregate key and the delta that one event adds to it.
pub(super) type Emission = (Vec<u8>, Vec<u8>);

/// What code gives for each event of a sample.
pub(super) type Mapped = Vec<std::result::Result<Vec<Emission>, Failure>>;

/// Events spread over all arrivals, but for keys that have several values.
pub(super) fn of_arrivals(events: &dyn Tables) -> Result<Vec<Sampled>> {
    let head = events.head()?;
    let count = head.arrivals.min(EVENTS_MAX);
    let (mut sample, mut bytes) = (Vec::new(), 0);
    for place in 0..count {
        let number = 1 + place * (head.arrivals - 1) / count.saturating_sub(1).max(1);
        let Some(sampled) = of_arrival(events, number, head.arrivals > head.events)? else { continue };
        bytes += sampled.stored.data.len();
        sample.push(sampled);
        if bytes > BYTES_MAX {
            break;
        }
    }
    Ok(sample)
}

fn of_arrival(events: &dyn Tables, number: u64, has_losers: bool) -> Result<Option<Sampled>> {
    let Some(row) = events.arrival(Arrival(number))? else { return Ok(None) };
    let Some(event) = events.event(row.key)?.filter(|event| event.hash == row.hash) else { return Ok(None) };
    let Value { type_number, version, data } = event.value;
    let stored = Stored { key: row.key, type_number, version, data: data.to_vec() };
    let mut has_several = false;
    if has_losers {
        events.walk(Some(Position { key: row.key, loser: None }), &mut |event| {
            has_several = event.key == row.key;
            ControlFlow::Break(())
        })?;
    }
    Ok((!has_several).then_some(Sampled { arrival: number, stored }))
}

/// Code at work on a sample.
pub(super) struct Code<'c> {
    pub(super) build: &'c Build,
    pub(super) sample: &'c [Sampled],
    /// Each event in its newest version; none for a type that nobody owns.
    pub(super) upcast: Vec<std::result::Result<Option<Upcast<'c>>, Failure>>,
}

impl<'c> Code<'c> {
    pub(super) fn new(build: &'c Build, sample: &'c [Sampled]) -> Self {
        let mut upcast = Vec::with_capacity(sample.len());
        for call in sample.chunks(CALL_EVENTS) {
            let refs: Vec<_> = call
                .iter()
                .map(|Sampled { stored: Stored { key, type_number, version, data }, .. }| {
                    event_ref(*key, Value { type_number: *type_number, version: *version, data })
                })
                .collect();
            upcast.extend(build.plugins.upcast(&refs));
        }
        Self { build, sample, upcast }
    }

    /// What the Keyspace at `position` maps each event to.
    pub(super) fn map(&self, position: usize) -> Mapped {
        self.each(&mut |events| {
            let mapped = self.build.plugins.map(position, events);
            let own = |at: usize| {
                let rows = mapped.of(at)?;
                Ok(rows.map(|(aggregate, delta)| (aggregate.to_vec(), delta.to_vec())).collect())
            };
            (0..events.len()).map(own).collect()
        })
    }

    /// The keys that each event voids.
    pub(super) fn retracts(&self) -> Vec<std::result::Result<Vec<EventKey>, Failure>> {
        self.each(&mut |events| self.build.plugins.retracts(events))
    }

    /// Asks of the events that have a newest version; the others have nothing, or why they have none.
    fn each<T>(&self, ask: &mut dyn FnMut(&[EventRef<'_>]) -> Results<T>) -> Results<T> {
        let readable: Vec<EventRef<'_>> =
            self.upcast.iter().flatten().flatten().map(Upcast::event_ref).collect();
        let mut answers = readable.chunks(CALL_EVENTS).flat_map(ask);
        let nothing = || Ok(Vec::new());
        let answer = |upcast: &std::result::Result<Option<Upcast<'_>>, Failure>| match upcast {
            Ok(Some(_)) => answers.next().unwrap_or_else(nothing),
            Ok(None) => nothing(),
            Err(failure) => Err(failure.clone()),
        };
        self.upcast.iter().map(answer).collect()
    }
}

/// The aggregates that a sample belongs to, each with one event.
pub(super) fn aggregates(code: &Code<'_>, mapped: &Mapped) -> BTreeMap<Vec<u8>, EventKey> {
    let mut aggregates = BTreeMap::new();
    for (sampled, rows) in code.sample.iter().zip(mapped) {
        for (aggregate, _) in rows.iter().flatten() {
            if aggregates.len() as u64 >= EVENTS_MAX {
                return aggregates;
            }
            aggregates.entry(aggregate.clone()).or_insert(sampled.stored.key);
        }
    }
    aggregates
}
