//! One aggregate as a reader sees it: its rows in the index, and over them what the tail holds of it.
//!
//! Everything here is about event keys and entries; what deltas mean is the business of [`super::super::tree`] and
//! [`super::super::ordered`].

use super::entry::{Body, Deltas, Entries, NOW};
use super::node::{Child, Root, read_children};
use super::{Id, LEAST, first_of, level_key, node_key, root_key};
use crate::core::event::EventKey;
use crate::core::tables::{Result, TableError};
use crate::views::bounds::KeyRange;
use crate::views::layout::corrupt;
use crate::views::rows::{Rows, Table, last_at_most};
use crate::views::runs::Pending;
use std::ops::ControlFlow;

/// An aggregate at one state of the rows and the tail.
pub(in crate::views) struct Aggregate<'r> {
    rows: &'r dyn Rows,
    table: Table,
    /// Its number; none while only the tail knows of it.
    pub(in crate::views) id: Option<Id>,
    /// Its root row.
    pub(in crate::views) root: Option<Root>,
    /// Its entries in the tail, in key order; they replace those in the rows.
    pub(in crate::views) tail: Vec<Pending>,
    /// Entries count if they do for whoever knows the arrivals up to this.
    pub(in crate::views) known: u64,
}

/// A row of the index, or all of them: its level, what its parent says of it, and where the next one begins.
#[derive(Clone, Copy, Debug)]
pub(in crate::views) struct Node {
    /// 0 for leaves.
    pub(in crate::views) level: u8,
    /// What its parent says of it.
    pub(in crate::views) child: Child,
    /// The first key that is not in it.
    pub(in crate::views) end: Option<EventKey>,
}

/// How many live events a range holds, and the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::views) struct Measure {
    /// How many.
    pub(in crate::views) events: u64,
    /// The last.
    pub(in crate::views) last: Option<EventKey>,
}

/// Sees entries in key order; `Break` ends the walk.
pub(in crate::views) trait Visitor {
    /// A leaf begins at `first`; a small aggregate has none.
    fn leaf(&mut self, first: EventKey) -> ControlFlow<()> {
        let _ = first;
        ControlFlow::Continue(())
    }

    /// An entry, with its deltas if it counts.
    fn entry(&mut self, event: EventKey, deltas: Option<Deltas<'_>>) -> ControlFlow<()>;
}

/// Sees the entries that count.
struct Live<F>(F);

impl<F: FnMut(EventKey)> Visitor for Live<F> {
    fn entry(&mut self, event: EventKey, deltas: Option<Deltas<'_>>) -> ControlFlow<()> {
        if deltas.is_some() {
            (self.0)(event);
        }
        ControlFlow::Continue(())
    }
}

impl Node {
    /// The keys that it holds.
    pub(in crate::views) fn range(&self) -> KeyRange {
        KeyRange { from: self.child.first, until: self.end }
    }
}

impl<'r> Aggregate<'r> {
    /// The aggregate numbered `id` with `tail` over it.
    pub(in crate::views) fn open(
        rows: &'r dyn Rows,
        table: Table,
        id: Option<Id>,
        tail: Vec<Pending>,
        known: u64,
    ) -> Result<Self> {
        let row = id.map(|id| rows.get(table, &root_key(id))).transpose()?.flatten();
        let root = row.map(|row| Root::read(&row)).transpose()?;
        Ok(Self { rows, table, id, root, tail, known })
    }

    /// The row above all others, if the aggregate is large.
    pub(in crate::views) fn top(&self) -> Option<Node> {
        match self.root {
            Some(Root::Large { height, version, live }) => {
                Some(Node { level: height, child: Child { first: LEAST, live, version }, end: None })
            }
            Some(Root::Small { .. }) | None => None,
        }
    }

    /// The rows below an inner row.
    pub(in crate::views) fn below(&self, node: &Node) -> Result<Vec<Node>> {
        let key = node_key(self.number()?, node.level, node.child.first);
        let row = self.rows.get(self.table, &key)?;
        let children =
            read_children(&row.ok_or_else(|| corrupt("index", &key, "a row that is named is missing"))?)?;
        let ends = children.iter().skip(1).map(|next| Some(next.first)).chain([node.end]);
        let level =
            node.level.checked_sub(1).ok_or_else(|| corrupt("index", &key, "a leaf has no rows below"))?;
        Ok(children.iter().zip(ends).map(|(child, end)| Node { level, child: *child, end }).collect())
    }

    /// Whether the row's version and live events are those that `known` sees: nothing in it changed later, and the
    /// tail has nothing to say about it.
    pub(in crate::views) fn is_clean(&self, node: &Node) -> bool {
        node.child.version <= self.known && !self.is_touched(node)
    }

    /// Whether the tail has anything to say about a row.
    fn is_touched(&self, node: &Node) -> bool {
        // Mostly all of it is elsewhere, and siblings are asked about one after the other.
        if self.tail.last().is_none_or(|last| last.event < node.child.first) {
            return false;
        }
        let from = self.tail.partition_point(|pending| pending.event < node.child.first);
        self.tail.get(from).is_some_and(|next| node.end.is_none_or(|end| next.event < end))
    }

    /// The tail's entries in a range.
    fn tail_in(&self, range: &KeyRange) -> &[Pending] {
        let from = self.tail.partition_point(|pending| pending.event < range.from);
        let until = range.until.map_or(self.tail.len(), |end| self.tail.partition_point(|p| p.event < end));
        self.tail.get(from..until.max(from)).unwrap_or_default()
    }

    /// The aggregate's number; every row that is asked for has one.
    pub(in crate::views) fn number(&self) -> Result<Id> {
        self.id.ok_or_else(|| corrupt("index", &[], "an aggregate without a number has rows"))
    }

    /// Shows the entries of `range` in key order.
    pub(in crate::views) fn walk(&self, range: &KeyRange, visitor: &mut dyn Visitor) -> Result<()> {
        let mut overlay = Overlay { tail: self.tail_in(range).iter(), range, known: self.known, visitor };
        match &self.root {
            None => {
                overlay.rest();
            }
            Some(Root::Small { packed, .. }) => {
                if overlay.leaf(packed)?.is_continue() {
                    overlay.rest();
                }
            }
            Some(Root::Large { .. }) => self.walk_leaves(range, &mut overlay)?,
        }
        Ok(())
    }

    fn walk_leaves(&self, range: &KeyRange, overlay: &mut Overlay<'_>) -> Result<()> {
        let id = self.number()?;
        let sought = node_key(id, 0, range.from);
        let start = last_at_most(self.rows, self.table, &sought)?.map(|(key, _)| key);
        let start = start.filter(|key| first_of(key, id, 0).is_some());
        let start = start.ok_or_else(|| corrupt("index", &sought, "no row holds this key"))?;
        let (mut outcome, mut ended) = (Ok(()), false);
        self.rows.scan(self.table, &start, &mut |key, packed| {
            let first = first_of(key, id, 0).filter(|first| range.until.is_none_or(|until| *first < until));
            let Some(first) = first else { return ControlFlow::Break(()) };
            let mut flow = overlay.before(first);
            if flow.is_continue() {
                flow = overlay.visitor.leaf(first);
            }
            if flow.is_continue() {
                flow = overlay.leaf(packed).unwrap_or_else(|error| {
                    outcome = Err(error);
                    ControlFlow::Break(())
                });
            }
            ended |= flow.is_break();
            flow
        })?;
        outcome?;
        if !ended {
            overlay.rest();
        }
        Ok(())
    }

    /// The packed entries of the leaf that begins at `first`.
    pub(in crate::views) fn leaf(&self, first: EventKey) -> Result<Vec<u8>> {
        let key = node_key(self.number()?, 0, first);
        let row = self.rows.get(self.table, &key)?;
        row.ok_or_else(|| corrupt("index", &key, "a row that is named is missing"))
    }

    /// The entry of one event in the rows, without the tail's.
    pub(in crate::views) fn stored(&self, event: EventKey) -> Result<Option<Vec<u8>>> {
        let row = match &self.root {
            None => return Ok(None),
            Some(Root::Small { packed, .. }) => packed.clone(),
            Some(Root::Large { .. }) => {
                let id = self.number()?;
                let found = last_at_most(self.rows, self.table, &node_key(id, 0, event))?;
                let found = found.filter(|(key, _)| key.starts_with(&level_key(id, 0)));
                found.map(|(_, row)| row).unwrap_or_default()
            }
        };
        for entry in Entries::new(&row) {
            let (key, body) = entry.ok_or_else(damaged)?;
            if key == event {
                return Ok(Some(body.bytes().to_vec()));
            }
        }
        Ok(None)
    }

    /// How many live events `range` holds, and the last of them.
    pub(in crate::views) fn measure(&self, range: &KeyRange) -> Result<Measure> {
        let mut measure = Measure::default();
        match self.top() {
            None => self.measure_entries(range, &mut measure)?,
            Some(top) => self.measure_node(&top, range, &mut measure)?,
        }
        Ok(measure)
    }

    /// The measure of everything, where the rows alone measure `measure`; none if only a walk can tell the last event.
    pub(in crate::views) fn measure_over(&self, mut measure: Measure) -> Result<Option<Measure>> {
        for pending in &self.tail {
            let counts = pending.body().live(NOW).is_some();
            let stored = if pending.fresh { None } else { self.stored(pending.event)? };
            if stored.is_some_and(|stored| Body::of(&stored).live(NOW).is_some()) {
                if !counts && measure.last == Some(pending.event) {
                    return Ok(None);
                }
                measure.events -= 1;
            }
            if counts {
                measure.events += 1;
                measure.last = measure.last.max(Some(pending.event));
            }
        }
        Ok(Some(measure))
    }

    fn measure_node(&self, node: &Node, range: &KeyRange, measure: &mut Measure) -> Result<()> {
        let of_node = node.range();
        if !range.overlaps(&of_node) {
            return Ok(());
        }
        if range.covers(&of_node) && self.is_clean(node) {
            measure.events += node.child.live;
            if node.child.live > 0 {
                measure.last = self.last_live(node)?;
            }
            return Ok(());
        }
        if node.level == 0 {
            return self.measure_entries(&range.intersect(&of_node), measure);
        }
        // The last event of a child is wanted only if no later child has one, so the last clean one is looked at last.
        let mut whole = None;
        for below in self.below(node)? {
            if range.covers(&below.range()) && self.is_clean(&below) {
                measure.events += below.child.live;
                whole = if below.child.live > 0 { Some(below) } else { whole };
            } else {
                let before = measure.events;
                self.measure_node(&below, range, measure)?;
                whole = if measure.events > before { None } else { whole };
            }
        }
        if let Some(below) = whole {
            measure.last = self.last_live(&below)?;
        }
        Ok(())
    }

    fn measure_entries(&self, range: &KeyRange, measure: &mut Measure) -> Result<()> {
        let mut count = Live(|event| {
            measure.events += 1;
            measure.last = Some(event);
        });
        self.walk(range, &mut count)
    }

    /// The last live event of a row that the tail does not touch.
    fn last_live(&self, node: &Node) -> Result<Option<EventKey>> {
        if node.level == 0 {
            let mut last = None;
            self.walk(&node.range(), &mut Live(|event| last = Some(event)))?;
            return Ok(last);
        }
        let below = self.below(node)?;
        match below.iter().rev().find(|below| below.child.live > 0) {
            Some(below) => self.last_live(below),
            None => Ok(None),
        }
    }

    /// Leaves in `range` that changed after `version` or that the tail touches, in key order, by their first keys.
    pub(in crate::views) fn changed(&self, version: u64, range: &KeyRange) -> Result<Vec<EventKey>> {
        let mut leaves = Vec::new();
        if let Some(top) = self.top() {
            self.changed_below(&top, version, range, &mut leaves)?;
        }
        Ok(leaves)
    }

    fn changed_below(
        &self,
        node: &Node,
        version: u64,
        range: &KeyRange,
        out: &mut Vec<EventKey>,
    ) -> Result<()> {
        let of_node = node.range();
        let is_same = node.child.version <= version && !self.is_touched(node);
        if is_same || !range.overlaps(&of_node) {
            return Ok(());
        }
        if node.level == 0 {
            out.push(node.child.first);
            return Ok(());
        }
        self.below(node)?.iter().try_for_each(|below| self.changed_below(below, version, range, out))
    }
}

/// Entries of rows with those of the tail over them, shown to a visitor.
struct Overlay<'v> {
    tail: std::slice::Iter<'v, Pending>,
    range: &'v KeyRange,
    known: u64,
    visitor: &'v mut dyn Visitor,
}

impl Overlay<'_> {
    /// Shows a leaf's entries, and those of the tail among them.
    fn leaf(&mut self, packed: &[u8]) -> Result<ControlFlow<()>> {
        for entry in Entries::new(packed) {
            let (event, body) = entry.ok_or_else(damaged)?;
            if event < self.range.from {
                continue;
            }
            if self.range.until.is_some_and(|until| until <= event) {
                break;
            }
            if self.before(event).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let replaced = self.tail.as_slice().first().filter(|pending| pending.event == event);
            let body = replaced.map_or(body, Pending::body);
            let flow = self.visitor.entry(event, body.live(self.known));
            if replaced.is_some() {
                self.tail.next();
            }
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Shows the tail's entries before `event`.
    fn before(&mut self, event: EventKey) -> ControlFlow<()> {
        while let Some(pending) = self.tail.as_slice().first().filter(|pending| pending.event < event) {
            self.tail.next();
            self.visitor.entry(pending.event, pending.body().live(self.known))?;
        }
        ControlFlow::Continue(())
    }

    /// Shows what is left of the tail.
    fn rest(&mut self) {
        for pending in self.tail.by_ref() {
            if self.visitor.entry(pending.event, pending.body().live(self.known)).is_break() {
                return;
            }
        }
    }
}

fn damaged() -> TableError {
    corrupt("index", &[], "not packed entries")
}
