//! What a type's refusals told about it: which members it insists on, which it does not want twice, which variants it
//! has, and at which place the last value was no good.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a type's refusals told, by the place in the value (`/lines/*/item`).
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Members that must be there.
    required: BTreeMap<String, BTreeSet<String>>,
    /// Members that are another name of one that is there.
    unwanted: BTreeMap<String, BTreeSet<String>>,
    /// The texts that are taken.
    variants: BTreeMap<String, &'static [&'static str]>,
    /// How many values were refused there.
    refused: BTreeMap<String, usize>,
    /// The last object whose members nobody named beforehand: what is missed later was to be in there.
    loose: String,
}

impl Learned {
    /// Whether the member must be there.
    pub(super) fn requires(&self, place: &str, name: &str) -> bool {
        self.required.get(place).is_some_and(|names| names.contains(name))
    }

    /// The members that must be there.
    pub(super) fn required(&self, place: &str) -> Vec<String> {
        self.required.get(place).into_iter().flatten().cloned().collect()
    }

    /// Whether the member must not be there.
    pub(super) fn unwanted(&self, place: &str, name: &str) -> bool {
        self.unwanted.get(place).is_some_and(|names| names.contains(name))
    }

    /// The texts that are taken, if they are known.
    pub(super) fn variants(&self, place: &str) -> Option<&'static [&'static str]> {
        self.variants.get(place).copied()
    }

    /// How many values were refused there.
    pub(super) fn refused(&self, place: &str) -> usize {
        self.refused.get(place).copied().unwrap_or(0)
    }

    /// Takes in what the refusal of one value says.
    pub(super) fn of_value(&mut self, place: &str, fault: &mut Fault) {
        if let Fault::Variant(variants) = fault {
            self.variants.insert(place.to_owned(), variants);
        }
        if !matches!(fault, Fault::Taken) {
            *self.refused.entry(place.to_owned()).or_default() += 1;
        }
        *fault = Fault::Taken;
    }

    /// An object at `place` was made up of members that nobody named beforehand.
    pub(super) fn of_loose(&mut self, place: &str) {
        place.clone_into(&mut self.loose);
    }

    /// Takes in what the refusal of an object says, whose last member was `last`; `fields` are its own, if it named
    /// them.
    pub(super) fn of_object(
        &mut self,
        place: &str,
        fields: Option<&[&str]>,
        last: Option<&str>,
        fault: &mut Fault,
    ) {
        match (&*fault, last) {
            (Fault::Missing(name), _) => {
                let is_own = fields.is_none_or(|fields| fields.contains(name));
                let place = if is_own { place.to_owned() } else { self.loose.clone() };
                self.required.entry(place).or_default().insert((*name).to_owned());
            }
            (Fault::Twice, Some(last)) => {
                self.unwanted.entry(place.to_owned()).or_default().insert(last.to_owned());
            }
            _ => return,
        }
        *fault = Fault::Taken;
    }
}

/// Why a made-up value does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// A member is missing.
    Missing(&'static str),
    /// A member is there twice, or under two names.
    Twice,
    /// The text is none of these.
    Variant(&'static [&'static str]),
    /// Something else.
    Other,
    /// One of these, already taken note of.
    Taken,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a made-up value does not fit")
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Other
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn duplicate_field(_: &'static str) -> Self {
        Self::Twice
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::Variant(expected)
    }
}
