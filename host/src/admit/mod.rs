//! Admission: the way of a client's events into a Root.
//!
//! ```text
//! body ─ parse ─► drafts ─ mint ─► keys ─ ask the Schemas ─► job ─ writer: one commit ─► durable ─► answer
//!          └──────────┴───────────────┴── bad events: refuse the request, or (atomic=false) only them
//! ```
//! Everything before the writer runs on the request's own task and touches no table, so a refused request leaves
//! nothing behind, not even the files of a Root that has none yet.

mod answer;
mod check;
mod draft;
mod dry;
mod frames;
mod mint;
mod parse;
mod writer;

pub use answer::{Answer, EventAnswer, Identity};
pub(crate) use parse::tail_of_id;

use crate::core::clock::Clock;
use crate::core::event::ValidTime;
use crate::core::limits::Limits;
use crate::plugin::Sample;
use crate::plugin::catalog::RootCatalog;
use crate::problem::{Code, Problem};
use crate::store::Store;
use crate::wall::Wall;
use bytes::Bytes;
use mint::{Mint, Minted, MintedResult};
use std::sync::{Arc, Mutex};
use writer::{Bench, Bounds, Done, Job, Writer};

/// A body of this many bytes is read on a thread that may block, so that it holds up no other request.
const BLOCKING_BODY_BYTES: usize = 32 << 10;

/// How long an Idempotency-Key's stamp is kept: 7 days in milliseconds.
const STAMP_KEEP_MS: u64 = 7 * 24 * 3600 * 1000;

/// A client's request to write events, its body already decompressed and within limits.
#[derive(Debug, Clone)]
pub struct Request {
    /// The body.
    pub body: Bytes,
    /// How the body is written.
    pub content: Content,
    /// All or nothing; otherwise bad events are refused one by one.
    pub atomic: bool,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
    /// The answer counts the events and does not list them.
    pub minimal: bool,
    /// Everything is checked and answered as if it were written, and nothing is.
    pub dry_run: bool,
}

/// How a body is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One event or an array of them.
    Json,
    /// One event a line.
    Ndjson,
    /// Binary frames.
    Frames,
    /// A format that a Schema plugin's intake reads.
    Format {
        /// The format's name.
        name: String,
        /// The request's Content-Type as sent.
        content_type: String,
    },
}

/// What checking a request needs: the same for every Root.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Every maximum.
    pub limits: Arc<Limits>,
    /// The wall clock.
    pub wall: Arc<dyn Wall>,
}

/// An open Root as admission sees it.
#[derive(Debug)]
pub struct Admission {
    store: Arc<dyn Store>,
    writer: Writer,
}

/// The way to a Root's tables, which are made at its first write.
pub trait Door: Sync {
    /// The Root's admission; none if the Root has no files yet.
    fn opened(&self) -> Result<Option<Arc<Admission>>, Problem>;
    /// The Root's admission; makes the files if there are none.
    fn open(&self) -> Result<Arc<Admission>, Problem>;
}

/// A request whose events have keys and have passed their Schemas.
struct Prepared {
    events: Vec<MintedResult>,
    stamp: Option<([u8; 16], ValidTime)>,
}

impl Admission {
    /// Starts the writer of the Root `name`. `wake` is called with `false` after each commit that
    /// wrote something, and with `true` once nothing has come for a while after it.
    pub fn start(
        name: &str,
        store: Arc<dyn Store>,
        clock: Arc<Mutex<Clock>>,
        desk: &Desk,
        wake: Box<dyn Fn(bool) + Send>,
    ) -> std::io::Result<Self> {
        let bench = Bench { store: Arc::clone(&store), clock, wall: Arc::clone(&desk.wall), wake };
        let bounds = Bounds {
            queue_events_max: desk.limits.queue_events_max,
            commit_events_max: desk.limits.commit_events_max,
            stamp_keep_ms: STAMP_KEEP_MS,
        };
        let writer = Writer::start(name, bench, bounds)?;
        Ok(Self { store, writer })
    }

    /// How many events wait for the writer.
    pub fn queued(&self) -> u32 {
        self.writer.queued()
    }
}

impl Desk {
    /// Takes a request in. The Root's files are opened, or made, only once there is something to write.
    pub async fn admit(
        &self,
        catalog: &Arc<RootCatalog>,
        clock: &Arc<Mutex<Clock>>,
        door: &dyn Door,
        request: Request,
    ) -> Result<Answer, Problem> {
        let mut earlier = None;
        let request = Arc::new(request);
        loop {
            let (desk, catalog) = (self.clone(), Arc::clone(catalog));
            // The keys that a dry run mints are nobody's: it takes no tick of the Root's clock.
            let clock = if request.dry_run { self.spare_clock() } else { Arc::clone(clock) };
            let stamp = self.stamp(&request, &clock, door, earlier)?;
            let asked = Arc::clone(&request);
            let prepare = move || desk.prepare(&catalog, &clock, &asked, stamp);
            let prepared = off_the_reactor(request.body.len(), prepare).await?;
            if prepared.events.is_empty() {
                return Err(Problem::new(Code::EmptyBody, "the body holds no event"));
            }
            let bad = prepared.events.iter().filter_map(|event| event.as_ref().err());
            if request.atomic && bad.clone().next().is_some() {
                return Err(answer::refusal(&prepared.events));
            }
            if bad.count() == prepared.events.len() {
                return Ok(answer::nothing_written(prepared.events, self.wall.now(), request.minimal));
            }
            if request.dry_run {
                return self.judge(door.opened()?, &request, prepared).await;
            }
            let admission = door.open()?;
            match self.write(&admission, &request, prepared).await? {
                Written::Answer(answer) => return Ok(answer),
                Written::Restamp(first) => earlier = Some(first),
            }
        }
    }

    /// The events in a body, as they would be stored; if one of them is bad, what the answer would be.
    pub fn read(&self, catalog: &RootCatalog, body: Bytes, content: Content) -> Result<Vec<Sample>, Problem> {
        let request =
            Request { body, content, atomic: true, idempotency_key: None, minimal: true, dry_run: false };
        let events = self.prepare(catalog, &self.spare_clock(), &request, None)?.events;
        if events.iter().any(Result::is_err) {
            return Err(answer::refusal(&events));
        }
        let sample = |event: Minted| Sample {
            key: event.key,
            type_number: event.type_number,
            version: event.version,
            data: event.data.into(),
        };
        Ok(events.into_iter().flatten().map(sample).collect())
    }

    /// A clock for keys that are not kept.
    fn spare_clock(&self) -> Arc<Mutex<Clock>> {
        let (clock, _) = Clock::new(ValidTime::default(), self.wall.now());
        Arc::new(Mutex::new(clock))
    }

    /// The Idempotency-Key's name and its first stamp, or the next tick if it is new.
    fn stamp(
        &self,
        request: &Request,
        clock: &Mutex<Clock>,
        door: &dyn Door,
        earlier: Option<ValidTime>,
    ) -> Result<Option<([u8; 16], ValidTime)>, Problem> {
        let Some(text) = &request.idempotency_key else { return Ok(None) };
        let opened = door.opened()?;
        let mut name = [0; 16];
        blake3::Hasher::new().update(text.as_bytes()).finalize_xof().fill(&mut name);
        let kept = match (earlier, opened) {
            (Some(earlier), _) => Some(earlier),
            (None, Some(opened)) => {
                let tables = opened.store.read().map_err(|fault| fault.problem())?;
                tables.stamp(name).map_err(|fault| fault.problem())?.map(ValidTime)
            }
            (None, None) => None,
        };
        let tick = || clock.lock().expect("no holder of the clock panics").tick(self.wall.now());
        Ok(Some((name, kept.unwrap_or_else(tick))))
    }

    /// All that can be said of a request without the tables.
    fn prepare(
        &self,
        catalog: &RootCatalog,
        clock: &Mutex<Clock>,
        request: &Request,
        stamp: Option<([u8; 16], ValidTime)>,
    ) -> Result<Prepared, Problem> {
        let events_max = self.limits.request_events_max;
        let drafts = match &request.content {
            Content::Json => parse::json(&request.body, events_max)?,
            Content::Ndjson => parse::ndjson(&request.body, events_max)?,
            Content::Frames => frames::read(&request.body, &self.limits)?,
            Content::Format { name, content_type } => {
                let drafts = check::intake(catalog, name, content_type, &request.body)?;
                parse::within(drafts.len(), events_max)?;
                drafts
            }
        };
        let mint = Mint {
            types: catalog,
            clock,
            now: self.wall.now(),
            future_ms_max: self.limits.future_ms_max,
            event_bytes_max: self.limits.event_bytes_max,
            idempotency: request.idempotency_key.as_deref().zip(stamp.map(|(_, time)| time)),
        };
        let mut events = mint.all(drafts);
        check::ask(catalog, &mut events)?;
        mint::find_repeats(&mut events);
        Ok(Prepared { events, stamp })
    }

    async fn write(
        &self,
        admission: &Admission,
        request: &Request,
        prepared: Prepared,
    ) -> Result<Written, Problem> {
        let (events, bad) = answer::split(prepared.events);
        let job = Job { events, atomic: request.atomic, stamp: prepared.stamp };
        let written = admission.writer.write(job).await;
        let (done, Job { events: sent, .. }) = written.map_err(|fault| answer::write_problem(&fault))?;
        match done {
            Done::Restamp(first) => Ok(Written::Restamp(first)),
            Done::Refused(clashes) => Err(answer::clashes(&sent, &clashes)),
            Done::Outcomes(outcomes, vv) => {
                let now = self.wall.now();
                Ok(Written::Answer(answer::build(sent, (&outcomes, &vv), bad, now, request.minimal)))
            }
        }
    }
}

/// What the writer made of a request.
enum Written {
    Answer(Answer),
    Restamp(ValidTime),
}

/// Runs `work` here, or, if it is about a large body, on a thread that may block.
async fn off_the_reactor<T: Send + 'static>(
    body_bytes: usize,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if body_bytes < BLOCKING_BODY_BYTES {
        return work();
    }
    let span = tracing::Span::current();
    let worked = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    worked.unwrap_or_else(|fault| {
        Err(Problem::new(Code::PluginFailed, format!("reading the request failed: {fault}")))
    })
}
