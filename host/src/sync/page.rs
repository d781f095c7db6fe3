//! A page: admissions in dot order, as columns, so that they compress well.
//!
//! ```text
//! clock 8 | runs: n, n x (Origin 8, first seq, number of rows) | kinds: n, n x (type, version)
//! per row: 0 and an alias's hash 16, or the number of its kind (from 1)          \
//! per row: its valid time as a difference to the row before (zigzag)             |  each a column of its own,
//! per row: its tail 8                                                            |  behind its length in bytes
//! per whole row: the length of its data                                          |
//! per whole row: its data                                                        /
//! ```
//! Numbers without a size are LEB128. A row whose value the receiver knows by another dot is an alias: the hash only.

use super::dictionary::Dictionary;
use super::error::FrameError;
use super::pack::{pack_with, unpack_with};
use super::state::Span;
use crate::core::event::{Dot, EventKey, Origin, Seq, ValidTime, Value, ValueHash};
use crate::core::gset::{Body, Incoming};
use crate::core::knowledge::{Knowledge, SEQ_MAX};
use crate::core::limits::{PAGE_PLAIN_BYTES_MAX, SYNC_PAGE_ROWS_MAX};
use crate::core::rule::{self, Rule};
use crate::core::tables::{DotRow, Result, TableError, Tables};
use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

/// A page that was read, or is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The sender's hybrid logical clock.
    pub clock: ValidTime,
    rows: Vec<Row>,
    data: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    dot: Dot,
    key: EventKey,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Whole { type_number: u32, version: u32, data: Range<usize> },
    Alias(ValueHash),
}

/// What a page is collected for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The dots asked for.
    pub spans: &'a [Span],
    /// What the receiver holds: values that it knows by other dots travel as aliases.
    pub known: &'a Knowledge,
    /// No aliases: the receiver does not hold what it should.
    pub whole: bool,
    /// The page is closed once its data has so many bytes; it holds at least one row.
    pub bytes_max: usize,
}

impl Page {
    /// The next rows of what is wanted, in the order of the spans.
    pub fn collect(tables: &dyn Tables, wanted: Wanted<'_>, clock: ValidTime) -> Result<Self> {
        let mut page = Self { clock, ..Self::default() };
        let mut sent = BTreeSet::new();
        let held = tables.head()?.knowledge.clone();
        for span in wanted.spans {
            let origin = Origin(span.origin);
            let last = span.last.min(held.get(origin).0);
            let mut fault = None;
            tables.dots(origin, span.first..=last, &mut |seq, row| {
                if page.is_full(wanted.bytes_max) {
                    return ControlFlow::Break(());
                }
                match page.push(tables, Dot { origin, seq }, row, wanted, &mut sent) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        fault = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
            if let Some(fault) = fault {
                return Err(fault);
            }
            if page.is_full(wanted.bytes_max) {
                break;
            }
        }
        Ok(page)
    }

    fn is_full(&self, bytes_max: usize) -> bool {
        let bytes = self.data.len() + 32 * self.rows.len();
        !self.rows.is_empty() && (bytes >= bytes_max || self.rows.len() >= SYNC_PAGE_ROWS_MAX)
    }

    fn push(
        &mut self,
        tables: &dyn Tables,
        dot: Dot,
        row: DotRow,
        wanted: Wanted<'_>,
        sent: &mut BTreeSet<(EventKey, ValueHash)>,
    ) -> Result<()> {
        let DotRow { key, hash, .. } = row;
        let event = tables.find(key, hash)?.ok_or_else(|| TableError::Corrupt {
            table: "dots",
            row: dot.to_string(),
            reason: "the event that the dot admitted is not there",
        })?;
        let is_known = !wanted.whole && event.dots.iter().any(|dot| wanted.known.holds(*dot));
        let content = if is_known || !sent.insert((key, hash)) {
            Content::Alias(hash)
        } else {
            let Value { type_number, version, data } = event.value;
            let start = self.data.len();
            self.data.extend_from_slice(data);
            Content::Whole { type_number, version, data: start..self.data.len() }
        };
        self.rows.push(Row { dot, key, content });
        Ok(())
    }

    /// The rows in order, as the G-Set takes them.
    pub fn rows(&self) -> impl Iterator<Item = Incoming<'_>> + '_ {
        self.rows.iter().map(|row| Incoming {
            dot: row.dot,
            key: row.key,
            body: match &row.content {
                Content::Alias(hash) => Body::Alias(*hash),
                Content::Whole { type_number, version, data } => Body::Whole(Value {
                    type_number: *type_number,
                    version: *version,
                    data: self.data.get(data.clone()).unwrap_or_default(),
                }),
            },
        })
    }

    /// What is known after all rows were taken by somebody who knows `before`.
    pub(super) fn after(&self, before: &Knowledge) -> Knowledge {
        before.iter().chain(self.rows.iter().map(|row| (row.dot.origin, row.dot.seq))).collect()
    }

    /// Whether every row is of these spans, whose Origins ascend.
    pub(super) fn is_of(&self, spans: &[Span]) -> bool {
        self.rows.iter().all(|Row { dot, .. }| {
            let span = spans.binary_search_by_key(&dot.origin.0, |span| span.origin);
            let span = span.ok().and_then(|at| spans.get(at));
            span.is_some_and(|span| (span.first..=span.last).contains(&dot.seq.0))
        })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The page as bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(None)
    }

    /// The page as bytes; a small one is packed with the dictionary.
    pub(super) fn encode_with(&self, dictionary: Option<&Dictionary>) -> Vec<u8> {
        pack_with(&self.plain(), dictionary)
    }

    /// The page before it is packed.
    pub(super) fn plain(&self) -> Vec<u8> {
        let mut out = self.clock.0.to_be_bytes().to_vec();
        let mut runs: Vec<(Dot, u64)> = Vec::new();
        for row in &self.rows {
            match runs.last_mut() {
                Some((first, rows))
                    if first.origin == row.dot.origin && first.seq.0 + *rows == row.dot.seq.0 =>
                {
                    *rows += 1;
                }
                _ => runs.push((row.dot, 1)),
            }
        }
        put(&mut out, runs.len() as u64);
        for (first, rows) in runs {
            out.extend_from_slice(&first.origin.0);
            put(&mut out, first.seq.0);
            put(&mut out, rows);
        }
        let mut columns = Columns::default();
        let mut before = 0;
        for row in &self.rows {
            columns.push(row, &mut before);
        }
        put(&mut out, columns.kinds.len() as u64);
        for (type_number, version) in &columns.kinds {
            put(&mut out, u64::from(*type_number));
            put(&mut out, u64::from(*version));
        }
        for column in [&columns.contents, &columns.times, &columns.tails, &columns.lengths, &self.data] {
            put(&mut out, column.len() as u64);
            out.extend_from_slice(column);
        }
        out
    }

    /// The page in these bytes. Memory is bounded by a multiple of what they unpack to.
    pub fn decode(packed: &[u8]) -> std::result::Result<Self, FrameError> {
        Self::decode_with(packed, None)
    }

    /// The same, where it may be packed with this dictionary.
    pub(super) fn decode_with(
        packed: &[u8],
        dictionary: Option<&Dictionary>,
    ) -> std::result::Result<Self, FrameError> {
        let plain = unpack_with(packed, PAGE_PLAIN_BYTES_MAX, dictionary)?;
        let input = &mut plain.as_slice();
        let clock = ValidTime(u64::from_be_bytes(take_array(input)?));
        let dots = read_runs(input)?;
        let kinds = read_kinds(input, dots.len())?;
        let [mut contents, mut times, mut tails, mut lengths, data] = [
            take_column(input)?,
            take_column(input)?,
            take_column(input)?,
            take_column(input)?,
            take_column(input)?,
        ];
        let (mut rows, mut before, mut used) = (Vec::with_capacity(dots.len()), 0, 0);
        for dot in dots {
            let time = unzigzag(take(&mut times)?).wrapping_add(before);
            before = time;
            let key = EventKey::new(ValidTime(time), take_array(&mut tails)?);
            let content = match take(&mut contents)? {
                0 => Content::Alias(ValueHash(take_array(&mut contents)?)),
                kind => {
                    let kind = usize::try_from(kind - 1).ok().and_then(|kind| kinds.get(kind));
                    let (type_number, version) = *kind.ok_or(FrameError::Form("a row names no kind"))?;
                    let length = usize::try_from(take(&mut lengths)?).ok();
                    let end = length.and_then(|length| length.checked_add(used));
                    let end = end.filter(|end| *end <= data.len()).ok_or(FrameError::Truncated)?;
                    let range = used..end;
                    used = end;
                    Content::Whole { type_number, version, data: range }
                }
            };
            rows.push(Row { dot, key, content });
        }
        let is_spent = [contents, times, tails, lengths, *input].iter().all(|rest| rest.is_empty());
        if !is_spent || used != data.len() {
            return Err(FrameError::Form("bytes are left behind the page's rows"));
        }
        Ok(Self { clock, rows, data: data.to_vec() })
    }
}

#[derive(Default)]
struct Columns {
    kinds: Vec<(u32, u32)>,
    contents: Vec<u8>,
    times: Vec<u8>,
    tails: Vec<u8>,
    lengths: Vec<u8>,
}

impl Columns {
    fn push(&mut self, row: &Row, before: &mut u64) {
        let time = row.key.time().0;
        put(&mut self.times, zigzag(time.wrapping_sub(*before)));
        *before = time;
        self.tails.extend_from_slice(&row.key.tail());
        match &row.content {
            Content::Alias(hash) => {
                self.contents.push(0);
                self.contents.extend_from_slice(&hash.0);
            }
            Content::Whole { type_number, version, data } => {
                let kind = (*type_number, *version);
                let at = self.kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
                    self.kinds.push(kind);
                    self.kinds.len() - 1
                });
                put(&mut self.contents, at as u64 + 1);
                put(&mut self.lengths, data.len() as u64);
            }
        }
    }
}

/// The dots of all rows. A run announces its rows, but each costs at least 10 bytes behind it: that bounds the memory.
fn read_runs(input: &mut &[u8]) -> std::result::Result<Vec<Dot>, FrameError> {
    let mut dots = Vec::new();
    for _ in 0..take(input)? {
        let origin = Origin(take_array(input)?);
        let (first, rows) = (take(input)?, take(input)?);
        let rows_max = (input.len() / 10).min(SYNC_PAGE_ROWS_MAX).saturating_sub(dots.len());
        if rows == 0 || rows > rows_max as u64 {
            return Err(FrameError::Form("a run of a page has no rows, or more than the page has room for"));
        }
        let last = first.checked_add(rows - 1).filter(|last| first > 0 && *last <= SEQ_MAX);
        let last = last.ok_or(FrameError::Form("a run of a page begins at seq 0 or is out of range"))?;
        dots.extend((first..=last).map(|seq| Dot { origin, seq: Seq(seq) }));
    }
    let follows = |one: &Dot, next: &Dot| one < next || !rule::holds(Rule::Contiguity);
    if !dots.is_sorted_by(follows) {
        return Err(FrameError::Form("the runs of a page overlap or do not ascend"));
    }
    Ok(dots)
}

/// The types and versions that the rows name by number. Each is some row's, so there are at most as many.
fn read_kinds(input: &mut &[u8], rows: usize) -> std::result::Result<Vec<(u32, u32)>, FrameError> {
    let count = take(input)?;
    if count > rows as u64 {
        return Err(FrameError::Form("a page has more kinds than rows"));
    }
    (0..count).map(|_| Ok((narrow(take(input)?)?, narrow(take(input)?)?))).collect()
}

fn zigzag(difference: u64) -> u64 {
    let signed = difference.cast_signed();
    ((signed << 1) ^ (signed >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Appends a number as LEB128.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

/// Takes a number off the front.
fn take(input: &mut &[u8]) -> std::result::Result<u64, FrameError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first().ok_or(FrameError::Truncated)?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(FrameError::Form("a number is out of range"))
}

fn take_array<const N: usize>(input: &mut &[u8]) -> std::result::Result<[u8; N], FrameError> {
    let (taken, rest) = input.split_first_chunk().ok_or(FrameError::Truncated)?;
    *input = rest;
    Ok(*taken)
}

fn take_column<'a>(input: &mut &'a [u8]) -> std::result::Result<&'a [u8], FrameError> {
    let length = usize::try_from(take(input)?).map_err(|_| FrameError::Truncated)?;
    let (column, rest) = input.split_at_checked(length).ok_or(FrameError::Truncated)?;
    *input = rest;
    Ok(column)
}

fn narrow(number: u64) -> std::result::Result<u32, FrameError> {
    u32::try_from(number).map_err(|_| FrameError::Form("a number is out of range"))
}

#[cfg(test)]
mod tests;
