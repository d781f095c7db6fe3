//! The gate in front of an environment: any number of transactions pass it together, and whoever moves the map must
//! be alone.
//!
//! A reader-writer lock of the standard library would do, but for two things. A thread that reads, and reads again
//! inside, would wait for itself once somebody waits to be alone; here it passes, because the gate knows who is
//! inside. And a thread that wants to be alone while it reads is told so instead of waiting for ever.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

static NEXT_NAME: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// How often this thread is inside which gate.
    static INSIDE: RefCell<BTreeMap<u64, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// Lets many in together or one in alone.
#[derive(Debug)]
pub(super) struct Gate {
    name: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Who is inside since when, by the order in which they came.
    inside: BTreeMap<u64, Instant>,
    /// How many came so far.
    came: u64,
    /// How many wait to be alone; newcomers wait for them, so that they get their turn.
    waiting: usize,
    /// Whether somebody is alone inside.
    alone: bool,
}

/// The thread wanted to be alone while it was inside: it would have waited for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WouldWaitForItself;

impl Gate {
    pub(super) fn new() -> Self {
        let name = NEXT_NAME.fetch_add(1, Ordering::Relaxed);
        Self { name, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until nobody is alone inside, nor waits to be unless this thread is inside already.
    pub(super) fn pass(&self) -> Pass<'_> {
        let again = self.held_by_this_thread() > 0;
        let mut state = self.lock();
        while state.alone || (state.waiting > 0 && !again) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.came += 1;
        let number = state.came;
        state.inside.insert(number, Instant::now());
        drop(state);
        INSIDE.with_borrow_mut(|inside| *inside.entry(self.name).or_insert(0) += 1);
        Pass { gate: self, number, stays_on_its_thread: PhantomData }
    }

    /// Waits until nobody is inside, and keeps everybody out.
    pub(super) fn alone(&self) -> Result<Alone<'_>, WouldWaitForItself> {
        if self.held_by_this_thread() > 0 {
            return Err(WouldWaitForItself);
        }
        let mut state = self.lock();
        state.waiting += 1;
        while state.alone || !state.inside.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.alone = true;
        drop(state);
        Ok(Alone { gate: self })
    }

    /// How many are inside, and for how long the one who came first.
    pub(super) fn inside(&self) -> (usize, Duration) {
        let state = self.lock();
        let oldest = state.inside.first_key_value().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        (state.inside.len(), oldest)
    }

    /// Whether somebody waits to be alone.
    #[cfg(test)]
    pub(super) fn is_awaited(&self) -> bool {
        self.lock().waiting > 0
    }

    fn held_by_this_thread(&self) -> usize {
        INSIDE.with_borrow(|inside| inside.get(&self.name).copied().unwrap_or(0))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody is inside, with others.
#[derive(Debug)]
pub(super) struct Pass<'g> {
    gate: &'g Gate,
    number: u64,
    stays_on_its_thread: PhantomData<*const ()>,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| {
            if let Some(times) = inside.get_mut(&self.gate.name) {
                *times -= 1;
                if *times == 0 {
                    inside.remove(&self.gate.name);
                }
            }
        });
        let mut state = self.gate.lock();
        state.inside.remove(&self.number);
        drop(state);
        self.gate.changed.notify_all();
    }
}

/// Somebody is alone inside.
#[derive(Debug)]
pub(super) struct Alone<'g> {
    gate: &'g Gate,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.gate.lock().alone = false;
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn a_thread_inside_passes_again_while_another_waits_to_be_alone() {
        let gate = Gate::new();
        let outer = gate.pass();
        thread::scope(|scope| {
            let (done, is_done) = mpsc::channel();
            let gate = &gate;
            scope.spawn(move || {
                let alone = gate.alone().expect("this thread is not inside");
                drop(alone);
                done.send(()).expect("the test waits");
            });
            while !gate.is_awaited() {
                thread::yield_now();
            }
            let inner = gate.pass();
            assert!(is_done.try_recv().is_err(), "alone although two are inside");
            drop(inner);
            drop(outer);
            is_done.recv().expect("the waiting thread gets in");
        });
    }

    #[test]
    fn nobody_waits_for_itself() {
        let gate = Gate::new();
        assert_eq!(gate.inside(), (0, Duration::ZERO));
        let pass = gate.pass();
        assert_eq!(gate.inside().0, 1);
        assert_eq!(gate.alone().map(drop), Err(WouldWaitForItself));
        drop(pass);
        assert!(gate.alone().is_ok());
    }
}
