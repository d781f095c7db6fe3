//! The plugin of these figures: one Keyspace, and a View of each kind that matters.

use laterbase_plugin::{
    Associative, BuildError, Canonical, DeclaredType, Emit, Event, EventKey, EventType, Group, Instance,
    Invert, Keyspace, Merge, Ordered, Schema, Setup, ValidTime, View, event_types, export_plugin,
};
use serde::{Deserialize, Serialize};

export_plugin! { name: "figures", roots: ["figures"], configure: configure }

fn configure(_: &Setup<'_>) -> Result<Instance, BuildError> {
    Instance::builder()
        .schema(Steps)
        .keyspace(ByName)
        .view(Profile)
        .view(Last)
        .view(Sum)
        .view(Rolling)
        .build()
}

struct Steps;

impl Schema for Steps {
    const NAME: &'static str = "steps";

    fn types(&self) -> Vec<DeclaredType> {
        event_types![Step]
    }
}

#[derive(Deserialize, EventType)]
#[event(number = 1, name = "step")]
pub(crate) struct Step {
    a: String,
    n: i32,
}

pub(crate) struct ByName;

impl Keyspace for ByName {
    type Event = Step;
    type Key = String;
    type Delta = i32;

    fn map(&self, e: &Event<Step>, out: &mut Emit<Self>) {
        out.emit(&e.data.a, e.data.n);
    }
}

/// A profile of a series: what a temperature logger's View looks like. 60 bytes.
#[derive(Default, Canonical, Serialize)]
pub(crate) struct Profiled {
    count: u64,
    sum: i64,
    least: i32,
    most: i32,
    first: i32,
    last: i32,
    /// How often the series crosses the bound.
    crossings: u64,
    above: u64,
    from: ValidTime,
    until: ValidTime,
}

const BOUND: i32 = 800;

pub(crate) struct Profile;

impl View for Profile {
    const NAME: &'static str = "profile";
    type Over = ByName;
    type State = Profiled;
    type Algebra = Associative;

    fn fold(&self, state: &mut Profiled, event: EventKey, n: i32) {
        let time = event.time();
        let one = Profiled {
            count: 1,
            sum: i64::from(n),
            least: n,
            most: n,
            first: n,
            last: n,
            crossings: 0,
            above: u64::from(n > BOUND),
            from: time,
            until: time,
        };
        self.merge(state, one);
    }
}

impl Merge for Profile {
    fn merge(&self, left: &mut Profiled, right: Profiled) {
        if left.count == 0 {
            *left = right;
        } else if right.count > 0 {
            left.crossings += right.crossings + u64::from((left.last > BOUND) != (right.first > BOUND));
            left.count += right.count;
            left.sum += right.sum;
            left.least = left.least.min(right.least);
            left.most = left.most.max(right.most);
            left.above += right.above;
            (left.last, left.until) = (right.last, right.until);
        }
    }
}

#[derive(Default, Canonical, Serialize)]
pub(crate) struct Newest {
    n: i32,
    time: ValidTime,
}

/// The newest value: an Ordered View that forgets.
pub(crate) struct Last;

impl View for Last {
    const NAME: &'static str = "last";
    type Over = ByName;
    type State = Newest;
    type Algebra = Ordered;

    fn fold(&self, state: &mut Newest, event: EventKey, n: i32) {
        *state = Newest { n, time: event.time() };
    }
}

/// A counter that depends on everything before: an Ordered View that never forgets.
pub(crate) struct Rolling;

impl View for Rolling {
    const NAME: &'static str = "rolling";
    type Over = ByName;
    type State = u64;
    type Algebra = Ordered;

    fn fold(&self, state: &mut u64, _: EventKey, n: i32) {
        *state = state.wrapping_mul(31).wrapping_add(u64::from(n.unsigned_abs()));
    }
}

pub(crate) struct Sum;

impl View for Sum {
    const NAME: &'static str = "sum";
    type Over = ByName;
    type State = i64;
    type Algebra = Group;

    fn fold(&self, state: &mut i64, _: EventKey, n: i32) {
        *state += i64::from(n);
    }
}

impl Merge for Sum {
    fn merge(&self, left: &mut i64, right: i64) {
        *left += right;
    }
}

impl Invert for Sum {
    fn invert(&self, state: &mut i64) {
        *state = -*state;
    }
}
