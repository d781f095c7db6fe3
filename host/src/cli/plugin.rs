//! `laterbase plugin inspect` and `check`, and the child process that tries a library.

use super::fail;
use crate::core::limits::Limits;
use crate::plugin::inspect as inspect_file;
use crate::plugin::probe::{self, Probe};
use crate::plugin::registry::{Options, Registry};
use crate::wall::{SystemWall, Wall};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Shows the `.laterbase` section: no code of the library runs.
pub(super) fn inspect(library: &Path) -> ExitCode {
    let section = match inspect_file(library) {
        Ok(section) => section,
        Err(fault) => return fail(1, &format!("{}: {fault}", fault.code().word())),
    };
    println!("name     {}", section.name);
    println!("version  {}", section.version);
    println!(
        "api      {} (abi {}, this program speaks {})",
        section.api,
        section.abi,
        laterbase_plugin::abi::ABI
    );
    println!("entry    {}", section.entry);
    println!("panics   {}", if section.unwinds { "unwind" } else { "abort" });
    println!("target   {}", section.target);
    ExitCode::SUCCESS
}

/// Loads the library as the server would, first in a child, and shows what it offers.
pub(super) fn check(library: &Path) -> ExitCode {
    let scratch = std::env::temp_dir().join(format!("laterbase-check-{}", std::process::id()));
    let registry = Registry::new(Options {
        stage: scratch.clone(),
        probe: std::env::current_exe().ok().map(Probe::new),
        configurations: BTreeMap::new(),
        program: [0; 32],
        generations_warn: Limits::default().generations_warn,
        generations_max: Limits::default().generations_max,
    });
    let checked = registry.load_file(library, SystemWall.now(), &mut |_| Ok(()));
    // Nothing depends on the folder any more; it may not even have been made.
    let _removed = std::fs::remove_dir_all(&scratch);
    if let Err(fault) = checked {
        return fail(1, &format!("{}: {fault}", fault.code().word()));
    }
    for plugin in registry.status() {
        println!("{} {}: sound", plugin.name.unwrap_or_default(), plugin.version.unwrap_or_default());
        for root in plugin.roots {
            println!("  root {}", root.root);
            for (what, names) in [
                ("types", root.types),
                ("formats", root.formats),
                ("views", root.views),
                ("reports", root.reports),
            ] {
                println!(
                    "    {what:<8} {}",
                    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
                );
            }
        }
    }
    ExitCode::SUCCESS
}

/// The child's side of a trial.
pub(super) fn probe(_arguments: &[String]) -> ExitCode {
    ExitCode::from(u8::try_from(probe::main()).unwrap_or(1))
}
