//! The tails and the index of one Root, as the one thread that writes them works on them.
//!
//! Following maps the next arrivals into the tails, in memory. A tail that is full, or that nobody adds to, is flushed
//! into the index piece by piece; between two pieces there is time to follow, so that reads wait for neither.

use super::build::{Build, Keyspace};
use super::computes::Revision;
use super::derived::Derived;
use super::error::ViewError;
use super::flush::{self, Flush, Left};
use super::follow;
use super::index::border::Borders;
use super::layout::{self, Position};
use super::rows::{Rows as _, Table, keys_under};
use super::states;
use super::tail::{Segment, Tail};
use crate::core::event::EventKey;
use crate::store::Store;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A segment with so many rows is flushed.
const SEGMENT_ROWS: usize = 65_536;
/// The code of a plugin was replaced: so many of the events that the one before set aside are tried again at once.
const RETRIES_MAX: usize = 65_536;

/// What readers see of the tails, by the revision of their Keyspace.
pub(super) type Tails = BTreeMap<Revision, Arc<ArcSwap<Tail>>>;

/// The files and tails of one Root's views, shared with readers.
#[derive(Debug, Default)]
pub(super) struct Indexed {
    /// The environment, once there is an event and somebody asked.
    pub(super) derived: OnceLock<Derived>,
    /// The tails.
    pub(super) tails: ArcSwap<Tails>,
}

/// The writer of an [`Indexed`].
pub(super) struct Indexer {
    dir: PathBuf,
    store: Arc<dyn Store>,
    indexed: Arc<Indexed>,
    flushes: VecDeque<(Flush, Borders)>,
}

impl Indexer {
    pub(super) fn new(dir: PathBuf, store: Arc<dyn Store>, indexed: Arc<Indexed>) -> Self {
        Self { dir, store, indexed, flushes: VecDeque::new() }
    }

    /// The environment, if it is open.
    pub(super) fn derived(&self) -> Option<&Derived> {
        self.indexed.derived.get()
    }

    /// Follows one batch of arrivals for `build`; returns how far it is then.
    pub(super) fn advance(&mut self, build: &Build) -> Result<u64, ViewError> {
        let (indexed, store) = (Arc::clone(&self.indexed), Arc::clone(&self.store));
        let events = store.read()?;
        if events.head()?.arrivals == 0 {
            return Ok(0);
        }
        let derived = if let Some(derived) = indexed.derived.get() {
            derived
        } else {
            let derived = Derived::open(&self.dir, events.as_ref())?;
            indexed.derived.get_or_init(|| derived)
        };
        let cells = self.cells(derived, build)?;
        let mut tails: Vec<Tail> = cells.iter().map(|cell| Tail::clone(&cell.load())).collect();
        let rows = derived.read()?;
        let position = follow::follow(events.as_ref(), &rows, build, &mut tails)?;
        drop(rows);
        for (cell, tail) in cells.iter().zip(tails) {
            cell.store(Arc::new(tail));
        }
        self.rotate(build, SEGMENT_ROWS)?;
        Ok(position)
    }

    /// How far `build` follows the arrivals; none if it has no Keyspaces.
    pub(super) fn position(&self, build: &Build) -> Option<u64> {
        let tails = self.indexed.tails.load();
        let position =
            |keyspace: &Keyspace| tails.get(&keyspace.tables).map_or(0, |cell| cell.load().position());
        build.keyspaces.iter().map(position).min()
    }

    /// The tails of a build's Keyspaces, in their order; one that is not there begins behind the index.
    fn cells(&self, derived: &Derived, build: &Build) -> Result<Vec<Arc<ArcSwap<Tail>>>, ViewError> {
        let mut tails = Tails::clone(&self.indexed.tails.load());
        let mut cells = Vec::with_capacity(build.keyspaces.len());
        for keyspace in &build.keyspaces {
            if let Some(cell) = tails.get(&keyspace.tables) {
                cells.push(Arc::clone(cell));
                continue;
            }
            let Position { cursor, .. } = flush::position(&derived.read()?, keyspace)?;
            let cell = Arc::new(ArcSwap::from_pointee(Tail::behind(cursor)));
            tails.insert(keyspace.tables, Arc::clone(&cell));
            cells.push(cell);
        }
        self.indexed.tails.store(Arc::new(tails));
        Ok(cells)
    }

    /// Begins to flush the active segments of `build` that have at least so many rows.
    pub(super) fn rotate(&mut self, build: &Build, rows_min: usize) -> Result<(), ViewError> {
        let tails = self.indexed.tails.load_full();
        for keyspace in &build.keyspaces {
            let Some(cell) = tails.get(&keyspace.tables) else { continue };
            if cell.load().active.len() < rows_min.max(1) {
                continue;
            }
            while cell.load().flushing.is_some() {
                self.flush_piece()?;
            }
            self.rotate_one(keyspace, cell, &build.borders)?;
        }
        Ok(())
    }

    fn rotate_one(
        &mut self,
        keyspace: &Keyspace,
        cell: &ArcSwap<Tail>,
        borders: &Borders,
    ) -> Result<(), ViewError> {
        let Some(derived) = self.indexed.derived.get() else { return Ok(()) };
        let tail = cell.load();
        // A flush that was cut short may have written rows of later arrivals: none ends before it.
        if flush::position(&derived.read()?, keyspace)?.begun.arrival > tail.position() {
            return Ok(());
        }
        let segment = tail.active.clone();
        let active = Segment { end: segment.end, ..Segment::default() };
        cell.store(Arc::new(Tail { flushing: Some(segment.clone()), active }));
        self.flushes.push_back((Flush::new(keyspace.clone(), segment), borders.clone()));
        Ok(())
    }

    /// Whether a flush is under way.
    pub(super) fn is_flushing(&self) -> bool {
        !self.flushes.is_empty()
    }

    /// Writes one piece of the oldest flush.
    pub(super) fn flush_piece(&mut self) -> Result<(), ViewError> {
        let (Some(derived), Some((flush, borders))) = (self.indexed.derived.get(), self.flushes.front_mut())
        else {
            return Ok(());
        };
        let piece = derived.write(&mut |rows| flush.piece(rows, borders))?;
        if flush.done(piece) == Left::More {
            return Ok(());
        }
        let tails = self.indexed.tails.load();
        if let Some(cell) = tails.get(&flush.keyspace().tables) {
            let tail = Tail { flushing: None, active: cell.load().active.clone() };
            cell.store(Arc::new(tail));
        }
        self.flushes.pop_front();
        Ok(())
    }

    /// Writes everything that is in the tails of `build`.
    pub(super) fn flush_all(&mut self, build: &Build) -> Result<(), ViewError> {
        self.rotate(build, 1)?;
        while self.is_flushing() {
            self.flush_piece()?;
        }
        Ok(())
    }

    /// Forgets the tails that are not of `wanted` revisions.
    pub(super) fn forget_tails(&mut self, wanted: &BTreeSet<Revision>) {
        self.flushes.retain(|(flush, _)| wanted.contains(&flush.keyspace().tables));
        let mut tails = Tails::clone(&self.indexed.tails.load());
        tails.retain(|revision, _| wanted.contains(revision));
        self.indexed.tails.store(Arc::new(tails));
    }

    /// Tries the events once more that `build` set aside: its code may be mended.
    pub(super) fn retry(&mut self, build: &Build) -> Result<(), ViewError> {
        let Some(derived) = self.indexed.derived.get() else { return Ok(()) };
        let cells = self.cells(derived, build)?;
        let rows = derived.read()?;
        let mut keys = BTreeSet::new();
        for (keyspace, cell) in build.keyspaces.iter().zip(&cells) {
            let stored = keys_under(&rows, Table::Poison(keyspace.tables), &[], &[0], RETRIES_MAX)?;
            keys.extend(stored.iter().filter_map(|key| layout::event_of(key).ok()));
            keys.extend(cell.load().both().flat_map(|segment| segment.failures.keys().copied()));
        }
        if !keys.is_empty() {
            let events = self.store.read()?;
            let mut tails: Vec<Tail> = cells.iter().map(|cell| Tail::clone(&cell.load())).collect();
            follow::retry(events.as_ref(), &rows, build, &mut tails, keys)?;
            for (cell, tail) in cells.iter().zip(tails) {
                cell.store(Arc::new(tail));
            }
        }
        drop(rows);
        for view in &build.views {
            retry_folds(derived, view.states)?;
        }
        Ok(())
    }
}

/// The events that a Keyspace could not take because its code is wrong, with the reasons.
pub(super) fn broken(
    indexed: &Indexed,
    keyspace: &Keyspace,
) -> Result<BTreeMap<EventKey, String>, ViewError> {
    let Some(derived) = indexed.derived.get() else { return Ok(BTreeMap::new()) };
    let tail = indexed.tails.load().get(&keyspace.tables).map(|cell| cell.load_full());
    let (mut failures, mut outcome) = (BTreeMap::new(), Ok(()));
    derived.read()?.scan(
        Table::Poison(keyspace.tables),
        &[0],
        &mut |key, row| match layout::read_failure(key, row) {
            Ok(failed) => {
                failures.insert(failed.aside.key, Some(failed));
                std::ops::ControlFlow::Continue(())
            }
            Err(error) => {
                outcome = Err(error);
                std::ops::ControlFlow::Break(())
            }
        },
    )?;
    outcome?;
    for segment in tail.iter().flat_map(|tail| tail.both()) {
        for (event, row) in &segment.failures {
            let failed = row.as_ref().map(|row| layout::read_failure(&event.0, row)).transpose()?;
            failures.insert(*event, failed);
        }
    }
    let broken = |failed: &layout::Failed| failed.kind == super::computes::FailureKind::Broken;
    let failures =
        failures.into_iter().filter_map(|(event, failed)| Some((event, failed.filter(broken)?.aside.reason)));
    Ok(failures.collect())
}

/// Forgets the states of aggregates with events that could not be folded.
fn retry_folds(derived: &Derived, view: Revision) -> Result<(), ViewError> {
    loop {
        let keys = keys_under(&derived.read()?, Table::Faults(view), &[], &[0], 1)?;
        let id = keys.first().and_then(|key| key.first_chunk::<8>().copied());
        let Some(id) = id.map(u64::from_be_bytes) else { return Ok(()) };
        derived.write(&mut |rows| states::forget(rows, view, id, 4096))?;
    }
}
