//! What is put off: events that were set aside, and repairs that take long.

use super::laws::{World, key};
use super::model::Question;
use super::plugin::{BAD_VALUE, Plugin, adds, fails};
use crate::views::deriver::Shared;
use crate::views::indexer::TAILS_BYTES_MAX;
use crate::views::tail::{Segment, Tail};
use std::sync::atomic::Ordering;

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
