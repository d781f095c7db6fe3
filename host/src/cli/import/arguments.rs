//! What `import` takes, and how flags and a mapping file come to one mapping.

use super::cell::Encoding;
use super::mapping::{IdFrom, KindFrom, Mapping, TypeFrom};
use super::time::Ambiguous;
use crate::peers::PeerAddress;
use clap::Args;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArguments {
    /// The root to write to.
    pub(super) root: String,
    /// The file; - is standard input. One that is compressed by zstd or gzip is unpacked.
    pub(super) file: PathBuf,
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
    pub(super) server: PeerAddress,
    /// ndjson (what POST takes, or what export wrote), csv, binary (as export writes it), or the name of a format that
    /// a plugin of the root reads line by line [default: by the file's ending].
    #[arg(long, value_name = "NAME")]
    pub(super) format: Option<String>,
    /// Check everything and report as if it were written, but write nothing.
    #[arg(long, conflicts_with = "resume")]
    pub(super) dry_run: bool,
    /// What the columns of a CSV file mean, in TOML; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(super) map: Option<PathBuf>,
    #[command(flatten)]
    pub(super) columns: ColumnArguments,
    /// Write every refused row to this CSV file: row, column, code, detail.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Go on where an import of this file was broken off. (Without it, what was written is found again as duplicates.)
    #[arg(long)]
    pub(super) resume: bool,
    /// Where to keep how far it is [default: FILE.laterbase-import, while it runs].
    #[arg(long, value_name = "FILE")]
    pub(super) state: Option<PathBuf>,
}

/// What the columns of a CSV file mean, without a mapping file. A column is named as its header says, or as #3 by its
/// place.
#[derive(Debug, Args)]
#[command(next_help_heading = "Columns of a CSV file")]
pub(super) struct ColumnArguments {
    /// The type of the events.
    #[arg(long = "type", value_name = "NAME")]
    kind: Option<String>,
    /// The column of the time; several are joined by a space.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    time: Vec<String>,
    /// How times are written, as strftime has it: %d.%m.%Y %H:%M; or unix, unix-ms, rfc3339 [default: rfc3339].
    #[arg(long, value_name = "FORMAT")]
    time_format: Option<String>,
    /// The zone of times without an offset, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// What to take for a local time that happened twice or never, because clocks were changed [default: refuse it].
    #[arg(long, value_name = "WHICH")]
    ambiguous: Option<Ambiguous>,
    /// The columns that make a row's id, which makes importing it again a no-op [default: number and content of the
    /// row].
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    id: Vec<String>,
    /// A member of the data and its column, with text, integer, decimal, boolean or time behind a colon; may be
    /// repeated [default: every column that is no time, as text].
    #[arg(long, value_name = "MEMBER=COLUMN[:KIND]")]
    data: Vec<String>,
    /// A member of the data that is always the same, JSON or text; may be repeated.
    #[arg(long = "const", value_name = "MEMBER=VALUE")]
    constants: Vec<String>,
    /// The file's encoding [default: utf-8].
    #[arg(long, value_name = "NAME")]
    encoding: Option<Encoding>,
    /// What stands between two fields, a character or the word tab [default: a comma].
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<String>,
}

/// How a file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// One event a line.
    Ndjson,
    /// A table.
    Csv,
    /// Binary frames.
    Binary,
    /// Lines for a plugin's intake.
    Named(String),
}

impl ImportArguments {
    /// The file's format, and the delimiter that its ending tells.
    pub(super) fn format(&self) -> Result<(Format, Option<&'static str>), String> {
        let name = self.file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = name.trim_end_matches(".zst").trim_end_matches(".gz");
        let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let delimiter = ending.eq_ignore_ascii_case("tsv").then_some("tab");
        let format = match (self.format.as_deref(), ending.to_ascii_lowercase().as_str()) {
            (Some("ndjson"), _) | (None, "ndjson" | "jsonl") => Format::Ndjson,
            (Some("binary"), _) | (None, "lbev") => Format::Binary,
            (Some("csv"), _) | (None, "csv" | "tsv") => Format::Csv,
            (Some(name), _) => Format::Named(name.to_owned()),
            (None, _) => {
                return Err(format!(
                    "{}: its ending does not tell its format: say --format ndjson, csv, binary, or a plugin's",
                    self.file.display()
                ));
            }
        };
        Ok((format, delimiter))
    }

    /// The mapping that the file and the flags make together.
    pub(super) fn mapping(&self, delimiter: Option<&str>) -> Result<Mapping, String> {
        let mut mapping = match &self.map {
            None => Mapping::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|fault| fault.to_string());
                let read = text.and_then(|text| Mapping::parse(&text));
                read.map_err(|fault| format!("{}: {fault}", path.display()))?
            }
        };
        mapping.delimiter = mapping.delimiter.or_else(|| delimiter.map(str::to_owned));
        self.columns.apply(&mut mapping)?;
        Ok(mapping)
    }
}

impl ColumnArguments {
    /// Whether any of them is there.
    pub(super) fn any(&self) -> bool {
        let Self { kind, time, time_format, zone, ambiguous, id, data, constants, encoding, delimiter } =
            self;
        let texts = [kind, time_format, zone, delimiter].into_iter().any(Option::is_some);
        let lists = [time, id, data, constants].into_iter().any(|list| !list.is_empty());
        texts || lists || ambiguous.is_some() || encoding.is_some()
    }

    fn apply(&self, mapping: &mut Mapping) -> Result<(), String> {
        let set = |place: &mut Option<String>, value: &Option<String>| {
            if value.is_some() {
                place.clone_from(value);
            }
        };
        if let Some(kind) = &self.kind {
            let number = kind.parse().map(TypeFrom::Number);
            mapping.kind = Some(number.unwrap_or_else(|_| TypeFrom::Name(kind.clone())));
        }
        if !self.time.is_empty() {
            mapping.time.column = None;
            mapping.time.columns.clone_from(&self.time);
        }
        set(&mut mapping.time.format, &self.time_format);
        set(&mut mapping.time.zone, &self.zone);
        set(&mut mapping.delimiter, &self.delimiter);
        mapping.time.ambiguous = self.ambiguous.or(mapping.time.ambiguous);
        mapping.encoding = self.encoding.or(mapping.encoding);
        if !self.id.is_empty() {
            mapping.id = Some(IdFrom::Columns(self.id.clone()));
        }
        for member in &self.data {
            let (name, value) = member_flag("data", member)?;
            mapping.data.insert(name, value);
        }
        for constant in &self.constants {
            let form = || format!("--const {constant:?}: write it as MEMBER=VALUE");
            let (name, text) = constant.split_once('=').ok_or_else(form)?;
            let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
            let value = json.and_then(|json| toml::Value::try_from(json).ok());
            mapping.constants.insert(name.to_owned(), value.unwrap_or_else(|| text.into()));
        }
        Ok(())
    }
}

/// `MEMBER=COLUMN[:KIND]` as a mapping has it.
fn member_flag(flag: &str, text: &str) -> Result<(String, toml::Value), String> {
    let form = || format!("--{flag} {text:?}: write it as MEMBER=COLUMN or MEMBER=COLUMN:KIND");
    let (name, column) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(form)?;
    let is_kind = |kind: &str| {
        let named: Result<_, serde::de::value::Error> = KindFrom::deserialize(kind.into_deserializer());
        named.is_ok()
    };
    let mut member = toml::Table::new();
    match column.rsplit_once(':').filter(|(_, kind)| is_kind(kind)) {
        Some((column, kind)) => {
            member.insert("column".to_owned(), column.into());
            member.insert("type".to_owned(), kind.into());
        }
        None => drop(member.insert("column".to_owned(), column.into())),
    }
    Ok((name.to_owned(), toml::Value::Table(member)))
}
