//! The seeds of the fuzz targets, replayed through the same functions: none panics. A crash that a fuzzer found
//! becomes a file beside them.
//!
//! `LATERBASE_FUZZ_SEEDS=write` writes the generated ones anew, after a change of a format.

use checks::{at_once, replica};
use laterbase::core::event::ValidTime;
use laterbase::core::frames::{self, EventFrame, Frame, FrameTime};
use laterbase::core::knowledge::vv_of;
use laterbase::feed;
use laterbase::sync::{Ask, Exchange, ExchangeError, Link, Outcome, PROTOCOL, Replica, round};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[path = "fuzz/checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets see these functions from another crate")]
mod checks;

/// What is done with some bytes.
type Check = fn(&[u8]);

/// Each target with its function.
const TARGETS: &[(&str, Check)] = &[
    ("frame", checks::frame),
    ("page", checks::page),
    ("bundle", checks::bundle),
    ("vv", checks::vv),
    ("cursor", checks::cursor),
    ("negentropy", checks::negentropy),
    ("dictionary", checks::dictionary),
    ("events", checks::events),
];

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// Every seed, whole and cut in the middle, with each of its first bytes turned over.
#[test]
fn seeds_do_no_harm() {
    for (target, check) in TARGETS {
        let folder = seeds().join(target);
        let mut replayed = 0;
        for file in fs::read_dir(&folder).expect("seeds of every target") {
            let mut bytes = fs::read(file.expect("a file").path()).expect("a seed");
            check(&bytes);
            check(&bytes[..bytes.len() / 2]);
            for at in 0..bytes.len().min(64) {
                bytes[at] ^= 0xff;
                check(&bytes);
                bytes[at] ^= 0xff;
            }
            replayed += 1;
        }
        assert!(replayed >= 3, "{target} has only {replayed} seeds");
    }
}

/// A peer whose frames are taken down.
struct Taps<'r> {
    peer: &'r Replica,
    asks: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
}

impl Exchange for Taps<'_> {
    async fn exchange(&mut self, ask: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
        let answer = self.peer.answer(&Ask::decode(&ask).expect("our own frame")).expect("an answer");
        self.asks.push(ask);
        self.answers.push(answer.clone());
        Ok(answer)
    }
}

/// The frames of a meeting of these two, questions and answers.
fn meeting(ours: &Arc<Replica>, peer: &Replica) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut taps = Taps { peer, asks: Vec::new(), answers: Vec::new() };
    let mut link = Link::new(1);
    while at_once(round(ours, &mut taps, &mut link, false)).expect("a round") != Outcome::Same {}
    let news = link.watch(ours, 9).expect("a question");
    taps.answers.push(peer.answer(&news).expect("an answer"));
    taps.asks.push(news.encode());
    (taps.asks, taps.answers)
}

/// The frames of two meetings: of strangers, and of two histories of one Origin. Both are so small that nothing in
/// them is compressed.
fn frames() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut asks, mut answers) = meeting(&replica(1, 2, ""), &replica(2, 3, "x"));
    let (ours, peer) = (replica(1, 2, ""), replica(1, 2, "!"));
    let (more_asks, more_answers) = meeting(&ours, &peer);
    asks.extend(more_asks);
    answers.extend(more_answers);
    (asks, answers)
}

/// One of each kind, by the number of the kind, which stands at `at`.
fn one_of_each(frames: &[Vec<u8>], at: usize) -> BTreeMap<u8, Vec<u8>> {
    let mut kinds = BTreeMap::new();
    for frame in frames {
        kinds.entry(frame[at]).or_insert_with(|| frame.clone());
    }
    kinds
}

/// The bytes that a frame carries behind its head and their length (one or two bytes of LEB128).
fn carried(frame: &[u8], head: usize) -> &[u8] {
    let long = usize::from(frame[head] >= 0x80);
    &frame[head + 1 + long..]
}

/// The plain bytes in packed ones, behind a byte that says so.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    assert_eq!(packed[0], 0, "compressed");
    [&[0], &packed[21..]].concat()
}

/// What all seeds should be, generated.
fn generated() -> BTreeMap<String, Vec<u8>> {
    let (asks, answers) = frames();
    let mut seeds = BTreeMap::new();
    let mut put = |name: String, bytes: Vec<u8>| drop(seeds.insert(name, bytes));
    let (questions, tells) = (one_of_each(&asks, 2), one_of_each(&answers, 1));
    let script = |answers: &[Vec<u8>]| -> Vec<u8> {
        let piece = |answer: &Vec<u8>| {
            let length = u16::try_from(answer.len()).expect("short");
            [length.to_be_bytes().as_slice(), answer].concat()
        };
        answers.iter().flat_map(piece).collect()
    };
    put("frame/round".to_owned(), script(&answers));
    for (kind, frame) in &questions {
        put(format!("frame/ask-{kind}"), frame.clone());
    }
    for (kind, frame) in &tells {
        put(format!("frame/tell-{kind}"), frame.clone());
    }
    for (name, frame, head) in [("pulled", &tells[&2], 2), ("pushed", &questions[&4], 3)] {
        let packed = carried(frame, head);
        put(format!("page/{name}-packed"), [&[1], packed].concat());
        put(format!("page/{name}"), unpacked(packed));
    }
    for (name, frame, head) in [("fetched", &tells[&7], 2), ("healing", &questions[&8], 3)] {
        let packed = carried(frame, head);
        put(format!("bundle/{name}-packed"), [&[1], packed].concat());
        put(format!("bundle/{name}"), unpacked(packed));
    }
    let reconciling = asks.iter().filter(|ask| ask[2] == 6).map(|ask| carried(ask, 3).to_vec());
    let reconciled = answers.iter().filter(|tell| tell[1] == 6).map(|tell| carried(tell, 2).to_vec());
    let many = meeting(&replica(1, 90, ""), &replica(1, 90, "!"));
    let many = many.0.into_iter().filter(|ask| ask[2] == 6).map(|ask| carried(&ask, 3).to_vec());
    for (number, message) in reconciling.chain(reconciled).chain(many).enumerate() {
        put(format!("negentropy/{number}"), message);
    }
    seeds.extend(generated_for_dictionaries(&script));
    seeds.extend(generated_for_feeds());
    seeds
}

/// A peer's dictionary and a page packed with it, none, and one of another name.
fn generated_for_dictionaries(script: &dyn Fn(&[Vec<u8>]) -> Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    let peer = replica(2, 5200, "");
    let ask = |frame: &[u8]| peer.answer(&Ask::decode(frame).expect("a frame")).expect("an answer");
    let told = ask(&[PROTOCOL, 1, 9, 0]);
    assert_eq!(told[..3], [PROTOCOL, 9, 1], "there is one");
    let name = &told[3..7];
    // What the peer admitted behind its seq 5197.
    let watch = [&[PROTOCOL, 1, 5][..], &[0; 16], &[2; 8], &[0xcd, 0x28, 9], name].concat();
    let news = ask(&watch);
    let mut wrong = told.clone();
    wrong[3] ^= 1;
    BTreeMap::from([
        ("dictionary/agreed".to_owned(), script(&[told, news.clone()])),
        ("dictionary/none".to_owned(), script(&[vec![PROTOCOL, 9, 0, 0], news.clone()])),
        ("dictionary/wrong".to_owned(), script(&[wrong, news])),
    ])
}

fn generated_for_feeds() -> BTreeMap<String, Vec<u8>> {
    let ours = replica(1, 12, "");
    let tables = ours.store().read().expect("memory reads");
    let known = tables.head().expect("memory reads").knowledge.clone();
    let vv = vv_of(tables.as_ref(), &known).expect("memory reads").to_string();
    let origin = "0101010101010101";
    let query = feed::Query { limit: 3, ..feed::Query::default() };
    let cursor = checks::walk(&query).and_then(|page| page.cursor).expect("more follows");
    let plain = data_encoding::BASE64URL_NOPAD.decode(cursor.as_bytes()).expect("base64url");
    let (plain, _checksum) = plain.split_last_chunk::<8>().expect("longer than a checksum");
    let mut scoped = [&[0], plain].concat();
    scoped[2] |= 1;
    let query = feed::Query { limit: 3, format: feed::Format::Frames, ..feed::Query::default() };
    let page = checks::walk(&query).expect("a page").into_body();
    let time = EventFrame {
        when: FrameTime::At(ValidTime(1 << 40)),
        id: Some("docket 8817 line 3"),
        type_number: 1,
        version: None,
        data: b"{\"n\":1}",
        dot: None,
        clash: true,
    };
    let mut written = vec![1];
    written.extend(frames::HEAD);
    frames::write(&mut written, &Frame::Event(time));
    let content = |body: &[u8]| [&[0], &body[14..]].concat();
    BTreeMap::from([
        ("vv/own".to_owned(), vv.into_bytes()),
        ("vv/intervals".to_owned(), format!("{origin}:1,3-4,9;{origin}:12").into_bytes()),
        ("vv/scope".to_owned(), format!("@0000abcd;{origin}:1-9007199254740991~00000000").into_bytes()),
        ("events/feed".to_owned(), [b"\x01", page.as_slice()].concat()),
        ("events/content".to_owned(), content(&written)),
        ("events/written".to_owned(), written),
        ("cursor/scoped".to_owned(), scoped),
        ("cursor/plain".to_owned(), [&[0], plain].concat()),
        ("cursor/text".to_owned(), [b"\x01", cursor.as_bytes()].concat()),
    ])
}

/// The generated seeds are what the code writes now.
#[test]
fn seeds_are_of_this_version() {
    for (name, bytes) in generated() {
        let path = seeds().join(&name);
        if std::env::var("LATERBASE_FUZZ_SEEDS").is_ok_and(|word| word == "write") {
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, &bytes).expect("a seed");
        }
        assert!(!bytes.is_empty(), "{name} is empty");
        assert!(
            fs::read(&path).is_ok_and(|kept| kept == bytes),
            "{name}: LATERBASE_FUZZ_SEEDS=write writes it anew"
        );
    }
}
