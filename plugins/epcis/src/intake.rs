//! Intake: a body in, one verdict per event out.
//!
//! Taken are a bare event, a list of events, an `EPCISDocument`, an `EPCISQueryDocument`, and NDJSON with one of these in
//! each line. What is wrong with one event is that event's verdict, with a pointer into the body; a body that is
//! not UTF-8, not JSON or a document without an event list is refused whole.

use crate::canonical::canonical;
use crate::context::Context;
use crate::json::{self, Fault, Node};
use crate::shape::EventKind;
use crate::{hash, key};
use laterbase_plugin::{IntakeRow, Refusal, ValidTime};
use serde_json::value::RawValue;

/// The version of the stored bytes of all five event types.
pub const VERSION: u32 = 1;

/// The verdict about one event: what to store, or why not.
pub type Verdict = Result<IntakeRow, Refusal>;

/// Reads a body.
pub fn read(content_type: &str, body: &[u8]) -> Result<Vec<Verdict>, Refusal> {
    let text = std::str::from_utf8(body).map_err(|error| Refusal::new(format!("not UTF-8: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut verdicts = Vec::new();
    if matches!(essence.as_str(), "application/x-ndjson" | "application/ndjson" | "application/jsonl") {
        lines(text, &mut verdicts);
        return Ok(verdicts);
    }
    match json::raw(text) {
        Ok(_) => value(text, "", &mut verdicts).map_err(|fault| refusal(fault, ""))?,
        // NDJSON under another name: more than one line, of which the first stands for itself.
        Err(_) if first_line(text).is_some_and(|line| json::raw(line).is_ok()) => lines(text, &mut verdicts),
        Err(fault) => return Err(refusal(fault, "")),
    }
    Ok(verdicts)
}

fn refusal(fault: Fault, prefix: &str) -> Refusal {
    let Fault { pointer, message } = fault.within(prefix);
    Refusal::at(pointer, message)
}

fn first_line(text: &str) -> Option<&str> {
    let (line, rest) = text.trim_start().split_once('\n')?;
    (!rest.trim().is_empty()).then_some(line)
}

fn lines(text: &str, verdicts: &mut Vec<Verdict>) {
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let pointer = format!("/{at}");
        if let Err(fault) = value(line, &pointer, verdicts) {
            verdicts.push(Err(refusal(fault, &pointer)));
        }
    }
}

/// Reads one JSON value: an event, a list of them or a document. A fault is one of the whole value.
fn value(text: &str, pointer: &str, verdicts: &mut Vec<Verdict>) -> Result<(), Fault> {
    let raw = json::raw(text)?;
    if let Some(items) = json::list(raw) {
        events(&items, &Context::default(), pointer, verdicts);
    } else if is_document(text) {
        document(raw, pointer, verdicts)?;
    } else {
        verdicts.push(event(raw, &Context::default()).map_err(|fault| refusal(fault, pointer)));
    }
    Ok(())
}

/// Whether an object looks like a document. A look for the words first: most values are bare events, and reading
/// their members twice would be waste.
fn is_document(text: &str) -> bool {
    let words = ["\"epcisBody\"", "\"EPCISDocument\"", "\"EPCISQueryDocument\""];
    words.iter().any(|word| text.contains(word)) && {
        let members = json::raw(text).ok().and_then(json::members).unwrap_or_default();
        members.iter().any(|(name, value)| {
            name == "epcisBody" || name == "type" && words.iter().any(|word| value.get() == *word)
        })
    }
}

fn events(items: &[&RawValue], context: &Context<'_>, pointer: &str, verdicts: &mut Vec<Verdict>) {
    for (at, raw) in items.iter().enumerate() {
        let verdict = event(raw, context);
        verdicts.push(verdict.map_err(|fault| refusal(fault, &format!("{pointer}/{at}"))));
    }
}

fn document(raw: &RawValue, pointer: &str, verdicts: &mut Vec<Verdict>) -> Result<(), Fault> {
    let mut context = Context::default();
    if let Some(declared) = member(raw, "@context") {
        context = context.with(&Node::of_raw(declared).map_err(|fault| fault.under("@context"))?);
        context.check().map_err(|fault| fault.under("@context"))?;
    }
    if let Some(version) = member(raw, "schemaVersion")
        && !version.get().starts_with("\"2")
    {
        return Err(Fault::new("EPCIS 2.x is read here, no other version").under("schemaVersion"));
    }
    let body = member(raw, "epcisBody").ok_or_else(|| Fault::new("a document has an epcisBody"))?;
    if let Some(one) = member(body, "event") {
        let verdict = event(one, &context);
        verdicts.push(verdict.map_err(|fault| refusal(fault, &format!("{pointer}/epcisBody/event"))));
        return Ok(());
    }
    let results = member(body, "queryResults").and_then(|results| member(results, "resultsBody"));
    let path = if results.is_some() { "/epcisBody/queryResults/resultsBody" } else { "/epcisBody" };
    let list = member(results.unwrap_or(body), "eventList");
    let list = list.ok_or_else(|| Fault::new("eventList is missing").within(path))?;
    let items = json::list(list);
    let items =
        items.ok_or_else(|| Fault::new("a list of events is wanted").under("eventList").within(path))?;
    events(&items, &context, &format!("{pointer}{path}/eventList"), verdicts);
    Ok(())
}

fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let mut members = json::members(object)?.into_iter();
    members.find(|(other, _)| other == name).map(|(_, value)| value)
}

/// Reads one event.
fn event(raw: &RawValue, context: &Context<'_>) -> Result<IntakeRow, Fault> {
    let canonical = canonical(Node::of_raw(raw)?, context)?;
    let time = ValidTime::from_millis(canonical.time_ms);
    let time = time.ok_or_else(|| Fault::new("an instant from 1970 to 2106 is wanted").under("eventTime"))?;
    let prehash = hash::prehash(&canonical.tree, &canonical.context);
    Ok(IntakeRow {
        pointer: String::new(),
        type_number: canonical.kind.number(),
        version: VERSION,
        time: Some(time),
        tail: Some(key::tail(&prehash, canonical.declared_ms)),
        data: canonical.bytes(),
        id: hash::event_hash(&prehash),
        same_key_is_same_event: true,
    })
}

/// What stored bytes say of their event: its type, its pre-hash text, and whether it is an error declaration.
pub(crate) struct Stored {
    /// Its type.
    pub(crate) kind: EventKind,
    /// When it happened, in milliseconds since 1970.
    pub(crate) time_ms: i64,
    /// Its pre-hash text.
    pub(crate) prehash: String,
    /// The time of the declaration, in milliseconds since 1970, if it is one.
    pub(crate) declared_ms: Option<i64>,
    /// Whether the bytes are canonical.
    pub(crate) is_canonical: bool,
}

/// Reads stored bytes again.
pub(crate) fn stored(data: &[u8]) -> Result<Stored, Refusal> {
    let text = std::str::from_utf8(data).map_err(|error| Refusal::new(format!("not UTF-8: {error}")))?;
    let read = Node::parse(text).and_then(|node| canonical(node, &Context::default()));
    let canonical = read.map_err(|fault| refusal(fault, ""))?;
    Ok(Stored {
        kind: canonical.kind,
        time_ms: canonical.time_ms,
        prehash: hash::prehash(&canonical.tree, &canonical.context),
        declared_ms: canonical.declared_ms,
        is_canonical: canonical.bytes() == data,
    })
}
