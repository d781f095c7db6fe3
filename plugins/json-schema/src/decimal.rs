//! Exact decimals: whole units of 10^-9, so that sums have no rounding and form a group.
//!
//! A number has at most 18 digits before its point and 9 behind it; then 10^11 of them add up before a sum wraps
//! around, which it does like any sum of fixed width.

/// Digits behind the point.
const PART_DIGITS: u32 = 9;
/// Digits in all.
const DIGITS_MAX: usize = 27;
/// One, in units.
const ONE: i128 = 10_i128.pow(PART_DIGITS);

/// What fits, for people.
pub const BOUNDS: &str = "at most 18 digits before the point and 9 behind it";

/// The units of the JSON number `text`; none if it does not fit, or is no number.
pub fn parse(text: &str) -> Option<i128> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, part].concat();
    if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let exponent: i64 = exponent.parse().ok()?;
    let part_digits = i64::try_from(part.len()).ok()?;
    let shift = exponent.checked_add(zeros)?.checked_sub(part_digits)?.checked_add(i64::from(PART_DIGITS))?;
    let shift = u32::try_from(shift).ok()?;
    if significant.len().checked_add(usize::try_from(shift).ok()?)? > DIGITS_MAX {
        return None;
    }
    let units: i128 = significant.parse().ok()?;
    Some(sign * units * 10_i128.pow(shift))
}

/// The shortest text of so many units; a JSON number.
pub fn text(units: i128) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let (units, one) = (units.unsigned_abs(), ONE.unsigned_abs());
    let (whole, part) = (units / one, units % one);
    if part == 0 {
        return format!("{sign}{whole}");
    }
    let part = format!("{part:09}");
    format!("{sign}{whole}.{}", part.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: every way to write a number that fits is read exactly, and what does not fit is not read at all.
    #[test]
    fn exact_or_not_at_all() {
        for (written, shortest) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("0e99999999999", "0"),
            ("1.10", "1.1"),
            ("-12.5", "-12.5"),
            ("1e3", "1000"),
            ("1.5E-3", "0.0015"),
            ("1200e-2", "12"),
            ("0.000000001", "0.000000001"),
            ("999999999999999999.999999999", "999999999999999999.999999999"),
            ("100000000000000000000e-3", "100000000000000000"),
        ] {
            assert_eq!(parse(written).map(text).as_deref(), Some(shortest), "{written}");
        }
        for written in [
            "1000000000000000000",
            "0.0000000001",
            "1e18",
            "1e99999999999999999999",
            "x",
            "",
            "-",
            ".5",
            "\"1\"",
        ] {
            assert_eq!(parse(written), None, "{written}");
        }
    }

    proptest! {
        // Goal: text and units are one to one within the bounds.
        #[test]
        fn round_trips(units in -10_i128.pow(27) + 1..10_i128.pow(27)) {
            prop_assert_eq!(parse(&text(units)), Some(units));
        }
    }
}
