//! The forms in which events and lists go in and out: binary frames, NDJSON, CSV, packed by Zstandard and gzip.

use flate2::read::GzDecoder;
use laterbase::core::frames::{EventFrame, Frame, FrameTime, Frames, HEAD, write};
use laterbase_tests::{Answer, Server, request};
use serde_json::{Value, json};
use std::io::Read;

const FRAMES: &str = "application/vnd.laterbase.events";

fn filled() -> Server {
    let server = Server::start(&[]).expect("a server");
    let event = |number: u32| {
        let time = format!("2026-05-01T{:02}:00:00Z", number * 7 % 24);
        json!({"type": "add", "time": time, "id": number.to_string(), "data": {"item": format!("i, {}", number % 3), "n": number}})
    };
    let events: Vec<Value> = (0..20).map(event).collect();
    assert_eq!(server.post("/tally/e", &Value::from(events).to_string()).expect("an answer").status, 201);
    server
}

fn get(server: &Server, target: &str, headers: &[(&str, &str)]) -> Answer {
    request(server.address(), "GET", target, headers, b"").expect("an answer")
}

fn post(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    request(server.address(), "POST", "/tally/e", headers, body).expect("an answer")
}

/// The events of a feed without their dots, which are the server's own.
fn events(server: &Server) -> Vec<Value> {
    let mut page = get(server, "/tally/e", &[]).json();
    let events = page["events"].as_array_mut().expect("events");
    for event in events.iter_mut() {
        drop(event.as_object_mut().expect("an object").remove("dot"));
    }
    std::mem::take(events)
}

// Goal: pages of frames, written to another server as they came, make equal feeds, and nothing the second time.
#[test]
fn frames_go_from_server_to_server() {
    let (from, to) = (filled(), Server::start(&[]).expect("a server"));
    let mut cursor = String::new();
    for page in 0..3 {
        let frames = get(&from, &format!("/tally/e?limit=8{cursor}"), &[("accept", FRAMES)]);
        assert_eq!((frames.status, frames.header("content-type")), (200, Some(FRAMES)));
        let packed = zstd::encode_all(frames.body.as_slice(), 3).expect("into memory");
        let headers = [("content-type", FRAMES), ("content-encoding", "zstd"), ("prefer", "return=minimal")];
        let answer = post(&to, &headers, &packed);
        let count = if page < 2 { 8 } else { 4 };
        assert_eq!((answer.status, &answer.json()["written"]), (201, &json!(count)), "{}", answer.text());
        assert_eq!(answer.header("preference-applied"), Some("return=minimal"));
        assert!(answer.json().get("events").is_none());
        let again = post(&to, &[("content-type", FRAMES)], &frames.body);
        assert_eq!((again.status, &again.json()["duplicate"]), (200, &json!(count)));
        let Some(Ok(Frame::End(end))) = Frames::new(&frames.body, 1 << 20).last() else { panic!("no end") };
        assert_eq!((end.left, end.vv.is_some()), (Some([12, 4, 0][page]), page == 2));
        cursor = end.cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    }
    assert_eq!((cursor.as_str(), events(&from)), ("", events(&to)));
}

// Goal: an id and a time in a frame are what they are in JSON; bad frames are refused whole, by name, and bad events by
// their index.
#[test]
fn frames_are_as_good_as_json() {
    let server = filled();
    let time = laterbase::core::event::ValidTime::from_millis(1_777_593_600_000).expect("in range");
    let event = EventFrame {
        when: FrameTime::At(time),
        id: Some("0"),
        type_number: 1,
        version: None,
        data: br#"{"item":"i, 0","n":0}"#,
        dot: None,
        clash: false,
    };
    let body = |events: &[EventFrame<'_>]| {
        let mut bytes = HEAD.to_vec();
        for event in events {
            write(&mut bytes, &Frame::Event(*event));
        }
        bytes
    };
    let headers = [("content-type", FRAMES)];
    let known = post(&server, &headers, &body(&[event]));
    assert_eq!(
        (known.status, &known.json()["duplicate"], &known.json()["events"][0]["id"]),
        (200, &json!(1), &json!("0"))
    );
    let bad = EventFrame { type_number: 99, ..event };
    let refused = post(&server, &headers, &body(&[event, bad]));
    let listed = &refused.json()["events"][0];
    assert_eq!((refused.status, &listed["index"], &listed["pointer"]), (422, &json!(1), &json!("/1/type")));
    let good = body(&[event]);
    let (mut flipped, mut later) = (good.clone(), good.clone());
    flipped[20] ^= 1;
    later[4] = 2;
    let long = [&HEAD[..], &u32::MAX.to_be_bytes(), b"...."].concat();
    for (body, status, code) in [
        (&good[..good.len() - 1], 400, "frames_truncated"),
        (&flipped, 400, "frames_damaged"),
        (&later, 415, "frames_version"),
        (&long, 413, "frame_too_long"),
        (b"[{}]", 400, "bad_frames"),
        (&HEAD, 400, "empty_body"),
    ] {
        let answer = post(&server, &headers, body);
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{}", answer.text());
    }
    assert_eq!(events(&server).len(), 20, "nothing of a refused request is stored");
}

// Goal: each form holds what the JSON does, over the wire and packed; what is asked for in vain is told.
#[test]
fn every_form_says_the_same() {
    let server = filled();
    let json = get(&server, "/tally/e?limit=7", &[]);
    for (word, unpack) in [("zstd", zstd as fn(&[u8]) -> Vec<u8>), ("gzip", gzip)] {
        let packed = get(&server, "/tally/e?limit=7", &[("accept-encoding", word)]);
        assert_eq!(packed.header("content-encoding"), Some(word));
        assert!(packed.body.len() < json.body.len());
        assert_eq!(unpack(&packed.body), json.body, "{word}");
    }
    let lines = get(&server, "/tally/e?limit=7", &[("accept", "application/x-ndjson")]);
    let mut lines: Vec<Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let end = lines.pop().expect("a last line");
    let page = json.json();
    assert_eq!(
        (&Value::from(lines), &end["cursor"], &end["left"]),
        (&page["events"], &page["cursor"], &page["left"])
    );
    let table = get(&server, "/tally/e?limit=7", &[("accept", "text/csv")]);
    assert_eq!(table.text().split("\r\n").count(), 9);
    assert_eq!(table.header("laterbase-cursor"), page["cursor"].as_str());
    assert_eq!(table.header("laterbase-left"), Some("13"));
    let total = get(&server, "/tally/total", &[("accept", "text/csv")]);
    assert_eq!(total.text(), "key,n,count\r\n\"i, 0\",63,7\r\n\"i, 1\",70,7\r\n\"i, 2\",57,6\r\n");
    let daily = get(&server, "/tally/daily?limit=1", &[("accept", "text/csv")]);
    assert_eq!(daily.text(), "key1,key2,n,count\r\n\"i, 0\",2026-05-01,63,7\r\n");
    assert!(daily.header("laterbase-cursor").is_some());
    let one =
        get(&server, "/tally/total?key=i,%200", &[("accept", "text/csv;q=0.9, application/json;q=0.1")]);
    assert_eq!(one.text(), "key,n,count\r\n\"i, 0\",63,7\r\n");
    let roots = get(&server, "/_/roots", &[("accept", "text/csv")]);
    assert!(roots.text().starts_with("root,plugins,stored\r\n"), "{}", roots.text());
    assert!(roots.text().contains("tally,\"[\"\"tally\"\"]\",true\r\n"), "{}", roots.text());
    assert!(get(&server, "/_/plugins", &[("accept", "text/csv")]).text().contains("tally"));
    assert_eq!(get(&server, "/_/peers", &[("accept", "text/csv")]).text(), "\r\n");
    for target in ["/tally/e", "/tally/total", "/_/roots"] {
        let refused = get(&server, target, &[("accept", "text/html")]);
        assert_eq!((refused.status, &refused.json()["code"]), (406, &json!("not_acceptable")), "{target}");
        assert!(
            refused.json()["offered"].as_array().is_some_and(|offered| offered.contains(&json!("text/csv")))
        );
    }
}

fn zstd(packed: &[u8]) -> Vec<u8> {
    zstd::decode_all(packed).expect("Zstandard")
}

fn gzip(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut plain).expect("gzip");
    plain
}
