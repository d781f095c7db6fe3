//! Why a call into a plugin failed, and whose fault it is.

use crate::problem::{Code, Problem};
use laterbase_plugin::abi::{ErrorCode, NO_EVENT, PluginError};
use std::fmt;

/// Where a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// The plugin's declared name.
    pub plugin: String,
    /// Which load of it.
    pub generation: u32,
    /// What was called: `admit`, `upcast`, `map`…
    pub hook: &'static str,
    /// The index in the batch of the event at hand, if one is to blame.
    pub event: Option<usize>,
    /// A JSON pointer into the event's data or the body, empty for the whole.
    pub pointer: String,
    /// A sentence for people.
    pub message: String,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, generation, hook, event, pointer, message } = self;
        write!(f, "plugin {plugin}, generation {generation}, {hook}")?;
        if let Some(event) = event {
            write!(f, ", event {event}")?;
        }
        if !pointer.is_empty() {
            write!(f, " at {pointer}")?;
        }
        write!(f, ": {message}")
    }
}

/// Why a call into a plugin failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The plugin says no to what it was given.
    #[error("{0}")]
    Refused(Box<Blame>),
    /// The plugin's code panicked; the panic was stopped at the boundary.
    #[error("{0} (panic)")]
    Panicked(Box<Blame>),
    /// Bytes that the plugin wrote earlier do not decode.
    #[error("{0} (corrupt)")]
    Corrupt(Box<Blame>),
    /// The plugin does not offer what it was asked for.
    #[error("{0} (unsupported)")]
    Unsupported(Box<Blame>),
    /// The call was cancelled, or its deadline passed.
    #[error("{0} (cancelled)")]
    Cancelled(Box<Blame>),
    /// What the plugin gave back contradicts the interface: spans out of bounds, a wrong number of answers, a
    /// key that does not decode, an unknown error code.
    #[error("{0} (malformed answer)")]
    Malformed(Box<Blame>),
}

impl CallError {
    /// The same failure as the plugin's error says, with where it came from.
    pub(super) fn new(plugin: &str, generation: u32, hook: &'static str, error: &PluginError) -> Self {
        let blame = Box::new(Blame {
            plugin: plugin.to_owned(),
            generation,
            hook,
            event: (error.event != NO_EVENT).then_some(error.event as usize),
            pointer: error.pointer.to_string(),
            message: error.message.to_string(),
        });
        Self::of_code(error.code, blame)
    }

    /// The variant that a stable number stands for.
    pub(super) fn of_code(code: ErrorCode, blame: Box<Blame>) -> Self {
        match code {
            ErrorCode::REFUSED => Self::Refused(blame),
            ErrorCode::PANICKED => Self::Panicked(blame),
            ErrorCode::UNSUPPORTED => Self::Unsupported(blame),
            ErrorCode::CORRUPT => Self::Corrupt(blame),
            ErrorCode::CANCELLED => Self::Cancelled(blame),
            ErrorCode(_) => Self::Malformed(blame),
        }
    }

    /// Where it failed.
    pub fn blame(&self) -> &Blame {
        match self {
            Self::Refused(blame)
            | Self::Panicked(blame)
            | Self::Corrupt(blame)
            | Self::Unsupported(blame)
            | Self::Cancelled(blame)
            | Self::Malformed(blame) => blame,
        }
    }

    /// The same failure of a call with one event, which is the one with index `at` of the caller's.
    pub(super) fn of_event(mut self, at: usize) -> Self {
        let (Self::Refused(blame)
        | Self::Panicked(blame)
        | Self::Corrupt(blame)
        | Self::Unsupported(blame)
        | Self::Cancelled(blame)
        | Self::Malformed(blame)) = &mut self;
        blame.event = Some(at);
        self
    }

    /// The error as a user meets it.
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::Refused(_) => Code::Refused,
            Self::Cancelled(_) => Code::Overloaded,
            Self::Panicked(_) | Self::Unsupported(_) | Self::Malformed(_) | Self::Corrupt(_) => {
                Code::PluginFailed
            }
        };
        let blame = self.blame();
        let mut problem = Problem::new(code, self.to_string())
            .with("plugin", blame.plugin.as_str())
            .with("generation", blame.generation)
            .with("hook", blame.hook);
        if let Some(event) = blame.event {
            problem = problem.with("event", event);
        }
        if !blame.pointer.is_empty() {
            problem = problem.with("pointer", blame.pointer.as_str());
        }
        problem
    }
}
