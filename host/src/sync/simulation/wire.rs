//! The network: parcels on their way. Nothing moves unless the world says so.

use crate::sync::{Exchange, ExchangeError};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Poll;

/// Where a parcel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// A question on its way.
    Asking,
    /// A question that waits at the other side for a commit; how many there were when it was looked at last.
    Parked(u64),
    /// An answer on its way back.
    Answering(Vec<u8>),
}

/// A question, later its answer.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// The number of the dial that asks.
    pub(super) dial: usize,
    /// The replica that is asked.
    pub(super) to: usize,
    pub(super) ask: Vec<u8>,
    pub(super) stage: Stage,
    /// Somebody waits for the answer.
    pub(super) is_wanted: bool,
}

/// All parcels, by number.
#[derive(Debug, Default)]
pub(super) struct Wire {
    given: u64,
    pub(super) parcels: BTreeMap<u64, Parcel>,
    answers: BTreeMap<u64, Result<Vec<u8>, ExchangeError>>,
}

impl Wire {
    /// Puts a parcel on its way.
    pub(super) fn send(&mut self, parcel: Parcel) -> u64 {
        self.given += 1;
        self.parcels.insert(self.given, parcel);
        self.given
    }

    /// Hands an answer to whoever waits for it.
    pub(super) fn hand(&mut self, number: u64, answer: Result<Vec<u8>, ExchangeError>) {
        self.answers.insert(number, answer);
    }

    /// Nobody waits for this answer any more; the question may still arrive.
    pub(super) fn drop_answer(&mut self, number: u64) {
        if let Some(parcel) = self.parcels.get_mut(&number) {
            parcel.is_wanted = false;
        }
    }

    /// Nobody waits for the answers of `dial` any more; its questions may still arrive.
    pub(super) fn forget(&mut self, dial: usize) {
        for parcel in self.parcels.values_mut().filter(|parcel| parcel.dial == dial) {
            parcel.is_wanted = false;
        }
    }
}

/// One dial's way into the network.
pub(super) struct Way {
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) dial: usize,
    pub(super) to: usize,
}

impl Way {
    /// Puts a question on its way.
    pub(super) fn send(&self, ask: Vec<u8>) -> u64 {
        let (dial, to, stage) = (self.dial, self.to, Stage::Asking);
        self.wire.borrow_mut().send(Parcel { dial, to, ask, stage, is_wanted: true })
    }
}

impl Exchange for Way {
    async fn exchange(&mut self, ask: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
        let number = self.send(ask);
        let answered = |_: &mut std::task::Context<'_>| {
            self.wire.borrow_mut().answers.remove(&number).map_or(Poll::Pending, Poll::Ready)
        };
        std::future::poll_fn(answered).await
    }
}
