//! How it stands with peers: what `/_/peers` and the metrics show while they are up, down and back, and how peers are
//! named.

use super::{add, dialling, expect_equal, get, ids, post, post_all, stop, until, url};
use laterbase_tests::{Server, built, top};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};

fn peers(server: &Server) -> Value {
    get(server, "/_/peers").json()
}

/// The first peer's view of `root`, when it fits.
fn until_peer(server: &Server, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(server, "tally", what, || Some(peers(server)["peers"][0].take()).filter(|peer| fits(peer)))
}

/// The lines of the metrics about peers, without what differs from run to run.
fn metrics(server: &Server, peer: &str) -> String {
    let text = get(server, "/_/metrics").text().replace(peer, "http://<peer>");
    let lines = text.lines().filter(|line| line.starts_with("laterbase_peer_"));
    let mut lines: Vec<String> = lines
        .map(|line| match line.rsplit_once(' ') {
            Some((name, _)) if name.contains("_bytes_") || name.contains("_clock_offset_") => {
                format!("{name} <number>")
            }
            _ => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

/// Writes names in the place of what differs from run to run.
fn masked(mut peer: Value) -> Value {
    peer["url"] = json!("<url>");
    for member in ["bytes_in", "bytes_out"] {
        assert!(peer[member].as_u64().expect("a number") > 0, "{member}");
        peer[member] = json!("<number>");
    }
    for root in peer["roots"].as_array_mut().expect("roots") {
        assert!(root["clock_offset_ms"].is_i64());
        root["clock_offset_ms"] = json!("<number>");
        assert!(root["last_success"].as_str().is_some_and(|time| time.ends_with('Z')));
        root["last_success"] = json!("<time>");
        if root["last_error"].is_object() {
            root["last_error"]["at"] = json!("<time>");
        }
    }
    if peer["last_error"].is_object() {
        peer["last_error"]["at"] = json!("<time>");
    }
    peer
}

fn is_settled(peer: &Value) -> bool {
    let root = &peer["roots"][0];
    root["connected"] == true && [&root["to_pull"], &root["to_push"], &root["seconds_behind"]] == [0; 3]
}

// Goal: a peer is shown as it stands, in JSON and in metrics: connected; down, with the reason; connected again, and
// then what was written meanwhile at either side goes over. Method: the peer is killed and started again.
#[test]
fn a_peer_goes_down_and_comes_back() {
    let mut depot = Server::start(&[]).expect("a server");
    post_all(&depot, &["1", "2", "3"]);
    let truck = dialling(&depot);
    post_all(&truck, &["4"]);
    expect_equal(&[&depot, &truck], "tally");
    let mut story = String::new();
    let mut tell = |what: &str, peer: Value| {
        let shown = serde_json::to_string_pretty(&masked(peer)).expect("JSON");
        story = format!("{story}--- {what}\n{shown}\n{}\n", metrics(&truck, &url(&depot)));
    };
    tell("connected", until_peer(&truck, "connected", is_settled));

    depot.kill().expect("it ran");
    let down =
        until_peer(&truck, "down", |peer| peer["connected"] == false && peer["last_error"].is_object());
    assert!(down["roots"][0]["last_error"].is_object(), "{down}");
    post_all(&truck, &["5"]);
    story = {
        let text = metrics(&truck, &url(&depot));
        let line = text.lines().find(|line| line.starts_with("laterbase_peer_connected"));
        format!("{story}--- down\n{}\n", line.expect("the gauge"))
    };

    depot.restart().expect("a restart");
    post_all(&depot, &["6"]);
    expect_equal(&[&depot, &truck], "tally");
    assert_eq!(ids(&depot), ["1", "2", "3", "4", "5", "6"]);
    let back = |peer: &Value| is_settled(peer) && peer["connected"] == true && peer["last_error"].is_null();
    let back = until_peer(&truck, "back", back);
    assert!(back["roots"][0]["last_error"].is_null(), "{back}");
    assert_eq!((&back["roots"][0]["events_in"], &back["roots"][0]["events_out"]), (&json!(4), &json!(2)));

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(top().join("tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("sync-standing", story));
}

// Goal: a server whose peer is not there serves all the same, and says what is wrong.
#[test]
fn a_peer_that_is_not_there_hinders_nobody() {
    let truck = Server::start(&["--peer", "http://127.0.0.1:1"]).expect("a server");
    post_all(&truck, &["1"]);
    let down = until_peer(&truck, "the error is shown", |peer| peer["last_error"].is_object());
    assert_eq!(down["connected"], false);
    let error = down["last_error"]["error"].as_str().expect("a sentence");
    assert!(error.contains("refused"), "{error}");
    assert_eq!(get(&truck, "/_/readyz").status, 200);
}

/// Runs `serve` in a fresh folder until it ends; its exit code and what it says.
fn ended(config: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let scratch = tempfile::tempdir().expect("a folder");
    fs::write(scratch.path().join("laterbase.toml"), config).expect("written");
    let mut command = Command::new(built());
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments).current_dir(scratch.path());
    let ended = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(!scratch.path().join("data/roots").exists());
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

// Goal: an address that is none is refused before anything is served, with a sentence that says what to write: exit
// code 2 for the command line, 78 for the configuration.
#[test]
fn a_bad_address_is_refused() {
    for bad in ["depot", "depot:4000", "https://depot.example", "ftp://depot", "http://depot/tally", ""] {
        let (code, said) = ended("", &["--peer", bad]);
        assert!(
            code == Some(2) && said.contains(&format!("{bad:?}")) && said.contains("http"),
            "{bad}: {code:?} {said}"
        );
        for config in [format!("[peers]\nall = [{bad:?}]\n"), format!("[peers]\nroots.tally = [{bad:?}]\n")] {
            let (code, said) = ended(&config, &[]);
            assert!(code == Some(78) && said.contains(&format!("{bad:?}")), "{config}: {code:?} {said}");
        }
    }
    let (code, said) = ended("[peers]\nnone = []\n", &[]);
    assert!(code == Some(78) && said.contains("none"), "{said}");
}

// Goal: a peer that is named for one root gets and gives that one only.
// Method: both servers have two roots; by the time the named one went both ways, the other was not asked for.
#[test]
fn a_peer_for_one_root_gets_no_other() {
    let depot = Server::start(&[]).expect("a server");
    let scratch = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[peers]\nroots.tally = [\"{}\"]\n[plugin.tally.roots.shed]\n[plugin.tally.roots.yard]\n",
        url(&depot)
    );
    fs::write(scratch.path().join("laterbase.toml"), config).expect("written");
    let mut truck = Server::start_in(scratch.path(), &["--peer", "http://127.0.0.1:1"]).expect("a server");
    for root in ["shed", "yard"] {
        let taken = truck.post(&format!("/{root}/e"), &add(root, root, 1)).expect("an answer");
        assert_eq!(taken.status, 201, "{}", taken.text());
    }
    post(&depot, &add("depot", "depot", 1));
    post_all(&truck, &["truck 1"]);
    expect_equal(&[&depot, &truck], "tally");
    // The list of roots was read by now; after a restart it is read again, with all roots there.
    stop(&mut truck);
    truck.restart().expect("a restart");
    post_all(&truck, &["truck 2"]);
    expect_equal(&[&depot, &truck], "tally");
    let shown = peers(&truck);
    let listed = shown["peers"].as_array().expect("peers").iter();
    let depot_url = url(&depot);
    let named =
        listed.filter(|peer| peer["url"] == depot_url.as_str()).filter_map(|peer| peer["roots"].as_array());
    let roots: Vec<_> = named.flatten().map(|root| &root["root"]).collect();
    assert_eq!(roots, ["tally"], "{shown}");
    let stored = get(&depot, "/_/roots").json();
    let stored: Vec<_> =
        stored["roots"].as_array().expect("roots").iter().filter(|it| it["stored"] == true).collect();
    assert!(stored.len() == 1 && stored[0]["root"] == "tally", "{stored:?}");
}
