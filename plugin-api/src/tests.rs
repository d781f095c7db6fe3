//! Drives a plugin with every odd habit through the boundary: old versions, panics, wrong algebras, an intake of its
//! own and a Report over a Reader that answers in batches.

use crate::abi::{
    Call, CallAbi, CallAbi_TO, DeltaRef, Emitted, ErrorCode, NO_EVENT, PluginResult, ReaderAbi, ReaderAbi_TO,
    ReaderRow, ReportItem, ReportQuery, Rows,
};
use crate::testing::{Bench, TestEvent};
use crate::*;
use abi_stable::erased_types::TD_Opaque;
use abi_stable::sabi_types::RRef;
use abi_stable::std_types::{RNone, ROk, ROption, RSlice, RSome, RStr, RString, RVec};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

#[derive(Deserialize, crate::EventType)]
#[event(number = 7, name = "moved", version = 3)]
struct Moved {
    place: String,
    pieces: u32,
}

#[derive(Deserialize, crate::EventType)]
#[event(number = 8)]
struct StockTaken {
    place: String,
}

#[derive(crate::EventData)]
enum Stock {
    Moved(Moved),
    Taken(StockTaken),
}

struct Odd;

impl Schema for Odd {
    const NAME: &'static str = "odd";

    fn types(&self) -> Vec<DeclaredType> {
        let mut types = event_types![Moved, StockTaken];
        types.push(DeclaredType::raw(9, "blob", 1));
        types
    }

    fn admit(&self, event: &RawEvent<'_>) -> Result<(), Refusal> {
        assert_ne!(event.data, b"panic in admit", "as the event asked");
        Ok(())
    }

    fn upcast(&self, event: &RawEvent<'_>) -> Result<Vec<u8>, Refusal> {
        let data = std::str::from_utf8(event.data).map_err(|_| Refusal::new("not text"))?;
        match event.version {
            1 => Ok(format!("{data}{data}").into_bytes()),
            2 => Ok(format!("{{\"place\":\"{data}\",\"pieces\":1}}").into_bytes()),
            version => Err(Refusal::new(format!("no step from {version}"))),
        }
    }

    fn formats(&self) -> Vec<String> {
        vec!["lines".to_owned()]
    }

    fn intake(&self, _: &str, kind: &str, body: &[u8], out: &mut Intake) -> Result<(), Refusal> {
        if kind != "text/plain" {
            return Err(Refusal::new("lines are text/plain"));
        }
        for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
            let pointer = format!("/{index}");
            if line.is_empty() {
                out.refuse(Refusal::at(pointer, "an empty line"));
            } else {
                let time = Some(ValidTime(5));
                out.event(IntakeRow {
                    pointer,
                    type_number: 9,
                    version: 1,
                    time,
                    data: line.to_vec(),
                    ..IntakeRow::default()
                });
            }
        }
        Ok(())
    }
}

struct ByPlace;

impl Keyspace for ByPlace {
    type Event = Stock;
    type Key = (String, String);
    type Delta = u32;

    fn map(&self, event: &Event<Stock>, out: &mut Emit<Self>) {
        match &event.data {
            Stock::Moved(moved) => {
                out.emit((&moved.place, "in"), moved.pieces);
                assert_ne!(moved.pieces, 13, "unlucky");
                out.emit((moved.place.as_str(), String::from("out")), moved.pieces);
            }
            Stock::Taken(taken) => out.emit(&(&taken.place, "taken"), 0),
        }
    }
}

#[derive(Default, Serialize, Canonical)]
struct Most(u32);

struct Highest;

impl View for Highest {
    const NAME: &'static str = "highest";
    const REVISION: u32 = 4;
    type Over = ByPlace;
    type State = Most;
    type Algebra = crate::Commutative;

    fn fold(&self, state: &mut Most, _: EventKey, pieces: u32) {
        assert_ne!(pieces, 99, "too high");
        state.0 = state.0.max(pieces);
    }

    fn render(&self, key: &(String, String), state: &Most) -> impl Serialize {
        format!("{} at {} {}", state.0, key.0, key.1)
    }
}

impl Merge for Highest {
    fn merge(&self, left: &mut Most, right: Most) {
        left.0 = left.0.max(right.0);
    }
}

/// Declares an algebra that is not true of it: subtraction does not merge.
struct Liar;

impl View for Liar {
    const NAME: &'static str = "liar";
    type Over = ByPlace;
    type State = i64;
    type Algebra = crate::Associative;

    fn fold(&self, state: &mut i64, _: EventKey, pieces: u32) {
        *state = i64::from(pieces) - *state;
    }
}

impl Merge for Liar {
    fn merge(&self, left: &mut i64, right: i64) {
        *left = right - *left;
    }
}

struct Newest;

impl View for Newest {
    const NAME: &'static str = "newest";
    type Over = ByPlace;
    type State = Option<u32>;
    type Algebra = crate::Ordered;

    fn fold(&self, state: &mut Option<u32>, _: EventKey, pieces: u32) {
        *state = Some(pieces);
    }
}

struct Above;

impl Report for Above {
    const NAME: &'static str = "above";

    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError> {
        #[derive(Deserialize)]
        struct Parameters {
            pieces: u32,
        }
        let Parameters { pieces } = query.parameters()?;
        query.log(Level::Info, "above");
        for row in reader.scan::<Highest>(&query.prefix(), query.at()) {
            let ((place, direction), state) = row?;
            if state.0 > pieces {
                out.item(&[&place, &direction], &state.0)?;
            }
        }
        Ok(())
    }
}

fn instance() -> Instance {
    Instance::builder()
        .view(Highest)
        .view(Liar)
        .view(Newest)
        .schema(Odd)
        .keyspace(ByPlace)
        .report(Above)
        .build()
        .expect("the parts fit together")
}

fn moved(tail: u64, version: u32, data: &str) -> TestEvent {
    let key = EventKey::new(ValidTime(1), tail.to_be_bytes());
    TestEvent { key, type_number: 7, version, data: data.as_bytes().to_vec() }
}

/// Calls with the services of [`Services`].
fn with_call<T>(cancelled: bool, make: impl FnOnce(&Call<'_>) -> T) -> T {
    let services = Services(cancelled);
    make(&CallAbi_TO::from_ptr(RRef::new(&services), TD_Opaque))
}

struct Services(bool);

impl CallAbi for Services {
    fn log(&self, level: u8, message: RStr<'_>) {
        assert_eq!((level, message.as_str()), (3, "above"));
    }
    fn is_cancelled(&self) -> bool {
        self.0
    }
    fn at(&self) -> ROption<u64> {
        RSome(77)
    }
    fn from(&self) -> ROption<u64> {
        RNone
    }
    fn to(&self) -> ROption<u64> {
        RNone
    }
    fn known(&self) -> ROption<u64> {
        RNone
    }
    fn deadline_ms(&self) -> ROption<u64> {
        RNone
    }
}

// Goal: the declaration is what the traits say, with a name for the Keyspace that has none.
#[test]
fn declaration() {
    let declaration = serde_json::to_string(instance().declaration()).expect("JSON");
    assert_eq!(
        declaration,
        concat!(
            r#"{"schemas":[{"name":"odd","revision":1,"types":[{"number":7,"name":"moved","version":3},"#,
            r#"{"number":8,"name":"stock_taken","version":1},{"number":9,"name":"blob","version":1}],"#,
            r#""formats":["lines"],"retracts":false}],"#,
            r#""keyspaces":[{"name":"by_place","revision":1,"types":[7,8],"parts":2}],"#,
            r#""views":[{"name":"highest","revision":4,"keyspace":0,"algebra":"commutative"},"#,
            r#"{"name":"liar","revision":1,"keyspace":0,"algebra":"associative"},"#,
            r#"{"name":"newest","revision":1,"keyspace":0,"algebra":"ordered"}],"#,
            r#""reports":[{"name":"above","revision":1}]}"#
        )
    );
}

/// Owns one type with the N-th of some bad names or versions.
struct Named<const N: usize>;

impl<const N: usize> Schema for Named<N> {
    const NAME: &'static str = ["e", "-a", "A", "", "named", "named"][N];
    fn types(&self) -> Vec<DeclaredType> {
        let (name, version) = if N == 4 { ("a b", 1) } else { ("fine", u32::from(N < 4)) };
        vec![DeclaredType::raw(1, name, version)]
    }
}

/// Groups by a list of as many parts as it says, and emits three.
struct Lists(u32);

impl Keyspace for Lists {
    type Event = Moved;
    type Key = Vec<String>;
    type Delta = ();

    fn map(&self, event: &Event<Moved>, out: &mut Emit<Self>) {
        out.emit(["a", "b", event.data.place.as_str()], ());
    }

    fn parts(&self) -> u32 {
        self.0
    }
}

// Goal: parts that do not fit together are refused when the instance is built, by name.
#[test]
fn builds_that_fail() {
    let failed = |builder: Builder| builder.build().expect_err("the parts do not fit");
    let error = failed(Instance::builder().view(Highest));
    assert_eq!(error, BuildError::NoKeyspace { view: "highest".to_owned(), keyspace: "ByPlace".to_owned() });
    let error = failed(Instance::builder().keyspace(ByPlace).view(Highest).view(Highest));
    assert_eq!(error, BuildError::Twice { kind: "View or Report", name: "highest".to_owned() });
    let error = failed(Instance::builder().schema(Odd).schema(Odd));
    assert_eq!(error, BuildError::Twice { kind: "Schema", name: "odd".to_owned() });

    let name = |name: &str| BuildError::Name { kind: "Schema", name: name.to_owned() };
    assert_eq!(failed(Instance::builder().schema(Named::<0>)), name("e"));
    assert_eq!(failed(Instance::builder().schema(Named::<1>)), name("-a"));
    assert_eq!(failed(Instance::builder().schema(Named::<2>)), name("A"));
    assert_eq!(failed(Instance::builder().schema(Named::<3>)), name(""));
    assert_eq!(
        failed(Instance::builder().schema(Named::<4>)),
        BuildError::TypeName { name: "a b".to_owned() }
    );
    let zero = BuildError::VersionZero { name: "fine".to_owned() };
    assert_eq!(failed(Instance::builder().schema(Named::<5>)), zero);
    let error = failed(Instance::builder().keyspace(Lists(0)));
    assert_eq!(error, BuildError::NoParts { keyspace: "lists".to_owned() });
}

// Goal: an old event is rewritten step by step; a version that the Schema does not know names its event.
#[test]
fn upcasts() {
    let bench = Bench::of(instance());
    let newest = moved(0, 3, r#"{"place":"aa","pieces":1}"#);
    assert_eq!(bench.upcast(&moved(0, 1, "a")), Ok(newest.clone()));
    assert_eq!(bench.upcast(&moved(0, 2, "aa")), Ok(newest.clone()));
    assert_eq!(bench.upcast(&newest), Ok(newest.clone()));
    let error = bench.upcast(&moved(0, 4, "?")).expect_err("there is no version 4");
    assert_eq!((error.code, error.event), (ErrorCode::REFUSED, 0));
    assert_eq!(error.message.as_str(), "moved has versions 1 to 3, this is version 4");
    let mut rows = Rows::default();
    let (old, bad) = (moved(0, 1, "a"), moved(0, 0, "a"));
    let wire = [&old, &old, &bad].map(|event| EventRef {
        key: event.key,
        type_number: 7,
        version: event.version,
        data: event.data.as_slice().into(),
    });
    let error =
        with_call(false, |call| bench.instance().upcast(call, 0, RSlice::from_slice(&wire), &mut rows));
    assert_eq!(error.into_result().map_err(|error| error.event), Err(2));
}

// Goal: the shape is checked before the rules, arrays do not pass for objects, and a panic is an error of its event.
#[test]
fn admits() {
    let bench = Bench::of(instance());
    assert_eq!(bench.admit(&moved(0, 3, r#" {"place":"a","pieces":1}"#)), Ok(()));
    let refused = Err(Refusal::at("/pieces", "invalid value: integer `-1`, expected u32"));
    assert_eq!(bench.admit(&moved(0, 3, r#"{"place":"a","pieces":-1}"#)), refused);
    let refused = Err(Refusal::new("the data of this type is a JSON object"));
    assert_eq!(bench.admit(&moved(0, 3, r#"["a",1]"#)), refused);
    let blob = |data: &str| TestEvent { type_number: 9, ..moved(0, 1, data) };
    assert_eq!(bench.admit(&blob("\u{0}")), Ok(()));
    let (data, mut verdicts) = (blob("panic in admit"), RVec::new());
    let wire = [EventRef { key: data.key, type_number: 9, version: 1, data: data.data.as_slice().into() }];
    let error =
        with_call(false, |call| bench.instance().admit(call, 0, RSlice::from_slice(&wire), &mut verdicts));
    let error = error.into_result().expect_err("the Schema panics");
    assert_eq!((error.code, error.event), (ErrorCode::PANICKED, 0));
    assert!(error.message.contains("as the event asked"), "{}", error.message);
}

// Goal: one event that panics or does not decode is left out whole and reported; its neighbours go on.
#[test]
fn maps_around_failures() {
    let data =
        [r#"{"place":"a","pieces":2}"#, r#"{"place":"b","pieces":13}"#, "{", r#"{"place":"c","pieces":3}"#];
    let wire = data.map(|data| EventRef {
        key: EventKey::default(),
        type_number: 7,
        version: 3,
        data: data.as_bytes().into(),
    });
    let (bench, mut out) = (Bench::of(instance()), Emitted::default());
    for _ in 0..2 {
        let mapped =
            with_call(false, |call| bench.instance().map(call, 0, RSlice::from_slice(&wire), &mut out));
        assert_eq!(mapped, ROk(()));
        let pieces: Vec<(u32, Vec<String>, &[u8])> = out
            .rows
            .iter()
            .map(|row| {
                let piece =
                    |offset: u32, length: u32| &out.bytes[offset as usize..(offset + length) as usize];
                let key = aggregate::decode(piece(row.key_offset, row.key_length)).expect("an encoded key");
                (row.event, key, piece(row.delta_offset, row.delta_length))
            })
            .collect();
        let key = |place: &str, direction: &str| vec![place.to_owned(), direction.to_owned()];
        assert_eq!(
            pieces,
            [
                (0, key("a", "in"), [0, 0, 0, 2].as_slice()),
                (0, key("a", "out"), &[0, 0, 0, 2]),
                (3, key("c", "in"), &[0, 0, 0, 3]),
                (3, key("c", "out"), &[0, 0, 0, 3]),
            ]
        );
        let failures: Vec<_> = out.failures.iter().map(|failure| (failure.event, failure.code)).collect();
        assert_eq!(failures, [(1, ErrorCode::PANICKED), (2, ErrorCode::REFUSED)]);
        assert!(out.failures[0].message.contains("unlucky"), "{}", out.failures[0].message);
    }
}

// Goal: a fold that fails names the event of its run; foreign bytes, indexes and algebras are named errors.
#[test]
fn views_that_fail() {
    let bench = Bench::of(instance());
    let leaf = |delta: &[u8]| (EventKey::default(), delta.to_vec());
    let code = |error: Result<Vec<u8>, abi::PluginError>| {
        let error = error.expect_err("the call fails");
        (error.code, error.event)
    };
    let folded = bench.fold("highest", Some(&[0, 0, 0, 9]), &[leaf(&[0, 0, 0, 8]), leaf(&[0, 0, 0, 10])]);
    assert_eq!(folded, Ok(vec![0, 0, 0, 10]));
    let panics = bench.fold("highest", None, &[leaf(&[0, 0, 0, 8]), leaf(&[0, 0, 0, 99])]);
    assert_eq!(code(panics), (ErrorCode::PANICKED, 1));
    assert_eq!(code(bench.fold("highest", None, &[leaf(&[1])])), (ErrorCode::CORRUPT, 0));
    assert_eq!(code(bench.fold("highest", Some(&[1]), &[leaf(&[0; 4])])), (ErrorCode::CORRUPT, NO_EVENT));
    assert_eq!(bench.merge("highest", &[]), Ok(vec![0; 4]));
    assert_eq!(bench.merge("highest", &[&[0, 0, 0, 1], &[0, 0, 0, 3], &[0, 0, 0, 2]]), Ok(vec![0, 0, 0, 3]));
    assert_eq!(code(bench.merge("newest", &[&[0], &[0]])), (ErrorCode::UNSUPPORTED, NO_EVENT));
    assert_eq!(code(bench.invert("highest", &[0; 4])), (ErrorCode::UNSUPPORTED, NO_EVENT));
    let mut out = RVec::new();
    let none: [DeltaRef<'_>; 0] = [];
    let missing =
        with_call(false, |call| bench.instance().fold(call, 3, RNone, RSlice::from_slice(&none), &mut out));
    assert_eq!(missing.into_result().map_err(|error| error.code), Err(ErrorCode::UNSUPPORTED));
    assert_eq!(bench.render("highest", &["a", "in"], &[0, 0, 0, 7]), Ok("\"7 at a in\"".to_owned()));
    assert_eq!(bench.render("newest", &["a", "in"], &[1, 0, 0, 0, 7]), Ok("7".to_owned()));
    let short = bench.render("highest", &["a"], &[0; 4]).expect_err("the key has another number of parts");
    assert_eq!(short.code, ErrorCode::CORRUPT);
}

// Goal: the bench finds an algebra that is not true, and lets those that are pass.
#[test]
fn laws_are_checked() {
    let bench = Bench::of(instance());
    let events: Vec<_> = (1..5).map(|n| moved(n, 3, &format!(r#"{{"place":"a","pieces":{n}}}"#))).collect();
    assert_eq!(bench.check_laws("highest", &events), Ok(()));
    assert_eq!(bench.check_laws("newest", &events), Ok(()));
    let law = bench.check_laws("liar", &events).expect_err("subtraction does not merge");
    assert!(law.starts_with("liar: the default state merged from the right changes something"), "{law}");
}

// Goal: typed parts of the wrong number are refused with a sentence.
#[test]
fn query_keys() {
    let bench = Bench::of(instance());
    assert_eq!(bench.query_key("highest", &["a", "in"]), Ok(vec!["a".to_owned(), "in".to_owned()]));
    let error = bench.query_key("highest", &["a"]).expect_err("one part of two");
    assert_eq!(error.message.as_str(), "a key here has 2 parts, this one has 1");
}

// Goal: a list of another length than its Keyspace says is not emitted, and not accepted from a user.
#[test]
fn keys_that_are_lists() {
    let event = moved(0, 3, r#"{"place":"c","pieces":1}"#);
    let bench =
        |parts| Bench::of(Instance::builder().schema(Odd).keyspace(Lists(parts)).build().expect("it fits"));
    let runs = bench(3).runs("lists", std::slice::from_ref(&event));
    let keys: Vec<_> = runs.keys().map(|key| aggregate::decode(key).expect("an encoded key")).collect();
    assert_eq!(keys, [["a", "b", "c"]]);
    let (data, mut out) = (event.data.as_slice().into(), Emitted::default());
    let wire = [EventRef { key: event.key, type_number: 7, version: 3, data }];
    let mapped =
        with_call(false, |call| bench(2).instance().map(call, 0, RSlice::from_slice(&wire), &mut out));
    assert_eq!((mapped, out.rows.len(), out.bytes.len()), (ROk(()), 0, 0));
    assert_eq!(out.failures[0].code, ErrorCode::PANICKED);
    let typed = |parts: &[RStr<'_>]| {
        let mut out = RVec::new();
        with_call(false, |call| bench(3).instance().query_key(call, 0, RSlice::from_slice(parts), &mut out))
            .is_ok()
    };
    assert!(typed(&["a", "b", "c"].map(RStr::from_str)));
    assert!(!typed(&["a", "b"].map(RStr::from_str)));
    assert!(!typed(&[]));
}

// Goal: an intake's events and refusals arrive in order; a refused body and an unknown format are errors.
#[test]
fn intakes() {
    let bench = Bench::of(instance());
    let rows = bench.intake("lines", "text/plain", b"a\n\nb").expect("the body is lines");
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.pointer.as_str(),
                row.refused.as_ref().map(RString::as_str).into_option(),
                row.data.as_slice(),
            )
        })
        .collect();
    assert_eq!(seen, [("/0", None, b"a".as_slice()), ("/1", Some("an empty line"), b""), ("/2", None, b"b")]);
    assert_eq!(rows[0].time, RSome(5));
    let code = |format, kind| bench.intake(format, kind, b"").map(|_| ()).map_err(|error| error.code);
    assert_eq!(code("lines", "image/png"), Err(ErrorCode::REFUSED));
    assert_eq!(code("other", "text/plain"), Err(ErrorCode::UNSUPPORTED));
}

/// Answers `scan` from five rows, two a batch.
struct Batches(AtomicU32);

impl ReaderAbi for Batches {
    fn states(
        &self,
        _: RStr<'_>,
        _: RSlice<'_, RVec<u8>>,
        _: ROption<u64>,
        _: ROption<u64>,
        _: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>> {
        ROk(RVec::new())
    }
    fn scan(
        &self,
        view: RStr<'_>,
        prefix: RSlice<'_, u8>,
        after: RSlice<'_, u8>,
        at: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>> {
        assert_eq!((view.as_str(), prefix.as_slice(), at), ("highest", b"p".as_slice(), RSome(77)));
        self.0.fetch_add(1, Relaxed);
        let rows = (1..=5_u32).map(|number| {
            let mut key = Vec::new();
            aggregate::encode([format!("p{number}").as_str(), "in"], &mut key);
            ReaderRow {
                aggregate: key.into(),
                event: EventKey::default(),
                type_number: 0,
                version: 0,
                bytes: number.to_bytes().into(),
            }
        });
        ROk(rows.filter(|row| row.aggregate.as_slice() > after.as_slice()).take(2).collect())
    }
    fn entries(
        &self,
        _: RStr<'_>,
        _: RSlice<'_, u8>,
        _: ROption<EventKey>,
        _: ROption<u64>,
        _: ROption<u64>,
    ) -> PluginResult<RVec<ReaderRow>> {
        ROk(RVec::new())
    }
    fn events(&self, _: RSlice<'_, EventKey>) -> PluginResult<RVec<ReaderRow>> {
        ROk(RVec::new())
    }
}

fn report(cancelled: bool, parameters: &str) -> (Result<Vec<ReportItem>, ErrorCode>, u32) {
    let (bench, reader, mut out) = (Bench::of(instance()), Batches(AtomicU32::new(0)), RVec::new());
    let prefix = [RString::from("p")];
    let query = ReportQuery {
        key: RNone,
        start: RNone,
        prefix: RSlice::from_slice(&prefix),
        limit: 10,
        parameters: parameters.into(),
    };
    let result = with_call(cancelled, |call| {
        let wire = ReaderAbi_TO::from_ptr(RRef::new(&reader), TD_Opaque);
        bench.instance().report(call, 0, &query, &wire, &mut out)
    });
    let result = result.into_result().map(|()| out.into_vec()).map_err(|error| error.code);
    (result, reader.0.load(Relaxed))
}

// Goal: a Report reads batch after batch until an empty one, and stops when it is refused or cancelled.
#[test]
fn reports() {
    let (items, batches) = report(false, r#"{"pieces":3}"#);
    let items: Vec<_> =
        items.expect("the Report answers").into_iter().map(|item| (item.key, item.json)).collect();
    let item = |place: &str, json: &str| {
        let key: RVec<RString> = [place, "in"].map(RString::from).into_iter().collect();
        (key, RVec::from(json.as_bytes().to_vec()))
    };
    assert_eq!(items, [item("p4", "4"), item("p5", "5")]);
    assert_eq!(batches, 4, "2 + 2 + 1 + 0 rows");
    assert_eq!(report(false, "{}").0.err(), Some(ErrorCode::REFUSED));
    let (cancelled, batches) = report(true, r#"{"pieces":3}"#);
    assert_eq!((cancelled.err(), batches), (Some(ErrorCode::CANCELLED), 0));
}
