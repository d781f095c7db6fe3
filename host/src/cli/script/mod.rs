//! Transcripts: a script of requests goes in, what the server answered comes out, as a story that a reviewer reads.
//! `laterbase plugin test` plays those of plugin authors, and this project's own tests play theirs, by the same code.
//!
//! ```text
//! # a comment, copied into the transcript
//! --- POST /tally/e
//! content-type: application/json
//!
//! {"type":"add","time":"2026-05-01T10:00:00Z","data":{"item":"apples","n":3}}
//! --- let key = /events/0/key          a value of the last answer, used as {key} below
//! --- GET /tally/total?key=apples
//! --- let tag = etag                   a header of the last answer
//! --- crash                            kill -9 and start again
//! --- forget                           kill -9, delete the data and start again
//! ```
//! (The explanations on the right are no part of it.) A body under `content-encoding: gzip` is written as text and sent
//! packed. A line that begins with `#` or `--- ` begins the next step, in a body, too. What differs from run to run
//! (origins, checks, files, times of now) is replaced by its name.

mod client;
mod command;
mod difference;
mod play;
mod redact;
mod server;
mod steps;

pub use client::{Answer, Client, request};
pub use play::{play, play_telling};
pub use redact::redact;
pub use server::{Launch, Server, StartError};

pub(super) use command::{TestArguments, run};

use std::io;

/// A script cannot be read or played.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Fault {
    /// The line of the script, counted from one.
    pub line: usize,
    /// What is wrong there.
    pub what: What,
}

/// What is wrong with a step.
#[derive(Debug, thiserror::Error)]
pub enum What {
    /// A script without a request.
    #[error("nothing is asked: a request is a line `--- METHOD /TARGET`")]
    Nothing,
    /// A line in front of the first step, or below one that takes none.
    #[error("{0:?} belongs to no step: those are lines that begin with `# ` or `--- `")]
    Stray(String),
    /// A line that looks like a step.
    #[error("{0:?} is no step: --- METHOD /TARGET, --- let NAME = PLACE, --- crash and --- forget are")]
    NoStep(String),
    /// A `let` of another form.
    #[error("this is to be --- let NAME = PLACE, where PLACE is a JSON pointer or the name of a header")]
    Let,
    /// Nothing was asked yet.
    #[error("a request stands before `let`, which takes something from its answer")]
    TooEarly,
    /// A line where headers stand.
    #[error("{0:?} is no header `NAME: VALUE`: between them and the body stands an empty line")]
    NoHeader(String),
    /// The last answer does not have it.
    #[error("the answer {status} has no {place}: {text}")]
    Missing {
        /// A JSON pointer, or a header.
        place: String,
        /// The answer's status.
        status: u16,
        /// Its body.
        text: String,
    },
    /// There was no answer, or none of HTTP.
    #[error("{asked}: {source}")]
    Unanswered {
        /// The method and the target.
        asked: String,
        /// Why.
        source: io::Error,
    },
    /// The server did not come back.
    #[error(transparent)]
    Server(#[from] StartError),
}
