//! Peers whose answers are wrong: a named error, nothing of it stored, and all is well once they behave.

use super::*;
use crate::core::limits::SYNC_FRAME_BYTES_MAX;
use crate::sync::{Page, Span, Wanted};
use std::sync::atomic::{AtomicUsize, Ordering};

const MEET: u8 = 1;
const PULL: u8 = 2;
const PAGE: u8 = 2;

/// Honest, but for these questions about the Root.
fn answering(number: u8, reply: impl Fn() -> Reply + Send + Sync + 'static) -> Manners {
    Arc::new(move |path, body| (path.starts_with("/_/sync") && question(body) == Some(number)).then(&reply))
}

/// Pulls are answered with this page.
fn paging(page: &Page) -> Manners {
    let frame = carrying(PAGE, &page.encode());
    answering(PULL, move || Reply::Answer(200, frame.clone()))
}

/// The page of `origin`'s dots `first..=last`; as aliases if `known`.
fn page_of(replica: &Replica, origin: u8, first: u64, last: u64, known: bool) -> Page {
    let tables = replica.store().read().expect("memory reads");
    let spans = [Span { origin: [origin; 8], first, last }];
    let known = if known { knowledge(replica) } else { Knowledge::new() };
    let wanted = Wanted { spans: &spans, known: &known, whole: false, bytes_max: 1 << 20 };
    Page::collect(tables.as_ref(), wanted, ValidTime::default()).expect("memory reads")
}

/// A bench of its own for these manners.
async fn survives(manners: Manners, words: &str) {
    locally(async { Bench::new().survives(manners, words).await }).await;
}

#[tokio::test(start_paused = true)]
async fn says_nothing() {
    survives(Arc::new(|_, _| Some(Reply::Silence)), "no answer within 20 s").await;
    survives(answering(PULL, || Reply::Silence), "no answer within 20 s").await;
}

#[tokio::test(start_paused = true)]
async fn says_a_byte_a_minute() {
    let drip = || Some(Reply::Drip(Vec::new(), http(200, &[0; 9999]), Duration::from_mins(1)));
    survives(Arc::new(move |_, _| drip()), "no answer within 20 s").await;
}

/// The head at once, the body byte by byte.
#[tokio::test(start_paused = true)]
async fn sends_its_body_in_drops() {
    locally(async {
        let bench = Bench::new();
        let manners: Manners = Arc::new(|path, body| {
            let pull = path.starts_with("/_/sync") && question(body) == Some(PULL);
            let head = b"HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n".to_vec();
            pull.then(|| Reply::Drip(head, vec![7; 9999], Duration::from_secs(10)))
        });
        bench.survives(manners, "fewer than 1024 bytes a second").await;
    })
    .await;
}

/// A body without an end, of chunks; a head without an end.
#[test]
fn floods() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().expect("a runtime")
    };
    let chunk = [b"4000\r\n".as_slice(), &[7; 0x4000], b"\r\n"].concat();
    let head = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let body = answering(PULL, move || Reply::Flood(head.clone(), chunk.clone()));
    let header = b"x-more: and more and more and more and more and more and more\r\n".to_vec();
    let head = answering(PULL, move || Reply::Flood(b"HTTP/1.1 200 X\r\n".to_vec(), header.clone()));
    let bound = format!("longer than {SYNC_FRAME_BYTES_MAX} bytes");
    for (manners, words) in [(body, bound.as_str()), (head, "too large")] {
        let used = allocation_counter::measure(|| {
            let test = async {
                let bench = Bench::new();
                bench.peer.behave(Some(manners.clone()));
                bench.dial(None);
                bench.until_error(words).await;
                bench.recovers().await;
            };
            runtime().block_on(locally(test));
        });
        let bytes_max = 3 * SYNC_FRAME_BYTES_MAX as u64;
        assert!(used.bytes_max < bytes_max, "{words}: {} bytes", used.bytes_max);
    }
}

/// The connection ends within the answer that carries the page, one byte later each time.
#[tokio::test(start_paused = true)]
async fn closes_at_every_byte() {
    locally(async {
        let bench = Bench::new();
        let page = page_of(&bench.peer.replica, 2, 1, 30, false);
        let whole = http(200, &carrying(PAGE, &page.encode()));
        let (next, end) = (Arc::new(AtomicUsize::new(0)), whole.len());
        let at = Arc::clone(&next);
        bench.peer.behave(Some(answering(PULL, move || {
            Reply::Raw(whole[..at.fetch_add(1, Ordering::Relaxed).min(end - 1)].to_vec())
        })));
        let before = knowledge(&bench.ours.replica);
        bench.dial(None);
        let late = Instant::now() + Duration::from_secs(40 * end as u64);
        while next.load(Ordering::Relaxed) <= end {
            assert_eq!(knowledge(&bench.ours.replica), before, "at byte {}", next.load(Ordering::Relaxed));
            assert!(Instant::now() < late, "it is not dialled any more: {}", bench.status());
            sleep(Duration::from_secs(5)).await;
        }
        assert!(bench.errors()[0].contains("connection"), "{:?}", bench.errors());
        bench.recovers().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn speaks_another_version() {
    for number in [MEET, PULL] {
        let newer = || Reply::Answer(200, vec![2, 0, 0, 0]);
        survives(answering(number, newer), "protocol version 2, this program speaks version 1").await;
    }
    let told = br#"{"code":"sync_version","detail":"I speak version 2"}"#;
    let refusing = answering(0, || Reply::Answer(400, told.to_vec()));
    survives(refusing, "the peer answers 400 sync_version: I speak version 2").await;
}

#[tokio::test(start_paused = true)]
async fn answers_something_else() {
    survives(answering(MEET, || Reply::Answer(200, vec![PROTOCOL, 8, 1])), "answered healed to meet").await;
    survives(answering(PULL, || Reply::Answer(200, vec![PROTOCOL, 0, 1])), "answered same to pull").await;
    survives(answering(PULL, || Reply::Answer(200, Vec::new())), "ends inside a field").await;
    survives(answering(PULL, || Reply::Answer(200, b"<html>".to_vec())), "protocol version 60").await;
}

/// Pages of dots that were not asked for: others of the same Origin, another Origin's, both behind good ones.
#[tokio::test(start_paused = true)]
async fn sends_other_dots() {
    locally(async {
        for (origin, first, last) in [(2, 2, 9), (9, 1, 3)] {
            let bench = Bench::new();
            let from = if origin == 2 { Arc::clone(&bench.peer.replica) } else { replica(origin, 3) };
            let page = page_of(&from, origin, first, last, false);
            let words = if origin == 2 { "bring nothing forward" } else { "not asked for" };
            bench.survives(paging(&page), words).await;
        }
    })
    .await;
}

/// Aliases of values that nobody has: asked for again whole, and still aliases.
#[tokio::test(start_paused = true)]
async fn sends_aliases_of_nothing() {
    locally(async {
        let bench = Bench::new();
        let page = page_of(&bench.peer.replica, 2, 1, 30, true);
        bench.survives(paging(&page), "bring nothing forward").await;
    })
    .await;
}

/// The first half for ever: it is taken once.
#[tokio::test(start_paused = true)]
async fn sends_the_same_page_for_ever() {
    locally(async {
        let bench = Bench::new();
        bench.peer.behave(Some(paging(&page_of(&bench.peer.replica, 2, 1, 15, false))));
        bench.dial(None);
        bench.until_error("not asked for").await;
        assert_eq!(knowledge(&bench.ours.replica).get(Origin([2; 8])).0, 15);
        bench.recovers().await;
    })
    .await;
}

/// Dots of our own Origin that we do not hold: our tables were rolled back, for all we know. They are taken, and one
/// new Origin is begun, however often it happens before the next admission.
#[tokio::test(start_paused = true)]
async fn sends_dots_of_our_own_origin() {
    locally(async {
        let bench = Bench::new();
        let elsewhere = replica(1, 8);
        bench.peer.behave(Some(honest()));
        let page = page_of(&elsewhere, 1, 1, 8, false);
        let push = [vec![PROTOCOL, 1, 4], postcard::to_allocvec(&page.encode()).expect("bytes")].concat();
        bench.peer.replica.answer(&Ask::decode(&push).expect("a frame")).expect("taken");
        bench.dial(None);
        bench.recovers().await;
        let head = |replica: &Replica| replica.store().read().and_then(|tables| tables.head()).expect("head");
        assert_eq!(head(&bench.ours.replica).next_origin, Some(Origin([101; 8])));
        assert_eq!(head(&bench.ours.replica).knowledge.get(Origin([1; 8])).0, 8);
        assert_eq!(head(&bench.peer.replica).next_origin, None);
        post(&bench.ours.replica, 1, 99, 5);
        bench.recovers().await;
        assert_eq!(head(&bench.peer.replica).knowledge.get(Origin([101; 8])).0, 1);
        assert_eq!(head(&bench.ours.replica).knowledge.origins(), 3);
    })
    .await;
}

/// A list of Roots that is none, or of no Laterbase.
#[tokio::test(start_paused = true)]
async fn lists_no_roots() {
    for listed in [b"<html>hello</html>".to_vec(), br#"{"roots":7}"#.to_vec(), vec![0xff; 9], Vec::new()] {
        let manners: Manners =
            Arc::new(move |path, _| (path == "/_/roots").then(|| Reply::Answer(200, listed.clone())));
        locally(async {
            let bench = Bench::new();
            bench.peer.behave(Some(manners));
            bench.dial(None);
            bench.until_error("this is no Laterbase").await;
            bench.recovers().await;
        })
        .await;
    }
}

/// Roots without end, other ones each time, with names that are paths: none is opened that is no name.
#[tokio::test(start_paused = true)]
async fn lists_roots_without_end() {
    locally(async {
        let bench = Bench::new();
        let asked = AtomicUsize::new(0);
        bench.peer.behave(Some(Arc::new(move |path, _| {
            let turn = asked.fetch_add(1, Ordering::Relaxed);
            let names: Vec<String> = (0..100).map(|number| format!("r{turn}-{number}")).collect();
            let bad = ["../../out", "/etc", "UPPER", "", "e", "_", "a\nb", "nul\0"];
            let names: Vec<&str> = bad.into_iter().chain(names.iter().map(String::as_str)).collect();
            (path == "/_/roots").then(|| Reply::Answer(200, roots(&names)))
        })));
        bench.dial(None);
        bench.until_error("names more roots than").await;
        sleep(Duration::from_mins(5)).await;
        let mut opened = bench.ours.opened.lock().expect("no panic").clone();
        opened.sort_unstable();
        opened.dedup();
        assert!(opened.iter().all(|root| root == ROOT || root.starts_with('r')), "{opened:?}");
        assert!((100..=1024).contains(&opened.len()), "{} roots", opened.len());
        bench.recovers().await;
    })
    .await;
}
