//! Report: a named read-only procedure over Views, Keyspaces and events, and the Reader it reads through.

use crate::abi::{CallAbi, ErrorCode, PluginError, ReaderAbi, ReaderRow, ReportItem, ReportQuery};
use crate::aggregate;
use crate::codec::Canonical;
use crate::event::{EventKey, ValidTime};
use crate::keyspace::{AggregateKey, KeyOf, Keyspace};
use crate::refusal::{Refusal, from_json};
use crate::schema::{Event, EventData, RawEvent};
use crate::view::{KeyFor, View};
use abi_stable::std_types::{ROption, RResult, RStr, RString, RVec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// Answers one key, or lists items in key order.
pub trait Report: Send + Sync + 'static {
    /// Its name, the last segment of its URL: `[a-z0-9][a-z0-9_-]{0,62}`, but not `e`.
    const NAME: &'static str;
    /// Raise it when it gives other results than before.
    const REVISION: u32 = 1;

    /// Puts the items that `query` asks for into `out`, in key order, at most `query.limit()` of them.
    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError>;
}

/// Why a Report gives no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The query is not acceptable.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The Reader failed; pass it on with `?`.
    #[error("the host could not read: {}", .0.message)]
    Read(Box<PluginError>),
    /// The answer is no longer wanted.
    #[error("the call was cancelled")]
    Cancelled,
}

/// What is asked of a Report, and the services of the call.
pub struct Query<'a> {
    pub(crate) call: &'a dyn CallAbi,
    pub(crate) query: &'a ReportQuery<'a>,
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.query.fmt(f)
    }
}

impl<'a> Query<'a> {
    /// The parts of the one key asked for; none: a listing.
    pub fn key(&self) -> Option<Vec<&'a str>> {
        self.query.key.into_option().map(|parts| texts(parts.as_slice()))
    }

    /// A listing starts behind this key.
    pub fn start(&self) -> Option<Vec<&'a str>> {
        self.query.start.into_option().map(|parts| texts(parts.as_slice()))
    }

    /// A listing's keys start with these parts, the last of them a prefix of its part.
    pub fn prefix(&self) -> Vec<&'a str> {
        texts(self.query.prefix.as_slice())
    }

    /// How many items are wanted at most.
    pub fn limit(&self) -> usize {
        usize::try_from(self.query.limit).unwrap_or(usize::MAX)
    }

    /// Further parameters of the query.
    pub fn parameters<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        from_json(self.query.parameters.as_bytes())
    }

    /// The query's exclusive upper bound of times, if it has one.
    pub fn at(&self) -> Option<ValidTime> {
        self.call.at().map(ValidTime).into_option()
    }

    /// The query's inclusive lower bound of times, if it has one.
    pub fn from(&self) -> Option<ValidTime> {
        self.call.from().map(ValidTime).into_option()
    }

    /// The query's exclusive upper bound of a window, if it has one.
    pub fn to(&self) -> Option<ValidTime> {
        self.call.to().map(ValidTime).into_option()
    }

    /// True once the answer is no longer wanted; the Reader asks by itself before each batch.
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// Writes a line to the host's log.
    pub fn log(&self, level: Level, message: &str) {
        self.call.log(level as u8, RStr::from_str(message));
    }
}

/// How urgent a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is odd.
    Warn = 2,
    /// Something happened that operators want to know.
    Info = 3,
    /// For the author.
    Debug = 4,
    /// For the author, in bulk.
    Trace = 5,
}

/// The times that a read covers; the default is all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Only events before this time.
    pub at: Option<ValidTime>,
    /// Only events at or after this time.
    pub from: Option<ValidTime>,
    /// Only events before this time, for windows.
    pub to: Option<ValidTime>,
}

/// One aggregate of the View `V`: its key and state.
pub type StateOf<V> = (KeyFor<V>, <V as View>::State);

/// Reads what the root holds, all of it as of one Knowledge, which is the query's `known`.
pub struct Reader<'a> {
    pub(crate) call: &'a dyn CallAbi,
    pub(crate) abi: &'a dyn ReaderAbi,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl<'a> Reader<'a> {
    /// The states of the aggregates `keys` of the View `V`; absent aggregates are left out.
    pub fn states<V: View>(
        &self,
        keys: &[KeyFor<V>],
        bounds: Bounds,
    ) -> Result<Vec<StateOf<V>>, ReportError> {
        self.go_on()?;
        let keys: Vec<RVec<u8>> = keys.iter().map(|key| encoded(key).into()).collect();
        let Bounds { at, from, to } = bounds;
        let rows = self.abi.states(V::NAME.into(), keys.as_slice().into(), wire(at), wire(from), wire(to));
        result(rows)?.iter().map(state_row::<V>).collect()
    }

    /// The states of the View `V` in key order, under `prefix` (whole parts, the last one begun), as of `at`.
    pub fn scan<'s, V: View>(
        &'s self,
        prefix: &[&str],
        at: Option<ValidTime>,
    ) -> impl Iterator<Item = Result<StateOf<V>, ReportError>> + use<'s, 'a, V> {
        self.scan_after::<V>(prefix, None, at)
    }

    /// The same from behind the key `after` on, which need not be there: how a listing goes on where its page before
    /// ended.
    pub fn scan_after<'s, V: View>(
        &'s self,
        prefix: &[&str],
        after: Option<&KeyFor<V>>,
        at: Option<ValidTime>,
    ) -> impl Iterator<Item = Result<StateOf<V>, ReportError>> + use<'s, 'a, V> {
        let start: RVec<u8> = after.map(encoded).unwrap_or_default().into();
        let mut encoded_prefix = Vec::new();
        if let Some((last, whole)) = prefix.split_last() {
            aggregate::encode_prefix(whole.iter().copied(), last, &mut encoded_prefix);
        }
        batches(move |last: Option<&ReaderRow>| {
            self.go_on()?;
            let after = last.map_or(&start, |row| &row.aggregate);
            result(self.abi.scan(
                V::NAME.into(),
                encoded_prefix.as_slice().into(),
                after.as_slice().into(),
                wire(at),
            ))
        })
        .map(|row| state_row::<V>(&row?))
    }

    /// The deltas of the aggregate `key` of the Keyspace `K` in the order of their events, from and with `from`, up
    /// to and without `to`; those of voided events are left out.
    pub fn entries<'s, K: Keyspace>(
        &'s self,
        key: &K::Key,
        from: Option<ValidTime>,
        to: Option<ValidTime>,
    ) -> impl Iterator<Item = Result<(EventKey, K::Delta), ReportError>> + use<'s, 'a, K> {
        let (name, key) = (crate::instance::keyspace_name::<K>(), encoded(key));
        batches(move |last: Option<&ReaderRow>| {
            self.go_on()?;
            let after: ROption<EventKey> = last.map(|row| row.event).into();
            result(self.abi.entries(name.as_str().into(), key.as_slice().into(), after, wire(from), wire(to)))
        })
        .map(|row| row.and_then(|row| Ok((row.event, decoded(&row.bytes)?))))
    }

    /// The events with these keys, decoded; unknown ones, and those of types that `E` does not read, are left out.
    pub fn events<E: EventData>(&self, keys: &[EventKey]) -> Result<Vec<Event<E>>, ReportError> {
        self.go_on()?;
        let types = E::types();
        let rows = result(self.abi.events(keys.into()))?;
        let wanted = rows.iter().filter(|row| types.contains(&row.type_number));
        let decode = |row: &ReaderRow| {
            let (key, data) = (row.event, row.bytes.as_slice());
            let raw = RawEvent { key, type_number: row.type_number, version: row.version, data };
            Ok(Event { key, data: E::read(&raw)? })
        };
        wanted.map(decode).collect()
    }

    fn go_on(&self) -> Result<(), ReportError> {
        if self.call.is_cancelled() { Err(ReportError::Cancelled) } else { Ok(()) }
    }
}

/// Takes the items of a Report's answer.
#[derive(Debug, Default)]
pub struct Answer {
    pub(crate) items: Vec<ReportItem>,
}

impl Answer {
    /// Adds an item; its key must be greater than the one before.
    pub fn item(&mut self, key: &[&str], value: &impl Serialize) -> Result<(), ReportError> {
        let json = serde_json::to_vec(value).map_err(|error| Refusal::new(error.to_string()))?;
        let key: Vec<RString> = key.iter().map(|part| RString::from(*part)).collect();
        self.items.push(ReportItem { key: key.into(), json: json.into() });
        Ok(())
    }
}

/// The rows that `next` returns batch by batch, given the row before, until an empty batch or a failure.
fn batches(
    mut next: impl FnMut(Option<&ReaderRow>) -> Result<RVec<ReaderRow>, ReportError>,
) -> impl Iterator<Item = Result<ReaderRow, ReportError>> {
    let mut batch = Vec::new().into_iter();
    let (mut last, mut over) = (None, false);
    std::iter::from_fn(move || {
        if batch.len() == 0 && !over {
            match next(last.as_ref()) {
                Ok(rows) => batch = rows.into_vec().into_iter(),
                Err(error) => {
                    over = true;
                    return Some(Err(error));
                }
            }
        }
        let row: Option<ReaderRow> = batch.next();
        over |= row.is_none();
        if row.is_some() {
            last.clone_from(&row);
        }
        row.map(Ok)
    })
}

fn state_row<V: View>(row: &ReaderRow) -> Result<StateOf<V>, ReportError> {
    Ok((key_of(&row.aggregate)?, decoded(&row.bytes)?))
}

/// The typed form of an encoded aggregate key.
pub(crate) fn key_of<K: AggregateKey>(bytes: &[u8]) -> Result<K, Refusal> {
    let parts = aggregate::decode(bytes).map_err(|error| Refusal::new(error.to_string()))?;
    K::of_parts(parts).ok_or_else(|| Refusal::new("an aggregate key has another number of parts"))
}

fn decoded<T: Canonical>(bytes: &[u8]) -> Result<T, ReportError> {
    T::from_bytes(bytes).map_err(|error| Refusal::new(error.to_string()).into())
}

fn encoded<K: AggregateKey>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    <K as KeyOf<&K>>::encode_key(key, &mut bytes);
    bytes
}

fn wire(time: Option<ValidTime>) -> ROption<u64> {
    time.map(|time| time.0).into()
}

fn texts(parts: &[RString]) -> Vec<&str> {
    parts.iter().map(RString::as_str).collect()
}

fn result<T>(answer: crate::abi::PluginResult<T>) -> Result<T, ReportError> {
    match answer {
        RResult::ROk(value) => Ok(value),
        RResult::RErr(error) if error.code == ErrorCode::CANCELLED => Err(ReportError::Cancelled),
        RResult::RErr(error) => {
            Err(ReportError::Read(Box::new(abi_stable::std_types::RBox::into_inner(error))))
        }
    }
}
