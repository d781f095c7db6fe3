//! What all plugins together offer to each Root.
//!
//! A [`Catalog`] is immutable: a reload builds another one beside it. Within a Root every event type (number
//! and name), format, view and report name has one owner; plugins are added in an order that the caller
//! fixes, and one that would be second anywhere is refused whole, so a Catalog never depends on chance.

use super::instance::Instance;
use super::revision::{self, Revision};
use laterbase_plugin::declare::{KeyspaceDeclaration, ReportDeclaration, SchemaDeclaration, ViewDeclaration};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A Schema of one instance.
#[derive(Debug, Clone)]
pub struct SchemaRef {
    /// Whose it is.
    pub instance: Arc<Instance>,
    /// Its position in the instance's declaration.
    pub index: u32,
    /// What its upcasts and retractions depend on.
    pub revision: Revision,
}

/// An event type that a Schema owns.
#[derive(Debug, Clone)]
pub struct TypeRef {
    /// Its owner.
    pub schema: SchemaRef,
    /// The number stored with each event.
    pub number: u32,
    /// The name that people use.
    pub name: String,
    /// The newest version, from 1.
    pub version: u32,
}

/// A Keyspace of one instance.
#[derive(Debug, Clone)]
pub struct KeyspaceRef {
    /// Whose it is.
    pub instance: Arc<Instance>,
    /// Its position in the instance's declaration.
    pub index: u32,
    /// What its rows depend on: belongs into their table's name.
    pub revision: Revision,
}

/// A View of one instance.
#[derive(Debug, Clone)]
pub struct ViewRef {
    /// Whose it is.
    pub instance: Arc<Instance>,
    /// Its position in the instance's declaration.
    pub index: u32,
    /// What it is over.
    pub keyspace: KeyspaceRef,
    /// What its states depend on: belongs into their table's name.
    pub revision: Revision,
}

/// A Report of one instance.
#[derive(Debug, Clone)]
pub struct ReportRef {
    /// Whose it is.
    pub instance: Arc<Instance>,
    /// Its position in the instance's declaration.
    pub index: u32,
    /// What its answers depend on beside the data.
    pub revision: Revision,
}

/// What is offered to one Root.
#[derive(Debug, Clone, Default)]
pub struct RootCatalog {
    root: String,
    instances: Vec<Arc<Instance>>,
    types: BTreeMap<u32, TypeRef>,
    type_names: BTreeMap<String, u32>,
    formats: BTreeMap<String, SchemaRef>,
    keyspaces: Vec<KeyspaceRef>,
    views: BTreeMap<String, ViewRef>,
    reports: BTreeMap<String, ReportRef>,
    retractions: Revision,
}

/// What is offered to every Root.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    roots: BTreeMap<String, Arc<RootCatalog>>,
}

/// A name has an owner already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("root {root}: {kind} {name:?} belongs to plugin {owner}")]
pub struct NameTaken {
    /// The Root.
    pub root: String,
    /// What is named: event type, event type number, format, view or report.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The plugin that has it.
    pub owner: String,
}

impl Catalog {
    /// Everything that `instances` offer. They are added in the given order; the first that wants a name
    /// which another plugin has is the error.
    pub fn build<'i>(instances: impl IntoIterator<Item = &'i Arc<Instance>>) -> Result<Self, NameTaken> {
        let mut roots: BTreeMap<String, RootCatalog> = BTreeMap::new();
        for instance in instances {
            let name = &instance.identity().root;
            let root = roots.entry(name.clone()).or_default();
            root.root.clone_from(name);
            root.add(instance)?;
        }
        let finish = |(name, mut root): (String, RootCatalog)| {
            root.add_views();
            (name, Arc::new(root))
        };
        Ok(Self { roots: roots.into_iter().map(finish).collect() })
    }

    /// What is offered to `root`, if a plugin declares it.
    pub fn root(&self, root: &str) -> Option<&Arc<RootCatalog>> {
        self.roots.get(root)
    }

    /// The Roots that plugins declare, by name.
    pub fn roots(&self) -> impl Iterator<Item = &Arc<RootCatalog>> {
        self.roots.values()
    }
}

impl RootCatalog {
    /// The Root's name.
    pub fn name(&self) -> &str {
        &self.root
    }

    /// The configured plugins of the Root, in the order of their precedence.
    pub fn instances(&self) -> &[Arc<Instance>] {
        &self.instances
    }

    /// The event type with this number.
    pub fn event_type(&self, number: u32) -> Option<&TypeRef> {
        self.types.get(&number)
    }

    /// The event type with this name.
    pub fn type_named(&self, name: &str) -> Option<&TypeRef> {
        self.type_names.get(name).and_then(|number| self.types.get(number))
    }

    /// All event types, by number.
    pub fn types(&self) -> impl Iterator<Item = &TypeRef> {
        self.types.values()
    }

    /// The Schema whose intake reads this format.
    pub fn format(&self, name: &str) -> Option<&SchemaRef> {
        self.formats.get(name)
    }

    /// The formats that intakes read, by name.
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        self.formats.keys().map(String::as_str)
    }

    /// All Keyspaces.
    pub fn keyspaces(&self) -> &[KeyspaceRef] {
        &self.keyspaces
    }

    /// The View with this name.
    pub fn view(&self, name: &str) -> Option<&ViewRef> {
        self.views.get(name)
    }

    /// All Views, by name.
    pub fn views(&self) -> impl Iterator<Item = &ViewRef> {
        self.views.values()
    }

    /// The Report with this name.
    pub fn report(&self, name: &str) -> Option<&ReportRef> {
        self.reports.get(name)
    }

    /// All Reports, by name.
    pub fn reports(&self) -> impl Iterator<Item = &ReportRef> {
        self.reports.values()
    }

    /// What the Root's table of retractions depends on: the Schemas that can retract.
    pub fn retractions_revision(&self) -> Revision {
        self.retractions
    }

    /// Adds what `instance` offers, but for its Views: those need every Schema of the Root.
    fn add(&mut self, instance: &Arc<Instance>) -> Result<(), NameTaken> {
        let declaration = instance.declaration();
        for (index, schema) in (0..).zip(&declaration.schemas) {
            let revision = revision::of_schema(instance.identity(), schema);
            self.add_schema(&SchemaRef { instance: Arc::clone(instance), index, revision }, schema)?;
        }
        for view in &declaration.views {
            self.free("view", &view.name)?;
        }
        for (index, report) in (0..).zip(&declaration.reports) {
            self.free("report", &report.name)?;
            let revision = revision::of_report(instance.identity(), &report.name, report.revision);
            let report_ref = ReportRef { instance: Arc::clone(instance), index, revision };
            self.reports.insert(report.name.clone(), report_ref);
        }
        self.instances.push(Arc::clone(instance));
        Ok(())
    }

    fn add_schema(&mut self, schema: &SchemaRef, declared: &SchemaDeclaration) -> Result<(), NameTaken> {
        for found in &declared.types {
            if let Some(owner) = self.type_named(&found.name) {
                return Err(self.taken("event type", &found.name, &owner.schema.instance));
            }
            if let Some(owner) = self.event_type(found.number) {
                return Err(self.taken(
                    "event type number",
                    &found.number.to_string(),
                    &owner.schema.instance,
                ));
            }
            let (number, name, version) = (found.number, found.name.clone(), found.version);
            self.type_names.insert(name.clone(), number);
            self.types.insert(number, TypeRef { schema: schema.clone(), number, name, version });
        }
        for format in &declared.formats {
            if let Some(owner) = self.formats.get(format) {
                return Err(self.taken("format", format, &owner.instance));
            }
            self.formats.insert(format.clone(), schema.clone());
        }
        Ok(())
    }

    /// Views and Reports share their names with each other, for both are the last segment of a URL.
    fn free(&self, kind: &'static str, name: &str) -> Result<(), NameTaken> {
        let has = |instance: &&Arc<Instance>| {
            let declaration = instance.declaration();
            declaration.views.iter().any(|view| view.name == name)
                || declaration.reports.iter().any(|report| report.name == name)
        };
        match self.instances.iter().find(has) {
            Some(owner) => Err(self.taken(kind, name, owner)),
            None => Ok(()),
        }
    }

    fn taken(&self, kind: &'static str, name: &str, owner: &Instance) -> NameTaken {
        let (root, name, owner) = (self.root.clone(), name.to_owned(), owner.identity().plugin.clone());
        NameTaken { root, kind, name, owner }
    }

    /// Adds the Keyspaces and Views of all instances, now that every type of the Root has its owner.
    fn add_views(&mut self) {
        for instance in &self.instances {
            let (identity, declaration) = (instance.identity(), instance.declaration());
            let first = self.keyspaces.len();
            for (index, keyspace) in (0..).zip(&declaration.keyspaces) {
                let owner =
                    |number: &u32| (*number, self.types.get(number).map(|known| known.schema.revision));
                let revision = revision::of_keyspace(identity, keyspace, keyspace.types.iter().map(owner));
                self.keyspaces.push(KeyspaceRef { instance: Arc::clone(instance), index, revision });
            }
            for (index, view) in (0..).zip(&declaration.views) {
                let keyspace = self.keyspaces.get(first + view.keyspace as usize).expect("checked at load");
                let revision = revision::of_view(identity, view, keyspace.revision);
                let (instance, keyspace) = (Arc::clone(instance), keyspace.clone());
                self.views.insert(view.name.clone(), ViewRef { instance, index, keyspace, revision });
            }
        }
        let retracting = self.instances.iter().flat_map(|instance| {
            let schemas = instance.declaration().schemas.iter().filter(|schema| schema.retracts);
            schemas.map(|schema| revision::of_schema(instance.identity(), schema))
        });
        self.retractions = revision::of_retractions(retracting);
    }
}

/// The element of a declaration that a checked index stands for.
fn declared<T>(list: &[T], index: u32) -> &T {
    list.get(index as usize).expect("a reference's index comes from its own declaration")
}

impl SchemaRef {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.declaration().name
    }

    /// What the plugin says of it.
    pub fn declaration(&self) -> &SchemaDeclaration {
        declared(&self.instance.declaration().schemas, self.index)
    }
}

impl KeyspaceRef {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.declaration().name
    }

    /// True if its `map` takes events of this type; others must not be shown to it.
    pub fn takes(&self, type_number: u32) -> bool {
        self.declaration().types.contains(&type_number)
    }

    /// What the plugin says of it.
    pub fn declaration(&self) -> &KeyspaceDeclaration {
        declared(&self.instance.declaration().keyspaces, self.index)
    }
}

impl ViewRef {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.declaration().name
    }

    /// What the plugin says of it.
    pub fn declaration(&self) -> &ViewDeclaration {
        declared(&self.instance.declaration().views, self.index)
    }
}

impl ReportRef {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.declaration().name
    }

    /// What the plugin says of it.
    pub fn declaration(&self) -> &ReportDeclaration {
        declared(&self.instance.declaration().reports, self.index)
    }
}

#[cfg(test)]
mod tests;
