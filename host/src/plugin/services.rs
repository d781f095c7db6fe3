//! What the host offers to a plugin during one call: bounds of the query, a cancel flag, a log.
//!
//! Plain data on this side; `Services::lend` is the form that crosses the boundary. A line that the plugin
//! logs goes to the host's log with the plugin's name, for the plugin has its own copy of every library,
//! `tracing` too.

use crate::core::event::{Arrival, ValidTime};
use laterbase_plugin::abi::{Call, CallAbi, CallAbi_TO};
use laterbase_plugin::abi_stable::{
    erased_types::TD_Opaque,
    sabi_types::RRef,
    std_types::{ROption, RStr},
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The bounds and services of one call; the default has no bounds and cannot be cancelled.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// The query's `at`, an exclusive upper bound.
    pub at: Option<ValidTime>,
    /// The query's `from`, inclusive.
    pub from: Option<ValidTime>,
    /// The query's `to`, exclusive.
    pub to: Option<ValidTime>,
    /// The query's `known` as this replica's arrival number.
    pub known: Option<Arrival>,
    /// When the call should be over, in milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// Set from outside once the answer is no longer wanted.
    pub cancelled: Option<Arc<AtomicBool>>,
}

impl Services {
    /// True once the answer is no longer wanted.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// The same for calls into the plugin `plugin` on behalf of `root`.
    pub(super) fn lend<'a>(&'a self, plugin: &'a str, root: &'a str) -> Lent<'a> {
        Lent { services: self, plugin, root }
    }
}

/// Services bound to the plugin that is being called.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    services: &'a Services,
    plugin: &'a str,
    root: &'a str,
}

impl Lent<'_> {
    /// The borrowed form that crosses the boundary.
    pub(super) fn call(&self) -> Call<'_> {
        CallAbi_TO::from_ptr(RRef::new(self), TD_Opaque)
    }
}

impl CallAbi for Lent<'_> {
    fn log(&self, level: u8, message: RStr<'_>) {
        let (plugin, root, message) = (self.plugin, self.root, message.as_str());
        match level {
            0 | 1 => tracing::error!(plugin, root, "{message}"),
            2 => tracing::warn!(plugin, root, "{message}"),
            3 => tracing::info!(plugin, root, "{message}"),
            4 => tracing::debug!(plugin, root, "{message}"),
            _ => tracing::trace!(plugin, root, "{message}"),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.services.is_cancelled()
    }

    fn at(&self) -> ROption<u64> {
        self.services.at.map(|time| time.0).into()
    }

    fn from(&self) -> ROption<u64> {
        self.services.from.map(|time| time.0).into()
    }

    fn to(&self) -> ROption<u64> {
        self.services.to.map(|time| time.0).into()
    }

    fn known(&self) -> ROption<u64> {
        self.services.known.map(|arrival| arrival.0).into()
    }

    fn deadline_ms(&self) -> ROption<u64> {
        self.services.deadline_ms.into()
    }
}
