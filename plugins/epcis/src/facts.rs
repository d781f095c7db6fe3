//! What the views read of an event, and the Keyspace by EPC that most of them share.
//!
//! Error declarations are no happenings and add nothing; what they void, the host takes out.

use crate::ident;
use crate::shape::EventKind;
use laterbase_plugin::{Canonical, Chance, Emit, Event, EventData, Keyspace, RawEvent, Refusal, from_json};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// What the views read of an event.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Facts {
    #[serde(skip)]
    type_number: u32,
    action: Option<String>,
    #[serde(rename = "parentID")]
    parent_id: Option<String>,
    epc_list: Vec<String>,
    #[serde(rename = "childEPCs")]
    child_epcs: Vec<String>,
    child_quantity_list: Vec<IgnoredAny>,
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
pub struct Place {
    /// Its identifier.
    pub id: String,
}

/// An amount of a class of goods.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantity {
    /// The class.
    pub epc_class: String,
    /// The amount, a decimal number as it is stored.
    #[serde(default)]
    pub quantity: Option<Box<RawValue>>,
    /// Its unit; none: pieces.
    #[serde(default)]
    pub uom: Option<String>,
}

impl Facts {
    /// Every EPC that the event names, each with what happens to it: one entry an EPC, but two for a parent that
    /// is its own child.
    fn changes(&self) -> BTreeSet<(&str, Change)> {
        let lists = [&self.epc_list, &self.child_epcs, &self.input_epc_list, &self.output_epc_list];
        let items = lists.into_iter().flatten().map(|epc| (epc.as_str(), self.change_of_item()));
        let parent = self.parent_id.as_deref().map(|parent| (parent, self.change_of_parent()));
        items.chain(parent).collect()
    }

    fn change_of_item(&self) -> Change {
        let is = |kind: EventKind| self.type_number == kind.number();
        match (self.action.as_deref(), &self.parent_id) {
            (Some("DELETE"), _) if is(EventKind::Object) => Change::Ended,
            (Some("ADD"), Some(into)) if is(EventKind::Aggregation) => Change::Packed(into.clone()),
            (Some("DELETE"), Some(from)) if is(EventKind::Aggregation) => Change::Removed(from.clone()),
            _ => Change::None,
        }
    }

    fn change_of_parent(&self) -> Change {
        let names_none = self.child_epcs.is_empty() && self.child_quantity_list.is_empty();
        match self.action.as_deref() {
            _ if self.type_number != EventKind::Aggregation.number() => Change::None,
            Some("ADD") => Change::Filled,
            Some("DELETE") if names_none => Change::Emptied,
            _ => Change::None,
        }
    }

    /// Every EPC that the event names, once.
    pub(crate) fn epcs(&self) -> BTreeSet<&str> {
        self.changes().into_iter().map(|(epc, _)| epc).collect()
    }

    /// The business location.
    pub(crate) fn location(&self) -> Option<&str> {
        self.biz_location.as_ref().map(|place| place.id.as_str())
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
        let facts: Self = from_json(event.data)?;
        Ok(Self { type_number: event.type_number, ..facts })
    }

    fn example(_: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        chance.json::<Self>()
    }
}

/// Whether an event's canonical bytes hold `text`: a look that spares most events from being read, since a view that
/// most events say nothing to is not to cost much.
pub(crate) fn mentions(event: &RawEvent<'_>, text: &str) -> bool {
    std::str::from_utf8(event.data).is_ok_and(|data| data.contains(text))
}

/// Groups events by each EPC that they name; query it with Digital Links or URNs.
#[derive(Debug, Clone, Copy)]
pub struct ByEpc;

/// What one event says of one of its EPCs.
#[derive(Debug, Clone, PartialEq, Eq, Canonical)]
pub struct Sighting {
    pub(crate) step: Option<String>,
    pub(crate) read_point: Option<String>,
    pub(crate) biz_location: Option<String>,
    pub(crate) disposition: Option<String>,
    pub(crate) change: Change,
}

/// What an event does to one of its EPCs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Canonical)]
pub enum Change {
    /// It was there.
    None,
    /// It was put into this parent.
    Packed(String),
    /// It was taken out of this parent.
    Removed(String),
    /// Something was put into it.
    Filled,
    /// Everything came out of it.
    Emptied,
    /// It ceased to be: sold, consumed, destroyed.
    Ended,
}

impl Keyspace for ByEpc {
    type Event = Facts;
    type Key = String;
    type Delta = Sighting;
    const REVISION: u32 = 2;

    fn map(&self, event: &Event<Facts>, out: &mut Emit<Self>) {
        let facts = &event.data;
        if facts.is_declaration() {
            return;
        }
        let id = |place: &Option<Place>| place.as_ref().map(|place| place.id.clone());
        for (epc, change) in facts.changes() {
            let sighting = Sighting {
                step: facts.biz_step.clone(),
                read_point: id(&facts.read_point),
                biz_location: id(&facts.biz_location),
                disposition: facts.disposition.clone(),
                change,
            };
            out.emit(epc, sighting);
        }
    }

    fn query_key(&self, typed: &[&str]) -> Result<String, Refusal> {
        one_identifier(typed)
    }
}

/// The canonical form of what a user typed as a key of one identifier.
pub(crate) fn one_identifier(typed: &[&str]) -> Result<String, Refusal> {
    let &[identifier] = typed else { return Err(Refusal::new("a key here is one identifier")) };
    Ok(ident::canonical(identifier.trim()).into_owned())
}
