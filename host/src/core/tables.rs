//! The tables of one Root as traits, so that the G-Set's rules are written once and run over LMDB and over memory.
//!
//! A reader sees one committed state for as long as it lives. Rows are borrowed from it. Visitors return
//! `ControlFlow::Break(())` to stop.

use super::event::{Arrival, Dot, EventKey, Origin, Seq, Value, ValueHash};
use super::knowledge::{Knowledge, Sum};
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

/// One stored (key, value) with every dot under which it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent<'t> {
    /// The event's key.
    pub key: EventKey,
    /// Names this value among those of the key.
    pub hash: ValueHash,
    /// The event's value.
    pub value: Value<'t>,
    /// Its dots, ascending; never empty.
    pub dots: Vec<Dot>,
    /// True for a value that lost its key to a smaller one.
    pub clash: bool,
}

/// New events in a row, all of them admitted by one Origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'r, 't> {
    /// The dot of the first; those of the others follow on it.
    pub first: Dot,
    /// This replica's wall clock in milliseconds since 1970, not before that of the last arrival.
    pub wall_ms: u64,
    /// The events in the order of their dots.
    pub events: &'r [NewEvent<'t>],
}

/// One event of a [`Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEvent<'t> {
    /// Its key: a free one, which no other event of the run has.
    pub key: EventKey,
    /// Names its value.
    pub hash: ValueHash,
    /// Its value.
    pub value: Value<'t>,
    /// The sum of its dot's row.
    pub sum: Sum,
    /// The check of its arrival.
    pub check: [u8; 8],
}

/// What a dot admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DotRow {
    /// The event's key.
    pub key: EventKey,
    /// Which value of that key.
    pub hash: ValueHash,
    /// The sum over all dots of this Origin from 1 up to and with this one.
    pub sum: Sum,
}

/// What arrived as the n-th, when, and a running hash over all arrivals so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalRow {
    /// The event's key.
    pub key: EventKey,
    /// Which value of that key.
    pub hash: ValueHash,
    /// The dot under which it came first.
    pub dot: Dot,
    /// This replica's wall clock in milliseconds since 1970; never falls from one arrival to the next.
    pub wall_ms: u64,
    /// BLAKE3 over the check before and this row, first 8 bytes.
    pub check: [u8; 8],
}

/// A place in the order in which feeds walk: by key, the winner first, then clash losers by hash.
/// `hash` is `None` at the winner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The event's key.
    pub key: EventKey,
    /// None for the winner, the value's hash for a loser.
    pub loser: Option<ValueHash>,
}

/// The few facts about a Root that change with every commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// This incarnation's Origin.
    pub origin: Origin,
    /// The Origin of the next admission, where it must not be the same: the tables were rolled back or copied.
    pub next_origin: Option<Origin>,
    /// The dots held: one prefix per Origin.
    pub knowledge: Knowledge,
    /// The number of the last arrival, 0 if there is none.
    pub arrivals: u64,
    /// The running hash at the last arrival.
    pub check: [u8; 8],
    /// The wall clock at the last arrival.
    pub wall_ms: u64,
    /// How many events hold a key (losers not counted).
    pub events: u64,
    /// The greatest stamp that the clock has given or seen, as NTP64.
    pub clock_max: u64,
}

impl<'r, 't> Run<'r, 't> {
    /// The events with their dots.
    pub fn dots(&self) -> impl Iterator<Item = (Dot, &'r NewEvent<'t>)> + use<'r, 't> {
        let Self { first, events, .. } = *self;
        let dot = move |seq| Dot { origin: first.origin, seq: Seq(seq) };
        (first.seq.0..).map(dot).zip(events)
    }

    /// The last dot; none if there are no events.
    pub fn last(&self) -> Option<Dot> {
        let more = (self.events.len() as u64).checked_sub(1)?;
        Some(Dot { seq: Seq(self.first.seq.0.checked_add(more)?), ..self.first })
    }
}

/// Two histories of one Origin: somebody admitted under it after a roll-back or in a copy. The difference of the two
/// sums over the same dots names it, because it stays the same when both take further dots in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fork {
    /// The other replica, by its own Origin.
    pub peer: Origin,
    /// Whose dots differ.
    pub origin: Origin,
    /// Our sum minus theirs.
    pub difference: Sum,
}

/// Why a table operation failed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Bytes on disk are not what was written: the checksum, the length or a cross-reference is wrong.
    #[error("table {table}, row {row}: {reason}")]
    Corrupt {
        /// The table's name.
        table: &'static str,
        /// The row's key in hex.
        row: String,
        /// What does not hold.
        reason: &'static str,
    },
    /// The environment's map is full; the writer grows it and runs the transaction again.
    #[error("the map is full")]
    MapFull,
    /// The disk is full.
    #[error("no space left on the device")]
    DiskFull(#[source] std::io::Error),
    /// The storage engine or the device failed.
    #[error("storage: {0}")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An earlier input/output error at a commit: the environment must be reopened and verified.
    #[error("this root is closed after an input/output error")]
    Poisoned,
}

/// The result of a table operation.
pub type Result<T> = std::result::Result<T, TableError>;

/// One consistent state of a Root's tables.
pub trait Tables {
    /// The facts that change with every commit.
    fn head(&self) -> Result<Arc<Head>>;
    /// The event that holds `key`.
    fn event(&self, key: EventKey) -> Result<Option<StoredEvent<'_>>>;
    /// The value `hash` of `key`, whether it holds the key or lost it.
    fn find(&self, key: EventKey, hash: ValueHash) -> Result<Option<StoredEvent<'_>>>;
    /// Whether no event has one of these keys.
    fn is_free(&self, keys: RangeInclusive<EventKey>) -> Result<bool>;
    /// Visits events in feed order: those behind `after` (from the start if none).
    fn walk(
        &self,
        after: Option<Position>,
        visit: &mut dyn FnMut(StoredEvent<'_>) -> ControlFlow<()>,
    ) -> Result<()>;
    /// What `dot` admitted.
    fn dot(&self, dot: Dot) -> Result<Option<DotRow>>;
    /// Visits the dots `seqs` of `origin` in order.
    fn dots(
        &self,
        origin: Origin,
        seqs: RangeInclusive<u64>,
        visit: &mut dyn FnMut(Seq, DotRow) -> ControlFlow<()>,
    ) -> Result<()>;
    /// The n-th arrival.
    fn arrival(&self, number: Arrival) -> Result<Option<ArrivalRow>>;
    /// Visits arrivals in order, beginning with `from`.
    fn arrivals(
        &self,
        from: Arrival,
        visit: &mut dyn FnMut(Arrival, ArrivalRow) -> ControlFlow<()>,
    ) -> Result<()>;
    /// The first stamp (NTP64) of an Idempotency-Key, named by 16 bytes of its hash.
    fn stamp(&self, key: [u8; 16]) -> Result<Option<u64>>;
    /// The bytes of a pin that was too big for its cursor.
    fn pin(&self, name: [u8; 16]) -> Result<Option<Vec<u8>>>;
    /// Whether this fork has been healed.
    fn healed(&self, fork: Fork) -> Result<bool>;
}

/// The same tables inside a write transaction. Only `core::gset` puts events, dots and arrivals.
pub trait TablesMut: Tables {
    /// Writes the row of the event that holds its key (`clash` false) or of a loser (`clash` true).
    fn put_event(&mut self, event: &StoredEvent<'_>) -> Result<()>;
    /// Takes the loser row (key, hash) away, because that value now holds the key.
    fn remove_loser(&mut self, key: EventKey, hash: ValueHash) -> Result<()>;
    /// Appends a dot; its seq follows on the last of its Origin.
    fn put_dot(&mut self, dot: Dot, row: DotRow) -> Result<()>;
    /// Appends an arrival.
    fn put_arrival(&mut self, number: Arrival, row: ArrivalRow) -> Result<()>;
    /// Puts new events, their dots and their arrivals: the same as one by one, at less cost.
    fn put_run(&mut self, run: Run<'_, '_>) -> Result<()> {
        for (dot, event) in run.dots() {
            let NewEvent { key, hash, value, sum, check } = *event;
            self.put_event(&StoredEvent { key, hash, value, dots: vec![dot], clash: false })?;
            self.put_dot(dot, DotRow { key, hash, sum })?;
            let number = Arrival(self.head()?.arrivals + 1);
            self.put_arrival(number, ArrivalRow { key, hash, dot, wall_ms: run.wall_ms, check })?;
        }
        Ok(())
    }
    /// From the next admission on, dots are of this Origin.
    fn put_next_origin(&mut self, origin: Origin) -> Result<()>;
    /// Makes the next Origin the current one, and remembers which file it belongs to. Nothing if there is none.
    fn begin_next_origin(&mut self) -> Result<()>;
    /// Remembers that a fork has been healed.
    fn put_healed(&mut self, fork: Fork) -> Result<()>;
    /// Raises the persisted maximum of the clock.
    fn put_clock_max(&mut self, stamp: u64) -> Result<()>;
    /// Keeps an Idempotency-Key's first stamp until `until_ms`; forgets those that are over at `now_ms`.
    fn put_stamp(&mut self, key: [u8; 16], stamp: u64, now_ms: u64, until_ms: u64) -> Result<()>;
    /// Keeps a pin until `until_ms`; forgets those that are over at `now_ms`.
    fn put_pin(&mut self, name: [u8; 16], bytes: &[u8], now_ms: u64, until_ms: u64) -> Result<()>;
}
