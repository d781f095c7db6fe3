//! The 16 bytes that name what a stored row was computed by: another plugin, another configuration, another
//! Schema beneath, another engine, and the name is another, so that a stale row cannot even be looked up.
//!
//! A part of a plugin that says what of the configuration it depends on keeps its rows while the rest changes.
//!
//! The library's bytes are not in it: a plugin that was built again keeps its rows. Code that computes something else
//! under the same revision is found by the view engine, which compares results (`drift`). Reports keep no rows, so
//! there the bytes do count.

use super::instance::Identity;
use laterbase_plugin::declare::{AlgebraKind, KeyspaceDeclaration, SchemaDeclaration, ViewDeclaration};

/// Rises when the host itself computes or lays out derived rows in another way than before.
pub const ENGINE_FORMAT: u32 = 1;

/// The name of a way to compute something.
pub type Revision = [u8; 16];

/// What a Schema's upcasts and retractions depend on.
pub(super) fn of_schema(identity: &Identity, schema: &SchemaDeclaration) -> Revision {
    let mut hash = Hash::new("schema", identity, schema.depends.as_deref());
    hash.text(&schema.name).number(schema.revision);
    for declared in &schema.types {
        hash.number(declared.number).number(declared.version);
    }
    hash.end()
}

/// What a Keyspace's rows depend on; `schemas` has the revision of the owner of each of its types, in their
/// order.
pub(super) fn of_keyspace(
    identity: &Identity,
    keyspace: &KeyspaceDeclaration,
    schemas: impl Iterator<Item = (u32, Option<Revision>)>,
) -> Revision {
    let mut hash = Hash::new("keyspace", identity, keyspace.depends.as_deref());
    hash.text(&keyspace.name).number(keyspace.revision).number(keyspace.parts);
    for (number, schema) in schemas {
        hash.number(number).bytes(&schema.unwrap_or_default());
    }
    hash.end()
}

/// What a View's states depend on.
pub(super) fn of_view(identity: &Identity, view: &ViewDeclaration, keyspace: Revision) -> Revision {
    let algebra = match view.algebra {
        AlgebraKind::Ordered => 1,
        AlgebraKind::Associative => 2,
        AlgebraKind::Commutative => 3,
        AlgebraKind::Group => 4,
    };
    let mut hash = Hash::new("view", identity, view.depends.as_deref());
    hash.text(&view.name).number(view.revision).number(algebra).bytes(&keyspace);
    hash.end()
}

/// What a Report's answers depend on; `root` covers everything else that the Root offers.
pub(super) fn of_report(identity: &Identity, name: &str, revision: u32) -> Revision {
    let mut hash = Hash::new("report", identity, None);
    hash.bytes(&identity.library).text(name).number(revision);
    hash.end()
}

/// What a Root's retractions depend on: all Schemas that can retract.
pub(super) fn of_retractions(schemas: impl Iterator<Item = Revision>) -> Revision {
    let mut hash = Hash(blake3::Hasher::new());
    hash.text("retractions").number(ENGINE_FORMAT);
    for schema in schemas {
        hash.bytes(&schema);
    }
    hash.end()
}

/// BLAKE3 over fields that cannot run into each other: texts and bytes go with their length.
struct Hash(blake3::Hasher);

impl Hash {
    fn new(kind: &str, identity: &Identity, depends: Option<&str>) -> Self {
        let mut hash = Self(blake3::Hasher::new());
        hash.text(kind).number(ENGINE_FORMAT);
        hash.text(&identity.plugin);
        match depends {
            // A configuration is an object, so the two never meet.
            Some(depends) => hash.text("depends").text(depends),
            None => hash.text(&identity.config),
        };
        hash
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn number(&mut self, number: u32) -> &mut Self {
        self.0.update(&number.to_be_bytes());
        self
    }

    fn end(&self) -> Revision {
        let mut revision = Revision::default();
        self.0.finalize_xof().fill(&mut revision);
        revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::fake::declaration;

    // Goal: rows go with the configuration, or with the part of it that their plugin names, and with nothing else.
    #[test]
    fn what_revisions_depend_on() {
        let identity = |config: &str| Identity {
            plugin: "p".to_owned(),
            version: "1.0.0".to_owned(),
            generation: 1,
            library: [1; 32],
            root: "root".to_owned(),
            config: config.to_owned(),
        };
        let revisions = |config: &str, depends: Option<&str>| {
            let mut declared = declaration();
            let depends = depends.map(str::to_owned);
            declared.schemas[0].depends.clone_from(&depends);
            declared.keyspaces[0].depends.clone_from(&depends);
            declared.views[0].depends = depends;
            let identity = identity(config);
            let schema = of_schema(&identity, &declared.schemas[0]);
            let keyspace = of_keyspace(&identity, &declared.keyspaces[0], [(1, Some(schema))].into_iter());
            [schema, keyspace, of_view(&identity, &declared.views[0], keyspace)]
        };
        let differ = |one: [Revision; 3], other: [Revision; 3]| {
            one.iter().zip(&other).filter(|(one, other)| one != other).count()
        };
        assert_eq!(differ(revisions("{}", None), revisions(r#"{"a":1}"#, None)), 3);
        assert_eq!(differ(revisions("{}", Some("x")), revisions(r#"{"a":1}"#, Some("x"))), 0);
        assert_eq!(differ(revisions("{}", Some("x")), revisions("{}", Some("y"))), 3);
        assert_eq!(differ(revisions("{}", None), revisions("{}", Some("{}"))), 3);
    }
}
