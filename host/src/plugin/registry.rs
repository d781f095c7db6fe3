//! Which plugins serve, and their replacement while the host runs.
//!
//! ```text
//! read twice, and the configuration -> [unchanged?] -> elf -> private copy -> probe -> dlopen -> configure every Root
//!   -> new Catalog beside the old -> views prepared -> swap (one pointer)
//!   -> the old one drains as its last Arc goes
//! ```
//! Any failure before the swap leaves everything as it was and is kept for [`Registry::status`]. Replacements run
//! one after the other (`turn`), so each builds on the Catalog that it replaces; readers take no lock.
//! Plugins keep the order in which they first came: where two want one name, the later one is refused, whichever
//! is reloaded.

use super::catalog::Catalog;
use super::instance::Instance;
use super::laws::Sample;
use super::load_error::{Cause, LoadError};
use super::loader;
use super::module::{Configuration, Module};
use super::probe::{self, Probe, Samples, Trials};
use super::stage::{self, Candidate};
use super::status::{Failure, Status};
use super::turn::{Place, Progress, Turn};
use crate::core::event::ValidTime;
use crate::core::limits::Limits;
use arc_swap::ArcSwap;
use laterbase_plugin::StaticPlugin;
use laterbase_plugin::declare::Manifest;
use laterbase_plugin::section::Section;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How plugins are loaded.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the private copies; made when it is first needed, emptied at the start. Nobody else may
    /// use it.
    pub stage: PathBuf,
    /// The program that tries plugins before the host does; none: they are not tried.
    pub probe: Option<Probe>,
    /// Where the laws that a plugin declares find stored events to be tried on.
    pub events: Arc<dyn Events>,
    /// What plugins are configured with.
    pub configurations: Arc<dyn Configurations>,
    /// BLAKE3 of the program itself: stands for the library of a plugin that is linked into it.
    pub program: [u8; 32],
    /// From so many loaded libraries on every load warns, for none is ever unloaded.
    pub generations_warn: u32,
    /// So many libraries may be loaded.
    pub generations_max: u32,
}

impl Options {
    /// Private copies in `stage`; nothing is tried, nothing is configured, and the limits are the usual ones.
    pub fn new(stage: PathBuf) -> Self {
        let Limits { generations_warn, generations_max, .. } = Limits::default();
        Self {
            stage,
            probe: None,
            events: Arc::new(NoEvents),
            configurations: Arc::new(BTreeMap::new()),
            program: [0; 32],
            generations_warn,
            generations_max,
        }
    }
}

/// Stored events to try a plugin's laws on.
pub trait Events: std::fmt::Debug + Send + Sync {
    /// Some events of a Root, within the limits for samples; none if there are none, or if they cannot be read now.
    fn sample(&self, root: &str) -> Vec<Sample>;
}

/// What plugins are configured with; asked anew for each load.
pub trait Configurations: std::fmt::Debug + Send + Sync {
    /// The configuration of the plugin that declares this name; empty if nothing is said about it.
    fn read(&self, plugin: &str) -> Result<Configuration, Cause>;
}

/// A configuration that never changes, by the plugin's declared name.
impl Configurations for BTreeMap<String, Configuration> {
    fn read(&self, plugin: &str) -> Result<Configuration, Cause> {
        Ok(self.get(plugin).cloned().unwrap_or_default())
    }
}

/// There are no stored events: laws are tried on made-up ones.
#[derive(Debug, Clone, Copy)]
pub struct NoEvents;

impl Events for NoEvents {
    fn sample(&self, _: &str) -> Vec<Sample> {
        Vec::new()
    }
}

/// How the views of a new Catalog are prepared beside the old one's, before it takes over.
pub type Prepare<'p> = &'p mut dyn FnMut(&Arc<Catalog>) -> Result<(), Cause>;

/// What a reload came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// A new generation serves.
    Swapped {
        /// Its number.
        generation: u32,
    },
    /// The file holds what already serves, and the configuration is the same.
    Unchanged {
        /// The number of the serving generation.
        generation: u32,
    },
}

/// The plugins of a host.
#[derive(Debug)]
pub struct Registry {
    options: Options,
    catalog: ArcSwap<Catalog>,
    /// Whose turn it is to be replaced.
    place: Arc<Place>,
    state: Mutex<State>,
    /// How many libraries were opened.
    loaded: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of precedence.
    entries: Vec<Entry>,
    /// Folders, and whether they were named.
    folders: Vec<(PathBuf, bool)>,
}

/// A plugin, or a file that is none.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Option<String>,
    pub(super) file: Option<PathBuf>,
    pub(super) serving: Option<Serving>,
    pub(super) failure: Option<Failure>,
}

/// A generation that serves.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    pub(super) generation: u32,
    pub(super) library: [u8; 32],
    pub(super) manifest: Manifest,
    /// The library's code, which serves again when only the configuration changes.
    module: Module,
    configuration: Configuration,
    pub(super) instances: Vec<Arc<Instance>>,
    /// What its laws were tried on; nothing where nothing is tried.
    pub(super) trials: Trials,
}

impl Registry {
    /// No plugins yet. Private copies that a killed process left behind are removed.
    pub fn new(options: Options) -> Self {
        stage::clear(&options.stage);
        Self {
            options,
            catalog: ArcSwap::default(),
            place: Arc::default(),
            state: Mutex::default(),
            loaded: AtomicU32::new(0),
        }
    }

    /// What all plugins offer now. Whoever holds it goes on with it while another takes over.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Every plugin and every file that could not be loaded, by name, those without a name last.
    pub fn status(&self) -> Vec<Status> {
        let state = self.state();
        let status = |entry: &Entry| Status::new(entry, self.place.progress(entry.name.as_deref()));
        let mut all: Vec<Status> = state.entries.iter().map(status).collect();
        all.sort_by(|a, b| (a.name.is_none(), &a.name, &a.file).cmp(&(b.name.is_none(), &b.name, &b.file)));
        all
    }

    /// The folders whose libraries are plugins.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.state().folders.iter().map(|(folder, _)| folder.clone()).collect()
    }

    /// How many libraries were opened since the start; none is ever closed.
    pub fn generations_loaded(&self) -> u32 {
        self.loaded.load(Ordering::Relaxed)
    }

    /// Adds a plugin that is linked into the program, as generation 0.
    pub fn add_static(&self, plugin: StaticPlugin) -> Result<(), LoadError> {
        let _turn = self.place.wait();
        let module = Module::new(plugin.module());
        let manifest = module.manifest()?;
        self.check_not_taken(&manifest.name, None)?;
        let configuration = self.configuration(&manifest.name)?;
        let library = self.options.program;
        let instances = module.configure(&manifest, 0, library, &configuration)?;
        let name = Some(manifest.name.clone());
        let trials = Trials::new();
        let serving =
            Some(Serving { generation: 0, library, manifest, module, configuration, instances, trials });
        self.swap_in(Entry { name, file: None, serving, failure: None }, &mut |_| Ok(()))
    }

    /// Loads the plugins of a folder, in the order of their file names. In a folder that was not `named` by
    /// anybody (the program's own), only `*.so` files count, and those that are no plugins are skipped; in a
    /// named folder everything counts but names that begin with a dot. Files that fail are shown by
    /// [`Self::status`]; the folder is read again by [`Self::reload_all`].
    pub fn load_folder(
        &self,
        folder: &Path,
        named: bool,
        now: ValidTime,
        prepare: Prepare<'_>,
    ) -> Result<(), LoadError> {
        let turn = self.place.wait();
        let known = (folder.to_owned(), named);
        {
            let mut state = self.state();
            if !state.folders.contains(&known) {
                state.folders.push(known);
            }
        }
        self.read_folder(&turn, (folder, named), now, prepare)
    }

    /// Loads the plugin in one file, or replaces it if it came from there before.
    pub fn load_file(
        &self,
        file: &Path,
        now: ValidTime,
        prepare: Prepare<'_>,
    ) -> Result<Reloaded, LoadError> {
        let turn = self.place.wait();
        self.replace(&turn, file, now, prepare)
    }

    /// Replaces the plugin `name` by what its file holds now. On any error the old generation goes on
    /// serving.
    pub fn reload(&self, name: &str, now: ValidTime, prepare: Prepare<'_>) -> Result<Reloaded, LoadError> {
        let turn = self.place.wait();
        turn.of(Some(name));
        self.reload_in(&turn, name, now, prepare)
    }

    /// The turn to reload the plugin `name`, unless another is being replaced.
    pub fn take_turn(&self, name: &str) -> Result<Turn, LoadError> {
        self.file_of(name)?;
        self.place.take(name)
    }

    /// The same as [`Self::reload`] in a turn that was taken before.
    pub fn reload_in(
        &self,
        turn: &Turn,
        name: &str,
        now: ValidTime,
        prepare: Prepare<'_>,
    ) -> Result<Reloaded, LoadError> {
        let file = self.file_of(name)?;
        self.replace(turn, &file, now, prepare)
    }

    /// Gives the reload of the plugin `name` up and waits until it has ended; what serves goes on serving.
    pub fn cancel(&self, name: &str) -> Result<(), LoadError> {
        self.file_of(name)?;
        self.place.cancel(name)
    }

    /// Says how far the views of the next generation are; whether to go on.
    pub fn report(&self, progress: Progress) -> ControlFlow<()> {
        self.place.report(progress)
    }

    /// Reads every folder again: replaces what changed, loads what is new. The outcome for each file by
    /// itself; those that were skipped are not in it.
    pub fn reload_all(
        &self,
        now: ValidTime,
        prepare: Prepare<'_>,
    ) -> Vec<(PathBuf, Result<Reloaded, LoadError>)> {
        let turn = self.place.wait();
        let (mut files, folders): (Vec<PathBuf>, _) = {
            let state = self.state();
            let files = state.entries.iter().filter_map(|entry| entry.file.clone()).collect();
            (files, state.folders.clone())
        };
        let mut outcomes = Vec::new();
        for (folder, named) in folders {
            match list(&folder, named) {
                Ok(listed) => {
                    let fresh: Vec<_> = listed.into_iter().filter(|file| !files.contains(file)).collect();
                    files.extend(fresh.into_iter().filter(|file| named || !is_foreign(file)));
                }
                Err(error) => outcomes.push((folder, Err(error))),
            }
        }
        outcomes.extend(files.into_iter().map(|file| {
            let outcome = self.replace(&turn, &file, now, prepare);
            (file, outcome)
        }));
        outcomes
    }

    fn read_folder(
        &self,
        turn: &Turn,
        (folder, named): (&Path, bool),
        now: ValidTime,
        prepare: Prepare<'_>,
    ) -> Result<(), LoadError> {
        for file in list(folder, named)? {
            if named || !is_foreign(&file) {
                // Kept in the file's entry, where the status shows it.
                let _shown = self.replace(turn, &file, now, prepare);
            }
        }
        Ok(())
    }

    /// Replaces or adds the plugin in `file`; keeps the reason if it fails.
    fn replace(
        &self,
        turn: &Turn,
        file: &Path,
        now: ValidTime,
        prepare: Prepare<'_>,
    ) -> Result<Reloaded, LoadError> {
        turn.of(self.entry_of(file).and_then(|entry| entry.name).as_deref());
        let mut name = None;
        let result = self.try_replace(file, &mut name, prepare);
        let mut state = self.state();
        let at = state.entries.iter().position(|entry| entry.file.as_deref() == Some(file));
        match (&result, at.and_then(|at| state.entries.get_mut(at))) {
            (Ok(_), Some(entry)) => entry.failure = None,
            (Ok(_), None) => unreachable!("a plugin that serves has an entry"),
            (Err(LoadError::NotFound { .. }), Some(entry)) if entry.serving.is_none() => {
                // A file that never became a plugin and is gone: nothing is left to tell.
                state.entries.retain(|entry| entry.file.as_deref() != Some(file));
            }
            (Err(error), Some(entry)) => {
                entry.failure = Some(Failure::new(error, now));
                if entry.serving.is_none() && name.is_some() {
                    entry.name = name;
                }
            }
            (Err(error), None) => {
                let failure = Some(Failure::new(error, now));
                state.entries.push(Entry { name, file: Some(file.to_owned()), serving: None, failure });
            }
        }
        result
    }

    /// `declared` is filled in with the name that the file tells, as soon as it is known.
    fn try_replace(
        &self,
        file: &Path,
        declared: &mut Option<String>,
        prepare: Prepare<'_>,
    ) -> Result<Reloaded, LoadError> {
        let candidate = Candidate::read(file)?;
        let live = self.entry_of(file).and_then(|entry| entry.serving);
        if let Some(live) = live.as_ref().filter(|live| live.library == candidate.library)
            && self.configuration(&live.manifest.name)? == live.configuration
        {
            return Ok(Reloaded::Unchanged { generation: live.generation });
        }
        let section = candidate.check()?;
        *declared = Some(section.name.clone());
        if let Some(live) = live.as_ref().filter(|live| live.manifest.name != section.name) {
            let (expected, found) = (live.manifest.name.clone(), section.name);
            return Err(LoadError::NameMismatch { expected, found });
        }
        self.check_not_taken(&section.name, Some(file))?;
        let serving = self.load(&candidate, &section, live.as_ref())?;
        let generation = serving.generation;
        let entry = Entry {
            name: Some(section.name),
            file: Some(file.to_owned()),
            serving: Some(serving),
            failure: None,
        };
        self.swap_in(entry, prepare)?;
        Ok(Reloaded::Swapped { generation })
    }

    /// Tries, opens and configures a library that was found to be a plugin for this host and follows on `live`.
    fn load(
        &self,
        candidate: &Candidate,
        section: &Section,
        live: Option<&Serving>,
    ) -> Result<Serving, LoadError> {
        let configuration = self.configuration(&section.name)?;
        let copy = candidate.copy_into(&self.options.stage)?;
        let trials = match &self.options.probe {
            Some(probe) => self.try_out((probe, copy.path()), section, &configuration, live)?,
            None => Trials::new(),
        };
        let module = if let Some(live) = live.filter(|live| live.library == candidate.library) {
            // Only the configuration is another: the code is here.
            live.module
        } else {
            self.count_load()?;
            Module::new(loader::open(copy.path(), &section.entry)?)
        };
        drop(copy);
        let manifest = module.manifest()?;
        if manifest.name != section.name || manifest.version != section.version {
            return Err(LoadError::OtherSection {
                section: format!("{} {}", section.name, section.version),
                library: format!("{} {}", manifest.name, manifest.version),
            });
        }
        if self.options.probe.is_none() {
            module.self_check(&manifest.name)?;
        }
        let (library, generation) = (candidate.library, live.map_or(0, |live| live.generation) + 1);
        let instances = module.configure(&manifest, generation, library, &configuration)?;
        for (root, warning) in
            trials.iter().flat_map(|(root, tried)| tried.warnings.iter().map(move |it| (root, it)))
        {
            tracing::warn!(plugin = manifest.name, root, "{warning}");
        }
        Ok(Serving { generation, library, manifest, module, configuration, instances, trials })
    }

    /// Tries a library in a child process, on stored events of its Roots where there are any. Which Roots a plugin is
    /// for is known from the generation that serves, or else only once it was tried.
    fn try_out(
        &self,
        (probe, copy): (&Probe, &Path),
        section: &Section,
        configuration: &Configuration,
        live: Option<&Serving>,
    ) -> Result<Trials, LoadError> {
        let sample = |roots: &mut dyn Iterator<Item = &String>| -> Samples {
            let samples = roots.map(|root| (root.clone(), self.options.events.sample(root)));
            samples.filter(|(_, events)| !events.is_empty()).collect()
        };
        let of_instance = |instance: &Arc<Instance>| instance.identity().root.clone();
        let known: Vec<String> = live.iter().flat_map(|live| &live.instances).map(of_instance).collect();
        let samples = sample(&mut known.iter());
        let trials = probe::run(probe, copy, &section.entry, configuration, &samples)?;
        let more = sample(&mut trials.keys().filter(|root| !known.contains(root)));
        if more.is_empty() {
            return Ok(trials);
        }
        let samples = samples.into_iter().chain(more).collect();
        probe::run(probe, copy, &section.entry, configuration, &samples)
    }

    /// Counts a library that is about to be opened, against the budget.
    fn count_load(&self) -> Result<(), LoadError> {
        let (loaded, loaded_max) = (self.generations_loaded(), self.options.generations_max);
        if loaded >= loaded_max {
            return Err(LoadError::GenerationBudget { loaded, loaded_max });
        }
        let loaded = self.loaded.fetch_add(1, Ordering::Relaxed) + 1;
        if loaded >= self.options.generations_warn {
            tracing::warn!(
                loaded,
                loaded_max,
                "many plugin libraries are loaded; restart the server some day"
            );
        }
        Ok(())
    }

    /// Builds the Catalog with `entry` in the place of the one with its file (or behind all others), prepares
    /// its views, and lets it take over.
    fn swap_in(&self, entry: Entry, prepare: Prepare<'_>) -> Result<(), LoadError> {
        let mut entries = self.state().entries.clone();
        let same = |other: &Entry| entry.file.is_some() && other.file == entry.file;
        // Built in an order in which only the newcomer can be the second owner of a name.
        let others = entries.iter().filter(|other| !same(other)).chain([&entry]);
        let instances =
            others.filter_map(|entry| entry.serving.as_ref()).flat_map(|serving| &serving.instances);
        let catalog = Arc::new(Catalog::build(instances)?);
        self.place.check()?;
        let failed = |cause: Cause| match cause.downcast::<LoadError>() {
            Ok(error) => *error,
            Err(cause) => LoadError::ViewBuild(cause),
        };
        prepare(&catalog).map_err(failed)?;
        match entries.iter_mut().find(|other| same(other)) {
            Some(place) => *place = entry,
            None => entries.push(entry),
        }
        let mut state = self.state();
        state.entries = entries;
        self.catalog.store(catalog);
        Ok(())
    }

    /// An error if a plugin named `name` serves from elsewhere than `file`.
    fn check_not_taken(&self, name: &str, file: Option<&Path>) -> Result<(), LoadError> {
        let state = self.state();
        let taken = |entry: &&Entry| {
            entry.serving.is_some()
                && entry.name.as_deref() == Some(name)
                && (file.is_none() || entry.file.as_deref() != file)
        };
        let Some(owner) = state.entries.iter().find(taken) else { return Ok(()) };
        let owner =
            owner.file.as_ref().map_or("the program itself".to_owned(), |file| file.display().to_string());
        Err(LoadError::PluginTaken { name: name.to_owned(), owner })
    }

    /// Where the plugin `name` came from.
    fn file_of(&self, name: &str) -> Result<PathBuf, LoadError> {
        let state = self.state();
        let named = |entry: &&Entry| entry.name.as_deref() == Some(name);
        let serving = |entry: &&Entry| entry.serving.is_some();
        let mut entries = state.entries.iter().filter(named);
        let entry = entries.clone().find(serving).or_else(|| entries.next());
        let entry = entry.ok_or_else(|| LoadError::Unknown { name: name.to_owned() })?;
        entry.file.clone().ok_or_else(|| LoadError::Static { name: name.to_owned() })
    }

    fn entry_of(&self, file: &Path) -> Option<Entry> {
        self.state().entries.iter().find(|entry| entry.file.as_deref() == Some(file)).cloned()
    }

    fn configuration(&self, name: &str) -> Result<Configuration, LoadError> {
        self.options.configurations.read(name).map_err(LoadError::Configuration)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a folder that may be plugins, by name.
fn list(folder: &Path, named: bool) -> Result<Vec<PathBuf>, LoadError> {
    let failed = |source| LoadError::Folder { folder: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let library = file.extension().is_some_and(|extension| extension == std::env::consts::DLL_EXTENSION);
        if (named && !hidden) || library {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// True for a file that is readable but no plugin of anybody's.
fn is_foreign(file: &Path) -> bool {
    let checked = Candidate::read(file).and_then(|candidate| candidate.check());
    matches!(checked, Err(LoadError::NoSection | LoadError::NotElf { .. } | LoadError::NotAFile { .. }))
}
