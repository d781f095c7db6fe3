//! The grow-only set of events (G-Set, a state-based CRDT: Shapiro et al., 2011) and its two ways in.
//!
//! [`admit`] takes a client's new event and gives it the next dot of this incarnation's Origin. [`merge`] takes what
//! another replica admitted, in the dot order of its Origin. Where two replicas admitted different values under one
//! key, every replica keeps both and lets the smaller value hold the key, so the outcome does not depend on the order
//! of arrival:
//!
//! ```text
//! event row   key -> the smallest value known        loser rows   (key, hash) -> every other value
//! dot row     (origin, seq) -> (key, hash, sum)      arrival      n -> (key, hash, dot, wall clock, check)
//! ```
//! An equal value under a further dot is an alias: the dot is added to the event's row, nothing arrives.

use super::event::{Arrival, Dot, EventKey, Origin, Seq, Value, ValueHash, hash_of};
use super::knowledge::{Sum, Term};
use super::rule::{self, Rule};
use super::tables::{ArrivalRow, DotRow, NewEvent, Result, Run, StoredEvent, TableError, Tables, TablesMut};
use std::collections::BTreeSet;

/// What the tables say to an event that a client wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The key is free.
    New,
    /// The event is known; the dot is absent where only the key is equal (`same_key_is_same_event`).
    Duplicate {
        /// The least dot under which it is known.
        dot: Option<Dot>,
    },
    /// The key holds another value.
    Clash {
        /// The value that it holds.
        existing: ValueHash,
    },
}

/// An event that a client wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its key.
    pub key: EventKey,
    /// Its value.
    pub value: Value<'a>,
    /// The value's hash, which costs more than the rest and is best computed outside of the writer's transaction.
    pub hash: ValueHash,
}

impl<'a> Candidate<'a> {
    /// The event with its hash.
    pub fn new(key: EventKey, value: Value<'a>) -> Self {
        Self { key, value, hash: value.hash(key) }
    }
}

/// What another replica admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Its dot there.
    pub dot: Dot,
    /// The event's key.
    pub key: EventKey,
    /// The value, or its hash where the sender expects it to be known.
    pub body: Body<'a>,
}

/// The value of an incoming event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// The whole value.
    Whole(Value<'a>),
    /// Only the name of a value.
    Alias(ValueHash),
}

/// An incoming event, and what of it costs much and is best computed outside of the writer's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready<'a> {
    /// What came.
    pub incoming: Incoming<'a>,
    /// Names its value.
    pub hash: ValueHash,
    /// What its dot contributes to the sum of its Origin.
    pub part: Sum,
}

impl<'a> From<Incoming<'a>> for Ready<'a> {
    fn from(incoming: Incoming<'a>) -> Self {
        let hash = match incoming.body {
            Body::Whole(value) => value.hash(incoming.key),
            Body::Alias(hash) => hash,
        };
        Self { incoming, hash, part: Sum::of(incoming.dot.seq, incoming.key, hash) }
    }
}

/// What became of an incoming event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// A new key, or a value that took its key over.
    New,
    /// A new value that lost its key to a smaller one.
    Loser,
    /// A known value under a new dot.
    Alias,
    /// The dot was known.
    Known,
    /// An alias whose value is not here: ask for it whole.
    NeedsWhole,
    /// The dots before this one are not here: the rest of the page is dropped.
    Gap,
}

/// What the tables say to a candidate. Nothing is written.
pub fn look(
    tables: &(impl Tables + ?Sized),
    candidate: Candidate<'_>,
    same_key_is_same_event: bool,
) -> Result<Look> {
    let Candidate { key, value, hash } = candidate;
    let Some(held) = tables.event(key)? else { return Ok(Look::New) };
    if held.value == value {
        return Ok(Look::Duplicate { dot: held.dots.first().copied() });
    }
    let lost = tables.find(key, hash)?;
    Ok(match lost {
        Some(lost) => Look::Duplicate { dot: lost.dots.first().copied() },
        None if same_key_is_same_event => Look::Duplicate { dot: None },
        None => Look::Clash { existing: held.hash },
    })
}

/// Puts an event for which [`look`] said [`Look::New`] in the same transaction, and gives it its dot.
pub fn admit(tables: &mut (impl TablesMut + ?Sized), candidate: Candidate<'_>, wall_ms: u64) -> Result<Dot> {
    admit_all(tables, &[candidate], wall_ms).map(|(first, _)| first)
}

/// The same for several events, at least one, of which no two have one key. The dot of the first, on which those of
/// the others follow, and the term that names them all.
pub fn admit_all(
    tables: &mut (impl TablesMut + ?Sized),
    candidates: &[Candidate<'_>],
    wall_ms: u64,
) -> Result<(Dot, Term)> {
    let first = next_dot(tables)?;
    let parts = (first.seq.0..).zip(candidates).map(|(seq, candidate)| {
        let Candidate { key, hash, .. } = *candidate;
        (*candidate, Sum::of(Seq(seq), key, hash))
    });
    let sum = put_run(tables, first, parts, wall_ms)?;
    let last = first.seq.0 + candidates.len() as u64 - 1;
    let term = Term { origin: first.origin, intervals: vec![first.seq.0..=last], check: Some(sum.check()) };
    Ok((first, term))
}

/// The dot of the next admission; begins the next Origin if one is due.
fn next_dot(tables: &mut (impl TablesMut + ?Sized)) -> Result<Dot> {
    tables.begin_next_origin()?;
    let head = tables.head()?;
    let origin = head.origin;
    Ok(Dot { origin, seq: Seq(head.knowledge.get(origin).0 + 1) })
}

/// Admits anew an event of another history of a forked Origin: the value is not here although all `dots` under which
/// the other replica knows it are, so nobody would ever send it again. It gets a dot of this incarnation's Origin; no
/// Schema is asked and no clock. None if the value is here, or if a dot is not: then its own dot brings it.
pub fn readmit(
    tables: &mut (impl TablesMut + ?Sized),
    candidate: Candidate<'_>,
    dots: &[Dot],
    wall_ms: u64,
) -> Result<Option<Dot>> {
    let Candidate { key, value, hash } = candidate;
    let head = tables.head()?;
    let stays_away = !dots.is_empty() && dots.iter().all(|dot| head.knowledge.holds(*dot));
    drop(head);
    if !stays_away || tables.find(key, hash)?.is_some() {
        return Ok(None);
    }
    let dot = next_dot(tables)?;
    put_value(tables, StoredEvent { key, hash, value, dots: vec![dot], clash: false })?;
    put_dot(tables, dot, key, hash)?;
    put_arrival(tables, (key, hash, dot), wall_ms)?;
    Ok(Some(dot))
}

/// Takes in what another replica admitted. A dot is taken only if the one before it is here, so that a server's
/// Knowledge stays one prefix per Origin.
pub fn merge(tables: &mut (impl TablesMut + ?Sized), incoming: Incoming<'_>, wall_ms: u64) -> Result<Merged> {
    merge_ready(tables, incoming.into(), wall_ms)
}

/// Takes in as many rows from the front as are plainly new: whole, the next dots of one Origin, under keys that are
/// free. How many those are; [`merge_ready`] tells what is with the one behind them.
pub fn merge_new(tables: &mut (impl TablesMut + ?Sized), rows: &[Ready<'_>], wall_ms: u64) -> Result<usize> {
    let Some(first) = rows.first().map(|row| row.incoming.dot) else { return Ok(0) };
    if first.seq.0 != tables.head()?.knowledge.get(first.origin).0 + 1 {
        return Ok(0);
    }
    let mut new = next_of_one_origin(rows, first);
    new.truncate(free(tables, &new)?);
    if !new.is_empty() {
        put_run(tables, first, new.iter().copied(), wall_ms)?;
    }
    Ok(new.len())
}

/// The rows from the front that are whole, follow on each other and have each a key of their own.
fn next_of_one_origin<'a>(rows: &[Ready<'a>], first: Dot) -> Vec<(Candidate<'a>, Sum)> {
    let (mut new, mut keys, mut greatest) = (Vec::with_capacity(rows.len()), BTreeSet::new(), None);
    for (row, seq) in rows.iter().zip(first.seq.0..) {
        let Incoming { dot, key, body: Body::Whole(value) } = row.incoming else { break };
        if dot != (Dot { origin: first.origin, seq: Seq(seq) }) {
            break;
        }
        // Mostly keys ascend; only then nothing need be remembered.
        if greatest < Some(key) {
            greatest = Some(key);
        } else {
            if keys.is_empty() {
                keys.extend(new.iter().map(|(candidate, _): &(Candidate<'_>, Sum)| candidate.key));
            }
            if keys.contains(&key) {
                break;
            }
        }
        if !keys.is_empty() {
            keys.insert(key);
        }
        new.push((Candidate { key, value, hash: row.hash }, row.part));
    }
    new
}

/// How many of these from the front have keys that are free.
fn free(tables: &(impl Tables + ?Sized), new: &[(Candidate<'_>, Sum)]) -> Result<usize> {
    let keys = || new.iter().map(|(candidate, _)| candidate.key);
    let (Some(least), Some(greatest)) = (keys().min(), keys().max()) else { return Ok(0) };
    if tables.is_free(least..=greatest)? {
        return Ok(new.len());
    }
    for (at, key) in keys().enumerate() {
        if tables.event(key)?.is_some() {
            return Ok(at);
        }
    }
    Ok(new.len())
}

/// As [`merge`].
pub fn merge_ready(tables: &mut (impl TablesMut + ?Sized), row: Ready<'_>, wall_ms: u64) -> Result<Merged> {
    let Incoming { dot, key, body } = row.incoming;
    let last = tables.head()?.knowledge.get(dot.origin).0;
    if dot.seq.0 <= last {
        return Ok(Merged::Known);
    }
    if dot.seq.0 != last + 1 && rule::holds(Rule::Contiguity) {
        return Ok(Merged::Gap);
    }
    let hash = match body {
        Body::Alias(_) if !rule::holds(Rule::AliasHash) => match tables.event(key)? {
            Some(held) => held.hash,
            None => return Ok(Merged::NeedsWhole),
        },
        Body::Whole(_) | Body::Alias(_) => row.hash,
    };
    let is_free = tables.event(key)?.is_none();
    if !is_free && add_dot(tables, key, hash, dot)? {
        put_dot(tables, dot, key, hash)?;
        return Ok(Merged::Alias);
    }
    let Body::Whole(value) = body else { return Ok(Merged::NeedsWhole) };
    let event = StoredEvent { key, hash, value, dots: vec![dot], clash: false };
    let merged = if is_free {
        tables.put_event(&event)?;
        Merged::New
    } else {
        put_value(tables, event)?
    };
    put_dot(tables, dot, key, hash)?;
    put_arrival(tables, (key, hash, dot), wall_ms)?;
    Ok(merged)
}

/// Adds a dot to a known value; false if the value is not here.
fn add_dot(tables: &mut (impl TablesMut + ?Sized), key: EventKey, hash: ValueHash, dot: Dot) -> Result<bool> {
    let Some(known) = tables.find(key, hash)? else { return Ok(false) };
    let mut dots = known.dots.clone();
    dots.push(dot);
    dots.sort_unstable();
    let data = known.value.data.to_vec();
    let value = Value { data: &data, ..known.value };
    let clash = known.clash;
    tables.put_event(&StoredEvent { key, hash, value, dots, clash })?;
    Ok(true)
}

/// Puts a value that is not here yet: the smaller one holds the key.
fn put_value(tables: &mut (impl TablesMut + ?Sized), mut new: StoredEvent<'_>) -> Result<Merged> {
    let Some(held) = tables.event(new.key)? else {
        tables.put_event(&new)?;
        return Ok(Merged::New);
    };
    if held.value < new.value {
        new.clash = true;
        tables.put_event(&new)?;
        return Ok(Merged::Loser);
    }
    let data = held.value.data.to_vec();
    let (hash, dots) = (held.hash, held.dots.clone());
    let value = Value { data: &data, ..held.value };
    tables.put_event(&StoredEvent { key: new.key, hash, value, dots, clash: true })?;
    tables.put_event(&new)?;
    Ok(Merged::New)
}

/// Puts new events with their dots, of which `first` is the first, and their arrivals; each with what its dot
/// contributes to the sum. The sum over these dots.
fn put_run<'a>(
    tables: &mut (impl TablesMut + ?Sized),
    first: Dot,
    new: impl Iterator<Item = (Candidate<'a>, Sum)>,
    wall_ms: u64,
) -> Result<Sum> {
    let (mut check, wall_ms) = {
        let head = tables.head()?;
        (head.check, wall_ms.max(head.wall_ms))
    };
    let before = sum_before(tables, first.origin, first.seq)?;
    let mut sum = before;
    let mut events = Vec::with_capacity(new.size_hint().0);
    for ((candidate, part), seq) in new.zip(first.seq.0..) {
        let Candidate { key, value, hash } = candidate;
        let dot = Dot { origin: first.origin, seq: Seq(seq) };
        sum = sum.plus(part);
        check = check_behind(check, &ArrivalRow { key, hash, dot, wall_ms, check });
        events.push(NewEvent { key, hash, value, sum, check });
    }
    tables.put_run(Run { first, wall_ms, events: &events })?;
    Ok(sum.minus(before))
}

fn put_dot(tables: &mut (impl TablesMut + ?Sized), dot: Dot, key: EventKey, hash: ValueHash) -> Result<()> {
    let before = sum_before(tables, dot.origin, dot.seq)?;
    tables.put_dot(dot, DotRow { key, hash, sum: before.plus(Sum::of(dot.seq, key, hash)) })
}

fn sum_before(tables: &(impl Tables + ?Sized), origin: Origin, seq: Seq) -> Result<Sum> {
    if seq.0 <= 1 {
        return Ok(Sum::ZERO);
    }
    let before = Dot { origin, seq: Seq(seq.0 - 1) };
    let row = tables.dot(before)?.ok_or_else(|| TableError::Corrupt {
        table: "dots",
        row: before.to_string(),
        reason: "a dot before the last one is missing",
    })?;
    Ok(row.sum)
}

fn put_arrival(
    tables: &mut (impl TablesMut + ?Sized),
    (key, hash, dot): (EventKey, ValueHash, Dot),
    wall_ms: u64,
) -> Result<()> {
    let (number, before, wall_ms) = {
        let head = tables.head()?;
        (Arrival(head.arrivals + 1), head.check, wall_ms.max(head.wall_ms))
    };
    let row = ArrivalRow { key, hash, dot, wall_ms, check: [0; 8] };
    tables.put_arrival(number, ArrivalRow { check: check_behind(before, &row), ..row })
}

/// The check of an arrival that comes behind one with the check `before`; the row's own check does not matter.
pub fn check_behind(before: [u8; 8], row: &ArrivalRow) -> [u8; 8] {
    let ArrivalRow { key, hash, dot, wall_ms, .. } = row;
    let (seq, wall_ms) = (dot.seq.0.to_be_bytes(), wall_ms.to_be_bytes());
    hash_of::<64, 8>(&[&before, &key.0, &hash.0, &dot.origin.0, &seq, &wall_ms])
}
