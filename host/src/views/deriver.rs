//! The one writer of a Root's derived environment: it takes orders and does bounded pieces of work.
//!
//! ```text
//! orders taken first, always; then one piece of the first kind of work there is:
//!   1 follow for a read that waits       2 follow in the background      3 a piece of a flush (in turn with 2, if a
//!                                                                          read met too much in the tail)
//!   4 store Snapshots that reads left    5 take away the tables of plugins that nobody asks any more
//! ```
//! Who works is the business of [`super::desk`]. While a reload waits for its Keyspaces, every other piece is one of
//! theirs: what serves goes on as before, only slower.
//! It never waits for time. Arrivals are followed by the hundred as they come, fewer once the intake rests or somebody
//! waits. What nobody has asked for long is followed when the intake rests, so that it does not compete with it.

use super::build::Build;
use super::computes::{Computes, Revision};
use super::derived::Derived;
use super::drift;
use super::error::ViewError;
use super::indexer::{Indexed, Indexer, Pace, Retried};
use super::layout;
use super::litter;
use super::rows::{RowsMut as _, Table};
use super::states::Keep;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// While events come in, fewer than so many arrivals are not worth a piece of work ...
const GATHER_ARRIVALS: u64 = 512;
/// ... nor are more of them, if nobody asked while as many came in as this ...
const UNASKED_ARRIVALS: u64 = 1 << 18;
/// ... unless so many wait that the next read would wait too long.
const BACKLOG_ARRIVALS_MAX: u64 = 1 << 20;

/// What the deriver is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Follow for `build` up to the arrival `target`.
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
    /// This build serves from now on; hears when that is so.
    Adopt(Arc<Build>, Sender<()>),
    /// Follow for this build to the end, although events come in: queries are turned away until then.
    Pursue(Arc<Build>),
    /// What was prepared will not serve.
    Abandon,
    /// Store these Snapshots if they still hold.
    Keep(Keep),
    /// Events were committed, or none have been for a while.
    Wake,
    /// Write what the tails hold into the index.
    Flush,
    /// Follow and write everything, and say so.
    Settle(Sender<Result<(), Arc<ViewError>>>),
}

/// What the deriver says to who gave a [`Order::CatchUp`].
#[derive(Debug)]
pub(super) enum Reply {
    /// Followed up to this arrival.
    Progress(u64),
    /// Done, or failed.
    Done(Result<(), Arc<ViewError>>),
}

/// What the deriver shares with readers.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The rows and the tails.
    pub(super) indexed: Arc<Indexed>,
    /// How many [`Order::Keep`] wait.
    pub(super) keeps: Arc<AtomicUsize>,
    /// An [`Order::Wake`] waits.
    pub(super) woken: AtomicBool,
    /// An [`Order::Pursue`] waits, or is being followed.
    pub(super) pursued: AtomicBool,
    /// No events have come in for a while.
    pub(super) rested: AtomicBool,
    /// How many arrivals there were when somebody asked last.
    asked: AtomicU64,
    /// What is odd about the rows, by Keyspace.
    pub(super) warnings: Mutex<BTreeMap<String, String>>,
}

impl Shared {
    /// Notes that somebody asks while there are so many arrivals.
    pub(super) fn ask(&self, arrivals: u64) {
        self.asked.fetch_max(arrivals, Ordering::Relaxed);
    }

    /// Whether arrivals behind `position` are followed now: any when nothing comes in, some hundred if somebody asked
    /// not long ago, very many anyway.
    pub(super) fn is_due(&self, position: u64, arrivals: u64) -> bool {
        let (backlog, asked) = (arrivals.saturating_sub(position), self.asked.load(Ordering::Relaxed));
        let is_asked = asked > 0 && arrivals.saturating_sub(asked) < UNASKED_ARRIVALS;
        let least = if self.rested.load(Ordering::Acquire) {
            1
        } else if is_asked {
            GATHER_ARRIVALS
        } else {
            BACKLOG_ARRIVALS_MAX
        };
        backlog >= least
    }
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

/// What is known and what is to be done.
#[expect(clippy::struct_excessive_bools, reason = "each names a kind of work that is due, and any may be")]
pub(super) struct Deriver {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    indexer: Indexer,
    serving: Option<Arc<Build>>,
    prepared: Option<Arc<Build>>,
    retired: Vec<Retired>,
    wishes: Vec<Wish>,
    keeps: VecDeque<Keep>,
    /// Following in the background.
    behind: bool,
    /// To the end, although events come in.
    pursues: bool,
    /// The last piece of work was one for a reload.
    was_reload: bool,
    /// What is in the tails is to be written, as soon as what is being written is.
    writes: bool,
    /// Writing failed: it is tried again once something new is to be done.
    is_stuck: bool,
    /// The last piece of work was one of following.
    was_following: bool,
    /// A read met much of it: that is not put off until everything is followed.
    hurries: bool,
    /// The rows that are found may be of other code.
    unchecked: bool,
    /// What is served may have set events aside with code that was replaced since: those from this key on.
    retry: Option<Vec<u8>>,
    /// More of them can be tried at once.
    retries: bool,
    /// There may be tables to take away.
    litter: bool,
}

impl Deriver {
    pub(super) fn new(dir: PathBuf, store: Arc<dyn Store>, shared: Arc<Shared>) -> Self {
        let indexer = Indexer::new(dir, Arc::clone(&store), Arc::clone(&shared.indexed));
        Self {
            store,
            shared,
            indexer,
            serving: None,
            prepared: None,
            retired: Vec::new(),
            wishes: Vec::new(),
            keeps: VecDeque::new(),
            behind: false,
            pursues: false,
            was_reload: false,
            writes: false,
            is_stuck: false,
            was_following: false,
            hurries: false,
            unchecked: true,
            retry: Some(vec![0]),
            retries: false,
            litter: false,
        }
    }

    /// Writes what is in memory and closes the environment in order.
    pub(super) fn close(&mut self) {
        if let Some(serving) = self.serving.take() {
            report("the newest events will be mapped again", self.indexer.flush_all(&serving));
        }
        if let Some(Err(error)) = self.indexer.derived().map(Derived::close) {
            tracing::warn!(%error, "derived rows were not closed in order; they may be computed again");
        }
    }

    /// Whether [`Self::work`] has anything to do.
    pub(super) fn has_work(&self) -> bool {
        let idle = self.wishes.is_empty() && self.keeps.is_empty() && !self.is_writing();
        !idle || self.behind || self.litter || self.retries
    }

    fn is_writing(&self) -> bool {
        !self.is_stuck && (self.writes || self.indexer.is_flushing())
    }

    /// Notes what is to be done, or does it, where nothing may come in between.
    pub(super) fn take(&mut self, order: Order) {
        self.is_stuck = false;
        match order {
            Order::CatchUp { build, target, urgent, reply } => {
                if urgent {
                    self.note(&build);
                } else {
                    self.prepared = Some(Arc::clone(&build));
                }
                self.wishes.push(Wish { build, target, urgent, reply });
            }
            Order::Adopt(build, reply) => {
                self.adopt(build);
                // A reply that nobody waits for any more is no error.
                let _unheard = reply.send(());
            }
            Order::Pursue(build) => {
                self.note(&build);
                self.pursue(true);
                self.behind = true;
            }
            Order::Abandon => {
                self.prepared = None;
                self.wishes.retain(|wish| wish.urgent);
                self.litter = true;
            }
            Order::Keep(keep) => self.keeps.push_back(keep),
            Order::Wake => {
                self.shared.woken.store(false, Ordering::Release);
                self.behind = self.pursues || self.is_behind();
            }
            Order::Settle(reply) => {
                // A reply that nobody waits for any more is no error.
                let _unheard = reply.send(self.settle().map_err(Arc::new));
            }
            Order::Flush => {
                self.writes = true;
                self.hurries = true;
            }
        }
        self.litter |= self.retired.iter().any(|retired| retired.plugins.strong_count() == 0);
    }

    /// Remembers that the tables of `build` stay while somebody holds its plugins.
    fn note(&mut self, build: &Arc<Build>) {
        let tables = litter::tables_of(build);
        let is_kept = self.serving.as_ref().is_some_and(|serving| serving.same_tables(build))
            || self.retired.iter().any(|retired| {
                retired.tables == tables && retired.plugins.ptr_eq(&Arc::downgrade(&build.plugins))
            });
        if !is_kept {
            self.retired.push(Retired { plugins: Arc::downgrade(&build.plugins), tables });
        }
    }

    fn adopt(&mut self, build: Arc<Build>) {
        if let Some(old) = self.serving.replace(build) {
            self.note(&old);
        }
        self.prepared = None;
        self.litter = true;
        self.retry = Some(vec![0]);
        self.behind = true;
        if self.indexer.derived().is_some() && !self.unchecked {
            report("events that were set aside are tried again later", self.try_again());
            report("which code wrote the rows is not noted", self.note_code());
        }
    }

    /// Tries a piece of what was set aside again, all of it once after each change of code.
    fn try_again(&mut self) -> Result<(), ViewError> {
        self.retries = false;
        let (Some(serving), Some(from)) = (self.serving.clone(), self.retry.clone()) else { return Ok(()) };
        self.retry = match self.indexer.retry(&serving, &from)? {
            Retried::All => None,
            Retried::NotYet => Some(from),
            Retried::More(next) => {
                self.retries = true;
                Some(next)
            }
        };
        Ok(())
    }

    /// Notes the code that writes from now on.
    fn note_code(&self) -> Result<(), ViewError> {
        let (Some(derived), Some(serving)) = (self.indexer.derived(), &self.serving) else { return Ok(()) };
        let code = serving.plugins.code();
        derived.write(&mut |rows| rows.put(Table::Meta, &[layout::CODE], &code.0))?;
        Ok(())
    }

    /// The rows that are found at a start may have been written by other code under the same revision: what does not
    /// hold any more is thrown away, for there is no older code to serve.
    fn check_code(&mut self) -> Result<(), ViewError> {
        let (Some(serving), store) = (self.serving.clone(), Arc::clone(&self.store)) else { return Ok(()) };
        let events = store.read()?;
        if self.indexer.open(events.as_ref())?.is_none() {
            return Ok(());
        }
        self.unchecked = false;
        let Some(derived) = self.indexer.derived() else { return Ok(()) };
        if drift::code_of(&derived.read()?)? == Some(serving.plugins.code()) {
            return Ok(());
        }
        while let Some(found) = drift::compare(events.as_ref(), &self.shared.indexed, None, &serving)? {
            let warning = format!("{found}. Its rows were thrown away and are built again");
            tracing::warn!(code = "drift", "{warning}");
            let mut warnings = self.shared.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            warnings.insert(found.keyspace.clone(), warning);
            drop(warnings);
            self.indexer.throw_away(&serving, found.tables())?;
        }
        self.note_code()
    }

    fn pursue(&mut self, pursues: bool) {
        self.pursues = pursues;
        self.shared.pursued.store(pursues, Ordering::Release);
    }

    /// Does one piece of work.
    pub(super) fn work(&mut self) {
        let waiting = self.wishes.iter().position(|wish| wish.urgent);
        if let Some(at) = waiting {
            self.grant(at);
            return;
        }
        let others = self.behind || self.retries || self.is_writing() || !self.keeps.is_empty();
        let is_others_turn = self.was_reload && others;
        self.was_reload = !(self.wishes.is_empty() || is_others_turn);
        if self.was_reload {
            self.grant(0);
        } else if self.behind && !(self.hurries && self.was_following && self.is_writing()) {
            self.was_following = true;
            self.follow();
        } else if self.is_writing() {
            self.was_following = false;
            let written = self.write();
            self.is_stuck = written.is_err();
            report("a flush is put off", written);
        } else if let Some(keep) = self.keeps.pop_front() {
            self.shared.keeps.fetch_sub(1, Ordering::AcqRel);
            report("Snapshots were not stored", self.keep(&keep));
        } else if self.retries {
            report("events that were set aside are tried again later", self.try_again());
        } else if self.litter {
            let more = self.clean();
            self.litter = *more.as_ref().unwrap_or(&false);
            report("derived tables were not taken away", more.map(drop));
        }
    }

    /// Writes a piece of what is in the tails.
    fn write(&mut self) -> Result<(), ViewError> {
        if self.indexer.is_flushing() {
            self.indexer.flush_piece()?;
        } else if let (true, Some(serving)) = (std::mem::take(&mut self.writes), self.serving.clone()) {
            self.indexer.rotate(&serving, 1)?;
        }
        self.hurries &= self.is_writing();
        Ok(())
    }

    /// Follows one batch for a wish, and answers it and all others that are granted by it.
    fn grant(&mut self, at: usize) {
        let Some(wish) = self.wishes.get(at) else { return };
        let build = Arc::clone(&wish.build);
        let outcome = self.advance(&build, Pace::Hurried).map_err(Arc::new);
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

    fn settle(&mut self) -> Result<(), ViewError> {
        let Some(build) = self.serving.clone() else { return Ok(()) };
        while self.advance(&build, Pace::Hurried)? < self.arrivals()? {}
        self.indexer.flush_all(&build)?;
        while self.has_work() {
            self.work();
        }
        Ok(())
    }

    /// Follows one batch in the background; when all is followed and nothing comes in, the tails are written.
    fn follow(&mut self) {
        let Some(build) = self.serving.clone() else {
            self.behind = false;
            self.pursue(false);
            return;
        };
        let is_alone = self.pursues || self.shared.rested.load(Ordering::Acquire);
        let pace = if is_alone { Pace::Hurried } else { Pace::Beside };
        match self.advance(&build, pace).and_then(|position| Ok((position, self.arrivals()?))) {
            Ok((position, arrivals)) => {
                let is_done = position >= arrivals;
                if is_done {
                    self.pursue(false);
                }
                self.behind = !is_done && (self.pursues || self.shared.is_due(position, arrivals));
                self.writes |= is_done && self.shared.rested.load(Ordering::Acquire);
            }
            Err(error) => {
                self.behind = false;
                self.pursue(false);
                report("indexing in the background stopped", Err(error));
            }
        }
    }

    /// Follows one batch for `build`; returns how far it is then.
    fn advance(&mut self, build: &Build, pace: Pace) -> Result<u64, ViewError> {
        if let Some(derived) = self.indexer.derived() {
            litter::finish_removals(derived, build)?;
        }
        if self.unchecked {
            self.check_code()?;
        }
        let position = self.indexer.advance(build, pace)?;
        self.try_again()?;
        Ok(position)
    }

    fn arrivals(&self) -> Result<u64, ViewError> {
        Ok(self.store.read()?.head()?.arrivals)
    }

    fn is_behind(&self) -> bool {
        let Some(position) = self.serving.as_deref().and_then(|serving| self.indexer.position(serving))
        else {
            return false;
        };
        match self.arrivals() {
            // Even with nothing to follow, what is in the tails is written once the intake rests.
            Ok(arrivals) => {
                self.shared.rested.load(Ordering::Acquire) || self.shared.is_due(position, arrivals)
            }
            Err(error) => {
                report("the backlog is unknown", Err(error));
                false
            }
        }
    }

    /// Stores Snapshots, unless their table is being taken away.
    fn keep(&self, keep: &Keep) -> Result<(), ViewError> {
        let Some(derived) = self.indexer.derived() else { return Ok(()) };
        // What a read made with code that was replaced since may be wrong under the same revision.
        let is_other = self.serving.as_ref().is_some_and(|serving| !keep.is_by(serving));
        if is_other || keep.epoch != self.indexer.epoch(keep.keyspace) {
            return Ok(());
        }
        derived.write(&mut |rows| {
            if litter::is_going(rows, Table::States(keep.view))? { Ok(()) } else { keep.store(rows) }
        })?;
        Ok(())
    }

    /// Takes one piece of what nobody asks any more away; true if there may be more.
    fn clean(&mut self) -> Result<bool, ViewError> {
        self.retired.retain(|retired| retired.plugins.strong_count() > 0);
        // Before anything serves, nobody can say what is litter.
        let Some(serving) = &self.serving else { return Ok(false) };
        let mut wanted = litter::tables_of(serving);
        wanted.extend(self.retired.iter().flat_map(|retired| retired.tables.iter().copied()));
        wanted.extend(self.prepared.iter().flat_map(|prepared| litter::tables_of(prepared)));
        self.indexer.forget_tails(&wanted);
        match self.indexer.derived() {
            Some(derived) => litter::clean(derived, &wanted),
            None => Ok(false),
        }
    }
}

impl fmt::Debug for Deriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wishes, keeps, behind, .. } = self;
        let mut debug = f.debug_struct("Deriver");
        debug.field("wishes", &wishes.len()).field("keeps", &keeps.len()).field("behind", behind);
        debug.finish_non_exhaustive()
    }
}

/// Work that nobody waits for tells the log.
fn report(what: &'static str, outcome: Result<(), ViewError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "{what}");
    }
}
