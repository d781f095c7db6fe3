//! Peers that never come to an end, and connections that nobody reads.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

const OFFER: u8 = 3;
const PUSH: u8 = 4;

/// The peer says each time that it holds one more Origin, and never what it was sent.
#[tokio::test(start_paused = true)]
async fn takes_nothing_and_learns_for_ever() {
    locally(async {
        let bench = Bench::new();
        let origins = AtomicU64::new(1000);
        let manners: Manners = Arc::new(move |path, body| {
            let number = origins.fetch_add(1, Ordering::Relaxed);
            (path.starts_with("/_/sync") && question(body) == Some(PUSH)).then(|| {
                let known = [(number.to_be_bytes(), 1_u64)];
                let took = postcard::to_allocvec(&(known.as_slice(), false)).expect("numbers");
                Reply::Answer(200, [vec![PROTOCOL, 4], took].concat())
            })
        });
        bench.peer.behave(Some(manners));
        bench.dial(None);
        bench.until_error("bring nothing forward: pushed").await;
        bench.recovers().await;
    })
    .await;
}

/// The peer wants dots that we do not have.
#[tokio::test(start_paused = true)]
async fn wants_what_nobody_has() {
    locally(async {
        let bench = Bench::new();
        let manners: Manners = Arc::new(|path, body| {
            (path.starts_with("/_/sync") && question(body) == Some(OFFER)).then(|| {
                let known: [([u8; 8], u64); 0] = [];
                let want = [([1_u8; 8], 90_u64, 99_u64), ([77; 8], 1, 5)];
                let fields = (known.as_slice(), want.as_slice(), false);
                Reply::Answer(
                    200,
                    [vec![PROTOCOL, 3], postcard::to_allocvec(&fields).expect("numbers")].concat(),
                )
            })
        });
        bench.peer.behave(Some(manners));
        bench.dial(None);
        let pulled = |bench: &Bench| knowledge(&bench.ours.replica).count() == 33;
        bench.until("the pull works", pulled).await;
        assert_eq!(knowledge(&bench.peer.replica).count(), 30);
        bench.recovers().await;
    })
    .await;
}

/// A page that the peer does not read: no connection is left behind by the attempts.
#[tokio::test(start_paused = true)]
async fn does_not_read_what_it_is_sent() {
    locally(async {
        let bench = Bench::new();
        post(&bench.ours.replica, 1, 77, 4 * PIPE);
        bench.peer.behave(Some(honest()));
        bench.dial(None);
        bench.until_error("no answer within 20 s").await;
        sleep(Duration::from_mins(10)).await;
        let held = Arc::strong_count(&bench.peer.held) - 1;
        assert!(held <= 4, "{held} connections are held");
    })
    .await;
}
