//! How far an import is, beside its file, so that one that was killed goes on where it was: `--resume`.
//!
//! Durable before it counts: the report's rows are on disk first, then this file is replaced as a whole. It belongs to
//! one file (its length, and a hash of all that was used of it), one Root of one server, and one mapping; with
//! anything else it is refused. It is at most [`EVERY`] behind: rows that were written after it are duplicates when
//! the import goes on.

use super::Fault;
use super::input::Place;
use super::report::Counts;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is written.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// What is imported where and how, as a hash.
    pub(super) task: String,
    /// The file's length.
    pub(super) length: u64,
    /// Bytes of it that were used, unpacked.
    pub(super) offset: u64,
    /// BLAKE3 over them, in hex.
    pub(super) hash: String,
    /// How long the report's file is.
    pub(super) report_bytes: u64,
    /// What was counted.
    pub(super) counts: Counts,
}

impl Position {
    /// The same further on.
    pub(super) fn at(&self, place: Place, counts: &Counts, report_bytes: u64) -> Self {
        let Place { offset, hash } = place;
        Self { offset, hash, report_bytes, counts: counts.clone(), ..self.clone() }
    }

    /// The position that was kept at `path`, if it is of this task and a file of this length; none if there is none.
    pub(super) fn read(path: &Path, task: &str, length: u64) -> Result<Option<Self>, Fault> {
        let fault = |why: &str| Fault::Usage(format!("{}: {why}: start without --resume", path.display()));
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| fault(&error.to_string()))?,
        };
        let kept: Self =
            serde_json::from_slice(&text).map_err(|_| fault("this is no position of an import"))?;
        if kept.task != task {
            return Err(fault("it is of an import to another root or server, or by another mapping"));
        }
        if kept.length != length {
            return Err(fault("the file has another length than when its import was broken off"));
        }
        Ok(Some(kept))
    }

    /// Keeps it at `path`.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// The place for it beside the file that is imported.
pub(super) fn beside(file: &Path) -> Option<PathBuf> {
    let mut name = file.file_name()?.to_owned();
    name.push(".laterbase-import");
    Some(file.with_file_name(name))
}
