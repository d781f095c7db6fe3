//! Events that are gone are named, and can be put back from their keys and values.

use super::verify::{delete, faults, filled, merge, open, put, rows, value};
use super::*;
use crate::store::rows::{clash_key, decode_event, encode_event};
use crate::store::verify::Fault;
use crate::store::{LmdbStore, Restored};
use std::collections::BTreeSet;
use std::path::Path;

/// The ten numbers of the events below, as (key, hash, data): winners, losers and one with two dots.
fn ten() -> Vec<(EventKey, ValueHash, &'static [u8])> {
    let ten: [(u64, &[u8]); 10] = [
        (0, b"value 0"),
        (3, b"smaller"),
        (3, b"value 3"),
        (4, b"value 4"),
        (6, b"value 6"),
        (6, b"value 6 and more"),
        (9, b"value 9"),
        (10, b"value 10"),
        (18, b"value 18"),
        (19, b"value 19"),
    ];
    let named = |(number, data): (u64, &'static [u8])| {
        let key = numbered_key(number);
        (key, value(data).hash(key), data)
    };
    ten.into_iter().map(named).collect()
}

/// Takes the rows of the ten away, and gives what the store was before.
fn without_ten(dir: &Path) -> Dump {
    filled(dir);
    let before = dump_store(&open(dir));
    for (key, hash, _) in ten() {
        let lost = clash_key(key, hash);
        if rows(dir, "clashes").iter().any(|row| row.0 == lost) {
            delete(dir, "clashes", &lost);
        } else {
            delete(dir, "events", &key.0);
        }
    }
    before
}

#[test]
fn events_that_are_gone_are_named_exactly() {
    let dir = tempfile::tempdir().expect("a directory");
    without_ten(dir.path());
    let found = faults(dir.path());
    let missing: Vec<_> = found.iter().filter_map(|fault| fault.missing).collect();
    let expected: BTreeSet<_> = ten().into_iter().map(|(key, hash, _)| (key, hash)).collect();
    assert_eq!(missing.len(), 10, "{found:#?}");
    assert_eq!(missing.into_iter().collect::<BTreeSet<_>>(), expected);
    let others: Vec<_> = found.iter().filter(|fault| fault.missing.is_none()).collect();
    assert!(matches!(others.as_slice(), [Fault { table: "meta", .. }]), "{others:#?}");
}

// Goal: what a peer gives back makes the root what it was. Method: in one go and one by one, from either end.
#[test]
fn events_that_are_put_back_make_the_root_whole() {
    for order in ["together", "forwards", "backwards"] {
        let dir = tempfile::tempdir().expect("a directory");
        let before = without_ten(dir.path());
        assert!(LmdbStore::open(dir.path(), origin(9)).is_err(), "ten rows are missing");
        let store = LmdbStore::open_unchecked(dir.path(), origin(9)).expect("it is not looked at");
        let mut events: Vec<_> = ten().into_iter().map(|(key, _, data)| (key, value(data))).collect();
        if order == "backwards" {
            events.reverse();
        }
        if order == "together" {
            assert_eq!(store.restore_events(&events).expect("restore"), [Restored::Put; 10]);
        } else {
            for (key, value) in &events {
                assert_eq!(store.restore_event(*key, *value).expect("restore"), Restored::Put, "{key}");
            }
        }
        assert_eq!(store.restore_events(&events).expect("again"), [Restored::Held; 10], "{order}");
        assert_eq!(store.recount().expect("recount"), 20);
        drop(store);
        assert_eq!(faults(dir.path()), [], "{order}");
        assert_eq!(dump_store(&open(dir.path())), before, "{order}");
    }
}

#[test]
fn a_damaged_event_and_one_without_a_dot_are_put_back() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let before = dump_store(&open(dir.path()));
    let all = rows(dir.path(), "events");
    let mut bad = all[3].1.clone();
    bad[30] ^= 1;
    put(dir.path(), "events", &all[3].0, &bad);
    let mut fewer = decode_event(&all[5].0, &all[5].1).expect("an event");
    fewer.dots.pop();
    put(dir.path(), "events", &all[5].0, &encode_event(&fewer).expect("a row"));
    let found = faults(dir.path());
    assert_eq!(found.len(), 2, "{found:#?}");
    let smaller = value(b"smaller");
    let missing = found.iter().find_map(|fault| fault.missing);
    assert_eq!(missing, Some((numbered_key(3), smaller.hash(numbered_key(3)))));
    let store = open(dir.path());
    let events = [(numbered_key(3), smaller), (numbered_key(5), value(b"value 5"))];
    assert_eq!(store.restore_events(&events).expect("restore"), [Restored::Put; 2]);
    assert_eq!(dump_store(&store), before);
    drop(store);
    assert_eq!(faults(dir.path()), []);
}

// Goal: at each step the least value that is there holds the key. Method: of three values the least and the greatest
// are gone, and the greatest comes back first.
#[test]
fn the_least_value_that_is_there_holds_the_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let (key, data) = (numbered_key(1), [b"a", b"b", b"c"]);
    let committed = store.commit(&mut |tables| {
        (1..).zip(data).for_each(|(seq, data)| merge(tables, 2, seq, key, data));
        Ok(())
    });
    committed.expect("the commit");
    let before = dump_store(&store);
    drop(store);
    delete(dir.path(), "events", &key.0);
    delete(dir.path(), "clashes", &clash_key(key, value(data[2]).hash(key)));
    let store = LmdbStore::open_unchecked(dir.path(), origin(9)).expect("it is not looked at");
    assert_eq!(store.restore_event(key, value(data[2])).expect("restore"), Restored::Put);
    let held: Vec<_> =
        dump_store(&store).events.into_iter().map(|event| (event.clash, event.value.2)).collect();
    assert_eq!(held, [(false, data[1].to_vec()), (true, data[2].to_vec())]);
    assert_eq!(store.restore_event(key, value(data[0])).expect("restore"), Restored::Put);
    assert_eq!(dump_store(&store), before);
}

#[test]
fn a_value_that_no_dot_names_is_not_put_back() {
    let dir = tempfile::tempdir().expect("a directory");
    without_ten(dir.path());
    let store = LmdbStore::open_unchecked(dir.path(), origin(9)).expect("it is not looked at");
    let before = dump_store(&store);
    for (number, data) in [(0, b"value 1".as_slice()), (99, b"value 0"), (0, b"")] {
        let restored = store.restore_event(numbered_key(number), value(data)).expect("restore");
        assert_eq!(restored, Restored::Unnamed);
    }
    assert_eq!(dump_store(&store), before);
}

// Goal: a root opens again although nobody has the events that are gone, and says still which they are.
#[test]
fn a_recount_opens_the_root_without_what_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    delete(dir.path(), "events", &numbered_key(9).0);
    let store = LmdbStore::open_unchecked(dir.path(), origin(9)).expect("it is not looked at");
    assert_eq!(store.recount().expect("recount"), 19);
    assert_eq!(dump_store(&store).head.events, 19, "readers see it at once");
    drop(store);
    let found = faults(dir.path());
    assert!(matches!(found.as_slice(), [Fault { missing: Some((key, _)), .. }] if *key == numbered_key(9)));
    let store = open(dir.path());
    assert_eq!(store.restore_event(numbered_key(9), value(b"value 9")).expect("restore"), Restored::Put);
    assert_eq!(store.recount().expect("recount"), 20);
    drop(store);
    assert_eq!(faults(dir.path()), []);
    drop(open(dir.path()));
}
