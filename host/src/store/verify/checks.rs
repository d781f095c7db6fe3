//! What each table's rows must hold, and which others they are compared with.

use super::{Counts, Findings, Source};
use crate::core::event::{Dot, EventKey, Origin, Seq, ValueHash};
use crate::core::gset::check_behind;
use crate::core::knowledge::Sum;
use crate::core::tables::{ArrivalRow, Result, StoredEvent, TableError};
use crate::store::expiring::Expiring;
use crate::store::identity::Identity;
use crate::store::rows::{
    ARRIVALS, CLASHES, DOTS, Decoder, EVENTS, HEALED, HeadRow, META, ORIGINS, PINS, STAMPS, clash_key,
    corrupt, decode_arrival, decode_dot, decode_dot_key, decode_event, decode_number, dot_key,
};
use std::collections::BTreeMap;

/// Compares everything with everything.
pub(super) fn check_all(tables: &Source<'_>, found: &mut Findings<'_>) -> Counts {
    // The event's rows first: whether the dots find their event depends on which of them can be read.
    let events = check_events(tables, found);
    let losers = check_losers(tables, found);
    let origins = read_origins(tables, found);
    let (dots, lasts) = check_dots(tables, found);
    check_origins(found, &origins, &lasts);
    let (arrivals, last) = check_arrivals(tables, found);
    let counts = Counts { events, losers, dots, origins: lasts.len() as u64, arrivals };
    check_meta(tables, found, &counts, &last);
    check_others(tables, found);
    found.finish();
    counts
}

/// Reads a row of an event and compares it with itself.
fn read_event<'r>(table: &'static str, key: &[u8], row: &'r [u8]) -> Result<StoredEvent<'r>> {
    if key.len() != if table == EVENTS { 16 } else { 32 } {
        return Err(corrupt(table, key, "the key has another length"));
    }
    let event = decode_event(key, row)?;
    if event.hash != event.value.hash(event.key) {
        return Err(corrupt(table, key, "the value is not the one that its hash names"));
    }
    if event.dots.is_empty() || !event.dots.is_sorted_by(|one, two| one < two) {
        return Err(corrupt(table, key, "its dots do not ascend"));
    }
    Ok(event)
}

fn check_events(tables: &Source<'_>, found: &mut Findings<'_>) -> u64 {
    tables.each(found, EVENTS, &mut |found, key, row| {
        match read_event(EVENTS, key, row) {
            Ok(event) => check_dots_of(tables, found, &event),
            Err(error) => found.unreadable(EVENTS, key, reason(error)),
        }
        Ok(())
    })
}

fn check_losers(tables: &Source<'_>, found: &mut Findings<'_>) -> u64 {
    tables.each(found, CLASHES, &mut |found, key, row| {
        let loser = match read_event(CLASHES, key, row) {
            Ok(loser) => loser,
            Err(error) => {
                found.unreadable(CLASHES, key, reason(error));
                return Ok(());
            }
        };
        check_dots_of(tables, found, &loser);
        let event = loser.key.0;
        match tables.get(EVENTS, &event)?.map(|row| decode_event(&event, row)) {
            Some(Ok(winner)) if winner.value < loser.value => Ok(()),
            Some(Ok(_)) => Err(corrupt(EVENTS, &event, "a smaller or equal value has lost the key")),
            // Noted when the events were read.
            Some(Err(_)) => Ok(()),
            None => {
                found.unreadable(
                    EVENTS,
                    &event,
                    "the row is missing; a value that lost its key is there".into(),
                );
                Ok(())
            }
        }
    })
}

/// Each dot of an event has a row that names it.
fn check_dots_of(tables: &Source<'_>, found: &mut Findings<'_>, event: &StoredEvent<'_>) {
    for dot in &event.dots {
        let by = || format!("the event {}", event.key);
        match named_by(tables, *dot, &by) {
            Ok(Some(named)) if named == (event.key, event.hash) => {}
            Ok(Some(_)) => found.fault(
                DOTS,
                &dot_key(*dot),
                format!("it names another event than {} which has it", by()),
            ),
            Ok(None) => {}
            Err(error) => found.fault(DOTS, &dot_key(*dot), error),
        }
    }
}

/// What a dot's row names; none if the row cannot be read, which its own table tells.
fn named_by(
    tables: &Source<'_>,
    dot: Dot,
    by: &dyn Fn() -> String,
) -> std::result::Result<Option<(EventKey, ValueHash)>, String> {
    let key = dot_key(dot);
    match tables.get(DOTS, &key) {
        Ok(Some(row)) => Ok(decode_dot(&key, row).ok().map(|row| (row.key, row.hash))),
        Ok(None) => Err(format!("the row is missing; {} has this dot", by())),
        Err(_) => Ok(None),
    }
}

/// The table of Origins; none for a row that cannot be read.
fn read_origins(tables: &Source<'_>, found: &mut Findings<'_>) -> BTreeMap<Origin, Option<u64>> {
    let mut origins = BTreeMap::new();
    tables.each(found, ORIGINS, &mut |_, key, row| {
        let origin = key.try_into().map_err(|_| corrupt(ORIGINS, key, "the key is no Origin"))?;
        origins.insert(Origin(origin), None);
        let mut row = Decoder::open(ORIGINS, key, row)?;
        let last = row.long()?;
        row.end()?;
        origins.insert(Origin(origin), Some(last));
        Ok(())
    });
    origins
}

/// Gives the number of rows and the last seq of each Origin.
fn check_dots(tables: &Source<'_>, found: &mut Findings<'_>) -> (u64, BTreeMap<Origin, u64>) {
    let mut lasts = BTreeMap::new();
    // The sum up to the last row, if that could be read.
    let mut sum = None;
    let rows = tables.each(found, DOTS, &mut |found, key, row| {
        let dot = decode_dot_key(key)?;
        let last = lasts.insert(dot.origin, dot.seq.0).unwrap_or_else(|| {
            sum = Some(Sum::ZERO);
            0
        });
        if last.checked_add(1) != Some(dot.seq.0) {
            sum = None;
            gap(found, dot.origin, last.saturating_add(1), dot.seq.0.saturating_sub(1));
        }
        let before = sum.take();
        let row = decode_dot(key, row)?;
        sum = Some(row.sum);
        check_named(tables, found, dot, row.key, row.hash);
        match before {
            Some(before) if before.plus(Sum::of(dot.seq, row.key, row.hash)) != row.sum => {
                Err(corrupt(DOTS, key, "the sum does not follow on the one before"))
            }
            _ => Ok(()),
        }
    });
    (rows, lasts)
}

fn gap(found: &mut Findings<'_>, origin: Origin, first: u64, last: u64) {
    let key = dot_key(Dot { origin, seq: Seq(first) });
    found.fault(DOTS, &key, format!("the rows from seq {first} to {last} of {origin} are missing"));
}

/// The event that a dot names is there and has the dot.
fn check_named(tables: &Source<'_>, found: &mut Findings<'_>, dot: Dot, key: EventKey, hash: ValueHash) {
    let lost = clash_key(key, hash);
    let mut other = false;
    for (table, row_key) in [(EVENTS, key.0.as_slice()), (CLASHES, lost.as_slice())] {
        let read = tables.get(table, row_key);
        let Ok(Some(row)) = read else { continue };
        if found.unreadable.contains_key(&(table, row_key.to_vec())) {
            continue;
        }
        let Ok(event) = decode_event(row_key, row) else { continue };
        if event.hash != hash {
            other = true;
            continue;
        }
        if event.dots.binary_search(&dot).is_err() {
            found.fault(table, row_key, format!("it lacks the dot {dot}, which names it"));
        }
        return;
    }
    found.missing(dot, key, hash, other);
}

fn check_origins(
    found: &mut Findings<'_>,
    named: &BTreeMap<Origin, Option<u64>>,
    lasts: &BTreeMap<Origin, u64>,
) {
    for (origin, last) in lasts {
        match named.get(origin) {
            None => found.fault(
                ORIGINS,
                &origin.0,
                format!("the row is missing; there are dots up to seq {last}"),
            ),
            Some(Some(named)) if named > last => gap(found, *origin, last + 1, *named),
            Some(Some(named)) if named < last => {
                found.fault(
                    ORIGINS,
                    &origin.0,
                    format!("it names seq {named}, and there are dots up to {last}"),
                );
            }
            Some(_) => {}
        }
    }
    for (origin, named) in named.iter().filter(|(origin, _)| !lasts.contains_key(origin)) {
        match named {
            Some(named @ 1..) => gap(found, *origin, 1, *named),
            Some(0) => found.fault(ORIGINS, &origin.0, "it names seq 0"),
            None => {}
        }
    }
}

/// The last arrival: its number and, if it could be read, its row.
type LastArrival = (u64, Option<ArrivalRow>);

fn check_arrivals(tables: &Source<'_>, found: &mut Findings<'_>) -> (u64, LastArrival) {
    let mut last = (0, None);
    let mut check = Some([0; 8]);
    let rows = tables.each(found, ARRIVALS, &mut |found, key, row| {
        let number = decode_number(ARRIVALS, key)?;
        let (before, before_row) = std::mem::replace(&mut last, (number, None));
        let mut check_before = check.take();
        if before.checked_add(1) != Some(number) {
            check_before = None;
            arrivals_gap(found, before.saturating_add(1), number.saturating_sub(1));
        }
        let row = decode_arrival(key, row)?;
        (last.1, check) = (Some(row), Some(row.check));
        let by = || format!("the arrival {number}");
        match named_by(tables, row.dot, &by) {
            Ok(Some(named)) if named != (row.key, row.hash) => {
                return Err(corrupt(ARRIVALS, key, "its dot names another event"));
            }
            Ok(_) => {}
            Err(error) => found.fault(DOTS, &dot_key(row.dot), error),
        }
        if before_row.is_some_and(|before: ArrivalRow| before.wall_ms > row.wall_ms) {
            return Err(corrupt(ARRIVALS, key, "the wall clock falls"));
        }
        match check_before {
            Some(before) if check_behind(before, &row) != row.check => {
                Err(corrupt(ARRIVALS, key, "the check does not follow on the one before"))
            }
            _ => Ok(()),
        }
    });
    (rows, last)
}

fn arrivals_gap(found: &mut Findings<'_>, first: u64, last: u64) {
    found.fault(ARRIVALS, &first.to_be_bytes(), format!("the rows from {first} to {last} are missing"));
}

fn check_meta(tables: &Source<'_>, found: &mut Findings<'_>, counts: &Counts, last: &LastArrival) {
    let mut head = None;
    let mut damaged = false;
    tables.each(found, META, &mut |_, key, row| {
        if key == HeadRow::KEY {
            damaged = true;
            head = Some(HeadRow::decode(row)?);
        } else if key == Identity::KEY {
            Identity::decode(row)?;
        } else {
            Decoder::open(META, key, row)?;
        }
        Ok(())
    });
    match head {
        Some(head) => check_head(found, &head, counts, last),
        None if damaged => {}
        None => found.fault(META, HeadRow::KEY, "the row is missing"),
    }
}

fn check_head(found: &mut Findings<'_>, head: &HeadRow, counts: &Counts, (last, row): &LastArrival) {
    if head.arrivals > *last {
        arrivals_gap(found, last + 1, head.arrivals);
    }
    let other_last = row.is_some_and(|row| row.check != head.check || row.wall_ms != head.wall_ms);
    let wrong = [
        ("events", head.events, counts.events),
        ("origins", head.origins, counts.origins),
        ("arrivals", head.arrivals, counts.arrivals),
    ];
    let wrong: Vec<String> = wrong
        .into_iter()
        .filter(|(_, counted, there)| counted != there)
        .map(|(what, counted, there)| format!("it counts {counted} {what}, there are {there}"))
        .collect();
    if !wrong.is_empty() {
        found.fault(META, HeadRow::KEY, wrong.join("; "));
    } else if other_last {
        found.fault(META, HeadRow::KEY, "the last arrival is another one than it names");
    }
}

/// The tables that stand for themselves.
fn check_others(tables: &Source<'_>, found: &mut Findings<'_>) {
    for name in [STAMPS, PINS] {
        let expiring = tables.all.get(name).map(|table| Expiring { table: table.clone(), name });
        tables.each(found, name, &mut |_, key, row| {
            expiring.as_ref().map_or(Ok(()), |expiring| expiring.check(&tables.rows, key, row))
        });
    }
    // Made at the next opening where an earlier program left none.
    if tables.all.contains_key(HEALED) {
        tables.each(found, HEALED, &mut |_, key, row| {
            if key.len() != 32 {
                return Err(corrupt(HEALED, key, "the key has another length"));
            }
            Decoder::open(HEALED, key, row)?.end()
        });
    }
}

fn reason(error: TableError) -> String {
    match error {
        TableError::Corrupt { reason, .. } => reason.to_owned(),
        other
        @ (TableError::MapFull | TableError::DiskFull(_) | TableError::Io(_) | TableError::Poisoned) => {
            other.to_string()
        }
    }
}
