//! JSON as a tree that keeps every digit of every number.
//!
//! `serde_json::Value` would do, but it reads numbers as `f64`: 20 digits of a quantity would come back as 17 others
//! and the event's hash with them. Here a number is its text. The reading is `serde_json`'s own, one level at a
//! time (`RawValue`), so texts and numbers are borrowed from the body.
//!
//! Invariants: names within an object are unique (a name given twice is refused, never guessed), and nothing is
//! nested deeper than [`DEPTH_MAX`].

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// How many objects and lists may lie within each other.
pub const DEPTH_MAX: usize = 32;

/// What is wrong with a body or an event, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A JSON pointer (RFC 6901) to what is wrong; empty for the whole.
    pub pointer: String,
    /// A sentence for people.
    pub message: String,
}

impl Fault {
    /// A fault of the value at hand.
    pub fn new(message: impl Into<String>) -> Self {
        Self { pointer: String::new(), message: message.into() }
    }

    /// The same fault, seen from the object or list that holds the value under `step`.
    #[must_use]
    pub fn under(mut self, step: impl fmt::Display) -> Self {
        let step = step.to_string().replace('~', "~0").replace('/', "~1");
        self.pointer = format!("/{step}{}", self.pointer);
        self
    }

    /// The same fault, seen from where `prefix`, a JSON pointer, is.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

/// The members of an object, in the order written.
pub type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// One JSON value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written.
    Number(Cow<'a, str>),
    /// A text, unescaped.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Node<'a>>),
    /// An object with unique names.
    Object(Members<'a>),
}

impl<'a> Node<'a> {
    /// Reads one JSON value.
    pub fn parse(text: &'a str) -> Result<Self, Fault> {
        Self::of(raw(text)?, DEPTH_MAX)
    }

    /// Reads what `raw` holds.
    pub fn of_raw(raw: &'a RawValue) -> Result<Self, Fault> {
        Self::of(raw, DEPTH_MAX)
    }

    fn of(raw: &'a RawValue, depth: usize) -> Result<Self, Fault> {
        let text = raw.get().trim_ascii();
        let deeper = || depth.checked_sub(1).ok_or_else(|| Fault::new("nested too deeply"));
        Ok(match text.bytes().next() {
            Some(b'"') => Self::Text(read::<Text<'a>>(text)?.0),
            Some(b'{') => Self::Object(object(text, deeper()?)?),
            Some(b'[') => {
                let (depth, items) = (deeper()?, read::<Items<'a>>(text)?.0);
                let item = |(at, raw): (usize, &'a RawValue)| Self::of(raw, depth).map_err(|f| f.under(at));
                Self::List(items.into_iter().enumerate().map(item).collect::<Result<_, _>>()?)
            }
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') => Self::Null,
            _ => Self::Number(Cow::Borrowed(text)),
        })
    }

    /// The member `name`, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// What people call this kind of value.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Appends this value as JSON without white space, members in the order they are in.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(text) => out.extend_from_slice(text.as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    separate(at, out);
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (at, (name, value)) in members.iter().enumerate() {
                    separate(at, out);
                    write_text(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

fn separate(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing a text to memory cannot fail");
}

fn object(text: &str, depth: usize) -> Result<Members<'_>, Fault> {
    let read = read::<Object<'_>>(text)?.0;
    unique(&read)?;
    let member = |(name, raw)| match Node::of(raw, depth) {
        Ok(value) => Ok((name, value)),
        Err(fault) => Err(fault.under(name)),
    };
    read.into_iter().map(member).collect()
}

/// Refuses names that are given twice. Most objects have few members, where looking at each pair is the fastest.
fn unique(members: &[(Cow<'_, str>, &RawValue)]) -> Result<(), Fault> {
    let mut names = members.iter().map(|(name, _)| name.as_ref());
    let mut seen = BTreeSet::new();
    let twice = if members.len() > 32 {
        names.find(|name| !seen.insert(*name))
    } else {
        let mut places = members.iter().enumerate();
        let before = |at: usize| members.iter().take(at);
        let found = places.find(|(at, (name, _))| before(*at).any(|(other, _)| other == name));
        found.map(|(_, (name, _))| name.as_ref())
    };
    twice.map_or(Ok(()), |name| Err(Fault::new("this name is given twice").under(name)))
}

/// One JSON value, checked to be well-formed, not yet looked into.
pub fn raw(text: &str) -> Result<&RawValue, Fault> {
    read(text)
}

/// The items of a list, not yet looked into; none if `raw` is no list.
pub fn list(raw: &RawValue) -> Option<Vec<&RawValue>> {
    read::<Items<'_>>(raw.get()).ok().map(|items| items.0)
}

/// The members of an object, not yet looked into; none if `raw` is no object.
pub fn members(raw: &RawValue) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    read::<Object<'_>>(raw.get()).ok().map(|object| object.0)
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::new(format!("not JSON: {error}")))
}

struct Text<'a>(Cow<'a, str>);
struct Items<'a>(Vec<&'a RawValue>);
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Reads each of the three above: one visitor per type would be the same text three times.
struct Reader;

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader).map(Self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

struct ItemsReader;

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsReader).map(Self)
    }
}

impl<'de> Visitor<'de> for ItemsReader {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(items)
    }
}

struct ObjectReader;

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectReader).map(Self)
    }
}

impl<'de> Visitor<'de> for ObjectReader {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = access.next_entry::<Text<'de>, &'de RawValue>()? {
            members.push((name.0, value));
        }
        Ok(members)
    }
}
