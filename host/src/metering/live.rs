//! Who reads live, and how far the slowest is: each reader says what it was told last, one store into an atomic; what
//! that is behind is worked out when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Every reader, by the order in which they came.
static READERS: Mutex<Listed> = Mutex::new(Listed { next: 0, readers: BTreeMap::new() });

#[derive(Debug)]
struct Listed {
    next: u64,
    readers: BTreeMap<u64, Reader>,
}

#[derive(Debug)]
struct Reader {
    root: Arc<str>,
    stream: &'static str,
    told: Arc<AtomicU64>,
}

/// One live reader, counted until it is dropped.
#[derive(Debug)]
pub struct LiveReader {
    number: u64,
    told: Arc<AtomicU64>,
}

/// The readers of one stream of one Root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readers {
    /// How many.
    pub count: u64,
    /// The last arrival that the slowest of them was told.
    pub told_least: u64,
}

impl LiveReader {
    /// A reader of `root`'s `stream` that needs not be told the arrivals up to `told`.
    pub fn begin(root: &str, stream: &'static str, told: u64) -> Self {
        let told = Arc::new(AtomicU64::new(told));
        let mut listed = lock();
        let number = listed.next;
        listed.next += 1;
        listed.readers.insert(number, Reader { root: root.into(), stream, told: Arc::clone(&told) });
        Self { number, told }
    }

    /// It was told all arrivals up to this one.
    pub fn told(&self, arrival: u64) {
        self.told.store(arrival, Ordering::Relaxed);
    }
}

impl Drop for LiveReader {
    fn drop(&mut self) {
        lock().readers.remove(&self.number);
    }
}

/// All readers, by Root and stream.
pub fn live() -> BTreeMap<(Arc<str>, &'static str), Readers> {
    let mut found: BTreeMap<_, Readers> = BTreeMap::new();
    for reader in lock().readers.values() {
        let told = reader.told.load(Ordering::Relaxed);
        let all = found.entry((Arc::clone(&reader.root), reader.stream));
        let all = all.or_insert(Readers { count: 0, told_least: told });
        all.count += 1;
        all.told_least = all.told_least.min(told);
    }
    found
}

fn lock() -> MutexGuard<'static, Listed> {
    READERS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The slowest reader counts, until it leaves.
    #[test]
    fn the_slowest_counts() {
        let here = |stream| live().get(&(Arc::from("live-test"), stream)).copied();
        let (slow, quick) = (LiveReader::begin("live-test", "a", 0), LiveReader::begin("live-test", "a", 3));
        let _other = LiveReader::begin("live-test", "b", 9);
        quick.told(8);
        assert_eq!(here("a"), Some(Readers { count: 2, told_least: 0 }));
        slow.told(5);
        assert_eq!(here("a"), Some(Readers { count: 2, told_least: 5 }));
        drop(slow);
        assert_eq!(here("a"), Some(Readers { count: 1, told_least: 8 }));
        drop(quick);
        assert_eq!(here("a"), None);
        assert_eq!(here("b"), Some(Readers { count: 1, told_least: 9 }));
    }
}
