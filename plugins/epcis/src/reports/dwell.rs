//! `dwell`: how long logistic units stay in a place.

use super::query::Asked;
use crate::views::stays::{Ended, SSCC, Stays};
use laterbase_plugin::{Answer, Query, Reader, Report, ReportError};
use std::collections::BTreeMap;

/// Business location → how many stays of units ended there, how long they were together, and the longest one.
#[derive(Debug, Clone, Copy)]
pub struct Dwell;

impl Report for Dwell {
    const NAME: &'static str = "dwell";

    fn answer(&self, query: &Query<'_>, reader: &Reader<'_>, out: &mut Answer) -> Result<(), ReportError> {
        let asked = Asked::read(query)?;
        let mut places: BTreeMap<String, Ended> = BTreeMap::new();
        for row in reader.scan::<Stays>(&[SSCC], asked.at) {
            for (location, ended) in row?.1.ended() {
                if asked.wants(&location) {
                    places.entry(location).or_default().join(ended);
                }
            }
        }
        for (location, ended) in places.iter().take(asked.limit) {
            out.item(&[location], ended)?;
        }
        Ok(())
    }
}
