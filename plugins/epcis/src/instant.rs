//! Instants: RFC 3339 texts in any offset and with any number of decimals, as milliseconds since 1970 and back.
//!
//! The CBV rule rounds half up at the fourth decimal, which no date library does on texts of unlimited precision, and
//! the reading must never change, for keys depend on it: so it is written out here.

/// Milliseconds of the instant that `text` names (`2026-01-31T23:59:59.9995+13:00`), rounded half up at the fourth
/// decimal. None if it is not a date and time of years 0000 to 9999 with `Z` or an offset; leap seconds are not
/// taken.
pub fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let [year, month, day] = fields(date, [(0, 4), (5, 2), (8, 2)], [(4, b'-'), (7, b'-')])?;
    let (time, rest) = rest.split_at_checked(9)?;
    if !time.starts_with(['T', 't']) {
        return None;
    }
    let [hour, minute, second] = fields(time, [(1, 2), (4, 2), (7, 2)], [(3, b':'), (6, b':')])?;
    let (millis, zone) = fraction(rest)?;
    let fits = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    let utc = seconds * 1000 + millis - offset(zone)? * 60_000;
    (TEXT_MIN..=TEXT_MAX).contains(&utc).then_some(utc)
}

/// 0000-01-01T00:00:00.000Z.
const TEXT_MIN: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z.
const TEXT_MAX: i64 = 253_402_300_799_999;

/// The canonical text of an instant that [`parse`] returned: UTC, milliseconds, 24 bytes.
pub fn format(millis: i64) -> String {
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The UTC day of an instant, `2026-01-31`.
pub fn day(millis: i64) -> String {
    let (year, month, day) = civil(millis.div_euclid(86_400_000));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Whether `text` is an offset as EPCIS writes it: `+hh:mm` or `-hh:mm` up to 14:00.
pub fn is_offset(text: &str) -> bool {
    text.len() == 6 && offset(text).is_some_and(|minutes| minutes.abs() <= 14 * 60)
}

/// Three numbers of fixed width with two fixed separators.
fn fields(text: &str, at: [(usize, usize); 3], separators: [(usize, u8); 2]) -> Option<[i64; 3]> {
    let bytes = text.as_bytes();
    if separators.iter().any(|(place, byte)| bytes.get(*place) != Some(byte)) {
        return None;
    }
    let mut numbers = [0; 3];
    for (number, (start, length)) in numbers.iter_mut().zip(at) {
        *number = digits(bytes.get(start..start + length)?)?;
    }
    Some(numbers)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes
        .iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// Milliseconds (0 to 1000) of an optional fraction of a second, and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = text.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (decimals, zone) = text.split_at_checked(end)?;
    let mut four = decimals.bytes().chain([b'0'; 4]).take(4).map(|byte| i64::from(byte - b'0'));
    let millis = four.by_ref().take(3).fold(0, |number, digit| number * 10 + digit);
    let up = i64::from(four.next().is_some_and(|digit| digit >= 5));
    (end > 0).then_some((millis + up, zone))
}

/// Minutes east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let bytes = zone.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = (digits(bytes.get(1..3)?)?, digits(bytes.get(4..6)?)?);
    let fits = bytes.len() == 6 && bytes.get(3) == Some(&b':') && hours <= 23 && minutes <= 59;
    fits.then_some(sign * (hours * 60 + minutes))
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01; years are counted from March so that the leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day: the inverse of `days_since_1970`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, canonical: &str) {
        assert_eq!(parse(text).map(format).as_deref(), Some(canonical), "{text}");
    }

    // Goal: offsets, any number of decimals, rounding half up with carry.
    #[test]
    fn reads_any_notation() {
        check("2026-01-03T05:03:43.916+13:00", "2026-01-02T16:03:43.916Z");
        check("2023-01-18T11:04:03.1415Z", "2023-01-18T11:04:03.142Z");
        check("2023-01-18T11:04:03.14149999999999999999999Z", "2023-01-18T11:04:03.141Z");
        check("1999-12-31T23:59:59.9995-00:00", "2000-01-01T00:00:00.000Z");
        check("2000-02-29T00:00:00z", "2000-02-29T00:00:00.000Z");
        check("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z");
        check("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z");
    }

    // Goal: nothing else is taken for an instant.
    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "22-07-2026",
            "2026-01-03",
            "2026-01-03T05:03:43",
            "2026-01-03T05:03:43.",
            "2026-01-03T05:03:43.Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01 00:00:00Z",
            "9999-12-31T23:59:59.9999Z",
            "0000-01-01T00:00:00+01:00",
            "2026-01-01T00:00:00Zx",
            "２026-01-01T00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    // Goal: the calendar round-trips over 1200 years, day by day, against counting.
    #[test]
    fn calendar() {
        let (mut days, mut year, mut month, mut day) = (days_since_1970(1600, 1, 1), 1600, 1, 1);
        while year < 2800 {
            assert_eq!((civil(days), days_since_1970(year, month, day)), ((year, month, day), days));
            (days, day) = (days + 1, day + 1);
            if day > days_of(year, month) {
                (month, day) = (month % 12 + 1, 1);
                year += i64::from(month == 1);
            }
        }
        assert_eq!(civil(0), (1970, 1, 1));
    }

    #[test]
    fn offsets() {
        for (text, fits) in
            [("+13:00", true), ("-00:00", true), ("+14:00", true), ("+14:01", false), ("Z", false)]
        {
            assert_eq!(is_offset(text), fits, "{text}");
        }
    }
}
