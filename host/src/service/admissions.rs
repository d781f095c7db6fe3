//! How long requests with events take, and what becomes of the events. The series are looked up once: admission is the
//! most frequent of all requests.

use crate::admit::Answer;
use metrics::{Counter, Histogram, counter, histogram};
use tokio::time::Instant;

/// The figures of all Roots together.
#[derive(Debug, Clone)]
pub(super) struct Admissions {
    seconds: Histogram,
    written: Counter,
    duplicate: Counter,
    rejected: Counter,
}

impl Admissions {
    pub(super) fn new() -> Self {
        let events = |outcome| counter!("laterbase_admission_events_total", "outcome" => outcome);
        Self {
            seconds: histogram!("laterbase_admission_seconds"),
            written: events("written"),
            duplicate: events("duplicate"),
            rejected: events("rejected"),
        }
    }

    /// Counts a request that was answered.
    pub(super) fn count(&self, begun: Instant, answer: &Answer) {
        self.seconds.record(begun.elapsed().as_secs_f64());
        self.written.increment(answer.written as u64);
        self.duplicate.increment(answer.duplicate as u64);
        self.rejected.increment(answer.rejected as u64);
    }
}
