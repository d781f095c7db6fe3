//! The child of `laterbase verify --peer URL` while no server runs: as the check itself, the comparison reads pages
//! that may be damaged.

use crate::core::event::Origin;
use crate::peers::PeerAddress;
use crate::store::LmdbStore;
use crate::verify::{Compared, compare};
use std::io::{self, BufRead};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The hidden subcommand of the child.
const SUBCOMMAND: &str = "repair-root";

/// Lets a child compare the Root `name` in `events` with `peer`.
pub(super) fn run(name: &str, events: &Path, peer: &PeerAddress) -> io::Result<Compared> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg(SUBCOMMAND).arg(events).arg(name).arg(peer.to_string());
    let output = child.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let line = output.stdout.lines().map_while(Result::ok).last().unwrap_or_default();
    let ended = || Compared::failed(format!("the comparison ended without an answer ({})", output.status));
    Ok(serde_json::from_str(&line).unwrap_or_else(|_| ended()))
}

/// The child's side.
pub(super) fn run_child(events: &Path, root: &str, peer: &PeerAddress) -> ExitCode {
    let compared = match LmdbStore::open_unchecked(events, Origin(rand::random())) {
        Ok(store) => compare(&store, root, peer),
        Err(fault) => Compared::failed(fault.to_string()),
    };
    say!("{}", serde_json::to_string(&compared).expect("a line has only text and numbers"));
    ExitCode::SUCCESS
}
