//! The wall clock as a thing that can be handed in. Only [`SystemWall`] reads the machine's.

use crate::core::event::ValidTime;

/// Tells the time of day.
pub trait Wall: Send + Sync + std::fmt::Debug {
    /// The present instant.
    fn now(&self) -> ValidTime;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWall;

impl Wall for SystemWall {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> ValidTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        ValidTime::from_parts(seconds, since.subsec_nanos()).unwrap_or(ValidTime(u64::MAX))
    }
}
