//! One peer, dialled for as long as the server runs.

use super::address::PeerAddress;
use super::client::{Client, Connect};
use super::status::{PeerStatus, RootStatus};
use crate::core::event::ValidTime;
use crate::core::limits::{PEER_ROOTS_MAX, SYNC_WAIT_MS_MAX};
use crate::core::name::is_name;
use crate::problem::Problem;
use crate::sync::{
    Exchange, ExchangeError, Heard, Link, Outcome, Replica, SyncError, agree, lacking, push_live, round,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// After a first failure; doubled after each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How often the peer's Roots are looked at.
const ROOTS_EVERY: Duration = Duration::from_secs(10);
/// What others admitted is offered only after a pause of this length and up to as much again: by then the peer mostly
/// has it from them.
const RELAY_PAUSE: Duration = Duration::from_millis(60);

/// What another link was asked for is looked at again after this.
const LENT_PAUSE: Duration = Duration::from_millis(300);

/// The Roots of a host, as a dialler needs them.
pub trait Roots: 'static {
    /// The names of the Roots that have files.
    fn stored(&self) -> Vec<String>;
    /// Counts up whenever one more has.
    fn made(&self) -> watch::Receiver<u64>;
    /// The Root's replica; its files are made if there are none, within the limit for Roots that only peers have.
    fn replica(&self, root: &str) -> Result<Arc<Replica>, Problem>;
    /// The wall clock.
    fn now(&self) -> ValidTime;
    /// A random number; a simulation has its own.
    fn random(&self) -> u64 {
        rand::random()
    }
}

/// Dials one peer.
#[derive(Debug)]
pub struct Dialler<C, R> {
    /// The peer.
    pub peer: PeerAddress,
    /// Only these Roots; none: all.
    pub only: Option<Vec<String>>,
    /// Our Roots.
    pub roots: Arc<R>,
    /// Where it is shown how it stands.
    pub status: Arc<PeerStatus>,
    /// Opens connections.
    pub connect: C,
}

/// The list of a peer's Roots, as far as it matters.
#[derive(Deserialize)]
struct Listed {
    roots: Vec<ListedRoot>,
}

#[derive(Deserialize)]
struct ListedRoot {
    root: String,
    stored: bool,
}

impl<C: Connect, R: Roots> Dialler<C, R> {
    /// Dials until `stop` says so. To be run on one thread: its tasks are not `Send`.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut tasks: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
        let mut backoff = Backoff::new();
        let mut made = this.roots.made();
        let mut client = Client::new(this.connect.clone(), this.peer.clone(), "", this.status.bytes());
        loop {
            made.mark_unchanged();
            let listed = this.listed(&mut client).await;
            let mut reached = listed.as_ref().map(drop).map_err(ToString::to_string);
            let pause =
                if listed.is_ok() { backoff.reset(ROOTS_EVERY) } else { backoff.next(this.roots.random()) };
            for root in this.wanted(listed.unwrap_or_default()) {
                if tasks.len() >= PEER_ROOTS_MAX && !tasks.contains_key(&root) {
                    reached =
                        Err(format!("the peer names more roots than the {PEER_ROOTS_MAX} that are followed"));
                    break;
                }
                let (dialler, name, stop) = (Arc::clone(&this), root.clone(), stop.clone());
                let start = move || tokio::task::spawn_local(dialler.keep_up(name, stop));
                tasks.entry(root).or_insert_with(start);
            }
            this.status.reached(reached, this.roots.now());
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = made.changed() => {}
                () = stopped(&mut stop) => break,
            }
        }
        for task in tasks.into_values() {
            task.abort();
        }
    }

    /// The Roots that the peer has files of.
    async fn listed(&self, client: &mut Client<C>) -> Result<Vec<String>, ExchangeError> {
        let answer = client.get("/_/roots").await?;
        let listed: Listed = serde_json::from_slice(&answer)
            .map_err(|error| ExchangeError::Connection(format!("this is no Laterbase: {error}")))?;
        // A name becomes the name of a folder: what is none is no Root, whoever says so.
        let roots = listed.roots.into_iter().filter(|root| root.stored && is_name(&root.root));
        Ok(roots.map(|root| root.root).collect())
    }

    fn wanted(&self, listed: Vec<String>) -> Vec<String> {
        let mut wanted = self.roots.stored();
        wanted.extend(listed);
        wanted.retain(|root| self.only.as_ref().is_none_or(|only| only.contains(root)));
        wanted
    }

    /// Keeps one Root and the peer's equal.
    async fn keep_up(self: Arc<Self>, root: String, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new();
        let mut link = Link::new(self.roots.random());
        loop {
            let error = tokio::select! {
                ended = self.follow(&root, &mut link, &mut backoff) => ended,
                () = stopped(&mut stop) => return,
            };
            let Err(error) = error;
            tracing::debug!(peer = %self.peer, root, %error, "sync paused");
            self.status.update(&root, |status| status.failed(self.roots.now(), error.to_string()));
            tokio::select! {
                () = sleep(backoff.next(self.roots.random())) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    /// Compares, then follows, until something fails.
    async fn follow(
        &self,
        root: &str,
        link: &mut Link,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, SyncError> {
        let replica = self.roots.replica(root).map_err(|problem| {
            let (status, code) = (problem.code.status(), problem.code.word().to_owned());
            ExchangeError::Refused { status, code, detail: problem.detail }
        })?;
        let client = || Client::new(self.connect.clone(), self.peer.clone(), root, self.status.bytes());
        let (status, roots, name) = (Arc::clone(&self.status), Arc::clone(&self.roots), root.to_owned());
        let mut talk = client().showing(Box::new(move |moved, to_pull, to_push| {
            status.update(&name, |status| status.succeeded(roots.now(), to_pull, to_push, moved));
        }));
        let mut listen = client().waiting(Duration::from_millis(SYNC_WAIT_MS_MAX.into()));
        let mut commits = replica.commits();
        let mut is_idle = true;
        link.connected();
        loop {
            commits.mark_unchanged();
            let outcome = round(&replica, &mut talk, link, is_idle).await?;
            backoff.reset(Duration::ZERO);
            self.show(root, &replica, link)?;
            is_idle = false;
            let ours = replica.store().read()?.head()?;
            let is_settled = ours.knowledge == *link.known();
            drop(ours);
            if outcome == Outcome::Same || (outcome == Outcome::Moved && is_settled) {
                self.listen(root, &replica, (&mut talk, &mut listen), link, &mut commits).await?;
            } else {
                // Another link is at it: let it finish.
                sleep(LENT_PAUSE).await;
            }
        }
    }

    /// Stays connected until only another round can tell what is different. Who also dials us, and waits for news
    /// there, is not pushed to: the answer is on its way.
    async fn listen(
        &self,
        root: &str,
        replica: &Arc<Replica>,
        (talk, listen): (&mut Client<C>, &mut Client<C>),
        link: &mut Link,
        commits: &mut watch::Receiver<u64>,
    ) -> Result<(), SyncError> {
        loop {
            agree(replica, talk, link).await?;
            let ask = link.watch(replica, SYNC_WAIT_MS_MAX)?.encode();
            let mut heard = pin!(listen.exchange(ask));
            let mut relay = None;
            let answer = loop {
                tokio::select! {
                    answer = &mut heard => break answer?,
                    Ok(()) = commits.changed() => {
                        let is_told = replica.is_watched_by(link.current());
                        if !is_told {
                            push_live(replica, talk, link).await?;
                        }
                        self.show(root, replica, link)?;
                        match lacks(replica, link)? {
                            Lacks::Nothing => relay = None,
                            Lacks::Ours if !is_told => return Ok(()),
                            Lacks::Ours | Lacks::Others => {
                                relay = relay.or_else(|| Some(Instant::now() + self.relay_pause()));
                            }
                        }
                    }
                    () = until(relay) => {
                        if lacks(replica, link)? != Lacks::Nothing {
                            return Ok(());
                        }
                        relay = None;
                    }
                }
            };
            let heard = link.heard(replica, &answer)?;
            self.show(root, replica, link)?;
            match heard {
                Heard::Same => {}
                Heard::Behind => return Ok(()),
                Heard::Differs => {
                    // Mostly the same news is on its way from whoever admitted it.
                    let _changed = timeout(self.relay_pause(), commits.changed()).await;
                    return Ok(());
                }
            }
        }
    }

    fn relay_pause(&self) -> Duration {
        RELAY_PAUSE.mul_f64(StdRng::seed_from_u64(self.roots.random()).random_range(1.0..2.0))
    }

    fn show(&self, root: &str, replica: &Replica, link: &Link) -> Result<(), SyncError> {
        let ours = replica.store().read()?.head()?;
        let (to_pull, to_push) = (link.known().minus(&ours.knowledge), ours.knowledge.minus(link.known()));
        let change =
            |status: &mut RootStatus| status.succeeded(self.roots.now(), to_pull, to_push, link.moved);
        self.status.update(root, change);
        Ok(())
    }
}

/// What a peer lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacks {
    Nothing,
    /// What we admitted, more than is sent unasked.
    Ours,
    /// Only what others admitted.
    Others,
}

/// What the peer lacks of what we hold, as far as we know.
fn lacks(replica: &Replica, link: &Link) -> Result<Lacks, SyncError> {
    let ours = replica.store().read()?.head()?;
    let spans = lacking(link.known(), &ours.knowledge);
    let is_ours = spans.iter().any(|span| span.origin == ours.origin.0);
    Ok(match (spans.is_empty(), is_ours) {
        (true, _) => Lacks::Nothing,
        (false, true) => Lacks::Ours,
        (false, false) => Lacks::Others,
    })
}

/// Pauses that grow with each failure (full jitter between a half and the whole of them).
#[derive(Debug)]
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(BACKOFF_MIN)
    }

    fn next(&mut self, random: u64) -> Duration {
        let pause = self.0;
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
        pause.mul_f64(StdRng::seed_from_u64(random).random_range(0.5..1.0))
    }

    /// Begins anew after a success; the pause to make instead.
    fn reset(&mut self, pause: Duration) -> Duration {
        self.0 = BACKOFF_MIN;
        pause
    }
}

/// Ends at the instant, or never.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Ends when the server is told to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone has stopped, too.
    let _gone = stop.wait_for(|stop| *stop).await;
}
