//! Whether code computes what its revision stands for.
//!
//! Rows are found by revision, not by the bytes of the library that computed them, so code that is built again keeps
//! them. That is right only if it gives the same results. So some stored events, spread over all arrivals, are mapped
//! again and some stored deltas are folded again, and every result is compared ([`maps`], [`states`]):
//!
//! ```text
//! a reload    with what the code that serves gives, and with what the index holds
//! a start     with what the index and the Snapshots hold: the code that computed them is gone
//! ```
//! Code that did something and now fails has drifted; code that failed and now does something is mended.

mod maps;
mod sample;
mod snapshots;
mod states;

use super::build::{Build, Keyspace};
use super::computes::{Failure, Revision};
use super::error::ViewError;
use super::flush;
use super::indexer::Indexed;
use super::layout::{self, Position};
use super::rows::{Rows, Table};
use super::tail::Tail;
use crate::core::event::EventKey;
use crate::core::tables::Tables;
use crate::problem::Problem;
use laterbase_plugin::aggregate;
use std::fmt;

/// A result is shown up to this many characters.
const SHOWN_CHARS_MAX: usize = 200;

/// Results that differ although the revision is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The Keyspace, with its plugin's name in front.
    pub keyspace: String,
    /// The Views whose answers would change.
    pub views: Vec<String>,
    /// The hook whose result differs.
    pub hook: &'static str,
    /// The parts of the aggregate's key; empty where none is concerned.
    pub key: Vec<String>,
    /// The event, or the last of those that were folded.
    pub event: Option<EventKey>,
    /// The result before.
    pub before: String,
    /// The result now.
    pub now: String,
    /// The tables that hold what does not hold any more.
    tables: Vec<Revision>,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.views.as_slice() {
            [] => write!(f, "keyspace {}", self.keyspace)?,
            [view] => write!(f, "view {view}")?,
            views => write!(f, "views {}", views.join(", "))?,
        }
        if !self.key.is_empty() {
            write!(f, ", key {:?}", self.key)?;
        }
        if let Some(event) = self.event {
            write!(f, ", event {event}")?;
        }
        let Self { hook, before, now, .. } = self;
        write!(f, ": `{hook}` gave {before} and now gives {now} under the same revision; ")?;
        f.write_str("raise REVISION if that is meant")
    }
}

impl Drift {
    /// The tables that hold what does not hold any more.
    pub(super) fn tables(&self) -> &[Revision] {
        &self.tables
    }

    /// `problem` with its parts.
    pub(super) fn describe(&self, problem: Problem) -> Problem {
        let problem = problem.with("keyspace", self.keyspace.as_str()).with("views", self.views.clone());
        let problem = problem.with("hook", self.hook).with("key", self.key.clone());
        let problem = problem.with("before", self.before.as_str()).with("now", self.now.as_str());
        match self.event {
            Some(event) => problem.with("event", event.to_string()),
            None => problem,
        }
    }
}

/// What is compared: new code with what is there.
struct Comparison<'c> {
    rows: &'c dyn Rows,
    /// The code that serves; none at a start.
    old: Option<&'c Build>,
    new: &'c Build,
}

/// A Keyspace of the new code whose tables are in use already.
struct Shared<'c> {
    new: &'c Keyspace,
    old: Option<&'c Keyspace>,
    tail: Tail,
    position: Position,
}

/// Compares `new` with the code that serves and with the rows, wherever both have the same revision. Call it before
/// `new` adds anything to the rows.
pub(super) fn compare(
    events: &dyn Tables,
    indexed: &Indexed,
    old: Option<&Build>,
    new: &Build,
) -> Result<Option<Drift>, ViewError> {
    let Some(derived) = indexed.derived.get() else { return Ok(None) };
    // The tails first: whatever leaves them is in the rows then.
    let tails = indexed.tails.load_full();
    let rows = derived.read()?;
    let comparison = Comparison { rows: &rows, old, new };
    let mut found = Vec::new();
    for keyspace in &new.keyspaces {
        let serving = old.and_then(|old| old.keyspaces.iter().find(|old| old.tables == keyspace.tables));
        let position = flush::position(&rows, keyspace)?;
        let in_use = serving.is_some() || old.is_none() && position != Position::default();
        if !in_use {
            continue;
        }
        let tail = tails.get(&keyspace.tables).map(|cell| Tail::clone(&cell.load()));
        let tail = tail.unwrap_or_else(|| Tail::behind(position.cursor));
        found.push(Shared { new: keyspace, old: serving, tail, position });
    }
    if found.is_empty() {
        return Ok(None);
    }
    let sample = sample::of_arrivals(events)?;
    let code = sample::Code::new(new, &sample);
    let before = old.map(|old| sample::Code::new(old, &sample));
    for shared in &found {
        let mapped = code.map(shared.new.position);
        let drift = maps::compare(&comparison, shared, (&code, before.as_ref()), &mapped)?;
        if drift.is_some() {
            return Ok(drift);
        }
        let aggregates = sample::aggregates(&code, &mapped);
        let drift = states::compare(&comparison, shared, &aggregates)?;
        if drift.is_some() {
            return Ok(drift);
        }
    }
    Ok(None)
}

impl Comparison<'_> {
    /// What `map` or a Schema beneath it gives otherwise.
    fn of_keyspace(&self, keyspace: &Keyspace, hook: &'static str, event: EventKey) -> Drift {
        let over = self.new.views.iter().filter(|view| view.keyspace.tables == keyspace.tables);
        Drift {
            keyspace: keyspace.name.clone(),
            views: over.clone().map(|view| view.info.name.clone()).collect(),
            hook,
            key: Vec::new(),
            event: Some(event),
            before: String::new(),
            now: String::new(),
            tables: over.map(|view| view.states).chain([keyspace.tables]).collect(),
        }
    }
}

/// The parts of an encoded aggregate key, as far as it is one.
fn parts_of(aggregate: &[u8]) -> Vec<String> {
    aggregate::decode(aggregate).unwrap_or_default()
}

/// Bytes as people compare them.
fn shown(bytes: &[u8]) -> String {
    cut(&format!("0x{}", data_encoding::HEXLOWER.encode(bytes)))
}

fn shown_failure(failure: &Failure) -> String {
    cut(&format!("a failure: {failure}"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Which code last wrote the rows; none if that was never noted.
pub(super) fn code_of(rows: &dyn Rows) -> Result<Option<Revision>, ViewError> {
    let row = rows.get(Table::Meta, &[layout::CODE])?;
    Ok(row.and_then(|row| row.try_into().ok()).map(Revision))
}
