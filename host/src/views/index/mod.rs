//! The index of one Keyspace: what every event adds to every aggregate, in an order and a shape that depend on the
//! set of events alone.
//!
//! ```text
//! aggregate key -> number          small aggregate: one row with all its entries
//!                                  large aggregate:  root -> inner rows -> leaves
//!                                                            (first key, live events, version)*
//! ```
//! Leaves are packed rows of entries in key order. Where a row begins is decided by a hash of the event key (see
//! [`border`]), not by how full it is: the same events give the same rows on every replica, whatever the order in
//! which they came (content-defined chunking, as in prolly trees; Couchbase keeps partial states in inner nodes
//! likewise). A late event rewrites one leaf and the few numbers above it.
//!
//! Every node carries how many of its events are live and the arrival at which it last changed, its version. Views
//! keep states beside the version that they were computed from ([`super::tree`], [`super::ordered`]); nothing is ever
//! invalidated, a reader descends where versions differ.
//!
//! An entry remembers over which arrivals it was live, so one index answers what is, what was at any valid time, and
//! what this replica knew of it at any arrival. Entries are never taken away: one that is voided, or whose event lost
//! its key, is dead from an arrival on.

pub(super) mod border;
pub(super) mod bytes;
pub(super) mod entry;
pub(super) mod node;
pub(super) mod read;
pub(super) mod write;

use crate::core::event::EventKey;

/// The number of an aggregate in its Keyspace, in the order in which aggregates were met: neighbours in time are
/// neighbours on disk.
pub(super) type Id = u64;

/// An aggregate with at most so many entries is one row.
pub(super) const INLINE_ENTRIES_MAX: usize = 48;

/// The first event key of the first row of every level.
pub(super) const LEAST: EventKey = EventKey([0; 16]);

/// The key of an aggregate's root row.
pub(super) fn root_key(id: Id) -> [u8; 8] {
    id.to_be_bytes()
}

/// What the keys of all rows of one level of an aggregate begin with.
pub(super) fn level_key(id: Id, level: u8) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&id.to_be_bytes());
    key[8] = level;
    key
}

/// The key of the row of `level` that begins at `first`; leaves are level 0.
pub(super) fn node_key(id: Id, level: u8, first: EventKey) -> [u8; 25] {
    let mut key = [0; 25];
    key[..9].copy_from_slice(&level_key(id, level));
    key[9..].copy_from_slice(&first.0);
    key
}

/// Where the row with this key begins, if it is a row of `level` of the aggregate.
pub(super) fn first_of(key: &[u8], id: Id, level: u8) -> Option<EventKey> {
    let first = key.strip_prefix(&level_key(id, level))?;
    Some(EventKey(first.try_into().ok()?))
}
