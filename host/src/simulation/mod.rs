//! Several replicas in one simulated network: the server's own accept loop and routes, the dialler and the sync, over
//! links that break, hold things back and lead one way only, on hosts that crash.
//!
//! ```text
//! seed ─► topology, posts, faults ─► 20 s of trouble ─► all repaired ─► a deadline by which all hold the same
//! ```
//! A store outlives its host, so a crash keeps what was committed and nothing else. What a client was told is written
//! must be at every replica in the end.
//!
//! The seed decides who dials whom, what is posted, what breaks when, all latencies and pauses. Which of two tasks that
//! are ready at the same instant goes first is tokio's own chance, so a seed that fails may pass the next time:
//! `LATERBASE_SEED=7` runs that one twenty times over, `LATERBASE_SIMULATIONS=1000` so many seeds.

mod client;
mod node;

use crate::core::event::{EventKey, Origin};
use crate::core::knowledge::Knowledge;
use crate::store::{MemoryStore, Store};
use node::Node;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use turmoil::Sim;

/// The hosts' names.
const NAMES: [&str; 5] = ["amber", "birch", "cedar", "dune", "elm"];
/// The one Root.
const ROOT: &str = "tally";
/// Where all listen.
const PORT: u16 = 4000;
/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(20);
/// By then all hold the same: a silent peer is given up after 45 s, a failed one is dialled again after 30 s.
const QUIET: Duration = Duration::from_mins(2);
/// Seeds that an ordinary run tries.
const SEEDS: u64 = 12;

/// What a client was told is written.
type Acknowledged = Arc<Mutex<BTreeSet<String>>>;

/// A run of one seed.
struct Run {
    sim: Sim<'static>,
    chance: StdRng,
    stores: Vec<Arc<MemoryStore>>,
    acknowledged: Acknowledged,
    crashed: BTreeSet<usize>,
    /// What was done, for whoever looks for the reason of a failure.
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let hosts = chance.random_range(3..=NAMES.len());
        let is_mesh = chance.random_bool(0.5);
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(Duration::from_hours(1))
            .tick_duration(Duration::from_millis(5))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(40))
            .enable_random_order()
            .build();
        let mut stores = Vec::new();
        for (at, name) in NAMES.iter().enumerate().take(hosts) {
            let mut origin = [0; 8];
            origin[7] = u8::try_from(at + 1).expect("five hosts");
            let store = Arc::new(MemoryStore::new(Origin(origin)));
            let dials = |other: &usize| if is_mesh { *other != at } else { *other == at + 1 };
            let peers = (0..hosts).filter(dials).map(|other| NAMES[other]).collect();
            let node = Node::new(name, Arc::clone(&store), peers, chance.random());
            sim.host(*name, move || Arc::clone(&node).run());
            stores.push(store);
        }
        let acknowledged = Acknowledged::default();
        let posting = client::post(chance.random(), hosts, TROUBLE, Arc::clone(&acknowledged));
        sim.client("client", posting);
        let log = vec![format!("{hosts} hosts in a {}", if is_mesh { "mesh" } else { "line" })];
        Self { sim, chance, stores, acknowledged, crashed: BTreeSet::new(), log }
    }

    fn two(&mut self) -> (usize, usize) {
        let one = self.chance.random_range(0..self.stores.len());
        let other = (one + self.chance.random_range(1..self.stores.len())) % self.stores.len();
        (one, other)
    }

    /// Lets one thing go wrong, or right again.
    fn nemesis(&mut self) {
        let (one, other) = self.two();
        let (a, b) = (NAMES[one], NAMES[other]);
        let what = match self.chance.random_range(0..10) {
            0 | 1 => {
                self.sim.partition(a, b);
                "partition"
            }
            2 => {
                self.sim.partition_oneway(a, b);
                "partition one way"
            }
            3 | 4 => {
                self.sim.hold(a, b);
                "hold"
            }
            5 | 6 => {
                self.mend(a, b);
                "repair"
            }
            _ if self.crashed.remove(&one) => {
                self.sim.bounce(a);
                "restart"
            }
            7 | 8 => {
                self.sim.crash(a);
                self.crashed.insert(one);
                "crash"
            }
            _ => {
                self.sim.bounce(a);
                "bounce"
            }
        };
        self.log.push(format!("{:?} {what} {a} {b}", self.sim.elapsed()));
    }

    fn mend(&mut self, a: &str, b: &str) {
        self.sim.release(a, b);
        self.sim.repair(a, b);
    }

    fn repair_all(&mut self) {
        let hosts = &NAMES[..self.stores.len()];
        for (at, one) in hosts.iter().enumerate() {
            hosts[..at].iter().for_each(|other| self.mend(one, other));
        }
        for one in std::mem::take(&mut self.crashed) {
            self.sim.bounce(NAMES[one]);
        }
    }

    fn knowledges(&self) -> Vec<Knowledge> {
        let head = |store: &Arc<MemoryStore>| store.read().and_then(|tables| tables.head()).expect("memory");
        self.stores.iter().map(|store| head(store).knowledge.clone()).collect()
    }

    fn is_same(&self) -> bool {
        let knowledges = self.knowledges();
        knowledges.iter().all(|knowledge| Some(knowledge) == knowledges.first())
    }

    /// The whole run: how it went, or what went wrong.
    fn run(mut self) -> Result<String, String> {
        let mut next = Duration::from_secs(1);
        while self.sim.elapsed() < TROUBLE {
            if self.sim.elapsed() >= next {
                self.nemesis();
                next += Duration::from_millis(self.chance.random_range(100..1500));
            }
            self.step()?;
        }
        let faults = self.log.len() - 1;
        self.repair_all();
        let repaired = self.sim.elapsed();
        while !self.is_same() || self.sim.elapsed() < repaired + Duration::from_secs(1) {
            if self.sim.elapsed() > repaired + QUIET {
                let held: Vec<u64> = self.knowledges().iter().map(Knowledge::count).collect();
                return Err(self.blame(&format!("they hold {held:?} dots")));
            }
            self.step()?;
        }
        let events = self.verify()?;
        let after = self.sim.elapsed().saturating_sub(repaired);
        Ok(format!("{}, {faults} faults, {events} events, the same after {after:?}", self.log[0]))
    }

    /// All hold the same values, and all that was acknowledged; how many.
    fn verify(&self) -> Result<usize, String> {
        let values: Vec<_> = self.stores.iter().map(values).collect();
        if values.iter().any(|held| Some(held) != values.first()) {
            return Err(self.blame("the same Knowledge and other values"));
        }
        let text = |data| std::str::from_utf8(data).expect("clients post text");
        let held: BTreeSet<&str> = values[0].iter().map(|(_, _, data)| text(data)).collect();
        let acknowledged = self.acknowledged.lock().expect("no panic");
        let lost: Vec<&String> = acknowledged.iter().filter(|text| !held.contains(text.as_str())).collect();
        if !lost.is_empty() {
            return Err(self.blame(&format!("acknowledged and lost: {lost:?}")));
        }
        if acknowledged.len() < 10 {
            return Err(self.blame(&format!("only {} events were acknowledged", acknowledged.len())));
        }
        Ok(held.len())
    }

    fn blame(&self, fault: &str) -> String {
        format!("{fault}\n{}", self.log.join("\n"))
    }

    fn step(&mut self) -> Result<(), String> {
        let stepped = self.sim.step().map(drop);
        stepped.map_err(|error| self.blame(&error.to_string()))
    }
}

/// Every value, winner or loser, in feed order.
fn values(store: &Arc<MemoryStore>) -> Vec<(EventKey, bool, Vec<u8>)> {
    let mut values = Vec::new();
    let tables = store.read().expect("memory reads");
    let walked = tables.walk(None, &mut |event| {
        values.push((event.key, event.clash, event.value.data.to_vec()));
        ControlFlow::Continue(())
    });
    walked.expect("memory reads");
    values
}

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("the variable is a number"))
}

/// Whatever broke, after the repair all replicas come to hold the same, and with it all that was acknowledged.
#[test]
fn replicas_converge_after_every_trouble() {
    let seeds: Vec<u64> = match number("LATERBASE_SEED") {
        Some(seed) => vec![seed; 20],
        None => (0..number("LATERBASE_SIMULATIONS").unwrap_or(SEEDS)).collect(),
    };
    for seed in seeds {
        match Run::new(seed).run() {
            Ok(ended) => println!("seed {seed}: {ended}"),
            Err(fault) => panic!("LATERBASE_SEED={seed}: {fault}"),
        }
    }
}
