//! The pure heart: no I/O, no clock, no randomness, no threads, no async.

pub mod clock;
pub mod csv;
pub mod event;
pub mod frames;
pub mod gset;
pub mod knowledge;
pub mod limits;
pub mod name;
pub mod pointer;
pub(crate) mod rule;
pub mod tables;
