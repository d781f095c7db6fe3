//! Whether the server can do what it is there for, and if not, why: for `/_/readyz`, the figures and the log.
//!
//! What keeps the whole server from its work makes it *not ready* (503), so that whoever balances or rolls out turns
//! away from it. What concerns one Root or one plugin makes it *degraded*: the others are served, so the answer is 200
//! with the reasons.

use super::Front;
use crate::host::Host;
use crate::plugin::Status;
use crate::problem::{Code, Problem};
use serde::Serialize;
use std::collections::BTreeSet;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The host is still being opened.
    Starting,
    /// The server was told to stop.
    Draining,
    /// There is hardly any room where the data directory lies: writes are refused.
    DiskFull,
    /// An input/output error closed a Root.
    RootClosed,
    /// A plugin, or a file that should be one, does not load.
    PluginFailed,
    /// The index of a Keyspace lacks many arrivals: answers wait for it.
    ViewBehind,
}

impl Why {
    /// All of them.
    const ALL: [Self; 6] = [
        Self::Starting,
        Self::Draining,
        Self::DiskFull,
        Self::RootClosed,
        Self::PluginFailed,
        Self::ViewBehind,
    ];

    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::DiskFull => "disk_full",
            Self::RootClosed => "root_closed",
            Self::PluginFailed => "plugin_failed",
            Self::ViewBehind => "view_behind",
        }
    }

    /// Whether the whole server is kept from its work.
    fn stops_all(self) -> bool {
        match self {
            Self::Starting | Self::Draining | Self::DiskFull => true,
            Self::RootClosed | Self::PluginFailed | Self::ViewBehind => false,
        }
    }
}

/// One reason.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Reason {
    #[serde(skip)]
    why: Why,
    #[serde(rename = "reason")]
    word: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    detail: String,
}

impl Reason {
    pub(super) fn new(why: Why, detail: impl Into<String>) -> Self {
        Self { why, word: why.word(), root: None, plugin: None, detail: detail.into() }
    }

    fn of_root(self, root: &str) -> Self {
        Self { root: Some(root.to_owned()), ..self }
    }

    /// What tells it from other reasons; its sentence may hold figures.
    fn name(&self) -> String {
        let about = self.root.as_deref().or(self.plugin.as_deref()).unwrap_or_default();
        format!("{} {about}", self.word)
    }
}

/// All reasons at one time.
#[derive(Debug, Clone)]
pub(super) struct Standing(pub(super) Vec<Reason>);

impl Standing {
    /// How it stands now. Blocks.
    fn of(host: &Host, is_stopped: bool) -> Self {
        let mut reasons = Vec::new();
        if is_stopped {
            reasons.push(Reason::new(Why::Draining, "the server is shutting down"));
        }
        reasons.extend(disk(host));
        for (root, _) in host.roots() {
            let Some(opened) = root.open_now() else { continue };
            if opened.disk.environment().is_poisoned() {
                let detail = "an input/output error at a commit: restart the server to reopen it";
                reasons.push(Reason::new(Why::RootClosed, detail).of_root(root.name()));
            }
            let lag = opened.views.lag().unwrap_or_default();
            let worst = lag.into_iter().max_by_key(|(_, arrivals)| *arrivals);
            let is_far = |arrivals| arrivals > host.limits().view_behind_arrivals;
            if let Some((keyspace, arrivals)) = worst.filter(|(_, arrivals)| is_far(*arrivals)) {
                let detail = format!("the index of {keyspace} lacks {arrivals} arrivals");
                reasons.push(Reason::new(Why::ViewBehind, detail).of_root(root.name()));
            }
        }
        reasons.extend(host.registry().status().into_iter().filter_map(plugin));
        Self(reasons)
    }

    fn is_ready(&self) -> bool {
        !self.0.iter().any(|reason| reason.why.stops_all())
    }

    /// The same as figures.
    pub(super) fn measure(&self) {
        metrics::gauge!("laterbase_ready").set(u8::from(self.is_ready()));
        for why in Why::ALL {
            let is_so = self.0.iter().any(|reason| reason.why == why);
            metrics::gauge!("laterbase_not_ready", "reason" => why.word()).set(u8::from(is_so));
        }
    }

    /// The answer of `/_/readyz`.
    fn answer(&self) -> Result<String, Problem> {
        let reasons = serde_json::to_value(&self.0).expect("reasons are texts");
        if !self.is_ready() {
            let stopping = self.0.iter().filter(|reason| reason.why.stops_all());
            let words: Vec<String> =
                stopping.map(|reason| format!("{}: {}", reason.word, reason.detail)).collect();
            return Err(Problem::new(Code::NotReady, words.join("; "))
                .retry_after(1)
                .with("reasons", reasons));
        }
        let status = if self.0.is_empty() { "ready" } else { "degraded" };
        Ok(serde_json::json!({"status": status, "reasons": reasons}).to_string())
    }
}

impl Front {
    /// How it stands. What is new or over since the last time is logged. Blocks.
    fn standing(&self) -> Standing {
        let standing = Standing::of(&self.host, *self.stopped.borrow());
        let names: BTreeSet<String> = standing.0.iter().map(Reason::name).collect();
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for reason in standing.0.iter().filter(|reason| !told.contains(&reason.name())) {
            let Reason { word, root, plugin, detail, .. } = reason;
            tracing::warn!(reason = word, root, plugin, "not all is well: {detail}");
        }
        for over in told.difference(&names) {
            tracing::info!(reason = over.trim_end(), "well again");
        }
        *told = names;
        standing
    }

    /// What `/_/readyz` answers, measured on the way. Blocks.
    pub(super) fn ready_now(&self) -> Result<String, Problem> {
        let standing = self.standing();
        standing.measure();
        standing.answer()
    }
}

/// Little is free where the data directory lies.
fn disk(host: &Host) -> Option<Reason> {
    let free = host.disk_free_bytes()?;
    metrics::gauge!("laterbase_disk_free_bytes").set(super::measure::float(free));
    let least = host.limits().disk_free_bytes_min;
    let detail = format!("{free} bytes are free at {}, {least} should be", host.data().display());
    (free < least).then(|| Reason::new(Why::DiskFull, detail))
}

/// A plugin whose last load failed, whether or not an older generation serves.
fn plugin(status: Status) -> Option<Reason> {
    let failure = status.error.filter(|failure| !failure.is(Code::ReloadCancelled))?;
    let file = || status.file.as_deref()?.file_name().map(|name| name.to_string_lossy().into_owned());
    let goes_on = status.generation.map(|serving| format!("; generation {serving} goes on serving"));
    let detail = format!("{}: {}{}", failure.code, failure.detail, goes_on.unwrap_or_default());
    Some(Reason { plugin: status.name.clone().or_else(file), ..Reason::new(Why::PluginFailed, detail) })
}
