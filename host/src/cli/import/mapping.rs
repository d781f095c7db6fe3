//! What the columns of a table mean, as a file in TOML or flags say it.
//!
//! ```toml
//! type = "add"                             # or { column = "Kind", is = { IN = "add", OUT = "remove" } }
//! version = 1                              # default: the Schema's newest
//! encoding = "windows-1252"                # utf-8, latin-1
//! delimiter = ";"
//! time = { column = "Date", format = "%d.%m.%Y %H:%M", zone = "Europe/Berlin", ambiguous = "earlier" }
//! id = ["Docket", "Line"]                  # or { text = "docket {Docket} line {Line}" }
//! empty = "skip"                           # what empty cells are: skip, null, text, refuse
//! [data]
//! item = "Article"                         # a column as text
//! n = { column = "Qty", type = "integer", empty = "refuse" }
//! place.dock = "Dock"                      # a nested member; "/place/dock" says the same
//! price = { column = "EUR", type = "decimal", mark = "," }
//! packed = { column = "Packed", type = "time", format = "%d.%m.%Y", zone = "UTC" }
//! [const]
//! source = "haulier"
//! ```
//! Times may stand in several columns (`columns = ["Date", "Clock"]`, joined by a space). A column is named as its
//! header says, or as `#3` by its place. Without `[data]` every column that no time is made of is a text of its name.

use super::cell::{Empty, Encoding, Kind};
use super::time::{Ambiguous, Clock};
use crate::core::pointer;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A mapping as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mapping {
    /// The type of the events.
    #[serde(rename = "type")]
    pub(super) kind: Option<TypeFrom>,
    /// The version that their data is written in.
    pub(super) version: Option<u32>,
    /// The file's encoding.
    pub(super) encoding: Option<Encoding>,
    /// What stands between two fields.
    pub(super) delimiter: Option<String>,
    /// When the events happened.
    pub(super) time: TimeFrom,
    /// What tells them apart.
    pub(super) id: Option<IdFrom>,
    /// What empty cells are.
    pub(super) empty: Empty,
    /// Members of the data.
    pub(super) data: toml::Table,
    /// Members of the data that are always the same.
    #[serde(rename = "const")]
    pub(super) constants: toml::Table,
}

/// Where the type comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum TypeFrom {
    /// A type's number.
    Number(u32),
    /// A type's name.
    Name(String),
    /// What a column says.
    Column {
        /// The column.
        column: String,
        /// The type for each thing that it says; without it, it says the type's name.
        #[serde(default)]
        is: BTreeMap<String, String>,
    },
}

/// Where the time comes from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TimeFrom {
    /// One column.
    pub(super) column: Option<String>,
    /// Or several, whose texts are joined by a space.
    pub(super) columns: Vec<String>,
    /// How it is written: `rfc3339` (default), `unix`, `unix-ms`, or as strftime has it.
    pub(super) format: Option<String>,
    /// The zone of times without an offset.
    pub(super) zone: Option<String>,
    /// What to take in hours when clocks were changed.
    pub(super) ambiguous: Option<Ambiguous>,
}

/// Where the id comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum IdFrom {
    /// One column: its text is the id. Several: the JSON array of their texts.
    Columns(Vec<String>),
    /// A text with columns in braces.
    Text {
        /// The text.
        text: String,
    },
}

/// A member that is more than a column's name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberFrom {
    column: String,
    #[serde(rename = "type", default)]
    kind: KindFrom,
    empty: Option<Empty>,
    mark: Option<char>,
    format: Option<String>,
    zone: Option<String>,
    ambiguous: Option<Ambiguous>,
}

/// The kinds by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KindFrom {
    /// As it is.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// A decimal number, kept as a text.
    Decimal,
    /// True or false.
    Boolean,
    /// A time.
    Time,
}

/// A mapping of the columns that there are.
#[derive(Debug)]
pub(super) struct Plan {
    /// The names of the columns.
    pub(super) columns: Vec<String>,
    /// The type.
    pub(super) kind: TypePlan,
    /// The version, if it is said.
    pub(super) version: Option<u32>,
    /// The columns of the time.
    pub(super) time: Vec<usize>,
    /// How it is read.
    pub(super) clock: Clock,
    /// The id; none makes it of the row itself.
    pub(super) id: Option<IdPlan>,
    /// The data.
    pub(super) data: Shape,
    /// The columns that the members come from, by JSON pointer.
    pub(super) sources: Vec<(String, usize)>,
}

/// The type of each row.
#[derive(Debug)]
pub(super) enum TypePlan {
    /// Always this one, as JSON.
    Always(String),
    /// As this column says, with the types, as JSON, of what it says; none: it names the type.
    Column(usize, BTreeMap<String, String>),
}

/// The id of each row.
#[derive(Debug)]
pub(super) enum IdPlan {
    /// Of these columns.
    Columns(Vec<usize>),
    /// Texts and columns in turn.
    Text(Vec<(String, Option<usize>)>),
}

/// A JSON value to write.
#[derive(Debug)]
pub(super) enum Shape {
    /// Members with their names.
    Object(Vec<(String, Shape)>),
    /// A cell.
    Cell {
        /// The column.
        column: usize,
        /// What it becomes.
        kind: Kind,
        /// What it is when it is empty.
        empty: Empty,
    },
    /// Always the same JSON.
    Always(String),
}

impl Mapping {
    /// Reads a mapping.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|fault| fault.to_string())
    }

    /// The byte between two fields.
    pub(super) fn delimiter(&self) -> Result<u8, String> {
        match self.delimiter.as_deref() {
            None => Ok(b','),
            Some("tab" | "\t") => Ok(b'\t'),
            Some(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0) => Ok(*byte),
                _ => Err(format!("{text:?} is no delimiter: it is one ASCII character, or the word tab")),
            },
        }
    }

    /// The mapping of these columns.
    pub(super) fn plan(&self, columns: Vec<String>) -> Result<Plan, String> {
        let header = Header(&columns);
        let TimeFrom { column, columns: several, format, zone, ambiguous } = &self.time;
        let time = match (column, several.as_slice()) {
            (Some(column), []) => vec![header.find(column)?],
            (None, [_, ..]) => several.iter().map(|column| header.find(column)).collect::<Result<_, _>>()?,
            _ => {
                return Err("name the column of the time (--time, or time in the mapping), or several in \
                            `columns`, not both"
                    .to_owned());
            }
        };
        let clock = Clock::new(format.as_deref(), zone.as_deref(), *ambiguous)?;
        let kind = self.kind_plan(&header)?;
        let id = self.id.as_ref().map(|id| header.id(id)).transpose()?;
        let mut sources = Vec::new();
        let members = self.members(&columns, &time);
        let mut data = self.object(&header, &members, "/data", &mut sources)?;
        for (name, value) in &self.constants {
            place(&mut data, name, constant(name, value)?)?;
        }
        let (data, version) = (Shape::Object(data), self.version);
        Ok(Plan { columns, kind, version, time, clock, id, data, sources })
    }

    fn kind_plan(&self, header: &Header<'_>) -> Result<TypePlan, String> {
        let json = |name: &str| Value::from(name).to_string();
        match &self.kind {
            None => Err("name the type of the events (--type, or type in the mapping)".to_owned()),
            Some(TypeFrom::Number(number)) => Ok(TypePlan::Always(number.to_string())),
            Some(TypeFrom::Name(name)) => Ok(TypePlan::Always(json(name))),
            Some(TypeFrom::Column { column, is }) => {
                let types = is.iter().map(|(says, name)| (says.clone(), json(name)));
                Ok(TypePlan::Column(header.find(column)?, types.collect()))
            }
        }
    }

    /// The members that are written down, or one for every column.
    fn members(&self, columns: &[String], time: &[usize]) -> toml::Table {
        if !self.data.is_empty() {
            return self.data.clone();
        }
        let others = columns.iter().enumerate().filter(|(at, _)| !time.contains(at));
        let member =
            |(at, name): (usize, &String)| (pointer::step(name), toml::Value::String(format!("#{}", at + 1)));
        others.filter(|(_, name)| !name.is_empty()).map(member).collect()
    }

    fn object(
        &self,
        header: &Header<'_>,
        members: &toml::Table,
        pointer: &str,
        sources: &mut Vec<(String, usize)>,
    ) -> Result<Vec<(String, Shape)>, String> {
        let mut object = Vec::new();
        for (name, value) in members {
            let at = format!("{pointer}{}", as_pointer(name));
            let shape = match value {
                toml::Value::String(column) => {
                    Shape::Cell { column: header.find(column)?, kind: Kind::Text, empty: self.empty }
                }
                toml::Value::Table(table) if table.get("column").is_some_and(toml::Value::is_str) => {
                    let from = MemberFrom::deserialize(value.clone())
                        .map_err(|fault| format!("the member {at}: {fault}"))?;
                    self.cell(header, &from).map_err(|fault| format!("the member {at}: {fault}"))?
                }
                toml::Value::Table(table) => Shape::Object(self.object(header, table, &at, sources)?),
                toml::Value::Integer(_)
                | toml::Value::Float(_)
                | toml::Value::Boolean(_)
                | toml::Value::Datetime(_)
                | toml::Value::Array(_) => {
                    return Err(format!(
                        "the member {at}: write a column's name, a table with `column`, or members; what is always \
                         the same belongs to [const]"
                    ));
                }
            };
            if let Shape::Cell { column, .. } = shape {
                sources.push((at, column));
            }
            place(&mut object, name, shape)?;
        }
        Ok(object)
    }

    fn cell(&self, header: &Header<'_>, from: &MemberFrom) -> Result<Shape, String> {
        let column = header.find(&from.column)?;
        let kind = match from.kind {
            KindFrom::Text => Kind::Text,
            KindFrom::Integer => Kind::Integer,
            KindFrom::Decimal => Kind::Decimal { mark: from.mark.unwrap_or('.') },
            KindFrom::Boolean => Kind::Boolean,
            KindFrom::Time => {
                // What is not said of this time is as with the event's own.
                let format = from.format.as_ref().or(self.time.format.as_ref());
                let zone = from.zone.as_ref().or(self.time.zone.as_ref());
                let ambiguous = from.ambiguous.or(self.time.ambiguous);
                Kind::Time(Clock::new(format.map(String::as_str), zone.map(String::as_str), ambiguous)?)
            }
        };
        Ok(Shape::Cell { column, kind, empty: from.empty.unwrap_or(self.empty) })
    }
}

/// The names of the columns.
struct Header<'a>(&'a [String]);

impl Header<'_> {
    /// The column of this name, or at this place.
    fn find(&self, name: &str) -> Result<usize, String> {
        if let Some(place) = name.strip_prefix('#').and_then(|digits| digits.parse::<usize>().ok()) {
            let at = place.checked_sub(1).filter(|at| *at < self.0.len());
            return at
                .ok_or_else(|| format!("missing_column: there is no column {name} of {}", self.0.len()));
        }
        let mut found = self.0.iter().enumerate().filter(|(_, column)| *column == name);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(at),
            (Some((first, _)), Some((second, _))) => Err(format!(
                "ambiguous_column: two columns are called {name:?}: name it by its place, #{} or #{}",
                first + 1,
                second + 1
            )),
            (None, _) => {
                let there = self.0.join(", ");
                Err(format!("missing_column: there is no column {name:?}; there are: {there}"))
            }
        }
    }

    fn id(&self, from: &IdFrom) -> Result<IdPlan, String> {
        match from {
            IdFrom::Columns(columns) if columns.is_empty() => Err("an id is made of columns".to_owned()),
            IdFrom::Columns(columns) => {
                let found = columns.iter().map(|column| self.find(column));
                found.collect::<Result<_, _>>().map(IdPlan::Columns)
            }
            IdFrom::Text { text } => {
                let (mut parts, mut rest) = (Vec::new(), text.as_str());
                while let Some((before, behind)) = rest.split_once('{') {
                    let Some((column, behind)) = behind.split_once('}') else {
                        return Err(format!("the id's text {text:?} has a brace that does not close"));
                    };
                    parts.push((before.to_owned(), Some(self.find(column)?)));
                    rest = behind;
                }
                if parts.is_empty() {
                    return Err(format!(
                        "the id's text {text:?} names no column in braces: all rows would be one"
                    ));
                }
                parts.push((rest.to_owned(), None));
                Ok(IdPlan::Text(parts))
            }
        }
    }
}

/// A member's name as a JSON pointer; one that begins with a slash is one.
fn as_pointer(name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { pointer::step(name) }
}

/// Puts a shape where the name, or the pointer, says.
fn place(object: &mut Vec<(String, Shape)>, name: &str, shape: Shape) -> Result<(), String> {
    let (first, rest) = match name.strip_prefix('/') {
        None => (name.to_owned(), None),
        Some(pointer) => {
            let (first, rest) =
                pointer.split_once('/').map_or((pointer, None), |(one, two)| (one, Some(two)));
            (first.replace("~1", "/").replace("~0", "~"), rest.map(|rest| format!("/{rest}")))
        }
    };
    let found = object.iter_mut().find(|(there, _)| *there == first);
    match (found, rest) {
        (None, None) => object.push((first, shape)),
        (None, Some(rest)) => {
            let mut inner = Vec::new();
            place(&mut inner, &rest, shape)?;
            object.push((first, Shape::Object(inner)));
        }
        (Some((_, Shape::Object(inner))), Some(rest)) => place(inner, &rest, shape)?,
        (Some((_, Shape::Object(inner))), None) => match shape {
            Shape::Object(more) => {
                for (name, shape) in more {
                    place(inner, &pointer::step(&name), shape)?;
                }
            }
            Shape::Cell { .. } | Shape::Always(_) => return Err(twice(name)),
        },
        (Some(_), _) => return Err(twice(name)),
    }
    Ok(())
}

fn twice(name: &str) -> String {
    format!("the member {name:?} is given twice")
}

/// A constant as it is written; tables are members, so that columns may stand among them.
fn constant(name: &str, value: &toml::Value) -> Result<Shape, String> {
    match value {
        toml::Value::Datetime(_) => Err(format!("the constant {name:?}: write a time as a text")),
        toml::Value::Table(table) => {
            let mut object = Vec::new();
            for (name, value) in table {
                place(&mut object, name, constant(name, value)?)?;
            }
            Ok(Shape::Object(object))
        }
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Array(_) => {
            let json =
                serde_json::to_string(value).map_err(|fault| format!("the constant {name:?}: {fault}"));
            json.map(Shape::Always)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, columns: &[&str]) -> Result<Plan, String> {
        Mapping::parse(text)?.plan(columns.iter().map(|column| (*column).to_owned()).collect())
    }

    /// What is missing, double or unknown is named before a row is read.
    #[test]
    fn faults_are_named() {
        let fault = |text: &str, columns: &[&str]| plan(text, columns).expect_err("a fault");
        let base = "type = \"add\"\ntime = { column = \"t\" }\n";
        assert!(fault(base, &["T"]).contains("there are: T"));
        assert!(fault(base, &["t", "t"]).contains("#1 or #2"));
        assert!(fault("type = \"add\"", &["t"]).contains("column of the time"));
        assert!(fault("time = { column = \"t\" }", &["t"]).contains("--type"));
        assert!(fault(&format!("{base}typ = 1"), &["t"]).contains("typ"));
        assert!(fault(&format!("{base}id = []"), &["t"]).contains("id"));
        assert!(fault(&format!("{base}id = {{ text = \"x\" }}"), &["t"]).contains("braces"));
        assert!(
            fault(&format!("{base}[data]\nn = {{ column = \"t\", type = \"float\" }}"), &["t"])
                .contains("/data/n")
        );
        assert!(fault(&format!("{base}[data]\nn = 5"), &["t"]).contains("[const]"));
        assert!(fault(&format!("{base}[data]\nn = \"t\"\n[const]\nn = 5"), &["t"]).contains("twice"));
        assert!(fault(&format!("{base}delimiter = 5"), &["t"]).contains("delimiter"));
    }
}
