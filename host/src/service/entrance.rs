//! The door while the host is still being opened: it says so, and shows the figures; from then on it leads inward.

use super::Front;
use super::standing::{Reason, Standing, Why};
use crate::admit;
use crate::http::names::{PluginName, RootName, ViewName};
use crate::http::service::{FeedAnswer, FeedQuery, Offer, ReloadAnswer, Service, ViewAnswer, ViewQuery};
use crate::http::sse::Stream;
use crate::problem::{Code, Problem};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// A host that may not be open yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Entrance(Arc<OnceLock<Front>>);

impl Entrance {
    /// Leads to `front` from now on.
    pub(super) fn open(&self, front: Front) {
        // There is one host a server: nobody opens twice.
        drop(self.0.set(front));
    }

    fn front(&self) -> Result<&Front, Problem> {
        self.0.get().ok_or_else(|| {
            let detail = "the server is starting: plugins are loaded and tried";
            Problem::new(Code::Starting, detail).retry_after(1)
        })
    }
}

impl Service for Entrance {
    async fn admit(&self, root: RootName, request: admit::Request) -> Result<admit::Answer, Problem> {
        self.front()?.admit(root, request).await
    }

    async fn feed(&self, root: RootName, query: FeedQuery) -> Result<FeedAnswer, Problem> {
        self.front()?.feed(root, query).await
    }

    async fn follow(&self, root: RootName, query: FeedQuery, id: Option<String>) -> Result<Stream, Problem> {
        self.front()?.follow(root, query, id).await
    }

    async fn view(&self, root: RootName, view: ViewName, query: ViewQuery) -> Result<ViewAnswer, Problem> {
        self.front()?.view(root, view, query).await
    }

    async fn changes(&self, root: RootName, view: ViewName, query: ViewQuery) -> Result<Stream, Problem> {
        self.front()?.changes(root, view, query).await
    }

    async fn root_info(&self, root: RootName) -> Result<Bytes, Problem> {
        self.front()?.root_info(root).await
    }

    async fn roots(&self) -> Result<Bytes, Problem> {
        self.front()?.roots().await
    }

    async fn offers(&self) -> Result<Vec<Offer>, Problem> {
        self.front()?.offers().await
    }

    async fn plugins(&self) -> Result<Bytes, Problem> {
        self.front()?.plugins().await
    }

    async fn reload(&self, plugin: PluginName, wait: bool) -> Result<ReloadAnswer, Problem> {
        self.front()?.reload(plugin, wait).await
    }

    async fn cancel(&self, plugin: PluginName) -> Result<Bytes, Problem> {
        self.front()?.cancel(plugin).await
    }

    async fn sync(&self, root: RootName, frame: Bytes) -> Result<Bytes, Problem> {
        self.front()?.sync(root, frame).await
    }

    async fn verify(&self, root: RootName, begin: Option<Bytes>) -> Result<Bytes, Problem> {
        self.front()?.verify(root, begin).await
    }

    async fn peers(&self) -> Result<Bytes, Problem> {
        self.front()?.peers().await
    }

    async fn ready(&self) -> Result<Bytes, Problem> {
        match self.front() {
            Ok(front) => front.ready().await,
            Err(starting) => {
                Err(starting.with("reasons", serde_json::json!([{"reason": Why::Starting.word()}])))
            }
        }
    }

    async fn metrics(&self) -> Result<Bytes, Problem> {
        if let Some(front) = self.0.get() {
            return front.metrics().await;
        }
        Standing(vec![Reason::new(Why::Starting, "")]).measure();
        Ok(crate::metering::text().into())
    }
}
