//! `laterbase import` and `export` with the real binary and server: what comes out of a file, what a dry run says
//! before, and what bad input does.

use laterbase_tests::{Server, built, request};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The rows of the tally's CSV, with the mapping that reads them.
const MAPPING: &str = r#"
type = "add"
time = { column = "Date", format = "%d.%m.%Y %H:%M", zone = "Europe/Berlin" }
id = ["Docket", "Line"]
[data]
item = { column = "Article", empty = "refuse" }
n = { column = "Qty", type = "integer" }
"#;

/// Runs the command line in `folder` against `server`.
fn run(folder: &Path, server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(built());
    command.args(arguments).args(["--server", &format!("http://{}", server.address())]);
    command.current_dir(folder).stdin(Stdio::null()).output().expect("it runs")
}

/// The exit code and what was printed: the report, or why there is none.
fn said(output: &Output) -> (Option<i32>, String) {
    let code = output.status.code();
    let is_report = matches!(code, Some(0 | 1));
    // How far it is goes to standard error.
    let errors = if is_report { &[] } else { output.stderr.as_slice() };
    (code, String::from_utf8([output.stdout.as_slice(), errors].concat()).expect("UTF-8"))
}

fn import(folder: &Path, server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    said(&run(folder, server, &[&["import", "tally"], arguments].concat()))
}

/// The number behind a word of the report.
fn count(report: &str, word: &str) -> u64 {
    let line =
        report.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{word}: {report}"));
    line.split_whitespace().last().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{report}"))
}

fn counts(report: &str) -> [u64; 4] {
    ["rows", "written", "duplicate", "refused"].map(|word| count(report, word))
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("written");
    path
}

fn events(server: &Server, root: &str) -> u64 {
    server.get(&format!("/{root}")).expect("an answer").json()["events"].as_u64().expect("a count")
}

/// A CSV of `rows` rows of which some are bad in every way that costs a row, some stand twice and some clash.
fn dirty(rows: usize, seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let mut csv = "Date,Docket,Line,Article,Qty\n".to_owned();
    let mut good: Vec<String> = Vec::new();
    for row in 0..rows {
        let (day, hour) = (row % 28 + 1, row % 24);
        let line =
            format!("{day:02}.06.2025 {hour:02}:15,D{},{},apples {},{}", row / 7, row % 7, row % 50, row % 9);
        let bad = match random.random_range(0..60) {
            0 => format!("{day:02}.06.2025,D{row},1,apples,1"),
            1 => format!("31.06.2025 10:00,D{row},1,apples,1"),
            2 => format!("{day:02}.06.2025 10:00,D{row},1,apples,many"),
            3 => format!("{day:02}.06.2025 10:00,D{row},1,ap\"ples,1"),
            4 => format!("{day:02}.06.2025 10:00,D{row},1,,1"),
            5 => format!("{day:02}.06.2025 10:00,D{row},1,apples"),
            6 => format!("26.10.2025 02:30,D{row},1,apples,1"),
            7 => format!("{day:02}.06.2095 10:00,D{row},1,apples,1"),
            // The Schema wants a number that is there.
            8 => format!("{day:02}.06.2025 10:00,D{row},1,apples,"),
            // A row again, and one of its key with another number.
            9 | 10 if !good.is_empty() => good[random.random_range(0..good.len())].clone(),
            11 if !good.is_empty() => format!("{}7", good[random.random_range(0..good.len())]),
            _ => {
                good.push(line.clone());
                line
            }
        };
        writeln!(csv, "{bad}{}", if row % 3 == 0 { "\r" } else { "" }).expect("memory");
    }
    // One request with two equal rows that clash with one long before.
    let first = good.first().expect("most are good");
    writeln!(csv, "{first}9\n{first}9").expect("memory");
    csv
}

// Goal: a dry run tells what the import will do, row by row, also where rows far apart are one event or clash. Method:
// 100,000 rows, some bad in many ways; the refused rows and all counts of the dry run, of the import and, for what is
// in the store then, of the import again.
#[test]
fn a_dry_run_reports_what_the_import_does() {
    let server = Server::start(&[]).expect("a server");
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let seed = laterbase_tests::seed("a_dry_run_reports_what_the_import_does");
    write(folder, "rows.csv", dirty(100_000, seed));
    write(folder, "map.toml", MAPPING);
    let file = ["rows.csv", "--map", "map.toml"];
    let (code, dry) =
        import(folder, &server, &[&file, ["--dry-run", "--report", "dry.csv"].as_slice()].concat());
    assert_eq!(code, Some(1), "{dry}");
    assert_eq!(events(&server, "tally"), 0, "nothing is written");
    let (code, real) = import(folder, &server, &[&file, ["--report", "real.csv"].as_slice()].concat());
    assert_eq!(code, Some(1), "{real}");
    // The server's clock stands in the sentence about events ahead of it.
    let timeless = |text: &str| {
        let lines = text.lines().map(|line| line.split("future_time").next().unwrap_or(line).to_owned());
        lines.collect::<Vec<_>>()
    };
    let dry = dry.strip_prefix("dry run: nothing is written\n").expect("it says so");
    assert_eq!(timeless(dry), timeless(&real));
    let refused = |name: &str| timeless(&fs::read_to_string(folder.join(name)).expect("a report"));
    assert_eq!(refused("dry.csv"), refused("real.csv"));
    let [rows, written, duplicate, refusals] = counts(&real);
    assert_eq!((rows, written + duplicate + refusals), (100_002, 100_002));
    assert_eq!(events(&server, "tally"), written);
    assert_eq!(refused("real.csv").len() as u64, refusals + 1);
    let codes = fs::read_to_string(folder.join("real.csv")).expect("a report");
    for code in [
        "csv_fields",
        "bad_time",
        "bad_integer",
        "csv_quote",
        "empty_cell",
        "time_ambiguous",
        "future_time",
        "refused",
        "clash",
    ] {
        assert!(codes.contains(&format!(",{code},")), "{code}");
    }
    assert!(duplicate > 1000, "{real}");
    let (code, again) = import(folder, &server, &file);
    assert_eq!((code, counts(&again)), (Some(1), [rows, 0, written + duplicate, refusals]), "{again}");
}

/// The value of an item.
fn total(server: &Server, item: &str) -> serde_json::Value {
    server.get(&format!("/tally/total?key={item}")).expect("an answer").json()["value"].clone()
}

// Goal: an import that is killed goes on, with --resume and without. Method: killed once it has written its position;
// the counts of the run that goes on add up, and everything is there once.
#[test]
fn a_killed_import_goes_on() {
    for resume in [true, false] {
        let server = Server::start(&[]).expect("a server");
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = scratch.path();
        let mut csv = "Date,Docket,Line,Article,Qty\n".to_owned();
        for row in 0..400_000 {
            let bad = if row % 1000 == 0 { "x" } else { "" };
            writeln!(csv, "01.06.2025 10:{:02},D{row},1,pears,1{bad}", row % 60).expect("memory");
        }
        write(folder, "rows.csv", csv);
        write(folder, "map.toml", MAPPING);
        let arguments = ["import", "tally", "rows.csv", "--map", "map.toml", "--report", "refused.csv"];
        let mut command = Command::new(built());
        command.args(arguments).args(["--server", &format!("http://{}", server.address())]);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it runs");
        let position = folder.join("rows.csv.laterbase-import");
        while !position.exists() {
            assert!(child.try_wait().expect("a child").is_none(), "it ended before it was killed");
            std::thread::yield_now();
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let before = events(&server, "tally");
        assert!(before < 399_600, "it was killed on the way");
        let more: &[&str] = if resume { &["--resume"] } else { &[] };
        if resume {
            let other =
                ["import", "tally", "rows.csv", "--map", "map.toml", "--report", "other.csv", "--resume"];
            let (code, text) = said(&run(folder, &server, &other));
            assert!(code == Some(2) && text.contains("not the report"), "{text}");
        }
        let (code, report) = said(&run(folder, &server, &[&arguments, more].concat()));
        assert_eq!(code, Some(1), "{report}");
        let [rows, written, duplicate, refused] = counts(&report);
        assert_eq!((rows, written + duplicate, refused), (400_000, 399_600, 400), "{report}");
        // What was under way when it was killed may have been written after `before` was asked for.
        if resume {
            assert!(written > 399_600 - before, "what the first run had counted is counted: {report}");
        } else {
            assert!(duplicate >= before && written <= 399_600 - before, "{before}: {report}");
        }
        assert_eq!(events(&server, "tally"), 399_600);
        assert_eq!(total(&server, "pears")["n"], 399_600);
        assert!(!position.exists(), "what is done needs no position");
        let refusals = fs::read_to_string(folder.join("refused.csv")).expect("a report");
        assert_eq!(refusals.lines().count(), 401, "each refused row once");
    }
}

// Goal: whatever stands in a file, a row that cannot be read is named and the others are written. Method: one file with
// a byte order mark, all line ends, a NUL byte, quotes gone wrong and a row too long; then files that are no table.
#[test]
fn bad_rows_are_named() {
    let server = Server::start(&[]).expect("a server");
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    write(folder, "map.toml", MAPPING);
    let mut csv = b"\xef\xbb\xbfDate,Docket,Line,Article,Qty\r\n".to_vec();
    csv.extend_from_slice(b"01.06.2025 10:00,1,1,\"figs, \"\"dry\"\"\nand sweet\",1\r");
    csv.extend_from_slice(b"01.06.2025 10:00,1,2,fi\0gs,1\n\n");
    csv.extend_from_slice(b"01.06.2025 10:00,1,3,\"figs,1\n");
    csv.extend_from_slice(b"01.06.2025 10:00,1,4,figs,1\r\n");
    csv.extend_from_slice(b"01.06.2025 10:00,1,5,M\xfcller,1\n01.06.2025 10:00,1,6,");
    csv.resize(csv.len() + (9 << 20), b'x');
    csv.extend_from_slice(b",1\n01.06.2025 10:00,1,7,figs,1");
    write(folder, "rows.csv", &csv);
    let (code, report) = import(folder, &server, &["rows.csv", "--map", "map.toml", "--report", "out.csv"]);
    assert_eq!((code, counts(&report)), (Some(1), [7, 3, 0, 4]), "{report}");
    let listed = fs::read_to_string(folder.join("out.csv")).expect("a report");
    let rows: Vec<Vec<&str>> =
        listed.lines().skip(1).map(|line| line.splitn(4, ',').take(3).collect()).collect();
    assert_eq!(
        rows,
        [
            ["3", "Article", "nul_byte"],
            ["5", "#4", "csv_quote"],
            ["7", "Article", "bad_text"],
            ["8", "", "row_too_large"]
        ]
    );
    assert_eq!(total(&server, "figs")["n"], 2);
    assert_eq!(total(&server, "figs,%20%22dry%22%0Aand%20sweet")["n"], 1);
    // The same file, its encoding named: but for the byte order mark, which contradicts it.
    let latin: &[&str] = &["latin.csv", "--map", "map.toml", "--encoding", "latin-1"];
    write(folder, "latin.csv", &csv);
    let (code, report) = import(folder, &server, latin);
    assert_eq!(code, Some(2), "{report}");
    assert!(report.contains("byte order mark"), "{report}");
    write(folder, "latin.csv", &csv[3..]);
    let (code, report) = import(folder, &server, latin);
    assert_eq!((code, counts(&report)), (Some(1), [7, 1, 3, 3]), "{report}");
    assert_eq!(total(&server, "M%C3%BCller")["n"], 1);
}

/// The most memory that an import may hold, whatever it reads.
const MEMORY_MAX: u64 = 64 << 20;

/// Imports what is streamed into it: `head`, then so many bytes without a line end, then `tail`. How it ended, and the
/// most memory that it held until only the end was missing.
fn stream(
    folder: &Path,
    server: &Server,
    arguments: &[&str],
    (head, bytes, tail): (&str, usize, &str),
) -> ((Option<i32>, String), u64) {
    let mut command = Command::new(built());
    command.args(["import", "tally", "-"]).args(arguments);
    command.args(["--server", &format!("http://{}", server.address())]).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut input = child.stdin.take().expect("a pipe");
    let part = vec![b'x'; 1 << 20];
    input.write_all(head.as_bytes()).expect("it reads");
    for at in (0..bytes).step_by(part.len()) {
        let part = part.get(..bytes - at).unwrap_or(&part);
        input.write_all(part).expect("it reads");
    }
    let memory = crate::hostile::memory(child.id(), "VmHWM:");
    input.write_all(tail.as_bytes()).expect("it reads");
    drop(input);
    (said(&child.wait_with_output().expect("it ends")), memory)
}

// Goal: a line of the whole file is named by its row and held by nobody, wherever it stands; what is behind it is read.
// Method: 200 MB (`LATERBASE_LINE_BYTES` for more) into standard input as the header, in a row, in a quote, as NDJSON.
#[test]
fn a_line_of_the_whole_file_takes_no_memory() {
    let server = Server::start(&[]).expect("a server");
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    write(folder, "map.toml", MAPPING);
    let bytes = std::env::var("LATERBASE_LINE_BYTES").ok().and_then(|text| text.parse().ok());
    let bytes: usize = bytes.unwrap_or(200_000_000);
    let csv: &[&str] = &["--format", "csv", "--map", "map.toml"];
    let header = "Date,Docket,Line,Article,Qty\n";
    let behind = ",1\n01.06.2025 10:00,1,2,figs,1\n";
    let (bare, quoted) =
        (format!("{header}01.06.2025 10:00,1,1,"), format!("{header}01.06.2025 10:00,1,1,\""));
    let line = r#"{"type":"add","time":"2025-06-01T08:00:00Z","data":{"item":"figs","n":1}}"#;
    let lines = format!("\"}}\n{line}\n");
    for (arguments, head, tail, exit, row) in [
        (csv, "", behind, 2, 1),
        (csv, bare.as_str(), behind, 1, 2),
        (csv, quoted.as_str(), behind, 1, 2),
        (&["--format", "ndjson"], "{\"type\":\"", lines.as_str(), 1, 1),
    ] {
        let ((code, report), memory) = stream(folder, &server, arguments, (head, bytes, tail));
        assert_eq!(code, Some(exit), "{report}");
        assert!(report.contains(&format!("row {row}: row_too_large: the row has more than ")), "{report}");
        if exit == 1 {
            let [rows, written, duplicate, refused] = counts(&report);
            assert_eq!((rows, written + duplicate, refused), (2, 1, 1), "{report}");
        }
        assert!(memory < MEMORY_MAX, "{memory} bytes: {report}");
    }
}

// Goal: what cannot work is said before anything is sent. Method: each with its exit code and its word.
#[test]
fn what_cannot_work_is_said_first() {
    let server = Server::start(&[]).expect("a server");
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    write(folder, "map.toml", MAPPING);
    write(folder, "rows.csv", "Date,Docket,Line,Article\n01.06.2025 10:00,1,1,figs\n");
    write(folder, "empty.csv", "");
    write(folder, "wide.csv", b"\xff\xfeD\0");
    write(folder, "rows.txt", "");
    let map = ["--map", "map.toml"];
    let table: [(&[&str], i32, &str); 13] = [
        (&["rows.csv", map[0], map[1]], 2, "missing_column"),
        (&["empty.csv", map[0], map[1]], 2, "header"),
        (&["wide.csv", map[0], map[1]], 2, "UTF-16"),
        (&["rows.csv"], 2, "--time"),
        (&["rows.csv", "--time", "Date", "--time-format", "%d.%m.%Y %H:%M", "--type", "add"], 2, "zone"),
        (&["rows.txt"], 2, "--format"),
        (&[".", "--format", "ndjson"], 2, "folder"),
        (&["nowhere.csv", map[0], map[1]], 2, "nowhere.csv"),
        (&["rows.txt", "--format", "ndjson", "--zone", "UTC"], 2, "CSV"),
        (&["rows.csv", map[0], map[1], "--dry-run", "--resume"], 2, "--resume"),
        (&["rows.csv", map[0], map[1], "--report", "./rows.csv"], 2, "write over rows.csv"),
        (&["rows.csv", map[0], map[1], "--report", "map.toml"], 2, "write over map.toml"),
        (&["rows.csv", map[0], map[1], "--state", "rows.csv"], 2, "write over rows.csv"),
    ];
    for (arguments, expected, word) in table {
        let (code, text) = import(folder, &server, arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    let (code, text) = said(&run(folder, &server, &["import", "nowhere", "rows.csv", map[0], map[1]]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("unknown_root"), "{text}");
    let (code, text) = said(&run(folder, &server, &["import", "no root?", "rows.csv", map[0], map[1]]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no root's name"), "{text}");
    assert_eq!(events(&server, "tally"), 0);
    let left = fs::read_to_string(folder.join("rows.csv")).expect("the file");
    assert!(left.starts_with("Date,Docket"), "what is read is not written over");
}

// Goal: rows without ids are imported once, however often; appended ones are new. Method: NDJSON with a time and no id,
// with neither, and a line that is no JSON.
#[test]
fn lines_are_imported_once() {
    let server = Server::start(&[]).expect("a server");
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let timed = r#"{"type":"add","time":"2026-05-01T10:00:00Z","data":{"item":"kiwis","n":1}}"#;
    let live = r#"{"type":"add","data":{"item":"kiwis","n":10}}"#;
    write(folder, "lines.ndjson", format!("{timed}\n{timed}\n\n{{\"type\":\n"));
    let (code, report) = import(folder, &server, &["lines.ndjson"]);
    assert_eq!((code, counts(&report)), (Some(1), [3, 2, 0, 1]), "{report}");
    assert!(report.contains("row 4: bad_json"), "{report}");
    write(folder, "lines.ndjson", format!("{timed}\n{timed}\n\n{timed}\n{live}"));
    let (code, report) = import(folder, &server, &["lines.ndjson"]);
    assert_eq!((code, counts(&report)), (Some(0), [4, 2, 2, 0]), "{report}");
    let (code, report) = import(folder, &server, &["lines.ndjson"]);
    assert_eq!((code, counts(&report)), (Some(0), [4, 0, 4, 0]), "{report}");
    assert_eq!(total(&server, "kiwis")["n"], 13);
}

/// Exports a root; the vv that it printed.
fn export(folder: &Path, server: &Server, arguments: &[&str]) -> String {
    let (code, text) = said(&run(folder, server, &[&["export"], arguments].concat()));
    assert_eq!(code, Some(0), "{text}");
    text.lines().find_map(|line| line.strip_prefix("vv         ")).expect("a vv").to_owned()
}

/// The lines of a root's export, without what is each replica's own.
fn feed(folder: &Path, server: &Server, root: &str) -> Vec<serde_json::Value> {
    export(folder, server, &[root, "--output", "feed.ndjson"]);
    let text = fs::read_to_string(folder.join("feed.ndjson")).expect("an export");
    let line = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).expect("an event");
        line.as_object_mut().expect("an object").remove("dot");
        line
    };
    text.lines().map(line).collect()
}

// Goal: what is exported and imported elsewhere is an equal root, in every form that can be imported, and importing it
// again writes nothing. Method: the generated stream of EPCIS events through the plugin's intake into one server; from
// there as NDJSON, and as packed frames, into two empty ones; then what is new since.
#[test]
fn an_export_makes_an_equal_root() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let [first, second, third] = [(); 3].map(|()| Server::start(&[]).expect("a server"));
    write(folder, "events.ndjson", crate::epcis::data("events.ndjson.gz"));
    let epcis = |server: &Server, arguments: &[&str]| {
        said(&run(folder, server, &[&["import", "epcis"], arguments].concat()))
    };
    let (_, report) = epcis(&first, &["events.ndjson", "--format", "epcis"]);
    let [rows, written, duplicate, refused] = counts(&report);
    assert!(written > 5000 && duplicate > 0, "{report}");
    assert_eq!(written + duplicate + refused, rows, "{report}");
    let expected = feed(folder, &first, "epcis");
    assert_eq!(expected.len() as u64, written);
    let vv = export(folder, &first, &["epcis", "--output", "all.ndjson"]);
    export(folder, &first, &["epcis", "--output", "all.lbev.zst", "--format", "binary", "--zstd"]);
    for (server, file) in [(&second, "all.ndjson"), (&third, "all.lbev.zst")] {
        let (code, report) = epcis(server, &[file]);
        assert_eq!((code, counts(&report)), (Some(0), [written, written, 0, 0]), "{report}");
        assert_eq!(feed(folder, server, "epcis"), expected);
        let (code, report) = epcis(server, &[file]);
        assert_eq!((code, counts(&report)), (Some(0), [written, 0, written, 0]), "{report}");
    }
    let digest =
        |server: &Server| server.get("/epcis/last_seen?digest").expect("an answer").json()["digest"].clone();
    assert_eq!(digest(&first), digest(&second));
    export(folder, &first, &["epcis", "--since", &vv, "--output", "new.ndjson"]);
    assert_eq!(fs::read_to_string(folder.join("new.ndjson")).expect("an export"), "");
    assert!(!folder.join("new.ndjson.part").exists());
    // A damaged frame is named, and what was before it is not half done.
    let mut packed = Vec::new();
    export(folder, &first, &["epcis", "--output", "all.lbev", "--format", "binary"]);
    packed.extend(fs::read(folder.join("all.lbev")).expect("an export"));
    packed.truncate(packed.len() - 7);
    write(folder, "cut.lbev", &packed);
    let (code, report) = epcis(&second, &["cut.lbev"]);
    assert_eq!(code, Some(74), "{report}");
    assert!(report.contains("cut off"), "{report}");
}

// Goal: a part of a root as a table. Method: a window of time, against the events in it.
#[test]
fn a_window_is_exported_as_a_table() {
    let server = Server::start(&[]).expect("a server");
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let events = r#"[{"type":"add","time":"2026-05-01T10:00:00Z","id":"a","data":{"item":"a, b","n":1}},
        {"type":"add","time":"2026-05-02T10:00:00Z","id":"b","data":{"item":"c","n":2}}]"#;
    assert_eq!(server.post("/tally/e", events).expect("an answer").status, 201);
    let window = ["tally", "--to", "2026-05-02T00:00:00Z", "--format", "csv", "--output", "day.csv"];
    let vv = export(folder, &server, &window);
    assert!(vv.starts_with('@'), "it is good for these filters only: {vv}");
    let table = fs::read_to_string(folder.join("day.csv")).expect("a table");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "key,time,type,type_name,version,dot,clash,data,data_base64");
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[1].contains(",2026-05-01T10:00:00.000Z,1,add,1,"), "{table}");
    assert!(lines[1].ends_with(r#","{""item"":""a, b"",""n"":1}","#), "{table}");
    let (code, text) = said(&run(folder, &server, &["export", "nowhere", "--output", "x"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("unknown_root") && !folder.join("x.part").exists(), "{text}");
}

// Goal: a file that becomes shorter while it is read is an error, and no half row is written. Method: a pipe's reader
// cannot be cut, so the file is cut while the server, stopped, holds the import back.
#[test]
fn a_file_that_shrinks() {
    let server = Server::start(&[]).expect("a server");
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let line = |n: usize| {
        format!(r#"{{"type":"add","time":"2026-05-01T10:00:00Z","id":"{n}","data":{{"item":"i","n":1}}}}"#)
    };
    let text: String = (0..100_000).fold(String::new(), |text, n| text + &line(n) + "\n");
    let path = write(folder, "lines.ndjson", &text);
    let answer = request(server.address(), "GET", "/tally", &[], b"").expect("an answer");
    assert_eq!(answer.status, 200);
    let mut command = Command::new(built());
    command.args(["import", "tally", "lines.ndjson", "--server", &format!("http://{}", server.address())]);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it runs");
    // Once it writes, the file is open; most of it is not read yet, because the server is stopped.
    while events(&server, "tally") == 0 {
        std::thread::yield_now();
    }
    server.signal("STOP").expect("it runs");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(text.len() as u64 - 40))
        .expect("cut");
    server.signal("CONT").expect("it runs");
    let (code, said) = said(&child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("file_shrank"), "{said}");
    assert!(!said.contains("bad_json"), "half a row was sent: {said}");
}
