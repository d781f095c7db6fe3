//! The traits of a Root's tables over LMDB's: reading in either kind of transaction, writing in one of them.

use super::environment::{ALL_KEYS, KeyRange, Rows, Table, WriteTxn};
use super::identity::Identity;
use super::lmdb::Handles;
use super::rows::{
    ARRIVALS, DOTS, Decoder, EVENTS, Encoder, HEALED, HeadRow, META, ORIGINS, clash_key, corrupt,
    decode_arrival, decode_dot, decode_dot_key, decode_event, decode_number, dot_key, encode_arrival,
    encode_arrival_over, encode_dot, encode_dot_over, encode_event, encode_new_event, fork_key,
};
use crate::core::event::{Arrival, Dot, EventKey, Origin, Seq, ValueHash};
use crate::core::tables::{
    ArrivalRow, DotRow, Fork, Head, NewEvent, Position, Result, Run, StoredEvent, Tables, TablesMut,
};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::mem::take;
use std::ops::{Bound, ControlFlow, RangeFrom, RangeInclusive};
use std::sync::Arc;

/// The tables of a Root inside one transaction `R`.
pub(super) struct OverLmdb<'s, R> {
    pub(super) tables: &'s Handles,
    pub(super) rows: R,
    /// The head of this transaction; read from the tables if nobody knew it.
    head: OnceCell<Arc<Head>>,
    /// What of the head has to be written.
    changed: Changed,
    /// The dot put last: the next one of its Origin builds on its sum.
    last_dot: Option<(Dot, DotRow)>,
    /// The memory in which rows are written.
    row: Vec<u8>,
}

/// Events of a run that is put like single events.
const SHORT_RUN: usize = 2;

/// The tables of a Root in the writer.
pub(super) type Writing<'s, 'w, 'e> = OverLmdb<'s, &'w mut WriteTxn<'e>>;

#[derive(Default)]
struct Changed {
    facts: bool,
    origins: BTreeSet<Origin>,
    other: bool,
}

impl<'s, R: Rows> OverLmdb<'s, R> {
    /// The tables in `rows`; `head` if it is known already.
    pub(super) fn new(tables: &'s Handles, rows: R, head: Option<Arc<Head>>) -> Self {
        let head = head.map_or_else(OnceCell::new, OnceCell::from);
        Self { tables, rows, head, changed: Changed::default(), last_dot: None, row: Vec::new() }
    }

    fn current(&self) -> Result<&Arc<Head>> {
        if let Some(head) = self.head.get() {
            return Ok(head);
        }
        let head = read_head(&self.rows, self.tables)?;
        Ok(self.head.get_or_init(|| Arc::new(head)))
    }
}

/// Reads the head from its tables.
pub(super) fn read_head(rows: &impl Rows, tables: &Handles) -> Result<Head> {
    let row = rows.get(&tables.meta, HeadRow::KEY)?;
    let row = row.ok_or_else(|| corrupt(META, HeadRow::KEY, "the head is missing"))?;
    let row = HeadRow::decode(row)?;
    let HeadRow { origin, arrivals, check, wall_ms, events, clock_max, origins, next_origin } = row;
    let mut lasts = Vec::new();
    for row in rows.range(&tables.origins, ALL_KEYS)? {
        let (key, row) = row?;
        let mut row = Decoder::open(ORIGINS, key, row)?;
        let origin = key.try_into().map_err(|_| row.corrupt("the key is no Origin"))?;
        lasts.push((Origin(origin), Seq(row.long()?)));
        row.end()?;
    }
    if lasts.len() as u64 != origins {
        return Err(corrupt(META, HeadRow::KEY, "an Origin is missing or one too many"));
    }
    let knowledge = lasts.into_iter().collect();
    Ok(Head { origin, next_origin, knowledge, arrivals, check, wall_ms, events, clock_max })
}

impl<R: Rows> Tables for OverLmdb<'_, R> {
    fn head(&self) -> Result<Arc<Head>> {
        self.current().cloned()
    }

    fn event(&self, key: EventKey) -> Result<Option<StoredEvent<'_>>> {
        let Some(row) = self.rows.get(&self.tables.events, &key.0)? else { return Ok(None) };
        decode_event(&key.0, row).map(Some)
    }

    fn find(&self, key: EventKey, hash: ValueHash) -> Result<Option<StoredEvent<'_>>> {
        match self.event(key)? {
            Some(held) if held.hash == hash => return Ok(Some(held)),
            Some(_) => {}
            None => return Ok(None),
        }
        let row_key = clash_key(key, hash);
        let Some(row) = self.rows.get(&self.tables.clashes, &row_key)? else { return Ok(None) };
        decode_event(&row_key, row).map(Some)
    }

    fn is_free(&self, keys: RangeInclusive<EventKey>) -> Result<bool> {
        if keys.is_empty() {
            return Ok(true);
        }
        let range = (Bound::Included(&keys.start().0[..]), Bound::Included(&keys.end().0[..]));
        Ok(self.rows.range(&self.tables.events, range)?.next().transpose()?.is_none())
    }

    fn walk(
        &self,
        after: Option<Position>,
        visit: &mut dyn FnMut(StoredEvent<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let least_loser = after.map(|after| clash_key(after.key, after.loser.unwrap_or(ValueHash([0; 16]))));
        let winners: KeyRange<'_> = match &after {
            Some(after) => (Bound::Excluded(&after.key.0), Bound::Unbounded),
            None => ALL_KEYS,
        };
        let losers: KeyRange<'_> = match (&least_loser, after.and_then(|after| after.loser)) {
            (Some(least), Some(_)) => (Bound::Excluded(least), Bound::Unbounded),
            (Some(least), None) => (Bound::Included(least), Bound::Unbounded),
            (None, _) => ALL_KEYS,
        };
        let mut winners = self.rows.range(&self.tables.events, winners)?;
        let mut losers = self.rows.range(&self.tables.clashes, losers)?;
        let (mut winner, mut loser) = (winners.next().transpose()?, losers.next().transpose()?);
        loop {
            // A winner's key is the beginning of its losers' keys and so sorts before them.
            let (key, row) = match (winner, loser) {
                (None, None) => return Ok(()),
                (Some(first), Some(second)) if first.0 > second.0 => {
                    loser = losers.next().transpose()?;
                    second
                }
                (Some(first), _) => {
                    winner = winners.next().transpose()?;
                    first
                }
                (None, Some(second)) => {
                    loser = losers.next().transpose()?;
                    second
                }
            };
            if visit(decode_event(key, row)?).is_break() {
                return Ok(());
            }
        }
    }

    fn dot(&self, dot: Dot) -> Result<Option<DotRow>> {
        if let Some((last, row)) = self.last_dot
            && last == dot
        {
            return Ok(Some(row));
        }
        let key = dot_key(dot);
        let row = self.rows.get(&self.tables.dots, &key)?;
        row.map(|row| decode_dot(&key, row)).transpose()
    }

    fn dots(
        &self,
        origin: Origin,
        seqs: RangeInclusive<u64>,
        visit: &mut dyn FnMut(Seq, DotRow) -> ControlFlow<()>,
    ) -> Result<()> {
        let first = dot_key(Dot { origin, seq: Seq(*seqs.start()) });
        let last = dot_key(Dot { origin, seq: Seq(*seqs.end()) });
        if seqs.is_empty() {
            return Ok(());
        }
        for row in self.rows.range(&self.tables.dots, (Bound::Included(&first), Bound::Included(&last)))? {
            let (key, row) = row?;
            let dot = decode_dot_key(key)?;
            if visit(dot.seq, decode_dot(key, row)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn arrival(&self, number: Arrival) -> Result<Option<ArrivalRow>> {
        let key = number.0.to_be_bytes();
        let row = self.rows.get(&self.tables.arrivals, &key)?;
        row.map(|row| decode_arrival(&key, row)).transpose()
    }

    fn arrivals(
        &self,
        from: Arrival,
        visit: &mut dyn FnMut(Arrival, ArrivalRow) -> ControlFlow<()>,
    ) -> Result<()> {
        let first = from.0.to_be_bytes();
        for row in self.rows.range(&self.tables.arrivals, (Bound::Included(&first), Bound::Unbounded))? {
            let (key, row) = row?;
            let number = Arrival(decode_number(ARRIVALS, key)?);
            if visit(number, decode_arrival(key, row)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn stamp(&self, key: [u8; 16]) -> Result<Option<u64>> {
        let Some(bytes) = self.tables.stamps.get(&self.rows, key)? else { return Ok(None) };
        decode_number(super::rows::STAMPS, bytes).map(Some)
    }

    fn pin(&self, name: [u8; 16]) -> Result<Option<Vec<u8>>> {
        Ok(self.tables.pins.get(&self.rows, name)?.map(<[u8]>::to_vec))
    }

    fn healed(&self, fork: Fork) -> Result<bool> {
        let key = fork_key(fork);
        let Some(row) = self.rows.get(&self.tables.healed, &key)? else { return Ok(false) };
        Decoder::open(HEALED, &key, row)?.end()?;
        Ok(true)
    }
}

impl<'s, 'w, 'e> Writing<'s, 'w, 'e> {
    /// The tables in a writer, with a head that has to be written whatever happens.
    pub(super) fn begin(tables: &'s Handles, txn: &'w mut WriteTxn<'e>, head: Head) -> Self {
        let mut this = Self::new(tables, txn, Some(Arc::new(head)));
        this.changed.facts = true;
        this
    }

    /// The head, to be changed.
    pub(super) fn change(&mut self) -> Result<&mut Head> {
        self.changed.facts = true;
        let mut head = match self.head.take() {
            Some(head) => head,
            None => Arc::new(read_head(&self.rows, self.tables)?),
        };
        Arc::make_mut(&mut head);
        self.head = OnceCell::from(head);
        self.head
            .get_mut()
            .map(Arc::make_mut)
            .ok_or_else(|| corrupt(META, HeadRow::KEY, "the head is missing"))
    }

    /// Writes what changed of the head, and gives the head that the commit will have; none if nothing was put.
    pub(super) fn finish(mut self) -> Result<Option<Arc<Head>>> {
        if !self.changed.facts && !self.changed.other {
            return Ok(None);
        }
        let head = self.current()?.clone();
        for origin in std::mem::take(&mut self.changed.origins) {
            let row = Encoder::with_room(8).long(head.knowledge.get(origin).0).seal(ORIGINS, &origin.0);
            self.rows.put(&self.tables.origins, &origin.0, &row)?;
        }
        if self.changed.facts {
            let row = HeadRow {
                origin: head.origin,
                arrivals: head.arrivals,
                check: head.check,
                wall_ms: head.wall_ms,
                events: head.events,
                clock_max: head.clock_max,
                origins: head.knowledge.origins() as u64,
                next_origin: head.next_origin,
            };
            self.rows.put(&self.tables.meta, HeadRow::KEY, &row.encode())?;
        }
        Ok(Some(head))
    }

    /// Writes a row over whatever holds the key, and leaves the head's count of events alone.
    pub(super) fn put_over(&mut self, event: &StoredEvent<'_>) -> Result<()> {
        self.changed.other = true;
        self.rows.put(&self.tables.events, &event.key.0, &encode_event(event)?)
    }

    /// Puts the rows of `events` in the order of their keys, so that each page is touched once.
    fn put_events_of(&mut self, run: Run<'_, '_>) -> Result<()> {
        let mut events: Vec<_> = run.dots().collect();
        events.sort_by_key(|(_, event)| event.key);
        let (table, mut row) = (&self.tables.events, take(&mut self.row));
        let least = events.first().map_or(EventKey::default(), |(_, event)| event.key);
        let is_behind = self.is_behind(table, &least.0, run)?;
        for (dot, event) in events {
            row = encode_new_event(row, event, dot);
            if !self.put_free(table, &event.key.0, &row, is_behind)? {
                return Err(corrupt(EVENTS, &event.key.0, "the key of a new event is taken"));
            }
        }
        self.row = row;
        Ok(())
    }

    fn put_dots_of(&mut self, run: Run<'_, '_>) -> Result<()> {
        let (table, mut row) = (&self.tables.dots, take(&mut self.row));
        let is_behind = self.is_behind(table, &dot_key(run.first), run)?;
        for (dot, event) in run.dots() {
            let key = dot_key(dot);
            row = encode_dot_over(row, &key, DotRow { key: event.key, hash: event.hash, sum: event.sum });
            if !self.put_free(table, &key, &row, is_behind)? {
                return Err(corrupt(DOTS, &key, "the dot is there already"));
            }
        }
        self.row = row;
        Ok(())
    }

    fn put_arrivals_of(&mut self, run: Run<'_, '_>, numbers: RangeFrom<u64>) -> Result<()> {
        let mut row = take(&mut self.row);
        for ((dot, event), number) in run.dots().zip(numbers) {
            let key = number.to_be_bytes();
            let NewEvent { key: event_key, hash, check, .. } = *event;
            let arrival = ArrivalRow { key: event_key, hash, dot, wall_ms: run.wall_ms, check };
            row = encode_arrival_over(row, &key, arrival);
            if !self.rows.append(&self.tables.arrivals, &key, &row)? {
                return Err(corrupt(ARRIVALS, &key, "the arrival does not follow on the last one"));
            }
        }
        self.row = row;
        Ok(())
    }

    /// Whether `key` is greater than all keys of `table`; of a short run, to ask costs more than to know it gains.
    fn is_behind(&self, table: &Table, key: &[u8], run: Run<'_, '_>) -> Result<bool> {
        Ok(run.events.len() > SHORT_RUN && self.rows.last(table)?.is_none_or(|(last, _)| last < key))
    }

    /// Writes a row under a free key, which, if it `is_behind` all others, need not be searched for.
    fn put_free(&mut self, table: &Table, key: &[u8], row: &[u8], is_behind: bool) -> Result<bool> {
        if is_behind { self.rows.append(table, key, row) } else { self.rows.put_new(table, key, row) }
    }

    /// Whether the winner of `event`'s key may be written over: it is the same value, or it is safe as a loser.
    fn check_takeover(&self, event: &StoredEvent<'_>) -> Result<()> {
        let Some(held) = self.event(event.key)? else { return Ok(()) };
        let safe = held.hash == event.hash
            || self.rows.get(&self.tables.clashes, &clash_key(held.key, held.hash))?.is_some();
        if safe {
            Ok(())
        } else {
            Err(corrupt(EVENTS, &event.key.0, "a put would lose the value that is there"))
        }
    }
}

impl TablesMut for Writing<'_, '_, '_> {
    fn put_event(&mut self, event: &StoredEvent<'_>) -> Result<()> {
        let row = encode_event(event)?;
        if event.clash {
            self.changed.other = true;
            return self.rows.put(&self.tables.clashes, &clash_key(event.key, event.hash), &row);
        }
        if self.rows.put_new(&self.tables.events, &event.key.0, &row)? {
            self.change()?.events += 1;
            return Ok(());
        }
        self.check_takeover(event)?;
        self.changed.other = true;
        self.rows.put(&self.tables.events, &event.key.0, &row)
    }

    fn remove_loser(&mut self, key: EventKey, hash: ValueHash) -> Result<()> {
        self.changed.other = true;
        self.rows.delete(&self.tables.clashes, &clash_key(key, hash)).map(drop)
    }

    fn put_dot(&mut self, dot: Dot, row: DotRow) -> Result<()> {
        let key = dot_key(dot);
        if self.current()?.knowledge.get(dot.origin).0.checked_add(1) != Some(dot.seq.0) {
            return Err(corrupt(DOTS, &key, "the dot does not follow on the last of its Origin"));
        }
        if !self.rows.put_new(&self.tables.dots, &key, &encode_dot(&key, row))? {
            return Err(corrupt(DOTS, &key, "the dot is there already"));
        }
        self.last_dot = Some((dot, row));
        self.changed.origins.insert(dot.origin);
        self.change()?.knowledge.advance(dot);
        Ok(())
    }

    fn put_arrival(&mut self, number: Arrival, row: ArrivalRow) -> Result<()> {
        let key = number.0.to_be_bytes();
        let follows = self.current()?.arrivals.checked_add(1) == Some(number.0);
        if !follows || !self.rows.append(&self.tables.arrivals, &key, &encode_arrival(&key, row))? {
            return Err(corrupt(ARRIVALS, &key, "the arrival does not follow on the last one"));
        }
        let head = self.change()?;
        head.arrivals = number.0;
        head.wall_ms = row.wall_ms;
        head.check = row.check;
        Ok(())
    }

    fn put_run(&mut self, run: Run<'_, '_>) -> Result<()> {
        let Some(last) = run.last() else { return Ok(()) };
        let head = self.current()?.clone();
        if head.knowledge.get(run.first.origin).0.checked_add(1) != Some(run.first.seq.0) {
            let key = dot_key(run.first);
            return Err(corrupt(DOTS, &key, "the dot does not follow on the last of its Origin"));
        }
        let numbers = head.arrivals + 1..;
        drop(head);
        self.put_events_of(run)?;
        self.put_dots_of(run)?;
        self.put_arrivals_of(run, numbers)?;
        self.changed.origins.insert(last.origin);
        let head = self.change()?;
        head.events += run.events.len() as u64;
        head.arrivals += run.events.len() as u64;
        head.knowledge.advance_by(run.first, last.seq);
        if let Some(event) = run.events.last() {
            head.wall_ms = run.wall_ms;
            head.check = event.check;
            self.last_dot = Some((last, DotRow { key: event.key, hash: event.hash, sum: event.sum }));
        }
        Ok(())
    }

    fn put_next_origin(&mut self, origin: Origin) -> Result<()> {
        self.change()?.next_origin = Some(origin);
        Ok(())
    }

    fn begin_next_origin(&mut self) -> Result<()> {
        if let Some(next) = self.current()?.next_origin {
            let head = self.change()?;
            head.origin = next;
            head.next_origin = None;
            self.rows.put(&self.tables.meta, Identity::KEY, &self.tables.file.encode())?;
        }
        Ok(())
    }

    fn put_healed(&mut self, fork: Fork) -> Result<()> {
        self.changed.other = true;
        let key = fork_key(fork);
        self.rows.put(&self.tables.healed, &key, &Encoder::with_room(0).seal(HEALED, &key))
    }

    fn put_clock_max(&mut self, stamp: u64) -> Result<()> {
        if stamp > self.current()?.clock_max {
            self.change()?.clock_max = stamp;
        }
        Ok(())
    }

    fn put_stamp(&mut self, key: [u8; 16], stamp: u64, now_ms: u64, until_ms: u64) -> Result<()> {
        self.changed.other = true;
        self.tables.stamps.keep(self.rows, key, &stamp.to_be_bytes(), (now_ms, until_ms))
    }

    fn put_pin(&mut self, name: [u8; 16], bytes: &[u8], now_ms: u64, until_ms: u64) -> Result<()> {
        self.changed.other = true;
        self.tables.pins.keep(self.rows, name, bytes, (now_ms, until_ms))
    }
}
