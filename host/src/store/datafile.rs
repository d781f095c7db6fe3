//! What the data file of an environment tells before it is mapped into memory.
//!
//! LMDB maps the file and trusts it: a file that is shorter than its last page kills the process on the first read
//! behind its end. So the two meta pages are read here by ordinary reads first. The file of an environment is kept as
//! long as its map (sparse: only written pages take space), so a shorter one has been cut off.
//!
//! ```text
//! meta page (of 0 and 1; the one with the greater transaction counts), little-endian
//!   10  page flags, 0x08 set      16  magic be ef c0 de     20  version 1
//!   40  page size                136  last page            144  transaction
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The file that LMDB keeps its pages in.
pub(super) const DATA_FILE: &str = "data.mdb";
/// The file that LMDB keeps its readers in; it says nothing once no process has the environment open.
const LOCK_FILE: &str = "lock.mdb";
/// The two meta pages, in the page size of this format.
const METAS_BYTES: u64 = 2 * 4096;
const META_BYTES: usize = 152;
const META_FLAG: u16 = 0x08;
const MAGIC: u32 = 0xbeef_c0de;
const VERSION: u32 = 1;

/// What is in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// No data file, or one that no commit ever reached.
    Nothing,
    /// A data file whose pages are all there; its length in bytes.
    Whole(u64),
}

/// Why a data file must not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum DataFileError {
    /// The file ends before its last page does.
    #[error("{} has {length} bytes and should have at least {expected}: it was cut off", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
        /// The end of its last page in bytes.
        expected: u64,
    },
    /// The first two pages are not those of an environment.
    #[error("{} does not begin with two meta pages: it is damaged, or no data file of this format", path.display())]
    NoMeta {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The fields of a meta page that matter here.
#[derive(Debug, Clone, Copy)]
struct Meta {
    page_bytes: u64,
    last_page: u64,
    transaction: u64,
}

/// Looks at the data file in `dir` and changes nothing.
pub(super) fn look(dir: &Path) -> Result<Found, DataFileError> {
    Ok(inspect_file(&dir.join(DATA_FILE))?.map_or(Found::Nothing, Found::Whole))
}

/// Looks at the data file in `dir`, and takes one away that no commit ever reached (LMDB refuses a torn one).
pub(super) fn inspect(dir: &Path) -> Result<Found, DataFileError> {
    let found = look(dir)?;
    if found == Found::Nothing {
        remove_if_there(&dir.join(DATA_FILE))?;
        remove_if_there(&dir.join(LOCK_FILE))?;
    }
    Ok(found)
}

fn inspect_file(path: &Path) -> Result<Option<u64>, DataFileError> {
    let at = |source| DataFileError::Io { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    let length = file.metadata().map_err(at)?.len();
    let first = read_meta(&mut file, 0).map_err(at)?;
    let second_at = first.map_or(METAS_BYTES / 2, |meta| meta.page_bytes);
    let second = read_meta(&mut file, second_at).map_err(at)?;
    let newest = first.into_iter().chain(second).max_by_key(|meta| meta.transaction);
    if let Some(meta) = newest {
        let expected = meta.last_page.saturating_add(1).saturating_mul(meta.page_bytes);
        if meta.last_page > 1 && length < expected {
            return Err(DataFileError::Truncated { path: path.to_owned(), length, expected });
        }
    }
    let never_committed = newest.is_none_or(|meta| meta.last_page <= 1);
    match (first, second) {
        (Some(_), Some(meta)) if length >= 2 * meta.page_bytes => Ok(Some(length)),
        _ if length <= METAS_BYTES && never_committed => Ok(None),
        _ => Err(DataFileError::NoMeta { path: path.to_owned() }),
    }
}

fn remove_if_there(path: &Path) -> Result<(), DataFileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DataFileError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn read_meta(file: &mut File, offset: u64) -> io::Result<Option<Meta>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = [0; META_BYTES];
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    Ok(decode_meta(&bytes))
}

/// LMDB writes in the order of the machine, and only little-endian ones are supported.
fn decode_meta(bytes: &[u8; META_BYTES]) -> Option<Meta> {
    let half =
        |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u16::from_le_bytes);
    let word =
        |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_le_bytes);
    let long =
        |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u64::from_le_bytes);
    if half(10)? & META_FLAG == 0 || word(16)? != MAGIC || word(20)? != VERSION {
        return None;
    }
    let page_bytes = u64::from(word(40)?);
    if !page_bytes.is_power_of_two() || !(512..=65_536).contains(&page_bytes) {
        return None;
    }
    Some(Meta { page_bytes, last_page: long(136)?, transaction: long(144)? })
}
