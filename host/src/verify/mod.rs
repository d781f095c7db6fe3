//! Whether a Root's events are what was written, and the same as a peer's: for `laterbase verify`, with the server
//! stopped or running.
//!
//! ```text
//! check    a child process reads every row; a damaged page may end it, and nothing else
//! compare  set reconciliation with a peer; what our dots name and our tables lost is fetched and put back
//! check    once more, if something was put back
//! ```
//! While a server runs, the child reads one commit beside it through the engine's list of readers, and what is put back
//! goes through the server's own store: there is one writer, always.

mod check;
mod compare;
mod jobs;

pub use check::{Checked, check, child};
pub use compare::{Compared, compare};
pub use jobs::{Jobs, Running, Standing, Work};

use crate::peers::PeerAddress;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// What is known of a Root in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its rows.
    pub checked: Checked,
    /// Against the peer, if one was named.
    pub compared: Option<Compared>,
}

/// Who keeps the Root meanwhile: what is advised depends on it.
#[derive(Debug, Clone, Copy)]
pub enum Kept<'k> {
    /// Nobody.
    Stopped,
    /// This server.
    By(&'k PeerAddress),
}

/// Compares a Root of which this was found.
pub type Compares<'c> = dyn FnMut(&Checked) -> io::Result<Compared> + 'c;

impl Report {
    /// Checks, compares if that is asked for, and checks again if something was put back.
    pub fn make(
        check: &mut dyn FnMut() -> io::Result<Checked>,
        compare: Option<&mut Compares<'_>>,
    ) -> io::Result<Self> {
        let mut checked = check()?;
        let compared = compare.map(|compare| compare(&checked)).transpose()?;
        if compared.as_ref().is_some_and(Compared::has_restored) {
            checked = check()?;
        }
        Ok(Self { checked, compared })
    }

    /// Whether every row holds, and the peer holds the same.
    pub fn is_whole(&self) -> bool {
        self.checked.faults == 0 && self.compared.as_ref().is_none_or(Compared::is_equal)
    }

    /// What to print of the Root `name` in `folder`.
    pub fn lines(
        &self,
        name: &str,
        folder: &Path,
        peer: Option<&PeerAddress>,
        kept: Kept<'_>,
    ) -> Vec<String> {
        let compared = self.compared.as_ref().zip(peer);
        let mut lines = compared.map(|(compared, peer)| compared.lines(name, peer)).unwrap_or_default();
        lines.extend(self.checked.lines(name, folder, kept));
        lines
    }
}

/// A number with its noun.
fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", indicatif::HumanCount(number), if number == 1 { "" } else { "s" })
}
