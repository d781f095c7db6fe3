//! The one writer of a Root: takes whatever is queued, checks and writes it in one transaction, and answers after
//! that is durable.
//!
//! ```text
//! request A ─┐            ┌─ look at every event of A, then put them ─┐
//! request B ─┼─► queue ─► ┤  look at every event of B, then put them  ├─► commit (fsync) ─► answer A, B, C
//! request C ─┘            └─ …                                        ┘
//! ```
//! [`step`] is plain synchronous code; the thread around it only waits and calls. One request's refusal never
//! touches its neighbours: a request is checked wholly before its first put.

use super::check;
use super::mint::Minted;
use crate::core::clock::Clock;
use crate::core::event::{Dot, Seq, ValidTime};
use crate::core::gset::{self, Candidate, Look};
use crate::core::knowledge::{self, VersionVector};
use crate::core::tables::{Result as TableResult, TableError, Tables, TablesMut};
use crate::store::Store;
use crate::wall::Wall;
use metrics::{Counter, Histogram, counter, histogram};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

/// A request whose events have keys and have passed their Schemas, waiting for the writer.
pub(super) struct Job {
    /// The events; indexes of this list are those of the outcomes.
    pub events: Vec<Minted>,
    /// All or nothing.
    pub atomic: bool,
    /// The Idempotency-Key's hash and the stamp that the keys were minted with.
    pub stamp: Option<([u8; 16], ValidTime)>,
}

/// What became of one event of a job that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Stored under this dot.
    Written(Dot),
    /// Would be stored; this was a dry run.
    Fit,
    /// Known before; the dot is absent where the stored bytes are others.
    Duplicate(Option<Dot>),
    /// The key holds another value; nothing is stored.
    Clash,
}

impl Outcome {
    /// The dot under which the event is known here.
    pub(super) fn dot(&self) -> Option<Dot> {
        match self {
            Self::Written(dot) => Some(*dot),
            Self::Duplicate(dot) => *dot,
            Self::Fit | Self::Clash => None,
        }
    }
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    /// One outcome an event, and all their dots.
    Outcomes(Vec<Outcome>, VersionVector),
    /// The job is atomic and these events, by index, are clashes: nothing is stored.
    Refused(Vec<usize>),
    /// The Idempotency-Key has an earlier stamp: mint with this one and send again.
    Restamp(ValidTime),
}

/// Why a job has no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum WriteError {
    /// Too many events wait already.
    #[error("the writer's queue is full")]
    QueueFull,
    /// The Root is shutting down.
    #[error("the writer has stopped")]
    Stopped,
    /// The tables failed; all jobs of the commit share the cause.
    #[error(transparent)]
    Tables(Arc<TableError>),
}

struct Queued {
    job: Job,
    answer: oneshot::Sender<Result<(Done, Job), WriteError>>,
    /// Held until the job is done: the queue is bounded by events, not by requests.
    _room: OwnedSemaphorePermit,
}

/// How much one commit and the queue may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Events that may wait.
    pub queue_events_max: u32,
    /// Events after which a commit takes no further request.
    pub commit_events_max: usize,
    /// How long an Idempotency-Key's stamp is kept, in milliseconds.
    pub stamp_keep_ms: u64,
}

/// The queue in front of a Root's writer thread. Dropping it lets the thread finish what is queued and end.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Sender<Queued>,
    room: Arc<Semaphore>,
    bounds: Bounds,
}

/// What the writer thread works on.
pub(super) struct Bench {
    /// The Root's tables.
    pub store: Arc<dyn Store>,
    /// The Root's hybrid logical clock, whose maximum is persisted with each commit.
    pub clock: Arc<Mutex<Clock>>,
    /// The wall clock.
    pub wall: Arc<dyn Wall>,
    /// Called with `false` after each commit that wrote something, with `true` when the queue then stays empty.
    pub wake: Box<dyn Fn(bool) + Send>,
}

impl Writer {
    /// Starts the writer thread of the Root `name`.
    pub(super) fn start(name: &str, bench: Bench, bounds: Bounds) -> std::io::Result<Self> {
        let (queue, jobs) = channel();
        let thread = std::thread::Builder::new().name(format!("write {name}"));
        let running = thread.spawn(move || run(&jobs, &bench, bounds))?;
        drop(running);
        let room = Arc::new(Semaphore::new(bounds.queue_events_max as usize));
        Ok(Self { queue, room, bounds })
    }

    /// How many events wait.
    pub(super) fn queued(&self) -> u32 {
        let free = u32::try_from(self.room.available_permits()).unwrap_or(u32::MAX);
        self.bounds.queue_events_max.saturating_sub(free)
    }

    /// Queues a job and waits until it is durable or refused; gives it back with what became of it.
    pub(super) async fn write(&self, job: Job) -> Result<(Done, Job), WriteError> {
        let events =
            u32::try_from(job.events.len()).unwrap_or(u32::MAX).clamp(1, self.bounds.queue_events_max);
        let room =
            Arc::clone(&self.room).try_acquire_many_owned(events).map_err(|_| WriteError::QueueFull)?;
        let (answer, done) = oneshot::channel();
        self.queue.send(Queued { job, answer, _room: room }).map_err(|_| WriteError::Stopped)?;
        done.await.map_err(|_| WriteError::Stopped)?
    }
}

/// After so long without a request the intake is said to rest.
const REST: Duration = Duration::from_millis(50);

fn run(jobs: &Receiver<Queued>, bench: &Bench, bounds: Bounds) {
    let (mut rested, meters) = (true, Meters::new());
    loop {
        let first = if rested {
            jobs.recv().map_err(|RecvError| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(REST)
        };
        let first = match first {
            Ok(first) => first,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                rested = true;
                (bench.wake)(true);
                continue;
            }
        };
        rested = false;
        let mut events = first.job.events.len();
        let mut batch = vec![first];
        while events < bounds.commit_events_max {
            let Ok(next) = jobs.try_recv() else { break };
            events += next.job.events.len();
            batch.push(next);
        }
        // Nobody waits for one of these before sending another; in the order of their keys they fill pages.
        batch.sort_by_key(|queued| queued.job.events.first().map(|event| event.key));
        let begun = Instant::now();
        let results = step(bench, bounds, batch.iter().map(|queued| &queued.job));
        meters.count(begun, events, &results);
        for (queued, result) in batch.into_iter().zip(results) {
            // A client that went away does not need its answer.
            let _gone = queued.answer.send(result.map(|done| (done, queued.job)));
        }
    }
}

/// The figures of commits, looked up once.
struct Meters {
    seconds: Histogram,
    events: Histogram,
    requests: Histogram,
    done: Counter,
    failed: Counter,
}

impl Meters {
    fn new() -> Self {
        let commits = |outcome| counter!("laterbase_commits_total", "outcome" => outcome);
        Self {
            seconds: histogram!("laterbase_commit_seconds"),
            events: histogram!("laterbase_commit_events"),
            requests: histogram!("laterbase_commit_requests"),
            done: commits("done"),
            failed: commits("failed"),
        }
    }

    /// Counts one commit.
    #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
    fn count(&self, begun: Instant, events: usize, results: &[Result<Done, WriteError>]) {
        self.seconds.record(begun.elapsed().as_secs_f64());
        self.events.record(events as f64);
        self.requests.record(results.len() as f64);
        let outcome = if results.iter().all(Result::is_ok) { &self.done } else { &self.failed };
        outcome.increment(1);
    }
}

/// Writes a batch of jobs in one commit; one result a job.
pub(super) fn step<'a>(
    bench: &Bench,
    bounds: Bounds,
    jobs: impl Iterator<Item = &'a Job> + Clone,
) -> Vec<Result<Done, WriteError>> {
    let now_ms = bench.wall.now().millis().cast_unsigned();
    let clock_max = bench.clock.lock().expect("no holder of the clock panics").max();
    let mut results = Vec::new();
    let committed = bench.store.commit(&mut |tables| {
        results.clear();
        for job in jobs.clone() {
            results.push(write(tables, job, now_ms, bounds)?);
        }
        if results.iter().any(wrote) {
            tables.put_clock_max(clock_max.0)?;
        }
        Ok(())
    });
    match committed {
        Ok(()) => {
            if results.iter().any(wrote) {
                (bench.wake)(false);
            }
            results.into_iter().map(Ok).collect()
        }
        Err(fault) => {
            let fault = Arc::new(fault);
            jobs.map(|_| Err(WriteError::Tables(Arc::clone(&fault)))).collect()
        }
    }
}

fn wrote(done: &Done) -> bool {
    match done {
        Done::Outcomes(outcomes, _) => outcomes.iter().any(|outcome| matches!(outcome, Outcome::Written(_))),
        Done::Refused(_) | Done::Restamp(_) => false,
    }
}

fn write(tables: &mut dyn TablesMut, job: &Job, now_ms: u64, bounds: Bounds) -> TableResult<Done> {
    if let Some((key, minted_with)) = job.stamp
        && let Some(first) = tables.stamp(key)?.filter(|first| *first != minted_with.0)
    {
        return Ok(Done::Restamp(ValidTime(first)));
    }
    let looks = look_all(tables, &job.events)?;
    if let Some(refused) = refused(job, &looks) {
        return Ok(refused);
    }
    let is_new = |(event, look): &(&Minted, &Look)| **look == Look::New && event.repeats.is_none();
    let new = job.events.iter().zip(&looks).filter(is_new).map(|(event, _)| candidate(event));
    let new: Vec<_> = new.collect();
    let admitted = if new.is_empty() { None } else { Some(gset::admit_all(tables, &new, now_ms)?) };
    let (mut next, term) = admitted.unzip();
    let outcomes = outcomes(&job.events, looks, || {
        let dot = next.expect("a new event was admitted");
        next = Some(Dot { seq: Seq(dot.seq.0 + 1), ..dot });
        Outcome::Written(dot)
    });
    let vv = match term {
        Some(term) if new.len() == outcomes.len() => VersionVector { scope: None, terms: vec![term] },
        _ => vv_of(tables, &outcomes)?,
    };
    let done = Done::Outcomes(outcomes, vv);
    if let Some((key, stamp)) = job.stamp
        && wrote(&done)
    {
        tables.put_stamp(key, stamp.0, now_ms, now_ms + bounds.stamp_keep_ms)?;
    }
    Ok(done)
}

/// What [`step`] would make of a job that came now; nothing is written.
pub(super) fn judge(tables: &dyn Tables, job: &Job) -> TableResult<Done> {
    let looks = look_all(tables, &job.events)?;
    if let Some(refused) = refused(job, &looks) {
        return Ok(refused);
    }
    let outcomes = outcomes(&job.events, looks, || Outcome::Fit);
    let vv = vv_of(tables, &outcomes)?;
    Ok(Done::Outcomes(outcomes, vv))
}

/// The dots of `outcomes`.
fn vv_of(tables: &dyn Tables, outcomes: &[Outcome]) -> TableResult<VersionVector> {
    let dots: Vec<Dot> = outcomes.iter().filter_map(Outcome::dot).collect();
    knowledge::vv_of_dots(tables, &dots)
}

/// The refusal of an atomic job in which events clash.
fn refused(job: &Job, looks: &[Look]) -> Option<Done> {
    let clashes = looks.iter().enumerate().filter(|(_, look)| matches!(look, Look::Clash { .. }));
    let clashes: Vec<usize> = clashes.map(|(at, _)| at).collect();
    (job.atomic && !clashes.is_empty()).then_some(Done::Refused(clashes))
}

/// One outcome an event; `new` gives that of the next event that is new.
fn outcomes(events: &[Minted], looks: Vec<Look>, mut new: impl FnMut() -> Outcome) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(looks.len());
    for (event, look) in events.iter().zip(looks) {
        let outcome = match (look, event.repeats.and_then(|first| outcomes.get(first))) {
            (Look::Clash { .. }, _) => Outcome::Clash,
            (_, Some(Outcome::Written(dot))) => Outcome::Duplicate(Some(*dot)),
            (_, Some(Outcome::Fit)) => Outcome::Duplicate(None),
            (_, Some(first)) => first.clone(),
            (Look::Duplicate { dot }, None) => Outcome::Duplicate(dot),
            (Look::New, None) => new(),
        };
        outcomes.push(outcome);
    }
    outcomes
}

fn candidate(event: &Minted) -> Candidate<'_> {
    Candidate { key: event.key, value: check::value(event), hash: event.hash }
}

/// What the tables say to each event. Mostly no event lies between the first and the last of them in time, and one
/// look tells that all are new.
fn look_all(tables: &(impl Tables + ?Sized), events: &[Minted]) -> TableResult<Vec<Look>> {
    let keys = || events.iter().map(|event| event.key);
    if events.len() > 1
        && let (Some(least), Some(greatest)) = (keys().min(), keys().max())
        && tables.is_free(least..=greatest)?
    {
        return Ok(vec![Look::New; events.len()]);
    }
    events.iter().map(|event| look(tables, event)).collect()
}

/// What the tables say to an event. Where the client named no version, an event of the same type and data is this
/// one, whatever version was the newest then.
fn look(tables: &(impl Tables + ?Sized), event: &Minted) -> TableResult<Look> {
    let look = gset::look(tables, candidate(event), event.same_key_is_same_event)?;
    if event.version_given || !matches!(look, Look::Clash { .. }) {
        return Ok(look);
    }
    let same = tables
        .event(event.key)?
        .filter(|held| held.value.type_number == event.type_number && held.value.data == event.data);
    Ok(match same {
        Some(held) => Look::Duplicate { dot: held.dots.first().copied() },
        None => look,
    })
}
