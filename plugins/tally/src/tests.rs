//! Drives the plugin through its boundary, as the host does, with the bench of `laterbase-plugin`.

use laterbase_plugin::Refusal;
use laterbase_plugin::testing::{Bench, TestEvent};
use proptest::prelude::*;

fn bench() -> Bench {
    Bench::new(crate::plugin(), "tally", "{}").expect("tally needs no configuration")
}

fn add(tail: u64, time: &str, item: &str, n: i64) -> TestEvent {
    bench().event("add", time, tail, &format!(r#"{{"item":"{item}","n":{n}}}"#))
}

fn undo(tail: u64, undone: &TestEvent) -> TestEvent {
    bench().event("undo", "2026-05-09T00:00:00Z", tail, &format!(r#"{{"key":"{}"}}"#, undone.key))
}

/// Four events in no order: two of apples on one day, a back-dated one, one of pears at the last millisecond.
fn some() -> Vec<TestEvent> {
    vec![
        add(1, "2026-05-01T10:00:00.123Z", "apple", 5),
        add(2, "2026-05-01T12:00:00+12:00", "apple", -2),
        add(3, "2026-04-30T23:59:59.999Z", "apple", 10),
        add(4, "2106-02-07T06:28:15.999Z", "pear", 1),
    ]
}

// Goal: what the plugin says of itself, which the host's routes and tables are named by, does not change unnoticed.
#[test]
fn declares() {
    let manifest = crate::plugin().manifest();
    assert_eq!((manifest.name.as_str(), manifest.roots), ("tally", vec!["tally".to_owned()]));
    let bench = bench();
    let declared = bench.declaration();
    let types: Vec<_> =
        declared.schemas[0].types.iter().map(|t| (t.number, t.name.as_str(), t.version)).collect();
    assert_eq!(types, [(1, "add", 1), (2, "undo", 1)]);
    assert!(declared.schemas[0].retracts);
    let views: Vec<_> = declared.views.iter().map(|view| (view.name.as_str(), view.keyspace)).collect();
    assert_eq!(views, [("total", 0), ("daily", 1), ("last", 0)]);
    let keyspaces: Vec<_> =
        declared.keyspaces.iter().map(|k| (k.name.as_str(), k.parts, &k.types[..])).collect();
    assert_eq!(keyspaces, [("by_item", 1, [1].as_slice()), ("by_item_and_day", 2, &[1])]);
}

// Goal: an event that does not fit is refused with a pointer to what is wrong.
#[test]
fn refuses() {
    let verdict =
        |name: &str, data: &str| bench().admit(&bench().event(name, "2026-05-01T10:00:00Z", 0, data));
    let refused = |pointer: &str, message: &str| Err(Refusal::at(pointer, message));
    assert_eq!(verdict("add", r#"{"item":"apple","n":-3}"#), Ok(()));
    assert_eq!(verdict("add", r#"{"item":"","n":1}"#), refused("/item", "an item has a name"));
    assert_eq!(
        verdict("add", r#"{"item":7,"n":1}"#),
        refused("/item", "invalid type: integer `7`, expected a string")
    );
    assert_eq!(
        verdict("add", r#"{"item":"a","n":1.5}"#),
        refused("/n", "invalid type: floating point `1.5`, expected i64")
    );
    assert_eq!(verdict("add", r#"{"item":"a"}"#), refused("", "missing field `n`"));
    assert_eq!(
        verdict("add", r#"{"item":"a","n":1,"price":2}"#),
        refused("/price", "unknown field `price`, expected `item` or `n`")
    );
    assert_eq!(verdict("add", "[\"a\",1]"), refused("", "the data of this type is a JSON object"));
    assert_eq!(
        verdict("undo", r#"{"key":"00"}"#),
        refused("/key", "an event key is 32 lower-case hex digits")
    );
    assert_eq!(verdict("undo", r#"{"key":"0123456789abcdef0123456789abcdef"}"#), Ok(()));
}

// Goal: the three answers, whatever the order of arrival.
#[test]
fn answers() {
    let bench = bench();
    let mut events = some();
    for _ in 0..events.len() {
        events.rotate_left(1);
        assert_eq!(
            bench.answers("total", &events),
            [r#"apple {"n":13,"count":3}"#, r#"pear {"n":1,"count":1}"#]
        );
        assert_eq!(
            bench.answers("daily", &events),
            [
                r#"apple|2026-04-30 {"n":10,"count":1}"#,
                r#"apple|2026-05-01 {"n":3,"count":2}"#,
                r#"pear|2106-02-07 {"n":1,"count":1}"#,
            ]
        );
        assert_eq!(
            bench.answers("last", &events),
            [
                r#"apple {"n":5,"time":"2026-05-01T10:00:00.123Z"}"#,
                r#"pear {"n":1,"time":"2106-02-07T06:28:15.999Z"}"#,
            ]
        );
    }
}

// Goal: an undo takes its add out of every view, cannot itself be undone, and may name an event that never comes.
#[test]
fn undoes() {
    let bench = bench();
    let mut events = some();
    let first = undo(1, &events[0]);
    assert_eq!(bench.retracts(&first), [events[0].key]);
    assert_eq!(bench.retracts(&events[0]), []);
    events.extend([
        undo(2, &first),
        undo(3, &add(9, "2026-05-01T10:00:00Z", "plum", 1)),
        first,
        undo(4, &events[3]),
    ]);
    assert_eq!(bench.answers("total", &events), [r#"apple {"n":8,"count":2}"#]);
    assert_eq!(bench.answers("last", &events), [r#"apple {"n":-2,"time":"2026-05-01T00:00:00.000Z"}"#]);
}

// Goal: a key that a user types has as many parts as the view's keys.
#[test]
fn typed_keys() {
    let bench = bench();
    assert_eq!(bench.query_key("total", &["apple"]), Ok(vec!["apple".to_owned()]));
    assert_eq!(bench.query_key("daily", &["apple", "2026-05-01"]).map(|key| key.len()), Ok(2));
    assert!(bench.query_key("total", &["apple", "2026-05-01"]).is_err());
}

proptest! {
    // Goal: the declared algebras are true, also where sums overflow. Method: few items and times, any numbers.
    #[test]
    fn laws(numbers in prop::collection::vec((0..3_u64, 0..3_u8, any::<i64>()), 0..12)) {
        let bench = bench();
        let events: Vec<_> = (0_u64..)
            .zip(&numbers)
            .map(|(tail, (item, day, n))| add(tail, &format!("2026-05-0{}T00:00:00Z", day + 1), &item.to_string(), *n))
            .collect();
        for view in ["total", "daily", "last"] {
            prop_assert_eq!(bench.check_laws(view, &events), Ok(()));
        }
    }
}
