//! States that merge: one for each row of the index, so that a late event, a window, `at` and a retraction each cost
//! one leaf and the way up.
//!
//! The state of a row is kept beside the row's version and is right exactly while that is the version. A query merges
//! the largest rows that lie wholly within its range, and folds the leaves at its edges.

use super::bounds::KeyRange;
use super::calls::{Calls, Run, State};
use super::error::ViewError;
use super::index::entry::{Deltas, Entries};
use super::index::read::{Aggregate, Node, Visitor};
use super::index::{first_of, node_key};
use super::layout::corrupt;
use super::rows::{Rows, Table};
use super::states::{Row, node_row, read_node};
use crate::core::event::EventKey;
use crate::core::tables::TableError;
use std::ops::ControlFlow;

/// The states of leaves are kept if they have at most so many bytes: folding a leaf again costs less than more.
const LEAF_STATE_BYTES_MAX: usize = 64;
/// A read keeps so many bytes of leaves' states at most.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// A query of one aggregate.
pub(super) struct Tree<'t, 'r> {
    aggregate: &'t Aggregate<'r>,
    rows: &'r dyn Rows,
    states: Table,
    calls: &'t mut Calls<'r>,
    /// Snapshots that are worth keeping.
    pub(super) kept: Vec<Row>,
    kept_bytes: usize,
}

impl<'t, 'r> Tree<'t, 'r> {
    /// A query of `aggregate`, whose states are in the table `states`.
    pub(super) fn new(
        aggregate: &'t Aggregate<'r>,
        rows: &'r dyn Rows,
        states: Table,
        calls: &'t mut Calls<'r>,
    ) -> Self {
        Self { aggregate, rows, states, calls, kept: Vec::new(), kept_bytes: 0 }
    }

    /// The state of the events in `range`.
    pub(super) fn state(&mut self, range: &KeyRange) -> Result<State, ViewError> {
        let Some(top) = self.aggregate.top() else {
            return fold_entries(self.aggregate, self.calls, range);
        };
        let mut pieces = Vec::new();
        let cached = self.cached(std::slice::from_ref(&top))?.pop().flatten();
        self.collect(&top, cached, range, &mut pieces)?;
        self.calls.merge(&pieces)
    }

    /// Appends the states of the pieces of `node` that lie in `range`, from left to right.
    fn collect(
        &mut self,
        node: &Node,
        cached: State,
        range: &KeyRange,
        pieces: &mut Vec<Vec<u8>>,
    ) -> Result<(), ViewError> {
        let of_node = node.range();
        if !range.overlaps(&of_node) {
            return Ok(());
        }
        if range.covers(&of_node) && self.aggregate.is_clean(node) {
            if node.child.live > 0 {
                pieces.extend(self.whole(node, cached)?);
            }
            return Ok(());
        }
        if node.level == 0 {
            pieces.extend(fold_entries(self.aggregate, self.calls, &range.intersect(&of_node))?);
            return Ok(());
        }
        let below = self.aggregate.below(node)?;
        let cached = self.cached(&below)?;
        for (node, cached) in below.iter().zip(cached) {
            self.collect(node, cached, range, pieces)?;
        }
        Ok(())
    }

    /// The state of a whole row, in which something is live; none if all of it was set aside.
    fn whole(&mut self, node: &Node, cached: State) -> Result<State, ViewError> {
        if cached.is_some() {
            return Ok(cached);
        }
        let state = if node.level == 0 {
            self.leaf(node)?
        } else {
            let below = self.aggregate.below(node)?;
            let mut states = Vec::with_capacity(below.len());
            for (node, cached) in below.iter().zip(self.cached(&below)?) {
                if node.child.live > 0 {
                    states.extend(self.whole(node, cached)?);
                }
            }
            self.calls.merge(&states)?
        };
        if let Some(state) = &state {
            self.keep(node, state)?;
        }
        Ok(state)
    }

    fn leaf(&mut self, node: &Node) -> Result<State, ViewError> {
        let (packed, mut run) = (self.aggregate.leaf(node.child.first)?, Run::default());
        let mut state = None;
        for entry in Entries::new(&packed) {
            let (event, body) = entry.ok_or_else(|| corrupt("index", &packed, "not packed entries"))?;
            if let Some(deltas) = body.live(self.aggregate.known) {
                run.push(event, deltas);
            }
            if run.is_full() {
                state = self.calls.fold(state, &mut run)?;
            }
        }
        self.calls.fold(state, &mut run)
    }

    fn keep(&mut self, node: &Node, state: &[u8]) -> Result<(), ViewError> {
        let is_leaf = node.level == 0;
        if is_leaf && (state.len() > LEAF_STATE_BYTES_MAX || self.kept_bytes > KEPT_BYTES_MAX) {
            return Ok(());
        }
        self.kept_bytes += state.len() + 32;
        let id = self.aggregate.number()?;
        self.kept.push(node_row(id, node.level, node.child.first, node.child.version, state));
        Ok(())
    }

    /// What is kept of neighbouring rows, if it is of their version.
    fn cached(&self, nodes: &[Node]) -> Result<Vec<State>, TableError> {
        let (Some(first), Some(last)) = (nodes.first(), nodes.last()) else { return Ok(Vec::new()) };
        let (id, level) = (self.aggregate.number()?, first.level);
        let start = node_key(id, level, first.child.first);
        let (mut states, mut outcome) = (vec![None; nodes.len()], Ok(()));
        let mut wanted = nodes.iter().zip(&mut states).peekable();
        self.rows.scan(self.states, &start, &mut |key, row| {
            let Some(kept) = first_of(key, id, level).filter(|kept| *kept <= last.child.first) else {
                return ControlFlow::Break(());
            };
            while wanted.next_if(|(node, _)| node.child.first < kept).is_some() {}
            if let Some((node, state)) = wanted.next_if(|(node, _)| node.child.first == kept) {
                match read_node(row) {
                    Ok((version, bytes)) if version == node.child.version => *state = Some(bytes.to_vec()),
                    Ok(_) => {}
                    Err(error) => outcome = Err(error),
                }
            }
            if wanted.peek().is_none() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        outcome.map(|()| states)
    }
}

/// Folds the entries of `range` from the identity.
pub(super) fn fold_entries(
    aggregate: &Aggregate<'_>,
    calls: &mut Calls<'_>,
    range: &KeyRange,
) -> Result<State, ViewError> {
    fold_onto(None, aggregate, calls, range)
}

/// Folds the entries of `range` into `state`.
pub(super) fn fold_onto(
    state: State,
    aggregate: &Aggregate<'_>,
    calls: &mut Calls<'_>,
    range: &KeyRange,
) -> Result<State, ViewError> {
    let mut folding = Folding { calls, run: Run::default(), state, outcome: Ok(()) };
    aggregate.walk(range, &mut folding)?;
    let Folding { calls, mut run, state, outcome } = folding;
    outcome?;
    calls.fold(state, &mut run)
}

/// A fold under way.
struct Folding<'f, 'r> {
    calls: &'f mut Calls<'r>,
    run: Run,
    state: State,
    outcome: Result<(), ViewError>,
}

impl Visitor for Folding<'_, '_> {
    fn entry(&mut self, event: EventKey, deltas: Option<Deltas<'_>>) -> ControlFlow<()> {
        if let Some(deltas) = deltas {
            self.run.push(event, deltas);
        }
        if self.run.is_full() {
            match self.calls.fold(self.state.take(), &mut self.run) {
                Ok(state) => self.state = state,
                Err(error) => {
                    self.outcome = Err(error);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }
}
