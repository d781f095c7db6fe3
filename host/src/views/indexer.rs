//! The tails and the index of one Root, as the one thread that writes them works on them.
//!
//! Following maps the next arrivals into the tails, in memory. A tail that is full, or that nobody adds to, is flushed
//! into the index piece by piece; between two pieces there is time to follow, so that reads wait for neither. Writing
//! an entry takes three times as long as following it, so whoever is behind follows first: tails grow meanwhile, up to
//! a bound for all of them.

use super::build::{Build, Keyspace};
use super::computes::Revision;
use super::derived::Derived;
use super::error::ViewError;
use super::flush::{self, Flush, Left, PIECE_ROWS};
use super::follow;
use super::in_tests;
use super::index::Id;
use super::index::border::Borders;
use super::layout::{self, Position};
use super::mapping::{self, Batch};
use super::rows::{Rows as _, Table, keys_under};
use super::runs::Runs;
use super::states;
use super::tail::{Segment, Tail};
use crate::core::event::EventKey;
use crate::core::tables::Tables;
use crate::store::Store;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};

/// So many arrivals are followed in one step at most ...
const BATCH_ARRIVALS: u64 = in_tests(1024, 10) as u64;
/// ... by whoever is less than so many behind; who is more takes large batches, so many in one step, and maps them
/// ahead on another thread.
const FAR_ARRIVALS: u64 = in_tests(16_384, 40) as u64;
const FAR_BATCH_ARRIVALS: u64 = in_tests(4096, 15) as u64;
/// A segment with so many rows is flushed.
const SEGMENT_ROWS: usize = in_tests(65_536, 50);
/// The tails of a Root may take about so many bytes of memory before following waits for flushes.
pub(super) const TAILS_BYTES_MAX: usize = in_tests(64 << 20, 8 << 10);
/// So many of the events that were set aside are tried again at once.
const RETRIES_MAX: usize = 16_384;
/// What is kept of an aggregate is forgotten in pieces of so many rows.
const FORGET_ROWS: usize = 4096;

/// How following shares the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Somebody waits, or nothing else goes on: two threads work where there is much to do.
    Hurried,
    /// Events come in: on one.
    Beside,
}

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

    /// Opens the environment, if there is an event.
    pub(super) fn open(&self, events: &dyn Tables) -> Result<Option<&Derived>, ViewError> {
        if events.head()?.arrivals == 0 {
            return Ok(None);
        }
        if let Some(derived) = self.indexed.derived.get() {
            return Ok(Some(derived));
        }
        let derived = Derived::open(&self.dir, events)?;
        Ok(Some(self.indexed.derived.get_or_init(|| derived)))
    }

    /// Takes tables away that hold what does not hold any more, with what is in memory of them.
    pub(super) fn throw_away(&mut self, build: &Build, tables: &[Revision]) -> Result<(), ViewError> {
        let gone: BTreeSet<Revision> = tables.iter().copied().collect();
        let kept = super::litter::tables_of(build).difference(&gone).copied().collect();
        self.forget_tails(&kept);
        let Some(derived) = self.indexed.derived.get() else { return Ok(()) };
        super::litter::throw_away(derived, &gone)
    }

    /// Follows one batch of arrivals for `build`; returns how far it is then.
    pub(super) fn advance(&mut self, build: &Build, pace: Pace) -> Result<u64, ViewError> {
        let (indexed, store) = (Arc::clone(&self.indexed), Arc::clone(&self.store));
        let events = store.read()?;
        self.open(events.as_ref())?;
        let Some(derived) = indexed.derived.get() else { return Ok(0) };
        let cells = self.cells(derived, build)?;
        let tails: Vec<Tail> = cells.iter().map(|cell| Tail::clone(&cell.load())).collect();
        let head = events.head()?.arrivals;
        drop(events);
        if let Some((start, until, lagging)) = follow::due(&tails, head) {
            let positions: Vec<usize> = lagging
                .iter()
                .filter_map(|at| build.keyspaces.get(*at).map(|keyspace| keyspace.position))
                .collect();
            if pace == Pace::Hurried && until - start > FAR_ARRIVALS {
                self.advance_far(build, &cells, &positions, (start, start + FAR_ARRIVALS))?;
            } else {
                let events = store.read()?;
                let batch =
                    mapping::next(events.as_ref(), build, &positions, (start, until), BATCH_ARRIVALS)?;
                drop(events);
                self.settle(build, &cells, batch)?;
            }
        }
        Ok(self.position(build).unwrap_or(head))
    }

    /// Follows many batches: while one is settled, the next is mapped on another thread.
    fn advance_far(
        &mut self,
        build: &Build,
        cells: &[Arc<ArcSwap<Tail>>],
        positions: &[usize],
        (start, until): (u64, u64),
    ) -> Result<(), ViewError> {
        let store = Arc::clone(&self.store);
        let (out, batches) = sync_channel(2);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut at = start;
                while at < until {
                    let events = store.read();
                    let next = |events: Box<dyn Tables + '_>| {
                        mapping::next(events.as_ref(), build, positions, (at, until), FAR_BATCH_ARRIVALS)
                    };
                    let batch = events.and_then(next);
                    at = batch.as_ref().map_or(until, |batch: &Batch| batch.end);
                    // Whoever settles may have failed; then nobody listens.
                    if out.send(batch).is_err() {
                        break;
                    }
                }
            });
            for batch in batches {
                self.settle(build, cells, batch?)?;
            }
            Ok(())
        })
    }

    /// Settles a mapped batch and shows it to readers.
    fn settle(&mut self, build: &Build, cells: &[Arc<ArcSwap<Tail>>], batch: Batch) -> Result<(), ViewError> {
        let indexed = Arc::clone(&self.indexed);
        let Some(derived) = indexed.derived.get() else { return Ok(()) };
        let mut tails: Vec<Tail> = cells.iter().map(|cell| Tail::clone(&cell.load())).collect();
        let (rows, before) = (derived.read()?, rows_of(&tails));
        follow::settle(self.store.read()?.as_ref(), &rows, build, &mut tails, batch)?;
        drop(rows);
        let added = rows_of(&tails).saturating_sub(before);
        for (cell, tail) in cells.iter().zip(tails) {
            cell.store(Arc::new(tail));
        }
        self.rotate(build, SEGMENT_ROWS)?;
        self.shrink(added)
    }

    /// Flushes more than the rows that were `added`, if the tails take too much memory.
    fn shrink(&mut self, added: usize) -> Result<(), ViewError> {
        let bytes = |cell: &Arc<ArcSwap<Tail>>| cell.load().both().map(Segment::bytes).sum::<usize>();
        if self.indexed.tails.load().values().map(bytes).sum::<usize>() <= TAILS_BYTES_MAX {
            return Ok(());
        }
        // A row may need a piece for its aggregate's number and one for itself.
        (0..=added * 4 / PIECE_ROWS).try_for_each(|_| self.flush_piece())
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

    /// Begins to flush the active segments of `build` that have at least so many rows, where none is being flushed.
    pub(super) fn rotate(&mut self, build: &Build, rows_min: usize) -> Result<(), ViewError> {
        let tails = self.indexed.tails.load_full();
        for keyspace in &build.keyspaces {
            let Some(cell) = tails.get(&keyspace.tables) else { continue };
            let tail = cell.load();
            if tail.flushing.is_none() && tail.active.len() >= rows_min.max(1) {
                self.rotate_one(keyspace, cell, &build.borders)?;
            }
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
        // One run from now on: it is written in order.
        let entries = tail.active.entries.whole();
        let segment = Segment { entries: Runs::only(Arc::clone(&entries)), ..tail.active.clone() };
        let active = Segment { end: segment.end, ..Segment::default() };
        cell.store(Arc::new(Tail { flushing: Some(segment.clone()), active, epoch: tail.epoch }));
        self.flushes.push_back((Flush::new(keyspace.clone(), segment, entries), borders.clone()));
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
            let tail = cell.load();
            cell.store(Arc::new(Tail { flushing: None, active: tail.active.clone(), epoch: tail.epoch }));
        }
        self.flushes.pop_front();
        Ok(())
    }

    /// Writes everything that is in the tails of `build`.
    pub(super) fn flush_all(&mut self, build: &Build) -> Result<(), ViewError> {
        loop {
            self.rotate(build, 1)?;
            if !self.is_flushing() {
                return Ok(());
            }
            while self.is_flushing() {
                self.flush_piece()?;
            }
        }
    }

    /// Forgets the tails that are not of `wanted` revisions.
    pub(super) fn forget_tails(&mut self, wanted: &BTreeSet<Revision>) {
        self.flushes.retain(|(flush, _)| wanted.contains(&flush.keyspace().tables));
        let mut tails = Tails::clone(&self.indexed.tails.load());
        tails.retain(|revision, _| wanted.contains(revision));
        self.indexed.tails.store(Arc::new(tails));
    }

    /// Tries events once more that `build` set aside, because its code may be mended: some from the key `from` on.
    /// Returns where the rest begins, if there may be more; the same `from` if it cannot be done yet.
    ///
    /// Versions count arrivals, and nothing arrives here: what Views keep of aggregates that change is forgotten, and
    /// nothing that a read made of the rows before is kept after ([`Tail::epoch`]).
    pub(super) fn retry(&mut self, build: &Build, from: &[u8]) -> Result<Retried, ViewError> {
        if self.indexed.derived.get().is_none() {
            return Ok(Retried::NotYet);
        }
        if !self.has_set_aside(build)? {
            return Ok(Retried::All);
        }
        self.flush_all(build)?;
        let Some(derived) = self.indexed.derived.get() else { return Ok(Retried::NotYet) };
        let cells = self.cells(derived, build)?;
        if cells.iter().any(|cell| cell.load().both().any(|segment| segment.len() > 0)) {
            return Ok(Retried::NotYet);
        }
        let (mut keys, mut is_full) = (BTreeSet::new(), false);
        for keyspace in &build.keyspaces {
            let stored =
                keys_under(&derived.read()?, Table::Poison(keyspace.tables), &[], from, RETRIES_MAX)?;
            is_full |= stored.len() >= RETRIES_MAX;
            keys.extend(stored.iter().filter_map(|key| layout::event_of(key).ok()));
        }
        let last = keys.iter().nth(RETRIES_MAX - 1).copied();
        keys.retain(|key| last.is_none_or(|last| *key <= last));
        let mut tails: Vec<Tail> = cells.iter().map(|cell| Tail::clone(&cell.load())).collect();
        if !keys.is_empty() {
            let (events, rows) = (self.store.read()?, derived.read()?);
            follow::retry(events.as_ref(), &rows, build, &mut tails, &keys)?;
        }
        for (keyspace, (cell, tail)) in build.keyspaces.iter().zip(cells.iter().zip(tails)) {
            let changed = write_retried(derived, (keyspace, &build.borders), tail.active)?;
            for view in build.views.iter().filter(|view| view.keyspace.tables == keyspace.tables) {
                changed.iter().try_for_each(|id| forget(derived, view.states, *id))?;
                retry_folds(derived, view.states)?;
            }
            let before = cell.load_full();
            cell.store(Arc::new(Tail { epoch: before.epoch + 1, ..Tail::clone(&before) }));
        }
        Ok(match last.filter(|_| is_full) {
            Some(last) => Retried::More(layout::joined(&last.0, EventKey::default())),
            None => Retried::All,
        })
    }

    /// Whether `build` has set any event aside.
    fn has_set_aside(&self, build: &Build) -> Result<bool, ViewError> {
        let Some(derived) = self.indexed.derived.get() else { return Ok(false) };
        let tails = self.indexed.tails.load();
        let rows = derived.read()?;
        let has_rows = |table| keys_under(&rows, table, &[], &[0], 1).map(|keys| !keys.is_empty());
        for keyspace in &build.keyspaces {
            let tail = tails.get(&keyspace.tables).map(|cell| cell.load_full());
            let mut segments = tail.iter().flat_map(|tail| tail.both());
            if segments.any(|segment| segment.failures.values().any(Option::is_some)) {
                return Ok(true);
            }
            if has_rows(Table::Poison(keyspace.tables))? {
                return Ok(true);
            }
        }
        for view in &build.views {
            if has_rows(Table::Faults(view.states))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How often what was set aside in a Keyspace was tried again.
    pub(super) fn epoch(&self, keyspace: Revision) -> u64 {
        self.indexed.tails.load().get(&keyspace).map_or(0, |cell| cell.load().epoch)
    }
}

/// How many rows the newest segments have.
fn rows_of(tails: &[Tail]) -> usize {
    tails.iter().map(|tail| tail.active.len()).sum()
}

/// What became of a [`Indexer::retry`].
#[derive(Debug)]
pub(super) enum Retried {
    /// Everything was tried.
    All,
    /// There may be more behind this key.
    More(Vec<u8>),
    /// It cannot be done before more arrivals are followed.
    NotYet,
}

/// Writes what events that were set aside add, at once; returns the aggregates that have changed.
fn write_retried(
    derived: &Derived,
    (keyspace, borders): (&Keyspace, &Borders),
    segment: Segment,
) -> Result<Vec<Id>, ViewError> {
    if segment.len() == 0 {
        return Ok(Vec::new());
    }
    let entries = segment.entries.whole();
    let aggregates: BTreeSet<Vec<u8>> =
        entries.from(&[]).map(|row| layout::aggregate_of(row.key).to_vec()).collect();
    let segment = Segment { entries: Runs::only(Arc::clone(&entries)), ..segment };
    let mut flush = Flush::new(keyspace.clone(), segment, entries);
    loop {
        let piece = derived.write(&mut |rows| flush.piece(rows, borders))?;
        if flush.done(piece) == Left::Nothing {
            break;
        }
    }
    let rows = derived.read()?;
    let numbers = aggregates.iter().map(|aggregate| super::slot::number_of(&rows, keyspace, aggregate));
    Ok(numbers.filter_map(Result::transpose).collect::<Result<_, _>>()?)
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
        forget(derived, view, id)?;
    }
}

/// Forgets what a View keeps of an aggregate.
fn forget(derived: &Derived, view: Revision, id: Id) -> Result<(), ViewError> {
    while derived.write(&mut |rows| states::forget(rows, view, id, FORGET_ROWS))? {}
    Ok(())
}
