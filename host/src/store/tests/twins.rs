//! The store on disk and the one in memory answer every read alike, whatever was written.

use super::*;
use crate::core::gset::{Body, Candidate, Incoming, Merged, Ready};
use crate::core::tables::{Result, TableError};
use crate::store::{LmdbStore, MemoryStore};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Op {
    Admit {
        key: u8,
        value: u8,
    },
    Merge {
        origin: u8,
        ahead: u8,
        key: u8,
        value: u8,
        alias: bool,
    },
    /// Events of one request, of which no two have one key.
    AdmitAll {
        keys: BTreeSet<u8>,
        reversed: bool,
        value: u8,
    },
    /// The next rows of an Origin on one page.
    MergePage {
        origin: u8,
        rows: Vec<(u8, u8, bool)>,
    },
    ClockMax(u64),
    Stamp {
        name: u8,
        stamp: u64,
        now: u64,
        keep: u64,
    },
    Pin {
        name: u8,
        bytes: Vec<u8>,
        now: u64,
        keep: u64,
    },
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Op>),
    /// A commit whose body ends in an error.
    Fail(Vec<Op>),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..6u8, 0..4u8).prop_map(|(key, value)| Op::Admit { key, value }),
        8 => (1..4u8, 0..8u8, 0..6u8, 0..4u8, any::<bool>()).prop_map(|(origin, ahead, key, value, alias)| {
            // Mostly the next dot, seldom a known one or one behind a gap.
            Op::Merge { origin, ahead: if ahead < 6 { 1 } else { ahead - 6 }, key, value, alias }
        }),
        3 => (btree_set(0..12u8, 1..8), any::<bool>(), 0..4u8)
            .prop_map(|(keys, reversed, value)| Op::AdmitAll { keys, reversed, value }),
        3 => (1..4u8, vec((0..12u8, 0..4u8, 0..5u8), 1..8)).prop_map(|(origin, rows)| {
            let rows = rows.into_iter().map(|(key, value, alias)| (key, value, alias == 0)).collect();
            Op::MergePage { origin, rows }
        }),
        1 => (0..9u64).prop_map(Op::ClockMax),
        1 => (0..3u8, any::<u64>(), 0..9u64, 0..9u64)
            .prop_map(|(name, stamp, now, keep)| Op::Stamp { name, stamp, now, keep }),
        1 => (0..3u8, vec(any::<u8>(), 0..40), 0..9u64, 0..9u64)
            .prop_map(|(name, bytes, now, keep)| Op::Pin { name, bytes, now, keep }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(op(), 0..12).prop_map(Step::Commit),
        1 => vec(op(), 0..6).prop_map(Step::Fail),
        1 => Just(Step::Reopen),
    ]
}

fn data(value: u8) -> Vec<u8> {
    vec![value; usize::from(value) * 3]
}

/// What an operation answered, in words.
fn run(tables: &mut dyn TablesMut, op: &Op, wall_ms: u64) -> Result<String> {
    Ok(match op {
        Op::Admit { key: number, value } => {
            let bytes = data(*value);
            let value = Value { type_number: 7, version: 1, data: &bytes };
            let candidate = Candidate::new(key(*number), value);
            match gset::look(tables, candidate, false)? {
                Look::New => gset::admit(tables, candidate, wall_ms)?.to_string(),
                known @ (Look::Duplicate { .. } | Look::Clash { .. }) => format!("{known:?}"),
            }
        }
        Op::Merge { origin: from, ahead, key: number, value, alias } => {
            let last = tables.head()?.knowledge.get(origin(*from)).0;
            let dot = Dot { origin: origin(*from), seq: Seq((last + u64::from(*ahead)).max(1)) };
            let bytes = data(*value);
            let value = Value { type_number: 7, version: 1, data: &bytes };
            let hash = value.hash(key(*number));
            let body = if *alias { Body::Alias(hash) } else { Body::Whole(value) };
            let merged: Merged = gset::merge(tables, Incoming { dot, key: key(*number), body }, wall_ms)?;
            format!("{dot} {merged:?}")
        }
        Op::AdmitAll { keys, reversed, value } => {
            let bytes = data(*value);
            let value = Value { type_number: 7, version: 1, data: &bytes };
            let mut new = Vec::new();
            for number in keys {
                let candidate = Candidate::new(key(*number), value);
                if gset::look(tables, candidate, false)? == Look::New {
                    new.push(candidate);
                }
            }
            if *reversed {
                new.reverse();
            }
            if new.is_empty() {
                String::new()
            } else {
                format!("{:?}", gset::admit_all(tables, &new, wall_ms)?)
            }
        }
        Op::MergePage { origin: from, rows } => {
            let values: Vec<_> = rows.iter().map(|(_, value, _)| data(*value)).collect();
            let last = tables.head()?.knowledge.get(origin(*from)).0;
            let rows = rows.iter().zip(&values).zip(last + 1..).map(|(((number, _, alias), data), seq)| {
                let value = Value { type_number: 7, version: 1, data };
                let hash = value.hash(key(*number));
                let body = if *alias { Body::Alias(hash) } else { Body::Whole(value) };
                Ready::from(Incoming {
                    dot: Dot { origin: origin(*from), seq: Seq(seq) },
                    key: key(*number),
                    body,
                })
            });
            format!("{:?}", merge_page(tables, &rows.collect::<Vec<_>>(), wall_ms)?)
        }
        Op::ClockMax(stamp) => format!("{:?}", tables.put_clock_max(*stamp)?),
        Op::Stamp { name, stamp, now, keep } => {
            format!("{:?}", tables.put_stamp([*name; 16], *stamp, *now, now + keep)?)
        }
        Op::Pin { name, bytes, now, keep } => {
            format!("{:?}", tables.put_pin([*name; 16], bytes, *now, now + keep)?)
        }
    })
}

/// Takes a page in as a replica does: what became of its rows.
fn merge_page(tables: &mut dyn TablesMut, rows: &[Ready<'_>], wall_ms: u64) -> Result<Vec<Merged>> {
    let (mut left, mut answers) = (rows, Vec::new());
    while let Some(row) = left.first() {
        let new = gset::merge_new(tables, left, wall_ms)?;
        answers.extend(std::iter::repeat_n(Merged::New, new));
        if new == 0 {
            answers.push(gset::merge_ready(tables, *row, wall_ms)?);
        }
        if matches!(answers.last(), Some(Merged::Gap | Merged::NeedsWhole)) {
            break;
        }
        left = &left[new.max(1)..];
    }
    Ok(answers)
}

/// The same row by row.
fn merge_rows(tables: &mut dyn TablesMut, rows: &[Ready<'_>], wall_ms: u64) -> Result<Vec<Merged>> {
    let mut answers = Vec::new();
    for row in rows {
        answers.push(gset::merge(tables, row.incoming, wall_ms)?);
        if matches!(answers.last(), Some(Merged::Gap | Merged::NeedsWhole)) {
            break;
        }
    }
    Ok(answers)
}

fn commit(store: &dyn Store, ops: &[Op], wall_ms: u64, fail: bool) -> (Vec<String>, bool) {
    let mut answers = Vec::new();
    let committed = store.commit(&mut |tables| {
        answers.clear();
        for op in ops {
            answers.push(run(tables, op, wall_ms)?);
            answers.push(format!("{:?}", tables.head()?));
        }
        if fail { Err(TableError::Io("the body changes its mind".into())) } else { Ok(()) }
    });
    (answers, committed.is_ok())
}

/// Every other read, from every place.
fn reads(tables: &dyn Tables) -> Vec<String> {
    let mut lines = Vec::new();
    for number in 0..7 {
        let ranges = (0..13).map(|last| tables.is_free(key(number)..=key(last)).expect("a look"));
        lines.push(format!("{:?}", ranges.collect::<Vec<_>>()));
        lines.push(format!("{:?}", tables.event(key(number)).expect("event")));
        for value in 0..5 {
            let bytes = data(value);
            let hash = Value { type_number: 7, version: 1, data: &bytes }.hash(key(number));
            lines.push(format!("{:?}", tables.find(key(number), hash).expect("find")));
            let loser = Position { key: key(number), loser: Some(hash) };
            lines.push(format!("{:?}", walk(tables, Some(loser))));
        }
        lines.push(format!("{:?}", walk(tables, Some(Position { key: key(number), loser: None }))));
    }
    for from in [origin(0), origin(1), origin(2), origin(3), origin(9)] {
        for seq in 0..5 {
            lines.push(format!("{:?}", tables.dot(Dot { origin: from, seq: Seq(seq) }).expect("dot")));
            lines.push(format!("{:?}", dots_of(tables, from, seq..=3)));
        }
    }
    for number in 0..5 {
        lines.push(format!("{:?}", tables.arrival(Arrival(number)).expect("arrival")));
        lines.push(format!("{:?}", arrivals(tables, number)));
    }
    for name in 0..4 {
        lines.push(format!("{:?}", tables.stamp([name; 16]).expect("stamp")));
        lines.push(format!("{:?}", tables.pin([name; 16]).expect("pin")));
    }
    lines
}

fn open(dir: &std::path::Path) -> LmdbStore {
    LmdbStore::open(dir, origin(0)).expect("the store opens")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn disk_and_memory_agree(steps in vec(step(), 1..10)) {
        let dir = tempfile::tempdir().expect("a directory");
        let memory = MemoryStore::new(origin(0));
        let mut disk = open(dir.path());
        for (number, step) in steps.iter().enumerate() {
            // The wall clock goes backwards now and then.
            let wall_ms = [500, 700, 600][number % 3];
            let (ops, fail) = match step {
                Step::Commit(ops) => (ops, false),
                Step::Fail(ops) => (ops, true),
                Step::Reopen => {
                    drop(disk);
                    disk = open(dir.path());
                    continue;
                }
            };
            let before = dump_store(&memory);
            let (old_disk, old_memory) = (disk.read().expect("read"), memory.read().expect("read"));
            let on_disk = commit(&disk, ops, wall_ms, fail);
            prop_assert_eq!(on_disk, commit(&memory, ops, wall_ms, fail));
            prop_assert_eq!(&dump(&*old_disk), &before, "a reader on disk keeps its state");
            prop_assert_eq!(&dump(&*old_memory), &before, "a reader in memory keeps its state");
            drop((old_disk, old_memory));
            prop_assert_eq!(dump_store(&disk), dump_store(&memory));
            if fail {
                prop_assert_eq!(dump_store(&disk), before, "an error writes nothing");
            }
            let (disk, memory) = (disk.read().expect("read"), memory.read().expect("read"));
            prop_assert_eq!(reads(&*disk), reads(&*memory));
        }
        drop(disk);
        prop_assert_eq!(dump_store(&open(dir.path())), dump_store(&memory));
    }

    /// Many rows at once are the same as one by one, whatever is there before them.
    #[test]
    fn a_page_is_its_rows(
        before in vec((1..4u8, 0..12u8, 0..3u8), 0..6),
        rows in vec((0..12u8, 0..3u8, 0..5u8), 0..10),
        gap in 0..4u64,
    ) {
        let (paged, by_rows) = (MemoryStore::new(origin(0)), MemoryStore::new(origin(0)));
        let mut answers = Vec::new();
        for (store, is_paged) in [(&paged, true), (&by_rows, false)] {
            let committed = store.commit(&mut |tables| {
                for (from, number, value) in &before {
                    run(tables, &Op::Merge { origin: *from, ahead: 1, key: *number, value: *value, alias: false }, 1)?;
                }
                let last = tables.head()?.knowledge.get(origin(1)).0;
                let values: Vec<_> = rows.iter().map(|(_, value, _)| data(*value)).collect();
                let ready = rows.iter().zip(&values).zip(0_u64..);
                let ready = ready.map(|(((number, _, alias), data), at)| {
                    let value = Value { type_number: 7, version: 1, data };
                    let alias = *alias == 0;
                    let body = if alias { Body::Alias(value.hash(key(*number))) } else { Body::Whole(value) };
                    // Some pages have a gap in them.
                    let seq = Seq(last + 1 + at + u64::from(gap == 0 && at > 4));
                    Ready::from(Incoming { dot: Dot { origin: origin(1), seq }, key: key(*number), body })
                });
                let ready: Vec<_> = ready.collect();
                let merge = if is_paged { merge_page } else { merge_rows };
                answers.push(merge(tables, &ready, 5)?);
                Ok(())
            });
            committed.expect("memory commits");
        }
        prop_assert_eq!(&answers[0], &answers[1]);
        prop_assert_eq!(dump_store(&paged), dump_store(&by_rows));
    }
}
