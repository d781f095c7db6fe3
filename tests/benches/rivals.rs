//! Laterbase beside the systems found on this machine, on one workload, as ratios: `cargo bench -p laterbase-tests
//! --bench rivals`. `LATERBASE_BENCH_MS` sets how long each load runs (default 3000).
//!
//! Every system is started in a folder of its own on loopback with each acknowledged event durable, is driven over its
//! usual protocol by the same number of clients, one request at a time each, and takes events of 200 bytes of JSON.
//! Systems take turns, and the best of three runs counts for each, because a neighbour can only slow one down.
//!
//! | system | how it is driven | what it does for an event |
//! |---|---|---|
//! | Laterbase | `POST /tally/e`, NDJSON | parses, validates by a plugin, looks for duplicates, keeps by time, fsync |
//! | `PostgreSQL` | prepared `INSERT` into (bigserial, timestamptz, jsonb) | parses, keeps by number, WAL fdatasync |
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it saw"
)]

mod load;
mod rivals {
    pub(crate) mod ours;
    pub(crate) mod postgres;
    pub(crate) mod system;
}

use load::{RUNS, load, per_second};
use rivals::ours::Ours;
use rivals::postgres::Postgres;
use rivals::system::System;
use std::time::Instant;

fn main() {
    let ours = Ours::start();
    let postgres = Postgres::start();
    let mut systems: Vec<&dyn System> = vec![&ours];
    match &postgres {
        Some(postgres) => systems.push(postgres),
        None => println!("PostgreSQL is not on this machine (postgres on the PATH, initdb beside it)"),
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, shared by clients and servers");
    for system in &systems {
        println!("{}", system.describe());
    }
    for (clients, events) in [(1, 1), (64, 1), (8, 1000)] {
        let mut best = vec![0.0_f64; systems.len()];
        for _ in 0..RUNS {
            for (system, best) in systems.iter().zip(&mut best) {
                *best = best.max(load(|events| system.connect(events), clients, events, load::time()));
            }
        }
        report(&format!("{clients} clients x {events} events"), &systems, &best);
    }
    let read = systems.iter().map(|system| {
        let started = Instant::now();
        per_second(system.read_back(), started.elapsed())
    });
    report("read back", &systems, &read.collect::<Vec<_>>());
}

fn report(what: &str, systems: &[&dyn System], figures: &[f64]) {
    let Some((ours, rivals)) = figures.split_first() else { return };
    let rivals = systems
        .iter()
        .skip(1)
        .zip(rivals)
        .map(|(system, rival)| format!(", {} {rival:.0}, ratio {:.2}", system.name(), ours / rival));
    println!("{what:<24} {ours:>10.0} events/s{}", rivals.collect::<String>());
}
