//! The rules that keep replicas from losing events, by name, so that a test can switch one off and see that it would
//! notice. Outside of tests they always hold and cost nothing.

/// A rule that looks dispensable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A dot is taken only if the one before it is here.
    Contiguity,
    /// An alias names its value by hash; the key alone is not enough.
    AliasHash,
    /// A term of a version vector counts only if its check agrees.
    TermChecks,
    /// A walk goes on only at a replica that holds all of its pin.
    PinCoverage,
    /// Tables that were rolled back or copied go on under a new Origin.
    Minting,
    /// Two histories of one Origin are compared and exchanged.
    ForkRepair,
}

/// Whether `rule` holds, which it does outside of tests.
#[cfg(not(test))]
#[inline]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}

#[cfg(test)]
thread_local! {
    static OFF: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether `rule` holds on this thread.
#[cfg(test)]
pub(crate) fn holds(rule: Rule) -> bool {
    OFF.get() != Some(rule)
}

/// Runs `body` with one rule switched off on this thread, or with none.
#[cfg(test)]
pub(crate) fn without<R>(rule: Option<Rule>, body: impl FnOnce() -> R) -> R {
    OFF.set(rule);
    let answer = body();
    OFF.set(None);
    answer
}
