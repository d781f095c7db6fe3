//! Another generation takes over: what is the same stays, what drifts is refused, what is mended is tried again, and a
//! build can be given up, goes on after a restart, and does not hold queries up.

use super::laws::{World, key};
use super::plugin::{BAD_VALUE, Plugin, VIEWS, adds, fails, voids};
use crate::core::event::EventKey;
use crate::views::{Bounds, Computes, ViewError};
use std::ops::ControlFlow;
use std::sync::Arc;

/// So many events, enough for several leaves and Snapshots.
const EVENTS: u16 = 1500;

fn filled() -> World {
    let mut world = World::new();
    let events: Vec<_> =
        (0..EVENTS).map(|second| (key(second, 0), adds((second % 9) as u8, &[0, 1]))).collect();
    for batch in events.chunks(100) {
        world.arrive(batch);
    }
    world.arrive(&[(key(EVENTS, 0), voids(key(7, 0)))]);
    world
}

fn plugins(plugin: Plugin) -> Arc<dyn Computes> {
    Arc::new(plugin)
}

fn prepare(world: &World, plugin: Plugin) -> (Result<(), ViewError>, Vec<(u64, u64)>) {
    let mut heard = Vec::new();
    let outcome = world.views().prepare(&plugins(plugin), &mut |done, of| {
        heard.push((done, of));
        ControlFlow::Continue(())
    });
    (outcome, heard)
}

fn ask_all(world: &World) {
    for view in 0..VIEWS.len() {
        world.check(view, 0, super::model::Question::default());
    }
}

// Goal: code that gives the same results under the same revision takes over at once, whatever its bytes are; nothing
// is mapped again. Method: prepare it and hear of no progress; ask it.
#[test]
fn the_same_revision_keeps_its_tables() {
    let mut world = filled();
    ask_all(&world);
    let rebuilt = Plugin { mended: true, ..Plugin::default() };
    let (outcome, heard) = prepare(&world, rebuilt);
    outcome.expect("nothing differs");
    assert_eq!(heard, [], "there was nothing to build");
    world.serve(rebuilt);
    ask_all(&world);
}

// Goal: other results under the same revision are refused, with the view, the event and both results, whichever hook
// gives them; the code before goes on serving. With another revision they are taken.
#[test]
fn drift_is_refused() {
    let mut world = filled();
    ask_all(&world);
    world.flush();
    let hooks = [(1, "map"), (2, "fold"), (3, "render"), (4, "retracts")];
    for (slip, hook) in hooks {
        let drifted = Plugin { slip, ..Plugin::default() };
        let drift = match prepare(&world, drifted).0 {
            Err(ViewError::Drift(drift)) => drift,
            other => panic!("{hook}: {other:?}"),
        };
        assert_eq!(drift.hook, hook);
        assert!(drift.event.is_some() && !drift.views.is_empty() && drift.before != drift.now, "{drift:?}");
        assert_eq!(drift.key.is_empty(), hook == "retracts", "{drift}");
        ask_all(&world);
    }
    let (outcome, heard) = prepare(&world, Plugin { slip: 1, revision: 1, ..Plugin::default() });
    outcome.expect("another revision may give other results");
    let all = u64::from(EVENTS) + 1;
    assert_eq!(heard.last(), Some(&(all, all)));
    world.serve(Plugin { mended: true, ..Plugin::default() });
    ask_all(&world);
}

// Goal: what is found at a start and does not hold any more is built again, and says so; what holds is kept.
#[test]
fn drift_at_a_start_is_built_again() {
    for slip in [1, 2] {
        let mut world = filled();
        ask_all(&world);
        world.flush();
        world.views = None;
        world.plugins = plugins(Plugin { slip, ..Plugin::default() });
        world.open();
        world.flush();
        let warnings = world.views().warnings();
        assert!(warnings.values().any(|text| text.contains("built again")), "{slip}: {warnings:?}");
        let answer = sum(&world);
        world.views = None;
        std::fs::remove_dir_all(world.folder.path().join("derived")).expect("there");
        world.open();
        assert_eq!(sum(&world), answer, "the answer is that of rows built by this code");
        assert!(world.views().warnings().is_empty());
    }
}

fn sum(world: &World) -> String {
    let answer = world.views().one(&world.plugins, "sum", &["a0".to_owned()], &Bounds::default());
    answer.expect("no failure").expect("there are events").value.get().to_owned()
}

// Goal: mended code under the same revision picks up what `map` or `fold` could not take, in memory or stored.
#[test]
fn mended_code_takes_what_was_set_aside() {
    for flushed in [false, true] {
        let mut world = filled();
        let bad = [(key(30, 1), fails()), (key(31, 1), adds(BAD_VALUE, &[0, 1])), (key(32, 1), fails())];
        world.arrive(&bad);
        ask_all(&world);
        if flushed {
            world.flush();
            ask_all(&world);
        }
        let mended = Plugin { mended: true, ..Plugin::default() };
        prepare(&world, mended).0.expect("what failed before may be done now");
        world.serve(mended);
        ask_all(&world);
        world.flush();
        ask_all(&world);
    }
}

// Goal: a build that is given up leaves nothing behind and harms nobody; the same build works afterwards.
#[test]
fn a_build_is_cancelled() {
    let mut world = filled();
    ask_all(&world);
    let next = Plugin { revision: 1, ..Plugin::default() };
    let mut calls = 0;
    let outcome = world.views().prepare(&plugins(next), &mut |_, _| {
        calls += 1;
        if calls > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(outcome, Err(ViewError::Cancelled)), "{outcome:?}");
    ask_all(&world);
    world.flush();
    let served = world.views().derived().expect("open").table_names();
    assert!(served.iter().all(|name| !is_of(name, next)), "{served:?}");
    prepare(&world, next).0.expect("it can be built again");
    world.serve(next);
    ask_all(&world);
}

/// Whether a table is of `plugin`'s revision.
fn is_of(table: &str, plugin: Plugin) -> bool {
    let build = crate::views::build::Build::new(&plugins(plugin));
    crate::views::litter::tables_of(&build).iter().any(|revision| table.contains(&revision.to_string()))
}

// Goal: a query does not hang while very many arrivals are missing: it is told how far the index is, and the index is
// built all the same, while events come in.
#[test]
fn a_query_is_told_that_its_view_is_being_built() {
    let mut world = World::new();
    world.views.as_mut().expect("open").behind_max = 100;
    let events: Vec<(EventKey, Vec<u8>)> =
        (0..EVENTS).map(|second| (key(second, 0), adds(1, &[0, 1]))).collect();
    world.arrive(&events);
    let ask =
        |world: &World| world.views().one(&world.plugins, "sum", &["a0".to_owned()], &Bounds::default());
    let mut told = false;
    let answer = loop {
        match ask(&world) {
            Err(ViewError::Building { done, of, .. }) => {
                told = true;
                assert!(done < of && of == u64::from(EVENTS), "{done} of {of}");
            }
            answer => break answer,
        }
    };
    assert!(told || answer.is_ok());
    assert_eq!(answer.expect("built").map(|answer| answer.events), Some(u64::from(EVENTS)));
}
