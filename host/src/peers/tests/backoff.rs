//! The pauses between two attempts.

use super::*;

/// The pauses between the instants, in seconds.
fn pauses(instants: &[Instant]) -> Vec<f64> {
    instants.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
}

/// Each pause lies between a half and the whole of one that doubles from 0.5 s to 30 s.
fn assert_doubling(pauses: &[f64]) {
    let mut whole = 0.5;
    for (at, pause) in pauses.iter().enumerate() {
        // The clock counts whole milliseconds.
        assert!((whole / 2.0 - 0.01..whole + 0.01).contains(pause), "pause {at}: {pause} s of {whole} s");
        whole = (whole * 2.0_f64).min(30.0);
    }
}

/// A peer that does not listen is dialled ever more seldom; after it was reached once, the pauses begin anew.
#[tokio::test(start_paused = true)]
async fn pauses_double_with_jitter() {
    locally(async {
        let bench = Bench::new();
        bench.dial(Some(Vec::new()));
        sleep(Duration::from_mins(5)).await;
        let first = pauses(&bench.peer.dialled());
        assert!(first.len() >= 12, "{first:?}");
        assert_doubling(&first);
        assert!(first.iter().skip(7).any(|pause| (pause - first[7]).abs() > 0.01), "no jitter: {first:?}");
        assert!(bench.errors()[0].contains("connection refused"), "{:?}", bench.errors());

        bench.peer.behave(Some(honest()));
        bench.until("it is reached", |bench| bench.errors().is_empty()).await;
        let reached = bench.peer.dialled().len();
        bench.peer.behave(None);
        bench.until("it is lost", |bench| !bench.errors().is_empty()).await;
        sleep(Duration::from_mins(5)).await;
        // The kept connection broke first and was opened again at once.
        let again = &bench.peer.dialled()[reached..];
        assert_doubling(&pauses(again));
    })
    .await;
}

/// The same for a Root at a peer that can be reached but refuses.
#[tokio::test(start_paused = true)]
async fn a_root_backs_off_alone() {
    locally(async {
        let bench = Bench::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let instants = Arc::clone(&asked);
        bench.peer.behave(Some(Arc::new(move |path, _| {
            path.starts_with("/_/sync").then(|| {
                instants.lock().expect("no panic").push(Instant::now());
                Reply::Answer(503, br#"{"code":"storage","detail":"the disk is full"}"#.to_vec())
            })
        })));
        bench.dial(None);
        bench.until_error("the peer answers 503 storage: the disk is full").await;
        sleep(Duration::from_mins(5)).await;
        let refused = asked.lock().expect("no panic").clone();
        assert!(refused.len() >= 12);
        assert_doubling(&pauses(&refused));
        bench.recovers().await;
    })
    .await;
}
