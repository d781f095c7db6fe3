//! What a seed decides before the first step: how many replicas, how they are joined, and what may go wrong.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How replicas dial each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Each pair is joined.
    Mesh,
    /// All dial the first one.
    Hub,
    /// Each is joined with the next.
    Line,
}

/// What may go wrong. Lost answers of POSTs and clients that switch servers are no faults: they always happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Faults {
    /// Questions and answers are lost, doubled, late.
    pub(super) loss: bool,
    /// Processes crash, rounds are given up half-way.
    pub(super) crashes: bool,
    /// Pairs cannot reach each other for a while.
    pub(super) partitions: bool,
    /// Wall clocks are wrong by up to 30 days, and jump.
    pub(super) clocks: bool,
    /// Old backups and copies come into use, and the file's identity tells.
    pub(super) noticed: bool,
    /// Tables are rolled back, and nothing tells.
    pub(super) roll_backs: bool,
    /// Tables are copied, and nothing tells.
    pub(super) hidden_clones: bool,
    /// Forged vvs, garbage and old frames arrive.
    pub(super) strangers: bool,
}

impl Faults {
    /// All of them.
    pub(super) const ALL: Self = Self {
        loss: true,
        crashes: true,
        partitions: true,
        clocks: true,
        noticed: true,
        roll_backs: true,
        hidden_clones: true,
        strangers: true,
    };
}

/// What a client says that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The vv of the last page.
    Pin,
    /// At the end of a walk, all that the server holds by then.
    ServerNow,
    /// The greatest seq given so far of each Origin, after any page.
    GreatestSeq,
    /// The time of the newest event that it was given.
    SinceTime,
}

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) replicas: usize,
    pub(super) shape: Shape,
    /// Each pair dials in both directions.
    pub(super) both_ways: bool,
    pub(super) steps: usize,
    /// How likely a client writes the same to two replicas.
    pub(super) doubles: f64,
    pub(super) faults: Faults,
    /// Of a hundred steps, how many are accidents.
    pub(super) accidents: u32,
    /// The most bytes of an event's data: with large ones a page holds few.
    pub(super) data_bytes_max: usize,
    pub(super) claim: Claim,
    /// Whoever opens a copy keeps the next Origin that was due before it was copied, instead of a new one.
    pub(super) keeps_next: bool,
    /// From so many arrivals on a replica has a dictionary for small pages.
    pub(super) dictionary_from: u64,
    /// The first replica is of a version that knows no dictionaries.
    pub(super) is_first_old: bool,
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let shape = [Shape::Mesh, Shape::Hub, Shape::Line][rng.random_range(0..3)];
        let mut faults = Faults {
            loss: rng.random_bool(0.8),
            crashes: rng.random_bool(0.7),
            partitions: rng.random_bool(0.5),
            clocks: rng.random_bool(0.4),
            noticed: rng.random_bool(0.6),
            strangers: rng.random_bool(0.3),
            ..Faults::default()
        };
        if rng.random_bool(0.5) {
            faults.roll_backs = rng.random_bool(0.7);
            faults.hidden_clones = rng.random_bool(0.5);
        }
        Self {
            seed,
            replicas: rng.random_range(3..=6),
            shape,
            both_ways: rng.random_bool(0.3),
            steps: rng.random_range(150..=450),
            doubles: 0.1,
            faults,
            accidents: [1, 5, 8, 20][rng.random_range(0..4)],
            data_bytes_max: [0, 0, 3000, 6000][rng.random_range(0..4)],
            claim: Claim::Pin,
            keeps_next: false,
            dictionary_from: [8, 8, 24, u64::MAX][rng.random_range(0..4)],
            is_first_old: rng.random_bool(0.3),
        }
    }

    /// The pairs (dialler, dialled).
    pub(super) fn dials(&self, rng: &mut StdRng) -> Vec<(usize, usize)> {
        let mut dials = Vec::new();
        for one in 0..self.replicas {
            for other in one + 1..self.replicas {
                let pair = match self.shape {
                    Shape::Mesh => (one, other),
                    Shape::Hub if one == 0 => (other, one),
                    Shape::Line if one + 1 == other => (one, other),
                    Shape::Hub | Shape::Line => continue,
                };
                let turned = self.shape != Shape::Hub && rng.random_bool(0.5);
                let pair = if turned { (pair.1, pair.0) } else { pair };
                dials.push(pair);
                if self.both_ways {
                    dials.push((pair.1, pair.0));
                }
            }
        }
        dials
    }
}
