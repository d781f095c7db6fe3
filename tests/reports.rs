//! Reports over HTTP, through a plugin whose Reports read in every way and misbehave in every way.

use laterbase_tests::{Client, Panics, Server, fixture};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// How long a Report may take here, in milliseconds.
const PATIENCE_MS: u32 = 300;

/// A server in `folder` with the plugin `asked`.
pub(crate) fn asked(folder: &Path) -> Server {
    let plugins = folder.join("plugins");
    fs::create_dir(&plugins).expect("made");
    fs::copy(fixture("asked", Panics::Unwind), plugins.join("libasked.so")).expect("copied");
    let config = format!("[limits]\nreport_ms_max = {PATIENCE_MS}\n");
    fs::write(folder.join("laterbase.toml"), config).expect("written");
    Server::start_in(folder, &["--plugins", "plugins"]).expect("a server")
}

pub(crate) fn get(client: &mut Client, target: &str) -> (u16, Value) {
    let answer = client.send("GET", target, &[], b"").unwrap_or_else(|fault| panic!("{target}: {fault:#}"));
    (answer.status, answer.json())
}

/// Posts a `note` at this second of a day; its key.
fn note(client: &mut Client, second: u32, name: &str, n: i64) -> String {
    let time = format!("2026-05-01T10:{:02}:{:02}Z", second / 60, second % 60);
    let id = format!("{name} {n} {second}");
    let event = json!({"type": "note", "time": time, "id": id, "data": {"name": name, "n": n}});
    write(client, &event)
}

/// Posts one event; its key.
pub(crate) fn write(client: &mut Client, event: &Value) -> String {
    let headers = [("content-type", "application/json")];
    let answer = client.send("POST", "/asked/e", &headers, event.to_string().as_bytes()).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["events"][0]["key"].as_str().expect("a key").to_owned()
}

// Goal: the four ways to read agree with the View, with all bounds, also as it was known before late, clashing and
// retracted events; a walk over pages answers as of its first page whatever arrives meanwhile.
#[test]
fn reports_read_one_knowledge() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut server = asked(scratch.path());
    let mut client = server.client().expect("a connection");
    let keys: Vec<String> =
        (0..6).map(|at| note(&mut client, 10 * at, ["a", "b"][at as usize % 2], 1)).collect();
    let (status, before) = get(&mut client, "/asked/past?key=a");
    assert_eq!(status, 200, "{before}");
    let line = |at: usize| json!({"key": keys[at], "n": 1, "stored": 1});
    assert_eq!(before["value"], json!([line(0), line(2), line(4)]));
    let (_, info) = get(&mut client, "/asked");
    let vv = info["vv"].as_str().expect("a vv").to_owned();
    let (_, first) = get(&mut client, "/asked/sums?limit=1");
    assert_eq!(first["items"], json!([{"key": "a", "value": 3}]));
    let cursor = first["cursor"].as_str().expect("more follows").to_owned();

    // A late event, a retraction, and an event of another aggregate.
    let late = note(&mut client, 5, "a", 40);
    write(
        &mut client,
        &json!({"type": "undo", "time": "2026-05-01T11:00:00Z", "id": "u", "data": {"key": keys[0]}}),
    );
    note(&mut client, 90, "c", 7);
    let then = format!("&known={vv}");
    for restarted in [false, true] {
        let mut ask = |target: &str| get(&mut client, target).1;
        assert_eq!(
            ask("/asked/sums")["items"],
            json!([
                {"key": "a", "value": 42}, {"key": "b", "value": 3}, {"key": "c", "value": 7}
            ])
        );
        assert_eq!(
            ask(&format!("/asked/sums?{then}"))["items"],
            json!([
                {"key": "a", "value": 3}, {"key": "b", "value": 3}
            ])
        );
        assert_eq!(ask(&format!("/asked/sums?cursor={cursor}"))["items"], json!([{"key": "b", "value": 3}]));
        assert_eq!(ask(&format!("/asked/past?key=a{then}"))["value"], before["value"]);
        let now = json!([{"key": late, "n": 40, "stored": 40}, line(2), line(4)]);
        assert_eq!(ask("/asked/past?key=a")["value"], now);
        // An event that is voided is an event still; one that came later was none then.
        let more = |key: &str, then: &str| format!("/asked/past?key=a&more={key}{then}");
        let voided = ask(&more(&keys[0], ""));
        assert_eq!(voided["value"][3], json!({"key": keys[0], "n": 0, "stored": 1}));
        assert_eq!(ask(&more(&late, &then))["value"], before["value"]);
        let bounds = "&from=2026-05-01T10:00:05Z&to=2026-05-01T10:00:40Z";
        assert_eq!(ask(&format!("/asked/past?key=a{bounds}"))["value"], json!([now[0], now[1]]));
        for view in ["sum", "sums"] {
            let ask = |client: &mut Client, query: &str| {
                get(client, &format!("/asked/{view}?key=a{query}")).1["value"].clone()
            };
            let mut client = server.client().expect("a connection");
            assert_eq!(ask(&mut client, bounds), 41, "{view}");
            assert_eq!(ask(&mut client, "&at=2026-05-01T10:00:05Z"), 40, "{view}");
            assert_eq!(ask(&mut client, "&at=2026-05-01T10:00:04.999Z"), Value::Null, "{view}");
            assert_eq!(ask(&mut client, &then), 3, "{view}");
        }
        if !restarted {
            server.crash_and_restart().expect("a restart");
            client = server.client().expect("a connection");
        }
    }
}

// Goal: an answer has an ETag that stands for it, over restarts; what is unknown is 404; parameters are the Report's.
#[test]
fn reports_are_asked_like_views() {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = asked(scratch.path());
    let mut client = server.client().expect("a connection");
    assert_eq!(get(&mut client, "/asked/sums"), (200, json!({"items": []})));
    assert_eq!(get(&mut client, "/asked/sums?key=a").1["code"], "unknown_key");
    for at in 0..600 {
        note(&mut client, at % 60, &format!("n{at:04}"), at.into());
    }
    let answer = client.send("GET", "/asked/sums?key=n0007", &[], b"").expect("an answer");
    assert_eq!(answer.json(), json!({"key": "n0007", "value": 7, "incomplete": []}));
    let etag = answer.header("etag").expect("an etag").to_owned();
    let again = client.send("GET", "/asked/sums?key=n0007", &[("if-none-match", &etag)], b"");
    assert_eq!(again.expect("an answer").status, 304);
    note(&mut client, 1, "n0007", 1);
    let again = client.send("GET", "/asked/sums?key=n0007", &[("if-none-match", &etag)], b"");
    assert_eq!(again.expect("an answer").json()["value"], 8);

    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let (_, page) = get(&mut client, &format!("/asked/sums?prefix=n&limit=250{cursor}"));
        names.extend(page["items"].as_array().expect("items").iter().map(|item| item["key"].clone()));
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let expected: Vec<Value> = (0..600).map(|at| Value::from(format!("n{at:04}"))).collect();
    assert_eq!(names, expected);
    assert_eq!(get(&mut client, "/asked/sums?prefix=n00&prefix=").1["items"], json!([]));
    let (status, mismatch) = get(&mut client, &format!("/asked/sums?prefix=m{cursor}"));
    assert_eq!((status, &mismatch["code"]), (400, &json!("cursor_mismatch")));
    let (status, refused) = get(&mut client, "/asked/past?key=a&more=7");
    assert_eq!(
        (status, &refused["code"], &refused["pointer"]),
        (400, &json!("bad_parameter"), &json!("/more"))
    );
    assert_eq!(get(&mut client, "/asked/sums?group=1").1["code"], "bad_parameter");
    assert_eq!(get(&mut client, "/asked/nothing").1["code"], "unknown_view");
}

// Goal: a Report that misbehaves is an error by name, in time, and the server goes on with everything else.
#[test]
fn reports_that_misbehave() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut server = asked(scratch.path());
    let mut client = server.client().expect("a connection");
    note(&mut client, 1, "a", 1);
    for at in 0..3 {
        let data = json!({"name": "heavy", "n": 1, "heavy": 30_000});
        let event =
            json!({"type": "note", "time": "2026-05-01T10:00:00Z", "id": at.to_string(), "data": data});
        write(&mut client, &event);
    }
    let table = [
        ("panics", 500, "plugin_failed", "told to panic"),
        ("falls", 500, "plugin_failed", "keys have to rise"),
        ("repeats", 500, "plugin_failed", "keys have to rise"),
        ("too+many", 500, "plugin_failed", "102 items; 101 were asked for"),
        ("long+key", 500, "plugin_failed", "at most 400 bytes"),
        ("no+key", 500, "plugin_failed", "a key of 0 parts"),
        ("swallows", 500, "state_too_large", "a state of 90004 bytes"),
        ("ordered+window&from=2026-01-01T00:00:00Z", 500, "plugin_failed", "has no windows"),
        ("reads+on", 503, "report_timeout", "ask for less"),
        ("never+returns", 503, "report_timeout", "ask for less"),
    ];
    for (how, status, code, told) in table {
        let (found, body) = get(&mut client, &format!("/asked/odd?how={how}"));
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{how}: {body}");
        assert!(body["detail"].as_str().is_some_and(|it| it.contains(told)), "{how}: {body}");
        assert_eq!(get(&mut client, "/asked/sums?key=a").1["value"], 1, "after {how}");
    }
    assert_eq!(get(&mut client, "/asked/odd").1["code"], "bad_parameter");
    assert_eq!(get(&mut client, "/asked/odd?how=well"), (200, json!({"items": []})));
    server.kill().expect("killed");
}
