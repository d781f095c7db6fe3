//! `laterbase import`: the events of a file, written through a running server.
//!
//! ```text
//! file ─ window ─ rows ─ mapping ─► batches of 1,000 ─► several requests in flight ─► answers in the file's order
//!          a thread of its own          a short queue          POST /ROOT/e?atomic=false      report, position
//! ```
//! The server is asked as every client asks it, so types, Schemas, the clock and durability are its own, and other
//! clients go on being served. Rows are refused one by one; the others are written. Every event has a key that the file
//! decides (`table`, `lines`), so importing a file again, or what was broken off, writes nothing twice.
//!
//! A dry run sends the same requests with `dry_run=true` and reports what the import would. What the requests would do
//! to each other the server does not know; `repeats` does.
//!
//! Memory is bounded whatever the file holds: a window of one row of the longest that is taken, a few batches, the
//! refusals that are shown, and in a dry run 16 bytes an event up to a bound.
//!
//! Not taken over from elsewhere: no guessing of formats, zones, encodings or delimiters. What is not said is refused,
//! by row and column, because a wrong guess writes events that never change.

mod arguments;
mod batch;
mod cell;
mod input;
mod lines;
mod mapping;
mod position;
mod progress;
mod refusal;
mod repeats;
mod report;
mod scan;
mod send;
mod table;
mod time;

pub(super) use arguments::ImportArguments;
pub use refusal::ROW_CODES;

use super::{EXIT_IO, EXIT_USAGE, fail};
use crate::core::frames;
use crate::core::name::is_name;
use crate::peers::{Client, Tcp};
use crate::sync::ExchangeError;
use arguments::Format;
use batch::{Batches, Reading};
use input::{Input, Place};
use mapping::{Mapping, Plan};
use position::Position;
use progress::Progress;
use refusal::Refusal;
use report::{Counts, Report};
use scan::{Form, Rows};
use send::{Delivered, Target};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use table::Table;
use time::Clock;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// Batches that are read ahead.
const READ_AHEAD: usize = 4;

/// Why an import does not begin, or stops.
#[derive(Debug)]
enum Fault {
    /// What is asked for cannot be; nothing was sent.
    Usage(String),
    /// It stopped before the end of the file.
    Stopped(String),
}

pub(super) fn run(arguments: &ImportArguments) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(1, &format!("no threads to run on: {fault}")),
    };
    let (mut import, batches) = match Import::begin(arguments, &runtime) {
        Ok(begun) => begun,
        Err(Fault::Usage(fault)) => return fail(EXIT_USAGE, &fault),
        Err(Fault::Stopped(fault)) => return fail(EXIT_IO, &fault),
    };
    let ended = import.run(batches, &runtime);
    let flushed = import.report.flush().map(drop);
    if import.is_dry {
        say!("dry run: nothing is written");
    }
    if let Err(fault) = import.report.show(&mut std::io::stdout()) {
        return fail(EXIT_IO, &format!("the report cannot be printed: {fault}"));
    }
    match ended.and(flushed) {
        Ok(()) if import.report.counts.refused == 0 => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(1),
        Err(Fault::Usage(fault) | Fault::Stopped(fault)) => {
            fail(EXIT_IO, &format!("{fault}\nstopped before the end: run it again to go on"))
        }
    }
}

/// An import under way.
struct Import {
    target: Target,
    report: Report,
    progress: Option<Progress>,
    /// Where it is kept how far it is, and what is kept.
    position: Option<(PathBuf, Position)>,
    is_dry: bool,
    /// Rows that earlier runs did.
    rows_before: u64,
    /// How far the file is used by what the report holds.
    place: Option<Place>,
}

impl Import {
    /// Checks all that can be checked before a row is sent.
    fn begin(arguments: &ImportArguments, runtime: &Runtime) -> Result<(Self, Batches), Fault> {
        let (format, delimiter) = arguments.format().map_err(Fault::Usage)?;
        let mapping = match format {
            Format::Csv => arguments.mapping(delimiter).map_err(Fault::Usage)?,
            _ if arguments.map.is_some() || arguments.columns.any() => {
                return Err(Fault::Usage("only CSV has columns to map: say --format csv".to_owned()));
            }
            Format::Ndjson | Format::Binary | Format::Named(_) => Mapping::default(),
        };
        own_files(arguments)?;
        runtime.block_on(look_at(arguments))?;
        let mut input = Input::open(&arguments.file)?;
        if format != Format::Binary {
            batch::begin(&mut input, mapping.encoding.unwrap_or_default())?;
        }
        let (reading, form, plan, mut last) = reading(&format, &mapping, &mut input)?;
        let task = format!("{}\n{}\n{format:?}\n{mapping:?}", arguments.server, arguments.root);
        let position = position(arguments, &blake3::hash(task.as_bytes()).to_hex(), &mut input)?;
        let kept = position.as_ref().map(|(_, position)| position.clone());
        let counts = kept.as_ref().map(|kept| kept.counts.clone()).unwrap_or_default();
        let report_bytes = kept.map_or(0, |kept| kept.report_bytes);
        last = last.max(counts.last);
        let rows_before = counts.rows;
        let mut report = Report::new(counts, arguments.dry_run, plan);
        if let Some(path) = &arguments.report {
            report.write_to(path, report_bytes)?;
        }
        let import = Self {
            target: target(arguments, &format),
            report,
            progress: Some(Progress::new(&arguments.root, input.progress(), input.length())),
            position,
            is_dry: arguments.dry_run,
            rows_before,
            place: None,
        };
        Ok((import, Batches::new(input, reading, form, last)))
    }

    /// Sends all batches and takes their answers, then forgets the position.
    fn run(&mut self, mut batches: Batches, runtime: &Runtime) -> Result<(), Fault> {
        let (queue, read) = mpsc::channel(READ_AHEAD);
        let reader = std::thread::Builder::new().name("laterbase-read".to_owned());
        let reading = reader.spawn(move || {
            while let Some(batch) = batches.next().transpose() {
                let is_fault = batch.is_err();
                // The other side is gone where an answer was a fault.
                if queue.blocking_send(batch).is_err() || is_fault {
                    return;
                }
            }
        });
        drop(reading.map_err(|fault| Fault::Stopped(format!("no thread to read on: {fault}")))?);
        let target = self.target.clone();
        let ended =
            LocalSet::new().block_on(runtime, async { self.take_all(send::start(target, read)).await });
        if let Some(progress) = self.progress.take() {
            progress.end();
        }
        if let Err(fault) = ended {
            self.keep()?;
            return Err(fault);
        }
        if let Some((path, _)) = &self.position {
            // There is none where the file was short.
            let _absent = std::fs::remove_file(path);
        }
        Ok(())
    }

    /// Takes the answers in the order of the file.
    async fn take_all(&mut self, mut answers: mpsc::Receiver<Result<Delivered, Fault>>) -> Result<(), Fault> {
        let mut waiting: BTreeMap<u64, Delivered> = BTreeMap::new();
        let (mut next, mut kept) = (0, Instant::now());
        while let Some(delivered) = answers.recv().await {
            let (batch, answer) = delivered?;
            waiting.insert(batch.number, (batch, answer));
            while let Some((batch, answer)) = waiting.remove(&next) {
                next += 1;
                let place = batch.place.clone();
                self.report.take(batch, &answer)?;
                self.place = Some(place);
                if kept.elapsed() >= position::EVERY {
                    self.keep()?;
                    kept = Instant::now();
                }
            }
            if let Some(progress) = &mut self.progress {
                let rows = self.report.counts.rows;
                progress.show(rows, rows.saturating_sub(self.rows_before));
            }
        }
        Ok(())
    }

    /// Keeps how far it is. Where that cannot be written the import goes on: it can be run again from the start.
    fn keep(&mut self) -> Result<(), Fault> {
        let Some(((path, position), place)) = self.position.as_ref().zip(self.place.clone()) else {
            return Ok(());
        };
        let report_bytes = self.report.flush()?;
        if let Err(fault) = position.at(place, &self.report.counts, report_bytes).write(path) {
            warn!("laterbase: {}: {fault}: --resume will not know how far this import was", path.display());
            self.position = None;
        }
        Ok(())
    }
}

fn target(arguments: &ImportArguments, format: &Format) -> Target {
    let mut path = format!("/{}/e?atomic=false", arguments.root);
    if arguments.dry_run {
        path.push_str("&dry_run=true");
    }
    let named = match format {
        Format::Named(name) => Some(name),
        Format::Ndjson | Format::Csv | Format::Binary => None,
    };
    if let Some(name) = named {
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        path.push_str("&format=");
        path.extend(name);
    }
    Target {
        server: arguments.server.clone(),
        path,
        media_type: if *format == Format::Binary {
            "application/vnd.laterbase.events"
        } else {
            "application/x-ndjson"
        },
        lists: arguments.dry_run || named.is_some(),
        in_order: named.is_some(),
    }
}

/// Refuses to write over what is read: the report and the position have files of their own.
fn own_files(arguments: &ImportArguments) -> Result<(), Fault> {
    let same = |one: &Path, other: &Path| {
        let file = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
        matches!((file(one), file(other)), (Ok(one), Ok(other)) if one == other)
    };
    let state = arguments.state.clone().or_else(|| position::beside(&arguments.file));
    let read = [Some(arguments.file.as_path()), arguments.map.as_deref()];
    for (flag, written) in [("--report", arguments.report.as_deref()), ("--state", state.as_deref())] {
        let Some(written) = written else { continue };
        if let Some(read) = read.iter().flatten().find(|read| same(read, written)) {
            let why = format!("{flag} would write over {}: name another file", read.display());
            return Err(Fault::Usage(why));
        }
    }
    Ok(())
}

/// Asks whether the server is there and has the root.
async fn look_at(arguments: &ImportArguments) -> Result<(), Fault> {
    if !is_name(&arguments.root) {
        return Err(Fault::Usage(format!("{:?} is no root's name", arguments.root)));
    }
    let mut client = Client::new(Tcp, arguments.server.clone(), "", Arc::default());
    match client.get(&format!("/{}", arguments.root)).await {
        Ok(_) => Ok(()),
        Err(ExchangeError::Refused { status, code, detail }) if status < 500 => {
            Err(Fault::Usage(format!("{}: {code}: {detail}", arguments.server)))
        }
        Err(fault) => Err(Fault::Stopped(format!("{}: {fault}", arguments.server))),
    }
}

/// What [`reading`] finds.
type Read = (Reading, Form, Option<Arc<Plan>>, u64);

/// How the rows are read, by what columns, and how many rows the header took.
fn reading(format: &Format, mapping: &Mapping, input: &mut Input) -> Result<Read, Fault> {
    match format {
        Format::Ndjson => {
            let clock = Clock::new(None, None, None).map_err(Fault::Usage)?;
            Ok((Reading::Lines(clock), Form::Lines, None, 0))
        }
        Format::Named(_) => Ok((Reading::Intake, Form::Lines, None, 0)),
        Format::Binary => {
            let name = input.name().to_owned();
            let usage = |why: &dyn std::fmt::Display| Fault::Usage(format!("{name}: {why}"));
            while input.data().len() < frames::HEAD.len() && !input.is_at_end() {
                input.fill()?;
            }
            let head = frames::read_head(input.data()).map_err(|fault| usage(&fault))?;
            let head = head.ok_or_else(|| usage(&"it is cut off before its first frame"))?;
            input.consume(head);
            Ok((Reading::Frames, Form::Frames, None, 0))
        }
        Format::Csv => {
            let usage = |name: &str, why: &str| Fault::Usage(format!("{name}: {why}"));
            let name = input.name().to_owned();
            let delimiter = mapping.delimiter().map_err(|why| usage(&name, &why))?;
            let encoding = mapping.encoding.unwrap_or_default();
            let mut rows = Rows::behind(0, Form::Csv(delimiter));
            let header = rows.next(input)?.ok_or_else(|| usage(&name, "it is empty: there is no header"))?;
            if let Some(Refusal { row, column, code, detail }) = header.bad {
                let column = if column.is_empty() { column } else { format!(", {column}") };
                return Err(usage(&name, &format!("the header, row {row}{column}: {code}: {detail}")));
            }
            let text = input.data().get(..header.length).unwrap_or_default();
            let columns = table::header(text, delimiter, encoding).map_err(|why| usage(&name, &why))?;
            let plan = Arc::new(mapping.plan(columns).map_err(|why| usage(&name, &why))?);
            input.consume(header.total);
            let table = Table::new(Arc::clone(&plan), delimiter, encoding);
            Ok((Reading::Table(Box::new(table)), Form::Csv(delimiter), Some(plan), header.number))
        }
    }
}

/// Where to keep how far it is; with `--resume`, moves the input to where it was.
fn position(
    arguments: &ImportArguments,
    task: &str,
    input: &mut Input,
) -> Result<Option<(PathBuf, Position)>, Fault> {
    let path = arguments.state.clone().or_else(|| position::beside(&arguments.file));
    let Some((path, length)) = path.zip(input.length()).filter(|_| !arguments.dry_run) else {
        if arguments.resume {
            return Err(Fault::Usage("only an import of a file can be resumed: run it again".to_owned()));
        }
        return Ok(None);
    };
    if arguments.resume
        && let Some(kept) = Position::read(&path, task, length)?
    {
        if !input.skip_to(kept.offset)? || input.place().hash != kept.hash {
            let why = "the file is another one up to where its import was broken off: start without --resume";
            return Err(Fault::Usage(format!("{}: {why}", input.name())));
        }
        return Ok(Some((path, kept)));
    }
    let fresh = Position {
        task: task.to_owned(),
        length,
        offset: 0,
        hash: String::new(),
        report_bytes: 0,
        counts: Counts::default(),
    };
    Ok(Some((path, fresh)))
}
