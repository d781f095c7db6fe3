//! Why a view was not answered or not built.

use super::computes::{Failure, FailureKind};
use super::drift::Drift;
use crate::core::event::EventKey;
use crate::core::knowledge::VvError;
use crate::core::tables::TableError;
use crate::plugin::CallError;
use crate::problem::{Code, Problem};
use std::sync::Arc;

/// About so many arrivals are indexed in a second; whoever has to wait is told by it when to ask again.
const BUILT_PER_SECOND: u64 = 100_000;

/// Why a view was not answered or not built.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// No plugin of the root offers the view.
    #[error("root {root} has no view {view}")]
    UnknownView {
        /// The root asked.
        root: String,
        /// The name asked for.
        view: String,
    },
    /// A window or a group of an Ordered view.
    #[error("view {view} is Ordered: `{parameter}` needs states that merge")]
    NotMergeable {
        /// The view asked for.
        view: String,
        /// The parameter that it cannot answer.
        parameter: &'static str,
    },
    /// A Report does not answer.
    #[error("report {report}: {source}")]
    Report {
        /// The Report asked.
        report: String,
        /// Why.
        #[source]
        source: Box<CallError>,
    },
    /// A Report took longer than it may, or nobody waits for its answer any more.
    #[error("report {report} took longer than it may: ask for less of it")]
    ReportTimeout {
        /// The Report asked.
        report: String,
    },
    /// A long repair is under way in a View that a Report reads, which has to be as of one arrival.
    #[error("view {view}: a long repair after a late event is under way; ask again")]
    Repairing {
        /// The View.
        view: String,
    },
    /// What the user typed is not a key of the view.
    #[error("not a key of view {view}: {reason}")]
    BadKey {
        /// The view asked for.
        view: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The cursor is not one that this server wrote.
    #[error("the cursor is not one that this server wrote")]
    BadCursor,
    /// The cursor belongs to another query.
    #[error("the cursor belongs to another root, view, prefix or other bounds")]
    CursorMismatch,
    /// The plugin's code failed on a call for this view.
    #[error("view {view}: {failure}")]
    Plugin {
        /// The view asked for.
        view: String,
        /// How it failed.
        #[source]
        failure: Failure,
    },
    /// A View's state is larger than its bound.
    #[error(
        "view {view}: a state of {bytes} bytes; at most {} are possible",
        crate::core::limits::STATE_BYTES_MAX
    )]
    StateTooLarge {
        /// The view asked for.
        view: String,
        /// How large the state is.
        bytes: usize,
    },
    /// `known=` is a version vector that this replica did not pass through.
    #[error("`known` names events that this replica never knew together, and no others")]
    KnownNeverHeld,
    /// `known=` is a time before the first arrival.
    #[error("`known` is earlier than the first event that this replica stored")]
    KnownTooEarly {
        /// When the first event was stored, in milliseconds since 1970; none if there is no event.
        first_ms: Option<u64>,
    },
    /// `known=` is not a version vector.
    #[error("`known` is neither a time nor a vv: {0}")]
    BadVv(#[source] VvError),
    /// `known=` is the version vector of a filtered walk.
    #[error("`known` is the vv of a walk with filters, which says nothing of other events")]
    VvScope,
    /// `group=` is not a number of parts.
    #[error("`group` is the number of parts to group by, from 1 to {parts} here")]
    BadGroup {
        /// How many parts the View's keys have.
        parts: usize,
    },
    /// The walk was begun at another replica, or before a backup was restored.
    #[error("this replica does not hold what the walk was pinned to: start again without the cursor")]
    PinGone,
    /// The index is too far behind for a query to wait.
    #[error("keyspace {keyspace} is being built: {done} of {of} arrivals are done; ask again soon")]
    Building {
        /// The Keyspace of the view asked for.
        keyspace: String,
        /// Arrivals that are indexed.
        done: u64,
        /// Arrivals that there are.
        of: u64,
    },
    /// A new generation gives other results under the same revision.
    #[error("{0}")]
    Drift(Box<Drift>),
    /// The new generation is not wanted any more.
    #[error("the reload was cancelled; what served before goes on serving")]
    Cancelled,
    /// A new generation's Keyspace cannot be built.
    #[error("keyspace {keyspace}: event {event}: {reason}")]
    Build {
        /// The Keyspace that fails.
        keyspace: String,
        /// The first event on which it fails.
        event: EventKey,
        /// How it fails.
        reason: String,
    },
    /// A new generation's View fails on an aggregate that it was tried on.
    #[error("view {view}, key {key:?}: {failure}")]
    Trial {
        /// The View that fails.
        view: String,
        /// The parts of the aggregate's key.
        key: Vec<String>,
        /// How it fails.
        #[source]
        failure: Failure,
    },
    /// The events or the derived rows cannot be read or written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The derived environment cannot be opened.
    #[error("derived environment: {step}: {source}")]
    Open {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The indexing that this read waited for failed.
    #[error("indexing failed: {0}")]
    Indexing(#[source] Arc<ViewError>),
    /// Nobody waits for the answer any more.
    #[error("nobody waits for the answer any more")]
    Unwanted,
    /// The views are being closed.
    #[error("the views of this root are closing")]
    Closing,
}

impl ViewError {
    /// The error as a user meets it.
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::UnknownView { .. } => Code::UnknownView,
            Self::NotMergeable { .. } => Code::ViewNotMergeable,
            Self::Report { source, .. } if matches!(**source, CallError::Refused(_)) => Code::BadParameter,
            Self::Report { source, .. } => return source.problem(),
            Self::ReportTimeout { .. } => Code::ReportTimeout,
            Self::Repairing { .. } => Code::ViewRepairing,
            Self::BadKey { .. } | Self::BadGroup { .. } => Code::BadParameter,
            Self::BadCursor => Code::BadCursor,
            Self::CursorMismatch => Code::CursorMismatch,
            Self::Plugin { .. } => Code::PluginFailed,
            Self::StateTooLarge { .. } => Code::StateTooLarge,
            Self::KnownNeverHeld => Code::KnownNeverHeld,
            Self::KnownTooEarly { .. } => Code::KnownTooEarly,
            Self::BadVv(_) => Code::BadVv,
            Self::VvScope => Code::VvScope,
            Self::PinGone => Code::PinGone,
            Self::Build { .. } | Self::Trial { .. } => Code::ViewBuild,
            Self::Building { .. } => Code::ViewBuilding,
            Self::Drift(_) => Code::Drift,
            Self::Cancelled => Code::ReloadCancelled,
            Self::Table(error) => table_code(error),
            Self::Open { .. } => Code::Storage,
            Self::Indexing(source) => return source.problem(),
            Self::Unwanted | Self::Closing => Code::Draining,
        };
        let problem = Problem::new(code, self.to_string());
        match self {
            Self::NotMergeable { parameter, .. } => problem.with("parameter", *parameter),
            Self::Report { source, .. } if !source.blame().pointer.is_empty() => {
                problem.with("pointer", source.blame().pointer.as_str())
            }
            Self::Build { keyspace, event, .. } => {
                problem.with("keyspace", keyspace.as_str()).with("event", event.to_string())
            }
            Self::Building { done, of, .. } => {
                let missing = of.saturating_sub(*done) / BUILT_PER_SECOND;
                let seconds = u32::try_from(missing).unwrap_or(u32::MAX).clamp(1, 60);
                problem.with("done", *done).with("of", *of).retry_after(seconds)
            }
            Self::Drift(drift) => drift.describe(problem),
            Self::Closing | Self::Repairing { .. } => problem.retry_after(1),
            Self::BadGroup { .. } => problem.with("parameter", "group"),
            Self::KnownTooEarly { first_ms } => problem.with("first_ms", *first_ms),
            Self::UnknownView { .. }
            | Self::StateTooLarge { .. }
            | Self::KnownNeverHeld
            | Self::BadVv(_)
            | Self::VvScope
            | Self::PinGone
            | Self::BadKey { .. }
            | Self::BadCursor
            | Self::CursorMismatch
            | Self::Plugin { .. }
            | Self::Trial { .. }
            | Self::Cancelled
            | Self::Report { .. }
            | Self::ReportTimeout { .. }
            | Self::Unwanted
            | Self::Table(_)
            | Self::Open { .. }
            | Self::Indexing(_) => problem,
        }
    }

    /// What a failed call for `view` means: a no to what the user typed, or broken code.
    pub(super) fn of_key(view: &str, failure: Failure) -> Self {
        match failure.kind {
            FailureKind::Refused => Self::BadKey { view: view.to_owned(), reason: failure.message },
            FailureKind::Broken => Self::Plugin { view: view.to_owned(), failure },
        }
    }
}

fn table_code(error: &TableError) -> Code {
    match error {
        TableError::Corrupt { .. } => Code::Corrupt,
        TableError::MapFull | TableError::Io(_) => Code::Storage,
        TableError::DiskFull(_) => Code::DiskFull,
        TableError::Poisoned => Code::RootClosed,
    }
}
