//! Views: what plugins compute from a Root's events, kept as if late and retracted events had been there all along.

mod answer;
mod bounds;
mod computes;
mod cursor;
mod error;
mod plugins;

pub use answer::{Answer, Item, Page, PageQuery, SetAside};
pub use bounds::Bounds;
pub use computes::{Computes, Emission, Failure, FailureKind, KeyspaceInfo, Revision, Upcast, ViewInfo};
pub use error::ViewError;

use crate::store::Store;
use std::path::Path;
use std::sync::Arc;

/// The views of one Root. Methods block: call them from a thread that may wait.
#[derive(Debug)]
pub struct Views {
    store: Arc<dyn Store>,
    dir: std::path::PathBuf,
}

impl Views {
    /// The views of the Root whose files lie in `dir`. Nothing is read or written before there is an event and
    /// somebody asks.
    pub fn open(dir: &Path, store: Arc<dyn Store>) -> Self {
        Self { store, dir: dir.to_owned() }
    }

    /// Builds every Keyspace of `plugins` up to the last event, beside those that serve, and tries every View on a
    /// few aggregates. `progress` hears (arrivals done, arrivals in all). After an error nothing of it is left.
    pub fn prepare(
        &self,
        plugins: &Arc<dyn Computes>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ViewError> {
        let _ = (&self.store, &self.dir, plugins, progress);
        Err(ViewError::Closing)
    }

    /// From now on `plugins` serve: their Keyspaces follow new events. Those before go once no query holds them.
    pub fn adopt(&self, plugins: &Arc<dyn Computes>) {
        let _ = plugins;
    }

    /// Tells that events were committed. Cheap; a large backlog is indexed in the background, a small one when
    /// somebody asks.
    pub fn wake(&self) {}

    /// The answer for the aggregate whose key a user typed as `typed`; none if no un-voided event within `bounds`
    /// maps to it. Everything that was committed before the call counts.
    pub fn one(
        &self,
        plugins: &Arc<dyn Computes>,
        view: &str,
        typed: &[String],
        bounds: &Bounds,
    ) -> Result<Option<Answer>, ViewError> {
        let _ = (plugins, view, typed, bounds);
        Err(ViewError::Closing)
    }

    /// A page of the View's aggregates in key order. Everything that was committed before the call counts.
    pub fn page(&self, plugins: &Arc<dyn Computes>, query: &PageQuery) -> Result<Page, ViewError> {
        let _ = (plugins, query);
        Err(ViewError::Closing)
    }
}
