//! The load that two benchmarks put on servers: clients that each write, wait for the answer and write again, and one
//! walk over everything.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use laterbase_tests::Client;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often each load runs; the best run counts, because a neighbour can only slow one down.
pub(crate) const RUNS: usize = 3;

/// A run ends after so many events, too: a million behind, the views of the server are brought up to date beside it.
const EVENTS_MAX: u64 = 1_000_000;

/// How long each load runs.
pub(crate) fn time() -> Duration {
    let ms = std::env::var("LATERBASE_BENCH_MS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(ms.unwrap_or(3000))
}

/// The event, of 200 bytes on the wire.
pub(crate) fn line() -> String {
    let padding = "x".repeat(200 - r#"{"type":"add","data":{"item":"","n":1}}"#.len());
    format!(r#"{{"type":"add","data":{{"item":"{padding}","n":1}}}}"#)
}

/// A connection to a server's `path` that writes `events` lines in each request.
pub(crate) fn writer(address: SocketAddr, path: &'static str, events: usize) -> Box<dyn FnMut()> {
    poster(address, path, "application/x-ndjson", vec![line(); events].join("\n"))
}

/// A connection that posts the same body again and again.
pub(crate) fn poster(
    address: SocketAddr,
    path: &'static str,
    media: &'static str,
    body: String,
) -> Box<dyn FnMut()> {
    let mut client = Client::connect(address).expect("a connection");
    Box::new(move || {
        let headers = [("content-type", media), ("prefer", "return=minimal")];
        let answer = client.send("POST", path, &headers, body.as_bytes()).expect("an answer");
        assert!(answer.status < 300, "{}", answer.text());
    })
}

/// Events per second that `clients` connections get acknowledged, `events` a request. The time begins when all are
/// connected.
pub(crate) fn load(
    connect: impl Fn(usize) -> Box<dyn FnMut()> + Sync,
    clients: usize,
    events: u64,
    time: Duration,
) -> f64 {
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let (ready, begin) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut started = Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..clients {
            threads.spawn(|| {
                let mut write = connect(usize::try_from(events).expect("few"));
                ready.fetch_add(1, Ordering::Relaxed);
                while !begin.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                while !done.load(Ordering::Relaxed) {
                    write();
                    acknowledged.fetch_add(events, Ordering::Relaxed);
                }
            });
        }
        while ready.load(Ordering::Relaxed) < clients as u64 {
            std::thread::yield_now();
        }
        started = Instant::now();
        begin.store(true, Ordering::Relaxed);
        while started.elapsed() < time && acknowledged.load(Ordering::Relaxed) < EVENTS_MAX {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        done.store(true, Ordering::Relaxed);
    });
    per_second(acknowledged.load(Ordering::Relaxed), started.elapsed())
}

/// How many events a whole walk over `/tally/e` in the largest pages gives. The next page is asked for before this one
/// is looked at.
pub(crate) fn walk(address: SocketAddr) -> u64 {
    let mut client = Client::connect(address).expect("a connection");
    let ask = |client: &mut Client, cursor: &str| {
        let path = format!("/tally/e?limit=10000&max_bytes=16000000{cursor}");
        client.raw(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).expect("a connection");
    };
    ask(&mut client, "");
    let mut events = 0;
    loop {
        let page = client.answer(false).expect("an answer");
        let text = page.text();
        let tail = text.get(text.len().saturating_sub(4096)..).unwrap_or(text);
        let cursor = tail.split_once("\"cursor\":\"").and_then(|(_, rest)| rest.split('"').next());
        if let Some(cursor) = cursor {
            ask(&mut client, &format!("&cursor={cursor}"));
        }
        events += text.matches("{\"key\":").count() as u64;
        if cursor.is_none() {
            return events;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn per_second(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}
