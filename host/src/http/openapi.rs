//! The interface as an `OpenAPI` 3.1 document, built from one table of operations.
//!
//! A test walks the table: every operation is a route that has its method, and every route is in the table.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// One operation: how it is asked, and what it answers.
struct Operation {
    /// The path with its names open, as [`Route::pattern`](super::route::Route::pattern) writes it.
    path: &'static str,
    /// `get`, `post` or `delete`.
    method: &'static str,
    /// What it does, in a line.
    summary: &'static str,
    /// Query parameters: name, JSON type (`array` may be repeated), meaning.
    parameters: &'static [(&'static str, &'static str, &'static str)],
    /// Media types of the request body.
    bodies: &'static [&'static str],
    /// Statuses that are not errors, with their meaning.
    answers: &'static [(&'static str, &'static str)],
    /// The media type of the answer.
    media_type: &'static str,
}

const JSON: &str = "application/json";

/// Parameters that narrow a feed.
const FEED: &[(&str, &str, &str)] = &[
    ("vv", "array", "What the caller knows, as earlier answers gave it; repeated means the union."),
    ("cursor", "string", "Where the walk goes on, from the page before."),
    ("limit", "integer", "At most so many events a page."),
    ("max_bytes", "integer", "At most about so many bytes a page."),
    ("from", "string", "Only events at or after this time, RFC 3339."),
    ("to", "string", "Only events before this time, RFC 3339."),
    ("type", "string", "Only events of this type, by name or number."),
];

/// Parameters of a view.
const VIEW: &[(&str, &str, &str)] = &[
    ("key", "array", "The aggregate key; repeated for the parts of a composite key. Without it, a list."),
    ("prefix", "array", "List only keys that begin with these parts."),
    ("limit", "integer", "At most so many items a page."),
    ("cursor", "string", "Where the list goes on, from the page before."),
    ("at", "string", "Only events at or before this time count, RFC 3339."),
    ("from", "string", "Only events at or after this time count, RFC 3339."),
    ("to", "string", "Only events before this time count, RFC 3339."),
    ("known", "string", "Answer as this replica knew it at this time, or at this version vector."),
    ("group", "integer", "Merge over the first so many parts of the key."),
    (
        "changes",
        "string",
        "The view's changes as server-sent events, behind this id or, without one, from now on.",
    ),
    ("digest", "boolean", "A digest of all that the view says, to compare with another replica's."),
];

const OK: &[(&str, &str)] = &[("200", "The answer.")];

/// A route that is read without parameters.
const fn read(path: &'static str, summary: &'static str) -> Operation {
    Operation { path, method: "get", summary, parameters: &[], bodies: &[], answers: OK, media_type: JSON }
}

const OPERATIONS: &[Operation] = &[
    read("/{root}", "The root's event count, views, types, origin and version vector."),
    Operation {
        parameters: FEED,
        ..read(
            "/{root}/e",
            "One page of the events that the caller does not know; live with Accept: text/event-stream.",
        )
    },
    Operation {
        method: "post",
        parameters: &[
            ("atomic", "boolean", "All or nothing (default), or refuse bad events one by one."),
            ("format", "string", "The format whose Schema reads the body."),
            ("dry_run", "boolean", "Check everything and answer as if it were written, but write nothing."),
        ],
        bodies: &[JSON, "application/x-ndjson", "application/vnd.laterbase.events"],
        answers: &[
            ("201", "At least one event was written; all of them are durable."),
            ("200", "Nothing was written: every event was known or, with atomic=false, refused."),
        ],
        ..read("/{root}/e", "Write one or more events.")
    },
    Operation {
        method: "post",
        bodies: &[JSON],
        ..read("/{root}/e/changes", "The feed, with its parameters as members of a JSON object.")
    },
    Operation {
        parameters: VIEW,
        answers: &[("200", "The answer."), ("304", "The answer is the one named in If-None-Match.")],
        ..read("/{root}/{view}", "One answer, or a page of the list, of a view or report.")
    },
    read("/_/livez", "Whether the process answers at all."),
    read("/_/readyz", "Whether requests are served now."),
    Operation { media_type: "text/plain", ..read("/_/metrics", "All metrics, in the format of Prometheus.") },
    read("/_/roots", "All roots."),
    read("/_/plugins", "All plugins: generation, views, progress, last error."),
    Operation {
        method: "post",
        parameters: &[("wait", "boolean", "Answer when the new generation serves (default), or at once.")],
        answers: &[
            ("200", "The new generation serves all its views, or the file is unchanged."),
            ("202", "The new generation is being built."),
        ],
        ..read("/_/plugins/{name}/reload", "Load a plugin's file anew.")
    },
    Operation {
        method: "delete",
        answers: &[("200", "No reload is under way any more; `generation` serves.")],
        ..read("/_/plugins/{name}/reload", "Give a plugin's reload up.")
    },
    read("/_/peers", "How it stands with every peer: connected, to pull, to push, last error."),
    Operation {
        method: "post",
        bodies: &["application/vnd.laterbase.sync"],
        media_type: "application/vnd.laterbase.sync",
        ..read("/_/sync/{root}", "A frame between replicas (FORMAT.md); for servers, not for clients.")
    },
    read("/_/verify/{root}", "How it stands with the last check of a root's rows, and what it found."),
    Operation {
        method: "post",
        bodies: &[JSON],
        answers: &[("202", "The check has begun.")],
        ..read(
            "/_/verify/{root}",
            "Check a root's rows; with the member peer, compare it with that replica, too.",
        )
    },
    read("/_/openapi.json", "This document."),
];

/// The document.
pub(super) fn document() -> Bytes {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = item.as_object_mut() {
            methods.insert(operation.method.to_owned(), describe(operation));
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {"title": "Laterbase", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": {"Problem": problem()}},
    });
    Bytes::from(document.to_string())
}

fn describe(operation: &Operation) -> Value {
    let mut answers: Map<String, Value> = operation
        .answers
        .iter()
        .map(|(status, meaning)| {
            let content = json!({operation.media_type: {}});
            ((*status).to_owned(), json!({"description": meaning, "content": content}))
        })
        .collect();
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    let content = json!({"application/problem+json": {"schema": schema}});
    answers.insert("default".to_owned(), json!({"description": "An error.", "content": content}));
    let mut described = json!({
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": answers,
    });
    if let (Some(members), false) = (described.as_object_mut(), operation.bodies.is_empty()) {
        let content: Map<String, Value> =
            operation.bodies.iter().map(|body| ((*body).to_owned(), json!({}))).collect();
        members.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let names = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = operation.parameters.iter().map(|(name, kind, meaning)| {
        let schema = match *kind {
            "array" => json!({"type": "array", "items": {"type": "string"}}),
            kind => json!({"type": kind}),
        };
        json!({"name": name, "in": "query", "description": meaning, "schema": schema})
    });
    in_path.chain(in_query).collect()
}

/// The shape of every error; the list of codes is the one of [`Code`](crate::problem::Code).
fn problem() -> Value {
    let codes: Vec<&str> = crate::problem::Code::ALL.iter().map(|code| code.word()).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": codes},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::route::{Methods, Route};
    use super::*;

    // The document and the routes cannot drift apart: each operation is asked of the router, and counted.
    #[test]
    fn operations_are_the_routes() {
        let mut counted = 0;
        for operation in OPERATIONS {
            let path = operation.path.replace("{root}", "r").replace("{view}", "v").replace("{name}", "p");
            let route = Route::parse(&path).expect(operation.path);
            assert_eq!(route.pattern(), operation.path);
            let method = operation.method.to_uppercase().parse().expect("a method");
            assert!(route.methods().has(&method), "{method} {path}");
            counted += if matches!(route.methods(), Methods::GetPost | Methods::PostDelete) { 1 } else { 2 };
        }
        assert_eq!(counted, 2 * 14, "fourteen routes, each method of each in the table once");
        let document: Value = serde_json::from_slice(&document()).expect("JSON");
        assert_eq!(document["paths"].as_object().map(Map::len), Some(14));
        assert_eq!(document["paths"]["/{root}/e"]["post"]["responses"]["201"]["content"][JSON], json!({}));
    }
}
