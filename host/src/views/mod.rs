//! Views: what plugins compute from a Root's events, kept as if late and retracted events had been there all along.
//!
//! ```text
//! arrivals --follow--> tail (memory) --flush--> index: entries in key order     one thread per Root writes: `deriver`
//!                                |                 |
//! query --> follow to the head that it sees --> states kept of the index's rows, what changed folded --> answer
//!                                                                       `----> Snapshots to keep
//! ```
//! A late event or a retraction changes one entry of each aggregate that it belongs to; the next read folds the leaf
//! that holds it and combines what is kept of the rest (`tree` for states that merge, `ordered` for those that only
//! fold). All rows are derived: the folder may be deleted at any time. Their tables are named by the revision of what
//! computed them, so plugins that are replaced and those that replace them work side by side.
//!
//! Nothing outside this module knows of rows, Snapshots or how a state is repaired.

mod answer;
mod bounds;
mod build;
mod calls;
mod changes;
mod computes;
mod cursor;
mod derived;
mod deriver;
mod desk;
mod digest;
mod drift;
mod error;
mod flush;
mod follow;
mod guard;
mod history;
mod index;
mod indexer;
mod kept;
mod known;
mod layout;
mod litter;
mod mapping;
mod ordered;
mod pages;
mod plugins;
mod read;
mod reader;
mod reload;
mod repair;
mod report;
mod rows;
mod runs;
mod slot;
mod states;
mod tail;
#[cfg(test)]
mod tests;
mod tree;

pub use answer::{Answer, Item, Page, PageQuery, SetAside};
pub use bounds::Bounds;
pub use changes::{Cause, Change, Changes, ChangesQuery, Told};
pub use computes::{
    Computes, Failure, FailureKind, FoldFailure, KeyspaceInfo, Mapped, Revision, Upcast, ViewInfo,
};
pub use digest::Digest;
pub use drift::Drift;
pub use error::ViewError;
pub use known::Known;
pub use report::ReportQuery;

use crate::core::event::Arrival;
use crate::core::limits::{AGGREGATE_KEY_BYTES_MAX, REPAIR_DELTAS_MAX};
use crate::plugin::RootCatalog;
use crate::store::Store;
use crate::store::environment::Environment;
use arc_swap::ArcSwapOption;
use bounds::KeyRange;
use build::{Build, Keyspace, View};
use cursor::Pin;
use deriver::{Deriver, Order, Shared};
use desk::{Desk, Orders};
use kept::Kept;
use laterbase_plugin::aggregate;
use laterbase_plugin::declare::AlgebraKind;
use read::{Moment, Reading};
use repair::Repairs;
use states::Keep;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use tail::Tail;

/// The folder of the derived environment, in the Root's.
const FOLDER: &str = "derived";
/// So many Snapshots may wait to be stored; a read drops its own when there are more.
const KEEPS_MAX: usize = 64;
/// A query that finds the index further behind than this does not wait for it.
const BEHIND_ARRIVALS_MAX: u64 = 2_000_000;

/// The views of one Root. Methods block: call them from a thread that may wait. Dropping it waits for the piece of
/// work at hand and closes the derived environment in order.
#[derive(Debug)]
pub struct Views {
    dir: PathBuf,
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    /// What the last query was asked of.
    build: ArcSwapOption<Build>,
    /// What was adopted last.
    serving: ArcSwapOption<Build>,
    repairs: Repairs,
    /// The answers of Reports ...
    reported: Kept<RootCatalog, Page>,
    /// ... and those about one aggregate.
    answered: Kept<dyn Computes, Answer>,
    /// A repair of an Ordered View may fold so many deltas before it is left to the background.
    budget: u64,
    /// A query waits for the index if it is at most so many arrivals behind.
    behind_max: u64,
    /// Started when it is first needed.
    desk: Mutex<Option<Desk>>,
}

impl Views {
    /// The views of the Root whose files lie in `dir`. Nothing is read or written before there is an event and
    /// somebody asks.
    pub fn open(dir: &Path, store: Arc<dyn Store>) -> Self {
        Self {
            dir: dir.join(FOLDER),
            store,
            shared: Arc::default(),
            build: ArcSwapOption::empty(),
            serving: ArcSwapOption::empty(),
            repairs: Repairs::default(),
            reported: Kept::default(),
            answered: Kept::default(),
            budget: REPAIR_DELTAS_MAX,
            behind_max: BEHIND_ARRIVALS_MAX,
            desk: Mutex::default(),
        }
    }

    /// Tells that events were committed, or, `rested`, that none have been for a while. Cheap.
    pub fn wake(&self, rested: bool) {
        self.shared.rested.store(rested, Ordering::Release);
        // A thread that is woken for nothing costs what a small commit does.
        if self.is_running() && (rested || self.is_due()) && !self.shared.woken.swap(true, Ordering::AcqRel) {
            let _told_later = self.order(Order::Wake);
        }
    }

    /// Whether the deriver would do anything about what has arrived, although more may come in.
    fn is_due(&self) -> bool {
        let Some(serving) = self.serving.load_full() else { return true };
        let positions = serving.keyspaces.iter().map(|keyspace| tail_position(&self.shared, keyspace));
        let head = self.store.read().and_then(|events| events.head());
        // What cannot be read is for the deriver to report.
        let found = positions.min().zip(head.ok());
        found.is_none_or(|(position, head)| self.shared.is_due(position, head.arrivals))
    }

    /// The answer for the aggregate whose key a user typed as `typed`, or, with `group`, for all aggregates whose keys
    /// begin with these parts; none if no un-voided event within `bounds` maps to it. Everything that was committed
    /// before the call counts.
    pub fn one(
        &self,
        plugins: &Arc<dyn Computes>,
        view: &str,
        typed: &[String],
        bounds: &Bounds,
    ) -> Result<Option<Answer>, ViewError> {
        let (build, view) = self.query(plugins, view, bounds)?;
        let known = self.known(bounds)?;
        if let Some(parts) = bounds.group {
            if typed.len() != parts as usize {
                return Err(ViewError::BadGroup { parts: view.keyspace.parts });
            }
            let mut front = Vec::new();
            aggregate::encode_prefix(typed.iter().map(String::as_str), "", &mut front);
            if front.len() > AGGREGATE_KEY_BYTES_MAX {
                return Ok(None);
            }
            let body = &mut |reading: &mut Reading<'_>, _: Pin| reading.group(&front);
            return Ok(self.read(&build, &view, bounds, known, body)?.flatten());
        }
        let key = key_of(plugins, &view, typed)?;
        let body = &mut |reading: &mut Reading<'_>, pin: Pin| Ok((reading.one(&key)?, pin));
        let Some((Some(answer), pin)) = self.read(&build, &view, bounds, known, body)? else {
            return Ok(None);
        };
        // What is set aside, or repaired, may change without an arrival.
        if *bounds == Bounds::default() && answer.stale.is_none() && answer.incomplete.is_empty() {
            let (question, kept) = (question_of(&view.info.name, typed), Arc::new(answer.clone()));
            self.answered.put(plugins, pin.arrival, question, (&kept, answer.value.get().len() + 128));
        }
        Ok(Some(answer))
    }

    /// The answer of [`Self::one`] without bounds, if it was given already and nothing has arrived since. Calls no
    /// plugin and waits for nobody.
    pub fn one_again(
        &self,
        plugins: &Arc<dyn Computes>,
        view: &str,
        typed: &[String],
    ) -> Option<Arc<Answer>> {
        let arrivals = self.store.read().and_then(|tables| tables.head()).ok()?.arrivals;
        self.shared.ask(arrivals);
        self.answered.get(plugins, arrivals, question_of(view, typed))
    }

    /// A page of the View's aggregates in key order. Everything that was committed before the first page counts, and
    /// on all further pages the same.
    pub fn page(&self, plugins: &Arc<dyn Computes>, query: &PageQuery) -> Result<Page, ViewError> {
        let (build, view) = self.query(plugins, &query.view, &query.bounds)?;
        let mut prefix = Vec::new();
        if let Some((start, whole)) = query.prefix.split_last() {
            aggregate::encode_prefix(whole.iter().map(String::as_str), start, &mut prefix);
        }
        let scope = cursor::Scope::new(plugins.root(), &view.info.name, &prefix, &query.bounds);
        let begun = query.cursor.as_deref().map(|text| cursor::read(scope, text)).transpose()?;
        if prefix.len() > AGGREGATE_KEY_BYTES_MAX {
            return Ok(Page::default());
        }
        let known = match &begun {
            Some((pin, _)) => Some(self.pinned(*pin)?),
            None => self.known(&query.bounds)?,
        };
        let after = begun.as_ref().map(|(_, after)| after.as_slice());
        let body = &mut |reading: &mut Reading<'_>, now: Pin| {
            let pin = begun.as_ref().map_or(now, |(pin, _)| *pin);
            reading.page(&prefix, query, scope, pin, after)
        };
        let page = self.read(&build, &view, &query.bounds, known, body)?;
        Ok(page.unwrap_or_default())
    }

    /// The arrival that a walk is pinned to, if this replica passed through it.
    fn pinned(&self, pin: Pin) -> Result<u64, ViewError> {
        let row = self.store.read()?.arrival(Arrival(pin.arrival))?;
        match row {
            Some(row) if row.check == pin.check => Ok(pin.arrival),
            _ => Err(ViewError::PinGone),
        }
    }

    /// The last arrival that counts, if not all do.
    fn known(&self, bounds: &Bounds) -> Result<Option<u64>, ViewError> {
        let Some(known) = &bounds.known else { return Ok(None) };
        known::resolve(self.store.read()?.as_ref(), known).map(Some)
    }

    /// The View called `name`, if it can answer within `bounds`.
    fn query(
        &self,
        plugins: &Arc<dyn Computes>,
        name: &str,
        bounds: &Bounds,
    ) -> Result<(Arc<Build>, View), ViewError> {
        let build = self.build_of(plugins);
        let view = build.view(name)?;
        let asked = [
            ("from", bounds.from_ms.is_some()),
            ("to", bounds.to_ms.is_some()),
            ("group", bounds.group.is_some()),
        ];
        let merging =
            asked.iter().find(|(_, is_asked)| *is_asked && view.info.algebra == AlgebraKind::Ordered);
        if let Some((parameter, _)) = merging {
            return Err(ViewError::NotMergeable { view: view.info.name, parameter });
        }
        let parts = view.keyspace.parts;
        if bounds.group.is_some_and(|group| group == 0 || group as usize > parts) {
            return Err(ViewError::BadGroup { parts });
        }
        Ok((build, view))
    }

    /// The tables for `plugins`; made once for each catalog.
    fn build_of(&self, plugins: &Arc<dyn Computes>) -> Arc<Build> {
        let last = self.build.load_full();
        if let Some(build) = last.filter(|build| Arc::ptr_eq(&build.plugins, plugins)) {
            return build;
        }
        let build = Arc::new(Build::new(plugins));
        self.build.store(Some(Arc::clone(&build)));
        build
    }

    /// Runs `body` on a moment that holds everything committed before this call; none if there is no event at all.
    /// `body` hears how far that moment goes.
    fn read<R>(
        &self,
        build: &Arc<Build>,
        view: &View,
        bounds: &Bounds,
        known: Option<u64>,
        body: &mut dyn FnMut(&mut Reading<'_>, Pin) -> Result<R, ViewError>,
    ) -> Result<Option<R>, ViewError> {
        let head = self.store.read()?.head()?.arrivals;
        if head == 0 {
            return Ok(None);
        }
        self.read_at(build, view, (bounds.keys(), known, head), body).map(Some)
    }

    /// Runs `body` on a moment that holds all arrivals up to `target`, for the events in `range`, for whoever knows
    /// the arrivals up to `known`.
    fn read_at<R>(
        &self,
        build: &Arc<Build>,
        view: &View,
        (range, known, target): (KeyRange, Option<u64>, u64),
        body: &mut dyn FnMut(&mut Reading<'_>, Pin) -> Result<R, ViewError>,
    ) -> Result<R, ViewError> {
        let (answer, keep, wants_flush, repairs) =
            self.moment(build, &view.keyspace, target, &mut |moment, pin| {
                let mut reading = Reading::new(moment, build, view, range, known);
                let answer = body(&mut reading, pin)?;
                let Reading { keep, wants_flush, repairs, .. } = reading;
                Ok((answer, keep, wants_flush, repairs))
            })?;
        self.keep(keep);
        self.look_after(build, view, wants_flush, repairs)?;
        Ok(answer)
    }

    /// Runs `body` on a moment of `keyspace` that holds all arrivals up to `target`.
    fn moment<R>(
        &self,
        build: &Arc<Build>,
        keyspace: &Keyspace,
        target: u64,
        body: &mut dyn FnMut(Moment<'_>, Pin) -> Result<R, ViewError>,
    ) -> Result<R, ViewError> {
        self.shared.ask(target);
        loop {
            let tails = self.shared.indexed.tails.load();
            let tail = tails.get(&keyspace.tables).map(|cell| cell.load_full());
            if let (Some(derived), Some(tail)) = (self.shared.indexed.derived.get(), tail)
                && tail.position() >= target
            {
                // The tail first: whatever leaves it is in the rows then.
                let rows = derived.read()?;
                let cursor = flush::position(&rows, keyspace)?.cursor.arrival;
                return body(Moment { rows: &rows, tail: &tail, cursor, budget: self.budget }, pin_of(&tail));
            }
            let done = tail_position(&self.shared, keyspace);
            if target.saturating_sub(done) > self.behind_max {
                // Once: askers who come again and again must not keep the deriver busy with their orders.
                if !self.shared.pursued.swap(true, Ordering::AcqRel) {
                    self.order(Order::Pursue(Arc::clone(build)))?;
                }
                return Err(ViewError::Building { keyspace: keyspace.name.clone(), done, of: target });
            }
            self.catch_up(build, target)?;
        }
    }

    /// Lets the deriver do what a read found to be due.
    fn look_after(
        &self,
        build: &Arc<Build>,
        view: &View,
        wants_flush: bool,
        repairs: Vec<Vec<u8>>,
    ) -> Result<(), ViewError> {
        if wants_flush || !repairs.is_empty() {
            self.order(Order::Flush)?;
        }
        for aggregate in repairs {
            let out = (self.orders()?, Arc::clone(&self.shared.keeps));
            self.repairs.begin(&self.shared.indexed, build, view, aggregate, out);
        }
        Ok(())
    }

    /// Hands Snapshots to the deriver, unless it has plenty to store.
    fn keep(&self, keep: Vec<Keep>) {
        for keep in keep {
            if self.shared.keeps.load(Ordering::Acquire) >= KEEPS_MAX {
                return;
            }
            self.shared.keeps.fetch_add(1, Ordering::AcqRel);
            // A lost Snapshot costs the next read some work, no more.
            let _lost = self.order(Order::Keep(keep));
        }
    }

    /// Waits until `build` holds all arrivals up to `target`, because a query does.
    fn catch_up(&self, build: &Arc<Build>, target: u64) -> Result<(), ViewError> {
        let (reply, replies) = channel();
        self.orders()?.take(Order::CatchUp { build: Arc::clone(build), target, urgent: true, reply })?;
        reload::done(&replies, &mut |_| ControlFlow::Continue(()))
    }

    /// Waits until everything that arrived is in the index and nothing is left to do.
    pub fn settle(&self) -> Result<(), ViewError> {
        let (reply, replies) = channel();
        self.order(Order::Settle(reply))?;
        replies.recv().map_err(|_| ViewError::Closing)?.map_err(ViewError::Indexing)
    }

    /// How many arrivals the index of each Keyspace that serves lacks; nothing is said of those that nobody asked for.
    pub fn lag(&self) -> Result<Vec<(String, u64)>, ViewError> {
        let Some(serving) = self.serving.load_full() else { return Ok(Vec::new()) };
        let tails = self.shared.indexed.tails.load();
        let head = self.store.read()?.head()?.arrivals;
        let lag = |keyspace: &Keyspace| {
            let position = tails.get(&keyspace.tables)?.load().position();
            Some((keyspace.name.clone(), head.saturating_sub(position)))
        };
        Ok(serving.keyspaces.iter().filter_map(lag).collect())
    }

    /// The derived environment, once somebody asked.
    pub fn environment(&self) -> Option<&Environment> {
        self.shared.indexed.derived.get().map(derived::Derived::environment)
    }

    /// Waits until what goes on in the background is done.
    #[cfg(test)]
    fn finish_repairs(&self) {
        self.repairs.finish();
    }

    /// The derived environment.
    #[cfg(test)]
    fn derived(&self) -> Option<&derived::Derived> {
        self.shared.indexed.derived.get()
    }

    fn is_running(&self) -> bool {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Leaves an order to the deriver's thread.
    fn order(&self, order: Order) -> Result<(), ViewError> {
        self.orders()?.give(order)
    }

    /// The way to give the deriver orders, which is started if need be.
    fn orders(&self) -> Result<Orders, ViewError> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = desk.as_ref() {
            return Ok(desk.orders());
        }
        let deriver = Deriver::new(self.dir.clone(), Arc::clone(&self.store), Arc::clone(&self.shared));
        let started = Desk::new(deriver)?;
        let orders = started.orders();
        *desk = Some(started);
        Ok(orders)
    }
}

/// A size that is smaller in this crate's own tests, so that small histories meet every border.
const fn in_tests(size: usize, small: usize) -> usize {
    if cfg!(test) { small } else { size }
}

/// How far the arrivals are followed for a Keyspace.
fn tail_position(shared: &Shared, keyspace: &Keyspace) -> u64 {
    let tails = shared.indexed.tails.load();
    tails.get(&keyspace.tables).map_or(0, |cell| cell.load().position())
}

/// The canonical key for what a user typed.
fn key_of(plugins: &Arc<dyn Computes>, view: &View, typed: &[String]) -> Result<Vec<u8>, ViewError> {
    let mut encoded = Vec::new();
    aggregate::encode(typed.iter().map(String::as_str), &mut encoded);
    if encoded.len() > AGGREGATE_KEY_BYTES_MAX {
        let bytes = encoded.len();
        let reason = format!("{bytes} bytes encoded; no key is longer than {AGGREGATE_KEY_BYTES_MAX}");
        return Err(ViewError::BadKey { view: view.info.name.clone(), reason });
    }
    let key = plugins.query_key(view.info.keyspace, typed);
    key.map_err(|failure| ViewError::of_key(&view.info.name, failure))
}

/// Names what is asked of a View without bounds.
fn question_of(view: &str, typed: &[String]) -> Revision {
    let parts: Vec<&[u8]> =
        std::iter::once(view).chain(typed.iter().map(String::as_str)).map(str::as_bytes).collect();
    Revision::of(&parts)
}

/// Where a tail ends.
fn pin_of(tail: &Tail) -> Pin {
    Pin { arrival: tail.active.end.arrival, check: tail.active.end.check }
}

impl Drop for Views {
    fn drop(&mut self) {
        self.repairs.finish();
        if let Some(desk) = self.desk.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            desk.close();
        }
    }
}
