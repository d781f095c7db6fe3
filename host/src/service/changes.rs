//! A View's changes as a live stream: pages of changes behind what was told, then a wait for news.
//!
//! The stream keeps no events of its own and no transaction between two pages: it asks again from where it is, by the
//! plugins that serve then. A slow reader is behind, no more; one that left ends the task at its next write.

use super::{Front, blocking};
use crate::host::Host;
use crate::http::service::ViewQuery;
use crate::http::sse::{self, Gone, Writer};
use crate::metering::LiveReader;
use crate::problem::Problem;
use crate::root::Opened;
use crate::views::{Cause, Change, Changes, ChangesQuery, Computes, Told};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::Instrument;

/// After so long without a frame one is written that says nothing.
const PULSE: Duration = Duration::from_secs(15);

/// One stream under way.
struct Live {
    host: Arc<Host>,
    root: String,
    query: ChangesQuery,
    writer: Writer,
    stopped: watch::Receiver<bool>,
}

/// What a stream does next.
enum Next {
    /// It looks for changes.
    Page,
    /// It says that it is still there.
    Pulse,
}

impl Front {
    /// Begins a stream of changes behind `since`, or behind what is known now.
    pub(super) async fn stream(
        &self,
        root: &str,
        view: &str,
        query: ViewQuery,
        since: Option<String>,
    ) -> Result<sse::Stream, Problem> {
        let query = ChangesQuery { view: view.to_owned(), keys: query.keys, prefix: query.prefix };
        let (writer, stream) = sse::stream();
        let (host, root, stopped) = (Arc::clone(&self.host), root.to_owned(), self.stopped.clone());
        let live = Live { host, root, query, writer, stopped };
        // What cannot be asked is a status, not a frame.
        let (told, is_ours) = live.begin(since).await?;
        let task = async move {
            let Live { root, .. } = &live;
            tracing::debug!(root, "a stream of changes begins");
            if live.run(told, is_ours).await == Err(Gone) {
                tracing::debug!(root, "the reader of a stream of changes left");
            }
        };
        drop(tokio::spawn(task.in_current_span()));
        Ok(stream)
    }
}

impl Live {
    async fn begin(&self, since: Option<String>) -> Result<(Told, bool), Problem> {
        let (root, catalog) = self.host.root(&self.root)?;
        let query = self.query.clone();
        blocking(move || {
            let plugins: Arc<dyn Computes> = catalog as _;
            let Some(opened) = root.opened()? else { return Ok((Told::default(), since.is_none())) };
            let (told, is_ours) = opened.views.told(since.as_deref()).map_err(|fault| fault.problem())?;
            opened.views.changes(&plugins, &query, told).map_err(|fault| fault.problem())?;
            Ok((told, is_ours))
        })
        .await
    }

    async fn run(&self, mut told: Told, is_ours: bool) -> Result<(), Gone> {
        if !is_ours {
            let data = json!({"detail": "this replica did not pass through that id: read the view anew"});
            self.writer.event("reset", Some(&told.id()), &data.to_string()).await?;
        }
        let (mut stopped, mut is_caught_up) = (self.stopped.clone(), false);
        let reader = LiveReader::begin(&self.root, "changes", told.arrival());
        loop {
            let (mut news, page) = match self.page(told).await {
                Ok(found) => found,
                Err(problem) => {
                    let data = json!({"code": problem.code.word(), "detail": problem.detail});
                    return self.writer.event("error", None, &data.to_string()).await;
                }
            };
            for change in page.changes {
                self.writer.event("change", change.id.as_deref(), &json_of(&change)).await?;
            }
            told = page.told;
            reader.told(told.arrival());
            if *stopped.borrow() {
                return Ok(());
            }
            if page.goes_on {
                continue;
            }
            if !is_caught_up {
                self.writer.event("caught-up", Some(&told.id()), "{}").await?;
                is_caught_up = true;
            }
            while let Next::Pulse = self.wait(&mut news, &mut stopped).await? {
                self.writer.pulse(&told.id()).await?;
            }
        }
    }

    /// Waits for news, or until it is time to say something.
    async fn wait(
        &self,
        news: &mut watch::Receiver<u64>,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<Next, Gone> {
        tokio::select! {
            changed = news.changed() => changed.map(|()| Next::Page).map_err(|_| Gone),
            () = sleep(PULSE) => Ok(Next::Pulse),
            () = self.writer.gone() => Err(Gone),
            _ = stopped.wait_for(|stopped| *stopped) => Ok(Next::Page),
        }
    }

    /// The next changes, and what tells of news behind them.
    async fn page(&self, told: Told) -> Result<(watch::Receiver<u64>, Changes), Problem> {
        let (root, catalog) = self.host.root(&self.root)?;
        let query = self.query.clone();
        blocking(move || {
            let plugins: Arc<dyn Computes> = catalog as _;
            let made = root.made();
            let Some(opened) = root.opened()? else {
                return Ok((made, Changes { changes: Vec::new(), told, goes_on: false }));
            };
            let Opened { views, replica, .. } = opened.as_ref();
            // First what tells of news: whatever comes after the page is news then.
            let news = replica.commits();
            let page = views.changes(&plugins, &query, told).map_err(|fault| fault.problem())?;
            Ok((news, page))
        })
        .await
    }
}

fn json_of(change: &Change) -> String {
    let key = super::query::key_of(&change.key);
    let cause = match change.cause {
        Cause::Event => "event",
        Cause::Retraction => "retraction",
        Cause::Clash => "clash",
    };
    let retracted = change.retracted.map_or(String::new(), |event| format!(",\"retracted\":\"{event}\""));
    let value = change.value.as_ref().map_or("null", |value| value.get());
    format!(
        "{{\"key\":{key},\"event\":\"{}\",\"time\":\"{}\",\"late\":{},\"cause\":\"{cause}\"{retracted},\"value\":{value}}}",
        change.event,
        change.event.time(),
        change.late
    )
}
