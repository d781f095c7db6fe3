//! New generations of plugins over stored events: beside the old one, compared with it, given up, killed half-way.

use laterbase_tests::{Client, Server, library, move_over, tally_variant};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// So many events are there before the new revision comes; `LATERBASE_REVISION_EVENTS` sets another number.
const EVENTS: u64 = 30_000;
/// They are about so many items, of which each asks for one.
const ITEMS: u64 = 50;
/// More questions than are asked while something is built.
const ASKED_MAX: u32 = 10_000_000;

fn double(text: &str) -> String {
    text.replace("e.data.n)", "e.data.n.wrapping_mul(2))")
}

/// Every delta doubled, under the next revision of both Keyspaces.
fn next() -> PathBuf {
    tally_variant("tally_next", &|text| {
        double(&text).replace("type Event = Add;", "const REVISION: u32 = 2;\n    type Event = Add;")
    })
}

/// Every delta doubled, under the same revision.
fn drifted() -> PathBuf {
    tally_variant("tally_drifted", &|text| double(&text))
}

/// Fails on two events: one in `map`, one in `fold`.
fn failing() -> PathBuf {
    tally_variant("tally_failing", &|text| {
        let text = text.replace("out.emit(", "assert!(e.data.item != \"poison\");\n        out.emit(");
        text.replace("state.add(n);", "assert!(n != 667_667);\n        state.add(n);")
    })
}

/// A server whose plugin is `library`, and the file to be replaced.
fn serving(library: &Path, scratch: &Path) -> (Server, PathBuf) {
    let plugins = scratch.join("plugins");
    fs::create_dir(&plugins).expect("made");
    let live = plugins.join("libtally.so");
    fs::copy(library, &live).expect("copied");
    (Server::start(&["--plugins", plugins.to_str().expect("UTF-8")]).expect("a server"), live)
}

fn fill(server: &Server, events: u64) {
    let mut client = server.client().expect("a connection");
    let mut next = 0;
    while next < events {
        let mut body = String::new();
        let end = (next + 5_000).min(events);
        for number in next..end {
            let item = number % ITEMS;
            let (hour, minute) = (number % 24, number % 60);
            writeln!(
                body,
                r#"{{"type":"add","time":"2026-05-01T{hour:02}:{minute:02}:00Z","id":"{number}","data":{}}}"#,
                format_args!(r#"{{"item":"i{item}","n":1}}"#)
            )
            .expect("a string takes all");
        }
        let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
        let answer = client.send("POST", "/tally/e", &headers, body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.text());
        next = end;
    }
}

/// What a view counts for a key; an index that is far behind is asked again.
fn count(client: &mut Client, target: &str) -> i64 {
    for _ in 0..ASKED_MAX {
        let answer = client.send("GET", target, &[], b"").expect("an answer");
        if answer.status == 503 && answer.json()["code"] == "view_building" {
            continue;
        }
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        return answer.json()["value"]["n"].as_i64().expect("a number");
    }
    panic!("{target}: still being built");
}

fn tally(client: &mut Client) -> Value {
    let answer = client.send("GET", "/_/plugins", &[], b"").expect("an answer").json();
    answer["plugins"][0].clone()
}

/// Asks until the plugin's state fits.
fn until(client: &mut Client, fits: impl Fn(&Value) -> bool) -> Value {
    let mut status = Value::Null;
    for _ in 0..ASKED_MAX {
        status = tally(client);
        if fits(&status) {
            return status;
        }
    }
    panic!("still {status}");
}

fn post(client: &mut Client, target: &str, status: u16) -> Value {
    let answer = client.send("POST", target, &[], b"").expect("an answer");
    assert_eq!(answer.status, status, "{target}: {}", answer.text());
    answer.json()
}

/// Asks and writes until `done`: every query succeeds, both views change at once, and what is written counts.
fn watch(server: &Server, each: i64, done: &AtomicBool, written: &AtomicU64) {
    let mut client = server.client().expect("a connection");
    let item = written.fetch_add(1, Ordering::Relaxed) % ITEMS;
    let (total, daily) =
        (format!("/tally/total?key=i{item}"), format!("/tally/daily?key=i{item}&key=2026-05-01"));
    let late = r#"{"type":"add","time":"2026-04-01T00:00:00Z","data":{"item":"late","n":1}}"#;
    while !done.load(Ordering::Relaxed) {
        let (before, between, after) =
            (count(&mut client, &total), count(&mut client, &daily), count(&mut client, &total));
        assert!([each, 2 * each].contains(&between), "{between}");
        // Whoever has seen the new generation sees it in all views; whoever sees the old one later saw it before.
        assert!(before <= between && between <= after, "{before} {between} {after}");
        let headers = [("content-type", "application/json")];
        let answer = client.send("POST", "/tally/e", &headers, late.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.text());
        written.fetch_add(1, Ordering::Relaxed);
    }
}

// Goal: a new revision over many events: queries succeed throughout, the switch is atomic, cancel and restart work,
// and kill -9 in the middle loses nothing. Method: two threads ask and write while the new revision is built, given
// up, built again and adopted; then the way back is killed half-way.
#[test]
fn a_new_revision_is_built_beside_the_old_one() {
    let given = std::env::var("LATERBASE_REVISION_EVENTS").ok().and_then(|text| text.parse().ok());
    let events = given.unwrap_or(EVENTS) / ITEMS * ITEMS;
    let each = i64::try_from(events / ITEMS).expect("few");
    let scratch = tempfile::tempdir().expect("a folder");
    let (mut server, live) = serving(&library("tally"), scratch.path());
    fill(&server, events);
    assert_eq!(count(&mut server.client().expect("a connection"), "/tally/total?key=i0"), each);
    move_over(&next(), &live);

    let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| watch(&server, each, &done, &written));
        }
        let mut client = server.client().expect("a connection");
        let begun = post(&mut client, "/_/plugins/tally/reload?wait=false", 202);
        assert_eq!(begun["state"], "building");
        let again = post(&mut client, "/_/plugins/tally/reload", 409);
        assert_eq!(again["code"], "reload_in_progress");
        let status = until(&mut client, |status| status["done"].as_u64() > Some(0));
        assert_eq!((&status["state"], &status["generation"]), (&"building".into(), &1.into()), "{status}");
        assert!(status["of"].as_u64() >= Some(events), "{status}");
        let given_up = client.send("DELETE", "/_/plugins/tally/reload", &[], b"").expect("an answer");
        assert_eq!(
            (given_up.status, &given_up.json()["generation"]),
            (200, &1.into()),
            "{}",
            given_up.text()
        );
        let status = tally(&mut client);
        assert_eq!(
            (&status["state"], &status["error"]["code"]),
            (&"serving".into(), &"reload_cancelled".into())
        );
        let nothing = client.send("DELETE", "/_/plugins/tally/reload", &[], b"").expect("an answer");
        assert_eq!(nothing.json()["code"], "not_reloading");
        assert_eq!(count(&mut client, "/tally/total?key=i0"), each);

        let swapped = post(&mut client, "/_/plugins/tally/reload", 200);
        assert_eq!(swapped["state"], "reloaded");
        assert_eq!(count(&mut client, "/tally/total?key=i0"), 2 * each);
        done.store(true, Ordering::Relaxed);
    });
    // Each of the two threads counted itself.
    let late = i64::try_from(written.into_inner()).expect("few") - 2;
    let mut client = server.client().expect("a connection");
    assert_eq!(count(&mut client, "/tally/total?key=late"), 2 * late);

    move_over(&library("tally"), &live);
    post(&mut client, "/_/plugins/tally/reload?wait=false", 202);
    until(&mut client, |status| status["done"].as_u64() > Some(events / 4) || status["generation"] == 3);
    server.crash_and_restart().expect("it starts");
    let mut client = server.client().expect("a connection");
    for item in 0..ITEMS {
        assert_eq!(count(&mut client, &format!("/tally/total?key=i{item}")), each);
    }
    assert_eq!(count(&mut client, "/tally/total?key=late"), late);
}

// Goal: other results under the same revision are refused with the event that shows it, and the old generation goes on;
// at a start, where no old generation is left, the rows are built again and the plugin says so.
#[test]
fn drift_is_refused_or_told() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (mut server, live) = serving(&library("tally"), scratch.path());
    fill(&server, 2 * ITEMS);
    let mut client = server.client().expect("a connection");
    assert_eq!(count(&mut client, "/tally/total?key=i7"), 2);
    move_over(&drifted(), &live);
    let refused = post(&mut client, "/_/plugins/tally/reload", 409);
    assert_eq!((&refused["code"], &refused["hook"]), (&"drift".into(), &"map".into()), "{refused}");
    assert!(refused["views"].as_array().is_some_and(|views| views.contains(&"total".into())), "{refused}");
    assert!(refused["key"][0].as_str().is_some_and(|item| item.starts_with('i')), "{refused}");
    assert!(refused["event"].is_string() && refused["before"] != refused["now"], "{refused}");
    assert_eq!(
        (count(&mut client, "/tally/total?key=i7"), &tally(&mut client)["error"]["code"]),
        (2, &"drift".into())
    );

    server.signal("TERM").expect("sent");
    server.wait().expect("it ends");
    server.restart().expect("it starts");
    let mut client = server.client().expect("a connection");
    assert_eq!(count(&mut client, "/tally/total?key=i7"), 4);
    let status = tally(&mut client);
    let warned = status["warnings"]
        .as_array()
        .is_some_and(|all| all.iter().any(|text| text.to_string().contains("built again")));
    assert!(warned, "{status}");
}

// Goal: an event on which `map` or `fold` fails is set aside by name while all others count; a mended plugin, under the
// same revision or another, counts it after the reload.
#[test]
fn a_mended_plugin_picks_up_what_was_set_aside() {
    for mended in [library("tally"), next()] {
        let scratch = tempfile::tempdir().expect("a folder");
        let (server, live) = serving(&failing(), scratch.path());
        fill(&server, 2 * ITEMS);
        let mut client = server.client().expect("a connection");
        for data in [r#"{"item":"poison","n":5}"#, r#"{"item":"i7","n":667667}"#] {
            let body = format!(r#"{{"type":"add","time":"2026-05-02T00:00:00Z","data":{data}}}"#);
            assert_eq!(server.post("/tally/e", &body).expect("an answer").status, 201);
        }
        let asked =
            |client: &mut Client, target: &str| client.send("GET", target, &[], b"").expect("an answer");
        assert_eq!(asked(&mut client, "/tally/total?key=poison").status, 404);
        let incomplete = asked(&mut client, "/tally/total?key=i7").json();
        assert_eq!(incomplete["value"]["n"], 2);
        assert_eq!(incomplete["incomplete"].as_array().map(Vec::len), Some(2), "{incomplete}");
        move_over(&mended, &live);
        post(&mut client, "/_/plugins/tally/reload", 200);
        let by = if mended == library("tally") { 1 } else { 2 };
        let whole = asked(&mut client, "/tally/total?key=i7").json();
        assert_eq!(
            (&whole["value"]["n"], &whole["incomplete"]),
            (&(by * 667_669).into(), &serde_json::json!([]))
        );
        assert_eq!(asked(&mut client, "/tally/total?key=poison").json()["value"]["n"], by * 5);
    }
}
