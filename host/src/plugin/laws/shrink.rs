//! Makes a counterexample small: leaves out what is not needed for the failure.

/// How often a failure may be tried again while it is made smaller.
const TRIES_MAX: u32 = 400;

/// The smallest part of `all` found that still fails; `all` itself does. Halves are tried first, then quarters, down to
/// single items, until none can be left out or the tries are used up.
pub(super) fn shrink<T: Clone>(all: &[T], fails: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = all.to_vec();
    let mut tries = TRIES_MAX;
    let mut size = kept.len().div_ceil(2);
    while size > 0 && !kept.is_empty() {
        let before = kept.len();
        let mut at = 0;
        while at < kept.len() && tries > 0 {
            tries -= 1;
            let end = kept.len().min(at + size);
            let without: Vec<T> = kept.iter().take(at).chain(kept.iter().skip(end)).cloned().collect();
            if fails(&without) {
                kept = without;
            } else {
                at = end;
            }
        }
        // Single items are gone through again as long as that helps.
        if size > 1 || kept.len() == before || tries == 0 {
            size /= 2;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is left fails, and fails no more without any one of it.
    #[test]
    fn only_what_is_needed_is_left() {
        let all: Vec<u32> = (0..100).collect();
        let mut three = |some: &[u32]| [17, 60, 99].iter().all(|it| some.contains(it));
        assert_eq!(shrink(&all, &mut three), [17, 60, 99]);
        assert!(shrink(&all, &mut |_| true).is_empty());
        assert_eq!(shrink(&all, &mut |some| some.len() >= 2).len(), 2);
        assert_eq!(shrink(&all, &mut |some| some.len() == 100), all);
    }
}
