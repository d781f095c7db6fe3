//! The frames of the last arrivals, each written once and shared by all live readers of a Root.
//!
//! It holds a bounded number of bytes and drops the oldest first. A reader that is further behind, or that has not come
//! so far yet, reads the store instead: nobody here waits for it, and nothing is kept for it.

use super::json::NameTexts;
use super::live::{Told, arrivals, write_arrived};
use super::query::Filters;
use super::{FeedError, TypeNames};
use crate::core::event::EventKey;
use crate::core::tables::Tables;
use bytes::Bytes;
use std::collections::VecDeque;

/// So many bytes of frames are kept.
const RECENT_BYTES: usize = 2 << 20;
/// What a frame takes besides its bytes.
const ENTRY_BYTES: usize = 128;

/// So many bytes a reader takes at once, and one frame more.
const TAKEN_BYTES: usize = 32 << 10;

/// So many arrivals, or bytes of frames, are read from one committed state.
const READ_ARRIVALS: u64 = 4096;
const READ_BYTES: usize = 1 << 20;

/// What all readers of a Root share.
#[derive(Debug)]
pub struct Recent {
    /// The last arrival before the first frame.
    before: Told,
    frames: VecDeque<Arrived>,
    bytes: usize,
}

/// One arrival.
#[derive(Debug, Clone)]
pub struct Arrived {
    told: Told,
    key: EventKey,
    type_number: u32,
    frame: Bytes,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Frames to send; none of them if nothing that it wants arrived.
    Frames(Vec<Bytes>),
    /// Nothing is behind what it was told.
    Nothing,
    /// What it lacks is not kept here.
    Behind,
}

impl Recent {
    /// Nothing yet; what arrives behind `told` comes next.
    pub fn new(told: Told) -> Self {
        Self { before: told, frames: VecDeque::new(), bytes: 0 }
    }

    /// The last arrival.
    pub fn told(&self) -> Told {
        self.frames.back().map_or(self.before, |arrived| arrived.told)
    }

    /// What arrived behind `told`, as far as one turn reads; empty if nothing did.
    pub fn read(tables: &dyn Tables, told: Told, names: &dyn TypeNames) -> Result<Vec<Arrived>, FeedError> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        let mut names = NameTexts::new(names);
        arrivals(tables, told, READ_ARRIVALS, &mut |told, event| {
            let type_number = event.value.type_number;
            let mut frame = Vec::with_capacity(event.value.data.len() + 256);
            write_arrived(&mut frame, told, event, names.text(type_number));
            frame.shrink_to_fit();
            bytes += frame.len();
            read.push(Arrived { told, key: event.key, type_number, frame: frame.into() });
            bytes < READ_BYTES
        })?;
        Ok(read)
    }

    /// Takes in what was read behind [`Self::told`], and drops what is too old.
    pub fn extend(&mut self, arrived: Vec<Arrived>) {
        for arrived in arrived {
            self.bytes += arrived.frame.len() + ENTRY_BYTES;
            self.frames.push_back(arrived);
        }
        while self.bytes > RECENT_BYTES {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.frame.len() + ENTRY_BYTES;
            self.before = oldest.told;
        }
    }

    /// The next frames behind `told` for a reader with these filters; `told` moves on.
    pub(super) fn take(&self, told: &mut Told, filters: &Filters) -> Taken {
        if told.arrival >= self.told().arrival {
            return Taken::Nothing;
        }
        if told.arrival < self.before.arrival {
            return Taken::Behind;
        }
        let (mut frames, mut bytes) = (Vec::new(), 0);
        let start = self.frames.partition_point(|arrived| arrived.told.arrival <= told.arrival);
        for arrived in self.frames.range(start..) {
            *told = arrived.told;
            if filters.pass(arrived.key, arrived.type_number) {
                bytes += arrived.frame.len();
                frames.push(arrived.frame.clone());
            }
            if bytes >= TAKEN_BYTES {
                break;
            }
        }
        Taken::Frames(frames)
    }
}
