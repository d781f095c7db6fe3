//! The figures: those that are shown are those that are documented, and no request makes more of them.

use super::{add, figure, figures, until};
use laterbase::metering::{METRICS, Metric};
use laterbase_tests::{Server, top};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

/// What stands above the table.
const HEAD: &str = "# Figures

`GET /_/metrics` shows them in the text format of Prometheus; `packaging/grafana.json` is a board of them. Labels take
their values from what is declared or configured (roots, plugins, peers, routes with their names left open), never from
a request, so their number is bounded. A histogram has `_bucket`, `_sum` and `_count`.

| figure | kind | labels | meaning |
|---|---|---|---|
";

// Goal: every figure is documented. Method: the table in the code is written out and compared; LATERBASE_BLESS=1
// writes the file.
#[test]
fn the_list_of_figures_is_whole() {
    let mut list = String::from(HEAD);
    for Metric { name, kind, labels, help } in METRICS {
        let labels: Vec<String> =
            labels.split(',').filter(|label| !label.is_empty()).map(|label| format!("`{label}`")).collect();
        writeln!(list, "| `{name}` | {} | {} | {help} |", kind.word(), labels.join(" ")).expect("memory");
    }
    let path = top().join("host/METRICS.md");
    if std::env::var_os("LATERBASE_BLESS").is_some() {
        fs::write(&path, &list).expect("written");
    }
    assert_eq!(fs::read_to_string(&path).expect("host/METRICS.md"), list);
}

/// The labels of a sample, without the one of buckets.
fn labels(sample: &str) -> Vec<&str> {
    let Some((_, rest)) = sample.split_once('{') else { return Vec::new() };
    let (inside, _) = rest.rsplit_once('}').expect("a bracket closes");
    let names = inside.split(',').filter_map(|label| Some(label.split_once('=')?.0));
    names.filter(|name| *name != "le").collect()
}

// Goal: what is shown is what is documented, and the reverse: names, kinds, labels, help. Method: two servers that do
// everything that is counted.
#[test]
fn what_is_shown_is_documented() {
    let depot = Server::start(&[]).expect("a server");
    let truck = Server::start(&["--peer", &format!("http://{}", depot.address())]).expect("a server");
    assert_eq!(truck.post("/tally/e", &add("1")).expect("an answer").status, 201);
    assert_eq!(truck.get("/tally/total").expect("an answer").status, 200);
    assert_eq!(truck.post("/_/plugins/tally/reload", "").expect("an answer").status, 200);
    let mut reader = truck.client().expect("a connection");
    assert_eq!(reader.stream("/tally/total?changes=0.0000000000000000", &[]).expect("a stream").status, 200);
    let first = reader.frame().expect("a frame").expect("a change");
    assert!(first.starts_with("event: change"), "{first}");
    let mut live = truck.client().expect("a connection");
    let accept = [("accept", "text/event-stream")];
    assert_eq!(live.stream("/tally/e", &accept).expect("a stream").status, 200);
    let text = until("the peer has it", || {
        let text = figures(&truck);
        (text.contains("laterbase_peer_events_out_total")
            && figures(&depot).contains("laterbase_root_events"))
        .then_some(text)
    });

    let known: BTreeMap<&str, &Metric> = METRICS.iter().map(|metric| (metric.name, metric)).collect();
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let metric = known.get(name).unwrap_or_else(|| panic!("{name} is not documented"));
            assert_eq!(kind, metric.kind.word(), "{name}");
            shown.insert(name);
        } else if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        {
            assert_eq!(known.get(name).map(|metric| metric.help), Some(help), "{name}");
        } else if !line.is_empty() {
            let name = line.split(['{', ' ']).next().expect("a name");
            let ends = ["_bucket", "_sum", "_count", ""].map(|end| name.strip_suffix(end));
            let metric = ends.iter().flatten().find_map(|name| known.get(name));
            let metric = metric.unwrap_or_else(|| panic!("{name} is not documented"));
            let documented: Vec<&str> = metric.labels.split(',').filter(|label| !label.is_empty()).collect();
            assert_eq!(labels(line), documented, "{line}");
        }
    }
    let missing: Vec<_> = known.keys().filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "documented, but not shown: {missing:?}");

    assert!(figure(&text, "laterbase_live_readers{root=\"tally\",stream=\"changes\"}") > 0.0);
    assert!(figure(&text, "laterbase_live_readers{root=\"tally\",stream=\"events\"}") > 0.0);
    assert!(figure(&text, "laterbase_admission_events_total{outcome=\"written\"}") > 0.0);
    assert!(figure(&text, "laterbase_admission_seconds_count") > 0.0);
    assert!(figure(&text, "laterbase_commit_events_sum") > 0.0);
    assert!(figure(&text, "laterbase_plugin_call_seconds_count{plugin=\"tally\",hook=\"map\"}") > 0.0);
    assert!(figure(&text, "laterbase_map_used_bytes{root=\"tally\",environment=\"events\"}") > 0.0);
}

// Goal: whoever asks for what is not there cannot fill the memory with series. Method: the lines before and after.
#[test]
fn requests_make_no_series() {
    let server = Server::start(&[]).expect("a server");
    server.post("/tally/e", &add("1")).expect("an answer");
    let mut client = server.client().expect("a connection");
    let mut ask = |number: u32| {
        let id = format!("id-{number}");
        let headers = [("x-request-id", id.as_str()), ("content-type", "application/json")];
        for (method, path) in [
            ("GET", format!("/root{number}/e")),
            ("POST", format!("/root{number}/e")),
            ("GET", format!("/tally/view{number}")),
            ("GET", format!("/tally/total?key=key{number}")),
            ("POST", format!("/_/plugins/plugin{number}/reload")),
            ("GET", format!("/_/no/{number}")),
            ("GET", format!("/.{number}")),
        ] {
            assert!(client.send(method, &path, &headers, b"").expect("an answer").status >= 400);
        }
    };
    ask(0);
    // The first reading adds its own series.
    let (_, before) = (figures(&server), figures(&server).lines().count());
    (1..100).for_each(&mut ask);
    assert_eq!(figures(&server).lines().count(), before);
}

/// Every query of a board, wherever it stands.
fn queries<'a>(board: &'a Value, found: &mut Vec<&'a str>) {
    match board {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str));
            members.values().for_each(|member| queries(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

// Goal: the board asks for figures that there are, by labels that they have. Method: every word of its queries.
#[test]
fn the_board_shows_figures_that_there_are() {
    let text = fs::read_to_string(top().join("host/packaging/grafana.json")).expect("a board");
    let board: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = Vec::new();
    queries(&board, &mut found);
    assert!(found.len() >= 20, "{} queries", found.len());
    let words: BTreeSet<&str> = found
        .iter()
        .flat_map(|query| query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_'))
        .filter(|word| word.starts_with("laterbase_"))
        .collect();
    for word in &words {
        let is_known = METRICS.iter().any(|metric| match metric.kind.word() {
            "histogram" => {
                ["_bucket", "_sum", "_count"].iter().any(|end| word.strip_suffix(end) == Some(metric.name))
            }
            _ => *word == metric.name,
        });
        assert!(is_known, "{word} is no figure");
    }
    assert!(words.len() >= 20, "{words:?}");
    let panels = board["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
}
