//! A replica as maps, and the plain meaning of a walk over it.

use crate::core::event::*;
use crate::core::knowledge::{DotSet, Knowledge, Sum};
use crate::core::tables::{self, *};
use crate::feed::format::{Form, Format};
use crate::feed::query::Filters;
use crate::feed::walk::Walk;
use crate::feed::{Page, Query, TypeNames, page};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

/// The name of the Root that all tests walk.
pub(super) const ROOT: &str = "tally";

/// Type 1 is called `add`, type 2 `undo "it"`; others have no name.
pub(super) struct Names;

impl TypeNames for Names {
    fn name(&self, number: u32) -> Option<String> {
        [(1, "add"), (2, "undo \"it\"")]
            .iter()
            .find(|(n, _)| *n == number)
            .map(|(_, name)| (*name).to_owned())
    }

    fn number(&self, name: &str) -> Option<u32> {
        (1..3).find(|number| self.name(*number).as_deref() == Some(name))
    }
}

/// An owned value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owned {
    pub(super) type_number: u32,
    pub(super) data: Vec<u8>,
}

impl Owned {
    pub(super) fn value(&self) -> Value<'_> {
        Value { type_number: self.type_number, version: 1, data: &self.data }
    }
}

/// A key, and one of its values: what a dot admits.
pub(super) type Fact = (EventKey, ValueHash);

/// One replica's Root.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) values: BTreeMap<EventKey, BTreeMap<ValueHash, Owned>>,
    pub(super) dots: BTreeMap<Dot, DotRow>,
    pub(super) named: BTreeMap<Fact, BTreeSet<Dot>>,
    pub(super) known: Knowledge,
    pub(super) pins: BTreeMap<[u8; 16], Vec<u8>>,
    /// How many rows were visited, by kind, to see which way a page took.
    pub(super) visited: RefCell<(u64, u64)>,
}

impl Replica {
    /// Admits a value as the next dot of the `n`-th Origin.
    pub(super) fn admit(&mut self, n: u8, key: EventKey, value: &Owned) -> Dot {
        let origin = origin(n);
        let dot = Dot { origin, seq: Seq(self.known.get(origin).0 + 1) };
        let hash = value.value().hash(key);
        let before = self.dots.get(&Dot { origin, seq: Seq(dot.seq.0 - 1) }).map_or(Sum::ZERO, |row| row.sum);
        self.dots.insert(dot, DotRow { key, hash, sum: before.plus(Sum::of(dot.seq, key, hash)) });
        self.values.entry(key).or_default().insert(hash, value.clone());
        self.named.entry((key, hash)).or_default().insert(dot);
        self.known.advance(dot);
        dot
    }

    /// Merges all that `other` holds.
    pub(super) fn merge(&mut self, other: &Self) {
        for (dot, row) in other.dots.iter().filter(|(dot, _)| !self.known.holds(**dot)).collect::<Vec<_>>() {
            let value = other.values[&row.key][&row.hash].clone();
            self.dots.insert(*dot, *row);
            self.values.entry(row.key).or_default().insert(row.hash, value);
            self.named.entry((row.key, row.hash)).or_default().insert(*dot);
            self.known.advance(*dot);
        }
    }

    /// The value that holds `key`: the smallest.
    fn winner(&self, key: EventKey) -> Option<ValueHash> {
        let values = self.values.get(&key)?;
        values.iter().min_by_key(|(_, value)| *value).map(|(hash, _)| *hash)
    }

    fn stored(&self, key: EventKey, hash: ValueHash) -> Option<StoredEvent<'_>> {
        let value = self.values.get(&key)?.get(&hash)?.value();
        let dots = self.named[&(key, hash)].iter().copied().collect();
        Some(StoredEvent { key, hash, value, dots, clash: self.winner(key) != Some(hash) })
    }

    /// The places of the keys from `first` on, in order, and what is there.
    fn positions(&self, first: EventKey) -> impl Iterator<Item = (Position, ValueHash)> + '_ {
        self.values.range(first..).flat_map(|(key, values)| {
            let winner = self.winner(*key).expect("a key has a value");
            let losers = values.keys().filter(move |hash| **hash != winner);
            let losers = losers.map(|hash| (Position { key: *key, loser: Some(*hash) }, *hash));
            std::iter::once((Position { key: *key, loser: None }, winner)).chain(losers)
        })
    }

    /// What a walk that is pinned now must give to a caller who knows `known`.
    pub(super) fn owed(&self, known: &BTreeSet<Dot>) -> Vec<Fact> {
        let facts = self.positions(EventKey::default()).map(|(position, hash)| (position.key, hash));
        facts.filter(|fact| self.named[fact].is_disjoint(known)).collect()
    }
}

impl Tables for Replica {
    fn head(&self) -> tables::Result<Arc<Head>> {
        Ok(Arc::new(Head {
            origin: origin(0),
            next_origin: None,
            knowledge: self.known.clone(),
            arrivals: 0,
            check: [0; 8],
            wall_ms: 0,
            events: self.values.len() as u64,
            clock_max: 0,
        }))
    }

    fn event(&self, key: EventKey) -> tables::Result<Option<StoredEvent<'_>>> {
        Ok(self.winner(key).and_then(|hash| self.stored(key, hash)))
    }

    fn find(&self, key: EventKey, hash: ValueHash) -> tables::Result<Option<StoredEvent<'_>>> {
        Ok(self.stored(key, hash))
    }

    fn is_free(&self, keys: RangeInclusive<EventKey>) -> tables::Result<bool> {
        Ok(!self.positions(*keys.start()).any(|(position, _)| keys.contains(&position.key)))
    }

    fn walk(
        &self,
        after: Option<Position>,
        visit: &mut dyn FnMut(StoredEvent<'_>) -> ControlFlow<()>,
    ) -> tables::Result<()> {
        for (position, hash) in self.positions(after.map_or(EventKey::default(), |after| after.key)) {
            if after.is_some_and(|after| position <= after) {
                continue;
            }
            self.visited.borrow_mut().0 += 1;
            if visit(self.stored(position.key, hash).expect("a position is of a value")).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn dot(&self, dot: Dot) -> tables::Result<Option<DotRow>> {
        Ok(self.dots.get(&dot).copied())
    }

    fn dots(
        &self,
        origin: Origin,
        seqs: RangeInclusive<u64>,
        visit: &mut dyn FnMut(Seq, DotRow) -> ControlFlow<()>,
    ) -> tables::Result<()> {
        let bounds = Dot { origin, seq: Seq(*seqs.start()) }..=Dot { origin, seq: Seq(*seqs.end()) };
        for (dot, row) in self.dots.range(bounds) {
            self.visited.borrow_mut().1 += 1;
            if visit(dot.seq, *row).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn arrival(&self, _: Arrival) -> tables::Result<Option<ArrivalRow>> {
        Ok(None)
    }

    fn arrivals(
        &self,
        _: Arrival,
        _: &mut dyn FnMut(Arrival, ArrivalRow) -> ControlFlow<()>,
    ) -> tables::Result<()> {
        Ok(())
    }

    fn stamp(&self, _: [u8; 16]) -> tables::Result<Option<u64>> {
        Ok(None)
    }

    fn pin(&self, name: [u8; 16]) -> tables::Result<Option<Vec<u8>>> {
        Ok(self.pins.get(&name).cloned())
    }

    fn healed(&self, _: Fork) -> tables::Result<bool> {
        Ok(false)
    }
}

pub(super) fn origin(n: u8) -> Origin {
    Origin([n; 8])
}

/// The key at `ms` milliseconds after 2026-01-01T00:00:00Z with the tail `tail`.
pub(super) fn key(ms: i64, tail: u8) -> EventKey {
    EventKey::new(ValidTime::from_millis(1_767_225_600_000 + ms).expect("2026 is in range"), [tail; 8])
}

pub(super) fn value(type_number: u32, data: &str) -> Owned {
    Owned { type_number, data: data.as_bytes().to_vec() }
}

/// An event as a page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) key: EventKey,
    pub(super) hash: ValueHash,
    pub(super) dot: String,
    pub(super) clash: bool,
}

/// The events of a page, read back from its JSON.
pub(super) fn seen(page: &Page) -> Vec<Seen> {
    let json: serde_json::Value = serde_json::from_slice(&page.clone().into_body()).expect("a page is JSON");
    let events = json["events"].as_array().expect("events is an array");
    let read = |event: &serde_json::Value| {
        let data = serde_json::to_vec(&event["data"]).expect("a value has a text");
        let key: EventKey = event["key"].as_str().expect("a key is text").parse().expect("a key");
        let type_number = u32::try_from(event["type"].as_u64().expect("a number")).expect("a type");
        Seen {
            key,
            hash: Owned { type_number, data }.value().hash(key),
            dot: event["dot"].as_str().expect("a dot is text").to_owned(),
            clash: event.get("clash").is_some(),
        }
    };
    events.iter().map(read).collect()
}

pub(super) fn facts(seen: &[Seen]) -> Vec<Fact> {
    seen.iter().map(|event| (event.key, event.hash)).collect()
}

/// A walk whose pages are JSON.
pub(super) fn plain_walk<'w>(
    tables: &'w dyn Tables,
    filters: &'w Filters,
    pin: &'w Knowledge,
    known: &'w DotSet,
) -> Walk<'w> {
    static NONE: BTreeSet<(EventKey, ValueHash)> = BTreeSet::new();
    Walk { tables, filters, pin, known, later: &NONE, names: &Names, form: Form::Page(Format::Json) }
}

/// The query of a caller that knows `vv`.
pub(super) fn knowing(vv: &str, limit: usize) -> Query {
    Query { vv: vec![vv.to_owned()], limit, ..Query::default() }
}

/// Walks to the end; `between` is called after every page but the last and may change the replica. Gives all events
/// and the last page's vv.
pub(super) fn walk(
    replica: &mut Replica,
    mut query: Query,
    mut between: impl FnMut(&mut Replica),
) -> (Vec<Seen>, String) {
    let (mut all, mut left) = (Vec::new(), None);
    loop {
        let page = page(replica, ROOT, &query, &Names).expect("the walk goes on");
        let events = seen(&page);
        if let (Some(before), Some(now)) = (left, page.left) {
            assert!(now + events.len() as u64 <= before, "each event given is at least one dot less");
        }
        left = page.left;
        all.extend(events);
        if let Some(keep) = &page.keep_pin {
            replica.pins.insert(keep.name, keep.bytes.clone());
        }
        let Some(cursor) = page.cursor else {
            assert!(left.is_none_or(|left| left == 0), "nothing is left on the last page");
            return (all, page.vv.expect("the last page has a vv"));
        };
        assert!(page.vv.is_none(), "only the last page has a vv");
        query.cursor = Some(cursor);
        between(replica);
    }
}
