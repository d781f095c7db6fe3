//! A host: the data directory, the plugins, the Roots, and the server that puts them on the network.
//!
//! The binary is this type with a command line; a program of its own uses it with plugins linked in
//! ([`Host::builder`]), and gets the same server.

mod settings;

use crate::admit::Desk;
use crate::config::{Config, PeersConfig};
use crate::core::event::ValidTime;
use crate::core::limits::{Limits, ROOTS_FROM_PEERS_MAX};
use crate::core::name::is_name;
use crate::peers::{AddressError, PeerAddress, Peers, Roots};
use crate::plugin::load_error::Cause;
use crate::plugin::probe::Probe;
use crate::plugin::{
    Catalog, Events, LoadError, Progress, Registry, Reloaded, RootCatalog, Sample, Turn, registry,
};
use crate::problem::{Code, Problem};
use crate::root::{Opened, Root};
use crate::store::{DataLock, LockError};
use crate::sync::Replica;
use crate::views::{Computes, ViewError};
use crate::wall::{SystemWall, Wall};
use arc_swap::ArcSwap;
use laterbase_plugin::StaticPlugin;
use settings::Settings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// What a host is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory; made if it is not there.
    pub data: PathBuf,
    /// Folders of plugin libraries, in which every file must be one.
    pub folders: Vec<PathBuf>,
    /// A folder whose libraries are loaded if they are plugins, and passed over if not.
    pub default_folder: Option<PathBuf>,
    /// This program, for what is done in a process of its own: a library is tried there before the host opens it, and
    /// rows are checked there. None: nothing is tried or checked.
    pub probe: Option<PathBuf>,
    /// What the configuration file says.
    pub config: Config,
    /// The wall clock.
    pub wall: Arc<dyn Wall>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            folders: Vec::new(),
            default_folder: None,
            probe: None,
            config: Config::default(),
            wall: Arc::new(SystemWall),
        }
    }
}

/// Why a host cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the data directory.
    #[error(transparent)]
    InUse(LockError),
    /// The data directory cannot be made or read.
    #[error("the data directory {}: {source}", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A plugin folder cannot be read, or a plugin that is linked in cannot be used.
    #[error(transparent)]
    Plugin(#[from] LoadError),
    /// The address of a peer is none.
    #[error(transparent)]
    Peer(#[from] AddressError),
    /// A plugin cannot use what the configuration says.
    #[error("the configuration of plugin {plugin}: {detail}")]
    PluginConfiguration {
        /// The plugin's declared name.
        plugin: String,
        /// Why.
        detail: String,
    },
}

/// Builds a [`Host`] in a program of one's own.
#[derive(Debug, Default)]
pub struct Builder {
    options: Options,
    plugins: Vec<StaticPlugin>,
}

impl Builder {
    /// Keeps the data in `folder`.
    #[must_use]
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.data = folder.into();
        self
    }

    /// Adds a plugin that is linked into the program.
    #[must_use]
    pub fn plugin(mut self, plugin: StaticPlugin) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Sets everything else.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Opens the data directory and loads the plugins.
    pub fn open(self) -> Result<Host, OpenError> {
        Host::claim(self.options)?.open(self.plugins)
    }
}

/// An open host.
#[derive(Debug)]
pub struct Host {
    data: PathBuf,
    desk: Desk,
    registry: Registry,
    roots: Arc<ArcSwap<BTreeMap<String, Arc<Root>>>>,
    config: Config,
    peers: Vec<Peer>,
    standing: Peers,
    probe: Option<PathBuf>,
    /// Counts up whenever a Root gets files.
    made: watch::Sender<u64>,
    _lock: DataLock,
}

/// A data directory that is taken for a host that is not open yet.
#[derive(Debug)]
pub struct Claim {
    options: Options,
    lock: DataLock,
    peers: Vec<Peer>,
}

impl Claim {
    /// Loads the plugins, those of the folders and those that are linked in. Blocks.
    pub fn open(self, plugins: Vec<StaticPlugin>) -> Result<Host, OpenError> {
        crate::metering::start();
        Host::start(self, plugins)
    }
}

/// A replica to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens.
    pub address: PeerAddress,
    /// Only these Roots; none: all.
    pub roots: Option<Vec<String>>,
}

impl Host {
    /// A host to be put together.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Opens the data directory and loads the plugins of the folders.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        Self::claim(options.clone())?.open(Vec::new())
    }

    /// Takes the data directory, so that no other process opens a host on it. Nothing is loaded yet.
    pub fn claim(options: Options) -> Result<Claim, OpenError> {
        let data = &options.data;
        std::fs::create_dir_all(data).map_err(|source| OpenError::Data { path: data.clone(), source })?;
        let lock = DataLock::take(data).map_err(OpenError::InUse)?;
        let peers = peers(&options.config.peers)?;
        Ok(Claim { options, lock, peers })
    }

    fn start(Claim { options, lock, peers }: Claim, plugins: Vec<StaticPlugin>) -> Result<Self, OpenError> {
        let options = &options;
        let data = options.data.clone();
        let failed = |source| OpenError::Data { path: data.clone(), source };
        let limits = options.config.limits();
        let stored = Arc::new(Stored::default());
        let events: Arc<dyn Events> = Arc::clone(&stored) as _;
        let host = Self {
            desk: Desk { limits: Arc::new(limits.clone()), wall: Arc::clone(&options.wall) },
            registry: Registry::new(registry_options(options, &limits, !plugins.is_empty(), events)),
            roots: Arc::clone(&stored.roots),
            config: options.config.clone(),
            peers,
            standing: Peers::default(),
            probe: options.probe.clone(),
            made: watch::Sender::new(0),
            _lock: lock,
            data: data.clone(),
        };
        host.roots_on_disk().map_err(failed)?;
        for plugin in plugins {
            host.registry.add_static(plugin)?;
        }
        host.load_folders(options)?;
        stored.is_started.store(true, Ordering::Relaxed);
        Ok(host)
    }

    fn load_folders(&self, options: &Options) -> Result<(), OpenError> {
        let named = options.folders.iter().map(|folder| (folder.as_path(), true));
        let default = options.default_folder.iter().map(|folder| (folder.as_path(), false));
        for (folder, named) in named.chain(default) {
            // At the start nothing serves yet: views are built when they are first asked or in the background.
            self.registry.load_folder(folder, named, self.desk.wall.now(), &mut |_| Ok(()))?;
        }
        self.adopt();
        let loaded = self.registry.status();
        for name in self.config.plugin.keys() {
            if !loaded.iter().any(|status| status.name.as_ref() == Some(name)) {
                tracing::warn!(plugin = name, "it is configured, but not loaded");
            }
        }
        for status in loaded {
            match (&status.name, &status.error) {
                (Some(name), None) => tracing::info!(plugin = name, version = status.version, "loaded"),
                (Some(name), Some(fault))
                    if self.config.plugin.contains_key(name)
                        && (fault.is(Code::PluginConfigure) || fault.is(Code::BadConfig)) =>
                {
                    let (plugin, detail) = (name.clone(), fault.detail.clone());
                    return Err(OpenError::PluginConfiguration { plugin, detail });
                }
                (_, Some(fault)) => {
                    tracing::error!(file = ?status.file, code = fault.code, "{}", fault.detail);
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Lists the Roots that have files; they are opened at their first use.
    fn roots_on_disk(&self) -> std::io::Result<()> {
        let folder = self.data.join("roots");
        if !folder.exists() {
            return Ok(());
        }
        let mut roots = BTreeMap::new();
        for found in std::fs::read_dir(folder)? {
            if let Ok(name) = found?.file_name().into_string() {
                roots.insert(name.clone(), Arc::new(self.new_root(&name)));
            }
        }
        self.roots.store(Arc::new(roots));
        Ok(())
    }

    fn new_root(&self, name: &str) -> Root {
        Root::new(name, self.data.join("roots").join(name), self.desk.clone(), self.made.clone())
    }

    /// Adds the Roots that `catalog` declares to those that there are.
    fn add_roots(&self, catalog: &Catalog) {
        let missing = |roots: &BTreeMap<_, _>| catalog.roots().any(|root| !roots.contains_key(root.name()));
        if !missing(&self.roots.load()) {
            return;
        }
        self.roots.rcu(|roots| {
            let mut roots = BTreeMap::clone(roots);
            for root in catalog.roots() {
                let name = root.name();
                roots.entry(name.to_owned()).or_insert_with(|| Arc::new(self.new_root(name)));
            }
            roots
        });
    }

    /// The replicas to dial.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What is free where it lies, in bytes, if the system tells.
    pub fn disk_free_bytes(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.data).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// How it stands with them.
    pub fn standing(&self) -> &Peers {
        &self.standing
    }

    /// The program that is started for what is done in a process of its own.
    pub fn probe(&self) -> Option<&Path> {
        self.probe.as_deref()
    }

    /// The wall clock.
    pub fn now(&self) -> ValidTime {
        self.desk.wall.now()
    }

    /// The Root `name` for a peer. One that nobody here knows is added if `needs_files`, within the limit; otherwise
    /// it answers as an empty one and is forgotten.
    pub fn root_for_peer(
        &self,
        name: &str,
        needs_files: &dyn Fn() -> Result<bool, Problem>,
    ) -> Result<Arc<Root>, Problem> {
        if let Some(root) = self.roots.load().get(name) {
            return Ok(Arc::clone(root));
        }
        if !is_name(name) {
            return Err(Problem::new(Code::BadName, format!("{name:?} is not the name of a root")));
        }
        if !needs_files()? {
            return Ok(Arc::new(self.new_root(name)));
        }
        let catalog = self.registry.catalog();
        let undeclared = self.roots.load().keys().filter(|root| catalog.root(root).is_none()).count();
        if undeclared >= ROOTS_FROM_PEERS_MAX {
            let detail =
                format!("{name}: {ROOTS_FROM_PEERS_MAX} roots that no plugin here declares are enough");
            return Err(Problem::new(Code::TooManyRoots, detail));
        }
        self.roots.rcu(|roots| {
            let mut roots = BTreeMap::clone(roots);
            roots.entry(name.to_owned()).or_insert_with(|| Arc::new(self.new_root(name)));
            roots
        });
        self.root_for_peer(name, &|| Ok(false))
    }

    /// Every maximum in force.
    pub fn limits(&self) -> &Limits {
        &self.desk.limits
    }

    /// The plugins.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What the configuration file says.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All Roots, declared or with files, with what plugins offer to them.
    pub fn roots(&self) -> Vec<(Arc<Root>, Arc<RootCatalog>)> {
        let catalog = self.registry.catalog();
        self.roots.load().values().map(|root| (Arc::clone(root), offered(&catalog, root.name()))).collect()
    }

    /// The Root `name` with what plugins offer to it.
    pub fn root(&self, name: &str) -> Result<(Arc<Root>, Arc<RootCatalog>), Problem> {
        let catalog = self.registry.catalog();
        if let Some(root) = self.roots.load().get(name) {
            return Ok((Arc::clone(root), offered(&catalog, name)));
        }
        let declared: Vec<String> = self.roots.load().keys().cloned().collect();
        let listed = if declared.is_empty() { "none".to_owned() } else { declared.join(", ") };
        let detail = format!("no plugin declares the root {name:?}; there are: {listed}");
        Err(Problem::new(Code::UnknownRoot, detail).with("roots", declared))
    }

    /// The folders whose libraries are plugins.
    pub fn plugin_folders(&self) -> Vec<PathBuf> {
        self.registry.folders()
    }

    /// The files that the plugin `name` is configured with, the configuration file first: a change of one of them is
    /// a reason to reload it. None without a configuration file.
    pub fn configuration_files(&self, name: &str) -> Vec<PathBuf> {
        self.config.path.as_deref().map(|path| Config::files_of(path, name)).unwrap_or_default()
    }

    /// Replaces a plugin by what its file and its configuration hold now, in a turn that the registry gave. Blocks
    /// until the new generation serves all its views.
    pub fn reload(&self, turn: &Turn, name: &str) -> Result<Reloaded, LoadError> {
        let prepare = &mut |catalog: &Arc<Catalog>| self.prepare(catalog);
        let reloaded = self.registry.reload_in(turn, name, self.desk.wall.now(), prepare);
        if let Ok(reloaded) = &reloaded {
            self.adopt();
            tracing::info!(plugin = name, ?reloaded, "reloaded");
        }
        reloaded
    }

    /// Reads every plugin folder again, replaces what changed and loads what is new. Blocks.
    pub fn reload_all(&self) {
        let outcomes = self.registry.reload_all(self.desk.wall.now(), &mut |catalog| self.prepare(catalog));
        self.adopt();
        for (file, outcome) in outcomes {
            match outcome {
                Ok(reloaded) => tracing::info!(file = %file.display(), ?reloaded, "read again"),
                Err(fault) => tracing::error!(file = %file.display(), code = fault.code().word(), "{fault}"),
            }
        }
    }

    /// Builds the views of a new catalog beside those that serve.
    fn prepare(&self, catalog: &Arc<Catalog>) -> Result<(), Cause> {
        self.add_roots(catalog);
        let mut roots = Vec::new();
        for offered in catalog.roots() {
            let Some(root) = self.roots.load().get(offered.name()).cloned() else { continue };
            if let Some(opened) = root.opened().map_err(|fault| Cause::from(fault.detail))? {
                let arrivals = root.head().map_or(0, |head| head.arrivals);
                roots.push((opened, Arc::clone(offered), arrivals));
            }
        }
        let outcome = self.prepare_all(&roots);
        if outcome.is_err() {
            for (opened, ..) in &roots {
                opened.views.abandon();
            }
        }
        outcome.map_err(|error| {
            if matches!(error, ViewError::Cancelled) {
                LoadError::Cancelled.into()
            } else if matches!(error, ViewError::Drift(_)) {
                LoadError::Drift(Box::new(error.problem())).into()
            } else {
                error.into()
            }
        })
    }

    fn prepare_all(&self, roots: &[(Arc<Opened>, Arc<RootCatalog>, u64)]) -> Result<(), ViewError> {
        let (mut before, of) = (0, roots.iter().map(|(.., arrivals)| arrivals).sum::<u64>());
        for (opened, offered, arrivals) in roots {
            let plugins: Arc<dyn Computes> = Arc::clone(offered) as _;
            opened.views.prepare(&plugins, &mut |done, target| {
                // Events that came meanwhile are built, too.
                let of = of + target.saturating_sub(*arrivals);
                self.registry.report(Progress { done: (before + done).min(of), of })
            })?;
            before += arrivals;
        }
        // Nothing may have been built, and nobody asked: this is the last moment to cancel.
        let told = self.registry.report(Progress { done: of, of });
        if told.is_break() { Err(ViewError::Cancelled) } else { Ok(()) }
    }

    /// Lets the views of every open Root follow the catalog in force.
    fn adopt(&self) {
        let catalog = self.registry.catalog();
        self.add_roots(&catalog);
        for root in self.roots.load().values() {
            root.adopt(&offered(&catalog, root.name()));
        }
    }
}

/// The Roots' events, on which the laws of plugins are tried once the host has started: before, no Root is open, and
/// to open all of them would delay the start.
#[derive(Debug, Default)]
struct Stored {
    roots: Arc<ArcSwap<BTreeMap<String, Arc<Root>>>>,
    is_started: AtomicBool,
}

impl Events for Stored {
    fn sample(&self, root: &str) -> Vec<Sample> {
        let root = self.roots.load().get(root).cloned();
        let Some(root) = root.filter(|_| self.is_started.load(Ordering::Relaxed)) else { return Vec::new() };
        root.sample().unwrap_or_else(|fault| {
            tracing::warn!(root = root.name(), "no events to try laws on: {}", fault.detail);
            Vec::new()
        })
    }
}

/// What plugins offer to a Root; nothing if none claims it.
fn offered(catalog: &Catalog, root: &str) -> Arc<RootCatalog> {
    catalog.root(root).cloned().unwrap_or_default()
}

fn registry_options(
    options: &Options,
    limits: &Limits,
    linked: bool,
    events: Arc<dyn Events>,
) -> registry::Options {
    registry::Options {
        stage: options.data.join("stage"),
        probe: options.probe.clone().map(Probe::new),
        events,
        configurations: Arc::new(Settings(options.config.clone())),
        program: if linked { program_hash() } else { [0; 32] },
        generations_warn: limits.generations_warn,
        generations_max: limits.generations_max,
    }
}

/// BLAKE3 of the running program: what linked-in plugins compute may change with it.
fn program_hash() -> [u8; 32] {
    let program = std::env::current_exe().and_then(std::fs::read);
    program.map_or([0; 32], |bytes| *blake3::hash(&bytes).as_bytes())
}

/// Peers by what they are dialled for: one that is named for all Roots needs no further entry.
fn peers(config: &PeersConfig) -> Result<Vec<Peer>, AddressError> {
    let mut by_address: BTreeMap<PeerAddress, Option<Vec<String>>> = BTreeMap::new();
    for (root, addresses) in &config.roots {
        for address in addresses {
            let roots = by_address.entry(address.parse()?).or_insert_with(|| Some(Vec::new()));
            roots.get_or_insert_default().push(root.clone());
        }
    }
    for address in &config.all {
        by_address.insert(address.parse()?, None);
    }
    Ok(by_address.into_iter().map(|(address, roots)| Peer { address, roots }).collect())
}

impl Roots for Host {
    fn stored(&self) -> Vec<String> {
        let roots = self.roots.load();
        roots.values().filter(|root| root.is_stored()).map(|root| root.name().to_owned()).collect()
    }

    fn made(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    fn replica(&self, root: &str) -> Result<Arc<Replica>, Problem> {
        Ok(Arc::clone(&self.root_for_peer(root, &|| Ok(true))?.open()?.replica))
    }

    fn now(&self) -> ValidTime {
        Self::now(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stranger cannot fill the disk with Roots, and asking makes none.
    #[test]
    fn peers_make_so_many_roots_and_no_more() {
        let scratch = tempfile::tempdir().expect("a folder");
        let host = Host::builder().data(scratch.path().join("data")).open().expect("opens");
        for number in 0..ROOTS_FROM_PEERS_MAX {
            let name = format!("r{number}");
            assert!(!host.root_for_peer(&name, &|| Ok(false)).expect("answers").is_stored());
            assert!(!host.roots.load().contains_key(&name));
            host.root_for_peer(&name, &|| Ok(true)).expect("room");
        }
        let refused = host.root_for_peer("one-more", &|| Ok(true)).expect_err("no room");
        assert_eq!(refused.code, Code::TooManyRoots);
        host.root_for_peer("r0", &|| Ok(true)).expect("known");
        assert!(!scratch.path().join("data/roots").exists(), "files come with the first event");
    }
}
