//! Why an exchange with a peer failed, as an answer for whoever runs it.

use crate::core::event::Origin;
use crate::core::tables::TableError;
use crate::problem::{Code, Problem};

/// Bytes from a peer are not what this version speaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// They end inside something.
    #[error("the frame ends inside a field")]
    Truncated,
    /// They are of another version of the protocol.
    #[error("the frame is of protocol version {found}, this program speaks version {known}")]
    Version {
        /// Theirs.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// They announce too much.
    #[error("the frame announces {bytes} bytes, the limit is {bytes_max}")]
    TooLong {
        /// How much.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// They do not hold together.
    #[error("{0}")]
    Form(&'static str),
}

/// Why a replica could not take part in an exchange.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The other side sent what it must not.
    #[error("the peer's frame is not understood: {0}")]
    Frame(#[from] FrameError),
    /// The tables failed.
    #[error(transparent)]
    Tables(#[from] TableError),
    /// The Root does not open.
    #[error("{}", .0.detail)]
    Closed(Problem),
    /// The Root knows as many Origins as it may.
    #[error("the Origin {origin} is one too many: a root knows at most {origins_max}")]
    TooManyOrigins {
        /// The first that was not taken.
        origin: Origin,
        /// The limit.
        origins_max: usize,
    },
    /// The peer answered something else than what was asked.
    #[error("the peer answered {answered} to {asked}")]
    Unexpected {
        /// What was asked.
        asked: &'static str,
        /// What came.
        answered: &'static str,
    },
    /// A whole page brought nothing forward, twice.
    #[error("the peer's pages bring nothing forward: {what}")]
    Stalled {
        /// What it offered.
        what: String,
    },
    /// The way to the peer failed, or the peer refused.
    #[error("{0}")]
    Exchange(ExchangeError),
}

/// Why a frame got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The connection failed or ended.
    #[error("{0}")]
    Connection(String),
    /// The peer did not answer in time.
    #[error("no answer within {seconds} s")]
    TimedOut {
        /// How long was waited.
        seconds: u64,
    },
    /// The peer's answer came in drops.
    #[error("the answer comes with fewer than {bytes_per_s_min} bytes a second")]
    TooSlow {
        /// The least that is waited for.
        bytes_per_s_min: u64,
    },
    /// The peer answered with a problem.
    #[error("the peer answers {status} {code}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's code.
        code: String,
        /// Its sentence.
        detail: String,
    },
}

impl From<ExchangeError> for SyncError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(error)
    }
}

impl SyncError {
    /// The error as the peer meets it.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Frame(FrameError::Version { .. }) => Problem::new(Code::SyncVersion, self.to_string()),
            Self::Frame(_) | Self::Unexpected { .. } | Self::Stalled { .. } | Self::Exchange(_) => {
                Problem::new(Code::BadFrame, self.to_string())
            }
            Self::TooManyOrigins { .. } => Problem::new(Code::TooManyOrigins, self.to_string()),
            Self::Tables(fault) => fault.problem(),
            Self::Closed(problem) => problem.clone(),
        }
    }
}
