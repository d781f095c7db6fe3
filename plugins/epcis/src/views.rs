//! The views `last_seen` (where was this EPC last, doing what) and `throughput` (how much happened per day
//! and step).
//!
//! Error declarations are no happenings and add nothing to either; what they void, the host takes out.

use crate::ident;
use crate::shape::EventKind;
use laterbase_plugin::{
    Canonical, Chance, Commutative, Emit, Event, EventData, EventKey, Group, Invert, Keyspace, Merge,
    RawEvent, Refusal, View, from_json,
};
use serde::Deserialize;
use serde::Serialize;
use serde::de::IgnoredAny;
use std::collections::BTreeSet;

/// What the views read of an event.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Facts {
    #[serde(rename = "parentID")]
    parent_id: Option<String>,
    epc_list: Vec<String>,
    #[serde(rename = "childEPCs")]
    child_epcs: Vec<String>,
    #[serde(rename = "inputEPCList")]
    input_epc_list: Vec<String>,
    #[serde(rename = "outputEPCList")]
    output_epc_list: Vec<String>,
    biz_step: Option<String>,
    disposition: Option<String>,
    read_point: Option<Place>,
    biz_location: Option<Place>,
    error_declaration: Option<IgnoredAny>,
}

/// A read point or business location.
#[derive(Debug, Clone, Deserialize)]
struct Place {
    id: String,
}

impl Facts {
    /// Every EPC that the event names, once.
    pub fn epcs(&self) -> BTreeSet<&str> {
        let lists = [&self.epc_list, &self.child_epcs, &self.input_epc_list, &self.output_epc_list];
        lists.into_iter().flatten().chain(&self.parent_id).map(String::as_str).collect()
    }

    /// Whether it is an error declaration instead of a happening.
    pub fn is_declaration(&self) -> bool {
        self.error_declaration.is_some()
    }
}

impl EventData for Facts {
    fn types() -> Vec<u32> {
        EventKind::ALL.map(EventKind::number).into()
    }

    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        from_json(event.data)
    }

    fn example(_: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        chance.json::<Self>()
    }
}

/// Groups events by each EPC that they name; query it with Digital Links or URNs.
#[derive(Debug, Clone, Copy)]
pub struct ByEpc;

/// What one event says of each of its EPCs.
#[derive(Debug, Clone, PartialEq, Eq, Canonical)]
pub struct Sighting {
    step: Option<String>,
    read_point: Option<String>,
    biz_location: Option<String>,
    disposition: Option<String>,
}

impl Keyspace for ByEpc {
    type Event = Facts;
    type Key = String;
    type Delta = Sighting;

    fn map(&self, event: &Event<Facts>, out: &mut Emit<Self>) {
        let facts = &event.data;
        if facts.is_declaration() {
            return;
        }
        let id = |place: &Option<Place>| place.as_ref().map(|place| place.id.clone());
        let sighting = Sighting {
            step: facts.biz_step.clone(),
            read_point: id(&facts.read_point),
            biz_location: id(&facts.biz_location),
            disposition: facts.disposition.clone(),
        };
        for epc in facts.epcs() {
            out.emit(epc, sighting.clone());
        }
    }

    fn query_key(&self, typed: &[&str]) -> Result<String, Refusal> {
        let &[epc] = typed else { return Err(Refusal::new("a key here is one EPC")) };
        Ok(ident::canonical(epc.trim()).into_owned())
    }
}

/// When and where an EPC was last seen.
#[derive(Debug, Clone, Copy)]
pub struct LastSeen;

/// The newest sighting of an EPC, and its newest disposition: an event that names none leaves it as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Canonical, Serialize)]
pub struct LastSeenState {
    seen: Option<Newest>,
    disposition: Option<Disposed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Canonical, Serialize)]
struct Newest {
    event: EventKey,
    step: Option<String>,
    read_point: Option<String>,
    biz_location: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Canonical, Serialize)]
struct Disposed {
    event: EventKey,
    value: String,
}

/// What `last_seen` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastSeenAnswer {
    biz_location: Option<String>,
    disposition: Option<String>,
    read_point: Option<String>,
    step: Option<String>,
    /// Milliseconds since 1970.
    t: i64,
}

impl View for LastSeen {
    const NAME: &'static str = "last_seen";
    type Over = ByEpc;
    type State = LastSeenState;
    type Algebra = Commutative;

    fn fold(&self, state: &mut LastSeenState, event: EventKey, delta: Sighting) {
        let Sighting { step, read_point, biz_location, disposition } = delta;
        let seen = Some(Newest { event, step, read_point, biz_location });
        let disposition = disposition.map(|value| Disposed { event, value });
        self.merge(state, LastSeenState { seen, disposition });
    }

    fn render(&self, _: &String, state: &LastSeenState) -> impl Serialize {
        let seen = state.seen.clone();
        seen.map(|seen| LastSeenAnswer {
            biz_location: seen.biz_location,
            disposition: state.disposition.as_ref().map(|disposed| disposed.value.clone()),
            read_point: seen.read_point,
            step: seen.step,
            t: seen.event.time().millis(),
        })
    }
}

impl Merge for LastSeen {
    fn merge(&self, left: &mut LastSeenState, right: LastSeenState) {
        if right.seen.as_ref().map(|seen| seen.event) > left.seen.as_ref().map(|seen| seen.event) {
            left.seen = right.seen;
        }
        let newest = |state: &Option<Disposed>| state.as_ref().map(|disposed| disposed.event);
        if newest(&right.disposition) > newest(&left.disposition) {
            left.disposition = right.disposition;
        }
    }
}

/// Groups events by UTC day and business step, `2026-01-02 packing`; those without a step are not counted.
#[derive(Debug, Clone, Copy)]
pub struct ByDayAndStep;

impl Keyspace for ByDayAndStep {
    type Event = Facts;
    type Key = String;
    type Delta = i64;

    fn map(&self, event: &Event<Facts>, out: &mut Emit<Self>) {
        if let (Some(step), false) = (&event.data.biz_step, event.data.is_declaration()) {
            let day = crate::instant::day(event.time().millis());
            out.emit(format!("{day} {step}"), 1);
        }
    }
}

/// How many events happened per day and business step.
#[derive(Debug, Clone, Copy)]
pub struct Throughput;

impl View for Throughput {
    const NAME: &'static str = "throughput";
    type Over = ByDayAndStep;
    type State = i64;
    type Algebra = Group;

    fn fold(&self, state: &mut i64, _: EventKey, delta: i64) {
        *state = state.wrapping_add(delta);
    }
}

impl Merge for Throughput {
    fn merge(&self, left: &mut i64, right: i64) {
        *left = left.wrapping_add(right);
    }
}

impl Invert for Throughput {
    fn invert(&self, state: &mut i64) {
        *state = state.wrapping_neg();
    }
}
