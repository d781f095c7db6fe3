//! HTTP: parse, one call inward, status. No logic of events, feeds or views lives here.
//!
//! ```text
//! socket -> listener (cap, time-outs, drain) -> handler -> route, query, body -> Service -> reply -> socket
//! ```
//! Everything inward goes through the one trait in [`service`]; this module never sees a store, a plugin or a file.
//! **Invariant**: a name that reaches the service has passed [`names`], and nothing was decoded to get it.

pub mod names;
pub mod service;
pub mod settings;
pub mod sse;

mod accept;
mod body;
mod cors;
mod csv;
mod docs;
mod guard;
mod handler;
mod listener;
mod meter;
mod openapi;
mod packing;
mod query;
mod reply;
mod request_id;
mod route;
mod table;

#[cfg(test)]
mod tests;

pub use cors::OriginError;
pub use listener::{Accept, BindError, Drained, Server};
pub use service::Service;
pub use settings::Settings;
