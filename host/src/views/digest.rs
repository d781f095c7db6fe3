//! A digest of all that a View answers at one Knowledge: replicas that know the same events have the same one.

use super::Views;
use super::bounds::KeyRange;
use super::computes::Computes;
use super::error::ViewError;
use super::read::{Reading, behind};
use crate::core::knowledge::vv_of_server;
use std::sync::Arc;

/// So many aggregates are read in one transaction.
const AGGREGATES_MAX: usize = 1024;

/// What a View answers, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// BLAKE3 over (key, events, last event, state) of every aggregate in key order, the first 16 bytes in hex.
    pub digest: String,
    /// How many aggregates there are.
    pub aggregates: u64,
    /// How many events count in them, once for each aggregate.
    pub events: u64,
    /// What was known.
    pub vv: String,
}

impl Views {
    /// The digest of `view` at what is known now; reading goes on until `is_wanted` says no. Blocks, and reads the
    /// whole View.
    pub fn digest(
        &self,
        plugins: &Arc<dyn Computes>,
        view: &str,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Digest, ViewError> {
        let build = self.build_of(plugins);
        let view = build.view(view)?;
        let tables = self.store.read()?;
        let (arrival, vv) = (tables.head()?.arrivals, vv_of_server(tables.as_ref())?.to_string());
        drop(tables);
        let (mut hasher, mut from) = (blake3::Hasher::new(), Some(Vec::new()));
        let mut digest = Digest { vv, ..Digest::default() };
        let bounds = (KeyRange::ALL, Some(arrival), arrival);
        while let Some(start) = from.take().filter(|_| arrival > 0) {
            if !is_wanted() {
                return Err(ViewError::Unwanted);
            }
            from = self
                .read_at(&build, &view, bounds, &mut |reading, _| digest.add(reading, &start, &mut hasher))?;
        }
        digest.digest = text_of(&hasher);
        Ok(digest)
    }
}

/// The digest of a View that says nothing.
impl Default for Digest {
    fn default() -> Self {
        Self { digest: text_of(&blake3::Hasher::new()), aggregates: 0, events: 0, vv: String::new() }
    }
}

fn text_of(hasher: &blake3::Hasher) -> String {
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

impl Digest {
    /// Adds aggregates from `from` on; returns where to go on.
    fn add(
        &mut self,
        reading: &mut Reading<'_>,
        from: &[u8],
        hasher: &mut blake3::Hasher,
    ) -> Result<Option<Vec<u8>>, ViewError> {
        let mut from = from.to_vec();
        for _ in 0..AGGREGATES_MAX {
            let Some(next) = reading.next_aggregate(&from)? else { return Ok(None) };
            if let Some(folded) = reading.fold(&next)? {
                if folded.stale.is_some() {
                    return Err(ViewError::Repairing { view: reading.view.info.name.clone() });
                }
                let state = reading.state(&folded.state)?;
                for piece in [next.as_slice(), &folded.events.to_be_bytes(), &folded.last.0, &state] {
                    hasher.update(&(piece.len() as u64).to_be_bytes());
                    hasher.update(piece);
                }
                self.aggregates += 1;
                self.events += folded.events;
            }
            from = behind(&next);
        }
        Ok(Some(from))
    }
}
