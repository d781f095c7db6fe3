//! A set of dots as intervals: what the terms of a vv that count come to.

use super::{Knowledge, Term};
use crate::core::event::{Dot, Origin};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Any set of dots: per Origin, intervals that are ascending and neither overlap nor touch.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DotSet(BTreeMap<Origin, Vec<(u64, u64)>>);

impl DotSet {
    /// The union of the terms' dots.
    pub fn of_terms<'v>(terms: impl IntoIterator<Item = &'v Term>) -> Self {
        let mut raw: BTreeMap<Origin, Vec<(u64, u64)>> = BTreeMap::new();
        for term in terms {
            raw.entry(term.origin)
                .or_default()
                .extend(term.intervals.iter().map(|interval| (*interval.start(), *interval.end())));
        }
        for intervals in raw.values_mut() {
            *intervals = joined(std::mem::take(intervals));
        }
        Self(raw)
    }

    /// Whether `dot` is in the set.
    pub fn contains(&self, dot: Dot) -> bool {
        let Some(intervals) = self.0.get(&dot.origin) else { return false };
        let seq = dot.seq.0;
        let before = intervals.partition_point(|(first, _)| *first <= seq);
        before.checked_sub(1).and_then(|at| intervals.get(at)).is_some_and(|(_, last)| seq <= *last)
    }

    /// How many dots of `pin` are not in the set.
    pub fn missing_count(&self, pin: &Knowledge) -> u64 {
        self.missing(pin).map(|(_, gap)| gap.end() - gap.start() + 1).sum()
    }

    /// The dots of `pin` that are not in the set, as intervals in order.
    pub fn missing<'s>(
        &'s self,
        pin: &'s Knowledge,
    ) -> impl Iterator<Item = (Origin, RangeInclusive<u64>)> + 's {
        pin.iter().flat_map(move |(origin, last)| {
            let held = self.0.get(&origin).map_or(&[] as &[_], Vec::as_slice);
            gaps(held, last.0).map(move |gap| (origin, gap))
        })
    }
}

/// The intervals sorted, and those that overlap or touch made one.
fn joined(mut intervals: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    intervals.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
    for (first, last) in intervals {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// What of 1..=last lies in none of the intervals `held`.
fn gaps(held: &[(u64, u64)], last: u64) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
    let starts = std::iter::once(1).chain(held.iter().map(|(_, end)| end.saturating_add(1)));
    let ends = held.iter().map(|(start, _)| start - 1).chain(std::iter::once(last));
    starts.zip(ends).map(move |(start, end)| start..=end.min(last)).filter(|gap| !gap.is_empty())
}
