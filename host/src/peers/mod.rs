//! Dialling peers: which there are, the way to them, and how it stands with each.
//!
//! A replica dials its peers and needs no open port itself. Per peer and Root one task compares, pulls and pushes
//! ([`crate::sync::round`]), then stays connected: one request waits at the peer for news, and what is admitted here
//! is pushed at once. After a failure it backs off, with jitter, up to half a minute.

mod address;
mod client;
mod dialler;
mod status;

pub use address::{AddressError, PeerAddress};
pub use client::{Client, Connect, Progress, Tcp};
pub use dialler::{Dialler, Roots};
pub use status::{Bytes, PeerStatus, Peers, RootStatus};

#[cfg(test)]
mod tests;
