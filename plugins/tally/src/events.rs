//! The events: their shape, what is refused beyond it, and what an `undo` takes back.

use laterbase_plugin::{DeclaredType, EventKey, EventType, RawEvent, Refusal, Schema, event_types};
use serde::Deserialize;

/// `n` pieces of `item` were added (or, below zero, taken away).
#[derive(Deserialize, EventType)]
#[event(number = 1, name = "add")]
#[serde(deny_unknown_fields)]
pub(crate) struct Add {
    pub(crate) item: String,
    pub(crate) n: i64,
}

/// The `add` with this key never counted.
#[derive(Deserialize, EventType)]
#[event(number = 2, name = "undo")]
#[serde(deny_unknown_fields)]
pub(crate) struct Undo {
    pub(crate) key: EventKey,
}

/// Owns both types. That events have their shape is checked before `admit` is asked.
pub(crate) struct Tally;

impl Schema for Tally {
    const NAME: &'static str = "tally";
    const RETRACTS: bool = true;

    fn types(&self) -> Vec<DeclaredType> {
        event_types![Add, Undo]
    }

    fn admit(&self, event: &RawEvent<'_>) -> Result<(), Refusal> {
        match event.read::<Add>()? {
            Some(add) if add.item.is_empty() => Err(Refusal::at("/item", "an item has a name")),
            _ => Ok(()),
        }
    }

    fn retracts(&self, event: &RawEvent<'_>) -> Vec<EventKey> {
        match event.read::<Undo>() {
            Ok(Some(undo)) => vec![undo.key],
            _ => Vec::new(),
        }
    }
}
