//! The invariants, looked at whenever a replica may have changed, and over everything at the end.

use super::node::Fact;
use super::world::{Check, World};
use crate::core::event::{Arrival, Dot, EventKey, Origin, Seq};
use crate::core::knowledge::Sum;
use crate::core::tables::Tables;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// What the world remembers of what happened, to judge the replicas by.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What each dot admitted when it was first seen.
    names: BTreeMap<Dot, Fact>,
    /// What was admitted, acknowledged or not.
    pub(super) admitted: BTreeSet<Fact>,
    /// What was in no replica any more after a roll-back took the last copy away; it may come back from the network.
    pub(super) lost: BTreeSet<Fact>,
    /// Tables were rolled back or copied without anybody noticing: a dot may name two events.
    pub(super) is_fork_possible: bool,
    /// Everything that any client tried to write: key and data.
    pub(super) drafts: Vec<(EventKey, String)>,
}

impl World {
    /// Looks at what is new in a replica's tables.
    pub(super) fn look_at(&mut self, at: usize) -> Check {
        let node = &self.nodes[at];
        let head = node.head();
        if !head.knowledge.covers(&node.checked) {
            return Err(format!("{at} knows less than it did"));
        }
        let (minted, incidents) = (node.minted.load(std::sync::atomic::Ordering::Relaxed), node.incidents);
        if minted > incidents {
            return Err(format!("{at} begins a new Origin without a reason ({minted} of {incidents})"));
        }
        if head.knowledge == node.checked {
            return Ok(());
        }
        let tables = node.tables();
        for (origin, last) in head.knowledge.iter() {
            let from = node.checked.get(origin);
            look_at_dots(at, tables.as_ref(), &mut self.ledger, (origin, from, last))?;
        }
        drop(tables);
        self.nodes[at].checked = head.knowledge.clone();
        Ok(())
    }

    /// All replicas hold the same, and all that was admitted.
    pub(super) fn check_equal(&mut self) -> Check {
        let first = &self.nodes[0];
        let (knowledge, values) = (first.head().knowledge.clone(), in_order(first.tables().as_ref()));
        for at in 0..self.nodes.len() {
            self.nodes[at].checked = crate::core::knowledge::Knowledge::new();
            self.look_at(at)?;
            let node = &self.nodes[at];
            recount(at, node.tables().as_ref())?;
            let theirs = in_order(node.tables().as_ref());
            if let Some(apart) = theirs.symmetric_difference(&values).next() {
                return Err(format!("0 and {at} do not hold the same values, or other winners: {apart:?}"));
            }
            if node.head().knowledge != knowledge {
                return Err(format!("0 and {at} do not know the same"));
            }
            if !self.ledger.is_fork_possible
                && feed(node.tables().as_ref()) != feed(self.nodes[0].tables().as_ref())
            {
                return Err(format!("the feeds of 0 and {at} differ"));
            }
        }
        let held = self.nodes[0].facts();
        let mut owed = self.ledger.admitted.difference(&held).filter(|fact| !self.ledger.lost.contains(fact));
        match owed.next() {
            Some((key, hash)) => Err(format!("an acknowledged event is lost: {key} {hash}")),
            None => Ok(()),
        }
    }
}

fn look_at_dots(
    at: usize,
    tables: &dyn Tables,
    ledger: &mut Ledger,
    (origin, from, last): (Origin, Seq, Seq),
) -> Check {
    let mut rows = Vec::new();
    let visited = tables.dots(origin, from.0 + 1..=last.0, &mut |seq, row| {
        rows.push((seq, row));
        ControlFlow::Continue(())
    });
    visited.map_err(|error| error.to_string())?;
    let before = tables.dot(Dot { origin, seq: from }).map_err(|error| error.to_string())?;
    let mut sum = before.map_or(Sum::ZERO, |row| row.sum);
    if rows.len() as u64 != last.0 - from.0 {
        return Err(format!("{at} does not hold all dots of {origin} up to {}", last.0));
    }
    for (seq, row) in rows {
        let (dot, fact) = (Dot { origin, seq }, (row.key, row.hash));
        sum = sum.plus(Sum::of(seq, row.key, row.hash));
        if sum != row.sum {
            return Err(format!("{at}: the sum up to {dot} is wrong"));
        }
        let event = tables.find(row.key, row.hash).map_err(|error| error.to_string())?;
        if !event.is_some_and(|event| event.dots.contains(&dot)) {
            return Err(format!("{at} claims {dot} and does not hold its event"));
        }
        if !ledger.admitted.contains(&fact) {
            return Err(format!("{at}: nobody ever wrote what {dot} admits"));
        }
        if *ledger.names.entry(dot).or_insert(fact) != fact && !ledger.is_fork_possible {
            return Err(format!("{at}: {dot} names another event than it did"));
        }
    }
    Ok(())
}

/// Counts everything again: the arrivals with their running hash, the winners, the number of events.
fn recount(at: usize, tables: &dyn Tables) -> Check {
    let mut arrived = BTreeSet::new();
    let (mut number, mut check, mut wall_ms) = (0, [0; 8], 0);
    let mut fault = None;
    let visited = tables.arrivals(Arrival(1), &mut |arrival, row| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&check).update(&row.key.0).update(&row.hash.0).update(&row.dot.origin.0);
        hasher.update(&row.dot.seq.0.to_be_bytes()).update(&row.wall_ms.to_be_bytes());
        check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        number += 1;
        if arrival.0 != number || row.check != check || row.wall_ms < wall_ms {
            fault = Some(format!("{at}: arrival {number} does not follow on the one before"));
        }
        if !arrived.insert((row.key, row.hash)) {
            fault = Some(format!("{at}: arrival {number} arrived before"));
        }
        wall_ms = row.wall_ms;
        ControlFlow::Continue(())
    });
    visited.map_err(|error| error.to_string())?;
    let head = tables.head().map_err(|error| error.to_string())?;
    let mut winner: Option<(EventKey, Vec<u8>)> = None;
    let (mut events, mut values) = (0, 0);
    let walked = tables.walk(None, &mut |event| {
        values += 1;
        events += u64::from(!event.clash);
        let is_winner = winner.as_ref().is_none_or(|(key, _)| *key != event.key);
        let loses = winner.as_ref().is_some_and(|(_, data)| data.as_slice() < event.value.data);
        if is_winner == event.clash || (!is_winner && !loses) {
            fault = Some(format!("{at}: the smallest value does not hold {}", event.key));
        }
        if !event.dots.iter().all(|dot| head.knowledge.holds(*dot)) || !event.dots.is_sorted_by(|a, b| a < b)
        {
            fault = Some(format!("{at}: {} has a dot that is not known, or twice", event.key));
        }
        if is_winner {
            winner = Some((event.key, event.value.data.to_vec()));
        }
        ControlFlow::Continue(())
    });
    walked.map_err(|error| error.to_string())?;
    if head.arrivals != number || head.check != check || head.events != events || number != values {
        fault = Some(format!("{at}: the head does not count what is there"));
    }
    fault.map_or(Ok(()), Err)
}

/// All values with whether they lost their key.
fn in_order(tables: &dyn Tables) -> BTreeSet<(Fact, bool)> {
    let mut values = BTreeSet::new();
    let walked = tables.walk(None, &mut |event| {
        values.insert(((event.key, event.hash), event.clash));
        ControlFlow::Continue(())
    });
    walked.expect("memory can be walked");
    values
}

/// The whole feed as bytes.
fn feed(tables: &dyn Tables) -> Vec<u8> {
    let query = crate::feed::Query { limit: 10_000, max_bytes: 1 << 24, ..crate::feed::Query::default() };
    let page = crate::feed::page(tables, super::client::ROOT, &query, &super::client::Names);
    page.expect("memory has a feed").into_body()
}
