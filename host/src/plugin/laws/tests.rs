//! A plugin that keeps its promises passes; each lie is found by the law that it breaks, with the fewest events.

use super::*;
use crate::plugin::instance::Identity;
use laterbase_plugin::abi::InstanceAbi_TO;
use laterbase_plugin::abi_stable::erased_types::TD_Opaque;
use laterbase_plugin::{
    Associative, Canonical, CodecError, Commutative, DeclaredType, Emit, Event as ReadEvent, EventKey,
    EventType, Group, Invert, Keyspace, Merge, RawEvent, Refusal, Schema, View, event_types,
};
use serde::Deserialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, ThreadId};

/// Which promise the plugin breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    Admit,
    Retracts,
    Upcast,
    Map,
    MapBatch,
    MapPanic,
    QueryKey,
    Fold,
    FoldPanic,
    Render,
    Halves,
    Associative,
    Identity,
    Commutative,
    Shuffled,
    Inverse,
    Removal,
    Codec,
    DeltaCodec,
    Bound,
    Zebra,
    MapThread,
    QueryKeyThread,
    FoldThread,
    RenderThread,
    MergeThread,
    InvertThread,
}

#[derive(Deserialize, EventType)]
#[event(number = 1, name = "add", version = 2)]
struct Add {
    item: String,
    n: i64,
}

/// Counts its calls and looks at its thread, which no honest plugin does.
struct Liar(Lie, AtomicI64, ThreadId);

impl Liar {
    fn new(lie: Lie) -> Self {
        Self(lie, AtomicI64::new(0), thread::current().id())
    }

    fn lies(&self, lie: Lie) -> bool {
        self.0 == lie
    }

    /// The number of this call if the lie is `lie`, else 0.
    fn call(&self, lie: Lie) -> i64 {
        if self.0 == lie { self.1.fetch_add(1, Ordering::Relaxed) } else { 0 }
    }

    /// 1 on another thread than that of the start if the lie is `lie`, else 0.
    fn elsewhere(&self, lie: Lie) -> i64 {
        i64::from(self.0 == lie && thread::current().id() != self.2)
    }
}

struct Adds(Liar);

impl Schema for Adds {
    const NAME: &'static str = "adds";
    const RETRACTS: bool = true;

    fn types(&self) -> Vec<DeclaredType> {
        event_types![Add]
    }

    fn admit(&self, _: &RawEvent<'_>) -> Result<(), Refusal> {
        if self.0.call(Lie::Admit) % 7 == 3 { Err(Refusal::new("the seventh")) } else { Ok(()) }
    }

    fn upcast(&self, event: &RawEvent<'_>) -> Result<Vec<u8>, Refusal> {
        let mut data = event.data.to_vec();
        data.extend((0..self.0.call(Lie::Upcast) % 3).map(|_| b' '));
        Ok(data)
    }

    fn retracts(&self, event: &RawEvent<'_>) -> Vec<EventKey> {
        vec![event.key; usize::from(self.0.call(Lie::Retracts) == 5)]
    }
}

struct ByItem(Liar, Mutex<(EventKey, i64)>);

impl ByItem {
    /// The number of the event that came last, if it was an earlier one: a plugin that hopes for key order.
    fn before(&self, key: EventKey, n: i64) -> i64 {
        let mut last = self.1.lock().expect("no holder panics");
        let before = if last.0 < key { last.1 } else { 0 };
        *last = (key, n);
        before
    }
}

/// A delta whose hand-written codec may forget something.
struct Delta {
    n: i64,
    is_lossy: bool,
}

impl Canonical for Delta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.n.encode(out);
        self.is_lossy.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let (n, is_lossy) = <(i64, bool)>::decode(input)?;
        Ok(Self { n: if is_lossy { n | 1 } else { n }, is_lossy })
    }
}

impl Keyspace for ByItem {
    type Event = Add;
    type Key = (String, String);
    type Delta = Delta;

    fn map(&self, event: &ReadEvent<Add>, out: &mut Emit<Self>) {
        let is_lossy = self.0.lies(Lie::DeltaCodec);
        let n =
            event.data.n.wrapping_add(self.0.call(Lie::Map)).wrapping_add(self.0.elsewhere(Lie::MapThread));
        assert!(!self.0.lies(Lie::MapPanic) || n != 7, "unlucky");
        let before = if self.0.lies(Lie::MapBatch) { self.before(event.key, n) } else { 0 };
        out.emit((&event.data.item, "all"), Delta { n: n.wrapping_add(before), is_lossy });
    }

    fn query_key(&self, typed: &[&str]) -> Result<(String, String), Refusal> {
        let calls = self.0.call(Lie::QueryKey) + self.0.elsewhere(Lie::QueryKeyThread);
        let [item, all] = typed else { return Err(Refusal::new("two parts")) };
        Ok(((*item).to_owned(), if calls % 2 == 0 { (*all).to_owned() } else { "other".to_owned() }))
    }
}

/// A sum with what lies need besides.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
struct Sum {
    n: i64,
    count: i64,
    text: String,
}

impl Canonical for Sum {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.n, self.count).encode(out);
        self.text.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let (n, count) = <(i64, i64)>::decode(input)?;
        let text = String::decode(input)?;
        // The lie: what was stored is not what comes back.
        let count = if text == "codec" { count.min(2) } else { count };
        Ok(Self { n, count, text })
    }
}

struct Total(Liar);

impl View for Total {
    const NAME: &'static str = "total";
    type Over = ByItem;
    type State = Sum;
    type Algebra = Group;

    fn fold(&self, state: &mut Sum, _: EventKey, delta: Delta) {
        let n = delta.n;
        assert!(!self.0.lies(Lie::FoldPanic) || n != 7, "unlucky");
        let lie = self.0.call(Lie::Fold) + self.0.elsewhere(Lie::FoldThread);
        state.n = state.n.wrapping_add(n).wrapping_add(lie);
        state.count += 1;
        if self.0.lies(Lie::Codec) {
            state.text = "codec".to_owned();
        }
        if self.0.lies(Lie::Bound) {
            state.text.push_str(&"x".repeat(4000));
        }
        if self.0.lies(Lie::Shuffled) {
            state.n = n;
        }
    }

    fn render(&self, _: &(String, String), state: &Sum) -> impl serde::Serialize {
        (state.n, state.count, self.0.call(Lie::Render) + self.0.elsewhere(Lie::RenderThread))
    }
}

impl Merge for Total {
    fn merge(&self, left: &mut Sum, right: Sum) {
        let (a, b) = (left.n, right.n);
        // Of two halves of a long run never true, but of two thirds.
        let is_between = left.count.min(right.count) >= 2 && (9..12).contains(&(left.count + right.count));
        let both = left.count > 0 && right.count > 0;
        let odd = self.0.lies(Lie::Halves) && both
            || self.0.lies(Lie::Associative) && is_between
            || self.0.lies(Lie::Identity) && left.count == 0;
        let is_pair = (left.count, right.count) == (1, 1) && a.wrapping_add(b) == 9_001;
        left.n = if self.0.lies(Lie::Commutative) {
            a.wrapping_add(b.wrapping_mul(2))
        } else if self.0.lies(Lie::Shuffled) {
            // Takes the right one, as if it came last.
            if right.count > 0 { b } else { a }
        } else if self.0.lies(Lie::Zebra) && is_pair {
            0
        } else {
            a.wrapping_add(b).wrapping_add(i64::from(odd))
        };
        left.count += right.count + self.0.elsewhere(Lie::MergeThread);
        left.text.push_str(&right.text);
    }
}

impl Invert for Total {
    fn invert(&self, state: &mut Sum) {
        if !self.0.lies(Lie::Inverse) {
            state.n = state.n.wrapping_neg();
        }
        if self.0.lies(Lie::Removal) && state.count == 1 {
            state.n = state.n.wrapping_add(1);
        }
        state.count = -state.count + self.0.elsewhere(Lie::InvertThread);
    }
}

/// The neighbour, of another algebra each: never lies.
struct Longest;

impl View for Longest {
    const NAME: &'static str = "longest";
    type Over = ByItem;
    type State = Option<i64>;
    type Algebra = Commutative;

    fn fold(&self, state: &mut Option<i64>, _: EventKey, delta: Delta) {
        *state = (*state).max(Some(delta.n));
    }
}

impl Merge for Longest {
    fn merge(&self, left: &mut Option<i64>, right: Option<i64>) {
        *left = (*left).max(right);
    }
}

/// First and last: associative, not commutative.
struct Ends;

impl View for Ends {
    const NAME: &'static str = "ends";
    type Over = ByItem;
    type State = Option<(i64, i64)>;
    type Algebra = Associative;

    fn fold(&self, state: &mut Option<(i64, i64)>, _: EventKey, delta: Delta) {
        *state = Some(((*state).map_or(delta.n, |(first, _)| first), delta.n));
    }
}

impl Merge for Ends {
    fn merge(&self, left: &mut Option<(i64, i64)>, right: Option<(i64, i64)>) {
        *left = match (*left, right) {
            (Some((first, _)), Some((_, last))) => Some((first, last)),
            (one, other) => one.or(other),
        };
    }
}

fn instance(lie: Lie) -> Instance {
    let built = laterbase_plugin::Instance::builder()
        .schema(Adds(Liar::new(lie)))
        .keyspace(ByItem(Liar::new(lie), Mutex::default()))
        .view(Total(Liar::new(lie)))
        .view(Longest)
        .view(Ends)
        .build()
        .expect("it fits together");
    let identity = Identity {
        plugin: "liar".to_owned(),
        version: "1.0.0".to_owned(),
        generation: 1,
        library: [1; 32],
        root: "root".to_owned(),
        config: "{}".to_owned(),
    };
    let declaration = built.declaration().clone();
    Instance::new(identity, declaration, InstanceAbi_TO::from_value(built, TD_Opaque))
}

fn tried(lie: Lie, given: &[Sample]) -> Result<Tried, Box<Broken>> {
    check(&instance(lie), &instance(lie), given, &mut |_| ())
}

fn add(number: u64, item: &str, n: i64) -> Sample {
    let data = format!("{{\"item\":\"{item}\",\"n\":{n}}}").into_bytes();
    let key = EventKey::new(laterbase_plugin::ValidTime(number << 32), [0; 8]);
    Sample { key, type_number: 1, version: 2, data }
}

// Goal: who does not lie passes, on made-up and on given events.
#[test]
fn the_honest_pass() {
    let given: Vec<Sample> = (1..300).map(|number| add(number, "zebra", 4_500)).collect();
    let tried = tried(Lie::None, &given).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(tried.given, 299);
    assert!(tried.made_up > 80 && tried.runs > 20, "{tried:?}");
    assert_eq!(tried.warnings, Vec::<String>::new());
}

// Goal: every lie is found by its law and shown by as few events as can be.
#[test]
fn every_lie_is_found() {
    let lies = [
        (Lie::Admit, Law::Repeatable, "Schema adds", 1),
        (Lie::Retracts, Law::Repeatable, "Schema adds", 1),
        (Lie::Upcast, Law::Repeatable, "Schema adds", 1),
        (Lie::Map, Law::Repeatable, "Keyspace by_item", 1),
        (Lie::MapBatch, Law::Batches, "Keyspace by_item", 2),
        (Lie::MapPanic, Law::Sound, "Keyspace by_item", 1),
        (Lie::QueryKey, Law::Repeatable, "Keyspace by_item", 0),
        (Lie::DeltaCodec, Law::Codec, "Keyspace by_item", 0),
        (Lie::Fold, Law::Repeatable, "View total", 1),
        (Lie::FoldPanic, Law::Sound, "View total", 1),
        (Lie::Render, Law::Repeatable, "View total", 0),
        (Lie::Codec, Law::Codec, "View total", 3),
        (Lie::Bound, Law::Bound, "View total", 17),
        (Lie::Halves, Law::Halves, "View total", 2),
        (Lie::Associative, Law::Associative, "View total", 24),
        (Lie::Identity, Law::Identity, "View total", 0),
        (Lie::Commutative, Law::Identity, "View total", 1),
        (Lie::Shuffled, Law::Commutative, "View total", 2),
        (Lie::Inverse, Law::Inverse, "View total", 1),
        (Lie::Removal, Law::Removal, "View total", 1),
        (Lie::MapThread, Law::Repeatable, "Keyspace by_item", 1),
        (Lie::QueryKeyThread, Law::Repeatable, "Keyspace by_item", 0),
        (Lie::FoldThread, Law::Repeatable, "View total", 1),
        (Lie::RenderThread, Law::Repeatable, "View total", 0),
        (Lie::MergeThread, Law::Repeatable, "View total", 0),
        (Lie::InvertThread, Law::Repeatable, "View total", 0),
    ];
    for (lie, law, part, most) in lies {
        let broken = tried(lie, &[]).expect_err("a lie");
        let found = format!("{} {}", broken.part, broken.name);
        assert_eq!((broken.law, found.as_str()), (law, part), "{lie:?}: {broken}");
        assert!(broken.events_count <= most, "{lie:?}: {broken}");
        assert!(broken.events.iter().all(|event| event.made_up), "{lie:?}");
        assert_ne!(broken.first, broken.second, "{lie:?}: {broken}");
    }
}

// Goal: a lie that no made-up event shows is found on stored ones, and they are named.
#[test]
fn a_lie_about_stored_events_only() {
    assert!(tried(Lie::Zebra, &[]).is_ok(), "made-up numbers are small");
    let mut given: Vec<Sample> = (1..60).map(|number| add(number, "horse", 7)).collect();
    given.extend([add(100, "zebra", 4_500), add(101, "zebra", 4_501)]);
    let broken = tried(Lie::Zebra, &given).expect_err("a lie");
    assert_eq!((broken.law, broken.name.as_str()), (Law::Halves, "total"), "{broken}");
    let keys: Vec<EventKey> = broken.events.iter().map(|event| event.key).collect();
    assert_eq!(keys, [given[59].key, given[60].key], "{broken}");
    assert!(broken.events.iter().all(|event| !event.made_up));
    let text = broken.to_string();
    assert!(text.contains("View total (declared Group) breaks the law `halves`"), "{text}");
    assert!(text.contains("[9001,2,0]") && text.contains("[0,2,0]"), "{text}");
}
