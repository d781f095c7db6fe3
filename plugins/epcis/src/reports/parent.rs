//! `parent`: what an EPC is in.

use super::query::{Asked, BATCH};
use super::trace::Tracer;
use crate::views::status::Status;
use laterbase_plugin::{Answer, Query, Reader, Report, ReportError};
use std::collections::BTreeSet;

/// EPC → its parent; EPCs that are in nothing are left out.
#[derive(Debug, Clone, Copy)]
pub struct Parent;

impl Report for Parent {
    const NAME: &'static str = "parent";

    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError> {
        let asked = Asked::read(query)?;
        let mut tracer = Tracer::new(reader, asked.at);
        if let Some(epc) = asked.key {
            tracer.hold(&BTreeSet::from([epc.clone()]))?;
            return tracer.parent(&epc).map_or(Ok(()), |parent| out.item(&[&epc], &parent));
        }
        let mut listing = reader.scan_after::<Status>(&[&asked.prefix], asked.start.as_ref(), asked.at);
        let mut left = asked.limit;
        while left > 0 {
            let mut epcs = BTreeSet::new();
            for row in listing.by_ref().take(BATCH) {
                let (epc, status) = row?;
                tracer.know(&epc, status);
                epcs.insert(epc);
            }
            if epcs.is_empty() {
                break;
            }
            tracer.hold(&epcs)?;
            let inside = epcs.iter().filter_map(|epc| Some((epc, tracer.parent(epc)?))).take(left);
            for (epc, parent) in inside {
                out.item(&[epc], &parent)?;
                left -= 1;
            }
            tracer.relieve();
        }
        Ok(())
    }
}
