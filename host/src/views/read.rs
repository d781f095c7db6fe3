//! Reading views: the last Snapshot within the bounds, and the deltas behind it folded in.
//!
//! A reader works on one state of the derived environment and writes nothing. What it folded may be worth keeping:
//! the Snapshots it would like to have go to the deriver, which stores them if the aggregate is still as it was.

use super::answer::{Answer, Item, Page, PageQuery, SetAside};
use super::bounds::KeyRange;
use super::build::{Build, View};
use super::computes::{Computes, Failure, FailureKind, Revision};
use super::cursor::{self, Scope};
use super::error::ViewError;
use super::layout::{self, Head};
use super::rows::{Rows, Table, keys_under};
use crate::core::event::EventKey;
use crate::core::tables::TableError;
use laterbase_plugin::aggregate;
use serde_json::value::RawValue;
use std::ops::ControlFlow;

/// A fold call carries so many deltas.
const RUN_DELTAS: usize = 256;
/// A fold call is full with so many bytes of deltas.
const RUN_BYTES: usize = 1 << 20;
/// A read that folded more deltas than this leaves a Snapshot at its end; cheaper ones would cost more than they save.
const SNAPSHOT_DELTAS_MIN: u64 = 64;
/// A long fold leaves a Snapshot behind every so many events.
const SNAPSHOT_EVENTS: u64 = 1024;
/// A larger state is not kept, in bytes.
const SNAPSHOT_BYTES_MAX: usize = 64 << 10;
/// The Snapshots of one aggregate that one read leaves, in bytes.
const SNAPSHOTS_BYTES_MAX: usize = 4 << 20;
/// An answer names so many events that were set aside.
const INCOMPLETE_MAX: usize = 100;
/// A page looks at so many aggregates, whether they have events within the bounds or not.
const PAGE_AGGREGATES_MAX: usize = 10_000;
/// A page ends behind the item with which it has folded so many deltas.
const PAGE_DELTAS_MAX: u64 = 262_144;
/// A page ends behind the item with which its values have so many bytes.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Snapshots that a read would like to have kept.
#[derive(Debug)]
pub(super) struct Keep {
    /// The tables of the Keyspace.
    pub(super) keyspace: Revision,
    /// The table of the View's Snapshots.
    pub(super) snapshots: Revision,
    /// The aggregate.
    pub(super) aggregate: Vec<u8>,
    /// Its version when they were computed.
    pub(super) version: u64,
    /// Up to and with which event, and the row's value.
    pub(super) rows: Vec<(EventKey, Vec<u8>)>,
}

/// One query under way on one state of the rows.
pub(super) struct Reading<'r> {
    rows: &'r dyn Rows,
    plugins: &'r dyn Computes,
    view: &'r View,
    range: KeyRange,
    /// How many deltas were folded.
    folded: u64,
    /// What is worth keeping.
    pub(super) keep: Vec<Keep>,
}

/// An aggregate's state within the bounds.
struct Folded {
    state: Vec<u8>,
    events: u64,
    last: EventKey,
}

impl<'r> Reading<'r> {
    /// A query of `view` for the events in `range`.
    pub(super) fn new(rows: &'r dyn Rows, build: &'r Build, view: &'r View, range: KeyRange) -> Self {
        Self { rows, plugins: build.plugins.as_ref(), view, range, folded: 0, keep: Vec::new() }
    }

    /// The answer for one aggregate; none if no un-voided event in the range maps to it.
    pub(super) fn one(&mut self, aggregate: &[u8]) -> Result<Option<Answer>, ViewError> {
        let Some(folded) = self.fold(aggregate)? else { return Ok(None) };
        Ok(Some(Answer {
            key: parts(aggregate)?,
            value: self.render(aggregate, &folded.state)?,
            events: folded.events,
            last: folded.last,
            incomplete: self.incomplete()?,
        }))
    }

    /// A page of the aggregates under the encoded `prefix`.
    pub(super) fn page(&mut self, prefix: &[u8], query: &PageQuery, scope: Scope) -> Result<Page, ViewError> {
        let heads = Table::Heads(self.view.keyspace.tables);
        let mut from = match &query.cursor {
            Some(text) => behind(&cursor::read(scope, text)?),
            None => prefix.to_vec(),
        };
        let (limit, mut seen, mut bytes) = (query.limit.max(1), 0, 0);
        let mut page = Page { items: Vec::new(), cursor: None, incomplete: self.incomplete()? };
        loop {
            let Some(aggregate) = keys_under(self.rows, heads, prefix, &from, 1)?.pop() else {
                page.cursor = None;
                return Ok(page);
            };
            let full = page.items.len() >= limit || bytes >= PAGE_BYTES_MAX;
            if full || seen >= PAGE_AGGREGATES_MAX || self.folded >= PAGE_DELTAS_MAX {
                return Ok(page);
            }
            if let Some(folded) = self.fold(&aggregate)? {
                let value = self.render(&aggregate, &folded.state)?;
                bytes += value.get().len();
                page.items.push(Item { key: parts(&aggregate)?, value });
            }
            seen += 1;
            page.cursor = Some(cursor::write(scope, &aggregate));
            from = behind(&aggregate);
        }
    }

    /// Tries the View on its first `most` aggregates.
    pub(super) fn try_out(&mut self, most: usize) -> Result<(), ViewError> {
        let heads = Table::Heads(self.view.keyspace.tables);
        for aggregate in keys_under(self.rows, heads, &[], &[0], most)? {
            if let Err(ViewError::Plugin { view, failure }) = self.one(&aggregate) {
                return Err(ViewError::Trial { view, key: parts(&aggregate)?, failure });
            }
        }
        Ok(())
    }

    /// The aggregate's state after all un-voided events in the range; none if there is none.
    fn fold(&mut self, aggregate: &[u8]) -> Result<Option<Folded>, ViewError> {
        let Some(head) = self.rows.get(Table::Heads(self.view.keyspace.tables), aggregate)? else {
            return Ok(None);
        };
        let version = Head::read(&head)?.version;
        let mut fold = Fold {
            plugins: self.plugins,
            view: self.view,
            range: self.range,
            run: Run::default(),
            state: None,
            events: 0,
            last: None,
            folded: 0,
            kept_at: 0,
            kept_bytes: 0,
            kept: Vec::new(),
        };
        let from = fold.start(self.rows, aggregate)?;
        let mut outcome = Ok(());
        self.rows.scan(Table::Deltas(self.view.keyspace.tables), &from, &mut |key, value| {
            if !key.starts_with(aggregate) {
                return ControlFlow::Break(());
            }
            match fold.take(key, value) {
                Ok(flow) => flow,
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        outcome?;
        fold.finish()?;
        self.folded += fold.folded;
        if !fold.kept.is_empty() {
            self.keep.push(Keep {
                keyspace: self.view.keyspace.tables,
                snapshots: self.view.snapshots,
                aggregate: aggregate.to_vec(),
                version,
                rows: fold.kept,
            });
        }
        Ok(fold.state.zip(fold.last).map(|(state, last)| Folded { state, events: fold.events, last }))
    }

    fn render(&self, aggregate: &[u8], state: &[u8]) -> Result<Box<RawValue>, ViewError> {
        let rendered = self.plugins.render(self.view.position, aggregate, state);
        let failed = |failure| ViewError::Plugin { view: self.view.info.name.clone(), failure };
        let json = rendered.map_err(failed)?;
        let not_json = |error: serde_json::Error| {
            failed(Failure { kind: FailureKind::Broken, message: format!("`render` gave no JSON: {error}") })
        };
        serde_json::from_slice(&json).map_err(not_json)
    }

    /// The first events in the range that the Keyspace could not take.
    fn incomplete(&self) -> Result<Vec<SetAside>, ViewError> {
        let (mut events, mut outcome) = (Vec::new(), Ok(()));
        let table = Table::Poison(self.view.keyspace.tables);
        self.rows.scan(
            table,
            &self.range.from.0,
            &mut |key, value| match layout::read_failure(key, value) {
                Ok((event, _)) if self.range.contains(event.key) && events.len() < INCOMPLETE_MAX => {
                    events.push(event);
                    ControlFlow::Continue(())
                }
                Ok(_) => ControlFlow::Break(()),
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        outcome?;
        Ok(events)
    }
}

/// One aggregate being folded.
struct Fold<'r> {
    plugins: &'r dyn Computes,
    view: &'r View,
    range: KeyRange,
    /// Deltas that wait for a call.
    run: Run,
    /// None: the identity.
    state: Option<Vec<u8>>,
    /// How many events are in the state and the run.
    events: u64,
    /// The last of them.
    last: Option<EventKey>,
    /// How many deltas were folded.
    folded: u64,
    /// How many events were in the last Snapshot.
    kept_at: u64,
    /// What the new Snapshots take.
    kept_bytes: usize,
    kept: Vec<(EventKey, Vec<u8>)>,
}

impl Fold<'_> {
    /// Begins with the last Snapshot in the range, if there is one; returns where the deltas behind it begin.
    fn start(&mut self, rows: &dyn Rows, aggregate: &[u8]) -> Result<Vec<u8>, ViewError> {
        let first = layout::joined(aggregate, self.range.from);
        if !self.is_from_the_beginning() {
            return Ok(first);
        }
        let end = match self.range.until {
            Some(until) => layout::joined(aggregate, until),
            None => behind(&layout::joined(aggregate, EventKey([0xff; 16]))),
        };
        match rows.last_before(Table::Snapshots(self.view.snapshots), &end)? {
            Some((key, value)) if key.starts_with(aggregate) => {
                let (events, state) = layout::read_snapshot(&value)?;
                self.state = Some(state.to_vec());
                (self.events, self.kept_at) = (events, events);
                self.last = Some(layout::event_of(&key)?);
                Ok(behind(&key))
            }
            _ => Ok(first),
        }
    }

    /// Takes the next row of the aggregate in.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<ControlFlow<()>, ViewError> {
        let event = layout::event_of(key)?;
        if !self.range.contains(event) {
            return Ok(ControlFlow::Break(()));
        }
        if !layout::is_live(value) {
            return Ok(ControlFlow::Continue(()));
        }
        for delta in layout::read_deltas(value) {
            self.run.push(event, delta?);
            if self.run.is_full() {
                self.flush()?;
            }
        }
        self.events += 1;
        self.last = Some(event);
        if self.events - self.kept_at >= SNAPSHOT_EVENTS {
            self.flush()?;
            self.keep();
        }
        Ok(ControlFlow::Continue(()))
    }

    fn finish(&mut self) -> Result<(), ViewError> {
        self.flush()?;
        if self.folded > SNAPSHOT_DELTAS_MIN {
            self.keep();
        }
        Ok(())
    }

    /// Shows the waiting deltas to the plugin.
    fn flush(&mut self) -> Result<(), ViewError> {
        if self.run.is_empty() {
            return Ok(());
        }
        let run = self.run.borrowed();
        self.folded += run.len() as u64;
        let folded = self.plugins.fold(self.view.position, self.state.as_deref(), &run);
        let failed = |failure| ViewError::Plugin { view: self.view.info.name.clone(), failure };
        self.state = Some(folded.map_err(failed)?);
        self.run.clear();
        Ok(())
    }

    /// Notes a Snapshot of the state, which has no deltas waiting.
    fn keep(&mut self) {
        let (Some(state), Some(last)) = (&self.state, self.last) else { return };
        let is_new = self.events > self.kept_at;
        if !is_new || !self.is_from_the_beginning() || state.len() > SNAPSHOT_BYTES_MAX {
            return;
        }
        self.kept_at = self.events;
        self.kept_bytes += state.len() + 64;
        if self.kept_bytes <= SNAPSHOTS_BYTES_MAX {
            self.kept.push((last, layout::write_snapshot(self.events, state)));
        }
    }

    /// Snapshots hold everything from the first event on.
    fn is_from_the_beginning(&self) -> bool {
        self.range.from == EventKey::default()
    }
}

/// Deltas in key order in one buffer.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    /// Each delta's event and where the delta ends.
    ends: Vec<(EventKey, usize)>,
}

impl Run {
    fn push(&mut self, event: EventKey, delta: &[u8]) {
        self.bytes.extend_from_slice(delta);
        self.ends.push((event, self.bytes.len()));
    }

    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= RUN_DELTAS || self.bytes.len() >= RUN_BYTES
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn borrowed(&self) -> Vec<(EventKey, &[u8])> {
        let mut start = 0;
        let piece = |(event, end): &(EventKey, usize)| {
            let delta = self.bytes.get(start..*end).expect("ends rise within the buffer");
            start = *end;
            (*event, delta)
        };
        self.ends.iter().map(piece).collect()
    }
}

/// The first key behind `key`.
fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn parts(aggregate: &[u8]) -> Result<Vec<String>, TableError> {
    aggregate::decode(aggregate).map_err(|_| layout::corrupt("heads", aggregate, "not an aggregate key"))
}
