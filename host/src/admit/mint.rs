//! From drafts to events that have a key: types resolved, keys minted, instants checked; and repeats within a request.
//! All rules of time and key that do not need the tables.
//!
//! A live event takes the clock's next tick, a back-dated one its instant in full precision. The k-th event of a
//! request with the same instant and neither key, id nor derived tail gets +k in the lowest bits, so that the
//! request's order is kept; no other key is altered.

use super::draft::{BadEvent, Draft, Drafted, Place, TypeRef, When};
use crate::core::clock::Clock;
use crate::core::event::{EventKey, ValidTime, Value, ValueHash};
use crate::problem::Code;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// An event that has its key and knows its type; ready for the Schema and the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Minted {
    /// Its index in the request.
    pub at: usize,
    /// Where in the body it stands.
    pub pointer: Place,
    /// Its key.
    pub key: EventKey,
    /// The number of its type.
    pub type_number: u32,
    /// The version that its data is written in.
    pub version: u32,
    /// The client named the version; otherwise it is the Schema's newest.
    pub version_given: bool,
    /// The bytes to store.
    pub data: Bytes,
    /// Names the value.
    pub hash: ValueHash,
    /// What the answer echoes.
    pub id: Option<String>,
    /// The key is derived from the content.
    pub same_key_is_same_event: bool,
    /// The index of an earlier equal event of this request: this one is its duplicate.
    pub repeats: Option<usize>,
}

/// A minted event, or why it is refused.
pub(super) type MintedResult = Result<Minted, BadEvent>;

/// What the Root's plugins declare of types, as far as minting asks.
pub(super) trait Types {
    /// The number of the type of this name.
    fn number(&self, name: &str) -> Option<u32>;
    /// The newest version of a declared type.
    fn newest(&self, number: u32) -> Option<u32>;
    /// The names of all declared types, for an error's sentence.
    fn names(&self) -> Vec<String>;
}

/// What minting needs besides the drafts.
pub(super) struct Mint<'a> {
    /// The declared types.
    pub types: &'a dyn Types,
    /// The Root's hybrid logical clock.
    pub clock: &'a Mutex<Clock>,
    /// The wall clock.
    pub now: ValidTime,
    /// How far ahead of `now` an instant may be, in milliseconds.
    pub future_ms_max: u32,
    /// The limit of one event's data, in bytes.
    pub event_bytes_max: usize,
    /// The Idempotency-Key and its first stamp.
    pub idempotency: Option<(&'a str, ValidTime)>,
}

impl Mint<'_> {
    /// Mints all events of a request, in request order.
    pub(super) fn all(&self, drafts: Vec<Drafted>) -> Vec<MintedResult> {
        let mut instants = Instants { next_tick: self.first_tick(&drafts), ..Instants::default() };
        let minted = drafts.into_iter().enumerate();
        minted.map(|(at, draft)| self.one(at, draft?, &mut instants)).collect()
    }

    /// The first stamp of the live events. All are taken at once, so that the keys of requests that are read side by
    /// side do not lie between each other.
    fn first_tick(&self, drafts: &[Drafted]) -> ValidTime {
        let is_live = |draft: &&Drafted| matches!(draft, Ok(Draft { when: When::Now, .. }));
        let live = drafts.iter().filter(is_live).count() as u64;
        if live == 0 || self.idempotency.is_some() {
            return ValidTime::default();
        }
        self.clock.lock().expect("no holder of the clock panics").ticks(self.now, live)
    }

    fn one(&self, at: usize, draft: Draft, instants: &mut Instants) -> MintedResult {
        let (type_number, newest) = self.resolve(&draft)?;
        let version = draft.version.unwrap_or(newest);
        if version > newest {
            let detail = format!("the newest version of this type is {newest}, not {version}");
            return Err(BadEvent::new(Code::UnknownVersion, format!("{}/version", draft.pointer), detail));
        }
        if draft.data.len() > self.event_bytes_max {
            let detail =
                format!("data has {} bytes, the limit is {}", draft.data.len(), self.event_bytes_max);
            return Err(BadEvent::new(Code::EventTooLarge, format!("{}/data", draft.pointer), detail));
        }
        let key = self.key(at, &draft, instants)?;
        self.check_future(&draft, key)?;
        let hash = Value { type_number, version, data: &draft.data }.hash(key);
        Ok(Minted {
            at,
            hash,
            pointer: draft.pointer,
            key,
            type_number,
            version,
            version_given: draft.version.is_some(),
            data: draft.data,
            id: draft.id,
            same_key_is_same_event: draft.same_key_is_same_event,
            repeats: None,
        })
    }

    fn resolve(&self, draft: &Draft) -> Result<(u32, u32), BadEvent> {
        let number = match &draft.type_ref {
            TypeRef::Number(number) => Some(*number),
            TypeRef::Name(name) => self.types.number(name),
        };
        let declared = number.and_then(|number| Some((number, self.types.newest(number)?)));
        declared.ok_or_else(|| {
            let names = self.types.names();
            let known = if names.is_empty() { "no type at all".to_owned() } else { names.join(", ") };
            let detail = match &draft.type_ref {
                TypeRef::Name(name) => {
                    format!("no plugin declares the type {name:?}; declared here: {known}")
                }
                TypeRef::Number(number) => {
                    format!("no plugin declares type number {number}; declared here: {known}")
                }
            };
            BadEvent::new(Code::UnknownType, format!("{}/type", draft.pointer), detail)
        })
    }

    fn key(&self, at: usize, draft: &Draft, instants: &mut Instants) -> Result<EventKey, BadEvent> {
        let time = match (draft.when, self.idempotency) {
            (When::Key(key), _) => return Ok(key),
            (When::At(time), _) => time,
            (When::Now, Some((_, stamp))) => stamp,
            (When::Now, None) => instants.tick(),
        };
        let derived = draft.tail.or_else(|| self.idempotency.map(|(text, _)| tail_of_request(text, at)));
        if let Some(tail) = derived {
            return Ok(EventKey::new(time, tail));
        }
        let shifted = time.0.checked_add(instants.earlier(time));
        let time = shifted.map(ValidTime).ok_or_else(|| {
            BadEvent::new(Code::TimeRange, &draft.pointer, "the instant is at the very end of 1970..2106")
        })?;
        Ok(EventKey::new(time, rand::random()))
    }

    fn check_future(&self, draft: &Draft, key: EventKey) -> Result<(), BadEvent> {
        let ahead_ms = key.time().millis() - self.now.millis();
        if ahead_ms <= i64::from(self.future_ms_max) {
            return Ok(());
        }
        let member = match draft.when {
            When::Now => "",
            When::At(_) => "/time",
            When::Key(_) => "/key",
        };
        let (time, now) = (key.time(), self.now);
        let detail = format!(
            "{time} is {ahead_ms} ms ahead of this server's clock ({now}); at most {} are taken: check the sender's clock",
            self.future_ms_max
        );
        Err(BadEvent::new(Code::FutureTime, format!("{}{member}", draft.pointer), detail))
    }
}

/// The instants of a request's events that have neither key, id nor derived tail.
#[derive(Default)]
struct Instants {
    /// The stamp of the next live event.
    next_tick: ValidTime,
    /// Those that were greater than all before; mostly all are.
    ascending: Vec<ValidTime>,
    /// How often each other one was there, with that among the ascending ones.
    others: BTreeMap<ValidTime, u64>,
}

impl Instants {
    fn tick(&mut self) -> ValidTime {
        let tick = self.next_tick;
        self.next_tick = ValidTime(tick.0.saturating_add(1));
        tick
    }

    /// How many events before this one have its instant.
    fn earlier(&mut self, time: ValidTime) -> u64 {
        if self.ascending.last().is_none_or(|last| *last < time) {
            self.ascending.push(time);
            return 0;
        }
        let first = || u64::from(self.ascending.binary_search(&time).is_ok());
        let times = self.others.entry(time).or_insert_with(first);
        *times += 1;
        *times - 1
    }
}

/// The tail of the n-th event of a request that carries an Idempotency-Key.
fn tail_of_request(text: &str, at: usize) -> [u8; 8] {
    let mut tail = [0; 8];
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.as_bytes()).update(&[0]).update(&(at as u64).to_be_bytes());
    hasher.finalize_xof().fill(&mut tail);
    tail
}

/// Marks the second equal event of a request as a duplicate of the first and refuses an unequal one. Only events that
/// their Schemas took count: one that is refused is nothing to be a duplicate of.
pub(super) fn find_repeats(events: &mut [MintedResult]) {
    if events.iter().flatten().is_sorted_by(|one, next| one.key < next.key) {
        return;
    }
    let mut first_of: BTreeMap<EventKey, usize> = BTreeMap::new();
    for at in 0..events.len() {
        let (before, rest) = events.split_at_mut(at);
        let Some(Ok(event)) = rest.first_mut() else { continue };
        let Some(first) = first_of.get(&event.key).copied() else {
            first_of.insert(event.key, at);
            continue;
        };
        let Some(Ok(other)) = before.get(first) else { continue };
        let equal = (event.type_number, event.version, &event.data)
            == (other.type_number, other.version, &other.data);
        if equal || (event.same_key_is_same_event && other.same_key_is_same_event) {
            event.repeats = Some(first);
        } else {
            let detail =
                format!("events {first} and {at} of this request have the key {} and differ", event.key);
            let pointer = std::mem::take(&mut event.pointer);
            let clash = BadEvent { other: Some(first), ..BadEvent::new(Code::Clash, pointer, detail) };
            if let Some(refused) = rest.first_mut() {
                *refused = Err(clash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instant is counted wherever in the request it stands, among later ones and earlier ones.
    #[test]
    fn instants_are_counted() {
        let mut instants = Instants { next_tick: ValidTime(9), ..Instants::default() };
        let counts = [5, 5, 3, 5, 7, 3, 7, 4].map(|time| instants.earlier(ValidTime(time)));
        assert_eq!(counts, [0, 1, 0, 2, 0, 1, 1, 0]);
        assert_eq!([instants.tick(), instants.tick()], [ValidTime(9), ValidTime(10)]);
    }
}
