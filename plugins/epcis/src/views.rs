//! The views, each with its algebra; and the Keyspaces that are not shared.

pub mod consigned;
pub mod last_seen;
pub mod lots;
pub mod made;
pub mod packings;
pub mod status;
pub mod stays;
pub mod temperature;
pub mod throughput;
