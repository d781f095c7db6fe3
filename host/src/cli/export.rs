//! `laterbase export`: one walk of the feed into a file, as NDJSON, CSV or binary frames.
//!
//! What the server writes is handed through; only the ends of pages, which say where to go on, are taken out. The walk
//! is pinned, so the file is what the root held when it began, whatever is written meanwhile; a server that is started
//! anew goes on with the same cursor. The file takes its name once it is whole and on disk: an export that was killed
//! leaves `FILE.part`, and is run again from the start. What it prints at its end, the vv, makes the next export one of
//! what is new since (`--since`).

use super::{EXIT_IO, EXIT_USAGE, fail};
use crate::core::csv::write_row;
use crate::core::frames::{self, Frame, Frames};
use crate::peers::{Client, PeerAddress, Tcp};
use crate::sync::ExchangeError;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use memchr::memchr_iter;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Bytes of a page, about.
const PAGE_BYTES: usize = 2 << 20;
/// Events of a page at most.
const PAGE_EVENTS: usize = 10_000;
/// How long one page is asked for.
const PATIENCE: Duration = Duration::from_mins(1);
/// Before it is asked for again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a walk is begun anew because its pin is gone.
const WALKS_MAX: usize = 3;
/// The level of zstd: fast, and small where events repeat each other.
const ZSTD_LEVEL: i32 = 3;

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// The root to read.
    root: String,
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
    server: PeerAddress,
    /// Only events at or after this time, RFC 3339.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only events before this time, RFC 3339.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only events of this type, by name or number.
    #[arg(long = "type", value_name = "NAME")]
    kind: Option<String>,
    /// Only events that are not in this vv, which an earlier export printed; may be repeated.
    #[arg(long, value_name = "VV")]
    since: Vec<String>,
    /// How to write them. NDJSON and binary can be imported.
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Format,
    /// The file to write [default: standard output].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Compress by zstd.
    #[arg(long)]
    zstd: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One event a line.
    Ndjson,
    /// A table with a header.
    Csv,
    /// Frames, as FORMAT.md has them.
    Binary,
}

/// Why there is no export.
#[derive(Debug)]
enum Fault {
    /// What is asked for cannot be.
    Usage(String),
    /// It did not come to its end.
    Stopped(String),
    /// The server does not know the walk any more.
    PinGone,
}

/// How a page ends.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct End {
    cursor: Option<String>,
    vv: Option<String>,
}

pub(super) fn run(arguments: &ExportArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(1, &format!("no threads to run on: {fault}")),
    };
    match runtime.block_on(export(arguments)) {
        Ok((events, vv)) => {
            let summary = format!("events     {events}\nvv         {vv}");
            // Standard output holds the events where no file is named.
            if arguments.output.is_some() {
                say!("{summary}");
            } else {
                warn!("{summary}");
            }
            ExitCode::SUCCESS
        }
        Err(Fault::Usage(fault)) => fail(EXIT_USAGE, &fault),
        Err(Fault::Stopped(fault)) => fail(EXIT_IO, &fault),
        Err(Fault::PinGone) => fail(EXIT_IO, "the server lost the walk: run it again"),
    }
}

/// How many events were written, and what is known with them.
async fn export(arguments: &ExportArguments) -> Result<(u64, String), Fault> {
    for _ in 1..WALKS_MAX {
        match attempt(arguments).await {
            // What stands in a file is thrown away; what went into a pipe cannot be.
            Err(Fault::PinGone) if arguments.output.is_some() => {}
            ended => return ended,
        }
    }
    attempt(arguments).await
}

async fn attempt(arguments: &ExportArguments) -> Result<(u64, String), Fault> {
    let mut sink = Sink::open(arguments)?;
    let walked = walk(arguments, &mut sink).await;
    match walked {
        Ok(walked) => sink.finish().map(|()| walked),
        Err(fault) => {
            sink.give_up();
            Err(fault)
        }
    }
}

async fn walk(arguments: &ExportArguments, sink: &mut Sink) -> Result<(u64, String), Fault> {
    let mut client = Client::new(Tcp, arguments.server.clone(), "", Arc::default());
    let bar = ProgressBar::new_spinner().with_prefix(arguments.root.clone());
    let bar = match ProgressStyle::with_template("{prefix} {spinner} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    let (mut events, mut cursor, begun) = (0_u64, None, Instant::now());
    loop {
        let page = page(arguments, &mut client, cursor.as_deref()).await?;
        let is_first = cursor.is_none();
        let (count, end) = match arguments.format {
            Format::Binary => binary(&page, is_first, sink)?,
            Format::Ndjson | Format::Csv => lines(arguments.format, &page, is_first, sink)?,
        };
        events += count;
        let rate = HumanCount(events / begun.elapsed().as_secs().max(1));
        bar.set_message(format!("{} events, {rate} events/s", HumanCount(events)));
        match (end.cursor, end.vv) {
            (Some(next), _) => cursor = Some(next),
            (None, Some(vv)) => {
                bar.finish_and_clear();
                return Ok((events, vv));
            }
            (None, None) => return Err(Fault::Stopped("a page without its end".to_owned())),
        }
    }
}

/// Writes the events of a page of NDJSON; how many there are, and how it ends.
fn lines(format: Format, page: &[u8], is_first: bool, sink: &mut Sink) -> Result<(u64, End), Fault> {
    let strange = |fault: serde_json::Error| Fault::Stopped(format!("this is no Laterbase: {fault}"));
    let text = page.strip_suffix(b"\n").unwrap_or(page);
    let cut = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (events, end) = text.split_at_checked(cut).unwrap_or_default();
    let end = serde_json::from_slice(end).map_err(strange)?;
    let count = memchr_iter(b'\n', events).count() as u64;
    if format != Format::Csv {
        sink.write(events)?;
        return Ok((count, end));
    }
    let mut table = Vec::new();
    if is_first {
        write_row(&mut table, COLUMNS.map(str::as_bytes));
    }
    for line in events.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<Line<'_>>(line).map_err(strange)?.write(&mut table);
    }
    sink.write(&table)?;
    Ok((count, end))
}

/// The columns of a table of events, as the feed has them.
const COLUMNS: [&str; 9] =
    ["key", "time", "type", "type_name", "version", "dot", "clash", "data", "data_base64"];

/// A line of the feed.
#[derive(Deserialize)]
struct Line<'a> {
    key: &'a str,
    time: &'a str,
    #[serde(rename = "type")]
    kind: u32,
    type_name: Option<String>,
    version: u32,
    dot: &'a str,
    #[serde(default)]
    clash: bool,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<&'a str>,
}

impl Line<'_> {
    fn write(&self, table: &mut Vec<u8>) {
        let (kind, version) = (self.kind.to_string(), self.version.to_string());
        let cells = [
            self.key,
            self.time,
            &kind,
            self.type_name.as_deref().unwrap_or_default(),
            &version,
            self.dot,
            if self.clash { "true" } else { "" },
            self.data.map_or("", RawValue::get),
            self.data_base64.unwrap_or_default(),
        ];
        write_row(table, cells.map(str::as_bytes));
    }
}

fn binary(page: &[u8], is_first: bool, sink: &mut Sink) -> Result<(u64, End), Fault> {
    let mut body = Vec::with_capacity(page.len());
    if is_first {
        body.extend_from_slice(&frames::HEAD);
    }
    let (mut events, mut end) = (0, End::default());
    for frame in Frames::new(page, usize::MAX) {
        match frame.map_err(|fault| Fault::Stopped(fault.to_string()))? {
            frame @ Frame::Event(_) => {
                frames::write(&mut body, &frame);
                events += 1;
            }
            Frame::End(last) => {
                end = End { cursor: last.cursor.map(str::to_owned), vv: last.vv.map(str::to_owned) };
            }
        }
    }
    sink.write(&body)?;
    Ok((events, end))
}

/// Asks for a page until it is there.
async fn page(
    arguments: &ExportArguments,
    client: &mut Client<Tcp>,
    cursor: Option<&str>,
) -> Result<Bytes, Fault> {
    let media_type = match arguments.format {
        Format::Binary => "application/vnd.laterbase.events",
        Format::Ndjson | Format::Csv => "application/x-ndjson",
    };
    let headers = HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static(media_type)),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ]);
    let ExportArguments { root, from, to, kind, since, .. } = arguments;
    let asked = json!({
        "vv": since, "cursor": cursor, "from": from, "to": to, "type": kind,
        "limit": PAGE_EVENTS, "max_bytes": PAGE_BYTES,
    });
    let (path, body) = (format!("/{root}/e/changes"), Bytes::from(asked.to_string()));
    let begun = Instant::now();
    loop {
        let fault = match client.ask(Method::POST, &path, headers.clone(), body.clone()).await {
            Ok(page) => return Ok(page),
            Err(fault) => fault,
        };
        let said = format!("{}: {fault}", arguments.server);
        let may_pass = match fault {
            ExchangeError::Refused { status: 410, .. } => return Err(Fault::PinGone),
            ExchangeError::Refused { status: 429 | 503, .. } => true,
            ExchangeError::Refused { status: 400..500, .. } if cursor.is_none() => {
                return Err(Fault::Usage(said));
            }
            ExchangeError::Refused { .. } => false,
            // A server that never answered is the wrong one; one that did may be back soon.
            ExchangeError::Connection(_) | ExchangeError::TimedOut { .. } | ExchangeError::TooSlow { .. } => {
                cursor.is_some()
            }
        };
        if !may_pass || begun.elapsed() > PATIENCE {
            return Err(Fault::Stopped(said));
        }
        sleep(PAUSE).await;
    }
}

/// Where the events go.
struct Sink {
    out: Out,
    /// The file under the name that it has until it is whole, with the one that it gets; none of standard output.
    file: Option<(File, PathBuf, PathBuf)>,
}

enum Out {
    Plain(BufWriter<Box<dyn Write>>),
    Packed(zstd::Encoder<'static, BufWriter<Box<dyn Write>>>),
}

impl Sink {
    fn open(arguments: &ExportArguments) -> Result<Self, Fault> {
        let mut file = None;
        let out: Box<dyn Write> = match &arguments.output {
            None => Box::new(io::stdout()),
            Some(path) => {
                let mut part = path.clone().into_os_string();
                part.push(".part");
                let part = PathBuf::from(part);
                let usage = |error: io::Error| Fault::Usage(format!("{}: {error}", part.display()));
                if path.is_dir() {
                    return Err(Fault::Usage(format!("{}: this is a folder: name a file", path.display())));
                }
                let made = File::create(&part).map_err(usage)?;
                file = Some((made.try_clone().map_err(usage)?, part.clone(), path.clone()));
                Box::new(made)
            }
        };
        let out = BufWriter::with_capacity(1 << 16, out);
        let out = if arguments.zstd {
            Out::Packed(zstd::Encoder::new(out, ZSTD_LEVEL).map_err(|error| not_written(&error))?)
        } else {
            Out::Plain(out)
        };
        Ok(Self { out, file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let written = match &mut self.out {
            Out::Plain(out) => out.write_all(bytes),
            Out::Packed(out) => out.write_all(bytes),
        };
        written.map_err(|error| not_written(&error))
    }

    /// Makes everything durable and gives the file its name.
    fn finish(self) -> Result<(), Fault> {
        let Self { out, file } = self;
        let finish = move || {
            let mut out = match out {
                Out::Plain(out) => out,
                Out::Packed(out) => out.finish()?,
            };
            out.flush()?;
            let Some((file, part, path)) = file else { return Ok(()) };
            file.sync_all()?;
            fs::rename(part, &path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        finish().map_err(|error: io::Error| not_written(&error))
    }

    /// Leaves nothing behind.
    fn give_up(self) {
        if let Some((_, part, _)) = self.file {
            // What is left there is overwritten by the next export.
            let _left = fs::remove_file(part);
        }
    }
}

fn not_written(error: &io::Error) -> Fault {
    Fault::Stopped(format!("the events cannot be written: {error}"))
}
