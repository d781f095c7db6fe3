//! Views: what plugins compute from a Root's events, kept as if late and retracted events had been there all along.
//!
//! ```text
//! events (arrivals) --settle--> voids, deltas, heads      one thread per Root writes: `deriver`
//!                                   |
//! query --> catch up to the head that it sees --> last Snapshot + deltas behind it --fold--> answer
//!                                                                                    `----> new Snapshots
//! ```
//! A late event or a retraction changes one row of each aggregate that it belongs to and deletes the Snapshots behind
//! it; the next read folds on from the last one before it. All rows are derived: the folder may be deleted at any
//! time. Their tables are named by the revision of what computed them, so plugins that are replaced and those that
//! replace them work side by side.
//!
//! This is the first engine, right before fast. Nothing outside this module knows of rows, Snapshots or how a state
//! is repaired.

mod answer;
mod bounds;
mod build;
mod computes;
mod cursor;
mod derived;
mod deriver;
mod error;
mod guard;
mod layout;
mod plugins;
mod read;
mod rows;
mod settle;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Item, Page, PageQuery, SetAside};
pub use bounds::Bounds;
pub use computes::{Computes, Emission, Failure, FailureKind, KeyspaceInfo, Revision, Upcast, ViewInfo};
pub use error::ViewError;

use crate::core::event::EventKey;
use crate::store::Store;
use build::{Build, Keyspace, View};
use deriver::{Deriver, Order, Reply, Shared};
use laterbase_plugin::aggregate;
use read::Reading;
use rows::{Rows as _, Table};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The folder of the derived environment, in the Root's.
const FOLDER: &str = "derived";
/// So many Snapshots may wait to be stored; a read drops its own when there are more.
const KEEPS_MAX: usize = 64;
/// A reload goes on indexing until it is at most so many arrivals behind.
const CLOSE_ARRIVALS: u64 = 256;
/// A reload looks so many times whether more events have come.
const ROUNDS_MAX: u32 = 16;
/// A reload tries every View on so many aggregates.
const TRIALS: usize = 8;

/// The views of one Root. Methods block: call them from a thread that may wait. Dropping it waits for the piece of
/// work at hand and closes the derived environment in order.
#[derive(Debug)]
pub struct Views {
    dir: PathBuf,
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    deriver: Mutex<Option<Thread>>,
}

/// The deriver's thread, started when it is first needed.
#[derive(Debug)]
struct Thread {
    orders: Sender<Order>,
    handle: JoinHandle<()>,
}

impl Views {
    /// The views of the Root whose files lie in `dir`. Nothing is read or written before there is an event and
    /// somebody asks.
    pub fn open(dir: &Path, store: Arc<dyn Store>) -> Self {
        Self { dir: dir.join(FOLDER), store, shared: Arc::default(), deriver: Mutex::default() }
    }

    /// Builds every Keyspace of `plugins` up to the last event, beside those that serve, and tries every View on a
    /// few aggregates. `progress` hears (arrivals done, arrivals in all). After an error nothing of it stays; after
    /// success the tables stay until the next [`Self::adopt`] or [`Self::abandon`].
    pub fn prepare(
        &self,
        plugins: &Arc<dyn Computes>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ViewError> {
        let build = Arc::new(Build::new(plugins));
        let outcome = self.build(&build, progress).and_then(|()| self.try_out(&build));
        if outcome.is_err() {
            self.order(Order::Abandon(build))?;
        }
        outcome
    }

    /// From now on `plugins` serve: their Keyspaces follow new events. Those before go once no query holds them.
    pub fn adopt(&self, plugins: &Arc<dyn Computes>) {
        let build = Build::new(plugins);
        if self.is_running() || !build.keyspaces.is_empty() {
            // A thread that cannot start tells the first read that needs it.
            let _told_later = self.order(Order::Adopt(Arc::new(build)));
        }
    }

    /// What [`Self::prepare`] built for `plugins` is not wanted: another plugin or another Root failed.
    pub fn abandon(&self, plugins: &Arc<dyn Computes>) {
        if self.is_running() {
            let _told_later = self.order(Order::Abandon(Arc::new(Build::new(plugins))));
        }
    }

    /// Tells that events were committed, or, `rested`, that none have been for a while. Cheap; a large backlog is
    /// indexed in the background, a small one when somebody asks.
    pub fn wake(&self, rested: bool) {
        self.shared.rested.store(rested, Ordering::Release);
        if self.is_running() && !self.shared.woken.swap(true, Ordering::AcqRel) {
            let _told_later = self.order(Order::Wake);
        }
    }

    /// The answer for the aggregate whose key a user typed as `typed`; none if no un-voided event within `bounds`
    /// maps to it. Everything that was committed before the call counts.
    pub fn one(
        &self,
        plugins: &Arc<dyn Computes>,
        view: &str,
        typed: &[String],
        bounds: &Bounds,
    ) -> Result<Option<Answer>, ViewError> {
        let (build, view) = Self::query(plugins, view, bounds)?;
        let key = plugins.query_key(view.info.keyspace, typed);
        let key = key.map_err(|failure| ViewError::of_key(&view.info.name, failure))?;
        Ok(self.read(&build, &view, bounds, &mut |reading| reading.one(&key))?.flatten())
    }

    /// A page of the View's aggregates in key order. Everything that was committed before the call counts.
    pub fn page(&self, plugins: &Arc<dyn Computes>, query: &PageQuery) -> Result<Page, ViewError> {
        let (build, view) = Self::query(plugins, &query.view, &query.bounds)?;
        let mut prefix = Vec::new();
        if let Some((start, whole)) = query.prefix.split_last() {
            aggregate::encode_prefix(whole.iter().map(String::as_str), start, &mut prefix);
        }
        let scope = cursor::Scope::new(plugins.root(), &view.info.name, &prefix, &query.bounds);
        if let Some(text) = &query.cursor {
            cursor::read(scope, text)?;
        }
        let page =
            self.read(&build, &view, &query.bounds, &mut |reading| reading.page(&prefix, query, scope))?;
        Ok(page.unwrap_or(Page { items: Vec::new(), cursor: None, incomplete: Vec::new() }))
    }

    /// The View called `name`, if it can answer within `bounds`.
    fn query(
        plugins: &Arc<dyn Computes>,
        name: &str,
        bounds: &Bounds,
    ) -> Result<(Arc<Build>, View), ViewError> {
        let build = Arc::new(Build::new(plugins));
        let view = build.view(name)?;
        let asked = [
            ("from", bounds.from_ms.is_some()),
            ("to", bounds.to_ms.is_some()),
            ("group", bounds.group.is_some()),
        ];
        let merging = asked.iter().find(|(_, is_asked)| *is_asked && !view.info.mergeable);
        if let Some((parameter, _)) = merging {
            return Err(ViewError::NotMergeable { view: view.info.name, parameter });
        }
        match (&bounds.known, bounds.group) {
            (Some(_), _) => Err(ViewError::Unavailable { parameter: "known" }),
            (None, Some(_)) => Err(ViewError::Unavailable { parameter: "group" }),
            (None, None) => Ok((build, view)),
        }
    }

    /// Runs `body` on rows that hold everything committed before this call; none if there is no event at all.
    fn read<R>(
        &self,
        build: &Arc<Build>,
        view: &View,
        bounds: &Bounds,
        body: &mut dyn FnMut(&mut Reading<'_>) -> Result<R, ViewError>,
    ) -> Result<Option<R>, ViewError> {
        let head = self.store.read()?.head()?.arrivals;
        if head == 0 {
            return Ok(None);
        }
        loop {
            if let Some(derived) = self.shared.derived.get() {
                let rows = derived.read()?;
                if settle::cursor(&rows, &view.keyspace)? >= head {
                    let mut reading = Reading::new(&rows, build, view, bounds.keys());
                    let answer = body(&mut reading)?;
                    let keep = std::mem::take(&mut reading.keep);
                    drop(rows);
                    self.keep(keep);
                    return Ok(Some(answer));
                }
            }
            self.catch_up(build, head, true, &mut |_| {})?;
        }
    }

    /// Hands Snapshots to the deriver, unless it has plenty to store.
    fn keep(&self, keep: Vec<read::Keep>) {
        for keep in keep {
            if self.shared.keeps.load(Ordering::Acquire) >= KEEPS_MAX {
                return;
            }
            self.shared.keeps.fetch_add(1, Ordering::AcqRel);
            // A lost Snapshot costs the next read some work, no more.
            let _lost = self.order(Order::Keep(keep));
        }
    }

    fn build(&self, build: &Arc<Build>, progress: &mut dyn FnMut(u64, u64)) -> Result<(), ViewError> {
        for _ in 0..ROUNDS_MAX {
            let target = self.store.read()?.head()?.arrivals;
            if target == 0 || build.keyspaces.is_empty() {
                return Ok(());
            }
            self.catch_up(build, target, false, &mut |done| progress(done, target))?;
            progress(target, target);
            if self.store.read()?.head()?.arrivals - target <= CLOSE_ARRIVALS {
                break;
            }
        }
        build.keyspaces.iter().try_for_each(|keyspace| self.check_failures(keyspace))
    }

    /// Code that failed on any event is not taken into service.
    fn check_failures(&self, keyspace: &Keyspace) -> Result<(), ViewError> {
        let Some(derived) = self.shared.derived.get() else { return Ok(()) };
        let mut broken = Ok(());
        let visit = &mut |key: &[u8], value: &[u8]| match layout::read_failure(key, value) {
            Ok((_, FailureKind::Refused)) => ControlFlow::Continue(()),
            Ok((SetAside { key: event, reason }, FailureKind::Broken)) => {
                broken = Err(ViewError::Build { keyspace: keyspace.name.clone(), event, reason });
                ControlFlow::Break(())
            }
            Err(error) => {
                broken = Err(error.into());
                ControlFlow::Break(())
            }
        };
        derived.read()?.scan(Table::Poison(keyspace.tables), &EventKey::default().0, visit)?;
        broken
    }

    /// Tries every View of a new build on a few aggregates.
    fn try_out(&self, build: &Arc<Build>) -> Result<(), ViewError> {
        let Some(derived) = self.shared.derived.get() else { return Ok(()) };
        for view in build.views() {
            let rows = derived.read()?;
            Reading::new(&rows, build, &view, Bounds::default().keys()).try_out(TRIALS)?;
        }
        Ok(())
    }

    /// Waits until `build` holds all arrivals up to `target`.
    fn catch_up(
        &self,
        build: &Arc<Build>,
        target: u64,
        urgent: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ViewError> {
        let (reply, replies) = channel();
        self.order(Order::CatchUp { build: Arc::clone(build), target, urgent, reply })?;
        for reply in replies {
            match reply {
                Reply::Progress(done) => progress(done),
                Reply::Done(outcome) => return outcome.map_err(ViewError::Indexing),
            }
        }
        Err(ViewError::Closing)
    }

    fn is_running(&self) -> bool {
        self.deriver.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Gives the deriver an order, starting it if need be.
    fn order(&self, order: Order) -> Result<(), ViewError> {
        let mut deriver = self.deriver.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = match deriver.take() {
            Some(thread) => thread,
            None => self.start()?,
        };
        let sent = thread.orders.send(order);
        *deriver = Some(thread);
        sent.map_err(|_| ViewError::Closing)
    }

    fn start(&self) -> Result<Thread, ViewError> {
        let (orders, receiver) = channel();
        let deriver =
            Deriver::new(self.dir.clone(), Arc::clone(&self.store), Arc::clone(&self.shared), receiver);
        let thread = std::thread::Builder::new().name("laterbase-views".to_owned());
        let spawned = thread.spawn(move || deriver.run());
        let handle = spawned
            .map_err(|source| ViewError::Open { step: "starting its thread", source: source.into() })?;
        Ok(Thread { orders, handle })
    }
}

impl Drop for Views {
    fn drop(&mut self) {
        let deriver = self.deriver.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Thread { orders, handle }) = deriver {
            drop(orders);
            // A panic of the thread was reported by the thread.
            let _ended = handle.join();
        }
    }
}
