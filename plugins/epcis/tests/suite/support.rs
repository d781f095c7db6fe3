//! What the tests share: the generated data, and documents as lists of events.

use epcis::context::Context;
use epcis::json::Node;
use laterbase_plugin::testing::{Bench, TestEvent};
use laterbase_plugin::{EventKey, ValidTime};
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::path::PathBuf;

/// A file of `tests/data`, unpacked if its name ends in `.gz`.
pub(crate) fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("our own gzip");
    } else {
        text = String::from_utf8(bytes).expect("our own text");
    }
    text
}

/// The events of a document and the prefixes that it declares.
pub(crate) fn events<'n, 'a>(document: &'n Node<'a>) -> (Vec<&'n Node<'a>>, Context<'a>) {
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

/// A replica in memory: the plugin behind its boundary, events by key, and the plainest view engine.
pub(crate) struct Replica {
    pub(crate) bench: Bench,
    events: BTreeMap<EventKey, TestEvent>,
    pub(crate) duplicates: usize,
}

impl Default for Replica {
    fn default() -> Self {
        let bench = Bench::new(epcis::plugin(), "epcis", "{}").expect("the plugin configures");
        Self { bench, events: BTreeMap::new(), duplicates: 0 }
    }
}

impl Replica {
    /// Takes a body of valid events; an existing key is a duplicate, as the intake declares.
    pub(crate) fn post(&mut self, body: &str) {
        self.post_as("application/x-ndjson", body);
    }

    /// The same of another content type.
    pub(crate) fn post_as(&mut self, content_type: &str, body: &str) {
        let taken = self.bench.intake("epcis", content_type, body.as_bytes()).expect("a readable body");
        for event in taken {
            assert!(event.refused.is_none(), "{} {:?}", event.pointer, event.refused);
            assert!(event.same_key_is_same_event);
            let time = ValidTime(event.time.into_option().expect("a valid time"));
            let key = EventKey::new(time, event.tail.into_option().expect("a tail"));
            let (type_number, version, data) = (event.type_number, event.version, event.data.into_vec());
            if self.events.insert(key, TestEvent { key, type_number, version, data }).is_some() {
                self.duplicates += 1;
            }
        }
    }

    /// How many events it holds.
    pub(crate) fn written(&self) -> usize {
        self.events.len()
    }

    /// All of them, in key order.
    pub(crate) fn events(&self) -> Vec<TestEvent> {
        self.events.values().cloned().collect()
    }

    /// What a View answers for every aggregate.
    pub(crate) fn view(&self, name: &str) -> BTreeMap<String, Value> {
        let answers = self.bench.answers(name, &self.events());
        let answer = |line: String| {
            let (key, json) = line.rsplit_once(' ').expect("a key and a value");
            (key.to_owned(), serde_json::from_str(json).expect("a JSON value"))
        };
        answers.into_iter().map(answer).collect()
    }
}

/// Random numbers whose seed is printed, so that a failure can be repeated with `LATERBASE_TEST_SEED`.
pub(crate) struct Shuffle(u64);

impl Shuffle {
    pub(crate) fn seeded() -> Self {
        let given = std::env::var("LATERBASE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("LATERBASE_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `limit` (splitmix64).
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(x ^ (x >> 31)).expect("64 bits") % limit
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}
