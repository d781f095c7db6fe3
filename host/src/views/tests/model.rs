//! What Views mean, without an engine: a list of arrivals, sorted and folded for every question.

use super::plugin::{BAD_VALUE, Plugin};
use crate::core::event::EventKey;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that arrived, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) arrivals: Vec<(EventKey, Vec<u8>)>,
    /// The wall clock at each arrival.
    pub(super) walls: Vec<u64>,
}

/// What is asked of one aggregate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) from: Option<EventKey>,
    pub(super) until: Option<EventKey>,
    /// So many arrivals are known; none: all.
    pub(super) known: Option<usize>,
}

/// What is answered: the state, how many events, the last of them, those set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) state: Vec<u8>,
    pub(super) events: u64,
    pub(super) last: EventKey,
    pub(super) faults: Vec<EventKey>,
}

impl Model {
    /// Notes an arrival; false if this value is there already.
    pub(super) fn arrive(&mut self, key: EventKey, data: &[u8], wall_ms: u64) -> bool {
        if self.arrivals.iter().any(|known| known.0 == key && known.1 == data) {
            return false;
        }
        self.arrivals.push((key, data.to_vec()));
        self.walls.push(wall_ms);
        true
    }

    /// The value that holds each key for whoever knows so many arrivals.
    fn held(&self, known: Option<usize>) -> BTreeMap<EventKey, &[u8]> {
        let mut held: BTreeMap<EventKey, &[u8]> = BTreeMap::new();
        let arrivals = self.arrivals.iter().take(known.unwrap_or(usize::MAX));
        for (key, data) in arrivals {
            let value = held.entry(*key).or_insert(data);
            *value = (*value).min(data.as_slice());
        }
        held
    }

    /// The events that count, in key order.
    pub(super) fn live(&self, question: Question) -> BTreeMap<EventKey, &[u8]> {
        let mut held = self.held(question.known);
        let targets = held.values().filter_map(|data| match data.split_first() {
            Some((2, key)) => Some(EventKey(key.try_into().unwrap())),
            _ => None,
        });
        let voided: BTreeSet<EventKey> = targets.collect();
        held.retain(|key, data| data.first() == Some(&2) || !voided.contains(key));
        held.retain(|key, _| {
            question.from.is_none_or(|from| from <= *key) && question.until.is_none_or(|until| *key < until)
        });
        held
    }

    /// The answer of `view` for `aggregate`.
    pub(super) fn answer(
        &self,
        plugin: Plugin,
        view: usize,
        aggregate: u8,
        question: Question,
    ) -> Option<Expected> {
        self.merged(plugin, view, &|other| other == aggregate, question)
    }

    /// The answer for all aggregates that are `wanted`, one behind the other.
    pub(super) fn merged(
        &self,
        plugin: Plugin,
        view: usize,
        wanted: &dyn Fn(u8) -> bool,
        question: Question,
    ) -> Option<Expected> {
        let live = self.live(question);
        let (mut run, mut faults, mut events, mut last) = (Vec::new(), Vec::new(), 0, None);
        for (key, data) in live {
            let [1, value, aggregates @ ..] = data else { continue };
            let times = aggregates.iter().filter(|aggregate| wanted(**aggregate)).count();
            let distinct: BTreeSet<u8> =
                aggregates.iter().copied().filter(|aggregate| wanted(*aggregate)).collect();
            events += distinct.len() as u64;
            last = if times > 0 { Some(key) } else { last };
            if *value == BAD_VALUE && !plugin.mended {
                faults.extend((times > 0).then_some(key));
            } else {
                run.extend(std::iter::repeat_n((key, *value), times));
            }
        }
        last.map(|last| Expected { state: Plugin::folded(view, &run), events, last, faults })
    }

    /// The events that `map` cannot take.
    pub(super) fn incomplete(&self, plugin: Plugin, question: Question) -> Vec<EventKey> {
        let live = self.live(question).into_iter();
        live.filter(|(_, data)| *data == [3] && !plugin.mended).map(|(key, _)| key).collect()
    }
}
