//! What readers of lists share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

/// Objects as they were listed, for as long as somebody reads them: readers share those that did not
/// change. `K` tells objects apart.
#[derive(Debug)]
pub(crate) struct Listed<K, T> {
    listed: HashMap<K, Weak<T>>,
    /// When there are as many, those that nobody reads are forgotten.
    sweep_at: usize,
}

impl<K, T> Default for Listed<K, T> {
    fn default() -> Self {
        Self { listed: HashMap::new(), sweep_at: 0 }
    }
}

impl<K: Eq + Hash, T: PartialEq> Listed<K, T> {
    /// An object as it is now, or an equal one that somebody reads.
    pub(crate) fn share(&mut self, key: K, one: T) -> Arc<T> {
        if let Some(before) = self.listed.get(&key).and_then(Weak::upgrade)
            && *before == one
        {
            return before;
        }
        if self.listed.len() >= self.sweep_at {
            self.listed.retain(|_, listed| listed.strong_count() > 0);
            self.sweep_at = 2 * self.listed.len() + 64;
        }
        let one = Arc::new(one);
        self.listed.insert(key, Arc::downgrade(&one));
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_what_did_not_change() {
        let mut listed = Listed::default();
        let first = listed.share(1, "as it was");
        assert!(Arc::ptr_eq(&first, &listed.share(1, "as it was")));
        assert!(!Arc::ptr_eq(&first, &listed.share(1, "changed")));
        assert!(!Arc::ptr_eq(&first, &listed.share(2, "as it was")));
    }

    #[test]
    fn what_nobody_reads_is_forgotten() {
        let mut listed = Listed::default();
        for key in 1..10_000 {
            listed.share(key, "read by nobody");
        }
        assert!(listed.listed.len() < 200, "{}", listed.listed.len());
    }
}
