//! `consigned`: which EPCs a despatch advice sent off and which of them came in.

use crate::facts::mentions;
use crate::ident;
use crate::pair::pair;
use crate::shape::EventKind;
use laterbase_plugin::{
    Canonical, Chance, Commutative, Emit, Event, EventData, EventKey, Keyspace, Merge, RawEvent, Refusal,
    View, from_json,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is read of an event that belongs to a business transaction.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Consignment {
    biz_step: Option<String>,
    biz_transaction_list: Vec<BizTransaction>,
    epc_list: BTreeSet<String>,
    #[serde(rename = "parentID")]
    parent_id: Option<String>,
    error_declaration: Option<IgnoredAny>,
}

/// A business transaction.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BizTransaction {
    #[serde(default, rename = "type")]
    of_type: Option<String>,
    biz_transaction: String,
}

impl EventData for Consignment {
    fn types() -> Vec<u32> {
        vec![EventKind::Object.number(), EventKind::Transaction.number()]
    }

    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        if !mentions(event, "\"desadv\"") {
            return Ok(Self::default());
        }
        from_json(event.data)
    }

    fn example(_: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        chance.json::<Self>()
    }
}

/// Groups events by despatch advice and EPC.
#[derive(Debug, Clone, Copy)]
pub struct ByAdviceAndEpc;

/// What one event says of an EPC of a despatch advice.
#[derive(Debug, Clone, PartialEq, Eq, Canonical)]
pub struct Leg {
    /// Sent off, or else come in.
    is_shipped: bool,
    /// The EPC, where the key has only its hash.
    epc: Option<String>,
}

impl Keyspace for ByAdviceAndEpc {
    type Event = Consignment;
    type Key = (String, String);
    type Delta = Leg;

    fn map(&self, event: &Event<Consignment>, out: &mut Emit<Self>) {
        let facts = &event.data;
        let is_shipped = match facts.biz_step.as_deref() {
            Some("shipping") => true,
            Some("receiving" | "accepting") => false,
            _ => return,
        };
        if facts.error_declaration.is_some() {
            return;
        }
        let is_advice = |note: &&BizTransaction| note.of_type.as_deref() == Some("desadv");
        let advices: BTreeSet<&str> = facts
            .biz_transaction_list
            .iter()
            .filter(is_advice)
            .map(|note| note.biz_transaction.as_str())
            .collect();
        for advice in advices {
            for item in facts.epc_list.iter().chain(&facts.parent_id) {
                let (key, epc) = pair(advice, item);
                out.emit(&key, Leg { is_shipped, epc });
            }
        }
    }

    fn query_key(&self, typed: &[&str]) -> Result<(String, String), Refusal> {
        let &[advice, epc] = typed else {
            return Err(Refusal::new("a key here is a despatch advice and an EPC"));
        };
        Ok(pair(&ident::canonical(advice.trim()), &ident::canonical(epc.trim())).0)
    }
}

/// Whether an EPC of a despatch advice was sent off and came in.
#[derive(Debug, Clone, Copy)]
pub struct Consigned;

/// The state of [`Consigned`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Canonical, Serialize)]
pub struct ConsignedState {
    shipped: bool,
    received: bool,
    epc: Option<String>,
}

/// What `consigned` answers.
#[derive(Debug, Serialize)]
struct ConsignedAnswer {
    received: bool,
    shipped: bool,
}

impl ConsignedState {
    /// Whether it was sent off, whether it came in, and which EPC it is; `key` is what its aggregate key says.
    pub(crate) fn leg(self, key: String) -> (bool, bool, String) {
        (self.shipped, self.received, self.epc.unwrap_or(key))
    }
}

impl View for Consigned {
    const NAME: &'static str = "consigned";
    type Over = ByAdviceAndEpc;
    type State = ConsignedState;
    type Algebra = Commutative;

    fn fold(&self, state: &mut ConsignedState, _: EventKey, delta: Leg) {
        let Leg { is_shipped, epc } = delta;
        self.merge(state, ConsignedState { shipped: is_shipped, received: !is_shipped, epc });
    }

    fn render(&self, _: &(String, String), state: &ConsignedState) -> impl Serialize {
        ConsignedAnswer { received: state.received, shipped: state.shipped }
    }
}

impl Merge for Consigned {
    fn merge(&self, left: &mut ConsignedState, right: ConsignedState) {
        left.shipped |= right.shipped;
        left.received |= right.received;
        left.epc = left.epc.take().max(right.epc);
    }
}
