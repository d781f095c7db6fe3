//! From a body's bytes to drafts of events: JSON and NDJSON in Laterbase's own form.
//!
//! Every fault carries a JSON pointer into the body (`/3/time` is the member `time` of the fourth event of an array
//! or the fourth line; `/time` that of a single object). `data` is kept byte for byte but for white space outside
//! strings: numbers are never read as floats. Where there is none it is not even copied: it stays a part of the body.

use super::draft::{BadEvent, Draft, Drafted, Place, TypeRef, When};
use crate::core::event::{EventKey, ValidTime};
use crate::core::pointer::step;
use crate::problem::{Code, Problem};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The drafts in a JSON body: one object, or an array of them. The body as a whole must be JSON.
pub(super) fn json(body: &Bytes, events_max: usize) -> Result<Vec<Drafted>, Problem> {
    let text = utf8(body)?;
    let mut reader = Reader { body, name: None };
    if text.trim_start().starts_with('[') {
        let events: Vec<&RawValue> = whole(text)?;
        within(events.len(), events_max)?;
        let events = events.iter().enumerate();
        return Ok(events.map(|(at, raw)| reader.event(raw.get(), Place::Nth(at))).collect());
    }
    let raw: &RawValue = whole(text)?;
    Ok(vec![reader.event(raw.get(), Place::Whole)])
}

/// The drafts in an NDJSON body, one a line; empty lines are passed over. A broken line is a bad event.
pub(super) fn ndjson(body: &Bytes, events_max: usize) -> Result<Vec<Drafted>, Problem> {
    let lines: Vec<Option<&str>> = match std::str::from_utf8(body) {
        Ok(text) => text.split('\n').map(Some).collect(),
        Err(_) => body.split(|byte| *byte == b'\n').map(|line| std::str::from_utf8(line).ok()).collect(),
    };
    let is_full = |line: Option<&str>| line.is_none_or(|line| !line.trim_ascii().is_empty());
    within(lines.iter().filter(|line| is_full(**line)).count(), events_max)?;
    let mut reader = Reader { body, name: None };
    let lines = lines.into_iter().enumerate().filter(|(_, line)| is_full(*line));
    Ok(lines.map(|(at, line)| reader.line(line, Place::Nth(at))).collect())
}

/// What the drafts of one body share.
struct Reader<'b> {
    body: &'b Bytes,
    /// The name of a type that was read last: mostly the next one is the same.
    name: Option<Arc<str>>,
}

impl Reader<'_> {
    /// The draft on a line of an NDJSON body; the line is none where it is not UTF-8.
    fn line(&mut self, line: Option<&str>, pointer: Place) -> Drafted {
        let Some(text) = line else {
            return Err(BadEvent::new(Code::BadJson, pointer, "the line is not UTF-8"));
        };
        match self.members(text) {
            Ok(members) => draft(members, pointer),
            // Not an object, or not JSON at all: only reading it as anything tells.
            Err(fault) => match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => Err(BadEvent::new(Code::BadEvent, pointer, fault.to_string())),
                Err(fault) => {
                    Err(BadEvent::new(Code::BadJson, pointer, format!("the line is not JSON: {fault}")))
                }
            },
        }
    }

    /// The draft in an element of a JSON body.
    fn event(&mut self, text: &str, pointer: Place) -> Drafted {
        match self.members(text) {
            Ok(members) => draft(members, pointer),
            Err(fault) => Err(BadEvent::new(Code::BadEvent, &pointer, fault.to_string())),
        }
    }

    fn members(&mut self, text: &str) -> serde_json::Result<Members> {
        let mut json = serde_json::Deserializer::from_str(text);
        let members = self.deserialize(&mut json)?;
        json.end()?;
        Ok(members)
    }
}

fn utf8(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|fault| {
        let at = fault.valid_up_to();
        Problem::new(Code::BadJson, format!("the body is not UTF-8: byte {at} starts no character"))
    })
}

fn whole<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    serde_json::from_str(text)
        .map_err(|fault| Problem::new(Code::BadJson, format!("the body is not JSON: {fault}")))
}

/// Refuses a request with too many events.
pub(super) fn within(events: usize, events_max: usize) -> Result<(), Problem> {
    if events <= events_max {
        return Ok(());
    }
    let detail = format!("the request holds {events} events, the limit is {events_max}: send it in parts");
    Err(Problem::new(Code::TooManyEvents, detail).with("limit", events_max))
}

/// The members of one event, or what is wrong with the first bad one.
type Members = Result<Raw, BadMember>;

/// What is wrong with a member of this name.
struct BadMember {
    name: String,
    code: Code,
    why: String,
}

/// Reads an object's members as they come. A bad one is remembered, because only the end of the text tells whether it
/// is JSON at all.
impl<'de> DeserializeSeed<'de> for &mut Reader<'_> {
    type Value = Members;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader<'_> {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Ok(Raw::default());
        while let Some(Text(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            let Ok(raw) = &mut members else { continue };
            let twice = || (Code::BadEvent, "this member stands twice".to_owned());
            let taken = self.take(raw, &name, value.get());
            let taken = taken.and_then(|repeated| if repeated { Err(twice()) } else { Ok(()) });
            if let Err((code, why)) = taken {
                members = Err(BadMember { name: name.into_owned(), code, why });
            }
        }
        Ok(members)
    }
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of one event as they came, each at most once.
#[derive(Default)]
struct Raw {
    type_ref: Option<TypeRef>,
    version: Option<u32>,
    time: Option<ValidTime>,
    key: Option<EventKey>,
    id: Option<String>,
    data: Option<Bytes>,
}

fn draft(members: Members, pointer: Place) -> Drafted {
    match members {
        Ok(raw) => assemble(raw, pointer),
        Err(BadMember { name, code, why }) => {
            let at = format!("{pointer}{}", step(&name));
            Err(BadEvent::new(code, at, why))
        }
    }
}

impl Reader<'_> {
    /// Reads one member into its place; true if the place was taken.
    fn take(&mut self, raw: &mut Raw, name: &str, value: &str) -> Result<bool, (Code, String)> {
        let bad = |why: &str| (Code::BadEvent, why.to_owned());
        Ok(match name {
            "type" => raw.type_ref.replace(self.type_ref(value).ok_or_else(|| bad(TYPE_FORM))?).is_some(),
            "version" => {
                let version = serde_json::from_str(value).ok().filter(|version| *version > 0);
                raw.version.replace(version.ok_or_else(|| bad("a version is a number from 1"))?).is_some()
            }
            "time" => raw.time.replace(time(value)?).is_some(),
            "key" => {
                let key = string(value).and_then(|text| text.parse().ok());
                raw.key.replace(key.ok_or_else(|| bad("a key is 32 lower-case hex digits"))?).is_some()
            }
            "id" => {
                let id = string(value).filter(|id| !id.is_empty());
                let id = id.ok_or_else(|| bad("an id is a text that is not empty"))?;
                raw.id.replace(id.into_owned()).is_some()
            }
            "data" => raw.data.replace(self.minified(value)).is_some(),
            "data_base64" => {
                let bytes = string(value).and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok());
                let bytes = bytes.ok_or_else(|| bad("not base64 (RFC 4648, with padding)"))?;
                raw.data.replace(bytes.into()).is_some()
            }
            _ => {
                return Err(bad(
                    "unknown member: an event has type, version, time, key, id and data or data_base64",
                ));
            }
        })
    }

    fn type_ref(&mut self, value: &str) -> Option<TypeRef> {
        if !value.starts_with('"') {
            return serde_json::from_str(value).ok().map(TypeRef::Number);
        }
        let name = string(value)?;
        let kept = self.name.take().filter(|kept| **kept == *name);
        let kept = self.name.insert(kept.unwrap_or_else(|| name.into()));
        Some(TypeRef::Name(Arc::clone(kept)))
    }

    /// JSON text without white space outside strings.
    fn minified(&self, text: &str) -> Bytes {
        if !has_white_space(text.as_bytes()) {
            return self.body.slice_ref(text.as_bytes());
        }
        let (mut out, mut in_string, mut escaped) = (Vec::with_capacity(text.len()), false, false);
        for byte in text.bytes() {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = byte == b'\\' && !escaped;
            } else if byte.is_ascii_whitespace() {
                continue;
            } else {
                in_string = byte == b'"';
            }
            out.push(byte);
        }
        out.into()
    }
}

/// Whether JSON text has white space anywhere; no other byte of it is as small. Looks at many bytes at once, which a
/// search that stops at the first would not.
fn has_white_space(text: &[u8]) -> bool {
    let (chunks, rest) = text.as_chunks::<64>();
    let least = |bytes: &[u8]| bytes.iter().fold(u8::MAX, |least, byte| least.min(*byte));
    chunks.iter().any(|chunk| least(chunk) <= b' ') || least(rest) <= b' '
}

const TYPE_FORM: &str = "a type is a name that a Schema of the root declares, or its number";

fn assemble(raw: Raw, pointer: Place) -> Drafted {
    let bad = |at: &str, why: &str| Err(BadEvent::new(Code::BadEvent, format!("{pointer}{at}"), why));
    let Some(type_ref) = raw.type_ref else { return bad("", "the member `type` is missing") };
    let Some(data) = raw.data else { return bad("", "the member `data` (or `data_base64`) is missing") };
    let when = match (raw.time, raw.key) {
        (Some(_), Some(_)) => {
            return bad("/key", "an event has a `time` or a `key`, not both: the key holds the time");
        }
        (Some(time), None) => When::At(time),
        (None, Some(key)) => When::Key(key),
        (None, None) => When::Now,
    };
    if raw.id.is_some() && !matches!(when, When::At(_)) {
        return bad("/id", "an `id` needs a `time`: the key is made of both");
    }
    let tail = raw.id.as_deref().map(tail_of_id);
    let version = raw.version;
    Ok(Draft { pointer, type_ref, version, when, tail, id: raw.id, data, same_key_is_same_event: false })
}

/// The tail of an event that has an id: sending the same row again is the same event.
pub(crate) fn tail_of_id(id: &str) -> [u8; 8] {
    let mut tail = [0; 8];
    blake3::Hasher::new().update(id.as_bytes()).finalize_xof().fill(&mut tail);
    tail
}

fn string(value: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value).ok().map(|Text(text)| text)
}

fn time(value: &str) -> Result<ValidTime, (Code, String)> {
    let form = || {
        (Code::BadEvent, "a time is RFC 3339 with an offset, as in 2026-05-01T10:00:00.123+12:00".to_owned())
    };
    let text = string(value).ok_or_else(form)?;
    let instant: jiff::Timestamp = text.parse().map_err(|_| form())?;
    let nanos = instant.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok();
    let fraction = u32::try_from(nanos.rem_euclid(1_000_000_000)).ok();
    seconds
        .zip(fraction)
        .and_then(|(seconds, fraction)| ValidTime::from_parts(seconds, fraction))
        .ok_or_else(|| (Code::TimeRange, format!("{text} is outside 1970..2106")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Draft {
        json(&Bytes::copy_from_slice(text.as_bytes()), 10)
            .expect("JSON")
            .pop()
            .expect("one event")
            .expect("a good event")
    }

    fn fault(text: &str) -> (Code, String) {
        let bad = json(&Bytes::copy_from_slice(text.as_bytes()), 10)
            .expect("JSON")
            .pop()
            .expect("one event")
            .expect_err("a bad event");
        (bad.code, bad.pointer)
    }

    /// Data is the user's: numbers, escapes and order stay, only white space outside strings goes.
    #[test]
    fn data_is_kept_byte_for_byte() {
        let draft =
            one(r#"{"type":"a","data":{ "n" : 1.10e+2 , "s":"a \" b\\", "z":12345678901234567890123 }}"#);
        assert_eq!(draft.data, br#"{"n":1.10e+2,"s":"a \" b\\","z":12345678901234567890123}"#[..]);
        assert_eq!(one(r#"{"type":7,"data":null}"#).data, b"null"[..]);
    }

    /// Each fault names its place.
    #[test]
    fn faults_point_at_the_member() {
        let bad = Code::BadEvent;
        assert_eq!(fault(r#"[{"data":1}]"#), (bad, "/0".into()));
        assert_eq!(fault(r#"{"type":"a"}"#), (bad, String::new()));
        assert_eq!(fault(r#"[{"type":"a","data":1,"time":"yesterday"}]"#), (bad, "/0/time".into()));
        assert_eq!(
            fault(r#"{"type":"a","data":1,"time":"1969-12-31T23:59:59Z"}"#),
            (Code::TimeRange, "/time".into())
        );
        assert_eq!(fault(r#"{"type":"a","data":1,"key":"00"}"#), (bad, "/key".into()));
        assert_eq!(fault(r#"{"type":"a","data":1,"data":1}"#), (bad, "/data".into()));
        assert_eq!(fault(r#"{"type":"a","data":1,"a/b":1}"#), (bad, "/a~1b".into()));
        assert_eq!(fault(r#"{"type":"a","data":1,"id":"x"}"#), (bad, "/id".into()));
        assert_eq!(fault(r#"{"type":{},"data":1}"#), (bad, "/type".into()));
        assert_eq!(fault(r#"{"type":"a","data":1,"version":0}"#), (bad, "/version".into()));
        assert_eq!(fault("[5]"), (bad, "/0".into()));
    }

    /// A broken line is one bad event; the lines around it are read.
    #[test]
    fn ndjson_lines_fail_alone() {
        let body = b"{\"type\":1,\"data\":1}\n\n{\"type\":\n{\"type\":2,\"data\":2}\r\n\xff";
        let drafts = ndjson(&Bytes::from_static(body), 10).expect("lines");
        assert_eq!(drafts.len(), 4);
        assert_eq!(drafts[3].as_ref().expect_err("no UTF-8").pointer, "/4");
        assert_eq!(drafts[1].as_ref().expect_err("half a line").pointer, "/2");
        assert!(drafts[0].is_ok() && drafts[2].is_ok());
        assert_eq!(
            ndjson(&Bytes::from_static(b"1\n2\n3"), 2).expect_err("too many").code,
            Code::TooManyEvents
        );
    }
}
