//! Admission: the way of a client's events into a Root.
//!
//! Parse and check (on the request's own task), mint keys, ask the Schema, then queue for the Root's one writer
//! thread, which commits whatever is queued in one transaction and answers after it is durable.

mod draft;
mod parse;

use crate::problem::Problem;
use bytes::Bytes;
use serde::Serialize;

/// A client's request to write events, its body already decompressed and within limits.
#[derive(Debug, Clone)]
pub struct Request {
    /// The body.
    pub body: Bytes,
    /// How the body is written.
    pub content: Content,
    /// All or nothing; otherwise bad events are refused one by one.
    pub atomic: bool,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
}

/// How a body is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// One event or an array of them.
    Json,
    /// One event a line.
    Ndjson,
    /// A format that a Schema plugin's intake reads.
    Format {
        /// The format's name.
        name: String,
        /// The request's Content-Type as sent.
        content_type: String,
    },
}

/// What became of a request, once it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// How many events are new.
    pub written: usize,
    /// How many were known before.
    pub duplicate: usize,
    /// How many were refused (only with `?atomic=false`).
    pub rejected: usize,
    /// One answer an event, in request order.
    pub events: Vec<EventAnswer>,
    /// The dots of this answer, for the caller to add to its own.
    pub vv: String,
    /// The server's wall clock, RFC 3339 in UTC with milliseconds.
    pub now: String,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventAnswer {
    /// Its key as text; none if it was refused before it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `written`, `duplicate` or `rejected`.
    pub status: &'static str,
    /// The dot under which it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dot: Option<String>,
    /// The id that the client sent, or that the intake derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Why it was rejected: a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Why it was rejected, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Where in the body, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// A request's refusal; nothing of it is stored.
pub type Refusal = Problem;
