//! The feed: the events that a caller does not know, in key order, in pages of one pinned walk.
//!
//! A walk pins the replica's Knowledge when it starts and gives out exactly the events that have a dot in the pin
//! and none among the dots that the caller knows. Events admitted while the caller turns pages, back-dated or not,
//! have dots outside the pin and belong to its next walk; so the pages are a partition of a set that cannot change,
//! and on the last one the caller may claim the whole pin. Claiming anything else loses events: "what the replica
//! knows now", because an event admitted behind the cursor would never be sent; "the greatest seq on the page",
//! because pages follow time and seqs follow admission.
//!
//! ```text
//! first page     pin := the replica's Knowledge     cursor := (pin with checks, place of the last event)
//! further pages  the replica must hold the pin, and its checks must agree; else the walk starts again
//! last page      vv := what the caller knew, united with the pin
//! ```
//!
//! Nothing is kept between pages but what the cursor carries; only a pin too big for a cursor is written down, by
//! whoever calls, before it answers ([`Page::keep_pin`]). Functions here read tables and write bytes: no clock, no
//! network, no threads.
//!
//! **Invariant**: a vv or a cursor changes nothing here, and a lying one harms nobody but its sender.

mod cursor;
mod error;
mod format;
mod json;
mod live;
mod query;
mod recent;
mod walk;

pub use error::FeedError;
pub use format::Format;
pub use live::{LivePage, Reader, Told};
pub use query::Query;
pub use recent::{Arrived, Recent, Taken};

use crate::core::event::{Origin, Seq};
use crate::core::frames::EndFrame;
use crate::core::knowledge::{DotSet, Knowledge, Term, Verdict, VersionVector, judge, sum_up_to, vv_of};
use crate::core::rule::{self, Rule};
use crate::core::tables::Tables;
use cursor::{Cursor, Pin, PinPlace};
use format::Form;
use query::Asked;
use std::collections::BTreeSet;
use walk::{Walk, Walked};

/// The names of the event types that the Root's plugins declare.
pub trait TypeNames {
    /// The name of type `number`; none if no plugin declares it.
    fn name(&self, number: u32) -> Option<String>;
    /// The number of the type called `name`; none if no plugin declares it.
    fn number(&self, name: &str) -> Option<u32>;
}

/// One page of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The page up to and with its last event.
    body: Vec<u8>,
    /// Where each event ends in `body`.
    ends: Vec<usize>,
    /// How it is written.
    format: Format,
    /// Where to go on; none on the last page.
    pub cursor: Option<String>,
    /// How many dots are left after this page, at most; none under filters.
    pub left: Option<u64>,
    /// What the caller knows when it has stored the whole walk; only on the last page.
    pub vv: Option<String>,
    /// A pin too big for the cursor: keep it for 24 hours before answering.
    pub keep_pin: Option<KeepPin>,
}

/// A pin to keep, and the name under which the cursor asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepPin {
    /// The first 16 bytes of BLAKE3 over `bytes`: putting it twice changes nothing.
    pub name: [u8; 16],
    /// The pin.
    pub bytes: Vec<u8>,
}

impl Page {
    /// How many events the page holds.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the page holds no event; more may follow all the same.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each event as it is written, in the walk's order: in JSON, one object on one line.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        let form = Form::Page(self.format);
        let behind = self.ends.iter().map(move |end| end + form.separator().len());
        let starts = std::iter::once(form.opening().len()).chain(behind);
        starts.zip(&self.ends).filter_map(|(start, end)| self.body.get(start..*end))
    }

    /// The members behind `events`, as JSON without braces; never empty.
    pub fn tail(&self) -> String {
        let cursor = self.cursor.iter().map(|cursor| format!("\"cursor\":\"{cursor}\""));
        let left = self.left.iter().map(|left| format!("\"left\":{left}"));
        let vv = self.vv.iter().map(|vv| format!("\"vv\":\"{vv}\""));
        cursor.chain(left).chain(vv).collect::<Vec<_>>().join(",")
    }

    /// The whole page. The events are not copied.
    pub fn into_body(self) -> Vec<u8> {
        let tail = self.tail();
        let mut body = self.body;
        let (cursor, vv) = (self.cursor.as_deref(), self.vv.as_deref());
        format::close(&mut body, self.format, &tail, &EndFrame { left: self.left, cursor, vv });
        body
    }
}

/// The page of `root`'s feed that `query` asks for, out of one committed state.
pub fn page(
    tables: &dyn Tables,
    root: &str,
    query: &Query,
    names: &dyn TypeNames,
) -> Result<Page, FeedError> {
    let asked = Asked::read(query, names)?;
    let held = tables.head()?.knowledge.clone();
    let (pin, place, resumed) = match &query.cursor {
        Some(text) => {
            let cursor = Cursor::read(text, root, asked.filters.scope())?;
            let pin = cursor.pin.open(tables)?;
            check_pin(tables, &held, &pin)?;
            (pin, Some(cursor.pin), Some((cursor.mark, cursor.left)))
        }
        None => (pin_now(tables, &held)?, None, None),
    };
    let judged = Judged::all(tables, &held, asked.vv.terms)?;
    let pinned = pin.knowledge();
    let missing = judged.known.missing_count(&pinned);
    let (filters, format) = (&asked.filters, query.format);
    let (later, form) = (&BTreeSet::new(), Form::Page(format));
    let walk = Walk { tables, filters, pin: &pinned, known: &judged.known, later, names, form };
    let walked = walk.page(resumed.map(|(mark, _)| mark), missing, asked.bounds)?;

    let unfiltered = asked.filters.scope().is_none();
    let Walked { body, ends, dots, more } = walked;
    let Some(mark) = more else {
        let vv = VersionVector { scope: asked.filters.scope(), terms: judged.united(tables, &pinned)? };
        let (left, vv) = (unfiltered.then_some(0), Some(vv.to_string()));
        return Ok(Page { body, ends, format, cursor: None, left, vv, keep_pin: None });
    };
    let left = resumed.map_or(missing, |(_, left)| left).saturating_sub(dots);
    let (place, keep_pin) = match place {
        Some(place) => (place, None),
        None => PinPlace::of(pin),
    };
    let cursor = Cursor { mark, left, pin: place }.text(root, asked.filters.scope());
    let left = unfiltered.then_some(left);
    Ok(Page { body, ends, format, cursor: Some(cursor), left, vv: None, keep_pin })
}

/// All that this replica holds, with its checks.
fn pin_now(tables: &dyn Tables, held: &Knowledge) -> Result<Pin, FeedError> {
    let mut pin = Pin(Vec::with_capacity(held.origins()));
    for (origin, last) in held.iter() {
        pin.0.push((origin, last, sum_up_to(tables, origin, last)?.check()));
    }
    Ok(pin)
}

/// Whether this replica holds what the walk was pinned to, and it is the same history.
fn check_pin(tables: &dyn Tables, held: &Knowledge, pin: &Pin) -> Result<(), FeedError> {
    if !rule::holds(Rule::PinCoverage) {
        return Ok(());
    }
    let gone = |origin: Origin, seq: Seq, reason| FeedError::PinGone { origin: Some((origin, seq)), reason };
    for &(origin, last, check) in &pin.0 {
        if held.get(origin) < last {
            return Err(gone(origin, last, "this replica does not hold it"));
        }
        if sum_up_to(tables, origin, last)?.check() != check {
            return Err(gone(origin, last, "this replica holds another history of it"));
        }
    }
    Ok(())
}

/// A caller's terms and what this replica says of each.
struct Judged {
    terms: Vec<(Term, Verdict)>,
    /// The dots of those that count.
    known: DotSet,
}

impl Judged {
    fn all(tables: &dyn Tables, held: &Knowledge, terms: Vec<Term>) -> Result<Self, FeedError> {
        let mut judged = Vec::with_capacity(terms.len());
        for term in terms {
            let verdict = judge(tables, held, &term)?;
            judged.push((term, verdict));
        }
        let counting = judged.iter().filter(|(_, verdict)| *verdict == Verdict::Counts).map(|(term, _)| term);
        let known = DotSet::of_terms(counting);
        Ok(Self { terms: judged, known })
    }

    /// The terms of the pin, and those of the caller's that say more and do not contradict.
    fn united(self, tables: &dyn Tables, pin: &Knowledge) -> Result<Vec<Term>, FeedError> {
        let mut united = vv_of(tables, pin)?.terms;
        let mut seen = std::collections::BTreeSet::new();
        for (term, verdict) in self.terms {
            let keep = match verdict {
                Verdict::Contradicted => false,
                Verdict::Counts => term.last() > pin.get(term.origin).0,
                Verdict::Unjudged => true,
            };
            if keep && seen.insert(term.to_string()) {
                united.push(term);
            }
        }
        Ok(united)
    }
}

#[cfg(test)]
mod tests;
