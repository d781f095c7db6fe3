//! What a plugin says of itself, as JSON over the boundary: it may gain members without a new ABI.

use serde::{Deserialize, Serialize};

/// What a plugin library is, before it is configured for any root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's declared name, `[a-z0-9][a-z0-9_-]{0,62}`.
    pub name: String,
    /// The version of the plugin's crate.
    pub version: String,
    /// The roots that the plugin is for without any configuration.
    pub roots: Vec<String>,
}

/// What one configured instance offers to its root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// The Schemas; a position in this list is a Schema's index.
    pub schemas: Vec<SchemaDeclaration>,
    /// The Keyspaces.
    pub keyspaces: Vec<KeyspaceDeclaration>,
    /// The Views.
    pub views: Vec<ViewDeclaration>,
    /// The Reports.
    pub reports: Vec<ReportDeclaration>,
}

/// One Schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaDeclaration {
    /// The Schema's name.
    pub name: String,
    /// Rises when `upcast` or `retracts` gives other results than before.
    pub revision: u32,
    /// The event types that it owns.
    pub types: Vec<TypeDeclaration>,
    /// The formats that its intake reads.
    pub formats: Vec<String>,
    /// True if events of these types can retract others.
    pub retracts: bool,
    /// What of the configuration `upcast` and `retracts` depend on; none: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depends: Option<String>,
}

/// One event type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeDeclaration {
    /// The number stored with each event.
    pub number: u32,
    /// The name that people use.
    pub name: String,
    /// The newest version, from 1.
    pub version: u32,
}

/// One Keyspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyspaceDeclaration {
    /// The Keyspace's name, unique within its plugin.
    pub name: String,
    /// Rises when `map` gives other results than before.
    pub revision: u32,
    /// The numbers of the event types that `map` takes; others are not shown to it.
    pub types: Vec<u32>,
    /// How many text parts an aggregate key has.
    pub parts: u32,
    /// What of the configuration `map` depends on; none: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depends: Option<String>,
}

/// How states combine, which decides what a late event costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlgebraKind {
    /// Only a fold in key order.
    Ordered,
    /// Adjacent runs merge in order.
    Associative,
    /// Runs merge in any order.
    Commutative,
    /// Runs merge in any order and can be taken out again.
    Group,
}

/// One View.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDeclaration {
    /// The View's name, the last segment of its URL.
    pub name: String,
    /// Rises when `fold`, `merge`, `invert` or `render` gives other results than before.
    pub revision: u32,
    /// The index of its Keyspace.
    pub keyspace: u32,
    /// How its states combine.
    pub algebra: AlgebraKind,
    /// What of the configuration its states and answers depend on; none: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depends: Option<String>,
}

/// One Report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportDeclaration {
    /// The Report's name, the last segment of its URL.
    pub name: String,
    /// Rises when it gives other results than before.
    pub revision: u32,
}
