//! What a user writes in `laterbase.toml`, as it reaches the plugin: JSON with the texts of the files in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The configuration for one root.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The event types.
    pub types: Vec<TypeConfig>,
    /// The views.
    #[serde(default)]
    pub views: Vec<ViewConfig>,
    /// Schema files that others refer to.
    #[serde(default)]
    pub refs: Vec<FileText>,
}

/// A file and what it says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileText {
    /// Its name, as written in the configuration.
    pub file: String,
    /// Its text, which the host puts in.
    pub text: String,
}

/// An event type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeConfig {
    /// The number that is stored; never to be given to another type.
    pub number: u32,
    /// The name that people use.
    pub name: String,
    /// The newest version; as many as there are schemas.
    pub version: Option<u32>,
    /// The JSON Schema of each version, from 1.
    pub schemas: Vec<FileText>,
    /// How data of each version becomes data of the next, from 1.
    #[serde(default)]
    pub upcasts: Vec<StepConfig>,
    /// Where an event names the key of the event that it takes back, or a list of keys.
    pub retracts: Option<String>,
}

/// From one version to the next: first the renames, then the drops, then the defaults.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepConfig {
    /// Members that move, from where to where.
    pub rename: BTreeMap<String, String>,
    /// Members that go.
    pub drop: Vec<String>,
    /// Members that are put where there is none.
    pub default: Map<String, Value>,
}

/// A view.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    /// The last segment of its URL.
    pub name: String,
    /// The types that it counts, by name.
    pub types: Vec<String>,
    /// What its aggregates are named by.
    pub key: Vec<KeyConfig>,
    /// What it answers, by name.
    pub outputs: BTreeMap<String, OutputConfig>,
}

/// One part of an aggregate's key.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "a key part is a JSON pointer, { pointer, missing }, { constant }, or { time = \"day\" or \"month\" }"
)]
pub enum KeyConfig {
    /// The text, number or truth value at a place; an event without one is not in the view.
    Pointer(String),
    /// The same with a text for events that have none.
    Member(MemberConfig),
    /// The same for all.
    Constant(ConstantConfig),
    /// A part of the time at which the event happened.
    Time(TimeConfig),
}

/// A place, and what stands in for nothing.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemberConfig {
    /// Where.
    pub pointer: String,
    /// Instead of nothing.
    pub missing: String,
}

/// A text that is always the same.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConstantConfig {
    /// The text.
    pub constant: String,
}

/// A part of the event's time.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TimeConfig {
    /// Which.
    pub time: Span,
}

/// Parts of a time, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// `2026-05-01`.
    Day,
    /// `2026-05`.
    Month,
}

/// One thing that a view answers, each of a field but the first.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputConfig {
    /// How many events.
    Count,
    /// The sum.
    Sum(String),
    /// The smallest.
    Min(String),
    /// The greatest.
    Max(String),
    /// That of the newest event that has one.
    Last(String),
}
