//! The bundled `json-schema` plugin on the real binary: a user's format works from a TOML file and JSON Schema files
//! alone. Method: the files of its README, and changes of them.

use crate::readme::{answers, commands, perform};
use laterbase_tests::{Answer, Server, built, library, redact, top};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the README tells to write, by file.
fn files() -> Vec<(String, String)> {
    let text = readme();
    // In turns what stands before a fence, and what stands in it.
    let parts: Vec<&str> = text.split("\n```").collect();
    let file = |pair: &[&str]| {
        let name = pair[0].lines().last()?.strip_prefix('`')?.strip_suffix("`:")?;
        Some((name.to_owned(), pair[1].split_once('\n')?.1.to_owned()))
    };
    let files: Vec<_> = parts.chunks_exact(2).filter_map(file).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    files
}

fn readme() -> String {
    fs::read_to_string(top().join("plugins/json-schema/README.md")).expect("a README")
}

/// The README's files in `folder`, with `from` in `file` replaced by `to`.
fn write(folder: &Path, file: &str, from: &str, to: &str) {
    for (name, text) in files() {
        let text = if name == file {
            assert!(text.contains(from), "{name} has no {from}");
            text.replace(from, to)
        } else {
            text
        };
        fs::write(folder.join(name), text).expect("written");
    }
}

/// A server with nothing but this plugin.
fn mill(folder: &Path) -> Server {
    write(folder, "", "", "");
    fs::create_dir(folder.join("plugins")).expect("made");
    fs::copy(library("json_schema"), folder.join("plugins/libjson_schema.so")).expect("copied");
    Server::start_in(folder, &["--plugins", "plugins"]).expect("a server")
}

fn post(server: &Server, events: &Value) -> Value {
    let answer = server.post("/mill/e", &events.to_string()).expect("an answer");
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()
}

fn get(server: &Server, target: &str) -> Value {
    let answer = server.get(target).expect("an answer");
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    answer.json()
}

fn reload(server: &Server) -> Answer {
    server.post("/_/plugins/json-schema/reload", "").expect("an answer")
}

fn delivery(id: &str, time: &str, silo: &str, weight: f64) -> Value {
    json!({"type": "delivered", "time": time, "id": id, "data": {"silo": silo, "weight": weight}})
}

// Goal: a newcomer sees what the README prints. Method: its curls in order against a server in a folder with its files.
#[test]
fn the_tutorial_answers_as_printed() {
    let scratch = tempfile::tempdir().expect("a folder");
    write(scratch.path(), "", "", "");
    let server = Server::start_in(scratch.path(), &[]).expect("a server");
    let mut client = server.client().expect("a connection");
    let text = readme();
    let curls: Vec<String> = commands(&text).into_iter().filter(|block| block.starts_with("curl ")).collect();
    let printed = answers(&text);
    assert_eq!((curls.len(), printed.len()), (6, 6));
    let mut told = Vec::new();
    for (curl, printed) in curls.iter().zip(printed) {
        let answer = perform(&mut client, curl);
        if redact(&answer) != redact(&printed) {
            told.push(format!("{curl}{answer}"));
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

// Goal: both versions, back-dated, twice, taken back; and every way to ask a declared view.
#[test]
fn a_format_works_from_files_alone() {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = mill(scratch.path());
    let events = json!([
        delivery("a", "2026-05-02T09:00:00Z", "S1", 20.5),
        {"type": "delivered", "version": 1, "time": "2026-05-01T08:00:00Z", "id": "b", "data": {"silo": "S1", "kg": 1.25}},
        delivery("c", "2026-05-01T10:00:00Z", "S2", 7.0),
        delivery("d", "2026-04-30T10:00:00Z", "S1", 0.1),
    ]);
    let answer = post(&server, &events);
    assert_eq!(answer["written"], 4);
    assert_eq!(post(&server, &events)["duplicate"], 4);
    let stock = |query: &str| get(&server, &format!("/mill/stock?key=S1{query}"))["value"].clone();
    assert_eq!(stock("").to_string(), r#"{"deliveries":3,"weight":21.85}"#);
    assert_eq!(stock("&at=2026-05-01T12:00:00Z").to_string(), r#"{"deliveries":2,"weight":1.35}"#);
    let window = "&from=2026-05-01T00:00:00Z&to=2026-05-02T00:00:00Z";
    assert_eq!(stock(window).to_string(), r#"{"deliveries":1,"weight":1.25}"#);
    let latest = || get(&server, "/mill/latest?key=S1")["value"].to_string();
    assert_eq!(latest(), r#"{"driver":"unknown","heaviest":20.5,"lightest":0.1}"#);
    let page = get(&server, "/mill/daily?limit=2");
    assert_eq!(page["items"][1]["key"], json!(["S1", "2026-05-01"]));
    let next =
        get(&server, &format!("/mill/daily?limit=2&cursor={}", page["cursor"].as_str().expect("more")));
    assert_eq!(
        next["items"][1],
        json!({"key": ["S2", "2026-05-01"], "value": {"deliveries": 1, "weight": 7}})
    );
    let grouped = get(&server, "/mill/daily?group=1");
    assert_eq!(grouped["items"][0], json!({"key": "S1", "value": {"deliveries": 3, "weight": 21.85}}));
    // The heaviest never was.
    let undone = json!({"type": "undone", "id": "u", "time": "2026-05-09T00:00:00Z", "data": {"delivery": answer["events"][0]["key"]}});
    post(&server, &undone);
    assert_eq!(stock("").to_string(), r#"{"deliveries":2,"weight":1.35}"#);
    assert_eq!(latest(), r#"{"driver":"unknown","heaviest":1.25,"lightest":0.1}"#);
    assert_eq!(get(&server, "/mill/e?limit=1")["events"][0]["type_name"], "delivered");
}

// Goal: an event is judged as the version that it was sent in, and as the newest; all faults are named.
#[test]
fn every_fault_is_named() {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = mill(scratch.path());
    let refused = |data: Value, version: u32| {
        let event = json!([{"type": "delivered", "version": version, "data": data}]);
        let answer = server.post("/mill/e", &event.to_string()).expect("an answer");
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (422, json!("refused")),
            "{}",
            answer.text()
        );
        let event = answer.json()["events"][0].clone();
        let mut faults = vec![event.clone()];
        faults.extend(event["others"].as_array().cloned().unwrap_or_default());
        let fault = |fault: &Value| {
            format!("{} {}", fault["pointer"].as_str().unwrap_or(""), fault["detail"].as_str().unwrap_or(""))
        };
        let mut faults: Vec<String> = faults.iter().map(fault).collect();
        faults.sort();
        faults
    };
    let faults = refused(json!({"silo": "x", "weight": -1, "more": true}), 2);
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("/0/data/weight ")), "{faults:?}");
    assert!(
        faults.iter().any(|fault| fault.ends_with("(delivered-2.json#/properties/silo/pattern)")),
        "{faults:?}"
    );
    // As version 2 this would do.
    let faults = refused(json!({"silo": "S1", "weight": 1}), 1);
    assert!(faults.iter().all(|fault| fault.contains("(delivered-1.json#")), "{faults:?}");
    let faults = refused(json!({"silo": "S1", "weight": 1e-10}), 2);
    assert_eq!(
        faults,
        [
            "/0/data/weight a view counts this; it is a number with at most 18 digits before the point and 9 behind it"
        ]
    );
    let many: serde_json::Map<String, Value> = (0..30).map(|at| (format!("x{at}"), Value::Null)).collect();
    assert_eq!(refused(json!({"silo": 1, "weight": "x", "driver": many}), 2).len(), 3);
}

// Goal: what changed is served after a reload, and only that is computed anew; nothing changes by itself.
#[test]
fn a_reload_reads_the_files_again() {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = mill(scratch.path());
    post(&server, &json!([delivery("a", "2026-05-01T09:00:00Z", "S1", 3.0)]));
    assert_eq!(reload(&server).json()["state"], "unchanged");
    // Stricter than before: what is stored stays, what is sent is judged.
    write(scratch.path(), "delivered-2.json", r#""minimum": 0"#, r#""minimum": 5"#);
    post(&server, &json!([delivery("b", "2026-05-01T10:00:00Z", "S2", 4.0)]));
    let answer = reload(&server);
    assert_eq!(
        (answer.status, answer.json()["state"].clone()),
        (200, json!("reloaded")),
        "{}",
        answer.text()
    );
    let refused =
        server.post("/mill/e", &json!([delivery("c", "2026-05-01T11:00:00Z", "S1", 4.0)]).to_string());
    assert_eq!(refused.expect("an answer").status, 422);
    assert_eq!(get(&server, "/mill/stock?key=S1")["value"]["weight"], 3);
    // A view that is declared in another way; SIGHUP says so.
    let tag = |view: &str| server.get(view).expect("an answer").header("etag").expect("a tag").to_owned();
    let (stock, latest) = (tag("/mill/stock"), tag("/mill/latest"));
    write(
        scratch.path(),
        "laterbase.toml",
        r#"weight = { sum = "/weight" } }"#,
        r#"kilos = { sum = "/weight" } }"#,
    );
    server.signal("HUP").expect("sent");
    while get(&server, "/_/plugins")["plugins"]
        .as_array()
        .expect("a list")
        .iter()
        .all(|plugin| plugin["generation"] != 3)
    {}
    assert_eq!(get(&server, "/mill/stock?key=S1")["value"].to_string(), r#"{"deliveries":1,"kilos":3}"#);
    assert_ne!(tag("/mill/stock"), stock);
    assert_eq!(tag("/mill/latest"), latest, "its declaration is the same");
    assert_eq!(get(&server, "/_/plugins")["generations_loaded"], 1, "the code is the same");
}

/// What can be wrong: in which file, what is written there instead of what, and the name of the error.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("laterbase.toml", r#""delivered-2.json""#, r#""nowhere.json""#, "nowhere.json"),
    ("laterbase.toml", "retracts =", "retrects =", "retrects"),
    ("laterbase.toml", "number = 2", "number = 1", "twice: 1 "),
    ("laterbase.toml", "number = 2", "number = 2\nversion = 2", "contradictory_version"),
    ("laterbase.toml", r#"types = ["delivered"]"#, r#"types = ["delivred"]"#, "unknown_type"),
    ("laterbase.toml", r#""/driver" = "unknown""#, r#""/weight" = 1"#, "contradictory_upcast"),
    ("laterbase.toml", "upcasts =", "#", "upcasts_missing"),
    ("laterbase.toml", r#"sum = "/weight""#, r#"sum = "/silo""#, "contradictory_view"),
    ("laterbase.toml", r#"sum = "/weight""#, r#"sum = "weight""#, "bad_pointer"),
    ("laterbase.toml", r#"key = ["/silo"]"#, "key = [7]", "a key part is a JSON pointer"),
    ("laterbase.toml", r#"name = "stock""#, r#"name = "e""#, "bad_name"),
    ("delivered-2.json", "{", "", "not_json"),
    ("delivered-2.json", r#""minimum": 0"#, r#""minimum": "0""#, "bad_schema"),
    ("delivered-2.json", r#""minimum": 0"#, r#""minimum": 5, "maximum": 3"#, "contradictory_schema"),
    ("delivered-2.json", "^S[0-9]+$", "^(?!x)S[0-9]+$", "bad_pattern"),
    ("delivered-2.json", r#""minimum": 0"#, r#""$ref": "https://example.org/number.json""#, "remote_ref"),
    ("delivered-2.json", r#""minimum": 0"#, r#""$ref": "number.json""#, "unknown_ref"),
    ("delivered-2.json", r#""minimum": 0"#, r#""$ref": "../../../etc/passwd""#, "unknown_ref"),
    ("delivered-2.json", r#""minimum": 0"#, r##""$ref": "#/nowhere""##, "unknown_ref"),
    ("delivered-2.json", r#""minimum": 0"#, r##""$ref": "#/properties/weight""##, "endless_ref"),
    ("delivered-2.json", r#""minimum": 0"#, r##""$dynamicRef": "#x""##, "dynamic_ref"),
    ("delivered-2.json", r#""weight": 20.5"#, r#""weight": "20.5""#, "bad_example"),
    ("delivered-2.json", r#""type": "object","#, r#""$schema": "urn:mine", "type": "object","#, "urn:mine"),
];

// Goal: each configuration that cannot be used is refused by name while the old one serves on, and a start with it ends
// with exit code 78 and the same name.
#[test]
fn bad_configurations_have_names() {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = mill(scratch.path());
    post(&server, &json!([delivery("a", "2026-05-01T09:00:00Z", "S1", 3.0)]));
    let mut wrong = Vec::new();
    for (file, from, to, name) in WRONG {
        write(scratch.path(), file, from, to);
        let answer = reload(&server);
        if answer.status != 422 || !answer.text().contains(name) {
            wrong.push(format!("{to}: reload: {} {}", answer.status, answer.text()));
        }
        let plugins = get(&server, "/_/plugins");
        let shown =
            plugins["plugins"].as_array().into_iter().flatten().find(|it| it["name"] == "json-schema");
        let shown = shown.cloned().unwrap_or_default();
        if shown["generation"] != 1 || shown["error"]["detail"] != answer.json()["detail"] {
            wrong.push(format!("{to}: shown: {shown}"));
        }
        assert_eq!(get(&server, "/mill/stock?key=S1")["value"]["weight"], 3);
        let (code, said) = start(scratch.path());
        if code != Some(78) || !said.contains(name) {
            wrong.push(format!("{to}: start: {code:?} {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    write(scratch.path(), "", "", "");
    assert_eq!(reload(&server).json()["state"], "unchanged");
}

/// The exit code of a start in `folder` on data of its own, and what it says.
fn start(folder: &Path) -> (Option<i32>, String) {
    let data = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(built())
        .args(["serve", "--listen", "127.0.0.1:0", "--plugins", "plugins", "--data"])
        .arg(data.path())
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a pipe");
    if !line.is_empty() {
        // It serves, which is wrong enough; nobody else would end it.
        child.kill().expect("killed");
    }
    let output = child.wait_with_output().expect("it ended");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

// Goal: `plugin check` configures the plugin, and tries its views on events that it makes up.
#[test]
fn the_check_makes_up_events() {
    let scratch = tempfile::tempdir().expect("a folder");
    write(scratch.path(), "", "", "");
    let output = Command::new(built())
        .args(["plugin", "check", "--config", "laterbase.toml"])
        .arg(library("json_schema"))
        .current_dir(scratch.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("stock, daily, latest") && said.contains(" and 192 made-up events"), "{said}");
}
