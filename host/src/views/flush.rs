//! Writing a full segment into the index, in pieces small enough that nobody waits for one.
//!
//! ```text
//! 1. numbers for the aggregates that have none      each step is some transactions of bounded size;
//! 2. entries, aggregate by aggregate in the order    readers meanwhile lay the segment over what is there
//!    of their numbers, so that pages are met once
//! 3. voids, values, failures; the cursor moves
//! ```
//! If the process dies half-way, some rows are ahead of the cursor. They carry the version at which the flush would
//! have ended, which `Position::begun` remembers: no flush ends before it again, and events that do not reach so far
//! (a restored backup) are noticed by it.

use super::build::Keyspace;
use super::in_tests;
use super::index::Id;
use super::index::border::Borders;
use super::index::entry::Body;
use super::index::write::Writing;
use super::layout::{self, Position};
use super::rows::{Rows, RowsMut, Table};
use super::runs::Run;
use super::tail::Segment;
use crate::core::event::EventKey;
use crate::core::tables::Result;
use std::sync::Arc;

/// A transaction takes no further aggregate once it has so many rows.
pub(super) const PIECE_ROWS: usize = in_tests(4096, 20);

/// A segment being written.
#[derive(Debug)]
pub(super) struct Flush {
    keyspace: Keyspace,
    segment: Segment,
    /// The segment's entries.
    entries: Arc<Run>,
    /// Where the entries of aggregates begin that may have no number yet, the next one last.
    unnumbered: Vec<usize>,
    /// Numbered aggregates that are not written yet, the next one last once all are numbered.
    waiting: Vec<(Id, usize)>,
}

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// More pieces.
    More,
    /// Nothing: the cursor has moved.
    Nothing,
}

impl Flush {
    /// Writes `segment` of `keyspace`, whose entries are `entries`.
    pub(super) fn new(keyspace: Keyspace, segment: Segment, entries: Arc<Run>) -> Self {
        let (mut unnumbered, mut last): (Vec<usize>, &[u8]) = (Vec::new(), &[]);
        for (at, row) in entries.from(&[]).enumerate() {
            let aggregate = layout::aggregate_of(row.key);
            if last != aggregate {
                unnumbered.push(at);
                last = aggregate;
            }
        }
        unnumbered.reverse();
        Self { keyspace, segment, entries, unnumbered, waiting: Vec::new() }
    }

    /// The aggregate whose entries begin there, and these.
    fn aggregate(&self, at: usize) -> (&[u8], impl Iterator<Item = (EventKey, Body<'_>)>) {
        let aggregate = self.entries.row(at).map_or(&[][..], |row| layout::aggregate_of(row.key));
        let rows = (at..).map_while(|at| self.entries.row(at));
        let own = rows.take_while(move |row| layout::aggregate_of(row.key) == aggregate);
        (aggregate, own.map_while(|row| Some((layout::event_of(row.key).ok()?, Body::of(row.body)))))
    }

    /// Which Keyspace's segment it is.
    pub(super) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// Writes one piece. Run it in a transaction; [`Self::done`] after its commit.
    pub(super) fn piece(&self, rows: &mut dyn RowsMut, borders: &Borders) -> Result<Piece> {
        let row = layout::position_row(self.keyspace.tables);
        let before =
            rows.get(Table::Meta, &row)?.map(|row| Position::read(&row)).transpose()?.unwrap_or_default();
        let begun =
            if before.begun.arrival > self.segment.end.arrival { before.begun } else { self.segment.end };
        let mut position = Position { begun, ..before };
        let piece = if !self.unnumbered.is_empty() {
            Piece::Numbers(self.number(rows, &mut position)?)
        } else if !self.waiting.is_empty() {
            Piece::Entries(self.write(rows, borders, before.cursor.arrival)?)
        } else {
            self.write_rest(rows)?;
            position.cursor = self.segment.end;
            Piece::Rest
        };
        rows.put(Table::Meta, &row, &position.write())?;
        Ok(piece)
    }

    /// Remembers that a piece is committed.
    pub(super) fn done(&mut self, piece: Piece) -> Left {
        match piece {
            Piece::Numbers(numbered) => {
                self.unnumbered.truncate(self.unnumbered.len().saturating_sub(numbered.len()));
                self.waiting.extend(numbered);
                if self.unnumbered.is_empty() {
                    self.waiting.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
                }
            }
            Piece::Entries(aggregates) => {
                self.waiting.truncate(self.waiting.len().saturating_sub(aggregates));
            }
            Piece::Rest => return Left::Nothing,
        }
        Left::More
    }

    fn number(&self, rows: &mut dyn RowsMut, position: &mut Position) -> Result<Vec<(Id, usize)>> {
        let table = Table::Numbers(self.keyspace.tables);
        let mut numbered = Vec::new();
        for at in self.unnumbered.iter().rev().take(PIECE_ROWS) {
            let (aggregate, _) = self.aggregate(*at);
            let known = super::slot::number_of(&*rows, &self.keyspace, aggregate)?;
            let id = known.unwrap_or(position.numbers + 1);
            if known.is_none() {
                position.numbers = id;
                rows.put(table, aggregate, &id.to_be_bytes())?;
            }
            numbered.push((id, *at));
        }
        Ok(numbered)
    }

    fn write(&self, rows: &mut dyn RowsMut, borders: &Borders, behind: u64) -> Result<usize> {
        let (table, arrivals) = (Table::Index(self.keyspace.tables), (behind, self.segment.end.arrival));
        let mut writing = Writing { rows, table, borders, arrivals };
        let (mut written, mut aggregates) = (0, 0);
        for (id, at) in self.waiting.iter().rev() {
            let changes: Vec<_> = self.aggregate(*at).1.collect();
            writing.put(*id, &changes)?;
            aggregates += 1;
            written += changes.len();
            if written >= PIECE_ROWS {
                break;
            }
        }
        Ok(aggregates)
    }

    fn write_rest(&self, rows: &mut dyn RowsMut) -> Result<()> {
        let tables = self.keyspace.tables;
        for ((voided, voiding), periods) in &self.segment.voids {
            rows.put(Table::Voids(tables), &layout::joined(&voided.0, *voiding), periods)?;
        }
        for ((key, hash), arrival) in &self.segment.values {
            let row = [key.0, hash.0].concat();
            rows.put(Table::Values(tables), &row, &arrival.to_be_bytes())?;
        }
        for (event, failure) in &self.segment.failures {
            match failure {
                Some(row) => rows.put(Table::Poison(tables), &event.0, row)?,
                None => rows.delete(Table::Poison(tables), &event.0)?,
            }
        }
        Ok(())
    }
}

/// What one transaction wrote.
#[derive(Debug)]
pub(super) enum Piece {
    /// These aggregates have numbers now.
    Numbers(Vec<(Id, usize)>),
    /// The entries of so many aggregates.
    Entries(usize),
    /// Everything else, and the cursor.
    Rest,
}

/// The position of a Keyspace's index; the beginning if it has none.
pub(super) fn position(rows: &(impl Rows + ?Sized), keyspace: &Keyspace) -> Result<Position> {
    let row = rows.get(Table::Meta, &layout::position_row(keyspace.tables))?;
    row.map(|row| Position::read(&row)).transpose().map(Option::unwrap_or_default)
}
