//! Transcripts: a script of requests goes in, what the server answered comes out, as a story that a reviewer reads.
//!
//! ```text
//! # a comment, copied into the transcript
//! --- POST /tally/e
//! content-type: application/json
//!
//! {"type":"add","time":"2026-05-01T10:00:00Z","data":{"item":"apples","n":3}}
//! --- let key = /events/0/key          a value of the last answer, used as {key} below
//! --- GET /tally/total?key=apples
//! --- let tag = etag                   a header of the last answer
//! --- crash                            kill -9 and start again
//! --- forget                           kill -9, delete the data and start again
//! ```
//! A body under `content-encoding: gzip` is written as text and sent packed. What differs from run to run (origins,
//! checks, files, times of now) is replaced by its name.

use super::client::{Answer, Client};
use super::server::Server;
use anyhow::{Context, Result};
use flate2::Compression;
use flate2::read::GzEncoder;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;

/// Headers that a transcript shows.
const SHOWN: &[&str] =
    &["content-type", "retry-after", "allow", "access-control-allow-origin", "preference-applied"];

/// Plays `script` against `server` and gives the transcript.
pub fn play(server: &mut Server, script: &str) -> Result<String> {
    play_telling(server, script, &mut |_, _| {})
}

/// The same; `told` hears of each request, its method and target, and of its answer.
pub fn play_telling(
    server: &mut Server,
    script: &str,
    told: &mut dyn FnMut(&str, &Answer),
) -> Result<String> {
    let (mut out, mut values, mut last) = (String::new(), BTreeMap::new(), None);
    let mut client = server.client()?;
    for step in steps(script) {
        let (line, rest) = step.split_once('\n').unwrap_or((step, ""));
        if let Some(comment) = line.strip_prefix('#') {
            writeln!(out, "#{comment}")?;
        } else if let Some(binding) = line.strip_prefix("--- let ") {
            let (name, place) = binding.split_once(" = ").context("--- let NAME = PLACE")?;
            let answer = last.as_ref().context("a request before `let`")?;
            values.insert(name.trim().to_owned(), taken(answer, place.trim())?);
        } else if line == "--- crash" || line == "--- forget" {
            if line == "--- forget" {
                server.kill()?;
                std::fs::remove_dir_all(server.folder().join("data"))?;
            }
            server.crash_and_restart()?;
            client = server.client()?;
            writeln!(out, "{line}\n")?;
        } else if let Some(request) = line.strip_prefix("--- ") {
            let asked = filled(request, &values);
            let answer = perform(&mut client, server, &asked, &filled(rest, &values))?;
            told(&asked, &answer);
            writeln!(out, "--- {request}\n{}", rest.trim_end())?;
            writeln!(out, "{}", shown(&answer))?;
            last = Some(answer);
        }
    }
    Ok(out)
}

/// The script's parts: comment lines, and steps with the lines that belong to them.
fn steps(script: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in script.split_inclusive('\n') {
        if line.starts_with("--- ") || line.starts_with('#') {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([script.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| script.get(*start..end)).map(str::trim_end).collect()
}

/// What stands at `place` of an answer: a JSON pointer, or the name of a header.
fn taken(answer: &Answer, place: &str) -> Result<String> {
    if !place.starts_with('/') {
        return answer.header(place).map(str::to_owned).with_context(|| format!("no header {place}"));
    }
    let json = answer.json();
    let value = json.pointer(place).with_context(|| format!("no {place} in {}", answer.text()))?;
    Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn filled(text: &str, values: &BTreeMap<String, String>) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn perform(client: &mut Client, server: &Server, request: &str, rest: &str) -> Result<Answer> {
    let (method, target) = request.split_once(' ').context("METHOD TARGET")?;
    let (head, body) = rest.split_once("\n\n").map_or((rest, ""), |(head, body)| (head, body));
    let (head, body) = if rest.starts_with('\n') { ("", rest.trim_start()) } else { (head, body) };
    let headers: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let mut bytes = body.as_bytes().to_vec();
    if headers.contains(&("content-encoding", "gzip")) {
        bytes.clear();
        GzEncoder::new(body.as_bytes(), Compression::default()).read_to_end(&mut bytes)?;
    }
    let answer = client.send(method, target, &headers, &bytes);
    if !matches!(&answer, Ok(answer) if answer.header("connection") != Some("close")) {
        *client = server.client()?;
    }
    answer.with_context(|| format!("{method} {target}"))
}

fn shown(answer: &Answer) -> String {
    let mut out = format!("=> {}\n", answer.status);
    for (name, value) in answer.headers.iter().filter(|(name, _)| SHOWN.contains(&name.as_str())) {
        writeln!(out, "{name}: {value}").expect("a string takes all");
    }
    out.push_str(&redact(&String::from_utf8_lossy(&answer.body)));
    out.push('\n');
    out
}

/// Replaces what differs from run to run: origins, checks, cursors, libraries and where they lie, and the server's own
/// time.
pub fn redact(text: &str) -> String {
    let mut text =
        replace_hex(text, 16, "<origin>", |before, after| !before.ends_with('~') && after.starts_with(':'));
    text = replace_hex(&text, 8, "<check>", |before, _| before.ends_with('~'));
    text = replace_hex(&text, 16, "<origin>", |before, _| before.ends_with("\"origin\":\""));
    for name in ["now", "cursor", "file", "library"] {
        text = replace_member(&text, name);
    }
    without_request_id(text)
}

/// Every problem names its request; a transcript does without.
fn without_request_id(mut text: String) -> String {
    const MARK: &str = ",\"request_id\":\"";
    while let Some(start) = text.find(MARK) {
        let value = start + MARK.len();
        let Some(length) = text.get(value..).and_then(|rest| rest.find('"')) else { break };
        text.replace_range(start..=value + length, "");
    }
    text
}

/// Replaces runs of exactly `digits` hex digits whose surroundings fit.
fn replace_hex(text: &str, digits: usize, name: &str, fits: impl Fn(&str, &str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, found) = rest.split_at(start);
        let end = found.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(found.len());
        let (run, after) = found.split_at(end);
        out.push_str(before);
        out.push_str(if run.len() == digits && fits(&out, after) { name } else { run });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Replaces the text value of the JSON member `name`.
fn replace_member(text: &str, name: &str) -> String {
    let mark = format!("\"{name}\":\"");
    let Some((before, rest)) = text.split_once(&mark) else { return text.to_owned() };
    let after = rest.find('"').and_then(|end| rest.get(end..)).unwrap_or_default();
    format!("{before}{mark}<{name}>{}", replace_member(after, name))
}
