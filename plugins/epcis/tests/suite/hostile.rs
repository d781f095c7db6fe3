//! Bodies from people who mean harm or have bad luck: a verdict or a refusal, never a panic.

use crate::support::{Shuffle, data};
use epcis::{ident, intake};
use serde_json::{Value, json};

/// Feeds a body in every guise.
fn feed(body: &[u8]) {
    for content_type in ["application/json", "application/x-ndjson", ""] {
        let _verdicts = intake::read(content_type, body);
    }
    let _canonical = ident::canonical(&String::from_utf8_lossy(body));
}

/// A valid document with every kind of member somewhere.
fn document() -> Value {
    json!({
        "@context": ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld", {"ext": "https://ns.example.com/"}],
        "type": "EPCISDocument", "schemaVersion": "2.0", "epcisBody": {"eventList": [{
            "type": "ObjectEvent", "eventTime": "2026-01-03T05:03:43.9165+13:00", "eventTimeZoneOffset": "+13:00",
            "eventID": "urn:uuid:72e552d3-cc16-4dd3-84e9-2077e142abe2", "recordTime": "2026-01-04T00:00:00Z",
            "certificationInfo": ["https://example.com/c"], "action": "ADD", "bizStep": "receiving",
            "epcList": ["urn:epc:id:sgtin:9521234.012347.7%2F1", "https://x.example/01/9521234123477/21/7%27"],
            "quantityList": [{"epcClass": "urn:epc:class:lgtin:9521234.012347.L1", "quantity": 3.50, "uom": "KGM"}],
            "disposition": "in_progress", "persistentDisposition": {"set": ["damaged"], "unset": ["available"]},
            "readPoint": {"id": "urn:epc:id:sgln:9521234.00305.1", "ext:gate": 7},
            "bizLocation": {"id": "urn:epc:id:sgln:9521234.00305.0"},
            "bizTransactionList": [{"type": "po", "bizTransaction": "http://example.com/po/1"}],
            "sourceList": [{"type": "location", "source": "urn:epc:id:sgln:9521234.00305.0"}],
            "destinationList": [{"type": "location", "destination": "urn:epc:id:sgln:9521234.00306.0"}],
            "sensorElementList": [{
                "sensorMetadata": {"time": "2026-01-03T05:00:00+13:00", "deviceID": "urn:epc:id:giai:9521234.T1"},
                "sensorReport": [{"type": "Temperature", "value": 3.5, "uom": "CEL", "booleanValue": true}]
            }],
            "ilmd": {"ext:lot": {"#text": "L1", "ext:partList": [1, [2, "3"], {"ext:n": null}]}},
            "errorDeclaration": {"declarationTime": "2026-01-05T00:00:00Z", "correctiveEventIDs": ["urn:uuid:1"]}
        }]}
    })
}

// Goal: a body cut off anywhere.
#[test]
fn truncated() {
    let body = document().to_string();
    assert!(intake::read("application/json", body.as_bytes()).expect("a document")[0].is_ok());
    for length in 0..body.len() {
        feed(&body.as_bytes()[..length]);
        assert!(intake::read("application/json", &body.as_bytes()[..length]).is_err(), "cut at {length}");
    }
}

// Goal: random bytes, and a valid body with random bytes in it.
#[test]
fn random_bytes() {
    let mut random = Shuffle::seeded();
    for _ in 0..2000 {
        let length = random.below(300);
        let body: Vec<u8> = (0..length).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        feed(&body);
        let mut body = document().to_string().into_bytes();
        for _ in 0..=random.below(4) {
            let at = random.below(body.len());
            body[at] = u8::try_from(random.below(256)).unwrap();
        }
        feed(&body);
    }
}

/// JSON pointers to every value within `value`.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                places(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{at}/{index}"), out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    out.push(at.to_owned());
}

// Goal: a value of every wrong type in every place; what is taken all the same keeps the laws of canonical bytes.
#[test]
fn wrong_types_everywhere() {
    let mut all = Vec::new();
    places(&document(), "", &mut all);
    assert!(all.len() > 60);
    let long = "9".repeat(5000);
    let wrong = [
        "null",
        "true",
        "0",
        "-0.0",
        "1e400",
        "1e-400",
        long.as_str(),
        "\"\"",
        "\" \"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"urn:epc:id:sgtin:\"",
        "\"urn:epc:id:sgtin:....\"",
        "\"https://\"",
        "\"https://a/01/\"",
        "[]",
        "[[]]",
        "[null]",
        "{}",
        "{\"\":\"\"}",
        "{\"a\":1,\"a\":2}",
        "[{\"type\":[],\"source\":{}}]",
        "\"ÄÖ\\n\"",
        "\"ext:\"",
    ];
    let mut taken = 0;
    for place in all {
        let mut document = document();
        *document.pointer_mut(&place).expect("one of its places") = json!("HERE");
        for value in wrong {
            let body = document.to_string().replace("\"HERE\"", value);
            let verdicts = intake::read("application/json", body.as_bytes()).unwrap_or_default();
            for row in verdicts.into_iter().flatten() {
                let again = intake::read("application/json", &row.data).expect("canonical bytes are JSON");
                assert_eq!(again, [Ok(row)], "{place} {value}");
                taken += 1;
            }
        }
    }
    assert!(taken > 50, "{taken}");
}

// Goal: objects and contexts of many members take time in proportion, not its square.
#[test]
fn wide() {
    let members = (0..20_000).map(|n| format!(",\"ext:m{n}\":{n}")).collect::<Vec<_>>().concat();
    let mut document = document();
    document["epcisBody"]["eventList"][0]["readPoint"]["ext:wide"] = json!("HERE");
    let body = document.to_string().replace(",\"ext:wide\":\"HERE\"", &members);
    assert!(intake::read("application/json", body.as_bytes()).expect("a document")[0].is_ok());
    let twice = body.replace("ext:m19999", "ext:m7");
    assert!(intake::read("application/json", twice.as_bytes()).expect("a document")[0].is_err());
    let prefixes = (0..20_000).map(|n| format!(",\"p{n}\":\"https://n.example/{n}/\""));
    let prefixes = prefixes.collect::<Vec<_>>().concat();
    let body = body.replace(
        "\"ext\":\"https://ns.example.com/\"",
        &format!("\"ext\":\"https://ns.example.com/\"{prefixes}"),
    );
    assert!(intake::read("application/json", body.as_bytes()).is_err());
}

// Goal: nesting without end, in objects and lists, at the top and within an extension.
#[test]
fn deep() {
    for depth in [10, 31, 32, 33, 127, 128, 129, 20_000] {
        for (open, close) in [("[", "]"), ("{\"a:b\":", "}")] {
            let nest = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            feed(nest.as_bytes());
            feed(open.repeat(depth).as_bytes());
            let mut document = document();
            document["epcisBody"]["eventList"][0]["ext:deep"] = json!("HERE");
            let body = document.to_string().replace("\"HERE\"", &nest);
            let taken = intake::read("application/json", body.as_bytes()).is_ok_and(|all| all[0].is_ok());
            assert_eq!(taken, depth < 32, "{depth}");
        }
    }
}

// Goal: identifiers cut and altered anywhere give an identifier again, and a canonical one stays what it is.
#[test]
fn identifiers() {
    let mut random = Shuffle::seeded();
    let texts: Vec<String> = data("identifiers.tsv").split_ascii_whitespace().map(str::to_owned).collect();
    assert!(texts.len() > 60);
    for text in &texts {
        for length in (0..text.len()).filter(|length| text.is_char_boundary(*length)) {
            let canonical = ident::canonical(&text[..length]).into_owned();
            assert_eq!(ident::canonical(&canonical), canonical);
        }
        for _ in 0..200 {
            let mut bytes = text.clone().into_bytes();
            let at = random.below(bytes.len());
            bytes[at] = b' ' + u8::try_from(random.below(95)).unwrap();
            let canonical = ident::canonical(&String::from_utf8(bytes).unwrap()).into_owned();
            assert_eq!(ident::canonical(&canonical), canonical);
        }
    }
}
