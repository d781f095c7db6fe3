//! The log: every line of a request carries its name, and no line what users store.

use super::add;
use laterbase_tests::{Server, request};
use serde_json::{Value, json};

const CANARY: &str = "canary-7f3a";

fn lines(server: &Server) -> Vec<Value> {
    let log = server.log().expect("a log");
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}")))
        .collect()
}

// Goal: an answer, its error and its lines in the log carry the caller's own name for the request, if that is sane, or
// one that is made.
#[test]
fn a_request_has_one_name_everywhere() {
    let server = Server::start(&["--log-format", "json", "--log", "debug"]).expect("a server");
    let get = |path: &str, id: &str| {
        request(server.address(), "GET", path, &[("x-request-id", id)], b"").expect("an answer")
    };
    let known = get("/tally", "from.the-caller_1");
    assert_eq!((known.status, known.header("x-request-id")), (200, Some("from.the-caller_1")));
    let refused = get("/nowhere", "second");
    assert_eq!((refused.status, &refused.json()["request_id"]), (404, &json!("second")));
    let made = get("/nowhere", "not sane");
    let name = made.header("x-request-id").expect("a name").to_owned();
    assert!(name.len() == 16 && name != "not sane", "{name}");
    assert_eq!(made.json()["request_id"], json!(name));
    for (id, route) in [("from.the-caller_1", "/{root}"), ("second", "/{root}"), (name.as_str(), "/{root}")] {
        let of_it: Vec<Value> =
            lines(&server).into_iter().filter(|line| line["span"]["request_id"] == id).collect();
        assert!(!of_it.is_empty(), "{id}");
        assert!(of_it.iter().all(|line| line["span"]["route"] == route && line["span"]["method"] == "GET"));
        assert!(of_it.iter().any(|line| line["message"] == "answered"), "{of_it:?}");
    }
}

// Goal: no line holds what users store, whatever is logged and however it is refused. Method: a word that stands
// nowhere else.
#[test]
fn no_line_holds_what_is_stored() {
    let server = Server::start(&["--log-format", "json", "--log", "trace"]).expect("a server");
    let event = |id: &str, data: &Value| {
        json!({"type": "add", "time": "2026-05-01T10:00:00Z", "id": format!("{CANARY} {id}"), "data": data})
            .to_string()
    };
    let good = event("1", &json!({"item": CANARY, "n": 1}));
    let posts = [
        (201, good.clone()),
        (409, event("1", &json!({"item": CANARY, "n": 2}))),
        (422, event("2", &json!({"item": CANARY, "n": CANARY}))),
        (422, json!({"type": CANARY, "data": {}}).to_string()),
        (400, format!("{{\"type\": {CANARY}")),
        (400, format!("{{\"{CANARY}\": 1}}")),
        (200, good),
    ];
    for (status, body) in posts {
        assert_eq!(server.post("/tally/e", &body).expect("an answer").status, status, "{body}");
    }
    let item = format!("/tally/total?key={CANARY}");
    for (status, path) in
        [(200, item.as_str()), (200, "/tally/last"), (200, "/tally/e"), (400, "/tally/e?vv=canary-7f3a")]
    {
        assert_eq!(server.get(path).expect("an answer").status, status, "{path}");
    }
    assert_eq!(server.post("/_/plugins/tally/reload", "").expect("an answer").status, 200);
    assert!(lines(&server).len() > 10);
    assert!(!server.log().expect("a log").contains(CANARY));
}

// Goal: without a flag the log is for people, of what matters; the environment and a flag change what is logged.
#[test]
fn what_is_logged_can_be_chosen() {
    let text = Server::start(&[]).expect("a server");
    text.post("/tally/e", &add("1")).expect("an answer");
    let log = text.log().expect("a log");
    assert!(log.contains(" INFO ") && !log.contains("DEBUG") && !log.contains("answered"), "{log}");
    let quiet = Server::start(&["--log", "error"]).expect("a server");
    assert_eq!(quiet.log().expect("a log"), "");
    let wrong = Server::start(&["--log", "laterbase=loud"]).expect_err("no such level");
    assert!(format!("{wrong:#}").contains("--log"), "{wrong:#}");
}
