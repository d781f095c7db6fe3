//! The Reports over the generated sets: equal to the expected files, as of any time, in pages, in batches.

use crate::oracle::Oracle;
use crate::support::{Replica, Shuffle, data};
use laterbase_plugin::abi::ErrorCode;
use laterbase_plugin::testing::{Ask, Item, Pinned, TestEvent};
use laterbase_plugin::{Bounds, ValidTime};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SETS: [&str; 2] = ["gen-6k", "gen-clean-2k"];

const REPORTS: [&str; 7] = ["parent", "where", "contents", "stock", "shipments", "recall", "dwell"];

type Items = BTreeMap<String, Value>;

/// A replica that has taken all of a set, in random order.
fn replica(set: &str) -> Replica {
    let text = data(&format!("{set}/events.ndjson.gz"));
    let mut lines: Vec<&str> = text.lines().collect();
    Shuffle::seeded().shuffle(&mut lines);
    let mut replica = Replica::default();
    replica.post(&lines.join("\n"));
    replica
}

/// An expected file, as items: of a row `[key, v]` the value is v, of `[key, v1, v2]` the list of the rest.
fn expected(set: &str, file: &str) -> Items {
    let text = data(&format!("{set}/{file}.gz"));
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

fn at(millis: i64) -> Bounds {
    // `at` takes the events of its millisecond in; the bound that a Report sees is behind them.
    Bounds { at: ValidTime::from_millis(millis + 1), ..Bounds::default() }
}

fn items(told: Vec<Item>) -> Items {
    let item = |(key, json): Item| (key.concat(), serde_json::from_str(&json).expect("JSON"));
    told.into_iter().map(item).collect()
}

fn listing(pinned: &Pinned<'_>, report: &str, ask: &Ask<'_>) -> Items {
    items(pinned.report(report, ask).unwrap_or_else(|error| panic!("{report}: {}", error.message)).items)
}

fn same(found: &Items, expected: &Items, what: &str) {
    for (key, value) in expected {
        assert_eq!(found.get(key), Some(value), "{what} of {key}");
    }
    let more = found.keys().find(|key| !expected.contains_key(*key));
    assert_eq!(more, None, "{what} has more than is expected");
}

/// Which is in which, transitively, turned around.
fn inverted(parents: &Items) -> Items {
    let mut inside: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for child in parents.keys() {
        let mut above = child.as_str();
        while let Some(parent) = parents.get(above).and_then(Value::as_str) {
            inside.entry(parent).or_default().insert(child);
            above = parent;
        }
    }
    inside.into_iter().map(|(parent, children)| (parent.to_owned(), json!(children))).collect()
}

// Goal: each Report answers as the generator does, and `contents` is `parent` turned around.
#[test]
fn as_expected() {
    for set in SETS {
        let replica = replica(set);
        let pinned = replica.bench.pin(&replica.events());
        let all = Ask::default();
        let parents = expected(set, "parent.ndjson");
        same(&listing(&pinned, "parent", &all), &parents, "parent");
        same(&listing(&pinned, "where", &all), &expected(set, "where.ndjson"), "where");
        same(&listing(&pinned, "contents", &all), &inverted(&parents), "contents");
        same(&listing(&pinned, "stock", &all), &expected(set, "stock.json"), "stock");
        same(&listing(&pinned, "shipments", &all), &expected(set, "shipments.ndjson"), "shipments");
        same(&listing(&pinned, "recall", &all), &expected(set, "recall.ndjson"), "recall");
        same(&listing(&pinned, "dwell", &all), &expected(set, "dwell.json"), "dwell");
        for (view, file) in [
            ("last_seen", "last_seen.ndjson"),
            ("throughput", "throughput.json"),
            ("lots", "lots.json"),
            ("temperature", "temperature.json"),
        ] {
            same(&replica.view(view), &expected(set, file), view);
        }
        let asof = expected(set, "stock_asof.json");
        let bounds = at(asof["asof"].as_i64().expect("a time"));
        let stock = serde_json::from_value(asof["stock"].clone()).expect("an object");
        same(&listing(&pinned, "stock", &Ask { bounds, ..all }), &stock, "stock as of then");
    }
}

// Goal: what was known then. Method: only the lines that had arrived, error declarations too.
#[test]
fn as_known_then() {
    for set in SETS {
        let then = expected(set, "stock_asof_as_known_then.json");
        let (asof, known) = (then["asof"].as_i64().expect("a time"), then["known"].as_i64().expect("a time"));
        let (events, arrivals) =
            (data(&format!("{set}/events.ndjson.gz")), data(&format!("{set}/arrivals.tsv.gz")));
        let arrived = |row: &str| row.split('\t').next().and_then(|ms| ms.parse::<i64>().ok()) <= Some(known);
        let lines = events.lines().zip(arrivals.lines());
        let lines: Vec<&str> = lines.filter(|(_, row)| arrived(row)).map(|(line, _)| line).collect();
        assert!(lines.len() > 1000, "{} lines had arrived", lines.len());
        let mut replica = Replica::default();
        replica.post(&lines.join("\n"));
        let stock = serde_json::from_value(then["stock"].clone()).expect("an object");
        let ask = Ask { bounds: at(asof), ..Ask::default() };
        same(&listing(&replica.bench.pin(&replica.events()), "stock", &ask), &stock, "stock as known then");
    }
}

// Goal: at any time, with any part of the events known, each Report answers as plain code that walks the events in
// order. Method: random subsets, so that children come out that never went in, and parents are refilled.
#[test]
fn as_of_any_time() {
    let mut random = Shuffle::seeded();
    let replica = replica("gen-clean-2k");
    let events = replica.events();
    for part in 1..=6 {
        let keep = |_: &&TestEvent| random.below(6) < part;
        let some: Vec<TestEvent> = events.iter().filter(keep).cloned().collect();
        let pinned = replica.bench.pin(&some);
        let time = some[random.below(some.len())].key.time().millis();
        let oracle = Oracle::of(&some, time);
        let ask = Ask { bounds: at(time), ..Ask::default() };
        same(&listing(&pinned, "parent", &ask), &oracle.parents(), "parent");
        same(&listing(&pinned, "where", &ask), &oracle.places(), "where");
        same(&listing(&pinned, "contents", &ask), &inverted(&oracle.parents()), "contents");
    }
}

// Goal: pages put together are the whole; prefixes and single keys find their part of it, URNs too.
#[test]
fn pages_and_keys() {
    let replica = replica("gen-clean-2k");
    let pinned = replica.bench.pin(&replica.events());
    for report in REPORTS {
        let all = pinned.report(report, &Ask::default()).expect("an answer").items;
        let limit = u32::try_from(all.len() / 5 + 2).expect("few");
        assert_eq!(pinned.walk(report, limit, &Ask::default()).expect("an answer"), all, "{report}");
        let prefix = &all[all.len() / 2].0[0][..all[all.len() / 2].0[0].len() - 1];
        let ask = Ask { prefix: &[prefix], ..Ask::default() };
        let under: Vec<Item> = all.iter().filter(|(key, _)| key[0].starts_with(prefix)).cloned().collect();
        assert!(!under.is_empty());
        assert_eq!(pinned.report(report, &ask).expect("an answer").items, under, "{report}");
        for item in all.iter().step_by(all.len() / 7 + 1) {
            let key = [item.0[0].as_str()];
            let found = pinned.report(report, &Ask { key: Some(&key), ..Ask::default() });
            assert_eq!(found.expect("an answer").items, std::slice::from_ref(item), "{report}");
        }
        let unknown = pinned
            .report(report, &Ask { key: Some(&["urn:epc:id:sscc:9521234.1999999999"]), ..Ask::default() });
        assert_eq!(unknown.expect("an answer").items, [], "{report}");
        let two = pinned.report(report, &Ask { key: Some(&["a", "b"]), ..Ask::default() });
        assert_eq!(two.expect_err("one part").code, ErrorCode::REFUSED);
        let window = Bounds { from: ValidTime::from_millis(0), ..Bounds::default() };
        let window = pinned.report(report, &Ask { bounds: window, ..Ask::default() });
        assert_eq!(window.expect_err("no windows").code, ErrorCode::REFUSED);
    }
    let pallet = "https://id.gs1.org/00/195212340000001215";
    let typed = Ask { key: Some(&[" urn:epc:id:sscc:9521234.1000000121"]), ..Ask::default() };
    let found = listing(&pinned, "where", &typed);
    assert_eq!(found.keys().collect::<Vec<_>>(), [pallet]);
}

// Goal: a page costs reads by the batch, not by the item; and a cancelled one stops at the next.
#[test]
fn reads_come_in_batches() {
    let replica = replica("gen-clean-2k");
    let pinned = replica.bench.pin(&replica.events());
    for report in REPORTS {
        let cut = pinned.report(report, &Ask { cancelled_after: Some(3), ..Ask::default() });
        assert_eq!(cut.expect_err("cancelled").code, ErrorCode::CANCELLED, "{report}");
    }
    let page = pinned.report("where", &Ask { limit: Some(200), ..Ask::default() }).expect("an answer");
    assert_eq!(page.items.len(), 200);
    // 13 batches of 16 keys, 2 reads for each level and its parents, few windows.
    assert!(page.reads < 40, "{} reads", page.reads);
    let told = pinned.report("where", &Ask { key: Some(&[&page.items[150].0[0]]), ..Ask::default() });
    assert!(told.expect("an answer").reads < 12);
}
