//! What the view engine asks of a Root's plugins, as one narrow trait.
//!
//! The engine sees bytes and keys only; which library, generation or instance answers is not its business. That keeps
//! the engine replaceable above this line and testable with a plugin of forty lines. Every call may be repeated, on
//! any thread, and gives the same result each time: the revisions below stand for that, and [`super::drift`] looks.

use crate::core::event::EventKey;
pub use crate::plugin::Upcast;
use laterbase_plugin::EventRef;
use laterbase_plugin::abi::DeltaRef;
use laterbase_plugin::declare::AlgebraKind;
use std::collections::BTreeMap;
use std::fmt;

/// Names one version of what a plugin computes; it is part of the names of the tables that hold the results.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub [u8; 16]);

impl Revision {
    /// The revision that covers all `parts`: their lengths are hashed too, so no two lists run into each other.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({self})")
    }
}

/// One Keyspace of the Root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceInfo {
    /// Its name, for people.
    pub name: String,
    /// Changes whenever `map` or what it is shown may give other results.
    pub revision: Revision,
    /// How many parts its aggregate keys have.
    pub parts: usize,
}

/// One View of the Root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewInfo {
    /// Its name, the last segment of its URL.
    pub name: String,
    /// The position of its Keyspace in [`Computes::keyspaces`].
    pub keyspace: usize,
    /// Changes whenever `fold` may give other results.
    pub revision: Revision,
    /// How its states combine; an Ordered View has no windows and no groups.
    pub algebra: AlgebraKind,
}

/// What a Keyspace made of some events: (aggregate key, delta) of each, in one buffer. The keys are canonical and have
/// as many parts as the Keyspace says.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    bytes: Vec<u8>,
    /// Where key and delta begin and end.
    rows: Vec<[usize; 3]>,
    /// The first row of each event, by its position; those behind add nothing.
    starts: Vec<usize>,
    failures: BTreeMap<usize, Failure>,
}

impl Mapped {
    /// Appends what the event at `position` adds; positions never fall.
    pub fn push(&mut self, position: usize, aggregate: &[u8], delta: &[u8]) {
        if self.starts.len() <= position {
            self.starts.resize(position + 1, self.rows.len());
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(aggregate);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(delta);
        self.rows.push([start, middle, self.bytes.len()]);
    }

    /// About how many bytes of memory it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<[usize; 3]>()
    }

    /// Notes that the event at `position` could not be mapped.
    pub fn fail(&mut self, position: usize, failure: Failure) {
        self.failures.insert(position, failure);
    }

    /// What the event at `position` adds to which aggregates, in the order of emission, or why nothing is known of it.
    pub fn of(
        &self,
        position: usize,
    ) -> Result<impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone, Failure> {
        if let Some(failure) = self.failures.get(&position) {
            return Err(failure.clone());
        }
        let row = |position| self.starts.get(position).copied().unwrap_or(self.rows.len());
        let own = self.rows.get(row(position)..row(position + 1)).unwrap_or_default();
        let piece = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
        Ok(own.iter().map(move |[start, middle, end]| (piece(*start, *middle), piece(*middle, *end))))
    }
}

/// Why a plugin did not compute something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// A sentence for people.
    pub message: String,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The plugin says no: this event or text is not acceptable to it.
    Refused,
    /// The plugin's code is wrong: it panicked, or what it returned does not hold together.
    Broken,
}

/// Why a fold failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldFailure {
    /// What went wrong.
    pub failure: Failure,
    /// The place of the delta at hand in the run, where that is known.
    pub at: Option<usize>,
}

/// What a Root's plugins compute. Positions count from 0 in the lists that `keyspaces` and `views` return.
pub trait Computes: Send + Sync {
    /// The Root's name.
    fn root(&self) -> &str;
    /// Changes with the bytes of any library, whatever that changes of results.
    fn code(&self) -> Revision;
    /// The Keyspaces; the list never changes while this value lives.
    fn keyspaces(&self) -> Vec<KeyspaceInfo>;
    /// The Views; the list never changes while this value lives.
    fn views(&self) -> Vec<ViewInfo>;
    /// Changes whenever `upcast` or `retracts` may give other results for events that can retract others.
    fn retractions_revision(&self) -> Revision;
    /// Each event in its newest version, in order; none for a type that no Schema owns.
    fn upcast<'e>(&self, events: &[EventRef<'e>]) -> Vec<Result<Option<Upcast<'e>>, Failure>>;
    /// The keys that each event voids, in order.
    fn retracts(&self, events: &[EventRef<'_>]) -> Vec<Result<Vec<EventKey>, Failure>>;
    /// What each event adds to which aggregates; nothing for types that the Keyspace does not take.
    fn map(&self, keyspace: usize, events: &[EventRef<'_>]) -> Mapped;
    /// The canonical aggregate key for the parts that a user typed.
    fn query_key(&self, keyspace: usize, typed: &[String]) -> Result<Vec<u8>, Failure>;
    /// `state` (none: identity) with the deltas of a run in key order folded in.
    fn fold(&self, view: usize, state: Option<&[u8]>, run: &[DeltaRef<'_>]) -> Result<Vec<u8>, FoldFailure>;
    /// The states merged from left to right; not for Ordered views.
    fn merge(&self, view: usize, states: &[&[u8]]) -> Result<Vec<u8>, Failure>;
    /// The state that merges with `state` to the identity; for Group views.
    fn invert(&self, view: usize, state: &[u8]) -> Result<Vec<u8>, Failure>;
    /// The state of the aggregate `key` as JSON.
    fn render(&self, view: usize, key: &[u8], state: &[u8]) -> Result<Vec<u8>, Failure>;
}
