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
    /// The numbers of a Keyspace's aggregates, by aggregate key.
    Numbers(Revision),
    /// What each event adds to which aggregate of a Keyspace.
    Index(Revision),
    /// Which events are retracted by which.
    Voids(Revision),
    /// The arrivals of values whose key has several.
    Values(Revision),
    /// The events that a Keyspace could not take.
    Poison(Revision),
    /// The states of a View.
    States(Revision),
    /// The events that a View could not fold.
    Faults(Revision),
}

impl Table {
    /// The tables of a Keyspace.
    pub(super) fn of_keyspace(revision: Revision) -> [Self; 5] {
        [
            Self::Numbers(revision),
            Self::Index(revision),
            Self::Voids(revision),
            Self::Values(revision),
            Self::Poison(revision),
        ]
    }

    /// The tables of a View.
    pub(super) fn of_view(revision: Revision) -> [Self; 2] {
        [Self::States(revision), Self::Faults(revision)]
    }

    /// What it holds, as a word, and by which revision; none for `meta`.
    pub(super) fn parts(self) -> Option<(&'static str, Revision)> {
        match self {
            Self::Meta => None,
            Self::Numbers(revision) => Some(("numbers", revision)),
            Self::Index(revision) => Some(("index", revision)),
            Self::Voids(revision) => Some(("voids", revision)),
            Self::Values(revision) => Some(("values", revision)),
            Self::Poison(revision) => Some(("poison", revision)),
            Self::States(revision) => Some(("states", revision)),
            Self::Faults(revision) => Some(("faults", revision)),
        }
    }

    /// The table's name in the environment.
    pub(super) fn name(self) -> String {
        self.parts().map_or_else(|| "meta-1".to_owned(), |(word, revision)| format!("{word}-{revision}"))
    }

    /// The table with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (word, revision) = name.rsplit_once('-')?;
        if name == Self::Meta.name() {
            return Some(Self::Meta);
        }
        let revision = data_encoding::HEXLOWER.decode(revision.as_bytes()).ok()?;
        let revision = Revision(revision.try_into().ok()?);
        let all = Self::of_keyspace(revision).into_iter().chain(Self::of_view(revision));
        all.into_iter().find(|table| table.parts().is_some_and(|(own, _)| own == word))
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

/// The last row whose key is at most `key`.
pub(super) fn last_at_most(
    rows: &(impl Rows + ?Sized),
    table: Table,
    key: &[u8],
) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    rows.last_before(table, &[key, &[0]].concat())
}

/// The first key behind `key`.
pub(super) fn next_behind(rows: &(impl Rows + ?Sized), table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut next = None;
    rows.scan(table, &[key, &[0]].concat(), &mut |key, _| {
        next = Some(key.to_vec());
        ControlFlow::Break(())
    })?;
    Ok(next)
}
