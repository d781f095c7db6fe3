//! `where`: where an EPC is, be it inside something else that moved.

use super::query::{Asked, BATCH};
use super::trace::{Flaw, Tracer};
use crate::views::status::Status;
use laterbase_plugin::{Answer, Query, Reader, Report, ReportError};
use std::collections::BTreeSet;

/// EPC → `[business location or null, milliseconds since 1970]`, and a third text where its parents are no tree.
#[derive(Debug, Clone, Copy)]
pub struct Whereabouts;

impl Report for Whereabouts {
    const NAME: &'static str = "where";

    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError> {
        let asked = Asked::read(query)?;
        let mut tracer = Tracer::new(reader, asked.at);
        if let Some(epc) = asked.key {
            return tell(&mut tracer, &BTreeSet::from([epc]), out);
        }
        let mut listing = reader.scan_after::<Status>(&[&asked.prefix], asked.start.as_ref(), asked.at);
        let mut left = asked.limit;
        while left > 0 {
            let mut epcs = BTreeSet::new();
            for row in listing.by_ref().take(BATCH.min(left)) {
                let (epc, status) = row?;
                tracer.know(&epc, status);
                epcs.insert(epc);
            }
            if epcs.is_empty() {
                break;
            }
            tell(&mut tracer, &epcs, out)?;
            left -= epcs.len();
            tracer.relieve();
        }
        Ok(())
    }
}

fn tell(tracer: &mut Tracer<'_, '_>, epcs: &BTreeSet<String>, out: &mut Answer) -> Result<(), ReportError> {
    tracer.follow(epcs)?;
    for epc in epcs {
        let Some((place, flaw)) = tracer.place(epc) else { continue };
        let time = place.time.millis();
        match flaw {
            None => out.item(&[epc], &(place.location, time))?,
            Some(Flaw::Ring) => out.item(&[epc], &(place.location, time, "ring of parents"))?,
            Some(Flaw::TooDeep) => out.item(&[epc], &(place.location, time, "too many parents"))?,
        }
    }
    Ok(())
}
