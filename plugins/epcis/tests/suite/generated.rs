//! Acceptance over the generated set: 6,448 lines of a cold chain, late, repeated, corrected and out of
//! order.

use crate::support::{Replica, Shuffle, data};
use serde_json::Value;
use std::collections::BTreeMap;

fn lines() -> Vec<String> {
    data("gen-6k/events.ndjson.gz").lines().map(str::to_owned).collect()
}

fn manifest(name: &str) -> usize {
    let manifest: Value = serde_json::from_str(&data("gen-6k/manifest.json")).unwrap();
    manifest[name].as_u64().and_then(|n| usize::try_from(n).ok()).expect("a count")
}

// Goal: the event hash of every line for which the reference hash is known.
#[test]
fn reference_hashes() {
    let lines = lines();
    let mut compared = 0;
    for row in data("gen-6k/hashes.tsv").lines() {
        let (number, hash) = row.split_once('\t').expect("line number and hash");
        let line = &lines[number.parse::<usize>().expect("a line number") - 1];
        let verdicts = epcis::intake::read("application/x-ndjson", line.as_bytes()).expect("NDJSON");
        assert_eq!(verdicts[0].as_ref().expect("a valid event").id, hash, "line {number}");
        compared += 1;
    }
    assert!(compared > 400, "{compared}");
}

/// Everything that a replica answers equals the expected files.
fn check(replica: &Replica) {
    let lines = manifest("lines");
    assert_eq!((replica.written(), replica.duplicates), (manifest("distinct"), lines - manifest("distinct")));
    let expected: BTreeMap<String, Value> = data("gen-6k/last_seen.ndjson.gz")
        .lines()
        .map(|row| serde_json::from_str::<(String, Value)>(row).expect("a row of key and value"))
        .collect();
    let found = replica.view("last_seen");
    for (key, value) in &expected {
        assert_eq!(found.get(key), Some(value), "{key}");
    }
    assert_eq!(found.len(), expected.len());
    let expected: BTreeMap<String, Value> =
        serde_json::from_str(&data("gen-6k/throughput.json.gz")).expect("an object");
    assert_eq!(replica.view("throughput"), expected);
}

// Goal: posted in the order of arrival, 500 lines a request, and then once more: the second time all are
// duplicates.
#[test]
fn in_order_of_arrival() {
    let mut replica = Replica::default();
    for chunk in lines().chunks(500) {
        replica.post(&chunk.join("\n"));
    }
    check(&replica);
    let written = replica.written();
    for chunk in lines().chunks(500) {
        replica.post(&chunk.join("\n"));
    }
    assert_eq!(replica.written(), written);
}

// Goal: the order of arrival changes nothing, neither what is stored (but for which of two equal events came
// with an eventID) nor what the views answer; declarations may come before what they void.
#[test]
fn in_random_order() {
    let mut lines = lines();
    Shuffle::seeded().shuffle(&mut lines);
    let mut replica = Replica::default();
    for chunk in lines.chunks(77) {
        replica.post(&chunk.join("\n"));
    }
    check(&replica);
}

// Goal: what is written as URN is found as URN and as Digital Link; and the algebras declared are true.
#[test]
fn queries_and_laws() {
    let mut replica = Replica::default();
    replica.post(&lines()[..600].join("\n"));
    let canonical = ["https://id.gs1.org/00/195212340000001215".to_owned()];
    for typed in
        ["urn:epc:id:sscc:9521234.1000000121", "https://x.example/sscc/195212340000001215", &canonical[0]]
    {
        assert_eq!(replica.bench.query_key("last_seen", &[typed]).expect("one part"), canonical, "{typed}");
    }
    assert!(replica.view("last_seen").contains_key(&canonical[0]));
    for view in &replica.bench.declaration().views {
        replica.bench.check_laws(&view.name, &replica.events()).expect("a true algebra");
    }
}

// Goal: the Schema takes what its intake made and nothing else.
#[test]
fn admission() {
    let mut replica = Replica::default();
    replica.post(&lines()[..50].join("\n"));
    for event in replica.events() {
        replica.bench.admit(&event).expect("made by the intake");
        let mut other = event.clone();
        other.key.0[15] ^= 1;
        replica.bench.admit(&other).expect_err("another tail");
        let mut other = event.clone();
        other.key.0[7] ^= 128;
        replica.bench.admit(&other).expect_err("another time");
        let mut other = event.clone();
        other.type_number = other.type_number % 5 + 1;
        replica.bench.admit(&other).expect_err("another type");
        let mut other = event;
        other.data.push(b' ');
        replica.bench.admit(&other).expect_err("not canonical");
    }
}
