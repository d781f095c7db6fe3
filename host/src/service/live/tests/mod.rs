//! Waiting readers, on a clock that jumps.

use super::*;
use crate::core::event::Origin;
use crate::feed::TypeNames;
use crate::store::{MemoryStore, Store};
use http_body_util::BodyExt;

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

// A reader with nothing to tell says every 15 s that it is there, and where to go on; news and the end wake it.
#[tokio::test(start_paused = true)]
async fn idle_readers_give_a_sign_of_life() {
    let store = MemoryStore::new(Origin([1; 8]));
    let tables = store.read().expect("memory reads");
    let query = feed::Query::default();
    let (mut reader, ..) = Reader::begin(tables.as_ref(), &query, &Nameless, None).expect("a reader");
    while !reader.page(tables.as_ref(), &Nameless).expect("a page").is_caught_up {}
    drop(tables);
    let (news, stop) = (watch::Sender::new(()), watch::Sender::new(false));
    let (mut told, mut stopped) = (news.subscribe(), stop.subscribe());
    let mut stream = sse::driven(|writer| async move {
        let woken = idle(&writer, &reader, &mut told, &mut stopped).await;
        assert!(woken.is_ok(), "by news");
        let _gone = writer.frames(Bytes::from_static(b"news")).await;
        let _stopped = idle(&writer, &reader, &mut told, &mut stopped).await;
    });
    let began = Instant::now();
    for nth in 1..=2 {
        let pulse = stream.frame().await.expect("it goes on").expect("a frame").into_data();
        assert_eq!(pulse.expect("data"), ": still here\nid: 0.00000000\n\n");
        assert_eq!(began.elapsed().as_secs(), 15 * nth);
    }
    news.send_replace(());
    let frame = stream.frame().await.expect("it goes on").expect("a frame").into_data();
    assert_eq!(frame.expect("data"), "news");
    stop.send_replace(true);
    assert!(stream.frame().await.is_none(), "it ends with the server");
}
