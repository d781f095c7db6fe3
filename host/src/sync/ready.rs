//! A page with what its rows cost to take in: computed where the page is read, not in the writer's transaction, so
//! that one page is read while the one before it is written.

use super::page::Page;
use crate::core::event::ValueHash;
use crate::core::gset::Ready;
use crate::core::knowledge::Sum;

/// A page whose values are hashed.
#[derive(Debug)]
pub struct ReadyPage {
    page: Page,
    /// Of each row the value's hash, and what its dot contributes to the sum of its Origin.
    hashed: Vec<(ValueHash, Sum)>,
}

impl From<Page> for ReadyPage {
    fn from(page: Page) -> Self {
        let hashed = page.rows().map(|row| {
            let Ready { hash, part, .. } = row.into();
            (hash, part)
        });
        Self { hashed: hashed.collect(), page }
    }
}

impl ReadyPage {
    /// The page.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The rows in order, as the G-Set takes them.
    pub fn rows(&self) -> Vec<Ready<'_>> {
        let rows = self.page.rows().zip(&self.hashed);
        rows.map(|(incoming, (hash, part))| Ready { incoming, hash: *hash, part: *part }).collect()
    }
}
