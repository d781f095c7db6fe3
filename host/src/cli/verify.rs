//! `laterbase verify`: whether the events on disk are what was written, checked while no server uses them.
//!
//! Each Root is read by a child process, this program again with a hidden subcommand: a damaged page may end the
//! process that maps it, and then the others are checked still. The child writes what it finds as JSON lines to its
//! standard output, the last one when it has come to the end.

use super::{EXIT_IN_USE, EXIT_USAGE, VerifyArguments, fail, repair};
use crate::core::tables::TableError;
use crate::peers::PeerAddress;
use crate::store::verify::{Counts, Fault, Report, scan};
use crate::store::{DataLock, LockError, OpenError};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// The hidden subcommand of the child.
const SUBCOMMAND: &str = "verify-root";
/// Faults of one Root that are printed.
const FAULTS_SHOWN: usize = 100;

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Progress { rows: u64, rows_max: u64 },
    Fault { table: String, row: String, reason: String, missing: Option<Missing> },
    End { events: u64, origins: u64 },
}

/// An event whose dots are there and which is gone itself.
#[derive(Debug, Serialize, Deserialize)]
struct Missing {
    key: String,
    hash: String,
}

/// What is known of a Root in the end.
#[derive(Debug, Default)]
struct Outcome {
    /// Events and Origins, if the scan came to its end.
    counts: Option<(u64, u64)>,
    faults: usize,
    missing: u64,
    shown: Vec<String>,
}

pub(super) fn run(arguments: &VerifyArguments) -> ExitCode {
    let data = &arguments.data;
    if !data.is_dir() {
        return fail(EXIT_USAGE, &format!("{}: there is no such data directory", data.display()));
    }
    let _lock = match DataLock::take(data) {
        Ok(lock) => lock,
        Err(fault @ LockError::Held { .. }) => return fail(EXIT_IN_USE, &fault.to_string()),
        Err(fault @ LockError::Io { .. }) => return fail(1, &fault.to_string()),
    };
    let roots = match roots(data, &arguments.roots) {
        Ok(roots) => roots,
        Err(fault) => return fail(EXIT_USAGE, &fault),
    };
    if roots.is_empty() {
        println!("{}: no roots", data.display());
    }
    let mut whole = true;
    for (name, folder) in roots {
        let outcome = match check(&name, &folder) {
            Ok(outcome) => outcome,
            Err(fault) => return fail(1, &format!("{name}: the check does not start: {fault}")),
        };
        let outcome = match &arguments.peer {
            None => outcome,
            Some(peer) => match compare(&name, &folder, peer, outcome) {
                Ok((outcome, is_equal)) => {
                    whole &= is_equal;
                    outcome
                }
                Err(fault) => return fail(1, &format!("{name}: the comparison does not start: {fault}")),
            },
        };
        whole &= outcome.faults == 0;
        outcome.print(&name, &folder);
    }
    if whole { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Compares a Root with a peer, prints what came of it, and checks again if something was put back. The second answer
/// says whether the two hold the same now.
fn compare(name: &str, folder: &Path, peer: &PeerAddress, outcome: Outcome) -> io::Result<(Outcome, bool)> {
    let repaired = repair::run(name, &folder.join("events"), peer)?;
    for line in repaired.lines(name, peer) {
        println!("{line}");
    }
    let outcome = if repaired.has_restored() { check(name, folder)? } else { outcome };
    Ok((outcome, repaired.is_equal()))
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

/// Lets a child check one Root.
fn check(name: &str, folder: &Path) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let events = folder.join("events");
    let used = folder.join("derived").exists() || events.join("lock.mdb").exists();
    if used && !events.join("data.mdb").exists() {
        outcome.fault("data.mdb", "", "the file is missing, and it was in use before");
        return Ok(outcome);
    }
    let mut child = Command::new(std::env::current_exe()?);
    let child = child.arg(SUBCOMMAND).arg(&events).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = child.spawn()?;
    let bar = progress_bar(name);
    let said = child.stdout.take().map(BufReader::new);
    for line in said.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        // The line in which the child died is no line.
        let Ok(line) = serde_json::from_str(&line) else { continue };
        match line {
            Line::Progress { rows, rows_max } => {
                bar.set_length(rows_max);
                bar.set_position(rows);
            }
            Line::Fault { table, row, reason, missing } => {
                outcome.missing += u64::from(missing.is_some());
                outcome.fault(&table, &row, &reason);
            }
            Line::End { events, origins } => outcome.counts = Some((events, origins)),
        }
    }
    bar.finish_and_clear();
    let status = child.wait()?;
    if !status.success() {
        outcome.fault("data.mdb", "", &death(status));
    }
    Ok(outcome)
}

/// Shown on a terminal only.
fn progress_bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(name.to_owned());
    match ProgressStyle::with_template("{prefix} {wide_bar} {human_pos} of {human_len} rows") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// How a child ended that did not come to its end.
fn death(status: ExitStatus) -> String {
    let by = match status.signal() {
        None => return format!("the check ended without an answer ({status})"),
        Some(4) => "SIGILL".to_owned(),
        Some(6) => "SIGABRT".to_owned(),
        Some(7) => "SIGBUS".to_owned(),
        Some(8) => "SIGFPE".to_owned(),
        Some(9) => return "the check was killed from outside (SIGKILL), maybe for its memory".to_owned(),
        Some(11) => "SIGSEGV".to_owned(),
        Some(other) => format!("signal {other}"),
    };
    format!("the pages are damaged: reading them ended the check with {by}")
}

impl Outcome {
    fn fault(&mut self, table: &str, row: &str, reason: &str) {
        self.faults += 1;
        if self.shown.len() < FAULTS_SHOWN {
            let space = if row.is_empty() { "" } else { " " };
            self.shown.push(format!("  {table}{space}{row}: {reason}"));
        }
    }

    fn print(&self, name: &str, folder: &Path) {
        let Self { counts, faults, missing, shown } = self;
        if let (Some((events, origins)), 0) = (counts, faults) {
            println!("{name}: {}, {}: whole", counted(*events, "event"), counted(*origins, "origin"));
            return;
        }
        println!("{name}: {}", counted(*faults as u64, "fault"));
        for line in shown {
            println!("{line}");
        }
        if *faults > shown.len() {
            println!("  and {} more", HumanCount((faults - shown.len()) as u64));
        }
        if *missing > 0 {
            let what = counted(*missing, "missing event");
            println!("  to fetch {what} from a peer: laterbase verify --peer URL {name}");
        }
        println!("  to heal the whole: put a backup, or a peer's copy, in the place of {}", folder.display());
    }
}

fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", HumanCount(number), if number == 1 { "" } else { "s" })
}

/// The child's side.
pub(super) fn run_child(events: &Path) -> ExitCode {
    let scanned = scan(events, &mut |report| {
        say(&match report {
            Report::Progress { rows, rows_max } => Line::Progress { rows, rows_max },
            Report::Fault(fault) => fault.into(),
        });
    });
    match scanned {
        Ok(Counts { events, origins, .. }) => say(&Line::End { events, origins }),
        Err(fault) => say(&refusal(fault)),
    }
    ExitCode::SUCCESS
}

/// Panics when nobody listens any more, which ends the child.
fn say(line: &Line) {
    println!("{}", serde_json::to_string(line).expect("a line has only text and numbers"));
}

impl From<Fault> for Line {
    fn from(fault: Fault) -> Self {
        let Fault { table, row, reason, missing } = fault;
        let missing = missing.map(|(key, hash)| Missing { key: key.to_string(), hash: hash.to_string() });
        Self::Fault { table: table.to_owned(), row, reason, missing }
    }
}

/// An environment that does not open is one fault.
fn refusal(fault: OpenError) -> Line {
    let (table, row, reason) = match fault {
        OpenError::Tables { source: TableError::Corrupt { table, row, reason }, .. } => {
            (table.to_owned(), row, reason.to_owned())
        }
        other @ (OpenError::Tables { .. }
        | OpenError::Environment(_)
        | OpenError::NewerFormat { .. }
        | OpenError::NotEvents { .. }) => ("data.mdb".to_owned(), String::new(), other.to_string()),
    };
    Line::Fault { table, row, reason, missing: None }
}
