//! What goes into what and comes out again, in small stories: refills, ties, rings, chains, long identifiers.

use crate::support::{Replica, data};
use laterbase_plugin::testing::{Ask, Pinned};
use laterbase_plugin::{Bounds, ValidTime};
use serde_json::{Value, json};

/// The instant `minute` minutes into a day, in milliseconds.
fn millis(minute: i64) -> i64 {
    1_767_312_000_000 + minute * 60_000
}

/// An aggregation event at that minute in a location that is named like it.
fn aggregation(minute: i64, action: &str, parent: &str, children: &[&str]) -> Value {
    json!({
        "type": "AggregationEvent", "eventTimeZoneOffset": "+00:00", "action": action, "parentID": parent,
        "eventTime": format!("2026-01-02T{:02}:{:02}:00Z", minute / 60, minute % 60), "childEPCs": children,
        "bizLocation": {"id": location(minute)}
    })
}

fn location(minute: i64) -> String {
    format!("https://example.com/at/{minute}")
}

fn replica(events: &[Value]) -> Replica {
    let mut replica = Replica::default();
    replica.post_as("application/json", &json!(events).to_string());
    replica
}

/// The one item of a Report with this key.
fn one(pinned: &Pinned<'_>, report: &str, key: &str, minute: Option<i64>) -> Value {
    let at = minute.and_then(|minute| ValidTime::from_millis(millis(minute) + 1));
    let ask = Ask { key: Some(&[key]), bounds: Bounds { at, ..Bounds::default() }, ..Ask::default() };
    let told = pinned.report(report, &ask).unwrap_or_else(|error| panic!("{}", error.message));
    told.items.first().map_or(Value::Null, |(_, json)| serde_json::from_str(json).expect("JSON"))
}

const CASE: &str = "https://id.gs1.org/01/09521234123453/21/1";
const CRATE: &str = "https://id.gs1.org/8003/09521234000006/1";
const TRUCK: &str = "https://id.gs1.org/8004/9521234T1";

// Goal: a crate that is used again and again: a case came out of it the first time that it was emptied after the case
// went in, and what happens to the crate later does not move the case. Method: the answer at each minute.
#[test]
fn refilled() {
    let other = "https://id.gs1.org/01/09521234123453/21/2";
    let replica = replica(&[
        aggregation(10, "ADD", CRATE, &[other]),
        aggregation(20, "DELETE", CRATE, &[]),
        aggregation(30, "ADD", CRATE, &[CASE]),
        aggregation(40, "ADD", TRUCK, &[CRATE]),
        aggregation(50, "DELETE", CRATE, &[]),
        aggregation(60, "ADD", CRATE, &[other]),
        aggregation(70, "DELETE", CRATE, &[]),
        aggregation(80, "DELETE", TRUCK, &[CRATE]),
    ]);
    let pinned = replica.bench.pin(&replica.events());
    let place = |at: i64| json!([location(at), millis(at)]);
    for (minute, parent, place_of_case, in_truck) in [
        (29, Value::Null, Value::Null, Value::Null),
        (30, json!(CRATE), place(30), Value::Null),
        (49, json!(CRATE), place(40), json!([CASE, CRATE])),
        (50, Value::Null, place(50), json!([CRATE])),
        (60, Value::Null, place(50), json!([other, CRATE])),
        (75, Value::Null, place(50), json!([CRATE])),
        (80, Value::Null, place(50), Value::Null),
    ] {
        assert_eq!(one(&pinned, "parent", CASE, Some(minute)), parent, "at {minute}");
        assert_eq!(one(&pinned, "where", CASE, Some(minute)), place_of_case, "at {minute}");
        assert_eq!(one(&pinned, "contents", TRUCK, Some(minute)), in_truck, "at {minute}");
    }
    assert_eq!(one(&pinned, "where", other, None), place(70));
}

// Goal: of one instant, what goes in counts last: emptied and filled again is full, taken out and put back is in.
#[test]
fn ties() {
    for (minute, first) in
        [(10, aggregation(10, "DELETE", CRATE, &[])), (10, aggregation(10, "DELETE", CRATE, &[CASE]))]
    {
        let replica = replica(&[
            aggregation(5, "ADD", CRATE, &[CASE]),
            first,
            aggregation(minute, "ADD", CRATE, &[CASE]),
        ]);
        let pinned = replica.bench.pin(&replica.events());
        assert_eq!(one(&pinned, "parent", CASE, None), CRATE);
        assert_eq!(one(&pinned, "contents", CRATE, None), json!([CASE]));
    }
}

// Goal: a case that is scanned into another crate has left the one before, without anyone saying so; and an event that
// takes it out of the one before, late, changes nothing.
#[test]
fn moved() {
    let next = "https://id.gs1.org/8003/09521234000006/2";
    let replica = replica(&[
        aggregation(10, "ADD", CRATE, &[CASE]),
        aggregation(20, "ADD", next, &[CASE]),
        aggregation(30, "DELETE", CRATE, &[CASE]),
        aggregation(40, "DELETE", CRATE, &[]),
    ]);
    let pinned = replica.bench.pin(&replica.events());
    assert_eq!(one(&pinned, "parent", CASE, None), next);
    assert_eq!(one(&pinned, "contents", CRATE, Some(20)), Value::Null);
    assert_eq!(one(&pinned, "contents", next, Some(20)), json!([CASE]));
    let place = json!([location(30), millis(30)]);
    assert_eq!(one(&pinned, "where", CASE, None), place, "but it was seen there");
}

// Goal: rings end, and are told; so does a chain that is longer than anything that people pack.
#[test]
fn rings_and_chains() {
    let mut ring = Replica::default();
    ring.post_as("application/json", &data("semantic/containment-cycle.json"));
    let pinned = ring.bench.pin(&ring.events());
    let [one_of, other] =
        ["https://id.gs1.org/00/195212340000000010", "https://id.gs1.org/00/195212340000000027"];
    assert_eq!(one(&pinned, "parent", one_of, None), other);
    assert_eq!(one(&pinned, "where", one_of, None)[2], "ring of parents");
    assert_eq!(one(&pinned, "contents", one_of, None), json!([one_of, other]));
    assert_eq!(pinned.report("stock", &Ask::default()).expect("an answer").items, []);

    let mut own = Replica::default();
    own.post_as("application/json", &data("semantic/parent-is-own-child.json"));
    let pinned = own.bench.pin(&own.events());
    let listed = pinned.report("contents", &Ask::default()).expect("an answer").items;
    let [(key, inside)] = listed.as_slice() else { panic!("{listed:?}") };
    assert!(inside.contains(key[0].as_str()), "{inside}");
    assert_eq!(one(&pinned, "where", &key[0], None)[2], "ring of parents");
    for view in ["status", "packings"] {
        own.bench.check_laws(view, &own.events()).expect("a true algebra");
    }

    let box_of = |level: i64| format!("https://id.gs1.org/8003/09521234000006/B{level}");
    let packed = |level: i64| aggregation(level, "ADD", &box_of(level + 1), &[&box_of(level)]);
    let chain = replica(&(0..100).map(packed).collect::<Vec<_>>());
    let pinned = chain.bench.pin(&chain.events());
    assert_eq!(
        one(&pinned, "where", &box_of(0), None),
        json!([location(64), millis(64), "too many parents"])
    );
    assert_eq!(one(&pinned, "where", &box_of(40), None), json!([location(99), millis(99)]));
    let inside = one(&pinned, "contents", &box_of(100), None);
    assert_eq!(inside.as_array().map(Vec::len), Some(100));
}

// Goal: identifiers as long as they may be have their place, too, and are found by themselves.
#[test]
fn long_identifiers() {
    let [parent, child, other] =
        ["p", "c", "d"].map(|name| format!("https://example.com/{}{name}", "x".repeat(380 - 21)));
    let replica = replica(&[aggregation(10, "ADD", &parent, &[&child, &other, CASE])]);
    let pinned = replica.bench.pin(&replica.events());
    assert_eq!(one(&pinned, "contents", &parent, None), json!([child, other, CASE]));
    let packed = replica.bench.query_key("packings", &[&parent, &child]).expect("two parts");
    let length: usize = packed.iter().map(String::len).sum();
    assert!(length + 6 <= 400, "{length}");
    assert_eq!(packed[0], parent);
    let runs = replica.bench.runs("by_parent_and_child", &replica.events());
    assert_eq!(runs.len(), 3);
    for view in ["status", "packings", "last_seen"] {
        replica.bench.check_laws(view, &replica.events()).expect("a true algebra");
    }
}

// Goal: what ceased to be is no stock, though it was last seen in a place; and a pallet counts once something is in it.
#[test]
fn stock_is_what_is_there() {
    let object = |minute: i64, action: &str, epcs: &[&str]| {
        let mut event = aggregation(minute, action, CRATE, epcs);
        let members = event.as_object_mut().expect("an object");
        members.remove("parentID");
        let children = members.remove("childEPCs").expect("a list");
        members.insert("epcList".to_owned(), children);
        members.insert("type".to_owned(), json!("ObjectEvent"));
        members.insert("bizLocation".to_owned(), json!({"id": "https://example.com/shop"}));
        event
    };
    let [one_case, other, pallet] =
        [CASE, "https://id.gs1.org/01/09521234123453/21/2", "https://id.gs1.org/00/195212340000000010"];
    let replica = replica(&[
        object(10, "ADD", &[one_case, other, pallet, CRATE]),
        object(20, "OBSERVE", &[one_case]),
        object(30, "DELETE", &[one_case]),
        aggregation(40, "ADD", pallet, &[other]),
        object(50, "OBSERVE", &[pallet]),
        object(60, "DELETE", &[pallet]),
    ]);
    let pinned = replica.bench.pin(&replica.events());
    let (gtin, shop) = ("https://id.gs1.org/01/09521234123453", "https://example.com/shop");
    for (minute, stock) in [
        (9, Value::Null),
        (10, json!({gtin: 2})),
        (30, json!({gtin: 1})),
        (40, Value::Null),
        (50, json!({gtin: 1, "pallets": 1})),
        (60, json!({gtin: 1})),
    ] {
        assert_eq!(one(&pinned, "stock", shop, Some(minute)), stock, "at {minute}");
    }
    assert_eq!(one(&pinned, "stock", &location(40), Some(40)), json!({gtin: 1, "pallets": 1}));
}

// Goal: states stay small whatever is posted: an EPC that is taken out of one parent after the other, and the law holds
// though the oldest are forgotten. Method: 80 parents, of which the tenth by name was left among the newest.
#[test]
fn taken_out_of_everything() {
    let crate_of = |number: i64| format!("https://id.gs1.org/8003/09521234000006/B{number}");
    let mut events: Vec<Value> =
        (0..80).map(|at| aggregation(at * 7 % 80 + 100, "DELETE", &crate_of(at), &[CASE])).collect();
    events.push(aggregation(50, "ADD", &crate_of(10), &[CASE]));
    let replica = replica(&events);
    replica.bench.check_laws("status", &replica.events()).expect("a true algebra");
    let runs = replica.bench.runs("by_epc", &replica.events());
    let longest = runs.into_values().max_by_key(Vec::len).expect("the case's");
    assert_eq!(longest.len(), 81);
    let state = replica.bench.fold("status", None, &longest).expect("a state");
    assert!(state.len() < 64 * (4 + 50 + 8) + 100, "{} bytes", state.len());
    let pinned = replica.bench.pin(&replica.events());
    assert_eq!(one(&pinned, "parent", CASE, None), Value::Null, "taken out of it at minute 170");
}
