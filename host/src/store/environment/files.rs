//! The files of an environment: as long as the map, and with durable names.

use super::super::datafile::DATA_FILE;
use super::Kind;
use heed::{Env, WithoutTls};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The path under which this process has the environment in `dir` open, if it has.
pub(super) fn opened_here(dir: &Path) -> Option<PathBuf> {
    let path = dir.canonicalize().ok()?;
    heed::env_closing_event(&path).map(|_| path)
}

/// Makes the file as long as the map. LMDB may name a last page that it never wrote; with the file at full length a
/// shorter one is one that was cut off, and no read runs behind its end.
pub(super) fn reserve(env: &Env<WithoutTls>, kind: Kind, map_bytes: u64) -> heed::Result<()> {
    let file: File = env.try_clone_inner_file()?;
    if file.metadata()?.len() >= map_bytes {
        return Ok(());
    }
    // The meta pages first: a long file without them would look damaged.
    if kind == Kind::Durable {
        file.sync_all()?;
    }
    file.set_len(map_bytes)?;
    if kind == Kind::Durable {
        file.sync_all()?;
    }
    Ok(())
}

/// Makes the names of a new environment durable, in its directory and in the one above.
pub(super) fn sync_directories(dir: &Path) -> io::Result<()> {
    debug_assert!(dir.join(DATA_FILE).exists(), "the environment was just made");
    File::open(dir)?.sync_all()?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
