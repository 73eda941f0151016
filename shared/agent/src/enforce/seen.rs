//! Which derived links have been recorded already, as far as a bounded memory goes.

use std::collections::HashSet;

use marque_identity::Digest;

/// Links in each of two generations: 2 × 2 MiB. Forgetting one costs a second *delegated* record of it.
const LINKS_MAX: usize = 32 * 1024;

/// A set that forgets its older half when it is full.
#[derive(Debug, Default)]
pub(super) struct SeenLinks {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
}

impl SeenLinks {
    /// Whether the link is in it.
    pub(super) fn contains(&self, link: &Digest) -> bool {
        self.young.contains(link) || self.old.contains(link)
    }

    /// Adds a link; says whether it was not in it.
    pub(super) fn insert(&mut self, link: Digest) -> bool {
        if self.contains(&link) {
            return false;
        }
        if self.young.len() >= LINKS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(link)
    }

    /// Forgets a link whose record was not stored.
    pub(super) fn remove(&mut self, link: &Digest) {
        self.young.remove(link);
        self.old.remove(link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Digest(bytes)
    }

    #[test]
    fn says_once_that_a_link_is_new() {
        let mut seen = SeenLinks::default();
        assert!(seen.insert(digest(1)));
        assert!(!seen.insert(digest(1)));
        seen.remove(&digest(1));
        assert!(seen.insert(digest(1)));
    }

    #[test]
    fn stays_bounded_and_keeps_the_younger_half() {
        let mut seen = SeenLinks::default();
        for n in 0..=3 * LINKS_MAX {
            seen.insert(digest(n));
        }
        assert!(seen.young.len() + seen.old.len() <= 2 * LINKS_MAX);
        assert!(seen.contains(&digest(3 * LINKS_MAX)) && seen.contains(&digest(2 * LINKS_MAX)));
        assert!(!seen.contains(&digest(0)));
    }
}
