//! A replica of the simulation: tables that outlive it, a process over them that does not, and a wall clock.

use crate::core::clock::Clock;
use crate::core::event::{EventKey, Origin, ValidTime, ValueHash};
use crate::core::knowledge::Knowledge;
use crate::core::rule::{self, Rule};
use crate::core::tables::{Head, Tables};
use crate::store::{MemoryStore, Store};
use crate::sync::Replica;
use crate::wall::Wall;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What a dot admits.
pub(super) type Fact = (EventKey, ValueHash);

/// The world's time and how wrong one replica has it.
#[derive(Debug)]
pub(super) struct SimWall {
    time_ms: Arc<AtomicI64>,
    pub(super) offset_ms: AtomicI64,
}

impl Wall for SimWall {
    fn now(&self) -> ValidTime {
        let ms = self.time_ms.load(Ordering::Relaxed) + self.offset_ms.load(Ordering::Relaxed);
        ValidTime::from_millis(ms).expect("30 days do not lead out of NTP64")
    }
}

/// The source of Origins: never the same twice, in no order.
#[derive(Debug)]
pub(super) struct Origins {
    pub(super) seed: u64,
    pub(super) given: AtomicU64,
}

impl Origins {
    pub(super) fn next(&self) -> Origin {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::hash(&[self.seed.to_be_bytes(), number.to_be_bytes()].concat());
        Origin(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }
}

/// A replica.
pub(super) struct Node {
    pub(super) store: Arc<MemoryStore>,
    pub(super) replica: Arc<Replica>,
    pub(super) clock: Arc<Mutex<Clock>>,
    pub(super) wall: Arc<SimWall>,
    origins: Arc<Origins>,
    dictionary_from: u64,
    /// How often the replica itself asked for a new Origin.
    pub(super) minted: Arc<AtomicU64>,
    /// How often it had a reason to: roll-backs and copies that nothing told of.
    pub(super) incidents: u64,
    /// The dots that were checked already.
    pub(super) checked: Knowledge,
}

impl Node {
    /// A replica over these tables.
    pub(super) fn new(
        store: MemoryStore,
        time_ms: &Arc<AtomicI64>,
        origins: &Arc<Origins>,
        dictionary_from: u64,
    ) -> Self {
        let wall = Arc::new(SimWall { time_ms: Arc::clone(time_ms), offset_ms: AtomicI64::new(0) });
        let (store, minted) = (Arc::new(store), Arc::new(AtomicU64::new(0)));
        let (replica, clock) = start(&store, &wall, origins, &minted, dictionary_from);
        let (origins, checked) = (Arc::clone(origins), Knowledge::new());
        Self { store, replica, clock, wall, origins, dictionary_from, minted, incidents: 0, checked }
    }

    /// The process ends and begins again: what is not in the tables is gone.
    pub(super) fn restart(&mut self) {
        (self.replica, self.clock) =
            start(&self.store, &self.wall, &self.origins, &self.minted, self.dictionary_from);
    }

    /// Other tables take the place of these; the process over them is a new one.
    pub(super) fn replace(&mut self, store: MemoryStore) {
        self.store = Arc::new(store);
        self.checked = Knowledge::new();
        self.restart();
    }

    /// What opening a file of another identity does. A next Origin that is due already was copied with the file.
    pub(super) fn notice(&self, keeps_next: bool) {
        if !rule::holds(Rule::Minting) || (keeps_next && self.head().next_origin.is_some()) {
            return;
        }
        let next = self.origins.next();
        self.store.commit(&mut |tables| tables.put_next_origin(next)).expect("memory takes it");
    }

    pub(super) fn tables(&self) -> Box<dyn Tables + '_> {
        self.store.read().expect("memory can be read")
    }

    pub(super) fn head(&self) -> Arc<Head> {
        self.tables().head().expect("memory has a head")
    }

    pub(super) fn holds(&self, (key, hash): Fact) -> bool {
        self.tables().find(key, hash).expect("memory can be read").is_some()
    }

    /// All values, winners and losers.
    pub(super) fn facts(&self) -> BTreeSet<Fact> {
        let mut facts = BTreeSet::new();
        let walked = self.tables().walk(None, &mut |event| {
            facts.insert((event.key, event.hash));
            ControlFlow::Continue(())
        });
        walked.expect("memory can be walked");
        facts
    }

    /// How many commits were told of.
    pub(super) fn commits(&self) -> u64 {
        *self.replica.commits().borrow()
    }
}

fn start(
    store: &Arc<MemoryStore>,
    wall: &Arc<SimWall>,
    origins: &Arc<Origins>,
    minted: &Arc<AtomicU64>,
    dictionary_from: u64,
) -> (Arc<Replica>, Arc<Mutex<Clock>>) {
    let persisted = store.read().and_then(|tables| tables.head()).expect("memory has a head").clock_max;
    let (clock, _) = Clock::new(ValidTime(persisted), wall.now());
    let clock = Arc::new(Mutex::new(clock));
    let (origins, minted) = (Arc::clone(origins), Arc::clone(minted));
    let mint = Box::new(move || {
        minted.fetch_add(1, Ordering::Relaxed);
        origins.next()
    });
    let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(store);
    let replica = Replica::new(store, Arc::clone(&clock), Arc::<SimWall>::clone(wall), mint);
    (Arc::new(replica.with_dictionary_from(dictionary_from)), clock)
}
