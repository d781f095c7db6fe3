//! What a plugin's `configure` returns: one immutable set of Schemas, Keyspaces, Views and Reports for one root.

use crate::adapter::{
    AnyKeyspace, AnyReport, AnySchema, AnyView, KeyspaceAdapter, SchemaAdapter, ViewAdapter,
};
use crate::declare::{
    Declaration, KeyspaceDeclaration, ReportDeclaration, SchemaDeclaration, ViewDeclaration,
};
use crate::keyspace::Keyspace;
use crate::refusal::{Refusal, from_json};
use crate::report::Report;
use crate::schema::{EventData, Schema};
use crate::view::{Algebra, View};
use serde::de::DeserializeOwned;
use std::any::TypeId;
use std::collections::BTreeSet;
use std::fmt;

/// The longest name of an event type, in bytes.
const TYPE_NAME_BYTES_MAX: usize = 127;

/// For which root and with which configuration an instance is made.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    pub(crate) root: &'a str,
    pub(crate) config: &'a str,
}

impl<'a> Setup<'a> {
    /// A setup of one's own, for tests.
    pub fn new(root: &'a str, config: &'a str) -> Self {
        Self { root, config }
    }

    /// The root's name.
    pub fn root(&self) -> &'a str {
        self.root
    }

    /// The configuration, a JSON object, as `T`.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        from_json(self.config.as_bytes())
    }
}

/// Why an instance cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A View's Keyspace is missing.
    #[error("the View {view} is over {keyspace}, which is not registered: add .keyspace({keyspace})")]
    NoKeyspace {
        /// The View's name.
        view: String,
        /// The Keyspace's Rust type.
        keyspace: String,
    },
    /// Two things of one kind have the same name or number.
    #[error("two {kind}s are called {name}")]
    Twice {
        /// What kind of thing.
        kind: &'static str,
        /// Their name or number.
        name: String,
    },
    /// A name that would not do as a segment of a URL.
    #[error("{name:?} is no {kind}'s name: it must be [a-z0-9][a-z0-9_-]{{0,62}} and not \"e\"")]
    Name {
        /// What kind of thing.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// An event type's name would not do in a URL or as JSON.
    #[error("{name:?} is no event type's name: it must have 1 to {TYPE_NAME_BYTES_MAX} bytes, and no spaces")]
    TypeName {
        /// The name.
        name: String,
    },
    /// A Keyspace does not say how many parts its keys have.
    #[error("the keys of {keyspace} are lists: write `fn parts` to say how many parts each has")]
    NoParts {
        /// The Keyspace's name.
        keyspace: String,
    },
    /// An event type's newest version is 0.
    #[error("the event type {name} has version 0; versions count from 1")]
    VersionZero {
        /// The type's name.
        name: String,
    },
}

impl From<BuildError> for Refusal {
    fn from(error: BuildError) -> Self {
        Self::new(error.to_string())
    }
}

/// A configured plugin for one root.
pub struct Instance {
    pub(crate) declaration: Declaration,
    pub(crate) schemas: Vec<Box<dyn AnySchema>>,
    pub(crate) keyspaces: Vec<Box<dyn AnyKeyspace>>,
    pub(crate) views: Vec<Box<dyn AnyView>>,
    pub(crate) reports: Vec<Box<dyn AnyReport>>,
}

impl Instance {
    /// Starts an empty instance.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What it offers.
    pub fn declaration(&self) -> &Declaration {
        &self.declaration
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("declaration", &self.declaration).finish_non_exhaustive()
    }
}

/// What the configuration names: a plugin whose Schemas, Keyspaces or Views are declared by its user adds each with a
/// name of its own, so that one Rust type serves many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    name: String,
    depends: Option<String>,
}

impl Named {
    /// The name, in place of the type's `NAME`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), depends: None }
    }

    /// What of the configuration its results depend on, in a text of the plugin's own. Where the text is another, so is
    /// the revision, and rows are computed anew; the rest of the configuration may change without that. For a Schema
    /// the results are those of `upcast` and `retracts`. Without it, any change of the configuration is a new revision.
    #[must_use]
    pub fn depends(self, depends: impl Into<String>) -> Self {
        Self { depends: Some(depends.into()), ..self }
    }
}

/// Collects what an [`Instance`] offers, in any order.
#[derive(Default)]
pub struct Builder {
    schemas: Vec<(SchemaDeclaration, Box<dyn AnySchema>)>,
    keyspaces: Vec<(TypeId, KeyspaceDeclaration, Box<dyn AnyKeyspace>)>,
    views: Vec<Registered>,
    reports: Vec<(ReportDeclaration, Box<dyn AnyReport>)>,
}

/// A View whose Keyspace is not looked up yet.
struct Registered {
    declaration: ViewDeclaration,
    view: Box<dyn AnyView>,
    over: Over,
}

/// How a View names its Keyspace.
enum Over {
    Type(TypeId, &'static str),
    Name(String),
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl Builder {
    /// Adds a Schema.
    #[must_use]
    pub fn schema<S: Schema>(self, schema: S) -> Self {
        self.schema_named(Named::new(S::NAME), schema)
    }

    /// Adds a Schema that the configuration names.
    #[must_use]
    pub fn schema_named<S: Schema>(mut self, named: Named, schema: S) -> Self {
        let types = schema.types();
        let declaration = SchemaDeclaration {
            name: named.name,
            depends: named.depends,
            revision: S::REVISION,
            types: types.iter().map(|event_type| event_type.declaration.clone()).collect(),
            formats: schema.formats(),
            retracts: S::RETRACTS,
        };
        self.schemas.push((declaration, Box::new(SchemaAdapter { schema, types })));
        self
    }

    /// Adds a Keyspace, on which Views can then be based.
    #[must_use]
    pub fn keyspace<K: Keyspace>(self, keyspace: K) -> Self {
        self.keyspace_named(Named::new(keyspace_name::<K>()), K::Event::types(), keyspace)
    }

    /// Adds a Keyspace that the configuration names, with the numbers of the event types that are shown to it.
    #[must_use]
    pub fn keyspace_named<K: Keyspace>(mut self, named: Named, types: Vec<u32>, keyspace: K) -> Self {
        let declaration = KeyspaceDeclaration {
            name: named.name,
            revision: K::REVISION,
            types,
            parts: keyspace.parts(),
            depends: named.depends,
        };
        self.keyspaces.push((TypeId::of::<K>(), declaration, Box::new(KeyspaceAdapter(keyspace))));
        self
    }

    /// Adds a View over a Keyspace that is registered before or after.
    #[must_use]
    pub fn view<V: View>(self, view: V) -> Self {
        let over = Over::Type(TypeId::of::<V::Over>(), last_segment(std::any::type_name::<V::Over>()));
        self.view_over(Named::new(V::NAME), over, view)
    }

    /// Adds a View that the configuration names, over the Keyspace that was added under the name `over`.
    #[must_use]
    pub fn view_named<V: View>(self, named: Named, over: impl Into<String>, view: V) -> Self {
        self.view_over(named, Over::Name(over.into()), view)
    }

    fn view_over<V: View>(mut self, Named { name, depends }: Named, over: Over, view: V) -> Self {
        let (revision, algebra) = (V::REVISION, V::Algebra::KIND);
        let declaration = ViewDeclaration { name, revision, keyspace: 0, algebra, depends };
        self.views.push(Registered { declaration, view: Box::new(ViewAdapter(view)), over });
        self
    }

    /// Adds a Report.
    #[must_use]
    pub fn report<R: Report>(mut self, report: R) -> Self {
        let declaration = ReportDeclaration { name: R::NAME.to_owned(), revision: R::REVISION };
        self.reports.push((declaration, Box::new(crate::adapter::ReportAdapter(report))));
        self
    }

    /// The instance, if its parts fit together.
    pub fn build(self) -> Result<Instance, BuildError> {
        let (schema_declarations, schemas): (Vec<_>, Vec<_>) = self.schemas.into_iter().unzip();
        let (report_declarations, reports): (Vec<_>, Vec<_>) = self.reports.into_iter().unzip();
        let (mut view_declarations, mut views) = (Vec::new(), Vec::new());
        for Registered { mut declaration, view, over } in self.views {
            let index = self.keyspaces.iter().position(|(id, declared, _)| match &over {
                Over::Type(over, _) => id == over,
                Over::Name(over) => declared.name == *over,
            });
            let index = index.and_then(|index| u32::try_from(index).ok());
            let missing = || BuildError::NoKeyspace {
                view: declaration.name.clone(),
                keyspace: match &over {
                    Over::Type(_, keyspace) => (*keyspace).to_owned(),
                    Over::Name(keyspace) => keyspace.clone(),
                },
            };
            declaration.keyspace = index.ok_or_else(missing)?;
            view_declarations.push(declaration);
            views.push(view);
        }
        let (keyspace_declarations, keyspaces): (Vec<_>, Vec<_>) =
            self.keyspaces.into_iter().map(|(_, declaration, keyspace)| (declaration, keyspace)).unzip();
        let declaration = Declaration {
            schemas: schema_declarations,
            keyspaces: keyspace_declarations,
            views: view_declarations,
            reports: report_declarations,
        };
        check(&declaration)?;
        Ok(Instance { declaration, schemas, keyspaces, views, reports })
    }
}

/// The names and numbers are well-formed and none is given twice.
fn check(declaration: &Declaration) -> Result<(), BuildError> {
    let types = || declaration.schemas.iter().flat_map(|schema| &schema.types);
    once("Schema", declaration.schemas.iter().map(|schema| schema.name.clone()))?;
    once("event type", types().map(|event_type| event_type.name.clone()))?;
    once("event type", types().map(|event_type| event_type.number.to_string()))?;
    once("format", declaration.schemas.iter().flat_map(|schema| schema.formats.clone()))?;
    once("Keyspace", declaration.keyspaces.iter().map(|keyspace| keyspace.name.clone()))?;
    let views = declaration.views.iter().map(|view| view.name.clone());
    let answering: Vec<_> =
        views.chain(declaration.reports.iter().map(|report| report.name.clone())).collect();
    once("View or Report", answering.iter().cloned())?;
    for event_type in types() {
        let bad = |letter: char| letter.is_whitespace() || letter.is_control();
        if event_type.name.is_empty()
            || event_type.name.len() > TYPE_NAME_BYTES_MAX
            || event_type.name.contains(bad)
        {
            return Err(BuildError::TypeName { name: event_type.name.clone() });
        }
        if event_type.version == 0 {
            return Err(BuildError::VersionZero { name: event_type.name.clone() });
        }
    }
    for keyspace in &declaration.keyspaces {
        name("Keyspace", &keyspace.name)?;
        if keyspace.parts == 0 {
            return Err(BuildError::NoParts { keyspace: keyspace.name.clone() });
        }
    }
    for schema in &declaration.schemas {
        name("Schema", &schema.name)?;
        schema.formats.iter().try_for_each(|format| name("format", format))?;
    }
    answering.iter().try_for_each(|answering| name("View or Report", answering))
}

fn once(kind: &'static str, names: impl Iterator<Item = String>) -> Result<(), BuildError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            return Err(BuildError::Twice { kind, name });
        }
    }
    Ok(())
}

fn name(kind: &'static str, name: &str) -> Result<(), BuildError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins = name.bytes().next().is_some_and(is_plain);
    let goes_on = name.bytes().all(|byte| is_plain(byte) || byte == b'_' || byte == b'-');
    if begins && goes_on && name.len() <= 63 && name != "e" {
        return Ok(());
    }
    Err(BuildError::Name { kind, name: name.to_owned() })
}

/// A Keyspace's declared name, or else its type's name in snake case.
pub(crate) fn keyspace_name<K: Keyspace>() -> String {
    if !K::NAME.is_empty() {
        return K::NAME.to_owned();
    }
    let mut snake = String::new();
    for letter in last_segment(std::any::type_name::<K>()).chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn last_segment(path: &'static str) -> &'static str {
    path.rsplit("::").next().unwrap_or(path)
}
