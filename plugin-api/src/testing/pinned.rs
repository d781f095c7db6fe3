//! A Reader over events in memory, so that Reports are tested without a host.
//!
//! It is as strict as a host may be: batches are short, so that a Report that stops at the first one fails; absent
//! aggregates are left out; a window on an Ordered View is refused. [`Pinned::report`] in turn holds the Report to its
//! part: keys rise, lie under the prefix and behind the start, and are no more than the limit.

use super::{Bench, Leaf, TestEvent};
use crate::abi::{
    Call, CallAbi, CallAbi_TO, ErrorCode, PluginError, PluginResult, ReaderAbi, ReaderAbi_TO, ReaderRow,
    ReportQuery,
};
use crate::declare::AlgebraKind;
use crate::event::EventKey;
use crate::guard::failure;
use crate::report::Bounds;
use abi_stable::erased_types::TD_Opaque;
use abi_stable::sabi_types::RRef;
use abi_stable::std_types::{RBox, RErr, RNone, ROk, ROption, RSlice, RStr, RString, RVec};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// How many rows the Reader gives in one batch: few, so that small tests see several.
const ROWS_MAX: usize = 16;

/// One item of a Report's answer: the parts of its key, and its value as JSON.
pub type Item = (Vec<String>, String);

/// What a test asks of a Report; the default is the whole listing, without bounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// The one key asked for, as a user types it.
    pub key: Option<&'a [&'a str]>,
    /// A listing starts behind this key.
    pub start: Option<&'a [&'a str]>,
    /// A listing's keys start with these parts, the last one begun.
    pub prefix: &'a [&'a str],
    /// How many items are wanted at most; none: all.
    pub limit: Option<u32>,
    /// The query's times.
    pub bounds: Bounds,
    /// Further parameters, a JSON object; none: `{}`.
    pub parameters: Option<&'a str>,
    /// The call is cancelled once the Reader has been asked so many times.
    pub cancelled_after: Option<u32>,
}

/// What a Report told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its items.
    pub items: Vec<Item>,
    /// How many times it asked the Reader: what its answer costs.
    pub reads: u32,
    /// What it wrote to the log.
    pub log: Vec<String>,
}

/// Events, pinned: what a Reader of these reads.
#[derive(Debug)]
pub struct Pinned<'b> {
    bench: &'b Bench,
    events: BTreeMap<EventKey, TestEvent>,
    /// The runs of each Keyspace, in the order of their declarations.
    runs: Vec<BTreeMap<Vec<u8>, Vec<Leaf>>>,
}

#[expect(clippy::missing_panics_doc, reason = "a failing test panics; each method says so by being here")]
impl<'b> Pinned<'b> {
    pub(super) fn new(bench: &'b Bench, events: &[TestEvent]) -> Self {
        let upcast = bench.upcast_all(events);
        let counted = bench.counted(&upcast);
        let runs = (0..bench.declaration.keyspaces.len()).map(|index| bench.map(index, &counted)).collect();
        Self { bench, runs, events: upcast.into_iter().map(|event| (event.key, event)).collect() }
    }

    /// What a Report answers.
    pub fn report(&self, name: &str, ask: &Ask<'_>) -> Result<Told, PluginError> {
        let index = self.bench.declaration.reports.iter().position(|report| report.name == name);
        let index = index.unwrap_or_else(|| panic!("the plugin has no Report {name}"));
        let index = u32::try_from(index).expect("few Reports");
        let reader = Source { pinned: self, reads: AtomicU32::new(0) };
        let services = Services { ask, reads: &reader.reads, log: Mutex::new(Vec::new()) };
        let (key, start, prefix) = (ask.key.map(owned), ask.start.map(owned), owned(ask.prefix));
        let query = ReportQuery {
            key: slice(key.as_deref()),
            start: slice(start.as_deref()),
            prefix: prefix.as_slice().into(),
            limit: ask.limit.unwrap_or(u32::MAX),
            parameters: ask.parameters.unwrap_or("{}").into(),
        };
        let (mut out, call) = (RVec::new(), CallAbi_TO::from_ptr(RRef::new(&services), TD_Opaque));
        let call: &Call<'_> = &call;
        let wire = ReaderAbi_TO::from_ptr(RRef::new(&reader), TD_Opaque);
        let told = self.bench.instance.report(call, index, &query, &wire, &mut out);
        told.into_result().map_err(RBox::into_inner)?;
        let items: Vec<Item> = out.into_iter().map(|item| (texts(&item.key), json(&item.json))).collect();
        keeps_its_part(name, ask, &items);
        let log = std::mem::take(&mut *services.log.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Told { items, reads: reader.reads.load(Relaxed), log })
    }

    /// The whole listing of a Report, walked in pages of `limit` items: each page starts behind the one before.
    pub fn walk(&self, name: &str, limit: u32, ask: &Ask<'_>) -> Result<Vec<Item>, PluginError> {
        let mut items: Vec<Item> = Vec::new();
        loop {
            let start: Option<Vec<String>> = items.last().map(|(key, _)| key.clone());
            let start: Option<Vec<&str>> =
                start.as_ref().map(|parts| parts.iter().map(String::as_str).collect());
            let page = Ask { start: start.as_deref().or(ask.start), limit: Some(limit), ..*ask };
            let page = self.report(name, &page)?.items;
            let is_last = page.is_empty();
            items.extend(page);
            if is_last {
                return Ok(items);
            }
        }
    }
}

/// What a host relies on.
fn keeps_its_part(name: &str, ask: &Ask<'_>, items: &[Item]) {
    let limit = ask.limit.map_or(usize::MAX, |limit| usize::try_from(limit).expect("32 bits fit"));
    assert!(items.len() <= limit, "{name} gives {} items, {limit} are wanted", items.len());
    for ((one, _), (other, _)) in items.iter().zip(items.iter().skip(1)) {
        assert!(one < other, "{name} gives {other:?} behind {one:?}: keys have to rise");
    }
    if ask.key.is_some() {
        assert!(items.len() <= 1, "{name} gives {} items for one key", items.len());
        return;
    }
    for (key, _) in items {
        let is_behind =
            ask.start.is_none_or(|start| key.iter().map(String::as_str).gt(start.iter().copied()));
        assert!(is_behind, "{name} gives {key:?}, which is not behind {:?}", ask.start);
        let begins = |(at, part): (usize, &&str)| match key.get(at) {
            Some(found) if at + 1 == ask.prefix.len() => found.starts_with(part),
            found => found.is_some_and(|found| found == part),
        };
        let fits = ask.prefix.iter().enumerate().all(begins);
        assert!(fits, "{name} gives {key:?}, which does not start with {:?}", ask.prefix);
    }
}

/// The services of a call that asks a Report.
struct Services<'a> {
    ask: &'a Ask<'a>,
    reads: &'a AtomicU32,
    log: Mutex<Vec<String>>,
}

impl CallAbi for Services<'_> {
    fn log(&self, _: u8, message: RStr<'_>) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(message.as_str().to_owned());
    }
    fn is_cancelled(&self) -> bool {
        self.ask.cancelled_after.is_some_and(|reads| self.reads.load(Relaxed) >= reads)
    }
    fn at(&self) -> ROption<u64> {
        self.ask.bounds.at.map(|time| time.0).into()
    }
    fn from(&self) -> ROption<u64> {
        self.ask.bounds.from.map(|time| time.0).into()
    }
    fn to(&self) -> ROption<u64> {
        self.ask.bounds.to.map(|time| time.0).into()
    }
    fn known(&self) -> ROption<u64> {
        RNone
    }
    fn deadline_ms(&self) -> ROption<u64> {
        RNone
    }
}

/// The Reader, and how often it was asked.
struct Source<'p> {
    pinned: &'p Pinned<'p>,
    reads: AtomicU32,
}

/// Which times count: none is no bound.
#[derive(Clone, Copy)]
struct Window {
    at: ROption<u64>,
    from: ROption<u64>,
    to: ROption<u64>,
}

impl Window {
    fn holds(&self, event: EventKey) -> bool {
        let time = event.time().0;
        let before = |bound: ROption<u64>| bound.into_option().is_none_or(|bound| time < bound);
        before(self.at) && before(self.to) && self.from.into_option().is_none_or(|from| time >= from)
    }
}

impl Source<'_> {
    /// The row of one aggregate's state; none if no event of its run lies within `window`.
    fn state(&self, view: &str, key: &[u8], window: Window) -> Result<Option<ReaderRow>, PluginError> {
        let (_, keyspace) = self.pinned.bench.view(view);
        let run = self.runs(keyspace).get(key).map_or(&[] as &[Leaf], Vec::as_slice);
        let run: Vec<Leaf> = run.iter().filter(|(event, _)| window.holds(*event)).cloned().collect();
        if run.is_empty() {
            return Ok(None);
        }
        let state = self.pinned.bench.fold(view, None, &run)?;
        Ok(Some(row(key, EventKey::default(), &state)))
    }

    fn runs(&self, keyspace: usize) -> &BTreeMap<Vec<u8>, Vec<Leaf>> {
        self.pinned.runs.get(keyspace).expect("one for each Keyspace")
    }

    fn scan(
        &self,
        view: &str,
        prefix: &[u8],
        after: &[u8],
        at: ROption<u64>,
    ) -> Result<RVec<ReaderRow>, PluginError> {
        let (_, keyspace) = self.pinned.bench.view(view);
        let window = Window { at, from: RNone, to: RNone };
        let start = if after >= prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        let behind = self.runs(keyspace).range::<[u8], _>((start, Bound::Unbounded));
        let mut rows = RVec::new();
        for (key, _) in behind.take_while(|(key, _)| key.starts_with(prefix)) {
            rows.extend(self.state(view, key, window)?);
            if rows.len() == ROWS_MAX {
                break;
            }
        }
        Ok(rows)
    }
}

impl ReaderAbi for Source<'_> {
    fn states(
        &self,
        view: RStr<'_>,
        keys: RSlice<'_, RVec<u8>>,
        at: ROption<u64>,
        from: ROption<u64>,
        to: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>> {
        self.reads.fetch_add(1, Relaxed);
        let (index, _) = self.pinned.bench.view(view.as_str());
        let declared = usize::try_from(index).ok().and_then(|at| self.pinned.bench.declaration.views.get(at));
        let is_ordered = declared.is_some_and(|declared| declared.algebra == AlgebraKind::Ordered);
        if is_ordered && (from.is_some() || to.is_some()) {
            return RErr(failure(ErrorCode::UNSUPPORTED, format!("{view} is Ordered: it has no windows")));
        }
        let window = Window { at, from, to };
        let rows = keys.iter().map(|key| self.state(view.as_str(), key, window));
        wire(rows.filter_map(Result::transpose).collect())
    }

    fn scan(
        &self,
        view: RStr<'_>,
        prefix: RSlice<'_, u8>,
        after: RSlice<'_, u8>,
        at: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>> {
        self.reads.fetch_add(1, Relaxed);
        wire(Source::scan(self, view.as_str(), prefix.as_slice(), after.as_slice(), at))
    }

    fn entries(
        &self,
        keyspace: RStr<'_>,
        key: RSlice<'_, u8>,
        after: ROption<EventKey>,
        from: ROption<u64>,
        to: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>> {
        self.reads.fetch_add(1, Relaxed);
        let declared = &self.pinned.bench.declaration.keyspaces;
        let Some(keyspace) = declared.iter().position(|declared| declared.name == keyspace.as_str()) else {
            return RErr(failure(ErrorCode::UNSUPPORTED, format!("there is no Keyspace {keyspace}")));
        };
        let window = Window { at: RNone, from, to };
        let run = self.runs(keyspace).get(key.as_slice()).map_or(&[] as &[Leaf], Vec::as_slice);
        let behind = |event: EventKey| after.into_option().is_none_or(|after| event > after);
        let mut rows: RVec<ReaderRow> = RVec::new();
        for (event, delta) in run.iter().filter(|(event, _)| window.holds(*event) && behind(*event)) {
            // The deltas of one event stay together: the next batch begins behind an event.
            if rows.len() >= ROWS_MAX && rows.last().is_some_and(|last| last.event != *event) {
                break;
            }
            rows.push(row(key.as_slice(), *event, delta));
        }
        ROk(rows)
    }

    fn events(&self, keys: RSlice<'_, EventKey>) -> PluginResult<RVec<ReaderRow>> {
        self.reads.fetch_add(1, Relaxed);
        let found = keys.iter().filter_map(|key| self.pinned.events.get(key));
        let row = |event: &TestEvent| {
            let TestEvent { key, type_number, version, data } = event;
            ReaderRow { type_number: *type_number, version: *version, ..row(&[], *key, data) }
        };
        ROk(found.map(row).collect())
    }
}

fn row(aggregate: &[u8], event: EventKey, bytes: &[u8]) -> ReaderRow {
    ReaderRow { aggregate: aggregate.into(), event, type_number: 0, version: 0, bytes: bytes.into() }
}

fn wire(rows: Result<RVec<ReaderRow>, PluginError>) -> PluginResult<RVec<ReaderRow>> {
    rows.map_err(RBox::new).into()
}

fn owned(parts: &[&str]) -> Vec<RString> {
    parts.iter().map(|part| RString::from(*part)).collect()
}

fn slice(parts: Option<&[RString]>) -> ROption<RSlice<'_, RString>> {
    parts.map(RSlice::from_slice).into()
}

fn texts(parts: &[RString]) -> Vec<String> {
    parts.iter().map(|part| part.as_str().to_owned()).collect()
}

fn json(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Answer, Commutative, DeclaredType, Emit, Event, EventType, Instance, Keyspace, Merge, Ordered, Query,
        RawEvent, Reader, Report, ReportError, Schema, ValidTime, View,
    };

    #[derive(Debug, serde::Deserialize, EventType)]
    #[event(number = 1, name = "add")]
    struct Add {
        item: String,
        n: i64,
        #[serde(default)]
        voids: Option<EventKey>,
    }

    struct Sums;
    impl Schema for Sums {
        const NAME: &'static str = "sums";
        const RETRACTS: bool = true;
        fn types(&self) -> Vec<DeclaredType> {
            crate::event_types![Add]
        }
        fn retracts(&self, event: &RawEvent<'_>) -> Vec<EventKey> {
            event.read::<Add>().ok().flatten().and_then(|add| add.voids).into_iter().collect()
        }
    }

    /// Emits each number twice, so that one event has two deltas in one run.
    struct ByItem;
    impl Keyspace for ByItem {
        type Event = Add;
        type Key = String;
        type Delta = i64;
        fn map(&self, event: &Event<Add>, out: &mut Emit<Self>) {
            if event.data.voids.is_none() {
                out.emit(&event.data.item, event.data.n);
                out.emit(&event.data.item, 0);
            }
        }
    }

    struct Sum;
    impl View for Sum {
        const NAME: &'static str = "sum";
        type Over = ByItem;
        type State = i64;
        type Algebra = Commutative;
        fn fold(&self, state: &mut i64, _: EventKey, n: i64) {
            *state += n;
        }
    }
    impl Merge for Sum {
        fn merge(&self, left: &mut i64, right: i64) {
            *left += right;
        }
    }

    struct Newest;
    impl View for Newest {
        const NAME: &'static str = "newest";
        type Over = ByItem;
        type State = i64;
        type Algebra = Ordered;
        fn fold(&self, state: &mut i64, _: EventKey, n: i64) {
            *state = n;
        }
    }

    /// Answers every item with its sum, what the window holds, how many deltas and events it has.
    struct All;
    impl Report for All {
        const NAME: &'static str = "all";
        fn answer(
            &self,
            query: &Query<'_>,
            reader: &Reader<'_>,
            out: &mut Answer,
        ) -> Result<(), ReportError> {
            let bounds = Bounds { at: query.at(), from: query.from(), to: query.to() };
            let start = query.start().map(|parts| parts.concat());
            let wanted = query.prefix();
            query.log(crate::Level::Debug, "asked");
            for row in reader.scan_after::<Sum>(&wanted, start.as_ref(), bounds.at).take(query.limit()) {
                let (item, sum) = row?;
                let window = reader.states::<Sum>(std::slice::from_ref(&item), bounds)?;
                let deltas: Vec<_> =
                    reader.entries::<ByItem>(&item, bounds.from, bounds.to).collect::<Result<_, _>>()?;
                let keys: Vec<EventKey> = deltas.iter().map(|(key, _)| *key).collect();
                let events = reader.events::<Add>(&keys)?.len();
                out.item(&[&item], &(sum, window.first().map(|(_, n)| n), deltas.len(), events))?;
            }
            Ok(())
        }
    }

    /// Breaks its part of the contract as it is told to.
    struct Careless;
    impl Report for Careless {
        const NAME: &'static str = "careless";
        fn answer(
            &self,
            query: &Query<'_>,
            reader: &Reader<'_>,
            out: &mut Answer,
        ) -> Result<(), ReportError> {
            let keys: Vec<String> = query.parameters()?;
            keys.iter().try_for_each(|key| out.item(&[key], &1))?;
            if keys.is_empty() {
                let window = Bounds { from: Some(ValidTime(0)), ..Bounds::default() };
                reader.states::<Newest>(&["a".to_owned()], window)?;
            }
            Ok(())
        }
    }

    fn bench() -> Bench {
        let instance = Instance::builder().schema(Sums).keyspace(ByItem).view(Sum).view(Newest);
        Bench::of(instance.report(All).report(Careless).build().expect("it fits together"))
    }

    /// One event a minute for each of 40 items, the first for `i00`; the last of all voids the third.
    fn events(bench: &Bench) -> Vec<TestEvent> {
        let time = |minute: usize| format!("2026-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60);
        let add = |at: usize| {
            bench.event("add", &time(at), 7, &format!(r#"{{"item":"i{:02}","n":{}}}"#, at % 40, at + 1))
        };
        let mut events: Vec<_> = (0..120).map(add).collect();
        let voids = format!(r#"{{"item":"","n":0,"voids":"{}"}}"#, events[2].key);
        events.push(bench.event("add", &time(120), 8, &voids));
        events
    }

    fn minute(minute: i64) -> Option<ValidTime> {
        ValidTime::from_millis(1_767_225_600_000 + minute * 60_000)
    }

    // Goal: the Reader reads what a host would: un-voided events within the bounds, in batches, two deltas of one
    // event together; pages go on where the page before ended.
    #[test]
    fn the_reader_reads() {
        let bench = bench();
        let mut events = events(&bench);
        events.reverse();
        let pinned = bench.pin(&events);
        let all = pinned.report("all", &Ask::default()).expect("an answer");
        assert_eq!(all.items.len(), 40);
        assert_eq!(all.items[0], (vec!["i00".to_owned()], "[123,123,6,6]".to_owned()), "1 + 41 + 81");
        assert_eq!(all.items[2].1, "[126,126,4,4]", "43 + 83; 3 is voided");
        assert_eq!(
            (all.reads, all.log),
            (4 + 40 * 4, vec!["asked".to_owned()]),
            "16 + 16 + 8 + 0 rows; each item 4"
        );
        for limit in [1, 7, 39, 40, 41] {
            assert_eq!(pinned.walk("all", limit, &Ask::default()).expect("an answer"), all.items, "{limit}");
        }
        let tens = pinned.report("all", &Ask { prefix: &["i3"], ..Ask::default() }).expect("an answer");
        assert_eq!(tens.items, all.items[30..]);
        let bounds = Bounds { at: minute(41), from: minute(1), to: minute(60) };
        let some = pinned.report("all", &Ask { bounds, ..Ask::default() }).expect("an answer").items;
        assert_eq!(some[0].1, "[42,41,2,2]", "at counts 1 and 41, the window not the first");
        assert_eq!((some.len(), some[2].0[0].as_str()), (39, "i03"), "i02 has nothing left before `at`");
    }

    // Goal: windows on Ordered Views are refused, and a cancelled call ends with the read at hand.
    #[test]
    fn refusals() {
        let bench = bench();
        let pinned = bench.pin(&events(&bench));
        let ask = Ask { parameters: Some("[]"), ..Ask::default() };
        assert_eq!(pinned.report("careless", &ask).expect_err("a window").code, ErrorCode::UNSUPPORTED);
        let ask = Ask { cancelled_after: Some(2), ..Ask::default() };
        assert_eq!(pinned.report("all", &ask).expect_err("cancelled").code, ErrorCode::CANCELLED);
    }

    // Goal: a Report that breaks its part of the contract fails its test, with a sentence.
    #[test]
    fn careless_reports() {
        let bench = bench();
        let pinned = bench.pin(&[]);
        let sentence = |ask: Ask<'_>| {
            let panic =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pinned.report("careless", &ask)));
            let panic = panic.err()?;
            panic.downcast_ref::<String>().cloned()
        };
        let keys = Ask { parameters: Some(r#"["b","c"]"#), ..Ask::default() };
        assert_eq!(sentence(keys), None);
        assert_eq!(
            sentence(Ask { prefix: &["b"], ..keys }),
            Some(r#"careless gives ["c"], which does not start with ["b"]"#.to_owned())
        );
        let behind = r#"careless gives ["b"], which is not behind Some(["b"])"#;
        assert_eq!(sentence(Ask { start: Some(&["b"]), ..keys }), Some(behind.to_owned()));
        assert_eq!(
            sentence(Ask { limit: Some(1), ..keys }),
            Some("careless gives 2 items, 1 are wanted".to_owned())
        );
        assert_eq!(
            sentence(Ask { key: Some(&["b"]), ..keys }),
            Some("careless gives 2 items for one key".to_owned())
        );
        let unsorted = Ask { parameters: Some(r#"["c","b"]"#), ..Ask::default() };
        assert_eq!(
            sentence(unsorted),
            Some(r#"careless gives ["b"] behind ["c"]: keys have to rise"#.to_owned())
        );
    }
}
