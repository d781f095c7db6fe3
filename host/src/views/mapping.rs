//! What the plugins say of arrivals: upcast, retractions, and what they add to aggregates. Needs the events and the
//! plugins only, so it can be done ahead of the rest, on another thread.

use super::build::Build;
use super::computes::{Failure, FailureKind, Mapped};
use super::in_tests;
use crate::core::event::{Arrival, EventKey, Value, ValueHash};
use crate::core::tables::{Position, Result, Tables};
use crate::plugin::event_ref;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What is mapped ends with so many bytes of keys and deltas, for they are all in memory.
const BATCH_BYTES_MAX: usize = in_tests(64 << 20, 512);
/// So many events are shown to a plugin in one call at most.
const CALL_EVENTS_MAX: usize = in_tests(256, 4);
/// With so many bytes of data a call is full, whatever the number of its events.
const CALL_BYTES_MAX: usize = 4 << 20;

/// The arrivals of values, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Numbers(Vec<((EventKey, ValueHash), u64)>);

impl Numbers {
    /// The arrival of the value with this name.
    pub(super) fn get(&self, name: (EventKey, ValueHash)) -> Option<u64> {
        let at = self.0.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        self.0.get(at).map(|(_, arrival)| *arrival)
    }
}

/// Some arrivals that follow on each other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The arrival before the first.
    pub(super) start: u64,
    /// The last of them.
    pub(super) end: u64,
    /// The running hash at the last.
    pub(super) check: [u8; 8],
    /// Which values they are.
    pub(super) arrived: Numbers,
    /// What the plugins say of these values and all others of their keys.
    pub(super) calls: Vec<Call>,
}

/// What the plugins say of the values of some keys.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// The values, those of one key behind each other.
    pub(super) values: Vec<Read>,
    /// What they add to the aggregates of each Keyspace that was asked.
    pub(super) mapped: Vec<Mapped>,
}

/// What the plugins say of one stored value.
#[derive(Debug)]
pub(super) struct Read {
    /// Its key.
    pub(super) key: EventKey,
    /// Names it among the values of its key.
    pub(super) hash: ValueHash,
    /// The least value of a key holds it; none for a value that is alone.
    pub(super) order: Option<(u32, u32, Box<[u8]>)>,
    /// What it voids, or why nothing can be said of this value.
    pub(super) voids: std::result::Result<Vec<EventKey>, Failure>,
    /// Its position among the mapped events; none if it has no upcast form.
    pub(super) mapped: Option<usize>,
}

impl Read {
    /// Whether it voids any event.
    pub(super) fn retracts(&self) -> bool {
        self.voids.as_ref().is_ok_and(|voids| !voids.is_empty())
    }
}

/// The next arrivals behind `start` up to `until`, `most` of them or a few less, mapped for the Keyspaces at
/// `positions`.
pub(super) fn next(
    events: &dyn Tables,
    build: &Build,
    positions: &[usize],
    (start, until): (u64, u64),
    most: u64,
) -> Result<Batch> {
    let until = until.min(start.saturating_add(most));
    let mut batch = Batch { start, end: start, ..Batch::default() };
    let (mut bytes, mut known) = (0, BTreeSet::new());
    let has_losers = has_losers(events)?;
    while batch.end < until && bytes < BATCH_BYTES_MAX {
        let mut keys = batch.arrive(events, (batch.end + CALL_EVENTS_MAX as u64).min(until))?;
        if has_losers {
            // All values of a key are mapped at once, whichever of them arrive in this batch.
            keys.retain(|key| known.insert(*key));
        }
        let calls = read(events, build, positions, keys)?;
        bytes += calls.iter().flat_map(|call| &call.mapped).map(Mapped::size).sum::<usize>();
        batch.calls.extend(calls);
    }
    batch.arrived.0.sort_unstable();
    Ok(batch)
}

/// Whether any key has several values.
fn has_losers(events: &dyn Tables) -> Result<bool> {
    let head = events.head()?;
    Ok(head.arrivals > head.events)
}

impl Batch {
    /// Takes the arrivals up to `end` in; returns their keys in order.
    fn arrive(&mut self, events: &dyn Tables, end: u64) -> Result<Vec<EventKey>> {
        let before = self.arrived.0.len();
        events.arrivals(Arrival(self.end + 1), &mut |number, row| {
            if number.0 > end {
                return ControlFlow::Break(());
            }
            self.arrived.0.push(((row.key, row.hash), number.0));
            self.check = row.check;
            ControlFlow::Continue(())
        })?;
        self.end = end;
        let new = self.arrived.0.get(before..).unwrap_or_default();
        let mut keys: Vec<EventKey> = new.iter().map(|((key, _), _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

/// What the plugins say of all values of `keys`, in calls of bounded size. Keys that are not known are left out.
pub(super) fn read(
    events: &dyn Tables,
    build: &Build,
    positions: &[usize],
    keys: impl IntoIterator<Item = EventKey>,
) -> Result<Vec<Call>> {
    let has_losers = has_losers(events)?;
    let (mut calls, mut loaded, mut bytes) = (Vec::new(), Vec::new(), 0);
    for key in keys {
        let before = loaded.len();
        load(events, key, has_losers, &mut loaded)?;
        bytes += loaded.iter().skip(before).map(Loaded::len).sum::<usize>();
        if loaded.len() >= CALL_EVENTS_MAX || bytes >= CALL_BYTES_MAX {
            calls.push(ask(build, positions, &std::mem::take(&mut loaded)));
            bytes = 0;
        }
    }
    if !loaded.is_empty() {
        calls.push(ask(build, positions, &loaded));
    }
    Ok(calls)
}

/// The arrivals of all values of `keys` up to `until`. Reads every arrival: for what nothing else tells.
pub(super) fn scan(events: &dyn Tables, keys: &BTreeSet<EventKey>, until: u64) -> Result<Numbers> {
    let mut found = Numbers::default();
    events.arrivals(Arrival(1), &mut |number, row| {
        if number.0 > until {
            return ControlFlow::Break(());
        }
        if keys.contains(&row.key) {
            found.0.push(((row.key, row.hash), number.0));
        }
        ControlFlow::Continue(())
    })?;
    found.0.sort_unstable();
    Ok(found)
}

/// A stored value: that of a winner is borrowed from the tables.
enum Loaded<'e> {
    Winner(EventKey, ValueHash, Value<'e>),
    Loser(EventKey, ValueHash, (u32, u32, Box<[u8]>)),
}

impl Loaded<'_> {
    fn len(&self) -> usize {
        self.value().data.len()
    }

    fn name(&self) -> (EventKey, ValueHash) {
        match self {
            Self::Winner(key, hash, _) | Self::Loser(key, hash, _) => (*key, *hash),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Winner(_, _, value) => *value,
            Self::Loser(_, _, (type_number, version, data)) => {
                Value { type_number: *type_number, version: *version, data }
            }
        }
    }
}

/// Appends the values of `key`, the winner first; nothing if the key is not known.
fn load<'e>(
    events: &'e dyn Tables,
    key: EventKey,
    has_losers: bool,
    out: &mut Vec<Loaded<'e>>,
) -> Result<()> {
    let Some(winner) = events.event(key)? else { return Ok(()) };
    out.push(Loaded::Winner(key, winner.hash, winner.value));
    if has_losers {
        events.walk(Some(Position { key, loser: None }), &mut |event| {
            if event.key != key {
                return ControlFlow::Break(());
            }
            let Value { type_number, version, data } = event.value;
            out.push(Loaded::Loser(key, event.hash, (type_number, version, data.into())));
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}

/// Asks the plugins.
fn ask(build: &Build, positions: &[usize], loaded: &[Loaded<'_>]) -> Call {
    let refs: Vec<_> = loaded.iter().map(|value| event_ref(value.name().0, value.value())).collect();
    let (mut call, mut upcast) = (Call::default(), Vec::with_capacity(loaded.len()));
    let mut results = build.plugins.upcast(&refs).into_iter();
    for value in loaded {
        let result = results.next().unwrap_or_else(|| Err(short("upcast")));
        let (voids, mapped) = match result {
            Ok(Some(event)) => {
                upcast.push(event);
                (Ok(Vec::new()), Some(upcast.len() - 1))
            }
            Ok(None) => (Ok(Vec::new()), None),
            Err(failure) => (Err(failure), None),
        };
        let (key, hash) = value.name();
        call.values.push(Read { key, hash, order: None, voids, mapped });
    }
    let upcast: Vec<_> = upcast.iter().map(super::computes::Upcast::event_ref).collect();
    let mut retracts = build.plugins.retracts(&upcast).into_iter();
    for read in call.values.iter_mut().filter(|read| read.mapped.is_some()) {
        read.voids = retracts.next().unwrap_or_else(|| Err(short("retracts")));
    }
    for (values, loaded) in call
        .values
        .chunk_by_mut(|one, next| one.key == next.key)
        .zip(loaded.chunk_by(|one, next| one.name().0 == next.name().0))
    {
        if let ([_, _, ..], loaded) = (&*values, loaded) {
            for (read, loaded) in values.iter_mut().zip(loaded) {
                let Value { type_number, version, data } = loaded.value();
                read.order = Some((type_number, version, data.into()));
            }
        }
    }
    call.mapped = positions.iter().map(|position| build.plugins.map(*position, &upcast)).collect();
    call
}

pub(super) fn short(call: &str) -> Failure {
    Failure { kind: FailureKind::Broken, message: format!("`{call}` did not answer for every event") }
}
