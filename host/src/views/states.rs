//! The rows in which a View keeps states: Snapshots that say which version of the index they were computed from.
//!
//! ```text
//! number                -> head: version, events, last event, state of all that is known
//! number level first    -> node of an index tree: version, state            (algebras that merge)
//! number event          -> state before that event                          (Ordered)
//! ```
//! Nodes and heads that merge are right if their version is that of the index: a lost or late row costs work and no
//! more. What an Ordered View keeps is right together, as of its head's version.

use super::build::Build;
use super::computes::{Computes, Failure, Revision};
use super::index::bytes::{put_number, take_number};
use super::index::{Id, node_key, root_key};
use super::layout::{self, corrupt};
use super::rows::{Rows, RowsMut, Table};
use crate::core::event::EventKey;
use crate::core::tables::Result;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

/// The state of a whole aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The index's version that it was computed from.
    pub(super) version: u64,
    /// How many events are live.
    pub(super) events: u64,
    /// The last of them.
    pub(super) last: EventKey,
    /// The state after all of them.
    pub(super) state: Vec<u8>,
}

impl Head {
    /// The head of an aggregate, if one is kept.
    pub(super) fn read(rows: &dyn Rows, states: Table, id: Id) -> Result<Option<Self>> {
        let Some(row) = rows.get(states, &root_key(id))? else { return Ok(None) };
        let read = |mut row: &[u8]| {
            let (version, events) = (take_number(&mut row)?, take_number(&mut row)?);
            let (last, state) = row.split_first_chunk::<16>()?;
            Some(Self { version, events, last: EventKey(*last), state: state.to_vec() })
        };
        read(&row).map(Some).ok_or_else(|| corrupt("states", &row, "not a head"))
    }

    /// The head as a row.
    pub(super) fn row(&self, id: Id) -> Row {
        let mut value = Vec::with_capacity(self.state.len() + 24);
        put_number(&mut value, self.version);
        put_number(&mut value, self.events);
        value.extend_from_slice(&self.last.0);
        value.extend_from_slice(&self.state);
        (root_key(id).to_vec(), value)
    }
}

/// A row's key and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// The state of a node of an index tree, as a row.
pub(super) fn node_row(id: Id, level: u8, first: EventKey, version: u64, state: &[u8]) -> Row {
    let mut value = Vec::with_capacity(state.len() + 8);
    put_number(&mut value, version);
    value.extend_from_slice(state);
    (node_key(id, level, first).to_vec(), value)
}

/// The version and the state in a node's row.
pub(super) fn read_node(row: &[u8]) -> Result<(u64, &[u8])> {
    let mut rest = row;
    match take_number(&mut rest) {
        Some(version) => Ok((version, rest)),
        None => Err(corrupt("states", row, "shorter than its version")),
    }
}

/// The key of the state before `event`.
pub(super) fn checkpoint_key(id: Id, event: EventKey) -> Vec<u8> {
    layout::joined(&id.to_be_bytes(), event)
}

/// When Snapshots may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    /// Their versions say whether they hold.
    Always,
    /// If the head still has this version, or there is still none.
    InsteadOf(Option<u64>),
}

/// What a read would like to have kept of one aggregate.
pub(super) struct Keep {
    /// The code that computed it.
    pub(super) by: Weak<dyn Computes>,
    /// The tail's, when it was computed.
    pub(super) epoch: u64,
    /// The tables of the Keyspace.
    pub(super) keyspace: Revision,
    /// The tables of the View.
    pub(super) view: Revision,
    /// The aggregate.
    pub(super) id: Id,
    /// When it may be stored.
    pub(super) only: Only,
    /// Snapshots.
    pub(super) rows: Vec<Row>,
    /// Events that could not be folded.
    pub(super) faults: Vec<Fault>,
}

/// An event that could not be folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The event.
    pub(super) event: EventKey,
    /// What it would have added, hashed: another value of the event's key may do better.
    pub(super) deltas: [u8; 8],
    /// Why.
    pub(super) failure: Failure,
}

impl Keep {
    /// Whether the code that computed it is that of `build`.
    pub(super) fn is_by(&self, build: &Build) -> bool {
        self.by.ptr_eq(&Arc::downgrade(&build.plugins))
    }

    /// Stores everything, if it still holds.
    pub(super) fn store(&self, rows: &mut dyn RowsMut) -> Result<()> {
        let (states, faults) = (Table::States(self.view), Table::Faults(self.view));
        let head = Head::read(&*rows, states, self.id)?.map(|head| head.version);
        if matches!(self.only, Only::InsteadOf(before) if before != head) {
            return Ok(());
        }
        rows.put(Table::Meta, &layout::states_row(self.keyspace, self.view), &[])?;
        for (key, value) in &self.rows {
            rows.put(states, key, value)?;
        }
        for Fault { event, deltas, failure } in &self.faults {
            let row = [&deltas[..], &layout::write_failure(&[], failure)].concat();
            rows.put(faults, &checkpoint_key(self.id, *event), &row)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").field("view", &self.view).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Names what an event adds to an aggregate.
pub(super) fn hash_of<'d>(deltas: impl Iterator<Item = &'d [u8]>) -> [u8; 8] {
    let deltas: Vec<&[u8]> = deltas.collect();
    *Revision::of(&deltas).0.first_chunk().expect("16 bytes hold 8")
}

/// The events of an aggregate that could not be folded, in key order.
pub(super) fn faults(rows: &dyn Rows, view: Revision, id: Id) -> Result<Vec<Fault>> {
    let (prefix, mut found, mut outcome) = (id.to_be_bytes(), Vec::new(), Ok(()));
    rows.scan(Table::Faults(view), &prefix, &mut |key, row| {
        if !key.starts_with(&prefix) {
            return ControlFlow::Break(());
        }
        let (deltas, row) = row.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        match layout::read_failure(key, row) {
            Ok(layout::Failed { aside, kind, .. }) => {
                let failure = Failure { kind, message: aside.reason };
                found.push(Fault { event: aside.key, deltas: *deltas, failure });
                ControlFlow::Continue(())
            }
            Err(error) => {
                outcome = Err(error);
                ControlFlow::Break(())
            }
        }
    })?;
    outcome.map(|()| found)
}

/// Takes away what a View keeps of an aggregate: the code that set events of it aside was replaced.
pub(super) fn forget(rows: &mut dyn RowsMut, view: Revision, id: Id, most: usize) -> Result<bool> {
    let prefix = id.to_be_bytes();
    let mut more = false;
    for table in [Table::States(view), Table::Faults(view)] {
        let keys = super::rows::keys_under(&*rows, table, &prefix, &prefix, most)?;
        more |= keys.len() == most;
        for key in keys {
            rows.delete(table, &key)?;
        }
        if more {
            break;
        }
    }
    Ok(more)
}
