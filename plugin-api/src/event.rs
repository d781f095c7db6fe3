//! The key of an event and what a plugin sees of an event.
//!
//! Key bytes 0..8 are the valid time as NTP64 (32 bits of seconds since 1970, 32 bits of fraction), bytes 8..16 the
//! tail, both big-endian: keys sort as bytes, by time first. Milliseconds encode with floor and decode with
//! rounding, which round-trips for all 1000 values; every conversion of times in Laterbase goes through here.

use abi_stable::StableAbi;
use abi_stable::std_types::RSlice;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The last millisecond of 2106-02-07T06:28:15.999Z that NTP64 can hold, in milliseconds since 1970.
pub const TIME_MS_MAX: i64 = ((u32::MAX as i64) + 1) * 1000 - 1;

/// A valid time: NTP64, 32 bits of seconds since 1970 and 32 bits of fraction.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ValidTime(pub u64);

impl ValidTime {
    /// The time `ms` milliseconds after 1970, floored to NTP64; none outside 1970..2106.
    pub fn from_millis(ms: i64) -> Option<Self> {
        Self::from_parts(ms.div_euclid(1000), u32::try_from(ms.rem_euclid(1000)).ok()? * 1_000_000)
    }

    /// The time `seconds` and `nanos` (below 1,000,000,000) after 1970, floored to NTP64; none outside 1970..2106.
    pub fn from_parts(seconds: i64, nanos: u32) -> Option<Self> {
        let seconds = u32::try_from(seconds).ok()?;
        let fraction = (u64::from(nanos) << 32) / 1_000_000_000;
        Some(Self((u64::from(seconds) << 32) | fraction))
    }

    /// Milliseconds since 1970, rounded to the nearest.
    pub fn millis(self) -> i64 {
        let seconds = (self.0 >> 32).cast_signed();
        let fraction = ((self.0 & 0xffff_ffff) * 1000 + (1 << 31)) >> 32;
        seconds * 1000 + fraction.cast_signed()
    }

    /// Nanoseconds within the second, rounded to the nearest that floors back to this time.
    pub fn nanos(self) -> u32 {
        let nanos = ((self.0 & 0xffff_ffff) * 1_000_000_000).div_ceil(1 << 32);
        u32::try_from(nanos.min(999_999_999)).unwrap_or(999_999_999)
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        (self.0 >> 32).cast_signed()
    }

    /// The UTC day, such as `2026-05-01`, of this time as it is displayed.
    pub fn day(self) -> String {
        let text = self.to_string();
        text.split_once('T').map_or(text.clone(), |(day, _)| day.to_owned())
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-05-01T10:00:00.123Z`. JSON has the same text.
impl fmt::Display for ValidTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.millis()).expect("NTP64 ends in 2106");
        let time = jiff::tz::Offset::UTC.to_datetime(time);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let parts = [
            (0..4, time.year().unsigned_abs()),
            (5..7, time.month().unsigned_abs().into()),
            (8..10, time.day().unsigned_abs().into()),
            (11..13, time.hour().unsigned_abs().into()),
            (14..16, time.minute().unsigned_abs().into()),
            (17..19, time.second().unsigned_abs().into()),
            (20..23, time.millisecond().unsigned_abs()),
        ];
        for (places, number) in parts {
            digits(text.get_mut(places).unwrap_or_default(), number);
        }
        f.pad(std::str::from_utf8(&text).expect("digits are ASCII"))
    }
}

/// Fills `places` with the last digits of `number`. A feed writes a time for every event, and a general printer took a
/// tenth of a page.
fn digits(places: &mut [u8], mut number: u16) {
    for place in places.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl Serialize for ValidTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The 16-byte key of an event: its valid time and a tail that is random or derived from what the event says.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventKey(pub [u8; 16]);

impl EventKey {
    /// The key made of a valid time and a tail.
    pub fn new(time: ValidTime, tail: [u8; 8]) -> Self {
        let bits = (u128::from(time.0) << 64) | u128::from(u64::from_be_bytes(tail));
        Self(bits.to_be_bytes())
    }

    /// The time at which the event happened.
    pub fn time(self) -> ValidTime {
        ValidTime((u128::from_be_bytes(self.0) >> 64) as u64)
    }

    /// The eight bytes behind the time.
    pub fn tail(self) -> [u8; 8] {
        let [_, _, _, _, _, _, _, _, tail @ ..] = self.0;
        tail
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventKey({self})")
    }
}

/// The text is not 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event key is 32 lower-case hex digits")]
pub struct KeyError;

impl FromStr for EventKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| KeyError)?;
        bytes.try_into().map(Self).map_err(|_| KeyError)
    }
}

impl Serialize for EventKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyText)
    }
}

/// Parses within the deserializer's own call, so that an error is known to be at this value.
struct KeyText;

impl Visitor<'_> for KeyText {
    type Value = EventKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event key")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EventKey, E> {
        text.parse().map_err(E::custom)
    }
}

/// One event as it crosses the boundary: borrowed from the host for the length of one call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct EventRef<'a> {
    /// When it happened, and which it is.
    pub key: EventKey,
    /// The number of its type.
    pub type_number: u32,
    /// The version of its type that `data` is written in.
    pub version: u32,
    /// The bytes that belong to the user.
    pub data: RSlice<'a, u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: every millisecond of a second survives the way to NTP64 and back, at both ends of the range.
    #[test]
    fn all_milliseconds_round_trip() {
        for base in [0, 1_777_629_600_000, TIME_MS_MAX - 999] {
            for ms in base..base + 1000 {
                assert_eq!(ValidTime::from_millis(ms).map(ValidTime::millis), Some(ms));
            }
        }
    }

    // Goal: instants outside 1970..2106 have no encoding, and the last inside have.
    #[test]
    fn the_range_ends() {
        assert_eq!(ValidTime::from_millis(-1), None);
        assert_eq!(ValidTime::from_millis(TIME_MS_MAX + 1), None);
        assert_eq!(ValidTime::from_millis(i64::MAX), None);
        assert_eq!(ValidTime::from_millis(0), Some(ValidTime(0)));
        assert_eq!(
            ValidTime::from_parts(i64::from(u32::MAX), 999_999_999).map(ValidTime::seconds),
            Some(0xffff_ffff)
        );
        assert_eq!(ValidTime(u64::MAX).to_string(), "2106-02-07T06:28:16.000Z");
    }

    // Goal: the text is RFC 3339 in UTC with milliseconds, the day its first part, and JSON has the same text.
    #[test]
    fn text_of_times() {
        let time = ValidTime::from_millis(1_777_629_600_120).expect("within the range");
        assert_eq!(time.to_string(), "2026-05-01T10:00:00.120Z");
        assert_eq!(time.day(), "2026-05-01");
        assert_eq!(serde_json::to_string(&time).expect("JSON"), "\"2026-05-01T10:00:00.120Z\"");
    }

    // Goal: only the documented text form is read as a key.
    #[test]
    fn keys_are_strict() {
        for text in [
            "",
            "00",
            "000000000000000000000000000000A0",
            "0000000000000000000000000000000g",
            &"0".repeat(34),
        ] {
            assert_eq!(text.parse::<EventKey>(), Err(KeyError), "{text}");
        }
    }

    proptest! {
        // Goal: the text is the calendar's, as its own printer writes it.
        #[test]
        fn texts_are_those_of_the_calendar(ms in 0..=TIME_MS_MAX) {
            let expected = format!("{:.3}", jiff::Timestamp::from_millisecond(ms).expect("within the range"));
            prop_assert_eq!(ValidTime::from_millis(ms).map(|time| time.to_string()), Some(expected));
        }

        // Goal: floor and round fit together for every time, in milliseconds and in nanoseconds.
        #[test]
        fn times_round_trip(ms in 0..=TIME_MS_MAX, seconds in 0..=i64::from(u32::MAX), nanos in 0..1_000_000_000_u32) {
            prop_assert_eq!(ValidTime::from_millis(ms).map(ValidTime::millis), Some(ms));
            let time = ValidTime::from_parts(seconds, nanos).expect("within the range");
            prop_assert_eq!((time.seconds(), time.nanos()), (seconds, nanos));
        }

        // Goal: keys sort by time first, then by tail, and text and JSON give them back.
        #[test]
        fn keys_sort_and_round_trip(one in any::<(u64, [u8; 8])>(), other in any::<(u64, [u8; 8])>()) {
            let key = |(time, tail)| EventKey::new(ValidTime(time), tail);
            prop_assert_eq!(key(one).cmp(&key(other)), one.cmp(&other));
            prop_assert_eq!((key(one).time().0, key(one).tail()), one);
            prop_assert_eq!(key(one).to_string().parse(), Ok(key(one)));
            let json = serde_json::to_string(&key(one)).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<EventKey>(&json).ok(), Some(key(one)));
        }
    }
}
