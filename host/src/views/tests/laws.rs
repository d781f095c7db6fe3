//! Every query form equals a fold of the sorted set: for all four algebras, any order of arrival, duplicates,
//! retractions, clashes, flushes, restarts and reads in between.

use super::model::{Expected, Model, Question};
use super::plugin::{BAD_VALUE, Plugin, ROOT, VIEWS, adds, fails, voids};
use crate::core::event::{Arrival, Dot, EventKey, Origin, Seq, ValidTime, Value};
use crate::core::gset::{self, Body, Incoming};
use crate::store::environment::Environment;
use crate::store::{MemoryStore, Store};
use crate::views::{Answer, Bounds, Computes, Known, PageQuery, ViewError, Views};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// The aggregates of all events.
const AGGREGATES: u8 = 4;

/// A Root with its views, and what they should say.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) store: Arc<MemoryStore>,
    pub(super) views: Option<Views>,
    pub(super) plugin: Plugin,
    pub(super) plugins: Arc<dyn Computes>,
    pub(super) model: Model,
    seq: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let (folder, store) =
            (tempfile::tempdir().expect("a folder"), Arc::new(MemoryStore::new(Origin([7; 8]))));
        let plugin = Plugin::default();
        let plugins: Arc<dyn Computes> = Arc::new(plugin);
        let mut world = Self { folder, store, views: None, plugin, plugins, model: Model::default(), seq: 0 };
        world.open();
        world
    }

    /// Opens the views, closing them first in order.
    pub(super) fn open(&mut self) {
        self.views = None;
        let views = Views::open(self.folder.path(), Arc::clone(&self.store) as Arc<dyn Store>);
        views.adopt(&self.plugins);
        self.views = Some(views);
    }

    /// Opens the views as the last commit left them.
    fn crash(&mut self) {
        let Some(environment) = self.views().environment() else { return };
        let left = left_by(environment, &self.folder.path().join("derived"));
        self.open_on(left);
    }

    /// Opens the views on another derived environment.
    pub(super) fn open_on(&mut self, left: tempfile::TempDir) {
        let derived = self.folder.path().join("derived");
        self.views = None;
        let _there_or_not = std::fs::remove_dir_all(&derived);
        std::fs::rename(left.keep(), derived).expect("both are there");
        self.open();
    }

    /// From now on no repair folds more than this at once.
    pub(super) fn spend_at_most(&mut self, deltas: u64) {
        self.views.as_mut().expect("open").budget = deltas;
    }

    pub(super) fn views(&self) -> &Views {
        self.views.as_ref().expect("open")
    }

    /// Another plugin takes over.
    pub(super) fn serve(&mut self, plugin: Plugin) {
        self.plugin = plugin;
        self.plugins = Arc::new(plugin);
        self.views().adopt(&self.plugins);
    }

    /// Takes events in as another replica's, so that they may clash.
    pub(super) fn arrive(&mut self, events: &[(EventKey, Vec<u8>)]) {
        let wall_ms = 1_000 + self.seq * 10;
        for (key, data) in events {
            if self.model.arrive(*key, data, wall_ms) {
                self.seq += 1;
            }
        }
        let store = Arc::clone(&self.store);
        let first = store.read().expect("reads").head().expect("reads").knowledge.get(Origin([9; 8])).0;
        let mut body = |tables: &mut dyn crate::core::tables::TablesMut| {
            for ((key, data), seq) in events.iter().zip(first + 1..) {
                let value = Value { type_number: 1, version: 1, data };
                let dot = Dot { origin: Origin([9; 8]), seq: Seq(seq) };
                gset::merge(tables, Incoming { dot, key: *key, body: Body::Whole(value) }, wall_ms)?;
            }
            Ok(())
        };
        store.commit(&mut body).expect("memory commits");
        self.views().wake(false);
    }

    /// Writes what is in the tails into the index.
    pub(super) fn flush(&self) {
        self.views().settle().expect("memory commits");
    }

    /// What the views answer.
    pub(super) fn ask(
        &self,
        view: usize,
        typed: &[String],
        question: Question,
        group: Option<u32>,
    ) -> Option<Answer> {
        let bounds = Bounds { group, ..bounds(self, question) };
        let answered = self.views().one(&self.plugins, VIEWS[view], typed, &bounds);
        answered.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn check(&self, view: usize, aggregate: u8, question: Question) {
        let typed = match view {
            5 => vec![format!("p{}", aggregate % 2), format!("a{aggregate}")],
            _ => vec![format!("a{aggregate}")],
        };
        let expected = || self.model.answer(self.plugin, view, aggregate, question);
        let what = format!("{} of {typed:?}", VIEWS[view]);
        let again = || self.views().one_again(&self.plugins, VIEWS[view], &typed);
        let is_plain = question == Question::default();
        if let Some(known) = again().filter(|_| is_plain) {
            self.compare(Some(&known), expected(), question, &format!("{what}, from before"));
        }
        let answer = self.ask(view, &typed, question, None);
        self.compare(answer.as_ref(), expected(), question, &what);
        let lasts = |answer: &Answer| answer.incomplete.is_empty() && answer.stale.is_none();
        if let Some(answer) = answer.filter(|answer| is_plain && lasts(answer)) {
            let known = again().expect("nothing has changed");
            assert_eq!(known.etag(), answer.etag(), "{what}, once more");
        }
    }

    fn compare(&self, answer: Option<&Answer>, expected: Option<Expected>, question: Question, what: &str) {
        assert_eq!(answer.is_some(), expected.is_some(), "{what}: {question:?}");
        let (Some(answer), Some(expected)) = (answer, expected) else { return };
        let (one, two) = expected.state.split_at(8);
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
        let json = format!("[{},{}]", number(one), number(two));
        assert_eq!(answer.value.get(), json, "{what}: {question:?}");
        assert_eq!((answer.events, answer.last), (expected.events, expected.last), "{what}: {question:?}");
        let mut set_aside = self.model.incomplete(self.plugin, question);
        set_aside.extend(expected.faults);
        set_aside.sort();
        let named: Vec<EventKey> = answer.incomplete.iter().map(|aside| aside.key).collect();
        assert_eq!(named, set_aside, "{what}: {question:?}");
    }
}

/// Times of whole seconds, so that a key's time is its millisecond; the model compares keys.
pub(super) fn key(second: u16, tail: u8) -> EventKey {
    EventKey::new(ValidTime(u64::from(second) << 32), [0, 0, 0, 0, 0, 0, 0, tail])
}

fn bounds(world: &World, question: Question) -> Bounds {
    let ms = |key: Option<EventKey>| key.map(|key| key.time().millis());
    let known = question.known.map(|known| {
        let tables = world.store.read().expect("reads");
        let mut dots = std::collections::BTreeMap::new();
        for number in 1..=known as u64 {
            let row = tables.arrival(Arrival(number)).expect("reads").expect("there");
            dots.insert(row.dot.origin, row.dot.seq.0);
        }
        let terms: Vec<String> = dots.iter().map(|(origin, seq)| format!("{origin}:1-{seq}")).collect();
        Known::Vv(terms.join(";"))
    });
    Bounds { from_ms: ms(question.from), to_ms: ms(question.until), known, ..Bounds::default() }
}

/// What a process that is killed now leaves of the derived environment in `derived`: what it has committed.
pub(super) fn left_by(environment: &Environment, derived: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir_in(derived.parent().expect("a folder of a Root")).expect("a folder");
    environment.copy_to(&left.path().join("data.mdb"));
    std::fs::copy(derived.join("opened"), left.path().join("opened")).expect("there");
    left
}

/// What is done next.
#[derive(Clone, Debug)]
enum Step {
    Arrive(Vec<(EventKey, Vec<u8>)>),
    /// Views, aggregates and bounds to ask.
    Ask(Vec<(usize, u8, u16, u16, u8)>),
    Walk(usize, usize),
    Group(u8),
    Flush,
    Restart,
    /// The process dies, whatever is under way.
    Crash,
    Wipe,
}

fn event() -> impl Strategy<Value = (EventKey, Vec<u8>)> {
    let key = (0_u16..400, 0_u8..3).prop_map(|(second, tail)| key(second, tail));
    let values = prop_oneof![20 => 0_u8..9, 1 => Just(BAD_VALUE)];
    let data = prop_oneof![
        30 => (values, vec(0..AGGREGATES, 0..3)).prop_map(|(value, aggregates)| adds(value, &aggregates)),
        5 => (0_u16..400, 0_u8..3).prop_map(|(second, tail)| voids(self::key(second, tail))),
        1 => Just(fails()),
    ];
    (key, data)
}

fn step() -> impl Strategy<Value = Step> {
    let bound = || prop_oneof![Just(u16::MAX), 0_u16..420];
    let asked = (0..VIEWS.len(), 0..AGGREGATES, bound(), bound(), any::<u8>());
    prop_oneof![
        6 => vec(event(), 1..60).prop_map(Step::Arrive),
        6 => vec(asked, 1..6).prop_map(Step::Ask),
        1 => (0..VIEWS.len(), 1_usize..4).prop_map(|(view, limit)| Step::Walk(view, limit)),
        1 => any::<u8>().prop_map(Step::Group),
        3 => Just(Step::Flush),
        1 => Just(Step::Restart),
        2 => Just(Step::Crash),
        1 => Just(Step::Wipe),
    ]
}

fn question(world: &World, view: usize, from: u16, until: u16, known: u8) -> Question {
    let bound = |second: u16| (second != u16::MAX).then(|| key(second, 0));
    let is_ordered = matches!(view, 3 | 4);
    let arrivals = world.model.arrivals.len();
    Question {
        from: if is_ordered { None } else { bound(from) },
        until: if is_ordered { None } else { bound(until) },
        known: (known.is_multiple_of(3) && arrivals > 0).then(|| usize::from(known) * arrivals / 255),
    }
}

fn act(world: &mut World, step: &Step) {
    match step {
        Step::Arrive(events) => world.arrive(events),
        Step::Ask(asked) => {
            for (view, aggregate, from, until, known) in asked {
                let question = question(world, *view, *from, *until, *known);
                if question.known.is_none_or(|known| is_walled(world, known)) {
                    world.check(*view, *aggregate, question);
                }
                if *until != u16::MAX {
                    check_at(world, *view, *aggregate, *until);
                }
            }
        }
        Step::Walk(view, limit) => walk(world, *view, *limit),
        Step::Group(known) => group(world, *known),
        Step::Flush => world.flush(),
        Step::Restart => world.open(),
        Step::Crash => world.crash(),
        Step::Wipe => {
            world.views = None;
            let _there_or_not = std::fs::remove_dir_all(world.folder.path().join("derived"));
            world.open();
        }
    }
}

/// Arrivals of one commit are known together: only between commits is there a vv.
fn is_walled(world: &World, known: usize) -> bool {
    known > 0 && known <= world.model.arrivals.len()
}

/// `at` is answered by every algebra.
fn check_at(world: &World, view: usize, aggregate: u8, second: u16) {
    let typed = match view {
        5 => vec![format!("p{}", aggregate % 2), format!("a{aggregate}")],
        _ => vec![format!("a{aggregate}")],
    };
    let question = Question { until: Some(key(second, 0)), ..Question::default() };
    let at_ms = Some(i64::from(second) * 1000 - 1);
    let answered =
        world.views().one(&world.plugins, VIEWS[view], &typed, &Bounds { at_ms, ..Bounds::default() });
    let answer = answered.unwrap_or_else(|error| panic!("{error}"));
    let expected = world.model.answer(world.plugin, view, aggregate, question);
    world.compare(answer.as_ref(), expected, question, &format!("{} at {second}", VIEWS[view]));
}

/// A walk shows every aggregate that counts, once, as of its first page.
fn walk(world: &mut World, view: usize, limit: usize) {
    let mut query = PageQuery { view: VIEWS[view].to_owned(), limit, ..PageQuery::default() };
    let expected: Vec<String> = (0..AGGREGATES)
        .filter_map(|aggregate| {
            Some((aggregate, world.model.answer(world.plugin, view, aggregate, Question::default())?))
        })
        .map(|(aggregate, expected)| {
            let (one, two) = expected.state.split_at(8);
            let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
            let name =
                if view == 5 { format!("p{} a{aggregate}", aggregate % 2) } else { format!("a{aggregate}") };
            format!("{name} [{},{}]", number(one), number(two))
        })
        .collect();
    let mut shown = Vec::new();
    for second in 0.. {
        let page = world.views().page(&world.plugins, &query).unwrap_or_else(|error| panic!("{error}"));
        shown.extend(page.items.iter().map(|item| format!("{} {}", item.key.join(" "), item.value.get())));
        let Some(cursor) = page.cursor else { break };
        query.cursor = Some(cursor);
        // What comes in between does not show.
        world.arrive(&[(key(second, 2), adds(3, &[0, 1, 2, 3]))]);
    }
    let mut expected = expected;
    expected.sort();
    assert_eq!(shown, expected);
}

/// Groups merge over the first part of the key.
fn group(world: &World, part: u8) {
    let part = part % 2;
    let answer = world.ask(5, &[format!("p{part}")], Question::default(), Some(1));
    let expected = world.model.merged(world.plugin, 5, &|other| other % 2 == part, Question::default());
    assert_eq!(answer.is_some(), expected.is_some());
    if let (Some(answer), Some(expected)) = (answer, expected) {
        assert_eq!((answer.events, answer.last), (expected.events, expected.last));
        assert!(
            answer
                .value
                .get()
                .starts_with(&format!("[{},", u64::from_be_bytes(expected.state[..8].try_into().unwrap())))
        );
    }
}

/// How many histories are tried; `PROPTEST_CASES` sets another number.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 60, ..ProptestConfig::default() })]

    // Goal: the engine's answers are the plain meaning. Method: random histories with large and small aggregates.
    #[test]
    fn every_answer_is_a_fold_of_the_sorted_events(steps in vec(step(), 1..24)) {
        let mut world = World::new();
        for step in &steps {
            act(&mut world, step);
        }
        for view in 0..VIEWS.len() {
            for aggregate in 0..AGGREGATES {
                world.check(view, aggregate, Question::default());
            }
        }
    }
}

/// Goal: a version vector that was never held, one of a walk with filters, and a time before everything are refused.
#[test]
fn what_was_never_known_is_refused() {
    let mut world = World::new();
    world.arrive(&[(key(1, 0), adds(1, &[0]))]);
    world.arrive(&[(key(2, 0), adds(1, &[0]))]);
    let ask = |known| {
        let bounds = Bounds { known: Some(known), ..Bounds::default() };
        world.views().one(&world.plugins, "sum", &["a0".to_owned()], &bounds)
    };
    let origin = Origin([9; 8]);
    let never = ["1-3", "2", "1-2~00000000"].map(|seqs| Known::Vv(format!("{origin}:{seqs}")));
    for known in never.into_iter().chain([Known::Vv(format!("{}:1", Origin([1; 8])))]) {
        assert!(matches!(ask(known.clone()), Err(ViewError::KnownNeverHeld)), "{known:?}");
    }
    assert!(matches!(ask(Known::Vv("x".to_owned())), Err(ViewError::BadVv(_))));
    assert!(matches!(ask(Known::Vv(format!("@00000000;{origin}:1"))), Err(ViewError::VvScope)));
    assert!(matches!(ask(Known::At(0)), Err(ViewError::KnownTooEarly { first_ms: Some(1_000) })));
    assert_eq!(ask(Known::At(1_009)).expect("known").expect("there").events, 1);
    assert_eq!(ask(Known::At(i64::MAX)).expect("known").expect("there").events, 2);
    assert!(ask(Known::Vv(String::new())).expect("knows nothing").is_none());
    let _ = ROOT;
}
