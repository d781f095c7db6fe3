//! What goes wrong: crashes, partitions, clocks, and tables that are older or elsewhere than they should be.

use super::dial::Dial;
use super::wire::Stage;
use super::world::{Check, World};
use crate::store::MemoryStore;
use rand::Rng;
use rand::seq::IteratorRandom;
use std::sync::atomic::Ordering;

/// How wrong a clock may be: 30 days in milliseconds.
const CLOCK_WRONG_MS_MAX: i64 = 30 * 24 * 3600 * 1000;
/// Replicas that there may be once some were copied.
const REPLICAS_MAX: usize = 8;

impl World {
    pub(super) fn go_wrong(&mut self) -> Check {
        let faults = self.plan.faults;
        match self.rng.random_range(0..16) {
            0 | 1 if faults.crashes => {
                let at = self.any_node();
                self.log(|| format!("{at} crashes"));
                self.nodes[at].restart();
                self.hang_up(at)
            }
            2 | 3 if faults.crashes => {
                let at = self.rng.random_range(0..self.dials.len());
                self.log(|| format!("link {at} is cut"));
                self.cut(at);
                Ok(())
            }
            4 | 5 if faults.partitions => {
                self.part();
                Ok(())
            }
            6 if faults.clocks => {
                let at = self.any_node();
                let offset_ms = if self.rng.random_bool(0.3) {
                    0
                } else {
                    self.rng.random_range(-CLOCK_WRONG_MS_MAX..CLOCK_WRONG_MS_MAX)
                };
                self.log(|| format!("the clock of {at} is wrong by {offset_ms} ms"));
                self.nodes[at].wall.offset_ms.store(offset_ms, Ordering::Relaxed);
                Ok(())
            }
            7..=9 => {
                let at = self.any_node();
                self.log(|| format!("a backup of {at}"));
                self.backups.push((at, self.nodes[at].store.copy()));
                Ok(())
            }
            10 | 11 if faults.noticed => self.notice(),
            12 if faults.roll_backs => self.roll_back(),
            13 if faults.hidden_clones => {
                let from = self.any_node();
                if self.nodes.len() == REPLICAS_MAX {
                    return Ok(());
                }
                self.log(|| format!("{from} is copied and nothing tells"));
                self.ledger.is_fork_possible = true;
                self.nodes[from].incidents += 1;
                let at = self.join(self.nodes[from].store.copy(), from);
                self.nodes[at].incidents += 1;
                self.look_at(at)
            }
            14 | 15 if faults.strangers => self.stranger(),
            _ => Ok(()),
        }
    }

    /// An old backup or a copy of the tables comes into use, and the identity of the file tells.
    fn notice(&mut self) -> Check {
        if self.rng.random_bool(0.4) && self.nodes.len() < REPLICAS_MAX {
            let from = self.any_node();
            self.log(|| format!("{from} is copied"));
            let at = self.join(self.nodes[from].store.copy(), from);
            self.nodes[at].notice(self.plan.keeps_next);
            return self.look_at(at);
        }
        let Some((at, store)) = self.any_backup() else { return Ok(()) };
        self.log(|| format!("{at} is restored"));
        self.replace(at, store)?;
        self.nodes[at].notice(self.plan.keeps_next);
        self.look_at(at)
    }

    fn roll_back(&mut self) -> Check {
        let Some((at, store)) = self.any_backup() else { return Ok(()) };
        self.log(|| format!("{at} is rolled back and nothing tells"));
        self.ledger.is_fork_possible = true;
        self.nodes[at].incidents += 1;
        self.replace(at, store)?;
        self.look_at(at)
    }

    fn any_backup(&mut self) -> Option<(usize, MemoryStore)> {
        self.backups.iter().choose(&mut self.rng).map(|(at, store)| (*at, store.copy()))
    }

    /// Older tables take the place of a replica's own. What was only there is lost.
    fn replace(&mut self, at: usize, store: MemoryStore) -> Check {
        let before = self.nodes[at].facts();
        self.nodes[at].replace(store);
        let gone = before.into_iter().filter(|fact| !self.nodes.iter().any(|node| node.holds(*fact)));
        let gone: Vec<_> = gone.collect();
        self.log(|| format!("{} events are lost with it", gone.len()));
        self.ledger.lost.extend(gone);
        self.hang_up(at)
    }

    /// A copy begins to run, and dials another replica.
    fn join(&mut self, store: MemoryStore, from: usize) -> usize {
        let at = self.nodes.len();
        let peer = if self.rng.random() { from } else { self.rng.random_range(0..at) };
        self.nodes.push(self.node_over(store));
        self.dials.push(Dial::new(at, peer, &mut self.rng));
        self.log(|| format!("{at} dials {peer}"));
        at
    }

    /// All connections of a process that ended are gone.
    fn hang_up(&mut self, at: usize) -> Check {
        for dial in 0..self.dials.len() {
            if self.dials[dial].from == at {
                self.cut(dial);
            }
        }
        let wire = self.wire.borrow();
        let ends = wire.parcels.iter().filter(|(_, parcel)| parcel.to == at && parcel.stage != Stage::Asking);
        let ends: Vec<u64> = ends.map(|(number, _)| *number).collect();
        drop(wire);
        ends.into_iter().try_for_each(|number| self.lose(number))
    }

    fn part(&mut self) {
        if !self.parted.is_empty() && self.rng.random_bool(0.6) {
            self.log(|| "all can reach each other again".to_owned());
            self.parted.clear();
            return;
        }
        let (one, other) = (self.any_node(), self.any_node());
        self.log(|| format!("{one} and {other} cannot reach each other"));
        self.parted.insert((one.min(other), one.max(other)));
    }
}
