//! `laterbase.toml`: what an operator can set. Flags of the command line win over it.
//!
//! ```toml
//! data = "./data"
//! listen = "127.0.0.1:4000"
//! plugins = ["./plugins"]
//!
//! [peers]
//! all = ["http://depot.example:4000"]       # every root
//! roots.tally = ["http://10.0.0.7:4000"]    # only this one
//!
//! [http]
//! origins = ["https://app.example"]
//!
//! [limits]
//! future_ms_max = 60000
//!
//! [plugin.tally.roots.shed-7]    # by the plugin's declared name: one more root, or one of its own,
//! strict = true                  # and what `configure` gets for it
//! form = { file = "form.json" }  # a file's text, by its name relative to this file
//! ```

mod files;

use crate::core::limits::Limits;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file's members; all of them optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The data directory.
    pub data: Option<PathBuf>,
    /// The address to listen on.
    pub listen: Option<SocketAddr>,
    /// Folders of plugins; default: that of the executable.
    pub plugins: Vec<PathBuf>,
    /// Allows an address that others can reach, without TLS or tokens.
    pub insecure: bool,
    /// What concerns HTTP.
    pub http: HttpConfig,
    /// The replicas to dial.
    pub peers: PeersConfig,
    /// Every maximum that can be set.
    pub limits: LimitsConfig,
    /// Per plugin, by its declared name.
    pub plugin: BTreeMap<String, PluginConfig>,
    /// Where all of this was read; none: nowhere.
    #[serde(skip)]
    pub path: Option<PathBuf>,
}

/// What concerns HTTP.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Origins of web pages that may read answers (CORS); none by default.
    pub origins: Vec<String>,
}

/// The replicas to dial.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeersConfig {
    /// With these every root is kept equal.
    pub all: Vec<String>,
    /// With these only the root of this name.
    pub roots: BTreeMap<String, Vec<String>>,
}

/// The maxima that an operator may set; what is absent keeps its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// One event's data, in bytes.
    pub event_bytes_max: Option<usize>,
    /// A request's body as sent, in bytes.
    pub request_body_bytes_max: Option<usize>,
    /// How far ahead of the clock an instant may be, in milliseconds.
    pub future_ms_max: Option<u32>,
    /// Connections at one time.
    pub connections_max: Option<usize>,
    /// How long a Report may take for one answer, in milliseconds.
    pub report_ms_max: Option<u32>,
    /// With less room than this on the disk the server is not ready, in bytes.
    pub disk_free_bytes_min: Option<u64>,
    /// With more arrivals than this to be put into a view's index the server is degraded.
    pub view_behind_arrivals: Option<u64>,
}

/// What concerns one plugin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginConfig {
    /// What `configure` gets, by root. A root that the plugin does not declare itself is added to its roots.
    pub roots: BTreeMap<String, Map<String, Value>>,
}

impl PluginConfig {
    /// Where the files lie that are named here, relative to the configuration file at `path`.
    fn files(&self, path: &Path) -> Vec<PathBuf> {
        self.roots.values().flat_map(|config| files::named(config, folder_of(path))).collect()
    }

    /// Puts the files' texts in.
    fn resolve(&mut self, path: &Path) -> Result<(), ConfigError> {
        self.roots.values_mut().try_for_each(|config| files::resolve(config, folder_of(path)))
    }
}

/// What names of files in the file at `path` are relative to.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or a member is unknown or of the wrong type; the message shows the place.
    #[error("{}: {source}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::read_alone(path)?;
        config.plugin.values_mut().try_for_each(|plugin| plugin.resolve(path))?;
        Ok(config)
    }

    /// Reads what the file at `path` says of the plugin `name`, with the files that are named there.
    pub fn read_plugin(path: &Path, name: &str) -> Result<PluginConfig, ConfigError> {
        let mut plugin = Self::read_alone(path)?.plugin.remove(name).unwrap_or_default();
        plugin.resolve(path)?;
        Ok(plugin)
    }

    /// What the plugin `name` depends on beside its library: the file at `path`, and the files that it names for the
    /// plugin, also those that cannot be read now.
    pub fn files_of(path: &Path, name: &str) -> Vec<PathBuf> {
        let mut files = vec![path.to_owned()];
        if let Ok(mut config) = Self::read_alone(path)
            && let Some(plugin) = config.plugin.remove(name)
        {
            files.extend(plugin.files(path));
        }
        files
    }

    fn read_alone(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Form { path: path.to_owned(), source: Box::new(source) })?;
        let roots = config.plugin.values_mut().flat_map(|plugin| plugin.roots.values_mut());
        roots.flat_map(serde_json::Map::values_mut).for_each(files::dates_as_texts);
        Ok(Self { path: Some(path.to_owned()), ..config })
    }

    /// The defaults with this file's limits over them.
    pub fn limits(&self) -> Limits {
        let (set, default) = (&self.limits, Limits::default());
        Limits {
            event_bytes_max: set.event_bytes_max.unwrap_or(default.event_bytes_max),
            request_body_bytes_max: set.request_body_bytes_max.unwrap_or(default.request_body_bytes_max),
            future_ms_max: set.future_ms_max.unwrap_or(default.future_ms_max),
            connections_max: set.connections_max.unwrap_or(default.connections_max),
            report_ms_max: set.report_ms_max.unwrap_or(default.report_ms_max),
            disk_free_bytes_min: set.disk_free_bytes_min.unwrap_or(default.disk_free_bytes_min),
            view_behind_arrivals: set.view_behind_arrivals.unwrap_or(default.view_behind_arrivals),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [[plugin.mill.roots.north.types]]
        schema = { file = "one.json" }
        other = { file = "two.json", why = "this table names no file" }
        [plugin.mill.roots.south]
        form = { file = "sub/three.json" }
        since = [2026-05-01, { at = 10:00:00 }]
    "#;

    // Goal: files are read relative to the configuration, and only where a table says nothing else.
    #[test]
    fn files_take_the_place_of_their_names() {
        let scratch = tempfile::tempdir().expect("a folder");
        let path = scratch.path().join("laterbase.toml");
        std::fs::write(&path, FILE).expect("written");
        let named = [path.clone(), scratch.path().join("one.json"), scratch.path().join("sub/three.json")];
        assert_eq!(Config::files_of(&path, "mill"), named);
        assert_eq!(Config::files_of(&path, "tally"), std::slice::from_ref(&path));
        std::fs::write(&named[1], "1").expect("written");
        let missing = Config::read(&path).expect_err("a file is missing").to_string();
        assert!(missing.contains("three.json"), "{missing}");
        assert_eq!(Config::read_plugin(&path, "tally").expect("not its files").roots.len(), 0);
        std::fs::create_dir(scratch.path().join("sub")).expect("made");
        std::fs::write(&named[2], "{}").expect("written");
        let plugin = Config::read_plugin(&path, "mill").expect("all is there");
        let north = serde_json::to_value(&plugin.roots["north"]).expect("JSON");
        let first = &north["types"][0];
        assert_eq!(first["schema"], serde_json::json!({"file": "one.json", "text": "1"}));
        assert_eq!(first["other"].get("text"), None);
        assert_eq!(plugin.roots["south"]["since"], serde_json::json!(["2026-05-01", {"at": "10:00:00"}]));
        std::fs::remove_file(&named[2]).expect("removed");
        std::fs::create_dir(&named[2]).expect("made");
        assert!(Config::read(&path).expect_err("a folder").to_string().contains("not a regular file"));
    }
}
