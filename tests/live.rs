//! The live feed over real connections: every event once and in order, whatever is cut, killed, slow or swapped.

use crate::changes::{Frame, Stream};
use laterbase_tests::{Client, Server, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const SSE: (&str, &str) = ("accept", "text/event-stream");
const JSON: [(&str, &str); 2] = [("content-type", "application/json"), ("prefer", "return=minimal")];

/// An event at a second of May 2026, which is the same whenever it is sent.
fn add(number: u64, second: u64) -> Value {
    let (day, hour, minute) = (1 + second / 86_400 % 28, second / 3600 % 24, second / 60 % 60);
    let time = format!("2026-05-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60);
    json!({"type": "add", "time": time, "id": number.to_string(), "data": {"item": format!("i{}", number % 7), "n": number}})
}

/// Writes events; false if the connection broke, or the server is only starting.
fn write(client: &mut Client, events: &[Value]) -> bool {
    let body = Value::from(events.to_vec()).to_string();
    match client.send("POST", "/tally/e", &JSON, body.as_bytes()) {
        Ok(answer) if answer.status == 503 && answer.text().contains("\"starting\"") => false,
        Ok(answer) => {
            assert!(answer.status < 300, "{}", answer.text());
            true
        }
        Err(_) => false,
    }
}

/// A reader that takes bytes as they come, so that it can be cut in mid-frame.
struct Reader {
    stream: TcpStream,
    bytes: Vec<u8>,
    taken: usize,
}

impl Reader {
    fn begin(address: SocketAddr, target: &str, last: Option<&str>) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let id = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let head = format!("GET {target} HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n{id}\r\n");
        stream.write_all(head.as_bytes())?;
        Ok(Self { stream, bytes: Vec::new(), taken: 0 })
    }

    /// Reads at most `most` bytes more; false at the end, and where the server is only starting.
    fn read(&mut self, most: usize) -> bool {
        let mut buffer = vec![0; most];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.bytes.extend_from_slice(&buffer[..read]);
                !self.bytes.starts_with(b"HTTP/1.1 503")
            }
        }
    }

    /// The whole frames that came since the last call.
    fn frames(&mut self) -> Vec<Frame> {
        let Some(head) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Vec::new();
        };
        let body = unchunked(&self.bytes[head + 4..]);
        let new = &body[self.taken..];
        let Some(end) = new.windows(2).rposition(|two| two == b"\n\n") else { return Vec::new() };
        self.taken += end + 2;
        let text = std::str::from_utf8(&new[..end]).expect("UTF-8");
        text.split("\n\n").filter_map(Frame::read).collect()
    }
}

/// What has come of a chunked body so far.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size =
            std::str::from_utf8(&bytes[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.expect("the size of a chunk");
        let rest = &bytes[line + 2..];
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        if rest.len() < size + 2 {
            break;
        }
        bytes = &rest[size + 2..];
    }
    body
}

/// What a reader has got over all of its connections.
#[derive(Default)]
struct Got {
    /// Keys in the order of their frames, with their ids.
    events: Vec<(String, String)>,
    last: Option<String>,
    caught_up: usize,
    vv: String,
}

impl Got {
    fn take(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            match frame.event.as_str() {
                "event" => {
                    let key = frame.data["key"].as_str().expect("a key").to_owned();
                    self.events.push((key, frame.id.clone().expect("an id")));
                }
                "caught-up" => {
                    self.caught_up += 1;
                    frame.data["vv"].as_str().expect("a vv").clone_into(&mut self.vv);
                }
                other => panic!("{other}: {}", frame.data),
            }
            self.last = frame.id.or(self.last.take());
        }
    }
}

/// Every event's key, in key order.
fn feed(server: &Server, vv: &str) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/tally/e?limit=10000&vv={vv}{cursor}")).expect("an answer").json();
        let events = page["events"].as_array().expect("events").iter();
        keys.extend(events.map(|event| event["key"].as_str().expect("a key").to_owned()));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return keys,
        }
    }
}

/// Writes back-dated events one after the other until told to stop, through all crashes; gives how many.
fn write_on(address: SocketAddr, first: u64, seed: u64, done: &AtomicBool) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut number = first;
    while !done.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::connect(address) else {
            std::thread::yield_now();
            continue;
        };
        loop {
            let events: Vec<Value> =
                (number..number + 5).map(|number| add(number, random.random_range(0..2_000_000))).collect();
            // What was sent when the line broke is lost or not: the next events are others, so that none counts twice.
            number += 5;
            if !write(&mut client, &events) || done.load(Ordering::Relaxed) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    number - first
}

// Goal: every event once and in the promised order, though the line is cut 100 times, in mid-frame, too, and the server
// is killed with -9 ten times, while back-dated events are written. Method: cuts after a random number of bytes; the
// reader goes on with the id of the last whole frame. First comes what was there at the beginning, by key; behind it
// the ids must count the arrivals one by one.
#[test]
fn a_reader_that_is_cut_gets_every_event_once() {
    let seed = seed("a_reader_that_is_cut_gets_every_event_once");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Server::start(&[]).expect("a server");
    let events: Vec<Value> = (0..3000).map(|number| add(number, random.random_range(0..2_000_000))).collect();
    assert!(write(&mut server.client().expect("a connection"), &events));
    let (address, done, mut got) = (server.address(), AtomicBool::new(false), Got::default());
    let mut in_walk = 0;
    std::thread::scope(|threads| {
        threads.spawn(|| write_on(address, 3000, seed, &done));
        for cut in 0..100 {
            let mut reader = Reader::begin(address, "/tally/e", got.last.as_deref()).expect("a connection");
            let mut budget: usize = random.random_range(1..30_000);
            // Once all is told, little more comes: then the line is cut when a few events came.
            while budget > 0 && reader.read(budget.min(1460)) {
                budget = budget.saturating_sub(if got.caught_up > 0 { 4000 } else { 1460 });
                got.take(reader.frames());
            }
            in_walk += usize::from(got.last.as_ref().is_some_and(|id| id.split('.').count() == 3));
            if cut % 10 == 9 {
                // It dies while it writes to the reader; some of what was on its way still comes.
                server.kill().expect("it ran");
                if reader.read(random.random_range(1..30_000)) {
                    got.take(reader.frames());
                }
                server.restart().expect("a restart");
            }
            drop(reader);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(in_walk > 10 && in_walk < 90, "{in_walk} cuts of 100 fell into the walk");
    let mut reader = Reader::begin(address, "/tally/e", got.last.as_deref()).expect("a connection");
    let caught_up = got.caught_up;
    while got.caught_up == caught_up {
        assert!(reader.read(1 << 16), "the stream goes on");
        got.take(reader.frames());
    }

    let parts = |id: &str| -> (u64, usize) {
        let arrival = id.split('.').next().and_then(|number| number.parse().ok()).expect("a number");
        (arrival, id.split('.').count())
    };
    // The writer may have been quicker than the first reader.
    let (begin, _) = parts(&got.events[0].1);
    assert!(begin >= 3000, "{begin}");
    let (walked, followed) = got.events.split_at(usize::try_from(begin).expect("few"));
    assert!(walked.iter().all(|(_, id)| parts(id) == (begin, 3)), "what was there comes first");
    assert!(walked.is_sorted_by(|(one, _), (next, _)| one < next), "the walk is in key order");
    let numbers: Vec<(u64, usize)> = followed.iter().map(|(_, id)| parts(id)).collect();
    let expected: Vec<(u64, usize)> = (begin + 1..).map(|number| (number, 2)).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "behind it each arrival comes once, in order");
    let keys: BTreeSet<&String> = got.events.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), got.events.len(), "no event comes twice");
    let stored = feed(&server, "");
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), stored.iter().collect::<Vec<_>>(), "none is missing");
    assert!(numbers.len() > 200, "{} arrived meanwhile", numbers.len());
    assert_eq!(feed(&server, &got.vv), [""; 0], "the vv of the last caught-up names them all");
}

fn live(server: &Server, target: &str, last: Option<&str>) -> Stream {
    let headers: Vec<(&str, &str)> = [SSE].into_iter().chain(last.map(|id| ("last-event-id", id))).collect();
    Stream::with(server, target, &headers)
}

fn numbers(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.data["data"]["n"].as_u64().expect("a number")).collect()
}

// Goal: events come as they are written, filters narrow them, a vv hides what it names, the root's first event makes
// its files and is told all the same, and SIGTERM ends the stream in order.
#[test]
fn events_are_told_as_they_come() {
    let mut server = Server::start(&[]).expect("a server");
    let mut all = live(&server, "/tally/e", None);
    let (frames, id) = all.until_caught_up();
    assert_eq!((frames.len(), id.as_str()), (0, "0.00000000"));
    let mut client = server.client().expect("a connection");
    assert!(write(&mut client, &[add(1, 500)]));
    let first = all.next().expect("it goes on");
    assert_eq!((first.event.as_str(), &first.data["data"]["n"]), ("event", &json!(1)));
    let page = server.get("/tally/e").expect("an answer").json();
    assert_eq!(first.data, page["events"][0], "a frame's data is an element of a page");

    let vv = page["vv"].as_str().expect("a vv");
    let mut knows = live(&server, &format!("/tally/e?vv={vv}"), None);
    assert_eq!(knows.until_caught_up().0, []);
    let window = "from=2026-05-01T00:01:00Z&to=2026-05-01T00:02:00Z";
    let mut narrow = live(&server, &format!("/tally/e?{window}&type=add"), None);
    narrow.until_caught_up();
    let mut undone = live(&server, "/tally/e?type=undo", None);
    assert_eq!(undone.until_caught_up().0, []);
    let key = first.data["key"].as_str().expect("a key");
    let undo = json!({"type": "undo", "time": "2026-05-01T00:01:30Z", "id": "u", "data": {"key": key}});
    assert!(write(&mut client, &[add(2, 59), add(3, 60), undo, add(4, 119), add(5, 120)]));
    let next = |stream: &mut Stream| stream.next().expect("it goes on");
    assert_eq!(numbers(&[next(&mut narrow), next(&mut narrow)]), [3, 4]);
    assert_eq!(next(&mut undone).data["type_name"], "undo");
    let five: Vec<Frame> = (0..5).map(|_| next(&mut knows)).collect();
    assert_eq!((five[0].data["data"]["n"].as_u64(), five[4].data["data"]["n"].as_u64()), (Some(2), Some(5)));

    // Back with an id: what came behind it, whatever the URL says; narrowed as the URL says.
    let again = live(&server, "/tally/e", five[1].id.as_deref()).until_caught_up();
    assert_eq!((again.0, Some(&again.1)), (five[2..].to_vec(), five[4].id.as_ref()));
    let narrowed =
        live(&server, &format!("/tally/e?{window}&type=add"), five[1].id.as_deref()).until_caught_up();
    assert_eq!(numbers(&narrowed.0), [4]);
    let mut scoped = live(&server, &format!("/tally/e?{window}"), None);
    while let Some(frame) = scoped.next() {
        if frame.event == "caught-up" {
            assert!(frame.data["vv"].as_str().is_some_and(|vv| vv.starts_with('@')), "{frame:?}");
            break;
        }
    }
    for (target, code) in [
        ("/tally/e?limit=1", "bad_parameter"),
        ("/tally/e?cursor=abc", "bad_parameter"),
        ("/tally/e?max_bytes=9", "bad_parameter"),
        ("/tally/e?vv=x", "bad_vv"),
        ("/tally/e?type=nothing", "bad_parameter"),
        ("/nowhere/e", "unknown_root"),
    ] {
        let answer =
            server.client().expect("a connection").send("GET", target, &[SSE], b"").expect("an answer");
        assert_eq!(answer.json()["code"], code, "{target}");
    }
    server.signal("TERM").expect("sent");
    for stream in [&mut knows, &mut narrow, &mut undone] {
        assert_eq!(stream.next(), None);
    }
    assert_eq!(server.wait().expect("it ended").code(), Some(0));
}

// Goal: a reader whose id is of another incarnation is told so, and gets what its URL says. Method: the data folder is
// swapped for an empty one while the server is down, and filled with as many events.
#[test]
fn another_incarnation_is_told() {
    let mut server = Server::start(&[]).expect("a server");
    let events: Vec<Value> = (0..20).map(|number| add(number, number)).collect();
    assert!(write(&mut server.client().expect("a connection"), &events));
    let (frames, id) = live(&server, "/tally/e", None).until_caught_up();
    let in_walk = frames[7].id.clone().expect("an id");
    server.crash_and_restart().expect("a restart");
    assert_eq!(
        live(&server, "/tally/e", Some(&id)).until_caught_up().0,
        [],
        "a restart is no other incarnation"
    );
    assert_eq!(live(&server, "/tally/e", Some(&in_walk)).until_caught_up().0, frames[8..]);
    server.kill().expect("it ran");
    std::fs::remove_dir_all(server.folder().join("data")).expect("there is data");
    server.restart().expect("a restart");
    assert!(write(&mut server.client().expect("a connection"), &events));
    for strange in [id.as_str(), in_walk.as_str(), "nonsense", "21.00000000"] {
        let mut stream = live(&server, "/tally/e", Some(strange));
        let reset = stream.next().expect("it goes on");
        assert_eq!((reset.event.as_str(), reset.id.as_deref()), ("reset", Some("")), "{strange}");
        let (again, _) = stream.until_caught_up();
        assert_eq!(numbers(&again), numbers(&frames), "{strange}");
    }
}

/// A figure of the process, in kB.
fn anonymous_kb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a figure");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Waits until the views have taken in what was written: until then they hold it in memory.
fn settle(server: &Server) {
    while server.get("/tally/total?limit=1").expect("an answer").status != 200 {
        std::thread::yield_now();
    }
}

/// Writes `count` events of about 400 bytes from `first` on.
fn write_many(server: &Server, first: u64, count: u64) {
    let padding = "x".repeat(300);
    let written = AtomicU64::new(first);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let mut client = server.client().expect("a connection");
                loop {
                    let from = written.fetch_add(1000, Ordering::Relaxed);
                    if from >= first + count {
                        return;
                    }
                    let event = |number: u64| {
                        json!({"type": "add", "time": format!("2026-04-{:02}T10:00:00Z", 1 + number % 28),
                            "id": number.to_string(), "data": {"item": padding, "n": number}})
                    };
                    assert!(write(&mut client, &(from..from + 1000).map(event).collect::<Vec<_>>()));
                }
            });
        }
    });
}

fn gauge(server: &Server, name: &str) -> u64 {
    let metrics = server.get("/_/metrics").expect("an answer");
    let line = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(name)?.rsplit(' ').next())
        .map(str::to_owned);
    line.map_or(0, |value| value.parse().expect("a number"))
}

/// Who reads the live feed.
const READERS: &str = "laterbase_live_readers{root=\"tally\",stream=\"events\"}";

// Goal: readers that never read cost a bounded amount, whatever is written meanwhile, and leave nothing behind. Method:
// 300,000 events while thirty readers do not read, behind 100,000 without any; memory as the kernel counts it, without
// the pages of files. (A reader that takes no byte for half a minute is closed, which makes the test no harder.)
#[test]
fn readers_that_never_read_hold_nothing() {
    let server = Server::start(&[]).expect("a server");
    write_many(&server, 0, 100_000);
    settle(&server);
    let before = anonymous_kb(&server);
    let id = live(&server, "/tally/e?type=undo", None).until_caught_up().1;
    let idle: Vec<Reader> = (0..30)
        .map(|nth| {
            // Some begin far behind, some with nothing behind them.
            let last = if nth % 2 == 0 { "0.00000000" } else { id.as_str() };
            Reader::begin(server.address(), "/tally/e", Some(last)).expect("a connection")
        })
        .collect();
    while gauge(&server, READERS) < 30 {
        std::thread::yield_now();
    }
    write_many(&server, 100_000, 300_000);
    settle(&server);
    let after = anonymous_kb(&server);
    // The frames of 300,000 events take 210 MB, for one reader or shared. Half a megabyte is on its way to each; views
    // and the allocator, which keeps an arena for every thread, need up to 140 MB.
    let bound = before + 180_000;
    assert!(after < bound, "{before} kB before, {after} kB behind, {bound} kB allowed");
    drop(idle);
    while gauge(&server, READERS) > 0 {
        std::thread::yield_now();
    }
}

// Goal: a reader that was only slow gets every event all the same, in order, and is told anew when it has caught up.
// Method: it reads nothing while more is written than its connection and what readers share can hold.
#[test]
fn a_slow_reader_reads_the_store() {
    let server = Server::start(&[]).expect("a server");
    write_many(&server, 0, 1000);
    let mut slow = live(&server, "/tally/e", None);
    assert_eq!(slow.until_caught_up().0.len(), 1000);
    write_many(&server, 1000, 40_000);
    let (mut seen, mut last) = (BTreeSet::new(), 1000);
    loop {
        let frame = slow.next().expect("it goes on");
        let number: u64 =
            frame.id.as_deref().and_then(|id| id.split('.').next()?.parse().ok()).expect("an id");
        if frame.event == "caught-up" {
            assert_eq!(number, last, "all up to there was told");
            if number == 41_000 {
                break;
            }
            continue;
        }
        assert_eq!(number, last + 1, "in the order of arrivals");
        last = number;
        assert!(seen.insert(frame.data["key"].as_str().expect("a key").to_owned()), "each once");
    }
    assert_eq!(seen.len(), 40_000);
    assert!(gauge(&server, "laterbase_live_fallbacks_total") > 0, "it was slow");
}
