//! Why the feed gives no page, and how that is answered.

use crate::core::event::{Origin, Seq};
use crate::core::knowledge::VvError;
use crate::core::tables::TableError;
use crate::problem::{Code, Problem};

/// Why a page of the feed cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The vv is not of its text form.
    #[error(transparent)]
    BadVv(#[from] VvError),
    /// The vv comes from a walk with other filters; scopes as they stand behind `@`, none for no filters.
    #[error("the vv is good for the filters {found:08x}, these are {}", scope_text(*.expected))]
    VvScope {
        /// The scope of the filters asked for.
        expected: Option<u32>,
        /// The scope of the vv.
        found: u32,
    },
    /// The cursor is damaged or was never ours.
    #[error("the cursor {reason}")]
    BadCursor {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The cursor belongs to another walk than the one asked for.
    #[error("the cursor belongs to {other}")]
    CursorMismatch {
        /// What differs.
        other: &'static str,
    },
    /// What the walk was pinned to is not held here.
    #[error("the walk's pin is gone{}: {reason}", pin_text(*.origin))]
    PinGone {
        /// The Origin and the seq up to which it was pinned; none where the pin itself is not kept any more.
        origin: Option<(Origin, Seq)>,
        /// Why it cannot go on.
        reason: &'static str,
    },
    /// A parameter is not of the form that it must have.
    #[error("the parameter `{name}` {reason}")]
    BadParameter {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        reason: String,
    },
    /// The tables cannot be read.
    #[error(transparent)]
    Tables(#[from] TableError),
}

impl FeedError {
    /// The error as a user meets it.
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::BadVv(_) => Code::BadVv,
            Self::VvScope { .. } => Code::VvScope,
            Self::BadCursor { .. } => Code::BadCursor,
            Self::CursorMismatch { .. } => Code::CursorMismatch,
            Self::PinGone { .. } => Code::PinGone,
            Self::BadParameter { name, .. } => {
                return Problem::new(Code::BadParameter, self.to_string()).with("parameter", *name);
            }
            Self::Tables(error) => return error.problem(),
        };
        Problem::new(code, self.to_string())
    }
}

fn scope_text(scope: Option<u32>) -> String {
    scope.map_or_else(|| "none".to_owned(), |scope| format!("{scope:08x}"))
}

fn pin_text(origin: Option<(Origin, Seq)>) -> String {
    origin.map_or_else(String::new, |(origin, seq)| format!(" at {origin}:{}", seq.0))
}
