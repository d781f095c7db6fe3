//! `recall`: where everything is now that was made of a lot.

use super::query::{Asked, BATCH};
use super::trace::Tracer;
use crate::views::made::{ByInput, Made, Making};
use crate::views::status::StatusState;
use laterbase_plugin::{Answer, EventKey, Query, Reader, Report, ReportError};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Lot, or anything that goes into something else → how many items were made of it, and how many of them are where:
/// business locations, `sold` for those that ceased to be, `moving` for those of which no location is known.
#[derive(Debug, Clone, Copy)]
pub struct Recall;

/// What became of the items of one lot.
#[derive(Debug, Default, Serialize)]
struct Recalled {
    at: BTreeMap<String, u64>,
    cases: u64,
}

impl Report for Recall {
    const NAME: &'static str = "recall";

    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError> {
        let asked = Asked::read(query)?;
        let mut tracer = Tracer::new(reader, asked.at);
        if let Some(lot) = &asked.key {
            return tell(reader, &mut tracer, &asked, lot, out).map(drop);
        }
        let mut left = asked.limit;
        for row in reader.scan_after::<Made>(&[&asked.prefix], asked.start.as_ref(), asked.at) {
            if left == 0 {
                break;
            }
            left -= usize::from(tell(reader, &mut tracer, &asked, &row?.0, out)?);
        }
        Ok(())
    }
}

/// Puts the item of `lot` into the answer; false if nothing was made of it.
fn tell(
    reader: &Reader<'_>,
    tracer: &mut Tracer<'_, '_>,
    asked: &Asked,
    lot: &String,
    out: &mut Answer,
) -> Result<bool, ReportError> {
    let entries = reader.entries::<ByInput>(lot, None, asked.at);
    let keys: BTreeSet<EventKey> = entries.map(|entry| Ok(entry?.0)).collect::<Result<_, ReportError>>()?;
    let keys: Vec<EventKey> = keys.into_iter().collect();
    let mut recalled = Recalled::default();
    for batch in keys.chunks(BATCH) {
        for making in reader.events::<Making>(batch)? {
            let items = making.data.into_items();
            tracer.follow(&items)?;
            for item in &items {
                recalled.take(tracer, item);
            }
        }
        tracer.relieve();
    }
    if keys.is_empty() {
        return Ok(false);
    }
    out.item(&[lot], &recalled)?;
    Ok(true)
}

impl Recalled {
    fn take(&mut self, tracer: &Tracer<'_, '_>, item: &str) {
        let location = || tracer.place(item).and_then(|(place, _)| place.location);
        let place = if tracer.status(item).is_some_and(StatusState::is_ended) {
            "sold".to_owned()
        } else {
            location().unwrap_or_else(|| "moving".to_owned())
        };
        *self.at.entry(place).or_default() += 1;
        self.cases += 1;
    }
}
