//! `laterbase verify --peer URL`: compares what is on disk with a running peer, and puts back what is gone.
//!
//! As the check itself, it runs in a child process. What the two differ in is found by set reconciliation, in a few
//! hundred bytes if it is nothing; what our dots name and our tables lost is fetched and put back; what only one side
//! knows is left to sync.

use crate::core::event::{EventKey, Origin, ValueHash};
use crate::peers::{Bytes, Client, PeerAddress, Tcp};
use crate::store::LmdbStore;
use crate::store::restore::{Named, Restored};
use crate::sync::{Difference, Fetched, compare, fetch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

/// The hidden subcommand of the child.
const SUBCOMMAND: &str = "repair-root";
/// Events that are named one by one.
const KEYS_SHOWN: usize = 20;

/// What became of a comparison.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Repaired {
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

/// Lets a child compare the Root `name` in `events` with `peer`.
pub(super) fn run(name: &str, events: &Path, peer: &PeerAddress) -> io::Result<Repaired> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg(SUBCOMMAND).arg(events).arg(name).arg(peer.to_string());
    let output = child.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let line = output.stdout.lines().map_while(Result::ok).last().unwrap_or_default();
    let ended = || format!("the comparison ended without an answer ({})", output.status);
    Ok(serde_json::from_str(&line)
        .unwrap_or_else(|_| Repaired { error: Some(ended()), ..Repaired::default() }))
}

impl Repaired {
    /// Whether something was put back, so that the check should run once more.
    pub(super) fn has_restored(&self) -> bool {
        !self.restored.is_empty()
    }

    /// Whether the two hold the same now.
    pub(super) fn is_equal(&self) -> bool {
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

/// The child's side.
pub(super) fn run_child(events: &Path, root: &str, peer: &str) -> ExitCode {
    let repaired = repair(events, root, peer);
    let repaired = repaired.unwrap_or_else(|error| Repaired { error: Some(error), ..Repaired::default() });
    println!("{}", serde_json::to_string(&repaired).expect("a line has only text and numbers"));
    ExitCode::SUCCESS
}

fn repair(events: &Path, root: &str, peer: &str) -> Result<Repaired, String> {
    let peer: PeerAddress = peer.parse().map_err(|fault| format!("{fault}"))?;
    let store =
        LmdbStore::open_unchecked(events, Origin(rand::random())).map_err(|fault| fault.to_string())?;
    let Named { here, gone } = store.named().map_err(|fault| fault.to_string())?;
    let gone: BTreeSet<(EventKey, ValueHash)> = gone.into_iter().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|fault| format!("no threads to run on: {fault}"))?;
    let counted = Arc::new(Bytes::default());
    let mut client = Client::new(Tcp, peer, root, Arc::clone(&counted));
    let compared = runtime.block_on(compare(here.into_iter(), &mut client));
    let Difference { only_here, only_there } = compared.map_err(|fault| fault.to_string())?;
    let bytes = counted.total();
    let (lost, unknown): (Vec<_>, Vec<_>) = only_there.into_iter().partition(|name| gone.contains(name));
    let fetched = runtime.block_on(fetch(&lost, &mut client)).map_err(|fault| fault.to_string())?;
    let restored = put_back(&store, &fetched)?;
    Ok(Repaired {
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
