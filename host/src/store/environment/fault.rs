//! What the engine's and the system's errors mean for whoever asked.

use super::EnvironmentError;
use crate::core::tables::TableError;
use heed::MdbError;
use std::io;
use std::path::Path;

pub(super) fn io_refused(dir: &Path, source: io::Error) -> EnvironmentError {
    EnvironmentError::Refused { path: dir.to_owned(), source: Box::new(source) }
}

pub(super) fn would_wait_for_itself() -> TableError {
    TableError::Io("the map cannot move while the same thread reads the environment".into())
}

pub(super) fn io_error(error: io::Error) -> TableError {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        TableError::DiskFull(error)
    } else {
        TableError::Io(Box::new(error))
    }
}

pub(super) fn table_error(error: heed::Error) -> TableError {
    let corrupt = |reason| TableError::Corrupt { table: "pages", row: String::new(), reason };
    match error {
        heed::Error::Io(error) => io_error(error),
        heed::Error::Mdb(MdbError::MapFull) => TableError::MapFull,
        heed::Error::Mdb(MdbError::Corrupted) => corrupt("a page is of the wrong kind"),
        heed::Error::Mdb(MdbError::PageNotFound) => corrupt("a page is missing"),
        other @ (heed::Error::Mdb(_)
        | heed::Error::Encoding(_)
        | heed::Error::Decoding(_)
        | heed::Error::EnvAlreadyOpened) => TableError::Io(Box::new(other)),
    }
}

/// Why an environment does not open.
pub(super) fn refused(dir: &Path, source: heed::Error) -> EnvironmentError {
    match source {
        heed::Error::EnvAlreadyOpened => EnvironmentError::AlreadyOpen { path: dir.to_owned() },
        heed::Error::Io(source) => io_refused(dir, source),
        other @ (heed::Error::Mdb(_) | heed::Error::Encoding(_) | heed::Error::Decoding(_)) => {
            EnvironmentError::Refused { path: dir.to_owned(), source: Box::new(other) }
        }
    }
}
