//! Comparing a set of values with a peer's, without taking part in anything: for `verify --peer`.

use super::error::SyncError;
use super::frame::{self, Told};
use super::reconcile::{Items, reconcile};
use super::round::{self, Exchange};
use crate::core::event::{EventKey, Value, ValueHash};
use std::collections::BTreeSet;

/// Names one value of one key.
type Name = (EventKey, ValueHash);

/// By what two sets of values differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Only here.
    pub only_here: Vec<Name>,
    /// Only at the peer.
    pub only_there: Vec<Name>,
}

/// An event that a peer sent by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched(Told);

impl Fetched {
    /// Its key.
    pub fn key(&self) -> EventKey {
        self.0.key()
    }

    /// Its value.
    pub fn value(&self) -> Value<'_> {
        self.0.value()
    }
}

/// Compares the values of these names, in any order, with all that the peer has. Two equal sets cost one exchange of
/// a few hundred bytes, however large they are.
pub async fn compare(
    names: impl Iterator<Item = Name>,
    peer: &mut impl Exchange,
) -> Result<Difference, SyncError> {
    let items = Items::named(names)?;
    let (ours, theirs) = reconcile(&items, peer, 0).await?;
    let known = |names: Vec<frame::Name>| {
        let mut known: Vec<Name> =
            names.into_iter().map(|(key, hash)| (EventKey(key), ValueHash(hash))).collect();
        known.sort_unstable();
        known
    };
    Ok(Difference { only_here: known(ours), only_there: known(theirs) })
}

/// The values of these names, as far as the peer has them; what it sends under a wrong name is left out.
pub async fn fetch(names: &[Name], peer: &mut impl Exchange) -> Result<Vec<Fetched>, SyncError> {
    let asked: Vec<_> = names.iter().map(|(key, hash)| frame::name_of(*key, *hash)).collect();
    let names: BTreeSet<Name> = names.iter().copied().collect();
    let (mut fetched, mut rest) = (Vec::new(), asked.as_slice());
    while !rest.is_empty() {
        let (told, behind) = round::fetch(peer, 0, rest).await?;
        rest = behind;
        let told = told.into_iter();
        fetched.extend(
            told.filter(|told| names.contains(&(told.key(), told.value().hash(told.key())))).map(Fetched),
        );
    }
    Ok(fetched)
}
