//! A stranger that speaks the sync protocol: frames that are broken, lie or ask for too much are answered by name,
//! store nothing, create nothing, begin no Origin and cost no memory.

use super::wire::{Page, Question, number, packed, send};
use super::{Term, get, knowledge, origin, post_all, values};
use crate::hostile::{code, resident};
use laterbase::sync::{MEDIA_TYPE, PROTOCOL};
use laterbase_tests::{Client, Server, listing};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The greatest seq that there is.
const SEQ_MAX: u64 = (1 << 53) - 1;
/// An Origin that sorts behind every other.
const STRANGER: [u8; 8] = [0xff; 8];
const EVENTS: [&str; 3] = ["1", "2", "3"];

/// A server with three events of its own, and what it must still be after all that a stranger did.
struct Victim {
    server: Server,
    client: Client,
    own: [u8; 8],
    before: (String, BTreeSet<Term>, Vec<(String, bool, Value)>),
    memory: u64,
}

impl Victim {
    fn new() -> Self {
        let server = Server::start(&[]).expect("a server");
        post_all(&server, &EVENTS);
        let before = Self::holds(&server);
        let own = u64::from_str_radix(&before.0, 16).expect("16 hex digits").to_be_bytes();
        let (client, memory) = (server.client().expect("a connection"), resident(&server));
        Self { server, client, own, before, memory }
    }

    fn holds(server: &Server) -> (String, BTreeSet<Term>, Vec<(String, bool, Value)>) {
        (origin(server, "tally"), knowledge(server, "tally"), values(server, "tally"))
    }

    /// Sends a frame and expects to be refused with `status` and the word `word`.
    fn refuses(&mut self, what: &str, frame: &[u8], (status, word): (u16, &str)) {
        let answer = send(&mut self.client, "tally", frame);
        assert_eq!(answer.status, status, "{what}: {:?}", answer.body);
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/problem+json"), "{what}: {kind}");
        assert_eq!(code(&answer), word, "{what}: {}", answer.text());
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}");
    }

    /// Sends a frame that is well formed and expects a peer's answer.
    fn bears(&mut self, what: &str, question: &Question) -> Vec<u8> {
        let answer = send(&mut self.client, "tally", &question.frame());
        assert_eq!(answer.status, 200, "{what}: {:?}", answer.body);
        assert_eq!(answer.header("content-type"), Some(MEDIA_TYPE), "{what}");
        answer.body
    }

    /// Asserts that nothing of it all was stored or changed, and that it goes on as before.
    fn unharmed(self) {
        assert!(Self::holds(&self.server) == self.before, "what the server holds was changed");
        let grown = resident(&self.server).saturating_sub(self.memory);
        assert!(grown < 64 << 20, "memory grew by {grown} bytes");
        assert_eq!(post_all(&self.server, &["after"]), self.before.0, "no new Origin was begun");
    }
}

fn page(runs: &[([u8; 8], u64, u64)], rows: usize) -> Page {
    Page { runs: runs.to_vec(), rows: vec![br#"{"item":"forged","n":1}"#.to_vec(); rows] }
}

fn push(page: Vec<u8>) -> Vec<u8> {
    Question::Push { page }.frame()
}

/// One good frame of each kind; what it pushes is held here already.
fn good_frames(own: [u8; 8]) -> Vec<Vec<u8>> {
    let questions = [
        Question::Greet { digest: [7; 16] },
        Question::Meet { current: STRANGER, held: vec![(STRANGER, 300, [7; 16])] },
        Question::Pull {
            known: vec![(STRANGER, 300)],
            want: vec![(own, 1, 3)],
            whole: true,
            bytes_max: 1000,
        },
        Question::Offer { known: vec![(STRANGER, 300)] },
        Question::Push { page: page(&[(own, 1, 3)], 3).packed() },
        Question::Watch { digest: [7; 16], current: own, last: 300, wait_ms: 300 },
        Question::Reconcile { message: vec![0x61, 0, 0, 2, 0] },
        Question::Fetch { names: vec![([7; 16], [7; 16])] },
        Question::Heal { bundle: packed(&[0]) },
    ];
    questions.iter().map(Question::frame).collect()
}

// Goal: garbage, frames that end early anywhere, of another version or with bytes behind them are refused by name.
// Method: each kind of frame, good, then cut after every byte, with a byte too many, and under other versions; a page
// cut after every byte inside a frame that is whole; noise.
#[test]
fn broken_frames_are_refused() {
    let mut victim = Victim::new();
    let frames = good_frames(victim.own);
    for frame in &frames {
        let answer = send(&mut victim.client, "tally", frame);
        assert_eq!(answer.status, 200, "{frame:?}: {:?}", String::from_utf8_lossy(&answer.body));
        for length in 0..frame.len() {
            victim.refuses("cut", &frame[..length], (400, "bad_frame"));
        }
        victim.refuses("too long", &[frame, &[0][..]].concat(), (400, "bad_frame"));
        for version in [0, 2, 0x7f, 0xff] {
            let mut other = frame.clone();
            other[0] = version;
            victim.refuses("another version", &other, (400, "sync_version"));
        }
    }
    let whole = page(&[(victim.own, 1, 3)], 3);
    for (packed_page, plain) in [(whole.packed(), false), (whole.plain(), true)] {
        for length in 0..packed_page.len() {
            let cut = if plain { packed(&packed_page[..length]) } else { packed_page[..length].to_vec() };
            victim.refuses("a page cut", &push(cut), (400, "bad_frame"));
        }
    }
    for byte in 0..=255 {
        let noise = [&[1, byte][..], blake3::hash(&[byte]).as_bytes()].concat();
        let answer = send(&mut victim.client, "tally", &noise);
        assert!(answer.status == 200 || code(&answer) == "bad_frame", "{noise:?}");
    }
    let answer = victim.client.send("POST", "/_/sync/tally", &[("content-type", "text/plain")], b"x");
    assert_eq!(answer.expect("an answer").status, 415);
    victim.unharmed();
}

// Goal: what is announced and not there is neither believed nor allocated: lengths and counts of 4 GiB and more, in
// frames, in pages before and after they are unpacked, and in bundles. Method: memory before and after.
#[test]
fn announced_lengths_are_not_believed() {
    let mut victim = Victim::new();
    for length in [u64::from(u32::MAX), 1 << 32, u64::MAX] {
        // The protocol version, the link, then the kind of the question and how much it announces.
        for kind in [3, 4, 6, 7, 8] {
            let mut frame = vec![1, 7, kind];
            number(&mut frame, length);
            frame.extend_from_slice(&[0; 64]);
            victim.refuses("a frame", &frame, (400, "bad_frame"));
        }
        let clock = [0; 8];
        let mut runs = clock.to_vec();
        number(&mut runs, length);
        let mut rows = [&clock[..], &[1], &STRANGER[..], &[1]].concat();
        number(&mut rows, length);
        let mut kinds = [&clock[..], &[0]].concat();
        number(&mut kinds, length);
        let mut column = [&clock[..], &[0, 0]].concat();
        number(&mut column, length);
        for plain in [runs, rows, kinds, column] {
            victim.refuses("a page", &push(packed(&plain)), (400, "bad_frame"));
            victim.refuses(
                "a bundle",
                &Question::Heal { bundle: packed(&plain) }.frame(),
                (400, "bad_frame"),
            );
        }
    }
    for method in [0, 1, 2, 3] {
        for length in [u32::MAX, 1 << 31, 64 << 20, 1] {
            let mut bomb = page(&[(STRANGER, 1, 1)], 1).packed();
            bomb[0] = method;
            bomb[1..5].copy_from_slice(&length.to_be_bytes());
            if method == 2 {
                // Packed with a dictionary, it says, which nobody was given: not looked at, and wanted without.
                let answer = victim.bears("a packed page", &Question::Push { page: bomb.clone() });
                assert_eq!(answer, [PROTOCOL, 10]);
            } else {
                victim.refuses("a packed page", &push(bomb.clone()), (400, "bad_frame"));
            }
            victim.refuses("a packed bundle", &Question::Heal { bundle: bomb }.frame(), (400, "bad_frame"));
        }
    }
    let long = vec![1; 40 << 20];
    let refused = send(&mut victim.client, "tally", &long);
    assert_eq!((refused.status, code(&refused).as_str()), (413, "body_too_large"));
    victim.client = victim.server.client().expect("a connection");
    victim.unharmed();
}

// Goal: seqs that cannot be, spans and runs that overlap or do not ascend, are refused by name.
#[test]
fn impossible_dots_are_refused() {
    let mut victim = Victim::new();
    let (own, refused) = (victim.own, (400, "bad_frame"));
    let (low, high) = ([1; 8], [2; 8]);
    for seq in [0, SEQ_MAX + 1, u64::MAX] {
        victim.refuses("offer", &Question::Offer { known: vec![(own, seq)] }.frame(), refused);
        victim.refuses("push", &push(page(&[(own, seq, 1)], 1).packed()), refused);
        let meet = Question::Meet { current: own, held: vec![(own, seq, [7; 16])] };
        victim.refuses("meet", &meet.frame(), refused);
    }
    victim.refuses("over the end", &push(page(&[(own, SEQ_MAX, 2)], 2).packed()), refused);
    let spans = [
        vec![(own, 0, 3)],
        vec![(own, 1, u64::MAX)],
        vec![(own, 3, 1)],
        vec![(own, 1, 2), (own, 2, 3)],
        vec![(high, 1, 1), (low, 1, 1)],
    ];
    for want in spans {
        let pull = Question::Pull { known: vec![], want: want.clone(), whole: false, bytes_max: 1000 };
        victim.refuses(&format!("{want:?}"), &pull.frame(), refused);
    }
    for known in [vec![(low, 1), (low, 2)], vec![(high, 1), (low, 1)]] {
        victim.refuses("offer", &Question::Offer { known: known.clone() }.frame(), refused);
        let held = known.iter().map(|(origin, last)| (*origin, *last, [7; 16])).collect();
        victim.refuses("meet", &Question::Meet { current: low, held }.frame(), refused);
    }
    let runs = [
        vec![(low, 1, 2), (low, 2, 1)],
        vec![(low, 1, 1), (low, 1, 2)],
        vec![(high, 1, 1), (low, 1, 2)],
        vec![(low, 1, 0), (high, 1, 3)],
        vec![(low, 1, 2)],
        vec![(low, 1, 4)],
    ];
    for runs in runs {
        victim.refuses(&format!("{runs:?}"), &push(page(&runs, 3).packed()), refused);
    }
    let names = vec![([7; 16], [7; 16]); 513];
    victim.refuses("too many names", &Question::Fetch { names }.frame(), refused);
    victim.refuses("reconcile", &Question::Reconcile { message: vec![0x61, 9, 9] }.frame(), refused);
    victim.unharmed();
}

// Goal: frames that are well formed and lie change nothing: other events under dots of our own that we hold, dots
// that follow on what nobody sent, aliases of values that nobody has, states with more of our Origin than there is,
// events to be admitted anew whose dots we lack. Questions for what there is not are answered with nothing.
#[test]
fn lies_change_nothing() {
    let mut victim = Victim::new();
    let own = victim.own;
    for (what, runs) in [
        ("our own dots", vec![(own, 1, 3)]),
        ("behind our last", vec![(own, 5, 3)]),
        ("far behind our last", vec![(own, SEQ_MAX - 2, 3)]),
        ("a stranger's from the middle", vec![(STRANGER, 2, 3)]),
    ] {
        victim.bears(what, &Question::Push { page: page(&runs, 3).packed() });
    }
    // One row: an alias (0 and a hash) in the place of a kind.
    let mut alias =
        [&[0; 8][..], &[1], &STRANGER[..], &[1, 1, 0, 17, 0], &[7; 16], &[1, 0, 8], &[7; 8]].concat();
    alias.extend_from_slice(&[0, 0]);
    victim.bears("an alias of nothing", &Question::Push { page: packed(&alias) });
    for last in [4, 1_000_000, SEQ_MAX] {
        let lie = vec![(own, last, [7; 16])];
        victim.bears("more of ours than there is", &Question::Meet { current: own, held: lie });
        victim.bears("as an offer", &Question::Offer { known: vec![(own, last)] });
        let watch = Question::Watch { digest: [7; 16], current: own, last, wait_ms: u32::MAX };
        victim.bears("as a wait for news", &watch);
        let want = vec![(own, last, SEQ_MAX), (STRANGER, 1, SEQ_MAX)];
        let pull = Question::Pull { known: vec![(own, last)], want, whole: false, bytes_max: u32::MAX };
        assert!(victim.bears("events never sent", &pull).len() < 100);
    }
    // One event: key, type, version, data, and one dot that is not held here.
    let mut bundle = [&[1][..], &[7; 16], &[1, 1, 2], b"{}", &[1], &STRANGER[..], &[9]].concat();
    victim.bears("an event whose dot we lack", &Question::Heal { bundle: packed(&bundle) });
    // The same without a dot.
    bundle.truncate(1 + 16 + 3 + 2);
    bundle.push(0);
    victim.bears("an event without a dot", &Question::Heal { bundle: packed(&bundle) });
    victim.unharmed();
}

// Goal: a client's claim to a million dots of our own Origin hides nothing and changes nothing.
#[test]
fn claimed_dots_hide_nothing() {
    let victim = Victim::new();
    let own = victim.before.0.clone();
    let whole = get(&victim.server, "/tally/e").json()["events"].clone();
    for vv in [format!("{own}:1-1000000"), format!("{own}:1-1000000~9f3c21aa"), format!("{own}:1-{SEQ_MAX}")]
    {
        let body = json!({ "vv": vv }).to_string();
        let changes = victim.server.post("/tally/e/changes", &body).expect("an answer");
        for answer in [get(&victim.server, &format!("/tally/e?vv={vv}")), changes] {
            assert_eq!((answer.status, &answer.json()["events"]), (200, &whole), "{vv}: {}", answer.text());
        }
    }
    victim.unharmed();
}

// Goal: a stranger creates no root with frames that are broken or bring nothing, and none under a name that is none.
#[test]
fn broken_frames_create_no_root() {
    let victim = Victim::new();
    let mut client = victim.server.client().expect("a connection");
    let data = victim.server.folder().join("data");
    let before = listing(&data);
    let cut = page(&[(STRANGER, 1, 1)], 1).packed();
    let mut frames = good_frames(victim.own);
    // What a peer sends is what makes a root.
    let _good_push = frames.remove(4);
    frames.extend([push(cut[..cut.len() - 1].to_vec()), push(Vec::new()), push(page(&[], 0).packed())]);
    frames.push(push(page(&[(STRANGER, 2, 1)], 1).packed()));
    for frame in frames {
        let _named_or_empty = send(&mut client, "ghost", &frame);
        let created: Vec<_> =
            listing(&data).into_iter().filter(|(path, _)| path.ends_with("ghost")).collect();
        assert!(created.is_empty(), "{frame:?} creates {created:?}");
    }
    for name in ["..", "%2e%2e", "A", "_x", "e", "a%2fb"] {
        let answer = send(&mut client, name, &push(cut.clone()));
        assert_eq!((answer.status, code(&answer).as_str()), (400, "bad_name"), "{name}");
    }
    assert_eq!(listing(&data), before);
    victim.unharmed();
}
