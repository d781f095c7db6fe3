//! `last_seen`: where was this EPC last, doing what.

use crate::facts::{ByEpc, Sighting};
use laterbase_plugin::{Canonical, Commutative, EventKey, Merge, ValidTime, View};
use serde::Serialize;

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

impl LastSeenState {
    /// When and in which business location it was seen last.
    pub(crate) fn place(&self) -> Option<(ValidTime, Option<&str>)> {
        self.seen.as_ref().map(|seen| (seen.event.time(), seen.biz_location.as_deref()))
    }
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
        let Sighting { step, read_point, biz_location, disposition, change: _ } = delta;
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
