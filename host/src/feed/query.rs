//! What a caller asks of the feed, read and bounded.

use super::{FeedError, TypeNames};
use crate::core::event::EventKey;
use crate::core::knowledge::{TERMS_MAX, VersionVector, VvError};
use laterbase_plugin::event::TIME_MS_MAX;
use std::collections::BTreeSet;
use std::fmt::Write;

/// How many events a page holds unless the caller says otherwise.
const EVENTS_DEFAULT: u64 = 1000;

/// How many events a page holds at most, whatever the caller says.
const EVENTS_MAX: u64 = 10_000;

/// How many bytes a page has, about, unless the caller says otherwise.
const BYTES_DEFAULT: u64 = 1 << 20;

/// How many bytes a page has at most (one event may be longer), whatever the caller says.
const BYTES_MAX: u64 = 16 << 20;

/// The parameters of a page as they were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// What the caller knows; several are united.
    pub vv: Vec<String>,
    /// The cursor of the page before.
    pub cursor: Option<String>,
    /// How many events the page may hold: from 1, default 1000; more than 10,000 counts as 10,000.
    pub limit: Option<u64>,
    /// After how many bytes of events the page closes: from 1, default 1 MiB; more than 16 MiB counts as 16 MiB.
    /// The first event is given however long it is.
    pub max_bytes: Option<u64>,
    /// Only events at or after this instant (RFC 3339), times rounded to milliseconds.
    pub from: Option<String>,
    /// Only events before this instant, likewise.
    pub to: Option<String>,
    /// Only events of these types, by name or number; none: all.
    pub types: Vec<String>,
}

/// A query that keeps the rules.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) vv: VersionVector,
    pub(super) filters: Filters,
    pub(super) events_max: usize,
    pub(super) bytes_max: usize,
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
            from_ms: query.from.as_deref().map(|text| instant_ms("from", text)).transpose()?,
            to_ms: query.to.as_deref().map(|text| instant_ms("to", text)).transpose()?,
            types: query.types.iter().map(|text| type_number(text, names)).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            vv: united(&query.vv, filters.scope())?,
            filters,
            events_max: bounded("limit", query.limit, EVENTS_DEFAULT, EVENTS_MAX)?,
            bytes_max: bounded("max_bytes", query.max_bytes, BYTES_DEFAULT, BYTES_MAX)?,
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
fn united(texts: &[String], scope: Option<u32>) -> Result<VersionVector, FeedError> {
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

fn bounded(name: &'static str, asked: Option<u64>, default: u64, max: u64) -> Result<usize, FeedError> {
    let value = asked.unwrap_or(default).min(max);
    if value == 0 {
        return Err(FeedError::BadParameter { name, reason: "is at least 1".to_owned() });
    }
    Ok(usize::try_from(value).expect("the maxima fit into usize"))
}

fn type_number(text: &str, names: &dyn TypeNames) -> Result<u32, FeedError> {
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.or_else(|| names.number(text)).ok_or_else(|| FeedError::BadParameter {
        name: "type",
        reason: format!("names no declared type and is no number: `{text}`"),
    })
}

/// The instant in whole milliseconds, rounded up: a time rounded to milliseconds is at or after an instant exactly
/// if it is at or after the next whole millisecond. A space where the offset's `+` was decoded from a URL is taken
/// for it.
fn instant_ms(name: &'static str, text: &str) -> Result<i64, FeedError> {
    let mended = text.len().checked_sub(6).filter(|at| text.as_bytes().get(*at) == Some(&b' '));
    let text = match mended.and_then(|at| text.split_at_checked(at)) {
        Some((before, offset)) => format!("{before}+{}", offset.trim_start()),
        None => text.to_owned(),
    };
    let instant: jiff::Timestamp = text.parse().map_err(|_| FeedError::BadParameter {
        name,
        reason: "is an instant in RFC 3339 with an offset, as 2026-05-01T10:00:00.123+12:00".to_owned(),
    })?;
    let nanos = instant.as_nanosecond();
    let ms = nanos.div_euclid(1_000_000) + i128::from(nanos.rem_euclid(1_000_000) > 0);
    let ms = i64::try_from(ms).expect("jiff's instants lie within the years -9999..9999");
    if !(0..=TIME_MS_MAX).contains(&ms) {
        return Err(FeedError::TimeRange { name });
    }
    Ok(ms)
}
