//! The events that a dry run would have written: an event of a later request that has the key of one of them is a
//! duplicate or a clash, as it would be in the import.
//!
//! 16 bytes an event, in sorted runs that are merged as they grow. A dry run looks for repeats among so many new
//! events as its bound says, and its report says if that was not all.

use super::send::Identity;
use crate::core::limits::IMPORT_REPEATS_MAX;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// How many events the youngest run takes before it is sorted in.
const YOUNGEST_MAX: usize = 1 << 15;

/// What is kept of an event besides its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    content: u32,
    version: u32,
}

/// What an event is to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The first of its key.
    First,
    /// The same again.
    Duplicate,
    /// Another one of the same key.
    Clash,
}

/// The events that would have been written.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    youngest: BTreeMap<u64, Kept>,
    /// Each sorted by key, and at least twice as long as the next.
    runs: Vec<Vec<(u64, Kept)>>,
    count: usize,
    /// Not every event was kept.
    pub(super) is_partial: bool,
}

impl Repeats {
    /// What the event is. `has_version`: the sender named it. `is_new`: it would be written if it is the first.
    pub(super) fn judge(
        &mut self,
        key: &str,
        identity: &Identity,
        has_version: bool,
        is_new: bool,
    ) -> Repeat {
        let mut name = [0; 8];
        blake3::Hasher::new().update(key.as_bytes()).finalize_xof().fill(&mut name);
        let name = u64::from_be_bytes(name);
        let content = identity.content.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let kept = Kept { content: content.unwrap_or_default(), version: identity.version };
        if let Some(before) = self.find(name) {
            let same = before.content == kept.content && (before.version == kept.version || !has_version);
            return if same || identity.same_key_is_same_event { Repeat::Duplicate } else { Repeat::Clash };
        }
        if is_new {
            self.keep(name, kept);
        }
        Repeat::First
    }

    fn find(&self, name: u64) -> Option<Kept> {
        self.youngest.get(&name).copied().or_else(|| {
            self.runs.iter().find_map(|run| {
                let at = run.binary_search_by_key(&name, |(name, _)| *name).ok()?;
                run.get(at).map(|(_, kept)| *kept)
            })
        })
    }

    fn keep(&mut self, name: u64, kept: Kept) {
        if self.count >= IMPORT_REPEATS_MAX {
            self.is_partial = true;
            return;
        }
        self.count += 1;
        if let Entry::Vacant(free) = self.youngest.entry(name) {
            free.insert(kept);
        }
        if self.youngest.len() < YOUNGEST_MAX {
            return;
        }
        let mut run: Vec<_> = std::mem::take(&mut self.youngest).into_iter().collect();
        while self.runs.last().is_some_and(|last| last.len() < 2 * run.len()) {
            run.extend(self.runs.pop().unwrap_or_default());
        }
        // Two sorted halves and more: a merge sort finds them.
        run.sort();
        self.runs.push(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(content: u32, version: u32) -> Identity {
        Identity { version, content: format!("{content:08x}00000000"), same_key_is_same_event: false }
    }

    /// A repeat is found however many events lie between, and what it is depends on content and version.
    #[test]
    fn repeats_are_found_far_apart() {
        let mut repeats = Repeats::default();
        let events = u32::try_from(YOUNGEST_MAX * 3 + 17).expect("few");
        for n in 0..events {
            assert_eq!(repeats.judge(&format!("k{n}"), &identity(n, 1), true, true), Repeat::First);
        }
        assert!(repeats.runs.len() > 1, "some runs are merged, and not all");
        for n in (0..events).step_by(97) {
            let key = format!("k{n}");
            assert_eq!(repeats.judge(&key, &identity(n, 1), true, true), Repeat::Duplicate);
            assert_eq!(repeats.judge(&key, &identity(n, 2), true, false), Repeat::Clash);
            assert_eq!(repeats.judge(&key, &identity(n, 2), false, true), Repeat::Duplicate);
            assert_eq!(repeats.judge(&key, &identity(n + 1, 1), true, true), Repeat::Clash);
            let same_key = Identity { same_key_is_same_event: true, ..identity(n + 1, 1) };
            assert_eq!(repeats.judge(&key, &same_key, true, true), Repeat::Duplicate);
        }
        assert_eq!(repeats.judge("new", &identity(1, 1), true, false), Repeat::First);
        assert_eq!(repeats.judge("new", &identity(2, 1), true, true), Repeat::First, "it was not kept");
        assert!(!repeats.is_partial);
    }
}
