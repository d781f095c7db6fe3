//! The bundled `epcis` plugin over HTTP, on a generated stream of late, repeated, corrected and reordered events whose
//! expected views were computed by another program.

use flate2::read::GzDecoder;
use laterbase_tests::{Client, Server, seed, top};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

const LINES_PER_REQUEST: usize = 500;

pub(crate) fn data(name: &str) -> String {
    let path = top().join("plugins/epcis/tests/data/gen-6k").join(name);
    let mut file = File::open(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    let mut text = String::new();
    if path.extension().is_some_and(|ending| ending == "gz") {
        GzDecoder::new(file).read_to_string(&mut text).expect("gzip of UTF-8");
    } else {
        file.read_to_string(&mut text).expect("UTF-8");
    }
    text
}

/// Posts all lines and counts (written, duplicate).
fn post(client: &mut Client, lines: &[&str]) -> (u64, u64) {
    let (mut written, mut duplicate) = (0, 0);
    for part in lines.chunks(LINES_PER_REQUEST) {
        let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
        let answer = client.send("POST", "/epcis/e?format=epcis", &headers, part.join("\n").as_bytes());
        let answer = answer.expect("an answer");
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        written += answer.json()["written"].as_u64().expect("a count");
        duplicate += answer.json()["duplicate"].as_u64().expect("a count");
    }
    (written, duplicate)
}

/// All items of a view, by key.
fn items(client: &mut Client, view: &str) -> BTreeMap<String, Value> {
    let (mut items, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let target = format!("/epcis/{view}?limit=1000{cursor}");
        let page = client.send("GET", &target, &[], b"").expect("an answer");
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        for item in page["items"].as_array().expect("items") {
            let key = item["key"].as_str().expect("one part").to_owned();
            assert!(items.insert(key, item["value"].clone()).is_none(), "an item stands on two pages");
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// The items of an expected file: of a row `[key, v]` the value is v, of `[key, v1, v2]` the list of the rest.
fn expected(file: &str) -> BTreeMap<String, Value> {
    let text = data(&format!("{file}.gz"));
    if file.strip_suffix(".json").is_some() {
        return serde_json::from_str(&text).expect("an object");
    }
    let row = |line: &str| {
        let mut row: Vec<Value> = serde_json::from_str(line).expect("a row");
        let key = row.remove(0).as_str().expect("a key").to_owned();
        (key, if row.len() == 1 { row.remove(0) } else { Value::Array(row) })
    };
    text.lines().map(row).collect()
}

fn expect_items(got: &BTreeMap<String, Value>, expected: &BTreeMap<String, Value>, view: &str) {
    let differs = expected.iter().find(|(key, value)| got.get(*key) != Some(value));
    assert_eq!(differs, None, "{view}, of {} items", got.len());
    assert_eq!(got.len(), expected.len(), "{view}");
}

/// Asserts that the views answer as the other program did.
pub(crate) fn expect_the_views(client: &mut Client) {
    for file in ["last_seen.ndjson", "throughput.json", "lots.json", "temperature.json"] {
        let (view, _) = file.split_once('.').expect("a name and an ending");
        expect_items(&items(client, view), &expected(file), view);
    }
}

// Goal: every distinct event is written once, and the views equal those of a program that saw everything in order;
// also when the lines come in random order, and after kill -9. Method: the generated stream, in requests of 500 lines.
#[test]
fn a_stream_in_any_order_gives_the_expected_views() {
    let events = data("events.ndjson.gz");
    let mut lines: Vec<&str> = events.lines().collect();
    let distinct = serde_json::from_str::<Value>(&data("manifest.json")).expect("JSON")["distinct"].as_u64();
    let distinct = distinct.expect("a count");
    let all = lines.len() as u64;

    let mut server = Server::start(&[]).expect("a server");
    let mut client = server.client().expect("a connection");
    assert_eq!(post(&mut client, &lines), (distinct, all - distinct));
    assert_eq!(post(&mut client, &lines), (0, all));
    expect_the_views(&mut client);
    server.crash_and_restart().expect("a restart");
    expect_the_views(&mut server.client().expect("a connection"));

    let mut random = rand::rngs::StdRng::seed_from_u64(seed("epcis"));
    lines.shuffle(&mut random);
    let shuffled = Server::start(&[]).expect("a server");
    let mut client = shuffled.client().expect("a connection");
    assert_eq!(post(&mut client, &lines), (distinct, all - distinct));
    expect_the_views(&mut client);
}
