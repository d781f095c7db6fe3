//! `laterbase verify`: whether the events on disk are what was written, while no server uses them, or, with `--server`,
//! asked of the server that does (`ask.rs`).

use super::{EXIT_IN_USE, EXIT_USAGE, VerifyArguments, ask, fail, repair};
use crate::store::{DataLock, LockError};
use crate::verify::{Kept, Report, check, child};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(arguments: &VerifyArguments) -> ExitCode {
    if let Some(server) = &arguments.server {
        return ask::run(server, arguments.peer.as_ref(), &arguments.roots);
    }
    let data = &arguments.data;
    if !data.is_dir() {
        return fail(EXIT_USAGE, &format!("{}: there is no such data directory", data.display()));
    }
    let _lock = match DataLock::take(data) {
        Ok(lock) => lock,
        Err(fault @ LockError::Held { .. }) => {
            let hint = "ask the server itself: laterbase verify --server URL";
            return fail(EXIT_IN_USE, &format!("{fault}; {hint}"));
        }
        Err(fault @ LockError::Io { .. }) => return fail(1, &fault.to_string()),
    };
    let roots = match roots(data, &arguments.roots) {
        Ok(roots) => roots,
        Err(fault) => return fail(EXIT_USAGE, &fault),
    };
    if roots.is_empty() {
        say!("{}: no roots", data.display());
    }
    let mut is_whole = true;
    for (name, folder) in roots {
        let report = match report(&name, &folder, arguments) {
            Ok(report) => report,
            Err(fault) => return fail(1, &format!("{name}: the check does not start: {fault}")),
        };
        is_whole &= report.is_whole();
        for line in report.lines(&name, &folder, arguments.peer.as_ref(), Kept::Stopped) {
            say!("{line}");
        }
    }
    if is_whole { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn report(name: &str, folder: &Path, arguments: &VerifyArguments) -> io::Result<Report> {
    let program = std::env::current_exe()?;
    let mut check = || {
        let bar = progress_bar(name);
        let checked = check(&program, folder, false, &mut |rows, rows_max| {
            bar.set_length(rows_max);
            bar.set_position(rows);
        });
        bar.finish_and_clear();
        checked
    };
    let Some(peer) = &arguments.peer else { return Report::make(&mut check, None) };
    Report::make(&mut check, Some(&mut |_| repair::run(name, &folder.join("events"), peer)))
}

/// The Roots that are named, or all, with their folders.
fn roots(data: &Path, named: &[String]) -> Result<Vec<(String, PathBuf)>, String> {
    let folder = data.join("roots");
    let mut roots = Vec::new();
    if folder.exists() {
        let at = |fault: io::Error| format!("{}: {fault}", folder.display());
        for found in fs::read_dir(&folder).map_err(at)? {
            let found = found.map_err(at)?;
            if let Ok(name) = found.file_name().into_string() {
                roots.push((name, found.path()));
            }
        }
    }
    roots.sort();
    if let Some(strange) = named.iter().find(|name| !roots.iter().any(|(root, _)| root == *name)) {
        let there: Vec<&str> = roots.iter().map(|(root, _)| root.as_str()).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(format!("{}: there is no root {strange:?}; there are: {there}", data.display()));
    }
    roots.retain(|(root, _)| named.is_empty() || named.contains(root));
    Ok(roots)
}

/// Shown on a terminal only.
pub(super) fn progress_bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(name.to_owned());
    match ProgressStyle::with_template("{prefix} {wide_bar} {human_pos} of {human_len} rows") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The child's side. Panics when nobody listens any more, which ends the child.
pub(super) fn run_child(events: &Path, is_shared: bool) -> ExitCode {
    child(events, is_shared, &mut |line| say!("{line}"));
    ExitCode::SUCCESS
}
