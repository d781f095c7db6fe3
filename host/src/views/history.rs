//! Who held a key when: pure rules over arrivals.
//!
//! ```text
//! arrivals         3        7            9
//! values of a key  b        a (less)     event that voids the key
//! holds the key    b [3,7)  a [7,..)
//! counts           b [3,7)  a [7,9)
//! ```

use super::index::entry::Span;
use super::layout::Period;

/// One value of a key and when it arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'v> {
    /// Its place in the caller's list.
    pub(super) index: usize,
    /// Its arrival.
    pub(super) arrival: u64,
    /// The least of those that are there holds the key.
    pub(super) order: Option<(u32, u32, &'v [u8])>,
}

/// A value that held its key over some arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Winner {
    /// Its place in the caller's list.
    pub(super) index: usize,
    /// Over which arrivals.
    pub(super) period: Period,
}

/// Which value held the key when, in the order of arrivals.
pub(super) fn winners(mut values: Vec<Value<'_>>) -> Vec<Winner> {
    values.sort_by_key(|value| value.arrival);
    let mut least: Option<Value<'_>> = None;
    let mut winners: Vec<Winner> = Vec::with_capacity(1);
    for value in values {
        if least.is_some_and(|least| least.order <= value.order) {
            continue;
        }
        if let Some(before) = winners.last_mut() {
            before.period.1 = Some(value.arrival);
        }
        winners.push(Winner { index: value.index, period: (value.arrival, None) });
        least = Some(value);
    }
    winners
}

/// The spans of an entry: what each winner `adds`, less the periods in which it is voided. The first span begins with
/// the arrival of the first of them; if that one does not count then, it is an empty one.
pub(super) fn spans(
    winners: &[Winner],
    adds: &dyn Fn(&Winner) -> Option<Vec<Vec<u8>>>,
    voided: &dyn Fn(&Winner) -> Vec<Period>,
) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::with_capacity(1);
    for winner in winners {
        let Some(deltas) = adds(winner) else { continue };
        for (since, until) in without(winner.period, voided(winner)) {
            match spans.last_mut() {
                Some(before) if before.until == Some(since) && before.deltas == deltas => {
                    before.until = until;
                }
                _ => spans.push(Span { since, until, deltas: deltas.clone() }),
            }
        }
    }
    if let Some(Winner { period: (arrival, _), .. }) = winners.iter().find(|winner| adds(winner).is_some())
        && spans.first().is_none_or(|span| span.since != *arrival)
    {
        spans.insert(0, Span { since: *arrival, until: Some(*arrival), deltas: Vec::new() });
    }
    spans
}

/// The periods in which a winner is `wanted` and not voided; the first begins with the arrival of the first of them, as
/// in [`spans`].
pub(super) fn periods(
    winners: &[Winner],
    wanted: &dyn Fn(&Winner) -> bool,
    voided: &dyn Fn(&Winner) -> Vec<Period>,
) -> Vec<Period> {
    let wanted = winners.iter().filter(|winner| wanted(winner));
    let mut periods: Vec<Period> =
        wanted.clone().flat_map(|winner| without(winner.period, voided(winner))).collect();
    if let Some(Winner { period: (arrival, _), .. }) = wanted.clone().next()
        && periods.first().is_none_or(|(since, _)| since != arrival)
    {
        periods.insert(0, (*arrival, Some(*arrival)));
    }
    periods
}

/// What is left of `period` without `holes`.
fn without(period: Period, mut holes: Vec<Period>) -> Vec<Period> {
    holes.sort_unstable();
    let (mut since, until) = period;
    let mut left = Vec::with_capacity(1);
    for (from, to) in holes {
        if until.is_some_and(|until| until <= from) {
            break;
        }
        if from > since {
            left.push((since, Some(from)));
        }
        match to {
            Some(to) => since = since.max(to),
            None => return left,
        }
    }
    if until.is_none_or(|until| since < until) {
        left.push((since, until));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn holds(period: Period, at: u64) -> bool {
        period.0 <= at && period.1.is_none_or(|until| at < until)
    }

    proptest! {
        // At every arrival the least value that is there holds the key, and counts unless it is voided there.
        #[test]
        fn histories_are_what_they_say(
            data in prop::collection::btree_map(1_u64..12, 0_u8..6, 0..5),
            holes in vec((1_u64..12, prop::option::of(1_u64..6)), 0..4),
        ) {
            let holes: Vec<Period> =
                holes.into_iter().map(|(since, length)| (since, length.map(|length| since + length))).collect();
            let data: Vec<(u64, [u8; 1])> = data.into_iter().map(|(arrival, value)| (arrival, [value])).collect();
            let value = |(index, (arrival, data)): (usize, &'_ (u64, [u8; 1]))| (index, *arrival, *data);
            let listed: Vec<_> = data.iter().enumerate().map(value).collect();
            let values = listed.iter().map(|(index, arrival, data)| Value {
                index: *index,
                arrival: *arrival,
                order: Some((0, 0, data.as_slice())),
            });
            let winners = winners(values.rev().collect());
            let own = |winner: &Winner| Some(vec![vec![u8::try_from(winner.index).unwrap()]]);
            let spans = spans(&winners, &own, &|_| holes.clone());
            for at in 0..14 {
                let there = listed.iter().filter(|(_, arrival, _)| *arrival <= at);
                let least = there.min_by_key(|(_, arrival, data)| (*data, *arrival)).map(|(index, ..)| *index);
                let won: Vec<usize> = winners.iter().filter(|w| holds(w.period, at)).map(|w| w.index).collect();
                prop_assert_eq!(&won, &least.into_iter().collect::<Vec<_>>());
                let is_void = holes.iter().any(|hole| holds(*hole, at));
                let counts: Vec<&Span> = spans.iter().filter(|span| holds((span.since, span.until), at)).collect();
                prop_assert_eq!(counts.len(), usize::from(least.is_some() && !is_void));
                prop_assert!(counts.iter().all(|span| Some(usize::from(span.deltas[0][0])) == least));
            }
        }
    }
}
