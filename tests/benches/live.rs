//! Idle live readers: what each costs in memory, and how soon an event is at all of them.
//!
//! `cargo bench -p laterbase-tests --bench live`. `LATERBASE_BENCH_READERS` sets how many (1,000),
//! `LATERBASE_BENCH_EVENTS` how many events are written one after the other (200).
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it saw"
)]

use laterbase_tests::{Client, Server};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The server's own memory in kB, without the pages of files.
fn anonymous_kb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a figure");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A reader that has caught up.
fn reader(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    let head = b"GET /tally/e HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(head).expect("written");
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while !seen.windows(9).any(|nine| nine == b"caught-up") {
        let read = stream.read(&mut buffer).expect("it goes on");
        assert!(read > 0, "the stream ended");
        seen.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    stream.set_nonblocking(true).expect("set");
    stream
}

fn post(client: &mut Client, number: usize) {
    let body = format!(r#"{{"type":"add","data":{{"item":"pallet {number}","n":1}}}}"#);
    let headers = [("content-type", "application/json"), ("prefer", "return=minimal")];
    let answer = client.send("POST", "/tally/e", &headers, body.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// How long after the POST's answer each reader has got something; looks at all of them in turn.
fn arrivals(readers: &mut [TcpStream], answered: Instant) -> Vec<Duration> {
    let (mut times, mut buffer) = (Vec::with_capacity(readers.len()), [0; 4096]);
    let mut waiting: Vec<&mut TcpStream> = readers.iter_mut().collect();
    while !waiting.is_empty() {
        waiting.retain_mut(|stream| match stream.read(&mut buffer) {
            Ok(read) => {
                assert!(read > 0, "the stream ended");
                times.push(answered.elapsed());
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                true
            }
        });
    }
    times
}

fn main() {
    let (readers, events) = (number("LATERBASE_BENCH_READERS", 1000), number("LATERBASE_BENCH_EVENTS", 200));
    let server = Server::start(&[]).expect("a server");
    let mut client = server.client().expect("a connection");
    for number in 0..1000 {
        post(&mut client, number);
    }
    // One first: what readers share is counted once, and not for each.
    let mut all = vec![reader(&server)];
    post(&mut client, 0);
    drop(arrivals(&mut all, Instant::now()));
    let before = anonymous_kb(&server);
    all.extend((1..readers).map(|_| reader(&server)));
    let after = anonymous_kb(&server);
    let count = u64::try_from(readers).expect("few");
    println!(
        "{:<40} {:>8} bytes",
        format!("{readers} idle readers, each"),
        (after.saturating_sub(before)) * 1024 / count
    );

    let mut times = Vec::new();
    for number in 0..events {
        post(&mut client, number);
        times.extend(arrivals(&mut all, Instant::now()));
        // Readers are idle again before the next one.
        std::thread::park_timeout(Duration::from_millis(20));
    }
    times.sort_unstable();
    let at =
        |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default().as_secs_f64() * 1e3;
    let last = times.last().copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!(
        "{:<40} p50 {:.1} ms, p99 {:.1} ms, last {last:.1} ms",
        "from the POST's answer to a reader",
        at(50),
        at(99)
    );
    println!("{:<40} {:>8} kB", "the server's own memory in the end", anonymous_kb(&server));
}
