//! Whether what a plugin declares is true: its Views' algebras, and that its hooks are pure functions.
//!
//! The engine of the Views relies on both: it merges states instead of folding all again, takes events out by
//! their inverses, and repeats calls at will. A plugin that is wrong about itself would give answers that differ
//! with the order of arrival. So every load tries the declared laws on events, stored ones where there are any and
//! made-up ones (the plugin's own types say what they read), and names the first law that fails, with the fewest
//! events that show it.
//!
//! ```text
//! given, made up -> material: events, runs by aggregate -> purity: hooks, asked in several ways
//!                                                       -> algebra: Views, run by run -> shrink
//!                                                       -> garbage: bytes that are no events
//! ```
//! Everything here is a pure function of the plugin and the given events, and a bounded number of calls: the same
//! plugin passes or fails again. It runs in the probe's child process, because a plugin on trial may do anything.
//!
//! What is no fault: a panic on bytes that the Schema does not admit, or in a fold of numbers at the ends of their
//! ranges, costs one request or one answer and is a warning. What is one: a panic on what is admitted, mapped and
//! folded in the ordinary course of things.

mod algebra;
mod broken;
mod garbage;
mod material;
mod purity;
mod repeat;
mod shrink;
mod subject;
#[cfg(test)]
mod tests;

pub use broken::{Broken, Law, Shown, Witness};
pub use material::Sample;

use super::instance::Instance;
use super::services::Services;
use algebra::{Events, LAWS, LawFn, Trial, promises};
use garbage::Warnings;
use laterbase_plugin::declare::ViewDeclaration;
use material::{Entry, Event, Run, Source};
use repeat::{differs_elsewhere, on_another_thread};
use serde::{Deserialize, Serialize};
use shrink::shrink;
use subject::{Difference, Hook, Part, Subject};

/// Events on which hooks are asked in several ways.
const PURITY_EVENTS_MAX: usize = 256;
/// Events on which a panic is looked for.
const ADMITTED_EVENTS_MAX: usize = 1024;
/// Aggregate keys that are typed.
const KEYS_MAX: usize = 32;
/// States and deltas that are spoilt, of each View and Keyspace.
const SPOILT_MAX: usize = 8;

/// Neighbours of a run that are tried alone.
const PAIRS_MAX: usize = 12;
/// Events of a short stretch of a run, and how many of them are tried.
const STRETCH: usize = 8;
const STRETCHES_MAX: usize = 2;

/// What the laws were tried on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Stored or given events.
    pub given: usize,
    /// Made-up events.
    pub made_up: usize,
    /// Runs of events of one aggregate, for all Views together.
    pub runs: usize,
    /// What is odd but harms nobody but its sender.
    pub warnings: Vec<String>,
}

/// Tries every law of `one` on the `given` events and on made-up ones. `twin` is configured alike; `told` hears what is
/// tried next, which is the last that is known of a plugin that ends the process.
pub fn check(
    one: &Instance,
    twin: &Instance,
    given: &[Sample],
    told: &mut dyn FnMut(&str),
) -> Result<Tried, Box<Broken>> {
    let subject = Subject { one, twin };
    told("examples and upcast");
    let events = material::gather(&subject, given);
    let mut warnings = Warnings::default();
    told("the hooks");
    check_hooks(&subject, &events, given)?;
    check_admitted(&subject, &events, &mut warnings)?;
    let mut runs_tried = 0;
    let declaration = one.declaration();
    for (index, keyspace) in (0..).zip(&declaration.keyspaces) {
        told(&format!("keyspace {}", keyspace.name));
        let runs = material::runs(one, index, &events);
        check_keyspace(&subject, index, &runs)?;
        for (view, declared) in (0..).zip(&declaration.views).filter(|(_, it)| it.keyspace == index) {
            told(&format!("view {}", declared.name));
            for run in &runs {
                runs_tried += usize::from(check_run(&subject, (view, declared), run, &mut warnings)?);
            }
            check_states(&subject, (view, declared), &runs)?;
        }
    }
    told("bytes that are no events");
    for known in material::types(one) {
        garbage::check_type(&subject, &known, &events, &mut warnings)?;
    }
    garbage::check_intakes(&subject, &events, &mut warnings);
    let given = events.iter().filter(|event| event.source == Source::Given).count();
    Ok(Tried { given, made_up: events.len() - given, runs: runs_tried, warnings: warnings.0 })
}

/// The hooks that Schemas and Keyspaces have, with the types that they are asked about.
fn hooks(subject: &Subject<'_>) -> Vec<(Hook, Part, Vec<u32>)> {
    let declaration = subject.one.declaration();
    let mut hooks = Vec::new();
    for (index, schema) in (0..).zip(&declaration.schemas) {
        let types: Vec<u32> = schema.types.iter().map(|known| known.number).collect();
        let part = Part::schema(&schema.name);
        hooks.push((Hook::Admit(index), part.clone(), types.clone()));
        if schema.retracts {
            hooks.push((Hook::Retracts(index), part, types));
        }
    }
    for (index, keyspace) in (0..).zip(&declaration.keyspaces) {
        hooks.push((Hook::Map(index), Part::keyspace(&keyspace.name), keyspace.types.clone()));
    }
    hooks
}

/// Some of `events` that `wanted` picks, spread over all of them.
fn some_of(events: &[Event], most: usize, wanted: impl Fn(&Event) -> bool) -> Vec<&Event> {
    let picked: Vec<&Event> = events.iter().filter(|event| wanted(event)).collect();
    let step = picked.len().div_ceil(most).max(1);
    picked.into_iter().step_by(step).collect()
}

/// Every hook gives the same however it is asked.
fn check_hooks(subject: &Subject<'_>, events: &[Event], given: &[Sample]) -> Result<(), Box<Broken>> {
    for (hook, part, types) in hooks(subject) {
        let asked = some_of(events, PURITY_EVENTS_MAX, |event| types.contains(&event.type_number));
        purity::check(subject, &part, hook, &asked)?;
    }
    let declaration = subject.one.declaration();
    for known in material::types(subject.one) {
        let Some(schema) = declaration.schemas.get(known.schema as usize) else { continue };
        let old = old_events(known, events, given);
        let asked = some_of(&old, PURITY_EVENTS_MAX, |_| true);
        purity::check(subject, &Part::schema(&schema.name), Hook::Upcast(known.schema), &asked)?;
    }
    Ok(())
}

/// Events of older versions of a type: given ones, and new data that says to be old.
fn old_events(known: material::Known, events: &[Event], given: &[Sample]) -> Vec<Event> {
    let mut old = Vec::new();
    let is_old = |version: u32| (1..known.version).contains(&version);
    for sample in given.iter().filter(|it| it.type_number == known.number && is_old(it.version)) {
        let Sample { key, type_number, version, data } = sample.clone();
        old.push(Event { key, type_number, version, data, source: Source::Given });
    }
    let made_up = events.iter().filter(|it| it.type_number == known.number && it.source != Source::Given);
    for (event, version) in made_up.zip((1..known.version).cycle()) {
        old.push(Event { version, ..event.clone() });
    }
    old
}

/// What is admitted is read: a panic on such an event would lose it from every View. A Schema takes its own examples
/// without a panic.
fn check_admitted(
    subject: &Subject<'_>,
    events: &[Event],
    warnings: &mut Warnings,
) -> Result<(), Box<Broken>> {
    for (hook, part, types) in hooks(subject) {
        let asked = some_of(events, ADMITTED_EVENTS_MAX, |event| types.contains(&event.type_number));
        let wire: Vec<_> = asked.iter().map(|event| event.wire()).collect();
        for (event, said) in asked.iter().zip(hook.ask(subject.one, &wire)) {
            let Some(error) = said.panic() else { continue };
            let is_admit = matches!(hook, Hook::Admit(_));
            if (is_admit && event.source == Source::Ordinary) || (!is_admit && subject.admits(event)) {
                let difference = Difference::failed(format!("`{}` of {}", hook.word(), event.key), error);
                return Err(subject.broken(&part, *difference, &[*event]));
            }
            warnings.add(error);
        }
    }
    Ok(())
}

/// Keys are read alike each time, and deltas decode to what they were.
fn check_keyspace(subject: &Subject<'_>, index: u32, runs: &[Run<'_>]) -> Result<(), Box<Broken>> {
    let declared = subject.one.declaration().keyspaces.get(index as usize);
    let part = Part::keyspace(declared.map_or("", |declared| &declared.name));
    let keys: Vec<&[u8]> = runs.iter().take(KEYS_MAX).map(|run| run.key.as_slice()).collect();
    purity::check_keys(subject, &part, index, &keys)?;
    let deltas = runs.iter().flat_map(|run| &run.entries).flat_map(|entry| &entry.deltas);
    let deltas: Vec<&[u8]> = deltas.take(SPOILT_MAX).map(Vec::as_slice).collect();
    let recode = |delta: &[u8]| subject.one.recode(&Services::default(), index, delta);
    garbage::check_codec("delta", &deltas, recode).map_err(|fault| subject.broken(&part, *fault, &[]))
}

fn trial<'t>(subject: &Subject<'t>, view: (u32, &ViewDeclaration), run: &'t Run<'_>) -> Trial<'t> {
    let (index, ViewDeclaration { keyspace, algebra, .. }) = view;
    let Run { key, is_group, .. } = run;
    Trial { subject: *subject, view: index, keyspace: *keyspace, algebra: *algebra, key, is_group: *is_group }
}

/// Every law that the View promises, on one run. False if the run is not for this View. A call that fails on extreme
/// values (numbers that overflow) is a warning.
fn check_run(
    subject: &Subject<'_>,
    view: (u32, &ViewDeclaration),
    run: &Run<'_>,
    warnings: &mut Warnings,
) -> Result<bool, Box<Broken>> {
    let (_, declared) = view;
    if run.is_group && !promises(declared.algebra, laterbase_plugin::declare::AlgebraKind::Associative) {
        return Ok(false);
    }
    let trial = trial(subject, view, run);
    let all: Vec<&Entry<'_>> = run.entries.iter().collect();
    let parts = parts(&all);
    let suspect = differs_elsewhere(&trial, &parts).map(|part| (on_another_thread as LawFn, part));
    let laws = LAWS.iter().filter(|(needed, _)| promises(declared.algebra, *needed));
    let laws = laws.flat_map(|(_, law)| parts.iter().map(move |part| (*law, *part)));
    for (law, part) in suspect.into_iter().chain(laws) {
        let Err(difference) = law(&trial, part) else { continue };
        let is_same = |some: Events<'_, '_>| law(&trial, some).is_err_and(|it| it.law == difference.law);
        let smallest = shrink(part, &mut |some| is_same(some));
        let difference = law(&trial, &smallest).err().unwrap_or(difference);
        let events: Vec<&Event> = smallest.iter().map(|entry| entry.event).collect();
        let may_fail = events.iter().any(|event| event.source == Source::Extreme || !subject.admits(event));
        if difference.law == Law::Sound && may_fail && !events.is_empty() {
            warnings.of_view(&declared.name, &difference);
            return Ok(true);
        }
        return Err(subject.broken(&Part::view(&declared.name, declared.algebra), *difference, &events));
    }
    Ok(true)
}

/// Neighbours, short stretches, and the whole: what is wrong about two events is seen on these two first, and shown by
/// them.
fn parts<'r, 'e>(run: Events<'r, 'e>) -> Vec<Events<'r, 'e>> {
    let spread = |size: usize, most: usize| {
        let step = run.len().div_ceil(most).max(1);
        run.windows(size).step_by(step).take(most)
    };
    let mut parts: Vec<Events<'r, 'e>> = spread(2, PAIRS_MAX).chain(spread(STRETCH, STRETCHES_MAX)).collect();
    parts.push(run);
    parts
}

/// Bytes that are no states are called corrupt.
fn check_states(
    subject: &Subject<'_>,
    view: (u32, &ViewDeclaration),
    runs: &[Run<'_>],
) -> Result<(), Box<Broken>> {
    let (index, declared) = view;
    let mut states = Vec::new();
    for run in runs.iter().take(SPOILT_MAX) {
        let entries: Vec<&Entry<'_>> = run.entries.iter().collect();
        states.extend(trial(subject, view, run).fold(None, &entries));
    }
    let states: Vec<&[u8]> = states.iter().map(Vec::as_slice).collect();
    let recode = |state: &[u8]| subject.one.fold(&Services::default(), index, Some(state), &[]).map(Some);
    let part = Part::view(&declared.name, declared.algebra);
    garbage::check_codec("state", &states, recode).map_err(|fault| subject.broken(&part, *fault, &[]))
}
