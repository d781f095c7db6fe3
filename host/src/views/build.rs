//! Which tables hold what a set of plugins computes.
//!
//! The name of a Keyspace's tables covers, besides the Keyspace's own revision, the bytes of the rows and everything
//! that decides which events are retracted: the spans in the rows depend on it. The name of a View's tables covers its
//! Keyspace's name.

use super::computes::{Computes, Revision, ViewInfo};
use super::error::ViewError;
use super::index::border::Borders;
use super::layout::FORMAT;
use std::fmt;
use std::sync::Arc;

/// The tables of one Keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keyspace {
    /// Its position in the plugins' list.
    pub(super) position: usize,
    /// Its name, for people.
    pub(super) name: String,
    /// How many parts its aggregate keys have.
    pub(super) parts: usize,
    /// Names its tables.
    pub(super) tables: Revision,
}

/// One View and where its rows are.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Its position in the plugins' list.
    pub(super) position: usize,
    /// What it declares.
    pub(super) info: ViewInfo,
    /// Its Keyspace.
    pub(super) keyspace: Keyspace,
    /// Names the tables of its Snapshots and of what it could not fold.
    pub(super) states: Revision,
}

/// A set of plugins and the tables that hold what they compute.
pub(super) struct Build {
    /// What computes.
    pub(super) plugins: Arc<dyn Computes>,
    /// The Keyspaces, in the plugins' order.
    pub(super) keyspaces: Vec<Keyspace>,
    /// Where the rows of indexes begin.
    pub(super) borders: Borders,
    /// The Views; one whose Keyspace does not exist is left out.
    pub(super) views: Vec<View>,
}

impl Build {
    /// The tables for `plugins`.
    pub(super) fn new(plugins: &Arc<dyn Computes>) -> Self {
        let format = FORMAT.to_be_bytes();
        let retractions = plugins.retractions_revision().0;
        let named = plugins.keyspaces().into_iter().enumerate();
        let keyspaces: Vec<Keyspace> = named
            .map(|(position, info)| Keyspace {
                position,
                tables: Revision::of(&[b"keyspace", &format, &retractions, &info.revision.0]),
                name: info.name,
                parts: info.parts,
            })
            .collect();
        let placed = plugins.views().into_iter().enumerate().filter_map(|(position, info)| {
            let keyspace = keyspaces.get(info.keyspace)?.clone();
            let states = Revision::of(&[b"view", &keyspace.tables.0, &info.revision.0]);
            Some(View { position, info, keyspace, states })
        });
        let views = placed.collect();
        Self { plugins: Arc::clone(plugins), keyspaces, borders: Borders::new(plugins.root()), views }
    }

    /// The View called `name`.
    pub(super) fn view(&self, name: &str) -> Result<View, ViewError> {
        let found = self.views.iter().find(|view| view.info.name == name).cloned();
        found.ok_or_else(|| ViewError::UnknownView {
            root: self.plugins.root().to_owned(),
            view: name.to_owned(),
        })
    }

    /// True if both use the same tables.
    pub(super) fn same_tables(&self, other: &Self) -> bool {
        let tables =
            |build: &Self| build.keyspaces.iter().map(|keyspace| keyspace.tables).collect::<Vec<_>>();
        tables(self) == tables(other)
    }
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Build").field("keyspaces", &self.keyspaces).finish_non_exhaustive()
    }
}
