//! Laterbase: an offline-first, multi-master event store whose views repair themselves after late events.
//!
//! ```text
//! POST -> http -> admit: read, mint keys, ask the Schema -> store: one commit -> answer
//! GET  -> http -> feed (the events a caller does not know) or views (what plugins compute of them)
//! ```
//! The modules below stand in reading order, which is also the order in which they may use each other; a test keeps
//! the table. [`Host`] is the whole as a library: what the binary does, with plugins linked in.

pub mod core;
pub mod problem;
pub mod wall;

pub mod store;

pub mod plugin;

pub mod admit;
pub mod feed;
pub mod sync;
pub mod views;

pub mod config;
pub mod root;

pub mod peers;
pub mod verify;

pub mod http;

pub mod metering;

pub mod host;

pub mod service;

pub mod cli;

#[cfg(test)]
mod simulation;

pub use host::{Host, Options};
pub use service::Bound;
