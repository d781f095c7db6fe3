//! The G-Set's laws: what a replica holds depends on what it was told, not on the order, the repetitions or the way.

use super::*;
use crate::core::gset::{Body, Incoming, Merged};
use crate::store::MemoryStore;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};

/// What one Origin admitted, in order.
type Log = Vec<(EventKey, Vec<u8>)>;

fn logs() -> impl Strategy<Value = Vec<Log>> {
    vec(vec((0..5u8, 0..4u8).prop_map(|(number, value)| (key(number), vec![value])), 0..10), 3)
}

fn log_origin(log: usize) -> Origin {
    origin(u8::try_from(1 + log).expect("three logs"))
}

fn merge(store: &MemoryStore, dot: Dot, key: EventKey, body: Body<'_>) -> Merged {
    let mut merged = None;
    let incoming = Incoming { dot, key, body };
    let committed = store.commit(&mut |tables| {
        merged = Some(gset::merge(tables, incoming, 1)?);
        Ok(())
    });
    committed.expect("memory commits");
    merged.expect("the body ran")
}

/// Delivers all logs, choosing at each turn whose next dot goes first. A known dot comes again, one behind a gap
/// comes too early, and half of the values come as aliases first.
fn deliver(logs: &[Log], turns: &[Index]) -> MemoryStore {
    let store = MemoryStore::new(origin(99));
    let mut next = vec![0; logs.len()];
    for turn in turns.iter().cycle().take(10_000) {
        let open: Vec<usize> = (0..logs.len()).filter(|log| next[*log] < logs[*log].len()).collect();
        if open.is_empty() {
            break;
        }
        let log = *turn.get(&open);
        let at = next[log];
        let dot = |at: usize| Dot { origin: log_origin(log), seq: Seq(at as u64 + 1) };
        let value = |at: usize| Value { type_number: 7, version: 1, data: &logs[log][at].1 };
        let key = |at: usize| logs[log][at].0;
        if at > 0 {
            assert_eq!(merge(&store, dot(at - 1), key(at - 1), Body::Whole(value(at - 1))), Merged::Known);
        }
        if at + 1 < logs[log].len() {
            assert_eq!(merge(&store, dot(at + 1), key(at + 1), Body::Whole(value(at + 1))), Merged::Gap);
        }
        let alias = at.is_multiple_of(2) && {
            let merged = merge(&store, dot(at), key(at), Body::Alias(value(at).hash(key(at))));
            assert!(matches!(merged, Merged::Alias | Merged::NeedsWhole), "{merged:?}");
            merged == Merged::Alias
        };
        if !alias {
            merge(&store, dot(at), key(at), Body::Whole(value(at)));
        }
        next[log] += 1;
    }
    store
}

/// What must be there, worked out without a store: the least value holds each key, every value keeps its dots.
fn expected(logs: &[Log]) -> Vec<Kept> {
    let mut values: BTreeMap<(EventKey, Vec<u8>), BTreeSet<Dot>> = BTreeMap::new();
    for (number, log) in logs.iter().enumerate() {
        for (at, (key, data)) in log.iter().enumerate() {
            let dot = Dot { origin: log_origin(number), seq: Seq(at as u64 + 1) };
            values.entry((*key, data.clone())).or_default().insert(dot);
        }
    }
    let mut winners = BTreeSet::new();
    let mut kept: Vec<Kept> = values
        .into_iter()
        .map(|((key, data), dots)| {
            let hash = Value { type_number: 7, version: 1, data: &data }.hash(key);
            let dots = dots.into_iter().collect();
            Kept { key, clash: !winners.insert(key), hash, value: (7, 1, data), dots }
        })
        .collect();
    kept.sort();
    kept
}

#[derive(Debug, Clone)]
enum Turn {
    Admit { replica: usize, key: u8, value: u8 },
    Sync { from: usize, to: usize, dots_max: usize },
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        (0..3usize, 0..5u8, 0..4u8).prop_map(|(replica, key, value)| Turn::Admit { replica, key, value }),
        (0..3usize, 0..3usize, 1..9usize).prop_map(|(from, to, dots_max)| Turn::Sync { from, to, dots_max }),
    ]
}

/// Tells `to` what `from` knows beyond it, up to `dots_max` dots.
fn sync(from: &MemoryStore, to: &MemoryStore, dots_max: usize) {
    let (source, held) = (dump_store(from), dump_store(to).head.knowledge.clone());
    let news = source.dots.iter().filter(|(dot, _)| !held.holds(*dot));
    for (dot, row) in news.take(dots_max) {
        if merge(to, *dot, row.key, Body::Alias(row.hash)) == Merged::NeedsWhole {
            let reader = from.read().expect("read");
            let event = reader.find(row.key, row.hash).expect("find").expect("a dot's value is there");
            merge(to, *dot, row.key, Body::Whole(event.value));
        }
    }
}

proptest! {
    #[test]
    fn any_order_of_delivery_gives_the_same_set(
        logs in logs(),
        one in vec(any::<Index>(), 1..40),
        other in vec(any::<Index>(), 1..40),
    ) {
        let (one, other) = (dump_store(&deliver(&logs, &one)), dump_store(&deliver(&logs, &other)));
        prop_assert_eq!(&one.events, &expected(&logs));
        prop_assert_eq!(one.events, other.events);
        prop_assert_eq!(one.dots, other.dots);
        prop_assert_eq!(&one.head.knowledge, &other.head.knowledge);
    }

    #[test]
    fn replicas_that_heard_everything_are_equal(turns in vec(turn(), 0..40)) {
        let replicas: Vec<MemoryStore> = (1..4).map(|number| MemoryStore::new(origin(number))).collect();
        for turn in &turns {
            match turn {
                Turn::Admit { replica, key: number, value } => {
                    let committed = replicas[*replica].commit(&mut |tables| {
                        admit_one(tables, key(*number), &[*value], 1);
                        Ok(())
                    });
                    committed.expect("memory commits");
                }
                Turn::Sync { from, to, dots_max } => sync(&replicas[*from], &replicas[*to], *dots_max),
            }
        }
        for from in [0, 1, 2, 0, 1, 2] {
            for to in 0..3 {
                sync(&replicas[from], &replicas[to], usize::MAX);
            }
        }
        let dumps: Vec<Dump> = replicas.iter().map(|replica| dump_store(replica)).collect();
        for other in &dumps[1..] {
            prop_assert_eq!(&dumps[0].events, &other.events);
            prop_assert_eq!(&dumps[0].dots, &other.dots);
            prop_assert_eq!(&dumps[0].head.knowledge, &other.head.knowledge);
            prop_assert_eq!(dumps[0].head.events, other.head.events);
        }
    }
}
