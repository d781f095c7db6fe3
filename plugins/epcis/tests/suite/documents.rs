//! Published test vectors of the CBV 2.0 event hash, and other people's EPCIS documents. They are not part of this
//! project: `LATERBASE_EPCIS_DOCUMENTS` names their folder, and `documents.json` beside it says what to expect.

use crate::support::events;
use epcis::hash::{event_hash, prehash};
use epcis::json::Node;
use std::path::{Path, PathBuf};

struct Document {
    file: String,
    expected: serde_json::Value,
    text: String,
}

/// The documents and what is expected of them; none, and a word about it, without the environment variable.
fn documents() -> Vec<Document> {
    let Some(folder) = std::env::var_os("LATERBASE_EPCIS_DOCUMENTS").map(PathBuf::from) else {
        println!("skipped: LATERBASE_EPCIS_DOCUMENTS does not name the folder of the published documents");
        return Vec::new();
    };
    let root = folder.parent().unwrap_or(Path::new("."));
    let list =
        std::fs::read_to_string(root.join("documents.json")).expect("documents.json lies beside the folder");
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).expect("a list of documents");
    assert!(!list.is_empty());
    list.into_iter()
        .map(|expected| {
            let file = expected["file"].as_str().expect("a file name").to_owned();
            let text = std::fs::read_to_string(root.join(&file)).expect("a listed document");
            Document { file, expected, text }
        })
        .collect()
}

/// Hashes that the reference implementation computes otherwise than it should, by file and index: it reads a text of
/// 24 digits as a floating point number, the last of which it invents; and it fills in a date from today's.
const EXCEPT: [(&str, usize); 2] = [
    ("documents/openepcis/Query__SensorData_with_combined_events.json", 6),
    ("documents/openepcis/Capture__Invalid__ObjectEvent_with_invalid_eventTime_format.json", 0),
];

// Goal: the hash of every event of every published document, valid or not, equals the reference's.
// Method: over the documents as written; `ignoreFields` is a private convention of one vector.
#[test]
fn hashes() {
    let mut failures = Vec::new();
    let mut compared = 0;
    for Document { file, expected, text } in documents() {
        let Some(hashes) = expected["hashes"].as_array() else { continue };
        let document = Node::parse(&text).expect("a JSON document");
        let (events, context) = events(&document);
        let ignored = document.get("epcisBody").and_then(|b| b.get("queryResults"));
        let ignored = ignored.and_then(|q| q.get("repository-x:ignoreFields")).cloned();
        assert_eq!(events.len(), hashes.len(), "{file}");
        for (at, (event, hash)) in events.into_iter().zip(hashes).enumerate() {
            let mut event = event.clone();
            if let (Node::Object(members), Some(Node::List(ignored))) = (&mut event, &ignored) {
                members.retain(|(name, _)| ignored.iter().all(|other| other.text() != Some(name)));
            }
            if EXCEPT.contains(&(file.as_str(), at)) {
                continue;
            }
            let text = prehash(&event, &context);
            compared += 1;
            if event_hash(&text) != hash.as_str().unwrap() {
                failures.push(format!("{file} {at}\n   ours {text}\n theirs {}", expected["prehashes"][at]));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared} differ:\n{}", failures.len(), failures.join("\n"));
    println!("{compared} hashes compared");
}

/// Documents that GS1's schema refuses and this plugin takes: the schema allows `persistentDisposition` in four of the
/// five types of events, the standard in all.
const TAKEN: &str =
    "documents/openepcis/Capture__Documents__AggregationEvent_with_persistentDisposition.json";

// Goal: documents that conform to GS1's schema are taken whole; of the others at least one event is refused. The hash
// of the stored form is that of the event as written.
#[test]
fn verdicts() {
    for Document { file, expected, text } in documents() {
        let verdicts = epcis::intake::read("application/json", text.as_bytes()).expect("a document");
        let refused: Vec<_> = verdicts.iter().filter_map(|verdict| verdict.as_ref().err()).collect();
        assert_eq!(
            refused.is_empty(),
            expected["schema_valid"] == true || file == TAKEN,
            "{file}: {refused:?}"
        );
        let document = Node::parse(&text).expect("a JSON document");
        let (events, context) = events(&document);
        for (event, verdict) in events.into_iter().zip(&verdicts) {
            if let Ok(row) = verdict {
                assert_eq!(row.id, event_hash(&prehash(event, &context)), "{file}");
                let again = epcis::intake::read("application/json", &row.data).expect("JSON");
                let row = laterbase_plugin::IntakeRow { pointer: String::new(), ..row.clone() };
                assert_eq!(again, [Ok(row)], "{file}");
            }
        }
    }
}
