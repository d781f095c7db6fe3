//! The plugin under test: two instances configured alike, and its hooks in a form whose results can be compared.

use super::broken::{Broken, EVENTS_SHOWN_MAX, Law, Shown, Witness, readable};
use super::material::{Event, Known, Source, types};
use crate::plugin::call_error::CallError;
use crate::plugin::instance::Instance;
use crate::plugin::services::Services;
use laterbase_plugin::EventRef;
use laterbase_plugin::declare::AlgebraKind;

/// Two instances configured alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'i> {
    pub(super) one: &'i Instance,
    pub(super) twin: &'i Instance,
}

/// What of a plugin breaks a law.
#[derive(Debug, Clone)]
pub(super) struct Part {
    kind: &'static str,
    name: String,
    algebra: Option<AlgebraKind>,
}

impl Part {
    pub(super) fn view(name: &str, algebra: AlgebraKind) -> Self {
        Self { kind: "View", name: name.to_owned(), algebra: Some(algebra) }
    }

    pub(super) fn keyspace(name: &str) -> Self {
        Self { kind: "Keyspace", name: name.to_owned(), algebra: None }
    }

    pub(super) fn schema(name: &str) -> Self {
        Self { kind: "Schema", name: name.to_owned(), algebra: None }
    }
}

/// Two results that should be equal.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    pub(super) law: Law,
    pub(super) first: Shown,
    pub(super) second: Shown,
}

impl Difference {
    /// A call that should have given something failed.
    pub(super) fn failed(what: impl Into<String>, error: &CallError) -> Box<Self> {
        Box::new(Self {
            law: Law::Sound,
            first: Shown::new(what, error.to_string(), &[]),
            second: Shown::new("a sound call", "a result", &[]),
        })
    }
}

impl Subject<'_> {
    /// Whether a Schema of the plugin admits the event.
    pub(super) fn admits(&self, event: &Event) -> bool {
        let is_own = |known: &&Known| known.number == event.type_number;
        let known = types(self.one).iter().find(is_own).copied();
        let said = known.map(|known| Hook::Admit(known.schema).ask(self.one, &[event.wire()]));
        said.is_some_and(|said| said.iter().all(|said| said.error.is_none() && said.bytes.is_empty()))
    }

    /// The law that the difference breaks, shown by `events`.
    pub(super) fn broken(&self, part: &Part, difference: Difference, events: &[&Event]) -> Box<Broken> {
        let identity = self.one.identity();
        let witness = |event: &&Event| Witness {
            key: event.key,
            type_number: event.type_number,
            version: event.version,
            data: readable(&event.data),
            made_up: event.source != Source::Given,
        };
        Box::new(Broken {
            plugin: identity.plugin.clone(),
            root: identity.root.clone(),
            part: part.kind.to_owned(),
            name: part.name.clone(),
            algebra: part.algebra,
            law: difference.law,
            events: events.iter().take(EVENTS_SHOWN_MAX).map(witness).collect(),
            events_count: events.len(),
            first: difference.first,
            second: difference.second,
        })
    }
}

/// A hook that answers for each event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Admit(u32),
    Upcast(u32),
    Retracts(u32),
    Map(u32),
}

/// What a hook said of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// The answer's bytes, or the words of a refusal.
    pub(super) bytes: Vec<u8>,
    /// Why there is no answer.
    pub(super) error: Option<CallError>,
}

impl Said {
    pub(super) fn of(outcome: Result<Vec<u8>, CallError>) -> Self {
        outcome.map_or_else(Self::failure, Self::answer)
    }

    fn answer(bytes: Vec<u8>) -> Self {
        Self { bytes, error: None }
    }

    fn failure(error: CallError) -> Self {
        let bytes = match &error {
            CallError::Refused(blame) => format!("refused {}: {}", blame.pointer, blame.message).into_bytes(),
            CallError::Panicked(_)
            | CallError::Corrupt(_)
            | CallError::Unsupported(_)
            | CallError::Cancelled(_)
            | CallError::Malformed(_) => b"failed".to_vec(),
        };
        Self { bytes, error: Some(error) }
    }

    /// The panic, if the hook's code panicked.
    pub(super) fn panic(&self) -> Option<&CallError> {
        self.error.as_ref().filter(|error| matches!(error, CallError::Panicked(_)))
    }

    /// As people read it.
    pub(super) fn shown(&self, what: &str) -> Shown {
        let value = self.error.as_ref().map_or_else(|| readable(&self.bytes), ToString::to_string);
        Shown::new(what, value, &self.bytes)
    }
}

impl Hook {
    /// Its name in the author's traits.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Admit(_) => "admit",
            Self::Upcast(_) => "upcast",
            Self::Retracts(_) => "retracts",
            Self::Map(_) => "map",
        }
    }

    /// What the hook says of each event, all given in one batch.
    pub(super) fn ask(self, instance: &Instance, events: &[EventRef<'_>]) -> Vec<Said> {
        let services = Services::default();
        match self {
            Self::Admit(schema) => admit(instance, schema, events),
            Self::Upcast(schema) => {
                let upcast = instance.upcast(&services, schema, events).into_iter();
                upcast.map(Said::of).collect()
            }
            Self::Retracts(schema) => {
                let keys = instance.retracts(&services, schema, events).into_iter();
                keys.map(|keys| Said::of(keys.map(|keys| keys.iter().flat_map(|key| key.0).collect())))
                    .collect()
            }
            Self::Map(keyspace) => map(instance, keyspace, events),
        }
    }
}

/// Every event's verdict; a batch that fails is asked again one by one.
fn admit(instance: &Instance, schema: u32, events: &[EventRef<'_>]) -> Vec<Said> {
    match instance.admit(&Services::default(), schema, events) {
        Ok(refusals) => {
            let mut said: Vec<Said> = events.iter().map(|_| Said::answer(Vec::new())).collect();
            for refusal in refusals {
                if let Some(said) = said.get_mut(refusal.event) {
                    said.bytes = format!("refused {}: {}", refusal.pointer, refusal.message).into_bytes();
                }
            }
            said
        }
        Err(error) if events.len() < 2 => events.iter().map(|_| Said::failure(error.clone())).collect(),
        Err(_) => events.chunks(1).flat_map(|event| admit(instance, schema, event)).collect(),
    }
}

/// Every event's rows, one behind the other.
fn map(instance: &Instance, keyspace: u32, events: &[EventRef<'_>]) -> Vec<Said> {
    let mut said: Vec<Said> = events.iter().map(|_| Said::answer(Vec::new())).collect();
    let mapping = match instance.map(&Services::default(), keyspace, events) {
        Ok(mapping) => mapping,
        Err(error) => return events.iter().map(|_| Said::failure(error.clone())).collect(),
    };
    for (event, key, delta) in mapping.rows() {
        if let Some(said) = said.get_mut(event) {
            for piece in [key, delta] {
                said.bytes.extend_from_slice(&(piece.len() as u64).to_be_bytes());
                said.bytes.extend_from_slice(piece);
            }
        }
    }
    for (event, error) in mapping.failures() {
        if let Some(said) = said.get_mut(*event) {
            *said = Said::failure(error.clone());
        }
    }
    said
}
