//! What became of the rows: counted, bounded in memory, the same for a dry run as for the import that follows it.
//!
//! Batches are taken in the order of the file, whenever their answers come. The first refusals are kept to be shown;
//! all go to a CSV file, if one is named.

use super::Fault;
use super::batch::{Batch, SentRow};
use super::mapping::Plan;
use super::refusal::Refusal;
use super::repeats::{Repeat, Repeats};
use super::send::{Answer, Answered};
use super::table::Table;
use crate::core::csv::write_row;
use crate::core::event::{EventKey, ValidTime};
use crate::problem::Code;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;
use std::sync::Arc;

/// How many refusals are shown.
const SHOWN_MAX: usize = 20;

/// The counts of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// The number of the last row: they are counted with the header and empty ones, as people see them.
    pub(super) last: u64,
    /// Rows that were events, or should have been.
    pub(super) rows: u64,
    /// New events.
    pub(super) written: u64,
    /// Events that were known, or stood in the file before.
    pub(super) duplicate: u64,
    /// Rows that are not in the store.
    pub(super) refused: u64,
    /// The time of the earliest event that is in the store, as its NTP64 number.
    pub(super) earliest: Option<u64>,
    /// The same of the latest.
    pub(super) latest: Option<u64>,
}

/// The report of an import or a dry run.
pub(super) struct Report {
    /// What was counted.
    pub(super) counts: Counts,
    shown: Vec<Refusal>,
    file: Option<BufWriter<File>>,
    /// In a dry run.
    repeats: Option<Repeats>,
    plan: Option<Arc<Plan>>,
}

impl Report {
    /// A report that goes on from `counts`. `plan`: the columns that refusals are named by.
    pub(super) fn new(counts: Counts, dry_run: bool, plan: Option<Arc<Plan>>) -> Self {
        let repeats = dry_run.then(Repeats::default);
        Self { counts, shown: Vec::new(), file: None, repeats, plan }
    }

    /// Also writes every refusal to the file at `path`, behind its first `bytes`.
    pub(super) fn write_to(&mut self, path: &Path, bytes: u64) -> Result<(), Fault> {
        let fault = |fault: io::Error| Fault::Usage(format!("{}: {fault}", path.display()));
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let mut file = opened.map_err(fault)?;
        if file.metadata().map_err(fault)?.len() < bytes {
            let why = "this is not the report of the import that was broken off: start without --resume";
            return Err(Fault::Usage(format!("{}: {why}", path.display())));
        }
        file.set_len(bytes).and_then(|()| file.seek(io::SeekFrom::End(0))).map_err(fault)?;
        let mut writer = BufWriter::new(file);
        if bytes == 0 {
            writer.write_all(b"row,column,code,detail\r\n").map_err(fault)?;
        }
        self.file = Some(writer);
        Ok(())
    }

    /// Makes the file durable; how long it is.
    pub(super) fn flush(&mut self) -> Result<u64, Fault> {
        let Some(writer) = &mut self.file else { return Ok(0) };
        let flushed = writer.flush().and_then(|()| {
            let file = writer.get_ref();
            file.sync_data()?;
            file.metadata().map(|metadata| metadata.len())
        });
        flushed.map_err(|fault| Fault::Stopped(format!("the report cannot be written: {fault}")))
    }

    /// Takes the next batch of the file with its answer.
    pub(super) fn take(&mut self, mut batch: Batch, answer: &Answer) -> Result<(), Fault> {
        self.counts.last = batch.last;
        self.counts.rows += (batch.rows.len() + batch.refused.len()) as u64;
        let mut refused = std::mem::take(&mut batch.refused);
        self.counts.written += answer.written;
        self.counts.duplicate += answer.duplicate;
        if answer.events.is_empty() {
            let times = batch.rows.iter().filter_map(|row| row.key);
            times.for_each(|key| self.note_time(key));
        }
        for (at, event) in answer.events.iter().enumerate() {
            let row = row_of(&batch, at, event);
            let key = event.key.as_deref().and_then(|text| text.parse().ok()).or(row.key);
            if let Some(refusal) = self.judge(row, key, event) {
                refused.push(refusal);
            } else if let Some(key) = key {
                self.note_time(key);
            }
        }
        refused.sort_by_key(|refusal| refusal.row);
        self.counts.refused += refused.len() as u64;
        for refusal in refused {
            self.refuse(refusal)?;
        }
        Ok(())
    }

    /// The refusal of an event that was answered; in a dry run also of one that another row stands against.
    fn judge(&mut self, row: SentRow, key: Option<EventKey>, event: &Answered) -> Option<Refusal> {
        if event.status == "rejected" {
            return Some(self.refusal(row, key, event));
        }
        let repeats = self.repeats.as_mut()?;
        let (name, identity) = event.key.as_deref().zip(event.identity.as_ref())?;
        // A duplicate without a dot repeats an event of its own request, which may be a clash with one before.
        let is_new = event.status == "written";
        if !is_new && event.dot.is_some() {
            return None;
        }
        let counted = if is_new { &mut self.counts.written } else { &mut self.counts.duplicate };
        match repeats.judge(name, identity, row.has_version, is_new) {
            Repeat::First => None,
            Repeat::Duplicate => {
                *counted -= 1;
                self.counts.duplicate += 1;
                None
            }
            Repeat::Clash => {
                *counted -= 1;
                let code = Some(Code::Clash.word().to_owned());
                Some(self.refusal(row, key, &Answered { code, ..Answered::default() }))
            }
        }
    }

    fn refusal(&self, row: SentRow, key: Option<EventKey>, event: &Answered) -> Refusal {
        let pointer = event.pointer.as_deref().unwrap_or_default();
        // The first part is the place in the request, which is not the user's.
        let inside = pointer.get(1..).and_then(|rest| rest.find('/').and_then(|at| rest.get(at..)));
        let inside = inside.unwrap_or_default();
        let column = match &self.plan {
            Some(plan) => Table::column(plan, inside),
            None => inside.to_owned(),
        };
        let code = event.code.clone().unwrap_or_default();
        let detail = match key {
            Some(key) if code == Code::Clash.word() => {
                format!("another event has the key {key}, which is its time and id: events never change")
            }
            _ => event.detail.clone().unwrap_or_default(),
        };
        Refusal { row: row.number, column, code: code.into(), detail }
    }

    fn refuse(&mut self, refusal: Refusal) -> Result<(), Fault> {
        if let Some(writer) = &mut self.file {
            let Refusal { row, column, code, detail } = &refusal;
            let row = row.to_string();
            let mut line = Vec::new();
            write_row(&mut line, [&row, column, code.as_ref(), detail].map(str::as_bytes));
            let written = writer.write_all(&line);
            written.map_err(|fault| Fault::Stopped(format!("the report cannot be written: {fault}")))?;
        }
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(refusal);
        }
        Ok(())
    }

    fn note_time(&mut self, key: EventKey) {
        let time = key.time().0;
        let Counts { earliest, latest, .. } = &mut self.counts;
        *earliest = Some(earliest.map_or(time, |before| before.min(time)));
        *latest = Some(latest.map_or(time, |before| before.max(time)));
    }

    /// Writes it for a person.
    pub(super) fn show(&self, out: &mut impl Write) -> io::Result<()> {
        let Counts { rows, written, duplicate, refused, earliest, latest, .. } = &self.counts;
        let time = |time: &Option<u64>| time.map_or("-".to_owned(), |time| ValidTime(time).to_string());
        writeln!(
            out,
            "rows       {rows}\nwritten    {written}\nduplicate  {duplicate}\nrefused    {refused}"
        )?;
        writeln!(out, "earliest   {}\nlatest     {}", time(earliest), time(latest))?;
        for Refusal { row, column, code, detail } in &self.shown {
            let column = if column.is_empty() { String::new() } else { format!(", column {column}") };
            writeln!(out, "  row {row}{column}: {code}: {detail}")?;
        }
        let more = refused - self.shown.len() as u64;
        if more > 0 {
            writeln!(out, "  and {more} more; --report FILE lists all")?;
        }
        if self.repeats.as_ref().is_some_and(|repeats| repeats.is_partial) {
            writeln!(out, "  the file is too long to find every row that repeats another one of it")?;
        }
        Ok(())
    }
}

/// The row that an answered event came from: a plugin's intake may make several of one, and names the row.
fn row_of(batch: &Batch, at: usize, event: &Answered) -> SentRow {
    let named = || event.pointer.as_deref()?.strip_prefix('/')?.split('/').next()?.parse::<usize>().ok();
    let is_intake = batch.rows.first().is_some_and(|row| row.key.is_none() && batch.is_live);
    let at = if is_intake { named().unwrap_or(at) } else { at };
    let last = SentRow { number: batch.last, key: None, has_version: true };
    batch.rows.get(at).copied().unwrap_or(last)
}
