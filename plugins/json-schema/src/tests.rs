//! Drives the plugin through its boundary, as the host does, with the bench of `laterbase-plugin`.

use laterbase_plugin::abi::PluginError;
use laterbase_plugin::testing::{Bench, TestEvent};
use laterbase_plugin::{Chance, Refusal};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A configuration with the files `a`, whose versions are 1 and 2, and `common`.
fn config(views: &Value) -> Value {
    let first = json!({"type": "object", "required": ["k", "n"]});
    let second = json!({
        "type": "object",
        "properties": {"key": {"$ref": "common.json#/$defs/key"}, "n": {"type": ["number", "null"]}, "note": {}},
        "required": ["key"],
    });
    let common = json!({"$defs": {"key": {"type": "string", "maxLength": 3}}});
    let file = |name: &str, json: &Value| json!({"file": name, "text": json.to_string()});
    json!({
        "types": [
            {
                "number": 7, "name": "add", "version": 2, "schemas": [file("a-1.json", &first), file("a-2.json", &second)],
                "upcasts": [{"rename": {"/k": "/key"}, "default": {"/note": {"old": true}}}],
            },
            {"number": 8, "name": "undo", "schemas": [file("undo.json", &json!(true))], "retracts": "/keys"},
        ],
        "views": views,
        "refs": [file("common.json", &common)],
    })
}

fn views() -> Value {
    json!([
        {"name": "sums", "types": ["add"], "key": ["/key"], "outputs": {"n": "count", "sum": {"sum": "/n"}}},
        {"name": "days", "types": ["add"], "key": [{"pointer": "/key", "missing": "?"}, {"time": "day"}],
         "outputs": {"sum": {"sum": "/n"}}},
        {"name": "ends", "types": ["add", "undo"], "key": [{"constant": "all"}, {"time": "month"}],
         "outputs": {"low": {"min": "/n"}, "high": {"max": "/n"}, "note": {"last": "/note"}, "count": "count"}},
    ])
}

fn configured(config: &Value) -> Result<Bench, PluginError> {
    Bench::new(crate::plugin(), "any", &config.to_string())
}

fn bench() -> Bench {
    configured(&config(&views())).expect("a sound configuration")
}

fn add(bench: &Bench, tail: u64, time: &str, data: &str) -> TestEvent {
    bench.event("add", time, tail, data)
}

// Goal: versions, upcasts, retractions and every kind of output, in any order of arrival.
#[test]
fn answers() {
    let bench = bench();
    let old = TestEvent { version: 1, ..add(&bench, 1, "2026-05-01T10:00:00Z", r#"{"k":"a","n":1.50}"#) };
    let first = add(&bench, 2, "2026-05-02T10:00:00Z", r#"{"key":"a","n":-2e1,"note":[1, 2.0]}"#);
    let last = add(&bench, 3, "2026-06-01T10:00:00Z", r#"{"key":"b","n":null}"#);
    let wrong = add(&bench, 4, "2026-05-02T11:00:00Z", r#"{"key":"a","n":999}"#);
    let undo = bench.event("undo", "2026-05-03T00:00:00Z", 5, &format!(r#"{{"keys":["{}"]}}"#, wrong.key));
    assert_eq!(bench.retracts(&undo), [wrong.key]);
    let mut events = vec![old, first, last, wrong, undo];
    for _ in 0..events.len() {
        events.rotate_left(1);
        assert_eq!(bench.answers("sums", &events), [r#"a {"n":2,"sum":-18.5}"#, r#"b {"n":1,"sum":0}"#]);
        assert_eq!(
            bench.answers("days", &events),
            [r#"a|2026-05-01 {"sum":1.5}"#, r#"a|2026-05-02 {"sum":-20}"#, r#"b|2026-06-01 {"sum":0}"#]
        );
        assert_eq!(
            bench.answers("ends", &events),
            [
                r#"all|2026-05 {"count":3,"high":1.5,"low":-20,"note":[1,2.0]}"#,
                r#"all|2026-06 {"count":1,"high":null,"low":null,"note":null}"#,
            ]
        );
    }
}

// Goal: all faults of an event in one refusal, those of the schema with the keyword's place, those of views by pointer.
#[test]
fn refuses() {
    let bench = bench();
    let verdict = |data: &str| bench.admit(&add(&bench, 0, "2026-05-01T10:00:00Z", data));
    let refused = |pointer: &str, message: &str| Err(Refusal::at(pointer, message));
    assert_eq!(verdict(r#"{"key":"a","n":1}"#), Ok(()));
    assert_eq!(
        verdict(r#"{"key":"abcd","n":1}"#),
        refused("/key", "the value is longer than 3 characters (common.json#/$defs/key/maxLength)")
    );
    assert_eq!(
        verdict(r#"{"key":"a","n":1000000000000000000}"#),
        refused(
            "/n",
            "a view counts this; it is a number with at most 18 digits before the point and 9 behind it"
        )
    );
    let long = format!(r#"{{"key":"a","note":"{}"}}"#, "x".repeat(1023));
    assert_eq!(verdict(&long), refused("/note", "a view keeps this; it has at most 1024 bytes of JSON"));
    assert_eq!(verdict(r#"{"key":"a","key":"b"}"#), refused("/key", "this name is given twice"));
    assert_eq!(verdict("{"), refused("", "not JSON: EOF while parsing an object at line 1 column 1"));
    let deep = format!(r#"{{"key":"a","note":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    assert!(verdict(&deep).is_err_and(|refusal| refusal.message == "nested too deeply"));
    let undo = bench.event("undo", "2026-05-03T00:00:00Z", 5, r#"{"keys":["00"]}"#);
    assert!(bench.admit(&undo).is_err_and(|refusal| refusal.pointer == "/keys"));
}

/// The part of a declaration that says what rows depend on.
fn depends(config: &Value) -> Vec<Option<String>> {
    let bench = configured(config).expect("a sound configuration");
    let declared = bench.declaration();
    let views = declared.views.iter().map(|view| view.depends.clone());
    let keyspaces = declared.keyspaces.iter().map(|keyspace| keyspace.depends.clone());
    let schemas = declared.schemas.iter().map(|schema| schema.depends.clone());
    views.chain(keyspaces).chain(schemas).collect()
}

// Goal: rows outlive what does not change them, and nothing else. Method: one change at a time.
#[test]
fn what_rows_depend_on() {
    let before = config(&views());
    let changed = |pointer: &str, to: Value| {
        let mut config = before.clone();
        *config.pointer_mut(pointer).expect("a place") = to;
        let (before, after) = (depends(&before), depends(&config));
        before
            .iter()
            .zip(&after)
            .enumerate()
            .filter(|(_, (one, other))| one != other)
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    let schema = json!({"type": "object", "maxProperties": 9}).to_string();
    assert_eq!(changed("/types/0/schemas/1/text", schema.into()), Vec::<usize>::new());
    assert_eq!(changed("/views/0/outputs", json!({"n": "count"})), [0, 3]);
    assert_eq!(changed("/views/1/key", json!(["/key"])), [4]);
    assert_eq!(changed("/types/0/upcasts/0/default", json!({})), [6]);
    assert_eq!(changed("/types/1/retracts", json!("/key")), [7]);
}

// Goal: a schema that refers to itself through inner values works; work that multiplies is bounded by the depth of
// data.
#[test]
fn recursion_is_bounded() {
    let with = |schema: Value| {
        let mut config = config(&json!([]));
        *config.pointer_mut("/types/1/schemas/0/text").expect("a place") = schema.to_string().into();
        configured(&config)
    };
    let nested = |bench: &Bench, depth: usize| {
        let data = format!("{}1{}", r#"{"in":"#.repeat(depth), "}".repeat(depth));
        bench.admit(&bench.event("undo", "2026-05-03T00:00:00Z", 5, &data))
    };
    let once = with(json!({"properties": {"in": {"$ref": "#"}}})).expect("sound");
    assert_eq!((nested(&once, 64), nested(&once, 65).is_err()), (Ok(()), true));
    let branch = json!({"properties": {"in": {"$ref": "#"}}});
    let twice = with(json!({"anyOf": [branch, branch]})).expect("sound");
    assert_eq!((nested(&twice, 8), nested(&twice, 20).is_err()), (Ok(()), true));
    let mut bomb = json!({"$defs": {"x0": true}, "$ref": "#/$defs/x20"});
    for at in 1..=20 {
        let before = json!({"$ref": format!("#/$defs/x{}", at - 1)});
        bomb["$defs"][format!("x{at}")] = json!({"allOf": [before, before]});
    }
    let error = with(bomb).map(drop).expect_err("refused");
    assert!(error.message.starts_with("too_large: "), "{}", error.message);
    for endless in [json!({"$ref": "#"}), json!({"anyOf": [{"not": {"$ref": "#"}}]})] {
        let error = with(endless).map(drop).expect_err("refused");
        assert_eq!(error.pointer, "/types/1/schemas/0");
        assert!(error.message.starts_with("endless_ref: undo.json: "), "{}", error.message);
    }
}

// Goal: what no value can fit is a mistake, a plain `false` is none; many alternatives do not make the search endless.
#[test]
fn contradictions_are_found() {
    let with = |schema: Value| {
        let mut config = config(&json!([]));
        *config.pointer_mut("/types/1/schemas/0/text").expect("a place") = schema.to_string().into();
        configured(&config).map(drop).map_err(|error| error.message.into_string())
    };
    for (schema, place) in [
        (json!({"allOf": [{"type": "string"}, {"type": "integer"}]}), "fits #"),
        (json!({"properties": {"a": {"type": "string", "minLength": 3, "maxLength": 2}}}), "#/properties/a"),
        (json!({"enum": [1, 2], "type": "string"}), "contradictory_schema"),
    ] {
        let error = with(schema).expect_err("refused");
        assert!(error.starts_with("contradictory_schema: undo.json: ") && error.contains(place), "{error}");
    }
    let alternative =
        |at: u32| json!({"anyOf": [{"required": [format!("a{at}")]}, {"required": [format!("b{at}")]}]});
    let many: Vec<Value> = (0..100).map(alternative).collect();
    for sound in
        [json!({"properties": {"a": false}}), json!({"allOf": many}), json!({"not": {"type": "string"}})]
    {
        assert_eq!(with(sound), Ok(()));
    }
}

// Goal: a file may be named by the id that it gives itself.
#[test]
fn files_by_their_ids() {
    let mut config = config(&json!([]));
    let common =
        json!({"$id": "https://example.org/common", "$defs": {"key": {"type": "string", "maxLength": 1}}});
    let undo = json!({
        "$id": "https://example.org/undo", "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"key": {"$ref": "common#/$defs/key"}}
    });
    *config.pointer_mut("/refs/0/text").expect("a place") = common.to_string().into();
    *config.pointer_mut("/types/0/schemas/1/text").expect("a place") = json!(true).to_string().into();
    *config.pointer_mut("/types/1/schemas/0/text").expect("a place") = undo.to_string().into();
    let bench = configured(&config).unwrap_or_else(|error| panic!("{}", error.message));
    let verdict = |data: &str| bench.admit(&bench.event("undo", "2026-05-03T00:00:00Z", 5, data));
    assert_eq!(verdict(r#"{"key":"a"}"#), Ok(()));
    let refusal = verdict(r#"{"key":"ab"}"#).expect_err("too long");
    assert!(refusal.message.ends_with("(https://example.org/common#/$defs/key/maxLength)"), "{refusal}");
}

// Goal: data is made up that fits, of many kinds of schemas.
#[test]
fn examples_fit() {
    for schema in [
        json!({"type": "integer", "minimum": 3, "maximum": 5}),
        json!({"type": "string", "pattern": "^[A-Z]{2}-(x|yy)[0-9]+$"}),
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "array", "items": {"enum": [1, "a"]}, "minItems": 2, "maxItems": 4}),
        json!({"oneOf": [{"const": 1}, {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}]}),
        json!({"allOf": [{"properties": {"a": {"type": "number", "multipleOf": 0.5}}}, {"required": ["a", "b"]}]}),
        json!({"type": ["string", "null"], "maxLength": 2}),
        json!({"not": {"type": "string"}, "examples": [7]}),
    ] {
        let mut config = config(&json!([]));
        *config.pointer_mut("/types/1/schemas/0/text").expect("a place") = schema.to_string().into();
        let instance =
            crate::configure(&laterbase_plugin::Setup::new("any", &config.to_string())).expect("sound");
        let bench = Bench::of(instance);
        let mut made = std::collections::BTreeSet::new();
        for (seed, extreme) in (0..40).flat_map(|seed| [(seed, false), (seed, true)]) {
            made.extend(example(&bench, 8, seed, extreme));
        }
        assert!(!made.is_empty(), "{schema}");
    }
    assert!(Chance::new(1, true).is_extreme());
}

/// What the plugin makes up, if it does; it always fits, for it judges it itself.
fn example(bench: &Bench, number: u32, seed: u64, extreme: bool) -> Option<String> {
    let data = bench.example(number, seed, extreme)?;
    let event = bench.event("undo", "2026-05-03T00:00:00Z", 0, std::str::from_utf8(&data).expect("JSON"));
    assert_eq!(bench.admit(&event), Ok(()));
    String::from_utf8(data).ok()
}

/// Data of an event: some with a field left out or of extreme size.
fn data() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("999999999999999999.999999999".to_owned()),
        Just("-999999999999999999.999999999".to_owned()),
        (-20..20_i32).prop_map(|n| format!("{}e-2", n * 25)),
        Just("null".to_owned()),
    ];
    (0..3_u8, number, prop::option::of(0..4_u8)).prop_map(|(key, number, note)| {
        let note = note.map(|note| format!(r#","note":{note}"#)).unwrap_or_default();
        format!(r#"{{"key":"{key}","n":{number}{note}}}"#)
    })
}

proptest! {
    // Goal: the declared algebras are true. Method: few keys and times, numbers of all sizes, fields left out.
    #[test]
    fn laws(drafts in prop::collection::vec((0..3_u8, data()), 0..10)) {
        let bench = bench();
        let event = |(tail, (day, data)): (u64, &(u8, String))| {
            add(&bench, tail, &format!("2026-05-0{}T00:00:00Z", day + 1), data)
        };
        let events: Vec<_> = (0..).zip(&drafts).map(event).collect();
        for event in &events {
            prop_assert_eq!(bench.admit(event), Ok(()));
        }
        for view in ["sums", "days", "ends"] {
            prop_assert_eq!(bench.check_laws(view, &events), Ok(()));
        }
    }
}
