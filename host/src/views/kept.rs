//! Answers of Reports that were given already, for as long as nothing can change them.
//!
//! A Report may read a whole View for one answer, so the same question is not worked out twice as long as the same
//! plugins serve and nothing has arrived. Only what is asked without `known` is kept. All of it is in memory, and all
//! of it goes when there is too much: what is asked often is soon there again.

use super::answer::Page;
use super::computes::Revision;
use crate::plugin::RootCatalog;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// So many answers are kept at most ...
const ANSWERS_MAX: usize = 1024;
/// ... with so many bytes.
const BYTES_MAX: usize = 16 << 20;

/// The answers of one Root's Reports.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    /// Who gave them ...
    catalog: Weak<RootCatalog>,
    /// ... knowing the arrivals up to this one.
    arrival: u64,
    by_question: BTreeMap<[u8; 16], Arc<Page>>,
    bytes: usize,
}

impl Kept {
    /// The answer to `question`, if these plugins gave it and nothing has arrived since.
    pub(super) fn get(
        &self,
        catalog: &Arc<RootCatalog>,
        arrival: u64,
        question: Revision,
    ) -> Option<Arc<Page>> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.arrival != arrival || answers.catalog.as_ptr() != Arc::as_ptr(catalog) {
            return None;
        }
        answers.by_question.get(&question.0).cloned()
    }

    /// Keeps an answer; those of other plugins, or of earlier arrivals, go.
    pub(super) fn put(&self, catalog: &Arc<RootCatalog>, arrival: u64, question: Revision, page: &Arc<Page>) {
        let bytes = page.items.iter().map(|item| item.value.get().len() + 128).sum::<usize>();
        if bytes > BYTES_MAX {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = answers.catalog.as_ptr() == Arc::as_ptr(catalog);
        if is_same && answers.arrival > arrival {
            return;
        }
        let is_full = answers.by_question.len() >= ANSWERS_MAX || answers.bytes + bytes > BYTES_MAX;
        if !is_same || answers.arrival != arrival || is_full {
            *answers = Answers { catalog: Arc::downgrade(catalog), arrival, ..Answers::default() };
        }
        answers.bytes += bytes;
        answers.by_question.insert(question.0, Arc::clone(page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: an answer lasts until something arrives or the plugins change, and what is kept stays within its bounds.
    #[test]
    fn answers_last_until_something_changes() {
        let (kept, one, other) = (Kept::default(), Arc::default(), Arc::default());
        let (question, page) = (Revision([1; 16]), Arc::new(Page::default()));
        kept.put(&one, 7, question, &page);
        assert!(kept.get(&one, 7, question).is_some());
        assert!(kept.get(&one, 7, Revision([2; 16])).is_none());
        assert!(kept.get(&one, 8, question).is_none());
        assert!(kept.get(&other, 7, question).is_none());
        kept.put(&one, 6, Revision([3; 16]), &page);
        assert!(kept.get(&one, 7, question).is_some(), "a slow answer drives no newer one out");
        kept.put(&other, 6, question, &page);
        assert!(kept.get(&one, 7, question).is_none());
        for number in 0..=ANSWERS_MAX as u128 {
            kept.put(&other, 9, Revision(number.to_be_bytes()), &page);
        }
        assert!(kept.get(&other, 9, Revision(0_u128.to_be_bytes())).is_none());
        assert!(kept.get(&other, 9, Revision((ANSWERS_MAX as u128).to_be_bytes())).is_some());
    }
}
