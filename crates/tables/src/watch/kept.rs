use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::{Change, Delta};
use crate::row::{Row, Weight};

/// A table that is kept: the rows, and what to tell of their changes.
#[derive(Debug)]
pub(super) struct Kept<R: Row> {
    /// Shared with whoever reads; and a tree has room for almost twice what is in it.
    rows: BTreeMap<R::Key, Arc<R>>,
    /// While the table is read anew: as it was before. Nothing is told meanwhile.
    former: Option<BTreeMap<R::Key, Arc<R>>>,
    /// While it is told how it differs from what it was.
    telling: Option<Telling<R>>,
    /// How to tell a change; `None` if nobody wants to know.
    tell: Option<fn(Delta<R>) -> Change>,
    lifetimes: bool,
    generation: u64,
}

/// How far the difference between a table and what it was has been told.
#[derive(Debug)]
struct Telling<R: Row> {
    /// What was, without what has been told.
    former: BTreeMap<R::Key, Arc<R>>,
    /// Those up to this one are still there, or were told to be gone.
    removed: Bound<R::Key>,
    /// Those up to this one have been told to be there.
    present: Bound<R::Key>,
}

impl<R: Row> Kept<R> {
    pub(super) fn new(tell: Option<fn(Delta<R>) -> Change>, lifetimes: bool) -> Self {
        Self { rows: BTreeMap::new(), former: None, telling: None, tell, lifetimes, generation: 0 }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &R> {
        self.shared().map(|row| &**row)
    }

    /// The rows, for readers that keep them.
    pub(super) fn shared(&self) -> impl Iterator<Item = &Arc<R>> {
        self.rows.values()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Forgets everything, and tells of nothing that goes.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.former = None;
        self.telling = None;
        self.generation += 1;
    }

    /// Another number with every change of the rows.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn get(&self, key: &R::Key) -> Option<&R> {
        self.rows.get(key).map(|row| &**row)
    }

    /// The rows whose keys are in a range.
    pub(super) fn range(
        &self,
        range: impl std::ops::RangeBounds<R::Key>,
    ) -> impl Iterator<Item = &R> {
        self.rows.range(range).map(|(_, row)| &**row)
    }

    /// Adds a row or replaces the one of its key.
    pub(super) fn put(&mut self, row: R, changes: &mut VecDeque<Change>) {
        let key = row.key();
        if let Some(tell) = self.tell.filter(|_| self.former.is_none()) {
            let delta = match self.rows.get(&key) {
                Some(before) => self.change(before, &row),
                None => Some(Delta::Added { row: row.clone() }),
            };
            changes.extend(delta.map(tell));
        }
        self.rows.insert(key, Arc::new(row));
        self.generation += 1;
    }

    /// Removes a row; returns whether it was there.
    pub(super) fn remove(&mut self, key: &R::Key, changes: &mut VecDeque<Change>) -> bool {
        let Some(row) = self.rows.remove(key).map(Arc::unwrap_or_clone) else { return false };
        self.generation += 1;
        if self.former.is_none() {
            changes.extend(self.tell.map(|tell| tell(Delta::Removed { row })));
        }
        true
    }

    /// Starts to read the table anew: there are no rows until they have been put.
    pub(super) fn begin(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        self.generation += 1;
        // Begun before and not finished: what was told last is what counts.
        self.former.get_or_insert(rows);
    }

    /// Ends reading anew: the difference to what was before [`begin`](Self::begin) can be told.
    /// Until it has been, the table must not change.
    pub(super) fn settle(&mut self) {
        let former = self.former.take().filter(|_| self.tell.is_some());
        self.telling = former.map(|former| Telling {
            former,
            removed: Bound::Unbounded,
            present: Bound::Unbounded,
        });
    }

    /// Forgets what has yet to be told.
    pub(super) fn forget(&mut self) {
        self.telling = None;
    }

    /// The next row that is gone since [`begin`](Self::begin).
    pub(super) fn tell_removed(&mut self) -> Option<Change> {
        let (Some(telling), Some(tell)) = (&mut self.telling, self.tell) else { return None };
        let begin = std::mem::replace(&mut telling.removed, Bound::Unbounded);
        let mut left = telling.former.range((begin, Bound::Unbounded));
        let gone = left.find(|(key, _)| !self.rows.contains_key(*key));
        let Some(key) = gone.map(|(key, _)| key.clone()) else {
            telling.removed = match telling.former.last_key_value() {
                Some((last, _)) => Bound::Excluded(last.clone()),
                None => Bound::Unbounded,
            };
            return None;
        };
        let row = Arc::unwrap_or_clone(telling.former.remove(&key)?);
        telling.removed = Bound::Excluded(key);
        Some(tell(Delta::Removed { row }))
    }

    /// The next row that is new or changed since [`begin`](Self::begin), once all that are gone
    /// have been told.
    pub(super) fn tell_present(&mut self) -> Option<Change> {
        let (Some(mut telling), Some(tell)) = (self.telling.take(), self.tell) else { return None };
        let begin = std::mem::replace(&mut telling.present, Bound::Unbounded);
        for (key, row) in self.rows.range((begin, Bound::Unbounded)) {
            let delta = match telling.former.remove(key) {
                Some(before) => self.change(&before, row),
                None => Some(Delta::Added { row: (**row).clone() }),
            };
            if let Some(delta) = delta {
                telling.present = Bound::Excluded(key.clone());
                self.telling = Some(telling);
                return Some(tell(delta));
            }
        }
        None
    }

    /// What there is to tell of a row that was there before.
    fn change(&self, before: &R, row: &R) -> Option<Delta<R>> {
        let members = row.difference(before);
        let weight = members.iter().map(|member| row.weight(before, member)).max()?;
        let told = weight == Weight::State || weight == Weight::Lifetime && self.lifetimes;
        told.then(|| Delta::Changed { row: row.clone(), members })
    }
}
