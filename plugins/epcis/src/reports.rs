//! The Reports: what takes more than one aggregate to answer.

pub mod contents;
pub mod dwell;
pub mod parent;
mod query;
pub mod recall;
pub mod shipments;
pub mod stock;
mod trace;
pub mod whereabouts;
