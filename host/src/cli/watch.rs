//! `serve --watch`: plugins are reloaded when their libraries or the files that they are configured with change.
//!
//! A linker writes a library in many steps and an editor replaces a file by another, so folders are watched, not
//! files, and a reload waits until nothing has changed for a while. Whether a file is whole is not for the clock to
//! say: the loader reads it twice and tries it in a child, and what it refuses is read again at the next change.

use crate::host::Host;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Nothing may have changed for so long before files are read.
const QUIET: Duration = Duration::from_millis(300);

/// What of the file system decides what plugins are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Watched {
    /// Every library in these counts.
    folders: BTreeSet<PathBuf>,
    /// So do these, wherever they are.
    files: BTreeSet<PathBuf>,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    /// Told of every change that counts. What does not never comes here: a log beside the configuration is written
    /// all the time, and must neither pile up nor put a reload off.
    changed: Arc<Notify>,
    watcher: RecommendedWatcher,
    known: Arc<RwLock<Watched>>,
}

impl Watch {
    /// Watches what the plugins of `host` are made from. Fails where the system allows no more watches, or a folder
    /// cannot be read.
    pub(super) fn start(host: &Host) -> notify::Result<Self> {
        let (changed, known) = (Arc::new(Notify::new()), Arc::new(RwLock::new(Watched::default())));
        let (tell, counting) = (Arc::clone(&changed), Arc::clone(&known));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let Ok(event) = event.inspect_err(|fault| tracing::warn!(%fault, "a change may go unseen"))
            else {
                return;
            };
            // Reading a file is an event, too, and a reload reads.
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            let known = counting.read().unwrap_or_else(PoisonError::into_inner);
            // Where the system lost count, anything may have changed.
            if event.need_rescan() || event.paths.iter().any(|path| known.counts(path)) {
                tell.notify_one();
            }
        })?;
        let mut this = Self { changed, watcher, known };
        this.watch(host)?;
        Ok(this)
    }

    /// Reloads what changes, for ever.
    pub(super) async fn run(mut self, host: &Arc<Host>) {
        loop {
            self.changed.notified().await;
            while timeout(QUIET, self.changed.notified()).await.is_ok() {}
            tracing::info!("files of plugins changed");
            let reloading = Arc::clone(host);
            if let Err(fault) = tokio::task::spawn_blocking(move || reloading.reload_all()).await {
                tracing::error!(%fault, "the reload failed");
            }
            // A new configuration may name other files.
            if let Err(fault) = self.watch(host) {
                tracing::warn!(%fault, "a change may go unseen");
            }
        }
    }

    /// Watches what is not watched yet.
    fn watch(&mut self, host: &Host) -> notify::Result<()> {
        let watched = Watched::of(host);
        let before = self.known.read().unwrap_or_else(PoisonError::into_inner).all_folders();
        for folder in watched.all_folders().difference(&before) {
            self.watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = watched;
        Ok(())
    }
}

impl Watched {
    fn of(host: &Host) -> Self {
        let names = host.registry().status().into_iter().filter_map(|status| status.name);
        let files = names.flat_map(|name| host.configuration_files(&name));
        Self {
            folders: host.plugin_folders().iter().map(|folder| absolute(folder)).collect(),
            files: files.map(|file| absolute(&file)).collect(),
        }
    }

    /// The folders in which something may happen that counts.
    fn all_folders(&self) -> BTreeSet<PathBuf> {
        let parents = self.files.iter().filter_map(|file| file.parent()).map(Path::to_owned);
        parents.chain(self.folders.iter().cloned()).collect()
    }

    fn counts(&self, path: &Path) -> bool {
        let is_library = path.extension().is_some_and(|ending| ending == std::env::consts::DLL_EXTENSION);
        let is_in_folder = path.parent().is_some_and(|folder| self.folders.contains(folder));
        (is_library && is_in_folder) || self.files.contains(path)
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Libraries in a plugin folder and configuration files count; what a compiler leaves beside them does not.
    #[test]
    fn what_counts() {
        let watched = Watched {
            folders: [PathBuf::from("/plugins")].into(),
            files: [PathBuf::from("/etc/laterbase.toml")].into(),
        };
        for (path, counts) in [
            ("/plugins/libtally.so", true),
            ("/plugins/libtally.d", false),
            ("/plugins/deps/libtally.so", false),
            ("/etc/laterbase.toml", true),
            ("/etc/passwd", false),
        ] {
            assert_eq!(watched.counts(Path::new(path)), counts, "{path}");
        }
        assert_eq!(watched.all_folders(), [PathBuf::from("/etc"), PathBuf::from("/plugins")].into());
    }
}
