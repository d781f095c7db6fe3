//! The bundled `epcis` plugin over HTTP, on a generated stream of late, repeated, corrected and reordered events whose
//! expected views were computed by another program.

use flate2::read::GzDecoder;
use laterbase_plugin::ValidTime;
use laterbase_tests::{Client, Server, seed, top};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
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

/// All items of a View or Report, by key; `query` goes with each page.
fn items(client: &mut Client, view: &str, query: &str) -> BTreeMap<String, Value> {
    let (mut items, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let target = format!("/epcis/{view}?limit=311{query}{cursor}");
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
        expect_items(&items(client, view, ""), &expected(file), view);
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

/// Asserts that the Reports answer as the other program did, about now and about then.
fn expect_the_reports(client: &mut Client) {
    for (name, file) in [
        ("where", "where.ndjson"),
        ("parent", "parent.ndjson"),
        ("stock", "stock.json"),
        ("shipments", "shipments.ndjson"),
        ("recall", "recall.ndjson"),
        ("dwell", "dwell.json"),
    ] {
        expect_items(&items(client, name, ""), &expected(file), name);
    }
    let parents = expected("parent.ndjson");
    let mut inside: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for child in parents.keys() {
        let mut above = child.as_str();
        while let Some(parent) = parents.get(above).and_then(Value::as_str) {
            inside.entry(parent).or_default().insert(child);
            above = parent;
        }
    }
    let inside = inside.into_iter().map(|(parent, children)| (parent.to_owned(), json!(children))).collect();
    expect_items(&items(client, "contents", ""), &inside, "contents");
    let (asof, stock) = then("stock_asof.json");
    expect_items(&items(client, "stock", &format!("&at={asof}")), &stock, "stock as of then");
}

/// An event that tells late that something began to be in stock at `time`.
fn commissioned(time: &str, number: usize) -> String {
    let event = json!({
        "type": "ObjectEvent", "action": "ADD", "bizStep": "commissioning", "disposition": "active",
        "eventTime": time, "eventTimeZoneOffset": "+00:00",
        "epcList": [format!("urn:epc:id:sgtin:9521234.012345.late{number}")],
        "readPoint": {"id": "urn:epc:id:sgln:9521234.00001.0"},
        "bizLocation": {"id": "urn:epc:id:sgln:9521234.00001.0"},
    });
    event.to_string()
}

/// The time and the stock of an expected file about the past.
fn then(file: &str) -> (String, BTreeMap<String, Value>) {
    let then = expected(file);
    let asof = ValidTime::from_millis(then["asof"].as_i64().expect("milliseconds")).expect("a time of today");
    (asof.to_string(), serde_json::from_value(then["stock"].clone()).expect("an object"))
}

// Goal: the Reports answer as the program that saw everything in order, about now, as of then, and as known then: the
// stock of that day as it was known that day, before what was late and what was declared wrong later. Method: the
// lines that had arrived by then are posted first, and what the root then knows is asked for once all are there.
#[test]
fn reports_answer_as_of_then_and_as_known_then() {
    let (events, arrivals) = (data("events.ndjson.gz"), data("arrivals.tsv.gz"));
    let known = expected("stock_asof_as_known_then.json")["known"].as_i64();
    let arrived = |row: &str| row.split('\t').next().and_then(|ms| ms.parse::<i64>().ok()) <= known;
    let (before, after): (Vec<_>, Vec<_>) =
        events.lines().zip(arrivals.lines()).partition(|(_, row)| arrived(row));
    let [before, after] =
        [before, after].map(|rows| rows.into_iter().map(|(line, _)| line).collect::<Vec<_>>());
    let (asof, stock) = then("stock_asof_as_known_then.json");

    let mut server = Server::start(&[]).expect("a server");
    let mut client = server.client().expect("a connection");
    post(&mut client, &before);
    let root = client.send("GET", "/epcis", &[], b"").expect("an answer").json();
    let vv = root["vv"].as_str().expect("what the root knows").to_owned();
    expect_items(&items(&mut client, "stock", &format!("&at={asof}")), &stock, "stock before the rest came");
    post(&mut client, &after);
    let known = format!("&at={asof}&known={vv}");
    expect_items(&items(&mut client, "stock", &known), &stock, "stock as known then");
    expect_the_reports(&mut client);
    server.crash_and_restart().expect("a restart");
    let mut client = server.client().expect("a connection");
    expect_items(&items(&mut client, "stock", &known), &stock, "stock as known then, after a crash");
    expect_the_reports(&mut client);
    let now = items(&mut client, "stock", &format!("&at={asof}"));
    let later: Vec<String> = (0..10_000).map(|number| commissioned(&asof, number)).collect();
    let later: Vec<&str> = later.iter().map(String::as_str).collect();
    assert_eq!(post(&mut client, &later), (10_000, 0));
    assert_ne!(items(&mut client, "stock", &format!("&at={asof}")), now, "they count for that day");
    expect_items(&items(&mut client, "stock", &known), &stock, "stock as known then, 10,000 arrivals later");
    let pallet = "/epcis/where?key=urn:epc:id:sscc:9521234.1000000121";
    let answer = client.send("GET", pallet, &[], b"").expect("an answer");
    assert_eq!(answer.json()["key"], "https://id.gs1.org/00/195212340000001215", "{}", answer.text());
    let nothing = client.send("GET", "/epcis/where?key=nowhere", &[], b"").expect("an answer");
    assert_eq!(nothing.status, 404, "{}", nothing.text());
    let window = client.send("GET", &format!("/epcis/where?from={asof}"), &[], b"").expect("an answer");
    assert!(matches!(window.status, 400 | 422), "{}", window.text());
}
