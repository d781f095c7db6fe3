//! `laterbase plugin inspect` and `check`, and the child process that tries a library.

use super::{CheckArguments, EXIT_CONFIG, fail};
use crate::admit::{Content, Desk};
use crate::config::Config;
use crate::core::limits::{Limits, SAMPLE_EVENTS_MAX};
use crate::plugin::inspect as inspect_file;
use crate::plugin::laws::Shown;
use crate::plugin::probe::{self, Probe};
use crate::plugin::registry::{Options, Registry};
use crate::plugin::{Broken, Events, LoadError, NoEvents, Sample, Status, Tried};
use crate::problem::Code;
use crate::wall::{SystemWall, Wall};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Shows the `.laterbase` section: no code of the library runs.
pub(super) fn inspect(library: &Path) -> ExitCode {
    let section = match inspect_file(library) {
        Ok(section) => section,
        Err(fault) => return fail(1, &format!("{}: {fault}", fault.code().word())),
    };
    say!("name     {}", section.name);
    say!("version  {}", section.version);
    say!(
        "api      {} (abi {}, this program speaks {})",
        section.api,
        section.abi,
        laterbase_plugin::abi::ABI
    );
    say!("entry    {}", section.entry);
    say!("panics   {}", if section.unwinds { "unwind" } else { "abort" });
    say!("target   {}", section.target);
    ExitCode::SUCCESS
}

/// Loads the library as the server would, first in a child that tries its laws, and shows what it offers.
pub(super) fn check(arguments: &CheckArguments) -> ExitCode {
    let config = match arguments.config.as_deref().map(Config::read).transpose() {
        Ok(config) => config.unwrap_or_default(),
        Err(fault) => return fail(EXIT_CONFIG, &fault.to_string()),
    };
    let scratch = std::env::temp_dir().join(format!("laterbase-check-{}", std::process::id()));
    let checked = check_in(&scratch, arguments, &config);
    // Nothing depends on the folder any more; it may not even have been made.
    let _removed = std::fs::remove_dir_all(&scratch);
    match checked {
        Ok(registry) => {
            registry.status().into_iter().for_each(show);
            ExitCode::SUCCESS
        }
        Err(exit) => exit,
    }
}

fn check_in(scratch: &Path, arguments: &CheckArguments, config: &Config) -> Result<Registry, ExitCode> {
    let registry = load(scratch, arguments, config, Arc::new(NoEvents))?;
    let Some(file) = &arguments.events else { return Ok(registry) };
    let given = given(&registry, arguments, file, &config.limits());
    let given = given.map_err(|fault| fail(1, &format!("{}: {fault}", file.display())))?;
    load(scratch, arguments, config, Arc::new(given))
}

pub(super) fn load(
    scratch: &Path,
    arguments: &CheckArguments,
    config: &Config,
    events: Arc<dyn Events>,
) -> Result<Registry, ExitCode> {
    let plugins = config.plugin.iter().map(|(name, plugin)| (name.clone(), plugin.roots.clone()));
    let registry = Registry::new(Options {
        probe: std::env::current_exe().ok().map(Probe::new),
        events,
        configurations: Arc::new(plugins.collect::<BTreeMap<_, _>>()),
        ..Options::new(scratch.to_owned())
    });
    match registry.load_file(&arguments.library, SystemWall.now(), &mut |_| Ok(())) {
        Ok(_) => Ok(registry),
        Err(LoadError::LawBroken(broken)) => {
            show_broken(&broken);
            Err(fail(
                1,
                &format!(
                    "{}: {} {} is not what it declares",
                    Code::LawBroken.word(),
                    broken.part,
                    broken.name
                ),
            ))
        }
        Err(fault) => Err(fail(1, &format!("{}: {fault}", fault.code().word()))),
    }
}

/// The events of a file for one Root.
#[derive(Debug)]
struct Given {
    root: String,
    events: Vec<Sample>,
}

impl Events for Given {
    fn sample(&self, root: &str) -> Vec<Sample> {
        if root == self.root { self.events.clone() } else { Vec::new() }
    }
}

/// Events as the server would store them.
pub(super) struct Read {
    /// The Root that they are for.
    pub(super) root: String,
    /// All of them.
    pub(super) events: Vec<Sample>,
}

/// Some events of `file` from all its parts, as many as can be tried.
fn given(
    registry: &Registry,
    arguments: &CheckArguments,
    file: &Path,
    limits: &Limits,
) -> Result<Given, String> {
    let Read { root, events } = read(registry, arguments, file, limits)?;
    let step = events.len().div_ceil(SAMPLE_EVENTS_MAX).max(1);
    Ok(Given { root, events: events.into_iter().step_by(step).collect() })
}

/// The events in `file` as the server would store them.
pub(super) fn read(
    registry: &Registry,
    arguments: &CheckArguments,
    file: &Path,
    limits: &Limits,
) -> Result<Read, String> {
    let catalog = registry.catalog();
    let names: Vec<&str> = catalog.roots().map(|root| root.name()).collect();
    let root = match (&arguments.root, names.as_slice()) {
        (Some(root), _) => root.as_str(),
        (None, [only]) => only,
        (None, _) => {
            return Err(format!("which root are they for? Add --root with one of {}", names.join(", ")));
        }
    };
    let offered = catalog.root(root).ok_or_else(|| format!("the plugin has no root {root}"))?;
    let content = match &arguments.format {
        Some(name) => Content::Format { name: name.clone(), content_type: "application/json".to_owned() },
        None if file.extension().is_some_and(|ending| ending == "ndjson") => Content::Ndjson,
        None => Content::Json,
    };
    let body = std::fs::read(file).map_err(|fault| fault.to_string())?;
    let limits = Limits { request_events_max: usize::MAX, ..limits.clone() };
    let desk = Desk { limits: Arc::new(limits), wall: Arc::new(SystemWall) };
    let events = desk.read(offered, body.into(), content).map_err(|fault| fault.detail)?;
    Ok(Read { root: root.to_owned(), events })
}

/// What a sound plugin offers, and what it was tried on.
fn show(plugin: Status) {
    say!("{} {}: sound", plugin.name.unwrap_or_default(), plugin.version.unwrap_or_default());
    for root in plugin.roots {
        say!("  root {}", root.root);
        for (what, names) in [
            ("types", root.types),
            ("formats", root.formats),
            ("views", root.views),
            ("reports", root.reports),
        ] {
            say!("    {what:<8} {}", if names.is_empty() { "-".to_owned() } else { names.join(", ") });
        }
        let Some(Tried { given, made_up, runs, warnings }) = plugin.trials.get(&root.root) else { continue };
        say!("    laws     hold on {given} given and {made_up} made-up events, {runs} runs");
        for warning in warnings {
            say!("    warning  {warning}");
        }
    }
}

/// The counterexample for a person.
fn show_broken(broken: &Broken) {
    let Broken { plugin, root, part, name, law, events, events_count, first, second, .. } = broken;
    say!("{plugin}, root {root}: {part} {name} breaks the law `{}`", law.word());
    say!("  it should be true that {}", law.sentence());
    if let Some(algebra) = broken.algebra {
        say!("  the view declares {algebra:?}");
    }
    for event in events {
        let made_up = if event.made_up { " (made up)" } else { "" };
        say!("  event {} type {} version {}{made_up}", event.key, event.type_number, event.version);
        say!("    {}", event.data);
    }
    if *events_count > events.len() {
        say!("  and {} more events", events_count - events.len());
    }
    for Shown { what, value, hex } in [first, second] {
        say!("  {what}");
        say!("    {value}");
        if !hex.is_empty() {
            say!("    0x{hex}");
        }
    }
}

/// The child's side of a trial.
pub(super) fn probe(_arguments: &[String]) -> ExitCode {
    ExitCode::from(u8::try_from(probe::main()).unwrap_or(1))
}
