//! What a View declares: its codec, its bound, and the laws of its algebra, on one run at a time.
//!
//! Each law is a function of a run, so that the same function finds a failure and finds it again while the run is made
//! smaller. Short runs are cut everywhere, long ones in a few places.

use super::broken::{Law, Shown, readable};
use super::material::Entry;
use super::repeat::repeatable;
use super::subject::{Difference, Subject};
use crate::core::limits::STATE_BYTES_MAX;
use crate::plugin::call_error::CallError;
use crate::plugin::instance::{Instance, delta_ref};
use crate::plugin::services::Services;
use laterbase_plugin::Chance;
use laterbase_plugin::declare::AlgebraKind;

/// Runs up to this length are cut at every place.
const CUT_EVERYWHERE_MAX: usize = 8;

/// One View on the aggregate that a run belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial<'t> {
    pub(super) subject: Subject<'t>,
    /// Its index.
    pub(super) view: u32,
    /// The index of its Keyspace.
    pub(super) keyspace: u32,
    pub(super) algebra: AlgebraKind,
    /// The encoded aggregate key.
    pub(super) key: &'t [u8],
    /// States of several aggregates: not rendered.
    pub(super) is_group: bool,
}

/// A part of a run.
pub(super) type Events<'r, 'e> = &'r [&'r Entry<'e>];

pub(super) type Outcome = Result<(), Box<Difference>>;

pub(super) type LawFn = fn(&Trial<'_>, Events<'_, '_>) -> Outcome;

/// The laws, each with the weakest algebra that promises it.
pub(super) const LAWS: [(AlgebraKind, LawFn); 11] = [
    (AlgebraKind::Ordered, repeatable),
    (AlgebraKind::Ordered, codec),
    (AlgebraKind::Ordered, bound),
    (AlgebraKind::Ordered, steps),
    (AlgebraKind::Associative, identity),
    (AlgebraKind::Associative, halves),
    (AlgebraKind::Associative, associative),
    (AlgebraKind::Commutative, commutative),
    (AlgebraKind::Commutative, shuffled),
    (AlgebraKind::Group, inverse),
    (AlgebraKind::Group, removal),
];

/// Whether a View of the algebra `declared` promises what `needed` stands for.
pub(super) fn promises(declared: AlgebraKind, needed: AlgebraKind) -> bool {
    let rank = |kind| match kind {
        AlgebraKind::Ordered => 0,
        AlgebraKind::Associative => 1,
        AlgebraKind::Commutative => 2,
        AlgebraKind::Group => 3,
    };
    rank(declared) >= rank(needed)
}

impl Trial<'_> {
    pub(super) fn fold_on(
        &self,
        instance: &Instance,
        state: Option<&[u8]>,
        run: Events<'_, '_>,
    ) -> Result<Vec<u8>, CallError> {
        let deltas = run.iter().flat_map(|entry| entry.deltas.iter().map(|delta| (entry.event.key, delta)));
        let deltas: Vec<_> = deltas.map(|(key, delta)| delta_ref(key, delta)).collect();
        instance.fold(&Services::default(), self.view, state, &deltas)
    }

    /// `state` with `run` folded in.
    pub(super) fn fold(&self, state: Option<&[u8]>, run: Events<'_, '_>) -> Result<Vec<u8>, Box<Difference>> {
        let folded = self.fold_on(self.subject.one, state, run);
        folded.map_err(|error| Difference::failed(format!("folding {}", events(run.len())), &error))
    }

    fn merge(&self, states: &[&[u8]]) -> Result<Vec<u8>, Box<Difference>> {
        let merged = self.subject.one.merge(&Services::default(), self.view, states);
        merged.map_err(|error| Difference::failed("merging states", &error))
    }

    fn invert(&self, state: &[u8]) -> Result<Vec<u8>, Box<Difference>> {
        let inverse = self.subject.one.invert(&Services::default(), self.view, state);
        inverse.map_err(|error| Difference::failed("inverting a state", &error))
    }

    pub(super) fn render(&self, instance: &Instance, state: &[u8]) -> Result<String, CallError> {
        let json = instance.render(&Services::default(), self.view, self.key, state)?;
        Ok(json.get().to_owned())
    }

    pub(super) fn shown(&self, what: impl Into<String>, state: &[u8]) -> Shown {
        let value = self.render(self.subject.one, state).unwrap_or_else(|_| readable(state));
        Shown::new(what, value, state)
    }

    /// Both results are the same bytes.
    fn equal(&self, law: Law, first: (&str, &[u8]), second: (&str, &[u8])) -> Outcome {
        if first.1 == second.1 {
            return Ok(());
        }
        let (first, second) = (self.shown(first.0, first.1), self.shown(second.0, second.1));
        Err(Box::new(Difference { law, first, second }))
    }
}

fn events(count: usize) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

/// Where a run of `length` is cut in two.
fn cuts(length: usize) -> Vec<usize> {
    if length <= CUT_EVERYWHERE_MAX {
        return (0..=length).collect();
    }
    let mut chance = Chance::new(length as u64, false);
    let mut inside = || 1 + usize::try_from(chance.below(length as u64 - 1)).unwrap_or(0);
    vec![0, 1, inside(), length / 2, inside(), length - 1, length]
}

/// The entries in another order, the same for the same length and seed.
fn shuffle<'r, 'e>(run: Events<'r, 'e>, seed: u64) -> Vec<&'r Entry<'e>> {
    let mut chance = Chance::new(seed ^ run.len() as u64, false);
    let mut order: Vec<_> = run.iter().map(|entry| (chance.number(), *entry)).collect();
    order.sort_by_key(|(number, _)| *number);
    order.into_iter().map(|(_, entry)| entry).collect()
}

fn codec(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    for state in [trial.fold(None, &[])?, trial.fold(None, run)?] {
        let again = trial.fold(Some(&state), &[])?;
        trial.equal(Law::Codec, ("a state", &state), ("the state decoded and encoded again", &again))?;
    }
    for delta in run.iter().flat_map(|entry| &entry.deltas) {
        let recoded = trial.subject.one.recode(&Services::default(), trial.keyspace, delta);
        let recoded = recoded.map_err(|error| Difference::failed("decoding a delta", &error))?;
        if recoded.as_ref().is_some_and(|recoded| recoded != delta) {
            let second = recoded.unwrap_or_default();
            let first = Shown::new("a delta", readable(delta), delta);
            let second = Shown::new("the delta decoded and encoded again", readable(&second), &second);
            return Err(Box::new(Difference { law: Law::Codec, first, second }));
        }
    }
    Ok(())
}

fn bound(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    let state = trial.fold(None, run)?;
    if state.len() <= STATE_BYTES_MAX {
        return Ok(());
    }
    let what = format!("folding {}", events(run.len()));
    let first = Shown::new(what, format!("a state of {} bytes", state.len()), &[]);
    let second = Shown::new("the limit", format!("{STATE_BYTES_MAX} bytes"), &[]);
    Err(Box::new(Difference { law: Law::Bound, first, second }))
}

fn steps(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    let whole = trial.fold(None, run)?;
    for cut in cuts(run.len()) {
        let (left, right) = run.split_at(cut);
        let folded = trial.fold(Some(&trial.fold(None, left)?), right)?;
        let what = format!("folding {}, storing the state, folding {}", events(cut), events(run.len() - cut));
        trial.equal(Law::Steps, ("folding all in one go", &whole), (&what, &folded))?;
    }
    for step in [1, 2] {
        let mut state = None;
        for part in run.chunks(step) {
            state = Some(trial.fold(state.as_deref(), part)?);
        }
        let state = state.map_or_else(|| trial.fold(None, &[]), Ok)?;
        let what = format!("folding in steps of {}", events(step));
        trial.equal(Law::Steps, ("folding all in one go", &whole), (&what, &state))?;
    }
    Ok(())
}

fn identity(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    let (default, state) = (trial.fold(None, &[])?, trial.fold(None, run)?);
    let left = trial.merge(&[&default, &state])?;
    trial.equal(
        Law::Identity,
        ("the state alone", &state),
        ("merged with the default state before it", &left),
    )?;
    let right = trial.merge(&[&state, &default])?;
    trial.equal(
        Law::Identity,
        ("the state alone", &state),
        ("merged with the default state behind it", &right),
    )
}

fn halves(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    let whole = trial.fold(None, run)?;
    for cut in cuts(run.len()) {
        let (left, right) = run.split_at(cut);
        let merged = trial.merge(&[&trial.fold(None, left)?, &trial.fold(None, right)?])?;
        let what = format!("merging the state of the first {} with that of the rest", events(cut));
        trial.equal(Law::Halves, ("folding all", &whole), (&what, &merged))?;
    }
    Ok(())
}

/// The states of three parts of the run, for pairs of cuts.
fn thirds(trial: &Trial<'_>, run: Events<'_, '_>) -> Result<Vec<[Vec<u8>; 3]>, Box<Difference>> {
    let cuts = cuts(run.len());
    let mut thirds = Vec::new();
    for first in &cuts {
        for second in cuts.iter().filter(|second| *second >= first) {
            let (left, right) = run.split_at(*second);
            let (left, middle) = left.split_at(*first);
            let states = [trial.fold(None, left)?, trial.fold(None, middle)?, trial.fold(None, right)?];
            thirds.push(states);
        }
    }
    Ok(thirds)
}

fn associative(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    for [one, two, three] in thirds(trial, run)? {
        let left = trial.merge(&[&trial.merge(&[&one, &two])?, &three])?;
        let right = trial.merge(&[&one, &trial.merge(&[&two, &three])?])?;
        let first = ("merging the first two of three states first", left.as_slice());
        trial.equal(Law::Associative, first, ("merging the last two first", &right))?;
        let all = trial.merge(&[&one, &two, &three])?;
        trial.equal(Law::Associative, first, ("merging all three in one call", &all))?;
    }
    Ok(())
}

fn commutative(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    for cut in cuts(run.len()) {
        let (left, right) = run.split_at(cut);
        let (left, right) = (trial.fold(None, left)?, trial.fold(None, right)?);
        let (one, other) = (trial.merge(&[&left, &right])?, trial.merge(&[&right, &left])?);
        trial.equal(
            Law::Commutative,
            ("merging two states", &one),
            ("merging them the other way round", &other),
        )?;
    }
    Ok(())
}

fn shuffled(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    let whole = trial.fold(None, run)?;
    let in_order = ("folding in the order of keys", whole.as_slice());
    let backwards: Vec<_> = run.iter().rev().copied().collect();
    for order in [backwards, shuffle(run, 1), shuffle(run, 2)] {
        let folded = trial.fold(None, &order)?;
        trial.equal(Law::Shuffled, in_order, ("folding in another order", &folded))?;
        let (some, rest) = order.split_at(order.len() / 2);
        let merged = trial.merge(&[&trial.fold(None, some)?, &trial.fold(None, rest)?])?;
        trial.equal(
            Law::Shuffled,
            in_order,
            ("merging the states of some events and of the others", &merged),
        )?;
    }
    Ok(())
}

fn inverse(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    let (default, state) = (trial.fold(None, &[])?, trial.fold(None, run)?);
    let inverse = trial.invert(&state)?;
    let first = ("the default state", default.as_slice());
    trial.equal(
        Law::Inverse,
        first,
        ("a state merged with its inverse", &trial.merge(&[&state, &inverse])?),
    )?;
    trial.equal(Law::Inverse, first, ("an inverse merged with its state", &trial.merge(&[&inverse, &state])?))
}

fn removal(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    let whole = trial.fold(None, run)?;
    let places = cuts(run.len()).into_iter().filter(|at| *at < run.len());
    for at in places {
        let one: Vec<_> = run.iter().skip(at).take(1).copied().collect();
        let rest: Vec<_> = run.iter().take(at).chain(run.iter().skip(at + 1)).copied().collect();
        let without = trial.fold(None, &rest)?;
        let taken_out = trial.merge(&[&whole, &trial.invert(&trial.fold(None, &one)?)?])?;
        let what = format!("folding all and taking event {} out by its inverse", at + 1);
        trial.equal(Law::Removal, ("folding all events but one", &without), (&what, &taken_out))?;
    }
    Ok(())
}
