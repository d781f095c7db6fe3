//! `shipments`: what a despatch advice sent off, and what of it did not come in.

use super::query::{Asked, behind_all_of};
use crate::views::consigned::Consigned;
use laterbase_plugin::{Answer, Query, Reader, Report, ReportError};
use serde::Serialize;
use std::collections::BTreeSet;

/// Despatch advice → how many EPCs were sent off and came in, which are missing, and which came in unannounced.
#[derive(Debug, Clone, Copy)]
pub struct Shipments;

/// What is known of one advice.
#[derive(Debug, Default, Serialize)]
struct Shipment {
    extra: BTreeSet<String>,
    missing: BTreeSet<String>,
    received: u64,
    shipped: u64,
}

impl Shipment {
    fn take(&mut self, (shipped, received, epc): (bool, bool, String)) {
        self.shipped += u64::from(shipped);
        self.received += u64::from(received);
        match (shipped, received) {
            (true, false) => drop(self.missing.insert(epc)),
            (false, true) => drop(self.extra.insert(epc)),
            (true, true) | (false, false) => {}
        }
    }
}

impl Report for Shipments {
    const NAME: &'static str = "shipments";

    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError> {
        let asked = Asked::read(query)?;
        let start = asked.start.as_deref().map(behind_all_of);
        let prefix = match &asked.key {
            Some(advice) => vec![advice.as_str(), ""],
            None => vec![asked.prefix.as_str()],
        };
        let (mut current, mut told): (Option<(String, Shipment)>, usize) = (None, 0);
        for row in reader.scan_after::<Consigned>(&prefix, start.as_ref(), asked.at) {
            let ((advice, epc), state) = row?;
            if let Some((last, shipment)) = current.take_if(|(last, _)| *last != advice) {
                out.item(&[&last], &shipment)?;
                told += 1;
            }
            if told == asked.limit {
                return Ok(());
            }
            current.get_or_insert_with(|| (advice, Shipment::default())).1.take(state.leg(epc));
        }
        current.map_or(Ok(()), |(last, shipment)| out.item(&[&last], &shipment))
    }
}
