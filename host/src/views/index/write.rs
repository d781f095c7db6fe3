//! Bringing entries into the index: each touched leaf once, then the numbers above it, level by level.
//!
//! ```text
//! changes of one aggregate, in key order
//!   level 0: the leaf that holds the key -> merged, split where a new key is a border -> put
//!   level 1: the row that names the leaf -> its children replaced or added, split likewise -> put
//!   ... up to the one row that has none above it; when that one splits, a level is added
//! ```
//! A row's version is the last arrival that changed an entry in it, so that whoever asks as of some arrival finds what
//! has not changed since, however many arrivals were written at once. Rows that one row split into have one version:
//! each holds something else than the row of its name before.

use super::border::{Borders, FAT_LEAF_ENTRIES};
use super::entry::{Body, Entries, Packer};
use super::node::{Child, Root, read_children, write_children};
use super::{INLINE_ENTRIES_MAX, Id, LEAST, first_of, node_key, root_key};
use crate::core::event::EventKey;
use crate::core::tables::Result;
use crate::views::layout::corrupt;
use crate::views::rows::{RowsMut, Table, last_at_most, next_behind};

/// The new entry of one event.
pub(in crate::views) type Change<'c> = (EventKey, Body<'c>);

/// One write transaction on one Keyspace's index.
pub(in crate::views) struct Writing<'w> {
    /// The transaction.
    pub(in crate::views) rows: &'w mut dyn RowsMut,
    /// The table of the index.
    pub(in crate::views) table: Table,
    /// Where rows begin.
    pub(in crate::views) borders: &'w Borders,
    /// The arrivals that are written: behind the first up to the last.
    pub(in crate::views) arrivals: (u64, u64),
}

/// Entries that one row held, and those that come to it.
type Merged<'m> = Vec<(EventKey, Body<'m>, bool)>;

impl Writing<'_> {
    /// The last arrival that made any of these changes.
    fn version(&self, changes: &[Change<'_>]) -> u64 {
        let (behind, last) = self.arrivals;
        let change = |(_, body): &Change<'_>| body.last_change().filter(|at| *at > behind && *at <= last);
        changes.iter().map(|made| change(made).unwrap_or(last)).max().unwrap_or(last)
    }

    /// Writes the entries in `changes`, which ascend and are not empty, into the aggregate `id`, over what its events
    /// had before.
    pub(in crate::views) fn put(&mut self, id: Id, changes: &[Change<'_>]) -> Result<()> {
        let root = self.rows.get(self.table, &root_key(id))?.map(|row| Root::read(&row)).transpose()?;
        match root {
            Some(Root::Large { height, .. }) => {
                let mut children = self.put_leaves(id, changes)?;
                for level in 1..=height {
                    children = self.put_inner(id, level, &children)?;
                }
                self.put_root(id, height, children)
            }
            Some(Root::Small { packed, version, .. }) => self.put_small(id, (&packed, version), changes),
            None => self.put_small(id, (&[], 0), changes),
        }
    }

    fn put_small(&mut self, id: Id, (packed, before): (&[u8], u64), changes: &[Change<'_>]) -> Result<()> {
        let (merged, version) = (merge(packed, changes)?, self.version(changes).max(before));
        if merged.len() > INLINE_ENTRIES_MAX {
            let all_new = merged.into_iter().map(|(event, body, _)| (event, body, true)).collect();
            let leaves = self.put_pieces(id, LEAST, all_new, version)?;
            return self.put_root(id, 0, leaves);
        }
        let mut all = Packer::default();
        for (event, body, _) in merged {
            all.push(event, body);
        }
        let root = Root::Small { version, live: all.live, packed: all.bytes };
        self.rows.put(self.table, &root_key(id), &root.write())
    }

    /// Writes the root above `rows`, all rows of the level `height`, and the levels between.
    fn put_root(&mut self, id: Id, mut height: u8, mut rows: Vec<Child>) -> Result<()> {
        while rows.len() > 1 {
            height += 1;
            let new = rows.into_iter().map(|child| (child, true)).collect();
            rows = self.put_inner_pieces(id, height, LEAST, new)?;
        }
        let (live, version) = sum_of(&rows);
        let root = Root::Large { height, version, live };
        self.rows.put(self.table, &root_key(id), &root.write())
    }

    /// Puts changes into the leaves that hold their keys; returns the leaves that were written.
    fn put_leaves(&mut self, id: Id, mut changes: &[Change<'_>]) -> Result<Vec<Child>> {
        let mut leaves = Vec::new();
        while let Some((event, _)) = changes.first() {
            let (first, packed, end) = self.row_at(id, 0, *event)?;
            let here = end.map_or(changes.len(), |end| changes.partition_point(|(event, _)| *event < end));
            let (run, rest) = changes.split_at(here);
            leaves.extend(self.put_pieces(id, first, merge(&packed, run)?, self.version(run))?);
            changes = rest;
        }
        Ok(leaves)
    }

    /// Writes the entries of a leaf that begins at `first`, and of those that split off it.
    fn put_pieces(
        &mut self,
        id: Id,
        first: EventKey,
        entries: Merged<'_>,
        version: u64,
    ) -> Result<Vec<Child>> {
        let (mut written, mut first, mut packer) = (Vec::new(), first, Packer::default());
        for (event, body, is_new) in entries {
            if is_new && event > first && self.borders.height(event) > 0 {
                written.push(self.put_leaf(id, first, &packer, version)?);
                (first, packer) = (event, Packer::default());
            }
            packer.push(event, body);
        }
        written.push(self.put_leaf(id, first, &packer, version)?);
        Ok(written)
    }

    fn put_leaf(&mut self, id: Id, first: EventKey, packer: &Packer, version: u64) -> Result<Child> {
        if packer.entries >= FAT_LEAF_ENTRIES {
            tracing::warn!(aggregate = id, first = %first, entries = packer.entries, "a fat leaf: were its keys minted?");
            metrics::counter!("laterbase_views_fat_leaves_total").increment(1);
        }
        self.rows.put(self.table, &node_key(id, 0, first), &packer.bytes)?;
        Ok(Child { first, live: packer.live, version })
    }

    /// Brings `children`, rows of the level below that were written, into the rows of `level` that name them; returns
    /// the rows that were written.
    fn put_inner(&mut self, id: Id, level: u8, mut children: &[Child]) -> Result<Vec<Child>> {
        let mut written = Vec::new();
        while let Some(child) = children.first() {
            let (first, row, end) = self.row_at(id, level, child.first)?;
            let here = end.map_or(children.len(), |end| children.partition_point(|child| child.first < end));
            let (run, rest) = children.split_at(here);
            let named = merge_children(&read_children(&row)?, run);
            written.extend(self.put_inner_pieces(id, level, first, named)?);
            children = rest;
        }
        Ok(written)
    }

    fn put_inner_pieces(
        &mut self,
        id: Id,
        level: u8,
        first: EventKey,
        children: Vec<(Child, bool)>,
    ) -> Result<Vec<Child>> {
        let (mut written, mut first, mut piece) = (Vec::new(), first, Vec::new());
        for (child, is_new) in children {
            if is_new && child.first > first && self.borders.height(child.first) > level {
                written.push(self.put_inner_row(id, level, first, &piece)?);
                first = child.first;
                piece.clear();
            }
            piece.push(child);
        }
        written.push(self.put_inner_row(id, level, first, &piece)?);
        Ok(written)
    }

    fn put_inner_row(&mut self, id: Id, level: u8, first: EventKey, children: &[Child]) -> Result<Child> {
        self.rows.put(self.table, &node_key(id, level, first), &write_children(children))?;
        let (live, version) = sum_of(children);
        Ok(Child { first, live, version })
    }

    /// The row of `level` that holds `event`: where it begins, its bytes, and where the next one begins.
    fn row_at(&self, id: Id, level: u8, event: EventKey) -> Result<(EventKey, Vec<u8>, Option<EventKey>)> {
        let key = node_key(id, level, event);
        let found = last_at_most(&*self.rows, self.table, &key)?;
        let row = found.and_then(|(key, row)| Some((first_of(&key, id, level)?, row)));
        let (first, row) = row.ok_or_else(|| corrupt("index", &key, "no row holds this key"))?;
        let next = next_behind(&*self.rows, self.table, &key)?;
        Ok((first, row, next.and_then(|key| first_of(&key, id, level))))
    }
}

/// The entries of a row with `changes` over them; the mark says which keys are new in it.
fn merge<'m>(packed: &'m [u8], changes: &[Change<'m>]) -> Result<Merged<'m>> {
    let (mut merged, mut changes) =
        (Vec::with_capacity(64 + changes.len()), changes.iter().copied().peekable());
    for entry in Entries::new(packed) {
        let (event, body) = entry.ok_or_else(|| corrupt("index", packed, "not packed entries"))?;
        while let Some((new, body)) = changes.next_if(|(new, _)| *new < event) {
            merged.push((new, body, true));
        }
        let replaced = changes.next_if(|(new, _)| *new == event);
        merged.push((event, replaced.map_or(body, |(_, body)| body), false));
    }
    merged.extend(changes.map(|(new, body)| (new, body, true)));
    Ok(merged)
}

/// The children of a row with `changed` over them; the mark says which are new in it.
fn merge_children(old: &[Child], changed: &[Child]) -> Vec<(Child, bool)> {
    let (mut merged, mut changed) =
        (Vec::with_capacity(old.len() + changed.len()), changed.iter().copied().peekable());
    for child in old {
        while let Some(new) = changed.next_if(|new| new.first < child.first) {
            merged.push((new, true));
        }
        let replaced = changed.next_if(|new| new.first == child.first);
        // A flush that was cut short may have been ahead.
        let kept = |new: Child| Child { version: new.version.max(child.version), ..new };
        merged.push((replaced.map_or(*child, kept), false));
    }
    merged.extend(changed.map(|new| (new, true)));
    merged
}

/// How many live events `rows` hold, and the last arrival that changed any of them.
fn sum_of(rows: &[Child]) -> (u64, u64) {
    let live = rows.iter().map(|child| child.live).sum();
    (live, rows.iter().map(|child| child.version).max().unwrap_or(0))
}
