//! Long repairs of Ordered Views, beside everything else.
//!
//! A read that would have to fold too much answers from the last state that is kept and leaves the work to a thread of
//! its own. That thread reads one state of the rows, for as long as it takes, and hands what it made to the deriver.

use super::bounds::KeyRange;
use super::build::{Build, View};
use super::deriver::Order;
use super::desk::Orders;
use super::error::ViewError;
use super::flush;
use super::indexer::Indexed;
use super::read::{Moment, Reading};
use super::tail::Tail;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// So many repairs go on at one time; more begin when somebody asks again.
const REPAIRS_MAX: usize = 2;

/// One aggregate of one View: the name of its table, and its key.
type Job = (super::computes::Revision, Vec<u8>);

/// The repairs of one Root.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    running: Mutex<BTreeMap<Job, JoinHandle<()>>>,
}

impl Repairs {
    /// Begins to repair an aggregate, unless that is being done or enough others are.
    pub(super) fn begin(
        &self,
        indexed: &Arc<Indexed>,
        build: &Arc<Build>,
        view: &View,
        aggregate: Vec<u8>,
        out: (Orders, Arc<AtomicUsize>),
    ) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, thread| !thread.is_finished());
        let job = (view.states, aggregate.clone());
        if running.len() >= REPAIRS_MAX || running.contains_key(&job) {
            return;
        }
        let (indexed, build, view) = (Arc::clone(indexed), Arc::clone(build), view.clone());
        let work = move || {
            if let Err(error) = repair(&indexed, &build, &view, &aggregate, &out) {
                tracing::warn!(%error, view = view.info.name, "a repair in the background failed");
            }
        };
        let thread = std::thread::Builder::new().name("laterbase-repair".to_owned()).spawn(work);
        match thread {
            Ok(thread) => {
                running.insert(job, thread);
            }
            Err(error) => tracing::warn!(%error, "no thread for a repair"),
        }
    }

    /// Waits until all are done.
    pub(super) fn finish(&self) {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for (_, thread) in running {
            // A panic of the thread was reported by the thread.
            let _ended = thread.join();
        }
    }
}

fn repair(
    indexed: &Indexed,
    build: &Build,
    view: &View,
    aggregate: &[u8],
    (orders, keeps): &(Orders, Arc<AtomicUsize>),
) -> Result<(), ViewError> {
    let Some(derived) = indexed.derived.get() else { return Ok(()) };
    let tails = indexed.tails.load_full();
    let epoch = tails.get(&view.keyspace.tables).map_or(0, |cell| cell.load().epoch);
    let rows = derived.read()?;
    let position = flush::position(&rows, &view.keyspace)?;
    // Only what is in the rows: what is made of it can be kept.
    let tail = Tail { epoch, ..Tail::behind(position.cursor) };
    let moment = Moment { rows: &rows, tail: &tail, cursor: position.cursor.arrival, budget: u64::MAX };
    let mut reading = Reading::new(moment, build, view, KeyRange::ALL, None);
    reading.fold(aggregate)?;
    for keep in std::mem::take(&mut reading.keep) {
        keeps.fetch_add(1, Ordering::AcqRel);
        // The deriver has ended: nothing is kept any more.
        let _ended = orders.give(Order::Keep(keep));
    }
    Ok(())
}
