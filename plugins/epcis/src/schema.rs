//! The Schema: five event types, the intake `epcis`, and error declarations as retractions.

use crate::facts::mentions;
use crate::intake::{self, VERSION};
use crate::key;
use crate::shape::EventKind;
use laterbase_plugin::{DeclaredType, EventKey, Intake, RawEvent, Refusal, Schema};

/// Owns the five types of EPCIS events.
#[derive(Debug, Clone, Copy)]
pub struct Epcis;

impl Schema for Epcis {
    const NAME: &'static str = "epcis";
    const RETRACTS: bool = true;

    fn types(&self) -> Vec<DeclaredType> {
        EventKind::ALL.map(|kind| DeclaredType::raw(kind.number(), kind.name(), VERSION)).into()
    }

    /// Takes what the intake made, and the same again from a feed: canonical bytes under the key that the key
    /// rule gives them. Nothing else, so that no client can store an event under a key of its own.
    fn admit(&self, event: &RawEvent<'_>) -> Result<(), Refusal> {
        let stored = intake::stored(event.data)?;
        if stored.kind.number() != event.type_number {
            let (found, kind) = (event.type_number, stored.kind);
            return Err(Refusal::at(
                "/type",
                format!("{} has another type number than {found}", kind.epcis()),
            ));
        }
        if !stored.is_canonical {
            return Err(Refusal::new("not in canonical form: post EPCIS events with ?format=epcis"));
        }
        if key::key(stored.time_ms, &stored.prehash, stored.declared_ms) != Some(event.key) {
            return Err(Refusal::new("the key is not the event's own: post EPCIS events with ?format=epcis"));
        }
        Ok(())
    }

    /// An error declaration voids the event that it repeats.
    fn retracts(&self, event: &RawEvent<'_>) -> Vec<EventKey> {
        if !mentions(event, "\"errorDeclaration\"") {
            return Vec::new();
        }
        match intake::stored(event.data) {
            Ok(stored) if stored.declared_ms.is_some() => {
                vec![EventKey::new(event.key.time(), key::tail(&stored.prehash, None))]
            }
            _ => Vec::new(),
        }
    }

    fn formats(&self) -> Vec<String> {
        vec!["epcis".to_owned()]
    }

    fn intake(&self, _: &str, content_type: &str, body: &[u8], out: &mut Intake) -> Result<(), Refusal> {
        for verdict in intake::read(content_type, body)? {
            match verdict {
                Ok(row) => out.event(row),
                Err(refusal) => out.refuse(refusal),
            }
        }
        Ok(())
    }
}
