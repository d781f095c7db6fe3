//! How it stands with each peer, for `/_/peers`, the metrics and `laterbase peers`.

use super::address::PeerAddress;
use crate::core::event::ValidTime;
use crate::sync::Moved;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All peers of a host.
#[derive(Debug, Default)]
pub struct Peers(Mutex<BTreeMap<PeerAddress, Arc<PeerStatus>>>);

/// One peer.
#[derive(Debug, Default)]
pub struct PeerStatus {
    roots: Mutex<BTreeMap<String, RootStatus>>,
    bytes: Arc<Bytes>,
    error: Mutex<Option<Failure>>,
}

/// Bodies over a peer's connections.
#[derive(Debug, Default)]
pub struct Bytes {
    sent: AtomicU64,
    received: AtomicU64,
}

/// A failure and when it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Failure {
    at: String,
    error: String,
}

/// How it stands with one Root at one peer.
#[derive(Debug, Clone, Default)]
pub struct RootStatus {
    connected: bool,
    error: Option<Failure>,
    success_ms: Option<i64>,
    /// When both held the same for the last time.
    same_ms: Option<i64>,
    to_pull: u64,
    to_push: u64,
    moved: Moved,
}

/// What people see of a Root at a peer.
#[derive(Debug, Clone, Serialize)]
struct Shown {
    root: String,
    connected: bool,
    last_error: Option<Failure>,
    last_success: Option<String>,
    to_pull: u64,
    to_push: u64,
    seconds_behind: Option<i64>,
    events_in: u64,
    events_out: u64,
    events_repeated: u64,
    clock_offset_ms: i64,
    forks_healed: u64,
}

impl Bytes {
    /// All of them, in either direction.
    pub fn total(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) + self.received.load(Ordering::Relaxed)
    }

    /// Counts one exchange.
    pub(super) fn add(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }
}

impl Peers {
    /// The status of `peer`, new if nothing is known of it.
    pub fn peer(&self, peer: &PeerAddress) -> Arc<PeerStatus> {
        Arc::clone(lock(&self.0).entry(peer.clone()).or_default())
    }

    /// All of it as JSON.
    pub fn show(&self, now: ValidTime) -> serde_json::Value {
        let peers = lock(&self.0);
        let shown = peers.iter().map(|(address, peer)| {
            let roots: Vec<Shown> =
                lock(&peer.roots).iter().map(|(root, status)| status.show(root, now)).collect();
            serde_json::json!({
                "url": address.to_string(),
                "connected": roots.iter().any(|root| root.connected),
                "last_error": *lock(&peer.error),
                "bytes_in": peer.bytes.received.load(Ordering::Relaxed),
                "bytes_out": peer.bytes.sent.load(Ordering::Relaxed),
                "roots": roots,
            })
        });
        serde_json::json!({"peers": shown.collect::<Vec<_>>()})
    }

    /// The same as metrics.
    pub fn measure(&self, now: ValidTime) {
        for (address, peer) in lock(&self.0).iter() {
            let url = address.to_string();
            let bytes = [("in", &peer.bytes.received), ("out", &peer.bytes.sent)];
            for (direction, bytes) in bytes {
                metrics::counter!("laterbase_peer_bytes_total", "peer" => url.clone(), "direction" => direction)
                    .absolute(bytes.load(Ordering::Relaxed));
            }
            for (root, status) in lock(&peer.roots).iter() {
                status.measure(&url, root, now);
            }
        }
    }
}

impl PeerStatus {
    /// Counts the bytes of its connections.
    pub(super) fn bytes(&self) -> Arc<Bytes> {
        Arc::clone(&self.bytes)
    }

    /// The peer as a whole could not be asked, or could again.
    pub(super) fn reached(&self, outcome: Result<(), String>, now: ValidTime) {
        *lock(&self.error) = outcome.err().map(|error| Failure { at: now.to_string(), error });
    }

    /// Changes what is known of one Root.
    pub(super) fn update(&self, root: &str, change: impl FnOnce(&mut RootStatus)) {
        change(lock(&self.roots).entry(root.to_owned()).or_default());
    }
}

impl RootStatus {
    /// An exchange succeeded; so many dots are still to be pulled and pushed.
    pub(super) fn succeeded(&mut self, now: ValidTime, to_pull: u64, to_push: u64, moved: Moved) {
        self.connected = true;
        self.error = None;
        self.success_ms = Some(now.millis());
        if to_pull == 0 && to_push == 0 {
            self.same_ms = Some(now.millis());
        }
        (self.to_pull, self.to_push, self.moved) = (to_pull, to_push, moved);
    }

    /// An exchange failed.
    pub(super) fn failed(&mut self, now: ValidTime, error: String) {
        self.connected = false;
        self.error = Some(Failure { at: now.to_string(), error });
    }

    /// How long ago both held the same; 0 while they do, none if they never did.
    fn seconds_behind(&self, now: ValidTime) -> Option<i64> {
        if self.connected && self.to_pull == 0 && self.to_push == 0 {
            return Some(0);
        }
        self.same_ms.map(|same_ms| (now.millis() - same_ms).max(0) / 1000)
    }

    fn show(&self, root: &str, now: ValidTime) -> Shown {
        let time = |ms: i64| ValidTime::from_millis(ms).map(|time| time.to_string());
        Shown {
            root: root.to_owned(),
            connected: self.connected,
            last_error: self.error.clone(),
            last_success: self.success_ms.and_then(time),
            to_pull: self.to_pull,
            to_push: self.to_push,
            seconds_behind: self.seconds_behind(now),
            events_in: self.moved.events_in,
            events_out: self.moved.events_out,
            events_repeated: self.moved.repeated,
            clock_offset_ms: self.moved.clock_offset_ms,
            forks_healed: self.moved.forks,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn measure(&self, peer: &str, root: &str, now: ValidTime) {
        let labels = [("peer", peer.to_owned()), ("root", root.to_owned())];
        let gauges = [
            ("laterbase_peer_connected", f64::from(u8::from(self.connected))),
            ("laterbase_peer_events_to_pull", self.to_pull as f64),
            ("laterbase_peer_events_to_push", self.to_push as f64),
            ("laterbase_peer_behind_seconds", self.seconds_behind(now).unwrap_or(-1) as f64),
            ("laterbase_peer_clock_offset_seconds", self.moved.clock_offset_ms as f64 / 1000.0),
        ];
        for (name, value) in gauges {
            metrics::gauge!(name, &labels).set(value);
        }
        let counters = [
            ("laterbase_peer_events_in_total", self.moved.events_in),
            ("laterbase_peer_events_out_total", self.moved.events_out),
            ("laterbase_peer_events_repeated_total", self.moved.repeated),
            ("laterbase_peer_forks_healed_total", self.moved.forks),
        ];
        for (name, value) in counters {
            metrics::counter!(name, &labels).absolute(value);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
