//! The rules that a plugin's declaration must keep before anything of it is used.

pub use crate::core::name::is_name;

use crate::core::limits::AGGREGATE_KEY_BYTES_MAX;
use laterbase_plugin::declare::{Declaration, KeyspaceDeclaration, SchemaDeclaration};
use std::collections::BTreeSet;

/// The most parts that an aggregate key can have: each takes at least two bytes.
const PARTS_MAX: usize = AGGREGATE_KEY_BYTES_MAX / 2 - 1;

/// The longest name of an event type, in bytes.
const TYPE_NAME_BYTES_MAX: usize = 127;

/// What is wrong with what a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// The text over the boundary is not the JSON that it should be.
    #[error("it is not the JSON that it should be: {0}")]
    Json(String),
    /// A name is not `[a-z0-9][a-z0-9_-]{0,62}`, or it is reserved.
    #[error("{kind} name {name:?} is not [a-z0-9][a-z0-9_-]{{0,62}}, or it is reserved")]
    Name {
        /// What it names.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// An event type's name is empty, too long, or has white space or control characters in it.
    #[error("event type name {0:?} is empty, longer than 127 bytes, or has spaces or control characters")]
    TypeName(String),
    /// The same name or number twice.
    #[error("{kind} {name:?} is declared twice")]
    Twice {
        /// What it names.
        kind: &'static str,
        /// The name or number.
        name: String,
    },
    /// A version or a revision is 0.
    #[error("{kind} of {name:?} is 0; numbers start at 1")]
    Zero {
        /// Whether it is a version or a revision.
        kind: &'static str,
        /// What has it.
        name: String,
    },
    /// A View names a Keyspace that is not there.
    #[error("view {view:?} is over keyspace {keyspace}, but there are only {keyspaces}")]
    Keyspace {
        /// The View's name.
        view: String,
        /// The index that it names.
        keyspace: u32,
        /// How many there are.
        keyspaces: usize,
    },
    /// A Keyspace's keys have no parts, or too many.
    #[error("keyspace {keyspace:?} has keys of {parts} parts; 1 to {PARTS_MAX} are possible")]
    Parts {
        /// The Keyspace's name.
        keyspace: String,
        /// What it declares.
        parts: u32,
    },
    /// A Keyspace takes no event type, so it would be empty for ever.
    #[error("keyspace {0:?} takes no event type")]
    NoTypes(String),
}

/// Checks all names, numbers and indexes of a declaration.
pub(super) fn check(declaration: &Declaration) -> Result<(), DeclarationError> {
    let mut seen = Seen::default();
    for schema in &declaration.schemas {
        check_schema(schema, &mut seen)?;
    }
    for keyspace in &declaration.keyspaces {
        check_keyspace(keyspace, &mut seen)?;
    }
    for view in &declaration.views {
        named("view", &view.name)?;
        seen.once("view or report", &view.name)?;
        positive("revision", &view.name, view.revision)?;
        if view.keyspace as usize >= declaration.keyspaces.len() {
            let (view, keyspace, keyspaces) = (view.name.clone(), view.keyspace, declaration.keyspaces.len());
            return Err(DeclarationError::Keyspace { view, keyspace, keyspaces });
        }
    }
    for report in &declaration.reports {
        named("report", &report.name)?;
        seen.once("view or report", &report.name)?;
        positive("revision", &report.name, report.revision)?;
    }
    Ok(())
}

fn check_schema(schema: &SchemaDeclaration, seen: &mut Seen) -> Result<(), DeclarationError> {
    named("schema", &schema.name)?;
    seen.once("schema", &schema.name)?;
    positive("revision", &schema.name, schema.revision)?;
    for declared in &schema.types {
        let bad = |char: char| char.is_whitespace() || char.is_control();
        if declared.name.is_empty()
            || declared.name.len() > TYPE_NAME_BYTES_MAX
            || declared.name.contains(bad)
        {
            return Err(DeclarationError::TypeName(declared.name.clone()));
        }
        seen.once("event type", &declared.name)?;
        seen.once("event type number", &declared.number.to_string())?;
        positive("version", &declared.name, declared.version)?;
    }
    for format in &schema.formats {
        named("format", format)?;
        seen.once("format", format)?;
    }
    Ok(())
}

fn check_keyspace(keyspace: &KeyspaceDeclaration, seen: &mut Seen) -> Result<(), DeclarationError> {
    named("keyspace", &keyspace.name)?;
    seen.once("keyspace", &keyspace.name)?;
    positive("revision", &keyspace.name, keyspace.revision)?;
    if !(1..=PARTS_MAX).contains(&(keyspace.parts as usize)) {
        let (keyspace, parts) = (keyspace.name.clone(), keyspace.parts);
        return Err(DeclarationError::Parts { keyspace, parts });
    }
    if keyspace.types.is_empty() {
        return Err(DeclarationError::NoTypes(keyspace.name.clone()));
    }
    let mut numbers = BTreeSet::new();
    match keyspace.types.iter().find(|number| !numbers.insert(**number)) {
        Some(number) => {
            Err(DeclarationError::Twice { kind: "event type of a keyspace", name: number.to_string() })
        }
        None => Ok(()),
    }
}

/// The names of each kind met so far.
#[derive(Default)]
struct Seen(BTreeSet<(&'static str, String)>);

impl Seen {
    fn once(&mut self, kind: &'static str, name: &str) -> Result<(), DeclarationError> {
        if self.0.insert((kind, name.to_owned())) {
            return Ok(());
        }
        Err(DeclarationError::Twice { kind, name: name.to_owned() })
    }
}

fn named(kind: &'static str, name: &str) -> Result<(), DeclarationError> {
    if is_name(name) { Ok(()) } else { Err(DeclarationError::Name { kind, name: name.to_owned() }) }
}

fn positive(kind: &'static str, name: &str, number: u32) -> Result<(), DeclarationError> {
    if number > 0 { Ok(()) } else { Err(DeclarationError::Zero { kind, name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::fake::declaration;

    // Goal: each rule is kept by its own error. Method: one sound declaration, one change at a time.
    #[test]
    fn every_rule() {
        let broken = |change: fn(&mut Declaration)| {
            let mut declaration = declaration();
            change(&mut declaration);
            check(&declaration).expect_err("it is refused")
        };
        let name = |kind, name: &str| DeclarationError::Name { kind, name: name.to_owned() };
        let twice = |kind, name: &str| DeclarationError::Twice { kind, name: name.to_owned() };
        let zero = |kind, name: &str| DeclarationError::Zero { kind, name: name.to_owned() };
        assert_eq!(check(&declaration()), Ok(()));
        assert_eq!(broken(|d| d.views[0].name = "E".to_owned()), name("view", "E"));
        assert_eq!(broken(|d| d.views[0].name = "e".to_owned()), name("view", "e"));
        assert_eq!(broken(|d| d.reports[0].name = "_r".to_owned()), name("report", "_r"));
        assert_eq!(broken(|d| d.schemas[0].formats[0] = "a b".to_owned()), name("format", "a b"));
        assert_eq!(broken(|d| d.keyspaces[0].name = String::new()), name("keyspace", ""));
        assert_eq!(broken(|d| d.reports[0].name = "sum".to_owned()), twice("view or report", "sum"));
        assert_eq!(broken(|d| d.schemas.push(d.schemas[0].clone())), twice("schema", "things"));
        assert_eq!(broken(|d| d.schemas[0].types[1].number = 1), twice("event type number", "1"));
        assert_eq!(broken(|d| d.schemas[0].types[1].name = "made".to_owned()), twice("event type", "made"));
        assert_eq!(broken(|d| d.schemas[0].types[0].version = 0), zero("version", "made"));
        assert_eq!(broken(|d| d.views[0].revision = 0), zero("revision", "sum"));
        assert_eq!(
            broken(|d| d.schemas[0].types[0].name = "a b".to_owned()),
            DeclarationError::TypeName("a b".to_owned())
        );
        assert_eq!(
            broken(|d| d.views[0].keyspace = 1),
            DeclarationError::Keyspace { view: "sum".to_owned(), keyspace: 1, keyspaces: 1 }
        );
        for parts in [0, 200] {
            let mut declaration = declaration();
            declaration.keyspaces[0].parts = parts;
            let keyspace = "all".to_owned();
            assert_eq!(check(&declaration), Err(DeclarationError::Parts { keyspace, parts }));
        }
        assert_eq!(broken(|d| d.keyspaces[0].types.clear()), DeclarationError::NoTypes("all".to_owned()));
        assert_eq!(broken(|d| d.keyspaces[0].types.push(1)), twice("event type of a keyspace", "1"));
    }

    // Goal: the names of roots and views, at their borders.
    #[test]
    fn names() {
        for good in ["a", "0", "a-b_c", "ee", &"x".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "e", "_a", "-a", "A", "a.b", "a/b", "ä", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
