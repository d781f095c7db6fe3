//! The figures that the server keeps of itself, in the text format of Prometheus: what each is, in one table.
//!
//! Code all over the host counts through the crate `metrics` by name; a test holds what the server then shows against
//! [`METRICS`], and that against `METRICS.md`. What can only be known by asking (how much a Root holds) is set when
//! somebody reads the figures. Labels take their values from what is declared or configured, never from a request.
//!
//! Samples of histograms wait in memory until they are put into buckets; `upkeep` does it where nobody reads.

mod live;

pub use live::{LiveReader, Readers, live};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, in order, separated by commas.
    pub labels: &'static str,
    /// What it tells.
    pub help: &'static str,
}

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from 0 at the start.
    Counter,
    /// It rises and falls.
    Gauge,
    /// How often values fell into which bucket: in powers of ten, with 2.5 and 5 between them.
    Histogram,
}

impl Kind {
    /// The word that Prometheus has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Bounds of the buckets of times, in seconds.
const SECONDS: &[f64] = &[
    0.000_01, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];
/// Bounds of the buckets of numbers.
const NUMBERS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 25_000.0];

/// How often samples are put into buckets where nobody reads them.
const UPKEEP: Duration = Duration::from_secs(5);

macro_rules! metrics {
    ($($name:literal $kind:ident $labels:literal $help:literal;)*) => {
        /// All of them, in the order of the documentation.
        pub const METRICS: &[Metric] =
            &[$(Metric { name: $name, kind: Kind::$kind, labels: $labels, help: $help },)*];
    };
}

metrics! {
    "laterbase_build_info" Gauge "version,plugin_abi,sync_protocol,store_format" "Always 1; its labels say what runs.";
    "laterbase_start_time_seconds" Gauge "" "When the process began to serve, in seconds since 1970.";
    "laterbase_ready" Gauge "" "1 if `/_/readyz` answers 200.";
    "laterbase_not_ready" Gauge "reason" "1 for each reason that `/_/readyz` gives, 0 for all others.";
    "laterbase_disk_free_bytes" Gauge "" "What is free where the data directory lies.";
    // HTTP.
    "laterbase_http_requests_total" Counter "route,status" "Answers, by route with its names left open.";
    "laterbase_http_request_seconds" Histogram "route" "From a request's head to its answer's; of a stream, to its first frame.";
    "laterbase_http_connections" Gauge "" "Connections that are open.";
    "laterbase_http_connections_refused_total" Counter "" "Connections above the cap.";
    // Admission.
    "laterbase_admission_seconds" Histogram "" "From a read body to the answer that its events are durable.";
    "laterbase_admission_events_total" Counter "outcome" "Events of requests that were taken: written, duplicate or rejected.";
    "laterbase_admission_queue_events" Gauge "root" "Events that wait for the root's writer.";
    "laterbase_commit_seconds" Histogram "" "One commit of admitted events.";
    "laterbase_commit_events" Histogram "" "Events in one commit.";
    "laterbase_commit_requests" Histogram "" "Requests in one commit.";
    "laterbase_commits_total" Counter "outcome" "Commits of admitted events: done or failed.";
    "laterbase_clock_resets_total" Counter "" "Roots whose clock was far ahead of the wall clock at the start.";
    // Roots.
    "laterbase_root_events" Gauge "root" "Events of the root.";
    "laterbase_root_arrivals" Gauge "root" "Arrivals at this replica.";
    "laterbase_root_origins" Gauge "root" "Origins that the root knows; look at it from 1,000, at 65,536 it takes no more.";
    "laterbase_root_closed" Gauge "root" "1 after an input/output error at a commit, until the server is restarted.";
    "laterbase_map_bytes" Gauge "root,environment" "How far an environment can be filled before its map grows.";
    "laterbase_map_used_bytes" Gauge "root,environment" "Its pages that are or were in use.";
    "laterbase_readers" Gauge "root,environment" "Transactions of this process that are open.";
    "laterbase_oldest_reader_seconds" Gauge "root,environment" "How long the oldest of them has been open; pages that it sees are not used again.";
    // Live readers.
    "laterbase_live_readers" Gauge "root,stream" "Readers of a live feed (`events`) or of a view's changes (`changes`).";
    "laterbase_live_fallbacks_total" Counter "root" "How often a live reader was too slow and caught up out of the store.";
    "laterbase_live_lag_events" Gauge "root,stream" "Arrivals that the slowest of them has not been told; of one that catches up, since it began to.";
    "laterbase_live_lag_seconds" Gauge "root,stream" "How long ago the first of those arrived.";
    // Views.
    "laterbase_view_lag_arrivals" Gauge "root,keyspace" "Arrivals that the index of a keyspace lacks; absent while it is not open.";
    "laterbase_views_fat_leaves_total" Counter "" "Leaves of an index at 32 times their mean: keys may have been minted for it.";
    // Plugins.
    "laterbase_plugin_call_seconds" Histogram "plugin,hook" "One call into a plugin: a batch of events, a run of deltas, a report.";
    "laterbase_plugin_errors_total" Counter "plugin,hook" "Calls that failed or panicked; a refusal is none.";
    "laterbase_plugin_generation" Gauge "plugin" "The generation that serves.";
    "laterbase_plugins" Gauge "state" "Plugins and files that are none: serving, building or failed.";
    "laterbase_plugin_reloads_total" Counter "outcome" "Reloads: swapped, unchanged or failed.";
    "laterbase_generations_loaded" Gauge "" "Libraries that were loaded; none is ever unloaded.";
    "laterbase_generations_max" Gauge "" "As many may be loaded in one run.";
    // Sync.
    "laterbase_peer_connected" Gauge "peer,root" "1 while the last exchange succeeded.";
    "laterbase_peer_events_to_pull" Gauge "peer,root" "Dots that the peer has and we lack.";
    "laterbase_peer_events_to_push" Gauge "peer,root" "Dots that we have and the peer lacks.";
    "laterbase_peer_behind_seconds" Gauge "peer,root" "How long ago both held the same; -1 if they never did.";
    "laterbase_peer_clock_offset_seconds" Gauge "peer,root" "How far the peer's clock is ahead of ours.";
    "laterbase_peer_events_in_total" Counter "peer,root" "Events taken from the peer.";
    "laterbase_peer_events_out_total" Counter "peer,root" "Events given to the peer.";
    "laterbase_peer_events_repeated_total" Counter "peer,root" "Events that came although they were known.";
    "laterbase_peer_forks_healed_total" Counter "peer,root" "Origins with two histories that were made one.";
    "laterbase_peer_bytes_total" Counter "peer,direction" "Bodies: in or out.";
    "laterbase_sync_events_taken_total" Counter "" "Events taken from any replica.";
    "laterbase_sync_events_repeated_total" Counter "" "Events that any replica sent although they were known.";
    "laterbase_sync_events_future_total" Counter "" "Events that were further ahead of our clock than admission allows.";
    "laterbase_sync_clock_ahead_total" Counter "" "Pages whose sender's clock was too far ahead to follow.";
}

/// The one recorder of the process; several hosts in one program share it.
fn handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another part of the program records metrics: the server's own page stays empty");
        }
        METRICS.iter().for_each(describe);
        handle
    })
}

fn builder() -> PrometheusBuilder {
    let histograms = METRICS.iter().filter(|metric| metric.kind == Kind::Histogram);
    histograms.fold(PrometheusBuilder::new(), |builder, metric| {
        let bounds = if metric.name.ends_with("_seconds") { SECONDS } else { NUMBERS };
        let name = Matcher::Full(metric.name.to_owned());
        builder.set_buckets_for_metric(name, bounds).expect("there are bounds")
    })
}

/// Says what a figure is; one that has no labels is there from the start.
fn describe(metric: &Metric) {
    let Metric { name, kind, labels, help } = *metric;
    match kind {
        Kind::Counter => metrics::describe_counter!(name, help),
        Kind::Gauge => metrics::describe_gauge!(name, help),
        Kind::Histogram => metrics::describe_histogram!(name, help),
    }
    if labels.is_empty() {
        match kind {
            Kind::Counter => metrics::counter!(name).increment(0),
            Kind::Gauge => metrics::gauge!(name).set(0),
            Kind::Histogram => drop(metrics::histogram!(name)),
        }
    }
}

/// Starts recording.
pub(crate) fn start() {
    let _handle = handle();
}

/// Puts samples into buckets for as long as it is polled.
pub(crate) async fn upkeep() -> std::convert::Infallible {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle().run_upkeep();
    }
}

/// All figures as text.
pub(crate) fn text() -> String {
    let handle = handle();
    handle.run_upkeep();
    handle.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    // A name says what it counts, as Prometheus wants it: counters end in `_total`, times are in seconds.
    #[test]
    fn names() {
        for metric in METRICS {
            let Metric { name, kind, labels, help } = *metric;
            assert!(
                name.starts_with("laterbase_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert!(!name.contains("milli") && !name.contains("micro"), "{name}: seconds and bytes");
            assert!(help.ends_with('.') && !labels.contains(' '), "{name}");
        }
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len(), "each once");
    }
}
