//! Where rows end: lines of NDJSON, records of CSV. Bounds every row, and judges the quotes of CSV strictly (RFC 4180),
//! where parsers of CSV prefer any reading over none: an open quote would swallow the rest of a file unnoticed.
//!
//! A bad row costs one line of the file, whatever is wrong with it: what follows is read as if it were not there. Line
//! ends may be LF, CR LF or CR, mixed as they like.

use super::Fault;
use super::input::Input;
use super::refusal::{Refusal, RowCode};
use crate::core::frames::{FramesError, read_frame};
use crate::core::limits::IMPORT_ROW_BYTES_MAX;
use memchr::{memchr, memchr2};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One row a line.
    Lines,
    /// CSV with this delimiter; a quoted field may hold line ends.
    Csv(u8),
    /// Binary frames.
    Frames,
}

/// A row in front of the input.
#[derive(Debug)]
pub(super) struct Row {
    /// Counted from 1, empty ones and the header too.
    pub(super) number: u64,
    /// The bytes of the row.
    pub(super) length: usize,
    /// The same with its line end: what to consume.
    pub(super) total: usize,
    /// Why it cannot be read; it is consumed already.
    pub(super) bad: Option<Refusal>,
}

/// Finds one row after the other.
#[derive(Debug)]
pub(super) struct Rows {
    form: Form,
    number: u64,
}

/// What is at the front of the data.
#[derive(Debug, PartialEq, Eq)]
enum Scan {
    /// A row of this length, with its line end of that.
    Row { length: usize, total: usize },
    /// Its end is not there yet; in an open quote of this field, if any.
    More { quoted: Option<usize> },
    /// A quote of this field is wrong.
    Quote { field: usize, why: &'static str },
    /// Nothing.
    End,
}

impl Rows {
    /// From the row behind `number` on.
    pub(super) fn behind(number: u64, form: Form) -> Self {
        Self { form, number }
    }

    /// The next row; none at the end.
    pub(super) fn next(&mut self, input: &mut Input) -> Result<Option<Row>, Fault> {
        loop {
            if self.form == Form::Frames {
                return self.next_frame(input);
            }
            let is_full = input.data().len() >= IMPORT_ROW_BYTES_MAX;
            let scan = match self.form {
                Form::Lines | Form::Frames => scan_line(input.data(), input.is_at_end()),
                Form::Csv(delimiter) => scan_record(input.data(), input.is_at_end(), delimiter),
            };
            let (code, field, why) = match scan {
                Scan::End => return Ok(None),
                Scan::Row { length, total } => {
                    self.number += 1;
                    return Ok(Some(Row { number: self.number, length, total, bad: None }));
                }
                Scan::More { .. } if !is_full => {
                    input.fill()?;
                    continue;
                }
                Scan::More { quoted: Some(field) } if memchr2(b'\n', b'\r', input.data()).is_some() => {
                    (RowCode::CsvQuote, Some(field), NEVER_CLOSES)
                }
                Scan::More { .. } => (RowCode::RowTooLarge, None, ""),
                Scan::Quote { field, why } => (RowCode::CsvQuote, Some(field), why),
            };
            self.number += 1;
            skip_line(input)?;
            let too_large = || format!("the row has more than {IMPORT_ROW_BYTES_MAX} bytes");
            let detail = if code == RowCode::RowTooLarge { too_large() } else { why.to_owned() };
            let column = field.map_or(String::new(), |field| format!("#{}", field + 1));
            let bad = Some(Refusal { row: self.number, column, code: code.word().into(), detail });
            return Ok(Some(Row { number: self.number, length: 0, total: 0, bad }));
        }
    }
}

impl Rows {
    /// The next frame. Where one is damaged nothing tells where the next one begins: that is an error.
    fn next_frame(&mut self, input: &mut Input) -> Result<Option<Row>, Fault> {
        loop {
            let at = usize::try_from(input.offset()).unwrap_or(usize::MAX);
            let fault = |fault: &FramesError| Fault::Stopped(format!("{}: {fault}", input.name()));
            let read = read_frame(input.data(), at, IMPORT_ROW_BYTES_MAX).map_err(|error| fault(&error))?;
            if let Some((_, total)) = read {
                self.number += 1;
                return Ok(Some(Row { number: self.number, length: total, total, bad: None }));
            }
            match (input.is_at_end(), input.data().is_empty()) {
                (true, true) => return Ok(None),
                (true, false) => return Err(fault(&FramesError::Truncated { at })),
                (false, _) => input.fill()?,
            }
        }
    }
}

const NEVER_CLOSES: &str = "a quote opens here and does not close: write a quote inside a field twice";

/// Consumes up to the end of the line.
fn skip_line(input: &mut Input) -> Result<(), Fault> {
    loop {
        if let Some((_, total)) = line_end(input.data(), input.is_at_end()) {
            input.consume(total);
            return Ok(());
        }
        // A carriage return at the very end is kept: a line feed may follow.
        let held = usize::from(input.data().last() == Some(&b'\r'));
        input.consume(input.data().len() - held);
        input.fill()?;
    }
}

/// The length of the first line, and the same with its end; none if its end is not there yet.
fn line_end(data: &[u8], is_at_end: bool) -> Option<(usize, usize)> {
    let Some(at) = memchr2(b'\n', b'\r', data) else { return is_at_end.then_some((data.len(), data.len())) };
    match (data.get(at), data.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Some((at, at + 2)),
        (Some(b'\r'), None) if !is_at_end => None,
        _ => Some((at, at + 1)),
    }
}

/// A line of JSON ends at a line feed: a carriage return before it is white space.
fn scan_line(data: &[u8], is_at_end: bool) -> Scan {
    match memchr(b'\n', data) {
        Some(at) => Scan::Row { length: at, total: at + 1 },
        None if !is_at_end => Scan::More { quoted: None },
        None if data.is_empty() => Scan::End,
        None => Scan::Row { length: data.len(), total: data.len() },
    }
}

fn scan_record(data: &[u8], is_at_end: bool, delimiter: u8) -> Scan {
    if data.is_empty() {
        return if is_at_end { Scan::End } else { Scan::More { quoted: None } };
    }
    let line = line_end(data, is_at_end);
    let first_line = line.map_or(data, |(length, _)| data.get(..length).unwrap_or_default());
    match (memchr(b'"', first_line), line) {
        (None, Some((length, total))) => Scan::Row { length, total },
        (None, None) => Scan::More { quoted: None },
        (Some(_), _) => scan_quoted(data, is_at_end, delimiter),
    }
}

/// Where in a record the scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the start of a field.
    Start,
    /// In a field that does not begin with a quote.
    Bare,
    /// Between quotes.
    Quoted,
    /// Behind a quote that closes, or is the first half of one inside.
    Closed,
}

fn scan_quoted(data: &[u8], is_at_end: bool, delimiter: u8) -> Scan {
    let (mut at, mut field) = (At::Start, 0);
    for (position, byte) in data.iter().enumerate() {
        at = match (at, *byte) {
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, _) | (At::Closed, b'"') => At::Quoted,
            (_, byte) if byte == delimiter => {
                field += 1;
                At::Start
            }
            (_, b'\n' | b'\r') => {
                let end = line_end(data.get(position..).unwrap_or_default(), is_at_end);
                return match end {
                    Some((_, total)) => Scan::Row { length: position, total: position + total },
                    None => Scan::More { quoted: None },
                };
            }
            (At::Start, b'"') => At::Quoted,
            (At::Bare, b'"') => {
                let why = "a quote stands inside a field without quotes: put the field between quotes, \
                           and write the quote twice";
                return Scan::Quote { field, why };
            }
            (At::Closed, _) => {
                let why = "text follows a closing quote: write a quote inside a field twice";
                return Scan::Quote { field, why };
            }
            (At::Start | At::Bare, _) => At::Bare,
        };
    }
    match (is_at_end, at) {
        (false, _) => Scan::More { quoted: (at == At::Quoted).then_some(field) },
        (true, At::Quoted) => Scan::Quote { field, why: NEVER_CLOSES },
        (true, At::Start | At::Bare | At::Closed) => Scan::Row { length: data.len(), total: data.len() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Vec<(usize, usize)> {
        let (mut rest, mut found) = (text, Vec::new());
        while let Scan::Row { length, total } = scan_record(rest, true, b',') {
            found.push((length, total));
            rest = &rest[total..];
        }
        found
    }

    /// Every kind of line end, mixed, with and without quotes, and none behind the last row.
    #[test]
    fn line_ends_are_mixed() {
        assert_eq!(
            rows(b"a,b\r\nc\n\rd\r\"e\n\",f\r\n\"\"\"g\"\"\"\rh"),
            [(3, 5), (1, 2), (0, 1), (1, 2), (6, 8), (7, 8), (1, 1)]
        );
    }

    /// What is not there yet is asked for: nobody takes half a row for one.
    #[test]
    fn half_rows_wait() {
        let more = |quoted| Scan::More { quoted };
        assert_eq!(scan_record(b"", false, b','), more(None));
        assert_eq!(scan_record(b"a,b", false, b','), more(None));
        assert_eq!(scan_record(b"a,b\r", false, b','), more(None));
        assert_eq!(scan_record(b"\"a\"\r", false, b','), more(None));
        assert_eq!(scan_record(b"a,\"b\n", false, b','), more(Some(1)));
        assert_eq!(scan_line(b"{}\r", false), more(None));
        assert_eq!(scan_line(b"{}\r\n", false), Scan::Row { length: 3, total: 4 });
    }

    /// A quote is wrong inside a bare field, before text, and where it never closes.
    #[test]
    fn quotes_are_judged() {
        let field = |text: &[u8]| match scan_record(text, true, b';') {
            Scan::Quote { field, .. } => Some(field),
            Scan::Row { .. } | Scan::More { .. } | Scan::End => None,
        };
        assert_eq!(field(b"a;b\"c\n"), Some(1));
        assert_eq!(field(b"\"a\"b;c\n"), Some(0));
        assert_eq!(field(b"a;b;\"c\nd;e\n"), Some(2));
        assert_eq!(field(b"\"a\" ;c\n"), Some(0));
        assert_eq!(field(b"\"a\"\"\";\"c\"\n"), None);
        assert_eq!(field(b"\"a;b\"\n"), None);
    }
}
