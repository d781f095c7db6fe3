//! The figures of queries, as ratios within one run: `cargo bench -p laterbase-tests --bench queries`.
//!
//! The real binary answers over kept connections; beside it axum alone, and plain code over the same events. Each line
//! names its goal. `LATERBASE_BENCH_EVENTS` sets how many events come at once or are caught up with (1,000,000). Words
//! behind `--` choose figures by a part of their names.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it saw"
)]

mod queries {
    pub(crate) mod catch_up;
    pub(crate) mod constant;
    pub(crate) mod lots;
    pub(crate) mod pending;
    pub(crate) mod times;
    pub(crate) mod warm;
}

use queries::{catch_up, constant, pending, warm};

fn main() {
    if let Some(bytes) = constant::asked() {
        return constant::serve(bytes);
    }
    let events = std::env::var("LATERBASE_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let events = events.unwrap_or(1_000_000);
    let wanted = |what: &str| {
        let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
        words.is_empty() || words.iter().any(|word| what.contains(word.as_str()))
    };
    if wanted("warm read") {
        warm::run();
    }
    if wanted("pending") {
        pending::run(events);
    }
    if wanted("catch-up") {
        catch_up::run(events);
    }
}
