//! The server against bad input over real sockets: every request is answered by name or cut off, nothing is stored,
//! nothing is created, memory stays flat.

use flate2::Compression;
use flate2::write::GzEncoder;
use laterbase_tests::{Answer, Client, Server, listing};
use std::io::Write;

const JSON: (&str, &str) = ("content-type", "application/json");

/// The word by which a refusal is known.
pub(crate) fn code(answer: &Answer) -> String {
    answer.json()["code"].as_str().unwrap_or_else(|| panic!("no code: {}", answer.text())).to_owned()
}

/// The server's memory in use, in bytes.
pub(crate) fn resident(server: &Server) -> u64 {
    memory(server.pid(), "VmRSS:")
}

/// What the system says of a process's memory, in bytes.
pub(crate) fn memory(pid: u32, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(figure)).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

fn bomb(bytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..bytes >> 20 {
        encoder.write_all(&zeros).expect("memory");
    }
    encoder.finish().expect("memory")
}

// Goal: strange names never reach the file system. Method: raw paths, and a listing before and after.
#[test]
fn strange_names_are_refused_and_create_nothing() {
    let server = Server::start(&[]).expect("a server");
    let before = listing(&server.folder().join("data"));
    let long = "a".repeat(64);
    for name in ["..", "%2e%2e", "..%2f..%2fetc", "a%00b", "A", "_x", "-a", "e", "a%2fb", "%61", &long] {
        for (method, target) in [("POST", format!("/{name}/e")), ("GET", format!("/{name}/total"))] {
            let mut client = server.client().expect("a connection");
            let answer = client.send(method, &target, &[JSON], b"{}").expect("an answer");
            assert_eq!((answer.status, code(&answer).as_str()), (400, "bad_name"), "{method} {target}");
        }
    }
    assert_eq!(listing(&server.folder().join("data")), before);
}

// Goal: an event that its Schema refuses is nothing that another one could repeat or clash with. Method: the same key
// twice, refused and good in both orders; what is answered as written is what the feed has.
#[test]
fn a_refused_event_takes_no_other_with_it() {
    let server = Server::start(&[]).expect("a server");
    let mut client = server.client().expect("a connection");
    let event = |key: char, n: &str| {
        let key = format!("69f479a000000000{}", key.to_string().repeat(16));
        format!(r#"{{"type":"add","key":"{key}","data":{{"item":"a","n":{n}}}}}"#)
    };
    let lines = [event('1', "\"x\""), event('1', "1"), event('2', "2"), event('2', "\"x\""), event('3', "3")];
    let headers = [("content-type", "application/x-ndjson")];
    let answer = client.send("POST", "/tally/e?atomic=false", &headers, lines.join("\n").as_bytes());
    let answer = answer.expect("an answer").json();
    let statuses: Vec<_> =
        answer["events"].as_array().expect("a list").iter().map(|event| event["status"].clone()).collect();
    assert_eq!(statuses, ["rejected", "written", "written", "rejected", "written"], "{answer}");
    let feed = server.get("/tally/e").expect("an answer").json();
    let stored: Vec<_> =
        feed["events"].as_array().expect("a list").iter().map(|event| event["dot"].clone()).collect();
    let told: Vec<_> = [1, 2, 4].map(|at| answer["events"][at]["dot"].clone()).into();
    assert_eq!(stored, told);
}

// Goal: a body that is no event is refused by name, at every length, and leaves no trace. Method: a good request cut
// after every byte, then a table of bad ones; a listing before and after.
#[test]
fn bad_bodies_are_refused_and_store_nothing() {
    let server = Server::start(&[]).expect("a server");
    let mut client = server.client().expect("a connection");
    let before = listing(&server.folder().join("data"));
    let good = br#"[{"type":"add","time":"2026-05-01T10:00:00Z","id":"1","data":{"item":"a","n":1}}]"#;
    for length in 0..good.len() {
        let answer = client.send("POST", "/tally/e", &[JSON], &good[..length]).expect("an answer");
        assert_eq!(answer.status, 400, "{length}: {}", answer.text());
    }
    let event = |members: &str| format!(r#"{{"type":"add","data":{{"item":"a","n":1}},{members}}}"#);
    let table = [
        (r#"{"type":"add","data":{"item":"a","n":"1"}}"#.to_owned(), 422, "refused"),
        (r#"{"type":"sub","data":1}"#.to_owned(), 422, "unknown_type"),
        (r#"{"type":99,"data":1}"#.to_owned(), 422, "unknown_type"),
        (event(r#""version":2"#), 422, "unknown_version"),
        (event(r#""time":"2106-12-31T00:00:00Z""#), 422, "time_range"),
        (event(r#""time":"2100-01-01T00:00:00Z""#), 422, "future_time"),
        (event(r#""key":"ffffffff000000000000000000000000""#), 422, "future_time"),
        (event(r#""time":"noon""#), 400, "bad_event"),
        (event(r#""time":"2026-05-01T10:00:00""#), 400, "bad_event"),
        (event(r#""colour":"red""#), 400, "bad_event"),
        ("null".to_owned(), 400, "bad_event"),
        ("[[]]".to_owned(), 400, "bad_event"),
        ("\u{0}".to_owned(), 400, "bad_json"),
        (format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), 400, "bad_event"),
        (format!("[{}]", vec!["1"; 10_001].join(",")), 413, "too_many_events"),
        (format!(r#"{{"type":"add","data":"{}"}}"#, "x".repeat(1 << 20)), 413, "event_too_large"),
    ];
    for (body, status, word) in table {
        let answer = client.send("POST", "/tally/e", &[JSON], body.as_bytes()).expect("an answer");
        let shown: String = body.chars().take(80).collect();
        assert_eq!((answer.status, code(&answer).as_str()), (status, word), "{shown}");
    }
    let answer = client.send("POST", "/tally/e", &[JSON], b"\"\xff\"").expect("an answer");
    assert_eq!(code(&answer), "bad_json");
    assert_eq!(listing(&server.folder().join("data")), before);
    assert_eq!(client.send("POST", "/tally/e", &[JSON], good).expect("an answer").status, 201);
}

// Goal: size limits hold before and after decompression, and memory stays flat. Method: a declared and an endless
// body, a bomb of 100 MB, and the process's memory before and after.
#[test]
fn huge_bodies_cost_nothing() {
    let server = Server::start(&[]).expect("a server");
    let before = resident(&server);
    let mut client = server.client().expect("a connection");
    client.raw(b"POST /tally/e HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n")
        .expect("sent");
    assert_eq!(client.answer(false).expect("an answer").status, 413);

    let bomb = bomb(100 << 20);
    for _ in 0..4 {
        let mut client = server.client().expect("a connection");
        let headers = [JSON, ("content-encoding", "gzip")];
        let answer = client.send("POST", "/tally/e", &headers, &bomb).expect("an answer");
        assert_eq!((answer.status, code(&answer).as_str()), (413, "body_too_large"));
    }
    let mut client = server.client().expect("a connection");
    let headers = [JSON, ("content-encoding", "gzip")];
    let half = client.send("POST", "/tally/e", &headers, &bomb[..bomb.len() / 2]).expect("an answer");
    assert!(matches!(code(&half).as_str(), "bad_encoding" | "body_too_large"), "{}", half.text());
    let mut client = server.client().expect("a connection");
    let strange =
        client.send("POST", "/tally/e", &[JSON, ("content-encoding", "br")], b"x").expect("an answer");
    assert_eq!(strange.status, 415);
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 64 << 20, "memory grew by {grown} bytes");
}

// Goal: a gzip body of events is read. Method: the same event, compressed.
#[test]
fn gzip_is_read() {
    let server = Server::start(&[]).expect("a server");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(br#"{"type":"add","data":{"item":"a","n":1}}"#).expect("memory");
    let body = encoder.finish().expect("memory");
    let mut client = server.client().expect("a connection");
    let answer = client.send("POST", "/tally/e", &[JSON, ("content-encoding", "gzip")], &body);
    assert_eq!(answer.expect("an answer").status, 201);
}

// Goal: malformed and lying version vectors and cursors are named or harmless, and change nothing. Method: the feed
// before and after.
#[test]
fn lying_vvs_and_cursors_change_nothing() {
    let server = Server::start(&[]).expect("a server");
    let posted = server.post(
        "/tally/e",
        r#"[{"type":"add","id":"1","time":"2026-05-01T10:00:00Z","data":{"item":"a","n":1}}]"#,
    );
    let vv = posted.expect("an answer").json()["vv"].as_str().expect("a vv").to_owned();
    let origin = vv.split(':').next().expect("an origin").to_owned();
    let feed = server.get("/tally/e").expect("an answer").body;
    for bad in [
        "x",
        "0123456789abcdef:0",
        "0123456789abcdef:5-1",
        "0123456789abcdef:1,1",
        ":1",
        "0123456789abcdef:1~zz",
        "0123456789abcdef:18446744073709551616",
    ] {
        let answer = server.get(&format!("/tally/e?vv={bad}")).expect("an answer");
        assert_eq!((answer.status, code(&answer).as_str()), (400, "bad_vv"), "{bad}");
    }
    // More than there is, another history, another origin: the event is not hidden.
    for lying in
        [format!("{origin}:1-1000000"), format!("{origin}:1~00000000"), "0123456789abcdef:1-7".to_owned()]
    {
        let answer = server.get(&format!("/tally/e?vv={lying}")).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["events"].as_array().map(Vec::len), Some(1), "{lying}");
    }
    for bad in ["x", "AAAA", "%00"] {
        let answer = server.get(&format!("/tally/e?cursor={bad}")).expect("an answer");
        assert_eq!((answer.status, code(&answer).as_str()), (400, "bad_cursor"), "{bad}");
    }
    let long = format!("/tally/e?vv={}", "a".repeat(20_000));
    assert_eq!(server.get(&long).expect("an answer").status, 414);
    assert_eq!(server.get("/tally/e").expect("an answer").body, feed);
}

// Goal: who sends slowly or leaves early holds up nobody. Method: half a head and half a body, then wait for the
// server to end it; meanwhile and after, others are served.
#[test]
fn slow_and_broken_clients_are_cut_off() {
    let server = Server::start(&[]).expect("a server");
    let mut slow_head = server.client().expect("a connection");
    slow_head.raw(b"GET /_/livez HTTP/1.1\r\nhost:").expect("sent");
    let mut slow_body = server.client().expect("a connection");
    slow_body
        .raw(b"POST /tally/e HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        .expect("sent");
    for _ in 0..20 {
        let mut early = server.client().expect("a connection");
        early.raw(b"POST /tally/e HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n{\"ty").expect("sent");
    }
    assert_eq!(server.get("/_/livez").expect("an answer").status, 200);
    let head = slow_head.answer(false);
    assert!(head.is_err() || head.is_ok_and(|answer| answer.status == 408), "the slow head was answered");
    let body = slow_body.answer(false);
    assert!(body.is_err() || body.is_ok_and(|answer| answer.status == 408), "the slow body was answered");
    assert_eq!(server.get("/_/livez").expect("an answer").status, 200);
    assert!(!server.folder().join("data/roots").exists());
    let mut other = Client::connect(server.address()).expect("a connection");
    assert_eq!(other.send("GET", "/tally/total", &[], b"").expect("an answer").status, 200);
}
