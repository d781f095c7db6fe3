//! Snapshots computed again: the code that made them may be gone.
//!
//! Of each sampled aggregate one Snapshot is taken that should hold now and is of few enough events: the whole state,
//! or else the largest such one around the sampled event.

use super::states::{Hooks, of_view};
use super::{Comparison, Drift, Shared, parts_of};
use crate::core::event::EventKey;
use crate::core::tables::Result;
use crate::views::bounds::KeyRange;
use crate::views::build::View;
use crate::views::calls::{Calls, State};
use crate::views::error::ViewError;
use crate::views::index::entry::NOW;
use crate::views::index::read::{Aggregate, Node};
use crate::views::index::{Id, LEAST, node_key};
use crate::views::ordered::kept_before;
use crate::views::rows::{Rows, Table};
use crate::views::slot::number_of;
use crate::views::states::{self, Head, read_node};
use crate::views::tree::fold_onto;
use laterbase_plugin::declare::AlgebraKind;
use std::collections::BTreeMap;

/// A Snapshot of so many events at most is computed again.
const EVENTS_MAX: u64 = 4096;
/// It is looked for in so many rows of an aggregate at most.
const NODES_MAX: usize = 256;

/// A kept state that should be what the events in `range` make of `start`.
struct Snapshot {
    start: State,
    range: KeyRange,
    kept: State,
}

/// The first Snapshot of these aggregates that is not what the deltas fold to.
pub(super) fn compare(
    comparison: &Comparison<'_>,
    shared: &Shared<'_>,
    view: &View,
    aggregates: &BTreeMap<Vec<u8>, EventKey>,
) -> std::result::Result<Option<Drift>, ViewError> {
    let rows = comparison.rows;
    for (aggregate, event) in aggregates {
        let Some(id) = number_of(rows, shared.new, aggregate)? else { continue };
        let bare = Aggregate::open(rows, Table::Index(shared.new.tables), Some(id), Vec::new(), NOW)?;
        let Some(Snapshot { start, range, kept }) = around(rows, &bare, (view, id), *event)? else {
            continue;
        };
        if !states::faults(rows, view.states, id)?.is_empty() {
            continue;
        }
        let mut calls = Calls::new(comparison.new.plugins.as_ref(), view);
        let state = fold_onto(start, &bare, &mut calls, &range)?;
        if state != kept {
            let hooks = Hooks(comparison.new.plugins.as_ref(), view);
            let [before, now] =
                [kept, state].map(|state| hooks.show(aggregate, &Ok(state.unwrap_or_default())));
            let (key, event) = (parts_of(aggregate), Some(*event));
            return Ok(Some(Drift { key, event, before, now, ..of_view(shared, view) }));
        }
    }
    Ok(None)
}

fn around(
    rows: &dyn Rows,
    bare: &Aggregate<'_>,
    (view, id): (&View, Id),
    event: EventKey,
) -> Result<Option<Snapshot>> {
    let Some(top) = bare.top() else { return Ok(None) };
    let table = Table::States(view.states);
    let head = Head::read(rows, table, id)?;
    if let Some(head) = head.as_ref().filter(|head| head.version == top.child.version)
        && head.events <= EVENTS_MAX
    {
        let kept = Some(head.state.clone());
        return Ok(Some(Snapshot { start: None, range: KeyRange::ALL, kept }));
    }
    match (view.info.algebra, head) {
        (AlgebraKind::Ordered, None) => Ok(None),
        (AlgebraKind::Ordered, Some(head)) => between(rows, bare, (table, id), &head),
        (AlgebraKind::Associative | AlgebraKind::Commutative | AlgebraKind::Group, _) => {
            in_tree(rows, bare, (table, id), (top, event))
        }
    }
}

/// The state of a row that has one: the highest over `event`, or else another not far from there.
fn in_tree(
    rows: &dyn Rows,
    bare: &Aggregate<'_>,
    (table, id): (Table, Id),
    (top, event): (Node, EventKey),
) -> Result<Option<Snapshot>> {
    let mut waiting = vec![top];
    for _ in 0..NODES_MAX {
        let Some(node) = waiting.pop() else { break };
        let row = rows.get(table, &node_key(id, node.level, node.child.first))?;
        let kept = row.as_deref().map(read_node).transpose()?;
        if let Some((_, state)) = kept.filter(|(version, _)| *version == node.child.version)
            && node.child.live <= EVENTS_MAX
        {
            return Ok(Some(Snapshot { start: None, range: node.range(), kept: Some(state.to_vec()) }));
        }
        if node.level > 0 {
            let mut below = bare.below(&node)?;
            below.sort_by_key(|below| below.range().contains(event));
            waiting.extend(below);
        }
    }
    Ok(None)
}

/// The last checkpoint that still holds, over the one before it.
fn between(
    rows: &dyn Rows,
    bare: &Aggregate<'_>,
    (table, id): (Table, Id),
    head: &Head,
) -> Result<Option<Snapshot>> {
    let changed = bare.changed(head.version, &KeyRange::ALL)?.first().copied();
    let Some((until, kept)) = kept_before(rows, table, id, changed)? else { return Ok(None) };
    let before = kept_before(rows, table, id, Some(until))?;
    let (from, start) = before.unwrap_or((LEAST, None));
    let range = KeyRange { from, until: Some(until) };
    Ok((bare.measure(&range)?.events <= EVENTS_MAX).then_some(Snapshot { start, range, kept }))
}
