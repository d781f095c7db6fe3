//! `laterbase plugin test`: plays an author's scripts, each against a fresh server of its own, and compares what it
//! answers with the file beside the script.
//!
//! What `story.txt` is answered stands in `story.out`, so that both lie side by side in a listing and in a review,
//! and `scripts/*.txt` names the scripts alone. The server is this program as a user runs it, but that it dials no
//! peers, because what a test writes must not reach them.

use super::difference::difference;
use super::{Fault, Launch, Server, StartError, What, play, request, steps};
use crate::cli::{EXIT_USAGE, fail};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a script is written, for those who ask for help.
const FORMAT: &str = r#"A script is a list of steps:

  # a comment
  --- POST /demo/e
  content-type: application/json

  {"type":"scanned","time":"2026-05-01T10:00:00Z","id":"1","data":{"item":"apples","n":40}}
  --- let vv = /vv
  --- GET /demo/pieces?key=apples
  --- crash
  --- GET /demo/e?vv={vv}
  --- forget

`let` takes what stands at a JSON pointer of the last answer, or the header of that name; {vv} stands for it below.
`crash` kills the server and starts it again, `forget` also deletes its data in between. Give events an id and a time:
origins, checks, cursors and times of now are replaced by their names, keys that differ from run to run are not."#;

/// What `laterbase plugin test` takes.
#[derive(Debug, Args)]
#[command(after_long_help = FORMAT)]
pub(in crate::cli) struct TestArguments {
    /// The scripts; what NAME.txt is answered is compared with NAME.out beside it.
    #[arg(value_name = "SCRIPT", required = true)]
    scripts: Vec<PathBuf>,
    /// A folder of plugin libraries; may be repeated [default: the folder of this program].
    #[arg(long, value_name = "DIR")]
    plugins: Vec<PathBuf>,
    /// A configuration file, whose peers are not dialled [default: ./laterbase.toml if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write what is answered to the files, instead of comparing it with them.
    #[arg(long)]
    bless: bool,
}

/// A script and the file beside it.
struct Story {
    script: PathBuf,
    answers: PathBuf,
}

/// What came of a script.
enum Outcome {
    /// It is answered as the file says.
    Same,
    /// The lines that show how not.
    Differs(Vec<String>),
    /// There is no file to compare with.
    Missing,
    /// The file is written.
    New,
    /// The file is written, and was another before.
    Changed,
}

/// Why a script was not played to its end.
enum Stopped {
    /// It is the script's own fault, or that of the files beside it: the others are played.
    Script(String),
    /// No script can be played.
    All(ExitCode),
}

pub(in crate::cli) fn run(arguments: &TestArguments) -> ExitCode {
    let stories = match stories(&arguments.scripts) {
        Ok(stories) => stories,
        Err(fault) => return fail(EXIT_USAGE, &fault),
    };
    let scratch = std::env::temp_dir().join(format!("laterbase-test-{:016x}", rand::random::<u64>()));
    let tested = match fs::create_dir(&scratch) {
        Ok(()) => test(arguments, &stories, &scratch),
        Err(fault) => Err(fail(1, &format!("{}: {fault}", scratch.display()))),
    };
    // Nothing depends on the folder any more; it may not even have been made.
    let _removed = fs::remove_dir_all(&scratch);
    tested.unwrap_or_else(|exit| exit)
}

/// Each script with the file beside it, which belongs to no other.
fn stories(scripts: &[PathBuf]) -> Result<Vec<Story>, String> {
    let mut taken = BTreeMap::new();
    for script in scripts {
        let answers = script.with_extension("out");
        if answers == *script {
            return Err(format!("{}: files named .out hold answers, not scripts", script.display()));
        }
        if let Some(other) = taken.insert(answers.clone(), script) {
            let [other, script, answers] = [other, script, &answers].map(|path| path.display());
            return Err(format!("{other} and {script} are both answered in {answers}: rename one"));
        }
    }
    Ok(scripts
        .iter()
        .map(|script| Story { script: script.clone(), answers: script.with_extension("out") })
        .collect())
}

/// Plays all scripts and says what came of each.
fn test(arguments: &TestArguments, stories: &[Story], scratch: &Path) -> Result<ExitCode, ExitCode> {
    let (mut failed, mut differing, mut written) = (Vec::new(), false, 0);
    for (number, story) in stories.iter().enumerate() {
        match story.test(arguments, &scratch.join(number.to_string())) {
            Ok(outcome) => {
                for line in outcome.lines(story) {
                    say!("{line}");
                }
                match outcome {
                    Outcome::Same => {}
                    Outcome::New | Outcome::Changed => written += 1,
                    Outcome::Missing | Outcome::Differs(_) => {
                        differing = true;
                        failed.push(story.script.display().to_string());
                    }
                }
            }
            Err(Stopped::Script(fault)) => {
                say!("failed   {fault}");
                failed.push(story.script.display().to_string());
            }
            Err(Stopped::All(exit)) => return Err(exit),
        }
    }
    let written = if arguments.bless { format!(", {written} written") } else { String::new() };
    say!("{} played, {} failed{written}", stories.len(), failed.len());
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let hint = if differing { "; where the answers are meant to be so, --bless writes them" } else { "" };
    Err(fail(1, &format!("failed: {}{hint}", failed.join(", "))))
}

impl Outcome {
    /// What a person is told of it.
    fn lines(&self, Story { script, answers }: &Story) -> Vec<String> {
        let (script, answers) = (script.display(), answers.display());
        match self {
            Self::Same => vec![format!("same     {script}")],
            Self::New => vec![format!("new      {answers}")],
            Self::Changed => vec![format!("changed  {answers}")],
            Self::Missing => vec![format!("missing  {answers}: --bless writes what {script} is answered")],
            Self::Differs(lines) => {
                let first = format!("differs  {script} is not answered as in {answers}");
                [first].into_iter().chain(lines.iter().cloned()).collect()
            }
        }
    }
}

impl Story {
    fn test(&self, arguments: &TestArguments, folder: &Path) -> Result<Outcome, Stopped> {
        let script = read(&self.script).map_err(|fault| of_file(&self.script, &fault))?;
        // Whatever cannot be read is said before a server is started.
        steps::steps(&script).map_err(|fault| Stopped::Script(self.named(&fault)))?;
        let answered = ended(&self.play(arguments, &script, folder)?);
        let expected = match read(&self.answers) {
            Ok(expected) => Some(expected),
            Err(fault) if fault.kind() == ErrorKind::NotFound => None,
            Err(fault) => return Err(of_file(&self.answers, &fault)),
        };
        let outcome = match expected {
            Some(expected) if ended(&expected) == answered => return Ok(Outcome::Same),
            Some(_) if arguments.bless => Outcome::Changed,
            None if arguments.bless => Outcome::New,
            Some(expected) => {
                let file = self.answers.display().to_string();
                return Ok(Outcome::Differs(difference(&file, &expected, &answered)));
            }
            None => return Ok(Outcome::Missing),
        };
        fs::write(&self.answers, answered).map_err(|fault| of_file(&self.answers, &fault))?;
        Ok(outcome)
    }

    /// The transcript.
    fn play(&self, arguments: &TestArguments, script: &str, folder: &Path) -> Result<String, Stopped> {
        let launch = launch(arguments, folder).map_err(|fault| of_file(folder, &fault))?;
        let mut server = Server::start(launch).map_err(|fault| Stopped::All(refuse(&fault)))?;
        refused(&server).map_err(|fault| Stopped::All(fail(1, &fault)))?;
        play(&mut server, script).map_err(|fault| {
            let mut said = self.named(&fault);
            // A server that does not answer has said why, if it could.
            if let (What::Unanswered { .. }, Ok(log)) = (&fault.what, server.log()) {
                said = format!("{said}\n{}", log.trim_end());
            }
            Stopped::Script(said)
        })
    }

    fn named(&self, fault: &Fault) -> String {
        format!("{}, {fault}", self.script.display())
    }
}

/// A text file, whatever its lines end with.
fn read(path: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(path)?.replace("\r\n", "\n"))
}

/// The text with one end of line behind it, as files have it.
fn ended(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

fn of_file(path: &Path, fault: &io::Error) -> Stopped {
    Stopped::Script(format!("{}: {fault}", path.display()))
}

/// This program, run here as a user would, with data of its own in `folder`.
fn launch(arguments: &TestArguments, folder: &Path) -> io::Result<Launch> {
    fs::create_dir(folder)?;
    let data = folder.join("data");
    let mut given: Vec<OsString> = vec!["--without-peers".into(), "--data".into(), data.clone().into()];
    for (flag, path) in arguments
        .plugins
        .iter()
        .map(|path| ("--plugins", path))
        .chain(arguments.config.iter().map(|path| ("--config", path)))
    {
        given.extend([flag.into(), path.into()]);
    }
    Ok(Launch {
        program: (std::env::current_exe()?, Vec::new()),
        arguments: given,
        folder: std::env::current_dir()?,
        data,
        log: folder.join("log"),
    })
}

/// What the server says of its plugins, as far as it is of interest here.
#[derive(Deserialize)]
struct Listed {
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Plugin {
    file: Option<String>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    detail: String,
}

/// A script says nothing of a plugin that was refused.
fn refused(server: &Server) -> Result<(), String> {
    let answer =
        request(server.address(), "GET", "/_/plugins", &[], b"").map_err(|fault| fault.to_string())?;
    let Listed { plugins } = serde_json::from_slice(&answer.body).map_err(|fault| fault.to_string())?;
    for Plugin { file, error } in plugins {
        if let Some(Failure { code, detail }) = error {
            return Err(format!("{}: {code}: {detail}", file.unwrap_or_default()));
        }
    }
    Ok(())
}

/// The exit code of a server that does not start, after what it said.
fn refuse(fault: &StartError) -> ExitCode {
    let code = match fault {
        StartError::NotReady { code: Some(code), .. } => u8::try_from(*code).unwrap_or(1).max(1),
        StartError::NotReady { code: None, .. } | StartError::Io { .. } => 1,
    };
    fail(code, &fault.to_string())
}
