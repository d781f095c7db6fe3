//! An event checked against the standard and brought into its one canonical form, in the same walk.
//!
//! The same event in another notation (other offset, decimals, order of members, URN or Digital Link, vocabulary URI
//! or bare word, `1.0` or `1`) becomes the same bytes. `recordTime` is dropped: it says when some server stored the
//! event, and this one knows its own. Lists whose order means nothing are sorted. Extensions stay as written, with
//! the prefixes that they use in an `@context` of their own, so an event can be read, and its hash computed, alone.
//!
//! Invariant: canonical bytes are canonical again, byte for byte. The first fault found is the answer.

use crate::context::Context;
use crate::json::{Fault, Members, Node};
use crate::shape::{COMMON, EventKind, Kind, Member, SENSOR_ATTRIBUTES, Shape};
use crate::words::Vocabulary;
use crate::{decimal, ident, instant};
use std::borrow::Cow;

/// The longest URI in bytes, so that identifiers fit into aggregate keys.
pub const URI_BYTES_MAX: usize = 380;

/// An event in canonical form.
#[derive(Debug, Clone)]
pub struct Canonical<'a> {
    /// Its type.
    pub kind: EventKind,
    /// When it happened, in milliseconds since 1970.
    pub time_ms: i64,
    /// When it was declared an error, in milliseconds since 1970, if this is such a declaration.
    pub declared_ms: Option<i64>,
    /// All of it, members sorted by name.
    pub tree: Node<'a>,
    /// The prefixes that its extensions may use.
    pub context: Context<'a>,
}

impl Canonical<'_> {
    /// The canonical bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        self.tree.write(&mut bytes);
        bytes
    }
}

/// Checks an event and brings it into canonical form. `context` holds the prefixes of the document around it.
pub fn canonical<'a>(event: Node<'a>, context: &Context<'a>) -> Result<Canonical<'a>, Fault> {
    let what = event.what();
    let Node::Object(mut members) = event else {
        return Err(Fault::new(format!("an event is an object, not {what}")));
    };
    let context = match members.iter().position(|(name, _)| name == "@context") {
        None => context.clone(),
        Some(at) => {
            let context = context.with(&members.swap_remove(at).1);
            context.check().map_err(|fault| fault.under("@context"))?;
            context
        }
    };
    let kind = kind(&members)?;
    let walk = Walk { context: &context };
    let members = walk.members(members, &[COMMON, kind.own()], true)?;
    let mut tree = Node::Object(members);
    rules(kind, &tree)?;
    let declared = tree.get("errorDeclaration").and_then(|declaration| declaration.get("declarationTime"));
    let declared_ms = declared.and_then(Node::text).and_then(instant::parse);
    let time_ms = tree.get("eventTime").and_then(Node::text).and_then(instant::parse);
    let time_ms = time_ms.ok_or_else(|| Fault::new("eventTime is missing"))?;
    if let (Some(used), Node::Object(members)) = (context.used_by(&tree), &mut tree) {
        members.insert(0, (Cow::Borrowed("@context"), used));
    }
    Ok(Canonical { kind, time_ms, declared_ms, tree, context })
}

fn kind(members: &Members<'_>) -> Result<EventKind, Fault> {
    let named = members.iter().find(|(name, _)| name == "type");
    let (_, value) = named.ok_or_else(|| Fault::new("type is missing"))?;
    let kind = EventKind::ALL.into_iter().find(|kind| value.text() == Some(kind.epcis()));
    kind.ok_or_else(|| {
        let known = EventKind::ALL.map(EventKind::epcis).join(", ");
        Fault::new(format!("the type of an event is one of {known}")).under("type")
    })
}

struct Walk<'c, 'a> {
    context: &'c Context<'a>,
}

impl<'a> Walk<'_, 'a> {
    /// The members in canonical form and order, each known to one of `tables` or an extension.
    fn members(
        &self,
        members: Members<'a>,
        tables: &[&'static [Member]],
        extensions: bool,
    ) -> Result<Members<'a>, Fault> {
        let mut canonical: Members<'a> = Vec::with_capacity(members.len());
        for (name, value) in members {
            if value == Node::Null {
                continue;
            }
            let known = tables.iter().flat_map(|table| table.iter()).find(|member| member.name == name);
            match known.map(|member| member.kind) {
                Some(Kind::Dropped) => {}
                Some(kind) => match self.value(kind, value) {
                    Ok(value) => canonical.push((name, value)),
                    Err(fault) => return Err(fault.under(name)),
                },
                None if extensions && is_prefixed(&name) => canonical.push((name, extension(value))),
                None if extensions => {
                    let message = "not a member of the standard here; others need a namespace prefix";
                    return Err(Fault::new(message).under(name));
                }
                None => return Err(Fault::new("not a member of the standard here").under(name)),
            }
        }
        for member in tables.iter().flat_map(|table| table.iter()).filter(|member| member.required) {
            if canonical.iter().all(|(name, _)| *name != member.name) {
                return Err(Fault::new(format!("{} is missing", member.name)));
            }
        }
        canonical.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        Ok(canonical)
    }

    fn value(&self, kind: Kind, value: Node<'a>) -> Result<Node<'a>, Fault> {
        match kind {
            Kind::Type | Kind::Dropped => Ok(value),
            Kind::Instant => {
                let millis = instant::parse(text(&value)?.trim());
                let millis = millis.ok_or_else(|| {
                    Fault::new(
                        "a date and time with an offset is wanted, such as 2026-05-01T10:00:00.000+12:00",
                    )
                })?;
                Ok(Node::Text(Cow::Owned(instant::format(millis))))
            }
            Kind::Zone => trimmed(value, "an offset such as +12:00 or -03:30", instant::is_offset),
            Kind::Reference => trimmed(value, "a URI", is_uri),
            Kind::References => self.list(Kind::Reference, value, false),
            Kind::Identifiers => self.list(Kind::Identifier, value, true),
            Kind::OneOrMoreIdentifiers if matches!(value, Node::List(_)) => {
                self.list(Kind::Identifier, value, true)
            }
            Kind::Identifier | Kind::OneOrMoreIdentifiers => self.identifier(value),
            Kind::Action => {
                trimmed(value, "ADD, OBSERVE or DELETE", |text| matches!(text, "ADD" | "OBSERVE" | "DELETE"))
            }
            Kind::Word(vocabulary) => self.word(value, vocabulary),
            Kind::Words(vocabulary) => at_least(1, self.list(Kind::Word(vocabulary), value, true)?),
            Kind::Number => number(value, true),
            Kind::Amount => number(value, false),
            Kind::Unit => {
                trimmed(value, "a unit code of two or three capitals and digits, such as KGM", |text| {
                    (1..=3).contains(&text.len())
                        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
                })
            }
            Kind::Boolean if matches!(value, Node::Bool(_)) => Ok(value),
            Kind::Boolean => Err(unexpected("true or false", &value)),
            Kind::Text => text(&value).map(drop).map(|()| value),
            Kind::Hex => trimmed(value, "hexadecimal digits", |text| {
                !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            }),
            Kind::Object(shape) => self.object(shape, value),
            Kind::Objects(shape, least) => {
                at_least(least, each(value, true, |item| self.object(shape, item))?)
            }
        }
    }

    fn object(&self, shape: &'static Shape, value: Node<'a>) -> Result<Node<'a>, Fault> {
        let Node::Object(members) = value else { return Err(unexpected("an object", &value)) };
        self.members(members, &[shape.members], shape.extensions).map(Node::Object)
    }

    fn list(&self, kind: Kind, value: Node<'a>, sorted: bool) -> Result<Node<'a>, Fault> {
        each(value, sorted, |item| self.value(kind, item))
    }

    /// A URI with its prefix written out, GS1 keys as Digital Links.
    fn identifier(&self, value: Node<'a>) -> Result<Node<'a>, Fault> {
        let written = text(&value)?.trim();
        let expanded = self.context.expand(written);
        let canonical = ident::canonical(&expanded);
        if !is_uri(&canonical) {
            return Err(Fault::new(format!("a URI of at most {URI_BYTES_MAX} bytes is wanted")));
        }
        if canonical == text(&value)? {
            return Ok(value);
        }
        Ok(Node::Text(Cow::Owned(canonical.into_owned())))
    }

    /// A bare word where there is one, else a URI.
    fn word(&self, value: Node<'a>, vocabulary: Vocabulary) -> Result<Node<'a>, Fault> {
        let written = text(&value)?.trim();
        let expanded = self.context.expand(written);
        let uri = crate::words::of_urn(&expanded);
        let canonical = vocabulary.word(&uri).unwrap_or(&uri);
        if !vocabulary.knows(canonical) && !is_uri(canonical) {
            let name = vocabulary.name();
            return Err(Fault::new(format!("not a {name} of the Core Business Vocabulary, and not a URI")));
        }
        if canonical == text(&value)? {
            return Ok(value);
        }
        Ok(Node::Text(Cow::Owned(canonical.to_owned())))
    }
}

/// A list with every item in canonical form.
fn each<'a>(
    value: Node<'a>,
    sorted: bool,
    form: impl Fn(Node<'a>) -> Result<Node<'a>, Fault>,
) -> Result<Node<'a>, Fault> {
    let Node::List(mut items) = value else { return Err(unexpected("a list", &value)) };
    for (at, item) in items.iter_mut().enumerate() {
        let raw = std::mem::replace(item, Node::Null);
        *item = form(raw).map_err(|fault| fault.under(at))?;
    }
    if sorted {
        items.sort_unstable();
    }
    Ok(Node::List(items))
}

/// An extension as written, but for the order of members and for members that are null.
fn extension(value: Node<'_>) -> Node<'_> {
    match value {
        Node::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| *value != Node::Null);
            let mut members: Members<'_> = members.map(|(name, value)| (name, extension(value))).collect();
            members.sort_unstable_by(|left, right| left.0.cmp(&right.0));
            Node::Object(members)
        }
        Node::List(items) => Node::List(items.into_iter().map(extension).collect()),
        scalar @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_)) => scalar,
    }
}

fn number(value: Node<'_>, negative: bool) -> Result<Node<'_>, Fault> {
    let Node::Number(written) = value else { return Err(unexpected("a number", &value)) };
    let canonical =
        decimal::canonical(&written).ok_or_else(|| Fault::new("a number out of all proportion"))?;
    if !negative && canonical.starts_with('-') {
        return Err(Fault::new("an amount is not negative"));
    }
    Ok(Node::Number(Cow::Owned(canonical.into_owned())))
}

fn at_least(least: usize, value: Node<'_>) -> Result<Node<'_>, Fault> {
    if matches!(&value, Node::List(items) if items.len() < least) {
        return Err(Fault::new(format!("at least {least} is wanted")));
    }
    Ok(value)
}

fn unexpected(wanted: &str, found: &Node<'_>) -> Fault {
    Fault::new(format!("{wanted} is wanted, not {}", found.what()))
}

fn text<'n>(value: &'n Node<'_>) -> Result<&'n str, Fault> {
    value.text().ok_or_else(|| unexpected("a text", value))
}

/// A text without white space around it, if it `fits`.
fn trimmed<'a>(value: Node<'a>, wanted: &str, fits: impl Fn(&str) -> bool) -> Result<Node<'a>, Fault> {
    let written = text(&value)?;
    let trim = written.trim();
    if !fits(trim) {
        return Err(Fault::new(format!("{wanted} is wanted")));
    }
    if trim.len() == written.len() { Ok(value) } else { Ok(Node::Text(Cow::Owned(trim.to_owned()))) }
}

/// Whether `name` belongs to a namespace: `prefix:local`.
fn is_prefixed(name: &str) -> bool {
    name.split_once(':').is_some_and(|(prefix, local)| !prefix.is_empty() && !local.is_empty())
}

/// Whether `text` is a URI or IRI as far as a look at its characters can tell.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let starts = scheme.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    starts
        && scheme.bytes().all(plain)
        && !rest.is_empty()
        && text.len() <= URI_BYTES_MAX
        && rest.bytes().all(|byte| {
            matches!(byte, b'!' | b'#'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~' | 0x80..)
        })
}

/// What the standard says beyond the shape of single members.
fn rules(kind: EventKind, event: &Node<'_>) -> Result<(), Fault> {
    let action = event.get("action").and_then(Node::text).unwrap_or_default();
    let has = |name: &str| event.get(name).is_some();
    let filled = |name: &str| matches!(event.get(name), Some(Node::List(items)) if !items.is_empty());
    match kind {
        EventKind::Object => {
            if !has("epcList") && !has("quantityList") && !has("sensorElementList") {
                return Err(Fault::new("epcList or quantityList is missing"));
            }
            if has("ilmd") && action != "ADD" {
                return Err(Fault::new("ilmd goes with the action ADD only").under("ilmd"));
            }
        }
        EventKind::Aggregation => {
            if !has("parentID") && action != "OBSERVE" {
                return Err(Fault::new(format!("parentID is missing, which the action {action} needs")));
            }
            if action == "ADD" && !filled("childEPCs") && !filled("childQuantityList") {
                return Err(Fault::new(
                    "childEPCs or childQuantityList is missing, which the action ADD needs",
                ));
            }
        }
        EventKind::Association => {
            if action != "DELETE" && !filled("childEPCs") && !filled("childQuantityList") {
                let message = "childEPCs or childQuantityList is missing, which all actions but DELETE need";
                return Err(Fault::new(message));
            }
        }
        EventKind::Transformation => {
            let inputs = filled("inputEPCList") || filled("inputQuantityList");
            let outputs = filled("outputEPCList") || filled("outputQuantityList");
            let half = has("transformationID") && (inputs || outputs);
            let whole = inputs && outputs;
            if !whole && !half {
                return Err(Fault::new(
                    "inputs and outputs are needed, or a transformationID and either of them",
                ));
            }
        }
        EventKind::Transaction => {}
    }
    sensors(event).map_err(|fault| fault.within("/sensorElementList"))
}

/// Each report of a sensor says what it measured or what went wrong, and does not contradict the metadata beside it.
fn sensors(event: &Node<'_>) -> Result<(), Fault> {
    let Some(Node::List(elements)) = event.get("sensorElementList") else { return Ok(()) };
    for (at, element) in elements.iter().enumerate() {
        let Some(Node::List(reports)) = element.get("sensorReport") else { continue };
        for (index, report) in reports.iter().enumerate() {
            let at_report = |fault: Fault| fault.within(&format!("/{at}/sensorReport/{index}"));
            if report.get("type").is_none() && report.get("exception").is_none() {
                return Err(at_report(Fault::new("type is missing")));
            }
            let differs = |name: &&&str| {
                let metadata = element.get("sensorMetadata").and_then(|metadata| metadata.get(name));
                matches!((metadata, report.get(name)), (Some(one), Some(other)) if one != other)
            };
            if let Some(name) = SENSOR_ATTRIBUTES.iter().find(differs) {
                return Err(at_report(Fault::new("sensorMetadata says otherwise").under(name)));
            }
        }
    }
    Ok(())
}
