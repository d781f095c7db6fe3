//! Range-based set reconciliation over (key, value hash), whatever dots there are: negentropy, protocol version 1
//! (Meyer, "Range-Based Set Reconciliation", 2023). Finds the difference of two sets in a few messages whose size
//! follows the difference, not the sets.

use super::error::{FrameError, SyncError};
use super::frame::{Ask, Name, Question, Tell, name_of};
use super::round::{Exchange, unexpected};
use crate::core::event::{EventKey, ValueHash};
use crate::core::tables::Tables;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// A message holds at most about so many bytes; what is left over comes with the next one.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// A peer that invents names could go on for ever: answers, and names that only it has, of one reconciliation.
const STEPS_MAX: usize = 4096;
const NAMES_MAX: usize = 4 << 20;

/// The names of all values of a Root, sorted: 40 bytes each.
pub(super) struct Items(NegentropyStorageVector);

impl std::fmt::Debug for Items {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Items")
    }
}

impl Items {
    /// The names of all values in `tables`, winners and losers.
    pub(super) fn of(tables: &dyn Tables) -> Result<Self, SyncError> {
        let mut items = NegentropyStorageVector::with_capacity(
            usize::try_from(tables.head()?.events).unwrap_or_default(),
        );
        let mut inserted = Ok(());
        tables.walk(None, &mut |event| {
            let id = id_of(name_of(event.key, event.hash));
            inserted = items.insert(event.key.time().0, id);
            if inserted.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        inserted.and_then(|()| items.seal()).map_err(refused)?;
        Ok(Self(items))
    }

    /// Values by name, in any order and repeated or not.
    pub(super) fn named(names: impl Iterator<Item = (EventKey, ValueHash)>) -> Result<Self, SyncError> {
        let mut items = NegentropyStorageVector::new();
        for (key, hash) in names.collect::<BTreeSet<_>>() {
            items.insert(key.time().0, id_of(name_of(key, hash))).map_err(refused)?;
        }
        items.seal().map_err(refused)?;
        Ok(Self(items))
    }

    /// The answer to a message of the other side.
    pub(super) fn answer(&self, message: &[u8]) -> Result<Vec<u8>, SyncError> {
        let mut negentropy = Negentropy::borrowed(&self.0, MESSAGE_BYTES_MAX).map_err(refused)?;
        negentropy.reconcile(message).map_err(refused)
    }
}

/// The side that asks, and what it has found so far.
pub(super) struct Asking<'i> {
    negentropy: Negentropy<'i, NegentropyStorageVector>,
    ours: Vec<Name>,
    theirs: Vec<Name>,
    steps: usize,
}

impl<'i> Asking<'i> {
    /// Begins, with the first message.
    pub(super) fn begin(items: &'i Items) -> Result<(Self, Vec<u8>), SyncError> {
        let mut negentropy = Negentropy::borrowed(&items.0, MESSAGE_BYTES_MAX).map_err(refused)?;
        let message = negentropy.initiate().map_err(refused)?;
        Ok((Self { negentropy, ours: Vec::new(), theirs: Vec::new(), steps: 0 }, message))
    }

    /// Takes an answer in; the next message, or none once the difference is known.
    pub(super) fn take(&mut self, answer: &[u8]) -> Result<Option<Vec<u8>>, SyncError> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let next = self.negentropy.reconcile_with_ids(answer, &mut ours, &mut theirs).map_err(refused)?;
        self.ours.extend(ours.iter().map(name_in));
        self.theirs.extend(theirs.iter().map(name_in));
        self.steps += 1;
        if self.steps > STEPS_MAX || self.theirs.len() > NAMES_MAX {
            return Err(SyncError::Frame(FrameError::Form("the set reconciliation does not come to an end")));
        }
        Ok(next)
    }

    /// The names only here and those only there, each in the order of keys: negentropy gives them in that of a hash
    /// table, and what is admitted anew should get its dots in an order that can be repeated.
    pub(super) fn found(self) -> (Vec<Name>, Vec<Name>) {
        let (mut ours, mut theirs) = (self.ours, self.theirs);
        ours.sort_unstable();
        theirs.sort_unstable();
        (ours, theirs)
    }
}

fn id_of((key, hash): Name) -> Id {
    let mut id = [0; 32];
    for (to, from) in id.iter_mut().zip(key.into_iter().chain(hash)) {
        *to = from;
    }
    Id::from_byte_array(id)
}

fn name_in(id: &Id) -> Name {
    let (mut key, mut hash) = ([0; 16], [0; 16]);
    for (to, from) in key.iter_mut().chain(&mut hash).zip(id.to_bytes()) {
        *to = from;
    }
    (EventKey(key).0, hash)
}

fn refused(_: negentropy::Error) -> SyncError {
    SyncError::Frame(FrameError::Form("the message of the set reconciliation is not understood"))
}

/// The names of the values that only `items` has, and of those that only the peer has.
pub(super) async fn reconcile(
    items: &Items,
    peer: &mut impl Exchange,
    link: u64,
) -> Result<(Vec<Name>, Vec<Name>), SyncError> {
    let (mut asking, mut message) = Asking::begin(items)?;
    loop {
        let ask = Ask { link, question: Question::Reconcile { message }, dictionary: None };
        let answer = Tell::decode(&peer.exchange(ask.encode()).await?)?;
        let Tell::Reconciled { message: step } = answer else {
            return Err(unexpected("reconcile", &answer));
        };
        match asking.take(&step)? {
            Some(next) => message = next,
            None => return Ok(asking.found()),
        }
    }
}
