//! What this replica knew at a time, or when it knew what a version vector names: the number of an arrival.
//!
//! A server's Knowledge is one prefix per Origin, and an event's arrival notes the dot under which it came first, so
//! along the arrivals the seqs of each Origin rise. Hence a version vector that was held at an arrival holds the dots
//! of all arrivals up to there and of none behind, which a binary search finds; that this is so for every Origin is
//! checked at the nearest arrivals of each, on both sides. (Dots by which a known event is known once more have no
//! arrival and change no answer.)

use super::error::ViewError;
use crate::core::event::{Arrival, Dot, Origin};
use crate::core::knowledge::{DotSet, Knowledge, Verdict, VersionVector, judge};
use crate::core::tables::{ArrivalRow, TableError, Tables};
use std::collections::BTreeSet;

/// What `known=` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// What was stored up to this time, in milliseconds since 1970.
    At(i64),
    /// What this version vector names.
    Vv(String),
}

/// The last arrival that is known.
pub(super) fn resolve(events: &dyn Tables, known: &Known) -> Result<u64, ViewError> {
    match known {
        Known::At(ms) => at(events, *ms),
        Known::Vv(text) => held(events, &text.parse().map_err(ViewError::BadVv)?),
    }
}

fn at(events: &dyn Tables, ms: i64) -> Result<u64, ViewError> {
    let arrivals = events.head()?.arrivals;
    let is_known = |row: &ArrivalRow| i64::try_from(row.wall_ms).is_ok_and(|wall_ms| wall_ms <= ms);
    let last = last_with(events, arrivals, &is_known)?;
    if last > 0 {
        return Ok(last);
    }
    let first = events.arrival(Arrival(1))?;
    Err(ViewError::KnownTooEarly { first_ms: first.map(|row| row.wall_ms) })
}

/// When exactly these dots were held.
fn held(events: &dyn Tables, vv: &VersionVector) -> Result<u64, ViewError> {
    if vv.scope.is_some() {
        return Err(ViewError::VvScope);
    }
    let head = events.head()?;
    for term in &vv.terms {
        if judge(events, &head.knowledge, term)? != Verdict::Counts {
            return Err(ViewError::KnownNeverHeld);
        }
    }
    let mut prefixes = Knowledge::new();
    for term in &vv.terms {
        let last = term.last();
        if last > prefixes.get(term.origin).0 {
            prefixes = prefixes.union(&[(term.origin, crate::core::event::Seq(last))].into_iter().collect());
        }
    }
    if DotSet::of_terms(&vv.terms).missing_count(&prefixes) > 0 {
        return Err(ViewError::KnownNeverHeld);
    }
    let last = last_with(events, head.arrivals, &|row| prefixes.holds(row.dot))?;
    let origins = head.knowledge.origins();
    let before = (1..=last).rev();
    let behind = last + 1..=head.arrivals;
    let agrees = nearest(events, before, origins, &|dot| prefixes.holds(dot))?
        && nearest(events, behind, origins, &|dot| !prefixes.holds(dot))?;
    if agrees { Ok(last) } else { Err(ViewError::KnownNeverHeld) }
}

/// The last arrival for which `is_known` holds, if it holds for all before and none behind; 0 for none.
fn last_with(
    events: &dyn Tables,
    arrivals: u64,
    is_known: &dyn Fn(&ArrivalRow) -> bool,
) -> Result<u64, TableError> {
    let (mut known, mut unknown) = (0, arrivals + 1);
    while unknown - known > 1 {
        let middle = known + (unknown - known) / 2;
        match events.arrival(Arrival(middle))? {
            Some(row) if is_known(&row) => known = middle,
            _ => unknown = middle,
        }
    }
    Ok(known)
}

/// Whether `holds` for the nearest arrival of every one of `origins` Origins.
fn nearest(
    events: &dyn Tables,
    arrivals: impl Iterator<Item = u64>,
    origins: usize,
    holds: &dyn Fn(Dot) -> bool,
) -> Result<bool, TableError> {
    let mut seen: BTreeSet<Origin> = BTreeSet::new();
    for number in arrivals {
        let Some(row) = events.arrival(Arrival(number))? else { break };
        if seen.insert(row.dot.origin) && !holds(row.dot) {
            return Ok(false);
        }
        if seen.len() >= origins {
            break;
        }
    }
    Ok(true)
}
