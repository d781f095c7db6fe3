//! From a body's bytes to drafts of events: JSON and NDJSON in Laterbase's own form.
//!
//! Every fault carries a JSON pointer into the body (`/3/time` is the member `time` of the fourth event of an array
//! or the fourth line; `/time` that of a single object). `data` is kept byte for byte but for white space outside
//! strings: numbers are never read as floats.

use super::draft::{BadEvent, Draft, Drafted, Place, TypeRef, When};
use crate::core::event::{EventKey, ValidTime};
use crate::problem::{Code, Problem};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The drafts in a JSON body: one object, or an array of them. The body as a whole must be JSON.
pub(super) fn json(body: &[u8], events_max: usize) -> Result<Vec<Drafted>, Problem> {
    let text = utf8(body)?;
    if text.trim_start().starts_with('[') {
        let events: Vec<&RawValue> = whole(text)?;
        within(events.len(), events_max)?;
        return Ok(events.iter().enumerate().map(|(at, raw)| event(raw.get(), Place::Nth(at))).collect());
    }
    let raw: &RawValue = whole(text)?;
    Ok(vec![event(raw.get(), Place::Whole)])
}

/// The drafts in an NDJSON body, one a line; empty lines are passed over. A broken line is a bad event.
pub(super) fn ndjson(body: &[u8], events_max: usize) -> Result<Vec<Drafted>, Problem> {
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    let lines: Vec<_> = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
    within(lines.len(), events_max)?;
    Ok(lines.into_iter().map(|(at, line)| ndjson_line(line, Place::Nth(at))).collect())
}

fn ndjson_line(line: &[u8], pointer: Place) -> Drafted {
    let Ok(text) = std::str::from_utf8(line) else {
        return Err(BadEvent::new(Code::BadJson, pointer, "the line is not UTF-8"));
    };
    match serde_json::from_str(text) {
        Ok(Members(members)) => draft(members, pointer),
        // Not an object, or not JSON at all: only reading it as anything tells.
        Err(fault) => match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => Err(BadEvent::new(Code::BadEvent, pointer, fault.to_string())),
            Err(fault) => {
                Err(BadEvent::new(Code::BadJson, pointer, format!("the line is not JSON: {fault}")))
            }
        },
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

/// The members of an object in the order of the text, values unread.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event, which is a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some(Text(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
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
    data: Option<Vec<u8>>,
}

fn event(text: &str, pointer: Place) -> Drafted {
    let Members(members) = serde_json::from_str(text)
        .map_err(|fault| BadEvent::new(Code::BadEvent, &pointer, format!("{fault}")))?;
    draft(members, pointer)
}

fn draft(members: Vec<(Cow<'_, str>, &RawValue)>, pointer: Place) -> Drafted {
    let mut raw = Raw::default();
    for (name, value) in members {
        let at = || format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        let repeated =
            take(&mut raw, &name, value.get()).map_err(|(code, why)| BadEvent::new(code, at(), why))?;
        if repeated {
            return Err(BadEvent::new(Code::BadEvent, at(), "this member stands twice"));
        }
    }
    assemble(raw, pointer)
}

/// Reads one member into its place; true if the place was taken.
fn take(raw: &mut Raw, name: &str, value: &str) -> Result<bool, (Code, String)> {
    let bad = |why: &str| (Code::BadEvent, why.to_owned());
    Ok(match name {
        "type" => raw.type_ref.replace(type_ref(value).ok_or_else(|| bad(TYPE_FORM))?).is_some(),
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
            raw.id.replace(id.ok_or_else(|| bad("an id is a text that is not empty"))?.into_owned()).is_some()
        }
        "data" => raw.data.replace(minified(value)).is_some(),
        "data_base64" => {
            let bytes = string(value).and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok());
            raw.data.replace(bytes.ok_or_else(|| bad("not base64 (RFC 4648, with padding)"))?).is_some()
        }
        _ => {
            return Err(bad(
                "unknown member: an event has type, version, time, key, id and data or data_base64",
            ));
        }
    })
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
fn tail_of_id(id: &str) -> [u8; 8] {
    let mut tail = [0; 8];
    blake3::Hasher::new().update(id.as_bytes()).finalize_xof().fill(&mut tail);
    tail
}

fn string(value: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value).ok().map(|Text(text)| text)
}

fn type_ref(value: &str) -> Option<TypeRef> {
    if value.starts_with('"') {
        return string(value).map(|name| TypeRef::Name(name.into_owned()));
    }
    serde_json::from_str(value).ok().map(TypeRef::Number)
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

/// JSON text without white space outside strings.
fn minified(text: &str) -> Vec<u8> {
    if !text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return text.as_bytes().to_vec();
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
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Draft {
        json(text.as_bytes(), 10).expect("JSON").pop().expect("one event").expect("a good event")
    }

    fn fault(text: &str) -> (Code, String) {
        let bad =
            json(text.as_bytes(), 10).expect("JSON").pop().expect("one event").expect_err("a bad event");
        (bad.code, bad.pointer)
    }

    /// Data is the user's: numbers, escapes and order stay, only white space outside strings goes.
    #[test]
    fn data_is_kept_byte_for_byte() {
        let draft =
            one(r#"{"type":"a","data":{ "n" : 1.10e+2 , "s":"a \" b\\", "z":12345678901234567890123 }}"#);
        assert_eq!(draft.data, br#"{"n":1.10e+2,"s":"a \" b\\","z":12345678901234567890123}"#);
        assert_eq!(one(r#"{"type":7,"data":null}"#).data, b"null");
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
        let drafts =
            ndjson(b"{\"type\":1,\"data\":1}\n\n{\"type\":\n{\"type\":2,\"data\":2}\r\n", 10).expect("lines");
        assert_eq!(drafts.len(), 3);
        assert_eq!(drafts[1].as_ref().expect_err("half a line").pointer, "/2");
        assert!(drafts[0].is_ok() && drafts[2].is_ok());
        assert_eq!(ndjson(b"1\n2\n3", 2).expect_err("too many").code, Code::TooManyEvents);
    }
}
