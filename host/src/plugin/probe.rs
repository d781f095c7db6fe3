//! Tries a plugin in a child process: whatever kills a process when a library is opened, checks itself or is
//! configured kills the child.
//!
//! The child is this program again with a hidden subcommand. It reads a `Task` from standard input, does
//! what the host is about to do, and writes one JSON line to standard output; how it ends after that line
//! does not matter.

use super::load_error::LoadError;
use super::loader;
use super::module::{Configuration, Module};
use crate::problem::Code;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The hidden subcommand under which the program tries a plugin.
pub const SUBCOMMAND: &str = "plugin-probe";

/// How much of the child's output is kept, in bytes.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;

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
    /// The usual probe: `program`, 5 seconds.
    pub fn new(program: PathBuf) -> Self {
        Self { program, deadline: Duration::from_secs(5) }
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

/// What the child found.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    /// Nothing wrong.
    Sound,
    /// A stable code and a sentence.
    Unsound { code: String, detail: String },
}

/// The probe child: tries what standard input says, answers on standard output, and returns the exit code.
pub fn main() -> i32 {
    let mut task = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut task);
    let Ok(task) = read.and_then(|_| Ok(serde_json::from_slice::<Task>(&task)?)) else {
        return 64;
    };
    let found = match attempt(&task) {
        Ok(()) => Found::Sound,
        Err(error) => Found::Unsound { code: error.code().word().to_owned(), detail: error.to_string() },
    };
    let Ok(mut line) = serde_json::to_string(&found) else { return 70 };
    line.push('\n');
    let mut out = io::stdout().lock();
    let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    i32::from(written.is_err())
}

fn attempt(task: &Task) -> Result<(), LoadError> {
    let module = Module::new(loader::open(&task.copy, &task.entry)?);
    let manifest = module.manifest()?;
    module.self_check(&manifest.name)?;
    module.configure(&manifest, 0, [0; 32], &task.configuration)?;
    Ok(())
}

/// Tries the private copy `copy` in a child process.
pub(super) fn run(
    probe: &Probe,
    copy: &Path,
    entry: &str,
    configuration: &Configuration,
) -> Result<(), LoadError> {
    let failed = |source| LoadError::ProbeStart { program: probe.program.clone(), source };
    let task = Task { copy: copy.to_owned(), entry: entry.to_owned(), configuration: configuration.clone() };
    let task = serde_json::to_vec(&task).map_err(|error| failed(error.into()))?;
    let mut child = Command::new(&probe.program)
        .arg(SUBCOMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let outcome = converse(&mut child, task, probe.deadline);
    // The child has answered, has died, or is late: in each case nothing more is wanted of it.
    child.kill().map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    let Some((answer, said)) = outcome else {
        let deadline_ms = u64::try_from(probe.deadline.as_millis()).unwrap_or(u64::MAX);
        return Err(LoadError::ProbeTimeout { deadline_ms });
    };
    match answer.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        Some(Found::Sound) => Ok(()),
        Some(Found::Unsound { code, detail }) => {
            let known = Code::ALL.iter().find(|known| known.word() == code);
            Err(LoadError::Probed { code: *known.unwrap_or(&Code::PluginProbeCrashed), detail })
        }
        None => Err(LoadError::ProbeCrashed { how: how_it_ended(status), said }),
    }
}

/// Hands the task over and waits for the end of both outputs; none if that takes too long. The threads may
/// outlive a child that is late, until it is killed.
fn converse(child: &mut Child, task: Vec<u8>, deadline: Duration) -> Option<(String, String)> {
    let (mut stdin, stdout, stderr) = (child.stdin.take()?, child.stdout.take()?, child.stderr.take()?);
    let (answer, answered) = mpsc::channel();
    let (words, said) = mpsc::channel();
    thread::spawn(move || {
        // A child that died early closes its input; its end then tells more than this error.
        let _unread: io::Result<()> = stdin.write_all(&task);
    });
    thread::spawn(move || answer.send(read_some(stdout)));
    thread::spawn(move || words.send(read_some(stderr)));
    let answer = answered.recv_timeout(deadline).ok()?;
    // The answer is there; a straggler that keeps standard error open is not waited for again.
    let said = said.recv_timeout(Duration::from_millis(100)).unwrap_or_default();
    let skip = said.trim().chars().count().saturating_sub(SAID_CHARS_MAX);
    let said = said.trim().chars().skip(skip).map(|char| if char.is_control() { ' ' } else { char });
    Some((answer, said.collect()))
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
