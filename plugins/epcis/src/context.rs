//! Namespace prefixes: the part of a JSON-LD `@context` that the event hash needs, and no more.
//!
//! A context is read as a map of prefixes to namespaces; the addresses of contexts are never fetched, and the standard
//! EPCIS context is known by heart. So `example:batch` becomes `{https://ns.example.com/}batch` in the hash.

use crate::json::{Members, Node};
use std::borrow::Cow;

/// The prefixes of the standard EPCIS context.
const STANDARD: [(&str, &str); 8] = [
    ("epcis", "https://ref.gs1.org/epcis/"),
    ("cbv", "https://ref.gs1.org/cbv/"),
    ("cbvmda", "urn:epcglobal:cbv:mda:"),
    ("gs1", "https://gs1.org/voc/"),
    ("rdfs", "http://www.w3.org/2000/01/rdf-schema#"),
    ("owl", "http://www.w3.org/2002/07/owl#"),
    ("xsd", "http://www.w3.org/2001/XMLSchema#"),
    ("dcterms", "http://purl.org/dc/terms/"),
];

/// Prefixes of the standard context that are also expanded in values.
const IN_VALUES: [&str; 3] = ["epcis", "cbv", "gs1"];

/// The prefixes in force.
#[derive(Debug, Clone, Default)]
pub struct Context<'a> {
    /// Declared prefixes and their namespaces; a later one of the same name counts.
    declared: Members<'a>,
}

impl<'a> Context<'a> {
    /// These prefixes and those that `context`, the value of an `@context`, declares.
    #[must_use]
    pub fn with(&self, context: &Node<'a>) -> Self {
        let mut all = self.clone();
        all.declare(context);
        all
    }

    fn declare(&mut self, context: &Node<'a>) {
        match context {
            Node::List(items) => items.iter().for_each(|item| self.declare(item)),
            Node::Object(terms) => {
                for (term, value) in terms.iter().filter(|(term, _)| !term.starts_with('@')) {
                    let namespace = if let Node::Object(_) = value { value.get("@id") } else { Some(value) };
                    if let Some(namespace @ Node::Text(_)) = namespace {
                        self.declared.push((term.clone(), namespace.clone()));
                    }
                }
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {}
        }
    }

    /// True if it declares nothing beyond the standard context.
    pub fn is_empty(&self) -> bool {
        self.declared.is_empty()
    }

    /// The namespace of `prefix`, if it was declared.
    pub fn declared(&self, prefix: &str) -> Option<&str> {
        self.declared.iter().rev().find(|(name, _)| name == prefix).and_then(|(_, namespace)| namespace.text())
    }

    /// The name of a member as it stands in the hash: `{namespace}name`, or `name` where there is no known prefix.
    pub fn label<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let known = name.split_once(':').and_then(|(prefix, local)| {
            let standard = || STANDARD.iter().find(|(other, _)| *other == prefix).map(|(_, namespace)| *namespace);
            Some((self.declared(prefix).or_else(standard)?, local))
        });
        known.map_or(Cow::Borrowed(name), |(namespace, local)| Cow::Owned(format!("{{{namespace}}}{local}")))
    }

    /// A value with its compact URI written out, if it is one.
    pub fn expand<'n>(&self, value: &'n str) -> Cow<'n, str> {
        let known = value.split_once(':').and_then(|(prefix, local)| {
            let standard = || {
                let expands = IN_VALUES.contains(&prefix);
                STANDARD.iter().find(|(other, _)| expands && *other == prefix).map(|(_, namespace)| *namespace)
            };
            Some((self.declared(prefix).or_else(standard)?, local))
        });
        known.map_or(Cow::Borrowed(value), |(namespace, local)| Cow::Owned([namespace, local].concat()))
    }
}
