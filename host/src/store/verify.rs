//! Reads every row of a Root's events and compares each with all others that speak of the same thing.
//!
//! ```text
//! events, clashes   row -> its dots' rows name it; the value is the one that the hash names; the least one holds
//! dots              seqs from 1 without a gap; each sum follows on the one before; the event is there and has it
//! origins           names the last dot of each Origin
//! arrivals          from 1 without a gap; each check follows on the one before; the dot names the same event
//! stamps, pins      the two rows of each are there and agree
//! meta              the head counts what there is and names the last arrival
//! ```
//! Nothing is written. A row that does not hold is reported and the scan goes on; a table whose pages cannot be walked
//! is left at that point. LMDB trusts its pages, and a damaged one may end the process: whoever looks at a file that
//! may be damaged does so in a child process.
//!
//! Each row is reported once. An event that dots name and that cannot be read is reported with its name, so that it
//! can be fetched from a replica and put back (`restore.rs`).

mod checks;

use super::datafile::{self, Found};
use super::environment::{ALL_KEYS, Environment, EnvironmentError, Kind, ReadTxn, Rows, Table};
use super::lmdb::{FORMAT_KEY, FORMAT_VERSION, OpenError, TABLES_MAX};
use super::rows::{
    ARRIVALS, CLASHES, DOTS, Decoder, EVENTS, HEALED, META, ORIGINS, PINS, STAMPS, clash_key, corrupt,
};
use crate::core::event::{Dot, EventKey, ValueHash};
use crate::core::tables::{Result, TableError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Progress is told after so many rows.
const ROWS_PER_PROGRESS: u64 = 4096;

/// One row that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The table's name; `pages` for what is below the tables.
    pub table: &'static str,
    /// The row's key in hex; empty where the table as a whole is meant.
    pub row: String,
    /// What does not hold.
    pub reason: String,
    /// An event whose dots are there, but which cannot be read itself.
    pub missing: Option<(EventKey, ValueHash)>,
}

/// What there is in the tables, damaged rows included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events that hold their key.
    pub events: u64,
    /// Values that lost their key.
    pub losers: u64,
    /// Dots.
    pub dots: u64,
    /// Origins.
    pub origins: u64,
    /// Arrivals.
    pub arrivals: u64,
}

/// What a scan tells while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A row does not hold.
    Fault(Fault),
    /// How far the scan is.
    Progress {
        /// Rows that were read.
        rows: u64,
        /// Rows that there are.
        rows_max: u64,
    },
}

/// Checks the events in `dir`, which no process uses, and tells each fault.
pub fn verify(dir: &Path, found: &mut dyn FnMut(Fault)) -> std::result::Result<Counts, OpenError> {
    scan(dir, &mut |report| match report {
        Report::Fault(fault) => found(fault),
        Report::Progress { .. } => {}
    })
}

/// As [`verify`], and tells how far it is as well.
pub fn scan(dir: &Path, report: &mut dyn FnMut(Report)) -> std::result::Result<Counts, OpenError> {
    let found = datafile::look(dir).map_err(EnvironmentError::from)?;
    if found == Found::Nothing {
        return Ok(Counts::default());
    }
    scan_in(&Environment::open(dir, Kind::Durable, TABLES_MAX)?, dir, report)
}

/// As [`scan`], while another process may write: what it checks is the last commit before it begins.
pub fn scan_shared(dir: &Path, report: &mut dyn FnMut(Report)) -> std::result::Result<Counts, OpenError> {
    scan_in(&Environment::open_shared(dir, TABLES_MAX)?, dir, report)
}

fn scan_in(
    environment: &Environment,
    dir: &Path,
    report: &mut dyn FnMut(Report),
) -> std::result::Result<Counts, OpenError> {
    let at = |source| OpenError::Tables { path: dir.to_owned(), source };
    let names = environment.table_names().map_err(at)?;
    if names.is_empty() {
        return Ok(Counts::default());
    }
    if !names.iter().any(|name| name == META) {
        return Err(OpenError::NotEvents { path: dir.to_owned() });
    }
    let tables = Source::open(environment, &names).map_err(at)?;
    let mut found =
        Findings::new(report, tables.all.values().filter_map(|table| tables.rows.len(table).ok()));
    match tables.format() {
        Ok(Some(FORMAT_VERSION)) => {}
        Ok(Some(version)) => return Err(OpenError::NewerFormat { path: dir.to_owned(), found: version }),
        // The tables were made, and the first commit never came.
        Ok(None) if tables.is_empty() => return Ok(Counts::default()),
        Ok(None) => found.fault(META, FORMAT_KEY, "the row is missing"),
        Err(error) => found.error(error, META, FORMAT_KEY),
    }
    Ok(checks::check_all(&tables, &mut found))
}

/// Looks at one row: its key and its bytes.
type Visit<'v> = dyn FnMut(&mut Findings<'_>, &[u8], &[u8]) -> Result<()> + 'v;

/// The tables that are there, in one reader.
struct Source<'e> {
    rows: ReadTxn<'e>,
    all: BTreeMap<&'static str, Table>,
}

impl<'e> Source<'e> {
    fn open(environment: &'e Environment, names: &[String]) -> Result<Self> {
        let mut all = BTreeMap::new();
        for known in [EVENTS, CLASHES, DOTS, ARRIVALS, STAMPS, PINS, HEALED, ORIGINS, META] {
            if names.iter().any(|name| name == known) {
                all.insert(known, environment.table(known)?);
            }
        }
        Ok(Self { rows: environment.read()?, all })
    }

    fn get(&self, table: &'static str, key: &[u8]) -> Result<Option<&[u8]>> {
        self.all.get(table).map_or(Ok(None), |table| self.rows.get(table, key))
    }

    fn format(&self) -> Result<Option<u32>> {
        let Some(row) = self.get(META, FORMAT_KEY)? else { return Ok(None) };
        let mut row = Decoder::open(META, FORMAT_KEY, row)?;
        let version = row.word()?;
        row.end().map(|()| Some(version))
    }

    fn is_empty(&self) -> bool {
        self.all.values().all(|table| matches!(self.rows.len(table), Ok(0)))
    }

    /// Shows every row; an error of `visit` is a fault of that row. Gives the number of rows.
    fn each(&self, found: &mut Findings<'_>, name: &'static str, visit: &mut Visit<'_>) -> u64 {
        let Some(table) = self.all.get(name) else {
            found.fault(name, &[], "the table is missing");
            return 0;
        };
        let mut visited = 0;
        let walked = self.walk(table, name, &mut |key, row| {
            visited += 1;
            found.progress();
            if let Err(error) = visit(found, key, row) {
                found.error(error, name, key);
            }
        });
        let walked = walked.and_then(|()| {
            let right = self.rows.len(table)? == visited;
            right
                .then_some(())
                .ok_or_else(|| corrupt(name, &[], "the table has more or fewer rows than it says"))
        });
        if let Err(error) = walked {
            found.error(error, name, &[]);
        }
        visited
    }

    /// Ends at the first key that does not ascend: damaged pages may lead in a circle.
    fn walk(&self, table: &Table, name: &'static str, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let mut last: Option<&[u8]> = None;
        for row in self.rows.range(table, ALL_KEYS)? {
            let (key, row) = row?;
            if last.is_some_and(|last| last >= key) {
                return Err(corrupt(
                    name,
                    key,
                    "the key is not greater than the one before; the rest is not read",
                ));
            }
            last = Some(key);
            visit(key, row);
        }
        Ok(())
    }
}

/// What was found so far.
struct Findings<'f> {
    report: &'f mut dyn FnMut(Report),
    rows: u64,
    rows_max: u64,
    /// The rows that were reported.
    reported: BTreeSet<(&'static str, Vec<u8>)>,
    /// Rows of events that cannot be read: reported when a dot has told which event it was, or at the end.
    unreadable: BTreeMap<(&'static str, Vec<u8>), String>,
    missing: BTreeSet<(EventKey, ValueHash)>,
}

impl<'f> Findings<'f> {
    fn new(report: &'f mut dyn FnMut(Report), counts: impl Iterator<Item = u64>) -> Self {
        Self {
            report,
            rows: 0,
            rows_max: counts.sum(),
            reported: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            missing: BTreeSet::new(),
        }
    }

    fn progress(&mut self) {
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_PER_PROGRESS) {
            (self.report)(Report::Progress { rows: self.rows, rows_max: self.rows_max });
        }
    }

    fn fault(&mut self, table: &'static str, key: &[u8], reason: impl Into<String>) {
        if self.reported.insert((table, key.to_vec())) {
            let row = data_encoding::HEXLOWER.encode(key);
            (self.report)(Report::Fault(Fault { table, row, reason: reason.into(), missing: None }));
        }
    }

    /// An error at reading the row `key` of `table`; a corrupt one names its row itself.
    fn error(&mut self, error: TableError, table: &'static str, key: &[u8]) {
        match error {
            TableError::Corrupt { table, row, reason } => {
                let key = data_encoding::HEXLOWER.decode(row.as_bytes()).unwrap_or_default();
                self.fault(table, &key, reason);
            }
            other @ (TableError::MapFull
            | TableError::DiskFull(_)
            | TableError::Io(_)
            | TableError::Poisoned) => self.fault(table, key, other.to_string()),
        }
    }

    fn unreadable(&mut self, table: &'static str, key: &[u8], reason: String) {
        self.unreadable.entry((table, key.to_vec())).or_insert(reason);
    }

    /// An event that `dot` names is in neither table.
    fn missing(&mut self, dot: Dot, key: EventKey, hash: ValueHash, clash: bool) {
        if !self.missing.insert((key, hash)) {
            return;
        }
        let lost = clash_key(key, hash);
        let places = [(EVENTS, key.0.to_vec()), (CLASHES, lost.to_vec())];
        let [winner, loser] =
            places.map(|place| self.unreadable.remove(&place).map(|reason| (place, reason)));
        let ((table, row), reason) = winner.or(loser).unwrap_or_else(|| {
            let place = if clash { (CLASHES, lost.to_vec()) } else { (EVENTS, key.0.to_vec()) };
            (place, format!("the row is missing; the dot {dot} names it"))
        });
        let shown = data_encoding::HEXLOWER.encode(&row);
        self.reported.insert((table, row));
        (self.report)(Report::Fault(Fault { table, row: shown, reason, missing: Some((key, hash)) }));
    }

    fn finish(&mut self) {
        for ((table, key), reason) in std::mem::take(&mut self.unreadable) {
            self.fault(table, &key, reason);
        }
        (self.report)(Report::Progress { rows: self.rows_max, rows_max: self.rows_max });
    }
}
