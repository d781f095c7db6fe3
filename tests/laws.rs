//! What a plugin declares is put to the test before it serves: one that lies is refused with the events that show it,
//! one that does not passes, and nothing that it does while it is on trial reaches the host.
//!
//! The plugin is the fixture `laws`, into whose library each lie is patched by its name.

use laterbase::core::event::ValidTime;
use laterbase::plugin::probe::Probe;
use laterbase::plugin::{Options, Registry};
use laterbase::problem::Code;
use laterbase_tests::{Panics, Server, built, fixture, library, patched};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Every lie with the law that it breaks and the part that is named.
const LIES: [(&str, &str, &str); 17] = [
    ("admit", "repeatable", "Schema moves"),
    ("upcast", "repeatable", "Schema moves"),
    ("retracts", "repeatable", "Schema moves"),
    ("map", "repeatable", "Keyspace by_item"),
    ("order", "batches", "Keyspace by_item"),
    ("panic", "sound", "Keyspace by_item"),
    ("query_key", "repeatable", "Keyspace by_item"),
    ("delta", "codec", "Keyspace by_item"),
    ("fold", "repeatable", "View total"),
    ("render", "repeatable", "View total"),
    ("codec", "codec", "View total"),
    ("bound", "bound", "View total"),
    ("halves", "halves", "View total"),
    ("identity", "identity", "View total"),
    ("commutative", "commutative", "View highest"),
    ("inverse", "inverse", "View total"),
    ("removal", "removal", "View total"),
];

/// The fixture's library with a lie.
fn lying(lie: &str) -> Vec<u8> {
    let sound = fs::read(fixture("laws", Panics::Unwind)).expect("the library is built");
    patched(&sound, b"LIE=nothing.....", format!("LIE={lie:.<12}").as_bytes())
}

/// Moves finished bytes into place.
fn put(folder: &Path, bytes: &[u8]) -> PathBuf {
    let (unfinished, file) = (folder.join(".unfinished"), folder.join("liblaws.so"));
    fs::write(&unfinished, bytes).expect("written");
    fs::rename(&unfinished, &file).expect("moved");
    file
}

/// The exit code of `plugin check` and all that it prints.
fn check(library: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(built());
    command.args(["plugin", "check"]).arg(library).args(more);
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Adds of the item `zebra` which together make the one sum that the lie `zebra` is about.
fn zebras() -> Value {
    let event = |id: u32, n: i64| {
        let time = format!("2026-05-01T10:{id:02}:00Z");
        json!({"type": "moved", "time": time, "id": id.to_string(), "data": {"item": "zebra", "n": n, "place": null}})
    };
    let others = (3..60).map(|id| event(id, 1));
    [event(1, 4_500), event(2, 4_501)].into_iter().chain(others).collect()
}

// Goal: honest plugins pass, those that users have and ten Views of every algebra.
#[test]
fn the_honest_pass() {
    for library in [
        library("tally"),
        library("epcis"),
        fixture("hostile", Panics::Unwind),
        fixture("rival", Panics::Unwind),
        fixture("laws", Panics::Unwind),
    ] {
        let (code, text) = check(&library, &[]);
        assert_eq!(code, Some(0), "{}: {text}", library.display());
        assert!(text.contains(": sound") && text.contains("laws     hold on 0 given and"), "{text}");
    }
}

// Goal: whoever breaks one promise is refused, by the law's name, with events that show it.
#[test]
fn whoever_lies_is_refused() {
    let scratch = tempfile::tempdir().expect("a folder");
    for (lie, law, part) in LIES {
        let (code, text) = check(&put(scratch.path(), &lying(lie)), &[]);
        assert_eq!(code, Some(1), "{lie}: {text}");
        assert!(text.contains(&format!("{part} breaks the law `{law}`")), "{lie}: {text}");
        assert!(text.contains("laterbase: law_broken: "), "{lie}: {text}");
        let needs_events = !matches!(lie, "query_key" | "delta" | "identity" | "render");
        assert_eq!(text.contains("(made up)\n    {\"item\":"), needs_events, "{lie}: {text}");
        assert!(!text.contains("more events"), "{lie}: {text}");
    }
}

// Goal: a plugin that ends the process, hangs or takes all memory while its laws are tried is named with what was
// being tried. Method: a Registry whose probe does not wait long.
#[test]
fn the_trial_dies_for_the_host() {
    let scratch = tempfile::tempdir().expect("a folder");
    let registry = Registry::new(Options {
        probe: Some(Probe { program: built(), deadline: Duration::from_secs(4) }),
        ..Options::new(scratch.path().join("stage"))
    });
    let cases = [
        (
            "crash",
            Code::PluginProbeCrashed,
            "the probe died with SIGABRT while it tried view total of root laws",
        ),
        ("hang", Code::PluginProbeTimeout, "within 4000 ms while it tried view total of root laws"),
        ("memory", Code::PluginProbeCrashed, "view total of root laws: memory allocation of"),
    ];
    for (lie, code, words) in cases {
        let file = put(scratch.path(), &lying(lie));
        let error = registry.load_file(&file, ValidTime(1), &mut |_| Ok(())).expect_err("refused");
        assert_eq!(error.code(), code, "{lie}: {error}");
        assert!(error.to_string().contains(words), "{lie}: {error}");
    }
    assert_eq!(registry.generations_loaded(), 0);
}

// Goal: a reload tries the laws on the events that are stored: a lie about them is refused with their keys, and the
// old generation serves on.
#[test]
fn a_reload_tries_stored_events() {
    let scratch = tempfile::tempdir().expect("a folder");
    let sound = lying("nothing");
    put(scratch.path(), &sound);
    let server = Server::start(&["--plugins", scratch.path().to_str().expect("UTF-8")]).expect("a server");
    let answer = server.post("/laws/e", &zebras().to_string()).expect("an answer").json();
    let keys: Vec<&Value> = (0..2).map(|at| &answer["events"][at]["key"]).collect();
    let total = || server.get("/laws/total?key=zebra").expect("an answer").json()["value"].clone();
    assert_eq!(total(), json!([9_058, 59, 0]));

    put(scratch.path(), &lying("zebra"));
    let refused = server.post("/_/plugins/laws/reload", "").expect("an answer");
    assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("law_broken")), "{}", refused.text());
    let problem = refused.json();
    let named = ["plugin", "root", "part", "name", "algebra", "law"].map(|member| problem[member].clone());
    assert_eq!(named, ["laws", "laws", "View", "total", "group", "halves"].map(Value::from));
    let events = problem["events"].as_array().expect("events");
    assert_eq!(events.iter().map(|event| &event["key"]).collect::<Vec<_>>(), keys, "{problem}");
    assert!(events.iter().all(|event| event["made_up"] == false), "{problem}");
    assert_eq!(
        (&problem["first"]["value"], &problem["second"]["value"]),
        (&json!("[9001,2,0]"), &json!("[9002,2,0]"))
    );
    let plugins = server.get("/_/plugins").expect("an answer").json();
    let status = &plugins["plugins"][0];
    assert_eq!((&status["generation"], &status["error"]["code"]), (&json!(1), &json!("law_broken")));
    assert_eq!(total(), json!([9_058, 59, 0]));

    for lie in ["map", "commutative", "crash"] {
        put(scratch.path(), &lying(lie));
        let refused = server.post("/_/plugins/laws/reload", "").expect("an answer");
        assert_eq!(refused.status, 422, "{lie}: {}", refused.text());
        assert_eq!(total(), json!([9_058, 59, 0]), "{lie}");
    }
    put(scratch.path(), &[sound.as_slice(), b"another build"].concat());
    let reloaded = server.post("/_/plugins/laws/reload", "").expect("an answer");
    assert_eq!((reloaded.status, &reloaded.json()["generation"]), (200, &json!(2)), "{}", reloaded.text());
    assert_eq!(total(), json!([9_058, 59, 0]));
}

// Goal: a plugin that was not there before is tried on what its roots hold already.
#[test]
fn a_new_file_tries_stored_events() {
    let scratch = tempfile::tempdir().expect("a folder");
    put(scratch.path(), &lying("nothing"));
    let plugins = ["--plugins", scratch.path().to_str().expect("UTF-8")];
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &plugins).expect("a server");
    assert_eq!(server.post("/laws/e", &zebras().to_string()).expect("an answer").status, 201);
    fs::remove_file(scratch.path().join("liblaws.so")).expect("removed");
    server.crash_and_restart().expect("it starts again");
    put(scratch.path(), &lying("zebra"));
    server.signal("HUP").expect("sent");
    let mut client = server.client().expect("a connection");
    let mut plugins = Value::Null;
    for _ in 0..30_000 {
        plugins = client.send("GET", "/_/plugins", &[], b"").expect("an answer").json()["plugins"].take();
        if plugins[0]["state"] == "failed" {
            break;
        }
    }
    assert_eq!(plugins[0]["error"]["code"], "law_broken", "{plugins}");
    let detail = plugins[0]["error"]["detail"].as_str().expect("a detail");
    assert!(detail.contains("View total (declared Group) breaks the law `halves`"), "{detail}");
}

// Goal: `plugin check` takes events as a POST does, and configuration as the server does.
#[test]
fn a_check_takes_events() {
    let scratch = tempfile::tempdir().expect("a folder");
    let library = put(scratch.path(), &lying("zebra"));
    assert_eq!(check(&library, &[]).0, Some(0), "no made-up event shows it");
    let file = |name: &str, text: &str| {
        let file = scratch.path().join(name);
        fs::write(&file, text).expect("written");
        file.to_str().expect("UTF-8").to_owned()
    };
    let lines: Vec<String> = zebras().as_array().expect("events").iter().map(Value::to_string).collect();
    for events in [file("events.json", &zebras().to_string()), file("events.ndjson", &lines.join("\n"))] {
        let (code, text) = check(&library, &["--events", &events, "--root", "laws"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("View total breaks the law `halves`"), "{text}");
        assert!(text.contains(r#"{"item":"zebra","n":4501,"place":null}"#), "{text}");
        assert!(!text.contains("(made up)"), "{text}");
        let honest = fixture("laws", Panics::Unwind);
        let (code, text) = check(&honest, &["--events", &events]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("hold on 59 given and"), "{text}");
    }
    let bad = file("bad.json", r#"{"type":"moved","data":{"item":7}}"#);
    let (code, text) = check(&library, &["--events", &bad]);
    assert!(code == Some(1) && text.contains("event 0: invalid type"), "{text}");
    let config = file("laterbase.toml", "[plugin.laws.roots.second]\n");
    let (code, text) = check(&library, &["--config", &config]);
    assert!(code == Some(0) && text.contains("root second"), "{text}");
}
