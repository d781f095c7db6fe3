//! Which events are taken and which refused, and where the refusal points.

use crate::support::data;
use epcis::intake;
use serde_json::{Value, json};

/// The one fault of a body with one event: pointer and sentence.
fn fault(body: &Value) -> (String, String) {
    let verdicts = intake::read("application/json", body.to_string().as_bytes());
    let mut verdicts = match verdicts {
        Err(refusal) => return (refusal.pointer, refusal.message),
        Ok(verdicts) => verdicts,
    };
    assert_eq!(verdicts.len(), 1, "{body}");
    let refusal = verdicts.remove(0).expect_err(&format!("refused: {body}"));
    (refusal.pointer, refusal.message)
}

// Goal: the hand-made cases are taken or refused as the standard's prose says. Where it does not decide, they are
// taken.
#[test]
fn semantic_cases() {
    let cases: serde_json::Map<String, Value> = serde_json::from_str(&data("semantic.json")).unwrap();
    assert!(cases.len() >= 17);
    for (name, case) in cases {
        let body = data(&format!("semantic/{name}.json"));
        let verdicts = intake::read("application/json", body.as_bytes()).expect("a document");
        let taken = verdicts.iter().all(Result::is_ok);
        assert_eq!(taken, case["conformant"].as_bool().unwrap_or(true), "{name}: {verdicts:?}");
        assert!(!verdicts.is_empty(), "{name}");
    }
}

fn event() -> Value {
    json!({
        "type": "ObjectEvent", "eventTime": "2026-01-03T05:03:43.916+13:00", "eventTimeZoneOffset": "+13:00",
        "epcList": ["urn:epc:id:sscc:9521234.1000000121"], "action": "ADD", "bizStep": "receiving",
        "readPoint": {"id": "urn:epc:id:sgln:9521234.00305.1"},
        "quantityList": [{"epcClass": "urn:epc:class:lgtin:9521234.012347.L1", "quantity": 3, "uom": "KGM"}],
        "bizTransactionList": [{"type": "po", "bizTransaction": "http://example.com/po/1"}],
        "sourceList": [{"type": "location", "source": "urn:epc:id:sgln:9521234.00305.0"}],
        "sensorElementList": [{
            "sensorMetadata": {"time": "2026-01-03T05:00:00+13:00", "deviceID": "urn:epc:id:giai:9521234.LOG1"},
            "sensorReport": [{"type": "Temperature", "value": 3.5, "uom": "CEL"}]
        }],
        "ilmd": {"ext:lot": "L1"},
        "errorDeclaration": {"declarationTime": "2026-01-04T00:00:00Z", "reason": "incorrect_data"}
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut event = event();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match event.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.insert(name.to_owned(), value)),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => panic!("{scalar}"),
    }
    event
}

fn without(pointer: &str) -> Value {
    let mut event = event();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    event
}

// Goal: a wrong member is pointed to, whatever way it is wrong and wherever it is.
#[test]
fn pointers() {
    assert!(intake::read("application/json", event().to_string().as_bytes()).unwrap()[0].is_ok());
    for (pointer, value) in [
        ("/type", json!("PalletEvent")),
        ("/type", json!(7)),
        ("/eventTime", json!("2026-01-03T05:03:43.916")),
        ("/eventTime", json!("1969-12-31T23:59:59Z")),
        ("/eventTime", json!("2107-01-01T00:00:00Z")),
        ("/eventTimeZoneOffset", json!("Z")),
        ("/epcList", json!("urn:epc:id:sscc:9521234.1000000121")),
        ("/epcList/0", json!("pallet 7")),
        ("/epcList/0", json!(["urn:x:y"])),
        ("/epcList/0", json!(format!("urn:x:{}", "y".repeat(400)))),
        ("/action", json!("CREATE")),
        ("/bizStep", json!("transforming")),
        ("/disposition", json!("in_transport")),
        ("/readPoint", json!("urn:epc:id:sgln:9521234.00305.1")),
        ("/readPoint/id", json!(null)),
        ("/readPoint/color", json!("red")),
        ("/quantityList/0/quantity", json!("3")),
        ("/quantityList/0/quantity", json!(-3)),
        ("/quantityList/0/uom", json!("kilo")),
        ("/quantityList/0/weight", json!(3)),
        ("/bizTransactionList/0/type", json!("order")),
        ("/sourceList/0/source", json!("here")),
        ("/sensorElementList/0/sensorReport", json!([])),
        ("/sensorElementList/0/sensorReport/0/value", json!(true)),
        ("/sensorElementList/0/sensorReport/0/type", json!("Warmth")),
        ("/sensorElementList/0/sensorReport/0/deviceID", json!("urn:epc:id:giai:9521234.LOG2")),
        ("/ilmd", json!([])),
        ("/ilmd/lot", json!("L1")),
        ("/errorDeclaration/declarationTime", json!("yesterday")),
        ("/eventID", json!("")),
        ("/persistentDisposition", json!({"set": []})),
        ("/weight", json!(7)),
        ("/@context", json!([{"a": "b:c", "b": "urn:x:"}])),
    ] {
        let (found, message) = fault(&with(pointer, value.clone()));
        let exact = found == pointer || found.starts_with(&format!("{pointer}/"));
        let missing = value.is_null() && pointer.starts_with(&found);
        assert!(exact || missing, "{pointer} {value}: {found} {message}");
    }
}

// Goal: what is missing is named.
#[test]
fn required() {
    for name in ["type", "eventTime", "eventTimeZoneOffset", "action"] {
        let (pointer, message) = fault(&without(&format!("/{name}")));
        assert_eq!((pointer.as_str(), message), ("", format!("{name} is missing")));
    }
    for pointer in [
        "/readPoint/id",
        "/quantityList/0/epcClass",
        "/sourceList/0/source",
        "/errorDeclaration/declarationTime",
    ] {
        let (found, message) = fault(&without(pointer));
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        assert_eq!((found.as_str(), message), (parent, format!("{name} is missing")));
    }
}

// Goal: a fault is found where it is in the body, in each of the forms that a body may have.
#[test]
fn pointers_into_bodies() {
    let (good, bad) = (event(), with("/epcList/0", json!(7)));
    let refused = |content_type: &str, body: &str| -> Vec<String> {
        let verdicts = intake::read(content_type, body.as_bytes()).expect("a body");
        assert!(verdicts.iter().any(Result::is_ok), "{body}");
        verdicts.into_iter().filter_map(Result::err).map(|refusal| refusal.pointer).collect()
    };
    let list = json!([good, bad]);
    assert_eq!(refused("application/json", &list.to_string()), ["/1/epcList/0"]);
    let document = json!({"type": "EPCISDocument", "schemaVersion": "2.0", "epcisBody": {"eventList": list}});
    assert_eq!(refused("application/json", &document.to_string()), ["/epcisBody/eventList/1/epcList/0"]);
    let query = json!({"type": "EPCISQueryDocument", "epcisBody": {"queryResults": {"resultsBody": {"eventList": list}}}});
    let pointer = "/epcisBody/queryResults/resultsBody/eventList/1/epcList/0";
    assert_eq!(refused("application/ld+json", &query.to_string()), [pointer]);
    let lines = format!("{good}\n\n{bad}\r\n{good}\nhalf a li");
    for content_type in ["application/x-ndjson", "Application/X-NDJSON; charset=utf-8", "application/json"] {
        assert_eq!(refused(content_type, &lines), ["/2/epcList/0", "/4"]);
    }
}

// Goal: what is wrong as a whole is refused as a whole.
#[test]
fn whole_bodies() {
    for (body, pointer) in [
        ("", ""),
        ("{", ""),
        ("hello", ""),
        (r#"{"type":"EPCISDocument"}"#, ""),
        (r#"{"type":"EPCISDocument","epcisBody":{}}"#, "/epcisBody"),
        (r#"{"type":"EPCISDocument","epcisBody":{"eventList":{}}}"#, "/epcisBody/eventList"),
        (r#"{"type":"EPCISDocument","schemaVersion":"1.2","epcisBody":{"eventList":[]}}"#, "/schemaVersion"),
        (r#"{"@context":{"a":"b"},"epcisBody":{"eventList":[]}}"#, "/@context/a"),
    ] {
        let refusal = intake::read("application/json", body.as_bytes()).expect_err(body);
        assert_eq!(refusal.pointer, pointer, "{body}: {}", refusal.message);
    }
    assert!(intake::read("application/json", &[b'"', 0xff, b'"']).is_err());
    assert_eq!(intake::read("application/x-ndjson", b"\n\n").expect("nothing is wrong").len(), 0);
}
