//! What all Reports make of a query: one identifier as the key, no windows.

use crate::facts::one_identifier;
use laterbase_plugin::{Query, Refusal, ReportError, ValidTime};

/// How many items a Report works on at once: a batch of the Reader.
pub(super) const BATCH: usize = 256;

/// Behind all keys of two parts whose first is `first`: the least text that is greater begins the next ones.
pub(super) fn behind_all_of(first: &str) -> (String, String) {
    (format!("{first}\0"), String::new())
}

/// A query of a Report whose keys are one identifier.
pub(super) struct Asked {
    /// The identifier asked for, in canonical form; none: a listing.
    pub(super) key: Option<String>,
    /// A listing starts behind this key.
    pub(super) start: Option<String>,
    /// A listing's keys start with this.
    pub(super) prefix: String,
    /// How many items are wanted at most.
    pub(super) limit: usize,
    /// Only events before this time count.
    pub(super) at: Option<ValidTime>,
}

impl Asked {
    /// Reads a query; one for a window is refused.
    pub(super) fn read(query: &Query<'_>) -> Result<Self, ReportError> {
        if query.from().is_some() || query.to().is_some() {
            return Err(
                Refusal::new("this report takes no from and to: it says how things are, at a time").into()
            );
        }
        let one = |parts: Vec<&str>| match parts.as_slice() {
            [part] => Ok((*part).to_owned()),
            _ => Err(Refusal::new("a key here is one identifier")),
        };
        Ok(Self {
            key: query.key().map(|typed| one_identifier(&typed)).transpose()?,
            start: query.start().map(one).transpose()?,
            prefix: Some(query.prefix()).filter(|parts| !parts.is_empty()).map_or(Ok(String::new()), one)?,
            limit: query.limit(),
            at: query.at(),
        })
    }

    /// Whether an item with this key belongs into the answer, as far as keys tell.
    pub(super) fn wants(&self, key: &str) -> bool {
        match &self.key {
            Some(wanted) => wanted == key,
            None => key.starts_with(&self.prefix) && self.start.as_deref().is_none_or(|start| key > start),
        }
    }
}
