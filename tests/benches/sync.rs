//! The figures of sync, as ratios within one run: `cargo bench -p laterbase-tests --bench sync`.
//!
//! `LATERBASE_BENCH_EVENTS` sets how many events the first sync moves (default 200,000). Words behind `--` choose
//! figures by a part of their names.
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it saw"
)]

use laterbase_tests::{Client, Server};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Events in one request.
const BATCH: u64 = 1000;
/// How often a single request is timed.
const TIMED: usize = 31;

fn main() {
    let events = std::env::var("LATERBASE_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    if is_wanted("first sync") {
        first_sync(events.unwrap_or(200_000));
    }
    if is_wanted("live pages") {
        live_pages();
    }
    if is_wanted("mesh") {
        mesh(20, false);
        mesh(20, true);
    }
}

/// Whether the command line asks for this figure; without words it asks for all.
fn is_wanted(what: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
    words.peek().is_none() || words.any(|word| what.contains(&word))
}

/// An EPCIS object event of about 460 bytes, of its own instant.
fn epcis(number: u64) -> String {
    let (second, ms) = (number / 1000 % 86_400, number % 1000);
    let (day, h, m, s) = (1 + number / 86_400_000 % 28, second / 3600, second / 60 % 60, second % 60);
    format!(
        r#"{{"type":"ObjectEvent","eventTime":"2026-05-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z","eventTimeZoneOffset":"+12:00","epcList":["urn:epc:id:sscc:9421234.{:010}","urn:epc:id:sgtin:9421234.051234.{number}"],"action":"OBSERVE","bizStep":"shipping","disposition":"in_transit","readPoint":{{"id":"urn:epc:id:sgln:9421234.00001.{}"}},"bizLocation":{{"id":"urn:epc:id:sgln:9421234.00002.0"}},"bizTransactionList":[{{"type":"po","bizTransaction":"urn:epcglobal:cbv:bt:9421234000012:{}"}}]}}"#,
        number % 10_000_000_000,
        number % 17,
        number / 40,
    )
}

/// Posts the events `first..last` and says how long it took.
fn post(server: &Server, first: u64, last: u64) -> Duration {
    let mut client = server.client().expect("a connection");
    let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
    let mut spent = Duration::ZERO;
    for start in (first..last).step_by(usize::try_from(BATCH).expect("small")) {
        let lines: Vec<String> = (start..last.min(start + BATCH)).map(epcis).collect();
        let started = Instant::now();
        let answer = client.send("POST", "/epcis/e?format=epcis", &headers, lines.join("\n").as_bytes());
        spent += started.elapsed();
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    spent
}

fn events(client: &mut Client) -> u64 {
    let answer = client.send("GET", "/epcis", &[], b"").expect("an answer");
    if answer.status == 404 { 0 } else { answer.json()["events"].as_u64().expect("a number") }
}

/// Waits until the server holds so many events.
fn until(client: &mut Client, expected: u64, pause: Duration) {
    while events(client) < expected {
        std::thread::park_timeout(pause);
    }
}

fn peers(server: &Server) -> Value {
    server.get("/_/peers").expect("an answer").json()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn first_sync(n: u64) {
    let depot = Server::start(&[]).expect("a server");
    let ingest = per_second(n, post(&depot, 0, n));
    // Or the views of the one would be brought up to date beside the sync.
    depot.until_answered("/epcis/last_seen?limit=1").expect("answers");
    let address = format!("http://{}", depot.address());
    let started = Instant::now();
    let truck = Server::start(&["--peer", &address]).expect("a server");
    let mut client = truck.client().expect("a connection");
    until(&mut client, n, Duration::from_millis(20));
    let sync = per_second(n, started.elapsed());
    println!(
        "first sync of {n} EPCIS events  {sync:>9.0} events/s, batch ingest {ingest:>9.0}, ratio {:.2}",
        sync / ingest
    );
    let bytes = peers(&truck)["peers"][0]["bytes_in"].as_u64().expect("a number");
    println!(
        "first sync, bytes            {:>12.1} a {}-byte event",
        bytes as f64 / n as f64,
        epcis(n).len()
    );
    live(&depot, &mut client, n);
}

/// How long 100 new events take to the other side once they are acknowledged, against the POST of one event; and with
/// their own POST, against that alone.
fn live(depot: &Server, truck: &mut Client, n: u64) {
    let (mut one, mut hundred, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = n;
    for _ in 0..TIMED {
        one.push(post(depot, next, next + 1));
        until(truck, next + 1, Duration::ZERO);
        hundred.push(post(depot, next + 1, next + 101));
        let acknowledged = Instant::now();
        until(truck, next + 101, Duration::ZERO);
        moved.push(acknowledged.elapsed());
        next += 101;
    }
    let [one, hundred, moved] = [one, hundred, moved].map(|times| median(times).as_secs_f64() * 1e3);
    println!(
        "100 new events arrive after  {moved:>9.2} ms, the POST of one takes {one:.2} ms, ratio {:.1}",
        moved / one
    );
    println!(
        "the same with their POST     {:>9.2} ms, that alone takes {hundred:.2} ms, ratio {:.1}",
        hundred + moved,
        (hundred + moved) / hundred
    );
}

/// What a live event costs on the wire, in pages of 1, 10 and 60 events: in a root that is too small for a dictionary,
/// and in one that has one. Pages of more than 256 are not live.
fn live_pages() {
    let depot = Server::start(&[]).expect("a server");
    let truck = Server::start(&["--peer", &format!("http://{}", depot.address())]).expect("a server");
    let mut client = truck.client().expect("a connection");
    post(&depot, 0, 1);
    until(&mut client, 1, Duration::ZERO);
    let mut next = 1;
    let small = [1, 10, 60].map(|size| page_cost(&depot, &truck, &mut client, &mut next, size));
    post(&depot, next, 10_000);
    until(&mut client, 10_000, Duration::from_millis(5));
    next = 10_000;
    let packed = [1, 10, 60].map(|size| page_cost(&depot, &truck, &mut client, &mut next, size));
    for ((size, alone), packed) in [1, 10, 60].into_iter().zip(small).zip(packed) {
        println!(
            "live pages of {size:>2} events      {alone:>12.1} B an event, with a dictionary {packed:.1}, ratio {:.2}",
            packed / alone
        );
    }
}

/// Bytes a live event costs the dialler, both ways and without HTTP, in pages of this size.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn page_cost(depot: &Server, truck: &Server, client: &mut Client, next: &mut u64, size: u64) -> f64 {
    let moved = || {
        let peers = peers(truck);
        ["bytes_in", "bytes_out"]
            .map(|way| peers["peers"][0][way].as_u64().expect("a number"))
            .iter()
            .sum::<u64>()
    };
    let before = moved();
    for _ in 0..TIMED {
        post(depot, *next, *next + size);
        *next += size;
        until(client, *next, Duration::ZERO);
    }
    (moved() - before) as f64 / (TIMED as u64 * size) as f64
}

/// Four servers, of which each pair has one link, or, if `both` dial, two; each admits `rounds` times one event and
/// then 200.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mesh(rounds: u64, both: bool) {
    let mut servers: Vec<Server> = (0..4).map(|_| Server::start(&[]).expect("a server")).collect();
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    for (at, server) in servers.iter_mut().enumerate() {
        let is_dialled = |(other, _): &(usize, _)| *other < at || (both && *other > at);
        let peers = addresses.iter().enumerate().filter(is_dialled).map(|(_, peer)| format!("http://{peer}"));
        let peers: Vec<_> = peers.collect();
        let arguments: Vec<&str> = peers.iter().flat_map(|peer| ["--peer", peer.as_str()]).collect();
        server.kill().expect("it runs");
        server.restart_with(&arguments).expect("the same address");
    }
    let mut n = 0;
    for round in 0..rounds {
        for server in &servers {
            let more = if round % 2 == 0 { 1 } else { 200 };
            post(server, n, n + more);
            n += more;
        }
    }
    for server in &servers {
        until(&mut server.client().expect("a connection"), n, Duration::from_millis(5));
    }
    let (mut moved, mut repeated) = (0, 0);
    for server in &servers {
        let metrics = server.get("/_/metrics").expect("an answer");
        for line in metrics.text().lines() {
            let value = || line.rsplit(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            if line.starts_with("laterbase_sync_events_taken_total") {
                moved += value();
            } else if line.starts_with("laterbase_sync_events_repeated_total") {
                repeated += value();
            }
        }
    }
    println!(
        "mesh of four, {} dial: {n} events, {moved} sent, {repeated} of them known, {:.2} %",
        if both { "both" } else { "one" },
        100.0 * repeated as f64 / (moved + repeated) as f64
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().expect("some times")
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}
