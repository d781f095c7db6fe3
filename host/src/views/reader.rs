//! What a Report reads through: Views, Keyspaces and events, all of it as of one arrival.
//!
//! The index is bitemporal, so nothing is held between two batches: each opens a transaction of its own and asks as of
//! the same arrival, whatever came in since. What the host cannot read ends the Report with the host's own error, even
//! if the Report goes on without it.

use super::answer::SetAside;
use super::bounds::KeyRange;
use super::build::{Build, View};
use super::cursor::Pin;
use super::error::ViewError;
use super::index::entry::{Deltas, NOW};
use super::index::read::{Aggregate, Visitor};
use super::read::{INCOMPLETE_MAX, Reading, behind};
use super::rows::Table;
use super::slot::number_of;
use super::{Moment, Views};
use crate::core::event::{Arrival, EventKey, Origin, ValidTime, Value};
use crate::core::knowledge::Knowledge;
use crate::core::limits::AGGREGATE_KEY_BYTES_MAX;
use crate::core::tables::{Position, StoredEvent, TableError, Tables};
use crate::plugin::{Services, event_ref};
use laterbase_plugin::abi::{ErrorCode, NO_EVENT, PluginError, PluginResult, ReaderAbi, ReaderRow};
use laterbase_plugin::abi_stable::std_types::{RBox, ROption, RSlice, RStr, RString, RVec};
use laterbase_plugin::aggregate;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A batch has so many rows at most.
const ROWS_MAX: usize = 256;
/// A batch ends behind the row with which it has so many bytes.
const BYTES_MAX: usize = 1 << 20;
/// A scan looks at so many aggregates in one transaction.
const AGGREGATES_MAX: usize = 4096;

/// Why a read gives nothing.
enum Fault {
    /// The answer is no longer wanted.
    Cancelled,
    /// The Report asks for what there is not.
    Misuse(String),
    /// The host fails.
    Host(ViewError),
}

impl<E: Into<ViewError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Host(error.into())
    }
}

/// What a Report reads through.
pub(super) struct Reader<'v> {
    views: &'v Views,
    build: Arc<Build>,
    /// Whose Report it is: names of Keyspaces are the plugin's own.
    plugin: &'v str,
    services: &'v Services,
    /// All of it is as of this arrival.
    pin: Pin,
    horizon: OnceLock<Horizon>,
    outcome: Mutex<Outcome>,
}

/// What reading came upon.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The first failure of the host.
    pub(super) fault: Option<ViewError>,
    /// Events that could not be taken into what was read, with the reasons.
    pub(super) incomplete: BTreeMap<EventKey, String>,
}

/// Which dots were held at an arrival.
struct Horizon {
    /// Those held some time later ...
    held: Knowledge,
    /// ... without those from these seqs on.
    behind: BTreeMap<Origin, u64>,
}

type Rows = Result<RVec<ReaderRow>, Fault>;

impl<'v> Reader<'v> {
    /// Reads for a Report of `plugin` as of `pin`.
    pub(super) fn new(
        views: &'v Views,
        build: Arc<Build>,
        plugin: &'v str,
        services: &'v Services,
        pin: Pin,
    ) -> Self {
        let (horizon, outcome) = (OnceLock::new(), Mutex::default());
        Self { views, build, plugin, services, pin, horizon, outcome }
    }

    /// What reading came upon.
    pub(super) fn finish(self) -> Outcome {
        self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self) -> Result<(), Fault> {
        if self.services.is_cancelled() { Err(Fault::Cancelled) } else { Ok(()) }
    }

    fn view(&self, name: &str) -> Result<View, Fault> {
        self.build.view(name).map_err(|_| Fault::Misuse(format!("the root has no view {name}")))
    }

    /// Runs `body` on one transaction, and notes the events that are set aside in what it sees.
    fn read<R>(
        &self,
        view: &View,
        range: KeyRange,
        body: &mut dyn FnMut(&mut Reading<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.go_on()?;
        let bounds = (range, Some(self.pin.arrival), self.pin.arrival);
        self.views.read_at(&self.build, view, bounds, &mut |reading, _| {
            let read = body(reading);
            self.note(reading.incomplete()?);
            Ok(read)
        })?
    }

    fn note(&self, set_aside: Vec<SetAside>) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        for SetAside { key, reason } in set_aside {
            if outcome.incomplete.len() < INCOMPLETE_MAX {
                outcome.incomplete.entry(key).or_insert(reason);
            }
        }
    }

    /// The row of one aggregate; none if no event in the range counts.
    fn row(&self, reading: &mut Reading<'_>, view: &View, key: &[u8]) -> Result<Option<ReaderRow>, Fault> {
        self.go_on()?;
        let Some(folded) = reading.fold(key)? else { return Ok(None) };
        if folded.stale.is_some() {
            return Err(ViewError::Repairing { view: view.info.name.clone() }.into());
        }
        self.note(folded.faults);
        let state = reading.state(&folded.state)?;
        Ok(Some(row(key, EventKey::default(), &state)))
    }

    fn states_of(&self, view: &str, keys: &[RVec<u8>], range: KeyRange, is_window: bool) -> Rows {
        let view = self.view(view)?;
        if is_window && view.info.algebra == laterbase_plugin::declare::AlgebraKind::Ordered {
            return Err(Fault::Misuse(format!("view {} is Ordered: it has no windows", view.info.name)));
        }
        let mut rows = RVec::new();
        if self.pin.arrival == 0 {
            return Ok(rows);
        }
        for keys in keys.chunks(ROWS_MAX) {
            self.read(&view, range, &mut |reading| {
                for key in keys.iter().filter(|key| is_key(key)) {
                    rows.extend(self.row(reading, &view, key)?);
                }
                Ok(())
            })?;
        }
        Ok(rows)
    }

    fn scan_of(&self, view: &str, prefix: &[u8], after: &[u8], range: KeyRange) -> Rows {
        let view = self.view(view)?;
        if prefix.len() > AGGREGATE_KEY_BYTES_MAX || after.len() > AGGREGATE_KEY_BYTES_MAX {
            let message = format!("no aggregate key is longer than {AGGREGATE_KEY_BYTES_MAX} bytes");
            return Err(Fault::Misuse(message));
        }
        let mut rows = RVec::new();
        let is_begin = after.is_empty() || after < prefix;
        let mut from = if is_begin { prefix.to_vec() } else { behind(after) };
        let mut goes_on = self.pin.arrival > 0;
        while goes_on && rows.is_empty() {
            goes_on = self.read(&view, range, &mut |reading| {
                let mut bytes = 0;
                for _ in 0..AGGREGATES_MAX {
                    let next = reading.next_aggregate(&from)?;
                    let Some(next) = next.filter(|next| next.starts_with(prefix)) else { return Ok(false) };
                    if let Some(row) = self.row(reading, &view, &next)? {
                        bytes += row.bytes.len();
                        rows.push(row);
                    }
                    from = behind(&next);
                    if rows.len() >= ROWS_MAX || bytes >= BYTES_MAX {
                        break;
                    }
                }
                Ok(true)
            })?;
        }
        Ok(rows)
    }

    fn entries_of(&self, keyspace: &str, key: &[u8], range: KeyRange) -> Rows {
        self.go_on()?;
        let own = format!("{}.{keyspace}", self.plugin);
        let keyspace = self.build.keyspaces.iter().find(|known| known.name == own);
        let keyspace = keyspace.ok_or_else(|| Fault::Misuse(format!("there is no Keyspace {own}")))?;
        if self.pin.arrival == 0 || !is_key(key) {
            return Ok(RVec::new());
        }
        let target = self.pin.arrival;
        let rows = self.views.moment(&self.build, keyspace, target, &mut |moment: Moment<'_>, _| {
            let id = number_of(moment.rows, keyspace, key)?;
            let tail = moment.tail.of(key, moment.cursor);
            let known = if target < moment.tail.position() { target } else { NOW };
            let table = Table::Index(keyspace.tables);
            let mut collect = Collect { key, rows: RVec::new(), bytes: 0 };
            Aggregate::open(moment.rows, table, id, tail, known)?.walk(&range, &mut collect)?;
            Ok(collect.rows)
        })?;
        Ok(rows)
    }

    fn events_of(&self, keys: &[EventKey]) -> Rows {
        let mut rows = RVec::new();
        for keys in keys.chunks(ROWS_MAX) {
            self.go_on()?;
            let events = self.views.store.read()?;
            let horizon = self.horizon(events.as_ref())?;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                found.extend(held_then(events.as_ref(), *key, horizon)?);
            }
            let refs: Vec<_> = found.iter().map(Held::event_ref).collect();
            for (held, upcast) in found.iter().zip(self.build.plugins.upcast(&refs)) {
                match upcast {
                    Ok(Some(event)) => rows.push(ReaderRow {
                        type_number: event.type_number,
                        version: event.version,
                        ..row(&[], event.key, &event.data)
                    }),
                    Ok(None) => {}
                    Err(failure) => self.note(vec![SetAside { key: held.key, reason: failure.message }]),
                }
            }
        }
        Ok(rows)
    }

    /// Which dots were held at the pin: along the arrivals the seqs of each Origin rise.
    fn horizon(&self, events: &dyn Tables) -> Result<&Horizon, TableError> {
        if let Some(horizon) = self.horizon.get() {
            return Ok(horizon);
        }
        let held = events.head()?.knowledge.clone();
        let mut behind: BTreeMap<Origin, u64> = BTreeMap::new();
        events.arrivals(Arrival(self.pin.arrival + 1), &mut |_, row| {
            behind.entry(row.dot.origin).or_insert(row.dot.seq.0);
            if behind.len() < held.origins() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(self.horizon.get_or_init(|| Horizon { held, behind }))
    }

    /// The form in which an answer, or its failure, crosses the boundary.
    fn wire(&self, rows: Rows) -> PluginResult<RVec<ReaderRow>> {
        let (code, message) = match rows {
            Ok(rows) => return PluginResult::ROk(rows),
            Err(Fault::Cancelled) => (ErrorCode::CANCELLED, "the answer is no longer wanted".to_owned()),
            Err(Fault::Misuse(message)) => (ErrorCode::UNSUPPORTED, message),
            Err(Fault::Host(error)) => {
                let message = error.to_string();
                let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
                outcome.fault.get_or_insert(error);
                (ErrorCode::CORRUPT, message)
            }
        };
        let (pointer, message) = (RString::new(), RString::from(message));
        PluginResult::RErr(RBox::new(PluginError { code, event: NO_EVENT, pointer, message }))
    }
}

impl ReaderAbi for Reader<'_> {
    fn states(
        &self,
        view: RStr<'_>,
        keys: RSlice<'_, RVec<u8>>,
        at: ROption<u64>,
        from: ROption<u64>,
        to: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>> {
        let is_window = from.is_some() || to.is_some();
        let range = range(at, from, to);
        self.wire(self.states_of(view.as_str(), keys.as_slice(), range, is_window))
    }

    fn scan(
        &self,
        view: RStr<'_>,
        prefix: RSlice<'_, u8>,
        after: RSlice<'_, u8>,
        at: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>> {
        let range = range(at, ROption::RNone, ROption::RNone);
        self.wire(self.scan_of(view.as_str(), prefix.as_slice(), after.as_slice(), range))
    }

    fn entries(
        &self,
        keyspace: RStr<'_>,
        key: RSlice<'_, u8>,
        after: ROption<EventKey>,
        from: ROption<u64>,
        to: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>> {
        let mut range = range(ROption::RNone, from, to);
        if let ROption::RSome(after) = after {
            match u128::from_be_bytes(after.0).checked_add(1) {
                Some(next) => range.from = range.from.max(EventKey(next.to_be_bytes())),
                None => return PluginResult::ROk(RVec::new()),
            }
        }
        self.wire(self.entries_of(keyspace.as_str(), key.as_slice(), range))
    }

    fn events(&self, keys: RSlice<'_, EventKey>) -> PluginResult<RVec<ReaderRow>> {
        self.wire(self.events_of(keys.as_slice()))
    }
}

/// Takes the deltas that count; those of one event stay together, because the next batch begins behind an event.
struct Collect<'k> {
    key: &'k [u8],
    rows: RVec<ReaderRow>,
    bytes: usize,
}

impl Visitor for Collect<'_> {
    fn entry(&mut self, event: EventKey, deltas: Option<Deltas<'_>>) -> ControlFlow<()> {
        for delta in deltas.into_iter().flatten() {
            self.bytes += delta.len();
            self.rows.push(row(self.key, event, delta));
        }
        let is_full = self.rows.len() >= ROWS_MAX || self.bytes >= BYTES_MAX;
        if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The value that held a key.
struct Held {
    key: EventKey,
    type_number: u32,
    version: u32,
    data: Vec<u8>,
}

impl Held {
    fn event_ref(&self) -> crate::plugin::EventRef<'_> {
        let Self { key, type_number, version, data } = self;
        event_ref(*key, Value { type_number: *type_number, version: *version, data })
    }
}

impl Horizon {
    /// Whether a value with these dots was held.
    fn holds(&self, event: &StoredEvent<'_>) -> bool {
        let is_before = |origin: &Origin, seq: u64| self.behind.get(origin).is_none_or(|first| seq < *first);
        event.dots.iter().any(|dot| is_before(&dot.origin, dot.seq.0) && self.held.holds(*dot))
    }
}

/// The value that held `key` then: the least of those that were there.
fn held_then(events: &dyn Tables, key: EventKey, horizon: &Horizon) -> Result<Option<Held>, TableError> {
    let mut least: Option<Held> = None;
    let mut take = |event: &StoredEvent<'_>| {
        let Value { type_number, version, data } = event.value;
        let is_less = |before: &Held| {
            (type_number, version, data) < (before.type_number, before.version, before.data.as_slice())
        };
        if horizon.holds(event) && least.as_ref().is_none_or(is_less) {
            least = Some(Held { key, type_number, version, data: data.to_vec() });
        }
    };
    let Some(winner) = events.event(key)? else { return Ok(None) };
    take(&winner);
    events.walk(Some(Position { key, loser: None }), &mut |event| {
        if event.key != key {
            return ControlFlow::Break(());
        }
        take(&event);
        ControlFlow::Continue(())
    })?;
    Ok(least)
}

fn is_key(key: &[u8]) -> bool {
    key.len() <= AGGREGATE_KEY_BYTES_MAX && aggregate::decode(key).is_ok()
}

fn range(at: ROption<u64>, from: ROption<u64>, to: ROption<u64>) -> KeyRange {
    let time = |bound: ROption<u64>| bound.into_option().map(ValidTime);
    let until = match (time(at), time(to)) {
        (Some(at), Some(to)) => Some(at.min(to)),
        (at, to) => at.or(to),
    };
    KeyRange::between(time(from), until)
}

fn row(aggregate: &[u8], event: EventKey, bytes: &[u8]) -> ReaderRow {
    ReaderRow { aggregate: aggregate.into(), event, type_number: 0, version: 0, bytes: bytes.into() }
}
