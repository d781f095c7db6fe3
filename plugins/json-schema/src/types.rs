//! Declared event types: what is refused, how old versions are read, what is taken back.

use crate::declare::TypeConfig;
use crate::example::Maker;
use crate::schemas::{FAULTS_MAX, Library, Schema};
use crate::tree::{DEPTH_MAX, Pointer, Tree};
use crate::upcast::Step;
use crate::views::Field;
use laterbase_plugin::{Chance, DeclaredType, EventKey, RawEvent, Refusal, from_json};
use serde_json::Value;
use std::sync::Arc;

/// How often an example is made up before there is none.
const ATTEMPTS: u32 = 24;

/// One event type.
#[derive(Debug)]
pub struct Declared {
    number: u32,
    name: String,
    /// The schema of each version, from 1.
    versions: Vec<Schema>,
    /// From each version to the next, from 1.
    steps: Vec<Step>,
    retracts: Option<Pointer>,
    /// What views read of it.
    fields: Vec<Field>,
    /// What the schema of the newest version names as examples.
    examples: Vec<Value>,
    library: Arc<Library>,
}

impl Declared {
    /// The type that `config` declares; `place` is where it stands in the configuration.
    pub fn new(
        config: &TypeConfig,
        library: &Arc<Library>,
        fields: Vec<Field>,
        place: &str,
    ) -> Result<Self, Refusal> {
        let count = config.schemas.len();
        if count == 0 {
            return Err(Refusal::at(
                format!("{place}/schemas"),
                "schemas_missing: each version has a schema",
            ));
        }
        if let Some(version) = config.version
            && usize::try_from(version) != Ok(count)
        {
            let why =
                format!("contradictory_version: the newest version is {version}, there are {count} schemas");
            return Err(Refusal::at(format!("{place}/version"), why));
        }
        if config.upcasts.len() + 1 != count {
            let (found, wanted) = (config.upcasts.len(), count - 1);
            let why = format!("upcasts_missing: {count} versions take {wanted} upcasts, there are {found}");
            return Err(Refusal::at(format!("{place}/upcasts"), why));
        }
        let schemas = config.schemas.iter().enumerate();
        let schemas = schemas.map(|(at, file)| library.compile(file, &format!("{place}/schemas/{at}")));
        let steps = config.upcasts.iter().enumerate();
        let steps = steps.map(|(at, step)| Step::new(step, &format!("{place}/upcasts/{at}")));
        let retracts = config.retracts.as_deref().map(|text| {
            let fault = |fault| Refusal::at(format!("{place}/retracts"), format!("{text:?}: {fault}"));
            text.parse::<Pointer>().map_err(fault)
        });
        let declared = Self {
            number: config.number,
            name: config.name.clone(),
            versions: schemas.collect::<Result<_, _>>()?,
            steps: steps.collect::<Result<_, _>>()?,
            retracts: retracts.transpose()?,
            fields,
            examples: Vec::new(),
            library: Arc::clone(library),
        };
        declared.check_fields(place)?;
        let examples = declared.check_examples(place)?;
        Ok(Self { examples, ..declared })
    }

    /// The examples that schemas name must fit them, and the newest once they are upcast.
    fn check_examples(&self, place: &str) -> Result<Vec<Value>, Refusal> {
        let mut newest = Vec::new();
        for (at, schema) in self.versions.iter().enumerate() {
            let json = self.library.json(schema.uri());
            let examples = json.and_then(|json| json.get("examples")).and_then(Value::as_array);
            let examples = examples.cloned().unwrap_or_default();
            for (nth, example) in examples.iter().enumerate() {
                let here = || format!("{place}/schemas/{at}");
                if let Some(fault) = schema.faults(example, 0).first() {
                    return Err(Refusal::at(here(), format!("bad_example: example {nth}: {fault}")));
                }
                let mut tree = Tree::parse(&bytes(example), DEPTH_MAX)?;
                self.steps.iter().skip(at).for_each(|step| step.apply(&mut tree));
                if let Err(fault) = self.judge(tree.json().as_bytes()) {
                    let version = self.versions.len();
                    let why = format!("contradictory_upcast: example {nth} as version {version}: {fault}");
                    return Err(Refusal::at(here(), why));
                }
            }
            newest = examples;
        }
        Ok(newest)
    }

    /// A view that sums what its schema says is a text is a mistake.
    fn check_fields(&self, place: &str) -> Result<(), Refusal> {
        let Some(newest) = self.versions.last() else { return Ok(()) };
        for field in &self.fields {
            let declared = self.library.types_at(newest.uri(), field.pointer());
            if !declared.is_empty() && !declared.iter().any(|word| field.types().contains(&word.as_str())) {
                let (at, is) = (field.pointer(), declared.join(" or "));
                let why = format!(
                    "contradictory_view: a view needs {at} as {}, the schema says {is}",
                    field.types().join(", ")
                );
                return Err(Refusal::at(place, why));
            }
        }
        Ok(())
    }

    /// What is wrong with data of the newest version.
    fn judge(&self, data: &[u8]) -> Result<(), Refusal> {
        let newest = self.versions.last().expect("a type has a version");
        let (tree, mut faults) = look(newest, data)?;
        let fields = self.fields.iter().filter_map(|field| field.fault(&tree));
        for fault in fields.chain(self.retracts.as_ref().and_then(|at| key_fault(at, &tree))) {
            if !faults.iter().any(|other| other.pointer == fault.pointer) {
                faults.push(fault);
            }
        }
        Refusal::all(faults.into_iter().take(FAULTS_MAX))
    }
}

/// The position of a version in a list that begins with version 1.
fn position(version: u32) -> Option<usize> {
    usize::try_from(version).ok()?.checked_sub(1)
}

/// Reads data and looks whether it fits; the tree, and what is wrong.
fn look(schema: &Schema, data: &[u8]) -> Result<(Tree, Vec<Refusal>), Refusal> {
    let tree = Tree::parse(data, schema.depth_max)?;
    let value: Value = from_json(data)?;
    let faults = schema.faults(&value, data.len());
    Ok((tree, faults))
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// What an event that retracts names must be keys of events.
fn key_fault(at: &Pointer, data: &Tree) -> Option<Refusal> {
    let is_key = |value: &Tree| value.text().is_some_and(|text| text.parse::<EventKey>().is_ok());
    let sound = match at.value(data)? {
        Tree::List(items) => items.iter().all(is_key),
        value @ (Tree::Leaf(_) | Tree::Object(_)) => is_key(value),
    };
    let why =
        "an event takes back what is named here: an event key, 32 lower-case hex digits, or a list of them";
    (!sound).then(|| Refusal::at(at.to_string(), why))
}

/// A type as a Schema of its own, so that a change of one touches no other. `RETRACTS` says whether its events can
/// take others back.
#[derive(Debug)]
pub struct TypeSchema<const RETRACTS: bool>(pub Declared);

impl<const RETRACTS: bool> laterbase_plugin::Schema for TypeSchema<RETRACTS> {
    const NAME: &'static str = "declared";
    const RETRACTS: bool = RETRACTS;

    fn types(&self) -> Vec<DeclaredType> {
        let newest = u32::try_from(self.0.versions.len()).unwrap_or(u32::MAX);
        vec![DeclaredType::raw(self.0.number, self.0.name.clone(), newest)]
    }

    fn admit(&self, event: &RawEvent<'_>) -> Result<(), Refusal> {
        self.0.judge(event.data)
    }

    fn admit_old(&self, event: &RawEvent<'_>) -> Result<(), Refusal> {
        let schema = position(event.version).and_then(|at| self.0.versions.get(at));
        let Some(schema) = schema else { return Ok(()) };
        let (_, faults) = look(schema, event.data)?;
        Refusal::all(faults.into_iter().take(FAULTS_MAX))
    }

    fn upcast(&self, event: &RawEvent<'_>) -> Result<Vec<u8>, Refusal> {
        let step = position(event.version).and_then(|at| self.0.steps.get(at));
        let step = step.ok_or_else(|| Refusal::new(format!("version {} has no next one", event.version)))?;
        let mut tree = Tree::parse(event.data, DEPTH_MAX)?;
        step.apply(&mut tree);
        Ok(tree.json().into_bytes())
    }

    fn retracts(&self, event: &RawEvent<'_>) -> Vec<EventKey> {
        let Some(at) = &self.0.retracts else { return Vec::new() };
        let Ok(data) = Tree::parse(event.data, DEPTH_MAX) else { return Vec::new() };
        let key = |value: &Tree| value.text().and_then(|text| text.parse().ok());
        match at.value(&data) {
            Some(Tree::List(items)) => items.iter().filter_map(key).collect(),
            Some(value @ (Tree::Leaf(_) | Tree::Object(_))) => key(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn example(&self, _: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        let newest = self.0.versions.last()?;
        (0..ATTEMPTS).find_map(|_| {
            let named = chance.pick(&self.0.examples).cloned();
            let made = match named {
                Some(example) if !chance.is_extreme() && chance.below(2) == 0 => Some(example),
                _ => Maker::new(chance).value(self.0.library.registry(), newest.uri()),
            };
            let mut tree = Tree::parse(&bytes(&made?), newest.depth_max).ok()?;
            if let Some(at) = &self.0.retracts
                && at.value(&tree).is_some_and(|value| value.text().is_some())
            {
                let key = EventKey::new(
                    laterbase_plugin::ValidTime(chance.number()),
                    chance.number().to_be_bytes(),
                );
                at.put(&mut tree, Tree::Leaf(format!("\"{key}\"").into()));
            }
            let data = tree.json().into_bytes();
            self.0.judge(&data).is_ok().then_some(data)
        })
    }
}
