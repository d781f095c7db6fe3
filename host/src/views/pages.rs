//! Listings: aggregates in key order, or groups of them, in pages of bounded work.
//!
//! A walk over pages is pinned: its first page notes how many arrivals it knew, and all later ones answer for that,
//! whatever arrives in between.

use super::answer::{Answer, Item, Page, PageQuery};
use super::cursor::{self, Pin, Scope};
use super::error::ViewError;
use super::read::{Folded, Reading, behind, parts};
use laterbase_plugin::aggregate;

/// A page looks at so many aggregates, whether they have events within the bounds or not.
const PAGE_AGGREGATES_MAX: usize = 10_000;
/// A page ends behind the item with which it has folded so many deltas.
const PAGE_DELTAS_MAX: u64 = 262_144;
/// A page ends behind the item with which its values have so many bytes.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// An item before it is rendered: the encoded key, and the state.
type Found = (Vec<u8>, Folded);

impl Reading<'_> {
    /// The answer for one aggregate; none if no un-voided event in the range maps to it.
    pub(super) fn one(&mut self, aggregate: &[u8]) -> Result<Option<Answer>, ViewError> {
        let folded = self.fold(aggregate)?;
        folded.map(|folded| self.answer(aggregate, folded)).transpose()
    }

    /// The answer for all aggregates whose key begins with these parts; none if no un-voided event in the range maps
    /// to any.
    pub(super) fn group(&mut self, parts: &[u8]) -> Result<Option<Answer>, ViewError> {
        let found = self.next_group(parts, parts, None)?;
        found.map(|(_, folded)| self.answer(&group_key(parts), folded)).transpose()
    }

    fn answer(&mut self, aggregate: &[u8], folded: Folded) -> Result<Answer, ViewError> {
        let mut incomplete = self.incomplete()?;
        incomplete.extend(folded.faults);
        incomplete.sort_by_key(|aside| aside.key);
        incomplete.dedup_by_key(|aside| aside.key);
        Ok(Answer {
            key: parts(aggregate)?,
            value: self.render(aggregate, &folded.state)?,
            events: folded.events,
            last: folded.last,
            incomplete,
            stale: folded.stale,
        })
    }

    /// A page of the aggregates under the encoded `prefix`. The next one begins at `pin`.
    pub(super) fn page(
        &mut self,
        prefix: &[u8],
        query: &PageQuery,
        scope: Scope,
        pin: Pin,
        after: Option<&[u8]>,
    ) -> Result<Page, ViewError> {
        let group = query.bounds.group;
        let mut from = after.map_or_else(|| prefix.to_vec(), behind);
        let (limit, mut seen, mut bytes) = (query.limit.max(1), 0, 0);
        let mut page = Page { items: Vec::new(), cursor: None, incomplete: self.incomplete()?, stale: false };
        loop {
            let Some(next) = self.next_aggregate(&from)?.filter(|next| next.starts_with(prefix)) else {
                page.cursor = None;
                return Ok(page);
            };
            let full = page.items.len() >= limit || bytes >= PAGE_BYTES_MAX;
            if full || seen >= PAGE_AGGREGATES_MAX || self.folded >= PAGE_DELTAS_MAX {
                return Ok(page);
            }
            let (last, found) = match group {
                None => (next.clone(), self.fold(&next)?.map(|folded| (next, folded))),
                Some(group) => {
                    let front = front_of(&next, group);
                    (front.clone(), self.next_group(&front, &next, Some(&mut seen))?)
                }
            };
            if let Some((key, folded)) = found {
                let key = if group.is_some() { group_key(&key) } else { key };
                let value = self.render(&key, &folded.state)?;
                bytes += value.get().len();
                page.stale |= folded.stale.is_some();
                page.incomplete.extend(folded.faults);
                page.items.push(Item { key: parts(&key)?, value });
            }
            seen += 1;
            page.cursor = Some(cursor::write(scope, pin, &last));
            from = behind(&last);
        }
    }

    /// All aggregates from `from` on whose encoded keys begin with `front`, merged.
    fn next_group(
        &mut self,
        front: &[u8],
        from: &[u8],
        mut seen: Option<&mut usize>,
    ) -> Result<Option<Found>, ViewError> {
        let (mut group, mut from) = (None, from.to_vec());
        while let Some(next) = self.next_aggregate(&from)?.filter(|next| next.starts_with(front)) {
            if let Some(folded) = self.fold(&next)? {
                group = Some(self.add(group, folded)?);
            }
            if let Some(seen) = seen.as_deref_mut() {
                *seen += 1;
            }
            from = behind(&next);
        }
        Ok(group.map(|group| (front.to_vec(), group)))
    }
}

/// The first `count` parts of an encoded key, with what ends each of them but not the key.
fn front_of(key: &[u8], count: u32) -> Vec<u8> {
    let mut left = count;
    let end = key.windows(2).position(|pair| {
        left -= u32::from(pair == [0, 1] && left > 0);
        left == 0
    });
    key.get(..end.map_or(key.len(), |end| end + 2)).unwrap_or_default().to_vec()
}

/// The encoded key of a group: its parts, and what ends a key.
fn group_key(front: &[u8]) -> Vec<u8> {
    if aggregate::decode(front).is_ok() { front.to_vec() } else { [front, &[0, 0]].concat() }
}
