//! `throughput`: how much happened per day and business step.

use crate::shape::EventKind;
use laterbase_plugin::{
    Emit, Event, EventData, EventKey, Group, Invert, Keyspace, Merge, RawEvent, Refusal, View, from_json,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What is read of an event: its business step.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Step {
    biz_step: Option<String>,
    error_declaration: Option<IgnoredAny>,
}

impl EventData for Step {
    fn types() -> Vec<u32> {
        EventKind::ALL.map(EventKind::number).into()
    }

    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        from_json(event.data)
    }
}

/// Groups events by UTC day and business step, `2026-01-02 packing`; those without a step are not counted.
#[derive(Debug, Clone, Copy)]
pub struct ByDayAndStep;

impl Keyspace for ByDayAndStep {
    type Event = Step;
    type Key = String;
    type Delta = i64;

    fn map(&self, event: &Event<Step>, out: &mut Emit<Self>) {
        if let Step { biz_step: Some(step), error_declaration: None } = &event.data {
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
