//! Tries a plugin in a child process: whatever kills a process when a library is opened, checks itself, is
//! configured or is put to the test of its laws kills the child.
//!
//! The child is this program again with a hidden subcommand. It reads a `Task` from standard input (a line of
//! JSON, behind it the events to try in postcard), does what the host is about to do, tries the laws ([`laws`]),
//! and writes JSON lines to standard output: what it tries next, and at last what it found; how it ends after
//! that line does not matter. Its memory is limited, so that a plugin that takes more and more of it ends the
//! child and not its neighbours.

use super::laws::{self, Broken, Sample, Tried};
use super::load_error::LoadError;
use super::loader;
use super::module::{Configuration, Module};
use crate::core::limits::PROBE_MEMORY_BYTES_MAX;
use crate::problem::Code;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// The hidden subcommand under which the program tries a plugin.
pub const SUBCOMMAND: &str = "plugin-probe";

/// How much of the child's output is kept, in bytes.
const OUTPUT_BYTES_MAX: u64 = 256 << 10;

/// How much of what the child wrote to standard error is shown, in characters.
const SAID_CHARS_MAX: usize = 400;

/// Which program tries plugins, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The program; it must answer to [`SUBCOMMAND`] with [`main`].
    pub program: PathBuf,
    /// How long it may take for one plugin.
    pub deadline: Duration,
}

impl Probe {
    /// The usual probe: `program`, 10 seconds: many times what an ordinary plugin needs.
    pub fn new(program: PathBuf) -> Self {
        Self { program, deadline: Duration::from_secs(10) }
    }
}

/// What the child is to try.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    /// The private copy.
    copy: PathBuf,
    /// The symbol of its entry.
    entry: String,
    /// What it is configured with.
    configuration: Configuration,
}

/// The events to try, by Root.
pub type Samples = BTreeMap<String, Vec<Sample>>;

/// What the laws of each Root's instance were tried on.
pub type Trials = BTreeMap<String, Tried>;

/// One line of the child's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// What is tried next.
    Trying(String),
    /// Nothing wrong.
    Sound(Trials),
    /// A law that does not hold.
    Broken(Box<Broken>),
    /// A stable code and a sentence.
    Unsound { code: String, detail: String },
}

impl Line {
    fn write(&self) -> io::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        let mut out = io::stdout().lock();
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

/// The probe child: tries what standard input says, answers on standard output, and returns the exit code.
pub fn main() -> i32 {
    let limit = Some(PROBE_MEMORY_BYTES_MAX);
    if setrlimit(Resource::As, Rlimit { current: limit, maximum: limit }).is_err() {
        return 71;
    }
    let Some((task, samples)) = read_task(io::stdin().lock()) else { return 64 };
    let found = match attempt(&task, &samples) {
        Ok(trials) => Line::Sound(trials),
        Err(LoadError::LawBroken(broken)) => Line::Broken(broken),
        Err(error) => Line::Unsound { code: error.code().word().to_owned(), detail: error.to_string() },
    };
    i32::from(found.write().is_err())
}

fn read_task(mut input: impl BufRead) -> Option<(Task, Samples)> {
    let (mut line, mut rest) = (String::new(), Vec::new());
    input.read_line(&mut line).ok()?;
    input.read_to_end(&mut rest).ok()?;
    Some((serde_json::from_str(&line).ok()?, postcard::from_bytes(&rest).ok()?))
}

fn write_task(task: &Task, samples: &Samples) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(task)?;
    bytes.push(b'\n');
    bytes.extend(postcard::to_allocvec(samples).map_err(io::Error::other)?);
    Ok(bytes)
}

fn attempt(task: &Task, samples: &Samples) -> Result<Trials, LoadError> {
    let told = |what: String| {
        // Nobody may be listening any more; the result will tell.
        let _written: io::Result<()> = Line::Trying(what).write();
    };
    told("opening the library".to_owned());
    let module = Module::new(loader::open(&task.copy, &task.entry)?);
    let manifest = module.manifest()?;
    told("self_check".to_owned());
    module.self_check(&manifest.name)?;
    told("configure".to_owned());
    let configure = || module.configure(&manifest, 0, [0; 32], &task.configuration);
    let (instances, twins) = (configure()?, configure()?);
    let mut trials = Trials::new();
    for (one, twin) in instances.iter().zip(&twins) {
        let root = &one.identity().root;
        let given = samples.get(root).map(Vec::as_slice).unwrap_or_default();
        let tried = laws::check(one, twin, given, &mut |what| told(format!("{what} of root {root}")));
        trials.insert(root.clone(), tried.map_err(LoadError::LawBroken)?);
    }
    Ok(trials)
}

/// Tries the private copy `copy` in a child process, its laws on `samples` and on made-up events.
pub(super) fn run(
    probe: &Probe,
    copy: &Path,
    entry: &str,
    configuration: &Configuration,
    samples: &Samples,
) -> Result<Trials, LoadError> {
    let failed = |source| LoadError::ProbeStart { program: probe.program.clone(), source };
    let task = Task { copy: copy.to_owned(), entry: entry.to_owned(), configuration: configuration.clone() };
    let task = write_task(&task, samples).map_err(failed)?;
    let mut child = Command::new(&probe.program)
        .arg(SUBCOMMAND)
        // What a dying child says is short without the names of functions that its host has not heard of.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let Told { in_time, lines, said } = converse(&mut child, task, probe.deadline);
    // The child has answered, has died, or is late: in each case nothing more is wanted of it.
    child.kill().map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    let mut lines = lines.iter().rev().map(|line| serde_json::from_str(line).ok());
    let mut last = lines.next().flatten();
    if !in_time {
        let deadline_ms = u64::try_from(probe.deadline.as_millis()).unwrap_or(u64::MAX);
        let during = last.as_ref().map(during).unwrap_or_default();
        return Err(LoadError::ProbeTimeout { deadline_ms, during });
    }
    if last.is_none() {
        // A line that broke off in the middle tells nothing; the one before it may.
        last = lines.next().flatten();
    }
    match last {
        Some(Line::Sound(trials)) => Ok(trials),
        Some(Line::Broken(broken)) => Err(LoadError::LawBroken(broken)),
        Some(Line::Unsound { code, detail }) => {
            let known = Code::ALL.iter().find(|known| known.word() == code);
            Err(LoadError::Probed { code: *known.unwrap_or(&Code::PluginProbeCrashed), detail })
        }
        trying => {
            let during = trying.as_ref().map(during).unwrap_or_default();
            Err(LoadError::ProbeCrashed { how: how_it_ended(status), during, said })
        }
    }
}

/// What was being tried, as the end of a sentence.
fn during(line: &Line) -> String {
    match line {
        Line::Trying(what) => format!(" while it tried {what}"),
        Line::Sound(_) | Line::Broken(_) | Line::Unsound { .. } => String::new(),
    }
}

/// What came from a child.
#[derive(Debug, Default)]
struct Told {
    /// It ended before the deadline.
    in_time: bool,
    /// The lines on standard output.
    lines: Vec<String>,
    /// The end of what it wrote to standard error.
    said: String,
}

/// Hands the task over and waits for the end of standard output. The threads may outlive a child that is late,
/// until it is killed.
fn converse(child: &mut Child, task: Vec<u8>, deadline: Duration) -> Told {
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Told::default();
    };
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (ended, end) = mpsc::channel();
    let (words, said) = mpsc::channel();
    thread::spawn(move || {
        // A child that died early closes its input; its end then tells more than this error.
        let _unread: io::Result<()> = stdin.write_all(&task);
    });
    let kept = Arc::clone(&lines);
    thread::spawn(move || {
        let output = BufReader::new(stdout.take(OUTPUT_BYTES_MAX)).split(b'\n');
        for line in output.map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        ended.send(())
    });
    thread::spawn(move || words.send(read_some(stderr)));
    let in_time = end.recv_timeout(deadline).is_ok();
    // The answer is there; a straggler that keeps standard error open is not waited for again.
    let wait = if in_time { Duration::from_millis(100) } else { Duration::ZERO };
    let said = said.recv_timeout(wait).unwrap_or_default();
    let skip = said.trim().chars().count().saturating_sub(SAID_CHARS_MAX);
    let said = said.trim().chars().skip(skip).map(|char| if char.is_control() { ' ' } else { char });
    let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    Told { in_time, lines, said: said.collect() }
}

fn read_some(from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before an error still counts.
    let _end: io::Result<usize> = from.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a child ended, in words; signals by their names.
fn how_it_ended(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        let code = status.code().unwrap_or_default();
        return format!("ended with code {code} and no result");
    };
    let name = match signal {
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return format!("died with signal {signal}"),
    };
    format!("died with {name}")
}
