//! What the plugins say to minted events: the read path to the newest version, then each Schema's verdict.

use super::draft::{BadEvent, Draft, Drafted, Place, TypeRef, When};
use super::mint::{Minted, MintedResult, Types};
use crate::core::event::Value;
use crate::plugin::CallError;
use crate::plugin::catalog::RootCatalog;
use crate::plugin::instance::{Intake, event_ref};
use crate::plugin::services::Services;
use crate::plugin::upcast::Unread;
use crate::problem::{Code, Problem};
use std::collections::BTreeSet;

impl Types for RootCatalog {
    fn number(&self, name: &str) -> Option<u32> {
        self.type_named(name).map(|declared| declared.number)
    }

    fn newest(&self, number: u32) -> Option<u32> {
        self.event_type(number).map(|declared| declared.version)
    }

    fn names(&self) -> Vec<String> {
        self.types().map(|declared| declared.name.clone()).collect()
    }
}

/// The drafts in a body that a Schema's intake reads.
pub(super) fn intake(
    catalog: &RootCatalog,
    format: &str,
    content_type: &str,
    body: &[u8],
) -> Result<Vec<Drafted>, Problem> {
    let Some(read) = catalog.intake(&Services::default(), format, content_type, body) else {
        let known: Vec<&str> = catalog.formats().collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Problem::new(
            Code::UnknownFormat,
            format!("no Schema here reads the format {format:?}; known: {known}"),
        ));
    };
    Ok(read.map_err(|fault| fault.problem())?.into_iter().map(drafted).collect())
}

fn drafted(read: Intake) -> Drafted {
    let draft = read.event.map_err(|why| BadEvent::new(Code::Refused, &read.pointer, why))?;
    Ok(Draft {
        pointer: Place::Named(read.pointer),
        type_ref: TypeRef::Number(draft.type_number),
        version: Some(draft.version),
        when: draft.time.map_or(When::Now, When::At),
        tail: draft.tail,
        id: Some(read.id).filter(|id| !id.is_empty()),
        data: draft.data.into(),
        same_key_is_same_event: draft.same_key_is_same_event,
    })
}

/// Asks the Schemas; an event that one refuses becomes its refusal.
pub(super) fn ask(catalog: &RootCatalog, events: &mut [MintedResult]) -> Result<(), Problem> {
    let mut asked = Vec::with_capacity(events.len());
    asked.extend((0..events.len()).filter(|at| matches!(events.get(*at), Some(Ok(_)))));
    for (at, pointer, message) in verdicts(catalog, &asked, events)? {
        let event = events.get_mut(at).expect("an index of this list");
        match event {
            Ok(minted) => {
                let data = format!("{}/data", minted.pointer);
                let mut bad = BadEvent::new(Code::Refused, format!("{data}{pointer}"), message);
                bad.data = data;
                *event = Err(bad);
            }
            Err(bad) => bad.others.push((format!("{}{pointer}", bad.data), message)),
        }
    }
    Ok(())
}

/// The refusals among the good events, whose indexes are `asked`: (index, pointer into the data, sentence). What is
/// refused in the version in which it was sent is not looked at in the newest.
fn verdicts(
    catalog: &RootCatalog,
    asked: &[usize],
    events: &[MintedResult],
) -> Result<Vec<(usize, String, String)>, Problem> {
    let services = Services::default();
    let mut stored = Vec::with_capacity(asked.len());
    stored.extend(events.iter().flatten().map(|event| event_ref(event.key, value(event))));
    let mut refused = Vec::new();
    for refusal in catalog.admit_old(&services, &stored).map_err(|fault| fault.problem())? {
        let at = asked.get(refusal.event).expect("the catalog checks its indexes");
        refused.push((*at, refusal.pointer, refusal.message));
    }
    let in_old: BTreeSet<usize> = refused.iter().map(|(at, ..)| *at).collect();
    let upcast = catalog.upcast(&services, &stored);
    let (mut newest, mut newest_at) = (Vec::with_capacity(upcast.len()), Vec::with_capacity(upcast.len()));
    for (at, event) in asked.iter().zip(&upcast).filter(|(at, _)| !in_old.contains(at)) {
        match event {
            Ok(event) => {
                newest.push(event.event_ref());
                newest_at.push(*at);
            }
            // Broken code is not the sender's fault: he would throw away what is refused, and tries this again.
            Err(Unread::Failed(fault)) if !matches!(fault, CallError::Refused(_)) => {
                return Err(fault.problem().with("event", *at));
            }
            Err(unread) => refused.push((*at, String::new(), unread.to_string())),
        }
    }
    for refusal in catalog.admit(&services, &newest).map_err(|fault| fault.problem())? {
        let at = newest_at.get(refusal.event).expect("the catalog checks its indexes");
        refused.push((*at, refusal.pointer, refusal.message));
    }
    Ok(refused)
}

/// The value that a minted event will have.
pub(super) fn value(event: &Minted) -> Value<'_> {
    Value { type_number: event.type_number, version: event.version, data: &event.data }
}
