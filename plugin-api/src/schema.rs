//! Schema: which events a root takes, what it refuses, and how old events are read.

use crate::abi::IntakeEvent;
use crate::chance::Chance;
use crate::declare::TypeDeclaration;
use crate::event::{EventKey, EventRef, ValidTime};
use crate::refusal::{Refusal, from_json};
use abi_stable::std_types::{ROption, RString};
use serde::de::DeserializeOwned;

/// An event as it is stored: its data is still bytes. Borrowed for the length of one call.
#[derive(Debug, Clone, Copy)]
pub struct RawEvent<'a> {
    /// When it happened, and which it is.
    pub key: EventKey,
    /// The number of its type.
    pub type_number: u32,
    /// The version of its type that `data` is written in.
    pub version: u32,
    /// The bytes that belong to the user.
    pub data: &'a [u8],
}

impl<'a> RawEvent<'a> {
    pub(crate) fn of(event: &EventRef<'a>) -> Self {
        let EventRef { key, type_number, version, data } = *event;
        Self { key, type_number, version, data: data.as_slice() }
    }

    /// The event's data as `T`, if its type is one of `T`'s; a refusal if it is but the data does not fit.
    pub fn read<T: EventData>(&self) -> Result<Option<T>, Refusal> {
        T::types().contains(&self.type_number).then(|| T::read(self)).transpose()
    }
}

/// A decoded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<T> {
    /// When it happened, and which it is.
    pub key: EventKey,
    /// What it says.
    pub data: T,
}

impl<T> Event<T> {
    /// The time at which it happened.
    pub fn time(&self) -> ValidTime {
        self.key.time()
    }
}

/// One event type whose data is a JSON object. Derive it beside `serde::Deserialize`:
/// `#[derive(Deserialize, EventType)] #[event(number = 1, name = "add")]`.
pub trait EventType: DeserializeOwned {
    /// The number stored with each event; never give it to another type.
    const NUMBER: u32;
    /// The name that people use: 1 to 127 bytes without spaces.
    const NAME: &'static str;
    /// The newest version, the one that this Rust type describes, from 1.
    const VERSION: u32 = 1;
}

/// What a Keyspace reads events as. Every [`EventType`] is; derive it for an enum of several event types; write it by
/// hand for data that is not JSON.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the data of any event type",
    note = "one type: `#[derive(Deserialize, EventType)] #[event(number = 1)]` on a struct",
    note = "several types: `#[derive(EventData)]` on an enum that holds one of them in each variant"
)]
pub trait EventData: Sized {
    /// The numbers of the types that `read` takes.
    fn types() -> Vec<u32>;
    /// Decodes an event of one of those types, in its type's newest version.
    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal>;

    /// Made-up data of the type `type_number` that `read` takes, on which the host tests what is declared. Types that
    /// are [`EventType`]s have it; where `read` is written by hand and reads JSON by `serde`, `chance.json::<Self>()`
    /// does; without it the host tests on stored events only.
    fn example(type_number: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        let (_, _) = (type_number, chance);
        None
    }
}

impl<T: EventType> EventData for T {
    fn types() -> Vec<u32> {
        vec![T::NUMBER]
    }
    fn read(event: &RawEvent<'_>) -> Result<Self, Refusal> {
        from_json(event.data)
    }
    fn example(_: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        chance.json::<T>()
    }
}

/// An event type that a Schema owns, with the check of its shape.
#[derive(Debug, Clone)]
pub struct DeclaredType {
    pub(crate) declaration: TypeDeclaration,
    pub(crate) check: fn(&RawEvent<'_>) -> Result<(), Refusal>,
    pub(crate) example: fn(&mut Chance) -> Option<Vec<u8>>,
}

impl DeclaredType {
    /// The type `T`: an event that does not read as `T` is refused before [`Schema::admit`] sees it.
    pub fn of<T: EventType>() -> Self {
        let check = |event: &RawEvent<'_>| match event.data.trim_ascii_start().first() {
            // Without this an array of the right values would pass for an object, as `serde` reads structs from both.
            Some(b'{') => T::read(event).map(drop),
            _ => Err(Refusal::new("the data of this type is a JSON object")),
        };
        let example = |chance: &mut Chance| T::example(T::NUMBER, chance);
        Self { check, example, ..Self::raw(T::NUMBER, T::NAME, T::VERSION) }
    }

    /// A type whose shape only [`Schema::admit`] checks.
    pub fn raw(number: u32, name: impl Into<String>, version: u32) -> Self {
        let declaration = TypeDeclaration { number, name: name.into(), version };
        Self { declaration, check: |_| Ok(()), example: |_| None }
    }
}

/// The [`DeclaredType`]s of some [`EventType`]s: `event_types![Add, Undo]`.
#[macro_export]
macro_rules! event_types {
    ($($event:ty),* $(,)?) => { ::std::vec![$($crate::DeclaredType::of::<$event>()),*] };
}

/// Owns event types. Everything it says is a pure function of its arguments and the configuration.
pub trait Schema: Send + Sync + 'static {
    /// The Schema's name.
    const NAME: &'static str;
    /// Raise it when `upcast` or `retracts` gives other results than before.
    const REVISION: u32 = 1;
    /// True if some events of its types retract others; without it `retracts` is never asked.
    const RETRACTS: bool = false;

    /// The event types that it owns.
    fn types(&self) -> Vec<DeclaredType>;

    /// Whether a new event, in its type's newest version and of the declared shape, may be stored. Only events that
    /// a client sends to this replica are asked about, never those that come from a peer.
    fn admit(&self, event: &RawEvent<'_>) -> Result<(), Refusal> {
        let _ = event;
        Ok(())
    }

    /// Whether a new event that its client wrote in an older version may be stored: its data as sent, before any
    /// `upcast`. [`Self::admit`] is then asked about it in the newest version.
    fn admit_old(&self, event: &RawEvent<'_>) -> Result<(), Refusal> {
        let _ = event;
        Ok(())
    }

    /// Made-up data of a declared type in its newest version that `admit` takes, on which the host tests what is
    /// declared. Types that are [`EventType`]s have it.
    fn example(&self, type_number: u32, chance: &mut Chance) -> Option<Vec<u8>> {
        let (_, _) = (type_number, chance);
        None
    }

    /// The data of `event` rewritten from its version to the next; called again until it is the newest.
    fn upcast(&self, event: &RawEvent<'_>) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::new(format!(
            "type {} has no step from version {} to the next",
            event.type_number, event.version
        )))
    }

    /// The events that `event` (in its type's newest version) voids at every time. They need not exist yet.
    fn retracts(&self, event: &RawEvent<'_>) -> Vec<EventKey> {
        let _ = event;
        Vec::new()
    }

    /// The formats that `intake` reads, for `?format=NAME`; each has one owner within a root.
    fn formats(&self) -> Vec<String> {
        Vec::new()
    }

    /// Reads a foreign body, whose `format` is one of `formats`. A refusal refuses the body whole.
    fn intake(&self, format: &str, content_type: &str, body: &[u8], out: &mut Intake) -> Result<(), Refusal> {
        let _ = (content_type, body, out);
        Err(Refusal::new(format!("no intake reads the format {format}")))
    }
}

/// One event that an intake read from a body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntakeRow {
    /// A JSON pointer into the body (for NDJSON: `/line` from 0, then the pointer into that line).
    pub pointer: String,
    /// The number of its type.
    pub type_number: u32,
    /// The version of its type that `data` is written in.
    pub version: u32,
    /// The valid time; none: now.
    pub time: Option<ValidTime>,
    /// The tail of the key; none: the host mints one.
    pub tail: Option<[u8; 8]>,
    /// The canonical bytes to store.
    pub data: Vec<u8>,
    /// What the answer echoes as `id`; empty for nothing.
    pub id: String,
    /// The key is derived from the content: an existing key is a duplicate whatever its bytes.
    pub same_key_is_same_event: bool,
}

/// Takes what an intake reads, in the body's order.
#[derive(Debug, Default)]
pub struct Intake {
    pub(crate) rows: Vec<IntakeEvent>,
}

impl Intake {
    /// Takes one event.
    pub fn event(&mut self, row: IntakeRow) {
        self.rows.push(IntakeEvent {
            pointer: row.pointer.into(),
            refused: ROption::RNone,
            type_number: row.type_number,
            version: row.version,
            time: row.time.map(|time| time.0).into(),
            tail: row.tail.into(),
            data: row.data.into(),
            id: row.id.into(),
            same_key_is_same_event: row.same_key_is_same_event,
        });
    }

    /// Takes note of one event that is refused; `refusal.pointer` points into the body. The others go on if the
    /// client wrote `?atomic=false`.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.rows.push(IntakeEvent {
            pointer: refusal.pointer.into(),
            refused: ROption::RSome(refusal.message.into()),
            type_number: 0,
            version: 0,
            time: ROption::RNone,
            tail: ROption::RNone,
            data: Vec::new().into(),
            id: RString::new(),
            same_key_is_same_event: false,
        });
    }
}
