//! The text form of a version vector, as it stands in URLs and answers.
//!
//! ```text
//! vv       := [ '@' hex8 ';' ] [ term ( ';' term )* ]        empty: knows nothing
//! term     := origin ':' interval ( ',' interval )* [ '~' hex8 ]
//! interval := number [ '-' number ]                          origin := hex16, numbers decimal from 1
//! ```
//! All hex digits are lower-case. Reading is strict and bounded: nothing is allocated that the text has not paid for
//! in bytes, and text that breaks a rule is an error that names the rule and the term.

use super::{SEQ_MAX, Term, VersionVector};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// How many terms, and how many intervals over all of them, one vv may hold.
pub const TERMS_MAX: usize = 65_536;

/// How long a text `FromStr` reads: the longest that stays within [`TERMS_MAX`] terms of two numbers each.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// Which rule a text breaks; `term` counts the terms from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VvError {
    /// The text is longer than the reader allows.
    #[error("the vv has {bytes} bytes, at most {bytes_max} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// What stands behind `@` is not 8 hex digits and a semicolon.
    #[error("a scope is `@`, 8 lower-case hex digits and `;`")]
    BadScope,
    /// More terms than [`TERMS_MAX`].
    #[error("the vv has more than {TERMS_MAX} terms")]
    TooManyTerms,
    /// More intervals than [`TERMS_MAX`].
    #[error("the vv has more than {TERMS_MAX} intervals")]
    TooManyIntervals,
    /// Nothing stands between two semicolons, or behind the last.
    #[error("term {term} is empty")]
    EmptyTerm {
        /// Which term.
        term: usize,
    },
    /// The term has no colon.
    #[error("term {term} has no `:` between its origin and its intervals")]
    NoColon {
        /// Which term.
        term: usize,
    },
    /// The origin is not 16 lower-case hex digits.
    #[error("the origin of term {term} is not 16 lower-case hex digits")]
    BadOrigin {
        /// Which term.
        term: usize,
    },
    /// The check is not 8 lower-case hex digits.
    #[error("the check of term {term} is not 8 lower-case hex digits")]
    BadCheck {
        /// Which term.
        term: usize,
    },
    /// A bound of an interval is not a decimal number without leading zeros.
    #[error("an interval of term {term} is not a decimal number, or two with `-` between them")]
    BadNumber {
        /// Which term.
        term: usize,
    },
    /// Seqs start at 1.
    #[error("term {term} names seq 0; seqs start at 1")]
    SeqZero {
        /// Which term.
        term: usize,
    },
    /// A seq above [`SEQ_MAX`].
    #[error("term {term} names a seq above {SEQ_MAX}")]
    SeqTooLarge {
        /// Which term.
        term: usize,
    },
    /// An interval that ends before it begins.
    #[error("an interval of term {term} ends before it begins")]
    Reversed {
        /// Which term.
        term: usize,
    },
    /// Two intervals of one term overlap or are out of order.
    #[error("the intervals of term {term} overlap or do not ascend")]
    Unsorted {
        /// Which term.
        term: usize,
    },
}

/// Reads the text form, of at most `bytes_max` bytes.
pub fn vv_from_str(text: &str, bytes_max: usize) -> Result<VersionVector, VvError> {
    if text.len() > bytes_max {
        return Err(VvError::TooLong { bytes: text.len(), bytes_max });
    }
    let (scope, rest) = scope_and_terms(text)?;
    let mut vv = VersionVector { scope, terms: Vec::new() };
    if rest.is_empty() {
        return Ok(vv);
    }
    let mut intervals_count = 0;
    for (index, part) in rest.split(';').enumerate() {
        if index >= TERMS_MAX {
            return Err(VvError::TooManyTerms);
        }
        let term = read_term(part, index + 1, TERMS_MAX - intervals_count)?;
        intervals_count += term.intervals.len();
        vv.terms.push(term);
    }
    Ok(vv)
}

fn scope_and_terms(text: &str) -> Result<(Option<u32>, &str), VvError> {
    let Some(scoped) = text.strip_prefix('@') else { return Ok((None, text)) };
    let (scope, rest) = scoped.split_once(';').ok_or(VvError::BadScope)?;
    Ok((Some(hex8(scope).ok_or(VvError::BadScope)?), rest))
}

fn read_term(text: &str, term: usize, intervals_max: usize) -> Result<Term, VvError> {
    if text.is_empty() {
        return Err(VvError::EmptyTerm { term });
    }
    let (origin, rest) = text.split_once(':').ok_or(VvError::NoColon { term })?;
    let origin = origin.parse().map_err(|_| VvError::BadOrigin { term })?;
    let (numbers, check) = match rest.split_once('~') {
        Some((numbers, check)) => (numbers, Some(hex8(check).ok_or(VvError::BadCheck { term })?)),
        None => (rest, None),
    };
    let mut intervals: Vec<RangeInclusive<u64>> = Vec::new();
    for part in numbers.split(',') {
        if intervals.len() >= intervals_max {
            return Err(VvError::TooManyIntervals);
        }
        let interval = read_interval(part, term)?;
        if intervals.last().is_some_and(|before| interval.start() <= before.end()) {
            return Err(VvError::Unsorted { term });
        }
        intervals.push(interval);
    }
    Ok(Term { origin, intervals, check })
}

fn read_interval(text: &str, term: usize) -> Result<RangeInclusive<u64>, VvError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (read_seq(first, term)?, read_seq(last, term)?);
    if last < first {
        return Err(VvError::Reversed { term });
    }
    Ok(first..=last)
}

fn read_seq(text: &str, term: usize) -> Result<u64, VvError> {
    if text == "0" {
        return Err(VvError::SeqZero { term });
    }
    if text.is_empty() || text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(VvError::BadNumber { term });
    }
    // Only digits are left, so a number that does not parse is one that does not fit.
    match text.parse() {
        Ok(seq) if seq <= SEQ_MAX => Ok(seq),
        Ok(_) | Err(_) => Err(VvError::SeqTooLarge { term }),
    }
}

fn hex8(text: &str) -> Option<u32> {
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

impl FromStr for VersionVector {
    type Err = VvError;

    fn from_str(text: &str) -> Result<Self, VvError> {
        vv_from_str(text, TEXT_BYTES_MAX)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        for (index, interval) in self.intervals.iter().enumerate() {
            let (first, last) = (interval.start(), interval.end());
            f.write_str(if index == 0 { ":" } else { "," })?;
            write!(f, "{first}")?;
            if first < last {
                write!(f, "-{last}")?;
            }
        }
        match self.check {
            Some(check) => write!(f, "~{check:08x}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scope) = self.scope {
            write!(f, "@{scope:08x};")?;
        }
        for (index, term) in self.terms.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ";" })?;
            term.fmt(f)?;
        }
        Ok(())
    }
}
