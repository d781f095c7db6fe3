//! `stays`: how long a logistic unit stayed where.
//!
//! A stay begins when the unit is first seen in a business location and ends when it is first seen elsewhere, or
//! without one. The state of a run keeps its first stay apart, for a run before it may have begun it.

use crate::facts::{Facts, mentions, one_identifier};
use laterbase_plugin::{
    Associative, Canonical, Emit, Event, EventData, EventKey, Keyspace, Merge, RawEvent, Refusal, ValidTime,
    View,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// What the canonical form of a serial shipping container code starts with.
pub(crate) const SSCC: &str = "https://id.gs1.org/00/";

/// What is read of an event that names a logistic unit; nothing of others.
#[derive(Debug, Clone, Default)]
pub struct Visit(Facts);

impl EventData for Visit {
    fn types() -> Vec<u32> {
        Facts::types()
    }

    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        if mentions(event, SSCC) { Facts::read(event).map(Self) } else { Ok(Self::default()) }
    }
}

/// Groups events by the logistic units that they name.
#[derive(Debug, Clone, Copy)]
pub struct ByUnit;

impl Keyspace for ByUnit {
    type Event = Visit;
    type Key = String;
    type Delta = Option<String>;

    fn map(&self, event: &Event<Visit>, out: &mut Emit<Self>) {
        let Visit(facts) = &event.data;
        if facts.is_declaration() {
            return;
        }
        for epc in facts.epcs().into_iter().filter(|epc| epc.starts_with(SSCC)) {
            out.emit(epc, facts.location().map(str::to_owned));
        }
    }

    fn query_key(&self, typed: &[&str]) -> Result<String, Refusal> {
        one_identifier(typed)
    }
}

/// How long a unit stayed where.
#[derive(Debug, Clone, Copy)]
pub struct Stays;

/// Stays that ended, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Canonical, Serialize)]
pub struct Ended {
    max_ms: i64,
    n: i64,
    sum_ms: i64,
}

impl Ended {
    pub(crate) fn join(&mut self, other: Self) {
        self.max_ms = self.max_ms.max(other.max_ms);
        self.n = self.n.wrapping_add(other.n);
        self.sum_ms = self.sum_ms.wrapping_add(other.sum_ms);
    }
}

/// The state of [`Stays`]: none without events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Canonical, Serialize)]
pub struct StaysState {
    run: Option<Run>,
}

#[derive(Debug, Clone, PartialEq, Eq, Canonical, Serialize)]
struct Run {
    first: Stay,
    /// When the first stay ended; none: it is the last one, too.
    first_end: Option<ValidTime>,
    /// The stays between the first and the last one.
    between: BTreeMap<String, Ended>,
    last: Stay,
}

#[derive(Debug, Clone, PartialEq, Eq, Canonical, Serialize)]
struct Stay {
    since: ValidTime,
    location: Option<String>,
}

impl Stay {
    fn ended(&self, end: ValidTime) -> Ended {
        let length = end.millis() - self.since.millis();
        Ended { max_ms: length, n: 1, sum_ms: length }
    }
}

impl Run {
    /// Ends the last stay; another one has to follow.
    fn end_last(&mut self, end: ValidTime) {
        if self.first_end.is_none() {
            self.first_end = Some(end);
        } else if let Some(location) = &self.last.location {
            self.between.entry(location.clone()).or_default().join(self.last.ended(end));
        }
    }
}

impl StaysState {
    /// The stays that ended, by location.
    pub(crate) fn ended(&self) -> BTreeMap<String, Ended> {
        let Some(run) = &self.run else { return BTreeMap::new() };
        let mut ended = run.between.clone();
        if let (Some(end), Some(location)) = (run.first_end, &run.first.location) {
            ended.entry(location.clone()).or_default().join(run.first.ended(end));
        }
        ended
    }
}

impl View for Stays {
    const NAME: &'static str = "stays";
    type Over = ByUnit;
    type State = StaysState;
    type Algebra = Associative;

    fn fold(&self, state: &mut StaysState, event: EventKey, location: Option<String>) {
        let stay = Stay { since: event.time(), location };
        let run = Run { first: stay.clone(), first_end: None, between: BTreeMap::new(), last: stay };
        self.merge(state, StaysState { run: Some(run) });
    }

    fn render(&self, _: &String, state: &StaysState) -> impl Serialize {
        state.ended()
    }
}

impl Merge for Stays {
    fn merge(&self, left: &mut StaysState, right: StaysState) {
        let Some(right) = right.run else { return };
        let Some(run) = &mut left.run else {
            left.run = Some(right);
            return;
        };
        if run.last.location != right.first.location {
            run.end_last(right.first.since);
            run.last = right.first;
        }
        if let Some(end) = right.first_end {
            run.end_last(end);
            for (location, ended) in right.between {
                run.between.entry(location).or_default().join(ended);
            }
            run.last = right.last;
        }
    }
}
