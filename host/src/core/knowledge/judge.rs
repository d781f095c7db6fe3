//! Checks against the tables: what this replica says of a client's term, and the terms that it writes itself.

use super::{Knowledge, Sum, Term, VersionVector};
use crate::core::event::{Dot, Origin, Seq};
use crate::core::limits::VV_CUT;
use crate::core::rule::{self, Rule};
use crate::core::tables::{Result, TableError, Tables};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What a replica can say of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All its dots are held here, and its check, if it has one, agrees: what it names need not be sent.
    Counts,
    /// All its dots are held here, but they admitted something else: it names another history and is forgotten.
    Contradicted,
    /// Not all its dots are held here: it hides nothing and is handed back as it came.
    Unjudged,
}

/// Judges `term` against the dots held, `knowledge` being those of the same `tables`. Reads two rows an interval.
pub fn judge(tables: &dyn Tables, knowledge: &Knowledge, term: &Term) -> Result<Verdict> {
    if term.last() > knowledge.get(term.origin).0 {
        return Ok(Verdict::Unjudged);
    }
    let Some(claimed) = term.check else { return Ok(Verdict::Counts) };
    let held = sum_over(tables, term.origin, &term.intervals)?;
    Ok(if held.check() == claimed || !rule::holds(Rule::TermChecks) {
        Verdict::Counts
    } else {
        Verdict::Contradicted
    })
}

/// The sum over the dots 1..=seq of `origin`, which must be held here.
pub fn sum_up_to(tables: &dyn Tables, origin: Origin, seq: Seq) -> Result<Sum> {
    if seq.0 == 0 {
        return Ok(Sum::ZERO);
    }
    let dot = Dot { origin, seq };
    tables.dot(dot)?.map(|row| row.sum).ok_or_else(|| TableError::Corrupt {
        table: "dots",
        row: dot.to_string(),
        reason: "the Root's Knowledge holds this dot, but it has no row",
    })
}

/// The vv of all that this replica holds.
pub fn vv_of_server(tables: &dyn Tables) -> Result<VersionVector> {
    vv_of(tables, &tables.head()?.knowledge)
}

/// The vv of `knowledge`, all of which must be held here: per Origin two terms with checks, cut at the last multiple
/// of [`VV_CUT`] (one term where a side of the cut is empty).
pub fn vv_of(tables: &dyn Tables, knowledge: &Knowledge) -> Result<VersionVector> {
    let mut terms = Vec::new();
    for (origin, last) in knowledge.iter() {
        let cut = Seq(last.0 - last.0 % VV_CUT);
        let below = sum_up_to(tables, origin, cut)?;
        if cut.0 > 0 {
            terms.push(Term { origin, intervals: vec![1..=cut.0], check: Some(below.check()) });
        }
        if cut < last {
            let check = sum_up_to(tables, origin, last)?.minus(below).check();
            terms.push(Term { origin, intervals: vec![cut.0 + 1..=last.0], check: Some(check) });
        }
    }
    Ok(VersionVector { scope: None, terms })
}

/// The vv of `dots`, all of which must be held here, in any order and repeated or not: one term an Origin.
pub fn vv_of_dots(tables: &dyn Tables, dots: &[Dot]) -> Result<VersionVector> {
    let mut intervals: BTreeMap<Origin, Vec<RangeInclusive<u64>>> = BTreeMap::new();
    let mut dots = dots.to_vec();
    dots.sort_unstable();
    for dot in dots {
        let of_origin = intervals.entry(dot.origin).or_default();
        match of_origin.last_mut() {
            Some(run) if dot.seq.0 <= run.end() + 1 => *run = *run.start()..=dot.seq.0,
            _ => of_origin.push(dot.seq.0..=dot.seq.0),
        }
    }
    let mut terms = Vec::with_capacity(intervals.len());
    for (origin, intervals) in intervals {
        let check = Some(sum_over(tables, origin, &intervals)?.check());
        terms.push(Term { origin, intervals, check });
    }
    Ok(VersionVector { scope: None, terms })
}

fn sum_over(tables: &dyn Tables, origin: Origin, intervals: &[RangeInclusive<u64>]) -> Result<Sum> {
    let mut sum = Sum::ZERO;
    for interval in intervals {
        let through = sum_up_to(tables, origin, Seq(*interval.end()))?;
        sum = sum.plus(through.minus(sum_up_to(tables, origin, Seq(interval.start() - 1))?));
    }
    Ok(sum)
}
