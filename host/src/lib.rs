//! Laterbase: an offline-first, multi-master event store whose views repair themselves after late events.

pub mod core;
pub mod problem;
pub mod store;

pub mod admit;
pub mod views;
