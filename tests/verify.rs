//! `laterbase verify` on real directories and of running servers: what it prints, how it ends, and that a damaged file
//! never ends it.

use laterbase::store::environment::{ALL_KEYS, Environment, Kind, Rows};
use laterbase_tests::{Server, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

const PAGE_BYTES: u64 = 4096;

/// A stopped server with so many events.
fn stopped_with(events: usize) -> Server {
    let mut server = Server::start(&[]).expect("a server");
    let event = r#"{"type":"add","data":{"item":"i","n":1}}"#;
    let body = format!("[{}]", vec![event; events].join(","));
    let mut client = server.client().expect("a connection");
    let headers = [("content-type", "application/json")];
    let answer = client.send("POST", "/tally/e", &headers, body.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.text());
    server.signal("TERM").expect("it runs");
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
    server
}

fn data_file(server: &Server) -> PathBuf {
    server.folder().join("data/roots/tally/events/data.mdb")
}

/// The exit code (none after a signal), and what was printed.
fn verify(folder: &Path, roots: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(laterbase_tests::built());
    let output = command.arg("verify").args(roots).current_dir(folder).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}

#[test]
fn a_whole_directory_and_one_in_use() {
    let mut server = stopped_with(1_234);
    let whole = (Some(0), "tally: 1,234 events, 1 origin: whole\n".to_owned());
    assert_eq!(verify(server.folder(), &[]), whole);
    assert_eq!(verify(server.folder(), &["tally"]), whole);
    let (code, text) = verify(server.folder(), &["tally", "talyl"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("\"talyl\"") && text.contains("there are: tally"), "{text}");
    server.crash_and_restart().expect("a restart");
    let (code, text) = verify(server.folder(), &[]);
    assert_eq!(code, Some(75), "{text}");
    assert!(text.contains("LOCK"), "{text}");
    let nowhere = tempfile::tempdir().expect("a directory");
    assert_eq!(verify(nowhere.path(), &[]).0, Some(2), "there is no data");
    assert!(!nowhere.path().join("data").exists(), "nothing is made");
}

// Goal: no fault is hidden by its number. Method: 150 events are deleted by a program that uses the environment itself.
#[test]
fn many_faults_are_counted() {
    let server = stopped_with(200);
    let events = data_file(&server).parent().expect("a folder").to_owned();
    let environment = Environment::open(&events, Kind::Durable, 16).expect("opens");
    let table = environment.table("events").expect("a table");
    let keys: Vec<Vec<u8>> = {
        let read = environment.read().expect("read");
        let rows = read.range(&table, ALL_KEYS).expect("rows");
        rows.take(150).map(|row| row.expect("a row").0.to_vec()).collect()
    };
    let deleted = environment.write(&mut |txn| {
        for key in &keys {
            assert!(txn.delete(&table, key)?);
        }
        Ok(())
    });
    deleted.expect("write");
    drop(environment);
    let (code, text) = verify(server.folder(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("tally: 151 faults\n"), "{text}");
    assert!(text.contains("\n  and 51 more\n"), "{text}");
    assert!(
        text.contains("to fetch 150 missing events from a peer: laterbase verify --peer URL tally\n"),
        "{text}"
    );
    let named = |key: &Vec<u8>| text.contains(&format!("events {}:", data_encoding::HEXLOWER.encode(key)));
    assert_eq!(keys.iter().filter(|key| named(key)).count(), 100, "{text}");
}

#[test]
fn a_file_that_is_gone_or_cut_off_is_a_fault() {
    let server = stopped_with(200);
    File::options()
        .write(true)
        .open(data_file(&server))
        .and_then(|file| file.set_len(5 * PAGE_BYTES))
        .expect("cut");
    let (code, text) = verify(server.folder(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("it was cut off"), "{text}");
    std::fs::remove_file(data_file(&server)).expect("remove");
    let (code, text) = verify(server.folder(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("data.mdb: the file is missing"), "{text}");
}

// Goal: a damaged page ends a child at most, and that is a fault with the signal's name. Method: each page in turn
// becomes zeros or noise; some of these end whoever walks the tables.
#[test]
fn a_damaged_page_ends_a_child_at_most() {
    let server = stopped_with(200);
    let file = File::options().read(true).write(true).open(data_file(&server)).expect("the file");
    let mut random = StdRng::seed_from_u64(seed("a_damaged_page_ends_a_child_at_most"));
    let (mut faulty, mut died) = (0, 0);
    for page in 2_u64.. {
        let (at, mut good) = (page * PAGE_BYTES, vec![0; 4096]);
        file.read_exact_at(&mut good, at).expect("the file is as long as its map");
        if good.iter().all(|byte| *byte == 0) {
            break;
        }
        let mut noise = good.clone();
        random.fill(&mut noise[16..]);
        let bad = if page.is_multiple_of(2) { vec![0; 4096] } else { noise };
        file.write_all_at(&bad, at).expect("write");
        let (code, text) = verify(server.folder(), &[]);
        assert!(code == Some(1) || code == Some(0), "page {page}: {code:?} {text}");
        assert_eq!(code == Some(0), text.ends_with(": whole\n"), "page {page}: {text}");
        faulty += usize::from(code == Some(1));
        died += usize::from(text.contains("reading them ended the check with SIG"));
        file.write_all_at(&good, at).expect("write");
    }
    assert!(faulty > 10 && died > 0, "{faulty} faulty, {died} died");
    assert_eq!(verify(server.folder(), &[]).0, Some(0), "all is good again");
}

/// The exit code, and what was printed, of a check that a running server makes.
fn verify_server(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}", server.address());
    let mut command = Command::new(laterbase_tests::built());
    let output = command.args(["verify", "--server", &url]).args(arguments).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}

/// Turns one letter over in each of these texts of a data file, wherever it stands, as a bad medium would.
pub(super) fn damage(server: &Server, texts: &[&[u8]]) {
    let file = File::options().read(true).write(true).open(data_file(server)).expect("the file");
    let mut pages = vec![0; 4 << 20];
    file.read_exact_at(&mut pages, 0).expect("the file is as long as its map");
    for text in texts {
        let places = pages.windows(text.len()).enumerate().filter(|(_, window)| window == text);
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "{} is not in the file", String::from_utf8_lossy(text));
        for at in places {
            file.write_all_at(b"!", at as u64).expect("write");
        }
    }
}

// Goal: a running server is checked as a stopped one is, while it takes events in, and its lock stays its own.
#[test]
fn a_running_server_is_checked() {
    let mut server = stopped_with(1_234);
    server.restart().expect("a restart");
    let whole = (Some(0), "tally: 1,234 events, 1 origin: whole\n".to_owned());
    assert_eq!(verify_server(&server, &[]), whole);
    assert_eq!(verify_server(&server, &["tally"]), whole);
    let (code, text) = verify_server(&server, &["talyl"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("\"talyl\"") && text.contains("there are: tally"), "{text}");
    let (code, text) = verify(server.folder(), &[]);
    assert_eq!(code, Some(75), "{text}");
    assert!(text.contains("laterbase verify --server URL"), "{text}");
    assert_eq!(verify_server(&server, &["--data", "data"]).0, Some(2), "one or the other");

    // The map grows by itself meanwhile: it begins with 64 MiB.
    let is_over = AtomicBool::new(false);
    let event = format!(r#"{{"type":"add","data":{{"item":"{}","n":1}}}}"#, "i".repeat(300));
    let body = format!("[{}]", vec![event.as_str(); 2000].join(","));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut posted = 0;
            while !is_over.load(Ordering::Relaxed) || posted < 100 {
                let answer = server.post("/tally/e", &body).expect("an answer");
                assert_eq!(answer.status, 201, "{}", answer.text());
                posted += 1;
            }
        });
        for _ in 0..8 {
            let (code, text) = verify_server(&server, &[]);
            assert_eq!(code, Some(0), "{text}");
            assert!(text.ends_with(" origin: whole\n"), "{text}");
        }
        is_over.store(true, Ordering::Relaxed);
        writing.join().expect("it writes");
    });
    server.kill().expect("killed");
    let (code, text) = verify_server(&server, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("http://127."), "{text}");
}

// Goal: a check that was killed keeps no old pages for ever. Method: rows without number are damaged, so that a child
// has more to say than a pipe holds; it is killed while it waits for somebody to listen.
#[test]
fn a_killed_check_leaves_no_reader() {
    let mut server = stopped_with(3_000);
    server.restart().expect("a restart");
    let events = data_file(&server).parent().expect("a folder").to_owned();
    // Now the server has the root open; who opens it first begins the list of readers anew.
    assert_eq!(server.get("/tally").expect("an answer").status, 200);
    damage(&server, &[br#""item":"i""#]);
    let mut child = Command::new(laterbase_tests::built())
        .args(["verify-root", "--shared"])
        .arg(&events)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut said = child.stdout.take().expect("a pipe");
    said.read_exact(&mut [0; 9]).expect("it says something");
    child.kill().expect("killed");
    child.wait().expect("it ended");
    let (code, text) = verify_server(&server, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("tally: 3,000 faults\n") && text.contains("\n  and 2,900 more\n"), "{text}");
    let hint = format!("verify --server http://{} --peer URL tally\n", server.address());
    assert!(text.contains(&hint), "{text}");
    let environment = Environment::open_shared(&events, 16).expect("opens");
    assert_eq!(environment.forget_dead_readers().expect("asked"), 0);
    assert_eq!(server.get("/_/livez").expect("an answer").status, 200);
}

// Goal: what ends a child does not end the server, which then keeps away from the pages itself. Method: pages become
// noise, one after the other, until a child dies of one: mostly of one of the first, seldom of none in a round.
#[test]
fn a_damaged_page_ends_no_server() {
    let mut server = stopped_with(200);
    server.restart().expect("a restart");
    let file = File::options().read(true).write(true).open(data_file(&server)).expect("the file");
    let mut random = StdRng::seed_from_u64(seed("a_damaged_page_ends_no_server"));
    let died = (0..4).flat_map(|_| 2..40).find_map(|page| {
        let (at, mut good) = (page * PAGE_BYTES, vec![0; 4096]);
        file.read_exact_at(&mut good, at).expect("the file is as long as its map");
        let mut noise = good.clone();
        random.fill(&mut noise[16..]);
        file.write_all_at(&noise, at).expect("write");
        let (code, text) = verify_server(&server, &["--peer", "http://127.0.0.1:1"]);
        file.write_all_at(&good, at).expect("write");
        assert_eq!(code, Some(1), "{text}");
        text.contains("ended the check with SIG").then_some(text)
    });
    let text = died.expect("some page ends a child");
    assert!(
        text.contains("not compared with http://127.0.0.1:1: the check did not come to its end"),
        "{text}"
    );
    let whole = (Some(0), "tally: 200 events, 1 origin: whole\n".to_owned());
    assert_eq!(verify_server(&server, &[]), whole, "all is good again");
    assert_eq!(server.get("/tally/e").expect("an answer").status, 200);
}

// Goal: what the route refuses, and how it stands before and after a check.
#[test]
fn the_route_of_a_check() {
    let server = Server::start(&[]).expect("a server");
    let state = |server: &Server| {
        server.get("/_/verify/tally").expect("an answer").json()["state"].as_str().map(str::to_owned)
    };
    assert_eq!(state(&server).as_deref(), Some("none"));
    let refused = |body: &str| {
        let answer = server.post("/_/verify/tally", body).expect("an answer");
        (answer.status, answer.json()["code"].as_str().map(str::to_owned))
    };
    assert_eq!(refused("{}"), (404, Some("unknown_root".to_owned())), "it has no files");
    server.post("/tally/e", r#"{"type":"add","data":{"item":"i","n":1}}"#).expect("an answer");
    assert_eq!(refused("["), (400, Some("bad_json".to_owned())));
    assert_eq!(refused(r#"{"pear":"http://a"}"#), (400, Some("bad_json".to_owned())));
    assert_eq!(refused(r#"{"peer":"https://a"}"#), (400, Some("bad_parameter".to_owned())));
    assert_eq!(state(&server).as_deref(), Some("none"));
    let answers: Vec<_> = (0..20).map(|_| refused("{}").0).collect();
    assert_eq!(answers[0], 202);
    assert!(answers.iter().all(|status| matches!(status, 202 | 409)), "{answers:?}");
    while state(&server).as_deref() == Some("rows") {
        std::thread::yield_now();
    }
    assert_eq!(state(&server).as_deref(), Some("done"));
    assert_eq!(server.get("/_/verify/nothing").expect("an answer").status, 404);
}
