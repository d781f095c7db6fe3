//! What is put off: events that were set aside, and repairs that take long.

use super::laws::{World, key, left_by};
use super::model::Question;
use super::plugin::{BAD_VALUE, Plugin, adds, fails, voids};
use crate::store::Store;
use crate::views::build::Build;
use crate::views::deriver::{Deriver, Order, Shared};
use crate::views::flush;
use crate::views::indexer::TAILS_BYTES_MAX;
use crate::views::tail::{Segment, Tail};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

/// Goal: code that was mended takes up what the code before set aside, under the same revision. Method: events at which
/// `map` and `fold` fail, in a small aggregate and a large one.
#[test]
fn mended_code_takes_up_what_was_set_aside() {
    let mut world = World::new();
    let value = |n: u16| if n.is_multiple_of(90) { BAD_VALUE } else { 3 };
    let events: Vec<_> =
        (0..300).map(|n| (key(n, 0), adds(value(n), if n < 9 { &[0, 1] } else { &[0] }))).collect();
    world.arrive(&events);
    world.arrive(&[(key(500, 0), fails())]);
    world.flush();
    for _ in 0..2 {
        for view in 0..5 {
            world.check(view, 0, Question::default());
            world.check(view, 1, Question::default());
        }
        world.flush();
    }
    let (before, _) = answer(&world, 0);
    assert_eq!(before.len(), 5, "four at which folds fail, and one at which `map` fails");
    world.serve(Plugin { mended: true, ..Plugin::default() });
    world.flush();
    assert!(answer(&world, 0).0.is_empty());
    for view in 0..5 {
        world.check(view, 0, Question::default());
        world.check(view, 1, Question::default());
    }
}

fn answer(world: &World, view: usize) -> (Vec<String>, Option<u64>) {
    let answer = world.ask(view, &["a0".to_owned()], Question::default(), None).expect("there");
    (answer.incomplete.into_iter().map(|aside| aside.reason).collect(), answer.stale)
}

/// Goal: a repair over its budget answers from the last consistent state, says so, and is done in the background.
/// Method: an Ordered View that never forgets, an event at its very start, and a budget of nothing.
#[test]
fn a_long_repair_answers_as_of_before() {
    let mut world = World::new();
    let events: Vec<_> = (1..6_000).map(|n| (key(n, 0), adds((n % 200) as u8, &[0]))).collect();
    world.arrive(&events);
    world.flush();
    world.check(3, 0, Question::default());
    world.flush();
    world.spend_at_most(0);
    world.arrive(&[(key(0, 0), adds(7, &[0]))]);
    world.flush();
    let stale = world.ask(3, &["a0".to_owned()], Question::default(), None).expect("there");
    assert_eq!((stale.stale, stale.events), (Some(5_999), 5_999), "as of the arrival before");
    let known = Question { known: Some(5_999), ..Question::default() };
    assert_eq!(world.ask(3, &["a0".to_owned()], known, None).expect("there").value.get(), stale.value.get());
    world.views().finish_repairs();
    world.flush();
    assert_eq!(answer(&world, 3).1, None);
    world.check(3, 0, Question::default());
}

/// Goal: following comes before writing, but what waits to be written stays within its bound, however far behind a
/// read finds the views. Method: a read behind many times as much.
#[test]
fn what_waits_to_be_written_is_bounded() {
    let mut world = World::new();
    let events: Vec<_> = (0..6_000).map(|n| (key(n, 0), adds((n % 200) as u8, &[0, 1]))).collect();
    world.arrive(&events);
    world.check(0, 0, Question::default());
    let tails = world.views().shared.indexed.tails.load();
    let bytes = |tail: &Tail| tail.both().map(Segment::bytes).sum::<usize>();
    let bytes: usize = tails.values().map(|cell| bytes(&cell.load())).sum();
    assert!(bytes <= 2 * TAILS_BYTES_MAX, "{bytes} bytes");
}

/// Goal: arrivals are gathered while they come in, and left alone if nobody asks.
#[test]
fn what_is_followed_at_once() {
    let shared = Shared::default();
    assert!(!shared.is_due(0, 100_000), "the intake has the machine to itself");
    assert!(shared.is_due(0, 2_000_000), "or the next read would wait for long");
    shared.ask(50_000);
    assert!(shared.is_due(0, 100_000) && shared.is_due(99_000, 100_000));
    assert!(!shared.is_due(99_900, 100_000), "more may come in");
    assert!(!shared.is_due(1_900_000, 2_000_000), "that was long ago");
    shared.rested.store(true, Ordering::Relaxed);
    assert!(shared.is_due(0, 1) && shared.is_due(1_900_000, 2_000_000) && !shared.is_due(1, 1));
}

/// Goal: a flush that cannot be written holds nothing else up, and is not tried over and over. Method: a full disk
/// while much is to be followed; the work is done by hand, so that its end can be seen.
#[test]
fn a_flush_that_fails_holds_nothing_up() {
    let mut world = World::new();
    let events: Vec<_> = (0..700).map(|n| (key(n, 0), adds(1, &[0]))).collect();
    let (before, behind) = events.split_at(100);
    let (folder, shared) = (tempfile::tempdir().expect("a folder"), Arc::new(Shared::default()));
    let store = Arc::clone(&world.store) as Arc<dyn Store>;
    let mut deriver = Deriver::new(folder.path().to_owned(), store, Arc::clone(&shared));
    let (build, (reply, _replies)) = (Arc::new(Build::new(&world.plugins)), channel());
    world.arrive(before);
    shared.rested.store(true, Ordering::Relaxed);
    deriver.take(Order::Adopt(build, reply));
    work_off(&mut deriver);
    world.arrive(behind);
    deriver.take(Order::Wake);
    deriver.take(Order::Flush);
    let opened = shared.indexed.derived.get().expect("it was opened");
    opened.environment().fail_next_commit(std::io::Error::from_raw_os_error(28));
    work_off(&mut deriver);
    let tails = shared.indexed.tails.load();
    assert!(tails.values().all(|cell| cell.load().position() == 700), "all of it was followed");
}

fn work_off(deriver: &mut Deriver) {
    for _ in 0..10_000 {
        if !deriver.has_work() {
            return;
        }
        deriver.work();
    }
    panic!("there is no end of it");
}

/// Goal: a kill in the middle of writing loses nothing, wherever the next flush ends. Method: the work is done by hand
/// up to each piece in turn; others go on with what is left, and with late events and retractions.
#[test]
fn a_kill_between_any_two_pieces_loses_nothing() {
    let events: Vec<_> = (0..150).map(|n| (key(n, 0), adds((n % 9) as u8, &[0, 1]))).collect();
    let late: Vec<_> = (0..30).map(|n| (key(n * 5, 1), adds(4, &[0]))).collect();
    let (mut torn, mut pieces) = (0, 0);
    loop {
        let mut world = World::new();
        let (folder, shared) = (tempfile::tempdir().expect("a folder"), Arc::new(Shared::default()));
        let (dir, store) = (folder.path().join("derived"), Arc::clone(&world.store) as Arc<dyn Store>);
        let mut deriver = Deriver::new(dir.clone(), store, Arc::clone(&shared));
        let (build, (reply, _replies)) = (Arc::new(Build::new(&world.plugins)), channel());
        world.arrive(&events);
        shared.rested.store(true, Ordering::Relaxed);
        deriver.take(Order::Adopt(Arc::clone(&build), reply));
        (0..pieces).for_each(|_| deriver.work());
        if let Some(derived) = shared.indexed.derived.get() {
            let rows = derived.read().expect("it reads");
            let torn_now = |keyspace| {
                let position = flush::position(&rows, keyspace).expect("it reads");
                position.begun.arrival > position.cursor.arrival
            };
            torn += usize::from(build.keyspaces.iter().any(torn_now));
            world.open_on(left_by(derived.environment(), &dir));
        }
        world.check(0, 0, Question::default());
        world.arrive(&late);
        world.arrive(&[(key(200, 0), voids(key(7, 0)))]);
        let known = [None, Some(100), Some(150), Some(180)];
        for (view, known) in (0..5).flat_map(|view| known.map(|known| (view, known))) {
            world.check(view, 0, Question { known, ..Question::default() });
            world.check(view, 1, Question { known, ..Question::default() });
        }
        if !deriver.has_work() {
            break;
        }
        pieces += 1;
    }
    assert!(torn > 5, "{torn} of {pieces} kills were in the middle of a flush");
}
