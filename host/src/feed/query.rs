//! What a caller asks of the feed, read and bounded.

use super::walk::Bounds;
use super::{FeedError, Format, TypeNames};
use crate::core::event::{EventKey, ValidTime};
use crate::core::knowledge::{TERMS_MAX, VersionVector, VvError};
use crate::core::limits::Limits;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::NonZeroUsize;

/// The parameters of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What the caller knows; several are united.
    pub vv: Vec<String>,
    /// The cursor of the page before.
    pub cursor: Option<String>,
    /// How many events the page may hold, from 1.
    pub limit: usize,
    /// After how many bytes of events the page closes, from 1; the first event is given however long it is.
    pub max_bytes: usize,
    /// Only events whose time rounds to a millisecond at or after this.
    pub from: Option<ValidTime>,
    /// Only events whose time rounds to a millisecond before this.
    pub to: Option<ValidTime>,
    /// Only events of these types, by name or number; none: all.
    pub types: Vec<String>,
    /// How the page is written.
    pub format: Format,
}

impl Default for Query {
    /// The first page of everything, as long as the default limits let it be.
    fn default() -> Self {
        let limits = Limits::default();
        let (limit, max_bytes) = (limits.page_events_default, limits.page_bytes_default);
        Self {
            vv: Vec::new(),
            cursor: None,
            limit,
            max_bytes,
            from: None,
            to: None,
            types: Vec::new(),
            format: Format::Json,
        }
    }
}

/// A query that keeps the rules.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) vv: VersionVector,
    pub(super) filters: Filters,
    pub(super) bounds: Bounds,
}

/// Which events the caller wants to see at all.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// The first instant, in milliseconds since 1970.
    pub(super) from_ms: Option<i64>,
    /// The instant behind the last.
    pub(super) to_ms: Option<i64>,
    /// The numbers of the types; empty: all.
    pub(super) types: BTreeSet<u32>,
}

impl Asked {
    /// Reads `query`; type names mean what `names` says.
    pub(super) fn read(query: &Query, names: &dyn TypeNames) -> Result<Self, FeedError> {
        let filters = Filters {
            from_ms: query.from.map(next_ms),
            to_ms: query.to.map(next_ms),
            types: query.types.iter().map(|text| type_number(text, names)).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            vv: united(&query.vv, filters.scope())?,
            filters,
            bounds: Bounds {
                events_max: from_one("limit", query.limit)?,
                bytes_max: from_one("max_bytes", query.max_bytes)?,
            },
        })
    }
}

impl Filters {
    /// The name of these filters in a vv: the first four bytes of BLAKE3 over their canonical text; none if every
    /// event passes.
    pub(super) fn scope(&self) -> Option<u32> {
        let mut text = String::new();
        let mut part = |name, value: i64| {
            write!(text, "{name}={value};").expect("a String takes all that is written");
        };
        if let Some(ms) = self.from_ms {
            part("from", ms);
        }
        if let Some(ms) = self.to_ms {
            part("to", ms);
        }
        for number in &self.types {
            part("type", i64::from(*number));
        }
        let hash = blake3::hash(text.as_bytes());
        let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        (!text.is_empty()).then_some(u32::from_be_bytes(*first))
    }

    /// Whether `key` lies before the first instant.
    pub(super) fn before(&self, key: EventKey) -> bool {
        self.from_ms.is_some_and(|from| key.time().millis() < from)
    }

    /// Whether `key` and all greater ones lie behind the last instant.
    pub(super) fn behind(&self, key: EventKey) -> bool {
        self.to_ms.is_some_and(|to| key.time().millis() >= to)
    }

    /// Whether an event of this key and type passes.
    pub(super) fn pass(&self, key: EventKey, type_number: u32) -> bool {
        let type_passes = self.types.is_empty() || self.types.contains(&type_number);
        type_passes && !self.before(key) && !self.behind(key)
    }
}

/// One vv out of several. A vv without scope is good for every filter, because who knows a dot knows it under any
/// filter; one with a scope is good for that scope only.
pub(super) fn united(texts: &[String], scope: Option<u32>) -> Result<VersionVector, FeedError> {
    let mut united = VersionVector { scope, terms: Vec::new() };
    let mut intervals_count = 0;
    for text in texts {
        let vv: VersionVector = text.parse()?;
        if let Some(found) = vv.scope.filter(|found| scope != Some(*found)) {
            return Err(FeedError::VvScope { expected: scope, found });
        }
        intervals_count += vv.terms.iter().map(|term| term.intervals.len()).sum::<usize>();
        if intervals_count > TERMS_MAX {
            return Err(VvError::TooManyIntervals.into());
        }
        united.terms.extend(vv.terms);
    }
    Ok(united)
}

fn from_one(name: &'static str, value: usize) -> Result<usize, FeedError> {
    let error = || FeedError::BadParameter { name, reason: "is at least 1".to_owned() };
    NonZeroUsize::new(value).map(NonZeroUsize::get).ok_or_else(error)
}

fn type_number(text: &str, names: &dyn TypeNames) -> Result<u32, FeedError> {
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.or_else(|| names.number(text)).ok_or_else(|| FeedError::BadParameter {
        name: "type",
        reason: format!("names no declared type and is no number: `{text}`"),
    })
}

/// The instant in milliseconds, rounded up: a time rounded to milliseconds is at or after an instant exactly if it
/// is at or after the next whole millisecond. (NTP64 floors what it is made from, so a whole millisecond comes back.)
pub(super) fn next_ms(instant: ValidTime) -> i64 {
    let fraction = ((instant.0 & 0xffff_ffff) * 1000).div_ceil(1 << 32);
    instant.seconds() * 1000 + fraction.cast_signed()
}
