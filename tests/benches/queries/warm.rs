//! A warm read of one key against an answer of as many bytes by axum alone, over kept connections.
//!
//! One request after the other is measured with client and server on one core. On two idle cores each waits for the
//! other to wake, which takes ten times as long as an answer and would hide what is measured. Then many clients ask at
//! once, on all cores.

use super::constant::Constant;
use super::times::{Times, timed};
use laterbase_tests::{Client, Server};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Both servers are asked in turn, so often ...
const ROUNDS: usize = 10;
/// ... so many requests each time.
const REQUESTS: usize = 2_000;
/// How many connections ask at once where throughput is measured, and for how long.
const CLIENTS: usize = 8;
const LONG: Duration = Duration::from_millis(1_500);

pub(crate) fn run() {
    let (all, [one, _]) = cores();
    for cores in [one, all] {
        run_on(&cores);
        let server = Server::start(&[]).expect("a server");
        for (item, events) in [("few", 10), ("many", 10_000)] {
            fill(&server, item, events);
            for view in ["total", "last"] {
                let path = format!("/tally/{view}?key={item}");
                read_until_there(&server, &path);
                let what = format!("{view} of {events} events");
                let answer = server.get(&path).expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                let constant = Constant::start(answer.body.len());
                let addresses = [server.address(), constant.address];
                if cores == one {
                    in_turn(addresses, &path, &what);
                } else if view == "total" {
                    at_once(addresses, &path, &what);
                }
            }
        }
    }
}

/// All cores, and two of them alone; the same twice if there is one only.
pub(crate) fn cores() -> (CpuSet, [CpuSet; 2]) {
    let all = sched_getaffinity(None).expect("Linux tells");
    let mut numbers = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
    let first = numbers.next().expect("this one runs");
    let alone = |number| {
        let mut one = CpuSet::new();
        one.set(number);
        one
    };
    (all, [alone(first), alone(numbers.next().unwrap_or(first))])
}

/// This thread, and what it starts from now on, runs there.
pub(crate) fn run_on(cores: &CpuSet) {
    sched_setaffinity(None, cores).expect("its own cores");
}

/// One request after the other.
fn in_turn(addresses: [SocketAddr; 2], path: &str, what: &str) {
    let mut clients = addresses.map(|to| Client::connect(to).expect("a connection"));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (client, times) in clients.iter_mut().zip(&mut times) {
            times.extend(timed(REQUESTS, &mut || read(client, path)));
        }
    }
    let [ours, axum] = times.map(Times::of);
    ours.tell(&format!("warm read, {what}"), ("axum alone", &axum), 2.0);
}

/// Many at once.
fn at_once(addresses: [SocketAddr; 2], path: &str, what: &str) {
    let mut best = [0.0_f64; 2];
    for _ in 0..3 {
        for (best, address) in best.iter_mut().zip(addresses) {
            *best = best.max(throughput(address, path));
        }
    }
    let [ours, axum] = best;
    println!(
        "{:<46} {ours:>9.0} a second; axum alone {axum:.0}: ratio {:.2}",
        format!("the same by {CLIENTS} clients, {what}"),
        axum / ours
    );
}

/// Writes `events` events about `item`.
pub(crate) fn fill(server: &Server, item: &str, events: u64) {
    let mut client = server.client().expect("a connection");
    let headers = [("content-type", "application/x-ndjson"), ("prefer", "return=minimal")];
    let mut body = String::new();
    for number in 0..events {
        let (day, hour, minute) = (1 + number % 28, number / 28 % 24, number / 672 % 60);
        writeln!(
            body,
            r#"{{"type":"add","time":"2026-05-{day:02}T{hour:02}:{minute:02}:00Z","data":{{"item":"{item}","n":1}}}}"#
        )
        .expect("a string takes all");
    }
    let answer = client.send("POST", "/tally/e", &headers, body.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// Reads until the index is written and what the view keeps is stored: from then on reads are alike.
pub(crate) fn read_until_there(server: &Server, path: &str) {
    for _ in 0..50 {
        let answer = server.get(path).expect("an answer");
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// One request.
pub(crate) fn read(client: &mut Client, path: &str) {
    let answer = client.send("GET", path, &[], b"").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Answers a second that all clients together get.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn throughput(address: SocketAddr, path: &str) -> f64 {
    let (done, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..CLIENTS {
            threads.spawn(|| {
                let mut client = Client::connect(address).expect("a connection");
                while !done.load(Ordering::Relaxed) {
                    read(&mut client, path);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::park_timeout(LONG);
        done.store(true, Ordering::Relaxed);
    });
    answers.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}
