//! `laterbase plugin bench`: what each hook of a plugin costs on given events, through the same boundary as in the
//! server.
//!
//! Every figure is the best of several runs over all events, because a neighbour can only slow one down. A fold is
//! measured as the server calls it after a rebuild: for each aggregate all its deltas in the order of their events.

use super::plugin::{Read, load, read};
use super::{CheckArguments, EXIT_CONFIG, EXIT_USAGE, fail};
use crate::config::Config;
use crate::core::event::{EventKey, Value};
use crate::plugin::{
    CallError, DeltaRef, KeyspaceRef, Mapping, NoEvents, RootCatalog, Sample, Services, ViewRef, delta_ref,
    event_ref,
};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often each hook runs over all events.
const RUNS: usize = 3;

/// The deltas of one aggregate, in the order of their events.
type Runs<'m> = BTreeMap<&'m [u8], Vec<(EventKey, &'m [u8])>>;

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let Some(file) = &arguments.events else {
        return fail(EXIT_USAGE, "plugin bench measures on events: add --events FILE");
    };
    let config = match arguments.config.as_deref().map(Config::read).transpose() {
        Ok(config) => config.unwrap_or_default(),
        Err(fault) => return fail(EXIT_CONFIG, &fault.to_string()),
    };
    let scratch = std::env::temp_dir().join(format!("laterbase-bench-{}", std::process::id()));
    let loaded = load(&scratch, arguments, &config, Arc::new(NoEvents));
    let outcome = loaded.map(|registry| {
        let reading = timed(|| read(&registry, arguments, file, &config.limits()));
        let (Read { root, events }, took) = (reading.0?, reading.1);
        let catalog = registry.catalog();
        let root = catalog.root(&root).ok_or_else(|| format!("the plugin has no root {root}"))?;
        measure(root, &events, took).map_err(|fault| fault.to_string())
    });
    // Nothing depends on the folder any more; it may not even have been made.
    let _removed = std::fs::remove_dir_all(&scratch);
    match outcome {
        Ok(Ok(lines)) => {
            for line in lines {
                say!("{line}");
            }
            ExitCode::SUCCESS
        }
        Ok(Err(fault)) => fail(1, &format!("{}: {fault}", file.display())),
        Err(exit) => exit,
    }
}

/// A line for each hook of each part that the root has.
fn measure(root: &RootCatalog, events: &[Sample], took: Duration) -> Result<Vec<String>, CallError> {
    let services = Services::default();
    let mut stored: Vec<_> = events.iter().collect();
    stored.sort_by_key(|event| event.key);
    let stored: Vec<_> = stored.into_iter().map(|event| event_ref(event.key, value(event))).collect();
    let mut lines = vec![format!("root {}: {} events", root.name(), stored.len())];
    lines.push(line("body", "read and admit", took, stored.len(), "event"));
    let upcast_took = best(|| Ok(root.upcast(&services, &stored)))?;
    lines.push(line("schemas", "upcast", upcast_took, stored.len(), "event"));
    let newest = root.upcast(&services, &stored);
    let newest: Vec<_> = newest.iter().flatten().map(crate::plugin::Upcast::event_ref).collect();
    let admit_took = best(|| root.admit(&services, &newest))?;
    lines.push(line("schemas", "admit", admit_took, newest.len(), "event"));
    for keyspace in root.keyspaces() {
        let taken = newest.iter().filter(|event| keyspace.takes(event.type_number)).copied();
        let taken: Vec<_> = taken.collect();
        let map = || keyspace.instance.map(&services, keyspace.index, &taken);
        let map_took = best(map)?;
        lines.push(line(keyspace.name(), "map", map_took, taken.len(), "event"));
        let mapping = map()?;
        let runs = runs(&mapping, &taken);
        lines.push(sizes(&mapping, &runs, taken.len()));
        for view in root.views().filter(|view| is_over(view, keyspace)) {
            lines.extend(fold(&services, view, &runs, mapping.rows().count())?);
        }
    }
    Ok(lines)
}

fn is_over(view: &ViewRef, keyspace: &KeyspaceRef) -> bool {
    Arc::ptr_eq(&view.instance, &keyspace.instance) && view.keyspace.index == keyspace.index
}

/// The deltas by aggregate.
fn runs<'m>(mapping: &'m Mapping, events: &[laterbase_plugin::EventRef<'_>]) -> Runs<'m> {
    let mut runs = Runs::new();
    for (at, key, delta) in mapping.rows() {
        let event = events.get(at).expect("the mapping's indexes are checked").key;
        runs.entry(key).or_default().push((event, delta));
    }
    runs
}

fn sizes(mapping: &Mapping, runs: &Runs<'_>, events: usize) -> String {
    let rows = mapping.rows().count();
    let bytes: usize = mapping.rows().map(|(_, key, delta)| key.len() + delta.len()).sum();
    let longest = runs.values().map(Vec::len).max().unwrap_or_default();
    format!(
        "    {} rows of {} bytes for an event, {} aggregates, the longest of {longest} events, {} failures",
        ratio(rows, events),
        ratio(bytes, rows),
        runs.len(),
        mapping.failures().len()
    )
}

fn fold(services: &Services, view: &ViewRef, runs: &Runs<'_>, rows: usize) -> Result<[String; 2], CallError> {
    let lent = |run: &Vec<(EventKey, &'_ [u8])>| -> Vec<(EventKey, Vec<u8>)> {
        run.iter().map(|(event, delta)| (*event, delta.to_vec())).collect()
    };
    let owned: Vec<_> = runs.values().map(lent).collect();
    let deltas: Vec<Vec<DeltaRef<'_>>> =
        owned.iter().map(|run| run.iter().map(|(event, delta)| delta_ref(*event, delta)).collect()).collect();
    let all = || {
        let states = deltas.iter().map(|run| view.instance.fold(services, view.index, None, run));
        states.collect::<Result<Vec<_>, _>>()
    };
    let took = best(all)?;
    let states = all()?;
    let bytes: usize = states.iter().map(Vec::len).sum();
    let largest = states.iter().map(Vec::len).max().unwrap_or_default();
    Ok([
        line(view.name(), "fold", took, rows, "delta"),
        format!("    states of {} bytes, the largest {largest}", ratio(bytes, states.len())),
    ])
}

fn value(event: &Sample) -> Value<'_> {
    Value { type_number: event.type_number, version: event.version, data: &event.data }
}

/// The shortest time that `work` took.
fn best<T>(mut work: impl FnMut() -> Result<T, CallError>) -> Result<Duration, CallError> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let (done, took) = timed(&mut work);
        black_box(done?);
        best = best.min(took);
    }
    Ok(best)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (work(), begun.elapsed())
}

fn line(part: &str, hook: &str, took: Duration, count: usize, of: &str) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let each_ns = took.as_secs_f64() * 1e9 / count.max(1) as f64;
    format!("  {part:<20} {hook:<14} {each_ns:>9.0} ns a {of}, {:>11.0} a second", 1e9 / each_ns.max(1e-3))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ratio(of: usize, to: usize) -> String {
    format!("{:.1}", of as f64 / to.max(1) as f64)
}
