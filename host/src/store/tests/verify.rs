//! Every way in which a row can be wrong is found and named.

use super::*;
use crate::core::event::ValidTime;
use crate::core::gset::{Body, Incoming, check_behind};
use crate::core::knowledge::Sum;
use crate::core::tables::{Fork, StoredEvent};
use crate::store::environment::{ALL_KEYS, Environment, EnvironmentError, Kind, Rows};
use crate::store::rows::{
    Encoder, HeadRow, clash_key, decode_arrival, decode_dot, decode_event, dot_key, encode_arrival,
    encode_dot, encode_event,
};
use crate::store::verify::{Counts, Fault, Report, scan, verify};
use crate::store::{DataFileError, LmdbStore, OpenError};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The tables whose rows others speak of, so that one that is gone is found.
const LINKED: [&str; 7] = ["events", "clashes", "dots", "arrivals", "origins", "stamps", "pins"];

pub(super) fn open(dir: &Path) -> LmdbStore {
    LmdbStore::open(dir, origin(1)).expect("the store opens")
}

pub(super) fn value(data: &[u8]) -> Value<'_> {
    Value { type_number: 7, version: 1, data }
}

pub(super) fn merge(tables: &mut dyn TablesMut, number: u8, seq: u64, key: EventKey, data: &[u8]) {
    let dot = Dot { origin: origin(number), seq: Seq(seq) };
    let incoming = Incoming { dot, key, body: Body::Whole(value(data)) };
    gset::merge(tables, incoming, 2_000).expect("the merge");
}

/// Twenty events of Origin 1, the least with the number 0. Origin 2 knows the events 4 and 5 too; it admitted a
/// smaller value for the key of 3 and a greater one for that of 6.
pub(super) fn filled(dir: &Path) {
    let store = open(dir);
    for number in 0..20 {
        let data = [b"value ".as_slice(), &number.to_string().into_bytes()].concat();
        admit_in_one_commit(&store, number..number + 1, &data);
    }
    let committed = store.commit(&mut |tables| {
        merge(tables, 2, 1, numbered_key(4), b"value 4");
        merge(tables, 2, 2, numbered_key(3), b"smaller");
        merge(tables, 2, 3, numbered_key(6), b"value 6 and more");
        merge(tables, 2, 4, numbered_key(5), b"value 5");
        for name in 1..3 {
            tables.put_stamp([name; 16], 5, 0, 9)?;
            tables.put_pin([name; 16], b"pin", 0, 9)?;
            let fork = Fork { peer: origin(7), origin: origin(name), difference: Sum(1) };
            tables.put_healed(fork)?;
        }
        tables.put_clock_max(ValidTime(5).0)
    });
    committed.expect("the commit");
}

pub(super) fn faults(dir: &Path) -> Vec<Fault> {
    let mut faults = Vec::new();
    verify(dir, &mut |fault| faults.push(fault)).expect("it can be looked at");
    faults
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[track_caller]
fn assert_named(faults: &[Fault], table: &str, key: &[u8], what: &str) {
    let named = faults.iter().any(|fault| fault.table == table && fault.row == hex(key));
    assert!(named, "{what} {table} {}: {faults:#?}", hex(key));
}

fn raw<R>(
    dir: &Path,
    name: &str,
    change: &mut dyn FnMut(&Environment, &crate::store::environment::Table) -> R,
) -> R {
    let environment = Environment::open(dir, Kind::Derived, 16).expect("the environment opens");
    let table = environment.table(name).expect("a table");
    change(&environment, &table)
}

pub(super) fn rows(dir: &Path, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    raw(dir, name, &mut |environment, table| {
        let read = environment.read().expect("read");
        let rows = read.range(table, ALL_KEYS).expect("rows");
        rows.map(|row| row.map(|(key, row)| (key.to_vec(), row.to_vec())).expect("a row")).collect()
    })
}

pub(super) fn put(dir: &Path, name: &str, key: &[u8], row: &[u8]) {
    raw(dir, name, &mut |environment, table| {
        environment.write(&mut |txn| txn.put(table, key, row)).expect("write");
    });
}

pub(super) fn delete(dir: &Path, name: &str, key: &[u8]) {
    let deleted = raw(dir, name, &mut |environment, table| {
        environment.write(&mut |txn| txn.delete(table, key)).expect("write")
    });
    assert!(deleted, "{name} {} is there", hex(key));
}

#[test]
fn a_whole_root_has_no_faults_and_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let before = fs::read(dir.path().join("data.mdb")).expect("the file");
    let (mut reports, counts) =
        (Vec::new(), Counts { events: 20, losers: 2, dots: 24, origins: 2, arrivals: 22 });
    assert_eq!(scan(dir.path(), &mut |report| reports.push(report)).expect("scan"), counts);
    let rows = 20 + 2 + 24 + 22 + 2 + 4 + 4 + 2 + 3;
    assert_eq!(reports, [Report::Progress { rows, rows_max: rows }]);
    assert!(fs::read(dir.path().join("data.mdb")).expect("the file") == before, "the file changed");
}

#[test]
fn where_no_commit_came_there_is_nothing_to_find() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(verify(dir.path(), &mut |_| ()).expect("nothing"), Counts::default());
    assert!(!dir.path().join("data.mdb").exists(), "nothing is made");
    drop(open(dir.path()));
    assert_eq!(verify(dir.path(), &mut |_| ()).expect("nothing"), Counts::default());
    assert_eq!(faults(dir.path()), []);
}

#[test]
fn a_torn_file_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("data.mdb"), [0; 100]).expect("write");
    assert_eq!(verify(dir.path(), &mut |_| ()).expect("no commit came"), Counts::default());
    assert_eq!(fs::read(dir.path().join("data.mdb")).expect("there"), [0; 100]);
}

#[test]
fn a_flipped_bit_in_any_row_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    for name in LINKED.into_iter().chain(["healed", "meta"]) {
        for (at, (key, good)) in rows(dir.path(), name).into_iter().enumerate() {
            let mut bad = good.clone();
            let bit = (at * 37) % (good.len() * 8).max(1);
            match bad.get_mut(bit / 8) {
                Some(byte) => *byte ^= 1 << (bit % 8),
                None => bad.push(1),
            }
            put(dir.path(), name, &key, &bad);
            assert_named(&faults(dir.path()), name, &key, "flipped");
            put(dir.path(), name, &key, &good);
        }
    }
    assert_eq!(faults(dir.path()), []);
}

#[test]
fn a_row_that_is_gone_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    for name in LINKED {
        for (key, row) in rows(dir.path(), name) {
            delete(dir.path(), name, &key);
            assert_named(&faults(dir.path()), name, &key, "deleted");
            put(dir.path(), name, &key, &row);
        }
    }
    for key in [b"head".as_slice(), b"format"] {
        let (_, row) = rows(dir.path(), "meta").into_iter().find(|row| row.0 == key).expect("there");
        delete(dir.path(), "meta", key);
        assert_named(&faults(dir.path()), "meta", key, "deleted");
        put(dir.path(), "meta", key, &row);
    }
    assert_eq!(faults(dir.path()), []);
}

#[test]
fn rows_that_change_places_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    for name in ["events", "clashes", "dots", "arrivals", "origins", "healed", "meta"] {
        let rows = rows(dir.path(), name);
        let [(first, one), (second, two), ..] = rows.as_slice() else { panic!("{name}: too few rows") };
        put(dir.path(), name, first, two);
        put(dir.path(), name, second, one);
        let found = faults(dir.path());
        assert_named(&found, name, first, "swapped");
        assert_named(&found, name, second, "swapped");
        put(dir.path(), name, first, one);
        put(dir.path(), name, second, two);
    }
    assert_eq!(faults(dir.path()), []);
}

#[test]
fn a_table_that_is_gone_is_named() {
    for name in ["events", "clashes", "dots", "arrivals", "origins", "stamps", "pins"] {
        let dir = tempfile::tempdir().expect("a directory");
        filled(dir.path());
        let environment = Environment::open(dir.path(), Kind::Derived, 16).expect("opens");
        assert!(environment.remove_table(name).expect("remove"));
        drop(environment);
        assert_named(&faults(dir.path()), name, &[], "removed");
    }
}

/// What a row becomes, of its key and its bytes.
type Change = dyn Fn(&[u8], &[u8]) -> Vec<u8>;

/// A row of a table, what it becomes, and the row that is named then.
struct Contradiction {
    table: &'static str,
    key: Vec<u8>,
    change: Box<Change>,
    named: (&'static str, Vec<u8>),
}

impl Contradiction {
    fn new(table: &'static str, key: &[u8], change: Box<Change>) -> Self {
        Self { table, key: key.to_vec(), change, named: (table, key.to_vec()) }
    }

    fn dot(change: &'static dyn Fn(&mut DotRow)) -> Self {
        let change = |key: &[u8], row: &[u8]| {
            let mut row = decode_dot(key, row).expect("a dot");
            change(&mut row);
            encode_dot(key, row)
        };
        Self::new("dots", &dot_key(Dot { origin: origin(1), seq: Seq(9) }), Box::new(change))
    }

    fn arrival(change: &'static dyn Fn(&mut ArrivalRow)) -> Self {
        let change = |key: &[u8], row: &[u8]| {
            let mut row = decode_arrival(key, row).expect("an arrival");
            change(&mut row);
            encode_arrival(key, row)
        };
        Self::new("arrivals", &9_u64.to_be_bytes(), Box::new(change))
    }

    fn loser(change: &'static dyn Fn(&mut StoredEvent<'_>)) -> Self {
        let key = numbered_key(6);
        let row_key = clash_key(key, value(b"value 6 and more").hash(key));
        Self { table: "clashes", key: row_key.to_vec(), ..Self::event(6, change) }
    }

    fn event(number: u64, change: &'static dyn Fn(&mut StoredEvent<'_>)) -> Self {
        let change = |key: &[u8], row: &[u8]| {
            let mut event = decode_event(key, row).expect("an event");
            change(&mut event);
            encode_event(&event).expect("it has dots")
        };
        Self::new("events", &numbered_key(number).0, Box::new(change))
    }

    fn head(change: &'static dyn Fn(&mut HeadRow)) -> Self {
        let change = |_: &[u8], row: &[u8]| {
            let mut row = HeadRow::decode(row).expect("the head");
            change(&mut row);
            row.encode()
        };
        Self::new("meta", b"head", Box::new(change))
    }

    fn last(seq: u64) -> Self {
        let change = move |key: &[u8], _: &[u8]| Encoder::with_room(8).long(seq).seal("origins", key);
        Self::new("origins", &origin(2).0, Box::new(change))
    }

    fn naming(self, table: &'static str, key: &[u8]) -> Self {
        Self { named: (table, key.to_vec()), ..self }
    }
}

// Goal: what a program has written wrongly is found too. Method: rows with right checksums and wrong contents.
#[test]
fn rows_that_contradict_others_are_named() {
    let dot = |number, seq| dot_key(Dot { origin: origin(number), seq: Seq(seq) });
    let changes = [
        Contradiction::dot(&|row| row.sum = row.sum.plus(Sum(1))),
        Contradiction::dot(&|row| row.key = numbered_key(9)),
        Contradiction::dot(&|row| row.hash = ValueHash([1; 16])),
        Contradiction::arrival(&|row| row.check = [1; 8]),
        Contradiction::arrival(&|row| row.key = numbered_key(9)),
        Contradiction::arrival(&|row| row.dot.seq = Seq(10)),
        Contradiction::arrival(&|row| row.dot.seq = Seq(99)).naming("dots", &dot(1, 99)),
        Contradiction::event(8, &|event| event.value.data = b"other"),
        Contradiction::event(8, &|event| event.hash = ValueHash([1; 16])),
        Contradiction::event(8, &|event| event.dots.push(Dot { origin: origin(3), seq: Seq(1) }))
            .naming("dots", &dot(3, 1)),
        Contradiction::event(8, &|event| event.dots.push(Dot { origin: origin(2), seq: Seq(1) }))
            .naming("dots", &dot(2, 1)),
        Contradiction::event(4, &|event| event.dots.truncate(1)),
        Contradiction::event(4, &|event| event.dots.insert(0, event.dots[0])),
        Contradiction::loser(&|event| event.dots.push(Dot { origin: origin(3), seq: Seq(1) }))
            .naming("dots", &dot(3, 1)),
        Contradiction::last(3),
        Contradiction::last(0),
        Contradiction::last(6).naming("dots", &dot(2, 5)),
        Contradiction::head(&|head| head.events += 1),
        Contradiction::head(&|head| head.arrivals -= 1),
        Contradiction::head(&|head| head.arrivals += 1).naming("arrivals", &23_u64.to_be_bytes()),
        Contradiction::head(&|head| head.origins += 1),
        Contradiction::head(&|head| head.check = [1; 8]),
        Contradiction::head(&|head| head.wall_ms += 1),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    for (at, Contradiction { table, key, change, named }) in changes.into_iter().enumerate() {
        let (_, good) = rows(dir.path(), table).into_iter().find(|row| row.0 == key).expect("there");
        put(dir.path(), table, &key, &change(&key, &good));
        assert_named(&faults(dir.path()), named.0, &named.1, &format!("change {at}"));
        put(dir.path(), table, &key, &good);
        assert_eq!(faults(dir.path()), [], "change {at} is taken back");
    }
}

// Goal: each fact of an arrival is compared, not only its check. Method: the last arrival is another one, with a check
// that follows on the one before.
#[test]
fn an_arrival_that_contradicts_others_is_named() {
    let changes: [fn(&mut ArrivalRow); 2] = [|row| row.wall_ms = 999, |row| row.key = numbered_key(9)];
    for change in changes {
        let dir = tempfile::tempdir().expect("a directory");
        filled(dir.path());
        let [(one_key, one), (two_key, two)] =
            <[_; 2]>::try_from(rows(dir.path(), "arrivals").split_off(20)).expect("two rows");
        let one = decode_arrival(&one_key, &one).expect("an arrival");
        let mut two = decode_arrival(&two_key, &two).expect("an arrival");
        change(&mut two);
        two.check = check_behind(one.check, &two);
        put(dir.path(), "arrivals", &two_key, &encode_arrival(&two_key, two));
        assert_named(&faults(dir.path()), "arrivals", &two_key, "the last one");
    }
}

// Goal: a dot that nothing else speaks of is missed all the same. Method: an alias goes, and its event has never
// had it.
#[test]
fn a_gap_between_dots_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let (_, row) = rows(dir.path(), "events").swap_remove(4);
    let mut event = decode_event(&numbered_key(4).0, &row).expect("an event");
    assert_eq!(event.dots.pop(), Some(Dot { origin: origin(2), seq: Seq(1) }));
    put(dir.path(), "events", &numbered_key(4).0, &encode_event(&event).expect("a row"));
    let gone = dot_key(Dot { origin: origin(2), seq: Seq(1) });
    delete(dir.path(), "dots", &gone);
    assert_named(&faults(dir.path()), "dots", &gone, "gone");
}

// Goal: the winner is the smallest value. Method: the two values of a key change places, with right checksums.
#[test]
fn a_greater_value_that_holds_the_key_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let key = numbered_key(6);
    let find = |table: &str, begin: &[u8]| {
        rows(dir.path(), table).into_iter().find(|row| row.0.starts_with(begin)).expect("there")
    };
    let ((winner_key, winner), (loser_key, loser)) = (find("events", &key.0), find("clashes", &key.0));
    let mut winner = decode_event(&winner_key, &winner).expect("an event");
    let mut loser = decode_event(&loser_key, &loser).expect("an event");
    (winner.clash, loser.clash) = (true, false);
    let winner_as_loser = encode_event(&winner).expect("a row");
    delete(dir.path(), "clashes", &loser_key);
    put(dir.path(), "clashes", &clash_key(key, winner.hash), &winner_as_loser);
    put(dir.path(), "events", &key.0, &encode_event(&loser).expect("a row"));
    let found = faults(dir.path());
    assert_named(&found, "events", &key.0, "turned round");
    assert_eq!(found.len(), 1, "{found:#?}");
}

// Goal: a walk in a circle or out of order ends. Method: a key is changed in the pages of the file.
#[test]
fn a_key_out_of_order_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let (key, row) = rows(dir.path(), "events").swap_remove(7);
    let node = [key, row].concat();
    let file = File::options().read(true).write(true).open(dir.path().join("data.mdb")).expect("the file");
    let mut bytes = vec![0; 1 << 20];
    file.read_exact_at(&mut bytes, 0).expect("the file is as long as its map");
    for place in (0..bytes.len() - node.len()).filter(|at| bytes[*at..].starts_with(&node)) {
        file.write_all_at(&[0xff; 16], place as u64).expect("write");
    }
    let found = faults(dir.path());
    assert_named(&found, "events", &[0xff; 16], "the great key");
    let behind = Fault {
        table: "events",
        row: hex(&numbered_key(8).0),
        reason: "the key is not greater than the one before; the rest is not read".to_owned(),
        missing: None,
    };
    assert!(found.contains(&behind), "{found:#?}");
}

// Goal: pages that vanished with their rows are missed by the table's own count. Method: LMDB's record of the table,
// whose row count is its fifth number, 32 bytes behind the 6 of the name.
#[test]
fn a_table_that_counts_other_rows_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let file = File::options().read(true).write(true).open(dir.path().join("data.mdb")).expect("the file");
    let mut bytes = vec![0; 1 << 20];
    file.read_exact_at(&mut bytes, 0).expect("the file is as long as its map");
    let is_record = |at: &usize| bytes[*at..].starts_with(b"events") && bytes[at + 6 + 32] == 20;
    for place in (0..bytes.len() - 60).filter(is_record) {
        file.write_all_at(&[19], place as u64 + 6 + 32).expect("write");
    }
    let found = faults(dir.path());
    assert_named(&found, "events", &[], "the count");
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn a_file_that_was_cut_off_is_refused_before_it_is_mapped() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path());
    let path = dir.path().join("data.mdb");
    File::options().write(true).open(&path).and_then(|file| file.set_len(5 * 4096)).expect("cut");
    let error = verify(dir.path(), &mut |_| ()).expect_err("cut off");
    let truncated = matches!(
        &error,
        OpenError::Environment(EnvironmentError::DataFile(DataFileError::Truncated { length: 20_480, .. }))
    );
    assert!(truncated, "{error}");
}
