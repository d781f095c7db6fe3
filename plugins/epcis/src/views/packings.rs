//! `packings`: which EPCs were ever put into a parent, the way from a parent to its children.

use crate::ident;
use crate::pair::pair;
use crate::shape::EventKind;
use laterbase_plugin::{
    Canonical, Chance, Commutative, Emit, Event, EventData, EventKey, Keyspace, Merge, RawEvent, Refusal,
    ValidTime, View, from_json,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is read of an event that puts children into a parent or takes them out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Packing {
    action: Option<String>,
    #[serde(rename = "parentID")]
    parent_id: Option<String>,
    #[serde(rename = "childEPCs")]
    child_epcs: BTreeSet<String>,
    error_declaration: Option<IgnoredAny>,
}

impl EventData for Packing {
    fn types() -> Vec<u32> {
        vec![EventKind::Aggregation.number()]
    }

    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        from_json(event.data)
    }

    fn example(_: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        chance.json::<Self>()
    }
}

/// Groups aggregation events by parent and child.
#[derive(Debug, Clone, Copy)]
pub struct ByParentAndChild;

/// What one event does to a child of a parent.
#[derive(Debug, Clone, PartialEq, Eq, Canonical)]
pub struct Move {
    /// Put in, or else taken out.
    is_added: bool,
    /// The child, where the key has only its hash.
    child: Option<String>,
}

impl Keyspace for ByParentAndChild {
    type Event = Packing;
    type Key = (String, String);
    type Delta = Move;

    fn map(&self, event: &Event<Packing>, out: &mut Emit<Self>) {
        let Packing { action, parent_id, child_epcs, error_declaration } = &event.data;
        let is_added = match action.as_deref() {
            Some("ADD") => true,
            Some("DELETE") => false,
            _ => return,
        };
        if let (Some(parent), None) = (parent_id, error_declaration) {
            for epc in child_epcs {
                let (key, child) = pair(parent, epc);
                out.emit(&key, Move { is_added, child });
            }
        }
    }

    fn query_key(&self, typed: &[&str]) -> Result<(String, String), Refusal> {
        let &[parent, child] = typed else { return Err(Refusal::new("a key here is a parent and a child")) };
        Ok(pair(&ident::canonical(parent.trim()), &ident::canonical(child.trim())).0)
    }
}

/// When a child was put into a parent and taken out.
#[derive(Debug, Clone, Copy)]
pub struct Packings;

/// The newest times that a child was put in and that it was taken out by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Canonical, Serialize)]
pub struct PackingsState {
    added: Option<ValidTime>,
    removed: Option<ValidTime>,
    child: Option<String>,
}

impl PackingsState {
    /// The child, if it was put in and not taken out since by name; `key` is what its aggregate key says.
    pub(crate) fn child(self, key: String) -> Option<String> {
        let is_in = self.added.is_some() && self.removed <= self.added;
        is_in.then(|| self.child.unwrap_or(key))
    }
}

/// What `packings` answers, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackingsAnswer {
    added: Option<i64>,
    removed: Option<i64>,
}

impl View for Packings {
    const NAME: &'static str = "packings";
    type Over = ByParentAndChild;
    type State = PackingsState;
    type Algebra = Commutative;

    fn fold(&self, state: &mut PackingsState, event: EventKey, delta: Move) {
        let (time, Move { is_added, child }) = (Some(event.time()), delta);
        let (added, removed) = if is_added { (time, None) } else { (None, time) };
        self.merge(state, PackingsState { added, removed, child });
    }

    fn render(&self, _: &(String, String), state: &PackingsState) -> impl Serialize {
        let millis = |time: Option<ValidTime>| time.map(ValidTime::millis);
        PackingsAnswer { added: millis(state.added), removed: millis(state.removed) }
    }
}

impl Merge for Packings {
    fn merge(&self, left: &mut PackingsState, right: PackingsState) {
        left.added = left.added.max(right.added);
        left.removed = left.removed.max(right.removed);
        // All that share a key name the same child, short of a collision; the greater one keeps the law even then.
        left.child = left.child.take().max(right.child);
    }
}
