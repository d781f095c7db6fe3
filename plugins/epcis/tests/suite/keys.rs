//! The key rule, in golden values: no version of this plugin may ever mint others.

use epcis::intake;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn read(event: &Value) -> laterbase_plugin::IntakeRow {
    let body = event.to_string();
    let mut verdicts = intake::read("application/json", body.as_bytes()).expect("a JSON body");
    assert_eq!(verdicts.len(), 1);
    verdicts.remove(0).unwrap_or_else(|refusal| panic!("{refusal} in {body}"))
}

fn tail(event: &Value) -> String {
    data_encoding::HEXLOWER.encode(&read(event).tail.expect("derived from the content"))
}

fn event() -> Value {
    json!({
        "type": "ObjectEvent", "eventTime": "2026-01-03T05:03:43.916+13:00", "eventTimeZoneOffset": "+13:00",
        "epcList": ["urn:epc:id:sscc:9521234.1000000121", "urn:epc:id:sgtin:9521234.012347.721"],
        "action": "OBSERVE", "bizStep": "receiving", "disposition": "in_progress",
        "readPoint": {"id": "urn:epc:id:sgln:9521234.00305.1"},
        "quantityList": [{"epcClass": "urn:epc:class:lgtin:9521234.012347.L1", "quantity": 3, "uom": "KGM"}],
        "bizTransactionList": [{"type": "desadv", "bizTransaction": "urn:epcglobal:cbv:bt:9521234000006:D1"}]
    })
}

const PREHASH: &str = "eventType=ObjectEventeventTime=2026-01-02T16:03:43.916ZeventTimeZoneOffset=+13:00epcList\
    epc=https://id.gs1.org/00/195212340000001215epc=https://id.gs1.org/01/09521234123477/21/721quantityList\
    quantityElementepcClass=https://id.gs1.org/01/09521234123477/10/L1quantity=3uom=KGMaction=OBSERVE\
    bizStep=https://ref.gs1.org/cbv/BizStep-receivingdisposition=https://ref.gs1.org/cbv/Disp-in_progress\
    readPointid=https://id.gs1.org/414/9521234003052/254/1bizTransactionListtype=https://ref.gs1.org/cbv/BTT-desadv\
    bizTransaction=urn:epcglobal:cbv:bt:9521234000006:D1";

fn sha256(input: &[&[u8]]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(input.concat()))
}

// Goal: the tail is what the README says, byte for byte, and stays it: computed here from the written-out text, and
// compared with values that were written down once.
#[test]
fn golden() {
    let row = read(&event());
    assert_eq!(row.id, format!("ni:///sha-256;{}?ver=CBV2.0", sha256(&[PREHASH.as_bytes()])));
    assert_eq!(row.time.map(laterbase_plugin::ValidTime::millis), Some(1_767_369_823_916));
    assert!(row.same_key_is_same_event);
    let expected = sha256(&[PREHASH.as_bytes(), &[0]]);
    assert_eq!(tail(&event()), expected[..16]);
    let mut declaration = event();
    declaration["errorDeclaration"] = json!({"declarationTime": "2026-01-05T00:00:00.1234+01:00"});
    let expected = sha256(&[PREHASH.as_bytes(), &[1], b"2026-01-04T23:00:00.123Z"]);
    assert_eq!(tail(&declaration), expected[..16]);
    assert_eq!(read(&declaration).id, row.id, "a declaration has the hash of what it voids");
    assert_eq!((tail(&event()).as_str(), tail(&declaration).as_str()), (GOLDEN_EVENT, GOLDEN_DECLARATION));
}

const GOLDEN_EVENT: &str = "831c2d87ae3b5795";
const GOLDEN_DECLARATION: &str = "c9fc19ff71165314";

// Goal: another notation of the same event is the same key and the same bytes.
#[test]
fn notations() {
    let mut other = json!({
        "recordTime": "2026-02-01T00:00:00Z",
        "bizTransactionList":
            [{"bizTransaction": "urn:epcglobal:cbv:bt:9521234000006:D1", "type": "urn:epcglobal:cbv:btt:desadv"}],
        "quantityList": [{"uom": "KGM", "quantity": 3.0, "epcClass": "https://id.gs1.org/01/09521234123477/10/L1"}],
        "readPoint": {"id": "https://example.com/gln/9521234003052/254/1?x=y"},
        "disposition": "https://ref.gs1.org/cbv/Disp-in_progress", "bizStep": "urn:epcglobal:cbv:bizstep:receiving",
        "action": " OBSERVE ",
        "epcList": ["http://id.gs1.org/01/9521234123477/10/L1/21/721", "https://id.gs1.org/00/195212340000001215"],
        "eventTimeZoneOffset": "+13:00", "eventTime": "2026-01-02T16:03:43.9155Z", "type": "ObjectEvent"
    });
    let bytes = |event: &Value| String::from_utf8(read(event).data).expect("JSON");
    assert_eq!(bytes(&other), bytes(&event()));
    assert_eq!(read(&other).tail, read(&event()).tail);
    assert_eq!(read(&other).time, read(&event()).time);
    other["eventTimeZoneOffset"] = json!("+12:00");
    assert_ne!(read(&other).tail, read(&event()).tail, "the local offset is part of what happened");
    other["eventTimeZoneOffset"] = json!("+13:00");
    other["eventID"] = json!("urn:uuid:72e552d3-cc16-4dd3-84e9-2077e142abe2");
    assert_eq!(read(&other).tail, read(&event()).tail, "an eventID says nothing of what happened");
    assert_ne!(read(&other).data, read(&event()).data, "but it is kept");
}

// Goal: every digit of a number counts, however many there are.
#[test]
fn digits() {
    let quantity = |digits: &str| -> Value {
        let event = event().to_string().replace("\"quantity\":3", &format!("\"quantity\":{digits}"));
        let row = intake::read("application/json", event.as_bytes()).unwrap().remove(0).unwrap();
        json!([row.id, String::from_utf8(row.data).unwrap()])
    };
    let long = quantity("0.1000000000000000000000001");
    assert_ne!(long[0], quantity("0.1")[0]);
    assert!(long[1].as_str().unwrap().contains("\"quantity\":0.1000000000000000000000001,"));
    assert_eq!(quantity("1e2"), quantity("100.000"));
}

// Goal: the bytes stored say all that the key was derived from, extensions and their namespaces included.
#[test]
fn canonical_bytes_are_canonical() {
    let mut event = event();
    event["@context"] = json!(["https://ref.gs1.org/standards/epcis/epcis-context.jsonld",
        {"unused": "https://unused.example/"}, {"ext": "https://ns.example.com/"}, {"sub": {"@id": "https://ns.example.com/sub#"}}]);
    event["ext:docket"] =
        json!({"sub:lineList": [{"sub:n": 1.50}, {"sub:n": "x"}], "a": null, "ext:seal": "sub:42"});
    event["rdfs:comment"] = json!("seen by Jo");
    let row = read(&event);
    let stored: Value = serde_json::from_slice(&row.data).unwrap();
    assert_eq!(
        stored["@context"],
        json!([{"ext": "https://ns.example.com/", "sub": "https://ns.example.com/sub#"}])
    );
    let again = read(&stored);
    assert_eq!(again, row);
}
