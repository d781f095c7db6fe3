//! Which parts of a schema look at which values: finds references that never end, and bounds the work that one event
//! can cause.
//!
//! A part looks at the same value through `$ref`, `allOf` and the like (in place), and at the values inside through
//! `properties`, `items` and the like. A circle of parts in place would never end. A circle through inner values ends
//! with the data, but where a part leads to itself twice the work doubles with each level; so it is counted how deep
//! data may be for a bounded number of looks at any one value.

use crate::schemas::{parsed, reference};
use crate::tree::DEPTH_MAX;
use referencing::{Draft, Registry, Resolver, ResourceRef};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Looks at one value and those that it lies in, at most.
const LOOKS_MAX: u64 = 50_000;
/// Parts of all schemas that one reaches, at most.
const PARTS_MAX: usize = 100_000;

/// A schema or part of one.
#[derive(Debug, Default)]
struct Part {
    /// Parts that look at the same value.
    in_place: Vec<usize>,
    /// Of each list at most one part looks at an inner value.
    one_of: Vec<Vec<usize>>,
    /// It looks a second time, to see what no other keyword has looked at.
    twice: bool,
    /// The place, for people.
    place: String,
}

/// All parts that a schema reaches; the first is itself.
#[derive(Debug)]
pub struct Graph {
    parts: Vec<Part>,
    ways: u64,
}

/// How a keyword uses the schemas in its value.
enum Use {
    InPlace,
    /// Each for inner values of its own.
    Apart,
    /// Each for any inner values.
    Any,
}

/// A part that is found but not looked into yet.
struct Found<'r> {
    index: usize,
    json: &'r Value,
    resolver: Resolver<'r>,
    draft: Draft,
}

/// Finds the parts.
#[derive(Default)]
struct Search<'r> {
    parts: Vec<Part>,
    /// By their addresses: the registry holds each once.
    known: BTreeMap<usize, usize>,
    open: Vec<Found<'r>>,
    ways: u64,
}

impl Graph {
    /// What the schema `uri` reaches.
    pub fn new(registry: &Registry<'static>, uri: &str) -> Result<Self, String> {
        let resolver = registry.resolver(parsed(uri)?);
        let root = resolver.lookup("").map_err(|error| reference(&error))?;
        let (json, resolver, draft) = root.into_inner();
        let mut search = Search { ways: 1, ..Search::default() };
        search.add(json, &resolver, draft, "#".to_owned())?;
        while let Some(found) = search.open.pop() {
            search.look_into(&found)?;
        }
        Ok(Self { parts: search.parts, ways: search.ways })
    }

    /// How many parts there are.
    pub fn count(&self) -> usize {
        self.parts.len()
    }

    /// In how many ways its alternatives could be combined, at most.
    pub fn ways(&self) -> u64 {
        self.ways
    }

    /// How many objects and lists of data may lie within each other.
    pub fn depth_max(&self) -> Result<usize, String> {
        let order = self.in_order()?;
        let mut inner = vec![0_u64; self.parts.len()];
        for depth in 0..=DEPTH_MAX {
            let looks = self.looks(&order, &inner);
            if looks.first().is_some_and(|looks| *looks > LOOKS_MAX) {
                return match depth {
                    0..=2 => Err(format!("too_large: it looks at one value more than {LOOKS_MAX} times")),
                    _ => Ok(depth - 1),
                };
            }
            inner = looks;
        }
        Ok(DEPTH_MAX)
    }

    /// The parts so that those in place come first, if that is possible.
    fn in_order(&self) -> Result<Vec<usize>, String> {
        let mut waiting: Vec<usize> = self.parts.iter().map(|part| part.in_place.len()).collect();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); self.parts.len()];
        for (at, part) in self.parts.iter().enumerate() {
            for used in &part.in_place {
                users.get_mut(*used).expect("an index of a part").push(at);
            }
        }
        let mut order: Vec<usize> =
            waiting.iter().enumerate().filter(|(_, waits)| **waits == 0).map(|(at, _)| at).collect();
        let mut next = 0;
        while let Some(done) = order.get(next).copied() {
            next += 1;
            for user in users.get(done).into_iter().flatten() {
                let waits = waiting.get_mut(*user).expect("an index of a part");
                *waits -= 1;
                if *waits == 0 {
                    order.push(*user);
                }
            }
        }
        let endless = waiting.iter().position(|waits| *waits > 0);
        match endless.and_then(|at| self.parts.get(at)) {
            Some(part) => {
                Err(format!("endless_ref: {} leads to itself and looks at the same value", part.place))
            }
            None => Ok(order),
        }
    }

    /// How many looks each part takes at one value and those in it, if inner values take `inner`.
    fn looks(&self, order: &[usize], inner: &[u64]) -> Vec<u64> {
        let mut looks = vec![0_u64; self.parts.len()];
        for at in order {
            let part = self.parts.get(*at).expect("an index of a part");
            let of = |all: &[u64], at: &usize| all.get(*at).copied().unwrap_or(0);
            let in_place = part.in_place.iter().map(|used| of(&looks, used));
            let one_of =
                part.one_of.iter().map(|list| list.iter().map(|used| of(inner, used)).max().unwrap_or(0));
            let sum = in_place.chain(one_of).fold(1, u64::saturating_add);
            let sum = if part.twice { sum.saturating_mul(2) } else { sum };
            *looks.get_mut(*at).expect("an index of a part") = sum;
        }
        looks
    }
}

impl<'r> Search<'r> {
    /// The index of a part.
    fn add(
        &mut self,
        json: &'r Value,
        resolver: &Resolver<'r>,
        draft: Draft,
        place: String,
    ) -> Result<usize, String> {
        let address = std::ptr::from_ref(json).addr();
        if let Some(index) = self.known.get(&address) {
            return Ok(*index);
        }
        let index = self.parts.len();
        if index >= PARTS_MAX {
            return Err(format!("too_large: it has more than {PARTS_MAX} parts"));
        }
        let resolver = resolver.in_subresource(ResourceRef::new(json, draft));
        let resolver = resolver.map_err(|error| reference(&error))?;
        self.known.insert(address, index);
        self.parts.push(Part { place, ..Part::default() });
        self.open.push(Found { index, json, resolver, draft });
        Ok(index)
    }

    fn look_into(&mut self, found: &Found<'r>) -> Result<(), String> {
        let Value::Object(keywords) = found.json else { return Ok(()) };
        for (keyword, value) in keywords {
            let ways = match (keyword.as_str(), value) {
                ("anyOf" | "oneOf", Value::Array(any)) => any.len() as u64,
                ("if", _) => 2,
                (_, _) => 1,
            };
            self.ways = self.ways.saturating_mul(ways);
            match keyword.as_str() {
                "$ref" => self.follow(found, value)?,
                "$dynamicRef" | "$recursiveRef" => {
                    let place =
                        self.parts.get(found.index).map(|part| part.place.as_str()).unwrap_or_default();
                    return Err(format!(
                        "dynamic_ref: {place} has {keyword}, which is not read here: use $ref"
                    ));
                }
                "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" | "dependentSchemas"
                | "dependencies" => self.use_all(found, keyword, value, &Use::InPlace)?,
                "properties" | "prefixItems" => self.use_all(found, keyword, value, &Use::Apart)?,
                "patternProperties"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "additionalItems"
                | "unevaluatedItems"
                | "contains"
                | "propertyNames" => {
                    self.use_all(found, keyword, value, &Use::Any)?;
                }
                "items" => {
                    let how = if value.is_array() { Use::Apart } else { Use::Any };
                    self.use_all(found, keyword, value, &how)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn follow(&mut self, found: &Found<'r>, to: &'r Value) -> Result<(), String> {
        let Value::String(to) = to else { return Ok(()) };
        let target = found.resolver.lookup(to).map_err(|error| reference(&error))?;
        let (json, resolver, draft) = target.into_inner();
        let used = self.add(json, &resolver, draft, to.clone())?;
        self.part(found).in_place.push(used);
        Ok(())
    }

    /// Adds the schemas in the value of a keyword: one, a list, or members of an object.
    fn use_all(
        &mut self,
        found: &Found<'r>,
        keyword: &str,
        value: &'r Value,
        how: &Use,
    ) -> Result<(), String> {
        let place = format!("{}/{keyword}", self.part(found).place);
        let listed: Vec<(&'r Value, String)> = match value {
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, item)| (item, format!("{place}/{at}"))).collect()
            }
            Value::Object(members) if is_map(keyword) => named(members, &place),
            Value::Object(_) | Value::Bool(_) => vec![(value, place)],
            Value::Null | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        let mut used = Vec::new();
        for (json, place) in listed {
            used.push(self.add(json, &found.resolver, found.draft, place)?);
        }
        let part = self.part(found);
        part.twice |= keyword.starts_with("unevaluated");
        match how {
            Use::InPlace => part.in_place.extend(used),
            Use::Apart => part.one_of.push(used),
            Use::Any => part.one_of.extend(used.into_iter().map(|used| vec![used])),
        }
        Ok(())
    }

    fn part(&mut self, found: &Found<'r>) -> &mut Part {
        self.parts.get_mut(found.index).expect("a part that was added")
    }
}

/// Keywords whose value has a schema under each name.
fn is_map(keyword: &str) -> bool {
    matches!(keyword, "properties" | "patternProperties" | "dependentSchemas" | "dependencies")
}

fn named<'r>(members: &'r Map<String, Value>, place: &str) -> Vec<(&'r Value, String)> {
    let schemas = members.iter().filter(|(_, value)| value.is_object() || value.is_boolean());
    schemas.map(|(name, value)| (value, format!("{place}/{name}"))).collect()
}
