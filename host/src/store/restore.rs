//! Putting back events whose rows are gone or damaged while their dots are still there.
//!
//! The dots name the event by its key and hash, so whoever has the value can prove that it is the one that is missing.
//! What is put back is the row with all its dots; the dots, the arrivals and the head never went away and stay as they
//! are. Among the values of a key the least one holds it, whatever the order in which they are put back.

use super::LmdbStore;
use super::environment::{ALL_KEYS, Rows};
use super::lmdb_tables::Writing;
use super::rows::{clash_key, decode_dot, decode_dot_key, decode_event};
use crate::core::event::{Dot, EventKey, Value, ValueHash};
use crate::core::tables::{Result, StoredEvent, TableError, TablesMut};
use crate::store::Store;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

/// What became of an event that was to be put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// Its row is there again, with all its dots.
    Put,
    /// Its row was there, with all its dots.
    Held,
    /// No dot names this value of this key: it was never here, and nothing is written.
    Unnamed,
}

/// A value of a key with its dots, taken out of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    hash: ValueHash,
    type_number: u32,
    version: u32,
    data: Vec<u8>,
    dots: Vec<Dot>,
    clash: bool,
}

/// A value of a key, by its hash.
pub type Name = (EventKey, ValueHash);

/// The values that dots name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// Those that can be read, ascending.
    pub here: Vec<Name>,
    /// Those that are gone or damaged, ascending.
    pub gone: Vec<Name>,
}

impl LmdbStore {
    /// Looks for every value that a dot names. Takes 32 bytes of memory a value.
    pub fn named(&self) -> Result<Named> {
        let tables = self.read()?;
        let mut names = Vec::new();
        for (origin, last) in tables.head()?.knowledge.iter() {
            tables.dots(origin, 1..=last.0, &mut |_, row| {
                names.push((row.key, row.hash));
                ControlFlow::Continue(())
            })?;
        }
        names.sort_unstable();
        names.dedup();
        let (mut here, mut gone) = (Vec::with_capacity(names.len()), Vec::new());
        for (key, hash) in names {
            match tables.find(key, hash) {
                Ok(Some(_)) => here.push((key, hash)),
                Ok(None) | Err(TableError::Corrupt { .. }) => gone.push((key, hash)),
                Err(fault) => return Err(fault),
            }
        }
        Ok(Named { here, gone })
    }

    /// As [`Self::restore_events`], of one event.
    pub fn restore_event(&self, key: EventKey, value: Value<'_>) -> Result<Restored> {
        let restored = self.restore_events(&[(key, value)])?;
        Ok(restored.first().copied().unwrap_or(Restored::Unnamed))
    }

    /// Puts events back in one commit, and says of each what became of it. All dots are read for that, so it is
    /// better asked once for many. The head is left alone: it counts them still.
    pub fn restore_events(&self, events: &[(EventKey, Value<'_>)]) -> Result<Vec<Restored>> {
        let named: Vec<_> = events.iter().map(|(key, value)| (*key, value.hash(*key))).collect();
        self.write(&mut |tables| {
            let mut dots: BTreeMap<_, Vec<Dot>> = named.iter().map(|named| (*named, Vec::new())).collect();
            tables.collect_dots(&mut dots)?;
            let restore = |((key, value), named): (&(EventKey, Value<'_>), &(EventKey, ValueHash))| {
                let dots = dots.get(named).filter(|dots| !dots.is_empty()).cloned();
                let Some(dots) = dots else { return Ok(Restored::Unnamed) };
                let Value { type_number, version, data } = *value;
                let data = data.to_vec();
                tables.restore(*key, Kept { hash: named.1, type_number, version, data, dots, clash: false })
            };
            events.iter().zip(&named).map(restore).collect()
        })
    }

    /// Makes the head count the events that there are, and gives their number.
    pub fn recount(&self) -> Result<u64> {
        self.write(&mut |tables| {
            let events = tables.rows.len(&tables.tables.events)?;
            if tables.change()?.events != events {
                tables.change()?.events = events;
            }
            Ok(events)
        })
    }
}

impl Writing<'_, '_, '_> {
    /// Adds each dot to the event that it names, if it is one of these; ascending.
    fn collect_dots(&self, wanted: &mut BTreeMap<(EventKey, ValueHash), Vec<Dot>>) -> Result<()> {
        for row in self.rows.range(&self.tables.dots, ALL_KEYS)? {
            let (key, row) = row?;
            // A damaged row names nothing that could be trusted.
            if let (Ok(dot), Ok(row)) = (decode_dot_key(key), decode_dot(key, row))
                && let Some(dots) = wanted.get_mut(&(row.key, row.hash))
            {
                dots.push(dot);
            }
        }
        Ok(())
    }

    /// Puts one value among the others of its key.
    fn restore(&mut self, key: EventKey, kept: Kept) -> Result<Restored> {
        let mut values = self.readable(key)?;
        let place = values.iter().position(|value| value.hash == kept.hash);
        match place.and_then(|place| values.get_mut(place)) {
            Some(held) => {
                let clash = held.clash;
                if *held == (Kept { clash, ..kept.clone() }) {
                    return Ok(Restored::Held);
                }
                *held = Kept { clash, ..kept };
            }
            None => values.push(kept),
        }
        values.sort_by(|one, two| one.value().cmp(&two.value()));
        for (place, value) in values.into_iter().enumerate() {
            let clash = place > 0;
            let Kept { hash, ref dots, .. } = value;
            let event = StoredEvent { key, hash, value: value.value(), dots: dots.clone(), clash };
            if clash {
                self.put_event(&event)?;
            } else {
                self.put_over(&event)?;
                self.remove_loser(key, hash)?;
            }
        }
        Ok(Restored::Put)
    }

    /// The values of a key whose rows can be read.
    fn readable(&self, key: EventKey) -> Result<Vec<Kept>> {
        let mut values = Vec::new();
        if let Some(row) = self.rows.get(&self.tables.events, &key.0)? {
            values.extend(decode_event(&key.0, row).ok().map(Kept::from));
        }
        let (least, greatest) = (clash_key(key, ValueHash([0; 16])), clash_key(key, ValueHash([0xff; 16])));
        let losers = (Bound::Included(least.as_slice()), Bound::Included(greatest.as_slice()));
        for row in self.rows.range(&self.tables.clashes, losers)? {
            let (row_key, row) = row?;
            values.extend(decode_event(row_key, row).ok().map(Kept::from));
        }
        Ok(values)
    }
}

impl Kept {
    fn value(&self) -> Value<'_> {
        Value { type_number: self.type_number, version: self.version, data: &self.data }
    }
}

impl From<StoredEvent<'_>> for Kept {
    fn from(event: StoredEvent<'_>) -> Self {
        let Value { type_number, version, data } = event.value;
        let (hash, dots, clash) = (event.hash, event.dots, event.clash);
        Self { hash, type_number, version, data: data.to_vec(), dots, clash }
    }
}
