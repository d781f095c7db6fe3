//! The interface of this server as an `OpenAPI` 3.1 document: the table of operations, and for each root the same with
//! its name and those of its views, so that a client finds what plugins offer here.
//!
//! Paths with names left open stand beside those of this server: `OpenAPI` tries the latter first.

use super::service::{Offer, Offered};
use super::table::{ANY, Answer, MERGING, OPERATIONS, Operation, Parameter, Shape, VIEWS_ONLY};
use crate::problem::Code;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The schemas of all bodies.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// The document of a server that offers this.
pub(super) fn document(offers: &[Offer]) -> Bytes {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        add(&mut paths, operation.path, operation, &Place::default());
    }
    for offer in offers {
        for operation in OPERATIONS.iter().filter(|known| known.path.starts_with("/{root}")) {
            if !operation.path.contains("{view}") {
                let path = operation.path.replace("{root}", &offer.root);
                add(&mut paths, &path, operation, &Place { offer: Some(offer), view: None });
                continue;
            }
            for view in &offer.views {
                let path = operation.path.replace("{root}", &offer.root).replace("{view}", &view.name);
                add(&mut paths, &path, operation, &Place { offer: Some(offer), view: Some(view) });
            }
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Laterbase",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Events that take their place at the time they happened, and views that repair themselves.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas()},
    });
    Bytes::from(document.to_string())
}

/// Which root and view an operation is of, if it is of one.
#[derive(Default)]
struct Place<'o> {
    offer: Option<&'o Offer>,
    view: Option<&'o Offered>,
}

impl Place<'_> {
    /// Whether the parameter means something there.
    fn has(&self, parameter: &Parameter) -> bool {
        if parameter.name == "format" {
            // Where no format is read, none can be named.
            return self.offer.is_none_or(|offer| !offer.formats.is_empty());
        }
        let Some(view) = self.view else { return true };
        !(view.is_report && VIEWS_ONLY.contains(&parameter.name)
            || view.is_ordered && MERGING.contains(&parameter.name))
    }

    fn tag(&self) -> &str {
        self.offer.map_or("any", |offer| offer.root.as_str())
    }
}

fn add(paths: &mut Map<String, Value>, path: &str, operation: &Operation, place: &Place<'_>) {
    let item = paths.entry(path).or_insert_with(|| json!({}));
    if let Some(methods) = item.as_object_mut() {
        methods.insert(operation.method.to_owned(), describe(path, operation, place));
    }
}

fn describe(path: &str, operation: &Operation, place: &Place<'_>) -> Value {
    let tag = if path.starts_with("/_/") { "server" } else { place.tag() };
    let mut described = json!({
        "summary": operation.summary,
        "tags": [tag],
        "operationId": format!("{} {path}", operation.method),
        "parameters": parameters(path, operation, place),
        "responses": responses(operation),
    });
    if let (Some(members), false) = (described.as_object_mut(), operation.bodies.is_empty()) {
        members.insert(
            "requestBody".to_owned(),
            json!({"required": true, "content": content(operation.bodies)}),
        );
    }
    described
}

fn content(of: &[(&str, &str)]) -> Map<String, Value> {
    let described = |(media, schema): &(&str, &str)| {
        let described = if schema.is_empty() { json!({}) } else { json!({"schema": reference(schema)}) };
        ((*media).to_owned(), described)
    };
    of.iter().map(described).collect()
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// The answers, and the errors by their status with the codes that each may have.
fn responses(operation: &Operation) -> Map<String, Value> {
    let mut responses: Map<String, Value> = Map::new();
    for Answer { status, meaning, content: of } in operation.answers {
        let mut response = json!({"description": meaning});
        if let (Some(members), false) = (response.as_object_mut(), of.is_empty()) {
            members.insert("content".to_owned(), content(of).into());
        }
        responses.insert((*status).to_owned(), response);
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in operation.codes.iter().copied().chain([ANY]).flatten() {
        by_status.entry(code.status()).or_default().push(*code);
    }
    for (status, mut codes) in by_status {
        codes.sort_unstable();
        codes.dedup();
        let words: Vec<&str> = codes.iter().map(|code| code.word()).collect();
        let meanings: Vec<String> =
            codes.iter().map(|code| format!("`{}`: {}", code.word(), code.meaning())).collect();
        let schema = json!({
            "allOf": [reference("Problem"), {"properties": {"code": {"enum": words}, "status": {"const": status}}}],
        });
        let content = json!({"application/problem+json": {"schema": schema}});
        responses.insert(status.to_string(), json!({"description": meanings.join(" "), "content": content}));
    }
    responses
}

fn parameters(path: &str, operation: &Operation, place: &Place<'_>) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = names.map(|name| {
        let schema = json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"});
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let in_query = operation.parameters.iter().filter(|parameter| place.has(parameter)).map(|parameter| {
        let Parameter { name, meaning, .. } = parameter;
        json!({"name": name, "in": "query", "description": meaning, "schema": schema(parameter, place),
               "allowEmptyValue": parameter.shape == Shape::Empty})
    });
    let in_header = operation.headers.iter().map(|(name, meaning)| {
        json!({"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}})
    });
    in_path.chain(in_query).chain(in_header).collect()
}

fn schema(parameter: &Parameter, place: &Place<'_>) -> Value {
    match (parameter.name, place.offer) {
        ("format", Some(offer)) => return json!({"type": "string", "enum": offer.formats}),
        ("type", Some(offer)) => return json!({"type": "string", "examples": offer.types}),
        _ => {}
    }
    match parameter.shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Shape::Number => json!({"type": "integer", "minimum": 1}),
        Shape::Time => json!({"type": "string", "format": "date-time"}),
        Shape::Truth => json!({"type": "boolean"}),
        Shape::Empty => json!({"type": "string", "maxLength": 0}),
    }
}

/// All schemas; the codes of problems are those of [`Code`].
fn schemas() -> Value {
    let mut schemas: Value = serde_json::from_str(SCHEMAS).expect("a test reads it");
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.word()).collect();
    if let Some(code) = schemas.pointer_mut("/Problem/properties/code") {
        *code = json!({"type": "string", "enum": codes});
    }
    schemas
}

#[cfg(test)]
mod tests {
    use super::super::route::Route;
    use super::super::table::Methods;
    use super::*;
    use std::collections::BTreeSet;

    fn paths(offers: &[Offer]) -> Map<String, Value> {
        let mut document: Value = serde_json::from_slice(&document(offers)).expect("JSON");
        document["paths"].as_object_mut().map(std::mem::take).expect("an object")
    }

    // The document and the router cannot drift apart: every path of the table is a route with that pattern and these
    // methods, and every kind of route is a path of the table.
    #[test]
    fn operations_are_the_routes() {
        let mut found = BTreeSet::new();
        for operation in OPERATIONS {
            let path = operation.path.replace("{root}", "r").replace("{view}", "v").replace("{name}", "p");
            let route = Route::parse(&path).expect(operation.path);
            assert_eq!(route.pattern(), operation.path);
            let method = operation.method.to_uppercase().parse().expect("a method");
            assert!(Methods::of(route.pattern()).has(&method), "{method} {path}");
            found.insert(operation.path);
        }
        assert_eq!(found, Route::patterns(), "every route is in the table");
        assert_eq!(paths(&[]).keys().map(String::as_str).collect::<BTreeSet<_>>(), found);
    }

    // Every schema that is referred to is there, and the other way round.
    #[test]
    fn schemas_are_all_used() {
        let text = String::from_utf8(document(&[]).to_vec()).expect("UTF-8");
        let used: BTreeSet<&str> =
            text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let schemas = schemas();
        let there: BTreeSet<&str> =
            schemas.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(used, there);
    }

    // What plugins offer stands there by name, with the parameters that mean something for it.
    #[test]
    fn what_plugins_offer_is_there_by_name() {
        let view =
            |name: &str, is_ordered, is_report| Offered { name: name.to_owned(), is_ordered, is_report };
        let offer = Offer {
            root: "shed".to_owned(),
            types: vec!["opened".to_owned()],
            formats: vec!["doors".to_owned()],
            views: vec![view("sum", false, false), view("last", true, false), view("told", false, true)],
        };
        let paths = paths(&[offer]);
        let names = |path: &str| -> Vec<String> {
            let parameters = paths[path]["get"]["parameters"].as_array().expect("parameters");
            let query = parameters.iter().filter(|parameter| parameter["in"] == "query");
            query.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
        };
        assert_eq!(names("/shed/sum").len(), 11);
        assert_eq!(names("/shed/last").join(" "), "key prefix limit cursor at known changes digest");
        assert_eq!(names("/shed/told").join(" "), "key prefix limit cursor at from to known");
        assert_eq!(paths["/shed/e"]["post"]["parameters"][1]["schema"]["enum"], json!(["doors"]));
        assert!(paths.contains_key("/shed") && paths.contains_key("/shed/e/changes"));
    }
}
