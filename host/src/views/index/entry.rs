//! One event's entry in the index of one aggregate: what it adds, and over which arrivals that counted.
//!
//! Valid time is in the event's key, transaction time in its spans (a bitemporal row): the entry is live for whoever
//! knows the first k arrivals if a span holds k. Nearly all entries have one open span with one delta and are packed
//! as such; voided ones and those of keys that clashed have the general form.
//!
//! ```text
//! entry   := shared(1) rest-of-event-key body       shared: bytes in common with the event key before
//! body    := number(since * 2)     piece(delta)                                one open span
//!          | number(1)             piece(number(spans) span*)                  general
//! span    := number(since) number(until, 0: open) number(deltas) piece(delta)*
//! ```

use super::bytes::{put_number, put_piece, take_number, take_piece};
use crate::core::event::EventKey;

/// Stands for "everything that is known".
pub(in crate::views) const NOW: u64 = u64::MAX;

/// Some arrivals over which an event added the same deltas to an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::views) struct Span {
    /// The arrival that made it so.
    pub(in crate::views) since: u64,
    /// The arrival that ended it; none: it is so still.
    pub(in crate::views) until: Option<u64>,
    /// What was added, in the order of emission.
    pub(in crate::views) deltas: Vec<Vec<u8>>,
}

/// An entry without its event key, as it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::views) struct Body<'a> {
    bytes: &'a [u8],
}

/// The deltas of an entry that is live.
#[derive(Clone, Debug)]
pub(in crate::views) struct Deltas<'a> {
    left: u64,
    rest: &'a [u8],
}

/// Packs the spans of an entry, which ascend and do not overlap; none: it never counted.
pub(in crate::views) fn write_body(spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    if let [Span { since, until: None, deltas }] = spans
        && let [delta] = deltas.as_slice()
    {
        put_number(&mut out, since << 1);
        put_piece(&mut out, delta);
        return out;
    }
    let mut inner = Vec::new();
    put_number(&mut inner, spans.len() as u64);
    for Span { since, until, deltas } in spans {
        put_number(&mut inner, *since);
        put_number(&mut inner, until.unwrap_or(0));
        put_number(&mut inner, deltas.len() as u64);
        for delta in deltas {
            put_piece(&mut inner, delta);
        }
    }
    put_number(&mut out, 1);
    put_piece(&mut out, &inner);
    out
}

impl<'a> Body<'a> {
    /// Takes a body off the front.
    pub(in crate::views) fn take(input: &mut &'a [u8]) -> Option<Self> {
        let before = *input;
        take_number(input)?;
        take_piece(input)?;
        let length = before.len() - input.len();
        Some(Self { bytes: before.get(..length)? })
    }

    /// A body that [`write_body`] wrote.
    pub(in crate::views) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Its bytes.
    pub(in crate::views) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// What it adds for whoever knows the arrivals up to `known`; none if it does not count there.
    pub(in crate::views) fn live(self, known: u64) -> Option<Deltas<'a>> {
        let mut rest = self.bytes;
        let head = take_number(&mut rest)?;
        if head & 1 == 0 {
            return (head >> 1 <= known).then_some(Deltas { left: 1, rest });
        }
        let mut inner = take_piece(&mut rest)?;
        for _ in 0..take_number(&mut inner)? {
            let (since, until) = (take_number(&mut inner)?, take_number(&mut inner)?);
            let deltas = Deltas { left: take_number(&mut inner)?, rest: inner };
            if since <= known && (until == 0 || known < until) {
                return Some(deltas);
            }
            for _ in 0..deltas.left {
                take_piece(&mut inner)?;
            }
        }
        None
    }

    /// The last arrival that changed it; none if it never counted.
    pub(in crate::views) fn last_change(self) -> Option<u64> {
        let head = take_number(&mut &*self.bytes)?;
        if head & 1 == 0 {
            return Some(head >> 1);
        }
        self.spans()?.last().map(|span| span.until.unwrap_or(span.since))
    }

    /// All of its spans; none if the bytes are damaged.
    pub(in crate::views) fn spans(self) -> Option<Vec<Span>> {
        let mut rest = self.bytes;
        let head = take_number(&mut rest)?;
        if head & 1 == 0 {
            let delta = take_piece(&mut rest)?.to_vec();
            return Some(vec![Span { since: head >> 1, until: None, deltas: vec![delta] }]);
        }
        let mut inner = take_piece(&mut rest)?;
        let mut spans = Vec::new();
        for _ in 0..take_number(&mut inner)? {
            let since = take_number(&mut inner)?;
            let until = Some(take_number(&mut inner)?).filter(|until| *until != 0);
            let mut deltas = Vec::new();
            for _ in 0..take_number(&mut inner)? {
                deltas.push(take_piece(&mut inner)?.to_vec());
            }
            spans.push(Span { since, until, deltas });
        }
        Some(spans)
    }
}

impl<'a> Iterator for Deltas<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        take_piece(&mut self.rest)
    }
}

/// Packs entries, in key order, into a row.
#[derive(Debug, Default)]
pub(in crate::views) struct Packer {
    /// The packed entries.
    pub(in crate::views) bytes: Vec<u8>,
    /// How many there are.
    pub(in crate::views) entries: usize,
    /// How many of them are live.
    pub(in crate::views) live: u64,
    before: EventKey,
}

impl Packer {
    /// Appends an entry.
    pub(in crate::views) fn push(&mut self, event: EventKey, body: Body<'_>) {
        put_event(&mut self.bytes, self.before, event);
        self.bytes.extend_from_slice(body.bytes);
        self.before = event;
        self.entries += 1;
        self.live += u64::from(body.live(NOW).is_some());
    }
}

/// Appends an event key without what it has in common with the one before it.
pub(super) fn put_event(out: &mut Vec<u8>, before: EventKey, event: EventKey) {
    let shared = before.0.iter().zip(event.0).take_while(|(one, other)| **one == *other).count();
    out.push(u8::try_from(shared).expect("16 at most"));
    out.extend_from_slice(event.0.get(shared..).unwrap_or_default());
}

/// Takes an event key off the front.
pub(super) fn take_event(input: &mut &[u8], before: EventKey) -> Option<EventKey> {
    let (shared, rest) = input.split_first()?;
    let shared = usize::from(*shared);
    let (own, rest) = rest.split_at_checked(16_usize.checked_sub(shared)?)?;
    *input = rest;
    let mut event = before;
    event.0.get_mut(shared..)?.copy_from_slice(own);
    Some(event)
}

/// The entries of a packed row, in key order; the last item is none if the row is damaged.
#[derive(Debug)]
pub(in crate::views) struct Entries<'a> {
    rest: &'a [u8],
    before: EventKey,
}

impl<'a> Entries<'a> {
    /// The entries in `packed`.
    pub(in crate::views) fn new(packed: &'a [u8]) -> Self {
        Self { rest: packed, before: EventKey::default() }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<(EventKey, Body<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut entry = || {
            let event = take_event(&mut self.rest, self.before)?;
            Some((event, Body::take(&mut self.rest)?))
        };
        let entry = entry();
        match entry {
            Some((event, _)) => self.before = event,
            None => self.rest = &[],
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn span() -> impl Strategy<Value = Span> {
        let deltas = vec(vec(any::<u8>(), 0..6), 0..3);
        (1_u64..9, prop::option::of(1_u64..9), deltas).prop_map(|(since, until, deltas)| Span {
            since,
            until,
            deltas,
        })
    }

    proptest! {
        // A packed row gives back its entries, counts the live ones, and answers for every arrival as the spans do.
        #[test]
        fn entries_round_trip(entries in prop::collection::btree_map(any::<[u8; 16]>(), vec(span(), 0..3), 0..20)) {
            let mut packer = Packer::default();
            for (event, spans) in &entries {
                packer.push(EventKey(*event), Body::of(&write_body(spans)));
            }
            let holds = |span: &&Span, known| span.since <= known && span.until.is_none_or(|until| known < until);
            let mut read = Entries::new(&packer.bytes);
            for (event, spans) in &entries {
                let (key, body) = read.next().flatten().expect("as many as were packed");
                prop_assert_eq!(key, EventKey(*event));
                let own = body.spans();
                prop_assert_eq!(own.as_ref(), Some(spans));
                for known in (0..10).chain([NOW]) {
                    let wanted = spans.iter().find(|span| holds(span, known)).map(|span| span.deltas.clone());
                    let live = body.live(known).map(|deltas| deltas.map(<[u8]>::to_vec).collect::<Vec<_>>());
                    prop_assert_eq!(live, wanted);
                }
            }
            prop_assert!(read.next().is_none());
            let live = entries.values().filter(|spans| spans.iter().any(|span| holds(&span, NOW))).count();
            prop_assert_eq!((packer.entries, packer.live), (entries.len(), live as u64));
        }

        // Damaged rows end in none and never panic.
        #[test]
        fn damage_is_noticed(bytes in vec(any::<u8>(), 0..60)) {
            for entry in Entries::new(&bytes).map_while(|entry| entry) {
                drop((entry.1.spans(), entry.1.live(3).map(Iterator::count)));
            }
        }
    }
}
