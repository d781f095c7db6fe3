//! Derived rows as the engine sees them: ordered tables of bytes, named by revision.
//!
//! Nothing here is worth keeping: every row can be computed again from the events. So there is one rule only, that a
//! row is found only under the revision it was computed by, and the table's name takes care of it.

use super::computes::Revision;
use crate::core::tables::Result;
use std::ops::ControlFlow;

/// One table of the derived environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// What tables there are, and how far each has followed the events.
    Meta,
    /// Which events are retracted by which.
    Voids(Revision),
    /// What each event adds to which aggregate.
    Deltas(Revision),
    /// The aggregates that have un-voided events.
    Heads(Revision),
    /// The events that could not be mapped.
    Poison(Revision),
    /// States that were folded up to and with an event.
    Snapshots(Revision),
}

impl Table {
    /// The table's name in the environment.
    pub(super) fn name(self) -> String {
        match self {
            Self::Meta => "meta-1".to_owned(),
            Self::Voids(revision) => format!("voids-{revision}"),
            Self::Deltas(revision) => format!("deltas-{revision}"),
            Self::Heads(revision) => format!("heads-{revision}"),
            Self::Poison(revision) => format!("poison-{revision}"),
            Self::Snapshots(revision) => format!("snapshots-{revision}"),
        }
    }

    /// The table with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (kind, revision) = name.rsplit_once('-')?;
        if name == Self::Meta.name() {
            return Some(Self::Meta);
        }
        let revision = data_encoding::HEXLOWER.decode(revision.as_bytes()).ok()?;
        let revision = Revision(revision.try_into().ok()?);
        match kind {
            "voids" => Some(Self::Voids(revision)),
            "deltas" => Some(Self::Deltas(revision)),
            "heads" => Some(Self::Heads(revision)),
            "poison" => Some(Self::Poison(revision)),
            "snapshots" => Some(Self::Snapshots(revision)),
            _ => None,
        }
    }
}

/// Sees rows, key and value, until it breaks.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// One committed state of the derived environment. A table that was never written is empty.
pub(super) trait Rows {
    /// The value of `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Visits rows in key order, beginning with the first key that is not below `from`.
    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()>;
    /// The last row whose key is below `before`.
    fn last_before(&self, table: Table, before: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>>;
}

/// The same inside a write transaction.
pub(super) trait RowsMut: Rows {
    /// Writes a row over what was there.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()>;
    /// Takes a row away, if it is there.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<()>;
}

/// The keys in `table` that start with `prefix`, at most `most`, beginning with `from`.
pub(super) fn keys_under(
    rows: &(impl Rows + ?Sized),
    table: Table,
    prefix: &[u8],
    from: &[u8],
    most: usize,
) -> Result<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    rows.scan(table, from, &mut |key, _| {
        if !key.starts_with(prefix) || keys.len() >= most {
            return ControlFlow::Break(());
        }
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(keys)
}
