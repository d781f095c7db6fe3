//! Which aggregates changed, and because of which event: a function of the arrivals.
//!
//! An entry of the index says since which arrival an event counts in an aggregate, and until which. So what an arrival
//! changed is found by mapping its event once more, and the events that it retracts: the aggregates in which such an
//! entry begins or ends with just this arrival are those that changed. Nothing is kept for readers of changes; they may
//! be as slow as they like, and go on from any arrival.

use super::Views;
use super::bounds::KeyRange;
use super::build::{Build, View};
use super::computes::{Computes, Upcast};
use super::cursor::Pin;
use super::error::ViewError;
use super::index::entry::{Body, Span};
use super::index::read::Aggregate;
use super::read::{Reading, parts};
use super::rows::Table;
use super::slot::number_of;
use crate::core::event::{Arrival, EventKey, Value, ValueHash};
use crate::core::tables::{ArrivalRow, Position, StoredEvent, TableError, Tables};
use crate::plugin::event_ref;
use laterbase_plugin::aggregate;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A page looks at so many arrivals ...
const ARRIVALS_MAX: u64 = 256;
/// ... and ends with so many changes ...
const CHANGES_MAX: usize = 256;
/// ... or with the value with which there are so many bytes.
const BYTES_MAX: usize = 1 << 20;

/// Which changes are wanted.
#[derive(Clone, Debug, Default)]
pub struct ChangesQuery {
    /// The View's name.
    pub view: String,
    /// Only this aggregate, as a user types its key; empty for all.
    pub keys: Vec<String>,
    /// Only keys that start with these parts, the last of them a prefix of its part; empty for all.
    pub prefix: Vec<String>,
}

/// How far changes were told: behind some of those of one arrival, or behind all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pin: Pin,
    /// So many changes of the arrival behind the pin were told already.
    some: usize,
}

/// Why an aggregate changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An event arrived.
    Event,
    /// An event arrived that retracts another.
    Retraction,
    /// Another value of a known key arrived.
    Clash,
}

/// One change of one aggregate.
#[derive(Debug)]
pub struct Change {
    /// The parts of the aggregate's key.
    pub key: Vec<String>,
    /// The event that arrived.
    pub event: EventKey,
    /// Why the aggregate changed.
    pub cause: Cause,
    /// The event that counts no more, if it is another one.
    pub retracted: Option<EventKey>,
    /// A later event of the aggregate was known already.
    pub late: bool,
    /// What the View renders now, not only as of the arrival; none if no event counts any more.
    pub value: Option<Box<RawValue>>,
    /// How far all has been told with this one; none if the arrival has more changes.
    pub id: Option<String>,
}

/// Some changes in the order of their arrivals, and by key within each.
#[derive(Debug)]
pub struct Changes {
    /// The changes.
    pub changes: Vec<Change>,
    /// Where the next ones begin.
    pub told: Told,
    /// More have arrived already.
    pub goes_on: bool,
}

/// What is wanted, encoded.
struct Filter {
    key: Option<Vec<u8>>,
    prefix: Vec<u8>,
}

/// One aggregate that an arrival changed through the entry of `of`.
struct Touch {
    aggregate: Vec<u8>,
    of: EventKey,
}

impl Told {
    /// The last arrival all of whose changes were told.
    pub fn arrival(&self) -> u64 {
        self.pin.arrival
    }

    /// The text by which a reader goes on behind all that was told.
    pub fn id(&self) -> String {
        let check = u64::from_be_bytes(self.pin.check);
        format!("{}.{check:016x}", self.pin.arrival)
    }

    /// How far `text` says that it was told.
    fn read(text: &str) -> Option<Self> {
        let (arrival, check) = text.split_once('.')?;
        let is_hex = check.len() == 16 && check.bytes().all(|byte| byte.is_ascii_hexdigit());
        let check = u64::from_str_radix(check, 16).ok().filter(|_| is_hex)?;
        Some(Self { pin: Pin { arrival: arrival.parse().ok()?, check: check.to_be_bytes() }, some: 0 })
    }
}

impl Filter {
    fn new(plugins: &Arc<dyn Computes>, view: &View, query: &ChangesQuery) -> Result<Self, ViewError> {
        let key = match query.keys.as_slice() {
            [] => None,
            typed => Some(super::key_of(plugins, view, typed)?),
        };
        let mut prefix = Vec::new();
        if let Some((start, whole)) = query.prefix.split_last() {
            aggregate::encode_prefix(whole.iter().map(String::as_str), start, &mut prefix);
        }
        Ok(Self { key, prefix })
    }

    fn takes(&self, aggregate: &[u8]) -> bool {
        let is_key = self.key.as_ref().is_none_or(|key| key == aggregate);
        is_key && aggregate.starts_with(&self.prefix)
    }
}

impl Views {
    /// Where changes go on: behind what `id` names, or behind everything that has arrived if there is none. The flag is
    /// false if this replica did not pass through what `id` names: then it is everything that has arrived, too.
    pub fn told(&self, id: Option<&str>) -> Result<(Told, bool), ViewError> {
        let tables = self.store.read()?;
        if let Some(told) = id.and_then(Told::read) {
            let row = tables.arrival(Arrival(told.pin.arrival))?;
            let is_ours = match row {
                Some(row) => row.check == told.pin.check,
                None => told == Told::default(),
            };
            if is_ours {
                return Ok((told, true));
            }
        }
        let head = tables.head()?;
        let pin = Pin { arrival: head.arrivals, check: head.check };
        Ok((Told { pin, some: 0 }, id.is_none()))
    }

    /// The next changes behind `told`; none at once if nothing has arrived since. Blocks.
    pub fn changes(
        &self,
        plugins: &Arc<dyn Computes>,
        query: &ChangesQuery,
        told: Told,
    ) -> Result<Changes, ViewError> {
        let build = self.build_of(plugins);
        let view = build.view(&query.view)?;
        let filter = Filter::new(plugins, &view, query)?;
        let tables = self.store.read()?;
        let head = tables.head()?.arrivals;
        if told.pin.arrival >= head {
            return Ok(Changes { changes: Vec::new(), told, goes_on: false });
        }
        let bounds = (KeyRange::ALL, None, head);
        self.read_at(&build, &view, bounds, &mut |reading, _| {
            let mut page =
                Page { events: tables.as_ref(), build: &build, view: &view, reading, filter: &filter };
            page.fill(told, head)
        })
    }
}

/// A page under way.
struct Page<'p, 'r> {
    events: &'p dyn Tables,
    build: &'p Build,
    view: &'p View,
    reading: &'p mut Reading<'r>,
    filter: &'p Filter,
}

impl Page<'_, '_> {
    fn fill(&mut self, mut told: Told, head: u64) -> Result<Changes, ViewError> {
        let (mut changes, mut bytes): (Vec<Change>, usize) = (Vec::new(), 0);
        let mut values: BTreeMap<Vec<u8>, Option<Box<RawValue>>> = BTreeMap::new();
        let until = head.min(told.pin.arrival + ARRIVALS_MAX);
        while told.pin.arrival < until {
            let number = told.pin.arrival + 1;
            let Some(row) = self.events.arrival(Arrival(number))? else { break };
            let behind = Told { pin: Pin { arrival: number, check: row.check }, some: 0 };
            let touches = self.touches(number, &row)?;
            for (index, touch) in touches.iter().enumerate().skip(told.some) {
                if changes.len() >= CHANGES_MAX || bytes >= BYTES_MAX {
                    return Ok(Changes { changes, told: Told { some: index, ..told }, goes_on: true });
                }
                let mut change = self.change(number, &row, touch)?;
                if !values.contains_key(&touch.aggregate) {
                    values.insert(touch.aggregate.clone(), self.value(&touch.aggregate)?);
                }
                change.value = values.get(&touch.aggregate).cloned().flatten();
                change.id = (index + 1 == touches.len()).then(|| behind.id());
                bytes += change.value.as_ref().map_or(0, |value| value.get().len());
                changes.push(change);
            }
            told = behind;
        }
        Ok(Changes { changes, told, goes_on: told.pin.arrival < head })
    }

    /// The aggregates that an arrival changed.
    fn touches(&self, number: u64, row: &ArrivalRow) -> Result<Vec<Touch>, ViewError> {
        let Some(event) = self.events.find(row.key, row.hash)? else { return Ok(Vec::new()) };
        let arrived = [Stored::of(&event)];
        let arrived = self.upcast(&arrived);
        let refs: Vec<_> = arrived.iter().map(Upcast::event_ref).collect();
        let retracted = self.build.plugins.retracts(&refs).into_iter().flatten().flatten();
        let keys: BTreeSet<EventKey> = std::iter::once(row.key).chain(retracted).collect();
        let mut touches = Vec::new();
        for of in keys {
            for aggregate in self.aggregates(of)? {
                if self.filter.takes(&aggregate) && self.changed(number, &aggregate, of)? {
                    touches.push(Touch { aggregate, of });
                }
            }
        }
        touches.sort_by(|one, other| (&one.aggregate, one.of).cmp(&(&other.aggregate, other.of)));
        Ok(touches)
    }

    /// The aggregates that any value of the key maps to.
    fn aggregates(&self, key: EventKey) -> Result<BTreeSet<Vec<u8>>, ViewError> {
        let values = values_of(self.events, key)?;
        let upcast = self.upcast(&values);
        let refs: Vec<_> = upcast.iter().map(Upcast::event_ref).collect();
        let mapped = self.build.plugins.map(self.view.keyspace.position, &refs);
        let mut aggregates = BTreeSet::new();
        for position in 0..refs.len() {
            // One that could not be mapped changes nothing.
            let rows = mapped.of(position).into_iter().flatten();
            aggregates.extend(rows.map(|(aggregate, _)| aggregate.to_vec()));
        }
        Ok(aggregates)
    }

    fn upcast<'s>(&self, values: &'s [Stored]) -> Vec<Upcast<'s>> {
        let refs: Vec<_> = values.iter().map(Stored::event_ref).collect();
        self.build.plugins.upcast(&refs).into_iter().flatten().flatten().collect()
    }

    fn open(&self, aggregate: &[u8], known: u64) -> Result<Aggregate<'_>, TableError> {
        let moment = self.reading.moment;
        let id = number_of(moment.rows, &self.view.keyspace, aggregate)?;
        let tail = moment.tail.of(aggregate, moment.cursor);
        Aggregate::open(moment.rows, Table::Index(self.view.keyspace.tables), id, tail, known)
    }

    /// Whether the entry of `of` in the aggregate is another since the arrival `number`.
    fn changed(&self, number: u64, aggregate: &[u8], of: EventKey) -> Result<bool, TableError> {
        let opened = self.open(aggregate, number)?;
        let pending = opened.tail.iter().find(|pending| pending.event == of);
        let body = match pending {
            Some(pending) => Some(pending.body().bytes().to_vec()),
            None => opened.stored(of)?,
        };
        let spans = body.and_then(|body| Body::of(&body).spans()).unwrap_or_default();
        let borders = |span: &Span| {
            let is_empty = span.until == Some(span.since);
            !is_empty && (span.since == number || span.until == Some(number))
        };
        Ok(spans.iter().any(borders))
    }

    fn change(&self, number: u64, row: &ArrivalRow, touch: &Touch) -> Result<Change, ViewError> {
        let retracted = Some(touch.of).filter(|of| *of != row.key);
        let cause = match retracted {
            Some(_) => Cause::Retraction,
            None if self.has_others(number, row)? => Cause::Clash,
            None => Cause::Event,
        };
        let last = self.open(&touch.aggregate, number)?.measure(&KeyRange::ALL)?.last;
        Ok(Change {
            key: parts(&touch.aggregate)?,
            event: row.key,
            cause,
            retracted,
            late: last.is_some_and(|last| last > touch.of),
            value: None,
            id: None,
        })
    }

    /// Whether another value of the key was there before this one.
    fn has_others(&self, number: u64, row: &ArrivalRow) -> Result<bool, TableError> {
        let values = values_of(self.events, row.key)?;
        let others = values.iter().map(|value| value.hash).filter(|hash| *hash != row.hash);
        let others: BTreeSet<ValueHash> = others.collect();
        if others.is_empty() {
            return Ok(false);
        }
        // Those that are behind are few; one that is not among them was there before.
        let mut later = BTreeSet::new();
        self.events.arrivals(Arrival(number + 1), &mut |_, other| {
            if other.key == row.key {
                later.insert(other.hash);
            }
            if later.len() < others.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(others.iter().any(|hash| !later.contains(hash)))
    }

    fn value(&mut self, aggregate: &[u8]) -> Result<Option<Box<RawValue>>, ViewError> {
        match self.reading.fold(aggregate)? {
            Some(folded) => self.reading.render(aggregate, &folded.state).map(Some),
            None => Ok(None),
        }
    }
}

/// One value of an event.
struct Stored {
    key: EventKey,
    hash: ValueHash,
    type_number: u32,
    version: u32,
    data: Vec<u8>,
}

impl Stored {
    fn of(event: &StoredEvent<'_>) -> Self {
        let Value { type_number, version, data } = event.value;
        Self { key: event.key, hash: event.hash, type_number, version, data: data.to_vec() }
    }

    fn event_ref(&self) -> crate::plugin::EventRef<'_> {
        let value = Value { type_number: self.type_number, version: self.version, data: &self.data };
        event_ref(self.key, value)
    }
}

/// All values of a key.
fn values_of(events: &dyn Tables, key: EventKey) -> Result<Vec<Stored>, TableError> {
    let Some(winner) = events.event(key)? else { return Ok(Vec::new()) };
    let mut values = vec![Stored::of(&winner)];
    events.walk(Some(Position { key, loser: None }), &mut |event| {
        if event.key != key {
            return ControlFlow::Break(());
        }
        values.push(Stored::of(&event));
        ControlFlow::Continue(())
    })?;
    Ok(values)
}
