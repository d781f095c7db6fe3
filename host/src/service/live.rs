//! The live feed: readers that catch up out of the store and then share what arrives.
//!
//! ```text
//! commit -> follower, one for each Root that has readers: reads what arrived, writes each frame once -> recent frames
//! reader -> its place: the store's pages, until nothing is behind -> then recent frames, and a wait for more
//!             ^------ what it lacks is not among them: it was too slow ------'
//! ```
//! A reader is run by the connection that it writes to (`sse::driven`): it has no thread, no task and, between two
//! pages, no state of the tables. While a client does not read, its reader stands still and holds the frames on their
//! way to it, no more; the recent ones are dropped by their size, whoever still lacks them.

use super::{Front, blocking};
use crate::feed::{self, LivePage, Reader, Recent, Taken, Told};
use crate::host::Host;
use crate::http::sse::{self, Gone, Writer};
use crate::metering::LiveReader;
use crate::problem::Problem;
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep};
use tracing::Instrument;

/// After so long without a frame one is written that says nothing.
const PULSE: Duration = Duration::from_secs(15);
/// What arrives within so long is told together: a reader that is woken for each of thousands of commits costs more.
const GATHER: Duration = Duration::from_millis(4);
/// After a fault of the store the follower waits so long.
const RETRY: Duration = Duration::from_secs(1);
/// So many readers may be reading the store at one time.
const READS_MAX: usize = 4;

/// What live readers share.
#[derive(Debug)]
pub(super) struct Tails {
    by_root: Mutex<BTreeMap<String, Weak<Tail>>>,
    /// A permit for each reader that reads the store.
    reads: Semaphore,
}

impl Default for Tails {
    fn default() -> Self {
        Self { by_root: Mutex::default(), reads: Semaphore::new(READS_MAX) }
    }
}

/// What the readers of one Root share; it is gone with the last of them.
#[derive(Debug)]
struct Tail {
    recent: Mutex<Recent>,
    /// Told whenever there are more recent frames.
    news: watch::Sender<()>,
    /// Dropped with this, which tells the follower.
    _readers: oneshot::Sender<()>,
}

impl Tail {
    fn take(&self, reader: &mut Reader) -> Taken {
        reader.take(&self.recent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn told(&self) -> Told {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).told()
    }
}

/// One reader under way.
struct Live {
    host: Arc<Host>,
    root: String,
    tails: Arc<Tails>,
    tail: Arc<Tail>,
    stopped: watch::Receiver<bool>,
    /// Counts it, and says how far it is.
    counted: LiveReader,
}

/// Why a reader ends before its client does.
enum Ended {
    Gone,
    Fault(Problem),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl Front {
    /// Begins a live feed for a client that got the frame `id` last, if it did.
    pub(super) async fn live(
        &self,
        name: &str,
        query: feed::Query,
        id: Option<String>,
    ) -> Result<sse::Stream, Problem> {
        let (root, catalog) = self.host.root(name)?;
        // What cannot be asked is a status, not a frame.
        let _reads = self.tails.reads.acquire().await;
        let (reader, is_ours, head) = blocking(move || root.reader(&catalog, &query, id.as_deref())).await?;
        let live = Live {
            host: Arc::clone(&self.host),
            root: name.to_owned(),
            tails: Arc::clone(&self.tails),
            tail: self.tail(name, head),
            stopped: self.stopped.clone(),
            counted: LiveReader::begin(name, "events", reader.arrival()),
        };
        metrics::counter!("laterbase_live_fallbacks_total", "root" => name.to_owned()).increment(0);
        let span = tracing::Span::current();
        Ok(sse::driven(|writer| {
            let told = async move {
                if let Err(Ended::Fault(problem)) = live.run(&writer, reader, is_ours).await {
                    let data = json!({"code": problem.code.word(), "detail": problem.detail});
                    let _gone = writer.event("error", None, &data.to_string()).await;
                }
            };
            told.instrument(span)
        }))
    }

    /// What the readers of a Root share; made, with its follower, for the first of them, behind the arrival `head`.
    fn tail(&self, name: &str, head: Told) -> Arc<Tail> {
        let mut by_root = self.tails.by_root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = by_root.get(name).and_then(Weak::upgrade) {
            return tail;
        }
        let (readers, gone) = oneshot::channel();
        let recent = Mutex::new(Recent::new(head));
        let tail = Arc::new(Tail { recent, news: watch::Sender::new(()), _readers: readers });
        by_root.insert(name.to_owned(), Arc::downgrade(&tail));
        let follower = Follower {
            host: Arc::clone(&self.host),
            root: name.to_owned(),
            tail: Arc::downgrade(&tail),
            stopped: self.stopped.clone(),
        };
        drop(tokio::spawn(follower.run(gone)));
        tail
    }
}

impl Live {
    async fn run(&self, writer: &Writer, mut reader: Reader, is_ours: bool) -> Result<(), Ended> {
        if !is_ours {
            let data = json!({"detail": "this replica did not pass through that id: begin anew"});
            // The empty id makes the client forget the one that it has.
            writer.event("reset", Some(""), &data.to_string()).await?;
        }
        let mut news = self.tail.news.subscribe();
        let mut stopped = self.stopped.clone();
        loop {
            reader = self.catch_up(writer, reader).await?;
            self.counted.told(reader.arrival());
            while !*stopped.borrow() {
                news.mark_unchanged();
                match self.tail.take(&mut reader) {
                    Taken::Frames(frames) => {
                        for frame in frames {
                            writer.frames(frame).await?;
                        }
                        self.counted.told(reader.arrival());
                    }
                    Taken::Nothing => idle(writer, &reader, &mut news, &mut stopped).await?,
                    Taken::Behind => break,
                }
            }
            if *stopped.borrow() {
                return Ok(());
            }
            metrics::counter!("laterbase_live_fallbacks_total", "root" => self.root.clone()).increment(1);
        }
    }

    /// Tells what lies behind the reader, page by page, until nothing does or the server stops.
    async fn catch_up(&self, writer: &Writer, mut reader: Reader) -> Result<Reader, Ended> {
        let mut last = Instant::now();
        loop {
            let page;
            (reader, page) = self.page(reader).await.map_err(Ended::Fault)?;
            if !page.frames.is_empty() {
                writer.frames(page.frames.into()).await?;
                last = Instant::now();
            } else if last.elapsed() > PULSE {
                writer.frames(Bytes::from_static(b": still here\n\n")).await?;
                last = Instant::now();
            }
            if page.is_caught_up || *self.stopped.borrow() {
                return Ok(reader);
            }
        }
    }

    async fn page(&self, mut reader: Reader) -> Result<(Reader, LivePage), Problem> {
        let (root, catalog) = self.host.root(&self.root)?;
        let _permit = self.tails.reads.acquire().await.expect("nobody closes it");
        blocking(move || root.live_page(&catalog, &mut reader).map(|page| (reader, page))).await
    }
}

/// Waits for news; says now and then that the line is alive.
async fn idle(
    writer: &Writer,
    reader: &Reader,
    news: &mut watch::Receiver<()>,
    stopped: &mut watch::Receiver<bool>,
) -> Result<(), Ended> {
    loop {
        let is_quiet = tokio::select! {
            changed = news.changed() => return changed.map_err(|_| Ended::Gone),
            _ = stopped.wait_for(|stopped| *stopped) => false,
            () = sleep(PULSE) => true,
        };
        if !is_quiet {
            return Ok(());
        }
        writer.pulse(&reader.id().unwrap_or_default()).await?;
    }
}

/// Reads what arrives in a Root, for all of its readers.
struct Follower {
    host: Arc<Host>,
    root: String,
    tail: Weak<Tail>,
    stopped: watch::Receiver<bool>,
}

impl Follower {
    /// Follows until there is no reader any more, or the server stops.
    async fn run(mut self, mut gone: oneshot::Receiver<()>) {
        loop {
            let pause = match self.turn().await {
                Ok(None) => return,
                Ok(Some(pause)) => pause,
                Err(problem) => {
                    tracing::warn!(
                        root = self.root,
                        code = problem.code.word(),
                        "live feed: {}",
                        problem.detail
                    );
                    Pause::For(RETRY)
                }
            };
            tokio::select! {
                () = pause.over() => {}
                _ = &mut gone => return,
                _ = self.stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    /// Takes in what arrived; none if nobody reads any more.
    async fn turn(&self) -> Result<Option<Pause>, Problem> {
        let Some(told) = self.tail.upgrade().map(|tail| tail.told()) else { return Ok(None) };
        let (root, catalog) = self.host.root(&self.root)?;
        let (news, arrived) = blocking(move || {
            // First what tells of news: whatever comes after the reading is news then.
            let made = root.made();
            let Some(opened) = root.opened()? else { return Ok((made, Vec::new())) };
            let news = opened.replica.commits();
            let tables = opened.store.read().map_err(|fault| fault.problem())?;
            let arrived = Recent::read(tables.as_ref(), told, catalog.as_ref());
            Ok((news, arrived.map_err(|fault| fault.problem())?))
        })
        .await?;
        if arrived.is_empty() {
            return Ok(Some(Pause::Until(news)));
        }
        let Some(tail) = self.tail.upgrade() else { return Ok(None) };
        tail.recent.lock().unwrap_or_else(PoisonError::into_inner).extend(arrived);
        tail.news.send_replace(());
        Ok(Some(Pause::For(GATHER)))
    }
}

/// What a follower waits for.
enum Pause {
    For(Duration),
    Until(watch::Receiver<u64>),
}

impl Pause {
    async fn over(self) {
        match self {
            Self::For(time) => sleep(time).await,
            // Nobody tells any more: the Root is being dropped, and the server with it.
            Self::Until(mut news) => {
                if news.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
