//! The figures that the server keeps of itself, in the text format of Prometheus.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// The one recorder of the process; several hosts in one program share it.
fn handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another part of the program records metrics: the server's own page stays empty");
        }
        handle
    })
}

/// Starts recording.
pub(crate) fn start() {
    let _handle = handle();
}

/// All figures as text.
pub(crate) fn text() -> String {
    let handle = handle();
    handle.run_upkeep();
    handle.render()
}
