//! Decimal numbers as texts: one text per number, without losing a digit.

use std::borrow::Cow;

/// More digits than this, written out, and a number is left as written: nobody measures that, and `1e999999999` must
/// not fill the memory.
const DIGITS_MAX: usize = 400;

/// The canonical text of the decimal number `text`: no exponent, no plus, no zeros that say nothing, zero without a
/// sign. None if `text` is no decimal number or too long written out.
pub fn canonical(text: &str) -> Option<Cow<'_, str>> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        b'0'..=b'9' | b'.' => (false, text),
        _ => return None,
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (unsigned.get(..at)?, unsigned.get(at + 1..)?.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && part.is_empty() || !numeric(whole) || !numeric(part) {
        return None;
    }
    let shift = usize::try_from(exponent.unsigned_abs()).ok()?;
    if whole.len() + part.len() + shift > DIGITS_MAX {
        return None;
    }
    Some(compose(text, negative, &[whole, part].concat(), whole.len().cast_signed() + exponent as isize))
}

/// The number whose digits are `digits` with the point before the digit `point`, which may lie outside.
fn compose<'a>(text: &'a str, negative: bool, digits: &str, point: isize) -> Cow<'a, str> {
    let leading = "0".repeat(point.min(0).unsigned_abs());
    let trailing = "0".repeat((point - digits.len().cast_signed()).max(0).unsigned_abs());
    let all = [&leading, digits, &trailing].concat();
    let (whole, part) = all.split_at_checked(point.max(0).unsigned_abs()).expect("the zeros reach the point");
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    let mut canonical = String::with_capacity(text.len());
    if negative && !(whole.is_empty() && part.is_empty()) {
        canonical.push('-');
    }
    canonical.push_str(if whole.is_empty() { "0" } else { whole });
    if !part.is_empty() {
        canonical.push('.');
        canonical.push_str(part);
    }
    if canonical == text { Cow::Borrowed(text) } else { Cow::Owned(canonical) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: one text per number, every digit kept, nothing else touched.
    #[test]
    fn one_text_per_number() {
        for (text, expected) in [
            ("1.0", "1"),
            ("26.0", "26"),
            ("0.3434000", "0.3434"),
            ("+5", "5"),
            ("-0.0", "0"),
            ("007", "7"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e3", "1000"),
            ("12.5E1", "125"),
            ("12.5e-3", "0.0125"),
            ("0.00001", "0.00001"),
            ("123456789012345678901234567890.10", "123456789012345678901234567890.1"),
            ("-1.50", "-1.5"),
            ("0", "0"),
            ("0e5", "0"),
            ("100", "100"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "-",
            ".",
            "1.2.3",
            "1_000",
            "abc",
            "0x10",
            "1e",
            "1e99999999999",
            "1e500",
            "inf",
            "nan",
            "１",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
