//! `laterbase verify` on real directories: what it prints, how it ends, and that a damaged file never ends it.

use laterbase::store::environment::{ALL_KEYS, Environment, Kind, Rows};
use laterbase_tests::{Server, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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
