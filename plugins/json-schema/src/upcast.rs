//! From one version of an event type to the next: members move, go, and get defaults.
//!
//! Every step is total. Stored events never change, and those of other replicas may be of any shape, so what a step
//! does not find it leaves alone.

use crate::declare::StepConfig;
use crate::tree::{DEPTH_MAX, Pointer, Tree};
use laterbase_plugin::Refusal;

/// One step, checked.
#[derive(Debug)]
pub struct Step {
    renames: Vec<(Pointer, Pointer)>,
    drops: Vec<Pointer>,
    defaults: Vec<(Pointer, Tree)>,
}

impl Step {
    /// The step that `config` declares; `place` is where it stands in the configuration.
    pub fn new(config: &StepConfig, place: &str) -> Result<Self, Refusal> {
        let read = |text: &str, member: &str| {
            let fault = |fault| Refusal::at(format!("{place}/{member}"), format!("{text:?}: {fault}"));
            text.parse::<Pointer>().map_err(fault)
        };
        let rename = |(from, to): (&String, &String)| Ok((read(from, "rename")?, read(to, "rename")?));
        let default = |(at, value): (&String, &serde_json::Value)| {
            let json = value.to_string();
            let tree = Tree::parse(json.as_bytes(), DEPTH_MAX)
                .map_err(|fault| Refusal::at(format!("{place}/default"), fault.to_string()))?;
            Ok((read(at, "default")?, tree))
        };
        let step = Self {
            renames: config.rename.iter().map(rename).collect::<Result<_, Refusal>>()?,
            drops: config.drop.iter().map(|text| read(text, "drop")).collect::<Result<_, _>>()?,
            defaults: config.default.iter().map(default).collect::<Result<_, Refusal>>()?,
        };
        step.check().map_err(|what| Refusal::at(place, format!("contradictory_upcast: {what}")))?;
        Ok(step)
    }

    /// No member is meant twice.
    fn check(&self) -> Result<(), String> {
        let sources: Vec<&Pointer> = self.renames.iter().map(|(from, _)| from).chain(&self.drops).collect();
        let targets: Vec<&Pointer> =
            self.renames.iter().map(|(_, to)| to).chain(self.defaults.iter().map(|(at, _)| at)).collect();
        for (kind, places) in [("is taken from twice", &sources), ("is written to twice", &targets)] {
            for (at, one) in places.iter().enumerate() {
                let others = places.iter().enumerate().filter(|(other, _)| *other != at);
                if let Some((_, other)) = others.into_iter().find(|(_, other)| one.holds(other)) {
                    return Err(format!("{other} {kind}"));
                }
            }
        }
        let both = self.drops.iter().find(|drop| targets.iter().any(|to| drop.holds(to) || to.holds(drop)));
        both.map_or(Ok(()), |both| Err(format!("{both} is dropped and written to")))
    }

    /// Rewrites `data`.
    pub fn apply(&self, data: &mut Tree) {
        // All are taken before the first is put, so that names can be exchanged.
        let mut moved = Vec::new();
        for (from, to) in &self.renames {
            if to.has_place(data)
                && let Some(value) = from.take(data)
            {
                moved.push((to, value));
            }
        }
        for (to, value) in moved {
            to.put(data, value);
        }
        for drop in &self.drops {
            drop.take(data);
        }
        for (at, value) in &self.defaults {
            if at.of(data).is_none() {
                at.put(data, value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(config: serde_json::Value) -> Result<Step, Refusal> {
        Step::new(&serde_json::from_value(config).expect("a step"), "/upcasts/0")
    }

    fn upcast(config: serde_json::Value, data: &str) -> String {
        let mut tree = Tree::parse(data.as_bytes(), DEPTH_MAX).expect("JSON");
        step(config).expect("sound").apply(&mut tree);
        tree.json()
    }

    // Goal: the three kinds, their order, and that numbers keep their digits.
    #[test]
    fn moves_drops_and_defaults() {
        let config = json!({
            "rename": {"/kg": "/load/weight", "/a": "/b", "/b": "/a"},
            "drop": ["/note"],
            "default": {"/site": "north", "/load/unit": "kg"},
        });
        let data = r#"{"kg":1.10,"a":1,"b":2,"note":"x","site":"south"}"#;
        let expected = r#"{"site":"south","b":1,"a":2,"load":{"weight":1.10,"unit":"kg"}}"#;
        let sorted = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        let got = upcast(config.clone(), data);
        assert!(got.contains("1.10"), "{got}");
        assert_eq!(sorted(&got), sorted(expected));
        assert_eq!(upcast(config.clone(), "[7]"), "[7]");
        assert_eq!(
            sorted(&upcast(config, r#"{"kg":1,"load":3}"#)),
            sorted(r#"{"kg":1,"load":3,"site":"north"}"#)
        );
    }

    // Goal: a step that says two things about one member is refused by name.
    #[test]
    fn contradictions() {
        for (config, what) in [
            (json!({"rename": {"/a": "/b", "/a/c": "/d"}}), "/a/c is taken from twice"),
            (json!({"rename": {"/a": "/b", "/c": "/b"}}), "/b is written to twice"),
            (json!({"rename": {"/a": "/b"}, "default": {"/b": 1}}), "/b is written to twice"),
            (json!({"drop": ["/a"], "rename": {"/a": "/b"}}), "/a is taken from twice"),
            (json!({"drop": ["/a"], "default": {"/a": 1}}), "/a is dropped and written to"),
        ] {
            let refusal = step(config).expect_err(what);
            assert_eq!(refusal, Refusal::at("/upcasts/0", format!("contradictory_upcast: {what}")));
        }
        let refusal = step(json!({"drop": ["a"]})).expect_err("no pointer");
        assert!(refusal.message.contains("bad_pointer"), "{refusal}");
    }
}
