//! An LMDB environment: named tables of bytes, one writer, any number of readers, and a map that grows by itself.
//!
//! This is the one file of the storage that holds `unsafe`, because LMDB asks for three promises that the compiler
//! cannot check:
//! - the data file is changed by nobody else: the data directory is locked (`lock.rs`), and what is in the file is
//!   looked at before it is mapped (`datafile.rs`); a second process that only reads is on the engine's own terms;
//! - the map moves only while no transaction is open: every transaction holds a pass of the `Gate`, and who moves
//!   the map is alone inside;
//! - a table is removed only while nobody uses it: also alone, and its handles say so ever after.
//!
//! Durable environments run with LMDB's default: a commit returns when it is on disk. Derived ones skip that
//! (`NO_SYNC`): after a power loss they may be unreadable, and are deleted and built again.
#![expect(
    unsafe_code,
    reason = "LMDB needs promises that the compiler cannot check: see the head of this file"
)]

mod fault;
mod files;

use self::fault::{io_refused, refused, table_error, would_wait_for_itself};
use self::files::{opened_here, reserve, sync_directories};
use super::datafile::{self, DataFileError, Found};
use super::gate::{Gate, Pass};
use crate::core::tables::{Result, TableError};
use heed::types::{Bytes, DecodeIgnore};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, PutFlags, WithoutTls};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The map of a new environment, in bytes.
const MAP_BYTES_MIN: u64 = 64 << 20;
/// Readers that may be open at one time.
const READERS_MAX: u32 = 1024;

/// A range of keys, as two bounds.
pub type KeyRange<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// Every key of a table.
pub const ALL_KEYS: KeyRange<'static> = (Bound::Unbounded, Bound::Unbounded);

/// What a commit promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What is committed survives a power loss.
    Durable,
    /// What is committed survives the process. A power loss may wreck the whole environment.
    Derived,
}

/// Why an environment does not open.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Its data file must not be mapped.
    #[error(transparent)]
    DataFile(#[from] DataFileError),
    /// This process has it open already.
    #[error("{} is open in this process already", path.display())]
    AlreadyOpen {
        /// Its directory.
        path: PathBuf,
    },
    /// The storage engine or the file system refuses.
    #[error("{}: {source}", path.display())]
    Refused {
        /// Its directory.
        path: PathBuf,
        /// What it says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An open environment. It is open once per process; dropping it closes it.
#[derive(Debug)]
pub struct Environment {
    env: Env<WithoutTls>,
    path: PathBuf,
    kind: Kind,
    /// Another process writes it, this one only reads.
    is_shared: bool,
    gate: Gate,
    poisoned: AtomicBool,
    /// The table whose keys are the names of all others.
    names: Database<'static, Bytes, DecodeIgnore>,
    tables: Mutex<BTreeMap<String, Table>>,
    #[cfg(test)]
    fault: Mutex<Option<io::Error>>,
}

/// A handle of a named table. It is good for the environment that gave it, until the table is removed.
#[derive(Debug, Clone)]
pub struct Table(Arc<TableInner>);

#[derive(Debug)]
struct TableInner {
    rows: Database<'static, Bytes, Bytes>,
    removed: AtomicBool,
}

impl Table {
    fn rows(&self) -> Result<Database<'static, Bytes, Bytes>> {
        if self.0.removed.load(Ordering::Acquire) {
            return Err(TableError::Io("the table was removed".into()));
        }
        Ok(self.0.rows)
    }
}

impl Environment {
    /// Opens the environment in `dir`, or makes one there. Up to `tables_max` tables may be open at one time.
    pub fn open(dir: &Path, kind: Kind, tables_max: u32) -> std::result::Result<Self, EnvironmentError> {
        let refused = |source| refused(dir, source);
        fs::create_dir_all(dir).map_err(|source| io_refused(dir, source))?;
        if let Some(path) = opened_here(dir) {
            return Err(EnvironmentError::AlreadyOpen { path });
        }
        let found = datafile::inspect(dir)?;
        let map_bytes = match found {
            Found::Nothing => MAP_BYTES_MIN,
            Found::Whole(length) => length.max(MAP_BYTES_MIN).next_power_of_two(),
        };
        let flags = if kind == Kind::Derived { EnvFlags::NO_SYNC } else { EnvFlags::empty() };
        let env = open_env(dir, flags, tables_max, map_bytes).map_err(refused)?;
        reserve(&env, kind, map_bytes).map_err(refused)?;
        if kind == Kind::Durable && found == Found::Nothing {
            sync_directories(dir).map_err(|source| io_refused(dir, source))?;
        }
        let [names] = open_rows(&env, [None], false).map_err(refused)?;
        Ok(Self::new(dir, kind, false, env, names))
    }

    /// Opens the environment in `dir` for reading, while another process may write it. A reader of it keeps the pages
    /// of its commit in the file until it ends.
    pub fn open_shared(dir: &Path, tables_max: u32) -> std::result::Result<Self, EnvironmentError> {
        let refused = |source| refused(dir, source);
        // Between the looks at its length and at its last page the file may have grown.
        let found = datafile::look(dir).or_else(|_| datafile::look(dir))?;
        let Found::Whole(length) = found else {
            return Err(io_refused(dir, io::ErrorKind::NotFound.into()));
        };
        // The map may double until the first reader begins; what it holds afterwards is no concern of that reader.
        let map_bytes = length.max(MAP_BYTES_MIN).next_power_of_two().saturating_mul(4);
        let env = open_env(dir, EnvFlags::READ_ONLY, tables_max, map_bytes).map_err(refused)?;
        let [names] = open_rows(&env, [None], true).map_err(refused)?;
        Ok(Self::new(dir, Kind::Durable, true, env, names))
    }

    fn new(
        dir: &Path,
        kind: Kind,
        is_shared: bool,
        env: Env<WithoutTls>,
        names: Database<'static, Bytes, Bytes>,
    ) -> Self {
        Self {
            env,
            path: dir.to_owned(),
            kind,
            is_shared,
            gate: Gate::new(),
            poisoned: AtomicBool::new(false),
            names: names.remap_data_type(),
            tables: Mutex::default(),
            #[cfg(test)]
            fault: Mutex::default(),
        }
    }

    /// Takes readers of processes that have died off the engine's list, and gives their number. Until then the pages
    /// that they read are kept.
    pub fn forget_dead_readers(&self) -> Result<usize> {
        let _pass = self.enter()?;
        self.env.clear_stale_readers().map_err(table_error)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of its map in bytes: how far it can be filled before it grows.
    pub fn map_bytes(&self) -> u64 {
        let _pass = self.gate.pass();
        self.env.info().map_size as u64
    }

    /// Its pages that are or were in use, in bytes.
    pub fn used_bytes(&self) -> u64 {
        let _pass = self.gate.pass();
        let page_bytes = u64::from(self.env.unnamed_database_stat().page_size);
        (self.env.info().last_page_number as u64 + 1) * page_bytes
    }

    /// The transactions that are open in this process: how many, and for how long the oldest has been.
    pub fn readers(&self) -> (usize, Duration) {
        self.gate.inside()
    }

    /// The table `name`, made if it is not there; inside [`Self::write`] only one that is open already. A reader that
    /// began before this made or first opened the table does not know it and answers with an error.
    pub fn table(&self, name: &str) -> Result<Table> {
        self.tables([name]).map(|[table]| table)
    }

    /// Several tables, made in one commit where they are not there; otherwise as [`Self::table`].
    pub fn tables<const N: usize>(&self, names: [&str; N]) -> Result<[Table; N]> {
        self.growing(&mut || {
            let _pass = self.enter()?;
            if let Some(tables) = self.known(names) {
                return Ok(tables);
            }
            // Two threads may do this at once: LMDB gives both the same numbers.
            let rows = open_rows(&self.env, names.map(Some), self.is_shared).map_err(table_error)?;
            let mut known = self.open_tables();
            for (name, rows) in names.into_iter().zip(rows) {
                let table = || Table(Arc::new(TableInner { rows, removed: AtomicBool::new(false) }));
                known.entry(name.to_owned()).or_insert_with(table);
            }
            drop(known);
            self.known(names).ok_or_else(|| TableError::Io("a table just opened is not open".into()))
        })
    }

    fn known<const N: usize>(&self, names: [&str; N]) -> Option<[Table; N]> {
        let known = self.open_tables();
        let tables: Option<Vec<Table>> = names.iter().map(|name| known.get(*name).cloned()).collect();
        tables?.try_into().ok()
    }

    /// Takes a table away with all its rows; false if there is none of this name. Waits until no transaction is
    /// open, and keeps others waiting.
    pub fn remove_table(&self, name: &str) -> Result<bool> {
        if !self.table_names()?.iter().any(|known| known == name) {
            return Ok(false);
        }
        self.growing(&mut || self.remove_alone(name, &self.table(name)?))?;
        Ok(true)
    }

    fn remove_alone(&self, name: &str, table: &Table) -> Result<()> {
        let _alone = self.gate.alone().map_err(|_| would_wait_for_itself())?;
        self.check_poison()?;
        let rows = table.rows()?;
        let mut txn = self.env.write_txn().map_err(table_error)?;
        // SAFETY: no other transaction is open, for every one holds a pass of the gate; this one has not touched the
        // table; and the handles that are left refuse to be used, see `Table::rows`.
        let removed = unsafe { rows.remove(&mut txn) };
        removed.map_err(table_error)?;
        // LMDB has given the handle up, even if the commit fails and the table is still there.
        table.0.removed.store(true, Ordering::Release);
        self.open_tables().remove(name);
        self.commit(txn)
    }

    /// The names of all tables, in order.
    pub fn table_names(&self) -> Result<Vec<String>> {
        let read = self.read()?;
        let rows = self.names.iter(&read.txn).map_err(table_error)?;
        rows.map(|row| Ok(String::from_utf8_lossy(row.map_err(table_error)?.0).into_owned())).collect()
    }

    /// The last commit, for as long as the answer lives: briefly, because it keeps old pages alive. The answer stays
    /// on its thread.
    pub fn read(&self) -> Result<ReadTxn<'_>> {
        let pass = self.enter()?;
        let txn = self.env.read_txn().map_err(table_error)?;
        Ok(ReadTxn { txn, _pass: pass })
    }

    /// Runs `body` in the one write transaction and commits what it put. If the map is full it grows, and `body`
    /// runs again. An error from `body` writes nothing, and a body that puts nothing commits nothing. Not to be
    /// called inside itself, nor while this thread holds a reader of this environment (growing would fail).
    pub fn write<R>(&self, body: &mut dyn FnMut(&mut WriteTxn<'_>) -> Result<R>) -> Result<R> {
        self.growing(&mut || self.attempt(body))
    }

    fn attempt<R>(&self, body: &mut dyn FnMut(&mut WriteTxn<'_>) -> Result<R>) -> Result<R> {
        let pass = self.enter()?;
        let txn = self.env.write_txn().map_err(table_error)?;
        self.check_poison()?;
        let mut write = WriteTxn { txn, _pass: pass, dirty: false, full: false };
        let answer = body(&mut write);
        if write.full {
            return Err(TableError::MapFull);
        }
        let answer = answer?;
        if write.dirty {
            self.commit(write.txn)?;
        }
        Ok(answer)
    }

    /// Writes to disk what a derived environment has committed.
    pub fn force_sync(&self) -> Result<()> {
        let _pass = self.enter()?;
        self.env.force_sync().map_err(|error| self.poison_if_unknown(table_error(error)))
    }

    /// Whether an input/output error at a commit has closed this environment.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Lets the next commit end in an error as if the system had answered so.
    #[cfg(test)]
    pub(crate) fn fail_next_commit(&self, error: io::Error) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Copies what is committed into a new file.
    #[cfg(test)]
    pub(crate) fn copy_to(&self, file: &Path) {
        self.env.copy_to_path(file, heed::CompactionOption::Disabled).expect("a copy");
    }

    /// Whether somebody waits for the others to leave, so that the map can move.
    #[cfg(test)]
    pub(crate) fn is_growing(&self) -> bool {
        self.gate.is_awaited()
    }

    fn commit(&self, txn: heed::RwTxn<'_>) -> Result<()> {
        #[cfg(test)]
        if let Some(error) = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            txn.abort();
            return Err(self.poison_if_unknown(fault::io_error(error)));
        }
        txn.commit().map_err(|error| self.poison_if_unknown(table_error(error)))
    }

    /// After an input/output error nobody knows what is on disk, and trying again would hide the loss.
    fn poison_if_unknown(&self, error: TableError) -> TableError {
        if matches!(error, TableError::Io(_) | TableError::Corrupt { .. }) {
            self.poisoned.store(true, Ordering::Release);
        }
        error
    }

    fn check_poison(&self) -> Result<()> {
        if self.is_poisoned() { Err(TableError::Poisoned) } else { Ok(()) }
    }

    fn enter(&self) -> Result<Pass<'_>> {
        let pass = self.gate.pass();
        self.check_poison()?;
        Ok(pass)
    }

    fn open_tables(&self) -> MutexGuard<'_, BTreeMap<String, Table>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something, again if the map was full, which has then grown.
    fn growing<R>(&self, step: &mut dyn FnMut() -> Result<R>) -> Result<R> {
        loop {
            let before = self.map_bytes();
            match step() {
                Err(TableError::MapFull) => self.grow_from(before)?,
                done => return done,
            }
        }
    }

    /// Doubles the map, unless somebody else has done so since it was `before`.
    fn grow_from(&self, before: u64) -> Result<()> {
        let _alone = self.gate.alone().map_err(|_| would_wait_for_itself())?;
        self.check_poison()?;
        if self.env.info().map_size as u64 > before {
            return Ok(());
        }
        let after = before.checked_mul(2).ok_or(TableError::MapFull)?;
        reserve(&self.env, self.kind, after).map_err(table_error)?;
        let size = usize::try_from(after).map_err(|_| TableError::MapFull)?;
        // SAFETY: no transaction is open, for every one holds a pass of the gate. Where the call fails the old map
        // may be gone: the environment is poisoned, so that no transaction begins again.
        let resized = unsafe { self.env.resize(size) };
        resized.map_err(|error| {
            self.poisoned.store(true, Ordering::Release);
            table_error(error)
        })
    }
}

/// A reader: one committed state.
pub struct ReadTxn<'e> {
    txn: heed::RoTxn<'e, WithoutTls>,
    _pass: Pass<'e>,
}

/// The writer, before its commit.
pub struct WriteTxn<'e> {
    txn: heed::RwTxn<'e>,
    _pass: Pass<'e>,
    dirty: bool,
    full: bool,
}

/// A row: its key and its bytes.
pub type Row<'t> = (&'t [u8], &'t [u8]);

/// The same range without the empty key as its start: no row has it, and the engine refuses to look for it.
fn searchable(keys: KeyRange<'_>) -> KeyRange<'_> {
    match keys {
        (Bound::Included([]) | Bound::Excluded([]), end) => (Bound::Unbounded, end),
        other => other,
    }
}

/// What readers and the writer can both do.
pub trait Rows {
    /// The transaction underneath.
    #[doc(hidden)]
    fn txn(&self) -> &heed::RoTxn<'_, WithoutTls>;

    /// The number of the commit that a reader sees, or that the writer is about to make.
    fn commit_number(&self) -> u64 {
        self.txn().id() as u64
    }

    /// The bytes of a row.
    fn get(&self, table: &Table, key: &[u8]) -> Result<Option<&[u8]>> {
        table.rows()?.get(self.txn(), key).map_err(table_error)
    }

    /// The row with the least key.
    fn first(&self, table: &Table) -> Result<Option<Row<'_>>> {
        table.rows()?.first(self.txn()).map_err(table_error)
    }

    /// The row with the greatest key.
    fn last(&self, table: &Table) -> Result<Option<Row<'_>>> {
        table.rows()?.last(self.txn()).map_err(table_error)
    }

    /// The last row whose key is at most `key`.
    fn at_most(&self, table: &Table, key: &[u8]) -> Result<Option<Row<'_>>> {
        table.rows()?.get_lower_than_or_equal_to(self.txn(), key).map_err(table_error)
    }

    /// How many rows there are; costs one page.
    fn len(&self, table: &Table) -> Result<u64> {
        table.rows()?.len(self.txn()).map_err(table_error)
    }

    /// The pages of its rows, in bytes; costs one page.
    fn bytes(&self, table: &Table) -> Result<u64> {
        let pages = table.rows()?.stat(self.txn()).map_err(table_error)?;
        Ok(pages.non_free_page_size() as u64)
    }

    /// The rows of a range in the order of their keys.
    fn range(&self, table: &Table, keys: KeyRange<'_>) -> Result<impl Iterator<Item = Result<Row<'_>>>> {
        let rows = table.rows()?.range(self.txn(), &searchable(keys)).map_err(table_error)?;
        Ok(rows.map(|row| row.map_err(table_error)))
    }

    /// The rows of a range, the greatest key first.
    fn range_reverse(
        &self,
        table: &Table,
        keys: KeyRange<'_>,
    ) -> Result<impl Iterator<Item = Result<Row<'_>>>> {
        let rows = table.rows()?.rev_range(self.txn(), &keys).map_err(table_error)?;
        Ok(rows.map(|row| row.map_err(table_error)))
    }
}

impl Rows for ReadTxn<'_> {
    fn txn(&self) -> &heed::RoTxn<'_, WithoutTls> {
        &self.txn
    }
}

impl Rows for &mut WriteTxn<'_> {
    fn txn(&self) -> &heed::RoTxn<'_, WithoutTls> {
        &self.txn
    }
}

impl Rows for WriteTxn<'_> {
    fn txn(&self) -> &heed::RoTxn<'_, WithoutTls> {
        &self.txn
    }
}

impl WriteTxn<'_> {
    /// Writes a row over whatever its key held. Keys have 1 to 511 bytes.
    pub fn put(&mut self, table: &Table, key: &[u8], bytes: &[u8]) -> Result<()> {
        let put = table.rows()?.put(&mut self.txn, key, bytes);
        self.noted(put)
    }

    /// Writes a row under a free key; false, and nothing is written, if the key is taken.
    pub fn put_new(&mut self, table: &Table, key: &[u8], bytes: &[u8]) -> Result<bool> {
        let put = table.rows()?.put_with_flags(&mut self.txn, PutFlags::NO_OVERWRITE, key, bytes);
        match put {
            Err(heed::Error::Mdb(MdbError::KeyExist)) => Ok(false),
            put => self.noted(put).map(|()| true),
        }
    }

    /// Writes a row whose key is greater than all others, which packs pages full; false, and nothing is written, if
    /// it is not.
    pub fn append(&mut self, table: &Table, key: &[u8], bytes: &[u8]) -> Result<bool> {
        let put = table.rows()?.put_with_flags(&mut self.txn, PutFlags::APPEND, key, bytes);
        match put {
            Err(heed::Error::Mdb(MdbError::KeyExist)) => Ok(false),
            put => self.noted(put).map(|()| true),
        }
    }

    /// Takes a row away; false if there is none.
    pub fn delete(&mut self, table: &Table, key: &[u8]) -> Result<bool> {
        let deleted = table.rows()?.delete(&mut self.txn, key);
        self.noted(deleted)
    }

    /// Takes the rows of a range away and counts them.
    pub fn delete_range(&mut self, table: &Table, keys: KeyRange<'_>) -> Result<u64> {
        let deleted = table.rows()?.delete_range(&mut self.txn, &searchable(keys));
        self.noted(deleted).map(|rows| rows as u64)
    }

    /// Takes all rows of a table away.
    pub fn clear(&mut self, table: &Table) -> Result<()> {
        let cleared = table.rows()?.clear(&mut self.txn);
        self.noted(cleared)
    }

    fn noted<T>(&mut self, done: heed::Result<T>) -> Result<T> {
        self.dirty = true;
        let done = done.map_err(table_error);
        self.full |= matches!(done, Err(TableError::MapFull));
        done
    }
}

impl std::fmt::Debug for ReadTxn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadTxn").field("id", &self.txn.id()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WriteTxn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteTxn").field("dirty", &self.dirty).finish_non_exhaustive()
    }
}

fn open_env(dir: &Path, flags: EnvFlags, tables_max: u32, map_bytes: u64) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(usize::try_from(map_bytes).map_err(io::Error::other)?);
    options.max_readers(READERS_MAX).max_dbs(tables_max);
    // SAFETY: NO_SYNC is asked for derived environments only: what a power loss may do to them is answered by
    // deleting and building them again. READ_ONLY is harmless.
    unsafe { options.flags(flags) };
    // SAFETY: the file is an environment as long as its last page says (`datafile::inspect`), and nobody else
    // changes it: other processes are kept out by the data directory's lock, this one by heed's list of open ones.
    // Beside a process that writes, this one only reads, and the engine's lock file lets each see whole commits.
    unsafe { options.open(dir) }
}

/// Opens tables in one commit; no name means the table that names all others. A shared environment's must be there.
fn open_rows<const N: usize>(
    env: &Env<WithoutTls>,
    names: [Option<&str>; N],
    is_shared: bool,
) -> heed::Result<[Database<'static, Bytes, Bytes>; N]> {
    if is_shared {
        let txn = env.read_txn()?;
        let opened = env.open_databases_and_commit(txn, |opener, txn| {
            let mut rows = Vec::with_capacity(N);
            for name in names {
                rows.push(opener.open_database::<Bytes, Bytes>(txn, name)?.ok_or(MdbError::NotFound)?);
            }
            let rows: std::result::Result<[_; N], _> = rows.try_into();
            rows.map(CommitOrAbort::<_, ()>::Commit).map_err(|_| heed::Error::from(MdbError::Problem))
        })?;
        return opened.commit().ok_or_else(|| MdbError::Problem.into());
    }
    let txn = env.write_txn()?;
    let opened = env.create_databases_and_commit(txn, |opener, txn| {
        let mut rows = Vec::with_capacity(N);
        for name in names {
            rows.push(opener.create_database::<Bytes, Bytes>(txn, name)?);
        }
        let rows: std::result::Result<[_; N], _> = rows.try_into();
        rows.map(CommitOrAbort::<_, ()>::Commit).map_err(|_| heed::Error::from(MdbError::Problem))
    })?;
    opened.commit().ok_or_else(|| MdbError::Problem.into())
}
