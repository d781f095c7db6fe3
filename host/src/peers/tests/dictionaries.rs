//! Peers whose dictionaries are wrong, others each time, or none: at most one error, and events still get through.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

const WATCH: u8 = 5;
const PUSH: u8 = 4;
const DICTIONARY: u8 = 9;
const NEWS: u8 = 5;
const TOLD: u8 = 9;
const NO_DICTIONARY: u8 = 10;

/// Posts, on each side, of which each is known to the other before the next.
const POSTS: u64 = 40;

/// Packed bytes as a page, a bundle or a dictionary travels.
fn packed(plain: &[u8]) -> Vec<u8> {
    let length = u32::try_from(plain.len()).expect("little");
    [&[0][..], &length.to_be_bytes(), &blake3::hash(plain).as_bytes()[..16], plain].concat()
}

/// The answer that tells of a dictionary.
fn told(name: [u8; 4], plain: &[u8]) -> Reply {
    let fields = postcard::to_allocvec(&(Some(name), packed(plain))).expect("bytes");
    Reply::Answer(200, [vec![PROTOCOL, TOLD], fields].concat())
}

fn name(plain: &[u8]) -> [u8; 4] {
    *blake3::hash(plain).as_bytes().first_chunk().expect("32 bytes")
}

/// How often a peer lied, and was pushed something.
#[derive(Default)]
struct Seen {
    lies: AtomicU64,
    pushes: AtomicU64,
}

/// Honest but for the answers of `reply` to these questions, by number and how often it has lied.
fn lying(reply: impl Fn(u8, u64) -> Option<Reply> + Send + Sync + 'static) -> (Manners, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    let manners: Manners = Arc::new(move |path, body| {
        let question = question(body).filter(|_| path.starts_with("/_/sync"))?;
        told.pushes.fetch_add(u64::from(question == PUSH), Ordering::Relaxed);
        let reply = reply(question, told.lies.load(Ordering::Relaxed))?;
        told.lies.fetch_add(1, Ordering::Relaxed);
        Some(reply)
    });
    (manners, seen)
}

/// Posts something that any dictionary makes shorter.
fn post_text(replica: &Replica, number: u8, event: u64) {
    let key = EventKey::new(ValidTime(event << 32), [number; 8]);
    let data = format!("{event} of {number}: {}", "x".repeat(200));
    let value = Value { type_number: 1, version: 1, data: data.as_bytes() };
    let admitted = replica.store().commit(&mut |tables| {
        gset::admit(tables, Candidate::new(key, value), 1)?;
        Ok(())
    });
    admitted.expect("memory commits");
    replica.committed();
}

/// Events posted on both sides get to the other, one by one.
async fn lives(bench: &Bench) {
    let same = |bench: &Bench| knowledge(&bench.ours.replica) == knowledge(&bench.peer.replica);
    bench.until("both hold the same", same).await;
    for number in 0..POSTS {
        post_text(&bench.ours.replica, 1, 1000 + number);
        bench.until("ours is there", same).await;
        post_text(&bench.peer.replica, 2, 1000 + number);
        bench.until("theirs is here", same).await;
    }
    bench.until("no error is shown", |bench| bench.errors().is_empty()).await;
}

/// A peer of these manners; the words of the one error, if there is one; how often it lies at most, and how many
/// pages are sent a second time for that.
async fn gets_through(manners: (Manners, Arc<Seen>), words: Option<&str>, lies_max: u64, again_max: u64) {
    locally(async {
        let bench = Bench::with(8);
        bench.peer.behave(Some(manners.0));
        bench.dial(None);
        if let Some(words) = words {
            bench.until_error(words).await;
        }
        lives(&bench).await;
        let lies = manners.1.lies.load(Ordering::Relaxed);
        assert!((1..=lies_max).contains(&lies), "{lies} lies");
        // The first is of the round, everything that was there before.
        let pushes = manners.1.pushes.load(Ordering::Relaxed);
        assert!((POSTS..=1 + POSTS + again_max).contains(&pushes), "{pushes} pushes");
        assert_eq!(again_max > 0, pushes > 1 + POSTS, "a page goes without what is not there");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sends_other_bytes() {
    let manners = lying(|question, _| (question == DICTIONARY).then(|| told([1, 2, 3, 4], b"something")));
    gets_through(manners, Some("the dictionary is not the one that its name says"), 1, 0).await;
}

#[tokio::test(start_paused = true)]
async fn sends_a_huge_one() {
    let huge = vec![7; 100_000];
    let manners = lying(move |question, _| (question == DICTIONARY).then(|| told(name(&huge), &huge)));
    gets_through(manners, Some("announces 100000 bytes, the limit is 65536"), 1, 0).await;
}

#[tokio::test(start_paused = true)]
async fn sends_damaged_bytes() {
    let damaged = || {
        let Reply::Answer(status, mut frame) = told(name(b"good"), b"good") else {
            unreachable!("it is one")
        };
        *frame.last_mut().expect("a byte") ^= 1;
        Reply::Answer(status, frame)
    };
    let manners = lying(move |question, _| (question == DICTIONARY).then(damaged));
    gets_through(manners, Some("checksum is wrong"), 1, 0).await;
}

/// Good in form, but the peer packs nothing with it and knows nothing of it: of another Root, say.
#[tokio::test(start_paused = true)]
async fn sends_one_of_another_root() {
    let manners = lying(|question, _| {
        (question == DICTIONARY).then(|| told(name(b"of another Root"), b"of another Root"))
    });
    gets_through(manners, None, 4, 4).await;
}

/// Another one each time it is asked, and by the next page it has none.
#[tokio::test(start_paused = true)]
async fn changes_its_mind_for_ever() {
    let manners = lying(|question, turn| {
        let bytes = [turn.to_be_bytes().as_slice(), &[b'x'; 4000]].concat();
        (question == DICTIONARY).then(|| told(name(&bytes), &bytes))
    });
    gets_through(manners, None, 4, 4).await;
}

/// It has no dictionary for any page that it is sent, packed with one or not.
#[tokio::test(start_paused = true)]
async fn never_has_what_a_page_needs() {
    let (manners, _) =
        lying(|question, _| (question == PUSH).then(|| Reply::Answer(200, vec![PROTOCOL, NO_DICTIONARY])));
    locally(async {
        let bench = Bench::with(8);
        bench.peer.behave(Some(manners));
        bench.dial(None);
        bench.until_error("the peer answered no dictionary to push").await;
        bench.recovers().await;
    })
    .await;
}

/// News that name the dictionary agreed upon, and are not packed with it.
#[tokio::test(start_paused = true)]
async fn packs_with_something_else() {
    let bytes = b"agreed upon".to_vec();
    let (manners, _) = lying(move |question, turn| match question {
        DICTIONARY => Some(told(name(&bytes), &bytes)),
        WATCH if turn == 1 => {
            let page = [&[2][..], &name(&bytes), &[0, 0, 0, 9], &[1; 16], b"no frame of zstd"].concat();
            let fields = postcard::to_allocvec(&([9_u8; 16], 40_u64, Some(page))).expect("bytes");
            Some(Reply::Answer(200, [vec![PROTOCOL, NEWS], fields].concat()))
        }
        _ => None,
    });
    locally(async {
        let bench = Bench::with(8);
        bench.peer.behave(Some(manners));
        bench.dial(None);
        bench.until_error("the page does not unpack").await;
        lives(&bench).await;
    })
    .await;
}

/// A peer of an older version refuses the question, and everything goes on as with any other.
#[tokio::test(start_paused = true)]
async fn is_of_an_older_version() {
    let manners = lying(|question, _| {
        let refusal = br#"{"code":"bad_frame","detail":"the frame is no message of this protocol"}"#;
        (question == DICTIONARY).then(|| Reply::Answer(400, refusal.to_vec()))
    });
    gets_through(manners, None, 1, 0).await;
}
