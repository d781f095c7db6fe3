//! The live changes of a View: which aggregates changed, because of which event, from any place on.

use laterbase_tests::{Client, Server, request};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// One frame of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) event: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl Frame {
    /// The frame in this text; none if it is a mere sign of life.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned())
        };
        let event = field("event")?;
        let data = serde_json::from_str(&field("data").expect("data")).expect("JSON");
        Some(Self { event, id: field("id"), data })
    }
}

/// A stream of frames: the connection, and what came of it and was not looked at.
pub(crate) struct Stream(Client, VecDeque<Frame>);

impl Stream {
    pub(crate) fn begin(server: &Server, target: &str, last: Option<&str>) -> Self {
        let headers: Vec<(&str, &str)> = last.map(|id| ("last-event-id", id)).into_iter().collect();
        Self::with(server, target, &headers)
    }

    /// The same with any headers.
    pub(crate) fn with(server: &Server, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut client = server.client().expect("a connection");
        let head = client.stream(target, headers).expect("an answer");
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        Self(client, VecDeque::new())
    }

    /// The next frame that is not a mere sign of life; none at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        while self.1.is_empty() {
            let chunk = self.0.frame().expect("a frame")?;
            self.1.extend(chunk.split_terminator("\n\n").filter_map(Frame::read));
        }
        self.1.pop_front()
    }

    /// The data of the next change.
    pub(crate) fn change(&mut self) -> Value {
        let frame = self.next().expect("the stream goes on");
        assert_eq!(frame.event, "change", "{frame:?}");
        frame.data
    }

    /// The changes up to where all are told, and the id of that.
    pub(crate) fn until_caught_up(&mut self) -> (Vec<Frame>, String) {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().expect("the stream goes on");
            if frame.event == "caught-up" {
                return (frames, frame.id.expect("an id"));
            }
            frames.push(frame);
        }
    }
}

fn post(server: &Server, events: &Value) -> Vec<String> {
    let answer = server.post("/tally/e", &events.to_string()).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer = answer.json();
    let keys = answer["events"].as_array().expect("events").iter();
    keys.map(|event| event["key"].as_str().expect("a key").to_owned()).collect()
}

fn add(second: u32, id: &str, item: &str, n: i64) -> Value {
    let time = format!("2026-05-01T10:{:02}:{:02}Z", second / 60, second % 60);
    json!({"type": "add", "time": time, "id": id, "data": {"item": item, "n": n}})
}

fn undo(second: u32, key: &str) -> Value {
    let time = format!("2026-05-01T11:{:02}:{:02}Z", second / 60, second % 60);
    json!({"type": "undo", "time": time, "id": format!("{second} {key}"), "data": {"key": key}})
}

// Goal: each event that changes an aggregate is told as it comes, late ones as late, retractions by what they retract,
// and what changes nothing is not told. A reader that comes back, also after a crash, misses nothing; an id that is not
// this replica's is answered with a reset.
#[test]
fn changes_are_told_as_they_come() {
    let mut server = Server::start(&[]).expect("a server");
    let mut early = Stream::begin(&server, "/tally/total?changes", None);
    let (frames, begin) = early.until_caught_up();
    assert_eq!((frames, begin.as_str()), (vec![], "0.0000000000000000"));
    let first = post(&server, &json!([add(10, "1", "apples", 1)])).remove(0);
    let change = early.change();
    let expected = json!({
        "key": "apples", "event": first, "time": "2026-05-01T10:00:10.000Z", "late": false, "cause": "event",
        "value": {"n": 1, "count": 1}
    });
    assert_eq!(change, expected, "the first event makes the root's files, and is told all the same");

    let mut stream = Stream::begin(&server, "/tally/total?changes", None);
    let mut pears = Stream::begin(&server, "/tally/total?changes&prefix=p", None);
    let (_, start) = stream.until_caught_up();
    pears.until_caught_up();
    let late = post(&server, &json!([add(5, "2", "apples", 2)])).remove(0);
    let change = stream.change();
    assert_eq!(
        (&change["event"], &change["late"], &change["value"]["n"]),
        (&json!(late), &json!(true), &json!(3))
    );
    let retraction = post(&server, &json!([undo(1, &first)])).remove(0);
    let change = stream.change();
    let shown =
        [&change["event"], &change["cause"], &change["retracted"], &change["late"], &change["value"]["n"]];
    assert_eq!(shown, [&json!(retraction), &json!("retraction"), &json!(first), &json!(false), &json!(2)]);
    // A second retraction of the same, a retraction of what is not there, and what comes retracted change nothing.
    let future = "69f479a00000000042344d791573a563";
    post(&server, &json!([undo(2, &first), undo(3, future)]));
    post(&server, &json!([{"type": "add", "key": future, "data": {"item": "plums", "n": 9}}]));
    post(&server, &json!([undo(4, &late)]));
    let change = stream.change();
    assert_eq!(
        (&change["retracted"], &change["value"]),
        (&json!(late), &Value::Null),
        "nothing is left of apples"
    );
    post(&server, &json!([add(20, "3", "pears", 7)]));
    let last = stream.next().expect("it goes on");
    assert_eq!((last.event.as_str(), &last.data["key"]), ("change", &json!("pears")));
    assert_eq!(pears.change(), last.data, "of the others nothing is told here");

    server.crash_and_restart().expect("a restart");
    let told = Stream::begin(&server, &format!("/tally/total?changes={start}"), None).until_caught_up();
    assert_eq!(told.0.len(), 4, "{told:?}");
    assert_eq!(Some(&told.1), last.id.as_ref());
    let again =
        Stream::begin(&server, "/tally/total?changes=0.0000000000000000", Some(&start)).until_caught_up();
    assert_eq!(again, told, "the header says how far the reader is");
    for strange in ["1.0000000000000000", "99.0123456789abcdef", "x", "1", "1.+123456789abcde"] {
        let mut stream = Stream::begin(&server, "/tally/total?changes", Some(strange));
        let frame = stream.next().expect("it goes on");
        assert_eq!((frame.event.as_str(), frame.id.as_ref()), ("reset", Some(&told.1)), "{strange}");
        assert_eq!(stream.until_caught_up().0, []);
    }
    let one =
        Stream::begin(&server, "/tally/daily?changes=0.0000000000000000&key=pears&key=2026-05-01", None)
            .until_caught_up();
    assert_eq!(one.0.len(), 1, "{one:?}");
    assert_eq!(one.0[0].data["key"], json!(["pears", "2026-05-01"]));
}

// Goal: whoever applies every change has what the View says, and every page of changes fits behind the one before.
// Method: 3,000 events, half of them late, some retracted, told from the beginning; the values of the last change of
// each aggregate against the list.
#[test]
fn all_changes_give_the_view() {
    let server = Server::start(&[]).expect("a server");
    let mut keys: Vec<String> = Vec::new();
    for part in 0..10_u32 {
        let event = |at: u32| {
            let number = 300 * part + at;
            add(number * 7919 % 3000, &number.to_string(), &format!("item {}", number % 37), number.into())
        };
        let mut events: Vec<Value> = (0..300).map(event).collect();
        events.extend(keys.iter().skip(part as usize).step_by(97).map(|key| undo(part, key)));
        keys.extend(post(&server, &Value::from(events)).into_iter().take(300));
    }
    let told = Stream::begin(&server, "/tally/total?changes=0.0000000000000000", None).until_caught_up().0;
    assert!(told.len() > 3000, "{}", told.len());
    assert!(told.iter().filter(|frame| frame.data["late"] == true).count() > 1000);
    let last: BTreeMap<&str, &Value> =
        told.iter().map(|frame| (frame.data["key"].as_str().expect("a key"), &frame.data["value"])).collect();
    let shown = server.get("/tally/total?limit=1000").expect("an answer").json();
    let items = shown["items"].as_array().expect("items");
    let expected: BTreeMap<&str, &Value> =
        items.iter().map(|item| (item["key"].as_str().expect("a key"), &item["value"])).collect();
    assert_eq!(last, expected);
    let ids: Vec<&str> = told.iter().filter_map(|frame| frame.id.as_deref()).collect();
    let middle = ids[ids.len() / 2];
    let rest = Stream::begin(&server, "/tally/total?changes", Some(middle)).until_caught_up().0;
    let at = told.iter().position(|frame| frame.id.as_deref() == Some(middle)).expect("it was told");
    assert_eq!(rest, told[at + 1..], "a reader goes on just behind what it has");
}

// Goal: a stream ends in order when the server is told to stop, and a wrong question is a status, not a stream.
#[test]
fn streams_end_and_wrong_questions_are_refused() {
    let mut server = Server::start(&[]).expect("a server");
    for (target, status, code) in [
        ("/tally/nothing?changes", 404, "unknown_view"),
        ("/epcis/stock?changes", 400, "bad_parameter"),
        ("/tally/total?changes&at=2026-05-01T10:00:00Z", 400, "bad_parameter"),
        ("/tally/total?changes&changes", 400, "bad_parameter"),
        ("/tally/total?changes&digest", 400, "bad_parameter"),
        ("/tally/total?digest&key=a", 400, "bad_parameter"),
        ("/tally/total?digest=1", 400, "bad_parameter"),
        ("/epcis/stock?digest", 400, "bad_parameter"),
        ("/tally/total?changes&other=1", 400, "bad_parameter"),
    ] {
        let answer = request(server.address(), "GET", target, &[], b"").expect("an answer");
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{target}");
    }
    let mut stream = Stream::begin(&server, "/tally/total?changes", None);
    stream.until_caught_up();
    post(&server, &json!([add(1, "1", "apples", 1)]));
    stream.change();
    server.signal("TERM").expect("sent");
    assert_eq!(stream.next(), None);
    assert_eq!(server.wait().expect("it ended").code(), Some(0));
}
