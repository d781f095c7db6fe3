//! A View says the same of a run whenever it is asked, on whatever thread, of whichever instance.

use super::algebra::{Events, Outcome, Trial, promises};
use super::broken::{Law, Shown};
use super::subject::Difference;
use crate::plugin::call_error::CallError;
use crate::plugin::instance::Instance;
use crate::plugin::services::Services;
use laterbase_plugin::declare::AlgebraKind;
use std::thread;

/// What an instance says of a run.
#[derive(Debug, PartialEq, Eq)]
struct Statement {
    /// Of the run, of its halves merged, and inverted; empty where the algebra knows no such state.
    states: [Vec<u8>; 3],
    /// The first of the states as users read it; empty for several aggregates.
    json: String,
}

impl Statement {
    fn of(trial: &Trial<'_>, instance: &Instance, run: Events<'_, '_>) -> Result<Self, Box<Difference>> {
        Self::ask(trial, instance, run).map_err(|error| Difference::failed("a repeated call", &error))
    }

    fn ask(trial: &Trial<'_>, instance: &Instance, run: Events<'_, '_>) -> Result<Self, CallError> {
        let services = Services::default();
        let fold = |part| trial.fold_on(instance, None, part);
        let whole = fold(run)?;
        let (mut json, mut merged, mut inverse) = Default::default();
        if !trial.is_group {
            json = trial.render(instance, &whole)?;
        }
        if promises(trial.algebra, AlgebraKind::Associative) {
            let (left, right) = run.split_at(run.len() / 2);
            merged = instance.merge(&services, trial.view, &[&fold(left)?, &fold(right)?])?;
        }
        if promises(trial.algebra, AlgebraKind::Group) {
            inverse = instance.invert(&services, trial.view, &whole)?;
        }
        Ok(Self { states: [whole, merged, inverse], json })
    }

    /// An error if `other`, which was asked for as `words` say, is not the same.
    fn check(&self, trial: &Trial<'_>, words: &str, other: &Self) -> Outcome {
        if self == other {
            return Ok(());
        }
        let differing = self.states.iter().zip(&other.states).find(|(our, their)| our != their);
        let (first, second) = match differing {
            Some((our, their)) => (trial.shown("a call", our), trial.shown(words, their)),
            None => {
                (Shown::new("a call", self.json.as_str(), &[]), Shown::new(words, other.json.as_str(), &[]))
            }
        };
        Err(Box::new(Difference { law: Law::Repeatable, first, second }))
    }
}

/// A View says the same of a run when it is asked again, and in a second instance.
pub(super) fn repeatable(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    let first = Statement::of(trial, trial.subject.one, run)?;
    let again = Statement::of(trial, trial.subject.one, run)?;
    first.check(trial, "the same call again", &again)?;
    let twin = Statement::of(trial, trial.subject.twin, run)?;
    first.check(trial, "the same call on a second instance", &twin)
}

/// A View says the same of a run on another thread.
pub(super) fn on_another_thread(trial: &Trial<'_>, run: Events<'_, '_>) -> Outcome {
    let ask = || Statement::of(trial, trial.subject.one, run);
    ask()?.check(trial, "the same call on another thread", &elsewhere(ask)?)
}

/// The first of the parts of a run for which [`on_another_thread`] would fail, all asked on one thread: starting a
/// thread takes longer than most calls.
pub(super) fn differs_elsewhere<'r, 'e>(
    trial: &Trial<'_>,
    parts: &[Events<'r, 'e>],
) -> Option<Events<'r, 'e>> {
    let ask = || -> Vec<Option<Statement>> {
        parts.iter().map(|part| Statement::of(trial, trial.subject.one, part).ok()).collect()
    };
    let (here, there) = (ask(), elsewhere(ask));
    parts.iter().zip(here.iter().zip(&there)).find(|(_, (here, there))| here != there).map(|(part, _)| *part)
}

/// What `ask` gives on a new thread.
pub(super) fn elsewhere<T: Send>(ask: impl Fn() -> T + Sync) -> T {
    let asked = thread::scope(|scope| scope.spawn(&ask).join());
    asked.expect("calls do not panic on the host's side")
}
