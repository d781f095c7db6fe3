//! A law that does not hold, with the smallest events that show it.

use crate::core::event::EventKey;
use laterbase_plugin::declare::AlgebraKind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How much of a value is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// How many events of a counterexample are shown; one that cannot be made smaller may have more.
pub(super) const EVENTS_SHOWN_MAX: usize = 16;

/// What a plugin promises by what it declares, or by being a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Law {
    /// Calls on the plugin's own deltas and states do not fail.
    Sound,
    /// The same call gives the same bytes.
    Repeatable,
    /// A batch gives what its events give one by one.
    Batches,
    /// Folding on from a stored state equals folding in one go.
    Steps,
    /// What was encoded decodes to a value that encodes to the same bytes; nothing else decodes.
    Codec,
    /// A state is no longer than the limit.
    Bound,
    /// Two halves of a run merge to the state of the whole.
    Halves,
    /// It does not matter which two of three states merge first.
    Associative,
    /// The default state merges without a trace.
    Identity,
    /// Merged states may change places.
    Commutative,
    /// The order of events does not matter.
    Shuffled,
    /// A state and its inverse merge to the default.
    Inverse,
    /// Merging with the inverse of an event's state takes the event out.
    Removal,
}

impl Law {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Repeatable => "repeatable",
            Self::Batches => "batches",
            Self::Steps => "steps",
            Self::Codec => "codec",
            Self::Bound => "bound",
            Self::Halves => "halves",
            Self::Associative => "associative",
            Self::Identity => "identity",
            Self::Commutative => "commutative",
            Self::Shuffled => "shuffled",
            Self::Inverse => "inverse",
            Self::Removal => "removal",
        }
    }

    /// What would have to be true.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Sound => "calls do not fail on what the plugin admits, maps and folds itself",
            Self::Repeatable => "the same call gives the same bytes, on any thread and on any instance",
            Self::Batches => "a batch gives what its events give one by one, in any order",
            Self::Steps => "folding on from a stored state equals folding in one go",
            Self::Codec => "bytes decode only to a value that encodes to the same bytes",
            Self::Bound => "a state has at most 65536 bytes",
            Self::Halves => "the states of two halves merge to the state of the whole",
            Self::Associative => "of three states it does not matter which two merge first",
            Self::Identity => "merging with the default state changes nothing",
            Self::Commutative => "states merge in either order to the same",
            Self::Shuffled => "events fold in any order to the same state",
            Self::Inverse => "a state and its inverse merge to the default state",
            Self::Removal => "merging with the inverse of an event's state takes the event out again",
        }
    }
}

/// An event of a counterexample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Its key.
    pub key: EventKey,
    /// The number of its type.
    pub type_number: u32,
    /// The version that `data` is written in.
    pub version: u32,
    /// Its data, as text or in hex, cut to a readable length.
    pub data: String,
    /// Made up by the check; otherwise it is stored, or was given to the check.
    pub made_up: bool,
}

/// One of the two results that should be equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// How it came about.
    pub what: String,
    /// The result as JSON where it renders, as an error's words where it failed.
    pub value: String,
    /// The bytes in hex, cut to a readable length; empty where it failed.
    pub hex: String,
}

impl Shown {
    pub(super) fn new(what: impl Into<String>, value: impl Into<String>, bytes: &[u8]) -> Self {
        Self { what: what.into(), value: short(value.into()), hex: short(hex(bytes)) }
    }
}

/// A law that a plugin breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The plugin's declared name.
    pub plugin: String,
    /// The Root that it was configured for.
    pub root: String,
    /// `View`, `Keyspace` or `Schema`.
    pub part: String,
    /// The name of that part.
    pub name: String,
    /// What a View declares.
    pub algebra: Option<AlgebraKind>,
    /// Which law.
    pub law: Law,
    /// The events that show it, none of which can be left out.
    pub events: Vec<Witness>,
    /// How many there are; the list is cut.
    pub events_count: usize,
    /// One result…
    pub first: Shown,
    /// …and the other.
    pub second: Shown,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, root, part, name, law, first, second, .. } = self;
        write!(f, "plugin {plugin}, root {root}, {part} {name}")?;
        if let Some(algebra) = self.algebra {
            write!(f, " (declared {algebra:?})")?;
        }
        write!(f, " breaks the law `{}`: {}", law.word(), law.sentence())?;
        if !self.events.is_empty() {
            let keys: Vec<String> = self.events.iter().map(|event| event.key.to_string()).collect();
            let more = if self.events_count > keys.len() { "…" } else { "" };
            let made_up = if self.events.iter().any(|event| event.made_up) { "made-up " } else { "" };
            write!(f, "; {made_up}events {}{more}", keys.join(", "))?;
        }
        write!(f, "; {} gives {}", first.what, first.value)?;
        write!(f, "; {} gives {}", second.what, second.value)?;
        if first.value == second.value && !first.hex.is_empty() {
            write!(f, "; in bytes {} and {}", first.hex, second.hex)?;
        }
        Ok(())
    }
}

/// At most so much of a text as people read.
pub(super) fn short(text: String) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let shown = bytes.get(..SHOWN_CHARS_MAX).unwrap_or(bytes);
    data_encoding::HEXLOWER.encode(shown)
}

/// Data as people read it.
pub(super) fn readable(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if !text.contains(char::is_control) => short(text.to_owned()),
        _ => short(format!("0x{}", hex(data))),
    }
}
