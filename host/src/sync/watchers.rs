//! Which replicas wait for our news on links of their own.
//!
//! Where two servers dial each other, a new event could go to the other one twice: as the answer to its `Watch` and as
//! a push over our link to it. Whoever watches is not pushed to: the answer is on its way. A link says whose it is when
//! the states are compared, which comes before everything that is sent unasked.

use crate::core::event::Origin;
use crate::core::limits::SYNC_WAIT_MS_MAX;
use std::collections::BTreeMap;

/// As many links are remembered; those that were silent for the longest are forgotten first.
const LINKS_MAX: usize = 256;

/// After a `Watch` its link counts as watching for so long, in milliseconds: the longest wait, and time for the next.
const WATCH_MS: u64 = SYNC_WAIT_MS_MAX as u64 + 5_000;

/// Who dials us, by link.
#[derive(Debug, Default)]
pub(super) struct Watchers(BTreeMap<u64, Watcher>);

#[derive(Debug, Clone, Copy)]
struct Watcher {
    /// The Origin under which it admits.
    origin: Origin,
    met_ms: u64,
    watched_ms: Option<u64>,
}

impl Watchers {
    /// `link` is that of a replica that admits under `origin`.
    pub(super) fn met(&mut self, link: u64, origin: Origin, now_ms: u64) {
        self.0.insert(link, Watcher { origin, met_ms: now_ms, watched_ms: None });
        if self.0.len() > LINKS_MAX {
            let heard_ms = |watcher: &Watcher| watcher.watched_ms.unwrap_or(watcher.met_ms);
            let oldest = self.0.iter().min_by_key(|(_, watcher)| heard_ms(watcher)).map(|(link, _)| *link);
            oldest.map(|link| self.0.remove(&link));
        }
    }

    /// A `Watch` came over `link`.
    pub(super) fn watched(&mut self, link: u64, now_ms: u64) {
        if let Some(watcher) = self.0.get_mut(&link) {
            watcher.watched_ms = Some(now_ms);
        }
    }

    /// Whether the replica that admits under `origin` hears our news on a link of its own.
    pub(super) fn is_watched_by(&self, origin: Origin, now_ms: u64) -> bool {
        // A time ahead of the clock is from before the clock was put back.
        let is_fresh = |at: u64| at <= now_ms && now_ms - at < WATCH_MS;
        self.0.values().any(|watcher| watcher.origin == origin && watcher.watched_ms.is_some_and(is_fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only who was met and watches counts, and only for a while.
    #[test]
    fn who_watches() {
        let (origin, other) = (Origin([1; 8]), Origin([2; 8]));
        let mut watchers = Watchers::default();
        watchers.watched(7, 0);
        assert!(!watchers.is_watched_by(origin, 0), "nobody knows whose link that is");
        watchers.met(7, origin, 0);
        assert!(!watchers.is_watched_by(origin, 0), "it has not watched yet");
        watchers.watched(7, 10);
        assert!(watchers.is_watched_by(origin, 10) && !watchers.is_watched_by(other, 10));
        assert!(
            watchers.is_watched_by(origin, 9 + WATCH_MS) && !watchers.is_watched_by(origin, 10 + WATCH_MS)
        );
        assert!(!watchers.is_watched_by(origin, 9), "the clock was put back");
    }

    /// Strangers that never watch cannot fill the memory, nor push a peer out that does.
    #[test]
    fn the_silent_are_forgotten() {
        let peer = Origin([1; 8]);
        let mut watchers = Watchers::default();
        watchers.met(0, peer, 0);
        for link in 1..1000 {
            watchers.watched(0, link);
            watchers.met(link, Origin(link.to_be_bytes()), link);
        }
        assert_eq!(watchers.0.len(), LINKS_MAX);
        assert!(watchers.is_watched_by(peer, 1000));
    }
}
