//! `made`: how many items were made of something, the way from a lot to its items.

use crate::facts::{Quantity, one_identifier};
use crate::shape::EventKind;
use laterbase_plugin::{
    Chance, Emit, Event, EventData, EventKey, Group, Invert, Keyspace, Merge, RawEvent, Refusal, View,
    from_json,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeSet;

/// What is read of a transformation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Making {
    #[serde(rename = "inputEPCList")]
    input_epc_list: Vec<String>,
    input_quantity_list: Vec<Quantity>,
    #[serde(rename = "outputEPCList")]
    output_epc_list: BTreeSet<String>,
    error_declaration: Option<IgnoredAny>,
}

impl Making {
    /// The items that were made.
    pub(crate) fn into_items(self) -> BTreeSet<String> {
        self.output_epc_list
    }
}

impl EventData for Making {
    fn types() -> Vec<u32> {
        vec![EventKind::Transformation.number()]
    }

    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        from_json(event.data)
    }

    fn example(_: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        chance.json::<Self>()
    }
}

/// Groups transformations by each class and item that went into them.
#[derive(Debug, Clone, Copy)]
pub struct ByInput;

impl Keyspace for ByInput {
    type Event = Making;
    type Key = String;
    type Delta = i64;

    fn map(&self, event: &Event<Making>, out: &mut Emit<Self>) {
        let making = &event.data;
        if making.error_declaration.is_some() {
            return;
        }
        let items = i64::try_from(making.output_epc_list.len()).expect("a list in memory is short");
        let classes = making.input_quantity_list.iter().map(|quantity| quantity.epc_class.as_str());
        let inputs: BTreeSet<&str> =
            making.input_epc_list.iter().map(String::as_str).chain(classes).collect();
        for input in inputs {
            out.emit(input, items);
        }
    }

    fn query_key(&self, typed: &[&str]) -> Result<String, Refusal> {
        one_identifier(typed)
    }
}

/// How many items were made of a class or item.
#[derive(Debug, Clone, Copy)]
pub struct Made;

impl View for Made {
    const NAME: &'static str = "made";
    type Over = ByInput;
    type State = i64;
    type Algebra = Group;

    fn fold(&self, state: &mut i64, _: EventKey, delta: i64) {
        *state = state.wrapping_add(delta);
    }
}

impl Merge for Made {
    fn merge(&self, left: &mut i64, right: i64) {
        *left = left.wrapping_add(right);
    }
}

impl Invert for Made {
    fn invert(&self, state: &mut i64) {
        *state = state.wrapping_neg();
    }
}
