//! The plugin's code as a read calls it: runs of deltas, states, and what to do when it fails.
//!
//! An event at which `fold` fails is set aside: the read goes on without it and says so. States have a bound, because
//! a state that grows with its events would make every repair cost what a refold costs.

use super::build::View;
use super::computes::{Computes, Failure, FoldFailure};
use super::error::ViewError;
use super::index::entry::Deltas;
use super::states::{self, Fault};
use crate::core::event::EventKey;
use crate::core::limits::STATE_BYTES_MAX;
use crate::plugin::delta_ref;
use laterbase_plugin::abi::DeltaRef;

/// A fold call carries so many deltas.
const RUN_DELTAS: usize = 1024;
/// A fold call is full with so many bytes of deltas.
const RUN_BYTES: usize = 1 << 20;

/// A state; none is the identity.
pub(super) type State = Option<Vec<u8>>;

/// The calls of one read for one View.
pub(super) struct Calls<'r> {
    plugins: &'r dyn Computes,
    view: &'r View,
    /// How many deltas were folded.
    pub(super) folded: u64,
    /// The events at which a fold failed, of the aggregate at hand.
    pub(super) faults: Vec<Fault>,
}

/// Deltas in key order in one buffer.
#[derive(Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    /// Each delta's event and where the delta ends.
    ends: Vec<(EventKey, usize)>,
}

impl Run {
    /// Appends the deltas of an event.
    pub(super) fn push(&mut self, event: EventKey, deltas: Deltas<'_>) {
        for delta in deltas {
            self.bytes.extend_from_slice(delta);
            self.ends.push((event, self.bytes.len()));
        }
    }

    /// Whether it should be folded before more is appended.
    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= RUN_DELTAS || self.bytes.len() >= RUN_BYTES
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl<'r> Calls<'r> {
    /// Calls for `view`.
    pub(super) fn new(plugins: &'r dyn Computes, view: &'r View) -> Self {
        Self { plugins, view, folded: 0, faults: Vec::new() }
    }

    /// Folds the run into `state` and empties it.
    pub(super) fn fold(&mut self, mut state: State, run: &mut Run) -> Result<State, ViewError> {
        let mut start = 0;
        let piece = |(event, end): &(EventKey, usize)| {
            let delta = run.bytes.get(start..*end).expect("ends rise within the buffer");
            start = *end;
            delta_ref(*event, delta)
        };
        let deltas: Vec<_> = run.ends.iter().map(piece).collect();
        self.folded += deltas.len() as u64;
        let mut rest = deltas.as_slice();
        while !rest.is_empty() {
            let FoldFailure { failure, at } =
                match self.plugins.fold(self.view.position, state.as_deref(), rest) {
                    Ok(folded) => {
                        state = Some(self.bounded(folded)?);
                        break;
                    }
                    Err(failed) => failed,
                };
            // Whoever is to blame goes with all of its deltas; without a name the first event is tried alone.
            let culprit = at.and_then(|at| rest.get(at)).map(|delta| delta.key);
            let from = rest.iter().position(|delta| Some(delta.key) == culprit).unwrap_or(0);
            let (good, bad) = rest.split_at(from);
            if !good.is_empty() {
                state = Some(self.folded(state.as_deref(), good)?.map_err(|failure| self.failed(failure))?);
            }
            let event = bad.first().map(|delta| delta.key);
            let others = bad.iter().position(|delta| Some(delta.key) != event).unwrap_or(bad.len());
            let (own, others) = bad.split_at(others);
            let alone = if culprit.is_some() { Err(failure) } else { self.folded(state.as_deref(), own)? };
            match alone {
                Ok(folded) => state = Some(folded),
                Err(failure) => self.set_aside(own, failure),
            }
            rest = others;
        }
        drop(deltas);
        run.clear();
        Ok(state)
    }

    fn folded(
        &self,
        state: Option<&[u8]>,
        run: &[DeltaRef<'_>],
    ) -> Result<Result<Vec<u8>, Failure>, ViewError> {
        match self.plugins.fold(self.view.position, state, run) {
            Ok(folded) => self.bounded(folded).map(Ok),
            Err(FoldFailure { failure, .. }) => Ok(Err(failure)),
        }
    }

    fn set_aside(&mut self, own: &[DeltaRef<'_>], failure: Failure) {
        let Some(event) = own.first().map(|delta| delta.key) else { return };
        let deltas = states::hash_of(own.iter().map(|delta| delta.delta.as_slice()));
        let fault = Fault { event, deltas, failure };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Merges states from left to right.
    pub(super) fn merge(&self, states: &[Vec<u8>]) -> Result<State, ViewError> {
        match states {
            [] => Ok(None),
            [state] => Ok(Some(state.clone())),
            states => {
                let borrowed: Vec<&[u8]> = states.iter().map(Vec::as_slice).collect();
                let merged = self.plugins.merge(self.view.position, &borrowed);
                Ok(Some(self.bounded(merged.map_err(|failure| self.failed(failure))?)?))
            }
        }
    }

    /// The state that merges with `state` to the identity.
    pub(super) fn invert(&self, state: &[u8]) -> Result<Vec<u8>, ViewError> {
        let inverse = self.plugins.invert(self.view.position, state);
        self.bounded(inverse.map_err(|failure| self.failed(failure))?)
    }

    fn bounded(&self, state: Vec<u8>) -> Result<Vec<u8>, ViewError> {
        if state.len() > STATE_BYTES_MAX {
            return Err(ViewError::StateTooLarge { view: self.view.info.name.clone(), bytes: state.len() });
        }
        Ok(state)
    }

    fn failed(&self, failure: Failure) -> ViewError {
        ViewError::Plugin { view: self.view.info.name.clone(), failure }
    }
}
