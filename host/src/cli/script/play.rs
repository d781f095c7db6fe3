//! Plays a script against a server and writes down what it answers.

use super::client::{Answer, Client};
use super::redact::redact;
use super::server::Server;
use super::steps::{Does, head_and_body, steps};
use super::{Fault, What};
use flate2::Compression;
use flate2::read::GzEncoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Read};

/// Headers that a transcript shows.
const SHOWN: &[&str] =
    &["content-type", "retry-after", "allow", "access-control-allow-origin", "preference-applied"];

/// Plays `script` against `server` and gives the transcript.
pub fn play(server: &mut Server, script: &str) -> Result<String, Fault> {
    play_telling(server, script, &mut |_, _| {})
}

/// The same; `told` hears of each request, its method and target, and of its answer.
pub fn play_telling(
    server: &mut Server,
    script: &str,
    told: &mut dyn FnMut(&str, &Answer),
) -> Result<String, Fault> {
    let steps = steps(script)?;
    let mut stage = Stage::new(server, told);
    for step in steps {
        stage.play(&step.does).map_err(|what| Fault { line: step.line, what })?;
    }
    Ok(stage.out)
}

/// A script under way.
struct Stage<'s> {
    server: &'s mut Server,
    /// None: the next request opens one.
    client: Option<Client>,
    told: &'s mut dyn FnMut(&str, &Answer),
    /// What `let` remembers.
    values: BTreeMap<String, String>,
    last: Option<Answer>,
    out: String,
}

impl<'s> Stage<'s> {
    fn new(server: &'s mut Server, told: &'s mut dyn FnMut(&str, &Answer)) -> Self {
        Self { server, client: None, told, values: BTreeMap::new(), last: None, out: String::new() }
    }

    fn play(&mut self, does: &Does<'_>) -> Result<(), What> {
        match does {
            Does::Comment(text) => self.write(&["#", text, "\n"]),
            Does::Let { name, place } => {
                let value = taken(self.last.as_ref().ok_or(What::TooEarly)?, place)?;
                self.values.insert((*name).to_owned(), value);
            }
            Does::Crash => {
                self.client = None;
                self.server.crash_and_restart()?;
                self.write(&["--- crash\n\n"]);
            }
            Does::Forget => {
                self.client = None;
                self.server.forget_and_restart()?;
                self.write(&["--- forget\n\n"]);
            }
            Does::Ask { asked, rest } => {
                let filled_in = self.filled(asked);
                let answer = self.ask(&filled_in, &self.filled(rest));
                let answer =
                    answer.map_err(|source| What::Unanswered { asked: filled_in.clone(), source })?;
                (self.told)(&filled_in, &answer);
                self.write(&["--- ", asked, "\n", rest.trim_end(), "\n", &shown(&answer), "\n"]);
                self.last = Some(answer);
            }
        }
        Ok(())
    }

    fn write(&mut self, texts: &[&str]) {
        self.out.extend(texts.iter().copied());
    }

    fn filled(&self, text: &str) -> String {
        let values = self.values.iter();
        values.fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    fn ask(&mut self, asked: &str, rest: &str) -> io::Result<Answer> {
        let (method, target) = asked.split_once(' ').expect("a step has both");
        let (head, body) = head_and_body(rest);
        let headers: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(": ")).collect();
        let mut bytes = body.as_bytes().to_vec();
        if headers.contains(&("content-encoding", "gzip")) {
            bytes.clear();
            GzEncoder::new(body.as_bytes(), Compression::default()).read_to_end(&mut bytes)?;
        }
        let mut client = self.client.take().map_or_else(|| self.server.client(), Ok)?;
        let answer = client.send(method, target, &headers, &bytes)?;
        self.client = Some(client).filter(|_| answer.header("connection") != Some("close"));
        Ok(answer)
    }
}

/// What stands at `place` of an answer: a JSON pointer, or the name of a header.
fn taken(answer: &Answer, place: &str) -> Result<String, What> {
    let missing = || {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        What::Missing { place: place.to_owned(), status: answer.status, text }
    };
    if !place.starts_with('/') {
        return answer.header(place).map(str::to_owned).ok_or_else(missing);
    }
    let json: Value = serde_json::from_slice(&answer.body).map_err(|_| missing())?;
    let value = json.pointer(place).ok_or_else(missing)?;
    Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn shown(answer: &Answer) -> String {
    let mut out = format!("=> {}\n", answer.status);
    for (name, value) in answer.headers.iter().filter(|(name, _)| SHOWN.contains(&name.as_str())) {
        out.extend([name.as_str(), ": ", value.as_str(), "\n"]);
    }
    out.push_str(&redact(&String::from_utf8_lossy(&answer.body)));
    out.push('\n');
    out
}
