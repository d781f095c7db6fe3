//! The figures of the view engine, as ratios within one run: `cargo bench -p laterbase-tests --bench views`.
//!
//! Events are made up by number, so that ten million of them take no disk; everything behind them is the real engine
//! with a plugin linked in. `LATERBASE_BENCH_EVENTS` sets how many there are, `LATERBASE_BENCH_PLOT` names a file for
//! the plot of repair time against number of events. Words behind `--` choose figures by a part of their names.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints what it saw"
)]

mod views {
    pub(crate) mod cases;
    pub(crate) mod made_up;
    pub(crate) mod plugin;
}

fn main() {
    let events = std::env::var("LATERBASE_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    views::cases::run(events.unwrap_or(1_000_000));
}
