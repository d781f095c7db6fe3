//! Whose turn it is to be replaced: one plugin at a time, shown with its progress, and given up when somebody says so.

use super::load_error::LoadError;
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The one place for a replacement.
#[derive(Debug, Default)]
pub(super) struct Place {
    taken: Mutex<Option<Running>>,
    changed: Condvar,
}

/// A replacement that is under way.
#[derive(Debug, Clone, Default)]
struct Running {
    /// The plugin; none while its file has not told.
    plugin: Option<String>,
    progress: Progress,
    cancelled: bool,
}

/// How far the views of a new generation are built, in arrivals of all Roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// So many are done.
    pub done: u64,
    /// Of so many; 0 while the library is tried.
    pub of: u64,
}

/// The right to replace plugins, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    place: Arc<Place>,
}

impl Place {
    fn taken(&self) -> MutexGuard<'_, Option<Running>> {
        // Every change is one assignment.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn.
    pub(super) fn wait(self: &Arc<Self>) -> Turn {
        let mut taken = self.taken();
        while taken.is_some() {
            taken = self.changed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = Some(Running::default());
        Turn { place: Arc::clone(self) }
    }

    /// The turn for `plugin`, unless another replacement is under way.
    pub(super) fn take(self: &Arc<Self>, plugin: &str) -> Result<Turn, LoadError> {
        let mut taken = self.taken();
        if let Some(running) = taken.as_ref() {
            let running = running.plugin.clone().unwrap_or_else(|| "a plugin".to_owned());
            return Err(LoadError::InProgress { running });
        }
        *taken = Some(Running { plugin: Some(plugin.to_owned()), ..Running::default() });
        Ok(Turn { place: Arc::clone(self) })
    }

    /// How far the replacement of `plugin` is; none if it is not being replaced.
    pub(super) fn progress(&self, plugin: Option<&str>) -> Option<Progress> {
        let taken = self.taken();
        taken
            .as_ref()
            .filter(|running| plugin.is_some() && running.plugin.as_deref() == plugin)
            .map(|it| it.progress)
    }

    /// Says how far the replacement under way is; whether to go on.
    pub(super) fn report(&self, progress: Progress) -> ControlFlow<()> {
        let mut taken = self.taken();
        match taken.as_mut() {
            Some(running) if running.cancelled => ControlFlow::Break(()),
            Some(running) => {
                running.progress = progress;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Continue(()),
        }
    }

    /// An error once somebody wants the replacement under way no more.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        match self.taken().as_ref() {
            Some(running) if running.cancelled => Err(LoadError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Wants the replacement of `plugin` no more, and waits until it has ended.
    pub(super) fn cancel(&self, plugin: &str) -> Result<(), LoadError> {
        let mut taken = self.taken();
        match taken.as_mut().filter(|running| running.plugin.as_deref() == Some(plugin)) {
            Some(running) => running.cancelled = true,
            None => return Err(LoadError::NotReloading { name: plugin.to_owned() }),
        }
        while taken.as_ref().is_some_and(|running| running.cancelled) {
            taken = self.changed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

impl Turn {
    /// Whose turn it is now.
    pub(super) fn of(&self, plugin: Option<&str>) {
        let running = Running { plugin: plugin.map(str::to_owned), ..Running::default() };
        let mut taken = self.place.taken();
        // Who cancelled what is being replaced meant it before its file told its name, too.
        if taken.as_ref().is_none_or(|taken| taken.plugin != running.plugin) {
            *taken = Some(running);
        }
        self.place.changed.notify_all();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.place.taken() = None;
        self.place.changed.notify_all();
    }
}
