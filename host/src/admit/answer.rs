//! What the client hears: the answer to a request that was taken in, or the problem that names every bad event.

use super::draft::BadEvent;
use super::mint::{Minted, MintedResult};
use super::writer::{Outcome, WriteError};
use crate::core::event::{EventKey, ValidTime};
use crate::core::knowledge::VersionVector;
use crate::problem::{Code, Problem};
use serde::Serialize;
use serde_json::{Value, json};

/// How many bad events a problem lists one by one; the rest is counted.
const LISTED_MAX: usize = 100;

/// What became of a request, once it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// How many events are new.
    pub written: usize,
    /// How many were known before.
    pub duplicate: usize,
    /// How many were refused (only with `?atomic=false`).
    pub rejected: usize,
    /// One answer an event, in request order; empty if the client asked for none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventAnswer>,
    /// The dots of this answer, for the caller to add to its own.
    pub vv: String,
    /// The server's wall clock, RFC 3339 in UTC with milliseconds.
    pub now: String,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct EventAnswer {
    /// Its key as text; none if it was refused before it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `written`, `duplicate` or `rejected`.
    pub status: &'static str,
    /// The dot under which it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dot: Option<String>,
    /// The id that the client sent, or that the intake derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Why it was rejected: a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Why it was rejected, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Where in the body, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What else is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Fault>,
    /// In a dry run: what tells whether an event of another request with this key is this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// What besides its key decides whether an event is the same as another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The version that its data is written in, given or the newest.
    pub version: u32,
    /// 16 hex digits that stand for its type and data.
    pub content: String,
    /// The key is derived from the content, so that an equal key is enough.
    pub same_key_is_same_event: bool,
}

/// The identities of the events that went to the writer, by index in the request.
pub(super) fn identities(events: &[Minted]) -> Vec<(usize, Identity)> {
    let identity = |event: &Minted| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&event.type_number.to_be_bytes()).update(&event.data);
        let mut content = [0; 8];
        hasher.finalize_xof().fill(&mut content);
        let content = data_encoding::HEXLOWER.encode(&content);
        let Minted { version, same_key_is_same_event, .. } = *event;
        (event.at, Identity { version, content, same_key_is_same_event })
    };
    events.iter().map(identity).collect()
}

/// One more thing that is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where in the body, as a JSON pointer.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

/// The good events in request order, for the writer, and the bad ones by index. `repeats` then counts in the list of
/// the good.
pub(super) fn split(events: Vec<MintedResult>) -> (Vec<Minted>, Vec<(usize, BadEvent)>) {
    let mut bad = Vec::new();
    let parted = events.into_iter().enumerate().filter_map(|(at, event)| match event {
        Ok(event) => Some(event),
        Err(fault) => {
            bad.push((at, fault));
            None
        }
    });
    let mut good: Vec<Minted> = parted.collect();
    if !bad.is_empty() {
        for event in &mut good {
            // As many as stand before it and are bad.
            event.repeats = event.repeats.map(|first| first - bad.partition_point(|(at, _)| *at < first));
        }
    }
    (good, bad)
}

/// The answer to a request that is durable.
pub(super) fn build(
    sent: Vec<Minted>,
    (outcomes, vv): (&[Outcome], &VersionVector),
    bad: Vec<(usize, BadEvent)>,
    now: ValidTime,
    minimal: bool,
) -> Answer {
    let mut events: Vec<EventAnswer> = Vec::new();
    if !minimal {
        events.resize_with(sent.len() + bad.len(), EventAnswer::default);
    }
    let mut counts = [0_usize; 3];
    for (sent, outcome) in sent.into_iter().zip(outcomes) {
        let status = match outcome {
            Outcome::Written(_) | Outcome::Fit => "written",
            Outcome::Duplicate(_) => "duplicate",
            Outcome::Clash => "rejected",
        };
        *counts.get_mut(usize::from(outcome_index(outcome))).expect("three statuses") += 1;
        let Some(place) = events.get_mut(sent.at) else { continue };
        *place = EventAnswer {
            key: Some(sent.key.to_string()),
            status,
            dot: outcome.dot().map(|dot| dot.to_string()),
            id: sent.id,
            ..EventAnswer::default()
        };
        if *outcome == Outcome::Clash {
            place.code = Some(Code::Clash.word());
            place.detail = Some(clash_detail(sent.key));
            place.pointer = Some(sent.pointer.to_string());
        }
    }
    let [written, duplicate, clashes] = counts;
    let rejected = clashes + bad.len();
    for (at, bad) in bad {
        if let Some(place) = events.get_mut(at) {
            *place = rejection(bad);
        }
    }
    Answer { written, duplicate, rejected, events, vv: vv.to_string(), now: now.to_string() }
}

fn outcome_index(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Written(_) | Outcome::Fit => 0,
        Outcome::Duplicate(_) => 1,
        Outcome::Clash => 2,
    }
}

/// The answer to a request of which nothing could be written, though it may be written in part.
pub(super) fn nothing_written(events: Vec<MintedResult>, now: ValidTime, minimal: bool) -> Answer {
    let rejected = events.len();
    let listed = events.into_iter().filter_map(Result::err).map(rejection);
    Answer {
        written: 0,
        duplicate: 0,
        rejected,
        events: if minimal { Vec::new() } else { listed.collect() },
        vv: String::new(),
        now: now.to_string(),
    }
}

fn rejection(bad: BadEvent) -> EventAnswer {
    EventAnswer {
        status: "rejected",
        code: Some(bad.code.word()),
        detail: Some(bad.detail),
        pointer: Some(bad.pointer),
        others: bad.others.into_iter().map(|(pointer, detail)| Fault { pointer, detail }).collect(),
        ..EventAnswer::default()
    }
}

/// The refusal of a whole request: the first bad event decides the code, all are listed.
pub(super) fn refusal(events: &[MintedResult]) -> Problem {
    let bad: Vec<_> =
        events.iter().enumerate().filter_map(|(at, event)| Some((at, event.as_ref().err()?))).collect();
    let listed = bad.iter().take(LISTED_MAX).map(|(at, bad)| {
        let mut entry =
            json!({"index": at, "pointer": bad.pointer, "code": bad.code.word(), "detail": bad.detail});
        if let (Some(other), Some(entry)) = (bad.other, entry.as_object_mut()) {
            entry.insert("other".to_owned(), other.into());
        }
        if let (false, Some(entry)) = (bad.others.is_empty(), entry.as_object_mut()) {
            let others = bad.others.iter();
            let others = others.map(|(pointer, detail)| json!({"pointer": pointer, "detail": detail}));
            entry.insert("others".to_owned(), others.collect());
        }
        entry
    });
    let (at, first) = bad.first().expect("only called for a request with a bad event");
    refused(first.code, format!("event {at}: {}", first.detail), listed.collect(), bad.len())
}

/// The refusal of a whole request because keys hold other values.
pub(super) fn clashes(sent: &[Minted], clashes: &[usize]) -> Problem {
    let bad: Vec<&Minted> = clashes.iter().filter_map(|at| sent.get(*at)).collect();
    let listed = bad.iter().take(LISTED_MAX).map(|sent| {
        let detail = clash_detail(sent.key);
        json!({"index": sent.at, "pointer": sent.pointer.to_string(), "code": Code::Clash.word(), "detail": detail})
    });
    let first = bad.first().expect("only called for a request with a clash");
    let detail = format!("event {}: {}", first.at, clash_detail(first.key));
    refused(Code::Clash, detail, listed.collect(), bad.len())
}

fn refused(code: Code, detail: String, listed: Vec<Value>, bad: usize) -> Problem {
    let more = bad - listed.len();
    let detail = if bad > 1 { format!("{detail} ({bad} bad events in all)") } else { detail };
    let problem = Problem::new(code, detail).with("events", listed);
    if more > 0 { problem.with("more", more) } else { problem }
}

fn clash_detail(key: EventKey) -> String {
    format!("the key {key} already holds another value; events never change: give this one a key of its own")
}

/// Why the writer gave no outcome.
pub(super) fn write_problem(fault: &WriteError) -> Problem {
    match fault {
        WriteError::QueueFull => {
            Problem::new(Code::Overloaded, "too many events wait to be written; send again").retry_after(1)
        }
        WriteError::Stopped => {
            Problem::new(Code::Draining, "the server is shutting down; send again").retry_after(5)
        }
        WriteError::Tables(fault) => fault.problem(),
    }
}
