//! The pure heart: no I/O, no clock, no randomness, no threads, no async.

pub mod event;
pub mod knowledge;
pub mod tables;
