//! The JSON Schema files of one root: read, connected to each other and to nothing else, checked, compiled.
//!
//! `$ref` leads within a file, to another file of the configuration by its relative name, or to one by its `$id`.
//! Nothing is ever fetched. A pattern is a regular expression that is matched in linear time, so there are no
//! look-arounds and no back-references.

use crate::declare::FileText;
use crate::graph::Graph;
use crate::tree::Pointer;
use jsonschema::canonical::{self, Satisfiability, UnsatisfiableReason};
use jsonschema::{PatternOptions, Regex, ValidationError, ValidationOptions, Validator};
use laterbase_plugin::Refusal;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use referencing::{Error as ReferencingError, Registry, ResourceRef, Retrieve, Uri, uri};
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;

/// What the URIs of files begin with.
const BASE: &str = "laterbase:///";
/// Characters of a file's name that its URI has as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');
/// How large one compiled pattern may be, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Schemas of up to so many parts are searched for contradictions,
const SEARCHED_PARTS_MAX: usize = 500;
/// if their alternatives can be combined in up to so many ways: the search tries them all.
const SEARCHED_WAYS_MAX: u64 = 1000;
/// So many faults of one event are told.
pub const FAULTS_MAX: usize = 20;
/// Of an event that is longer, in bytes, only the first fault is told.
const ALL_FAULTS_BYTES_MAX: usize = 64 << 10;
/// How much of one fault's sentence is told, in characters.
const SENTENCE_CHARS_MAX: usize = 300;

/// All schema files of a root.
#[derive(Debug)]
pub struct Library {
    registry: Registry<'static>,
    files: BTreeMap<String, Value>,
}

/// One schema, compiled.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// The URI of its file.
    uri: String,
    /// How deep an event's data may be nested: what a schema says of itself multiplies from level to level.
    pub depth_max: usize,
}

/// Refuses whatever is not in the configuration.
struct Nothing;

impl Retrieve for Nothing {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Err("nothing is fetched".into())
    }
}

impl Library {
    /// Reads `files`, each with its place in the configuration.
    pub fn new(files: &[(String, &FileText)]) -> Result<Self, Refusal> {
        let mut read: BTreeMap<String, (&FileText, Value)> = BTreeMap::new();
        for (place, file) in files {
            let uri = uri_of(&file.file);
            if let Some((other, _)) = read.get(&uri) {
                if other.text == file.text {
                    continue;
                }
                let why = format!("file_twice: {} and {} have the same name", other.file, file.file);
                return Err(Refusal::at(place, why));
            }
            let json = serde_json::from_str(&file.text)
                .map_err(|error| Refusal::at(place, format!("not_json: {}: {error}", file.file)))?;
            read.insert(uri, (file, json));
        }
        let files: BTreeMap<String, Value> = read.into_iter().map(|(uri, (_, json))| (uri, json)).collect();
        let registry = Registry::new().retriever(Nothing).extend(files.clone());
        let registry =
            registry.and_then(referencing::RegistryBuilder::prepare).map_err(|error| of_reference(&error))?;
        Ok(Self { registry, files })
    }

    /// Compiles the schema in `file`, which stands at `place` in the configuration.
    pub fn compile(&self, file: &FileText, place: &str) -> Result<Schema, Refusal> {
        let told = |what: String| Refusal::at(place, what.replacen(": ", &format!(": {}: ", file.file), 1));
        let uri = uri_of(&file.file);
        let json = self.files.get(&uri).ok_or_else(|| told("unknown_ref: it was not read".to_owned()))?;
        let graph = Graph::new(&self.registry, &uri).map_err(told)?;
        let depth_max = graph.depth_max().map_err(told)?;
        let options: ValidationOptions<'_> = jsonschema::options()
            .with_registry(&self.registry)
            .with_base_uri(uri.as_str())
            .with_pattern_options(patterns())
            .should_validate_formats(true)
            .offline();
        let validator = options.build(json).map_err(|error| told(of_build(&error)))?;
        if graph.count() <= SEARCHED_PARTS_MAX && graph.ways() <= SEARCHED_WAYS_MAX {
            self.check_satisfiable(&uri, json).map_err(told)?;
        }
        Ok(Schema { validator, uri, depth_max })
    }

    /// A schema that no value fits, or in which a part that is not `false` itself is fitted by none, is a mistake.
    fn check_satisfiable(&self, uri: &str, json: &Value) -> Result<(), String> {
        let options = canonical::options()
            .with_registry(&self.registry)
            .with_base_uri(uri)
            .with_pattern_options(patterns())
            .should_validate_formats(true)
            .offline();
        // What cannot be brought into the canonical form proves nothing.
        let Ok(prepared) = options.prepare(json) else { return Ok(()) };
        for (pointer, reason) in prepared.unsatisfiable().unwrap_or_default() {
            if let UnsatisfiableReason::Conflict(causes) = reason {
                let words: Vec<&str> =
                    causes.iter().flat_map(|cause| &cause.keywords).map(String::as_str).collect();
                let words = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
                return Err(format!("contradictory_schema: no value fits #{pointer}{words}"));
            }
        }
        let fits = prepared.canonicalize().map(|schema| schema.satisfiability());
        if matches!(fits, Ok(Satisfiability::No)) {
            return Err("contradictory_schema: no value fits it".to_owned());
        }
        Ok(())
    }

    /// The types that the schema `uri` allows at `pointer`, if it says so plainly; else none.
    pub fn types_at(&self, uri: &str, pointer: &Pointer) -> Vec<String> {
        self.find_types(uri, pointer).unwrap_or_default()
    }

    fn find_types(&self, uri: &str, pointer: &Pointer) -> Option<Vec<String>> {
        let place = self.registry.resolver(parsed(uri).ok()?).lookup("").ok()?;
        let (mut json, mut resolver, draft) = place.into_inner();
        for step in pointer.steps().map(Some).chain([None]) {
            resolver = resolver.in_subresource(ResourceRef::new(json, draft)).ok()?;
            // Circles of references were found before.
            while let Some(Value::String(to)) = json.get("$ref") {
                let target = resolver.lookup(to).ok()?;
                (json, resolver, _) = target.into_inner();
            }
            if let Some(step) = step {
                json = json.get("properties")?.get(step)?;
            }
        }
        match json.get("type")? {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(any) => Some(any.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        }
    }

    /// The files, for the making of examples.
    pub fn registry(&self) -> &Registry<'static> {
        &self.registry
    }

    /// What a file says, by its URI.
    pub fn json(&self, uri: &str) -> Option<&Value> {
        self.files.get(uri)
    }
}

impl Schema {
    /// The URI of its file.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// What is wrong with `data`, which was written in `bytes` bytes.
    pub fn faults(&self, data: &Value, bytes: usize) -> Vec<Refusal> {
        if self.validator.is_valid(data) {
            return Vec::new();
        }
        if bytes > ALL_FAULTS_BYTES_MAX {
            return self.validator.validate(data).err().iter().map(|error| self.fault(error)).collect();
        }
        self.validator.iter_errors(data).take(FAULTS_MAX).map(|error| self.fault(&error)).collect()
    }

    fn fault(&self, error: &ValidationError<'_>) -> Refusal {
        let keyword = match error.absolute_keyword_location() {
            Some(location) => named(location.as_str()),
            None => format!("{}#{}", named(&self.uri), error.schema_path()),
        };
        let sentence: String =
            error.masked_with("the value").to_string().chars().take(SENTENCE_CHARS_MAX).collect();
        Refusal::at(error.instance_path().as_str(), format!("{sentence} ({keyword})"))
    }
}

fn patterns() -> PatternOptions<Regex> {
    PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX)
}

/// The URI that stands for the file `name`.
fn uri_of(name: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in name.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    format!("{BASE}{}", utf8_percent_encode(&steps.join("/"), PLAIN))
}

/// The same for people.
fn named(uri: &str) -> String {
    uri.replace(BASE, "")
}

/// The URI of a file for a [`Registry`].
pub fn parsed(uri: &str) -> Result<Uri<String>, String> {
    uri::from_str(uri).map_err(|error| reference(&error))
}

fn of_reference(error: &ReferencingError) -> Refusal {
    Refusal::new(reference(error))
}

/// What is wrong with a reference, by name.
pub fn reference(error: &ReferencingError) -> String {
    match error {
        ReferencingError::Unretrievable { uri, .. } => match uri.strip_prefix(BASE) {
            Some(name) => format!("unknown_ref: {name} is no file of the configuration: name it in `refs`"),
            None => format!("remote_ref: {uri} is not in the configuration, and nothing is fetched"),
        },
        ReferencingError::PointerToNowhere { pointer } => format!("unknown_ref: {pointer} leads nowhere"),
        ReferencingError::UnknownSpecification { specification } => {
            format!("unknown_draft: {specification} is no draft of JSON Schema that is known here")
        }
        other @ (ReferencingError::InvalidPercentEncoding { .. }
        | ReferencingError::InvalidArrayIndex { .. }
        | ReferencingError::NoSuchAnchor { .. }
        | ReferencingError::InvalidAnchor { .. }
        | ReferencingError::InvalidUri(_)
        | ReferencingError::CircularMetaschema { .. }) => format!("unknown_ref: {other}"),
    }
}

/// What is wrong with a schema, by name.
fn of_build(error: &ValidationError<'_>) -> String {
    use jsonschema::error::ValidationErrorKind as Kind;
    let place = error.instance_path();
    if let Kind::Referencing(error) = error.kind() {
        return reference(error);
    }
    if matches!(error.kind(), Kind::Format { format } if format == "regex") {
        return format!(
            "bad_pattern: #{place}: not a regular expression without look-around and back-references"
        );
    }
    let sentence: String = error.to_string().chars().take(SENTENCE_CHARS_MAX).collect();
    format!("bad_schema: #{place}: {sentence}")
}
