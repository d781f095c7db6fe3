//! What the tests share: the generated data, and documents as lists of events.

use epcis::context::Context;
use epcis::json::Node;
use std::io::Read;
use std::path::PathBuf;

/// A file of `tests/data`, unpacked if its name ends in `.gz`.
pub fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    if name.ends_with(".gz") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("our own gzip");
    } else {
        text = String::from_utf8(bytes).expect("our own text");
    }
    text
}

/// The events of a document and the prefixes that it declares.
pub fn events<'n, 'a>(document: &'n Node<'a>) -> (Vec<&'n Node<'a>>, Context<'a>) {
    let context = document.get("@context").map(|c| Context::default().with(c)).unwrap_or_default();
    let body = document.get("epcisBody");
    let results = body.and_then(|b| b.get("queryResults")).and_then(|q| q.get("resultsBody"));
    let list = results.or(body).and_then(|b| b.get("eventList"));
    let events = match list {
        Some(Node::List(events)) => events.iter().collect(),
        _ => body.and_then(|b| b.get("event")).or(Some(document)).into_iter().collect(),
    };
    (events, context)
}
