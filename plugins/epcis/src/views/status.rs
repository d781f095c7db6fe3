//! `status`: what was done to an EPC, as far as events say it of the EPC itself.
//!
//! Which parent an EPC is in now no single key can tell: a `DELETE` without children takes everything out of a
//! parent and names none of it. So the state of a child says when it was put into which parent, the state of the
//! parent when it was emptied, and the Reports put the two together.
//!
//! An `ADD` counts behind everything else of its instant: what is emptied and filled again at one time is full.

use crate::facts::{ByEpc, Change, Sighting};
use laterbase_plugin::{Canonical, Commutative, EventKey, Merge, ValidTime, View};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many parents are remembered that an EPC was taken out of since it was put into one: the newest. More than
/// one is a mistake already, and states are to stay small.
const REMOVED_MAX: usize = 64;

/// What was done to an EPC.
#[derive(Debug, Clone, Copy)]
pub struct Status;

/// The state of [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Canonical, Serialize)]
pub struct StatusState {
    /// The newest event that put it into a parent.
    packed: Option<Packed>,
    /// When it was taken out of which parents, by name, since then.
    removed: BTreeMap<String, ValidTime>,
    /// When something was put into it last.
    filled: Option<ValidTime>,
    /// When everything came out of it.
    emptied: Option<Emptied>,
    /// When it ceased to be.
    ended: Option<ValidTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Canonical, Serialize)]
struct Packed {
    event: EventKey,
    into: String,
}

/// The first and the last time that everything came out of an EPC.
#[derive(Debug, Clone, PartialEq, Eq, Canonical, Serialize)]
struct Emptied {
    first: EventKey,
    /// The business location of the first time.
    location: Option<String>,
    newest: ValidTime,
}

/// What `status` answers, times in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusAnswer<'s> {
    emptied: Option<i64>,
    ended: Option<i64>,
    filled: Option<i64>,
    packed: Option<i64>,
    packed_into: Option<&'s str>,
}

impl StatusState {
    /// The parent that it was put into last, and when, if it was not taken out since by name.
    pub(crate) fn packed(&self) -> Option<(&str, ValidTime)> {
        let packed = self.packed.as_ref().filter(|packed| !self.removed.contains_key(&packed.into));
        packed.map(|packed| (packed.into.as_str(), packed.event.time()))
    }

    /// The first time that everything came out of it, and where.
    pub(crate) fn first_emptied(&self) -> Option<(ValidTime, Option<&str>)> {
        self.emptied.as_ref().map(|emptied| (emptied.first.time(), emptied.location.as_deref()))
    }

    /// Whether everything came out of it at a time behind `time`.
    pub(crate) fn is_emptied_after(&self, time: ValidTime) -> bool {
        self.emptied.as_ref().is_some_and(|emptied| emptied.newest > time)
    }

    /// Whether something was put into it since everything came out of it.
    pub(crate) fn may_hold(&self) -> bool {
        self.filled.is_some_and(|filled| !self.is_emptied_after(filled))
    }

    /// Whether it ceased to be.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.is_some()
    }
}

impl View for Status {
    const NAME: &'static str = "status";
    type Over = ByEpc;
    type State = StatusState;
    type Algebra = Commutative;

    fn fold(&self, state: &mut StatusState, event: EventKey, delta: Sighting) {
        let time = event.time();
        let one = match delta.change {
            Change::None => return,
            Change::Packed(into) => {
                StatusState { packed: Some(Packed { event, into }), ..StatusState::default() }
            }
            Change::Removed(from) => {
                StatusState { removed: BTreeMap::from([(from, time)]), ..StatusState::default() }
            }
            Change::Filled => StatusState { filled: Some(time), ..StatusState::default() },
            Change::Emptied => {
                let emptied = Emptied { first: event, location: delta.biz_location, newest: time };
                StatusState { emptied: Some(emptied), ..StatusState::default() }
            }
            Change::Ended => StatusState { ended: Some(time), ..StatusState::default() },
        };
        self.merge(state, one);
    }

    fn render(&self, _: &String, state: &StatusState) -> impl Serialize {
        let millis = |time: Option<ValidTime>| time.map(ValidTime::millis);
        let packed = state.packed();
        StatusAnswer {
            emptied: state.emptied.as_ref().map(|emptied| emptied.newest.millis()),
            ended: millis(state.ended),
            filled: millis(state.filled),
            packed: millis(packed.map(|(_, time)| time)),
            packed_into: packed.map(|(parent, _)| parent),
        }
    }
}

impl Merge for Status {
    fn merge(&self, left: &mut StatusState, right: StatusState) {
        let StatusState { packed, removed, filled, emptied, ended } = right;
        let key = |packed: &Option<Packed>| packed.as_ref().map(|packed| packed.event);
        if key(&packed) > key(&left.packed) {
            left.packed = packed;
        }
        for (parent, time) in removed {
            let newest = left.removed.entry(parent).or_insert(time);
            *newest = time.max(*newest);
        }
        // What was taken out before it was put in says nothing: the newest `ADD` only rises.
        if let Some(packed) = &left.packed {
            let since = packed.event.time();
            left.removed.retain(|_, time| *time > since);
        }
        while left.removed.len() > REMOVED_MAX {
            let oldest = left.removed.iter().map(|(parent, time)| (*time, parent)).min();
            let oldest = oldest.map(|(_, parent)| parent.clone());
            oldest.map(|parent| left.removed.remove(&parent));
        }
        left.filled = left.filled.max(filled);
        left.emptied = match (left.emptied.take(), emptied) {
            (Some(one), Some(other)) => Some(one.joined(other)),
            (one, other) => one.or(other),
        };
        left.ended = match (left.ended, ended) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

impl Emptied {
    fn joined(self, other: Self) -> Self {
        let newest = self.newest.max(other.newest);
        let first = if other.first < self.first { other } else { self };
        Self { newest, ..first }
    }
}
