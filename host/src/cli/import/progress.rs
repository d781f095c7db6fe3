//! How far it is: a bar with rate and time left on a terminal, else a line every few seconds.

use super::input::Meter;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far an import is.
pub(super) struct Progress {
    bar: ProgressBar,
    meter: Arc<Meter>,
    length: Option<u64>,
    begun: Instant,
    /// When the last line was written; none where there is a bar.
    line: Option<Instant>,
}

impl Progress {
    /// Of a file of `length` bytes.
    pub(super) fn new(name: &str, meter: Arc<Meter>, length: Option<u64>) -> Self {
        let begun = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(length, target).with_prefix(name.to_owned());
        let template = match length {
            Some(_) => "{prefix} {wide_bar} {percent} % {msg}, {eta} left",
            None => "{prefix} {spinner} {msg}",
        };
        let bar = match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        Self { bar, meter, length, begun, line: (!is_terminal).then_some(begun) }
    }

    /// So many rows are done, `fresh` of them in this run.
    pub(super) fn show(&mut self, rows: u64, fresh: u64) {
        let read = self.meter.bytes();
        let seconds = self.begun.elapsed().as_secs().max(1);
        let rate = HumanCount(fresh / seconds);
        let rows = HumanCount(rows);
        let Some(last) = self.line else {
            self.bar.set_position(read);
            self.bar.set_message(format!("{rows} rows, {rate} rows/s"));
            return;
        };
        if last.elapsed() < LINE_EVERY {
            return;
        }
        self.line = Some(Instant::now());
        let left = self.length.filter(|_| read > 0).map(|length| {
            let left = u128::from(length.saturating_sub(read)) * self.begun.elapsed().as_millis();
            let left = Duration::from_millis(u64::try_from(left / u128::from(read)).unwrap_or(u64::MAX));
            let percent = read.min(length) * 100 / length.max(1);
            format!(", {percent} %, {} left", HumanDuration(left))
        });
        warn!("{}: {rows} rows, {rate} rows/s{}", self.bar.prefix(), left.unwrap_or_default());
    }

    /// Clears the bar.
    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}
