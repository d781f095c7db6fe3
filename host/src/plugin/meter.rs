//! How often the hooks of a plugin are called, how long that takes, and how often they fail.
//!
//! A series is made when a hook is first called and kept with the instance, because looking one up by its labels costs
//! more than a short call.

use super::call_error::CallError;
use metrics::{Counter, Histogram, counter, histogram};
use std::sync::OnceLock;
use tokio::time::Instant;

/// Every hook that is measured by name.
const HOOKS: &[&str] = &[
    "admit",
    "admit_old",
    "upcast",
    "retracts",
    "intake",
    "map",
    "query_key",
    "fold",
    "merge",
    "invert",
    "render",
    "report",
    "example",
    "recode",
];

/// The figures of one plugin's hooks.
pub(super) struct Meters {
    plugin: String,
    hooks: [OnceLock<Hook>; HOOKS.len()],
}

struct Hook {
    seconds: Histogram,
    errors: Counter,
}

impl Meters {
    pub(super) fn new(plugin: &str) -> Self {
        Self { plugin: plugin.to_owned(), hooks: [const { OnceLock::new() }; HOOKS.len()] }
    }

    /// Makes one call of `hook` and counts it.
    pub(super) fn call<T>(
        &self,
        hook: &'static str,
        call: impl FnOnce() -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let begun = Instant::now();
        let result = call();
        let Some(at) = HOOKS.iter().position(|known| *known == hook) else { return result };
        let Some(meter) = self.hooks.get(at) else { return result };
        let meter = meter.get_or_init(|| self.hook(hook));
        meter.seconds.record(begun.elapsed().as_secs_f64());
        if result.as_ref().is_err_and(is_failure) {
            meter.errors.increment(1);
        }
        result
    }

    fn hook(&self, hook: &'static str) -> Hook {
        let labels = [("plugin", self.plugin.clone()), ("hook", hook.to_owned())];
        Hook {
            seconds: histogram!("laterbase_plugin_call_seconds", &labels),
            errors: counter!("laterbase_plugin_errors_total", &labels),
        }
    }
}

/// Whether the plugin is to blame: to refuse, or not to offer something, is its right.
fn is_failure(error: &CallError) -> bool {
    match error {
        CallError::Panicked(_) | CallError::Corrupt(_) | CallError::Malformed(_) => true,
        CallError::Refused(_) | CallError::Unsupported(_) | CallError::Cancelled(_) => false,
    }
}
