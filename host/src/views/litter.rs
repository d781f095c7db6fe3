//! Taking away the tables that nobody asks any more, in pieces: dropping a large table at once would hold the writer.

use super::build::Build;
use super::computes::Revision;
use super::derived::{Derived, Writer};
use super::error::ViewError;
use super::layout;
use super::rows::{Rows, RowsMut as _, Table, keys_under};
use crate::core::tables::TableError;
use std::collections::BTreeSet;

/// A table is emptied in pieces of so many rows.
const PIECE_ROWS: usize = 4096;

/// Everything that names tables of a build.
pub(super) fn tables_of(build: &Build) -> BTreeSet<Revision> {
    let keyspaces = build.keyspaces.iter().map(|keyspace| keyspace.tables);
    keyspaces.chain(build.views.iter().map(|view| view.states)).collect()
}

/// Takes one piece of what is not `wanted` away; true if there may be more.
pub(super) fn clean(derived: &Derived, wanted: &BTreeSet<Revision>) -> Result<bool, ViewError> {
    let going = keys_under(&derived.read()?, Table::Meta, &[layout::GOING], &[layout::GOING], 1)?;
    if let Some(table) = going.first().and_then(|row| layout::going_table(row)) {
        empty(derived, table)?;
        return Ok(true);
    }
    Ok(derived.write(&mut |rows| condemn(rows, wanted))?)
}

/// A build whose tables were being taken away begins anew, with empty tables.
pub(super) fn finish_removals(derived: &Derived, build: &Build) -> Result<(), ViewError> {
    let going = keys_under(&derived.read()?, Table::Meta, &[layout::GOING], &[layout::GOING], usize::MAX)?;
    if going.is_empty() {
        return Ok(());
    }
    let wanted = tables_of(build);
    for table in going.iter().filter_map(|row| layout::going_table(row)) {
        if table.parts().is_some_and(|(_, revision)| wanted.contains(&revision)) {
            while !empty(derived, table)? {}
        }
    }
    Ok(())
}

/// Whether a table is being taken away.
pub(super) fn is_going(rows: &(impl Rows + ?Sized), table: Table) -> Result<bool, TableError> {
    match layout::going_row(table) {
        Some(row) => Ok(rows.get(Table::Meta, &row)?.is_some()),
        None => Ok(false),
    }
}

/// Marks all tables as going that nobody wants; true if there are any.
fn condemn(rows: &mut Writer<'_, '_>, wanted: &BTreeSet<Revision>) -> Result<bool, TableError> {
    let mut going = Vec::new();
    for row in keys_under(rows, Table::Meta, &[], &[0], usize::MAX)? {
        let revisions = layout::revisions_of(&row);
        match (row.first(), revisions.as_slice()) {
            (Some(b'k'), [keyspace]) if !wanted.contains(keyspace) => {
                going.extend(Table::of_keyspace(*keyspace));
            }
            (Some(b's'), [keyspace, states]) if !(wanted.contains(keyspace) && wanted.contains(states)) => {
                going.extend(Table::of_view(*states));
            }
            _ => continue,
        }
        rows.delete(Table::Meta, &row)?;
    }
    for row in going.iter().filter_map(|table| layout::going_row(*table)) {
        rows.put(Table::Meta, &row, &[])?;
    }
    Ok(!going.is_empty())
}

/// Deletes a piece of a table that is going; true once the table is gone.
fn empty(derived: &Derived, table: Table) -> Result<bool, ViewError> {
    let more = derived.write(&mut |rows| {
        let keys = keys_under(rows, table, &[], &[0], PIECE_ROWS)?;
        for key in &keys {
            rows.delete(table, key)?;
        }
        Ok(!keys.is_empty())
    })?;
    if more {
        return Ok(false);
    }
    derived.remove(table)?;
    let row = layout::going_row(table);
    derived.write(&mut |rows| row.iter().try_for_each(|row| rows.delete(Table::Meta, row)))?;
    Ok(true)
}
