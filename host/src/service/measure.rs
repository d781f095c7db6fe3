//! What can only be known by asking, as figures: set when somebody reads them.

use crate::core::event::Arrival;
use crate::host::Host;
use crate::metering::{self, Readers};
use crate::plugin::Status;
use crate::root::{Opened, Root};
use crate::store::environment::Environment;
use crate::store::lmdb::FORMAT_VERSION;
use crate::sync::PROTOCOL;
use metrics::gauge;
use std::sync::Arc;

/// A figure as the exporter takes it.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// What stays the same as long as the process lives.
pub(super) fn once(host: &Host) {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("plugin_abi", laterbase_plugin::abi::ABI.to_string()),
        ("sync_protocol", PROTOCOL.to_string()),
        ("store_format", FORMAT_VERSION.to_string()),
    ];
    gauge!("laterbase_build_info", &labels).set(1);
    gauge!("laterbase_start_time_seconds").set(float(host.now().millis().cast_unsigned()) / 1000.0);
}

/// Sets all of it. Blocks.
pub(super) fn measure(host: &Host) {
    host.standing().measure(host.now());
    for (root, _) in host.roots() {
        if let Some(opened) = root.open_now() {
            of_root(&root, &opened);
        }
    }
    live(host);
    plugins(host);
}

fn of_root(root: &Root, opened: &Opened) {
    let name = root.name();
    let labels = [("root", name.to_owned())];
    let disk = opened.disk.environment();
    gauge!("laterbase_root_closed", &labels).set(u8::from(disk.is_poisoned()));
    gauge!("laterbase_admission_queue_events", &labels).set(opened.admission.queued());
    environment(name, "events", disk);
    if let Some(derived) = opened.views.environment() {
        environment(name, "derived", derived);
    }
    for (keyspace, arrivals) in opened.views.lag().unwrap_or_default() {
        let labels = [("root", name.to_owned()), ("keyspace", keyspace)];
        gauge!("laterbase_view_lag_arrivals", &labels).set(float(arrivals));
    }
    if let Some(head) = root.head() {
        gauge!("laterbase_root_events", &labels).set(float(head.events));
        gauge!("laterbase_root_arrivals", &labels).set(float(head.arrivals));
        gauge!("laterbase_root_origins", &labels).set(float(head.knowledge.origins() as u64));
    }
}

fn environment(root: &str, name: &'static str, environment: &Environment) {
    let labels = [("root", root.to_owned()), ("environment", name.to_owned())];
    let (readers, oldest) = environment.readers();
    gauge!("laterbase_map_bytes", &labels).set(float(environment.map_bytes()));
    gauge!("laterbase_map_used_bytes", &labels).set(float(environment.used_bytes()));
    gauge!("laterbase_readers", &labels).set(float(readers as u64));
    gauge!("laterbase_oldest_reader_seconds", &labels).set(oldest.as_secs_f64());
}

/// Live readers. A stream that nobody reads any more is at 0.
fn live(host: &Host) {
    let readers = metering::live();
    for (root, _) in host.roots() {
        let Some(opened) = root.open_now() else { continue };
        for stream in ["events", "changes"] {
            let found = readers.get(&(Arc::from(root.name()), stream)).copied();
            let labels = [("root", root.name().to_owned()), ("stream", stream.to_owned())];
            let (events, seconds) = found.map_or((0, 0.0), |readers| behind(host, &opened, readers));
            gauge!("laterbase_live_readers", &labels).set(float(found.map_or(0, |readers| readers.count)));
            gauge!("laterbase_live_lag_events", &labels).set(float(events));
            gauge!("laterbase_live_lag_seconds", &labels).set(seconds);
        }
    }
}

/// How many arrivals the slowest of some readers lacks, and how many seconds ago the first of them arrived.
fn behind(host: &Host, opened: &Opened, readers: Readers) -> (u64, f64) {
    let Ok(tables) = opened.store.read() else { return (0, 0.0) };
    let arrivals = tables.head().map_or(0, |head| head.arrivals);
    let next = tables.arrival(Arrival(readers.told_least + 1)).ok().flatten();
    let milliseconds =
        next.map_or(0, |next| host.now().millis().cast_unsigned().saturating_sub(next.wall_ms));
    (arrivals.saturating_sub(readers.told_least), float(milliseconds) / 1000.0)
}

fn plugins(host: &Host) {
    let status = host.registry().status();
    for state in ["serving", "building", "failed"] {
        let count = status.iter().filter(|status| status.state == state).count();
        gauge!("laterbase_plugins", "state" => state).set(float(count as u64));
    }
    for Status { name, generation, .. } in status {
        if let (Some(name), Some(generation)) = (name, generation) {
            gauge!("laterbase_plugin_generation", "plugin" => name).set(generation);
        }
    }
    gauge!("laterbase_generations_loaded").set(host.registry().generations_loaded());
    gauge!("laterbase_generations_max").set(host.limits().generations_max);
}
