//! Times of many requests, and lines that compare them.

use std::time::{Duration, Instant};

/// How long some requests took, the fastest first.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that this share of a hundred did not exceed.
    pub(crate) fn at(&self, share: usize) -> Duration {
        let at = (self.0.len() * share / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or_default()
    }

    /// Says how they compare with `base`, by their medians, and what is aimed at.
    pub(crate) fn tell(&self, what: &str, base: (&str, &Self), most: f64) {
        let (name, other) = base;
        println!(
            "{what:<46} {:>9.1?}, p99 {:>9.1?}; {name} {:.1?}, p99 {:.1?}: ratio {:.2}, goal <= {most}",
            self.at(50),
            self.at(99),
            other.at(50),
            other.at(99),
            ratio(self.at(50), other.at(50)),
        );
    }
}

/// How long each of `many` calls takes.
pub(crate) fn timed(many: usize, work: &mut dyn FnMut()) -> Vec<Duration> {
    let one = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..many).map(one).collect()
}

pub(crate) fn ratio(time: Duration, base: Duration) -> f64 {
    time.as_secs_f64() / base.as_secs_f64()
}
