//! One page of a walk over the tables, in one of two ways that give the same events.
//!
//! - **Scan** events in key order. Costs a row per event of the Root; right when the caller lacks much.
//! - **Collect** the positions of the dots that the caller lacks, and keep the smallest. Costs a row per lacking
//!   dot; right when the caller lacks little of much.
//!
//! Which is cheaper cannot be told before (the events lacked may lie together at the end), so a page that lacks more
//! than a few scans first, for as many events as collecting would read dots, and then collects: it costs at most
//! twice what the better way costs. Both ways stop after a fixed amount of work: a page may be empty, but its cursor
//! has moved.

use super::TypeNames;
pub(super) use super::cursor::Mark;
use super::format::Form;
use super::json::{FeedEvent, NameTexts};
use super::query::Filters;
use crate::core::event::{Dot, EventKey, ValidTime, ValueHash};
use crate::core::knowledge::{DotSet, Knowledge};
use crate::core::tables::{self, Position, StoredEvent, TableError, Tables};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// How many events one page scans before it gives up looking.
const SCAN_EVENTS_MAX: u64 = 65_536;

/// How many bytes of events one page reads without giving them out.
const SCAN_BYTES_MAX: usize = 64 << 20;

/// From how many lacking dots on a page scans first.
const SCAN_FROM_DOTS: u64 = 4096;

/// Up to how many lacking dots a page collects.
const COLLECT_DOTS_MAX: u64 = 1 << 21;

/// How many positions a page collects, at least, and under a filter by type, which needs a look at each event.
const COLLECT_POSITIONS: usize = 4096;
const COLLECT_POSITIONS_BY_TYPE: usize = 65_536;

/// After so many events the length of the whole page is known well enough to make room for it.
const SAMPLE_EVENTS: usize = 256;

/// What a walk gives out, and from where.
pub(super) struct Walk<'w> {
    pub(super) tables: &'w dyn Tables,
    pub(super) filters: &'w Filters,
    pub(super) pin: &'w Knowledge,
    pub(super) known: &'w DotSet,
    /// Values that do not belong to the walk, although a dot of the pin names them.
    pub(super) later: &'w BTreeSet<(EventKey, ValueHash)>,
    pub(super) names: &'w dyn TypeNames,
    pub(super) form: Form<'w>,
}

/// When a page closes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) events_max: usize,
    pub(super) bytes_max: usize,
}

/// A page's events.
pub(super) struct Walked {
    pub(super) body: Vec<u8>,
    /// Where each event ends in `body`.
    pub(super) ends: Vec<usize>,
    /// How many dots of the pin that the caller lacked it has now.
    pub(super) dots: u64,
    /// Where the next page goes on; none: there is no more.
    pub(super) more: Option<Mark>,
}

/// A way of filling a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Looking at so many events at most.
    Scan(u64),
    /// Reading every lacking dot.
    Collect,
}

/// How a way ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Nothing is left.
    AtEnd,
    /// The page is full and a further event waits.
    Full,
    /// The work allowed is done; what follows is not known.
    Tired,
}

impl Walk<'_> {
    /// The page behind `mark`; `missing` is how many dots of the pin the caller lacks.
    pub(super) fn page(&self, mark: Option<Mark>, missing: u64, bounds: Bounds) -> tables::Result<Walked> {
        if missing == 0 {
            return Ok(Builder::new(self, mark, bounds).finish(Ended::AtEnd));
        }
        let scan = (missing > SCAN_FROM_DOTS).then_some(Way::Scan(missing.min(SCAN_EVENTS_MAX)));
        let collect = (missing <= COLLECT_DOTS_MAX).then_some(Way::Collect);
        self.page_by(scan.into_iter().chain(collect), mark, bounds)
    }

    /// The page behind `mark`, filled by `ways` one after the other; at least one.
    pub(super) fn page_by(
        &self,
        ways: impl IntoIterator<Item = Way>,
        mark: Option<Mark>,
        bounds: Bounds,
    ) -> tables::Result<Walked> {
        let mut page = Builder::new(self, mark, bounds);
        let mut ended = Ended::Tired;
        for way in ways {
            if ended == Ended::Tired {
                ended = match way {
                    Way::Scan(events_max) => self.scan(&mut page, events_max)?,
                    Way::Collect => self.collect(&mut page)?,
                };
            }
        }
        Ok(page.finish(ended))
    }

    /// Gives out events in key order, looking at `events_max` of them at most.
    fn scan(&self, page: &mut Builder<'_>, events_max: u64) -> tables::Result<Ended> {
        if self.finish_key(page)?.is_break() {
            return Ok(Ended::Full);
        }
        let (mut ended, mut events) = (Ended::AtEnd, 0);
        self.tables.walk(self.start(page.mark), &mut |event| {
            if self.filters.behind(event.key) {
                return ControlFlow::Break(());
            }
            if events == events_max || page.bytes_read > SCAN_BYTES_MAX {
                ended = Ended::Tired;
                return ControlFlow::Break(());
            }
            events += 1;
            let flow = page.offer(&event);
            if flow.is_break() {
                ended = Ended::Full;
            }
            flow
        })?;
        Ok(ended)
    }

    /// The values of the mark's key may have another winner by now, or on this replica, than when the mark was made.
    /// A winner that the walk has not passed yet lies before the mark in the tables and would be lost: then what is
    /// left of the key is given out by hash, here.
    fn finish_key(&self, page: &mut Builder<'_>) -> tables::Result<ControlFlow<()>> {
        let Some(mark) = page.mark else { return Ok(ControlFlow::Continue(())) };
        // Another replica may have passed a key outside the pin that is not held here.
        let Some(winner) = self.tables.event(mark.key)?.map(|event| event.hash) else {
            return Ok(ControlFlow::Continue(()));
        };
        if passed(&mark, mark.key, winner) {
            return Ok(ControlFlow::Continue(()));
        }
        let mut values = vec![(mark.key, winner)];
        self.tables.walk(Some(mark.position()), &mut |event| {
            if event.key != mark.key {
                return ControlFlow::Break(());
            }
            values.push((event.key, event.hash));
            ControlFlow::Continue(())
        })?;
        values.sort_unstable();
        self.offer_values(page, &values)
    }

    /// Where a scan begins: behind the mark, or just before the first instant.
    fn start(&self, mark: Option<Mark>) -> Option<Position> {
        if let Some(mark) = mark {
            return Some(mark.position());
        }
        let first = ValidTime::from_millis(self.filters.from_ms?.checked_sub(1)?)?;
        let before = u128::from_be_bytes(EventKey::new(first, [0; 8]).0).checked_sub(1)?;
        Some(Position { key: EventKey(before.to_be_bytes()), loser: Some(ValueHash([0xff; 16])) })
    }

    /// Gives out the events of the lacking dots, the smallest positions first.
    fn collect(&self, page: &mut Builder<'_>) -> tables::Result<Ended> {
        let collected = self.smallest(page.mark, page.bounds)?;
        for values in collected.values.chunk_by(|(a, _), (b, _)| a == b) {
            if page.bytes_read > SCAN_BYTES_MAX {
                return Ok(Ended::Tired);
            }
            if self.offer_values(page, values)?.is_break() {
                return Ok(Ended::Full);
            }
        }
        Ok(if collected.cut.is_some() { Ended::Tired } else { Ended::AtEnd })
    }

    fn smallest(&self, mark: Option<Mark>, bounds: Bounds) -> tables::Result<Smallest> {
        let by_type = !self.filters.types.is_empty();
        let keep = if by_type { COLLECT_POSITIONS_BY_TYPE } else { COLLECT_POSITIONS };
        let mut smallest = Smallest::new(keep.max(bounds.events_max.saturating_add(1)));
        for (origin, gap) in self.known.missing(self.pin) {
            self.tables.dots(origin, gap, &mut |_, row| {
                let passed = mark.is_some_and(|mark| passed(&mark, row.key, row.hash));
                if !passed && !self.filters.before(row.key) && !self.filters.behind(row.key) {
                    smallest.push(row.key, row.hash);
                }
                ControlFlow::Continue(())
            })?;
        }
        smallest.finish();
        Ok(smallest)
    }

    /// Offers values of one key, which are sorted: the winner first, then losers by hash. What is left of the mark's
    /// own key goes by hash alone, because its winner may have changed.
    fn offer_values(
        &self,
        page: &mut Builder<'_>,
        values: &[(EventKey, ValueHash)],
    ) -> tables::Result<ControlFlow<()>> {
        let Some(&(key, _)) = values.first() else { return Ok(ControlFlow::Continue(())) };
        let mut winner_hash = None;
        if page.mark.is_none_or(|mark| mark.key != key) {
            let winner = self.tables.event(key)?.ok_or_else(|| no_event(key))?;
            if page.offer(&winner).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            winner_hash = Some(winner.hash);
        }
        for (_, hash) in values.iter().filter(|(_, hash)| Some(*hash) != winner_hash) {
            let value = self.tables.find(key, *hash)?.ok_or_else(|| no_event(key))?;
            if page.offer(&value).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The least dot of the pin under which `event` is known, if the walk gives it out.
    fn wanted(&self, event: &StoredEvent<'_>) -> Option<Dot> {
        if !self.filters.pass(event.key, event.value.type_number) {
            return None;
        }
        let least = event.dots.iter().copied().find(|dot| self.pin.holds(*dot))?;
        if !self.later.is_empty() && self.later.contains(&(event.key, event.hash)) {
            return None;
        }
        (!event.dots.iter().any(|dot| self.known.contains(*dot))).then_some(least)
    }
}

/// Whether the value `hash` of `key` certainly lies at or before the mark.
fn passed(mark: &Mark, key: EventKey, hash: ValueHash) -> bool {
    if key != mark.key {
        return key < mark.key;
    }
    hash == mark.winner || mark.loser.is_some_and(|loser| hash <= loser)
}

fn no_event(key: EventKey) -> TableError {
    TableError::Corrupt {
        table: "events",
        row: key.to_string(),
        reason: "a dot names it, but it is not there",
    }
}

/// A page while it is filled.
struct Builder<'w> {
    walk: &'w Walk<'w>,
    bounds: Bounds,
    names: NameTexts<'w>,
    body: Vec<u8>,
    ends: Vec<usize>,
    dots: u64,
    /// The last event looked at and done with.
    mark: Option<Mark>,
    /// Bytes of events that were looked at and not given out.
    bytes_read: usize,
}

impl<'w> Builder<'w> {
    fn new(walk: &'w Walk<'w>, mark: Option<Mark>, bounds: Bounds) -> Self {
        let names = NameTexts::new(walk.names);
        let (body, ends) = (walk.form.opening().to_vec(), Vec::new());
        Self { walk, bounds, names, body, ends, dots: 0, mark, bytes_read: 0 }
    }

    /// Gives `event` out if it is wanted; breaks, and leaves the event for the next page, if the page is full.
    fn offer(&mut self, event: &StoredEvent<'_>) -> ControlFlow<()> {
        let given_before = self.mark.is_some_and(|mark| mark.key == event.key && mark.winner == event.hash);
        match self.walk.wanted(event) {
            Some(dot) if !given_before => self.give(event, dot)?,
            _ => self.bytes_read += event.value.data.len(),
        }
        self.pass(event);
        ControlFlow::Continue(())
    }

    fn give(&mut self, event: &StoredEvent<'_>, dot: Dot) -> ControlFlow<()> {
        if self.ends.len() == self.bounds.events_max {
            return ControlFlow::Break(());
        }
        let length = self.body.len();
        if !self.ends.is_empty() {
            self.body.extend_from_slice(self.walk.form.separator());
        }
        if self.ends.len() == SAMPLE_EVENTS {
            self.reserve();
        }
        let shown = FeedEvent { key: event.key, value: event.value, dot, clash: event.clash };
        let behind = self.behind(event);
        self.walk.form.write(&mut self.body, &shown, behind, &mut self.names);
        if !self.ends.is_empty() && self.body.len() > self.bounds.bytes_max {
            self.body.truncate(length);
            return ControlFlow::Break(());
        }
        self.ends.push(self.body.len());
        self.dots += event.dots.iter().filter(|dot| self.walk.pin.holds(**dot)).count() as u64;
        ControlFlow::Continue(())
    }

    /// Makes room for a whole page of events like those so far: one that grows by and by is copied as it grows.
    fn reserve(&mut self) {
        let page = self.bounds.events_max.saturating_mul(self.body.len() / SAMPLE_EVENTS);
        self.body.reserve(page.min(self.bounds.bytes_max).saturating_sub(self.body.len()));
    }

    fn pass(&mut self, event: &StoredEvent<'_>) {
        self.mark = Some(self.behind(event));
    }

    /// The place just behind `event`.
    fn behind(&self, event: &StoredEvent<'_>) -> Mark {
        match self.mark {
            Some(mark) if mark.key == event.key && mark.winner == event.hash => mark,
            Some(mark) if mark.key == event.key => Mark { loser: Some(event.hash), ..mark },
            _ => Mark { key: event.key, winner: event.hash, loser: None },
        }
    }

    fn finish(self, ended: Ended) -> Walked {
        let more = match ended {
            Ended::AtEnd => None,
            // Without a place to go on from, the answer would claim what it has not given.
            Ended::Full | Ended::Tired => {
                Some(self.mark.expect("a page that ends early has looked at an event"))
            }
        };
        Walked { body: self.body, ends: self.ends, dots: self.dots, more }
    }
}

/// The values of the smallest keys among those pushed, each once: at least as many as asked for, if there are, and
/// whole keys only.
struct Smallest {
    values: Vec<(EventKey, ValueHash)>,
    keep: usize,
    /// The greatest key kept, once greater ones were thrown away.
    cut: Option<EventKey>,
    /// At which length to throw away again.
    full: usize,
}

impl Smallest {
    fn new(keep: usize) -> Self {
        Self { values: Vec::new(), keep, cut: None, full: keep.saturating_mul(2) }
    }

    fn push(&mut self, key: EventKey, hash: ValueHash) {
        if self.cut.is_some_and(|cut| key > cut) {
            return;
        }
        self.values.push((key, hash));
        if self.values.len() >= self.full {
            self.finish();
            // One key may have more values than are asked for: then the next round must wait longer.
            self.full = self.values.len().max(self.keep).saturating_mul(2);
        }
    }

    /// Sorts what is kept and throws the rest away.
    fn finish(&mut self) {
        self.values.sort_unstable();
        self.values.dedup();
        let Some(&(last, _)) = self.values.get(self.keep - 1) else { return };
        let kept = self.values.partition_point(|(key, _)| *key <= last);
        if kept < self.values.len() {
            self.values.truncate(kept);
            self.cut = Some(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // What is kept must be the smallest keys whole, at least as many values as asked for, each once.
        #[test]
        fn smallest_is_a_prefix(
            pushed in proptest::collection::vec((0..20_u8, 0..4_u8), 0..200),
            keep in 1..12_usize,
        ) {
            let mut smallest = Smallest::new(keep);
            let mut all = std::collections::BTreeSet::new();
            for (key, hash) in pushed {
                let value = (EventKey([key; 16]), ValueHash([hash; 16]));
                smallest.push(value.0, value.1);
                all.insert(value);
            }
            smallest.finish();
            let all: Vec<_> = all.into_iter().collect();
            let kept = smallest.values.len();
            prop_assert_eq!(&smallest.values[..], &all[..kept]);
            prop_assert!(kept >= keep.min(all.len()));
            match smallest.cut {
                None => prop_assert_eq!(kept, all.len()),
                Some(cut) => {
                    prop_assert_eq!(cut, all[kept - 1].0);
                    prop_assert!(all.get(kept).is_none_or(|(key, _)| *key > cut));
                }
            }
        }
    }
}
