//! Makes up data that fits a schema, as far as that is reasonable: the host tries on it what the views declare.
//!
//! What is made is checked against the whole schema afterwards, so nothing here has to be exact. Where this finds
//! nothing (negations, conditions, rare formats), `examples` in the schema help.

use crate::schemas::parsed;
use laterbase_plugin::Chance;
use referencing::{Draft, Registry, Resolver, ResourceRef};
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Map, Number, Value, json};

/// From this depth on only what must be there is made.
const DEPTH_SPARSE: usize = 4;
/// Deeper than this nothing is made.
const DEPTH_MAX: usize = 16;
/// Times that a repetition without an end is repeated.
const REPEAT_MAX: u32 = 3;
/// The longest text that a pattern makes, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// Makes values.
#[derive(Debug)]
pub struct Maker<'c> {
    chance: &'c mut Chance,
}

/// Where a schema stands: what its references are relative to.
#[derive(Clone)]
struct Place<'r> {
    resolver: Resolver<'r>,
    draft: Draft,
    depth: usize,
}

impl<'c> Maker<'c> {
    /// A maker that decides by `chance`.
    pub fn new(chance: &'c mut Chance) -> Self {
        Self { chance }
    }

    /// A value for the schema `uri`.
    pub fn value(&mut self, registry: &Registry<'static>, uri: &str) -> Option<Value> {
        let (json, resolver, draft) = registry.resolver(parsed(uri).ok()?).lookup("").ok()?.into_inner();
        self.make(json, &Place { resolver, draft, depth: 0 })
    }

    fn make(&mut self, schema: &Value, place: &Place<'_>) -> Option<Value> {
        let keywords = match schema {
            Value::Bool(true) => return Some(self.word().into()),
            Value::Object(keywords) if place.depth <= DEPTH_MAX => keywords,
            Value::Object(_)
            | Value::Bool(false)
            | Value::Null
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => return None,
        };
        let place = Place {
            resolver: place.resolver.in_subresource(ResourceRef::new(schema, place.draft)).ok()?,
            ..place.clone()
        };
        if let Some(only) = keywords.get("const") {
            return Some(only.clone());
        }
        for (list, one_in) in [("enum", 1), ("examples", 3)] {
            if let Some(Value::Array(values)) = keywords.get(list)
                && self.chance.below(one_in) == 0
                && let Some(value) = self.chance.pick(values)
            {
                return Some(value.clone());
            }
        }
        let mut made = self.made_elsewhere(keywords, &place)?;
        let kind = self.kind(keywords);
        if kind.is_some() || made.is_none() {
            let own = self.of_kind(kind.as_deref().unwrap_or("string"), keywords, &place)?;
            made = Some(joined(made, own));
        }
        made
    }

    /// What the schemas make that apply to the same value; none within if there are none.
    #[expect(
        clippy::option_option,
        reason = "nothing can be made, and nothing is to be made, are two things"
    )]
    fn made_elsewhere(&mut self, keywords: &Map<String, Value>, place: &Place<'_>) -> Option<Option<Value>> {
        let mut made = None;
        if let Some(Value::String(to)) = keywords.get("$ref") {
            let (json, resolver, draft) = place.resolver.lookup(to).ok()?.into_inner();
            let there = Place { resolver, draft, depth: place.depth + 1 };
            made = Some(self.make(json, &there)?);
        }
        if let Some(Value::Array(all)) = keywords.get("allOf") {
            for schema in all {
                let value = self.make(schema, place)?;
                made = Some(joined(made, value));
            }
        }
        for list in ["anyOf", "oneOf"] {
            if let Some(Value::Array(any)) = keywords.get(list) {
                let schema = self.chance.pick(any)?;
                let value = self.make(schema, place)?;
                made = Some(joined(made, value));
            }
        }
        Some(made)
    }

    /// The type of what the keywords ask for themselves.
    fn kind(&mut self, keywords: &Map<String, Value>) -> Option<String> {
        match keywords.get("type") {
            Some(Value::String(kind)) => return Some(kind.clone()),
            Some(Value::Array(kinds)) => {
                return self.chance.pick(kinds).and_then(Value::as_str).map(str::to_owned);
            }
            _ => {}
        }
        let has = |words: &[&str]| words.iter().any(|word| keywords.contains_key(*word));
        if has(&["properties", "required", "patternProperties", "additionalProperties"]) {
            Some("object".to_owned())
        } else if has(&["items", "prefixItems", "minItems", "maxItems", "contains"]) {
            Some("array".to_owned())
        } else if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
            Some("number".to_owned())
        } else {
            has(&["minLength", "maxLength", "pattern", "format"]).then(|| "string".to_owned())
        }
    }

    fn of_kind(&mut self, kind: &str, keywords: &Map<String, Value>, place: &Place<'_>) -> Option<Value> {
        let place = Place { depth: place.depth + 1, ..place.clone() };
        match kind {
            "object" => self.object(keywords, &place),
            "array" => self.array(keywords, &place),
            "integer" => Some(self.number(keywords, true)),
            "number" => Some(self.number(keywords, false)),
            "boolean" => Some((self.chance.below(2) == 0).into()),
            "null" => Some(Value::Null),
            _ => self.text(keywords).map(Value::String),
        }
    }

    fn object(&mut self, keywords: &Map<String, Value>, place: &Place<'_>) -> Option<Value> {
        let required = keywords.get("required").and_then(Value::as_array);
        let required: Vec<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        for (name, schema) in keywords.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let must = required.contains(&name.as_str());
            if !must && (place.depth > DEPTH_SPARSE || self.chance.below(3) == 0) {
                continue;
            }
            match self.make(schema, place) {
                Some(value) => drop(object.insert(name.clone(), value)),
                None if must => return None,
                None => {}
            }
        }
        for name in required {
            if !object.contains_key(name) {
                let schema = keywords.get("additionalProperties").unwrap_or(&Value::Bool(true));
                object.insert(name.to_owned(), self.make(schema, place)?);
            }
        }
        Some(object.into())
    }

    fn array(&mut self, keywords: &Map<String, Value>, place: &Place<'_>) -> Option<Value> {
        let size = |word: &str| keywords.get(word).and_then(Value::as_u64);
        let least = size("minItems").unwrap_or(0);
        let more = if place.depth > DEPTH_SPARSE { 0 } else { self.chance.below(3) };
        let count = size("maxItems").map_or(least + more, |most| most.min(least + more)).min(64);
        let first =
            keywords.get("prefixItems").or_else(|| keywords.get("items").filter(|items| items.is_array()));
        let first = first.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let rest = keywords.get("items").filter(|items| !items.is_array()).unwrap_or(&Value::Bool(true));
        let schemas = first.iter().chain(std::iter::repeat(rest)).take(usize::try_from(count).unwrap_or(0));
        let items: Option<Vec<Value>> = schemas.map(|schema| self.make(schema, place)).collect();
        items.map(Value::Array)
    }

    fn number(&mut self, keywords: &Map<String, Value>, whole: bool) -> Value {
        let bound = |word: &str| keywords.get(word).and_then(Value::as_f64);
        let step = if whole { 1.0 } else { 0.25 };
        let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + step));
        let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|most| most - step));
        if self.chance.is_extreme() && self.chance.below(2) == 0 {
            let ends = [json!(999_999_999_999_999_999_u64), json!(-999_999_999_999_999_999_i64), json!(0)];
            let bounds = ["minimum", "maximum"].iter().filter_map(|word| keywords.get(*word).cloned());
            let ends: Vec<Value> = ends.into_iter().chain(bounds).collect();
            return self.chance.pick(&ends).cloned().unwrap_or_default();
        }
        let count = f64::from(u32::try_from(self.chance.below(12)).unwrap_or(0));
        let made = match (bound("multipleOf"), least, most) {
            (Some(multiple), least, _) => {
                (least.unwrap_or(0.0) / multiple).ceil() * multiple + count * multiple
            }
            (None, Some(least), most) => {
                most.map_or(least + count * step, |most| most.min(least + count * step))
            }
            (None, None, Some(most)) => most - count * step,
            (None, None, None) => count * step - step,
        };
        if whole {
            // What is too large for an integer is found out by the check.
            #[expect(clippy::cast_possible_truncation, reason = "made-up numbers are small, and checked")]
            return json!(made.ceil() as i64);
        }
        Number::from_f64(made).map_or(Value::Null, Value::Number)
    }

    fn text(&mut self, keywords: &Map<String, Value>) -> Option<String> {
        if let Some(Value::String(pattern)) = keywords.get("pattern") {
            let mut text = String::new();
            self.matching(&regex_syntax::parse(pattern).ok()?, &mut text)?;
            return Some(text);
        }
        if let Some(Value::String(format)) = keywords.get("format")
            && let Some(text) = self.formatted(format)
        {
            return Some(text);
        }
        let size = |word: &str| {
            keywords.get(word).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok())
        };
        let mut text = self.word();
        let least = size("minLength").unwrap_or(0).min(TEXT_BYTES_MAX);
        while text.chars().count() < least {
            text.push('x');
        }
        Some(size("maxLength").map_or(text.clone(), |most| text.chars().take(most).collect()))
    }

    /// One of few words, so that events meet in their aggregates.
    fn word(&mut self) -> String {
        let words: &[&str] = if self.chance.is_extreme() {
            &["", "a", "\u{0}", "ä/~ \"\\", "\u{10ffff}\u{10ffff}"]
        } else {
            &["a", "b", "c", "d"]
        };
        self.chance.pick(words).copied().unwrap_or_default().to_owned()
    }

    fn formatted(&mut self, format: &str) -> Option<String> {
        let digit = self.chance.below(9) + 1;
        Some(match format {
            "date-time" => format!("2026-05-0{digit}T10:00:00Z"),
            "date" => format!("2026-05-0{digit}"),
            "time" => format!("10:00:0{digit}Z"),
            "duration" => format!("PT{digit}H"),
            "uuid" => format!("00000000-0000-4000-8000-00000000000{digit}"),
            "email" => format!("a{digit}@example.org"),
            "hostname" => format!("a{digit}.example.org"),
            "ipv4" => format!("192.0.2.{digit}"),
            "ipv6" => format!("2001:db8::{digit}"),
            "uri" | "uri-reference" | "iri" | "iri-reference" => format!("https://example.org/{digit}"),
            _ => return None,
        })
    }

    /// A text that `pattern` matches as a whole.
    fn matching(&mut self, pattern: &Hir, out: &mut String) -> Option<()> {
        match pattern.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => out.push_str(std::str::from_utf8(&literal.0).ok()?),
            HirKind::Class(class) => out.push(self.letter(class)?),
            HirKind::Repetition(repetition) => {
                let most = repetition.max.unwrap_or(repetition.min + REPEAT_MAX).max(repetition.min);
                let more = self.chance.below(u64::from((most - repetition.min).min(REPEAT_MAX)) + 1);
                for _ in 0..u64::from(repetition.min) + more {
                    self.matching(&repetition.sub, out)?;
                    if out.len() > TEXT_BYTES_MAX {
                        return None;
                    }
                }
            }
            HirKind::Capture(capture) => self.matching(&capture.sub, out)?,
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.matching(part, out))?,
            HirKind::Alternation(any) => {
                let one = self.chance.pick(any)?.clone();
                self.matching(&one, out)?;
            }
        }
        Some(())
    }

    fn letter(&mut self, class: &Class) -> Option<char> {
        let range = match class {
            Class::Unicode(class) => {
                let plain = class.ranges().iter().find(|range| range.start() > ' ' && range.end() < '\u{7f}');
                plain.or_else(|| class.ranges().first()).map(|range| (range.start(), range.end()))?
            }
            Class::Bytes(class) => {
                let range = class.ranges().first()?;
                (char::from(range.start()), char::from(range.end()))
            }
        };
        let width = u64::from(u32::from(range.1) - u32::from(range.0)) + 1;
        let step = u32::try_from(self.chance.below(width.min(6))).ok()?;
        char::from_u32(u32::from(range.0) + step)
    }
}

/// Both, if they are objects; else the second.
fn joined(one: Option<Value>, other: Value) -> Value {
    match (one, other) {
        (Some(Value::Object(mut one)), Value::Object(other)) => {
            // What an earlier one made stays: a later one may only know that it must be there.
            for (name, value) in other {
                one.entry(name).or_insert(value);
            }
            Value::Object(one)
        }
        (_, other) => other,
    }
}
