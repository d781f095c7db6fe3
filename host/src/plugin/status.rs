//! What the Registry tells about each plugin and each file that could not be loaded.

use super::load_error::LoadError;
use super::probe::Trials;
use super::registry::{Entry, Serving};
use crate::core::event::ValidTime;
use crate::problem::Code;
use serde::Serialize;
use std::path::PathBuf;

/// One plugin, or one file that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The plugin's declared name; none for a file that does not tell one.
    pub name: Option<String>,
    /// `serving`, `reloading` (serving, while the next generation is prepared) or `failed`.
    pub state: &'static str,
    /// Where it was loaded from; none for a plugin that is linked into the program.
    pub file: Option<PathBuf>,
    /// The generation that serves.
    pub generation: Option<u32>,
    /// The version of the plugin's crate.
    pub version: Option<String>,
    /// BLAKE3 of the library's bytes in hex.
    pub library: Option<String>,
    /// What it offers to which Root.
    pub roots: Vec<RootStatus>,
    /// What is odd about it but harms nobody; written only if there is something.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What its laws were tried on.
    #[serde(skip)]
    pub trials: Trials,
    /// Why the last load or reload failed; none after one that succeeded.
    pub error: Option<Failure>,
}

/// What a plugin offers to one Root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RootStatus {
    /// The Root.
    pub root: String,
    /// Event types by name.
    pub types: Vec<String>,
    /// Formats that its intakes read.
    pub formats: Vec<String>,
    /// Views by name.
    pub views: Vec<String>,
    /// Reports by name.
    pub reports: Vec<String>,
}

/// Why and when a load failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The stable code.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
    /// When, in milliseconds since 1970.
    pub when_ms: i64,
}

impl Failure {
    pub(super) fn new(error: &LoadError, now: ValidTime) -> Self {
        Self { code: error.code().word(), detail: error.to_string(), when_ms: now.millis() }
    }

    /// True if the code is `code`.
    pub fn is(&self, code: Code) -> bool {
        self.code == code.word()
    }
}

impl Status {
    pub(super) fn new(entry: &Entry, reloading: bool) -> Self {
        let serving = entry.serving.as_ref();
        let state = match (serving, reloading) {
            (None, _) => "failed",
            (Some(_), true) => "reloading",
            (Some(_), false) => "serving",
        };
        let trials = serving.map(|serving| serving.trials.clone()).unwrap_or_default();
        Self {
            name: entry.name.clone(),
            state,
            file: entry.file.clone(),
            generation: serving.map(|serving| serving.generation),
            version: serving.map(|serving| serving.manifest.version.clone()),
            library: serving.map(|serving| blake3::Hash::from_bytes(serving.library).to_hex().to_string()),
            roots: serving.map(roots).unwrap_or_default(),
            warnings: trials.values().flat_map(|tried| tried.warnings.clone()).collect(),
            trials,
            error: entry.failure.clone(),
        }
    }
}

fn roots(serving: &Serving) -> Vec<RootStatus> {
    let root = |instance: &std::sync::Arc<super::Instance>| {
        let declaration = instance.declaration();
        let schemas = &declaration.schemas;
        let types = schemas.iter().flat_map(|schema| &schema.types).map(|declared| declared.name.clone());
        RootStatus {
            root: instance.identity().root.clone(),
            types: types.collect(),
            formats: schemas.iter().flat_map(|schema| schema.formats.clone()).collect(),
            views: declaration.views.iter().map(|view| view.name.clone()).collect(),
            reports: declaration.reports.iter().map(|report| report.name.clone()).collect(),
        }
    };
    serving.instances.iter().map(root).collect()
}
