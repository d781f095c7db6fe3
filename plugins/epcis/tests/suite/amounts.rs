//! Temperatures, amounts and stays, in small stories.

use crate::support::Replica;
use laterbase_plugin::testing::Bench;
use serde_json::{Value, json};

const BOX: &str = "urn:epc:id:bic:LATU0000010";

fn time(minute: i64) -> String {
    format!("2026-01-02T{:02}:{:02}:00.000Z", minute / 60, minute % 60)
}

/// An event at that minute with readings of (minute, degrees, unit).
fn sensed(minute: i64, readings: &[(i64, &str, &str)]) -> Value {
    let element = |(at, degrees, unit): &(i64, &str, &str)| {
        let value: Value = serde_json::from_str(degrees).expect("a number");
        json!({"sensorReport": [{"type": "Temperature", "time": time(*at), "value": value, "uom": unit}]})
    };
    json!({
        "type": "ObjectEvent", "action": "OBSERVE", "epcList": [BOX], "eventTime": time(minute),
        "eventTimeZoneOffset": "+00:00", "sensorElementList": readings.iter().map(element).collect::<Vec<_>>()
    })
}

fn replica(config: &str, events: &[Value]) -> Replica {
    let mut replica = Replica::default();
    replica.bench = Bench::new(epcis::plugin(), "epcis", config).expect("the plugin configures");
    replica.post_as("application/json", &json!(events).to_string());
    for view in &replica.bench.declaration().views {
        replica.bench.check_laws(&view.name, &replica.events()).expect("a true algebra");
    }
    replica
}

// Goal: readings of one event count in the order of their times, a silence ends a warm spell without adding to it, and
// what is warm and what is a silence can be configured. Method: two spells of 10 and 20 minutes, 4 hours apart.
#[test]
fn warm_spells() {
    let events = [
        sensed(20, &[(20, "7.5", "CEL"), (10, "8.01", "CEL"), (0, "281.2", "KEL")]),
        sensed(30, &[(30, "48.2", "FAH")]),
        sensed(270, &[(270, "9", "CEL"), (290, "8.5", "CEL"), (300, "1000", "PAL")]),
    ];
    let found = replica("{}", &events).view("temperature").remove(BOX);
    let expected =
        json!({"max": 900, "min": 750, "n": 6, "over": 5, "over_ms": 40 * 60_000, "runs": 3, "sum": 5006});
    assert_eq!(found, Some(expected));
    let config = r#"{"temperature_max": 850, "temperature_gap_ms": 14400000}"#;
    let found = replica(config, &events).view("temperature").remove(BOX);
    let expected =
        json!({"max": 900, "min": 750, "n": 6, "over": 2, "over_ms": 260 * 60_000, "runs": 1, "sum": 5006});
    assert_eq!(found, Some(expected));
    let wrong = Bench::new(epcis::plugin(), "epcis", r#"{"temperature_maximum": 1}"#).expect_err("misspelt");
    assert!(wrong.message.contains("temperature_max"), "{}", wrong.message);
}

// Goal: amounts add up to the last digit, by unit, and only what makes or uses goods counts.
#[test]
fn amounts() {
    let lot = "https://id.gs1.org/01/09521234123453/10/L1";
    let event = |minute: i64, action: &str, quantity: &str, unit: Option<&str>| {
        let quantity: Value = serde_json::from_str(quantity).expect("a number");
        let mut line = json!({"epcClass": lot, "quantity": quantity});
        if let Some(unit) = unit {
            line["uom"] = json!(unit);
        }
        json!({"type": "ObjectEvent", "action": action, "quantityList": [line], "eventTime": time(minute), "eventTimeZoneOffset": "+00:00"})
    };
    let mut events = vec![
        event(1, "ADD", "0.1", Some("KGM")),
        event(2, "ADD", "0.2", Some("KGM")),
        event(3, "OBSERVE", "7", Some("KGM")),
    ];
    let lots =
        |events: &[Value]| replica("{}", events).view("lots").remove(lot).expect("an amount").to_string();
    assert_eq!(lots(&events), "0.3");
    events.push(event(4, "DELETE", "0.05", Some("KGM")));
    events.push(event(5, "ADD", "3", None));
    assert_eq!(lots(&events), r#"{"":3,"KGM":0.25}"#);
    events.push(event(6, "DELETE", "0.25", Some("KGM")));
    assert_eq!(lots(&events), "3");
    events.push(event(7, "DELETE", "4", None));
    assert_eq!(lots(&events), "-1");
    events.push(event(8, "ADD", "1", None));
    assert_eq!(lots(&events), "0", "all used up");
}
