//! The derived environment of one Root on disk: its own LMDB environment beside the events', deletable at any time.
//!
//! What is found there is trusted only if it was left whole ([`guard`]) and belongs to these events: every cursor
//! carries the running hash of the arrival it stands at, and these events must have the same hash there. A backup of
//! the events that was restored under newer rows is noticed so.

use super::error::ViewError;
use super::guard;
use super::layout::Position;
use super::rows::{Rows, RowsMut, Table, Visit, keys_under};
use crate::core::event::Arrival;
use crate::core::tables::{Result, TableError, Tables};
use crate::store::environment::{self, Environment, Kind};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How many tables may be open: five for each Keyspace and two for each View that is served or being built.
const TABLES_MAX: u32 = 512;

/// The tables that are open, by what they hold.
type Open = Arc<BTreeMap<Table, environment::Table>>;

/// The derived environment of one Root.
#[derive(Debug)]
pub(super) struct Derived {
    environment: Environment,
    dir: PathBuf,
    open: Mutex<Open>,
}

impl Derived {
    /// Opens what is in `dir`, or begins anew if it cannot be trusted or does not belong to `events`.
    pub(super) fn open(dir: &Path, events: &dyn Tables) -> std::result::Result<Self, ViewError> {
        guard::enter(dir)?;
        let found = Self::open_found(dir);
        match found {
            Ok(derived) if derived.belongs_to(events)? => return Ok(derived),
            // Dropped here: an environment is open once.
            Ok(_) => {
                tracing::info!(dir = %dir.display(), "derived rows of other events: computing them again");
            }
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "derived rows do not open: computing them again");
            }
        }
        guard::delete(dir)?;
        guard::enter(dir)?;
        Self::open_found(dir)
    }

    fn open_found(dir: &Path) -> std::result::Result<Self, ViewError> {
        let opened = Environment::open(dir, Kind::Derived, TABLES_MAX);
        let environment =
            opened.map_err(|source| ViewError::Open { step: "opening it", source: Box::new(source) })?;
        let mut open = BTreeMap::new();
        for name in environment.table_names()? {
            if let Some(table) = Table::named(&name) {
                open.insert(table, environment.table(&name)?);
            }
        }
        Ok(Self { environment, dir: dir.to_owned(), open: Mutex::new(Arc::new(open)) })
    }

    /// True if every Keyspace stands at arrivals that these events have, too.
    fn belongs_to(&self, events: &dyn Tables) -> Result<bool> {
        let rows = self.read()?;
        for key in keys_under(&rows, Table::Meta, b"k", b"k", usize::MAX)? {
            let Some(row) = rows.get(Table::Meta, &key)? else { continue };
            let Position { cursor, begun, .. } = Position::read(&row)?;
            for cursor in [cursor, begun].into_iter().filter(|cursor| cursor.arrival > 0) {
                let arrival = events.arrival(Arrival(cursor.arrival))?;
                if arrival.is_none_or(|arrival| arrival.check != cursor.check) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Where its rows are.
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The last commit. Hold it briefly.
    pub(super) fn read(&self) -> Result<Reader<'_>> {
        // First the handles, then the reader: it knows all tables that were open when it began.
        let open = self.opened();
        Ok(Reader { transaction: self.environment.read()?, open })
    }

    /// Runs `body` and commits it, without waiting for the disk. `body` may run more than once, each time from the
    /// last commit; after an error nothing of it is written. Only the Root's deriver calls this.
    pub(super) fn write<R>(&self, body: &mut dyn FnMut(&mut Writer<'_, '_>) -> Result<R>) -> Result<R> {
        loop {
            let (open, mut missing) = (self.opened(), None);
            let done = self.environment.write(&mut |transaction| {
                let mut writer = Writer { transaction, open: &open, missing: None };
                let done = body(&mut writer);
                missing = writer.missing;
                // A table that is not there yet: nothing is committed, and the body runs again.
                if missing.is_some() { Err(not_open()) } else { done }
            });
            let Some(table) = missing else { return done };
            let handle = self.environment.table(&table.name())?;
            let mut open = BTreeMap::clone(&open);
            open.insert(table, handle);
            self.set_opened(open);
        }
    }

    /// Takes a whole table away. Waits until nobody reads; best when it is empty already.
    pub(super) fn remove(&self, table: Table) -> Result<()> {
        let mut open = BTreeMap::clone(&self.opened());
        open.remove(&table);
        self.set_opened(open);
        self.environment.remove_table(&table.name())?;
        Ok(())
    }

    /// Brings everything to the disk and says so.
    pub(super) fn close(&self) -> std::result::Result<(), ViewError> {
        self.environment.force_sync()?;
        guard::leave(&self.dir)
    }

    /// The tables that there are.
    #[cfg(test)]
    pub(super) fn table_names(&self) -> Vec<String> {
        self.opened().keys().map(|table| table.name()).collect()
    }

    fn opened(&self) -> Open {
        Arc::clone(&self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_opened(&self, open: BTreeMap<Table, environment::Table>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(open);
    }
}

fn not_open() -> TableError {
    TableError::Io("a derived table is not open yet".into())
}

/// One committed state.
pub(super) struct Reader<'e> {
    transaction: environment::ReadTxn<'e>,
    open: Open,
}

/// The one write transaction.
pub(super) struct Writer<'w, 'e> {
    transaction: &'w mut environment::WriteTxn<'e>,
    open: &'w BTreeMap<Table, environment::Table>,
    /// A table that a put needs and that is not there.
    missing: Option<Table>,
}

impl Rows for Reader<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        get(&self.transaction, self.open.get(&table), key)
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        scan(&self.transaction, self.open.get(&table), from, visit)
    }

    fn last_before(&self, table: Table, before: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        last_before(&self.transaction, self.open.get(&table), before)
    }
}

impl Rows for Writer<'_, '_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        get(&*self.transaction, self.open.get(&table), key)
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        scan(&*self.transaction, self.open.get(&table), from, visit)
    }

    fn last_before(&self, table: Table, before: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        last_before(&*self.transaction, self.open.get(&table), before)
    }
}

impl RowsMut for Writer<'_, '_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        let Some(handle) = self.open.get(&table) else {
            self.missing = Some(table);
            return Err(not_open());
        };
        self.transaction.put(handle, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<()> {
        match self.open.get(&table) {
            Some(handle) => self.transaction.delete(handle, key).map(drop),
            None => Ok(()),
        }
    }
}

fn get(
    rows: &impl environment::Rows,
    table: Option<&environment::Table>,
    key: &[u8],
) -> Result<Option<Vec<u8>>> {
    match table {
        Some(table) => Ok(rows.get(table, key)?.map(<[u8]>::to_vec)),
        None => Ok(None),
    }
}

fn scan(
    rows: &impl environment::Rows,
    table: Option<&environment::Table>,
    from: &[u8],
    visit: Visit<'_>,
) -> Result<()> {
    let Some(table) = table else { return Ok(()) };
    for row in rows.range(table, (Bound::Included(from), Bound::Unbounded))? {
        let (key, value) = row?;
        if visit(key, value).is_break() {
            break;
        }
    }
    Ok(())
}

fn last_before(
    rows: &impl environment::Rows,
    table: Option<&environment::Table>,
    before: &[u8],
) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let Some(table) = table else { return Ok(None) };
    let mut range = rows.range_reverse(table, (Bound::Unbounded, Bound::Excluded(before)))?;
    match range.next() {
        Some(row) => row.map(|(key, value)| Some((key.to_vec(), value.to_vec()))),
        None => Ok(None),
    }
}
