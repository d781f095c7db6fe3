//! Stored deltas folded again, with the code that serves and with new code.

use super::{Comparison, Drift, Shared, cut, parts_of, shown, shown_failure, snapshots};
use crate::core::event::EventKey;
use crate::core::tables::Result;
use crate::plugin::{DeltaRef, delta_ref};
use crate::views::bounds::KeyRange;
use crate::views::build::View;
use crate::views::computes::{Computes, Failure};
use crate::views::error::ViewError;
use crate::views::index::entry::{Deltas, NOW};
use crate::views::index::read::{Aggregate, Visitor};
use crate::views::rows::Table;
use crate::views::slot::number_of;
use laterbase_plugin::declare::AlgebraKind;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// So many entries of an aggregate are folded again.
const ENTRIES_MAX: usize = 64;

/// The result of a hook.
type Outcome = std::result::Result<Vec<u8>, Failure>;

/// The first difference in what these aggregates fold to.
pub(super) fn compare(
    comparison: &Comparison<'_>,
    shared: &Shared<'_>,
    aggregates: &BTreeMap<Vec<u8>, EventKey>,
) -> std::result::Result<Option<Drift>, ViewError> {
    let tables = shared.new.tables;
    let views = comparison.new.views.iter().filter(|view| view.keyspace.tables == tables);
    for view in views {
        let serving = comparison.old.map(|old| {
            let same = old.views.iter().find(|old| old.states == view.states);
            same.map(|old_view| (old.plugins.as_ref(), old_view))
        });
        let drift = match serving {
            // Another revision: its results may differ.
            Some(None) => None,
            Some(Some(old)) => with_code(comparison, shared, (view, old), aggregates)?,
            None => snapshots::compare(comparison, shared, view, aggregates)?,
        };
        if drift.is_some() {
            return Ok(drift);
        }
    }
    Ok(None)
}

fn open<'c>(comparison: &Comparison<'c>, shared: &Shared<'_>, aggregate: &[u8]) -> Result<Aggregate<'c>> {
    let id = number_of(comparison.rows, shared.new, aggregate)?;
    let tail = shared.tail.of(aggregate, shared.position.cursor.arrival);
    Aggregate::open(comparison.rows, Table::Index(shared.new.tables), id, tail, NOW)
}

fn with_code(
    comparison: &Comparison<'_>,
    shared: &Shared<'_>,
    (view, (old, old_view)): (&View, (&dyn Computes, &View)),
    aggregates: &BTreeMap<Vec<u8>, EventKey>,
) -> Result<Option<Drift>> {
    let (before, now) = (Hooks(old, old_view), Hooks(comparison.new.plugins.as_ref(), view));
    for (aggregate, event) in aggregates {
        let opened = open(comparison, shared, aggregate)?;
        let (first, around) =
            (run(&opened, KeyRange::ALL)?, run(&opened, KeyRange { from: *event, until: None })?);
        let difference = differ(&before, &now, aggregate, (&first, &around));
        if let Some((hook, before, now)) = difference {
            let event = around.last().or(first.last()).map(|(event, _)| *event);
            let drift = of_view(shared, view);
            return Ok(Some(Drift { hook, key: parts_of(aggregate), event, before, now, ..drift }));
        }
    }
    Ok(None)
}

pub(super) fn of_view(shared: &Shared<'_>, view: &View) -> Drift {
    Drift {
        keyspace: shared.new.name.clone(),
        views: vec![view.info.name.clone()],
        hook: "fold",
        key: Vec::new(),
        event: None,
        before: String::new(),
        now: String::new(),
        tables: vec![view.states],
    }
}

/// One View's hooks in one piece of code.
pub(super) struct Hooks<'h>(pub(super) &'h dyn Computes, pub(super) &'h View);

/// Deltas in key order, each with its event.
type Run = Vec<(EventKey, Vec<u8>)>;

impl Hooks<'_> {
    fn fold(&self, state: Option<&[u8]>, run: &Run) -> Outcome {
        let run: Vec<DeltaRef<'_>> = run.iter().map(|(event, delta)| delta_ref(*event, delta)).collect();
        self.0.fold(self.1.position, state, &run).map_err(|failed| failed.failure)
    }

    fn render(&self, aggregate: &[u8], state: &[u8]) -> Outcome {
        self.0.render(self.1.position, aggregate, state)
    }

    /// A state as it is answered, or its bytes.
    pub(super) fn show(&self, aggregate: &[u8], outcome: &Outcome) -> String {
        match outcome {
            Ok(state) => match self.render(aggregate, state) {
                Ok(json) => cut(&String::from_utf8_lossy(&json)),
                Err(_) => shown(state),
            },
            Err(failure) => shown_failure(failure),
        }
    }
}

/// The first hook that gives something else, and both results as people see them.
fn differ(
    before: &Hooks<'_>,
    now: &Hooks<'_>,
    aggregate: &[u8],
    (first, around): (&Run, &Run),
) -> Option<(&'static str, String, String)> {
    let state = |hook, one: &Outcome, other: &Outcome| {
        let (mut one_shown, mut other_shown) = (before.show(aggregate, one), now.show(aggregate, other));
        if let (true, Ok(one), Ok(other)) = (one_shown == other_shown, one, other) {
            (one_shown, other_shown) = (shown(one), shown(other));
        }
        (hook, one_shown, other_shown)
    };
    // Code that failed and now does something is mended.
    let has_drifted = |one: &Outcome, other: &Outcome| one.is_ok() && one != other;
    let mut folded = Vec::new();
    for (from, run) in [(None, first), (None, around), (Some(0), around)] {
        let from: Option<Vec<u8>> = from.and_then(|at: usize| folded.get(at).cloned());
        let (one, other) = (before.fold(from.as_deref(), run), now.fold(from.as_deref(), run));
        if has_drifted(&one, &other) {
            return Some(state("fold", &one, &other));
        }
        folded.extend(one);
    }
    let borrowed: Vec<&[u8]> = folded.iter().map(Vec::as_slice).collect();
    let (algebra, position) = (now.1.info.algebra, |hooks: &Hooks<'_>| hooks.1.position);
    if algebra != AlgebraKind::Ordered {
        let one = before.0.merge(position(before), &borrowed);
        let other = now.0.merge(position(now), &borrowed);
        if has_drifted(&one, &other) {
            return Some(state("merge", &one, &other));
        }
    }
    let least = borrowed.first()?;
    if algebra == AlgebraKind::Group {
        let (one, other) = (before.0.invert(position(before), least), now.0.invert(position(now), least));
        if has_drifted(&one, &other) {
            return Some(state("invert", &one, &other));
        }
    }
    let (one, other) = (before.render(aggregate, least), now.render(aggregate, least));
    let json = |outcome: &Outcome| match outcome {
        Ok(json) => cut(&String::from_utf8_lossy(json)),
        Err(failure) => shown_failure(failure),
    };
    has_drifted(&one, &other).then(|| ("render", json(&one), json(&other)))
}

/// The first deltas that count in `range`.
fn run(opened: &Aggregate<'_>, range: KeyRange) -> Result<Run> {
    struct First(Run);
    impl Visitor for First {
        fn entry(&mut self, event: EventKey, deltas: Option<Deltas<'_>>) -> ControlFlow<()> {
            let own = deltas.into_iter().flatten().map(|delta| (event, delta.to_vec()));
            self.0.extend(own);
            if self.0.len() >= ENTRIES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    let mut first = First(Vec::new());
    opened.walk(&range, &mut first)?;
    Ok(first.0)
}
