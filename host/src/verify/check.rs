//! The check of one Root by a child process, and what it found.
//!
//! The child is this program again with a hidden subcommand: a damaged page may end the process that maps it, and then
//! the others are checked still. It writes what it finds as JSON lines to its standard output.

use super::{Kept, counted};
use crate::core::tables::TableError;
use crate::store::OpenError;
use crate::store::verify::{self as store, Counts, Fault, scan, scan_shared};
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// The hidden subcommand of the child.
const SUBCOMMAND: &str = "verify-root";
/// Faults of one Root that are printed.
const FAULTS_SHOWN: usize = 100;

/// What the child says, as lines of JSON; the last one when it has come to the end.
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

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checked {
    /// Events and Origins, if the check came to its end.
    counts: Option<(u64, u64)>,
    /// Rows that do not hold.
    pub(super) faults: usize,
    /// Events that are gone and whose dots are there.
    missing: u64,
    /// The first faults.
    shown: Vec<String>,
}

/// Lets a child, `program` with a hidden subcommand, check the Root in `folder`; `is_shared`: while this process
/// writes it. `progress` hears of the rows read and those that there are.
pub fn check(
    program: &Path,
    folder: &Path,
    is_shared: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Checked> {
    let mut outcome = Checked::default();
    let events = folder.join("events");
    let used = folder.join("derived").exists() || events.join("lock.mdb").exists();
    if used && !events.join("data.mdb").exists() {
        outcome.fault("data.mdb", "", "the file is missing, and it was in use before");
        return Ok(outcome);
    }
    let mut child = Command::new(program);
    child.arg(SUBCOMMAND).args(is_shared.then_some("--shared")).arg(&events);
    let mut child = child.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let said = child.stdout.take().map(BufReader::new);
    for line in said.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        // The line in which the child died is no line.
        let Ok(line) = serde_json::from_str(&line) else { continue };
        match line {
            Line::Progress { rows, rows_max } => progress(rows, rows_max),
            Line::Fault { table, row, reason, missing } => {
                outcome.missing += u64::from(missing.is_some());
                outcome.fault(&table, &row, &reason);
            }
            Line::End { events, origins } => outcome.counts = Some((events, origins)),
        }
    }
    let status = child.wait()?;
    if !status.success() {
        outcome.fault("data.mdb", "", &death(status));
    }
    Ok(outcome)
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

impl Checked {
    fn fault(&mut self, table: &str, row: &str, reason: &str) {
        self.faults += 1;
        if self.shown.len() < FAULTS_SHOWN {
            let space = if row.is_empty() { "" } else { " " };
            self.shown.push(format!("  {table}{space}{row}: {reason}"));
        }
    }

    /// Whether the check came to its end.
    pub fn is_finished(&self) -> bool {
        self.counts.is_some()
    }

    /// What to print.
    pub(super) fn lines(&self, name: &str, folder: &Path, kept: Kept<'_>) -> Vec<String> {
        let Self { counts, faults, missing, shown } = self;
        if let (Some((events, origins)), 0) = (counts, faults) {
            return vec![format!(
                "{name}: {}, {}: whole",
                counted(*events, "event"),
                counted(*origins, "origin")
            )];
        }
        let mut lines = vec![format!("{name}: {}", counted(*faults as u64, "fault"))];
        lines.extend_from_slice(shown);
        if *faults > shown.len() {
            lines.push(format!("  and {} more", HumanCount((faults - shown.len()) as u64)));
        }
        let (server, stop) = match kept {
            Kept::Stopped => (String::new(), ""),
            Kept::By(server) => (format!(" --server {server}"), "stop the server and "),
        };
        if *missing > 0 {
            let what = counted(*missing, "missing event");
            lines.push(format!("  to fetch {what} from a peer: laterbase verify{server} --peer URL {name}"));
        }
        let folder = folder.display();
        lines.push(format!(
            "  to heal the whole: {stop}put a backup, or a peer's copy, in the place of {folder}"
        ));
        lines
    }
}

/// The child's side: reads every row and says what it finds.
pub fn child(events: &Path, is_shared: bool, say: &mut dyn FnMut(&serde_json::Value)) {
    let mut say = |line: &Line| say(&serde_json::json!(line));
    let mut report = |report| {
        say(&match report {
            store::Report::Progress { rows, rows_max } => Line::Progress { rows, rows_max },
            store::Report::Fault(fault) => fault.into(),
        });
    };
    let scanned = if is_shared { scan_shared(events, &mut report) } else { scan(events, &mut report) };
    say(&match scanned {
        Ok(Counts { events, origins, .. }) => Line::End { events, origins },
        Err(fault) => refusal(fault),
    });
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
