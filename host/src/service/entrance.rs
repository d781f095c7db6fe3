//! The door while the host is still being opened: it says so, and shows the figures; from then on it leads inward.
//!
//! Requests wait for that a while rather than being refused: a start mostly takes less than a second, and a browser
//! whose stream is answered with an error does not come back.

use super::Front;
use super::standing::{Reason, Standing, Why};
use crate::admit;
use crate::http::names::{PluginName, RootName, ViewName};
use crate::http::service::{FeedAnswer, FeedQuery, Offer, ReloadAnswer, Service, ViewAnswer, ViewQuery};
use crate::http::sse::Stream;
use crate::problem::{Code, Problem};
use bytes::Bytes;
use serde_json::json;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// A request waits so long for the host to be open.
const START_WAIT: Duration = Duration::from_secs(10);

/// A host that may not be open yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Entrance(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    front: OnceLock<Front>,
    is_open: watch::Sender<bool>,
}

impl Entrance {
    /// Leads to `front` from now on.
    pub(super) fn open(&self, front: Front) {
        // There is one host a server: nobody opens twice.
        drop(self.0.front.set(front));
        self.0.is_open.send_replace(true);
    }

    /// The way inward, as soon as there is one.
    async fn front(&self) -> Result<&Front, Problem> {
        if self.0.front.get().is_none() {
            let mut is_open = self.0.is_open.subscribe();
            // When the time is up there is none, which is said below.
            drop(timeout(START_WAIT, is_open.wait_for(|is_open| *is_open)).await);
        }
        self.0.front.get().ok_or_else(starting)
    }
}

fn starting() -> Problem {
    let detail = "the server is starting: plugins are loaded and tried";
    Problem::new(Code::Starting, detail).retry_after(1)
}

impl Service for Entrance {
    async fn admit(&self, root: RootName, request: admit::Request) -> Result<admit::Answer, Problem> {
        self.front().await?.admit(root, request).await
    }

    async fn feed(&self, root: RootName, query: FeedQuery) -> Result<FeedAnswer, Problem> {
        self.front().await?.feed(root, query).await
    }

    async fn follow(&self, root: RootName, query: FeedQuery, id: Option<String>) -> Result<Stream, Problem> {
        self.front().await?.follow(root, query, id).await
    }

    async fn view(&self, root: RootName, view: ViewName, query: ViewQuery) -> Result<ViewAnswer, Problem> {
        self.front().await?.view(root, view, query).await
    }

    async fn changes(&self, root: RootName, view: ViewName, query: ViewQuery) -> Result<Stream, Problem> {
        self.front().await?.changes(root, view, query).await
    }

    async fn root_info(&self, root: RootName) -> Result<Bytes, Problem> {
        self.front().await?.root_info(root).await
    }

    async fn roots(&self) -> Result<Bytes, Problem> {
        self.front().await?.roots().await
    }

    async fn offers(&self) -> Result<Vec<Offer>, Problem> {
        self.front().await?.offers().await
    }

    async fn plugins(&self) -> Result<Bytes, Problem> {
        self.front().await?.plugins().await
    }

    async fn reload(&self, plugin: PluginName, wait: bool) -> Result<ReloadAnswer, Problem> {
        self.front().await?.reload(plugin, wait).await
    }

    async fn cancel(&self, plugin: PluginName) -> Result<Bytes, Problem> {
        self.front().await?.cancel(plugin).await
    }

    async fn sync(&self, root: RootName, frame: Bytes) -> Result<Bytes, Problem> {
        self.front().await?.sync(root, frame).await
    }

    async fn verify(&self, root: RootName, begin: Option<Bytes>) -> Result<Bytes, Problem> {
        self.front().await?.verify(root, begin).await
    }

    async fn peers(&self) -> Result<Bytes, Problem> {
        self.front().await?.peers().await
    }

    async fn ready(&self) -> Result<Bytes, Problem> {
        let Some(front) = self.0.front.get() else {
            let reasons = json!([{"reason": Why::Starting.word()}]);
            return Err(starting().with("reasons", reasons));
        };
        front.ready().await
    }

    async fn metrics(&self) -> Result<Bytes, Problem> {
        if let Some(front) = self.0.front.get() {
            return front.metrics().await;
        }
        Standing(vec![Reason::new(Why::Starting, "")]).measure();
        Ok(crate::metering::text().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    // Whoever asks before the host is open waits, but not for ever; whether all is well is said at once.
    #[tokio::test(start_paused = true)]
    async fn requests_wait_a_while() {
        let entrance = Entrance::default();
        let begun = Instant::now();
        let unready = entrance.ready().await.expect_err("it is not open");
        assert_eq!((unready.code, unready.members.contains_key("reasons")), (Code::Starting, true));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let refused = entrance.roots().await.expect_err("it is not open");
        assert_eq!((refused.code, refused.retry_after_s), (Code::Starting, Some(1)));
        assert_eq!(begun.elapsed(), START_WAIT);
    }
}
