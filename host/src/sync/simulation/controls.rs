//! Negative controls: with a rule switched off, or with a scheme that sounds right and loses events, the simulation
//! must find a violation. What it cannot see missing it cannot vouch for.

use super::plan::{Claim, Faults, Plan};
use super::run;
use crate::core::rule::{self, Rule};

/// Seeds in which a violation must be found.
const SEEDS: u64 = 400;

/// The first seed that finds a violation when `change` is made to its plan, and which. That the store refuses to hold
/// what cannot be right is a violation, too, but not the one looked for: only without contiguity is there no other.
fn found(rule: Option<Rule>, change: impl Fn(Plan) -> Plan) -> Option<(u64, String)> {
    let violation = |seed| {
        let plan = change(Plan::of(seed));
        Some((seed, rule::without(rule, || run(&plan, false).0).err()?))
    };
    let counts =
        |(_, violation): &(u64, String)| rule == Some(Rule::Contiguity) || !violation.contains("table ");
    (0..SEEDS).filter_map(violation).find(counts)
}

fn assert_found(what: &str, rule: Option<Rule>, change: impl Fn(Plan) -> Plan) {
    let found = found(rule, change);
    println!("{what}: {found:?}");
    assert!(found.is_some(), "{what}: the simulation does not notice in {SEEDS} seeds");
}

#[test]
fn without_contiguity() {
    assert_found("contiguity", Some(Rule::Contiguity), |plan| Plan {
        faults: Faults::ALL,
        accidents: 20,
        ..plan
    });
}

#[test]
fn without_the_hash_of_aliases() {
    assert_found("alias hash", Some(Rule::AliasHash), |plan| plan);
}

#[test]
fn without_the_checks_of_terms() {
    assert_found("term checks", Some(Rule::TermChecks), |plan| plan);
}

#[test]
fn without_the_coverage_of_pins() {
    assert_found("pin coverage", Some(Rule::PinCoverage), |plan| plan);
}

#[test]
fn without_new_origins() {
    assert_found("minting", Some(Rule::Minting), |plan| plan);
}

#[test]
fn without_the_repair_of_forks() {
    assert_found("fork repair", Some(Rule::ForkRepair), |plan| plan);
}

#[test]
fn a_copy_that_keeps_its_next_origin() {
    assert_found("keeps next", None, |plan| {
        let faults = Faults { noticed: true, roll_backs: false, hidden_clones: false, ..plan.faults };
        Plan { keeps_next: true, faults, ..plan }
    });
}

#[test]
fn clients_that_claim_what_the_server_holds_now() {
    assert_found("server now", None, |plan| Plan { claim: Claim::ServerNow, ..plan });
}

#[test]
fn clients_that_claim_the_greatest_seq() {
    assert_found("greatest seq", None, |plan| Plan { claim: Claim::GreatestSeq, ..plan });
}

#[test]
fn clients_that_ask_since_a_time() {
    assert_found("since time", None, |plan| Plan { claim: Claim::SinceTime, ..plan });
}
