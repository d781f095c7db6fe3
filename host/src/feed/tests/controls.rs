//! Negative controls: other ways to say what a caller knows, each of which sounds right and loses events. The test
//! that proves the pin must be able to see them lose; otherwise it proves nothing.

use super::model::*;
use crate::core::event::*;
use crate::core::knowledge::{Knowledge, vv_of, vv_of_server};
use crate::feed::{Page, Query, page};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::BTreeSet;

/// What a caller goes by when it asks for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The vv of the last page: what it knew, united with the pin.
    Pin,
    /// What the replica knows when the walk ends.
    ServerNow,
    /// Per Origin the greatest seq on the pages so far, when it has to break off.
    GreatestSeqGiven,
    /// The time of the newest event that it was given.
    SinceTime,
}

/// A replica that is written to, most often into the past.
struct Depot {
    replica: Replica,
    rng: StdRng,
    tail: u8,
}

impl Depot {
    fn admit(&mut self, count: usize) {
        for _ in 0..count {
            self.tail += 1;
            let key = key(self.rng.random_range(0..1000), self.tail);
            self.replica.admit(self.rng.random_range(1..4), key, &value(1, "1"));
        }
    }

    fn page(&self, query: &Query) -> Page {
        page(&self.replica, ROOT, query, &Names).expect("a page")
    }
}

/// A walk with admissions between its pages, then a walk with what `claim` says. Gives how many events are lacking.
fn lost(claim: Claim, seed: u64) -> usize {
    let mut depot = Depot { replica: Replica::default(), rng: StdRng::seed_from_u64(seed), tail: 0 };
    depot.admit(20);
    let mut query = knowing("", 5);
    let (mut given, mut vv) = (Vec::new(), None);
    while vv.is_none() {
        let page = depot.page(&query);
        given.extend(seen(&page));
        (query.cursor, vv) = (page.cursor, page.vv);
        depot.admit(1);
        if claim == Claim::GreatestSeqGiven && given.len() >= 10 {
            break;
        }
    }
    let dots = given.iter().map(|event| {
        let (origin, seq) = event.dot.split_once(':').expect("a dot");
        (origin.parse().expect("an origin"), Seq(seq.parse().expect("a seq")))
    });
    let next = match claim {
        Claim::Pin => knowing(&vv.expect("the walk came to its end"), 5),
        Claim::ServerNow => knowing(&vv_of_server(&depot.replica).expect("held").to_string(), 5),
        Claim::GreatestSeqGiven => {
            knowing(&vv_of(&depot.replica, &dots.collect::<Knowledge>()).expect("held").to_string(), 5)
        }
        Claim::SinceTime => {
            let newest = given.last().expect("20 events were given").key.time();
            Query { from: Some(newest), ..knowing("", 5) }
        }
    };
    let (more, _) = walk(&mut depot.replica, next, |_| ());
    let held: BTreeSet<Fact> = facts(&given).into_iter().chain(facts(&more)).collect();
    depot.replica.owed(&BTreeSet::new()).iter().filter(|fact| !held.contains(*fact)).count()
}

#[test]
fn only_the_pin_loses_nothing() {
    let seeds = 0..50;
    for seed in seeds.clone() {
        assert_eq!(lost(Claim::Pin, seed), 0, "seed {seed}");
    }
    for claim in [Claim::ServerNow, Claim::GreatestSeqGiven, Claim::SinceTime] {
        let losing = seeds.clone().filter(|seed| lost(claim, *seed) > 0).count();
        assert!(losing > 45, "{claim:?} must be seen to lose events, it did in {losing} of 50 runs");
    }
}
