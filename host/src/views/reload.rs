//! Another generation of plugins takes over: compared with the one that serves, built beside it, adopted or given up.
//!
//! ```text
//! compare   what both have in common, by revision: the same results?              drift: refused
//! build     the Keyspaces that are new, in the deriver's bounded pieces           a failure, cancelled: given up
//! try       the Views that are new, on a few aggregates
//! adopt     one order: from then on the deriver follows for the new generation
//! ```
//! Until it is adopted, new code writes nothing into tables that are in use.

use super::bounds::Bounds;
use super::build::{Build, Keyspace};
use super::computes::Computes;
use super::deriver::{Order, Reply};
use super::drift;
use super::error::ViewError;
use super::flush;
use super::indexer;
use super::read::{Moment, Reading};
use super::{Views, litter};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// A reload goes on indexing until it is at most so many arrivals behind.
const CLOSE_ARRIVALS: u64 = 256;
/// A reload looks so many times whether more events have come.
const ROUNDS_MAX: u32 = 16;
/// A reload tries every View on so many aggregates.
const TRIALS: usize = 8;

/// Hears (arrivals done, arrivals in all), and says whether to go on.
type Progress<'p> = &'p mut dyn FnMut(u64, u64) -> ControlFlow<()>;

impl Views {
    /// Compares `plugins` with those that serve, builds their new Keyspaces up to the last event beside those in use,
    /// and tries their new Views on a few aggregates. After an error nothing of it stays; after success the tables
    /// stay until the next [`Self::adopt`] or [`Self::abandon`].
    pub fn prepare(&self, plugins: &Arc<dyn Computes>, progress: Progress<'_>) -> Result<(), ViewError> {
        let build = Arc::new(Build::new(plugins));
        let serving = self.serving.load_full();
        let outcome = self.prepare_beside(&build, serving.as_ref(), progress);
        if outcome.is_err() && self.is_running() {
            self.order(Order::Abandon)?;
        }
        outcome
    }

    fn prepare_beside(
        &self,
        build: &Arc<Build>,
        serving: Option<&Arc<Build>>,
        progress: Progress<'_>,
    ) -> Result<(), ViewError> {
        if self.store.read()?.head()?.arrivals == 0 {
            return Ok(());
        }
        if let Some(serving) = serving.filter(|serving| !serving.keyspaces.is_empty()) {
            // So that there are rows to compare with.
            self.catch_up(serving, 0)?;
            let events = self.store.read()?;
            let drift = drift::compare(events.as_ref(), &self.shared.indexed, Some(serving), build)?;
            if let Some(drift) = drift {
                return Err(ViewError::Drift(Box::new(drift)));
            }
        }
        let serving = serving.map(Arc::as_ref);
        let fresh = Arc::new(build.without(serving));
        self.build_up(&fresh, progress)?;
        fresh.keyspaces.iter().try_for_each(|keyspace| self.check_failures(keyspace, serving))?;
        self.try_out(build, serving)
    }

    /// From now on `plugins` serve: their Keyspaces follow new events. Those before go once no query holds them.
    /// Returns when what the code before could not take has been tried again.
    pub fn adopt(&self, plugins: &Arc<dyn Computes>) {
        let build = Arc::new(Build::new(plugins));
        self.serving.store(Some(Arc::clone(&build)));
        if self.is_running() || !build.keyspaces.is_empty() {
            let (reply, replies) = channel();
            // A thread that cannot start tells the first read that needs it.
            if self.order(Order::Adopt(build, reply)).is_ok() {
                // Ended or not: nothing more is wanted of it here.
                let _adopted = replies.recv();
            }
        }
    }

    /// What [`Self::prepare`] built is not wanted: another Root failed, or the reload was cancelled.
    pub fn abandon(&self) {
        if self.is_running() {
            let _told_later = self.order(Order::Abandon);
        }
    }

    /// What is odd about rows, by the Keyspace with its plugin's name in front.
    pub fn warnings(&self) -> BTreeMap<String, String> {
        self.shared.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn build_up(&self, build: &Arc<Build>, progress: Progress<'_>) -> Result<(), ViewError> {
        for _ in 0..ROUNDS_MAX {
            let target = self.store.read()?.head()?.arrivals;
            if target == 0 || build.keyspaces.is_empty() {
                return Ok(());
            }
            if progress(0, target).is_break() {
                return Err(ViewError::Cancelled);
            }
            let (reply, replies) = channel();
            self.order(Order::CatchUp { build: Arc::clone(build), target, urgent: false, reply })?;
            done(&replies, &mut |done| progress(done, target))?;
            if progress(target, target).is_break() {
                return Err(ViewError::Cancelled);
            }
            if self.store.read()?.head()?.arrivals - target <= CLOSE_ARRIVALS {
                break;
            }
        }
        Ok(())
    }

    /// Code that fails on an event is not taken into service, unless what serves fails on it, too.
    fn check_failures(&self, keyspace: &Keyspace, serving: Option<&Build>) -> Result<(), ViewError> {
        let indexed = &self.shared.indexed;
        let broken = indexer::broken(indexed, keyspace)?;
        if broken.is_empty() {
            return Ok(());
        }
        let mut keyspaces = serving.iter().flat_map(|build| &build.keyspaces);
        let before = match keyspaces.find(|other| other.name == keyspace.name) {
            Some(serving) => indexer::broken(indexed, serving)?,
            None => BTreeMap::new(),
        };
        match broken.into_iter().find(|(event, _)| !before.contains_key(event)) {
            Some((event, reason)) => Err(ViewError::Build { keyspace: keyspace.name.clone(), event, reason }),
            None => Ok(()),
        }
    }

    /// Tries every View that is new on a few aggregates.
    fn try_out(&self, build: &Build, serving: Option<&Build>) -> Result<(), ViewError> {
        let Some(derived) = self.shared.indexed.derived.get() else { return Ok(()) };
        let in_use = serving.map(litter::tables_of).unwrap_or_default();
        for view in build.views.iter().filter(|view| !in_use.contains(&view.states)) {
            let tails = self.shared.indexed.tails.load();
            let Some(tail) = tails.get(&view.keyspace.tables).map(|cell| cell.load_full()) else { continue };
            let rows = derived.read()?;
            let cursor = flush::position(&rows, &view.keyspace)?.cursor.arrival;
            let moment = Moment { rows: &rows, tail: &tail, cursor, budget: self.budget };
            Reading::new(moment, build, view, Bounds::default().keys(), None).try_out(TRIALS)?;
        }
        Ok(())
    }
}

/// Waits for the end of a [`Order::CatchUp`], or until `progress` says not to go on.
pub(super) fn done(
    replies: &Receiver<Reply>,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(), ViewError> {
    for reply in replies {
        match reply {
            Reply::Progress(done) if progress(done).is_continue() => {}
            // Whoever works on it notices that nobody listens any more.
            Reply::Progress(_) => return Err(ViewError::Cancelled),
            Reply::Done(outcome) => return outcome.map_err(ViewError::Indexing),
        }
    }
    Err(ViewError::Closing)
}
