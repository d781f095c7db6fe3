//! How often each route answers with which status, and how long that takes.
//!
//! A series is made at its first answer and kept, because looking one up by its labels costs as much as parsing a small
//! event. There are no more than routes times statuses.

use axum::http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// The figures of all routes.
#[derive(Debug, Default)]
pub(super) struct Meters(RwLock<BTreeMap<(&'static str, StatusCode), Meter>>);

#[derive(Debug, Clone)]
struct Meter {
    answers: Counter,
    seconds: Histogram,
}

impl Meters {
    /// Counts an answer of the route `pattern` that took `seconds`.
    pub(super) fn count(&self, pattern: &'static str, status: StatusCode, seconds: f64) {
        let meter = self.meter(pattern, status);
        meter.answers.increment(1);
        meter.seconds.record(seconds);
    }

    fn meter(&self, pattern: &'static str, status: StatusCode) -> Meter {
        let key = (pattern, status);
        if let Some(meter) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return meter.clone();
        }
        let mut meters = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Meter {
            answers: counter!(
                "laterbase_http_requests_total", "route" => pattern, "status" => status.as_str().to_owned()
            ),
            seconds: histogram!("laterbase_http_request_seconds", "route" => pattern),
        };
        meters.entry(key).or_insert_with(new).clone()
    }
}
