//! Whole walks: nothing is lost, nothing comes twice, order is kept, whatever happens between pages.

use super::model::*;
use crate::core::event::*;
use crate::core::knowledge::{VersionVector, vv_of_dots, vv_of_server};
use crate::feed::Query;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// One admission: at which Origin, when, under which tail, which of a few values. Small ranges make equal keys, equal
/// events under several dots and clashes common.
type Step = (u8, i64, u8, u8);

fn any_step() -> impl Strategy<Value = Step> {
    (1..4_u8, 0..12_i64, 0..2_u8, 0..6_u8)
}

fn admit(replica: &mut Replica, (n, ms, tail, v): Step) -> Dot {
    // Mostly the value follows from the key, so that a second dot names the same event; sometimes it clashes.
    let v = u8::from(v == 0);
    replica.admit(n, key(ms, tail), &value(1 + u32::from(v), &v.to_string()))
}

fn replica_of(steps: &[Step]) -> Replica {
    let mut replica = Replica::default();
    for step in steps {
        admit(&mut replica, *step);
    }
    replica
}

fn all_dots(replica: &Replica) -> BTreeSet<Dot> {
    replica.dots.keys().copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    // The promise of the whole module. A caller that knows some dots walks in pages of any size while events are
    // admitted between them, before and behind the cursor. It must get exactly what it was owed when it started, in
    // key order, each once; and the next walk with the vv that it was given must get exactly the rest.
    #[test]
    fn walk_gives_what_is_owed_then_the_rest(
        first in proptest::collection::vec(any_step(), 0..40),
        later in proptest::collection::vec(any_step(), 0..40),
        known in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        limit in prop::sample::select(vec![1, 2, 7, 1000]),
    ) {
        let mut replica = replica_of(&first);
        let dots: Vec<Dot> = replica.dots.keys().copied().collect();
        let known: BTreeSet<Dot> =
            known.iter().filter(|_| !dots.is_empty()).map(|index| *index.get(&dots)).collect();
        let vv = vv_of_dots(&replica, &known.iter().copied().collect::<Vec<_>>()).expect("held").to_string();
        let owed = replica.owed(&known);
        let pinned = all_dots(&replica);

        let mut later = later.into_iter();
        let (seen, vv) = walk(&mut replica, knowing(&vv, limit), |replica| {
            for step in later.by_ref().take(2) {
                admit(replica, step);
            }
        });
        let mut given = facts(&seen);
        prop_assert!(given.is_sorted_by_key(|(key, _)| *key));
        given.sort_unstable();
        let mut owed_sorted = owed.clone();
        owed_sorted.sort_unstable();
        prop_assert_eq!(&given, &owed_sorted);
        if limit == 1000 {
            prop_assert_eq!(facts(&seen), owed, "within a key the winner comes first");
        }

        let rest = replica.owed(&pinned);
        let (seen, vv) = walk(&mut replica, knowing(&vv, limit), |_| ());
        prop_assert_eq!(facts(&seen), rest);
        prop_assert_eq!(vv, vv_of_server(&replica).expect("held").to_string());
    }

    // A walk may go on at another replica that holds the pin. There, other values may hold the keys.
    #[test]
    fn walk_goes_on_elsewhere(
        first in proptest::collection::vec(any_step(), 1..30),
        other in proptest::collection::vec(any_step(), 0..30),
        scan in any::<bool>(),
        to_other in any::<bool>(),
    ) {
        let here = replica_of(&first);
        // The other holds all that is here, and events of Origins 11..14, some of them smaller values.
        let mut there = here.clone();
        for (n, ms, tail, v) in other {
            let small = if v == 0 { value(1, "0") } else { value(0, "0") };
            there.admit(n + 10, key(ms, tail), &small);
        }
        let owed: BTreeSet<Fact> = here.owed(&BTreeSet::new()).into_iter().collect();
        // A page begun at the larger replica is pinned to what the smaller holds by handing out the smaller's cursor.
        let start = if to_other { here.clone() } else { there.clone() };
        let mut walker = SwapWalk { here: start, there: if to_other { there } else { here.clone() }, scan };
        let (given, whole) = walker.run(&here);
        prop_assert!(given.is_sorted_by_key(|(key, _)| *key));
        let given_once: BTreeSet<Fact> = given.iter().copied().collect();
        prop_assert_eq!(given_once.len(), given.len(), "no event comes twice");
        prop_assert!(whole);
        prop_assert_eq!(given_once, owed);
    }

    // Whatever a caller claims, true or not, its own walk is all that changes: the tables do not, and dots that are
    // not held here hide nothing.
    #[test]
    fn forged_terms_change_nothing(
        steps in proptest::collection::vec(any_step(), 1..30),
        check in any::<u32>(),
        beyond in 2..1000_u64,
    ) {
        let mut replica = replica_of(&steps);
        let before = format!("{:?}", (&replica.values, &replica.dots, &replica.known));
        let everything = replica.owed(&BTreeSet::new());
        let of_one = replica.known.get(origin(1)).0;
        let not_held = format!("{}:1-{}", origin(1), of_one + beyond);
        let foreign = format!("{}:1-{beyond}~{check:08x}", origin(99));
        let vv = format!("{not_held};{foreign};{foreign}");
        let (seen, vv) = walk(&mut replica, knowing(&vv, 3), |_| ());
        prop_assert_eq!(facts(&seen), everything);
        let server = vv_of_server(&replica).expect("held");
        prop_assert_eq!(vv, format!("{server};{not_held};{foreign}"), "kept as they came, each once");
        prop_assert_eq!(before, format!("{:?}", (&replica.values, &replica.dots, &replica.known)));
    }

    // Both ways of filling a page, forced, and the way that the page chooses give the same bytes.
    #[test]
    fn scan_and_collect_agree(
        steps in proptest::collection::vec(any_step(), 1..60),
        known in 0..10_u64,
        limit in 1..10_usize,
        from in proptest::option::of(0..12_i64),
        types in proptest::collection::btree_set(1..3_u32, 0..2),
    ) {
        use crate::core::knowledge::{DotSet, Term};
        use crate::feed::{query::Filters, walk::{Bounds, Way}};
        let replica = replica_of(&steps);
        let terms = [Term { origin: origin(1), intervals: vec![1..=known + 1], check: None }];
        let known = DotSet::of_terms(terms.iter().filter(|_| known > 0));
        let from_ms = from.map(|ms| key(ms, 0).time().millis());
        let filters = Filters { from_ms, to_ms: None, types };
        let walk = plain_walk(&replica, &filters, &replica.known, &known);
        let bounds = Bounds { events_max: limit, bytes_max: 1 << 20 };
        let (mut mark, mut pages) = (None, 0);
        loop {
            pages += 1;
            let ways = [Way::Scan(u64::MAX), Way::Collect].map(|way| walk.page_by([way], mark, bounds).expect("held"));
            prop_assert_eq!(&ways[0].body, &ways[1].body);
            prop_assert_eq!(ways[0].dots, ways[1].dots);
            prop_assert_eq!(ways[0].more.is_some(), ways[1].more.is_some());
            match ways[pages % 2].more {
                Some(next) => mark = Some(next),
                None => break,
            }
        }
    }
}

/// A walk that changes the replica after every page.
struct SwapWalk {
    here: Replica,
    there: Replica,
    scan: bool,
}

impl SwapWalk {
    /// Walks pinned to what `pinned` holds. Gives the facts in order, and whether the walk came to its end.
    fn run(&mut self, pinned: &Replica) -> (Vec<Fact>, bool) {
        use crate::core::knowledge::DotSet;
        use crate::feed::{
            query::Filters,
            walk::{Bounds, Way},
        };
        let (filters, known) = (Filters::default(), DotSet::default());
        let bounds = Bounds { events_max: 1, bytes_max: 1 << 20 };
        let way = if self.scan { Way::Scan(u64::MAX) } else { Way::Collect };
        let (mut given, mut mark) = (Vec::new(), None);
        for _ in 0..200 {
            let walk = plain_walk(&self.here, &filters, &pinned.known, &known);
            let walked = walk.page_by([way], mark, bounds).expect("held");
            let page = crate::feed::Page {
                body: walked.body,
                ends: walked.ends,
                format: crate::feed::Format::Json,
                cursor: None,
                left: None,
                vv: Some(String::new()),
                keep_pin: None,
            };
            given.extend(facts(&seen(&page)));
            if walked.more.is_none() {
                return (given, true);
            }
            mark = walked.more;
            std::mem::swap(&mut self.here, &mut self.there);
        }
        (given, false)
    }
}

// Two terms per Origin cut at 4,096 keep the long one stable; both are judged, and both absorbed.
#[test]
fn server_vv_is_cut_and_comes_back() {
    let mut replica = Replica::default();
    for n in 0..4100 {
        replica.admit(1, key(n, 0), &value(1, "1"));
    }
    let vv = vv_of_server(&replica).expect("held");
    assert_eq!(
        vv.terms.iter().map(|term| term.intervals[0].clone()).collect::<Vec<_>>(),
        [1..=4096, 4097..=4100]
    );
    replica.admit(1, key(5, 5), &value(1, "2"));
    let after = vv_of_server(&replica).expect("held");
    assert_eq!(vv.terms[0], after.terms[0], "the long term does not change");
    let (seen, returned) = walk(&mut replica, knowing(&vv.to_string(), 10), |_| ());
    assert_eq!(seen.len(), 1);
    assert_eq!(returned, after.to_string());
    // Exactly at the cut there is one term.
    let cut = [(origin(1), Seq(4096))].into_iter().collect();
    assert_eq!(crate::core::knowledge::vv_of(&replica, &cut).expect("held").terms, [vv.terms[0].clone()]);
}

// A term whose check disagrees names another history: it hides nothing and is forgotten. Negative control: the same
// term with the right check, and without one, hides the events.
#[test]
fn lying_check_is_dropped() {
    let mut replica = replica_of(&[(1, 1, 0, 1), (1, 2, 0, 1), (2, 3, 0, 1)]);
    let dots = [Dot { origin: origin(1), seq: Seq(2) }];
    let right = vv_of_dots(&replica, &dots).expect("held");
    let mut wrong = right.clone();
    wrong.terms[0].check = wrong.terms[0].check.map(|check| check ^ 1);
    let server = vv_of_server(&replica).expect("held").to_string();
    for (vv, owed) in [(&right, 2), (&wrong, 3)] {
        let (seen, returned) = walk(&mut replica, knowing(&vv.to_string(), 1), |_| ());
        assert_eq!(seen.len(), owed);
        assert_eq!(returned, server);
    }
    let unchecked = format!("{}:2", origin(1));
    assert_eq!(walk(&mut replica, knowing(&unchecked, 1), |_| ()).0.len(), 2);
}

// Who POSTs while walking adds the dots of the answer to its vv; they lie behind the pin and must stay beside it.
#[test]
fn own_dots_behind_the_pin_are_kept() {
    let mut replica = replica_of(&[(1, 1, 0, 1), (1, 2, 0, 1)]);
    let first = crate::feed::page(&replica, ROOT, &knowing("", 1), &Names).expect("a page");
    let posted = admit(&mut replica, (1, 0, 1, 1));
    let own = vv_of_dots(&replica, &[posted]).expect("held").to_string();
    let query = Query { cursor: first.cursor, ..knowing(&own, 10) };
    let (seen, vv) = walk(&mut replica, query, |_| ());
    assert_eq!(seen.len(), 1);
    assert!(vv.ends_with(&format!(";{own}")), "{vv}");
    let (seen, vv) = walk(&mut replica, knowing(&vv, 10), |_| ());
    assert!(seen.is_empty(), "all is known");
    assert_eq!(vv.parse::<VersionVector>().expect("a vv").terms.len(), 1, "absorbed once the pin has grown");
}

// Equal Knowledge, however it came about, gives equal bytes: the least dot does not depend on the order of arrival.
#[test]
fn equal_knowledge_gives_equal_bytes() {
    let (mut a, mut b) =
        (replica_of(&[(3, 1, 0, 1), (3, 2, 0, 1)]), replica_of(&[(1, 1, 0, 1), (1, 3, 0, 0)]));
    let before = a.clone();
    a.merge(&b);
    b.merge(&before);
    let bytes = |replica: &Replica| {
        crate::feed::page(replica, ROOT, &Query::default(), &Names).expect("a page").into_body()
    };
    assert_eq!(bytes(&a), bytes(&b));
    assert_eq!(
        seen(&crate::feed::page(&a, ROOT, &Query::default(), &Names).expect("a page"))[0].dot,
        format!("{}:1", origin(1))
    );
}
