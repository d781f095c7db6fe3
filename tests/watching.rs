//! The loop of a plugin's author: `plugin bench`, and on the real server `plugin list`, `plugin reload` and
//! `serve --watch`.

use laterbase_tests::{Server, built, library};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{self, TryRecvError};

/// Runs `laterbase plugin …` against a server.
fn plugin(server: &Server, arguments: &[&str]) -> Output {
    let url = format!("http://{}", server.address());
    let mut command = Command::new(built());
    command.arg("plugin").args(arguments).args(["--server", &url]);
    command.output().expect("the program runs")
}

fn printed(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A server whose only plugin is a copy of `tally` in a folder of its own.
fn start(arguments: &[&str]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), &tally());
    let path = folder.path().to_str().expect("UTF-8").to_owned();
    let arguments = [&["--plugins", &path], arguments].concat();
    (folder, Server::start(&arguments).expect("a server"))
}

fn tally() -> Vec<u8> {
    fs::read(library("tally")).expect("the library is built")
}

/// Moves finished bytes into place.
fn put(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("unfinished"), bytes).expect("written");
    fs::rename(folder.join("unfinished"), folder.join("libtally.so")).expect("moved");
}

/// Asks for the plugin until what is shown of it fits.
fn until(server: &Server, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    loop {
        let answer = server.get("/_/plugins").expect("an answer").json();
        if fits(&answer["plugins"][0]) {
            return answer["plugins"][0].clone();
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_list_and_a_reload_from_the_command_line() {
    let (folder, server) = start(&[]);
    let listed = printed(&plugin(&server, &["list"]).stdout);
    assert!(listed.starts_with("tally 0.1.0: serving, generation 1\n"), "{listed}");
    for line in ["  root     tally", "    types    add, undo", "    views    total, daily, last"] {
        assert!(listed.contains(line), "{line} is missing: {listed}");
    }
    let unchanged = plugin(&server, &["reload", "tally"]);
    assert_eq!(printed(&unchanged.stdout), "tally: unchanged, generation 1 serves\n");

    put(folder.path(), &[tally(), b"2".to_vec()].concat());
    let reloaded = plugin(&server, &["reload", "tally"]);
    assert_eq!(printed(&reloaded.stdout), "tally: reloaded, generation 2 serves\n");

    put(folder.path(), b"no library");
    let refused = plugin(&server, &["reload", "tally"]);
    assert_eq!(refused.status.code(), Some(1));
    let sentence = printed(&refused.stderr);
    assert!(sentence.starts_with("laterbase: tally was not reloaded: plugin_not_elf: "), "{sentence}");
    let listed = printed(&plugin(&server, &["list"]).stdout);
    assert!(
        listed.contains("serving, generation 2") && listed.contains("  error    plugin_not_elf: "),
        "{listed}"
    );

    let unknown = plugin(&server, &["reload", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(printed(&unknown.stderr).contains("unknown_plugin: "), "{}", printed(&unknown.stderr));
    let no_name = plugin(&server, &["reload", "../x"]);
    assert_eq!(no_name.status.code(), Some(2));
}

/// A changed library serves without anybody asking; one that is half written is refused and the old one serves on
/// until the rest is there; a new one in the folder is found.
#[test]
fn changes_are_seen() {
    let (folder, server) = start(&["--watch"]);
    until(&server, |tally| tally["generation"] == 1);
    // What is no plugin's, and is written all the time, puts nothing off. It ends with its sender, also by a panic.
    let noise = folder.path().join(".noise.log");
    let (running, ended) = mpsc::channel::<()>();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            while ended.try_recv() == Err(TryRecvError::Empty) {
                fs::write(&noise, b"noise").expect("written");
            }
        });
        changes(folder.path(), &server);
        drop(running);
    });
}

fn changes(folder: &Path, server: &Server) {
    put(folder, &[tally(), b"2".to_vec()].concat());
    until(server, |tally| tally["generation"] == 2);

    let bytes = tally();
    let (half, _) = bytes.split_at(bytes.len() / 2);
    fs::write(folder.join("libtally.so"), half).expect("written in place");
    // While the broken file is looked at, the old one serves as `building`.
    let broken = until(server, |tally| !tally["error"].is_null() && tally["state"] == "serving");
    assert_eq!(broken["generation"], 2);
    fs::write(folder.join("libtally.so"), [bytes.as_slice(), b"3"].concat()).expect("the rest");
    until(server, |tally| tally["generation"] == 3 && tally["error"].is_null());

    fs::copy(library("epcis"), folder.join("libepcis.so")).expect("copied");
    loop {
        let answer = server.get("/_/plugins").expect("an answer").json();
        if answer["plugins"].as_array().is_some_and(|plugins| plugins.len() == 2) {
            break;
        }
        std::thread::yield_now();
    }
    let listed = printed(&plugin(server, &["list"]).stdout);
    assert!(listed.contains("root     epcis"), "{listed}");
}

/// Every hook that the events reach has a line, and what is wrong is said.
#[test]
fn hooks_are_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.ndjson");
    let event = |n: u32| {
        format!(r#"{{"type":"add","time":"2026-05-01T10:00:0{}Z","data":{{"item":"a","n":{n}}}}}"#, n % 10)
    };
    fs::write(&file, (0..100).map(event).collect::<Vec<_>>().join("\n")).expect("written");
    let bench = |arguments: &[&str]| {
        let mut command = Command::new(built());
        command.args(["plugin", "bench"]).arg(library("tally")).args(arguments).output().expect("it runs")
    };
    let path = file.to_str().expect("UTF-8");
    let measured = bench(&["--events", path]);
    let lines = printed(&measured.stdout);
    assert!(lines.starts_with("root tally: 100 events\n"), "{lines}{}", printed(&measured.stderr));
    for (part, hook) in [("schemas", "admit"), ("total", "fold"), ("daily", "fold"), ("last", "fold")] {
        let has = |line: &str| {
            let mut words = line.split_whitespace();
            (words.next(), words.next()) == (Some(part), Some(hook)) && line.contains(" ns a ")
        };
        assert!(lines.lines().any(has), "{part} {hook}: {lines}");
    }
    assert!(lines.contains("1 aggregates, the longest of 100 events, 0 failures"), "{lines}");

    assert_eq!(bench(&[]).status.code(), Some(2));
    fs::write(&file, "{").expect("written");
    let broken = bench(&["--events", path]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(printed(&broken.stderr).contains("the line is not JSON"), "{}", printed(&broken.stderr));
}
