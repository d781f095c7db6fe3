//! Entries in memory, in the order of their keys: sorted runs, merged as they grow (a log-structured merge tree without
//! a disk).
//!
//! A run is a few buffers, whatever it holds, so adding an entry allocates nothing of its own; runs are shared with
//! readers and never change. Newer runs stand over older ones. Whenever the newest is at least half as long as the one
//! before it, the two are merged, so there are few.

use super::index::entry::Body;
use super::layout;
use crate::core::event::EventKey;
use std::cmp::Ordering;
use std::sync::Arc;

/// Where a row's bytes are in its run.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where the key begins: aggregate key and event key, one behind the other.
    key: u32,
    /// Where the body begins and the key ends.
    body: u32,
    /// Where the body ends.
    end: u32,
    /// True if the index has no entry of this event in this aggregate.
    fresh: bool,
}

/// One row of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'r> {
    /// Aggregate key and event key, one behind the other.
    pub(super) key: &'r [u8],
    /// The entry's body.
    pub(super) body: &'r [u8],
    /// True if the index has no entry of this event in this aggregate.
    pub(super) fresh: bool,
}

/// Rows in key order, no key twice.
#[derive(Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// The entry of one event in one aggregate, copied out.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The event.
    pub(super) event: EventKey,
    /// True if the index has no entry of it in this aggregate.
    pub(super) fresh: bool,
    body: Box<[u8]>,
}

impl Pending {
    fn of(row: Row<'_>) -> Self {
        let event = row.key.last_chunk::<16>().map_or_else(EventKey::default, |event| EventKey(*event));
        Self { event, fresh: row.fresh, body: row.body.into() }
    }

    /// What it adds.
    pub(super) fn body(&self) -> Body<'_> {
        Body::of(&self.body)
    }
}

impl Run {
    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The row at a position.
    pub(super) fn row(&self, at: usize) -> Option<Row<'_>> {
        self.places.get(at).map(|place| self.at(*place))
    }

    fn at(&self, Place { key, body, end, fresh }: Place) -> Row<'_> {
        let piece = |from: u32, to: u32| self.bytes.get(from as usize..to as usize).unwrap_or_default();
        Row { key: piece(key, body), body: piece(body, end), fresh }
    }

    /// The rows from the first key at or behind `from`.
    pub(super) fn from(&self, from: &[u8]) -> impl Iterator<Item = Row<'_>> {
        let start = self.places.partition_point(|place| self.at(*place).key < from);
        self.places.get(start..).unwrap_or_default().iter().map(|place| self.at(*place))
    }

    /// Appends a row, in whatever order; [`Self::sort`] before it is read.
    pub(super) fn push(&mut self, aggregate: &[u8], event: EventKey, body: &[u8], fresh: bool) {
        self.push_with(aggregate, event, |bytes| bytes.extend_from_slice(body), fresh);
    }

    /// The same for a body that `write` appends.
    pub(super) fn push_with(
        &mut self,
        aggregate: &[u8],
        event: EventKey,
        write: impl FnOnce(&mut Vec<u8>),
        fresh: bool,
    ) {
        let key = narrow(self.bytes.len());
        self.bytes.extend_from_slice(aggregate);
        self.bytes.extend_from_slice(&event.0);
        let body = narrow(self.bytes.len());
        write(&mut self.bytes);
        self.places.push(Place { key, body, end: narrow(self.bytes.len()), fresh });
    }

    /// Brings the rows into key order; no key may be there twice.
    pub(super) fn sort(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let key = |place: &Place| bytes.get(place.key as usize..place.body as usize).unwrap_or_default();
        self.places.sort_unstable_by(|one, other| key(one).cmp(key(other)));
        self.bytes = bytes;
    }

    /// Appends a row as it is in another run.
    fn append(&mut self, run: &Self, Place { key, body, end, .. }: Place, fresh: bool) {
        let start = narrow(self.bytes.len());
        self.bytes.extend_from_slice(run.bytes.get(key as usize..end as usize).unwrap_or_default());
        self.places.push(Place {
            key: start,
            body: start + (body - key),
            end: narrow(self.bytes.len()),
            fresh,
        });
    }

    /// Both runs as one; where both have a key the newer row counts.
    fn merged(older: &Self, newer: &Self) -> Self {
        let bytes = Vec::with_capacity(older.bytes.len() + newer.bytes.len());
        let mut merged = Self { bytes, places: Vec::with_capacity(older.len() + newer.len()) };
        let mut old = older.places.iter().copied().peekable();
        for place in newer.places.iter().copied() {
            let (key, mut fresh) = (newer.at(place).key, place.fresh);
            while let Some(before) = old.peek() {
                match older.at(*before).key.cmp(key) {
                    Ordering::Less => merged.append(older, *before, before.fresh),
                    Ordering::Equal => fresh = before.fresh,
                    Ordering::Greater => break,
                }
                old.next();
            }
            merged.append(newer, place, fresh);
        }
        old.for_each(|before| merged.append(older, before, before.fresh));
        merged
    }
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("a segment's entries are less than 4 GiB")
}

/// Some runs, each newer than those before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(Vec<Arc<Run>>);

impl Runs {
    /// How many rows there are, some of them twice.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|run| run.len()).sum()
    }

    /// How many bytes of memory they take.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|run| run.bytes.len() + run.len() * size_of::<Place>()).sum()
    }

    /// Adds a run, which is sorted and newer than all others.
    pub(super) fn add(&mut self, run: Run) {
        if run.len() == 0 {
            return;
        }
        self.0.push(Arc::new(run));
        while let [.., older, newer] = self.0.as_slice()
            && older.len() < 2 * newer.len()
        {
            let merged = Arc::new(Run::merged(older, newer));
            self.0.truncate(self.0.len() - 2);
            self.0.push(merged);
        }
    }

    /// Everything in one run.
    pub(super) fn whole(&self) -> Arc<Run> {
        let mut newest_first = self.0.iter().rev();
        let mut whole = newest_first.next().cloned().unwrap_or_default();
        for older in newest_first {
            whole = Arc::new(Run::merged(older, &whole));
        }
        whole
    }

    /// Only this run.
    pub(super) fn only(run: Arc<Run>) -> Self {
        Self(vec![run])
    }

    /// The newest row with this key.
    pub(super) fn get(&self, key: &[u8]) -> Option<Row<'_>> {
        let row = |run| Run::from(run, key).next().filter(|row| row.key == key);
        let mut rows = self.0.iter().map(|run| &**run).filter_map(row);
        let oldest = rows.next()?;
        Some(Row { fresh: oldest.fresh, ..rows.next_back().unwrap_or(oldest) })
    }

    /// The first key at or behind `from`.
    pub(super) fn next_key(&self, from: &[u8]) -> Option<&[u8]> {
        self.0.iter().filter_map(|run| run.from(from).next()).map(|row| row.key).min()
    }

    /// Lays the entries of `aggregate` over `entries`, which are in key order.
    pub(super) fn over(&self, aggregate: &[u8], entries: &mut Vec<Pending>) {
        for run in &self.0 {
            let own = run.from(aggregate).take_while(|row| layout::aggregate_of(row.key) == aggregate);
            let newer: Vec<Pending> = own.map(Pending::of).collect();
            if !newer.is_empty() {
                *entries = laid_over(std::mem::take(entries), newer);
            }
        }
    }
}

/// Both as one, in key order; where both have an event the newer entry counts.
fn laid_over(mut older: Vec<Pending>, newer: Vec<Pending>) -> Vec<Pending> {
    if older.last().zip(newer.first()).is_none_or(|(last, first)| last.event < first.event) {
        older.extend(newer);
        return older;
    }
    let mut merged = Vec::with_capacity(older.len() + newer.len());
    let mut older = older.into_iter().peekable();
    for entry in newer {
        merged.extend(std::iter::from_fn(|| older.next_if(|old| old.event < entry.event)));
        let replaced = older.next_if(|old| old.event == entry.event);
        merged.push(Pending { fresh: replaced.map_or(entry.fresh, |old| old.fresh), ..entry });
    }
    merged.extend(older);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        // Runs answer as one map into which the same rows were put in order, and stay few.
        #[test]
        fn runs_are_a_map(steps in vec(prop::collection::btree_map((0_u8..4, 0_u8..20), any::<u8>(), 0..6), 0..40)) {
            let mut runs = Runs::default();
            let mut map: BTreeMap<Vec<u8>, (u8, bool)> = BTreeMap::new();
            let event = |number: u8| EventKey([number; 16]);
            for step in steps {
                let mut run = Run::default();
                for ((aggregate, number), value) in step.iter().rev() {
                    let key = layout::joined(&[*aggregate], event(*number));
                    let fresh = !map.contains_key(&key);
                    run.push(&[*aggregate], event(*number), &[*value], fresh);
                    let first = map.get(&key).map_or(fresh, |(_, first)| *first);
                    map.insert(key, (*value, first));
                }
                run.sort();
                runs.add(run);
            }
            prop_assert!(runs.0.len() <= 9, "{}", runs.0.len());
            let whole = runs.whole();
            let all: Vec<_> = whole.from(&[]).map(|row| (row.key.to_vec(), (row.body[0], row.fresh))).collect();
            prop_assert_eq!(&all, &map.clone().into_iter().collect::<Vec<_>>());
            for (key, (value, fresh)) in &map {
                let row = runs.get(key).expect("there");
                prop_assert_eq!((row.body, row.fresh), (&[*value][..], *fresh));
            }
            for aggregate in 0..4 {
                let mut entries = Vec::new();
                runs.over(&[aggregate], &mut entries);
                let own = map.iter().filter(|(key, _)| key[0] == aggregate);
                let own: Vec<_> = own.map(|(key, _)| key[1]).collect();
                prop_assert_eq!(entries.iter().map(|pending| pending.event.0[0]).collect::<Vec<_>>(), own);
            }
        }
    }
}
