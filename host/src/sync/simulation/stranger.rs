//! Strangers: they forge vvs and cursors, send garbage, and send again what others sent.

use super::client::{Names, ROOT, unchanged_by};
use super::world::{Check, World};
use crate::feed::{FeedError, Query};
use crate::sync::frame::{Ask, Question};
use crate::sync::{Span, SyncError};
use rand::Rng;
use rand::seq::IndexedRandom;
use std::fmt::Write;
use std::sync::Arc;

impl World {
    pub(super) fn stranger(&mut self) -> Check {
        match self.rng.random_range(0..4) {
            0 => self.forge_vv(),
            1 => self.send_again(),
            2 => self.send_garbage(),
            _ => self.ask_wildly(),
        }
    }

    /// A vv that claims what nobody knows, and a cursor that was made up.
    fn forge_vv(&mut self) -> Check {
        let at = self.any_node();
        let mut vv = String::new();
        for origin in self.origins_seen(at) {
            let last = self.rng.random_range(1..100);
            let first = self.rng.random_range(1..=last);
            write!(vv, "{}:{first}-{last}", crate::core::event::Origin(origin)).expect("a String takes it");
            if self.rng.random() {
                write!(vv, "~{:08x}", self.rng.random::<u32>()).expect("a String takes it");
            }
            vv.push(';');
        }
        vv.pop();
        let cursor = self.rng.random_bool(0.3).then(|| "AQAA".repeat(self.rng.random_range(1..40)));
        let query = Query { vv: vec![vv], cursor, limit: 3, ..Query::default() };
        let node = &self.nodes[at];
        let ask = || crate::feed::page(node.tables().as_ref(), ROOT, &query, &Names);
        match unchanged_by(node, ask)? {
            Ok(_) | Err(FeedError::BadCursor { .. } | FeedError::PinGone { .. }) => Ok(()),
            Err(error) => Err(format!("{at} does not stand a forged vv: {error}")),
        }
    }

    /// A frame of the past arrives, at any replica.
    fn send_again(&mut self) -> Check {
        let Some(frame) = self.captured.choose(&mut self.rng).cloned() else { return Ok(()) };
        let at = self.any_node();
        let ask = Ask::decode(&frame).map_err(|error| format!("an honest frame is refused: {error}"))?;
        let answer = self.nodes[at].replica.answer(&ask);
        answer.map_err(|error| format!("{at} does not stand an old frame: {error}"))?;
        self.log(|| format!("{at} gets an old frame"));
        self.look_at(at)
    }

    /// A frame with damage, or bytes that never were one.
    fn send_garbage(&mut self) -> Check {
        let mut frame = self.captured.choose(&mut self.rng).cloned().unwrap_or_else(|| vec![1, 2, 3]);
        for _ in 0..self.rng.random_range(1..4) {
            let at = self.rng.random_range(0..frame.len());
            match self.rng.random_range(0..3) {
                0 => frame[at] ^= 1 << self.rng.random_range(0..8),
                1 => frame[at] = self.rng.random(),
                _ => frame.truncate(at + 1),
            }
        }
        self.send_unfriendly(&frame)
    }

    /// Questions in form that no replica would ask.
    fn ask_wildly(&mut self) -> Check {
        let at = self.any_node();
        let origins = self.origins_seen(at);
        let known: Vec<_> = origins.iter().map(|origin| (*origin, self.rng.random_range(1..1000))).collect();
        let span =
            |(origin, last): &([u8; 8], u64)| Span { origin: *origin, first: last / 2 + 1, last: *last };
        let want = known.iter().map(span).collect();
        let question = match self.rng.random_range(0..7) {
            0 => Question::Greet { digest: self.rng.random() },
            1 => Question::Pull { known: Vec::new(), want, whole: self.rng.random(), bytes_max: 0 },
            2 => Question::Offer { known },
            3 => Question::Fetch { names: vec![(self.rng.random(), self.rng.random())] },
            4 => Question::Dictionary { held: Some(self.rng.random()) },
            5 => Question::Reconcile { message: self.rng.random::<[u8; 24]>().to_vec() },
            _ => {
                let current = origins.first().copied().unwrap_or_default();
                Question::Watch { digest: self.rng.random(), current, last: self.rng.random(), wait_ms: 1 }
            }
        };
        let dictionary = self.rng.random::<bool>().then(|| self.rng.random());
        let ask = Ask { link: self.rng.random(), question, dictionary };
        self.send_unfriendly(&ask.encode())
    }

    fn send_unfriendly(&mut self, frame: &[u8]) -> Check {
        let at = self.any_node();
        let Ok(ask) = Ask::decode(frame) else { return Ok(()) };
        let replica = Arc::clone(&self.nodes[at].replica);
        let answer = unchanged_by(&self.nodes[at], || replica.answer(&ask));
        self.log(|| format!("{at} gets a strange frame"));
        // What damage has left whole may still bring something.
        if matches!(ask.question, Question::Push { .. } | Question::Heal { .. }) {
            return self.look_at(at);
        }
        match answer? {
            Ok(_) | Err(SyncError::Frame(_)) => Ok(()),
            Err(error) => Err(format!("{at} does not stand a strange frame: {error}")),
        }
    }

    /// Some Origins: known ones and one that is not, ascending.
    fn origins_seen(&mut self, at: usize) -> Vec<[u8; 8]> {
        let head = self.nodes[at].head();
        let mut origins: Vec<_> = head.knowledge.iter().map(|(origin, _)| origin.0).collect();
        origins.retain(|_| self.rng.random());
        origins.push(self.rng.random());
        origins.sort_unstable();
        origins
    }
}
