//! What a page may be written as. All formats hold the same events in the same order, and say the same at their end;
//! only a table has no place for that, so whoever sends one says it beside.

use super::json::{FeedEvent, NameTexts, is_json, write_event};
use super::live;
use super::walk::Mark;
use crate::core::csv::{end_row, write_cell};
use crate::core::frames::{self, EndFrame, EventFrame, Frame, FrameTime};
use data_encoding::BASE64;

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object with an array of events.
    #[default]
    Json,
    /// One event a line, and a last line that says how it goes on.
    Ndjson,
    /// Binary frames, the last of which says how it goes on.
    Frames,
    /// A table with a row of names.
    Csv,
}

/// The row of names; below each what the member of this name is in JSON.
const CSV_NAMES: &[u8] = b"key,time,type,type_name,version,dot,clash,data,data_base64\r\n";

/// How the events of a walk are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'w> {
    /// As a page.
    Page(Format),
    /// As frames of a live feed, whose ids begin with this text.
    Live(&'w str),
}

impl Form<'_> {
    /// What stands before the first event.
    pub(super) fn opening(self) -> &'static [u8] {
        match self {
            Self::Page(Format::Json) => b"{\"events\":[",
            Self::Page(Format::Frames) => &frames::HEAD,
            Self::Page(Format::Csv) => CSV_NAMES,
            Self::Page(Format::Ndjson) | Self::Live(_) => b"",
        }
    }

    /// What stands between two events.
    pub(super) fn separator(self) -> &'static [u8] {
        match self {
            Self::Page(Format::Json) => b",",
            Self::Page(Format::Ndjson | Format::Frames | Format::Csv) | Self::Live(_) => b"",
        }
    }

    /// Appends an event, behind which a walk goes on at `mark`.
    pub(super) fn write(
        self,
        out: &mut Vec<u8>,
        event: &FeedEvent<'_>,
        mark: Mark,
        names: &mut NameTexts<'_>,
    ) {
        let number = event.value.type_number;
        match self {
            Self::Page(Format::Json) => write_event(out, event, names.text(number)),
            Self::Page(Format::Ndjson) => {
                write_event(out, event, names.text(number));
                out.push(b'\n');
            }
            Self::Page(Format::Frames) => write_frame(out, event),
            Self::Page(Format::Csv) => write_csv(out, event, names),
            Self::Live(begin) => live::write_walked(out, begin, mark, event, names.text(number)),
        }
    }
}

/// Appends what stands behind the last event of a page; `tail` are its members as JSON without braces.
pub(super) fn close(out: &mut Vec<u8>, format: Format, tail: &str, end: &EndFrame<'_>) {
    let (before, behind) = match format {
        Format::Json => ("],", "}"),
        Format::Ndjson => ("{", "}\n"),
        Format::Frames => return frames::write(out, &Frame::End(*end)),
        Format::Csv => return,
    };
    for part in [before, tail, behind] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn write_frame(out: &mut Vec<u8>, event: &FeedEvent<'_>) {
    let FeedEvent { key, value, dot, clash } = *event;
    let frame = EventFrame {
        when: FrameTime::Key(key),
        id: None,
        type_number: value.type_number,
        version: Some(value.version),
        data: value.data,
        dot: Some(dot),
        clash,
    };
    frames::write(out, &Frame::Event(frame));
}

fn write_csv(out: &mut Vec<u8>, event: &FeedEvent<'_>, names: &NameTexts<'_>) {
    let FeedEvent { key, value, dot, clash } = event;
    let (data, base64) = if is_json(value.data) {
        (value.data, String::new())
    } else {
        (b"".as_slice(), BASE64.encode(value.data))
    };
    let cells = [
        key.to_string(),
        key.time().to_string(),
        value.type_number.to_string(),
        names.name(value.type_number).unwrap_or_default(),
        value.version.to_string(),
        dot.to_string(),
        if *clash { "true".to_owned() } else { String::new() },
    ];
    for (at, cell) in cells.iter().enumerate() {
        write_cell(out, cell.as_bytes(), at == 0);
    }
    write_cell(out, data, false);
    write_cell(out, base64.as_bytes(), false);
    end_row(out);
}
