//! What a replica or a client knows: the dots it holds.
//!
//! A server's [`Knowledge`] is one prefix 1..n per Origin, because rows are only ever taken in order. A client's
//! [`VersionVector`] is a list of terms that it keeps side by side: each names some dots of one Origin, mostly with
//! a check over what those dots admitted. A client cannot merge terms (it cannot compute the check of the union),
//! so whoever answers it judges each term alone and unites those that count in a [`DotSet`].
//!
//! ```text
//! dot row of seq:    1    2    3    4    5
//! sum up to it:      s1   s2   s3   s4   s5       each the one before plus BLAKE3(seq, key, hash)
//! check of 2-4   =   top 4 bytes of (s4 - s1)     two rows, however long the interval
//! ```
//!
//! Because each row carries the sum up to itself, judging costs two rows per interval, so a hostile vv costs as much
//! as its text is long and no more.

mod dots;
mod judge;
mod text;

pub use dots::DotSet;
pub use judge::{Verdict, judge, sum_up_to, vv_of, vv_of_dots, vv_of_server};
pub use text::{TERMS_MAX, VvError, vv_from_str};

use super::event::{Dot, EventKey, Origin, Seq, ValueHash, hash_of};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The greatest seq that a version vector may name: the greatest integer that every JSON reader keeps exactly.
pub const SEQ_MAX: u64 = (1 << 53) - 1;

/// The wrapping sum of the 128-bit hashes of some dots of one Origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Sum(pub u128);

impl Sum {
    /// The sum over no dot.
    pub const ZERO: Self = Self(0);

    /// What one dot contributes: the first 16 bytes of BLAKE3(seq big-endian, key, value hash). The Origin is left
    /// out because sums of different Origins never meet.
    pub fn of(seq: Seq, key: EventKey, hash: ValueHash) -> Self {
        Self(u128::from_be_bytes(hash_of::<40, 16>(&[&seq.0.to_be_bytes(), &key.0, &hash.0])))
    }

    /// The sum over the dots of both, which share none.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The sum over the dots that are left when those of `other` are taken away.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// The check that a term carries: the top four bytes.
    pub fn check(self) -> u32 {
        (self.0 >> 96) as u32
    }
}

/// The dots that a server holds: one prefix 1..n per Origin.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Knowledge(BTreeMap<Origin, Seq>);

impl Knowledge {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last seq held of `origin`, 0 if none is.
    pub fn get(&self, origin: Origin) -> Seq {
        self.0.get(&origin).copied().unwrap_or(Seq(0))
    }

    /// Whether `dot` is held.
    pub fn holds(&self, dot: Dot) -> bool {
        dot.seq.0 >= 1 && dot.seq <= self.get(dot.origin)
    }

    /// Takes in the next dot of its Origin.
    ///
    /// # Panics
    /// If the dot does not follow on the last one held: a gap would be a claim to events that are not there.
    pub fn advance(&mut self, dot: Dot) {
        let last = self.get(dot.origin);
        assert!(dot.seq.0 == last.0 + 1, "{dot} does not follow on seq {}", last.0);
        self.0.insert(dot.origin, dot.seq);
    }

    /// Takes in the next dots of an Origin, up to `last`.
    ///
    /// # Panics
    /// If `first` does not follow on the last one held, or comes behind `last`.
    pub fn advance_by(&mut self, first: Dot, last: Seq) {
        assert!(first.seq <= last, "{first} comes behind seq {}", last.0);
        self.advance(first);
        self.0.insert(first.origin, last);
    }

    /// Whether every dot of `other` is held.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(origin, last)| last <= self.get(origin))
    }

    /// The dots that either holds.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// How many dots are held here and not by `other`.
    pub fn minus(&self, other: &Self) -> u64 {
        self.iter().map(|(origin, last)| last.0.saturating_sub(other.get(origin).0)).sum()
    }

    /// How many dots are held.
    pub fn count(&self) -> u64 {
        self.iter().map(|(_, last)| last.0).sum()
    }

    /// How many Origins a dot is held of.
    pub fn origins(&self) -> usize {
        self.0.len()
    }

    /// Whether no dot is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each Origin with the last seq held of it (at least 1), in the order of Origins.
    pub fn iter(&self) -> impl Iterator<Item = (Origin, Seq)> + '_ {
        self.0.iter().map(|(origin, last)| (*origin, *last))
    }
}

/// Of an Origin named twice the longer prefix counts; seq 0 says nothing and is left out.
impl FromIterator<(Origin, Seq)> for Knowledge {
    fn from_iter<I: IntoIterator<Item = (Origin, Seq)>>(prefixes: I) -> Self {
        let mut lasts = BTreeMap::new();
        for (origin, last) in prefixes.into_iter().filter(|(_, last)| last.0 > 0) {
            let held = lasts.entry(origin).or_insert(last);
            *held = last.max(*held);
        }
        Self(lasts)
    }
}

/// Some dots of one Origin that somebody claims to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Whose dots.
    pub origin: Origin,
    /// Which of them: ascending, not overlapping, none empty, each within 1..=[`SEQ_MAX`]; at least one.
    pub intervals: Vec<RangeInclusive<u64>>,
    /// The check over what exactly these dots admitted; none where the author could not compute one.
    pub check: Option<u32>,
}

impl Term {
    /// The last seq that it names.
    pub fn last(&self) -> u64 {
        self.intervals.last().map_or(0, |interval| *interval.end())
    }
}

/// What a client claims to know: the union of its terms, in the text form of the URL.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VersionVector {
    /// The filters that it is good for, as a hash; none: it speaks of every event.
    pub scope: Option<u32>,
    /// The terms, side by side as they came; several may name one Origin.
    pub terms: Vec<Term>,
}

#[cfg(test)]
mod tests;
