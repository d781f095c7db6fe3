//! The hybrid logical clock that stamps live events (Kulkarni et al., "Logical Physical Clocks", 2014), on the NTP64
//! times of `uhlc`.
//!
//! It never gives a stamp twice and never goes back, also over a restart, because its maximum is persisted. It does
//! not read a clock: `now` is always an argument. Valid times are never shown to it, so one handheld that is set to
//! 2030 drags nobody along.

use super::event::ValidTime;
use uhlc::NTP64;

/// A stamp this far ahead of the wall clock is not believed, neither from a peer nor from disk: 60 s in milliseconds.
const AHEAD_MS_MAX: i64 = 60_000;

/// A Root's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    last: NTP64,
}

impl Clock {
    /// A clock that goes on from the persisted maximum. True if that lies more than 60 s ahead of `now`: the clock
    /// then ticks from the wall clock instead, and the caller warns and counts.
    pub fn new(persisted: ValidTime, now: ValidTime) -> (Self, bool) {
        let ahead = persisted.millis() - now.millis() > AHEAD_MS_MAX;
        let start = if ahead { now } else { persisted };
        (Self { last: NTP64(start.0) }, ahead)
    }

    /// The next stamp: the wall clock, or one unit behind the last stamp if the wall clock is not past it.
    pub fn tick(&mut self, now: ValidTime) -> ValidTime {
        let after = NTP64(self.last.0.saturating_add(1));
        self.last = after.max(NTP64(now.0));
        ValidTime(self.last.0)
    }

    /// As many stamps in a row, each a unit behind the one before; the first of them.
    pub fn ticks(&mut self, now: ValidTime, stamps: u64) -> ValidTime {
        let first = self.tick(now);
        self.last = NTP64(first.0.saturating_add(stamps.saturating_sub(1)));
        first
    }

    /// Takes note of the stamp of an admission elsewhere; false if it is more than 60 s ahead of `now` and ignored.
    pub fn observe(&mut self, stamp: ValidTime, now: ValidTime) -> bool {
        let believed = stamp.millis() - now.millis() <= AHEAD_MS_MAX;
        if believed {
            self.last = self.last.max(NTP64(stamp.0));
        }
        believed
    }

    /// The greatest stamp that was given or noted.
    pub fn max(&self) -> ValidTime {
        ValidTime(self.last.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> ValidTime {
        ValidTime::from_millis(seconds * 1000).expect("within NTP64")
    }

    /// Stamps rise although the wall clock stands still or falls.
    #[test]
    fn stamps_rise() {
        let (mut clock, ahead) = Clock::new(ValidTime::default(), at(100));
        assert!(!ahead);
        let first = clock.tick(at(100));
        assert_eq!(first, at(100));
        assert_eq!(clock.tick(at(100)), ValidTime(first.0 + 1));
        assert_eq!(clock.tick(at(50)), ValidTime(first.0 + 2));
        assert_eq!(clock.tick(at(101)), at(101));
        assert_eq!(clock.ticks(at(101), 3), ValidTime(at(101).0 + 1));
        assert_eq!(clock.tick(at(101)), ValidTime(at(101).0 + 4));
    }

    /// A restart goes on behind the persisted maximum, unless that is absurd.
    #[test]
    fn a_restart_goes_on() {
        assert_eq!(Clock::new(at(150), at(100)).0.tick(at(100)), ValidTime(at(150).0 + 1));
        let (mut reset, ahead) = Clock::new(at(161), at(100));
        assert!(ahead);
        assert_eq!(reset.tick(at(100)), ValidTime(at(100).0 + 1));
    }

    /// Stamps of peers count up to 60 s ahead.
    #[test]
    fn peers_are_believed_up_to_a_minute() {
        let (mut clock, _) = Clock::new(ValidTime::default(), at(100));
        assert!(clock.observe(at(160), at(100)));
        assert_eq!(clock.tick(at(100)), ValidTime(at(160).0 + 1));
        assert!(!clock.observe(at(161), at(100)));
        assert_eq!(clock.max(), ValidTime(at(160).0 + 1));
    }
}
