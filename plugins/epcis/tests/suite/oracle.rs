//! What the Reports have to say, by plain code: the events one after the other, in the order of their keys.
//!
//! It has no notion of states, deltas or merging, and moves the children of a parent one by one.

use laterbase_plugin::testing::TestEvent;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where everything is, and in what, after the events so far.
#[derive(Default)]
pub(crate) struct Oracle {
    own: BTreeMap<String, (i64, Value)>,
    parent: BTreeMap<String, String>,
}

impl Oracle {
    /// Walks the events up to `until`, in milliseconds; those that are declared wrong are left out.
    pub(crate) fn of(events: &[TestEvent], until: i64) -> Self {
        let read = |event: &TestEvent| serde_json::from_slice::<Value>(&event.data).expect("JSON");
        let events: BTreeMap<_, _> = events.iter().map(|event| (event.key, read(event))).collect();
        let bare = |event: &Value| {
            let mut event = event.clone();
            let members = event.as_object_mut().expect("an object");
            members.remove("errorDeclaration");
            members.remove("eventID");
            event.to_string()
        };
        let declared = |event: &&Value| event.get("errorDeclaration").is_some();
        let wrong: BTreeSet<String> = events.values().filter(declared).map(bare).collect();
        let mut oracle = Self::default();
        for (key, event) in &events {
            if key.time().millis() <= until && !wrong.contains(&bare(event)) {
                oracle.take(key.time().millis(), event);
            }
        }
        oracle
    }

    fn take(&mut self, time: i64, event: &Value) {
        let list = |name: &str| -> Vec<String> {
            event
                .get(name)
                .map(|list| serde_json::from_value(list.clone()).expect("texts"))
                .unwrap_or_default()
        };
        let items: Vec<String> =
            ["epcList", "childEPCs", "outputEPCList"].into_iter().flat_map(list).collect();
        let location = event.get("bizLocation").map_or(Value::Null, |place| place["id"].clone());
        let parent = event.get("parentID").and_then(Value::as_str);
        if let (Some("AggregationEvent"), Some(parent)) = (event["type"].as_str(), parent) {
            let inside =
                self.parent.iter().filter(|(_, holder)| *holder == parent).map(|(child, _)| child.clone());
            let inside: Vec<String> = inside.collect();
            match event["action"].as_str() {
                Some("ADD") => {
                    let packed = items.iter().map(|child| (child.clone(), parent.to_owned()));
                    self.parent.extend(packed);
                }
                Some("DELETE") if items.is_empty() => {
                    for child in inside {
                        self.parent.remove(&child);
                        self.own.insert(child, (time, location.clone()));
                    }
                }
                Some("DELETE") => {
                    for child in inside.iter().filter(|child| items.contains(child)) {
                        self.parent.remove(child);
                    }
                }
                _ => {}
            }
        }
        for epc in items.into_iter().chain(parent.map(str::to_owned)) {
            self.own.insert(epc, (time, location.clone()));
        }
    }

    /// What each thing is in.
    pub(crate) fn parents(&self) -> BTreeMap<String, Value> {
        self.parent.iter().map(|(child, parent)| (child.clone(), json!(parent))).collect()
    }

    /// Where each thing is.
    pub(crate) fn places(&self) -> BTreeMap<String, Value> {
        let place = |epc: &String| {
            let (mut newest, mut above) = (&self.own[epc], epc);
            while let Some(parent) = self.parent.get(above) {
                above = parent;
                newest = if self.own[parent].0 > newest.0 { &self.own[parent] } else { newest };
            }
            json!([newest.1, newest.0])
        };
        self.own.keys().map(|epc| (epc.clone(), place(epc))).collect()
    }
}
