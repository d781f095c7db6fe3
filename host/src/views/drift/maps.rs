//! Events mapped again: with the code that serves, and against what the index holds of them.

use super::sample::{Code, Emission, Mapped};
use super::{Comparison, Drift, Shared, parts_of, shown, shown_failure};
use crate::core::event::EventKey;
use crate::core::tables::{Result, TableError};
use crate::views::computes::Failure;
use crate::views::error::ViewError;
use crate::views::index::entry::Body;
use crate::views::layout;
use crate::views::rows::{Rows, Table};
use crate::views::slot::Slot;
use crate::views::tail::Tail;
use std::collections::BTreeMap;

/// One event's deltas by aggregate, each aggregate's in the order of emission.
type Grouped<'m> = BTreeMap<&'m [u8], Vec<&'m [u8]>>;

/// The first difference in what events of the sample add, or void.
pub(super) fn compare(
    comparison: &Comparison<'_>,
    shared: &Shared<'_>,
    (code, before): (&Code<'_>, Option<&Code<'_>>),
    mapped: &Mapped,
) -> std::result::Result<Option<Drift>, ViewError> {
    if let (Some(old), Some(before)) = (shared.old, before) {
        let voids = with_code(
            comparison,
            shared,
            ("retracts", code),
            &before.retracts(),
            &code.retracts(),
            &|before, now| Some(voided(before, now)),
        );
        if voids.is_some() {
            return Ok(voids);
        }
        let rows =
            with_code(comparison, shared, ("map", code), &before.map(old.position), mapped, &difference);
        if rows.is_some() {
            return Ok(rows);
        }
    }
    Ok(with_index(comparison, shared, code, mapped)?)
}

/// Finds out where two lists of results differ that are not equal; none if it does not matter.
type Differ<'d, T> = &'d dyn Fn(&[T], &[T]) -> Option<Difference>;
/// Where two lists of results differ: an aggregate, if one is concerned, and both results.
type Difference = (Vec<u8>, String, String);

fn with_code<T: PartialEq>(
    comparison: &Comparison<'_>,
    shared: &Shared<'_>,
    (hook, code): (&'static str, &Code<'_>),
    before: &[std::result::Result<Vec<T>, Failure>],
    now: &[std::result::Result<Vec<T>, Failure>],
    differ: Differ<'_, T>,
) -> Option<Drift> {
    for (sampled, (before, now)) in code.sample.iter().zip(before.iter().zip(now)) {
        // Code that failed and now does something is mended.
        let Ok(before) = before else { continue };
        let difference = match now {
            Ok(now) if before == now => None,
            Ok(now) => differ(before, now),
            Err(failure) => Some((Vec::new(), format!("{} results", before.len()), shown_failure(failure))),
        };
        if let Some((aggregate, before, now)) = difference {
            let drift = comparison.of_keyspace(shared.new, hook, sampled.stored.key);
            return Some(Drift { key: parts_of(&aggregate), before, now, ..drift });
        }
    }
    None
}

fn voided(before: &[EventKey], now: &[EventKey]) -> Difference {
    let list = |keys: &[EventKey]| {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
    };
    (Vec::new(), list(before), list(now))
}

/// The first aggregate to which other deltas are added.
fn difference(before: &[Emission], now: &[Emission]) -> Option<Difference> {
    let (before, now) = (grouped(before), grouped(now));
    let aggregates = before.keys().chain(now.keys());
    let differs = |aggregate: &&&[u8]| before.get(**aggregate) != now.get(**aggregate);
    let aggregate = aggregates.copied().filter(|aggregate| differs(&aggregate)).min()?;
    let list = |grouped: &Grouped<'_>| match grouped.get(aggregate) {
        Some(deltas) => shown_deltas(deltas),
        None => "nothing".to_owned(),
    };
    Some((aggregate.to_vec(), list(&before), list(&now)))
}

fn grouped(rows: &[Emission]) -> Grouped<'_> {
    let mut grouped = Grouped::new();
    for (aggregate, delta) in rows {
        grouped.entry(aggregate.as_slice()).or_default().push(delta.as_slice());
    }
    grouped
}

fn shown_deltas(deltas: &[&[u8]]) -> String {
    let deltas: Vec<String> = deltas.iter().map(|delta| shown(delta)).collect();
    deltas.join(" ")
}

/// Compares with what is stored of the events that are indexed.
fn with_index(
    comparison: &Comparison<'_>,
    shared: &Shared<'_>,
    code: &Code<'_>,
    mapped: &Mapped,
) -> Result<Option<Drift>> {
    let mut tail = shared.tail.clone();
    let position = tail.position();
    let slot = Slot::new(shared.new, &mut tail, comparison.rows, false)?;
    let voids = code.retracts();
    for ((sampled, rows), voids) in code.sample.iter().zip(mapped).zip(&voids) {
        let key = sampled.stored.key;
        if sampled.arrival > position || slot.failed_since(key)?.is_some() {
            continue;
        }
        let drift = |hook| comparison.of_keyspace(shared.new, hook, key);
        for target in voids.iter().flatten() {
            if !is_noted(comparison.rows, shared, *target, key)? {
                let (before, now) = ("nothing".to_owned(), target.to_string());
                return Ok(Some(Drift { before, now, ..drift("retracts") }));
            }
        }
        let rows = match rows {
            Ok(rows) => grouped(rows),
            Err(failure) => {
                let (before, now) = ("no failure".to_owned(), shown_failure(failure));
                return Ok(Some(Drift { before, now, ..drift("map") }));
            }
        };
        for (aggregate, deltas) in rows {
            let stored = slot.entry(aggregate, key)?;
            if let Some(before) = other_than(stored.as_deref(), &deltas)? {
                let (key, now) = (parts_of(aggregate), shown_deltas(&deltas));
                return Ok(Some(Drift { key, before, now, ..drift("map") }));
            }
        }
    }
    Ok(None)
}

/// What is stored, if it is something else.
fn other_than(stored: Option<&[u8]>, deltas: &[&[u8]]) -> Result<Option<String>> {
    let Some(stored) = stored else { return Ok(Some("nothing".to_owned())) };
    let damaged = || -> TableError { layout::corrupt("index", stored, "not an entry") };
    let spans = Body::of(stored).spans().ok_or_else(damaged)?;
    // A key with one value adds the same over every span; without a span it was void before it came.
    let Some(span) = spans.first().filter(|span| span.deltas != deltas) else { return Ok(None) };
    let before: Vec<&[u8]> = span.deltas.iter().map(Vec::as_slice).collect();
    Ok(Some(shown_deltas(&before)))
}

/// Whether it is stored that `voiding` voids `voided`.
fn is_noted(rows: &dyn Rows, shared: &Shared<'_>, voided: EventKey, voiding: EventKey) -> Result<bool> {
    let in_tail = |tail: &Tail| tail.both().any(|segment| segment.voids.contains_key(&(voided, voiding)));
    if in_tail(&shared.tail) {
        return Ok(true);
    }
    let row = rows.get(Table::Voids(shared.new.tables), &layout::joined(&voided.0, voiding))?;
    Ok(row.is_some())
}
