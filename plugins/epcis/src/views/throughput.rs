//! `throughput`: how much happened per day and business step.

use crate::facts::Facts;
use laterbase_plugin::{Emit, Event, EventKey, Group, Invert, Keyspace, Merge, View};

/// Groups events by UTC day and business step, `2026-01-02 packing`; those without a step are not counted.
#[derive(Debug, Clone, Copy)]
pub struct ByDayAndStep;

impl Keyspace for ByDayAndStep {
    type Event = Facts;
    type Key = String;
    type Delta = i64;

    fn map(&self, event: &Event<Facts>, out: &mut Emit<Self>) {
        if let Some(step) = event.data.step() {
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
