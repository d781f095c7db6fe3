//! The plugin author's way: a new plugin builds, passes its own test, loads and answers, without an edit; a new build
//! moved over the old file takes over while the server runs.

use laterbase_tests::{Client, Server, built, library, move_over, tally_variant, target, top};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// More questions than are asked while a plugin is tried and loaded, however busy the machine is.
const ASKED_MAX: u32 = 30_000;

/// Runs cargo in `folder` with a target folder of its own, so that no build takes another's library for its own.
fn cargo(folder: &Path, arguments: &[&str], into: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).arg("--quiet").current_dir(folder).env("CARGO_TARGET_DIR", into);
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn shown(arguments: &[&str]) -> String {
    let output = Command::new(built()).args(arguments).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

// Goal: `plugin new` gives a plugin that works as it stands. Method: make, test, build, inspect, check, play its
// script, serve, ask.
#[test]
fn a_new_plugin_works_as_it_stands() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("demo");
    let made = shown(&["plugin", "new", "demo", "--folder", folder.to_str().expect("UTF-8")]);
    assert!(made.contains("next:"), "{made}");
    let lock = top().join("Cargo.lock");
    fs::copy(lock, folder.join("Cargo.lock")).expect("copied");
    let into = target().join("authoring");
    cargo(&folder, &["test"], &into);
    cargo(&folder, &["build"], &into);
    let built = into.join("debug/libdemo.so");
    let inspected = shown(&["plugin", "inspect", built.to_str().expect("UTF-8")]);
    assert!(inspected.contains("name     demo"), "{inspected}");
    let checked = shown(&["plugin", "check", built.to_str().expect("UTF-8")]);
    assert!(checked.contains("demo 0.1.0: sound") && checked.contains("views    pieces"), "{checked}");

    let plugins = scratch.path().join("plugins");
    fs::create_dir(&plugins).expect("made");
    fs::copy(&built, plugins.join("libdemo.so")).expect("copied");
    let script = folder.join("scripts/pieces.txt");
    let [script, in_folder] = [&script, &plugins].map(|path| path.to_str().expect("UTF-8"));
    let played = shown(&["plugin", "test", "--plugins", in_folder, script]);
    assert_eq!(played, format!("same     {script}\n1 played, 0 failed\n"));

    let server = Server::start(&["--plugins", in_folder]).expect("a server");
    let body = r#"{"type":"scanned","time":"2026-05-01T10:00:00Z","data":{"item":"apples","n":40}}"#;
    assert_eq!(server.post("/demo/e", body).expect("an answer").status, 201);
    let answer = server.get("/demo/pieces?key=apples").expect("an answer").json();
    assert_eq!(answer["value"], serde_json::json!({"pieces": 40, "scans": 1}));
}

/// Tally with `total` counting double: the next version of a plugin.
fn doubled() -> PathBuf {
    tally_variant("tally", &|text| {
        // Other results are another revision.
        let text =
            text.replace("type Algebra = Group;", "type Algebra = Group;\n    const REVISION: u32 = 2;");
        text.replace("state.add(n);", "state.add(n.wrapping_mul(2));")
    })
}

/// A server whose plugin is the library `build`, with 21 apples, and the file to be replaced.
fn serving(build: &Path, scratch: &Path) -> (Server, PathBuf) {
    let plugins = scratch.join("plugins");
    fs::create_dir(&plugins).expect("made");
    let live = plugins.join("libtally.so");
    fs::copy(build, &live).expect("copied");
    let server = Server::start(&["--plugins", plugins.to_str().expect("UTF-8")]).expect("a server");
    let body = r#"{"type":"add","time":"2026-05-01T10:00:00Z","id":"1","data":{"item":"apples","n":21}}"#;
    assert_eq!(server.post("/tally/e", body).expect("an answer").status, 201);
    (server, live)
}

fn total(client: &mut Client) -> Option<i64> {
    let answer = client.send("GET", "/tally/total?key=apples", &[], b"").expect("an answer");
    (answer.status == 200).then(|| answer.json()["value"]["n"].as_i64().expect("a number"))
}

// Goal: a new build moved over the old file and reloaded answers with its new results; queries during 100 reloads all
// succeed; a bad file is refused by name and the old generation keeps serving.
// Method: two builds alternate under four asking threads; then files that are no plugins.
#[test]
fn a_plugin_is_replaced_under_load() {
    let scratch = tempfile::tempdir().expect("a folder");
    let builds = [library("tally"), doubled()];
    let (server, live) = serving(&builds[0], scratch.path());
    let asked = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let mut client = server.client().expect("a connection");
                while asked.fetch_add(1, Ordering::Relaxed) < 10_000 {
                    let total = total(&mut client);
                    assert!(matches!(total, Some(21 | 42)), "{total:?}");
                }
            });
        }
        let mut client = server.client().expect("a connection");
        for round in 1..=100 {
            move_over(&builds[round % 2], &live);
            let answer = client.send("POST", "/_/plugins/tally/reload", &[], b"").expect("an answer");
            assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
            let expected = [21, 42][round % 2];
            assert_eq!(total(&mut client), Some(expected), "round {round}");
        }
    });

    let whole = fs::read(&builds[1]).expect("a library");
    let cut = &whole[..whole.len() / 2];
    for (bytes, word) in
        [(&b""[..], "plugin_not_elf"), (b"text", "plugin_not_elf"), (cut, "plugin_truncated")]
    {
        let bad = scratch.path().join("bad");
        fs::write(&bad, bytes).expect("written");
        move_over(&bad, &live);
        let answer = server.post("/_/plugins/tally/reload", "").expect("an answer");
        assert_eq!(answer.json()["code"], word, "{}", answer.text());
        assert_eq!(total(&mut server.client().expect("a connection")), Some(21));
    }
    fs::remove_file(&live).expect("removed");
    let answer = server.post("/_/plugins/tally/reload", "").expect("an answer");
    assert_eq!(answer.json()["code"], "plugin_not_found");
    let plugins = server.get("/_/plugins").expect("an answer").json();
    assert_eq!(plugins["plugins"][0]["error"]["code"], "plugin_not_found");
    assert_eq!(total(&mut server.client().expect("a connection")), Some(21));
}

/// Asks for the plugins until one answer fits; a signal has no answer of its own.
fn plugins_until(client: &mut Client, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let mut plugins = serde_json::Value::Null;
    for _ in 0..ASKED_MAX {
        plugins = client.send("GET", "/_/plugins", &[], b"").expect("an answer").json()["plugins"].take();
        if fits(&plugins) {
            return plugins;
        }
    }
    panic!("after {ASKED_MAX} questions still {plugins}");
}

// Goal: SIGHUP reads the folder again in a running server: a changed plugin answers as its next generation, a bad file
// is named while the old one serves, a new file is loaded, and nothing is lost.
// Method: change the folder, send the signal, ask until it shows; the answers between come from whole generations.
#[test]
fn a_signal_reads_the_folder_again() {
    let scratch = tempfile::tempdir().expect("a folder");
    let builds = [library("tally"), doubled()];
    let (server, live) = serving(&builds[0], scratch.path());
    let mut client = server.client().expect("a connection");
    assert_eq!(total(&mut client), Some(21));

    move_over(&builds[1], &live);
    assert_eq!(total(&mut client), Some(21), "nobody said that the file has changed");
    server.signal("HUP").expect("sent");
    plugins_until(&mut client, |plugins| {
        let expected = if plugins[0]["generation"] == 2 { [Some(42); 2] } else { [Some(21), Some(42)] };
        assert!(expected.contains(&total(&mut server.client().expect("a connection"))));
        plugins[0]["generation"] == 2 && plugins[0]["state"] == "serving"
    });
    assert_eq!(total(&mut client), Some(42));

    let bad = scratch.path().join("bad");
    fs::write(&bad, "text").expect("written");
    move_over(&bad, &live);
    server.signal("HUP").expect("sent");
    let plugins = plugins_until(&mut client, |plugins| !plugins[0]["error"].is_null());
    assert_eq!(
        (&plugins[0]["generation"], &plugins[0]["error"]["code"]),
        (&2.into(), &"plugin_not_elf".into())
    );
    assert_eq!(total(&mut client), Some(42));

    move_over(&builds[0], &live);
    move_over(&library("epcis"), &live.with_file_name("libepcis.so"));
    server.signal("HUP").expect("sent");
    let both = |plugins: &serde_json::Value| {
        plugins.as_array().is_some_and(|all| all.len() == 2) && plugins[1]["generation"] == 3
    };
    let plugins = plugins_until(&mut client, both);
    assert_eq!((&plugins[1]["name"], &plugins[1]["error"]), (&"tally".into(), &serde_json::Value::Null));
    assert_eq!(total(&mut client), Some(21));
    assert_eq!(server.get("/epcis").expect("an answer").status, 200);
}
