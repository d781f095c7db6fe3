//! Keyspace: which aggregates an event adds to, and what.

use crate::abi::Emission;
use crate::aggregate;
use crate::codec::Canonical;
use crate::refusal::Refusal;
use crate::schema::{Event, EventData};
use std::marker::PhantomData;

/// Groups events by a key. The host maps each event once and shares the deltas among all Views over the Keyspace.
/// A pure function of its arguments and the configuration.
pub trait Keyspace: Send + Sync + Sized + 'static {
    /// What it reads events as; events of other types are not shown to it.
    type Event: EventData;
    /// What it groups by: `String`, a tuple of up to four, or `Vec<String>`.
    type Key: AggregateKey;
    /// What one event adds to one aggregate.
    type Delta: Canonical;
    /// Its name, unique within the plugin; empty: the type's own name in snake case.
    const NAME: &'static str = "";
    /// Raise it when `map` gives other results than before.
    const REVISION: u32 = 1;

    /// Emits what `event` adds to which aggregates, 0 to n times. A panic leaves this event out and is reported.
    fn map(&self, event: &Event<Self::Event>, out: &mut Emit<Self>);

    /// How many parts its keys have, all of them alike. Only a Keyspace whose keys are `Vec<String>` writes this.
    fn parts(&self) -> u32 {
        Self::Key::PARTS
    }

    /// The canonical key for what a user typed as `?key=`, as many texts as the keys have parts.
    fn query_key(&self, typed: &[&str]) -> Result<Self::Key, Refusal> {
        Self::Key::of_parts(typed.iter().map(|part| (*part).to_owned()).collect()).ok_or_else(|| {
            let wanted = self.parts();
            Refusal::new(format!("a key here has {wanted} parts, this one has {}", typed.len()))
        })
    }
}

/// A type that an aggregate is named by: one text or several.
pub trait AggregateKey: Sized + for<'a> KeyOf<&'a Self> {
    /// How many parts it has; 0: as many as [`Keyspace::parts`] says.
    const PARTS: u32;
    /// The key with these parts, if their number is right.
    fn of_parts(parts: Vec<String>) -> Option<Self>;
}

/// A key type that can be written from `Q`, usually something borrowed.
#[diagnostic::on_unimplemented(
    message = "`{Q}` is not a key of this Keyspace, which are `{Self}`",
    note = "emit borrowed texts: `&e.data.item` for `String`, `(&a, &b)` for `(String, String)`"
)]
pub trait KeyOf<Q> {
    /// Appends the encoding of `key` (see [`crate::aggregate`]) to `out`; returns the number of its parts.
    fn encode_key(key: Q, out: &mut Vec<u8>) -> u32;
}

impl AggregateKey for String {
    const PARTS: u32 = 1;
    fn of_parts(parts: Vec<String>) -> Option<Self> {
        <[String; 1]>::try_from(parts).ok().map(|[part]| part)
    }
}

#[diagnostic::do_not_recommend]
impl<Q: AsRef<str>> KeyOf<Q> for String {
    fn encode_key(key: Q, out: &mut Vec<u8>) -> u32 {
        aggregate::encode([key.as_ref()], out);
        1
    }
}

impl AggregateKey for Vec<String> {
    const PARTS: u32 = 0;
    fn of_parts(parts: Vec<String>) -> Option<Self> {
        (!parts.is_empty()).then_some(parts)
    }
}

#[diagnostic::do_not_recommend]
impl<Q: IntoIterator<Item: AsRef<str>>> KeyOf<Q> for Vec<String> {
    fn encode_key(key: Q, out: &mut Vec<u8>) -> u32 {
        let parts: Vec<_> = key.into_iter().collect();
        aggregate::encode(parts.iter().map(AsRef::as_ref), out);
        u32::try_from(parts.len()).unwrap_or(u32::MAX)
    }
}

/// Stands for the type of a part in `tuples!`.
type Part<const INDEX: usize> = String;

macro_rules! tuples {
    ($($count:literal: ($($name:ident . $index:tt),+))*) => {$(
        impl AggregateKey for ($(Part<$index>,)+) {
            const PARTS: u32 = $count;
            fn of_parts(parts: Vec<String>) -> Option<Self> {
                let parts: [String; $count] = parts.try_into().ok()?;
                Some(parts.into())
            }
        }
        #[diagnostic::do_not_recommend]
        impl<$($name: AsRef<str>),+> KeyOf<($($name,)+)> for ($(Part<$index>,)+) {
            fn encode_key(key: ($($name,)+), out: &mut Vec<u8>) -> u32 {
                aggregate::encode([$(key.$index.as_ref()),+], out);
                $count
            }
        }
        #[diagnostic::do_not_recommend]
        impl<$($name: AsRef<str>),+> KeyOf<&($($name,)+)> for ($(Part<$index>,)+) {
            fn encode_key(key: &($($name,)+), out: &mut Vec<u8>) -> u32 {
                aggregate::encode([$(key.$index.as_ref()),+], out);
                $count
            }
        }
    )*};
}
tuples! { 2: (A.0, B.1) 3: (A.0, B.1, C.2) 4: (A.0, B.1, C.2, D.3) }

/// Takes what `map` emits.
#[derive(Debug)]
pub struct Emit<K> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: Vec<Emission>,
    pub(crate) event: u32,
    /// How many parts a key has.
    parts: u32,
    keyspace: PhantomData<fn() -> K>,
}

impl<K: Keyspace> Emit<K> {
    pub(crate) fn new(parts: u32) -> Self {
        Self { bytes: Vec::new(), rows: Vec::new(), event: 0, parts, keyspace: PhantomData }
    }

    /// The event at hand adds `delta` to the aggregate `key`, which may be borrowed: `&str`, `(&str, &String)`.
    ///
    /// Several deltas of one event for one aggregate are folded in the order emitted.
    ///
    /// # Panics
    /// If a `Vec<String>` has another number of parts than [`Keyspace::parts`] says; the event is left out then.
    #[expect(clippy::needless_pass_by_value, reason = "so that authors write `1` and not `&1`")]
    pub fn emit<Q>(&mut self, key: Q, delta: K::Delta)
    where
        K::Key: KeyOf<Q>,
    {
        let key_offset = self.length();
        let parts = K::Key::encode_key(key, &mut self.bytes);
        assert_eq!(parts, self.parts, "parts of a key, and of the keys of this Keyspace");
        let delta_offset = self.length();
        delta.encode(&mut self.bytes);
        self.rows.push(Emission {
            event: self.event,
            key_offset,
            key_length: delta_offset - key_offset,
            delta_offset,
            delta_length: self.length() - delta_offset,
        });
    }

    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a batch emits less than 4 GiB")
    }
}
