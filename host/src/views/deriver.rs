//! The one writer of a Root's derived environment: a thread that takes orders and does bounded pieces of work.
//!
//! ```text
//! orders taken first, always; then one piece of the first kind of work there is:
//!   1 catch up for a read that waits     2 build for a reload     3 store Snapshots that reads left
//!   4 catch up in the background         5 take away the tables of plugins that nobody asks any more
//! no order, no work: the thread sleeps
//! ```
//! It never waits for time. Indexing happens when somebody asks, and in the background only for a backlog that would
//! make the next reader wait, and, up to a bound, only while no events come in, so that it does not compete with them.

use super::build::Build;
use super::computes::{Computes, Revision};
use super::derived::Derived;
use super::error::ViewError;
use super::layout::{self, Head};
use super::read::Keep;
use super::rows::{Rows as _, RowsMut as _, Table, keys_under};
use super::settle;
use crate::store::Store;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::sync::{Arc, OnceLock, Weak};

/// From so many arrivals behind on, indexing goes on in the background once the intake rests.
const BACKLOG_ARRIVALS: u64 = 4096;
/// From so many arrivals behind on, it does so beside the intake, or the next read would wait too long.
const BACKLOG_ARRIVALS_MAX: u64 = 1 << 20;
/// A table is emptied in pieces of so many rows.
const PIECE_ROWS: usize = 4096;

/// What the deriver is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Index for `build` up to the arrival `target`.
    CatchUp {
        /// Whose tables.
        build: Arc<Build>,
        /// Up to and with which arrival.
        target: u64,
        /// A read waits; otherwise it is a reload that prepares.
        urgent: bool,
        /// Hears of progress and of the end.
        reply: Sender<Reply>,
    },
    /// This build serves from now on.
    Adopt(Arc<Build>),
    /// This build will not serve.
    Abandon(Arc<Build>),
    /// Store these Snapshots if they still hold.
    Keep(Keep),
    /// Events were committed, or none have been for a while.
    Wake,
}

/// What the deriver says to who gave a [`Order::CatchUp`].
#[derive(Debug)]
pub(super) enum Reply {
    /// Indexed up to this arrival.
    Progress(u64),
    /// Done, or failed.
    Done(Result<(), Arc<ViewError>>),
}

/// What the deriver shares with readers.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The environment, once there is an event and somebody asked.
    pub(super) derived: OnceLock<Derived>,
    /// How many [`Order::Keep`] wait.
    pub(super) keeps: AtomicUsize,
    /// An [`Order::Wake`] waits.
    pub(super) woken: AtomicBool,
    /// No events have come in for a while.
    pub(super) rested: AtomicBool,
}

/// A read or a reload that waits.
struct Wish {
    build: Arc<Build>,
    target: u64,
    urgent: bool,
    reply: Sender<Reply>,
}

/// Tables that stay as long as somebody holds the plugins that they belong to.
struct Retired {
    plugins: Weak<dyn Computes>,
    tables: BTreeSet<Revision>,
}

/// The thread's state.
pub(super) struct Deriver {
    dir: PathBuf,
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    serving: Option<Arc<Build>>,
    prepared: Option<Arc<Build>>,
    retired: Vec<Retired>,
    wishes: Vec<Wish>,
    keeps: VecDeque<Keep>,
    /// Catching up in the background.
    behind: bool,
    /// There may be tables to take away.
    litter: bool,
}

impl Deriver {
    pub(super) fn new(
        dir: PathBuf,
        store: Arc<dyn Store>,
        shared: Arc<Shared>,
        orders: Receiver<Order>,
    ) -> Self {
        Self {
            dir,
            store,
            shared,
            orders,
            serving: None,
            prepared: None,
            retired: Vec::new(),
            wishes: Vec::new(),
            keeps: VecDeque::new(),
            behind: false,
            litter: false,
        }
    }

    /// Works until nobody can give orders any more, then closes the environment in order.
    pub(super) fn run(mut self) {
        loop {
            let order = if self.has_work() {
                match self.orders.try_recv() {
                    Ok(order) => Some(order),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => break,
                }
            } else {
                match self.orders.recv() {
                    Ok(order) => Some(order),
                    Err(_) => break,
                }
            };
            match order {
                Some(order) => self.take(order),
                None => self.work(),
            }
        }
        if let Some(Err(error)) = self.shared.derived.get().map(Derived::close) {
            tracing::warn!(%error, "derived rows were not closed in order; they may be computed again");
        }
    }

    fn has_work(&self) -> bool {
        !self.wishes.is_empty() || !self.keeps.is_empty() || self.behind || self.litter
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::CatchUp { build, target, urgent, reply } => {
                if urgent {
                    self.note(&build);
                } else {
                    self.prepared = Some(Arc::clone(&build));
                }
                self.wishes.push(Wish { build, target, urgent, reply });
            }
            Order::Adopt(build) => {
                if let Some(old) = self.serving.replace(build) {
                    self.note(&old);
                }
                self.prepared = None;
                self.litter = true;
            }
            Order::Abandon(build) => {
                self.prepared.take_if(|prepared| prepared.same_tables(&build));
                self.litter = true;
            }
            Order::Keep(keep) => self.keeps.push_back(keep),
            Order::Wake => {
                self.shared.woken.store(false, Ordering::Release);
                self.behind = self.is_far_behind();
            }
        }
        self.litter |= self.retired.iter().any(|retired| retired.plugins.strong_count() == 0);
    }

    /// Remembers that the tables of `build` stay while somebody holds its plugins.
    fn note(&mut self, build: &Arc<Build>) {
        let tables = tables_of(build);
        let is_kept = self.serving.as_ref().is_some_and(|serving| serving.same_tables(build))
            || self.retired.iter().any(|retired| {
                retired.tables == tables && retired.plugins.ptr_eq(&Arc::downgrade(&build.plugins))
            });
        if !is_kept {
            self.retired.push(Retired { plugins: Arc::downgrade(&build.plugins), tables });
        }
    }

    /// Does one piece of work.
    fn work(&mut self) {
        let waiting = self.wishes.iter().position(|wish| wish.urgent);
        if let Some(at) = waiting.or(if self.wishes.is_empty() { None } else { Some(0) }) {
            self.grant(at);
        } else if let Some(keep) = self.keeps.pop_front() {
            self.shared.keeps.fetch_sub(1, Ordering::AcqRel);
            report("Snapshots were not stored", self.keep(&keep));
        } else if self.behind {
            self.follow();
        } else if self.litter {
            let more = self.clean();
            self.litter = *more.as_ref().unwrap_or(&false);
            report("derived tables were not taken away", more.map(drop));
        }
    }

    /// Indexes one batch for a wish, and answers it and all others that are granted by it.
    fn grant(&mut self, at: usize) {
        let Some(wish) = self.wishes.get(at) else { return };
        let build = Arc::clone(&wish.build);
        let outcome = self.advance(&build).map_err(Arc::new);
        let (mine, others): (Vec<Wish>, Vec<Wish>) =
            std::mem::take(&mut self.wishes).into_iter().partition(|wish| wish.build.same_tables(&build));
        self.wishes = others;
        for wish in mine {
            // A reply that nobody waits for any more is no error.
            let _unheard = match &outcome {
                Err(error) => wish.reply.send(Reply::Done(Err(Arc::clone(error)))),
                Ok(position) if *position >= wish.target => wish.reply.send(Reply::Done(Ok(()))),
                Ok(position) => {
                    let heard = wish.reply.send(Reply::Progress(*position));
                    if heard.is_ok() {
                        self.wishes.push(wish);
                    }
                    heard
                }
            };
        }
    }

    /// Indexes one batch in the background.
    fn follow(&mut self) {
        let Some(build) = self.serving.clone() else {
            self.behind = false;
            return;
        };
        match self.advance(&build).and_then(|position| Ok(self.arrivals()?.saturating_sub(position))) {
            Ok(backlog) => {
                let rested = self.shared.rested.load(Ordering::Acquire);
                self.behind = backlog > 0 && (rested || backlog >= BACKLOG_ARRIVALS_MAX);
            }
            Err(error) => {
                self.behind = false;
                report("indexing in the background stopped", Err(error));
            }
        }
    }

    /// Indexes one batch for `build`; returns how far it is then.
    fn advance(&self, build: &Build) -> Result<u64, ViewError> {
        let events = self.store.read()?;
        if events.head()?.arrivals == 0 {
            return Ok(0);
        }
        let derived = if let Some(derived) = self.shared.derived.get() {
            derived
        } else {
            let derived = Derived::open(&self.dir, events.as_ref())?;
            self.shared.derived.get_or_init(|| derived)
        };
        Self::finish_removals(derived, build)?;
        Ok(derived.write(&mut |rows| settle::advance(events.as_ref(), rows, build))?)
    }

    fn arrivals(&self) -> Result<u64, ViewError> {
        Ok(self.store.read()?.head()?.arrivals)
    }

    fn is_far_behind(&self) -> bool {
        let Some(serving) = self.serving.as_deref() else { return false };
        let rested = self.shared.rested.load(Ordering::Acquire);
        let borne = if rested { BACKLOG_ARRIVALS } else { BACKLOG_ARRIVALS_MAX };
        let behind = || {
            let position = match self.shared.derived.get() {
                Some(derived) => settle::position(&derived.read()?, serving)?,
                None => serving.keyspaces.first().map(|_| 0),
            };
            let arrivals = self.arrivals()?;
            Ok::<_, ViewError>(position.is_some_and(|at| arrivals.saturating_sub(at) >= borne))
        };
        behind().unwrap_or_else(|error| {
            report("the backlog is unknown", Err(error));
            false
        })
    }

    /// Stores Snapshots if their aggregate is as it was when they were computed.
    fn keep(&self, keep: &Keep) -> Result<(), ViewError> {
        let Some(derived) = self.shared.derived.get() else { return Ok(()) };
        let table = Table::Snapshots(keep.snapshots);
        derived.write(&mut |rows| {
            let head = rows.get(Table::Heads(keep.keyspace), &keep.aggregate)?;
            let is_same = match head {
                Some(head) => Head::read(&head)?.version == keep.version,
                None => false,
            };
            if !is_same || is_going(rows, table)? {
                return Ok(());
            }
            // From the same commit on, whoever changes the aggregate knows of this table.
            rows.put(Table::Meta, &layout::snapshots_row(keep.keyspace, keep.snapshots), &[])?;
            for (event, value) in &keep.rows {
                rows.put(table, &layout::joined(&keep.aggregate, *event), value)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Takes one piece of what nobody asks any more away; true if there may be more.
    fn clean(&mut self) -> Result<bool, ViewError> {
        self.retired.retain(|retired| retired.plugins.strong_count() > 0);
        // Before anything serves, nobody can say what is litter.
        let (Some(derived), Some(serving)) = (self.shared.derived.get(), &self.serving) else {
            return Ok(false);
        };
        let mut wanted = tables_of(serving);
        wanted.extend(self.retired.iter().flat_map(|retired| retired.tables.iter().copied()));
        wanted.extend(self.prepared.iter().flat_map(|prepared| tables_of(prepared)));
        let going = keys_under(&derived.read()?, Table::Meta, &[layout::GOING], &[layout::GOING], 1)?;
        if let Some(table) = going.first().and_then(|row| layout::going_table(row)) {
            empty(derived, table)?;
            return Ok(true);
        }
        Ok(derived.write(&mut |rows| condemn(rows, &wanted))?)
    }

    /// A build whose tables were being taken away begins anew, with empty tables.
    fn finish_removals(derived: &Derived, build: &Build) -> Result<(), ViewError> {
        let wanted = tables_of(build);
        let rows = keys_under(&derived.read()?, Table::Meta, &[layout::GOING], &[layout::GOING], usize::MAX)?;
        for table in rows.iter().filter_map(|row| layout::going_table(row)) {
            if layout::going_row(table).is_some_and(|row| names_one_of(&row, &wanted)) {
                while !empty(derived, table)? {}
            }
        }
        Ok(())
    }
}

/// Everything that names tables of a build.
fn tables_of(build: &Build) -> BTreeSet<Revision> {
    let keyspaces = build.keyspaces.iter().map(|keyspace| keyspace.tables);
    let snapshots = build.views().into_iter().map(|view| view.snapshots);
    keyspaces.chain(snapshots).chain([build.voids]).collect()
}

/// True if the last revision in a row of `meta` is one of these.
fn names_one_of(row: &[u8], wanted: &BTreeSet<Revision>) -> bool {
    let last = row.split_last_chunk::<16>().map(|(_, last)| Revision(*last));
    last.is_some_and(|last| wanted.contains(&last))
}

fn is_going(rows: &impl super::rows::Rows, table: Table) -> Result<bool, crate::core::tables::TableError> {
    match layout::going_row(table) {
        Some(row) => Ok(rows.get(Table::Meta, &row)?.is_some()),
        None => Ok(false),
    }
}

/// Marks all tables as going that nobody wants; true if there are any.
fn condemn(
    rows: &mut super::derived::Writer<'_, '_>,
    wanted: &BTreeSet<Revision>,
) -> Result<bool, crate::core::tables::TableError> {
    let mut going = Vec::new();
    for row in keys_under(rows, Table::Meta, &[], &[0], usize::MAX)? {
        let revisions = layout::revisions_of(&row);
        let tables = match (row.first(), revisions.as_slice()) {
            (Some(b'k'), [keyspace]) if !wanted.contains(keyspace) => {
                vec![Table::Deltas(*keyspace), Table::Heads(*keyspace), Table::Poison(*keyspace)]
            }
            (Some(b's'), [keyspace, snapshots])
                if !(wanted.contains(keyspace) && wanted.contains(snapshots)) =>
            {
                vec![Table::Snapshots(*snapshots)]
            }
            (Some(b'v'), [voids]) if !wanted.contains(voids) => vec![Table::Voids(*voids)],
            _ => continue,
        };
        rows.delete(Table::Meta, &row)?;
        going.extend(tables);
    }
    for row in going.iter().filter_map(|table| layout::going_row(*table)) {
        rows.put(Table::Meta, &row, &[])?;
    }
    Ok(!going.is_empty())
}

/// Deletes a piece of a table that is going; true once the table is gone.
fn empty(derived: &Derived, table: Table) -> Result<bool, ViewError> {
    let more = derived.write(&mut |rows| {
        let keys = keys_under(rows, table, &[], &[0], PIECE_ROWS)?;
        for key in &keys {
            rows.delete(table, key)?;
        }
        Ok(!keys.is_empty())
    })?;
    if more {
        return Ok(false);
    }
    derived.remove(table)?;
    let row = layout::going_row(table);
    derived.write(&mut |rows| row.iter().try_for_each(|row| rows.delete(Table::Meta, row)))?;
    Ok(true)
}

/// Work that nobody waits for tells the log.
fn report(what: &'static str, outcome: Result<(), ViewError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "{what}");
    }
}
