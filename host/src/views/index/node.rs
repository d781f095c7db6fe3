//! The rows above the leaves: an aggregate's root, and inner rows that name their children.
//!
//! ```text
//! root  := 0 number(version) number(live) entry*                  small: the only leaf, inline
//!        | 1 height(1) number(version) number(live)               large: one row at level `height`, more below
//! inner := child*
//! child := shared(1) rest-of-first-key number(live) number(version)
//! ```

use super::bytes::{put_number, take_number};
use super::entry::{put_event, take_event};
use crate::core::event::EventKey;
use crate::core::tables::TableError;
use crate::views::layout::corrupt;

/// What is known of a row without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::views) struct Child {
    /// Its first event key; [`super::LEAST`] for the first of its level.
    pub(in crate::views) first: EventKey,
    /// How many live events it holds.
    pub(in crate::views) live: u64,
    /// The arrival at which it last changed.
    pub(in crate::views) version: u64,
}

/// The root row of an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::views) enum Root {
    /// All entries are here.
    Small {
        /// The arrival at which it last changed.
        version: u64,
        /// How many live events it holds.
        live: u64,
        /// The packed entries.
        packed: Vec<u8>,
    },
    /// The entries are in leaves.
    Large {
        /// The level of the only row that has no row above it.
        height: u8,
        /// The arrival at which it last changed.
        version: u64,
        /// How many live events it holds.
        live: u64,
    },
}

impl Root {
    /// The root as a row.
    pub(in crate::views) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Small { version, live, packed } => {
                out.push(0);
                put_number(&mut out, *version);
                put_number(&mut out, *live);
                out.extend_from_slice(packed);
            }
            Self::Large { height, version, live } => {
                out.extend_from_slice(&[1, *height]);
                put_number(&mut out, *version);
                put_number(&mut out, *live);
            }
        }
        out
    }

    /// The root from its row.
    pub(in crate::views) fn read(row: &[u8]) -> Result<Self, TableError> {
        let read = |mut row: &[u8]| {
            let (kind, rest) = row.split_first()?;
            row = rest;
            if *kind == 0 {
                let (version, live) = (take_number(&mut row)?, take_number(&mut row)?);
                return Some(Self::Small { version, live, packed: row.to_vec() });
            }
            let (height, rest) = row.split_first()?;
            row = rest;
            Some(Self::Large {
                height: *height,
                version: take_number(&mut row)?,
                live: take_number(&mut row)?,
            })
        };
        read(row).ok_or_else(|| corrupt("index", row, "not a root"))
    }
}

/// An inner row.
pub(in crate::views) fn write_children(children: &[Child]) -> Vec<u8> {
    let (mut out, mut before) = (Vec::with_capacity(children.len() * 20), EventKey::default());
    for child in children {
        put_event(&mut out, before, child.first);
        put_number(&mut out, child.live);
        put_number(&mut out, child.version);
        before = child.first;
    }
    out
}

/// The children in an inner row.
pub(in crate::views) fn read_children(row: &[u8]) -> Result<Vec<Child>, TableError> {
    let (mut rest, mut before) = (row, EventKey::default());
    let mut children = Vec::with_capacity(32);
    while !rest.is_empty() {
        let mut child = || {
            let first = take_event(&mut rest, before)?;
            Some(Child { first, live: take_number(&mut rest)?, version: take_number(&mut rest)? })
        };
        let child = child().ok_or_else(|| corrupt("index", row, "not an inner row"))?;
        before = child.first;
        children.push(child);
    }
    Ok(children)
}
