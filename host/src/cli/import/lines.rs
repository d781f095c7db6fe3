//! A line of NDJSON, or a binary frame, as it is sent: what POST takes, or a line of a feed, whose key is kept and
//! whose dot is not.
//!
//! A line is only looked at, not judged: what is wrong with it the server says. One that has a `time` and neither `id`
//! nor `key` gets the id `row N HASH`, so that importing it again writes nothing.

use super::time::Clock;
use crate::admit::tail_of_id;
use crate::core::event::EventKey;
use crate::core::frames::{self, EventFrame, Frame, FrameTime};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::Write;

/// The members that decide what a line is.
#[derive(Deserialize)]
struct Looked<'a> {
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<&'a RawValue>,
    dot: Option<IgnoredAny>,
    vv: Option<IgnoredAny>,
    cursor: Option<IgnoredAny>,
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is known of a line that is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its key, if it has one before it is sent.
    pub(super) key: Option<EventKey>,
    /// It names its version.
    pub(super) has_version: bool,
    /// It names neither time nor key: the server says when it happened.
    pub(super) is_live: bool,
}

/// Appends a line; none if it is the end of a feed's page, which is no event.
pub(super) fn line(row: u64, clock: &Clock, text: &[u8], out: &mut Vec<u8>) -> Option<Line> {
    let unread = Line { key: None, has_version: true, is_live: false };
    let Ok(looked) = serde_json::from_slice::<Looked<'_>>(text) else {
        append(text, out);
        return Some(unread);
    };
    if looked.kind.is_none() && (looked.vv.is_some() || looked.cursor.is_some()) {
        return None;
    }
    let has_version = looked.version.is_some();
    let key = looked.key.as_ref().and_then(|Text(text)| text.parse::<EventKey>().ok());
    if let (Some(key), Some(_), Some(kind)) = (key, &looked.dot, looked.kind) {
        write!(out, "{{\"type\":{kind}").expect("a Vec takes all");
        let members =
            [("version", looked.version), ("data", looked.data), ("data_base64", looked.data_base64)];
        for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            write!(out, ",\"{name}\":{value}").expect("a Vec takes all");
        }
        writeln!(out, ",\"key\":\"{key}\"}}").expect("a Vec takes all");
        return Some(Line { key: Some(key), has_version, is_live: false });
    }
    let time = looked.time.as_ref().and_then(|Text(text)| clock.read(text).ok());
    let is_live = looked.time.is_none() && looked.key.is_none();
    let id = match (&looked.time, &looked.id, &looked.key) {
        (Some(_), None, None) => {
            let hash = blake3::hash(text.trim_ascii()).to_hex();
            let id = format!("row {row} {}", hash.get(..16).unwrap_or_default());
            let rest = text.trim_ascii_start().strip_prefix(b"{").unwrap_or_default();
            write!(out, "{{\"id\":\"{id}\",").expect("a Vec takes all");
            append(rest, out);
            Some(Cow::Owned(id))
        }
        (_, id, _) => {
            append(text, out);
            id.as_ref().map(|Text(id)| Cow::Borrowed(id.as_ref()))
        }
    };
    let made = time.zip(id).map(|(time, id)| EventKey::new(time, tail_of_id(&id)));
    Some(Line { key: key.or(made), has_version, is_live })
}

/// Appends a frame that was read whole; none if it is the end of a feed's page.
pub(super) fn frame(row: u64, bytes: &[u8], out: &mut Vec<u8>) -> Option<Line> {
    let Ok(Some((Frame::Event(event), _))) = frames::read_frame(bytes, 0, bytes.len()) else { return None };
    let has_version = event.version.is_some();
    let made = matches!((event.when, event.id), (FrameTime::At(_), None)).then(|| {
        let hash = blake3::hash(bytes).to_hex();
        format!("row {row} {}", hash.get(..16).unwrap_or_default())
    });
    let event = EventFrame { id: made.as_deref().or(event.id), ..event };
    frames::write(out, &Frame::Event(event));
    let key = match (event.when, event.id) {
        (FrameTime::Key(key), _) => Some(key),
        (FrameTime::At(time), Some(id)) => Some(EventKey::new(time, tail_of_id(id))),
        (FrameTime::At(_) | FrameTime::Now, _) => None,
    };
    Some(Line { key, has_version, is_live: event.when == FrameTime::Now })
}

fn append(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> (String, Option<Line>) {
        let clock = Clock::new(None, None, None).expect("a clock");
        let mut out = Vec::new();
        let line = line(3, &clock, text.as_bytes(), &mut out);
        (String::from_utf8(out).expect("UTF-8"), line)
    }

    /// A feed's line keeps its key and loses what POST does not take; its end is no event.
    #[test]
    fn feed_lines_are_events() {
        let key = "69f479a00000000042344d791573a563";
        let (text, line) = sent(&format!(
            r#"{{"key":"{key}","time":"2026-05-01T10:00:00.000Z","type":1,"type_name":"add","version":2,"dot":"a4d3c7a8c1f2b011:1","clash":true,"data":{{"n":1.0}}}}"#
        ));
        assert_eq!(text, format!("{{\"type\":1,\"version\":2,\"data\":{{\"n\":1.0}},\"key\":\"{key}\"}}\n"));
        assert_eq!(line, Some(Line { key: key.parse().ok(), has_version: true, is_live: false }));
        assert_eq!(sent(r#"{"left":0,"vv":"a4d3c7a8c1f2b011:1"}"#), (String::new(), None));
    }

    /// Other lines are sent as they are, but for an id where a time has none.
    #[test]
    fn lines_are_sent_as_they_are() {
        let with_id = r#"{"type":"add","time":"2026-05-01T10:00:00Z","id":"a","data":1}"#;
        let (text, line) = sent(with_id);
        assert_eq!(text, format!("{with_id}\n"));
        let key = line.and_then(|line| line.key).expect("a key");
        assert_eq!(key.tail(), tail_of_id("a"));
        let (text, line) = sent(r#" { "type":"add","time":"2026-05-01T10:00:00Z","data":1}"#);
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let id = json["id"].as_str().expect("an id");
        assert!(id.starts_with("row 3 "), "{text}");
        assert_eq!(line.and_then(|line| line.key).expect("a key").tail(), tail_of_id(id));
        let now = r#"{"type":"add","data":1}"#;
        let (text, line) = sent(now);
        assert_eq!(text, format!("{now}\n"));
        assert_eq!(line, Some(Line { key: None, has_version: false, is_live: true }));
        for broken in ["{\"type\":", "[]", "{\"type\":1,\"type\":1}"] {
            let (text, line) = sent(broken);
            assert_eq!(text, format!("{broken}\n"));
            assert!(line.is_some_and(|line| line.key.is_none()));
        }
    }
}
