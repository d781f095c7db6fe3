//! Live readers that are cut again and again: every event once, in the promised order.

use super::model::{Fact, Names, ROOT, key, knowing, origin};
use crate::core::event::*;
use crate::core::gset::{self, Body, Candidate, Incoming, Look};
use crate::core::knowledge::vv_of_dots;
use crate::core::tables::Tables;
use crate::feed::{Query, Reader, Recent, Taken, Told, page};
use crate::store::{MemoryStore, Store};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Who admits (0: this replica), when, under which tail, which of a few values.
type Step = (u8, i64, u8, u8);

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0..4_u8, 0..9_i64, 0..2_u8, 0..6_u8), 0..most)
}

/// A replica that admits and merges.
struct World {
    store: MemoryStore,
    lasts: BTreeMap<u8, u64>,
}

impl World {
    fn new(steps: &[Step]) -> Self {
        let mut world = Self { store: MemoryStore::new(origin(9)), lasts: BTreeMap::new() };
        world.steps(steps);
        world
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(*step);
        }
    }

    fn step(&mut self, (n, ms, tail, v): Step) {
        // Mostly the value follows from the key, so that a second dot names the same event; sometimes it clashes.
        let data = if v == 0 { "0" } else { "1" };
        let value = Value { type_number: 1 + u32::from(v == 0), version: 1, data: data.as_bytes() };
        let key = key(ms, tail);
        let last = self.lasts.entry(n).or_default();
        let done = self.store.commit(&mut |tables| {
            let candidate = Candidate::new(key, value);
            if n > 0 {
                let dot = Dot { origin: origin(n), seq: Seq(*last + 1) };
                gset::merge(tables, Incoming { dot, key, body: Body::Whole(value) }, 1)?;
            } else if gset::look(tables, candidate, false)? == Look::New {
                gset::admit(tables, candidate, 1)?;
            }
            Ok(())
        });
        done.expect("memory commits");
        *last += 1;
    }

    fn tables(&self) -> Box<dyn Tables + '_> {
        self.store.read().expect("memory reads")
    }

    fn begin(&self, vv: &str, id: Option<&str>) -> (Reader, Told) {
        let (reader, is_ours, head) =
            Reader::begin(self.tables().as_ref(), &knowing(vv, 1), &Names, id).expect("a reader");
        assert!(is_ours, "{id:?}");
        (reader, head)
    }

    /// The arrivals in order, each with whether `known` names it.
    fn arrived(&self, known: &[Dot]) -> Vec<(Fact, bool)> {
        let (tables, mut arrived) = (self.tables(), Vec::new());
        let all = tables.arrivals(Arrival(1), &mut |_, row| {
            let event = tables.find(row.key, row.hash).expect("memory reads").expect("it arrived");
            arrived.push(((row.key, row.hash), event.dots.iter().any(|dot| known.contains(dot))));
            ControlFlow::Continue(())
        });
        all.expect("memory reads");
        arrived
    }
}

/// A frame as a client reads it.
#[derive(Debug)]
struct Frame {
    event: String,
    id: String,
    data: serde_json::Value,
}

impl Frame {
    fn fact(&self) -> Fact {
        let key: EventKey = self.data["key"].as_str().expect("a key").parse().expect("a key");
        let type_number = u32::try_from(self.data["type"].as_u64().expect("a number")).expect("a type");
        let data = self.data["data"].to_string();
        (key, Value { type_number, version: 1, data: data.as_bytes() }.hash(key))
    }
}

fn read(frames: &[u8]) -> Vec<Frame> {
    let text = std::str::from_utf8(frames).expect("UTF-8");
    let frames = text.split_terminator("\n\n");
    let read = |frame: &str| {
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        let data = serde_json::from_str(field("data: ")).expect("JSON");
        Frame { event: field("event: ").to_owned(), id: field("id: ").to_owned(), data }
    };
    frames.map(read).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    // The promise of the live feed. A reader that knows some dots is cut behind any frame, while events are admitted
    // and merged, back-dated, twice or against each other; it comes back with the id of its last frame. It must get
    // what it lacked at its first begin, by key, each once, and then the arrivals behind that in their order. With the
    // vv that it is given in the end nothing is left.
    #[test]
    fn cut_readers_get_every_event_once(
        first in steps(30),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), steps(8)), 0..6),
        known in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut world = World::new(&first);
        let knowledge = world.tables().head().expect("memory reads").knowledge.clone();
        let dots: Vec<Dot> = knowledge
            .iter()
            .flat_map(|(origin, last)| (1..=last.0).map(move |seq| Dot { origin, seq: Seq(seq) }))
            .collect();
        let known: Vec<Dot> =
            known.iter().filter(|_| !dots.is_empty()).map(|index| *index.get(&dots)).collect();
        let vv = vv_of_dots(world.tables().as_ref(), &known).expect("held").to_string();

        let (mut reader, mut begin) = world.begin(&vv, None);
        let (mut got, mut last, mut cuts): (Vec<Fact>, Option<String>, _) = (Vec::new(), None, cuts.into_iter());
        let known_now = loop {
            let page = reader.page(world.tables().as_ref(), &Names).expect("a page");
            let mut frames = read(&page.frames);
            let cut = cuts.next();
            if let Some((index, _)) = &cut {
                frames.truncate(index.index(frames.len() + 1));
            }
            let mut vv_now = None;
            for frame in &frames {
                last = Some(frame.id.clone());
                if frame.event == "event" {
                    got.push(frame.fact());
                } else {
                    vv_now = Some(frame.data["vv"].as_str().expect("a vv").to_owned());
                }
            }
            match (cut, vv_now) {
                (Some((_, steps)), _) => {
                    world.steps(&steps);
                    let next = world.begin(&vv, last.as_deref());
                    reader = next.0;
                    if last.is_none() {
                        begin = next.1;
                    }
                }
                (None, Some(vv)) => break vv,
                (None, None) => prop_assert!(!page.is_caught_up),
            }
        };

        let arrived = world.arrived(&known);
        let (walked, followed) = arrived.split_at(usize::try_from(begin.arrival).expect("few"));
        let mut owed: Vec<Fact> = walked.iter().filter(|(_, known)| !known).map(|(fact, _)| *fact).collect();
        owed.sort_unstable();
        let (mut by_key, by_arrival) = { let rest = got.split_off(owed.len().min(got.len())); (got, rest) };
        prop_assert!(by_key.is_sorted_by_key(|(key, _)| *key), "{by_key:?}");
        by_key.sort_unstable();
        prop_assert_eq!(by_key, owed);
        let followed: Vec<Fact> = followed.iter().map(|(fact, _)| *fact).collect();
        prop_assert_eq!(by_arrival, followed);
        let rest = page(world.tables().as_ref(), ROOT, &knowing(&known_now, 100), &Names).expect("a page");
        prop_assert!(rest.is_empty(), "{}", known_now);
    }

    // What readers share are the frames that each would get out of the store; who is too far behind is told so.
    #[test]
    fn shared_frames_are_those_of_the_store(first in steps(20), later in steps(30), type_ in 0..3_u32) {
        let mut world = World::new(&first);
        let types = (type_ > 0).then(|| type_.to_string()).into_iter().collect();
        let query = Query { types, ..Query::default() };
        let begin = || Reader::begin(world.tables().as_ref(), &query, &Names, None).expect("a reader");
        let (mut shares, _, head) = begin();
        let (mut alone, ..) = begin();
        let (mut behind, ..) = begin();
        let mut recent = Recent::new(head);
        for reader in [&mut shares, &mut alone, &mut behind] {
            while !reader.page(world.tables().as_ref(), &Names).expect("a page").is_caught_up {}
        }
        prop_assert_eq!(shares.take(&recent), Taken::Nothing);
        world.steps(&later);
        recent.extend(Recent::read(world.tables().as_ref(), recent.told(), &Names).expect("a page"));
        let mut shared = Vec::new();
        loop {
            match shares.take(&recent) {
                Taken::Frames(frames) => shared.extend(frames.concat()),
                Taken::Nothing => break,
                Taken::Behind => prop_assert!(false, "nothing was dropped"),
            }
        }
        let page = alone.page(world.tables().as_ref(), &Names).expect("a page");
        prop_assert!(page.is_caught_up);
        let end = page.frames.len() - shared.len();
        prop_assert!(page.frames.starts_with(&shared) && page.frames[shared.len()..].starts_with(b"event: caught-up"), "{}", end);
        let newest = Recent::new(recent.told());
        let expected = if recent.told() == head { Taken::Nothing } else { Taken::Behind };
        prop_assert_eq!(behind.take(&newest), expected);
    }
}

// Ids that this replica never wrote are told from its own, and its own from a copy of it that went another way.
#[test]
fn foreign_ids_are_noticed() {
    let steps: Vec<Step> = (0..9).map(|ms| (0, ms, 0, 1)).collect();
    let (world, other) = (World::new(&steps), World::new(&[&steps[..8], &[(0, 8, 1, 1)]].concat()));
    let is_ours = |world: &World, id: &str| {
        Reader::begin(world.tables().as_ref(), &Query::default(), &Names, Some(id)).expect("a reader").1
    };
    let (_, head) = world.begin("", None);
    let (mut reader, _) = world.begin("", None);
    let walked = read(&reader.page(world.tables().as_ref(), &Names).expect("a page").frames);
    let in_walk = walked[3].id.as_str();
    for id in [head.id().as_str(), in_walk, "0.00000000"] {
        assert!(is_ours(&world, id), "{id}");
    }
    assert_eq!([head.id().as_str(), in_walk].map(|id| is_ours(&other, id)), [false, false]);
    let eighth = read(&{
        let (mut reader, _) = world.begin("", Some("0.00000000"));
        reader.page(world.tables().as_ref(), &Names).expect("a page").frames
    })[7]
        .id
        .clone();
    assert!(is_ours(&other, &eighth), "until there both are one");
    let tail = in_walk.rsplit('.').next().expect("a position");
    let strange = [
        "",
        "9",
        "9.",
        "10.00000000",
        "9.00000000",
        "x.00000000",
        "+9.00000000",
        "0.00000001",
        "0.0000000",
        "99999999999999999999.00000000",
        &format!("{}.", head.id()),
        &format!("{}.{}", head.id(), &tail[1..]),
        &format!("{}.{tail}=", head.id()),
        &format!("{}.{tail}.{tail}", head.id()),
        &format!("0{}", head.id()),
    ];
    for id in strange {
        assert!(!is_ours(&world, id), "{id:?}");
    }
}

// What is kept for readers is bounded by its bytes, whoever still lacks it.
#[test]
fn recent_frames_are_bounded() {
    let world = World::new(&[]);
    let data = format!("\"{}\"", "1".repeat(100_000));
    let value = Value { type_number: 1, version: 1, data: data.as_bytes() };
    let (mut slow, head) = world.begin("", None);
    assert!(!slow.page(world.tables().as_ref(), &Names).expect("a page").is_caught_up);
    assert!(slow.page(world.tables().as_ref(), &Names).expect("a page").is_caught_up);
    let mut recent = Recent::new(head);
    for ms in 0..40 {
        let put = world
            .store
            .commit(&mut |tables| gset::admit(tables, Candidate::new(key(ms, 0), value), 1).map(drop));
        put.expect("memory commits");
        recent.extend(Recent::read(world.tables().as_ref(), recent.told(), &Names).expect("a page"));
    }
    assert_eq!(recent.told().arrival, 40);
    assert_eq!(slow.take(&recent), Taken::Behind);
    let mut told = 0;
    loop {
        let page = slow.page(world.tables().as_ref(), &Names).expect("a page");
        assert!(page.frames.len() < 200_000, "a page closes");
        told += read(&page.frames).iter().filter(|frame| frame.event == "event").count();
        if page.is_caught_up {
            break;
        }
    }
    assert_eq!(told, 40);
    assert_eq!(slow.take(&recent), Taken::Nothing);
}
