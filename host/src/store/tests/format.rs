//! The bytes that FORMAT.md shows are the bytes that are written; of the row that names the data file, the layout.

use super::*;
use crate::core::gset::{Body, Candidate, Incoming};
use crate::store::LmdbStore;
use crate::store::environment::{ALL_KEYS, Environment, Kind, Rows};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

#[test]
fn the_documented_rows_are_the_written_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = LmdbStore::open(dir.path(), Origin(*b"\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8")).expect("opens");
    let key = EventKey(0x6567_2d00_8000_0000_0123_4567_89ab_cdef_u128.to_be_bytes());
    let committed = store.commit(&mut |tables| {
        let value = Value { type_number: 7, version: 1, data: b"{\"n\":2}" };
        gset::admit(tables, Candidate::new(key, value), 1_700_000_000_500)?;
        let dot = Dot { origin: origin(0xb1), seq: Seq(1) };
        let body = Body::Whole(Value { type_number: 7, version: 1, data: b"{\"n\":3}" });
        gset::merge(tables, Incoming { dot, key, body }, 1_700_000_000_501)?;
        tables.put_clock_max(0x6567_2d00_8000_0000)?;
        tables.put_stamp([0xc1; 16], 0x6567_2d00_8000_0000, 0, 1_700_600_000_000)?;
        tables.put_pin([0xd1; 16], b"pin", 0, 1_700_003_600_000)
    });
    committed.expect("the commit");
    drop(store);
    let environment = Environment::open(dir.path(), Kind::Durable, 16).expect("opens");
    let mut lines = Vec::new();
    for name in environment.table_names().expect("names") {
        let table = environment.table(&name).expect("a table");
        let read = environment.read().expect("read");
        for row in read.range(&table, ALL_KEYS).expect("rows") {
            let (key, row) = row.expect("a row");
            if (name.as_str(), key) == ("meta", b"file") {
                assert_names_the_file(row, dir.path());
                continue;
            }
            let hex = |bytes| data_encoding::HEXLOWER.encode(bytes);
            lines.push(format!("{name} {} {}", hex(key), hex(row)).trim_end().to_owned());
        }
    }
    let written = lines.join("\n");
    let document = include_str!("../../../FORMAT.md");
    let begin = document.find("```rows\n").expect("FORMAT.md has the rows") + "```rows\n".len();
    let documented = document[begin..].split("\n```").next().expect("split gives one");
    assert_eq!(documented, written, "FORMAT.md and the code disagree");
}

/// The row is another one for every file: number 8 and time of birth (or nonce) 16, behind the checksum 4.
fn assert_names_the_file(row: &[u8], dir: &Path) {
    assert_eq!(row.len(), 4 + 8 + 16);
    let file = std::fs::metadata(dir.join("data.mdb")).expect("the file");
    assert_eq!(row[4..12], file.ino().to_be_bytes());
    if let Ok(nonce) = std::fs::read(dir.join("nonce")) {
        assert_eq!(row[12..], nonce);
    } else {
        let made = file.created().expect("there is no nonce").duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(row[12..], made.expect("after 1970").as_nanos().to_be_bytes());
    }
}
