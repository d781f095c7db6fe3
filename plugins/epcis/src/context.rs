//! Namespace prefixes: the part of a JSON-LD `@context` that the event hash needs, and no more.
//!
//! A context is read as a map of prefixes to namespaces; the addresses of contexts are never fetched. So
//! `example:batch` becomes `{https://ns.example.com/}batch` in the hash. Only prefixes that the `@context` itself
//! declares count: the reference implementation leaves `gs1:Temperature` as written unless `gs1` is declared there,
//! although the standard context declares it, and the hash is what others compute.

use crate::json::{Fault, Members, Node};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// How many prefixes a context may declare.
pub const PREFIXES_MAX: usize = 64;

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
        self.declared
            .iter()
            .rev()
            .find(|(name, _)| name == prefix)
            .and_then(|(_, namespace)| namespace.text())
    }

    /// The namespace and the local name of a compact URI whose prefix is declared.
    fn split<'n>(&self, text: &'n str) -> Option<(&str, &'n str)> {
        let (prefix, local) = text.split_once(':')?;
        Some((self.declared(prefix)?, local))
    }

    /// The name of a member as it stands in the hash: `{namespace}name`, or as written without a declared prefix.
    pub fn label<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match self.split(name) {
            Some((namespace, local)) => Cow::Owned(format!("{{{namespace}}}{local}")),
            None => Cow::Borrowed(name),
        }
    }

    /// A value with its compact URI written out, if it is one.
    pub fn expand<'n>(&self, value: &'n str) -> Cow<'n, str> {
        match self.split(value) {
            Some((namespace, local)) => Cow::Owned([namespace, local].concat()),
            None => Cow::Borrowed(value),
        }
    }

    /// The `@context` with the declared prefixes that `tree` uses, in the order of their names; none if it uses none.
    pub fn used_by(&self, tree: &Node<'a>) -> Option<Node<'a>> {
        let mut used = BTreeSet::new();
        if !self.is_empty() {
            self.collect(tree, &mut used);
        }
        let member = |prefix: &str| self.declared.iter().rev().find(|(name, _)| name == prefix).cloned();
        let members: Members<'a> = used.iter().filter_map(|prefix| member(prefix)).collect();
        (!members.is_empty()).then(|| Node::List(vec![Node::Object(members)]))
    }

    fn collect(&self, tree: &Node<'_>, used: &mut BTreeSet<String>) {
        let mut note = |text: &str| {
            if let Some((prefix, _)) = text.trim().split_once(':')
                && self.declared(prefix).is_some()
            {
                used.insert(prefix.to_owned());
            }
        };
        match tree {
            Node::Text(text) => note(text),
            Node::List(items) => items.iter().for_each(|item| self.collect(item, used)),
            Node::Object(members) => {
                for (name, _) in members {
                    note(name);
                }
                for (_, value) in members {
                    self.collect(value, used);
                }
            }
            Node::Null | Node::Bool(_) | Node::Number(_) => {}
        }
    }

    /// Refuses too many prefixes, and those whose expansion would itself be a compact URI, so that expanding is done after one step.
    pub fn check(&self) -> Result<(), Fault> {
        if self.declared.len() > PREFIXES_MAX {
            return Err(Fault::new(format!("at most {PREFIXES_MAX} prefixes are wanted")));
        }
        for (prefix, namespace) in &self.declared {
            let scheme = namespace.text().and_then(|text| text.split_once(':')).map(|(scheme, _)| scheme);
            match scheme {
                None => return Err(Fault::new("a namespace is an absolute URI").under(prefix)),
                Some(scheme) if self.declared(scheme).is_some() => {
                    return Err(Fault::new("a prefix may not be the scheme of a namespace").under(scheme));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
