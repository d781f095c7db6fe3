//! Answers that were given already, for as long as nothing can change them.
//!
//! A Report may read a whole View for one answer, and many ask for the same aggregate one after the other; so the
//! same question is not worked out twice as long as the same plugins serve and nothing has arrived. Only what is asked
//! without `known` is kept. All of it is in memory, and all of it goes when there is too much: what is asked often is
//! soon there again.

use super::computes::Revision;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// So many answers are kept at most ...
const ANSWERS_MAX: usize = 1024;
/// ... with so many bytes.
const BYTES_MAX: usize = 16 << 20;

/// Answers `A` of one Root, given by plugins `P`.
pub(super) struct Kept<P: ?Sized, A>(Mutex<Answers<P, A>>);

struct Answers<P: ?Sized, A> {
    /// Who gave them ...
    plugins: Option<Weak<P>>,
    /// ... knowing the arrivals up to this one.
    arrival: u64,
    by_question: BTreeMap<[u8; 16], Arc<A>>,
    bytes: usize,
}

impl<P: ?Sized, A> Default for Kept<P, A> {
    fn default() -> Self {
        Self(Mutex::new(Answers::by(None, 0)))
    }
}

impl<P: ?Sized, A> fmt::Debug for Kept<P, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl<P: ?Sized, A> Kept<P, A> {
    /// The answer to `question`, if these plugins gave it and nothing has arrived since.
    pub(super) fn get(&self, plugins: &Arc<P>, arrival: u64, question: Revision) -> Option<Arc<A>> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.arrival != arrival || !answers.are_by(plugins) {
            return None;
        }
        answers.by_question.get(&question.0).cloned()
    }

    /// Keeps an answer of so many bytes; those of other plugins, or of earlier arrivals, go.
    pub(super) fn put(
        &self,
        plugins: &Arc<P>,
        arrival: u64,
        question: Revision,
        (answer, bytes): (&Arc<A>, usize),
    ) {
        if bytes > BYTES_MAX {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = answers.are_by(plugins);
        if is_same && answers.arrival > arrival {
            return;
        }
        let is_full = answers.by_question.len() >= ANSWERS_MAX || answers.bytes + bytes > BYTES_MAX;
        if !is_same || answers.arrival != arrival || is_full {
            *answers = Answers::by(Some(Arc::downgrade(plugins)), arrival);
        }
        answers.bytes += bytes;
        answers.by_question.insert(question.0, Arc::clone(answer));
    }
}

impl<P: ?Sized, A> Answers<P, A> {
    fn by(plugins: Option<Weak<P>>, arrival: u64) -> Self {
        Self { plugins, arrival, by_question: BTreeMap::new(), bytes: 0 }
    }

    fn are_by(&self, plugins: &Arc<P>) -> bool {
        self.plugins.as_ref().is_some_and(|own| std::ptr::addr_eq(own.as_ptr(), Arc::as_ptr(plugins)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: an answer lasts until something arrives or the plugins change, and what is kept stays within its bounds.
    #[test]
    fn answers_last_until_something_changes() {
        let (kept, one, other) = (Kept::<u32, u64>::default(), Arc::new(1), Arc::new(1));
        let (question, answer) = (Revision([1; 16]), Arc::new(0));
        let page = (&answer, 100);
        kept.put(&one, 7, question, page);
        assert!(kept.get(&one, 7, question).is_some());
        assert!(kept.get(&one, 7, Revision([2; 16])).is_none());
        assert!(kept.get(&one, 8, question).is_none());
        assert!(kept.get(&other, 7, question).is_none());
        kept.put(&one, 6, Revision([3; 16]), page);
        assert!(kept.get(&one, 7, question).is_some(), "a slow answer drives no newer one out");
        kept.put(&other, 6, question, page);
        assert!(kept.get(&one, 7, question).is_none());
        for number in 0..=ANSWERS_MAX as u128 {
            kept.put(&other, 9, Revision(number.to_be_bytes()), page);
        }
        assert!(kept.get(&other, 9, Revision(0_u128.to_be_bytes())).is_none());
        assert!(kept.get(&other, 9, Revision((ANSWERS_MAX as u128).to_be_bytes())).is_some());
    }
}
