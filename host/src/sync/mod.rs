//! Sync: replicas exchange admissions until they know the same.
//!
//! ```text
//! dialler ── round ──► Exchange ══ frames ══► Replica::answer      the side that was dialled
//!    │         │                                   │
//!    │         └── Replica (our tables) ◄──────────┘ its own
//!    └ backs off, watches, pushes live
//! ```
//! Servers exchange in dot order and take a row only if the one before it is here, so what a server knows is one
//! prefix per Origin. What a dot admits is (key, value hash); an event that the receiver knows by another dot
//! travels as an alias. The reasoning, and the cases in which other schemes lose events, stand in ARCHITECTURE.md.

mod agree;
mod asked;
mod dictionary;
mod error;
mod frame;
mod pack;
mod page;
mod ready;
mod reconcile;
mod replica;
mod round;
mod state;
mod verify;
mod watchers;

pub use agree::agree;
pub use error::{ExchangeError, FrameError, SyncError};
pub use frame::{Ask, MEDIA_TYPE, PROTOCOL};
pub use page::{Page, Wanted};
pub use ready::ReadyPage;
pub use replica::{Mint, Replica, Taken};
pub use round::{Exchange, Heard, Link, Moved, Outcome, push_live, round};
pub use state::{Digest, Span, State, lacking};
pub use verify::{Difference, Fetched, compare, fetch};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
