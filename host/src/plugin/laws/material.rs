//! What laws are tried on: events that are stored or given, events made up of what the plugin's own types ask for, and
//! the runs that they make in each aggregate.

use super::subject::Subject;
use crate::core::event::{EventKey, ValidTime, Value};
use crate::plugin::instance::{Instance, event_ref};
use crate::plugin::services::Services;
use laterbase_plugin::{Chance, EventRef, aggregate};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ordinary events made up of each type.
const ORDINARY_PER_TYPE: u64 = 64;
/// Extreme events made up of each type.
const EXTREME_PER_TYPE: u64 = 32;
/// Runs of one Keyspace that are tried: the longest, and some of the others.
const RUNS_LONGEST: usize = 6;
const RUNS_OTHERS: usize = 10;
/// Events of a run that are tried.
const RUN_EVENTS_MAX: usize = 96;
/// The first instant of made-up events: 2026-05-01T00:00:00Z in milliseconds.
const FIRST_MS: i64 = 1_777_593_600_000;

/// A stored event as it is handed to a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its key.
    pub key: EventKey,
    /// The number of its type.
    pub type_number: u32,
    /// The version that `data` is written in.
    pub version: u32,
    /// Its data.
    pub data: Vec<u8>,
}

/// Where an event of a check comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Given,
    /// Small numbers, few words.
    Ordinary,
    /// The ends of all ranges.
    Extreme,
}

/// An event in its type's newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) key: EventKey,
    pub(super) type_number: u32,
    pub(super) version: u32,
    pub(super) data: Vec<u8>,
    pub(super) source: Source,
}

impl Event {
    pub(super) fn wire(&self) -> EventRef<'_> {
        let Self { type_number, version, data, .. } = self;
        event_ref(self.key, Value { type_number: *type_number, version: *version, data })
    }
}

/// An event type as its Schema declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) schema: u32,
    pub(super) number: u32,
    pub(super) version: u32,
}

/// The types that the plugin's own Schemas declare.
pub(super) fn types(instance: &Instance) -> Vec<Known> {
    let schemas = (0..).zip(&instance.declaration().schemas);
    let types = schemas.flat_map(|(schema, declared)| {
        declared.types.iter().map(move |known| Known { schema, number: known.number, version: known.version })
    });
    types.collect()
}

/// Given events in their newest version, as far as the plugin reads them, and made-up ones; by key, none twice.
pub(super) fn gather(subject: &Subject<'_>, given: &[Sample]) -> Vec<Event> {
    let types = types(subject.one);
    let mut events = BTreeMap::new();
    for known in &types {
        let of_type: Vec<&Sample> = given.iter().filter(|it| it.type_number == known.number).collect();
        for event in of_type.into_iter().filter_map(|sample| upcast(subject.one, known, sample)) {
            events.insert(event.key, event);
        }
        for event in made_up(subject.one, known) {
            events.entry(event.key).or_insert(event);
        }
    }
    events.into_values().collect()
}

/// The event in its newest version; none if the plugin cannot read it, which is no fault of the plugin's.
fn upcast(instance: &Instance, known: &Known, sample: &Sample) -> Option<Event> {
    let Sample { key, type_number, version, data } = sample.clone();
    if version == 0 || version > known.version {
        return None;
    }
    let data = if version < known.version {
        let old = event_ref(key, Value { type_number, version, data: &data });
        instance.upcast(&Services::default(), known.schema, &[old]).pop()?.ok()?
    } else {
        data
    };
    let source = Source::Given;
    Some(Event { key, type_number, version: known.version, data, source })
}

fn made_up(instance: &Instance, known: &Known) -> Vec<Event> {
    let ordinary = (0..ORDINARY_PER_TYPE).map(|seed| (seed, Source::Ordinary));
    let extreme = (0..EXTREME_PER_TYPE).map(|seed| (seed, Source::Extreme));
    let (mut events, mut missing) = (Vec::new(), 0);
    for (seed, source) in ordinary.chain(extreme) {
        let is_extreme = source == Source::Extreme;
        let data = instance.example(&Services::default(), known.number, seed, is_extreme).ok().flatten();
        // A type that has no example at first will have none later.
        missing = if data.is_some() { 0 } else { missing + 1 };
        if missing > 8 {
            break;
        }
        events.extend(data.map(|data| Event {
            key: made_up_key(known.number, seed, is_extreme),
            type_number: known.number,
            version: known.version,
            data,
            source,
        }));
    }
    events
}

/// A key of the first days of May 2026, some of them at the same instant.
fn made_up_key(type_number: u32, seed: u64, is_extreme: bool) -> EventKey {
    let mut chance = Chance::new((u64::from(type_number) << 32) ^ (seed << 1) ^ u64::from(is_extreme), false);
    let day = i64::try_from(chance.below(3)).unwrap_or(0);
    let second = i64::try_from(chance.below(40)).unwrap_or(0);
    let time = ValidTime::from_millis(FIRST_MS + day * 86_400_000 + second * 1000).unwrap_or_default();
    EventKey::new(time, chance.number().to_be_bytes())
}

/// What one event adds to the aggregate of a run.
#[derive(Debug, Clone)]
pub(super) struct Entry<'e> {
    pub(super) event: &'e Event,
    /// In the order in which they were emitted.
    pub(super) deltas: Vec<Vec<u8>>,
}

/// The events of one aggregate, in the order of their keys.
#[derive(Debug, Clone)]
pub(super) struct Run<'e> {
    /// The encoded aggregate key; that of one of them if `is_group`.
    pub(super) key: Vec<u8>,
    /// Of all aggregates that share the first part of their keys, as `?group=1` merges them.
    pub(super) is_group: bool,
    pub(super) entries: Vec<Entry<'e>>,
}

/// The runs of a Keyspace to be tried. Events of different sources never meet.
pub(super) fn runs<'e>(instance: &Instance, keyspace: u32, events: &'e [Event]) -> Vec<Run<'e>> {
    let mut tried = Vec::new();
    for source in [Source::Given, Source::Ordinary, Source::Extreme] {
        let own: Vec<&Event> = events.iter().filter(|event| event.source == source).collect();
        let mut runs = runs_of(instance, keyspace, &own);
        runs.sort_by_key(|run| std::cmp::Reverse(run.entries.len()));
        let others = runs.split_off(runs.len().min(RUNS_LONGEST));
        let step = others.len().div_ceil(RUNS_OTHERS).max(1);
        tried.extend(runs.into_iter().chain(others.into_iter().step_by(step)));
    }
    tried
}

fn runs_of<'e>(instance: &Instance, keyspace: u32, events: &[&'e Event]) -> Vec<Run<'e>> {
    let declared = usize::try_from(keyspace).ok().and_then(|at| instance.declaration().keyspaces.get(at));
    let Some(declared) = declared else { return Vec::new() };
    let taken: Vec<&'e Event> =
        events.iter().copied().filter(|event| declared.types.contains(&event.type_number)).collect();
    let wire: Vec<EventRef<'_>> = taken.iter().map(|event| event.wire()).collect();
    let Ok(mapping) = instance.map(&Services::default(), keyspace, &wire) else { return Vec::new() };
    let mut runs: BTreeMap<Vec<u8>, Vec<Entry<'e>>> = BTreeMap::new();
    let mut groups: BTreeMap<String, (Vec<u8>, Vec<Entry<'e>>)> = BTreeMap::new();
    for (event, key, delta) in mapping.rows() {
        let Some(event) = taken.get(event).copied() else { continue };
        append(runs.entry(key.to_vec()).or_default(), event, delta);
        if declared.parts > 1
            && let Some(first) = aggregate::decode(key).ok().and_then(|parts| parts.into_iter().next())
        {
            let (_, entries) = groups.entry(first).or_insert_with(|| (key.to_vec(), Vec::new()));
            append(entries, event, delta);
        }
    }
    let runs = runs.into_iter().map(|(key, entries)| Run { key, entries, is_group: false });
    let groups = groups.into_values().map(|(key, entries)| Run { key, entries, is_group: true });
    runs.chain(groups).collect()
}

/// Adds what an event emitted to its run, as far as there is room.
fn append<'e>(entries: &mut Vec<Entry<'e>>, event: &'e Event, delta: &[u8]) {
    if let Some(last) = entries.last_mut().filter(|last| last.event.key == event.key) {
        last.deltas.push(delta.to_vec());
    } else if entries.len() < RUN_EVENTS_MAX {
        entries.push(Entry { event, deltas: vec![delta.to_vec()] });
    }
}
