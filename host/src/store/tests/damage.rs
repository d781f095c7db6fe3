//! What the store on disk says when the disk fails, is full, or gives other bytes back than it took.

use super::*;
use crate::core::tables::{Result, TableError};
use crate::problem::Code;
use crate::store::environment::{ALL_KEYS, Environment, EnvironmentError, Kind, Rows};
use crate::store::{DataFileError, LmdbStore, OpenError};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const PAYLOAD: &[u8; 32] = b"one payload, nowhere else to see";

fn data_file(dir: &Path) -> PathBuf {
    dir.join("data.mdb")
}

fn open(dir: &Path) -> std::result::Result<LmdbStore, OpenError> {
    LmdbStore::open(dir, origin(0))
}

/// A store with some events, one of them lost to a smaller value.
fn filled(dir: &Path) {
    let store = open(dir).expect("the store opens");
    admit_in_one_commit(&store, 0..20, PAYLOAD);
    let merged = store.commit(&mut |tables| {
        let value = Value { type_number: 1, version: 1, data: b"smaller" };
        let dot = Dot { origin: origin(5), seq: Seq(1) };
        let body = gset::Body::Whole(value);
        gset::merge(tables, gset::Incoming { dot, key: numbered_key(3), body }, 1_000)?;
        tables.put_stamp([1; 16], 5, 0, 9)?;
        tables.put_pin([1; 16], b"pin", 0, 9)
    });
    merged.expect("the merge");
}

/// Reads all there is.
fn read_all(store: &LmdbStore) -> Result<()> {
    let tables = store.read()?;
    tables.walk(None, &mut |_| Continue(()))?;
    for (origin, last) in tables.head()?.knowledge.iter() {
        tables.dots(origin, 1..=last.0, &mut |_, _| Continue(()))?;
    }
    tables.arrivals(Arrival(0), &mut |_, _| Continue(()))?;
    tables.stamp([1; 16])?;
    tables.pin([1; 16]).map(drop)
}

#[test]
fn a_flipped_bit_in_any_row_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let tables =
        ["events", "clashes", "dots", "arrivals", "stamps", "pins", "origins", "meta", "meta", "meta"];
    for (at, name) in tables.into_iter().enumerate() {
        let row = |environment: &Environment| {
            let table = environment.table(name).expect("a table");
            let read = environment.read().expect("read");
            let mut rows = read.range(&table, ALL_KEYS).expect("rows");
            let (key, bytes) = rows.nth(at.saturating_sub(7)).expect("the table has rows").expect("a row");
            (table.clone(), key.to_vec(), bytes.to_vec())
        };
        let (key, good) = {
            let (_, key, good) = row(&raw(dir.path()));
            (key, good)
        };
        for bit in (0..good.len() * 8).step_by(7) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            put_raw(dir.path(), name, &key, &bad);
            let found = open(dir.path()).map_err(|error| error.problem().code);
            let found = found.and_then(|store| read_all(&store).map_err(|error| error.problem().code));
            assert_eq!(found.err(), Some(Code::Corrupt), "table {name}, bit {bit}");
        }
        put_raw(dir.path(), name, &key, &good);
    }
    read_all(&open(dir.path()).expect("all good again")).expect("all good again");
}

fn raw(dir: &Path) -> Environment {
    Environment::open(dir, Kind::Derived, 16).expect("the environment opens")
}

fn put_raw(dir: &Path, name: &str, key: &[u8], bytes: &[u8]) {
    let environment = raw(dir);
    let table = environment.table(name).expect("a table");
    environment.write(&mut |txn| txn.put(&table, key, bytes)).expect("write");
}

#[test]
fn a_flipped_bit_in_the_file_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let file = File::options().read(true).write(true).open(data_file(dir.path())).expect("the file");
    let mut good = vec![0; 1 << 20];
    file.read_exact_at(&mut good, 0).expect("the file is as long as its map");
    let places: Vec<usize> =
        (0..good.len() - PAYLOAD.len()).filter(|at| good[*at..].starts_with(PAYLOAD)).collect();
    assert!(places.len() >= 20, "every event's data is in the file: {}", places.len());
    let mut found = 0;
    for place in places {
        let at = place as u64 + 9;
        file.write_all_at(&[PAYLOAD[9] ^ 4], at).expect("write");
        let store = open(dir.path()).expect("the page structure is whole");
        found += usize::from(matches!(read_all(&store), Err(TableError::Corrupt { .. })));
        file.write_all_at(&[PAYLOAD[9]], at).expect("write");
    }
    // Some places are pages of earlier commits that nobody reads any more.
    assert!(found >= 20, "found {found}");
}

#[test]
fn a_row_under_another_key_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let environment = raw(dir.path());
    let table = environment.table("events").expect("a table");
    let swapped = environment.write(&mut |txn| {
        let [one, two] = [numbered_key(1), numbered_key(2)];
        let row = txn.get(&table, &one.0)?.expect("there").to_vec();
        txn.put(&table, &two.0, &row)
    });
    swapped.expect("write");
    drop(environment);
    let store = open(dir.path()).expect("opens");
    let error = store.read().expect("read").event(numbered_key(2)).expect_err("another key's row");
    assert!(matches!(error, TableError::Corrupt { table: "events", .. }), "{error}");
}

#[test]
fn rows_that_vanish_are_found_at_opening() {
    for name in ["events", "dots", "arrivals", "origins"] {
        let dir = tempfile::tempdir().expect("a directory");
        filled(dir.path());
        let environment = raw(dir.path());
        let table = environment.table(name).expect("a table");
        let deleted = environment.write(&mut |txn| {
            let key = txn.range(&table, ALL_KEYS)?.next().expect("a row")?.0.to_vec();
            txn.delete(&table, &key)
        });
        assert!(deleted.expect("write"));
        drop(environment);
        let error = open(dir.path()).expect_err("a row is missing");
        assert_eq!(error.problem().code, Code::Corrupt, "{name}: {error}");
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let path = data_file(dir.path());
    for pages in [2, 3, 5] {
        File::options().write(true).open(&path).and_then(|f| f.set_len(pages * 4096)).expect("cut");
        let error = open(dir.path()).expect_err("cut off");
        let truncated = matches!(
            &error,
            OpenError::Environment(EnvironmentError::DataFile(DataFileError::Truncated { length, .. }))
                if *length == pages * 4096
        );
        assert!(truncated, "{error}");
        assert_eq!(error.problem().code, Code::Corrupt);
        assert_eq!(fs::metadata(&path).expect("there").len(), pages * 4096);
        // The next round cuts a longer piece of a whole file.
        fs::remove_file(&path).expect("remove");
        filled(dir.path());
    }
}

#[test]
fn a_file_that_no_commit_reached_is_begun_again() {
    let torn: [Vec<u8>; 4] = [Vec::new(), vec![0; 100], vec![0; 4096], vec![0; 8192]];
    for bytes in torn {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(data_file(dir.path()), &bytes).expect("write");
        let store = open(dir.path()).unwrap_or_else(|error| panic!("{} bytes: {error}", bytes.len()));
        admit_in_one_commit(&store, 0..3, PAYLOAD);
        assert_eq!(dump_store(&store).head.events, 3);
    }
}

#[test]
fn half_of_the_first_two_pages_is_begun_again() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(Environment::open(dir.path(), Kind::Derived, 16).expect("opens"));
    let path = data_file(dir.path());
    File::options().write(true).open(&path).and_then(|f| f.set_len(4096)).expect("cut");
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let bytes = vec![7; 3 * 4096];
    fs::write(data_file(dir.path()), &bytes).expect("write");
    let error = open(dir.path()).expect_err("no environment");
    assert!(
        matches!(&error, OpenError::Environment(EnvironmentError::DataFile(DataFileError::NoMeta { .. }))),
        "{error}"
    );
    assert_eq!(fs::read(data_file(dir.path())).expect("there"), bytes);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let row = crate::store::rows::Encoder::with_room(4).word(2).seal("meta", b"format");
    put_raw(dir.path(), "meta", b"format", &row);
    let before = fs::read(data_file(dir.path())).expect("there");
    let error = open(dir.path()).expect_err("newer");
    assert!(matches!(error, OpenError::NewerFormat { found: 2, .. }), "{error}");
    assert!(fs::read(data_file(dir.path())).expect("there") == before, "the file changed");
}

#[test]
fn an_environment_of_other_tables_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    put_raw(dir.path(), "something", b"a", b"b");
    let error = open(dir.path()).expect_err("not events");
    assert!(matches!(error, OpenError::NotEvents { .. }), "{error}");
}

#[test]
fn an_error_at_commit_closes_the_store_until_it_is_reopened() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let store = open(dir.path()).expect("opens");
    let before = dump_store(&store);
    store.environment().fail_next_commit(io::Error::other("the device is gone"));
    let admit = |store: &LmdbStore| {
        store.commit(&mut |tables| {
            admit_one(tables, numbered_key(100), b"x", 1);
            Ok(())
        })
    };
    assert!(matches!(admit(&store), Err(TableError::Io(_))));
    assert!(store.environment().is_poisoned());
    assert!(matches!(admit(&store), Err(TableError::Poisoned)));
    assert!(matches!(store.read().map(drop), Err(TableError::Poisoned)));
    drop(store);
    let store = open(dir.path()).expect("opens again");
    assert_eq!(dump_store(&store), before);
    admit(&store).expect("works again");
}

#[test]
fn a_full_disk_refuses_the_commit_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).expect("opens");
    admit_in_one_commit(&store, 0..3, PAYLOAD);
    let before = dump_store(&store);
    store.environment().fail_next_commit(io::ErrorKind::StorageFull.into());
    let full = store.commit(&mut |tables| {
        admit_one(tables, numbered_key(100), b"x", 1);
        Ok(())
    });
    assert!(matches!(full, Err(TableError::DiskFull(_))));
    assert_eq!(dump_store(&store), before);
    admit_in_one_commit(&store, 3..5, PAYLOAD);
    assert_eq!(dump_store(&store).head.knowledge.get(origin(0)), Seq(5));
}

#[test]
fn a_commit_that_outgrows_the_map_is_run_again_from_the_beginning() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).expect("opens");
    admit_in_one_commit(&store, 0..3, PAYLOAD);
    let before = store.environment().map_bytes();
    admit_in_one_commit(&store, 3..73, &vec![9; 1 << 20]);
    assert!(store.environment().map_bytes() > before);
    drop(store);
    let store = LmdbStore::open(dir.path(), origin(1)).expect("opens");
    let dump = dump_store(&store);
    assert_eq!((dump.head.events, dump.head.arrivals, dump.dots.len()), (73, 73, 73));
    assert_eq!(dump.head.origin, origin(0), "the incarnation stays");
    assert!(dump.events.iter().skip(3).all(|event| event.value.2 == vec![9; 1 << 20]));
}

#[test]
fn a_reader_has_the_head_of_its_own_commit() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).expect("opens");
    admit_in_one_commit(&store, 0..3, PAYLOAD);
    let before = dump_store(&store);
    let txn = store.environment().read().expect("read");
    admit_in_one_commit(&store, 3..5, PAYLOAD);
    assert_eq!(dump(&store.over(txn)), before, "its commit came before the head that is published now");
    assert_eq!(dump_store(&store).head.arrivals, 5);
}

#[test]
fn a_store_opens_once_and_the_error_names_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let _store = open(dir.path()).expect("opens");
    let error = open(dir.path()).expect_err("open already");
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    assert_eq!(error.problem().code, Code::Storage);
}
