//! What a replica holds of a Root, short enough to send: per Origin the last seq and the sum up to it.
//!
//! Two replicas whose states have the same digest hold the same admissions, to the last byte: nothing more needs to
//! be said. Where they differ, whoever holds the longer prefix of an Origin can judge the shorter one, because every
//! dot row carries the sum up to itself: equal sums mean one history, other sums mean that somebody admitted under
//! this Origin twice (a roll-back or a copy that nobody noticed).

use super::error::FrameError;
use crate::core::event::{Dot, Origin, Seq};
use crate::core::knowledge::{Knowledge, SEQ_MAX, Sum, sum_up_to};
use crate::core::limits::ORIGINS_MAX;
use crate::core::tables::{Result, Tables};
use serde::{Deserialize, Serialize};

/// Names a state: the first 16 bytes of BLAKE3 over its Origins, seqs and sums.
pub type Digest = [u8; 16];

/// One Origin of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    origin: [u8; 8],
    last: u64,
    sum: [u8; 16],
}

/// What a replica holds of a Root.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The Origin that the replica admits under; all zero if it has no files of the Root yet.
    current: [u8; 8],
    /// Ascending by Origin.
    held: Vec<Held>,
}

/// The dots `first..=last` of one Origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Whose dots.
    pub origin: [u8; 8],
    /// The first seq, at least 1.
    pub first: u64,
    /// The last seq.
    pub last: u64,
}

impl State {
    /// The state of these tables. Reads one row an Origin.
    pub fn of(tables: &dyn Tables) -> Result<Self> {
        let head = tables.head()?;
        let entry = |(origin, last): (Origin, Seq)| {
            let sum = sum_up_to(tables, origin, last)?.0.to_be_bytes();
            Ok(Held { origin: origin.0, last: last.0, sum })
        };
        Ok(Self { current: head.origin.0, held: head.knowledge.iter().map(entry).collect::<Result<_>>()? })
    }

    /// The Origin that the replica admits under.
    pub fn current(&self) -> Origin {
        Origin(self.current)
    }

    /// Names what is held, whoever holds it.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for Held { origin, last, sum } in &self.held {
            hasher.update(origin).update(&last.to_be_bytes()).update(sum);
        }
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }

    /// The dots held.
    pub fn knowledge(&self) -> Knowledge {
        self.held.iter().map(|held| (Origin(held.origin), Seq(held.last))).collect()
    }

    /// Each Origin with its last seq and the sum up to it.
    pub fn iter(&self) -> impl Iterator<Item = (Origin, Seq, Sum)> + '_ {
        let whole = |held: &Held| (Origin(held.origin), Seq(held.last), Sum(u128::from_be_bytes(held.sum)));
        self.held.iter().map(whole)
    }

    /// The sum over all that is held of `origin`; none if nothing is.
    pub(super) fn sum(&self, origin: Origin) -> Option<Sum> {
        let at = self.held.binary_search_by_key(&origin.0, |held| held.origin).ok()?;
        self.held.get(at).map(|held| Sum(u128::from_be_bytes(held.sum)))
    }

    /// Whether a peer may say this.
    pub(super) fn check(&self) -> std::result::Result<(), FrameError> {
        if self.held.len() > ORIGINS_MAX {
            return Err(FrameError::TooLong { bytes: self.held.len(), bytes_max: ORIGINS_MAX });
        }
        if !self.held.is_sorted_by(|one, next| one.origin < next.origin) {
            return Err(FrameError::Form("the Origins of a state do not strictly ascend"));
        }
        if self.held.iter().any(|held| held.last == 0 || held.last > SEQ_MAX) {
            return Err(FrameError::Form("a state names seq 0 or one that is out of range"));
        }
        Ok(())
    }

    /// The Origins of which `tables` hold another history, as far as these tables reach: our sum and theirs over the
    /// dots that they name.
    pub(super) fn differing(&self, tables: &dyn Tables) -> Result<Vec<(Origin, Sum, Sum)>> {
        let knowledge = &tables.head()?.knowledge;
        let mut differing = Vec::new();
        for (origin, last, theirs) in self.iter().filter(|(origin, last, _)| knowledge.get(*origin) >= *last)
        {
            let ours = sum_up_to(tables, origin, last)?;
            if ours != theirs {
                differing.push((origin, ours, theirs));
            }
        }
        Ok(differing)
    }
}

/// What `theirs` holds and `ours` does not, Origin by Origin.
pub fn lacking(ours: &Knowledge, theirs: &Knowledge) -> Vec<Span> {
    let lacks = theirs.iter().filter(|(origin, last)| *last > ours.get(*origin));
    lacks
        .map(|(origin, last)| Span { origin: origin.0, first: ours.get(origin).0 + 1, last: last.0 })
        .collect()
}

impl Span {
    /// The dot that it begins with.
    pub fn begin(&self) -> Dot {
        Dot { origin: Origin(self.origin), seq: Seq(self.first) }
    }

    /// Whether a peer may ask for these.
    pub(super) fn check_all(spans: &[Self]) -> std::result::Result<(), FrameError> {
        if spans.len() > ORIGINS_MAX {
            return Err(FrameError::TooLong { bytes: spans.len(), bytes_max: ORIGINS_MAX });
        }
        if !spans.is_sorted_by(|one, next| one.origin < next.origin) {
            return Err(FrameError::Form("the Origins of spans repeat or do not ascend"));
        }
        if spans.iter().any(|span| span.first == 0 || span.first > span.last || span.last > SEQ_MAX) {
            return Err(FrameError::Form("a span begins at 0, ends before it begins, or is out of range"));
        }
        Ok(())
    }
}
