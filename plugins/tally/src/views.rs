//! The views: `total` and `daily` are sums, which form a group; `last` depends on the order of events.

use crate::events::Add;
use laterbase_plugin::{
    Canonical, Emit, Event, EventKey, Group, Invert, Keyspace, Merge, Ordered, ValidTime, View,
};
use serde::Serialize;

/// Groups by item.
pub(crate) struct ByItem;

impl Keyspace for ByItem {
    type Event = Add;
    type Key = String;
    type Delta = i64;

    fn map(&self, e: &Event<Add>, out: &mut Emit<Self>) {
        out.emit(&e.data.item, e.data.n);
    }
}

/// Groups by item and UTC day.
pub(crate) struct ByItemAndDay;

impl Keyspace for ByItemAndDay {
    type Event = Add;
    type Key = (String, String);
    type Delta = i64;

    fn map(&self, e: &Event<Add>, out: &mut Emit<Self>) {
        out.emit((&e.data.item, e.time().day()), e.data.n);
    }
}

/// A sum and how many events it is of. Additions wrap, so that taking out is exact whatever the numbers.
#[derive(Default, Canonical, Serialize)]
pub(crate) struct Sum {
    n: i64,
    count: i64,
}

impl Sum {
    fn add(&mut self, n: i64) {
        *self = Self { n: self.n.wrapping_add(n), count: self.count + 1 };
    }

    fn join(&mut self, other: &Self) {
        *self = Self { n: self.n.wrapping_add(other.n), count: self.count + other.count };
    }

    fn negate(&mut self) {
        *self = Self { n: self.n.wrapping_neg(), count: -self.count };
    }
}

/// `total`: what all events of an item add up to.
pub(crate) struct Total;

impl View for Total {
    const NAME: &'static str = "total";
    type Over = ByItem;
    type State = Sum;
    type Algebra = Group;

    fn fold(&self, state: &mut Sum, _: EventKey, n: i64) {
        state.add(n);
    }
}

impl Merge for Total {
    fn merge(&self, left: &mut Sum, right: Sum) {
        left.join(&right);
    }
}

impl Invert for Total {
    fn invert(&self, state: &mut Sum) {
        state.negate();
    }
}

/// `daily`: the same per UTC day.
pub(crate) struct Daily;

impl View for Daily {
    const NAME: &'static str = "daily";
    type Over = ByItemAndDay;
    type State = Sum;
    type Algebra = Group;

    fn fold(&self, state: &mut Sum, _: EventKey, n: i64) {
        state.add(n);
    }
}

impl Merge for Daily {
    fn merge(&self, left: &mut Sum, right: Sum) {
        left.join(&right);
    }
}

impl Invert for Daily {
    fn invert(&self, state: &mut Sum) {
        state.negate();
    }
}

/// `last`: what the newest event of an item added, and when.
pub(crate) struct Last;

/// The newest event so far.
#[derive(Default, Canonical, Serialize)]
pub(crate) struct Newest {
    n: i64,
    time: ValidTime,
}

impl View for Last {
    const NAME: &'static str = "last";
    type Over = ByItem;
    type State = Newest;
    type Algebra = Ordered;

    fn fold(&self, state: &mut Newest, event: EventKey, n: i64) {
        *state = Newest { n, time: event.time() };
    }
}
