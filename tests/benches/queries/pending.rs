//! A read of one key while events of others are pending: posted, and not in the index yet.
//!
//! Nothing holds the index back but the load itself: as many events as eight clients bring in at once, and then a
//! client that writes while another reads. The server has one core and its clients have another, as on two machines:
//! or where the system happens to run them would decide.

use super::times::{Times, ratio, timed};
use super::warm::{cores, fill, read, read_until_there, run_on};
use laterbase_tests::{Client, Server};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The key that is read.
const PATH: &str = "/tally/total?key=mine";
/// How many reads are timed.
const READS: usize = 5_000;
/// Events in one request.
const BATCH: u64 = 1_000;
/// How many other items the pending events are about.
const ITEMS: u64 = 10_000;

pub(crate) fn run(events: u64) {
    let (all, [ours, its]) = cores();
    let started = || {
        run_on(&its);
        let server = Server::start(&[]).expect("a server");
        run_on(&ours);
        fill(&server, "mine", 100);
        post(&server, &AtomicU64::new(0), 100_000);
        let client = server.client().expect("a connection");
        (server, client)
    };
    let quiet = {
        let (server, mut client) = started();
        read_until_there(&server, PATH);
        let quiet = Times::of(timed(READS, &mut || read(&mut client, PATH)));
        burst(&server, &mut client, events, ("of a view that is read", &quiet));
        let after = Times::of(timed(READS, &mut || read(&mut client, PATH)));
        after.tell("pending, the reads behind it", ("none pending", &quiet), 2.0);
        read_until_there(&server, PATH);
        beside(&server, &mut client, events, &quiet);
        quiet
    };
    let (server, mut client) = started();
    burst(&server, &mut client, events, ("of a view that nobody read yet", &quiet));
    run_on(&all);
}

/// All come at once; then somebody reads.
fn burst(server: &Server, client: &mut Client, events: u64, (of, quiet): (&str, &Times)) {
    let (next, begun) = (AtomicU64::new(0), Instant::now());
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| post(server, &next, events));
        }
    });
    let (taken, pending) = (begun.elapsed(), server.views_lag().expect("it says how far"));
    let begun = Instant::now();
    read(client, PATH);
    let first = begun.elapsed();
    println!(
        "{:<46} {first:>9.1?} for {pending} arrivals that were not mapped yet; {events} had come in {taken:.1?}: ratio {:.0}",
        format!("pending, first read {of}"),
        ratio(first, quiet.at(50))
    );
}

/// A client writes as fast as it can while another reads.
fn beside(server: &Server, client: &mut Client, events: u64, quiet: &Times) {
    let (next, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut times = Vec::new();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            post(server, &next, events);
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            times.extend(timed(1, &mut || read(client, PATH)));
            std::thread::park_timeout(Duration::from_millis(1));
        }
    });
    Times::of(times).tell("pending, reads beside a writer of as many", ("none pending", quiet), 2.0);
}

/// Posts batches about other items until `events` were taken from `next`.
fn post(server: &Server, next: &AtomicU64, events: u64) {
    let mut client = server.client().expect("a connection");
    let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
    loop {
        let first = next.fetch_add(BATCH, Ordering::Relaxed);
        if first >= events {
            return;
        }
        let mut body = String::new();
        for number in first..first + BATCH {
            let item = number.wrapping_mul(0x9e37_79b9) % ITEMS;
            writeln!(body, r#"{{"type":"add","data":{{"item":"item {item}","n":1}}}}"#)
                .expect("a string takes all");
        }
        let answer = client.send("POST", "/tally/e", &headers, body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}
