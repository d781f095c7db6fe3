//! Who does the work of the [`Deriver`]: a thread of its own, or a read that would otherwise wait for that thread.
//!
//! ```text
//! read:    the deriver is free -> takes its own order and does the first piece of it
//!                       is busy -> leaves the order to the thread and waits
//! thread:  an order -> takes it;   none, but work -> a piece of it;   neither -> sleeps
//! ```
//! Following the few events that arrived since the last read takes less time than waking a thread and being woken by
//! it.

use super::deriver::{Deriver, Order};
use super::error::ViewError;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;

/// A deriver and its thread.
#[derive(Debug)]
pub(super) struct Desk {
    orders: Sender<Order>,
    deriver: Arc<Mutex<Deriver>>,
    thread: JoinHandle<()>,
}

/// The way to give orders.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    sender: Sender<Order>,
    deriver: Arc<Mutex<Deriver>>,
}

impl Desk {
    /// Starts the thread.
    pub(super) fn new(deriver: Deriver) -> Result<Self, ViewError> {
        let (orders, receiver) = channel();
        let deriver = Arc::new(Mutex::new(deriver));
        let ours = Arc::clone(&deriver);
        let thread = std::thread::Builder::new().name("laterbase-views".to_owned());
        let thread = thread
            .spawn(move || run(&ours, &receiver))
            .map_err(|source| ViewError::Open { step: "starting its thread", source: source.into() })?;
        Ok(Self { orders, deriver, thread })
    }

    /// The way to give orders; the thread ends when all of them are gone.
    pub(super) fn orders(&self) -> Orders {
        Orders { sender: self.orders.clone(), deriver: Arc::clone(&self.deriver) }
    }

    /// Waits until the piece of work at hand is done and the environment is closed in order.
    pub(super) fn close(self) {
        drop(self.orders);
        // A panic of the thread was reported by the thread.
        let _ended = self.thread.join();
    }
}

impl Orders {
    /// Leaves an order to the thread.
    pub(super) fn give(&self, order: Order) -> Result<(), ViewError> {
        self.sender.send(order).map_err(|_| ViewError::Closing)
    }

    /// Takes the order here if the deriver is free, and does a piece of work: a read that waits comes first.
    pub(super) fn take(&self, order: Order) -> Result<(), ViewError> {
        let mut deriver = match self.deriver.try_lock() {
            Ok(deriver) => deriver,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return self.give(order),
        };
        deriver.take(order);
        deriver.work();
        let is_idle = !deriver.has_work();
        drop(deriver);
        // The thread may have fallen asleep when there was nothing to do yet.
        if is_idle { Ok(()) } else { self.give(Order::Wake) }
    }
}

/// Works until nobody can give orders any more.
fn run(deriver: &Mutex<Deriver>, orders: &Receiver<Order>) {
    // A read that panicked in the middle of a piece left what it had not finished to be done again.
    let lock = || -> MutexGuard<'_, Deriver> { deriver.lock().unwrap_or_else(PoisonError::into_inner) };
    loop {
        let has_work = lock().has_work();
        let order = if has_work {
            match orders.try_recv() {
                Ok(order) => Some(order),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => break,
            }
        } else {
            match orders.recv() {
                Ok(order) => Some(order),
                Err(_) => break,
            }
        };
        match order {
            Some(order) => lock().take(order),
            None => lock().work(),
        }
    }
    lock().close();
}
