//! What released formats wrote stays readable: `fixtures/formats/N/data.mdb.gz` is a Root's data file as the first
//! program of format N left it, with its zeros at the end cut off; `answers.snap` beside it is what a server says of
//! it.
//!
//! A new format adds a folder: `LATERBASE_KEEP_FORMAT=1 INSTA_UPDATE=always` before the command of this suite writes
//! it. What is kept is never written again.

use anyhow::Result;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use laterbase::core::event::{Dot, EventKey, Origin, Seq, Value};
use laterbase::core::gset::{self, Body, Incoming};
use laterbase::store::lmdb::FORMAT_VERSION;
use laterbase::store::{LmdbStore, Store};
use laterbase_tests::{Answer, Server, redact, request, top};
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How long a data file of so few events is; `FORMAT.md` says that shorter ones were cut off.
const DATA_FILE_BYTES: usize = 64 << 20;
/// Longer than what fits into a page beside others.
const LONG_BYTES: usize = 2100;
/// What was posted, in this order: in time and late, a retraction, and under an Idempotency-Key.
const POSTED: &[(&str, &str)] = &[
    (
        "",
        r#"[{"type":"add","time":"2026-05-01T10:00:00.123Z","id":"1","data":{"item":"apples","n":40}},
            {"type":"add","time":"2026-05-02T10:00:00Z","id":"2","data":{"item":"pears","n":1}},
            {"type":"add","time":"2026-05-02T11:00:00Z","id":"3","data":{"item":"plums","n":7}}]"#,
    ),
    ("", r#"{"type":"add","time":"2026-04-30T09:00:00Z","id":"4","data":{"item":"apples","n":2}}"#),
    (
        "truck 7",
        r#"[{"type":"add","time":"2026-05-03T08:00:00Z","data":{"item":"plums","n":-3}},
            {"type":"undo","time":"2026-05-03T09:00:00Z","data":{"key":"69f31a1000000000e67a9c4536256f1e"}}]"#,
    ),
];
/// What is asked.
const ASKED: &[&str] = &[
    "/tally",
    "/tally/e",
    "/tally/e?type=undo",
    "/tally/total",
    "/tally/total?at=2026-05-02T10:30:00Z",
    "/tally/total?key=apples",
    "/tally/daily",
    "/tally/last",
];

fn data_file(folder: &Path) -> PathBuf {
    folder.join("data/roots/tally/events/data.mdb")
}

fn fixture(format: u32) -> PathBuf {
    top().join(format!("tests/fixtures/formats/{format}"))
}

/// Starts a server in `folder`, asks it, and ends it.
fn with_server<T>(folder: &Path, ask: impl FnOnce(&Server) -> Result<T>) -> Result<T> {
    let mut server = Server::start_in(folder, &[])?;
    let asked = ask(&server)?;
    server.signal("TERM")?;
    anyhow::ensure!(server.wait()?.success(), "no clean end");
    Ok(asked)
}

fn post(server: &Server) -> Result<Vec<Answer>> {
    let json = ("content-type", "application/json");
    let posts = POSTED.iter().map(|(key, body)| {
        let headers = [json, ("idempotency-key", key)];
        let headers = if key.is_empty() { &headers[..1] } else { &headers };
        request(server.address(), "POST", "/tally/e", headers, body.as_bytes())
    });
    Ok(posts.collect::<std::io::Result<_>>()?)
}

fn answers(server: &Server) -> Result<String> {
    let mut out = String::new();
    for target in ASKED {
        let answer = server.get(target)?;
        let text = answer.text().replace(&"x".repeat(LONG_BYTES), "<long>");
        writeln!(out, "GET {target}\n{} {text}\n", answer.status)?;
    }
    Ok(out)
}

/// What other replicas had admitted: a value that takes a key over and one that loses its key, one that is known, and
/// events of a type that no plugin here declares, one of them long and one of bytes that are no JSON.
fn merge(dir: &Path) -> Result<()> {
    let store = LmdbStore::open(dir, Origin([0; 8]))?;
    let long = format!(r#"{{"note":"{}"}}"#, "x".repeat(LONG_BYTES));
    let merged: [(u8, u64, &str, u32, &[u8]); 5] = [
        (1, 1, "69f479a01f7ced91d63bd9a826af91c1", 1, br#"{"item":"apples","n":39}"#),
        (1, 2, "69f5cb2000000000813e9b729141e7f3", 1, br#"{"item":"pears","n":2}"#),
        (2, 1, "69f5d9300000000058d6fd3dc6090686", 1, br#"{"item":"plums","n":7}"#),
        (2, 2, "69f5d930000000010000000000000001", 900, long.as_bytes()),
        (2, 3, "69f5d930000000010000000000000002", 900, b"\xff\x00"),
    ];
    store.commit(&mut |tables| {
        for (origin, seq, key, type_number, data) in merged {
            let key = key.parse::<EventKey>().expect("a key");
            // Behind every Origin that is drawn, so that the order of Origins is always the same.
            let origin = Origin([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, origin]);
            let body = Body::Whole(Value { type_number, version: 1, data });
            gset::merge(tables, Incoming { dot: Dot { origin, seq: Seq(seq) }, key, body }, 0)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Writes a directory with this program.
fn written(folder: &Path) -> Result<()> {
    let posted = with_server(folder, post)?;
    assert!(posted.iter().all(|answer| answer.status == 201), "{posted:?}");
    merge(data_file(folder).parent().expect("it lies in a folder"))
}

fn keep(folder: &Path, format: u32) -> Result<()> {
    assert!(!fixture(format).exists(), "format {format} is kept already");
    let data = fs::read(data_file(folder))?;
    assert_eq!(data.len(), DATA_FILE_BYTES);
    let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut packed = Vec::new();
    GzEncoder::new(&data[..end], Compression::best()).read_to_end(&mut packed)?;
    fs::create_dir_all(fixture(format))?;
    Ok(fs::write(fixture(format).join("data.mdb.gz"), packed)?)
}

fn unpack(format: u32, folder: &Path) -> Result<()> {
    let mut data = Vec::new();
    let packed = fs::File::open(fixture(format).join("data.mdb.gz"))?;
    GzDecoder::new(packed).read_to_end(&mut data)?;
    let path = data_file(folder);
    fs::create_dir_all(path.parent().expect("it lies in a folder"))?;
    fs::write(&path, data)?;
    Ok(fs::OpenOptions::new().write(true).open(path)?.set_len(DATA_FILE_BYTES as u64)?)
}

// Goal: this program reads what each format before it left, says of it what was said then, and goes on in it: what was
// posted is a duplicate, under its old dot, and the next event has the next one.
// Method: the real server on a copy; its answers are compared to the last byte, origins and checks included.
#[test]
fn every_released_format_is_read() -> Result<()> {
    for format in 1..=FORMAT_VERSION {
        let scratch = tempfile::tempdir()?;
        if format == FORMAT_VERSION && std::env::var_os("LATERBASE_KEEP_FORMAT").is_some() {
            written(scratch.path())?;
            keep(scratch.path(), format)?;
            fs::remove_dir_all(scratch.path().join("data"))?;
        }
        unpack(format, scratch.path())?;
        let said = with_server(scratch.path(), answers)?;
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(fixture(format));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("answers", said));

        with_server(scratch.path(), |server| {
            let origin = server.get("/tally")?.json()["origin"].clone();
            let dot = |seq: usize| format!("{}:{seq}", origin.as_str().expect("an origin"));
            let mut seq = 0;
            for answer in post(server)? {
                for event in answer.json()["events"].as_array().expect("events") {
                    seq += 1;
                    assert_eq!((&event["status"], &event["dot"]), (&"duplicate".into(), &dot(seq).into()));
                }
            }
            let next =
                r#"{"type":"add","time":"2026-05-04T10:00:00Z","id":"5","data":{"item":"pears","n":1}}"#;
            let answer = server.post("/tally/e", next)?.json();
            // The directory is a copy: what it admits is of a new Origin.
            let next = answer["events"][0]["dot"].as_str().expect("a dot").to_owned();
            assert!(next.ends_with(":1") && next != dot(1), "{answer}");
            Ok(())
        })?;
    }
    Ok(())
}

// Goal: the kept directory is what this program writes, so that the next format finds a way to make its own.
// Method: the same events again; but for origins and checks the answers are equal.
#[test]
fn the_newest_format_is_the_one_written() -> Result<()> {
    let (kept, fresh) = (tempfile::tempdir()?, tempfile::tempdir()?);
    unpack(FORMAT_VERSION, kept.path())?;
    written(fresh.path())?;
    let [kept, fresh] = [kept, fresh].map(|folder| with_server(folder.path(), answers));
    assert_eq!(redact(&kept?), redact(&fresh?));
    Ok(())
}
