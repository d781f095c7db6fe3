//! The one door from HTTP inward: what a server does, without how.
//!
//! `http` parses a request into the types of this file, makes exactly one call, and writes the answer as a status and
//! bytes. Implementations write each method as `async fn`; work that blocks (LMDB reads, plugin calls, waiting for a
//! commit) belongs on a blocking thread, inside the implementation. A future may be dropped at any await, when the
//! client leaves: an admission that was queued by then is still committed, only nobody hears of it.

use super::names::{PluginName, RootName, ViewName};
use super::sse::Stream;
use crate::admit;
use crate::core::event::ValidTime;
use crate::problem::Problem;
use bytes::Bytes;
use std::future::Future;

/// Parameters of a page of the feed, each of its form and within its limits, not yet interpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedQuery {
    /// What the caller knows: version vectors as text, side by side; their union counts.
    pub vv: Vec<String>,
    /// Where the walk goes on; none starts one.
    pub cursor: Option<String>,
    /// At most so many events, `1..=page_events_max`; none is the default.
    pub limit: Option<usize>,
    /// At most about so many bytes of answer, `1..=page_bytes_max`; none is the default.
    pub max_bytes: Option<usize>,
    /// Only events whose time rounds to a millisecond at or after this.
    pub from: Option<ValidTime>,
    /// Only events whose time rounds to a millisecond before this.
    pub to: Option<ValidTime>,
    /// Only events of this type: its name, or its number in decimal digits.
    pub type_: Option<String>,
    /// How the page is to be written.
    pub format: PageFormat,
}

/// How a page of the feed is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PageFormat {
    /// One JSON object.
    #[default]
    Json,
    /// A JSON object on each line.
    Ndjson,
    /// Binary frames.
    Frames,
    /// A table.
    Csv,
}

/// A page of the feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedAnswer {
    /// The page as it is sent.
    pub body: Bytes,
    /// Where the walk goes on, for a format that has no place for it.
    pub cursor: Option<String>,
    /// How many dots are left at most, likewise.
    pub left: Option<u64>,
    /// What the caller knows at the end of the walk, likewise.
    pub vv: Option<String>,
}

/// Parameters of a query of a View or Report, each of its form and within its limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewQuery {
    /// The parts of one aggregate key, as the user types them; empty asks for a page of the list.
    pub keys: Vec<String>,
    /// The first parts of the keys to list; empty with `keys`.
    pub prefix: Vec<String>,
    /// At most so many items, `1..=page_events_max`; none is the default, and none with `keys`.
    pub limit: Option<usize>,
    /// Where the list goes on; none with `keys`.
    pub cursor: Option<String>,
    /// Only events whose time rounds to a millisecond at or before this count.
    pub at: Option<ValidTime>,
    /// Only events whose time rounds to a millisecond at or after this count.
    pub from: Option<ValidTime>,
    /// Only events whose time rounds to a millisecond before this count.
    pub to: Option<ValidTime>,
    /// Answer as this replica knew it then.
    pub known: Option<Known>,
    /// Merge over the first so many parts of the key, from 1.
    pub group: Option<usize>,
    /// Parameters that the route does not know, in order: a Report's own.
    pub others: Vec<(String, String)>,
    /// What is asked for.
    pub aspect: Aspect,
}

/// What is asked for of a View.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Aspect {
    /// What it says.
    #[default]
    Answer,
    /// What changes, live, behind what this names or, if none, behind what is known now.
    Changes(Option<String>),
    /// A digest of all that it says.
    Digest,
}

/// A state of this replica in the past, as the caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// What it held at this time of its own clock.
    At(ValidTime),
    /// What it held when its Knowledge was this version vector; its text is not yet parsed.
    Vv(String),
}

/// The answer of a View or Report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewAnswer {
    /// The JSON to send.
    pub json: Bytes,
    /// Names this answer among all of this URL: visible ASCII without quotes or commas, written between quotes.
    pub etag: String,
}

/// What became of a plugin's reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadAnswer {
    /// Whether it serves (200), or is still being built because the caller did not wait (202).
    pub done: bool,
    /// The plugin's state as JSON.
    pub json: Bytes,
}

/// What plugins offer to a Root, for the document of the interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// The Root.
    pub root: String,
    /// Event types by name.
    pub types: Vec<String>,
    /// Formats that intakes read.
    pub formats: Vec<String>,
    /// Views and Reports.
    pub views: Vec<Offered>,
}

/// One View or Report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offered {
    /// Its name.
    pub name: String,
    /// It has no windows and no groups.
    pub is_ordered: bool,
    /// It is a Report.
    pub is_report: bool,
}

/// What a server does for its clients.
pub trait Service: Send + Sync + 'static {
    /// Writes events; answers only when they are durable.
    fn admit(
        &self,
        root: RootName,
        request: admit::Request,
    ) -> impl Future<Output = Result<admit::Answer, Problem>> + Send;

    /// One page of the events that the caller does not know.
    fn feed(
        &self,
        root: RootName,
        query: FeedQuery,
    ) -> impl Future<Output = Result<FeedAnswer, Problem>> + Send;

    /// The events that the caller does not know, and then those that arrive, live; behind the frame `id` if it had one.
    fn follow(
        &self,
        root: RootName,
        query: FeedQuery,
        id: Option<String>,
    ) -> impl Future<Output = Result<Stream, Problem>> + Send;

    /// One answer or one page of a View or Report.
    fn view(
        &self,
        root: RootName,
        view: ViewName,
        query: ViewQuery,
    ) -> impl Future<Output = Result<ViewAnswer, Problem>> + Send;

    /// The changes of a View, live.
    fn changes(
        &self,
        root: RootName,
        view: ViewName,
        query: ViewQuery,
    ) -> impl Future<Output = Result<Stream, Problem>> + Send;

    /// A root's event count, views, types, origin and vv, as JSON.
    fn root_info(&self, root: RootName) -> impl Future<Output = Result<Bytes, Problem>> + Send;

    /// All roots, as JSON.
    fn roots(&self) -> impl Future<Output = Result<Bytes, Problem>> + Send;

    /// What plugins offer to each Root.
    fn offers(&self) -> impl Future<Output = Result<Vec<Offer>, Problem>> + Send;

    /// All plugins with generation, views, progress and last error, as JSON.
    fn plugins(&self) -> impl Future<Output = Result<Bytes, Problem>> + Send;

    /// Loads a plugin's file anew; with `wait`, answers when the new generation serves all its views.
    fn reload(
        &self,
        plugin: PluginName,
        wait: bool,
    ) -> impl Future<Output = Result<ReloadAnswer, Problem>> + Send;

    /// Gives a plugin's reload up; answers, as JSON, when it has ended.
    fn cancel(&self, plugin: PluginName) -> impl Future<Output = Result<Bytes, Problem>> + Send;

    /// The answer to another replica's frame about a root; may wait a while for news.
    fn sync(&self, root: RootName, frame: Bytes) -> impl Future<Output = Result<Bytes, Problem>> + Send;

    /// How it stands with the check of a root's rows, as JSON; with a body, begins one.
    fn verify(
        &self,
        root: RootName,
        begin: Option<Bytes>,
    ) -> impl Future<Output = Result<Bytes, Problem>> + Send;

    /// How it stands with every peer, as JSON.
    fn peers(&self) -> impl Future<Output = Result<Bytes, Problem>> + Send;

    /// Whether requests can be served now; JSON that says so, or the reason. Not asked while the server drains.
    fn ready(&self) -> impl Future<Output = Result<Bytes, Problem>> + Send;

    /// All metrics in the text format of Prometheus.
    fn metrics(&self) -> impl Future<Output = Result<Bytes, Problem>> + Send;
}
