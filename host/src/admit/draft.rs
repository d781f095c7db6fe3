//! An event on its way in: what the client said, before it has a key.

use crate::core::event::{EventKey, ValidTime};
use crate::problem::Code;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A well-formed event, not yet checked against the Root's types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    /// Where in the body it stands.
    pub pointer: Place,
    /// Its type as the client named it.
    pub type_ref: TypeRef,
    /// Its version, or none: the Schema's newest.
    pub version: Option<u32>,
    /// When it happened.
    pub when: When,
    /// The tail of its key, where something else than chance decides it.
    pub tail: Option<[u8; 8]>,
    /// What the answer echoes.
    pub id: Option<String>,
    /// The bytes to store.
    pub data: Bytes,
    /// The key is derived from the content: an existing key is a duplicate whatever its bytes.
    pub same_key_is_same_event: bool,
}

/// A type by name or by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TypeRef {
    /// As the Schema declares it.
    Name(Arc<str>),
    /// As it is stored.
    Number(u32),
}

/// When an event happened, as far as the client said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Nothing said: the clock's next tick, or the Idempotency-Key's first stamp.
    Now,
    /// At this instant.
    At(ValidTime),
    /// The client minted the whole key.
    Key(EventKey),
}

/// Where in a body an event stands. Its text form, a JSON pointer, is only made for an event that is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// The body is the event.
    #[default]
    Whole,
    /// It is so many elements or lines from the start.
    Nth(usize),
    /// As an intake names it.
    Named(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Nth(at) => write!(f, "/{at}"),
            Self::Named(pointer) => f.write_str(pointer),
        }
    }
}

/// Why one event of a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadEvent {
    /// Which error.
    pub code: Code,
    /// Where in the body, as a JSON pointer.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
    /// For a clash within the request: the index of the other event.
    pub other: Option<usize>,
    /// Where its data stands, if that is what is wrong.
    pub data: String,
    /// What else is wrong with its data: where in the body, and what.
    pub others: Vec<(String, String)>,
}

impl BadEvent {
    /// A refusal at a place.
    pub(super) fn new(code: Code, pointer: impl fmt::Display, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.to_string(), detail.into());
        Self { code, pointer, detail, other: None, data: String::new(), others: Vec::new() }
    }
}

/// A draft, or why there is none.
pub(super) type Drafted = Result<Draft, BadEvent>;
