//! The one path on which stored events reach plugins: through the Schemas of the Root, in their newest
//! version.

use super::call_error::CallError;
use super::catalog::{RootCatalog, SchemaRef, TypeRef};
use super::instance::{Intake, Refusal};
use super::services::Services;
use crate::core::event::EventKey;
use laterbase_plugin::EventRef;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// An event in its type's newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upcast<'a> {
    /// The event's key.
    pub key: EventKey,
    /// The number of its type.
    pub type_number: u32,
    /// The type's newest version.
    pub version: u32,
    /// The data in that version; borrowed if it was stored so.
    pub data: Cow<'a, [u8]>,
}

impl Upcast<'_> {
    /// The borrowed form that plugins see.
    pub fn event_ref(&self) -> EventRef<'_> {
        let Self { key, type_number, version, data } = self;
        EventRef { key: *key, type_number: *type_number, version: *version, data: data.as_ref().into() }
    }
}

/// Why an event cannot be shown to plugins in its newest version; it stays stored and travels as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// No Schema of the root owns the type.
    #[error("no plugin declares event type {type_number}")]
    UnknownType {
        /// The event's type.
        type_number: u32,
    },
    /// The owner of the type does not know this version: the event comes from a newer plugin.
    #[error("event type {type_name} has versions up to {newest} here, the event is of version {version}")]
    UnknownVersion {
        /// The type's name.
        type_name: String,
        /// The event's version.
        version: u32,
        /// The newest version known here.
        newest: u32,
    },
    /// The owner's `upcast` failed on this event.
    #[error(transparent)]
    Failed(#[from] CallError),
}

/// The events of a batch that one Schema answers for.
struct Share<'c, 'e> {
    schema: &'c SchemaRef,
    /// Their indexes in the whole batch.
    at: Vec<usize>,
    events: Vec<EventRef<'e>>,
}

impl RootCatalog {
    /// The events in a body that is written in `format`; none if no Schema reads it.
    pub fn intake(
        &self,
        services: &Services,
        format: &str,
        content_type: &str,
        body: &[u8],
    ) -> Option<Result<Vec<Intake>, CallError>> {
        let schema = self.format(format)?;
        Some(schema.instance.intake(services, format, content_type, body))
    }

    /// Each event in its type's newest version, or why not; one result an event, in order. An event that is
    /// stored in the newest version is passed on without a call.
    pub fn upcast<'a>(
        &self,
        services: &Services,
        events: &[EventRef<'a>],
    ) -> Vec<Result<Upcast<'a>, Unread>> {
        let read = |event: &EventRef<'a>| read(*event, self.event_type(event.type_number));
        let mut results: Vec<_> = events.iter().map(read).collect();
        for Share { schema, at, events } in
            self.shares(events, |event, known| (1..known.version).contains(&event.version))
        {
            let upcasts = schema.instance.upcast(services, schema.index, &events);
            for (at, upcast) in at.into_iter().zip(upcasts) {
                let Some(result) = results.get_mut(at) else { continue };
                match (upcast, result.as_mut()) {
                    (Ok(data), Ok(event)) => event.data = Cow::Owned(data),
                    (Err(error), _) => *result = Err(Unread::Failed(error)),
                    (Ok(_), Err(_)) => {}
                }
            }
        }
        results
    }

    /// The keys that each upcast event voids, one result an event, in order; none for types that cannot
    /// retract.
    pub fn retracts(
        &self,
        services: &Services,
        events: &[EventRef<'_>],
    ) -> Vec<Result<Vec<EventKey>, CallError>> {
        let mut results: Vec<_> = events.iter().map(|_| Ok(Vec::new())).collect();
        for Share { schema, at, events } in
            self.shares(events, |_, known| known.schema.declaration().retracts)
        {
            let voided = schema.instance.retracts(services, schema.index, &events);
            for (at, voided) in at.into_iter().zip(voided) {
                if let Some(result) = results.get_mut(at) {
                    *result = voided;
                }
            }
        }
        results
    }

    /// The Schemas' refusals of events in their newest version, in the order of the events. Events whose type
    /// nobody owns are not judged.
    pub fn admit(&self, services: &Services, events: &[EventRef<'_>]) -> Result<Vec<Refusal>, CallError> {
        let shares = self.shares(events, |_, _| true);
        refusals(shares, |schema, events| schema.instance.admit(services, schema.index, events))
    }

    /// The Schemas' refusals of events as they were sent, of those that are of an older version than the newest.
    pub fn admit_old(&self, services: &Services, events: &[EventRef<'_>]) -> Result<Vec<Refusal>, CallError> {
        let shares = self.shares(events, |event, known| (1..known.version).contains(&event.version));
        refusals(shares, |schema, events| schema.instance.admit_old(services, schema.index, events))
    }

    /// The events that `wanted` picks, shared out to the Schemas that own their types.
    fn shares<'e>(
        &self,
        events: &[EventRef<'e>],
        wanted: impl Fn(&EventRef<'e>, &TypeRef) -> bool,
    ) -> Vec<Share<'_, 'e>> {
        let mut shares: BTreeMap<(&str, u32), Share<'_, 'e>> = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            let Some(known) = self.event_type(event.type_number).filter(|known| wanted(event, known)) else {
                continue;
            };
            let schema = &known.schema;
            let owner = (schema.instance.identity().plugin.as_str(), schema.index);
            let room = events.len() - at;
            let share = shares.entry(owner).or_insert_with(|| Share {
                schema,
                at: Vec::with_capacity(room),
                events: Vec::with_capacity(room),
            });
            share.at.push(at);
            share.events.push(*event);
        }
        shares.into_values().collect()
    }
}

/// What each Schema refuses of its share, in the order of all events.
fn refusals(
    shares: Vec<Share<'_, '_>>,
    judge: impl Fn(&SchemaRef, &[EventRef<'_>]) -> Result<Vec<Refusal>, CallError>,
) -> Result<Vec<Refusal>, CallError> {
    let mut refusals = Vec::new();
    for Share { schema, at, events } in shares {
        for mut refusal in judge(schema, &events)? {
            if let Some(at) = at.get(refusal.event) {
                refusal.event = *at;
                refusals.push(refusal);
            }
        }
    }
    refusals.sort_by_key(|refusal| refusal.event);
    Ok(refusals)
}

/// The event as the newest version of its type, its data still as stored.
fn read<'a>(event: EventRef<'a>, known: Option<&TypeRef>) -> Result<Upcast<'a>, Unread> {
    let EventRef { key, type_number, version, data } = event;
    let Some(known) = known else { return Err(Unread::UnknownType { type_number }) };
    if version == 0 || version > known.version {
        let (type_name, newest) = (known.name.clone(), known.version);
        return Err(Unread::UnknownVersion { type_name, version, newest });
    }
    let data = Cow::Borrowed(data.as_slice());
    Ok(Upcast { key, type_number, version: known.version, data })
}
