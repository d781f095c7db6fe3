//! The same page in every format: the same events in the same order, and the same end.

use super::model::{Names, ROOT, Replica, key, knowing, value};
use crate::core::event::*;
use crate::core::frames::{EndFrame, EventFrame, Frame, FrameTime, Frames};
use crate::feed::{Format, Page, Query, page};

fn replica() -> Replica {
    let mut replica = Replica::default();
    replica.admit(1, key(1, 1), &value(1, "{\"item\":\"a, \\\"b\\\"\"}"));
    replica.admit(1, key(1, 1), &value(1, "{\"item\":\"c\"}"));
    replica.admit(2, key(2, 1), &value(7, "not JSON"));
    replica.admit(2, key(3, 1), &value(2, "=1+1"));
    replica
}

fn in_format(format: Format, limit: usize) -> Page {
    page(&replica(), ROOT, &Query { format, ..knowing("", limit) }, &Names).expect("a page")
}

fn text(page: Page) -> String {
    String::from_utf8(page.into_body()).expect("UTF-8")
}

// A line of NDJSON is an element of the JSON page; the last line has the other members.
#[test]
fn ndjson() {
    for limit in [2, 10] {
        let json: serde_json::Value =
            serde_json::from_str(&text(in_format(Format::Json, limit))).expect("JSON");
        let lines = text(in_format(Format::Ndjson, limit));
        assert!(lines.ends_with("}\n"));
        let mut lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let end = lines.pop().expect("a last line");
        assert_eq!(json["events"], serde_json::Value::from(lines));
        let members = json.as_object().expect("an object").iter().filter(|(name, _)| *name != "events");
        let members = members.map(|(name, value)| (name.clone(), value.clone()));
        assert_eq!(end, serde_json::Value::Object(members.collect()));
    }
}

// Frames hold what the JSON shows, and data as it is stored.
#[test]
fn frames() {
    let (first, last) = (in_format(Format::Frames, 3), in_format(Format::Frames, 4));
    let (cursor, vv) = (first.cursor.clone(), last.vv.clone());
    let body = first.into_body();
    let mut frames: Vec<Frame<'_>> = Frames::new(&body, 1 << 20).collect::<Result<_, _>>().expect("frames");
    let end = EndFrame { left: Some(1), cursor: cursor.as_deref(), vv: None };
    assert_eq!(frames.pop(), Some(Frame::End(end)));
    let expected = |ms, seq: u64, number, data: &'static str, clash| {
        let dot = Dot { origin: super::model::origin(if ms == 1 { 1 } else { 2 }), seq: Seq(seq) };
        let when = FrameTime::Key(key(ms, 1));
        let (type_number, version, data) = (number, Some(1), data.as_bytes());
        Frame::Event(EventFrame { when, id: None, type_number, version, data, dot: Some(dot), clash })
    };
    let expected = [
        expected(1, 1, 1, "{\"item\":\"a, \\\"b\\\"\"}", false),
        expected(1, 2, 1, "{\"item\":\"c\"}", true),
        expected(2, 1, 7, "not JSON", false),
    ];
    assert_eq!(frames, expected);
    let body = last.into_body();
    let end = Frames::new(&body, 1 << 20).last().expect("an end");
    assert_eq!(end, Ok(Frame::End(EndFrame { left: Some(0), cursor: None, vv: vv.as_deref() })));
}

// A row for each event, its data as one cell, in the way of RFC 4180.
#[test]
fn csv() {
    let lines: Vec<String> = text(in_format(Format::Csv, 10)).split("\r\n").map(str::to_owned).collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(lines[0], "key,time,type,type_name,version,dot,clash,data,data_base64");
    let hex = key(1, 1).to_string();
    let row = format!(
        "{hex},2026-01-01T00:00:00.001Z,1,add,1,0101010101010101:2,true,\"{{\"\"item\"\":\"\"c\"\"}}\","
    );
    assert_eq!(lines[2], row);
    assert!(lines[1].ends_with(",,\"{\"\"item\"\":\"\"a, \\\"\"b\\\"\"\"\"}\","), "{}", lines[1]);
    assert!(lines[3].ends_with(",7,,1,0202020202020202:1,,,bm90IEpTT04="), "{}", lines[3]);
    assert!(lines[4].contains(",2,\"undo \"\"it\"\"\",1,"), "{}", lines[4]);
}
