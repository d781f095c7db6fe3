//! Tables of bytes: growing, removing, counting, and what ends in an error.

use crate::core::tables::TableError;
use crate::store::environment::{ALL_KEYS, Environment, EnvironmentError, Kind, Rows};
use std::ops::Bound;
use std::sync::mpsc;
use std::thread;

fn open(dir: &std::path::Path) -> Environment {
    Environment::open(dir, Kind::Derived, 8).expect("the environment opens")
}

#[test]
fn rows_come_in_key_order_from_either_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = open(dir.path());
    let table = environment.table("t").expect("a table");
    let numbers = [5u8, 1, 3, 2, 4];
    let put =
        environment.write(&mut |txn| numbers.iter().try_for_each(|n| txn.put(&table, &[*n], &[*n * 2])));
    put.expect("write");
    let read = environment.read().expect("read");
    let range = (Bound::Excluded(&[1][..]), Bound::Included(&[4][..]));
    let keys = |rows: Vec<(&[u8], &[u8])>| rows.iter().map(|(key, _)| key[0]).collect::<Vec<_>>();
    let forward: Result<_, _> = read.range(&table, range).expect("range").collect();
    assert_eq!(keys(forward.expect("rows")), [2, 3, 4]);
    let reverse: Result<_, _> = read.range_reverse(&table, range).expect("range").collect();
    assert_eq!(keys(reverse.expect("rows")), [4, 3, 2]);
    assert_eq!(read.first(&table).expect("first"), Some((&[1][..], &[2][..])));
    assert_eq!(read.last(&table).expect("last"), Some((&[5][..], &[10][..])));
    assert_eq!(read.at_most(&table, &[4, 9]).expect("at most"), Some((&[4][..], &[8][..])));
    assert_eq!(read.len(&table).expect("len"), 5);
}

#[test]
fn the_writer_sees_its_own_rows_and_says_what_it_did() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = open(dir.path());
    let table = environment.table("t").expect("a table");
    let wrote = environment.write(&mut |txn| {
        assert!(txn.put_new(&table, b"b", b"1")?, "a free key");
        assert!(!txn.put_new(&table, b"b", b"2")?, "a taken key");
        assert_eq!(txn.get(&table, b"b")?, Some(&b"1"[..]));
        assert!(txn.append(&table, b"c", b"3")?, "behind the last");
        assert!(!txn.append(&table, b"a", b"4")?, "before the last");
        assert!(txn.delete(&table, b"b")?, "there");
        assert!(!txn.delete(&table, b"b")?, "gone");
        txn.put(&table, b"d", b"5")?;
        txn.put(&table, b"e", b"6")?;
        assert_eq!(txn.delete_range(&table, (Bound::Included(&b"c"[..]), Bound::Excluded(&b"e"[..])))?, 2);
        Ok(txn.range(&table, ALL_KEYS)?.count())
    });
    assert_eq!(wrote.expect("write"), 1);
    environment.write(&mut |txn| txn.clear(&table)).expect("clear");
    assert_eq!(environment.read().expect("read").len(&table).expect("len"), 0);
}

#[test]
fn a_body_that_puts_nothing_or_fails_commits_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = open(dir.path());
    let table = environment.table("t").expect("a table");
    let number = || environment.read().expect("read").commit_number();
    let before = number();
    environment.write(&mut |txn| txn.get(&table, b"a").map(drop)).expect("reads only");
    assert_eq!(number(), before);
    let failed = environment.write(&mut |txn| {
        txn.put(&table, b"a", b"1")?;
        Err::<(), _>(TableError::Io("no".into()))
    });
    assert!(failed.is_err());
    assert_eq!(number(), before);
    assert_eq!(environment.read().expect("read").get(&table, b"a").expect("get"), None);
    environment.write(&mut |txn| txn.put(&table, b"a", b"1")).expect("write");
    assert_eq!(number(), before + 1);
    environment.fail_next_commit(std::io::Error::other("asked for"));
    environment.write(&mut |_| Ok(())).expect("nothing was put: nothing is committed");
    assert!(environment.write(&mut |txn| txn.put(&table, b"b", b"1")).is_err());
}

#[test]
fn a_body_that_hides_the_full_map_is_run_again_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = open(dir.path());
    let table = environment.table("t").expect("a table");
    let big = vec![1; 70 << 20];
    let put = environment.write(&mut |txn| Ok(txn.put(&table, b"big", &big).is_ok()));
    assert!(put.expect("write"));
    let read = environment.read().expect("read");
    assert_eq!(read.get(&table, b"big").expect("get").map(<[u8]>::len), Some(70 << 20));
}

#[test]
fn the_map_grows_and_keeps_what_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = open(dir.path());
    let table = environment.table("t").expect("a table");
    let before = environment.map_bytes();
    let mut runs = 0;
    let megabyte = |n: u8| vec![n; 1 << 20];
    let grown = environment.write(&mut |txn| {
        runs += 1;
        (0..140u8).try_for_each(|n| txn.put(&table, &[n], &megabyte(n)))
    });
    grown.expect("write");
    assert_eq!(environment.map_bytes(), 4 * before);
    assert_eq!(runs, 3, "from 64 MiB over 128 to 256");
    assert!(environment.used_bytes() > 140 << 20);
    let length = std::fs::metadata(dir.path().join("data.mdb")).expect("the file").len();
    assert_eq!(length, environment.map_bytes(), "the file is as long as its map");
    drop(table);
    drop(environment);
    let environment = open(dir.path());
    assert!(environment.map_bytes() >= 4 * before, "{}", environment.map_bytes());
    let table = environment.table("t").expect("a table");
    let read = environment.read().expect("read");
    for n in 0..140 {
        assert!(read.get(&table, &[n]).expect("get") == Some(&megabyte(n)), "row {n}");
    }
}

#[test]
fn growing_waits_for_readers_and_never_for_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = open(dir.path());
    let table = environment.table("t").expect("a table");
    environment.write(&mut |txn| txn.put(&table, b"kept", b"as it was")).expect("write");
    let big = vec![1; 70 << 20];
    let own = environment.read().expect("read");
    let error = environment.write(&mut |txn| txn.put(&table, b"big", &big)).expect_err("it reads itself");
    assert!(matches!(error, TableError::Io(_)), "{error}");
    drop(own);
    thread::scope(|scope| {
        let (reading, is_reading) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let (environment, table) = (&environment, &table);
        let reader = scope.spawn(move || {
            let read = environment.read().expect("read");
            let row = read.get(table, b"kept").expect("get");
            reading.send(()).expect("the test waits");
            stopped.recv().expect("the test says when");
            assert_eq!(row, Some(&b"as it was"[..]), "the map moved under a reader");
        });
        is_reading.recv().expect("the reader reads");
        let big = &big;
        let writer = scope.spawn(move || environment.write(&mut |txn| txn.put(table, b"big", big)));
        while !environment.is_growing() {
            assert!(!writer.is_finished(), "the map moved under a reader");
            thread::yield_now();
        }
        stop.send(()).expect("the reader waits");
        reader.join().expect("the reader's row stayed");
        writer.join().expect("no panic").expect("the map has grown");
    });
    let read = environment.read().expect("read");
    assert_eq!(read.get(&table, b"big").expect("get").map(<[u8]>::len), Some(70 << 20));
}

#[test]
fn tables_are_made_listed_and_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = open(dir.path());
    let [one, two] = environment.tables(["one", "two"]).expect("tables");
    environment.write(&mut |txn| txn.put(&one, b"a", b"1")).expect("write");
    assert_eq!(environment.table_names().expect("names"), ["one", "two"]);
    assert!(environment.remove_table("one").expect("remove"));
    assert!(!environment.remove_table("one").expect("remove"), "gone already");
    assert_eq!(environment.table_names().expect("names"), ["two"]);
    let three = environment.table("three").expect("takes the free place");
    assert!(environment.read().expect("read").get(&one, b"a").is_err(), "the handle is of a removed table");
    assert_eq!(environment.read().expect("read").get(&three, b"a").expect("get"), None);
    let again = environment.table("one").expect("made anew");
    assert_eq!(environment.read().expect("read").len(&again).expect("len"), 0);
    assert_eq!(environment.read().expect("read").len(&two).expect("len"), 0);
    drop(environment);
    assert_eq!(open(dir.path()).table_names().expect("names"), ["one", "three", "two"]);
}

#[test]
fn a_reader_does_not_know_a_table_made_after_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = open(dir.path());
    let read = environment.read().expect("read");
    let table = environment.table("late").expect("a table");
    assert!(read.get(&table, b"a").is_err());
    assert!(environment.read().expect("read").get(&table, b"a").is_ok());
}

#[test]
fn a_process_opens_an_environment_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = open(dir.path());
    let error = Environment::open(dir.path(), Kind::Derived, 8).expect_err("open already");
    assert!(matches!(error, EnvironmentError::AlreadyOpen { .. }), "{error}");
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    drop(environment);
    assert!(Environment::open(dir.path(), Kind::Derived, 8).is_ok());
}
