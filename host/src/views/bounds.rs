//! From a query's times to a range of event keys.
//!
//! A user's times have milliseconds, keys have 2^-32 seconds, and a key belongs to the millisecond that it rounds
//! to. Here that rounding is turned round once, exactly: the first key of a millisecond is known, so a read compares
//! keys and never converts a time.

use super::known::Known;
use crate::core::event::{EventKey, ValidTime};
use crate::plugin::Services;

/// Which events count for a query. Times are milliseconds since 1970 and may lie outside 1970..2106.
///
/// A text with finer digits is floored for `at` and rounded up for `from` and `to`: the answer is the same as with
/// the finer time, because keys are compared after rounding to milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Events whose time rounds to this millisecond or an earlier one.
    pub at_ms: Option<i64>,
    /// Events whose time rounds to this millisecond or a later one.
    pub from_ms: Option<i64>,
    /// Events whose time rounds to an earlier millisecond than this.
    pub to_ms: Option<i64>,
    /// Only what this replica knew then counts.
    pub known: Option<Known>,
    /// `group=`: how many parts of the key to group by.
    pub group: Option<u32>,
}

/// The keys of the events that count: those in `[from, until)`; no `until` means no upper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) from: EventKey,
    pub(super) until: Option<EventKey>,
}

impl KeyRange {
    /// Every key.
    pub(super) const ALL: Self = Self { from: EventKey([0; 16]), until: None };

    /// The keys whose times lie in `[from, until)`; no bound is none.
    pub(super) fn between(from: Option<ValidTime>, until: Option<ValidTime>) -> Self {
        let first = |time| EventKey::new(time, [0; 8]);
        Self { from: from.map(first).unwrap_or_default(), until: until.map(first) }
    }

    /// True if `key` lies in the range.
    pub(super) fn contains(&self, key: EventKey) -> bool {
        self.from <= key && self.until.is_none_or(|until| key < until)
    }

    /// True if no event lies outside.
    pub(super) fn is_all(&self) -> bool {
        *self == Self::ALL
    }

    /// True if all of `other` lies in the range.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let ends = match (self.until, other.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs <= mine,
        };
        self.from <= other.from && ends
    }

    /// True if a key may lie in both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let begins = |one: &Self, behind: &Self| one.until.is_none_or(|until| behind.from < until);
        begins(self, other) && begins(other, self)
    }

    /// The keys that lie in both.
    pub(super) fn intersect(&self, other: &Self) -> Self {
        let until = match (self.until, other.until) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        Self { from: self.from.max(other.from), until }
    }
}

impl Bounds {
    /// The range of keys within these bounds.
    pub(super) fn keys(&self) -> KeyRange {
        let from = match self.from_ms.map(first_key) {
            None => EventKey::default(),
            Some(Some(key)) => key,
            // Later than every key there can be: an empty range.
            Some(None) => return KeyRange { from: EventKey([0xff; 16]), until: Some(EventKey::default()) },
        };
        let at = self.at_ms.and_then(|ms| first_key(ms.saturating_add(1)));
        let until = match (at, self.to_ms.and_then(first_key)) {
            (Some(at), Some(to)) => Some(at.min(to)),
            (at, to) => at.or(to),
        };
        KeyRange { from, until }
    }

    /// The bounds as a plugin sees them: `at` is exclusive there, and no millisecond is rounded any more.
    pub(super) fn services(&self) -> Services {
        let time = |ms| first_key(ms).map(EventKey::time);
        Services {
            at: self.at_ms.and_then(|ms| time(ms.saturating_add(1))),
            // Later than every key there can be: an empty range.
            from: self.from_ms.map(|ms| time(ms).unwrap_or(ValidTime(u64::MAX))),
            to: self.to_ms.and_then(time),
            ..Services::default()
        }
    }

    /// The bounds as bytes, equal if and only if they are: a cursor carries their hash.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for time in [self.at_ms, self.from_ms, self.to_ms] {
            bytes.push(u8::from(time.is_some()));
            bytes.extend_from_slice(&time.unwrap_or(0).to_be_bytes());
        }
        bytes.extend_from_slice(&self.group.map_or(0, |parts| u64::from(parts) + 1).to_be_bytes());
        match &self.known {
            None => bytes.push(0),
            Some(Known::At(ms)) => bytes.extend([&[1], &ms.to_be_bytes()[..]].concat()),
            Some(Known::Vv(text)) => bytes.extend([&[2], text.as_bytes()].concat()),
        }
        bytes
    }
}

/// The smallest key whose time rounds to `ms` or later; none if there is no such key.
///
/// A time x (in 2^-32 s) rounds to floor((1000 x + 2^31) / 2^32) milliseconds, so it reaches `ms` from
/// x = ceil((ms * 2^32 - 2^31) / 1000) on.
fn first_key(ms: i64) -> Option<EventKey> {
    let least = (i128::from(ms) << 32) - (1 << 31);
    let time = u64::try_from((least.max(0) + 999) / 1000).ok()?;
    Some(EventKey::new(ValidTime(time), [0; 8]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::ValidTime;

    /// Goal: the bound is exact. Method: the key at the bound rounds to the millisecond, the one below it does not.
    #[test]
    fn the_first_key_of_a_millisecond_is_the_first() {
        let days = (0..64).map(|day| day * 86_400_000);
        for base in days.chain([1_777_777_777_000, 4_294_967_295_000]) {
            for ms in (base..base + 1000).filter(|ms| *ms > 0) {
                let key = first_key(ms).expect("within 2106");
                assert_eq!(key.time().millis(), ms);
                assert_eq!(ValidTime(key.time().0 - 1).millis(), ms - 1);
            }
        }
    }

    /// Goal: times outside 1970..2106 give the whole range or nothing, never a wrong piece.
    #[test]
    fn bounds_outside_the_range_of_keys() {
        let all = EventKey([0xff; 16]);
        let range = |at_ms, from_ms, to_ms| Bounds { at_ms, from_ms, to_ms, ..Bounds::default() }.keys();
        assert!(range(Some(i64::MAX), None, None).contains(all));
        assert!(!range(Some(-1), None, None).contains(EventKey::default()));
        assert!(range(Some(0), None, None).contains(EventKey::default()));
        assert!(range(None, Some(i64::MIN), None).contains(EventKey::default()));
        assert!(!range(None, Some(i64::MAX), None).contains(all));
        assert!(!range(None, None, Some(i64::MIN)).contains(EventKey::default()));
        assert!(range(None, None, Some(i64::MAX)).contains(all));
    }

    /// Goal: `at` together with `to` takes the smaller; `[from, to)` holds its first and not its last millisecond.
    #[test]
    fn a_window_is_half_open() {
        let key = |ms| EventKey::new(ValidTime::from_millis(ms).expect("in range"), [0; 8]);
        let bounds =
            Bounds { from_ms: Some(1000), to_ms: Some(1003), at_ms: Some(1001), ..Bounds::default() };
        let range = bounds.keys();
        let held: Vec<i64> = (990..1010).filter(|ms| range.contains(key(*ms))).collect();
        assert_eq!(held, [1000, 1001]);
        assert_ne!(bounds.canonical(), Bounds { at_ms: None, ..bounds.clone() }.canonical());
    }
}
