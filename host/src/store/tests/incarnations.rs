//! When a new Origin begins: in a file other than the one that the Origin was given to, and never otherwise.

use super::*;
use crate::core::gset::{Body, Incoming, Merged};
use crate::store::LmdbStore;
use crate::store::environment::{Environment, Kind};
use crate::store::identity::{self, Identity};
use std::fs;
use std::path::Path;
use std::process::Command;

fn open(dir: &Path, mint: u8) -> LmdbStore {
    LmdbStore::open(dir, origin(mint)).expect("the store opens")
}

fn admit(store: &LmdbStore, number: u64) -> Dot {
    let mut dot = None;
    let committed = store.commit(&mut |tables| {
        dot = admit_one(tables, numbered_key(number), b"x", 1_000);
        Ok(())
    });
    committed.expect("the commit");
    dot.expect("the key is free")
}

fn next_origin(store: &LmdbStore) -> Option<Origin> {
    store.read().expect("read").head().expect("head").next_origin
}

fn dot(number: u8, seq: u64) -> Dot {
    Dot { origin: origin(number), seq: Seq(seq) }
}

/// Three events under the Origin 1.
fn filled(dir: &Path) {
    let store = open(dir, 1);
    admit_in_one_commit(&store, 0..3, b"x");
}

/// What an operator does.
fn shell(program: &str, arguments: &[&Path]) {
    let mut command = Command::new(program);
    command.args(if program == "cp" { &["-a"] } else { &["-r"] as &[&str] }).args(arguments);
    assert!(command.status().expect("it runs").success(), "{command:?}");
}

/// The first two pages, where every commit leaves its number.
fn meta_pages(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("data.mdb")).expect("the file")[..8192].to_vec()
}

#[test]
fn a_restart_and_a_rename_keep_the_origin() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [before, after] = ["before", "after"].map(|name| scratch.path().join(name));
    filled(&before);
    let store = open(&before, 2);
    assert_eq!(next_origin(&store), None);
    assert_eq!(admit(&store, 3), dot(1, 4));
    drop(store);
    fs::rename(&before, &after).expect("rename");
    let store = open(&after, 3);
    assert_eq!(next_origin(&store), None);
    assert_eq!(admit(&store, 4), dot(1, 5));
}

/// Names the directory for the process that is to stop hard.
const STOPPED: &str = "LATERBASE_TEST_STOPPED_HARD";

/// Does nothing unless the test below starts it.
#[test]
fn stop_hard() {
    if let Some(dir) = std::env::var_os(STOPPED) {
        let store = open(Path::new(&dir), 1);
        admit_in_one_commit(&store, 0..3, b"x");
        std::process::abort();
    }
}

// Goal: a process that ends in the middle leaves its Origin behind. Method: this program is started again to run only
// the test above, which aborts with the environment open.
#[test]
fn a_hard_stop_keeps_the_origin() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", "store::tests::incarnations::stop_hard"]).env(STOPPED, dir.path());
    assert!(!child.output().expect("it runs").status.success(), "it aborts");
    assert_eq!(admit(&open(dir.path(), 2), 3), dot(1, 4));
}

#[test]
fn a_copy_begins_an_origin_and_keeps_the_old_dots() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [first, copy] = ["first", "copy"].map(|name| scratch.path().join(name));
    filled(&first);
    shell("cp", &[&first, &copy]);
    let store = open(&copy, 2);
    assert_eq!(admit(&store, 3), dot(2, 1));
    assert_eq!(admit(&store, 4), dot(2, 2));
    let dump = dump_store(&store);
    assert_eq!(
        dump.dots.iter().map(|(dot, _)| *dot).collect::<Vec<_>>(),
        [dot(1, 1), dot(1, 2), dot(1, 3), dot(2, 1), dot(2, 2)]
    );
    drop(store);
    assert_eq!(admit(&open(&copy, 3), 5), dot(2, 3), "the copy's Origin is its own now");
    assert_eq!(admit(&open(&first, 4), 3), dot(1, 4), "the first one has not changed");
}

#[test]
fn idle_restarts_of_a_copy_write_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [first, copy] = ["first", "copy"].map(|name| scratch.path().join(name));
    filled(&first);
    shell("cp", &[&first, &copy]);
    let before = meta_pages(&copy);
    for mint in 2..5 {
        assert_eq!(next_origin(&open(&copy, mint)), Some(origin(mint)));
    }
    assert!(meta_pages(&copy) == before, "a restart has committed");
    let store = open(&copy, 5);
    assert_eq!(admit(&store, 3), dot(5, 1));
    assert_eq!(dump_store(&store).head.knowledge.origins(), 2);
}

// Goal: a copy that was taken while a next Origin was written down, but not begun, gets one of its own.
// Method: a copy that only merges writes its head, and is copied again; then both admit.
#[test]
fn a_copy_of_a_copy_shares_no_origin_with_it() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [first, copy, again] = ["first", "copy", "again"].map(|name| scratch.path().join(name));
    filled(&first);
    shell("cp", &[&first, &copy]);
    let store = open(&copy, 2);
    merge(&store, dot(9, 1), 50);
    drop(store);
    shell("cp", &[&copy, &again]);
    assert_eq!(admit(&open(&copy, 3), 3).origin, origin(3));
    assert_eq!(admit(&open(&again, 4), 3).origin, origin(4));
}

// Goal: a backup in the place of the directory begins an Origin, also where the file system gives the number of the
// removed file to the new one. Method: as an operator does it, several times: the number is the system's choice.
#[test]
fn a_backup_put_back_begins_an_origin() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [dir, backup] = ["events", "backup"].map(|name| scratch.path().join(name));
    filled(&dir);
    shell("cp", &[&dir, &backup]);
    admit(&open(&dir, 1), 3);
    for mint in 2..7 {
        shell("rm", &[&dir]);
        shell("cp", &[&backup, &dir]);
        let store = open(&dir, mint);
        assert_eq!(admit(&store, 3), dot(mint, 1), "the backup's dots went on to 1:4 already");
    }
}

// Goal: the number of the file and its time of birth count both. Method: the recorded identity differs in only one.
#[test]
fn the_same_number_with_another_birth_is_another_file() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let own = Identity::of(dir.path()).expect("the file is there");
    let mut later = own.birth;
    later[15] ^= 1;
    let others = [Identity { birth: later, ..own }, Identity { inode: own.inode ^ 1, ..own }];
    for (recorded, next) in [(others[0], Some(origin(2))), (own, None), (others[1], Some(origin(2)))] {
        let environment = Environment::open(dir.path(), Kind::Derived, 16).expect("opens");
        let meta = environment.table("meta").expect("a table");
        let put = environment.write(&mut |txn| txn.put(&meta, Identity::KEY, &recorded.encode()));
        put.expect("write");
        drop(environment);
        assert_eq!(next_origin(&open(dir.path(), 2)), next, "{recorded:?}");
    }
}

#[test]
fn a_file_without_a_recorded_identity_begins_an_origin() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let environment = Environment::open(dir.path(), Kind::Derived, 16).expect("opens");
    let meta = environment.table("meta").expect("a table");
    assert!(environment.write(&mut |txn| txn.delete(&meta, Identity::KEY)).expect("write"));
    drop(environment);
    assert_eq!(admit(&open(dir.path(), 2), 3), dot(2, 1));
    assert_eq!(admit(&open(dir.path(), 3), 4), dot(2, 2), "it is recorded now");
}

fn merge(store: &LmdbStore, dot: Dot, number: u64) {
    let mut merged = None;
    let body = Body::Whole(Value { type_number: 7, version: 1, data: b"x" });
    let incoming = Incoming { dot, key: numbered_key(number), body };
    let committed = store.commit(&mut |tables| {
        merged = Some(gset::merge(tables, incoming, 1_000)?);
        Ok(())
    });
    committed.expect("the commit");
    assert_eq!(merged, Some(Merged::New));
}

// Goal: nobody can make a replica change its Origin by telling it dots. Whoever learns from a peer that its own Origin
// went on elsewhere decides that outside of the merge.
#[test]
fn a_strangers_dot_of_our_origin_mints_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let store = open(dir.path(), 2);
    merge(&store, dot(1, 4), 50);
    assert_eq!(next_origin(&store), None);
    assert_eq!(admit(&store, 3), dot(1, 5));
    drop(store);
    assert_eq!(next_origin(&open(dir.path(), 2)), None);
}

#[test]
fn a_nonce_is_made_once_and_again_if_it_is_torn() {
    let dir = tempfile::tempdir().expect("a directory");
    let nonce = || identity::nonce(dir.path()).expect("a nonce");
    let first = nonce();
    assert_eq!(nonce(), first);
    fs::write(dir.path().join("nonce"), &first[..7]).expect("write");
    let second = nonce();
    assert_ne!(second, first);
    assert_eq!(nonce(), second);
}
