//! What a query of a View asks and answers.

use super::bounds::Bounds;
use super::computes::Revision;
use crate::core::event::EventKey;
use serde::Serialize;
use serde_json::value::RawValue;

/// An event that a Keyspace could not take. It is set aside, and answers say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// The event's key.
    pub key: EventKey,
    /// Why, in a sentence.
    pub reason: String,
}

/// One aggregate's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The parts of its canonical key.
    pub key: Vec<String>,
    /// What the View renders, as JSON.
    pub value: Box<RawValue>,
    /// How many un-voided events within the bounds map to it; at least 1.
    pub events: u64,
    /// The last of them.
    pub last: EventKey,
    /// The first events within the bounds, by key, that the Keyspace could not take, at most 100, and those of the
    /// aggregate that the View could not fold.
    pub incomplete: Vec<SetAside>,
    /// A long repair is under way in the background: the answer is as of this arrival.
    pub stale: Option<u64>,
}

/// A listing of a View.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// The View's name.
    pub view: String,
    /// Keys start with these parts, the last of them a prefix of its part; empty for all.
    pub prefix: Vec<String>,
    /// How many items are wanted at most; taken as 1 if it is 0.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Which events count.
    pub bounds: Bounds,
}

/// One item of a page.
#[derive(Debug)]
pub struct Item {
    /// The parts of its canonical key.
    pub key: Vec<String>,
    /// What the View renders, as JSON.
    pub value: Box<RawValue>,
}

/// A page of a listing, in key order.
#[derive(Debug, Default)]
pub struct Page {
    /// The items; may be empty although more follow.
    pub items: Vec<Item>,
    /// Where the next page starts; none on the last page.
    pub cursor: Option<String>,
    /// The first events within the bounds, by key, that the Keyspace could not take, at most 100, and those of the
    /// items that the View could not fold.
    pub incomplete: Vec<SetAside>,
    /// A long repair is under way in the background: some items are as of an earlier arrival.
    pub stale: bool,
}

impl Answer {
    /// Names this answer's content: equal if and only if the answer is, on every replica and after every restart.
    /// 32 hex digits; the caller adds what tells its own representations apart.
    pub fn etag(&self) -> String {
        let (count, events) = (self.key.len().to_string(), self.events.to_be_bytes());
        let stale = [u8::from(self.stale.is_some())];
        let mut parts = parts_of(&count, &self.key);
        parts.extend([self.value.get().as_bytes(), &events, &self.last.0, &stale]);
        hash(parts, &self.incomplete)
    }
}

impl Page {
    /// Names this page's content: equal if and only if the page is, on every replica and after every restart.
    /// 32 hex digits; the caller adds what tells its own representations apart.
    pub fn etag(&self) -> String {
        let counts: Vec<String> = self.items.iter().map(|item| item.key.len().to_string()).collect();
        let stale = [u8::from(self.stale)];
        let mut parts = vec![self.cursor.as_deref().unwrap_or_default().as_bytes()];
        for (item, count) in self.items.iter().zip(&counts) {
            parts.extend(parts_of(count, &item.key));
            parts.push(item.value.get().as_bytes());
        }
        parts.push(&stale);
        hash(parts, &self.incomplete)
    }
}

fn parts_of<'p>(count: &'p str, key: &'p [String]) -> Vec<&'p [u8]> {
    std::iter::once(count.as_bytes()).chain(key.iter().map(String::as_bytes)).collect()
}

fn hash<'p>(mut parts: Vec<&'p [u8]>, incomplete: &'p [SetAside]) -> String {
    parts.extend(incomplete.iter().flat_map(|event| [event.key.0.as_slice(), event.reason.as_bytes()]));
    Revision::of(&parts).to_string()
}
