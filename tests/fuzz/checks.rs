//! What is done with made-up bytes, one function a kind of bytes: read them as the server would, and act on them.
//!
//! None may panic, whatever comes. Fuzz targets call these functions with bytes of their own; an ordinary test calls
//! them with the seeds. Where the bytes need a checksum to be looked at, it is put in here: guessing hashes finds
//! nothing.

use laterbase::core::clock::Clock;
use laterbase::core::event::{EventKey, Origin, ValidTime, Value};
use laterbase::core::frames::{self, Frames};
use laterbase::core::gset::{self, Candidate};
use laterbase::core::knowledge::vv_from_str;
use laterbase::feed::{self, TypeNames};
use laterbase::store::{MemoryStore, Store};
use laterbase::sync::{Ask, Exchange, ExchangeError, Link, PROTOCOL, Page, Replica, agree, round};
use laterbase::wall::Wall;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

/// The Root that all cursors are of.
const ROOT: &str = "tally";

/// A wall clock that stands still.
#[derive(Debug)]
struct Still;

impl Wall for Still {
    fn now(&self) -> ValidTime {
        ValidTime::from_millis(1_800_000_000_000).expect("within NTP64")
    }
}

/// No type has a name.
struct Nameless;

impl TypeNames for Nameless {
    fn name(&self, _: u32) -> Option<String> {
        None
    }

    fn number(&self, _: &str) -> Option<u32> {
        None
    }
}

/// A replica that admitted `events` under Origin `number`; `flavour` goes into the values.
pub fn replica(number: u8, events: u64, flavour: &str) -> Arc<Replica> {
    let store = MemoryStore::new(Origin([number; 8]));
    let admitted = store.commit(&mut |tables| {
        for event in 1..=events {
            let data = format!("{event}{flavour}");
            let value = Value { type_number: 1, version: 1, data: data.as_bytes() };
            let key = EventKey::new(ValidTime(event << 32), [3; 8]);
            gset::admit(tables, Candidate::new(key, value), 1)?;
        }
        Ok(())
    });
    admitted.expect("memory commits");
    let (clock, _) = Clock::new(ValidTime::default(), Still.now());
    let mint = Box::new(|| Origin([200; 8]));
    Arc::new(Replica::new(Arc::new(store), Arc::new(Mutex::new(clock)), Arc::new(Still), mint))
}

/// The answer of a future that never waits.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("nothing in here waits"),
    }
}

/// A peer whose answers are pieces of the input, each behind its length in two bytes.
struct Script<'d>(&'d [u8]);

impl Exchange for Script<'_> {
    async fn exchange(&mut self, _: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
        let over = || ExchangeError::Connection("the script is over".to_owned());
        let (length, rest) = self.0.split_first_chunk().ok_or_else(over)?;
        let (answer, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(over)?;
        self.0 = rest;
        Ok(answer.to_vec())
    }
}

/// Frames: as a question, as news, and as a peer's answers in a round.
pub fn frame(data: &[u8]) {
    let ours = replica(1, 12, "");
    if let Ok(ask) = Ask::decode(data) {
        assert_eq!(Ask::decode(&ask.encode()).as_ref(), Ok(&ask), "a frame that was read is written alike");
        drop(ours.is_quiet(&ask));
        drop(ours.answer(&ask));
    }
    drop(Link::new(1).heard(&ours, data));
    drop(at_once(round(&ours, &mut Script(data), &mut Link::new(1), true)));
    holds_together(&ours);
}

/// Pages, as they come (first byte odd) or unpacked.
pub fn page(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let packed = if how % 2 == 1 { rest.to_vec() } else { packed(rest) };
    if let Ok(page) = Page::decode(&packed) {
        assert_eq!(Page::decode(&page.encode()).as_ref(), Ok(&page), "a page that was read is written alike");
    }
    asked(4, &packed);
}

/// Bundles, as they come (first byte odd) or unpacked.
pub fn bundle(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    asked(8, &if how % 2 == 1 { rest.to_vec() } else { packed(rest) });
}

/// Messages of the set reconciliation.
pub fn negentropy(data: &[u8]) {
    asked(6, data);
}

/// A peer's answers to the question for a dictionary, to a watch, and in a round: pages may be packed with it.
pub fn dictionary(data: &[u8]) {
    // So many that the question is asked; too many to make them for each input.
    static OURS: LazyLock<Arc<Replica>> = LazyLock::new(|| replica(1, 5200, ""));
    let (mut link, mut peer) = (Link::new(1), Script(data));
    drop(at_once(agree(&OURS, &mut peer, &mut link)));
    if let Ok(news) = at_once(peer.exchange(Vec::new())) {
        drop(link.heard(&OURS, &news));
    }
    drop(at_once(round(&OURS, &mut peer, &mut link, true)));
}

/// Version vectors, read and used.
pub fn vv(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(vv) = vv_from_str(text, 1 << 16) {
        assert_eq!(vv.to_string().parse().as_ref(), Ok(&vv), "a vv that was read is written alike");
    }
    drop(walk(&feed::Query { vv: vec![text.to_owned()], ..feed::Query::default() }));
}

/// Cursors, as they come (first byte odd) or without their checksum and base64.
pub fn cursor(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let text = if how % 2 == 1 {
        String::from_utf8_lossy(rest).into_owned()
    } else {
        let check = blake3::hash(rest);
        let check = check.as_bytes().first_chunk::<8>().expect("a hash has 32 bytes");
        data_encoding::BASE64URL_NOPAD.encode(&[rest, check].concat())
    };
    drop(walk(&feed::Query { cursor: Some(text), ..feed::Query::default() }));
}

/// Binary frames, as they come (first byte odd), or the content of one, behind which a length and a checksum are put.
pub fn events(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let body = if how % 2 == 1 {
        rest.to_vec()
    } else {
        let length = u32::try_from(rest.len()).expect("a fuzzer's input is short").to_be_bytes();
        let check = crc32c::crc32c_append(crc32c::crc32c(&length), rest).to_be_bytes();
        [&frames::HEAD[..], &length, &check, rest].concat()
    };
    let mut again = frames::HEAD.to_vec();
    let mut is_sound = true;
    for frame in Frames::new(&body, 1 << 20) {
        match frame {
            Ok(frame) => frames::write(&mut again, &frame),
            Err(_) => is_sound = false,
        }
    }
    assert!(!is_sound || again == body, "frames that were read are written alike");
    assert!(is_sound || body.starts_with(&again) || again == frames::HEAD, "up to the fault, too");
}

/// A page of a feed of twelve events; none if the query is refused.
pub fn walk(query: &feed::Query) -> Option<feed::Page> {
    let ours = replica(1, 12, "");
    let tables = ours.store().read().expect("memory reads");
    feed::page(tables.as_ref(), ROOT, query, &Nameless).ok()
}

/// Asks the question of this number whose one field is `bytes`.
fn asked(question: u8, bytes: &[u8]) {
    let mut frame = vec![PROTOCOL, 1, question];
    let mut length = bytes.len();
    while length >= 0x80 {
        frame.push(0x80 | u8::try_from(length % 0x80).expect("seven bits"));
        length /= 0x80;
    }
    frame.push(u8::try_from(length).expect("seven bits"));
    frame.extend(bytes);
    let ours = replica(1, 12, "");
    drop(ours.answer(&Ask::decode(&frame).expect("a frame with any bytes in it is a frame")));
    holds_together(&ours);
}

/// Bytes packed as they are, with their length and checksum.
fn packed(plain: &[u8]) -> Vec<u8> {
    let length = u32::try_from(plain.len()).expect("a fuzzer's input is short");
    let hash = blake3::hash(plain);
    let sum = hash.as_bytes().first_chunk::<16>().expect("a hash has 32 bytes");
    [&[0], length.to_be_bytes().as_slice(), sum, plain].concat()
}

/// Whatever came, there is one dot row for every dot known.
fn holds_together(replica: &Replica) {
    let tables = replica.store().read().expect("memory reads");
    let knowledge = tables.head().expect("memory reads").knowledge.clone();
    for (origin, last) in knowledge.iter() {
        let mut rows = 0;
        let counted = tables.dots(origin, 1..=last.0, &mut |_, _| {
            rows += 1;
            std::ops::ControlFlow::Continue(())
        });
        counted.expect("memory reads");
        assert_eq!(rows, last.0, "dots of {origin}");
    }
}
