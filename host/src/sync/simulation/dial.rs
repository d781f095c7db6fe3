//! The side that dials: what the driver of a link does between two waits, one action at a time.
//!
//! A round runs as a future that is polled when the world hands it an answer. Between rounds the driver watches the
//! peer and pushes what is admitted here. It begins a round only if something tells that one is due: so a change that
//! nothing tells of shows as replicas that rest and differ.

use super::wire::Way;
use super::world::{Check, World};
use crate::sync::{ExchangeError, Heard, Link, Outcome, SyncError, agree, push_live, round};
use rand::Rng;
use rand::rngs::StdRng;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What a task leaves behind: the link, and how it ended (none after a live push).
type Ended = (Link, Result<Option<Outcome>, SyncError>);

/// How long a link rests after a failure, at most, in milliseconds.
const REST_MS_MAX: i64 = 2000;
/// A peer that waits for news on a link of its own is given so long to take them there, in milliseconds.
const TOLD_MS: std::ops::Range<i64> = 60..120;
/// How long a peer may hold its answer back.
const WAIT_MS: u32 = 25_000;

/// What a task does.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A round, with a digest first if nothing is known to be different.
    Round { is_idle: bool },
    /// A live push.
    Push,
    /// The question for a dictionary, if it is due.
    Agree,
}

/// A link from one replica to another, and what runs on it.
#[expect(clippy::struct_excessive_bools, reason = "what is due is told by several, each for itself")]
pub(super) struct Dial {
    pub(super) from: usize,
    pub(super) to: usize,
    /// None while a task has it.
    link: Option<Link>,
    task: Option<Pin<Box<dyn Future<Output = Ended>>>>,
    /// The parcel of the watch.
    watch: Option<u64>,
    news: Option<Result<Vec<u8>, ExchangeError>>,
    /// The question for a dictionary was looked at since the last watch.
    has_agreed: bool,
    is_due: bool,
    /// It has waited for the peer to be told over the peer's own link.
    has_waited: bool,
    /// Something is known to be different, so no digest is sent first.
    is_different: bool,
    rest_until_ms: i64,
    /// Rounds begun since the network was healed.
    pub(super) rounds: usize,
}

impl Dial {
    /// A link that has never been used. Its pages are of some size, as on a way that broke before.
    pub(super) fn new(from: usize, to: usize, rng: &mut StdRng) -> Self {
        let mut link = Link::new(rng.random());
        for _ in 0..rng.random_range(0..10) {
            link.broke();
        }
        Self {
            from,
            to,
            link: Some(link),
            task: None,
            watch: None,
            news: None,
            has_agreed: false,
            is_due: true,
            has_waited: false,
            is_different: false,
            rest_until_ms: 0,
            rounds: 0,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.task.is_some()
    }

    /// When it may act again, if it has something to do.
    pub(super) fn acts_at(&self, world: &World) -> Option<i64> {
        let link = self.link.as_ref()?;
        let waits = self.watch.is_some() && self.news.is_none();
        let head = world.nodes[self.from].head();
        let rests = !self.is_due && waits && link.known().covers(&head.knowledge);
        (!rests).then_some(self.rest_until_ms)
    }
}

impl World {
    /// The link breaks on the dialler's side: whatever runs is dropped, and what the link knew is gone.
    pub(super) fn cut(&mut self, at: usize) {
        let Dial { from, to, rounds, .. } = self.dials[at];
        self.dials[at] = Dial { rounds, ..Dial::new(from, to, &mut self.rng) };
        self.wire.borrow_mut().forget(at);
    }

    /// The driver of a link does the next thing, if there is one.
    pub(super) fn act(&mut self, at: usize) -> Check {
        let now_ms = self.now_ms();
        if self.dials[at].acts_at(self).is_none_or(|at_ms| at_ms > now_ms) {
            return Ok(());
        }
        let (from, to) = (self.dials[at].from, self.dials[at].to);
        if let Some(news) = self.dials[at].news.take() {
            return self.hear(at, &news);
        }
        let head = self.nodes[from].head();
        let link = self.dials[at].link.as_ref().expect("no task has it");
        let is_told = self.nodes[from].replica.is_watched_by(link.current());
        let known = link.known();
        let is_live = head.knowledge.get(head.origin) > known.get(head.origin);
        let is_covered = known.covers(&head.knowledge);
        let way = Way { wire: Rc::clone(&self.wire), dial: at, to };
        let dial = &mut self.dials[at];
        if dial.is_due {
            dial.rounds += 1;
            let is_idle = !dial.is_different;
            (dial.is_due, dial.is_different) = (false, false);
            // As the dialler does: who begins a round waits for no news.
            if let Some(watch) = dial.watch.take() {
                way.wire.borrow_mut().drop_answer(watch);
            }
            self.log(|| format!("{from}>{to} begins a round"));
            self.begin(at, way, Work::Round { is_idle })
        } else if is_live && !is_told {
            self.log(|| format!("{from}>{to} pushes live"));
            self.begin(at, way, Work::Push)
        } else if !is_covered && is_told && !std::mem::replace(&mut dial.has_waited, true) {
            dial.rest_until_ms = now_ms + self.rng.random_range(TOLD_MS);
            Ok(())
        } else if !is_covered {
            dial.has_waited = false;
            (dial.is_due, dial.is_different) = (true, self.rng.random());
            Ok(())
        } else if !std::mem::replace(&mut dial.has_agreed, true) && !self.is_old(from) {
            self.begin(at, way, Work::Agree)
        } else {
            let dial = &mut self.dials[at];
            (dial.has_agreed, dial.has_waited) = (false, false);
            let link = dial.link.as_ref().expect("no task has it");
            let ask = link.watch(&self.nodes[from].replica, WAIT_MS).map_err(|error| error.to_string())?;
            dial.watch = Some(way.send(ask.encode()));
            Ok(())
        }
    }

    fn begin(&mut self, at: usize, mut way: Way, work: Work) -> Check {
        let replica = Arc::clone(&self.nodes[self.dials[at].from].replica);
        let mut link = self.dials[at].link.take().expect("no task has it");
        self.dials[at].task = Some(Box::pin(async move {
            let ended = match work {
                Work::Round { is_idle } => round(&replica, &mut way, &mut link, is_idle).await.map(Some),
                Work::Push => push_live(&replica, &mut way, &mut link).await.map(|()| None),
                Work::Agree => agree(&replica, &mut way, &mut link).await.map(|()| None),
            };
            (link, ended)
        }));
        self.poll(at)
    }

    /// Lets the task of a link run until it waits again.
    pub(super) fn poll(&mut self, at: usize) -> Check {
        let Some(task) = self.dials[at].task.as_mut() else { return Ok(()) };
        let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready((link, ended)) = polled {
            self.dials[at].task = None;
            let (own, known) = (self.nodes[self.dials[at].from].head(), link.known().clone());
            self.dials[at].link = Some(link);
            let is_behind = own.knowledge.get(own.origin) > known.get(own.origin);
            self.ended(at, &ended, is_behind)?;
        }
        self.look_at(self.dials[at].from)
    }

    fn ended(&mut self, at: usize, ended: &Result<Option<Outcome>, SyncError>, is_behind: bool) -> Check {
        let now_ms = self.now_ms();
        let (from, to) = (self.dials[at].from, self.dials[at].to);
        let is_again = match ended {
            Ok(Some(Outcome::Same)) => false,
            Ok(Some(Outcome::Moved | Outcome::Forked)) | Err(SyncError::Exchange(_)) => true,
            Ok(None) => is_behind,
            Err(SyncError::Stalled { .. }) => {
                self.report.stalled += 1;
                true
            }
            Err(error) => return Err(format!("{from}>{to}: the exchange fails: {error}")),
        };
        self.log(|| format!("{from}>{to} ends: {ended:?}"));
        if is_again {
            let rest_ms = self.rng.random_range(0..REST_MS_MAX);
            let is_different: bool = self.rng.random();
            let dial = &mut self.dials[at];
            dial.is_due = true;
            dial.is_different |= is_different;
            dial.rest_until_ms = now_ms + rest_ms;
        }
        Ok(())
    }

    /// The answer to a watch has come, or will not come.
    pub(super) fn watched(&mut self, at: usize, parcel: u64, news: Result<Vec<u8>, ExchangeError>) -> bool {
        let dial = &mut self.dials[at];
        let is_watch = dial.watch == Some(parcel);
        if is_watch {
            dial.watch = None;
            dial.news = Some(news);
        }
        is_watch
    }

    fn hear(&mut self, at: usize, news: &Result<Vec<u8>, ExchangeError>) -> Check {
        let dial = &mut self.dials[at];
        let (from, to) = (dial.from, dial.to);
        let link = dial.link.as_mut().expect("no task has it");
        let heard = match news {
            Ok(answer) => link.heard(&self.nodes[from].replica, answer).map(|heard| heard != Heard::Same),
            Err(_) => Ok(true),
        };
        let is_due = heard.map_err(|error| format!("{from}>{to}: the news fail: {error}"))?;
        dial.is_due |= is_due;
        dial.is_different |= is_due;
        self.log(|| format!("{from}>{to} hears of news, a round is due: {is_due}"));
        self.look_at(from)
    }
}
