//! Where a Root's tables live: on disk in LMDB, or in memory for simulations. Both obey one trait and one property
//! test.

mod datafile;
pub mod environment;
mod expiring;
mod gate;
mod identity;
pub mod lmdb;
mod lmdb_tables;
pub mod lock;
pub mod memory;
pub mod restore;
mod rows;
pub mod verify;

pub use datafile::DataFileError;
pub use lmdb::{LmdbStore, OpenError};
pub use lock::{DataLock, LockError};
pub use memory::MemoryStore;
pub use restore::Restored;

use crate::core::tables::{Result, Tables, TablesMut};

/// The tables of one Root.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// A consistent view of the last commit. Hold it briefly: an open reader keeps old pages alive.
    fn read(&self) -> Result<Box<dyn Tables + '_>>;

    /// Runs `body` in the one write transaction and commits it durably: when this returns `Ok`, the writes survive
    /// a crash and a power loss, and only then are they visible to readers. `body` may run more than once (the map
    /// was full and has grown): it must begin from nothing each time. An error from `body` writes nothing.
    /// A body that puts nothing costs no commit.
    fn commit(&self, body: &mut dyn FnMut(&mut dyn TablesMut) -> Result<()>) -> Result<()>;
}

#[cfg(test)]
mod tests;
