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
//! ```

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
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Form { path: path.to_owned(), source: Box::new(source) })
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
