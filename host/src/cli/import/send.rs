//! The requests: several in flight, each answered for all its rows.
//!
//! The answer to a file must not depend on which request came first, so two requests that may hold one event are not
//! in flight together: which of two unequal rows of one key is refused is decided by their order in the file. Where
//! keys are made by a plugin's intake, one request goes after the other. A request that got no answer is sent again
//! until [`PATIENCE`] is over; keys, ids and Idempotency-Keys make that safe.

use super::Fault;
use super::batch::Batch;
use crate::peers::{Client, PeerAddress, Tcp};
use crate::sync::ExchangeError;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method};
use bytes::Bytes;
use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{Instant, sleep};

/// Requests in flight.
const IN_FLIGHT: usize = 8;
/// Batches between the oldest that is not answered and the newest that is sent.
const AHEAD_MAX: u64 = 64;
/// How long one request is tried.
const PATIENCE: Duration = Duration::from_mins(1);
/// Before a request is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What the server says to a request, as far as it is used.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    /// New events.
    pub(super) written: u64,
    /// Events that are not in the store.
    pub(super) rejected: u64,
    /// All events in order; none if only their number was asked for.
    #[serde(default)]
    pub(super) events: Vec<Answered>,
    /// Events that were known before.
    pub(super) duplicate: u64,
}

/// What the server says to an event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answered {
    /// Its key.
    pub(super) key: Option<String>,
    /// `written`, `duplicate` or `rejected`.
    pub(super) status: String,
    /// Its dot, if it is in the store.
    pub(super) dot: Option<String>,
    /// Why it was rejected.
    pub(super) code: Option<String>,
    /// The same in a sentence.
    pub(super) detail: Option<String>,
    /// Where in the request.
    pub(super) pointer: Option<String>,
    /// In a dry run.
    pub(super) identity: Option<Identity>,
}

/// What besides its key decides whether an event is the same as another.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Identity {
    /// The version of its data.
    pub(super) version: u32,
    /// Stands for its type and data.
    pub(super) content: String,
    /// An equal key is enough.
    pub(super) same_key_is_same_event: bool,
}

/// Where requests go, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The server.
    pub(super) server: PeerAddress,
    /// The path and query.
    pub(super) path: String,
    /// What the bodies are.
    pub(super) media_type: &'static str,
    /// Every answer lists all its events.
    pub(super) lists: bool,
    /// One request after the other.
    pub(super) in_order: bool,
}

/// A batch with its answer, which lists its events if any was rejected.
pub(super) type Delivered = (Batch, Answer);

/// What the tasks that send share.
struct Lanes {
    target: Target,
    queue: Mutex<mpsc::Receiver<Result<Batch, Fault>>>,
    /// The keys of the batches in flight, by number.
    busy: RefCell<BTreeMap<u64, Vec<u64>>>,
    freed: Notify,
    lists: Cell<bool>,
}

/// Sends what comes from `queue`, and gives each batch with its answer, or the first fault, to `done`. Runs in a
/// `LocalSet`.
pub(super) fn start(
    target: Target,
    queue: mpsc::Receiver<Result<Batch, Fault>>,
) -> mpsc::Receiver<Result<Delivered, Fault>> {
    let lanes_max = if target.in_order { 1 } else { IN_FLIGHT };
    let lists = Cell::new(target.lists);
    let (busy, freed) = (RefCell::default(), Notify::new());
    let lanes = Rc::new(Lanes { target, queue: Mutex::new(queue), busy, freed, lists });
    let (done, answers) = mpsc::channel(IN_FLIGHT);
    for _ in 0..lanes_max {
        drop(tokio::task::spawn_local(lane(Rc::clone(&lanes), done.clone())));
    }
    answers
}

/// One connection: takes a batch, sends it, and so on.
async fn lane(lanes: Rc<Lanes>, done: mpsc::Sender<Result<Delivered, Fault>>) {
    let mut client = Client::new(Tcp, lanes.target.server.clone(), "", Arc::default());
    while let Some(batch) = lanes.take().await {
        let delivered = match batch {
            Ok(batch) => {
                let number = batch.number;
                let delivered = lanes.deliver(&mut client, batch).await;
                lanes.busy.borrow_mut().remove(&number);
                lanes.freed.notify_waiters();
                delivered
            }
            Err(fault) => Err(fault),
        };
        let failed = delivered.is_err();
        if done.send(delivered).await.is_err() || failed {
            return;
        }
    }
}

impl Lanes {
    /// The next batch, once no request in flight may hold one of its events. Batches are taken in order.
    async fn take(&self) -> Option<Result<Batch, Fault>> {
        let mut queue = self.queue.lock().await;
        let batch = match queue.recv().await? {
            Ok(batch) => batch,
            // What was read before the fault is answered first.
            Err(fault) => {
                while !self.busy.borrow().is_empty() {
                    self.freed.notified().await;
                }
                return Some(Err(fault));
            }
        };
        while self.must_wait(&batch) {
            self.freed.notified().await;
        }
        self.busy.borrow_mut().insert(batch.number, batch.keys.clone());
        Some(Ok(batch))
    }

    fn must_wait(&self, batch: &Batch) -> bool {
        let busy = self.busy.borrow();
        let is_far = busy.keys().next().is_some_and(|oldest| batch.number > oldest + AHEAD_MAX);
        is_far || busy.values().any(|keys| share_one(keys, &batch.keys))
    }

    /// Sends a batch until it is answered.
    async fn deliver(&self, client: &mut Client<Tcp>, mut batch: Batch) -> Result<Delivered, Fault> {
        let body = Bytes::from(std::mem::take(&mut batch.body));
        if batch.rows.is_empty() {
            return Ok((batch, Answer::default()));
        }
        let lists = self.lists.get() || batch.is_live;
        let mut answer = self.send(client, &batch, body.clone(), lists).await?;
        if answer.rejected > 0 && !lists {
            // What was written is a duplicate now; which rows are rejected, and why, the list says. Where there is one
            // bad row there are mostly more.
            self.lists.set(true);
            let listed = self.send(client, &batch, body, true).await?;
            let written = answer.written + listed.written;
            let duplicate = listed.duplicate - answer.written.min(listed.duplicate);
            answer = Answer { written, duplicate, ..listed };
        }
        Ok((batch, answer))
    }

    async fn send(
        &self,
        client: &mut Client<Tcp>,
        batch: &Batch,
        body: Bytes,
        lists: bool,
    ) -> Result<Answer, Fault> {
        let headers = self.headers(batch, lists);
        let begun = Instant::now();
        loop {
            let sent = client.ask(Method::POST, &self.target.path, headers.clone(), body.clone()).await;
            let fault = match sent {
                Ok(json) => {
                    return serde_json::from_slice(&json)
                        .map_err(|fault| Fault::Stopped(format!("{}: {fault}", self.target.server)));
                }
                Err(fault) => fault,
            };
            if !may_pass(&fault) || begun.elapsed() > PATIENCE {
                return Err(Fault::Stopped(format!("{}: {fault}", self.target.server)));
            }
            sleep(PAUSE).await;
        }
    }

    fn headers(&self, batch: &Batch, lists: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.target.media_type));
        if !lists {
            headers.insert(HeaderName::from_static("prefer"), HeaderValue::from_static("return=minimal"));
        }
        if batch.is_live {
            // The same part of the same file is the same request, whenever it is sent.
            let text = format!("laterbase import {}", batch.place.hash);
            let value = HeaderValue::from_str(&text).expect("hex digits are visible ASCII");
            headers.insert(HeaderName::from_static("idempotency-key"), value);
        }
        headers
    }
}

/// Whether a request may be answered otherwise in a while.
fn may_pass(fault: &ExchangeError) -> bool {
    match fault {
        ExchangeError::Connection(_) | ExchangeError::TimedOut { .. } | ExchangeError::TooSlow { .. } => true,
        ExchangeError::Refused { status, .. } => matches!(status, 429 | 503),
    }
}

/// Whether two sorted lists share an element.
fn share_one(one: &[u64], other: &[u64]) -> bool {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        match a.cmp(b) {
            std::cmp::Ordering::Less => drop(one.next()),
            std::cmp::Ordering::Greater => drop(other.next()),
            std::cmp::Ordering::Equal => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::share_one;

    /// Sorted lists are compared in one walk.
    #[test]
    fn shared_elements_are_found() {
        assert!(share_one(&[1, 4, 9], &[2, 3, 9]));
        assert!(share_one(&[5], &[5]));
        assert!(!share_one(&[1, 4, 9], &[0, 2, 10]));
        assert!(!share_one(&[], &[1]));
    }
}
