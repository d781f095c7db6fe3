//! A Root's tables in LMDB: one durable environment, a checksum in every row, and a head that is kept in memory.
//!
//! The head (how much there is, and what is known) is asked for at every admission. Its facts are written once per
//! commit, at the end, as one row of `meta` and one row of `origins` for each Origin that grew; after the commit a
//! copy with the commit's number is published, and a reader of just that commit takes the copy.
//!
//! A Root that was copied or put back from a backup must not give a dot twice: opening compares the file with the
//! one that its Origin was given to (`identity.rs`), and publishes a head with a next Origin where it is another.
//! That is not written: a restart adds neither an Origin nor a commit; the next admission adds both.
//!
//! What the rows say is checked where it is cheap: each row's checksum whenever it is read, and at opening the head
//! against the number of rows and the last row of each table, because LMDB itself checks nothing.

use super::environment::{Environment, EnvironmentError, Kind, ReadTxn, Rows, Table};
use super::expiring::Expiring;
use super::identity::Identity;
use super::lmdb_tables::{OverLmdb, Writing, read_head};
use super::rows::{
    ARRIVALS, CLASHES, DOTS, Decoder, EVENTS, Encoder, HEALED, META, ORIGINS, PINS, STAMPS, corrupt,
    decode_arrival, decode_number, dot_key,
};
use super::{DataFileError, Store};
use crate::core::event::{Dot, Origin};
use crate::core::knowledge::Knowledge;
use crate::core::tables::{Head, Result, TableError, Tables, TablesMut};
use crate::problem::{Code, Problem};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

pub(super) const FORMAT_KEY: &[u8] = b"format";
/// Tables that an events environment may have open, with room for later versions.
pub(super) const TABLES_MAX: u32 = 16;

/// Why a Root's events do not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The environment does not open.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The tables do not hold what they should.
    #[error("{}: {source}", path.display())]
    Tables {
        /// The Root's directory.
        path: PathBuf,
        /// What does not hold.
        source: TableError,
    },
    /// A newer program wrote it.
    #[error("{} is of format {found}, this program knows up to {FORMAT_VERSION}", path.display())]
    NewerFormat {
        /// The Root's directory.
        path: PathBuf,
        /// The version that it is of.
        found: u32,
    },
    /// It is an environment, but not one of events.
    #[error("{} holds other tables than those of events", path.display())]
    NotEvents {
        /// The Root's directory.
        path: PathBuf,
    },
}

impl OpenError {
    /// The error as a user meets it.
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::Environment(
                EnvironmentError::DataFile(DataFileError::Io { .. })
                | EnvironmentError::AlreadyOpen { .. }
                | EnvironmentError::Refused { .. },
            )
            | Self::NewerFormat { .. }
            | Self::NotEvents { .. } => Code::Storage,
            Self::Environment(EnvironmentError::DataFile(_)) => Code::Corrupt,
            Self::Tables { source, .. } => source.problem().code,
        };
        Problem::new(code, self.to_string())
    }
}

/// The tables of one Root on disk.
#[derive(Debug)]
pub struct LmdbStore {
    environment: Environment,
    tables: Handles,
    /// Held from the beginning of a commit until its head is published.
    writer: Mutex<()>,
    published: RwLock<Published>,
}

/// The head after a commit.
#[derive(Debug, Clone)]
struct Published {
    commit: u64,
    head: Arc<Head>,
}

/// The handles of all tables, and which file they are in.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) events: Table,
    pub(super) clashes: Table,
    pub(super) dots: Table,
    pub(super) arrivals: Table,
    pub(super) stamps: Expiring,
    pub(super) pins: Expiring,
    pub(super) healed: Table,
    pub(super) origins: Table,
    pub(super) meta: Table,
    pub(super) file: Identity,
}

impl LmdbStore {
    /// Opens the events in `dir`, or makes new tables there. `mint` is the Origin of new tables, and the next one of
    /// tables in another file than their Origin was given to; otherwise it is unused.
    pub fn open(dir: &Path, mint: Origin) -> std::result::Result<Self, OpenError> {
        let this = Self::open_unchecked(dir, mint)?;
        let head = this.published().head;
        let checked = this.environment.read().and_then(|rows| check_head(&rows, &this.tables, &head));
        checked.map_err(|source| OpenError::Tables { path: dir.to_owned(), source })?;
        Ok(this)
    }

    /// As [`Self::open`], but without comparing the head with the tables: for putting back what is missing. It takes
    /// no admissions and no merges: what they write would build on what is not there.
    pub fn open_unchecked(dir: &Path, mint: Origin) -> std::result::Result<Self, OpenError> {
        let environment = Environment::open(dir, Kind::Durable, TABLES_MAX)?;
        let at = |source| OpenError::Tables { path: dir.to_owned(), source };
        match format_of(&environment).map_err(at)? {
            Format::Version(FORMAT_VERSION) | Format::Empty => {}
            Format::Version(found) => return Err(OpenError::NewerFormat { path: dir.to_owned(), found }),
            Format::Other => return Err(OpenError::NotEvents { path: dir.to_owned() }),
        }
        let file = Identity::of(dir);
        let file =
            file.map_err(|source| EnvironmentError::Refused { path: dir.to_owned(), source: source.into() })?;
        let tables = Handles::open(&environment, file).map_err(at)?;
        let published = begin(&environment, &tables, mint).map_err(at)?;
        Ok(Self { environment, tables, writer: Mutex::new(()), published: RwLock::new(published) })
    }

    /// The environment underneath: its size, its path, whether it is poisoned.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The tables in a reader. The head published last may be of a later or an earlier commit than the reader.
    pub(super) fn over<'s>(&'s self, txn: ReadTxn<'s>) -> OverLmdb<'s, ReadTxn<'s>> {
        let published = self.published();
        let head = (published.commit == txn.commit_number()).then_some(published.head);
        OverLmdb::new(&self.tables, txn, head)
    }

    /// Runs `body` over the tables in the one writer, commits, and publishes the head that it leaves.
    pub(super) fn write<R>(&self, body: &mut dyn FnMut(&mut Writing<'_, '_, '_>) -> Result<R>) -> Result<R> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.published();
        let (answer, after) = self.environment.write(&mut |txn| {
            let commit = txn.commit_number();
            let mut tables = OverLmdb::new(&self.tables, txn, Some(before.head.clone()));
            let answer = body(&mut tables)?;
            let head = tables.finish()?;
            Ok((answer, head.map(|head| Published { commit, head })))
        })?;
        if let Some(after) = after {
            *self.published.write().unwrap_or_else(PoisonError::into_inner) = after;
        }
        Ok(answer)
    }

    fn published(&self) -> Published {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store for LmdbStore {
    fn read(&self) -> Result<Box<dyn Tables + '_>> {
        self.environment.read().map(|txn| Box::new(self.over(txn)) as Box<dyn Tables>)
    }

    fn commit(&self, body: &mut dyn FnMut(&mut dyn TablesMut) -> Result<()>) -> Result<()> {
        self.write(&mut |tables| body(tables))
    }
}

/// What an environment says that it is.
enum Format {
    Empty,
    Version(u32),
    Other,
}

fn format_of(environment: &Environment) -> Result<Format> {
    let names = environment.table_names()?;
    if names.is_empty() {
        return Ok(Format::Empty);
    }
    if !names.iter().any(|name| name == META) {
        return Ok(Format::Other);
    }
    let meta = environment.table(META)?;
    let rows = environment.read()?;
    let Some(row) = rows.get(&meta, FORMAT_KEY)? else {
        // The tables were made, and the first commit never came.
        let first = rows.first(&meta)?.is_none();
        return Ok(if first { Format::Empty } else { Format::Other });
    };
    let mut row = Decoder::open(META, FORMAT_KEY, row)?;
    row.word().map(Format::Version)
}

impl Handles {
    fn open(environment: &Environment, file: Identity) -> Result<Self> {
        let names = [EVENTS, CLASHES, DOTS, ARRIVALS, STAMPS, PINS, HEALED, ORIGINS, META];
        let [events, clashes, dots, arrivals, stamps, pins, healed, origins, meta] =
            environment.tables(names)?;
        Ok(Self {
            events,
            clashes,
            dots,
            arrivals,
            stamps: Expiring { table: stamps, name: STAMPS },
            pins: Expiring { table: pins, name: PINS },
            healed,
            origins,
            meta,
            file,
        })
    }
}

/// Reads the head, or writes the first one.
fn begin(environment: &Environment, tables: &Handles, mint: Origin) -> Result<Published> {
    let rows = environment.read()?;
    if rows.get(&tables.meta, FORMAT_KEY)?.is_some() {
        let mut head = read_head(&rows, tables)?;
        if !is_own_file(&rows, environment, tables)? {
            // Also in place of a next Origin that is there: the other copy has the same.
            head.next_origin = Some(mint);
        }
        return Ok(Published { commit: rows.commit_number(), head: Arc::new(head) });
    }
    for table in [&tables.events, &tables.dots, &tables.arrivals, &tables.origins] {
        if rows.first(table)?.is_some() {
            return Err(corrupt(META, FORMAT_KEY, "there are rows, but no format"));
        }
    }
    drop(rows);
    let head = Head {
        origin: mint,
        next_origin: None,
        knowledge: Knowledge::new(),
        arrivals: 0,
        check: [0; 8],
        wall_ms: 0,
        events: 0,
        clock_max: 0,
    };
    environment.write(&mut |txn| {
        let commit = txn.commit_number();
        let format = Encoder::with_room(4).word(FORMAT_VERSION).seal(META, FORMAT_KEY);
        txn.put(&tables.meta, FORMAT_KEY, &format)?;
        txn.put(&tables.meta, Identity::KEY, &tables.file.encode())?;
        let first = OverLmdb::begin(tables, txn, head.clone()).finish()?;
        Ok(Published { commit, head: first.unwrap_or_else(|| Arc::new(head.clone())) })
    })
}

/// Whether the tables are in the file that their Origin was given to.
fn is_own_file(rows: &impl Rows, environment: &Environment, tables: &Handles) -> Result<bool> {
    let recorded = rows.get(&tables.meta, Identity::KEY)?.map(Identity::decode).transpose()?;
    let why = match recorded {
        Some(recorded) if recorded == tables.file => return Ok(true),
        Some(_) => "the data file was copied, or put back from a backup",
        None => "it is not recorded which data file these events belong to",
    };
    let path = environment.path().display();
    tracing::warn!(%path, "{why}: the next event that is written here begins a new Origin");
    Ok(false)
}

/// Checks the head against the tables: rows that vanished as whole pages would show in nothing else.
fn check_head(rows: &impl Rows, tables: &Handles, head: &Head) -> Result<()> {
    let counts = [
        (EVENTS, &tables.events, head.events),
        (DOTS, &tables.dots, head.knowledge.count()),
        (ARRIVALS, &tables.arrivals, head.arrivals),
        (ORIGINS, &tables.origins, head.knowledge.origins() as u64),
    ];
    for (name, table, expected) in counts {
        if rows.len(table)? != expected {
            return Err(corrupt(name, &[], "the table has more or fewer rows than the head says"));
        }
    }
    if let Some((key, row)) = rows.last(&tables.arrivals)? {
        let last = decode_arrival(key, row)?;
        if decode_number(ARRIVALS, key)? != head.arrivals || last.check != head.check {
            return Err(corrupt(ARRIVALS, key, "the last arrival is not the one that the head names"));
        }
    }
    for (origin, seq) in head.knowledge.iter() {
        let key = dot_key(Dot { origin, seq });
        if rows.get(&tables.dots, &key)?.is_none() {
            return Err(corrupt(DOTS, &key, "the last dot of its Origin is missing"));
        }
    }
    Ok(())
}
