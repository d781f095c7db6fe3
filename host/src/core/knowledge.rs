//! What a replica or a client knows: the dots it holds.

use super::event::{Origin, Seq};
use std::collections::BTreeMap;

/// The wrapping sum of the 128-bit hashes of an Origin's dots 1..n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sum(pub u128);

/// The dots that a server holds: one prefix 1..n per Origin.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Knowledge(BTreeMap<Origin, Seq>);
