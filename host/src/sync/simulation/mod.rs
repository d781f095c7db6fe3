//! Deterministic simulation: real replicas over tables in memory, on one thread, with a network, clocks, clients,
//! strangers and accidents that follow from one seed.
//!
//! ```text
//! seed ─► Plan (who, how joined, what may go wrong)
//!           └─► World: one thing moves at a time ─► invariants ─► all heals ─► rest ─► all know the same
//! ```
//! The replicas, the rounds, the feed and the tables are the product's own code; only what surrounds them is made up
//! here. `LATERBASE_SIM_SEEDS=10000` runs more seeds (from `LATERBASE_SIM_FIRST` on), `LATERBASE_SIM_SEED=7` runs
//! one and prints what happens in it.

mod check;
mod client;
mod controls;
mod dial;
mod faults;
mod node;
mod plan;
mod stranger;
mod wire;
mod world;

use plan::{Faults, Plan, Shape};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Report, World};

/// Seeds that are run when nobody asks for more.
const SEEDS: u64 = 200;

/// Runs a plan: the figures, or what is violated; a panic is a violation, too.
fn run(plan: &Plan, is_traced: bool) -> (Result<Report, String>, Vec<String>) {
    let mut world = World::new(plan.clone(), is_traced);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let ran = ran.unwrap_or_else(|_| Err("something panics".to_owned()));
    (ran.map(|()| world.report), world.trace.take().unwrap_or_default())
}

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// No seed leads to a violation.
#[test]
fn simulation_finds_no_violation() {
    if let Some(seed) = number_in("LATERBASE_SIM_SEED") {
        let (report, trace) = run(&Plan::of(seed), true);
        println!("{}\n{report:?}", trace.join("\n"));
        report.expect("no violation");
        return;
    }
    let seeds = number_in("LATERBASE_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number_in("LATERBASE_SIM_FIRST").unwrap_or_default();
    let (mut total, mut violations) = (Report::default(), Vec::new());
    for seed in first..first + seeds {
        match run(&Plan::of(seed), false).0 {
            Ok(report) => total.add(report),
            Err(violation) => violations.push(format!("LATERBASE_SIM_SEED={seed}: {violation}")),
        }
    }
    println!("{total:?}");
    assert!(total.packed > 0 || seeds < SEEDS, "no page was packed with a dictionary");
    assert!(violations.is_empty(), "{} of {seeds} seeds:\n{}", violations.len(), violations.join("\n"));
}

/// What happens in a run follows from its seed and from nothing else.
#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        let (plan, all) = (Plan::of(seed), Faults::ALL);
        let plan = Plan { faults: all, ..plan };
        let (first, second) = (run(&plan, true).1, run(&plan, true).1);
        let differs = first.iter().zip(&second).position(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}

/// Where nothing goes wrong and clients write each event once, four replicas send each other few events twice.
#[test]
fn a_mesh_repeats_little() {
    let mut total = Report::default();
    for seed in 0..12 {
        let plan = Plan { replicas: 4, shape: Shape::Mesh, both_ways: false, ..Plan::of(seed) };
        let plan = Plan { doubles: 0.0, faults: Faults::default(), steps: 800, ..plan };
        let report = run(&plan, false).0.expect("no violation");
        assert_eq!(report.stalled, 0, "seed {seed}");
        total.add(report);
    }
    let (repeated, whole) = (total.repeated, total.whole);
    println!("{repeated} of {whole} events were sent for nothing");
    assert!(repeated * 20 < whole, "{repeated} of {whole} events were sent for nothing");
}
