//! States that only fold, in key order: kept at checkpoints, repaired from the last one before a change, and no
//! further than until a recomputed state equals the kept one.
//!
//! ```text
//! leaves       |----|----|-*--|----|----|----|      * changed since the head's version
//! checkpoints  0         a         b         c      states before a, b, c, as of the head's version
//! repair                 a ======> b                equal to what is kept at b: c and the head hold, too
//! ```
//! Checkpoints stand where a hash of the event key says, at the beginnings of leaves, so they are the same on every
//! replica. All that is kept of an aggregate is right together as of the head's version; a repair that reaches the
//! end, or is cut short by equality, moves all of it to the index's version at once.

use super::bounds::KeyRange;
use super::calls::{Calls, Run, State};
use super::error::ViewError;
use super::index::border::Borders;
use super::index::entry::{Deltas, NOW};
use super::index::read::{Aggregate, Visitor};
use super::index::{Id, LEAST};
use super::layout;
use super::rows::{Rows, Table};
use super::states::{Head, Row, checkpoint_key};
use super::tree::{fold_entries, fold_onto};
use crate::core::event::EventKey;
use crate::core::tables::TableError;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A query of one large aggregate.
pub(super) struct Ordered<'t, 'r> {
    /// What is asked.
    pub(super) aggregate: &'t Aggregate<'r>,
    /// Where Snapshots are.
    pub(super) rows: &'r dyn Rows,
    /// Their table.
    pub(super) states: Table,
    /// Where checkpoints stand.
    pub(super) borders: &'t Borders,
    /// The plugin.
    pub(super) calls: &'t mut Calls<'r>,
    /// What is kept of the whole.
    pub(super) head: Option<Head>,
    /// A repair that has folded more deltas than this is left to the background.
    pub(super) budget: u64,
}

/// What a query found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The state; none is the identity.
    pub(super) state: State,
    /// Checkpoints that differ from those kept.
    pub(super) checkpoints: Vec<Row>,
    /// The budget is used up: `state` is as of the head's version.
    pub(super) is_stale: bool,
}

/// Where a fold begins.
struct Start {
    key: EventKey,
    state: State,
}

/// How a piece of a repair ended.
enum Ended {
    /// Behind the last event, in this state.
    AtEnd(State),
    /// At a checkpoint whose kept state is equal.
    Equal(EventKey),
    /// The budget is used up.
    Spent,
}

impl Ordered<'_, '_> {
    /// The state of the events below `until`, or of all of them.
    pub(super) fn state(&mut self, until: Option<EventKey>) -> Result<Found, ViewError> {
        let range = KeyRange { from: LEAST, until };
        if self.aggregate.known != NOW {
            return Ok(Found { state: self.as_known(&range)?, ..Found::default() });
        }
        let Some(head) = self.head.clone() else { return self.first(&range) };
        let changed = self.aggregate.changed(head.version, &range)?;
        match self.repair(&changed, &range)? {
            Some(found) => Ok(found),
            None => Ok(Found { state: self.kept(&range)?, is_stale: true, ..Found::default() }),
        }
    }

    /// The state below the end of `range` as of the head's version.
    pub(super) fn kept(&mut self, range: &KeyRange) -> Result<State, ViewError> {
        match (&self.head, range.until) {
            (Some(head), None) => Ok(Some(head.state.clone())),
            (_, until) => {
                let start = self.checkpoint(until, &BTreeMap::new())?;
                self.plain(start, range)
            }
        }
    }

    /// The state for whoever knows fewer arrivals. Nothing is kept of it.
    fn as_known(&mut self, range: &KeyRange) -> Result<State, ViewError> {
        let Some(version) = self.head.as_ref().map(|head| head.version) else {
            return fold_entries(self.aggregate, self.calls, range);
        };
        if version == self.aggregate.known {
            return self.kept(range);
        }
        // What changed neither since then nor since the head's version is the same then, now and in what is kept.
        let since = version.min(self.aggregate.known);
        let first = self.aggregate.changed(since, range)?.first().copied();
        let same_until = match (first, range.until) {
            (None, until) => until,
            // A checkpoint may stand at the very beginning of the changed leaf.
            (Some(first), _) => Some(next(first)),
        };
        if same_until.is_none() {
            return self.kept(range);
        }
        let start = self.checkpoint(same_until, &BTreeMap::new())?;
        self.plain(start, range)
    }

    /// Everything from the beginning, for nothing is kept yet.
    fn first(&mut self, range: &KeyRange) -> Result<Found, ViewError> {
        let start = Start { key: LEAST, state: None };
        let mut made = BTreeMap::new();
        match self.piece(start, range, &[], None, &mut made)? {
            Ended::AtEnd(state) => Ok(Found { state, checkpoints: self.rows_of(made)?, is_stale: false }),
            Ended::Equal(_) | Ended::Spent => unreachable!("nothing is kept that could be equal or stale"),
        }
    }

    /// Folds again from before each changed leaf; none if that takes too long.
    fn repair(&mut self, changed: &[EventKey], range: &KeyRange) -> Result<Option<Found>, ViewError> {
        let (mut made, mut rest) = (BTreeMap::new(), changed);
        let spent = Some(self.calls.folded.saturating_add(self.budget));
        while let Some(leaf) = rest.first() {
            let start = self.checkpoint(Some(next(*leaf)), &made)?;
            match self.piece(start, range, rest, spent, &mut made)? {
                Ended::AtEnd(state) => {
                    let checkpoints = self.rows_of(made)?;
                    return Ok(Some(Found { state, checkpoints, is_stale: false }));
                }
                Ended::Equal(at) => {
                    rest = rest.get(rest.partition_point(|leaf| *leaf < at)..).unwrap_or_default();
                }
                Ended::Spent => return Ok(None),
            }
        }
        let state = match (&self.head, range.until) {
            (Some(head), None) => Some(head.state.clone()),
            (_, until) => {
                let start = self.checkpoint(until, &made)?;
                self.plain(start, range)?
            }
        };
        Ok(Some(Found { state, checkpoints: self.rows_of(made)?, is_stale: false }))
    }

    /// Folds from `start` on and notes checkpoints in `made`, until one behind all of `changed` that are met is equal
    /// to what is kept.
    fn piece(
        &mut self,
        start: Start,
        range: &KeyRange,
        changed: &[EventKey],
        spent: Option<u64>,
        made: &mut BTreeMap<EventKey, State>,
    ) -> Result<Ended, ViewError> {
        let id = self.aggregate.number()?;
        let mut piece = Piece {
            id,
            rows: self.rows,
            states: self.states,
            borders: self.borders,
            calls: self.calls,
            changed,
            start: start.key,
            spent,
            made,
            run: Run::default(),
            state: start.state,
            ended: Ok(None),
        };
        self.aggregate.walk(&KeyRange { from: start.key, until: range.until }, &mut piece)?;
        match piece.ended? {
            Some(ended) => Ok(ended),
            None => Ok(Ended::AtEnd(piece.calls.fold(piece.state, &mut piece.run)?)),
        }
    }

    /// Folds from `start` to the end of `range`.
    fn plain(&mut self, start: Start, range: &KeyRange) -> Result<State, ViewError> {
        let range = KeyRange { from: start.key, until: range.until };
        fold_onto(start.state, self.aggregate, self.calls, &range)
    }

    /// The last checkpoint below `until`, of those in `made` and those that are kept.
    fn checkpoint(
        &self,
        until: Option<EventKey>,
        made: &BTreeMap<EventKey, State>,
    ) -> Result<Start, ViewError> {
        let id = self.aggregate.number()?;
        let own = match until {
            Some(until) => made.range(..until).next_back(),
            None => made.iter().next_back(),
        };
        let own = own.map(|(key, state)| Start { key: *key, state: state.clone() });
        let none = Start { key: LEAST, state: None };
        if self.head.is_none() {
            return Ok(own.unwrap_or(none));
        }
        let kept = kept_before(self.rows, self.states, id, until)?;
        let kept = kept.map(|(key, state)| Start { key, state });
        Ok(match (own, kept) {
            (Some(own), Some(kept)) if kept.key > own.key => kept,
            (Some(own), _) => own,
            (None, kept) => kept.unwrap_or(none),
        })
    }

    fn rows_of(&self, made: BTreeMap<EventKey, State>) -> Result<Vec<Row>, ViewError> {
        let id = self.aggregate.number()?;
        let row =
            |(event, state): (EventKey, State)| (checkpoint_key(id, event), write_state(state.as_deref()));
        Ok(made.into_iter().map(row).collect())
    }
}

/// A checkpoint's value: whether there is a state, then the state.
fn write_state(state: Option<&[u8]>) -> Vec<u8> {
    state.map_or_else(|| vec![0], |state| [&[1], state].concat())
}

/// The last kept checkpoint below `until`, or of all: the event that it stands before, and the state.
pub(super) fn kept_before(
    rows: &dyn Rows,
    states: Table,
    id: Id,
    until: Option<EventKey>,
) -> Result<Option<(EventKey, State)>, TableError> {
    let before = match until {
        Some(until) => checkpoint_key(id, until),
        None => (id + 1).to_be_bytes().to_vec(),
    };
    let found = rows.last_before(states, &before)?;
    let found = found.filter(|(key, _)| key.len() == 24 && key.starts_with(&id.to_be_bytes()));
    found.map(|(key, state)| Ok((layout::event_of(&key)?, read_state(&state)))).transpose()
}

fn read_state(row: &[u8]) -> State {
    row.strip_prefix(&[1]).map(<[u8]>::to_vec)
}

/// The next key behind `event`; the last key there is for itself, which begins no leaf in practice.
fn next(event: EventKey) -> EventKey {
    EventKey(u128::from_be_bytes(event.0).saturating_add(1).to_be_bytes())
}

/// One piece of a repair under way.
struct Piece<'p, 'r> {
    id: Id,
    rows: &'r dyn Rows,
    states: Table,
    borders: &'p Borders,
    calls: &'p mut Calls<'r>,
    changed: &'p [EventKey],
    start: EventKey,
    /// The number of folded deltas at which it is given up; none for what is no repair, because nothing is kept yet.
    spent: Option<u64>,
    made: &'p mut BTreeMap<EventKey, State>,
    run: Run,
    state: State,
    ended: Result<Option<Ended>, ViewError>,
}

impl Piece<'_, '_> {
    fn fold(&mut self) -> Result<(), ViewError> {
        self.state = self.calls.fold(self.state.take(), &mut self.run)?;
        Ok(())
    }

    /// At a checkpoint: true if what is kept there is what was folded.
    fn check(&mut self, first: EventKey) -> Result<bool, ViewError> {
        self.fold()?;
        if self.spent.is_some() {
            let kept = self.rows.get(self.states, &checkpoint_key(self.id, first))?;
            if kept.is_some_and(|kept| kept == write_state(self.state.as_deref())) {
                self.made.remove(&first);
                return Ok(true);
            }
        }
        self.made.insert(first, self.state.clone());
        Ok(false)
    }

    fn is_spent(&self) -> bool {
        self.spent.is_some_and(|spent| self.calls.folded > spent)
    }

    fn end(&mut self, ended: Result<Option<Ended>, ViewError>) -> ControlFlow<()> {
        self.ended = ended;
        ControlFlow::Break(())
    }
}

impl Visitor for Piece<'_, '_> {
    fn leaf(&mut self, first: EventKey) -> ControlFlow<()> {
        if first <= self.start || !self.borders.is_checkpoint(first) {
            return ControlFlow::Continue(());
        }
        match self.check(first) {
            // Equal before the first changed leaf of this piece is met: it is still to come.
            Ok(true) if self.changed.first().is_none_or(|leaf| *leaf < first) => {
                self.end(Ok(Some(Ended::Equal(first))))
            }
            Ok(_) if self.is_spent() => self.end(Ok(Some(Ended::Spent))),
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => self.end(Err(error)),
        }
    }

    fn entry(&mut self, event: EventKey, deltas: Option<Deltas<'_>>) -> ControlFlow<()> {
        if let Some(deltas) = deltas {
            self.run.push(event, deltas);
        }
        if !self.run.is_full() {
            return ControlFlow::Continue(());
        }
        if let Err(error) = self.fold() {
            return self.end(Err(error));
        }
        if self.is_spent() {
            return self.end(Ok(Some(Ended::Spent)));
        }
        ControlFlow::Continue(())
    }
}
