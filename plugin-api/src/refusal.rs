//! A plugin's no, and JSON that is refused with a pointer to what is wrong with it.
//!
//! `serde_json` tells the line and column at which reading stopped, not the path. The text is at hand, so the path
//! is found by walking it again up to there: the innermost value that touches the place is the one to blame.

use crate::abi::{ErrorCode, NO_EVENT, PluginError};
use abi_stable::std_types::RBox;
use serde::de::DeserializeOwned;
use std::fmt;

/// Why an event, a body, a key or a configuration is not acceptable: where, and in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A JSON pointer (RFC 6901) to what is wrong, empty for the whole.
    pub pointer: String,
    /// A sentence for people: what is wrong and what would be right.
    pub message: String,
    /// What else is wrong.
    others: Vec<Refusal>,
}

impl Refusal {
    /// A refusal of the whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self::at("", message)
    }

    /// A refusal of what `pointer` points to, such as `/item`.
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), others: Vec::new() }
    }

    /// The same with `other` beside it: `admit` may name all faults of an event. Whoever shows only one shows the
    /// first.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.others.push(other);
        self
    }

    /// All `refusals` as one, in their order; fine if there are none.
    pub fn all(refusals: impl IntoIterator<Item = Self>) -> Result<(), Self> {
        refusals.into_iter().reduce(Self::and).map_or(Ok(()), Err)
    }

    /// The first fault and all others, each by itself.
    pub fn into_each(self) -> impl Iterator<Item = Self> {
        let Self { pointer, message, others } = self;
        let first = Self::at(pointer, message);
        std::iter::once(first).chain(others)
    }

    /// An event has a type that its reader does not take.
    #[doc(hidden)]
    pub fn other_type(type_number: u32) -> Self {
        Self::new(format!("events of type {type_number} are not read here"))
    }

    pub(crate) fn into_error(self) -> RBox<PluginError> {
        let (pointer, message) = (self.pointer.into(), self.message.into());
        RBox::new(PluginError { code: ErrorCode::REFUSED, event: NO_EVENT, pointer, message })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.message),
            pointer => write!(f, "{pointer}: {}", self.message),
        }
    }
}

impl std::error::Error for Refusal {}

/// Reads JSON as `T`; a refusal points to the value that does not fit.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let message = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
        if !error.is_data() {
            return Refusal::new(format!("not JSON: {message} at line {line} column {column}"));
        }
        Refusal::at(locate(json, offset(json, line, column)), message)
    })
}

/// The offset of a line and column, both counted from 1 as `serde_json` does: the bytes read before it stopped.
fn offset(json: &[u8], line: usize, column: usize) -> usize {
    let lines = json.split_inclusive(|byte| *byte == b'\n');
    lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum::<usize>() + column
}

/// How deep a search goes. `serde_json` reads no deeper, but skips what it is not asked for at any depth.
const DEPTH_MAX: usize = 128;

/// A JSON pointer to the innermost value, or else the member's name, that touches `offset`. `json` is well-formed
/// up to there.
fn locate(json: &[u8], offset: usize) -> String {
    let mut walk = Walk { json, position: 0, offset, depth: 0 };
    let pointer = walk.value().unwrap_or_default();
    if walk.depth > DEPTH_MAX { String::new() } else { pointer }
}

/// A walk over well-formed JSON in search of one offset.
struct Walk<'a> {
    json: &'a [u8],
    position: usize,
    offset: usize,
    /// How many arrays and objects the position is in; it stays above the maximum once that was passed.
    depth: usize,
}

impl Walk<'_> {
    /// Passes over one value; some pointer, relative to the value, if it touches the offset.
    fn value(&mut self) -> Option<String> {
        self.space();
        let start = self.position;
        let inner = match self.peek() {
            Some(b'{' | b'[') if self.depth >= DEPTH_MAX => {
                self.depth = usize::MAX;
                self.position = self.json.len();
                None
            }
            Some(b'{') => self.nested(Self::members),
            Some(b'[') => self.nested(Self::elements),
            Some(b'"') => {
                self.string();
                None
            }
            _ => {
                while self.peek().is_some_and(|byte| !b",]} \t\r\n".contains(&byte)) {
                    self.position += 1;
                }
                None
            }
        };
        inner.or_else(|| (start..=self.position).contains(&self.offset).then(String::new))
    }

    fn nested(&mut self, walk: fn(&mut Self) -> Option<String>) -> Option<String> {
        self.depth += 1;
        let found = walk(self);
        self.depth = if self.depth > DEPTH_MAX { self.depth } else { self.depth - 1 };
        found
    }

    fn members(&mut self) -> Option<String> {
        loop {
            self.position += 1;
            self.space();
            let start = self.position;
            if self.peek() != Some(b'"') {
                self.skip(b'}');
                return None;
            }
            self.string();
            let name = self.json.get(start..self.position).unwrap_or_default();
            let name = serde_json::from_slice::<String>(name).unwrap_or_default();
            let step = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            if (start..=self.position).contains(&self.offset) {
                return Some(step);
            }
            self.space();
            self.skip(b':');
            if let Some(inner) = self.value() {
                return Some(step + &inner);
            }
            self.space();
            if self.peek() != Some(b',') {
                self.skip(b'}');
                return None;
            }
        }
    }

    fn elements(&mut self) -> Option<String> {
        for index in 0_usize.. {
            self.position += 1;
            self.space();
            if self.peek().is_none_or(|byte| byte == b']') {
                break;
            }
            if let Some(inner) = self.value() {
                return Some(format!("/{index}{inner}"));
            }
            self.space();
            if self.peek() != Some(b',') {
                break;
            }
        }
        self.skip(b']');
        None
    }

    fn string(&mut self) {
        let mut escaped = true;
        while let Some(byte) = self.peek() {
            self.position += 1;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => break,
                _ => {}
            }
        }
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.position += 1;
        }
    }

    fn skip(&mut self, byte: u8) {
        self.position += usize::from(self.peek() == Some(byte));
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.position).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "a/b~c")]
        _text: String,
        #[serde(default)]
        _list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        _n: i64,
    }

    fn check(json: &str, pointer: &str, message: &str) {
        let refusal = from_json::<Outer>(json.as_bytes()).expect_err("every case is refused");
        assert_eq!((refusal.pointer.as_str(), refusal.message.as_str()), (pointer, message), "{json}");
    }

    // Goal: the pointer names the smallest thing that is wrong, whatever way it is wrong.
    #[test]
    fn pointers() {
        check(r#"{"a/b~c":7}"#, "/a~1b~0c", "invalid type: integer `7`, expected a string");
        check(r#"{"a/b~c":{}}"#, "/a~1b~0c", "invalid type: map, expected a string");
        check(r#"{"a/b~c":null}"#, "/a~1b~0c", "invalid type: null, expected a string");
        check(r#"{"_list":[]}"#, "", "missing field `a/b~c`");
        check(r#"{"a/b~c":"\"}","x":[1]}"#, "/x", "unknown field `x`, expected `a/b~c` or `_list`");
        check(
            r#"{"_list":[{"_n":1},{"_n":1.5}]}"#,
            "/_list/1/_n",
            "invalid type: floating point `1.5`, expected i64",
        );
        check(
            "{\n \"_list\" : [ { \"_n\" : 1 } ,\n { \"_n\" : \"1\" } ] }",
            "/_list/1/_n",
            "invalid type: string \"1\", expected i64",
        );
        check(r#"{"_list":[{"_n":1},{"m":{"_n":"x"}}]}"#, "/_list/1", "missing field `_n`");
        check(
            r#"{"_list":[{"_n":99999999999999999999}]}"#,
            "/_list/0/_n",
            "invalid type: floating point `1e+20`, expected i64",
        );
        check("[]", "", "invalid length 0, expected struct Outer with 2 elements");
        check("7", "", "invalid type: integer `7`, expected struct Outer");
        check("{\"a", "", "not JSON: EOF while parsing a string at line 1 column 3");
        let deep = format!(r#"{{"_list":[{{"m":{}{},"_n":""}}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        check(&deep, "", "invalid type: string \"\", expected i64");
        check("{} x", "", "missing field `a/b~c`");
    }
}
