//! `stock`: how much of what is where.
//!
//! It is no View: a pallet that arrives brings its cases along, and the event names none of them, so no event says
//! alone what it does to the stock of a place. Each answer therefore asks after every item once.

use super::query::{Asked, BATCH};
use super::trace::Tracer;
use crate::views::status::{Status, StatusState};
use crate::views::stays::SSCC;
use laterbase_plugin::{Answer, Query, Reader, Report, ReportError};
use std::collections::{BTreeMap, BTreeSet};

/// What pallets are counted as.
const PALLETS: &str = "pallets";

/// Business location → `{GTIN: items, …, "pallets": SSCCs that hold something}`; places without stock are left out.
#[derive(Debug, Clone, Copy)]
pub struct Stock;

impl Report for Stock {
    const NAME: &'static str = "stock";

    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError> {
        let asked = Asked::read(query)?;
        let mut tracer = Tracer::new(reader, asked.at);
        let mut count = Count::default();
        let mut listing = reader.scan::<Status>(&[], asked.at);
        loop {
            let mut epcs = BTreeSet::new();
            for row in listing.by_ref().take(BATCH) {
                let (epc, status) = row?;
                tracer.know(&epc, status);
                epcs.insert(epc);
            }
            if epcs.is_empty() {
                break;
            }
            tracer.follow(&epcs)?;
            for epc in &epcs {
                count.take(&tracer, epc, &asked);
            }
            tracer.relieve();
        }
        for (location, stock) in count.finish().iter().take(asked.limit) {
            out.item(&[location], stock)?;
        }
        Ok(())
    }
}

/// How much there is, by location and what it is.
type Amounts = BTreeMap<String, BTreeMap<String, u64>>;

/// Counts items, one after the other.
#[derive(Default)]
struct Count {
    amounts: Amounts,
    /// Where each SSCC is that is somewhere.
    shipping: BTreeMap<String, String>,
    /// The SSCCs that hold something.
    holding: BTreeSet<String>,
}

impl Count {
    fn take(&mut self, tracer: &Tracer<'_, '_>, epc: &str, asked: &Asked) {
        if let Some(parent) = tracer.parent(epc).filter(|parent| parent.starts_with(SSCC)) {
            self.holding.insert(parent.to_owned());
        }
        if tracer.status(epc).is_none_or(StatusState::is_ended) {
            return;
        }
        let location = tracer.place(epc).and_then(|(place, _)| place.location);
        let Some(location) = location.filter(|location| asked.wants(location)) else { return };
        if epc.starts_with(SSCC) {
            self.shipping.insert(epc.to_owned(), location);
        } else if let Some(product) = product(epc) {
            self.add(location, product);
        }
    }

    fn add(&mut self, location: String, what: &str) {
        *self.amounts.entry(location).or_default().entry(what.to_owned()).or_default() += 1;
    }

    fn finish(mut self) -> Amounts {
        for (epc, location) in std::mem::take(&mut self.shipping) {
            if self.holding.contains(&epc) {
                self.add(location, PALLETS);
            }
        }
        self.amounts
    }
}

/// The GTIN of an item with a serial number.
fn product(epc: &str) -> Option<&str> {
    let (gtin, _) = epc.split_once("/21/")?;
    gtin.starts_with("https://id.gs1.org/01/").then_some(gtin)
}
