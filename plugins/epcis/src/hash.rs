//! The CBV 2.0 event hash: one text per event, whatever its notation, and the SHA-256 of it.
//!
//! The pre-hash text is `eventType=`, then the fields of [`ORDER`] in that order, then everything else sorted. Each
//! field is its name, `=` and its canonical value; a list names itself once and then its elements, sorted; members
//! of extensions are named `{namespace}name`. Values are trimmed and then written in one way: instants in UTC at
//! milliseconds, numbers without idle zeros, vocabulary words as Web URIs, identifiers as Digital Links.
//!
//! `eventID`, `recordTime`, `errorDeclaration` and comments take no part: they say nothing of what happened.
//!
//! Where the text of the standard and the published test vectors differ, the vectors count, since they are what others
//! compute: lists of business transactions, sources and destinations come sorted among the rest, behind the sensors,
//! and their `type` stands first; a boolean is `True` or `False`.
//!
//! Keys of events depend on every byte of this text. It may gain fields that were refused before; nothing that it says
//! today may change.

use crate::context::Context;
use crate::json::{Members, Node};
use crate::words::{self, Vocabulary};
use crate::{decimal, ident, instant};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// How one field enters the pre-hash text.
struct Field {
    /// Its name in JSON and in the text.
    name: &'static str,
    /// How its value is written.
    form: Form,
}

enum Form {
    /// A value or a list of them.
    Value,
    /// An instant.
    Time,
    /// A word of a vocabulary, or a list of them.
    Word(Vocabulary),
    /// Fields of its own.
    Fields(&'static [Field]),
    /// A list that names itself once, then its elements under another name.
    List(&'static Field),
}

const fn value(name: &'static str) -> Field {
    Field { name, form: Form::Value }
}

const fn time(name: &'static str) -> Field {
    Field { name, form: Form::Time }
}

const fn word(name: &'static str, vocabulary: Vocabulary) -> Field {
    Field { name, form: Form::Word(vocabulary) }
}

const fn fields(name: &'static str, inner: &'static [Field]) -> Field {
    Field { name, form: Form::Fields(inner) }
}

const fn list(name: &'static str, element: &'static Field) -> Field {
    Field { name, form: Form::List(element) }
}

const EPC: Field = value("epc");
const QUANTITY: Field = fields("quantityElement", &[value("epcClass"), value("quantity"), value("uom")]);
const PLACE: &[Field] = &[value("id")];
const SENSOR: Field = fields(
    "sensorElement",
    &[
        fields(
            "sensorMetadata",
            &[
                time("time"),
                time("startTime"),
                time("endTime"),
                value("deviceID"),
                value("deviceMetadata"),
                value("rawData"),
                value("dataProcessingMethod"),
                value("bizRules"),
            ],
        ),
        fields(
            "sensorReport",
            &[
                word("type", Vocabulary::Measurement),
                word("exception", Vocabulary::Exception),
                value("deviceID"),
                value("deviceMetadata"),
                value("rawData"),
                value("dataProcessingMethod"),
                time("time"),
                value("microorganism"),
                value("chemicalSubstance"),
                value("value"),
                word("component", Vocabulary::Component),
                value("stringValue"),
                value("booleanValue"),
                value("hexBinaryValue"),
                value("uriValue"),
                value("minValue"),
                value("maxValue"),
                value("meanValue"),
                value("sDev"),
                value("percRank"),
                value("percValue"),
                value("uom"),
                value("coordinateReferenceSystem"),
            ],
        ),
    ],
);

/// The fields of an event that come first, in this order.
const ORDER: &[Field] = &[
    time("eventTime"),
    value("eventTimeZoneOffset"),
    value("certificationInfo"),
    value("parentID"),
    list("epcList", &EPC),
    list("inputEPCList", &EPC),
    list("childEPCs", &EPC),
    list("quantityList", &QUANTITY),
    list("childQuantityList", &QUANTITY),
    list("inputQuantityList", &QUANTITY),
    list("outputEPCList", &EPC),
    list("outputQuantityList", &QUANTITY),
    value("action"),
    value("transformationID"),
    word("bizStep", Vocabulary::Step),
    word("disposition", Vocabulary::Disposition),
    fields(
        "persistentDisposition",
        &[word("set", Vocabulary::Disposition), word("unset", Vocabulary::Disposition)],
    ),
    fields("readPoint", PLACE),
    fields("bizLocation", PLACE),
    list("sensorElementList", &SENSOR),
];

/// Lists whose elements are a type and a value: name, value's name, vocabulary of the type.
const TYPED: [(&str, &str, Vocabulary); 3] = [
    ("bizTransactionList", "bizTransaction", Vocabulary::Transaction),
    ("sourceList", "source", Vocabulary::Party),
    ("destinationList", "destination", Vocabulary::Party),
];

/// Members that say nothing of what happened.
const IGNORED: [&str; 7] =
    ["type", "@context", "eventID", "recordTime", "errorDeclaration", "rdfs:comment", "comment"];

fn is_comment(name: &str) -> bool {
    matches!(name, "rdfs:comment" | "comment")
}

/// Whether a label names a namespace that ends in a slash.
fn ends_in_slash(label: &str) -> bool {
    label.starts_with('{') && label.contains("/}")
}

/// The pre-hash text of an event. Total: whatever is in `event`, there is a text.
pub fn prehash(event: &Node<'_>, context: &Context<'_>) -> String {
    let writer = Writer { context };
    let mut out = String::with_capacity(1024);
    out.push_str("eventType=");
    out.push_str(event.get("type").and_then(Node::text).unwrap_or_default());
    let Node::Object(members) = event else { return out };
    for field in ORDER {
        if let Some(value) = event.get(field.name) {
            writer.field(field, value, &mut out);
        }
    }
    let mut rest = Vec::new();
    for (name, value) in members {
        let name = name.as_ref();
        if IGNORED.contains(&name) {
            continue;
        }
        if let Some(field) = ORDER.iter().find(|field| field.name == name) {
            writer.left_over(field, value, &mut rest);
            continue;
        }
        match (TYPED.iter().find(|(list, ..)| *list == name), value) {
            (Some((list, member, vocabulary)), Node::List(items)) if !items.is_empty() => {
                let mut texts: Vec<_> =
                    items.iter().map(|item| writer.typed(item, member, *vocabulary)).collect();
                texts.sort_unstable();
                rest.push([*list, &texts.concat()].concat());
            }
            (Some(_), _) => {}
            (None, value) => writer.extension(name, value, &mut rest),
        }
    }
    append_sorted(rest, &mut out);
    out
}

/// The event hash of a pre-hash text, as EPCIS writes it.
pub fn event_hash(prehash: &str) -> String {
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(prehash.as_bytes()));
    format!("ni:///sha-256;{digest}?ver=CBV2.0")
}

fn append_sorted(mut texts: Vec<String>, out: &mut String) {
    texts.sort_unstable();
    out.extend(texts);
}

struct Writer<'c> {
    context: &'c Context<'c>,
}

impl Writer<'_> {
    /// Appends a field of [`ORDER`]; nothing if there is nothing in it.
    fn field(&self, field: &Field, value: &Node<'_>, out: &mut String) {
        if let Form::List(element) = field.form {
            let before = out.len();
            out.push_str(field.name);
            let start = out.len();
            self.each(element, value, out);
            if out.len() == start {
                out.truncate(before);
            }
        } else {
            self.each(field, value, out);
        }
    }

    /// Appends every element of a list, sorted, or the one value that is no list.
    fn each(&self, field: &Field, value: &Node<'_>, out: &mut String) {
        let Node::List(items) = value else { return self.one(field, value, out) };
        let text = |item| {
            let mut text = String::new();
            self.one(field, item, &mut text);
            text
        };
        append_sorted(items.iter().map(text).collect(), out);
    }

    fn one(&self, field: &Field, value: &Node<'_>, out: &mut String) {
        let text = match (&field.form, value) {
            (Form::Fields(inner), Node::Object(members)) => {
                let before = out.len();
                out.push_str(field.name);
                let start = out.len();
                for field in *inner {
                    if let Some(value) = value.get(field.name) {
                        self.field(field, value, out);
                    }
                }
                let (mut kept, rule) = (Vec::new(), self.keeps(inner, members));
                for (label, name, value) in self.others(inner, members) {
                    if rule && ends_in_slash(&label) {
                        self.extension(name, value, &mut kept);
                    }
                }
                append_sorted(kept, out);
                if out.len() == start {
                    out.truncate(before);
                }
                return;
            }
            (Form::Time, Node::Text(text)) => match instant::parse(text.trim()) {
                Some(millis) => Cow::Owned(instant::format(millis)),
                None => Cow::Borrowed(text.trim()),
            },
            (Form::Word(vocabulary), Node::Text(text)) => self.vocabulary(text, *vocabulary),
            (_, value) => self.scalar(value),
        };
        if !text.is_empty() {
            for part in [field.name, "=", &text] {
                out.push_str(part);
            }
        }
    }

    /// The members that `fields` does not list, with their labels.
    fn others<'n>(
        &self,
        fields: &'static [Field],
        members: &'n Members<'_>,
    ) -> impl Iterator<Item = (Cow<'n, str>, &'n str, &'n Node<'n>)> {
        members
            .iter()
            .filter(|(name, _)| fields.iter().all(|field| field.name != name) && !is_comment(name))
            .map(|(name, value)| (self.context.label(name), name.as_ref(), value))
    }

    /// Whether members beside `fields` stay at the end of the object that holds them. The standard says that all
    /// do. The reference implementation keeps those whose namespace ends in `/`, if they are not alone and nothing
    /// beside them is called like an action; the others it writes behind the known fields, among the rest, under the
    /// names around them.
    fn keeps(&self, fields: &'static [Field], members: &Members<'_>) -> bool {
        let known = members.iter().filter(|(name, _)| fields.iter().any(|field| field.name == name)).count();
        let mut others = 0;
        for (label, ..) in self.others(fields, members) {
            if label.contains("eventTime") || label.contains("action") {
                return false;
            }
            others += 1;
        }
        known + others > 1
    }

    /// Adds what `field` has not written of `value`, under the names around it.
    fn left_over(&self, field: &Field, value: &Node<'_>, texts: &mut Vec<String>) {
        let mut inner = Vec::new();
        match (&field.form, value) {
            (Form::List(element), _) => self.left_over(element, value, &mut inner),
            (Form::Fields(_), Node::List(items)) => {
                return items.iter().for_each(|item| self.left_over(field, item, texts));
            }
            (Form::Fields(fields), Node::Object(members)) => {
                for field in *fields {
                    if let Some(value) = value.get(field.name) {
                        self.left_over(field, value, &mut inner);
                    }
                }
                let rule = self.keeps(fields, members);
                for (label, name, value) in self.others(fields, members) {
                    if !(rule && ends_in_slash(&label)) {
                        self.extension(name, value, &mut inner);
                    }
                }
            }
            (Form::Value | Form::Time | Form::Word(_) | Form::Fields(_), _) => {}
        }
        if !inner.is_empty() {
            inner.sort_unstable();
            texts.push([field.name, &inner.concat()].concat());
        }
    }

    fn vocabulary<'n>(&self, text: &'n str, vocabulary: Vocabulary) -> Cow<'n, str> {
        let text = text.trim();
        match self.context.expand(text) {
            Cow::Borrowed(text) => vocabulary.expand(text),
            Cow::Owned(text) => Cow::Owned(vocabulary.expand(&text).into_owned()),
        }
    }

    /// An element of a list of types and values; the type stands first.
    fn typed(&self, item: &Node<'_>, member: &str, vocabulary: Vocabulary) -> String {
        let mut text = String::new();
        if let Some(Node::Text(kind)) = item.get("type") {
            text.push_str("type=");
            text.push_str(&self.vocabulary(kind, vocabulary));
        }
        if let Some(value) = item.get(member) {
            text.push_str(member);
            text.push('=');
            text.push_str(&self.scalar(value));
        }
        text
    }

    /// Adds the texts of a member that is in no table: an extension, or the master data of a lot.
    fn extension(&self, name: &str, value: &Node<'_>, texts: &mut Vec<String>) {
        let label = self.context.label(name);
        // A list names itself once and its elements without the word List.
        if let (Some(element), false) = (label.strip_suffix("List"), matches!(value, Node::Null)) {
            let mut inner = Vec::new();
            self.labelled(element, value, &mut inner);
            if !inner.is_empty() {
                inner.sort_unstable();
                texts.push([label.as_ref(), &inner.concat()].concat());
            }
        } else {
            self.labelled(&label, value, texts);
        }
    }

    fn labelled(&self, label: &str, value: &Node<'_>, texts: &mut Vec<String>) {
        match value {
            Node::Null => {}
            Node::List(items) => items.iter().for_each(|item| texts.push(self.nested(label, item))),
            Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) => {
                texts.push(self.nested(label, value));
            }
        }
    }

    /// The text of one value of an extension, with all that lies within it.
    fn nested(&self, label: &str, value: &Node<'_>) -> String {
        let (own, mut inner) = (Some(value), Vec::new());
        let own = match value {
            Node::Object(members) => {
                for (name, value) in members.iter().filter(|(name, _)| name != "#text") {
                    if !is_comment(name) {
                        self.extension(name, value, &mut inner);
                    }
                }
                value.get("#text")
            }
            Node::List(_) => {
                self.labelled("", value, &mut inner);
                None
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => own,
        };
        let mut text = label.to_owned();
        let own = own.map(|own| self.scalar(own)).unwrap_or_default();
        if !own.is_empty() {
            text.push('=');
            text.push_str(&own);
        }
        append_sorted(inner, &mut text);
        text
    }

    /// A value in the one notation that the hash knows.
    fn scalar<'n>(&self, value: &'n Node<'_>) -> Cow<'n, str> {
        match value {
            Node::Null | Node::List(_) | Node::Object(_) => Cow::Borrowed(""),
            Node::Bool(true) => Cow::Borrowed("True"),
            Node::Bool(false) => Cow::Borrowed("False"),
            Node::Number(text) => decimal::canonical(text).unwrap_or(Cow::Borrowed(text)),
            Node::Text(text) => match self.context.expand(text.trim()) {
                Cow::Borrowed(text) => canonical(text),
                Cow::Owned(text) => Cow::Owned(canonical(&text).into_owned()),
            },
        }
    }
}

/// A text in the one notation that the hash knows.
fn canonical(text: &str) -> Cow<'_, str> {
    match words::of_urn(text) {
        Cow::Owned(uri) => Cow::Owned(uri),
        Cow::Borrowed(text) => decimal::canonical(text).unwrap_or_else(|| ident::canonical(text)),
    }
}
