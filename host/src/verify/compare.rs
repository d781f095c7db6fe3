//! The comparison of one Root with a peer's.
//!
//! What the two differ in is found by set reconciliation, in a few hundred bytes if it is nothing; what our dots name
//! and our tables lost is fetched and put back; what only one side knows is left to sync.

use crate::core::event::{EventKey, ValueHash};
use crate::peers::{Bytes, Client, PeerAddress, Tcp};
use crate::store::LmdbStore;
use crate::store::restore::{Named, Restored};
use crate::sync::{self, Difference, Fetched};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Events that are named one by one.
const KEYS_SHOWN: usize = 20;

/// What became of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Compared {
    /// Keys of the events that were gone here and are back.
    restored: Vec<String>,
    /// How many are gone here and the peer does not have, either.
    still_gone: usize,
    /// How many only we know, and only the peer knows.
    only_here: usize,
    only_there: usize,
    /// What the comparison cost.
    bytes: u64,
    /// Why it came to nothing.
    error: Option<String>,
}

impl Compared {
    /// A comparison that came to nothing.
    pub fn failed(error: String) -> Self {
        Self { error: Some(error), ..Self::default() }
    }

    /// Whether something was put back, so that the check should run once more.
    pub fn has_restored(&self) -> bool {
        !self.restored.is_empty()
    }

    /// Whether the two hold the same now.
    pub fn is_equal(&self) -> bool {
        self.error.is_none() && self.still_gone + self.only_here + self.only_there == 0
    }

    /// What to print.
    pub(super) fn lines(&self, name: &str, peer: &PeerAddress) -> Vec<String> {
        if let Some(error) = &self.error {
            return vec![format!("{name}: not compared with {peer}: {error}")];
        }
        let mut lines = Vec::new();
        if self.has_restored() {
            lines.push(format!(
                "{name}: {} events were gone and are put back from {peer}:",
                self.restored.len()
            ));
            lines.extend(self.restored.iter().take(KEYS_SHOWN).map(|key| format!("  {key}")));
            if self.restored.len() > KEYS_SHOWN {
                lines.push(format!("  and {} more", self.restored.len() - KEYS_SHOWN));
            }
        }
        if self.still_gone > 0 {
            lines.push(format!(
                "{name}: {} events are gone here, and {peer} does not have them",
                self.still_gone
            ));
        }
        let Self { only_here, only_there, bytes, .. } = self;
        lines.push(if only_here + only_there == 0 {
            format!("{name}: equal to {peer}; {bytes} bytes were exchanged")
        } else {
            format!(
                "{name}: {only_here} events are only here and {only_there} only at {peer}: sync exchanges them; \
                 {bytes} bytes were exchanged"
            )
        });
        lines
    }
}

/// Compares the Root `root` in `store` with `peer`, and puts back what is gone here. Blocks. Takes about 80 bytes of
/// memory an event.
pub fn compare(store: &LmdbStore, root: &str, peer: &PeerAddress) -> Compared {
    try_compare(store, root, peer).unwrap_or_else(Compared::failed)
}

fn try_compare(store: &LmdbStore, root: &str, peer: &PeerAddress) -> Result<Compared, String> {
    let Named { here, gone } = store.named().map_err(|fault| fault.to_string())?;
    let gone: BTreeSet<(EventKey, ValueHash)> = gone.into_iter().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|fault| format!("no threads to run on: {fault}"))?;
    let counted = Arc::new(Bytes::default());
    let mut client = Client::new(Tcp, peer.clone(), root, Arc::clone(&counted));
    let compared = runtime.block_on(sync::compare(here.into_iter(), &mut client));
    let Difference { only_here, only_there } = compared.map_err(|fault| fault.to_string())?;
    let bytes = counted.total();
    let (lost, unknown): (Vec<_>, Vec<_>) = only_there.into_iter().partition(|name| gone.contains(name));
    let fetched = runtime.block_on(sync::fetch(&lost, &mut client)).map_err(|fault| fault.to_string())?;
    let restored = put_back(store, &fetched)?;
    Ok(Compared {
        still_gone: gone.len() - restored.len(),
        restored,
        only_here: only_here.len(),
        only_there: unknown.len(),
        bytes,
        error: None,
    })
}

/// The keys of what was put back.
fn put_back(store: &LmdbStore, fetched: &[Fetched]) -> Result<Vec<String>, String> {
    if fetched.is_empty() {
        return Ok(Vec::new());
    }
    let events: Vec<_> = fetched.iter().map(|event| (event.key(), event.value())).collect();
    let outcomes = store.restore_events(&events).map_err(|fault| fault.to_string())?;
    store.recount().map_err(|fault| fault.to_string())?;
    let put = events.iter().zip(outcomes).filter(|(_, outcome)| *outcome == Restored::Put);
    Ok(put.map(|((key, _), _)| key.to_string()).collect())
}
