//! Bytes that nobody in their senses sends: hooks may refuse them, but not panic.
//!
//! What counts as broken: a panic on an event that its own Schema admits, because it would be stored and then be
//! missing from every View; and bytes of states or deltas that are neither refused nor read as what they are. A panic
//! on what is refused anyway, or at the door, spoils one request only: it is a warning.

use super::broken::{Broken, Law, Shown, readable};
use super::material::{Event, Known, Source};
use super::subject::{Difference, Hook, Part, Subject};
use crate::core::event::{EventKey, ValidTime, Value};
use crate::plugin::call_error::CallError;
use crate::plugin::instance::event_ref;
use crate::plugin::services::Services;
use laterbase_plugin::Chance;

/// Spoilt copies of one event, state or delta.
const SPOILT_EACH: u64 = 4;
/// Events that are spoilt, of each type.
const EVENTS_MAX: usize = 24;
/// Texts of random bytes.
const RANDOM: u64 = 32;

/// Warnings are kept up to so many.
const WARNINGS_MAX: usize = 8;

/// What is odd, but harms nobody but its sender.
#[derive(Debug, Default)]
pub(super) struct Warnings(pub(super) Vec<String>);

impl Warnings {
    /// Adds a warning, one for each hook.
    pub(super) fn add(&mut self, error: &CallError) {
        let blame = error.blame();
        let text =
            format!("{} panics on bytes that are no event of this plugin: {}", blame.hook, blame.message);
        let begin = format!("{} panics", blame.hook);
        if self.0.len() < WARNINGS_MAX && !self.0.iter().any(|known| known.starts_with(&begin)) {
            self.0.push(text);
        }
    }

    /// Adds that a View fails on values at the ends of their ranges.
    pub(super) fn of_view(&mut self, view: &str, difference: &Difference) {
        let begin = format!("view {view} fails");
        if self.0.len() < WARNINGS_MAX && !self.0.iter().any(|known| known.starts_with(&begin)) {
            let Shown { what, value, .. } = &difference.first;
            self.0.push(format!("{begin} on extreme or refused data: {what}: {value}"));
        }
    }
}

/// `bytes` with something done to them.
fn spoilt(bytes: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut spoilt = bytes.to_vec();
    let at = usize::try_from(chance.below(bytes.len() as u64 + 1)).unwrap_or(0);
    let byte = chance.number().to_be_bytes().first().copied().unwrap_or(0);
    match chance.below(5) {
        0 => spoilt.truncate(at),
        1 => spoilt.insert(at, byte),
        2 => spoilt.extend_from_slice(bytes),
        _ => {
            if let Some(place) = spoilt.get_mut(at) {
                *place ^= byte.max(1);
            }
        }
    }
    spoilt
}

fn random(chance: &mut Chance) -> Vec<u8> {
    let length = chance.below(40);
    (0..length).map(|_| chance.number().to_be_bytes().first().copied().unwrap_or(0)).collect()
}

/// Spoilt copies of `sound`, and random bytes.
pub(super) fn of_bytes<'b>(sound: impl Iterator<Item = &'b [u8]>) -> Vec<Vec<u8>> {
    let mut chance = Chance::new(1, false);
    let mut garbage: Vec<Vec<u8>> = Vec::new();
    for bytes in sound {
        garbage.extend((0..SPOILT_EACH).map(|_| spoilt(bytes, &mut chance)));
    }
    garbage.extend((0..RANDOM).map(|_| random(&mut chance)));
    garbage.push(Vec::new());
    garbage
}

/// Events of one type whose data is garbage, in one version.
fn of_events(known: &Known, version: u32, events: &[Event]) -> Vec<Event> {
    let own = events.iter().filter(|event| event.type_number == known.number).take(EVENTS_MAX);
    let data = of_bytes(own.map(|event| event.data.as_slice()));
    let event = |(number, data): (u64, Vec<u8>)| Event {
        key: EventKey::new(ValidTime(number << 32), number.to_be_bytes()),
        type_number: known.number,
        version,
        data,
        source: Source::Ordinary,
    };
    (1..).zip(data).map(event).collect()
}

/// Events of a type with garbage for data, through every hook.
pub(super) fn check_type(
    subject: &Subject<'_>,
    known: &Known,
    events: &[Event],
    warnings: &mut Warnings,
) -> Result<(), Box<Broken>> {
    for version in 1..known.version {
        let old = of_events(known, version, events);
        for said in ask(subject, Hook::Upcast(known.schema), &old) {
            said.panic().into_iter().for_each(|error| warnings.add(error));
        }
    }
    let garbage = of_events(known, known.version, events);
    let verdicts = ask(subject, Hook::Admit(known.schema), &garbage);
    let declaration = subject.one.declaration();
    let mut hooks = vec![];
    let schemas = (0..).zip(&declaration.schemas).filter(|(index, it)| *index == known.schema && it.retracts);
    hooks.extend(schemas.map(|(index, it)| (Hook::Retracts(index), Part::schema(&it.name))));
    let keyspaces = (0..).zip(&declaration.keyspaces).filter(|(_, it)| it.types.contains(&known.number));
    hooks.extend(keyspaces.map(|(index, it)| (Hook::Map(index), Part::keyspace(&it.name))));
    verdicts.iter().filter_map(|said| said.panic()).for_each(|error| warnings.add(error));
    for (hook, part) in hooks {
        let answers = ask(subject, hook, &garbage);
        for ((event, verdict), said) in garbage.iter().zip(&verdicts).zip(answers) {
            let Some(error) = said.panic() else { continue };
            if verdict.error.is_some() || !verdict.bytes.is_empty() {
                warnings.add(error);
                continue;
            }
            let difference =
                Difference::failed(format!("`{}` of an event that is admitted", hook.word()), error);
            return Err(subject.broken(&part, *difference, &[event]));
        }
    }
    Ok(())
}

fn ask(subject: &Subject<'_>, hook: Hook, events: &[Event]) -> Vec<super::subject::Said> {
    let wire: Vec<_> = events
        .iter()
        .map(|event| {
            let Event { type_number, version, data, .. } = event;
            event_ref(event.key, Value { type_number: *type_number, version: *version, data })
        })
        .collect();
    hook.ask(subject.one, &wire)
}

/// Bodies of garbage for every format that is read; a panic spoils the request that brought it.
pub(super) fn check_intakes(subject: &Subject<'_>, events: &[Event], warnings: &mut Warnings) {
    let formats = subject.one.declaration().schemas.iter().flat_map(|schema| &schema.formats);
    for format in formats {
        let sound = events.iter().take(EVENTS_MAX).map(|event| event.data.as_slice());
        for body in of_bytes(sound) {
            for content_type in ["", "application/json"] {
                let read = subject.one.intake(&Services::default(), format, content_type, &body);
                if let Err(error @ CallError::Panicked(_)) = read {
                    warnings.add(&error);
                }
            }
        }
    }
}

/// Bytes decode to what they were encoded from, or are called corrupt. `recode` decodes and encodes.
pub(super) fn check_codec(
    what: &str,
    sound: &[&[u8]],
    recode: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, CallError>,
) -> Result<(), Box<Difference>> {
    for bytes in of_bytes(sound.iter().copied()) {
        let first = Shown::new(format!("bytes that may be no {what}"), readable(&bytes), &bytes);
        let second = match recode(&bytes) {
            Ok(None) => return Ok(()),
            Ok(Some(again)) if again == bytes => continue,
            Err(CallError::Corrupt(_)) => continue,
            Ok(Some(again)) => Shown::new("the same decoded and encoded again", readable(&again), &again),
            Err(error) => Shown::new("decoding them", error.to_string(), &[]),
        };
        return Err(Box::new(Difference { law: Law::Codec, first, second }));
    }
    Ok(())
}
