//! `lots`: how much of a class of goods, such as a lot, came into being and was not used up.

use crate::facts::{Quantity, mentions, one_identifier};
use crate::shape::EventKind;
use laterbase_plugin::{
    Canonical, Chance, Emit, Event, EventData, EventKey, Group, Invert, Keyspace, Merge, RawEvent, Refusal,
    View, from_json,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// How many decimals of an amount count.
const DECIMALS: usize = 9;
/// An amount of one.
const ONE: i128 = 10_i128.pow(9);

/// What is read of an event that makes or uses goods.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Amounts {
    #[serde(skip)]
    type_number: u32,
    action: Option<String>,
    quantity_list: Vec<Quantity>,
    input_quantity_list: Vec<Quantity>,
    output_quantity_list: Vec<Quantity>,
    error_declaration: Option<IgnoredAny>,
}

impl EventData for Amounts {
    fn types() -> Vec<u32> {
        vec![EventKind::Object.number(), EventKind::Transformation.number()]
    }

    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        if !mentions(event, "uantityList\"") {
            return Ok(Self::default());
        }
        let amounts: Self = from_json(event.data)?;
        Ok(Self { type_number: event.type_number, ..amounts })
    }

    fn example(_: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        chance.json::<Self>()
    }
}

/// Groups events by the classes of goods that they make or use.
#[derive(Debug, Clone, Copy)]
pub struct ByClass;

/// How much of a class one event makes, or uses if it is negative.
#[derive(Debug, Clone, PartialEq, Eq, Canonical)]
pub struct Amount {
    unit: String,
    /// In billionths.
    billionths: i128,
}

impl Keyspace for ByClass {
    type Event = Amounts;
    type Key = String;
    type Delta = Amount;

    fn map(&self, event: &Event<Amounts>, out: &mut Emit<Self>) {
        let amounts = &event.data;
        if amounts.error_declaration.is_some() {
            return;
        }
        let mut emit = |list: &[Quantity], sign: i128| {
            for Quantity { epc_class, quantity, uom } in list {
                let Some(billionths) = quantity.as_deref().and_then(|text| billionths(text.get())) else {
                    continue;
                };
                let unit = uom.clone().unwrap_or_default();
                out.emit(epc_class, Amount { unit, billionths: sign * billionths });
            }
        };
        match amounts.action.as_deref() {
            _ if amounts.type_number == EventKind::Transformation.number() => {
                emit(&amounts.input_quantity_list, -1);
                emit(&amounts.output_quantity_list, 1);
            }
            Some("ADD") => emit(&amounts.quantity_list, 1),
            Some("DELETE") => emit(&amounts.quantity_list, -1),
            _ => {}
        }
    }

    fn query_key(&self, typed: &[&str]) -> Result<String, Refusal> {
        one_identifier(typed)
    }
}

/// A canonical decimal number that is not negative, in billionths; what is smaller is cut off. None if it is larger
/// than anything that is weighed.
fn billionths(text: &str) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: String = part.chars().chain("000000000".chars()).take(DECIMALS).collect();
    let whole: i64 = whole.parse().ok()?;
    Some(i128::from(whole) * ONE + part.parse::<i128>().ok()?)
}

/// How much there is of a class of goods.
#[derive(Debug, Clone, Copy)]
pub struct Lots;

/// Billionths by unit; a unit of which there is nothing is left out, so that sums that cancel are the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Canonical, Serialize)]
pub struct LotsState {
    units: BTreeMap<String, i128>,
}

/// An amount, or several by unit.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum LotsAnswer {
    One(Box<RawValue>),
    Several(BTreeMap<String, Box<RawValue>>),
}

impl View for Lots {
    const NAME: &'static str = "lots";
    type Over = ByClass;
    type State = LotsState;
    type Algebra = Group;

    fn fold(&self, state: &mut LotsState, _: EventKey, delta: Amount) {
        self.merge(state, LotsState { units: BTreeMap::from([(delta.unit, delta.billionths)]) });
    }

    fn render(&self, _: &String, state: &LotsState) -> impl Serialize {
        let mut amounts = state.units.iter();
        match (amounts.next(), amounts.next()) {
            (None, _) => LotsAnswer::One(number(0)),
            (Some((_, amount)), None) => LotsAnswer::One(number(*amount)),
            _ => LotsAnswer::Several(
                state.units.iter().map(|(unit, amount)| (unit.clone(), number(*amount))).collect(),
            ),
        }
    }
}

impl Merge for Lots {
    fn merge(&self, left: &mut LotsState, right: LotsState) {
        for (unit, amount) in right.units {
            let sum = left.units.entry(unit).or_default();
            *sum = sum.wrapping_add(amount);
        }
        left.units.retain(|_, sum| *sum != 0);
    }
}

impl Invert for Lots {
    fn invert(&self, state: &mut LotsState) {
        state.units.values_mut().for_each(|sum| *sum = sum.wrapping_neg());
    }
}

/// Billionths as a JSON number with every digit.
fn number(billionths: i128) -> Box<RawValue> {
    let sign = if billionths < 0 { "-" } else { "" };
    let (whole, part) =
        (billionths.unsigned_abs() / ONE.unsigned_abs(), billionths.unsigned_abs() % ONE.unsigned_abs());
    let text = format!("{sign}{whole}.{part:09}");
    let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    RawValue::from_string(text).expect("digits are a JSON number")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: amounts are read and written without losing a digit that counts.
    #[test]
    fn digits() {
        for (text, expected) in [
            ("0", "0"),
            ("400", "400"),
            ("0.1", "0.1"),
            ("12.000000001", "12.000000001"),
            ("1.0000000009", "1"),
        ] {
            assert_eq!(
                billionths(text).map(|amount| number(amount).get().to_owned()).as_deref(),
                Some(expected)
            );
        }
        assert_eq!(number(-1_500_000_000).get(), "-1.5");
        assert_eq!(number(-1).get(), "-0.000000001");
        assert_eq!(billionths("99999999999999999999"), None);
    }
}
