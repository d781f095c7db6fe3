//! JSON as a tree that keeps every digit, with pointers (RFC 6901) to read and to change it.
//!
//! `serde_json::Value` would read numbers as `f64`; here numbers and texts stay as they are written. Names within an
//! object are unique: a name given twice is refused, never guessed.

use laterbase_plugin::Refusal;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// How many objects and lists may lie within each other.
pub const DEPTH_MAX: usize = 64;

/// One JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// A number, a text, `true`, `false` or `null`, as written.
    Leaf(Box<str>),
    /// A list.
    List(Vec<Tree>),
    /// An object.
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads one JSON value in which at most `depth` objects and lists lie within each other.
    pub fn parse(json: &[u8], depth: usize) -> Result<Self, Refusal> {
        let raw: &RawValue =
            serde_json::from_slice(json).map_err(|error| Refusal::new(format!("not JSON: {error}")))?;
        let mut path = String::new();
        Self::of(raw.get(), depth, &mut path).map_err(|message| Refusal::at(path, message))
    }

    /// `path` is where the fault is, if there is one.
    fn of(json: &str, depth: usize, path: &mut String) -> Result<Self, String> {
        let json = json.trim_ascii();
        if !json.starts_with(['{', '[']) {
            return Ok(Self::Leaf(json.into()));
        }
        let depth = depth.checked_sub(1).ok_or("nested too deeply")?;
        let at = path.len();
        let mut step = |name: &str, raw: &RawValue| {
            push(path, name);
            let value = Self::of(raw.get(), depth, path)?;
            path.truncate(at);
            Ok::<_, String>(value)
        };
        let fault = |error: serde_json::Error| format!("not JSON: {error}");
        if json.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(json).map_err(fault)?;
            let items = items.into_iter().enumerate().map(|(at, raw)| step(&at.to_string(), raw));
            return Ok(Self::List(items.collect::<Result<_, _>>()?));
        }
        let members = serde_json::from_str::<Members<'_>>(json).map_err(fault)?.0;
        let mut seen = BTreeSet::new();
        if let Some((name, _)) = members.iter().find(|(name, _)| !seen.insert(name.as_str())) {
            push(path, name);
            return Err("this name is given twice".to_owned());
        }
        let member = |(name, raw): (String, &RawValue)| Ok::<_, String>((name.clone(), step(&name, raw)?));
        Ok(Self::Object(members.into_iter().map(member).collect::<Result<_, _>>()?))
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Leaf(leaf) if leaf.starts_with('"') => serde_json::from_str(leaf).ok(),
            Self::Leaf(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// The leaf as written, if this is one.
    pub fn leaf(&self) -> Option<&str> {
        if let Self::Leaf(leaf) = self { Some(leaf) } else { None }
    }

    /// Appends this value as JSON without white space.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leaf(leaf) => out.extend_from_slice(leaf.as_bytes()),
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
                    out.extend_from_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// This value as JSON without white space.
    pub fn json(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn separate(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

/// Appends a step to the text of a pointer.
fn push(path: &mut String, name: &str) {
    path.push('/');
    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// The members of an object, not yet looked into.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer(Vec<String>);

/// The text is no JSON pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPointer;

impl fmt::Display for NoPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad_pointer: a JSON pointer begins with / and writes ~ as ~0 and / as ~1")
    }
}

impl FromStr for Pointer {
    type Err = NoPointer;

    fn from_str(text: &str) -> Result<Self, NoPointer> {
        let steps = text.strip_prefix('/').ok_or(NoPointer)?.split('/');
        let step = |step: &str| {
            let escaped = step.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            if escaped { Ok(step.replace("~1", "/").replace("~0", "~")) } else { Err(NoPointer) }
        };
        steps.map(step).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.iter().for_each(|step| push(&mut text, step));
        f.write_str(&text)
    }
}

impl Pointer {
    /// Its steps.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// What it points to.
    pub fn of<'t>(&self, tree: &'t Tree) -> Option<&'t Tree> {
        self.0.iter().try_fold(tree, |tree, step| match tree {
            Tree::Object(members) => members.iter().find(|(name, _)| name == step).map(|(_, value)| value),
            Tree::List(items) => items.get(step.parse::<usize>().ok()?),
            Tree::Leaf(_) => None,
        })
    }

    /// What it points to, unless that is `null`.
    pub fn value<'t>(&self, tree: &'t Tree) -> Option<&'t Tree> {
        self.of(tree).filter(|value| value.leaf() != Some("null"))
    }

    /// True if what `other` points to is this, or in it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Takes a member out of its object; none if there is none.
    pub fn take(&self, tree: &mut Tree) -> Option<Tree> {
        let (name, parents) = self.0.split_last()?;
        let members = members(tree, parents, false)?;
        let at = members.iter().position(|(member, _)| member == name)?;
        Some(members.remove(at).1)
    }

    /// Puts a member into its object, which is made if it is missing. False if something else than an object is in
    /// the way.
    pub fn put(&self, tree: &mut Tree, value: Tree) -> bool {
        let Some((name, parents)) = self.0.split_last() else { return false };
        let Some(members) = members(tree, parents, true) else { return false };
        match members.iter_mut().find(|(member, _)| member == name) {
            Some((_, place)) => *place = value,
            None => members.push((name.clone(), value)),
        }
        true
    }

    /// True if [`Self::put`] would find its place.
    pub fn has_place(&self, tree: &Tree) -> bool {
        let Some((_, parents)) = self.0.split_last() else { return false };
        let mut tree = tree;
        for step in parents {
            let Tree::Object(members) = tree else { return false };
            match members.iter().find(|(name, _)| name == step) {
                Some((_, value)) => tree = value,
                None => return true,
            }
        }
        matches!(tree, Tree::Object(_))
    }
}

/// The members of the object that `steps` lead to, through objects only.
fn members<'t>(tree: &'t mut Tree, steps: &[String], make: bool) -> Option<&'t mut Vec<(String, Tree)>> {
    let Tree::Object(found) = tree else { return None };
    let Some((step, steps)) = steps.split_first() else { return Some(found) };
    let at = match found.iter().position(|(name, _)| name == step) {
        Some(at) => at,
        None if make => {
            found.push((step.clone(), Tree::Object(Vec::new())));
            found.len() - 1
        }
        None => return None,
    };
    members(&mut found.get_mut(at)?.1, steps, make)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(json: &str) -> Tree {
        Tree::parse(json.as_bytes(), DEPTH_MAX).expect("sound JSON")
    }

    fn pointer(text: &str) -> Pointer {
        text.parse().expect("a pointer")
    }

    // Goal: nothing is lost on the way through: digits, exponents, escapes, the order of members.
    #[test]
    fn nothing_is_lost() {
        let json = r#"{"b":[1.10,1e2,-0.0,123456789012345678901234567890],"a":{"x":"\u00e4\n"},"":null}"#;
        assert_eq!(tree(json).json(), json);
        assert_eq!(tree(" { \"a\" : [ 1 , true ] } ").json(), r#"{"a":[1,true]}"#);
    }

    // Goal: what cannot be read has a pointer to it.
    #[test]
    fn faults_have_places() {
        let fault = |json: &str, depth| Tree::parse(json.as_bytes(), depth).expect_err("refused");
        assert_eq!(fault(r#"{"a":[{"x":1,"x":2}]}"#, 9), Refusal::at("/a/0/x", "this name is given twice"));
        assert_eq!(fault(r#"{"a/b":[[1]]}"#, 2), Refusal::at("/a~1b/0", "nested too deeply"));
        assert!(fault("{", 9).message.starts_with("not JSON: "));
    }

    // Goal: pointers are read strictly and find what they name.
    #[test]
    fn pointers() {
        let tree = tree(r#"{"a":{"b/c":[{"~":1}]},"n":null}"#);
        assert_eq!(pointer("/a/b~1c/0/~0").of(&tree).and_then(Tree::leaf), Some("1"));
        assert_eq!(pointer("/a/b~1c/0/~0").to_string(), "/a/b~1c/0/~0");
        assert_eq!(pointer("/n").value(&tree), None);
        for bad in ["", "a", "/~", "/~2"] {
            assert_eq!(bad.parse::<Pointer>(), Err(NoPointer), "{bad:?}");
        }
        assert!(pointer("/a").holds(&pointer("/a/b")) && !pointer("/a").holds(&pointer("/ab")));
    }

    // Goal: members are moved within objects; what is no object is left alone.
    #[test]
    fn changes() {
        let mut it = tree(r#"{"a":{"x":1},"l":[{"y":2}]}"#);
        let taken = pointer("/a/x").take(&mut it).expect("there");
        assert!(pointer("/b/c").has_place(&it) && pointer("/b/c").put(&mut it, taken));
        assert_eq!(pointer("/l/0/y").take(&mut it), None);
        assert!(!pointer("/l/z").has_place(&it) && !pointer("/l/z").put(&mut it, tree("1")));
        assert_eq!(it.json(), r#"{"a":{},"l":[{"y":2}],"b":{"c":1}}"#);
    }
}
