//! A row of CSV as an event: the cells that the mapping names, read and written as one line of NDJSON.
//!
//! The key is made here as the server would make it of `time` and `id`, so the same row posted by anybody is the same
//! event. A file without id columns gets ids of the rows themselves, `row N HASH` (N as everywhere counted from 1 with
//! the header, HASH of the row's bytes): importing it again writes nothing, and so does a file that has grown at its
//! end; two equal rows stay two events.

use super::cell::{self, Encoding};
use super::mapping::{IdPlan, Plan, Shape, TypePlan};
use super::refusal::{Refusal, RowCode};
use crate::admit::tail_of_id;
use crate::core::event::{EventKey, ValidTime};
use crate::core::limits::IMPORT_ROW_BYTES_MAX;
use csv_core::ReadRecordResult;
use memchr::memchr;
use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

/// The rows of a table, one by one.
pub(super) struct Table {
    reader: csv_core::Reader,
    encoding: Encoding,
    plan: Arc<Plan>,
    fields: Fields,
    /// The key's text form and the like.
    scratch: String,
}

/// The fields of one row, unquoted, side by side.
#[derive(Default)]
struct Fields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Fields {
    /// Takes a record apart whose quotes were judged.
    fn read(&mut self, reader: &mut csv_core::Reader, record: &[u8]) {
        self.bytes.resize(record.len().max(1), 0);
        self.ends.resize(self.ends.len().max(32), 0);
        self.count = 0;
        let (mut rest, mut written) = (record, 0);
        loop {
            // The line end that the record was found by is given at its end.
            let input: &[u8] = if rest.is_empty() { b"\n" } else { rest };
            let out = self.bytes.get_mut(written..).unwrap_or_default();
            let ends = self.ends.get_mut(self.count..).unwrap_or_default();
            let (result, used, wrote, ended) = reader.read_record(input, out, ends);
            rest = rest.get(used..).unwrap_or_default();
            written += wrote;
            self.count += ended;
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => return,
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty => {}
            }
        }
    }

    fn get(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.ends.get(at).copied();
        let start = at.checked_sub(1).map_or(Some(0), end);
        start.zip(end(at)).and_then(|(start, end)| self.bytes.get(start..end)).unwrap_or_default()
    }
}

/// The names of the columns, as the header says.
pub(super) fn header(record: &[u8], delimiter: u8, encoding: Encoding) -> Result<Vec<String>, String> {
    let mut fields = Fields::default();
    fields.read(&mut csv_core::ReaderBuilder::new().delimiter(delimiter).build(), record);
    let name = |at: usize| {
        let text = encoding.decode(fields.get(at));
        text.map(|text| text.trim().to_owned()).ok_or_else(|| {
            format!("bad_text: the header's column #{} is not UTF-8: name the --encoding", at + 1)
        })
    };
    (0..fields.count).map(name).collect()
}

impl Table {
    /// Rows that are read by this plan.
    pub(super) fn new(plan: Arc<Plan>, delimiter: u8, encoding: Encoding) -> Self {
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        Self { reader, encoding, plan, fields: Fields::default(), scratch: String::new() }
    }

    /// The column that a member of an event came from.
    pub(super) fn column(plan: &Plan, pointer: &str) -> String {
        let covers = |member: &str| {
            pointer.strip_prefix(member).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let source =
            plan.sources.iter().filter(|(member, _)| covers(member)).max_by_key(|(member, _)| member.len());
        let column = match (source, &plan.kind) {
            (Some((_, column)), _) => Some(*column),
            (None, TypePlan::Column(column, _)) if pointer == "/type" => Some(*column),
            (None, _) if pointer == "/key" => plan.time.first().copied(),
            (None, _) => None,
        };
        column.map_or_else(|| pointer.to_owned(), |column| name(plan, column))
    }

    /// The plan that rows are read by.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Appends the row as a line; its key.
    pub(super) fn line(&mut self, row: u64, record: &[u8], out: &mut Vec<u8>) -> Result<EventKey, Refusal> {
        self.fields.read(&mut self.reader, record);
        self.check_shape(row, record)?;
        let before = out.len();
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut line = self.write(row, record, &mut scratch, out);
        self.scratch = scratch;
        // Control characters take six times as many bytes in JSON, and a request has a limit.
        let bytes = out.len() - before;
        if line.is_ok() && bytes > IMPORT_ROW_BYTES_MAX {
            let detail =
                format!("as JSON the row has {bytes} bytes; more than {IMPORT_ROW_BYTES_MAX} are not sent");
            line = Err(Refusal::new(row, "", RowCode::RowTooLarge, detail));
        }
        if line.is_err() {
            out.truncate(before);
        }
        line
    }

    fn check_shape(&self, row: u64, record: &[u8]) -> Result<(), Refusal> {
        let (count, wanted) = (self.fields.count, self.plan.columns.len());
        if count != wanted {
            let column = if count < wanted { name(&self.plan, count) } else { format!("#{}", wanted + 1) };
            let detail = format!("the row has {count} fields, and the header {wanted}");
            return Err(Refusal::new(row, column, RowCode::CsvFields, detail));
        }
        if memchr(0, record).is_some() {
            let at = (0..count).find(|at| memchr(0, self.fields.get(*at)).is_some()).unwrap_or_default();
            return Err(Refusal::new(
                row,
                name(&self.plan, at),
                RowCode::NulByte,
                "the cell holds a NUL byte",
            ));
        }
        Ok(())
    }

    fn write(
        &self,
        row: u64,
        record: &[u8],
        scratch: &mut String,
        out: &mut Vec<u8>,
    ) -> Result<EventKey, Refusal> {
        let key = EventKey::new(self.time(row, scratch)?, self.tail(row, record, scratch)?);
        out.extend_from_slice(b"{\"type\":");
        out.extend_from_slice(self.kind(row)?.as_bytes());
        if let Some(version) = self.plan.version {
            write!(out, ",\"version\":{version}").expect("a Vec takes all");
        }
        out.extend_from_slice(b",\"key\":\"");
        let start = out.len();
        out.resize(start + 32, 0);
        data_encoding::HEXLOWER.encode_mut(&key.0, out.get_mut(start..).unwrap_or_default());
        out.extend_from_slice(b"\",\"data\":");
        self.shape(row, &self.plan.data, out)?;
        out.extend_from_slice(b"}\n");
        Ok(key)
    }

    fn cell(&self, row: u64, at: usize) -> Result<Cow<'_, str>, Refusal> {
        self.encoding.decode(self.fields.get(at)).ok_or_else(|| {
            let detail = "the cell is not UTF-8: name the --encoding, latin-1 or windows-1252";
            Refusal::new(row, name(&self.plan, at), RowCode::BadText, detail)
        })
    }

    fn time(&self, row: u64, scratch: &mut String) -> Result<ValidTime, Refusal> {
        let [first, others @ ..] = self.plan.time.as_slice() else {
            return Err(Refusal::new(row, "", RowCode::BadTime, "there is no column of the time"));
        };
        let first_cell = self.cell(row, *first)?;
        let text = if others.is_empty() {
            first_cell
        } else {
            scratch.clear();
            scratch.push_str(&first_cell);
            for other in others {
                scratch.push(' ');
                scratch.push_str(&self.cell(row, *other)?);
            }
            Cow::Borrowed(scratch.as_str())
        };
        let refused = |(code, detail)| Refusal::new(row, name(&self.plan, *first), code, detail);
        if text.trim_ascii().is_empty() {
            return Err(refused((
                RowCode::EmptyCell,
                "the cell is empty, and every event has a time".to_owned(),
            )));
        }
        self.plan.clock.read(&text).map_err(refused)
    }

    fn tail(&self, row: u64, record: &[u8], scratch: &mut String) -> Result<[u8; 8], Refusal> {
        let empty = |at: usize| {
            let detail = "the cell is empty, and the id is made of it";
            Refusal::new(row, name(&self.plan, at), RowCode::EmptyCell, detail)
        };
        match &self.plan.id {
            None => {
                use std::fmt::Write;
                scratch.clear();
                let hash = blake3::hash(record).to_hex();
                let hash = hash.get(..16).unwrap_or_default();
                write!(scratch, "row {row} {hash}").expect("a String takes all");
                Ok(tail_of_id(scratch))
            }
            Some(IdPlan::Columns(columns)) => {
                let cells = columns.iter().map(|at| self.cell(row, *at)).collect::<Result<Vec<_>, _>>()?;
                if cells.iter().all(|cell| cell.trim_ascii().is_empty()) {
                    return Err(empty(columns.first().copied().unwrap_or_default()));
                }
                match cells.as_slice() {
                    [cell] => Ok(tail_of_id(cell)),
                    cells => Ok(tail_of_id(&serde_json::to_string(cells).expect("texts have a JSON form"))),
                }
            }
            Some(IdPlan::Text(parts)) => {
                scratch.clear();
                for (text, column) in parts {
                    scratch.push_str(text);
                    let Some(at) = column else { continue };
                    let cell = self.cell(row, *at)?;
                    if cell.trim_ascii().is_empty() {
                        return Err(empty(*at));
                    }
                    scratch.push_str(&cell);
                }
                Ok(tail_of_id(scratch))
            }
        }
    }

    fn kind(&self, row: u64) -> Result<Cow<'_, str>, Refusal> {
        let (column, types) = match &self.plan.kind {
            TypePlan::Always(kind) => return Ok(Cow::Borrowed(kind)),
            TypePlan::Column(column, types) => (*column, types),
        };
        let says = self.cell(row, column)?;
        let says = says.trim_ascii();
        if types.is_empty() && !says.is_empty() {
            return Ok(Cow::Owned(serde_json::Value::from(says).to_string()));
        }
        types.get(says).map(|kind| Cow::Borrowed(kind.as_str())).ok_or_else(|| {
            let detail = format!("the mapping gives no type for {says:?}");
            Refusal::new(row, name(&self.plan, column), RowCode::UnknownKind, detail)
        })
    }

    /// Appends a value; whether there is anything of it.
    fn shape(&self, row: u64, shape: &Shape, out: &mut Vec<u8>) -> Result<bool, Refusal> {
        match shape {
            Shape::Always(json) => out.extend_from_slice(json.as_bytes()),
            Shape::Cell { column, kind, empty } => {
                let text = self.cell(row, *column)?;
                let refused = |(code, detail)| Refusal::new(row, name(&self.plan, *column), code, detail);
                return cell::write(kind, *empty, &text, out).map_err(refused);
            }
            Shape::Object(members) => {
                out.push(b'{');
                let mut is_first = true;
                for (name, shape) in members {
                    let before = out.len();
                    if !is_first {
                        out.push(b',');
                    }
                    cell::quote(name, out);
                    out.push(b':');
                    if self.shape(row, shape, out)? {
                        is_first = false;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b'}');
            }
        }
        Ok(true)
    }
}

/// What people call a column.
fn name(plan: &Plan, at: usize) -> String {
    plan.columns.get(at).filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| format!("#{}", at + 1))
}

#[cfg(test)]
mod tests {
    use super::super::cell::Kind;
    use super::super::mapping::Mapping;
    use super::*;

    const MAPPING: &str = r#"
        type = { column = "Kind", is = { IN = "add" } }
        version = 1
        time = { columns = ["Date", "Clock"], format = "%d.%m.%Y %H:%M", zone = "UTC" }
        id = { text = "docket {Docket}" }
        [data]
        item = "Item"
        place.dock = "Dock"
        "/place/gate" = { column = "Gate", type = "integer", empty = "refuse" }
        [const]
        source = "paper"
        place = { site = "A" }
    "#;
    const HEADER: &[u8] = b"Date,Clock,Kind,Docket,Item,Dock,Gate";

    fn table(mapping: &str, columns: &[u8], encoding: Encoding) -> Table {
        let columns = header(columns, b',', encoding).expect("a header");
        let plan = Mapping::parse(mapping).and_then(|mapping| mapping.plan(columns)).expect("a plan");
        Table::new(Arc::new(plan), b',', encoding)
    }

    fn line(table: &mut Table, record: &[u8]) -> Result<String, (String, String)> {
        let mut out = Vec::new();
        let row = table.line(7, record, &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        row.map(|_| text.replace('\n', "")).map_err(|refusal| (refusal.column, refusal.code.into_owned()))
    }

    /// Members are nested by tables, dots, pointers and constants alike, and the key is the one of time and id.
    #[test]
    fn a_row_is_an_event() {
        let mut table = table(MAPPING, HEADER, Encoding::Utf8);
        let got = line(&mut table, b"01.05.2026,10:00,IN,8817,\"a \"\"b\"\"\",,4").expect("a row");
        let time = crate::core::event::ValidTime::from_parts(1_777_629_600, 0).expect("a time");
        let key = EventKey::new(time, tail_of_id("docket 8817"));
        let data = r#"{"place":{"gate":4,"site":"A"},"item":"a \"b\"","source":"paper"}"#;
        assert_eq!(got, format!(r#"{{"type":"add","version":1,"key":"{key}","data":{data}}}"#));
        assert_eq!(Table::column(table.plan(), "/data/place/gate"), "Gate");
        assert_eq!(Table::column(table.plan(), "/data/place/gate/x"), "Gate");
        assert_eq!(Table::column(table.plan(), "/key"), "Date");
        assert_eq!(Table::column(table.plan(), "/data/other"), "/data/other");
    }

    /// Each fault names its column, and leaves nothing of the row.
    #[test]
    fn faults_name_their_column() {
        let mut table = table(MAPPING, HEADER, Encoding::Utf8);
        let bad: [(&[u8], &str, &str); 9] = [
            (b"01.05.2026,10:00,IN,8817,a", "Dock", "csv_fields"),
            (b"01.05.2026,10:00,IN,8817,a,b,4,5", "#8", "csv_fields"),
            (b"01.05.2026,10:00,IN,8817,a\0,b,4", "Item", "nul_byte"),
            (b"01.05.2026,10:00,IN,8817,\xfc,b,4", "Item", "bad_text"),
            (b"01.05.2026,25:00,IN,8817,a,b,4", "Date", "bad_time"),
            (b"01.05.2026,10:00,OUT,8817,a,b,4", "Kind", "unknown_kind"),
            (b"01.05.2026,10:00,IN,,a,b,4", "Docket", "empty_cell"),
            (b"01.05.2026,10:00,IN,8817,a,b,", "Gate", "empty_cell"),
            (b"01.05.2026,10:00,IN,8817,a,b,x", "Gate", "bad_integer"),
        ];
        for (record, column, code) in bad {
            assert_eq!(line(&mut table, record), Err((column.to_owned(), code.to_owned())));
        }
    }

    /// A row that fits into the file's limit, but not into that of a request, is refused and leaves nothing.
    #[test]
    fn a_row_may_grow() {
        let mut table = table(MAPPING, HEADER, Encoding::Utf8);
        let row = |item: &str| format!("01.05.2026,10:00,IN,8817,{item},b,4").into_bytes();
        let refused = line(&mut table, &row(&"\u{1}".repeat(IMPORT_ROW_BYTES_MAX / 6)));
        assert_eq!(refused, Err((String::new(), "row_too_large".to_owned())));
        assert!(line(&mut table, &row(&"\u{1}".repeat(IMPORT_ROW_BYTES_MAX / 7))).is_ok());
        let mut out = b"before".to_vec();
        table.line(7, &row(&"\u{1}".repeat(IMPORT_ROW_BYTES_MAX / 6)), &mut out).expect_err("too large");
        assert_eq!(out, b"before");
    }

    /// Without id columns equal rows at two places are two events, and the same row is the same event.
    #[test]
    fn rows_are_their_own_ids() {
        let mapping = "type = \"add\"\ntime = { column = \"t\" }";
        let mut table = table(mapping, b"t,a/b,x", Encoding::Latin1);
        let mut key = |row, record: &[u8]| table.line(row, record, &mut Vec::new()).expect("a row");
        let record = b"2026-05-01T10:00:00Z,\xfc,1";
        assert_eq!(key(2, record), key(2, record));
        assert_ne!(key(2, record), key(3, record));
        assert_ne!(key(2, record), key(2, b"2026-05-01T10:00:00Z,\xfc,2"));
        assert!(line(&mut table, record).expect("a row").contains(r#"{"a/b":"ü","x":"1"}"#));
    }

    /// A cell's kind says what it becomes, whatever else the row holds.
    #[test]
    fn kinds_come_from_the_mapping() {
        let mapping = "type = 1\ntime = { column = \"t\" }\nempty = \"null\"\n[data]\n\
                       n = { column = \"n\", type = \"integer\" }\nm = \"m\"";
        let mut table = table(mapping, b"t,n,m", Encoding::Utf8);
        let got = line(&mut table, b"2026-05-01T10:00:00Z,007,").expect("a row");
        assert!(
            got.starts_with(r#"{"type":1,"key":"#) && got.ends_with(r#""data":{"m":null,"n":7}}"#),
            "{got}"
        );
        let Shape::Object(members) = &table.plan().data else { panic!("an object") };
        assert!(members.iter().any(|(_, shape)| matches!(shape, Shape::Cell { kind: Kind::Integer, .. })));
    }
}
