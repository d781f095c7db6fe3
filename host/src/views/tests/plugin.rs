//! The plugin of these tests: two Keyspaces, and Views of all four algebras that notice every mistake of the engine.
//!
//! An event's data is `[kind, value, aggregate...]`. Kind 1 adds `value` to each aggregate named, kind 2 is followed
//! by the 16 bytes of a key that it voids, kind 3 makes `map` fail.

use crate::core::event::EventKey;
use crate::views::computes::{
    Computes, Failure, FailureKind, FoldFailure, KeyspaceInfo, Mapped, Revision, Upcast, ViewInfo,
};
use laterbase_plugin::abi::DeltaRef;
use laterbase_plugin::declare::AlgebraKind::{Associative, Commutative, Group, Ordered};
use laterbase_plugin::{EventRef, aggregate};

/// The Root of all tests.
pub(super) const ROOT: &str = "tested";
/// The name and algebra of each View; the last is over the second Keyspace.
pub(super) const VIEWS: [&str; 6] = ["sum", "most", "text", "hash", "last", "pairs"];
/// A fold fails on this value.
pub(super) const BAD_VALUE: u8 = 251;
/// Multiplier of the rolling hashes.
const PRIME: u64 = 0x0100_0000_01b3;

/// The plugin; `revision` names what it computes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Plugin {
    pub(super) revision: u8,
    /// Mended code takes events of kind 3 and folds `BAD_VALUE`.
    pub(super) mended: bool,
    /// Code that gives something else than its revision stands for: 1 in `map`, 2 in `fold`, 3 in `render`, 4 in
    /// `retracts`.
    pub(super) slip: u8,
}

/// An event that adds.
pub(super) fn adds(value: u8, aggregates: &[u8]) -> Vec<u8> {
    [&[1, value], aggregates].concat()
}

/// An event that voids.
pub(super) fn voids(target: EventKey) -> Vec<u8> {
    [&[2], &target.0[..]].concat()
}

/// An event that `map` cannot take.
pub(super) fn fails() -> Vec<u8> {
    vec![3]
}

/// The encoded key of an aggregate of the first Keyspace.
pub(super) fn key_of(aggregate: u8) -> Vec<u8> {
    let mut key = Vec::new();
    aggregate::encode([format!("a{aggregate}").as_str()], &mut key);
    key
}

fn refused(message: &str) -> Failure {
    Failure { kind: FailureKind::Refused, message: message.to_owned() }
}

impl Plugin {
    /// What a run of deltas folds to, from the identity; every View as a plain function.
    pub(super) fn folded(view: usize, run: &[(EventKey, u8)]) -> Vec<u8> {
        let mut state = identity(view);
        for (event, value) in run {
            step(view, &mut state, *event, *value);
        }
        state
    }
}

/// The state of no events: two numbers.
fn identity(view: usize) -> Vec<u8> {
    pack(if view == 2 { (1, 0) } else { (0, 0) })
}

fn pack((one, two): (u64, u64)) -> Vec<u8> {
    [one.to_be_bytes(), two.to_be_bytes()].concat()
}

fn unpack(state: &[u8]) -> (u64, u64) {
    let (one, two) = state.split_at(8);
    (u64::from_be_bytes(one.try_into().unwrap()), u64::from_be_bytes(two.try_into().unwrap()))
}

fn step(view: usize, state: &mut Vec<u8>, event: EventKey, value: u8) {
    let (one, two) = unpack(state);
    let value = u64::from(value);
    let mixed = value ^ u64::from_be_bytes(event.0[8..].try_into().unwrap()) ^ u64::from(event.0[3]);
    *state = pack(match view {
        0 | 5 => (one.wrapping_add(value), two + 1),
        1 => (one.max(value), two + 1),
        // A polynomial of the whole run: any change of order or of one event shows.
        2 => (one.wrapping_mul(PRIME), two.wrapping_mul(PRIME).wrapping_add(mixed + 1)),
        3 => (one.wrapping_mul(PRIME).wrapping_add(mixed + 1), two + 1),
        _ => (value, u64::from(event.0[3])),
    });
}

fn join(view: usize, left: &[u8], right: &[u8]) -> Vec<u8> {
    let ((one, two), (more, less)) = (unpack(left), unpack(right));
    pack(match view {
        0 | 5 => (one.wrapping_add(more), two.wrapping_add(less)),
        1 => (one.max(more), two + less),
        _ => (one.wrapping_mul(more), two.wrapping_mul(more).wrapping_add(less)),
    })
}

impl Computes for Plugin {
    fn root(&self) -> &str {
        ROOT
    }

    fn code(&self) -> Revision {
        Revision::of(&[&[self.revision, u8::from(self.mended), self.slip]])
    }

    fn keyspaces(&self) -> Vec<KeyspaceInfo> {
        let info = |name: &str, parts| KeyspaceInfo {
            name: name.to_owned(),
            revision: Revision::of(&[name.as_bytes(), &[self.revision]]),
            parts,
        };
        vec![info("each", 1), info("pairs", 2)]
    }

    fn views(&self) -> Vec<ViewInfo> {
        let algebras = [Group, Commutative, Associative, Ordered, Ordered, Group];
        let info = |(name, algebra): (&str, _)| ViewInfo {
            name: name.to_owned(),
            keyspace: usize::from(name == "pairs"),
            revision: Revision::of(&[name.as_bytes(), &[self.revision]]),
            algebra,
        };
        VIEWS.into_iter().zip(algebras).map(info).collect()
    }

    fn retractions_revision(&self) -> Revision {
        Revision::of(&[b"voids"])
    }

    fn upcast<'e>(&self, events: &[EventRef<'e>]) -> Vec<Result<Option<Upcast<'e>>, Failure>> {
        let own = |event: &EventRef<'e>| {
            let EventRef { key, type_number, version, data } = *event;
            Ok(Some(Upcast { key, type_number, version, data: data.as_slice().into() }))
        };
        events.iter().map(own).collect()
    }

    fn retracts(&self, events: &[EventRef<'_>]) -> Vec<Result<Vec<EventKey>, Failure>> {
        let voided = |event: &EventRef<'_>| match event.data.split_first() {
            Some((2, key)) if self.slip != 4 => Ok(vec![EventKey(key.try_into().unwrap())]),
            _ => Ok(Vec::new()),
        };
        events.iter().map(voided).collect()
    }

    fn map(&self, keyspace: usize, events: &[EventRef<'_>]) -> Mapped {
        let mut mapped = Mapped::default();
        for (position, event) in events.iter().enumerate() {
            match event.data.as_slice() {
                [3] if !self.mended => mapped.fail(position, refused("not this one")),
                [1, value, aggregates @ ..] => {
                    for aggregate in aggregates {
                        let mut key = key_of(*aggregate);
                        if keyspace == 1 {
                            key.clear();
                            let parts = [format!("p{}", aggregate % 2), format!("a{aggregate}")];
                            aggregate::encode(parts.iter().map(String::as_str), &mut key);
                        }
                        mapped.push(position, &key, &[value ^ u8::from(self.slip == 1)]);
                    }
                }
                _ => {}
            }
        }
        mapped
    }

    fn query_key(&self, keyspace: usize, typed: &[String]) -> Result<Vec<u8>, Failure> {
        let mut key = Vec::new();
        aggregate::encode(typed.iter().map(String::as_str), &mut key);
        if typed.len() == keyspace + 1 { Ok(key) } else { Err(refused("another number of parts")) }
    }

    fn fold(&self, view: usize, state: Option<&[u8]>, run: &[DeltaRef<'_>]) -> Result<Vec<u8>, FoldFailure> {
        let mut state = state.map_or_else(|| identity(view), <[u8]>::to_vec);
        for (at, delta) in run.iter().enumerate() {
            let value = delta.delta[0] ^ u8::from(self.slip == 2);
            if value == BAD_VALUE && !self.mended {
                let failure = Failure { kind: FailureKind::Broken, message: "a bad value".to_owned() };
                return Err(FoldFailure { failure, at: Some(at) });
            }
            step(view, &mut state, delta.key, value);
        }
        Ok(state)
    }

    fn merge(&self, view: usize, states: &[&[u8]]) -> Result<Vec<u8>, Failure> {
        assert!(view < 3 || view == 5, "Ordered states do not merge");
        let merged = states.iter().fold(identity(view), |left, right| join(view, &left, right));
        Ok(merged)
    }

    fn invert(&self, view: usize, state: &[u8]) -> Result<Vec<u8>, Failure> {
        assert!(view == 0 || view == 5, "only Group states have an inverse");
        let (one, two) = unpack(state);
        Ok(pack((one.wrapping_neg(), two.wrapping_neg())))
    }

    fn render(&self, _: usize, _: &[u8], state: &[u8]) -> Result<Vec<u8>, Failure> {
        let (one, two) = unpack(state);
        let one = one + u64::from(self.slip == 3);
        Ok(format!("[{one},{two}]").into_bytes())
    }
}
