//! The lock of the data directory: one process at a time. LMDB would let two write, and the counters that each keeps
//! in memory would overwrite the other's events.

use crate::problem::{Code, Problem};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "LOCK";

/// Keeps other processes out of a data directory until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DataLock {
    path: PathBuf,
    /// The lock is the open file's.
    _file: File,
}

/// Why a data directory is not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("{} is held: another process uses this data directory", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

impl LockError {
    /// The error as a user meets it.
    pub fn problem(&self) -> Problem {
        Problem::new(Code::Storage, self.to_string())
    }
}

impl DataLock {
    /// Locks `data`, which is made if it is not there. The file stays behind, unlocked, when the lock is dropped.
    pub fn take(data: &Path) -> Result<Self, LockError> {
        let path = data.join(LOCK_FILE);
        let at = |source| LockError::Io { path: path.clone(), source };
        fs::create_dir_all(data).map_err(at)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Held { path }),
            Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
        }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_the_error_names_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let lock = DataLock::take(&data).expect("free");
        let error = DataLock::take(&data).expect_err("held");
        assert!(matches!(&error, LockError::Held { path } if path == lock.path()), "{error}");
        assert!(error.to_string().contains(&data.join("LOCK").display().to_string()), "{error}");
        drop(lock);
        assert!(DataLock::take(&data).is_ok(), "free again");
    }
}
