//! Rows on their way into requests: what one request holds, and what is remembered of it until its answer is there.

use super::Fault;
use super::cell::Encoding;
use super::input::{Input, Place};
use super::lines::{self, Line};
use super::refusal::{Refusal, RowCode};
use super::scan::{Form, Rows};
use super::table::Table;
use super::time::Clock;
use crate::core::event::EventKey;
use crate::core::frames;
use crate::core::limits::{IMPORT_BATCH_BYTES, IMPORT_BATCH_ROWS};

/// The rows of one request.
#[derive(Debug)]
pub(super) struct Batch {
    /// 0, 1, 2… in the order of the file.
    pub(super) number: u64,
    /// The rows as NDJSON.
    pub(super) body: Vec<u8>,
    /// What is known of each.
    pub(super) rows: Vec<SentRow>,
    /// Rows that are not even sent.
    pub(super) refused: Vec<Refusal>,
    /// The keys, mixed to 8 bytes each and sorted: whether two requests may hold one event.
    pub(super) keys: Vec<u64>,
    /// A row of it gets its time, or its tail, from the server.
    pub(super) is_live: bool,
    /// The number of its last row.
    pub(super) last: u64,
    /// How far the file is used with it.
    pub(super) place: Place,
}

/// What is remembered of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SentRow {
    /// Its number.
    pub(super) number: u64,
    /// Its event's key, if it is known before the answer.
    pub(super) key: Option<EventKey>,
    /// It names the version of its data.
    pub(super) has_version: bool,
}

/// How rows become events.
pub(super) enum Reading {
    /// By a mapping.
    Table(Box<Table>),
    /// They are events.
    Lines(Clock),
    /// By a plugin's intake, at the server.
    Intake,
    /// They are events in frames.
    Frames,
}

/// A file as batches.
pub(super) struct Batches {
    input: Input,
    rows: Rows,
    reading: Reading,
    number: u64,
    last: u64,
}

impl Batches {
    /// The batches of the rows behind the row `last`, where the input stands.
    pub(super) fn new(input: Input, reading: Reading, form: Form, last: u64) -> Self {
        Self { input, rows: Rows::behind(last, form), reading, number: 0, last }
    }

    /// The next batch; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Batch>, Fault> {
        let mut body = Vec::with_capacity(IMPORT_BATCH_BYTES / 4);
        if matches!(self.reading, Reading::Frames) {
            body.extend_from_slice(&frames::HEAD);
        }
        let mut batch = Batch {
            number: self.number,
            body,
            rows: Vec::with_capacity(IMPORT_BATCH_ROWS),
            refused: Vec::new(),
            keys: Vec::with_capacity(IMPORT_BATCH_ROWS),
            is_live: matches!(self.reading, Reading::Intake),
            last: self.last,
            place: Place { offset: 0, hash: String::new() },
        };
        while batch.rows.len() + batch.refused.len() < IMPORT_BATCH_ROWS
            && batch.body.len() < IMPORT_BATCH_BYTES
        {
            let Some(row) = self.rows.next(&mut self.input)? else { break };
            self.last = row.number;
            batch.last = row.number;
            if let Some(bad) = row.bad {
                batch.refused.push(bad);
                continue;
            }
            let text = self.input.data().get(..row.length).unwrap_or_default();
            if matches!(self.reading, Reading::Frames) || !text.trim_ascii().is_empty() {
                read(&mut self.reading, row.number, text, &mut batch);
            }
            self.input.consume(row.total);
        }
        if batch.rows.is_empty() && batch.refused.is_empty() && self.input.is_at_end() {
            return Ok(None);
        }
        batch.keys.extend(batch.rows.iter().filter_map(|row| row.key).map(mixed));
        batch.keys.sort_unstable();
        batch.place = self.input.place();
        self.number += 1;
        Ok(Some(batch))
    }
}

fn read(reading: &mut Reading, number: u64, text: &[u8], batch: &mut Batch) {
    let line = match reading {
        Reading::Table(table) => match table.line(number, text, &mut batch.body) {
            Ok(key) => {
                let has_version = table.plan().version.is_some();
                Line { key: Some(key), has_version, is_live: false }
            }
            Err(refusal) => {
                batch.refused.push(refusal);
                return;
            }
        },
        Reading::Lines(clock) => match lines::line(number, clock, text, &mut batch.body) {
            Some(line) => line,
            None => return,
        },
        Reading::Frames => match lines::frame(number, text, &mut batch.body) {
            Some(line) => line,
            None => return,
        },
        Reading::Intake => {
            batch.body.extend_from_slice(text);
            batch.body.push(b'\n');
            Line { key: None, has_version: true, is_live: true }
        }
    };
    batch.is_live |= line.is_live;
    batch.rows.push(SentRow { number, key: line.key, has_version: line.has_version });
}

/// A key in 8 bytes: equal keys are equal, others mostly not.
fn mixed(key: EventKey) -> u64 {
    let tail = u64::from_be_bytes(key.tail());
    key.time().0.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        ^ tail.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
}

/// Takes a byte order mark from the front of the input, or says that the file is of another encoding than its name.
pub(super) fn begin(input: &mut Input, encoding: Encoding) -> Result<(), Fault> {
    while input.data().len() < 3 && !input.is_at_end() {
        input.fill()?;
    }
    let fault =
        |why: String| Err(Fault::Usage(format!("{}: {}: {why}", input.name(), RowCode::BadText.word())));
    match (input.data(), encoding) {
        ([0xef, 0xbb, 0xbf, ..], Encoding::Utf8) => {}
        ([0xef, 0xbb, 0xbf, ..], _) => {
            return fault(
                "it begins with the byte order mark of UTF-8, and another encoding is named".to_owned(),
            );
        }
        ([0xff, 0xfe, ..] | [0xfe, 0xff, ..], _) => {
            return fault("it is UTF-16: save it as UTF-8 (in a spreadsheet program: CSV UTF-8)".to_owned());
        }
        _ => return Ok(()),
    }
    input.consume(3);
    Ok(())
}
