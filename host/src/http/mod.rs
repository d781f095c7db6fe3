//! HTTP: parse, one call inward, status. No logic of events, feeds or views lives here.
//!
//! Everything inward goes through the one trait in [`service`]; this module never sees a store, a plugin or a file.

pub mod names;
pub mod service;
