//! From a file that anybody may be writing to a private copy that nobody changes.
//!
//! Overwriting a mapped library corrupts the running code, and the dynamic linker gives the old code for a
//! path that it knows; so only a copy under a path that was never used before is opened, and it is removed
//! once it is mapped.

use super::elf;
use super::load_error::LoadError;
use laterbase_plugin::section::Section;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// No library is larger than this, in bytes; debug builds of large plugins reach some 50 MB.
const LIBRARY_BYTES_MAX: u64 = 1 << 30;

/// A library's bytes as two equal reads gave them, and what they say of themselves.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Its contents.
    pub(super) bytes: Vec<u8>,
    /// BLAKE3 of its contents.
    pub(super) library: [u8; 32],
}

impl Candidate {
    /// Reads `file` twice; a file that changes in between is refused.
    pub(super) fn read(file: &Path) -> Result<Self, LoadError> {
        Self::read_with(file, || ())
    }

    /// The same with something happening between the two reads.
    fn read_with(file: &Path, between: impl FnOnce()) -> Result<Self, LoadError> {
        let (bytes, first) = (read_once(file)?, File::open(file).and_then(|open| open.metadata()));
        between();
        let again = read_once(file)?;
        let modified = |metadata: std::fs::Metadata| metadata.modified().ok();
        let second = File::open(file).and_then(|open| open.metadata());
        let same_time = first.ok().and_then(modified) == second.ok().and_then(modified);
        if !same_time || again != bytes {
            return Err(LoadError::Unstable { file: file.to_owned() });
        }
        let library = *blake3::hash(&bytes).as_bytes();
        Ok(Self { bytes, library })
    }

    /// What the library says of itself, once it is known that this host can load it.
    pub(super) fn check(&self) -> Result<Section, LoadError> {
        elf::check(&self.bytes)
    }

    /// Writes the private copy into `folder`, which is made if it is missing.
    pub(super) fn copy_into(&self, folder: &Path) -> Result<PrivateCopy, LoadError> {
        let failed = |source| LoadError::Stage { folder: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        loop {
            let path = folder.join(unused_name(&self.library));
            let open = OpenOptions::new().write(true).create_new(true).mode(0o500).open(&path);
            let mut open = match open {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                other => other.map_err(failed)?,
            };
            let copy = PrivateCopy(path);
            open.write_all(&self.bytes).map_err(failed)?;
            return Ok(copy);
        }
    }
}

/// A private copy of a library; the file is removed when this is dropped, a mapping of it stays.
#[derive(Debug)]
pub(super) struct PrivateCopy(PathBuf);

impl PrivateCopy {
    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "a private copy stays behind");
        }
    }
}

/// Removes the copies that a killed process left in `folder`.
pub(super) fn clear(folder: &Path) {
    for left in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let copy = left.path();
        if copy.extension().is_some_and(|extension| extension == "so") {
            drop(PrivateCopy(copy));
        }
    }
}

/// A name that this process has not used before, and that no other process uses at the same time.
fn unused_name(library: &[u8; 32]) -> String {
    static USED: AtomicU64 = AtomicU64::new(0);
    let number = USED.fetch_add(1, Ordering::Relaxed);
    let hash = blake3::Hash::from_bytes(*library).to_hex();
    let short = hash.get(..8).expect("a hash has 64 hex digits");
    format!("{}-{number}-{short}-{:08x}.so", std::process::id(), rand::random::<u32>())
}

fn read_once(file: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source: std::io::Error| {
        let file = file.to_owned();
        if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
            LoadError::NotFound { file }
        } else {
            LoadError::Unreadable { file, source }
        }
    };
    // A look at the kind first: opening a named pipe would wait for a writer.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(LoadError::NotAFile { file: file.to_owned() });
    }
    let mut bytes = Vec::new();
    let open = File::open(file).map_err(failed)?;
    open.take(LIBRARY_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LIBRARY_BYTES_MAX {
        let source = std::io::Error::new(ErrorKind::FileTooLarge, "larger than 1 GiB");
        return Err(LoadError::Unreadable { file: file.to_owned(), source });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;
    use std::os::unix::fs::PermissionsExt;

    // Goal: a file that changes between the two reads is refused, also when its length stays.
    #[test]
    fn half_written() {
        let scratch = tempfile::tempdir().expect("a folder");
        let file = scratch.path().join("a.so");
        for later in ["longer than before", "BEFORE"] {
            std::fs::write(&file, "before").expect("written");
            let read = Candidate::read_with(&file, || std::fs::write(&file, later).expect("written"));
            assert_eq!(read.expect_err("it changed").code(), Code::PluginUnstable);
        }
        let read = Candidate::read_with(&file, || std::fs::remove_file(&file).expect("removed"));
        assert_eq!(read.expect_err("it is gone").code(), Code::PluginNotFound);
    }

    // Goal: what is no readable regular file has its own name, and a named pipe does not block the host.
    #[test]
    fn not_a_file() {
        let scratch = tempfile::tempdir().expect("a folder");
        let code = |file: &Path| Candidate::read(file).expect_err("it is refused").code();
        assert_eq!(code(scratch.path()), Code::PluginNotAFile);
        assert_eq!(code(&scratch.path().join("none.so")), Code::PluginNotFound);
        let socket = scratch.path().join("socket.so");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        assert_eq!(code(&socket), Code::PluginNotAFile);
    }

    // Goal: copies have paths of their own, are nobody else's, hold the same bytes, and go when they are
    // dropped.
    #[test]
    fn private_copies() {
        let scratch = tempfile::tempdir().expect("a folder");
        let (file, folder) = (scratch.path().join("a.so"), scratch.path().join("stage/deep"));
        std::fs::write(&file, "bytes").expect("written");
        let candidate = Candidate::read(&file).expect("it is stable");
        let one = candidate.copy_into(&folder).expect("copied");
        let two = candidate.copy_into(&folder).expect("copied");
        assert_ne!(one.path(), two.path());
        assert_eq!(std::fs::read(one.path()).expect("readable"), b"bytes");
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(one.path())), (0o700, 0o500));
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && two.path().exists());
        std::fs::write(folder.join("left-behind.so"), "").expect("written");
        clear(&folder);
        assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 0);
        clear(&scratch.path().join("not there"));
    }
}
