//! Which data file an environment is in: whether it is still the one to which the Root's Origin was given.
//!
//! A copy, or a backup that was put back, would give out dots that the other copy, or the time before, has given
//! already. So the file's identity is recorded in `meta` whenever an Origin begins, and compared at every opening:
//!
//! ```text
//! same inode number, same time of birth    the same file: restarted, renamed, moved within its file system
//! anything else                            another file: the next admission begins a new Origin
//! ```
//! The number of the device, the machine and the path are left out on purpose: they change while the file stays.
//! Where the file system knows no time of birth, a random nonce in a file beside the data file stands for it.
//!
//! What this cannot see is a file that was written over in place, or a whole disk that was put back. Replicas find
//! those when they meet a dot that they never gave.

use super::datafile::DATA_FILE;
use super::rows::{Decoder, Encoder, META};
use crate::core::tables::Result;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// Where the nonce is kept.
const NONCE_FILE: &str = "nonce";

/// What tells one data file from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// The number of the file in its file system; a removed file's number is given out again.
    pub(super) inode: u64,
    /// The nanosecond since 1970 in which the file was made, or a nonce.
    pub(super) birth: [u8; 16],
}

impl Identity {
    /// The row of `meta`.
    pub(super) const KEY: &'static [u8] = b"file";

    /// The identity of the data file in `dir`. A nonce is made if one is needed and there is none.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let file = fs::metadata(dir.join(DATA_FILE))?;
        let birth = match birth_time(&file) {
            Some(birth) => birth,
            None => nonce(dir)?,
        };
        Ok(Self { inode: file.ino(), birth })
    }

    pub(super) fn encode(self) -> Vec<u8> {
        Encoder::with_room(24).long(self.inode).bytes(&self.birth).seal(META, Self::KEY)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self> {
        let mut row = Decoder::open(META, Self::KEY, row)?;
        let this = Self { inode: row.long()?, birth: row.bytes()? };
        row.end()?;
        Ok(this)
    }
}

/// When the file was made; none where the file system does not know it (some then say 1970).
fn birth_time(file: &Metadata) -> Option<[u8; 16]> {
    let since = file.created().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (!since.is_zero()).then(|| since.as_nanos().to_be_bytes())
}

/// The nonce in `dir`, made and flushed to the disk if there is none, or a torn one.
pub(super) fn nonce(dir: &Path) -> io::Result<[u8; 16]> {
    let path = dir.join(NONCE_FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            if let Ok(nonce) = bytes.try_into() {
                return Ok(nonce);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let nonce: [u8; 16] = rand::random();
    let mut file = File::create(&path)?;
    file.write_all(&nonce)?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(nonce)
}
