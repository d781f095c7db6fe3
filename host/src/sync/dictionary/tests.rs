//! A dictionary is the same whoever makes it again, makes small pages smaller, and whatever is wrong with one is named.

use super::*;
use crate::core::event::{EventKey, Origin, Value};
use crate::core::gset::{self, Candidate};
use crate::core::limits::{DICTIONARY_PLAIN_BYTES_MAX, PAGE_PLAIN_BYTES_MAX};
use crate::store::{MemoryStore, Store};

/// An event of a supply chain, of which most is the same as in any other.
fn event(number: u64) -> String {
    format!(
        r#"{{"type":"ObjectEvent","eventTimeZoneOffset":"+12:00","epcList":["urn:epc:id:sscc:9421234.{:010}"],"action":"OBSERVE","bizStep":"shipping","disposition":"in_transit","readPoint":{{"id":"urn:epc:id:sgln:9421234.00001.{}"}},"bizTransactionList":[{{"type":"po","bizTransaction":"urn:epcglobal:cbv:bt:9421234000012:{}"}}]}}"#,
        number * 7919 % 10_000_000_000,
        number % 17,
        number / 40,
    )
}

fn store(events: u64) -> MemoryStore {
    let store = MemoryStore::new(Origin([1; 8]));
    let admitted = store.commit(&mut |tables| {
        for number in 1..=events {
            let data = event(number);
            let value = Value { type_number: 1, version: 1, data: data.as_bytes() };
            let mut tail = [0; 8];
            blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut tail);
            let key = EventKey::new(ValidTime((1_700_000_000 << 32) + (number << 22)), tail);
            gset::admit(tables, Candidate::new(key, value), 1)?;
        }
        Ok(())
    });
    admitted.expect("memory commits");
    store
}

/// The page of the dots `first..first + rows`.
fn page(store: &MemoryStore, first: u64, rows: u64) -> Page {
    let tables = store.read().expect("memory reads");
    let (spans, known) = ([Span { origin: [1; 8], first, last: first + rows - 1 }], Knowledge::new());
    let wanted = Wanted { spans: &spans, known: &known, whole: true, bytes_max: 1 << 22 };
    let page = Page::collect(tables.as_ref(), wanted, ValidTime::default()).expect("memory reads");
    assert_eq!(page.len() as u64, rows);
    page
}

fn made(store: &MemoryStore, arrivals: u64) -> Dictionary {
    Dictionary::of(store.read().expect("memory reads").as_ref(), arrivals).expect("memory reads")
}

// Goal: what the README says of live pages, and that large ones are left alone.
#[test]
fn small_pages_get_smaller() {
    let store = store(5000);
    let dictionary = made(&store, 4096);
    assert!(dictionary.bytes().len() <= DICTIONARY_BYTES_MAX);
    for (rows, percent_max) in [(1, 50), (10, 75), (60, 95)] {
        let page = page(&store, 4500, rows);
        let (plain, packed) = (page.encode(), page.encode_with(Some(&dictionary)));
        println!("{rows} rows: {} bytes, with a dictionary {}", plain.len(), packed.len());
        assert!(packed.len() * 100 < plain.len() * percent_max, "{rows}: {} {}", packed.len(), plain.len());
        assert_eq!(pack::dictionary_of(&packed), Some(dictionary.name()));
        assert_eq!(Page::decode_with(&packed, Some(&dictionary)).as_ref(), Ok(&page));
        assert_eq!(Page::decode_with(&plain, Some(&dictionary)).as_ref(), Ok(&page));
    }
    let large = page(&store, 1, 500);
    assert!(large.plain().len() > DICTIONARY_PLAIN_BYTES_MAX);
    assert_eq!(large.encode_with(Some(&dictionary)), large.encode());
}

/// Nothing is stored, so it must come out the same after a restart, and be another when the Root has grown.
#[test]
fn it_is_made_again_alike() {
    let (short, long) = (store(4100), store(4900));
    assert_eq!(made(&short, 4096), made(&long, 4096), "later arrivals change nothing");
    assert_eq!(made(&short, 4096), made(&short, 4096));
    assert_ne!(made(&short, 4096).name(), made(&short, 1024).name());
    let few = made(&short, 100);
    assert!(!few.bytes().is_empty(), "too few to train from are still of some use");
    assert!(made(&store(0), 100).bytes().is_empty());
    let growing = [(4095, None), (4096, Some(4096)), (16_383, Some(4096)), (16_384, Some(16_384))];
    for (arrivals, of) in growing {
        assert_eq!(made_of(arrivals, 4096), of, "{arrivals}");
    }
    assert_eq!(made_of(u64::MAX, 4096), Some(1 << 62));
}

/// Damage anywhere, and a name of another, are found before anything is unpacked with it.
#[test]
fn a_wrong_dictionary_is_refused() {
    let store = store(2000);
    let dictionary = made(&store, 1024);
    let packed = dictionary.encode();
    assert!(packed.len() < dictionary.bytes().len());
    assert_eq!(Dictionary::decode(dictionary.name(), &packed).as_ref(), Ok(&dictionary));
    assert!(matches!(Dictionary::decode([0; 4], &packed), Err(FrameError::Form(_))));
    for at in (0..packed.len()).step_by(7) {
        let mut damaged = packed.clone();
        damaged[at] ^= 1;
        let read = Dictionary::decode(dictionary.name(), &damaged);
        assert!(read.is_err() || read.as_ref() == Ok(&dictionary), "byte {at}");
    }
    let huge = pack::pack(&vec![7; DICTIONARY_BYTES_MAX + 1]);
    assert!(matches!(Dictionary::decode([0; 4], &huge), Err(FrameError::TooLong { .. })));
}

/// Bytes that begin as a dictionary of Zstandard's format and are none: an error wherever they are used.
#[test]
fn a_dictionary_that_zstandard_refuses() {
    let store = store(2000);
    let page = page(&store, 1500, 1);
    let good = made(&store, 1024);
    for at in (8..200).chain((200..good.bytes().len()).step_by(101)) {
        let mut bytes = good.bytes().to_vec();
        bytes[at] = bytes[at].wrapping_add(83);
        let bad = Dictionary::new(bytes);
        // Either it is still a dictionary, or the page goes without.
        let packed = page.encode_with(Some(&bad));
        assert_eq!(Page::decode_with(&packed, Some(&bad)).as_ref(), Ok(&page), "byte {at}");
        let mut lying = page.encode_with(Some(&good));
        lying[1..5].copy_from_slice(&bad.name());
        assert!(
            Page::decode_with(&lying, Some(&bad)).is_ok_and(|read| read == page) || {
                matches!(Page::decode_with(&lying, Some(&bad)), Err(FrameError::Form(_)))
            }
        );
    }
    assert!(zstd::bulk::Compressor::with_dictionary(3, &[0x37, 0xa4, 0x30, 0xec, 0, 0, 0, 0, 1]).is_ok());
}

/// A page that names a dictionary needs just that one, and its announced length is bounded as any other's.
#[test]
fn a_page_names_its_dictionary() {
    let store = store(2000);
    let (dictionary, other) = (made(&store, 1024), made(&store, 2000));
    let page = page(&store, 1500, 3);
    let packed = page.encode_with(Some(&dictionary));
    for held in [None, Some(&other)] {
        let read = Page::decode_with(&packed, held);
        assert!(matches!(read, Err(FrameError::Form(what)) if what.contains("not here")), "{read:?}");
    }
    for at in 0..packed.len() {
        let mut damaged = packed.clone();
        damaged[at] ^= 1;
        let read = Page::decode_with(&damaged, Some(&dictionary));
        assert!(read.is_err() || read.as_ref() == Ok(&page), "byte {at}");
        assert!(Page::decode_with(&packed[..at], Some(&dictionary)).is_err(), "cut at {at}");
    }
    let bomb = pack::pack_with(&vec![0; 60_000], Some(&dictionary));
    let mut liar = bomb.clone();
    liar[5..9].copy_from_slice(&u32::MAX.to_be_bytes());
    let refused = pack::unpack_with(&liar, PAGE_PLAIN_BYTES_MAX, Some(&dictionary));
    assert!(matches!(refused, Err(FrameError::TooLong { .. })));
    liar[5..9].copy_from_slice(&100_u32.to_be_bytes());
    assert!(pack::unpack_with(&liar, PAGE_PLAIN_BYTES_MAX, Some(&dictionary)).is_err());
}

/// When a peer is asked, and for how long it is believed.
#[test]
fn a_peer_is_asked_seldom() {
    let store = store(200);
    let dictionary = made(&store, 100);
    let mut agreed = Agreed::default();
    assert!(!agreed.is_due(119, 100), "the peer may be a little behind");
    assert!(agreed.is_due(125, 100) && !agreed.is_due(400, 100) && agreed.is_due(500, 100));
    agreed.take(Some(dictionary.name()), &dictionary.encode()).expect("good");
    assert_eq!(agreed.dictionary().as_deref(), Some(&dictionary));
    agreed.connected();
    assert_eq!(
        (agreed.dictionary().as_deref(), agreed.held()),
        (None, Some(dictionary.name())),
        "it has to be named again"
    );
    assert!(agreed.is_due(500, 100));
    agreed.take(Some(dictionary.name()), &[]).expect("it is held");
    assert_eq!(agreed.dictionary().as_deref(), Some(&dictionary));
    for times in 0..9 {
        agreed.lost();
        assert_eq!(agreed.dictionary(), None);
        assert_eq!(agreed.is_due(500, 100), times < LOST_MAX, "{times}");
    }
    agreed.connected();
    agreed.refused();
    assert!(!agreed.is_due(u64::MAX, 100));
    agreed.connected();
    assert!(agreed.is_due(500, 100), "it may be a newer one by now");
    agreed.take(None, &[]).expect("none");
    assert_eq!(agreed.dictionary(), None);
    agreed.take(Some([1; 4]), &dictionary.encode()).expect_err("another's name");
    agreed.connected();
    assert!(!agreed.is_due(u64::MAX, 100) && agreed.held().is_none());
}
