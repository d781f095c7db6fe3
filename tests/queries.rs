//! Queries of Views at their edges: keys and prefixes of any length, events that map to very many aggregates, states
//! that grow too large, and `known` as a time.

use crate::reports::{asked, get, write};
use laterbase_tests::{Client, Server};
use serde_json::{Value, json};

fn add(client: &mut Client, id: &str, item: &str, n: i64) -> Value {
    let event =
        json!({"type": "add", "time": "2026-05-01T10:00:00Z", "id": id, "data": {"item": item, "n": n}});
    let headers = [("content-type", "application/json")];
    let answer = client.send("POST", "/tally/e", &headers, event.to_string().as_bytes()).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

// Goal: what a user types is never a reason for more than an error by name, however long it is.
#[test]
fn keys_of_any_length() {
    let server = Server::start(&[]).expect("a server");
    let mut client = server.client().expect("a connection");
    add(&mut client, "1", &"k".repeat(396), 1);
    let key = |length: usize| "k".repeat(length);
    assert_eq!(get(&mut client, &format!("/tally/total?key={}", key(395))).1["code"], "unknown_key");
    assert_eq!(get(&mut client, &format!("/tally/total?key={}", key(396))).0, 200);
    assert_eq!(get(&mut client, &format!("/tally/total?prefix={}", key(396))).1["items"][0]["value"]["n"], 1);
    for length in [397, 398, 400, 401, 495, 511, 512, 4000] {
        let (status, body) = get(&mut client, &format!("/tally/total?key={}", key(length)));
        assert!(matches!(status, 400 | 404), "{length}: {body}");
        let (status, body) = get(&mut client, &format!("/tally/total?prefix={}", key(length)));
        assert_eq!(status, 200, "{length}: {body}");
        let (status, body) = get(&mut client, &format!("/tally/daily?group=1&key={}", key(length)));
        assert!(matches!(status, 400 | 404), "{length}: {body}");
        let (status, body) = get(&mut client, &format!("/tally/daily?prefix={0}&prefix={0}", key(length)));
        assert_eq!(status, 200, "{length}: {body}");
    }
    let many = ["key=a"; 1000].join("&");
    assert_eq!(get(&mut client, &format!("/tally/total?{many}")).1["code"], "bad_parameter");
}

// Goal: `known` as a time: what this replica held then, and a name for a time before the first arrival.
#[test]
fn known_at_a_time() {
    let server = Server::start(&[]).expect("a server");
    let mut client = server.client().expect("a connection");
    assert_eq!(get(&mut client, "/tally/total?key=a&known=2026-05-01T10:00:00Z").0, 404);
    add(&mut client, "1", "a", 40);
    let then = add(&mut client, "filler", "b", 1)["now"].as_str().expect("a time").to_owned();
    // What comes in the same millisecond counts as known then, so it has to be over.
    let mut filler = 0;
    while add(&mut client, &format!("filler {filler}"), "b", 1)["now"].as_str() == Some(&then) {
        filler += 1;
    }
    add(&mut client, "2", "a", 2);
    let (_, now) = get(&mut client, "/tally/total?key=a");
    assert_eq!(now["value"], json!({"n": 42, "count": 2}));
    let (_, before) = get(&mut client, &format!("/tally/total?key=a&known={then}"));
    assert_eq!(before["value"], json!({"n": 40, "count": 1}));
    let (_, grouped) = get(&mut client, &format!("/tally/daily?key=a&group=1&known={then}"));
    assert_eq!(grouped["value"], json!({"n": 40, "count": 1}));
    let (status, early) = get(&mut client, "/tally/total?known=2001-01-01T00:00:00Z");
    assert_eq!((status, &early["code"]), (422, &json!("known_too_early")));
    assert!(early["first_ms"].as_i64().is_some(), "{early}");
    let (_, later) = get(&mut client, "/tally/total?known=2105-01-01T00:00:00Z&key=a");
    assert_eq!(later["value"], now["value"]);
}

// Goal: an event that maps to very many aggregates counts in all of them, up to the bound; above it, it is set aside
// by name and every other event goes on; a state over its bound is an error by name, for its aggregate only.
#[test]
fn wide_events_and_heavy_states() {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = asked(scratch.path());
    let mut client = server.client().expect("a connection");
    let event = |second: u32, data: Value| json!({"type": "note", "time": format!("2026-05-01T10:00:{second:02}Z"), "id": second.to_string(), "data": data});
    write(&mut client, &event(1, json!({"name": "w", "n": 1, "wide": 65_535})));
    let wide = write(&mut client, &event(2, json!({"name": "x", "n": 1, "wide": 100_000})));
    write(&mut client, &event(3, json!({"name": "w", "n": 2})));
    let (_, last) = get(&mut client, "/asked/sum?key=w-065534");
    assert_eq!(last["value"], 1, "{last}");
    let (_, sum) = get(&mut client, "/asked/sum?key=w");
    assert_eq!((&sum["value"], &sum["incomplete"][0]["key"]), (&json!(3), &json!(wide)), "{sum}");
    let reason = sum["incomplete"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("100001 aggregates; at most 65536"), "{reason}");
    assert_eq!(get(&mut client, "/asked/sum?key=x").1["code"], "unknown_key");
    let (_, page) = get(&mut client, "/asked/sum?prefix=w-0655&limit=50");
    assert_eq!(page["items"].as_array().map(Vec::len), Some(35), "{page}");

    for second in 4..7 {
        write(&mut client, &event(second, json!({"name": "heavy", "n": 1, "heavy": 30_000})));
    }
    let (status, heavy) = get(&mut client, "/asked/text?key=heavy");
    assert_eq!((status, &heavy["code"]), (500, &json!("state_too_large")));
    assert_eq!(get(&mut client, "/asked/sum?key=heavy").1["value"], 3);
    assert_eq!(get(&mut client, "/asked/text?key=heavy&at=2026-05-01T10:00:05Z").0, 200);
    assert_eq!(get(&mut client, "/asked/text?key=w").1["value"], "");
}
