//! kill -9 of the real binary in mid-write. This proves that a process may die at any moment, not that the power may.

use laterbase_tests::{Client, Server};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rounds of kill and restart; `LATERBASE_CRASH_ROUNDS` sets another number.
const ROUNDS: u64 = 8;
/// After so many acknowledged events a round's server is killed.
const EVENTS_PER_ROUND: u64 = 40;

/// Every key of the feed.
fn stored(server: &Server) -> BTreeSet<String> {
    let (mut keys, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = server.get(&format!("/tally/e?limit=10000{cursor}")).expect("an answer").json();
        for event in page["events"].as_array().expect("events") {
            keys.insert(event["key"].as_str().expect("a key").to_owned());
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return keys,
        }
    }
}

/// Posts until the connection breaks; notes every acknowledged key.
fn write_until_killed(
    address: std::net::SocketAddr,
    acknowledged: &Mutex<BTreeSet<String>>,
    count: &AtomicU64,
) {
    let Ok(mut client) = Client::connect(address) else { return };
    let body = r#"{"type":"add","data":{"item":"i","n":1}}"#;
    while let Ok(answer) =
        client.send("POST", "/tally/e", &[("content-type", "application/json")], body.as_bytes())
    {
        assert_eq!(answer.status, 201, "{}", answer.text());
        let key = answer.json()["events"][0]["key"].as_str().expect("a key").to_owned();
        acknowledged.lock().expect("no writer panics").insert(key);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

// Goal: every acknowledged event is there after kill -9, and the restarts add no Origin. Method: four writers, kill
// after so many acknowledgements (in mid-write, because they never pause), restart, compare; again and again on the
// same directory.
#[test]
fn every_acknowledged_event_survives_kill_9() {
    let rounds =
        std::env::var("LATERBASE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut server = Server::start(&[]).expect("a server");
    let acknowledged = Mutex::new(BTreeSet::new());
    for round in 0..rounds {
        let (count, address) = (AtomicU64::new(0), server.address());
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| write_until_killed(address, &acknowledged, &count));
            }
            while count.load(Ordering::Relaxed) < EVENTS_PER_ROUND {
                std::thread::yield_now();
            }
            server.kill().expect("it ran");
        });
        server.crash_and_restart().expect("a restart");
        let (stored, acknowledged) = (stored(&server), acknowledged.lock().expect("no writer panics"));
        let lost: Vec<_> = acknowledged.difference(&stored).collect();
        assert_eq!(lost, [] as [&String; 0], "round {round}");
    }
    let page = server.get("/tally/e?limit=10000").expect("an answer").json();
    let dots = page["events"].as_array().expect("events").iter().map(|event| event["dot"].as_str());
    let origins: BTreeSet<_> =
        dots.map(|dot| dot.and_then(|dot| dot.split_once(':')).expect("a dot").0).collect();
    assert_eq!(origins.len(), 1, "{origins:?}");
}

// Goal: two servers never share a data directory, and the first does not notice the attempt.
// Method: start a second one on the same folder and look at its exit code.
#[test]
fn a_second_server_is_turned_away() {
    let server = Server::start(&[]).expect("a server");
    let mut second = Command::new(laterbase_tests::built());
    second.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(server.folder());
    let second = second.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("it runs");
    assert_eq!(second.status.code(), Some(75), "{}", String::from_utf8_lossy(&second.stderr));
    assert!(String::from_utf8_lossy(&second.stderr).contains("LOCK"));
    assert_eq!(server.get("/_/livez").expect("an answer").status, 200);
}

// Goal: SIGTERM ends the server cleanly under load: exit code 0, and what was acknowledged is there.
// Method: writers post until their connection ends, the signal comes in between.
#[test]
fn sigterm_drains() {
    let mut server = Server::start(&[]).expect("a server");
    let acknowledged = Mutex::new(BTreeSet::new());
    let (count, address) = (AtomicU64::new(0), server.address());
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let Ok(mut client) = Client::connect(address) else { return };
                let body = r#"{"type":"add","data":{"item":"i","n":1}}"#;
                let headers = [("content-type", "application/json")];
                while let Ok(answer) = client.send("POST", "/tally/e", &headers, body.as_bytes()) {
                    if answer.status != 201 {
                        assert_eq!(answer.json()["code"], "draining");
                        break;
                    }
                    let key = answer.json()["events"][0]["key"].as_str().expect("a key").to_owned();
                    acknowledged.lock().expect("no writer panics").insert(key);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while count.load(Ordering::Relaxed) < EVENTS_PER_ROUND {
            std::thread::yield_now();
        }
        server.signal("TERM").expect("it runs");
    });
    assert_eq!(server.wait().expect("it ended").code(), Some(0));
    server.crash_and_restart().expect("a restart");
    let stored = stored(&server);
    assert!(acknowledged.lock().expect("no writer panics").is_subset(&stored));
}
