//! One cell of a table, read as the mapping says, and written as JSON.

use super::refusal::RowCode;
use super::time::Clock;
use encoding_rs::{WINDOWS_1252, mem::decode_latin1};
use serde::Deserialize;
use std::borrow::Cow;

/// How the bytes of a file are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Encoding {
    /// UTF-8, with a byte order mark or without.
    #[default]
    #[value(name = "utf-8")]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1.
    #[value(name = "latin-1")]
    #[serde(rename = "latin-1")]
    Latin1,
    /// What Windows writes in western Europe: Latin-1 with the euro sign and typographic quotes.
    #[value(name = "windows-1252")]
    #[serde(rename = "windows-1252")]
    Windows1252,
}

impl Encoding {
    /// The text of a cell; none if it is not of this encoding.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Latin1 => Some(decode_latin1(bytes)),
            Self::Windows1252 => Some(WINDOWS_1252.decode_without_bom_handling(bytes).0),
        }
    }
}

/// What an empty cell means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Empty {
    /// The member is left out.
    #[default]
    Skip,
    /// The member is null.
    Null,
    /// The member is an empty text.
    Text,
    /// The row is refused.
    Refuse,
}

/// What a cell becomes.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A text, as it is.
    Text,
    /// A number of digits, of any length.
    Integer,
    /// A text of digits with a point: no binary fraction comes near it.
    Decimal {
        /// What stands for the point in the file.
        mark: char,
    },
    /// True or false.
    Boolean,
    /// A text of RFC 3339 in UTC.
    Time(Clock),
}

/// Appends a cell as JSON; whether there is anything of it.
pub(super) fn write(
    kind: &Kind,
    empty: Empty,
    text: &str,
    out: &mut Vec<u8>,
) -> Result<bool, (RowCode, String)> {
    let trimmed = text.trim_ascii();
    if trimmed.is_empty() {
        match empty {
            Empty::Skip => return Ok(false),
            Empty::Null => out.extend_from_slice(b"null"),
            Empty::Text => out.extend_from_slice(b"\"\""),
            Empty::Refuse => return Err((RowCode::EmptyCell, "the cell is empty".to_owned())),
        }
        return Ok(true);
    }
    match kind {
        Kind::Text => quote(text, out),
        Kind::Integer => integer(trimmed, out)
            .ok_or_else(|| (RowCode::BadInteger, format!("{trimmed:?} is no whole number")))?,
        Kind::Decimal { mark } => decimal(trimmed, *mark, out).ok_or_else(|| {
            let detail =
                format!("{trimmed:?} is no decimal number, written with {mark:?} before its fraction");
            (RowCode::BadDecimal, detail)
        })?,
        Kind::Boolean => out.extend_from_slice(boolean(trimmed).ok_or_else(|| {
            (RowCode::BadBoolean, format!("{trimmed:?} is neither of true, yes, y, 1 nor of false, no, n, 0"))
        })?),
        Kind::Time(clock) => quote(&clock.read(trimmed)?.to_string(), out),
    }
    Ok(true)
}

/// Appends a text as a JSON string.
pub(super) fn quote(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a Vec takes a text");
}

/// Sign and digits without the zeros in front that JSON does not have.
fn integer(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (sign, digits) = signed(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let (sign, digits) = if digits.is_empty() { ("", "0") } else { (sign, digits) };
    out.extend_from_slice(sign.as_bytes());
    out.extend_from_slice(digits.as_bytes());
    Some(())
}

fn decimal(text: &str, mark: char, out: &mut Vec<u8>) -> Option<()> {
    let (sign, digits) = signed(text);
    let (whole, fraction) = match digits.split_once(mark) {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, Some(fraction)),
        Some(_) => return None,
        None => (digits, None),
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !fraction.is_none_or(is_number) {
        return None;
    }
    out.push(b'"');
    out.extend_from_slice(sign.as_bytes());
    out.extend_from_slice(whole.as_bytes());
    if let Some(fraction) = fraction {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
    out.push(b'"');
    Some(())
}

fn signed(text: &str) -> (&'static str, &str) {
    match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    }
}

fn boolean(text: &str) -> Option<&'static [u8]> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(&["true", "yes", "y", "1"]) {
        return Some(b"true");
    }
    is_one_of(&["false", "no", "n", "0"]).then_some(b"false")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(kind: &Kind, empty: Empty, text: &str) -> Result<String, &'static str> {
        let mut out = Vec::new();
        match write(kind, empty, text, &mut out) {
            Ok(true) => Ok(String::from_utf8(out).expect("JSON is UTF-8")),
            Ok(false) => Ok("nothing".to_owned()),
            Err((code, _)) => Err(code.word()),
        }
    }

    /// Numbers keep every digit, decimals stay texts, and what is none is refused.
    #[test]
    fn kinds() {
        let table = [
            (Kind::Text, " a \"b\" ", Ok(r#"" a \"b\" ""#)),
            (Kind::Integer, " 0042 ", Ok("42")),
            (Kind::Integer, "-0", Ok("0")),
            (Kind::Integer, "+12345678901234567890123", Ok("12345678901234567890123")),
            (Kind::Integer, "4.0", Err("bad_integer")),
            (Kind::Integer, "-", Err("bad_integer")),
            (Kind::Decimal { mark: '.' }, "-1.50", Ok("\"-1.50\"")),
            (Kind::Decimal { mark: ',' }, "1,5", Ok("\"1.5\"")),
            (Kind::Decimal { mark: ',' }, "1.000,5", Err("bad_decimal")),
            (Kind::Decimal { mark: '.' }, "1.", Err("bad_decimal")),
            (Kind::Boolean, "YES", Ok("true")),
            (Kind::Boolean, "0", Ok("false")),
            (Kind::Boolean, "maybe", Err("bad_boolean")),
        ];
        for (kind, text, expected) in table {
            let got = written(&kind, Empty::Skip, text);
            assert_eq!(got.as_deref().map_err(|code| *code), expected, "{text}");
        }
    }

    /// An empty cell is what the mapping says, whatever its kind.
    #[test]
    fn empty_cells() {
        let cell = |empty| written(&Kind::Integer, empty, " ");
        assert_eq!(cell(Empty::Skip), Ok("nothing".to_owned()));
        assert_eq!(cell(Empty::Null), Ok("null".to_owned()));
        assert_eq!(cell(Empty::Text), Ok("\"\"".to_owned()));
        assert_eq!(cell(Empty::Refuse), Err("empty_cell"));
    }

    /// The same byte is another text in another encoding.
    #[test]
    fn encodings() {
        let decode = |encoding: Encoding| encoding.decode(b"M\xfcller \x80").map(Cow::into_owned);
        assert_eq!(decode(Encoding::Utf8), None);
        assert_eq!(decode(Encoding::Latin1).as_deref(), Some("Müller \u{80}"));
        assert_eq!(decode(Encoding::Windows1252).as_deref(), Some("Müller €"));
    }
}
