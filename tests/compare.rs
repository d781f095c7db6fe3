//! `laterbase verify --peer` between real servers: what it names, puts back, and costs.

use super::verify::damage;
use laterbase::store::environment::{ALL_KEYS, Environment, Kind, Rows};
use laterbase_tests::Server;
use std::path::Path;
use std::process::Command;

/// How many questions a server gets until the test gives up, for each few thousand events.
const ASKED_MAX: u64 = 20_000;
/// So many events two replicas share; `LATERBASE_COMPARE_EVENTS` sets another multiple of ten.
const EVENTS: usize = 3_000;
/// Events in a request.
const BATCH: usize = 5_000;

fn post(server: &Server, events: std::ops::Range<usize>) {
    for begin in events.clone().step_by(BATCH) {
        post_batch(server, begin..events.end.min(begin + BATCH));
    }
}

fn post_batch(server: &Server, events: std::ops::Range<usize>) {
    let lines: Vec<String> = events
        .map(|n| {
            format!(
                r#"{{"type":"add","time":"2026-05-01T10:00:00Z","id":"line {n}","data":{{"item":"i{}","n":{n}}}}}"#,
                n % 7
            )
        })
        .collect();
    let headers = [("content-type", "application/x-ndjson")];
    let mut client = server.client().expect("a connection");
    let answer = client.send("POST", "/tally/e", &headers, lines.join("\n").as_bytes()).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// Waits until the server holds so many events.
fn until(server: &Server, events: u64) {
    let mut client = server.client().expect("a connection");
    for _ in 0..ASKED_MAX * (1 + events / 5_000) {
        let answer = client.send("GET", "/tally", &[], b"").expect("an answer");
        if answer.json()["events"] == events {
            return;
        }
        std::thread::yield_now();
    }
    panic!("{events} events never came");
}

fn feed(server: &Server) -> String {
    server.get("/tally/e?limit=10000").expect("an answer").text().to_owned()
}

fn stop(server: &mut Server) {
    server.signal("TERM").expect("it runs");
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
}

/// The exit code, and what was printed.
fn verify(folder: &Path, peer: &str) -> (Option<i32>, String) {
    let mut command = Command::new(laterbase_tests::built());
    let output = command.args(["verify", "--peer", peer]).current_dir(folder).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}

/// The number in front of ` bytes`.
fn bytes(text: &str) -> u64 {
    let before = text.split(" bytes").next().expect("split gives one");
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number of bytes")
}

// Goal: two equal replicas cost one small exchange; what was taken away behind the server's back is named and put
// back, no more and no less; what sync has yet to exchange is told apart from it.
#[test]
fn what_is_gone_is_named_and_put_back() {
    let given = std::env::var("LATERBASE_COMPARE_EVENTS").ok().and_then(|text| text.parse().ok());
    let events: usize = given.unwrap_or(EVENTS);
    let whole = events as u64;
    let depot = Server::start(&[]).expect("a server");
    post(&depot, 0..events);
    let peer = format!("http://{}", depot.address());
    let mut truck = Server::start(&["--peer", &peer]).expect("a server");
    until(&truck, whole);
    stop(&mut truck);
    let (code, text) = verify(truck.folder(), &peer);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with(&format!("tally: equal to {peer}; ")), "{text}");
    assert!(bytes(&text) < 1000, "{text}");
    let count = text.rsplit_once(" events, 1 origin: whole").expect("a last line").0;
    let count = count.rsplit(' ').next().expect("a number").to_owned();
    assert_eq!(count.replace(',', ""), events.to_string(), "{text}");

    let environment =
        Environment::open(&truck.folder().join("data/roots/tally/events"), Kind::Durable, 16).expect("opens");
    let table = environment.table("events").expect("a table");
    let keys: Vec<Vec<u8>> = {
        let read = environment.read().expect("read");
        let rows = read.range(&table, ALL_KEYS).expect("rows");
        rows.map(|row| row.expect("a row").0.to_vec()).step_by(events / 10).collect()
    };
    assert_eq!(keys.len(), 10);
    let taken = environment.write(&mut |txn| {
        for key in &keys {
            assert!(txn.delete(&table, key)?);
        }
        Ok(())
    });
    taken.expect("write");
    drop(environment);
    post(&depot, events..events + 5);
    let (code, text) = verify(truck.folder(), &peer);
    assert_eq!(code, Some(1), "five events are only at the peer: {text}");
    assert!(
        text.starts_with(&format!("tally: 10 events were gone and are put back from {peer}:\n")),
        "{text}"
    );
    for key in &keys {
        assert!(text.contains(&format!("\n  {}\n", data_encoding::HEXLOWER.encode(key))), "{text}");
    }
    assert!(text.contains("0 events are only here and 5 only at"), "{text}");
    assert!(text.ends_with(&format!("tally: {count} events, 1 origin: whole\n")), "{text}");

    truck.restart().expect("a server");
    until(&truck, whole + 5);
    assert_eq!(feed(&truck), feed(&depot));
}

// Goal: a running server is compared and mended as a stopped one is, and goes on meanwhile. Method: letters of ten
// events are turned over in its file, as a bad medium would.
#[test]
fn a_running_server_is_mended() {
    let depot = Server::start(&[]).expect("a server");
    post(&depot, 0..3000);
    let peer = format!("http://{}", depot.address());
    let truck = Server::start(&["--peer", &peer]).expect("a server");
    until(&truck, 3000);
    let url = format!("http://{}", truck.address());
    let verify = || {
        let mut command = Command::new(laterbase_tests::built());
        let output = command.args(["verify", "--server", &url, "--peer", &peer]).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("UTF-8"))
    };
    let (code, text) = verify();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with(&format!("tally: equal to {peer}; ")) && bytes(&text) < 1000, "{text}");
    assert!(text.ends_with("tally: 3,000 events, 1 origin: whole\n"), "{text}");

    let gone: Vec<String> = (100..110).map(|n| format!(r#""n":{n}}}"#)).collect();
    damage(&truck, &gone.iter().map(String::as_bytes).collect::<Vec<_>>());
    assert_eq!(truck.get("/tally/e?limit=10000").expect("an answer").status, 500, "it is noticed");
    let (code, text) = verify();
    assert_eq!(code, Some(0), "{text}");
    let begin = format!("tally: 10 events were gone and are put back from {peer}:\n");
    assert!(text.starts_with(&begin), "{text}");
    assert!(text.ends_with("tally: 3,000 events, 1 origin: whole\n"), "{text}");
    assert_eq!(feed(&truck), feed(&depot));
    post(&depot, 3000..3005);
    until(&truck, 3005);
    assert_eq!(feed(&truck), feed(&depot));
}

// Goal: a peer that is not there is a sentence and leaves everything as it is.
#[test]
fn a_peer_that_is_not_there() {
    let mut truck = Server::start(&[]).expect("a server");
    post(&truck, 0..10);
    stop(&mut truck);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let (code, text) = verify(truck.folder(), &format!("http://{}", nobody.expect("a free port")));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("tally: not compared with http://127.0.0.1"), "{text}");
    assert!(text.ends_with("tally: 10 events, 1 origin: whole\n"), "{text}");
    assert_eq!(verify(truck.folder(), "https://depot").0, Some(2));
}
