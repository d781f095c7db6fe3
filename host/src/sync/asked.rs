//! Which Origins' dots are on their way from whom, so that no dot is asked of two peers at once.
//!
//! Rows are only taken in order, so while one peer sends dots of an Origin, further dots of it from another would be
//! of no use anyway: the whole Origin is lent to one link, for a while.

use super::state::Span;
use crate::core::event::Origin;
use crate::core::knowledge::Knowledge;
use crate::core::limits::SYNC_LEASE_MS;
use std::collections::BTreeMap;

/// The Origins lent, by link.
#[derive(Debug, Default)]
pub(super) struct Asked(BTreeMap<[u8; 8], Lease>);

#[derive(Debug, Clone, Copy)]
struct Lease {
    link: u64,
    /// The last seq asked for.
    last: u64,
    until_ms: u64,
}

impl Asked {
    /// The spans that `link` may ask for now; they are its own until it releases them or the lease is over.
    pub(super) fn lend(&mut self, link: u64, now_ms: u64, spans: Vec<Span>) -> Vec<Span> {
        let until_ms = now_ms.saturating_add(SYNC_LEASE_MS);
        // One that ends later than a new one would was made before the wall clock was put back.
        self.0.retain(|_, lease| lease.until_ms > now_ms && lease.until_ms <= until_ms);
        let is_free = |span: &Span| self.0.get(&span.origin).is_none_or(|lease| lease.link == link);
        let lent: Vec<Span> = spans.into_iter().filter(is_free).collect();
        self.0.extend(lent.iter().map(|span| (span.origin, Lease { link, last: span.last, until_ms })));
        lent
    }

    /// What was asked for and is held by now is lent no longer.
    pub(super) fn settle(&mut self, held: &Knowledge) {
        self.0.retain(|origin, lease| held.get(Origin(*origin)).0 < lease.last);
    }

    /// `link` has what it asked for, or will not get it.
    pub(super) fn release(&mut self, link: u64) {
        self.0.retain(|_, lease| lease.link != link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Origin is lent once, and free again when it is released or the time is up.
    #[test]
    fn one_link_an_origin() {
        let span = |origin: u8| Span { origin: [origin; 8], first: 1, last: 9 };
        let mut asked = Asked::default();
        assert_eq!(asked.lend(1, 0, vec![span(1), span(2)]).len(), 2);
        assert_eq!(asked.lend(2, 0, vec![span(1), span(3)]), [span(3)]);
        assert_eq!(asked.lend(1, 0, vec![span(1)]), [span(1)]);
        asked.settle(&[(Origin([1; 8]), crate::core::event::Seq(8))].into_iter().collect());
        assert_eq!(asked.lend(2, 0, vec![span(1)]), []);
        asked.settle(&[(Origin([1; 8]), crate::core::event::Seq(9))].into_iter().collect());
        assert_eq!(asked.lend(2, 0, vec![span(1)]), [span(1)]);
        asked.release(2);
        assert_eq!(asked.lend(1, 0, vec![span(1)]), [span(1)]);
        asked.release(1);
        assert_eq!(asked.lend(2, 0, vec![span(1)]), [span(1)]);
        assert_eq!(asked.lend(3, SYNC_LEASE_MS, vec![span(1)]), [span(1)]);
    }

    /// A wall clock that is put back by a month keeps no Origin from anybody for a month.
    #[test]
    fn a_lease_ends_although_the_clock_is_put_back() {
        let span = Span { origin: [1; 8], first: 1, last: 9 };
        let month_ms = 30 * 24 * 3600 * 1000;
        let mut asked = Asked::default();
        assert_eq!(asked.lend(1, month_ms, vec![span]), [span]);
        assert_eq!(asked.lend(2, 0, vec![span]), [span]);
        assert_eq!(asked.lend(1, 0, vec![span]), []);
    }
}
