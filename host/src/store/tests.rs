//! What both stores promise, and what the one on disk promises beyond it.

mod damage;
mod environment;
mod format;
mod incarnations;
mod laws;
mod restore;
mod twins;
mod verify;

use crate::core::event::{Arrival, Dot, EventKey, Origin, Seq, Value, ValueHash};
use crate::core::gset::{self, Candidate, Look};
use crate::core::tables::{ArrivalRow, DotRow, Head, Position, Tables, TablesMut};
use crate::store::Store;
use std::ops::ControlFlow::Continue;
use std::sync::Arc;

/// A stored event that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    key: EventKey,
    clash: bool,
    hash: ValueHash,
    value: (u32, u32, Vec<u8>),
    dots: Vec<Dot>,
}

/// Everything that a reader's walks tell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dump {
    head: Arc<Head>,
    events: Vec<Kept>,
    dots: Vec<(Dot, DotRow)>,
    arrivals: Vec<(Arrival, ArrivalRow)>,
}

fn origin(number: u8) -> Origin {
    Origin([number; 8])
}

fn key(number: u8) -> EventKey {
    EventKey([number; 16])
}

fn walk(tables: &dyn Tables, after: Option<Position>) -> Vec<Kept> {
    let mut events = Vec::new();
    let walked = tables.walk(after, &mut |event| {
        let value = (event.value.type_number, event.value.version, event.value.data.to_vec());
        events.push(Kept { key: event.key, clash: event.clash, hash: event.hash, value, dots: event.dots });
        Continue(())
    });
    walked.expect("the walk reads good rows");
    events
}

fn dots_of(tables: &dyn Tables, origin: Origin, seqs: std::ops::RangeInclusive<u64>) -> Vec<(Dot, DotRow)> {
    let mut dots = Vec::new();
    let walked = tables.dots(origin, seqs, &mut |seq, row| {
        dots.push((Dot { origin, seq }, row));
        Continue(())
    });
    walked.expect("the walk reads good rows");
    dots
}

fn arrivals(tables: &dyn Tables, from: u64) -> Vec<(Arrival, ArrivalRow)> {
    let mut arrivals = Vec::new();
    let walked = tables.arrivals(Arrival(from), &mut |number, row| {
        arrivals.push((number, row));
        Continue(())
    });
    walked.expect("the walk reads good rows");
    arrivals
}

fn dump(tables: &dyn Tables) -> Dump {
    let head = tables.head().expect("the head is good");
    let all = |(origin, last): (Origin, Seq)| dots_of(tables, origin, 1..=last.0);
    let dots = head.knowledge.iter().flat_map(all).collect();
    Dump { events: walk(tables, None), dots, arrivals: arrivals(tables, 0), head }
}

fn dump_store(store: &dyn Store) -> Dump {
    dump(&*store.read().expect("the store opens a reader"))
}

/// Admits one event in the commit that runs, if it is new.
fn admit_one(tables: &mut dyn TablesMut, key: EventKey, data: &[u8], wall_ms: u64) -> Option<Dot> {
    let value = Value { type_number: 7, version: 1, data };
    let candidate = Candidate::new(key, value);
    match gset::look(tables, candidate, false).expect("look") {
        Look::New => Some(gset::admit(tables, candidate, wall_ms).expect("admit")),
        Look::Duplicate { .. } | Look::Clash { .. } => None,
    }
}

fn admit_in_one_commit(store: &dyn Store, numbers: std::ops::Range<u64>, data: &[u8]) {
    store
        .commit(&mut |tables| {
            for number in numbers.clone() {
                let value = Value { type_number: 7, version: 1, data };
                gset::admit(tables, Candidate::new(numbered_key(number), value), 1_000)?;
            }
            Ok(())
        })
        .expect("the commit");
}

fn numbered_key(number: u64) -> EventKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    EventKey(key)
}
