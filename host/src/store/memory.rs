//! A Root's tables in memory: the twin of `lmdb.rs` for simulations, and the model that it is tested against.
//!
//! The whole state sits behind one `Arc`. A reader holds on to the state of its time; a commit works on a copy, made
//! at its first put, and puts it in place at its end, so an error changes nothing and a commit without a put is free.

use super::Store;
use crate::core::event::{Arrival, Dot, EventKey, Origin, Seq, Value, ValueHash};
use crate::core::knowledge::Knowledge;
use crate::core::tables::{
    ArrivalRow, DotRow, Fork, Head, Position, Result, StoredEvent, TableError, Tables, TablesMut,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow, RangeInclusive};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The tables of one Root in memory.
#[derive(Debug)]
pub struct MemoryStore {
    writer: Mutex<()>,
    state: RwLock<Arc<State>>,
}

#[derive(Debug, Clone)]
struct State {
    head: Arc<Head>,
    /// Winners and losers in feed order; a `None` sorts before every hash.
    events: BTreeMap<Position, Kept>,
    dots: BTreeMap<Dot, DotRow>,
    arrivals: BTreeMap<Arrival, ArrivalRow>,
    stamps: BTreeMap<[u8; 16], (u64, u64)>,
    pins: BTreeMap<[u8; 16], (u64, Arc<[u8]>)>,
    healed: BTreeSet<Fork>,
}

/// A stored event without its key.
#[derive(Debug, Clone)]
struct Kept {
    hash: ValueHash,
    type_number: u32,
    version: u32,
    data: Arc<[u8]>,
    dots: Vec<Dot>,
}

impl MemoryStore {
    /// Empty tables of a new incarnation.
    pub fn new(origin: Origin) -> Self {
        let head = Head {
            origin,
            next_origin: None,
            knowledge: Knowledge::new(),
            arrivals: 0,
            check: [0; 8],
            wall_ms: 0,
            events: 0,
            clock_max: 0,
        };
        let state = State {
            head: Arc::new(head),
            events: BTreeMap::new(),
            dots: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            stamps: BTreeMap::new(),
            pins: BTreeMap::new(),
            healed: BTreeSet::new(),
        };
        Self { writer: Mutex::new(()), state: RwLock::new(Arc::new(state)) }
    }

    /// Other tables that hold the same now: a backup, or a copy of the file.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Self {
        Self { writer: Mutex::new(()), state: RwLock::new(self.state()) }
    }

    fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store for MemoryStore {
    fn read(&self) -> Result<Box<dyn Tables + '_>> {
        Ok(Box::new(Reading(self.state())))
    }

    fn commit(&self, body: &mut dyn FnMut(&mut dyn TablesMut) -> Result<()>) -> Result<()> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writing = Writing(self.state());
        body(&mut writing)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = writing.0;
        Ok(())
    }
}

/// A reader: the state of its time.
struct Reading(Arc<State>);

/// The writer: what it began with, or its own copy once it has put something.
struct Writing(Arc<State>);

impl Writing {
    fn own(&mut self) -> &mut State {
        Arc::make_mut(&mut self.0)
    }
}

impl AsRef<State> for Reading {
    fn as_ref(&self) -> &State {
        &self.0
    }
}

impl AsRef<State> for Writing {
    fn as_ref(&self) -> &State {
        &self.0
    }
}

fn stored(position: Position, kept: &Kept) -> StoredEvent<'_> {
    StoredEvent {
        key: position.key,
        hash: kept.hash,
        value: Value { type_number: kept.type_number, version: kept.version, data: &kept.data },
        dots: kept.dots.clone(),
        clash: position.loser.is_some(),
    }
}

impl State {
    fn at(&self, position: Position) -> Option<StoredEvent<'_>> {
        self.events.get(&position).map(|kept| stored(position, kept))
    }
}

macro_rules! read_tables {
    ($reader:ty) => {
        impl Tables for $reader {
            fn head(&self) -> Result<Arc<Head>> {
                Ok(Arc::clone(&self.as_ref().head))
            }

            fn event(&self, key: EventKey) -> Result<Option<StoredEvent<'_>>> {
                Ok(self.as_ref().at(Position { key, loser: None }))
            }

            fn find(&self, key: EventKey, hash: ValueHash) -> Result<Option<StoredEvent<'_>>> {
                let held = self.as_ref().at(Position { key, loser: None }).filter(|held| held.hash == hash);
                Ok(held.or_else(|| self.as_ref().at(Position { key, loser: Some(hash) })))
            }

            fn is_free(&self, keys: RangeInclusive<EventKey>) -> Result<bool> {
                if keys.is_empty() {
                    return Ok(true);
                }
                let winner = |key| Position { key, loser: None };
                let taken = winner(*keys.start())..=winner(*keys.end());
                Ok(self.as_ref().events.range(taken).next().is_none())
            }

            fn walk(
                &self,
                after: Option<Position>,
                visit: &mut dyn FnMut(StoredEvent<'_>) -> ControlFlow<()>,
            ) -> Result<()> {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let mut events = self.as_ref().events.range((from, Bound::Unbounded));
                let _ = events.try_for_each(|(position, kept)| visit(stored(*position, kept)));
                Ok(())
            }

            fn dot(&self, dot: Dot) -> Result<Option<DotRow>> {
                Ok(self.as_ref().dots.get(&dot).copied())
            }

            fn dots(
                &self,
                origin: Origin,
                seqs: RangeInclusive<u64>,
                visit: &mut dyn FnMut(Seq, DotRow) -> ControlFlow<()>,
            ) -> Result<()> {
                if seqs.is_empty() {
                    return Ok(());
                }
                let dot = |seq| Dot { origin, seq: Seq(seq) };
                let mut dots = self.as_ref().dots.range(dot(*seqs.start())..=dot(*seqs.end()));
                let _ = dots.try_for_each(|(dot, row)| visit(dot.seq, *row));
                Ok(())
            }

            fn arrival(&self, number: Arrival) -> Result<Option<ArrivalRow>> {
                Ok(self.as_ref().arrivals.get(&number).copied())
            }

            fn arrivals(
                &self,
                from: Arrival,
                visit: &mut dyn FnMut(Arrival, ArrivalRow) -> ControlFlow<()>,
            ) -> Result<()> {
                let _ =
                    self.as_ref().arrivals.range(from..).try_for_each(|(number, row)| visit(*number, *row));
                Ok(())
            }

            fn stamp(&self, key: [u8; 16]) -> Result<Option<u64>> {
                Ok(self.as_ref().stamps.get(&key).map(|(_, stamp)| *stamp))
            }

            fn pin(&self, name: [u8; 16]) -> Result<Option<Vec<u8>>> {
                Ok(self.as_ref().pins.get(&name).map(|(_, bytes)| bytes.to_vec()))
            }

            fn healed(&self, fork: Fork) -> Result<bool> {
                Ok(self.as_ref().healed.contains(&fork))
            }
        }
    };
}

read_tables!(Reading);
read_tables!(Writing);

fn refused(table: &'static str, row: String, reason: &'static str) -> TableError {
    TableError::Corrupt { table, row, reason }
}

impl TablesMut for Writing {
    fn put_event(&mut self, event: &StoredEvent<'_>) -> Result<()> {
        let position = Position { key: event.key, loser: event.clash.then_some(event.hash) };
        let state = self.own();
        if let Some(held) = state.events.get(&position)
            && held.hash != event.hash
            && !state.events.contains_key(&Position { key: event.key, loser: Some(held.hash) })
        {
            return Err(refused("events", hex(&event.key.0), "a put would lose the value that is there"));
        }
        let kept = Kept {
            hash: event.hash,
            type_number: event.value.type_number,
            version: event.value.version,
            data: event.value.data.into(),
            dots: event.dots.clone(),
        };
        if state.events.insert(position, kept).is_none() && !event.clash {
            Arc::make_mut(&mut state.head).events += 1;
        }
        Ok(())
    }

    fn remove_loser(&mut self, key: EventKey, hash: ValueHash) -> Result<()> {
        self.own().events.remove(&Position { key, loser: Some(hash) });
        Ok(())
    }

    fn put_dot(&mut self, dot: Dot, row: DotRow) -> Result<()> {
        let state = self.own();
        if state.head.knowledge.get(dot.origin).0.checked_add(1) != Some(dot.seq.0) {
            return Err(refused(
                "dots",
                dot.to_string(),
                "the dot does not follow on the last of its Origin",
            ));
        }
        Arc::make_mut(&mut state.head).knowledge.advance(dot);
        state.dots.insert(dot, row);
        Ok(())
    }

    fn put_arrival(&mut self, number: Arrival, row: ArrivalRow) -> Result<()> {
        let state = self.own();
        if state.head.arrivals.checked_add(1) != Some(number.0) {
            let row = hex(&number.0.to_be_bytes());
            return Err(refused("arrivals", row, "the arrival does not follow on the last one"));
        }
        let head = Arc::make_mut(&mut state.head);
        head.arrivals = number.0;
        head.wall_ms = row.wall_ms;
        head.check = row.check;
        state.arrivals.insert(number, row);
        Ok(())
    }

    fn put_next_origin(&mut self, origin: Origin) -> Result<()> {
        Arc::make_mut(&mut self.own().head).next_origin = Some(origin);
        Ok(())
    }

    fn begin_next_origin(&mut self) -> Result<()> {
        if let Some(next) = self.0.head.next_origin {
            let head = Arc::make_mut(&mut self.own().head);
            head.origin = next;
            head.next_origin = None;
        }
        Ok(())
    }

    fn put_healed(&mut self, fork: Fork) -> Result<()> {
        self.own().healed.insert(fork);
        Ok(())
    }

    fn put_clock_max(&mut self, stamp: u64) -> Result<()> {
        let head = Arc::make_mut(&mut self.own().head);
        head.clock_max = head.clock_max.max(stamp);
        Ok(())
    }

    fn put_stamp(&mut self, key: [u8; 16], stamp: u64, now_ms: u64, until_ms: u64) -> Result<()> {
        self.own().stamps.retain(|_, (until, _)| *until > now_ms);
        self.own().stamps.insert(key, (until_ms, stamp));
        Ok(())
    }

    fn put_pin(&mut self, name: [u8; 16], bytes: &[u8], now_ms: u64, until_ms: u64) -> Result<()> {
        self.own().pins.retain(|_, (until, _)| *until > now_ms);
        self.own().pins.insert(name, (until_ms, bytes.into()));
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
