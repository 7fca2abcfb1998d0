use std::collections::{BTreeMap, VecDeque};

use super::{Change, Delta};
use crate::row::{Row, Weight};

/// A table that is kept: the rows, and what to tell of their changes.
#[derive(Debug)]
pub(super) struct Kept<R: Row> {
    rows: BTreeMap<R::Key, R>,
    /// While the table is read anew: as it was before. Nothing is told meanwhile.
    former: Option<BTreeMap<R::Key, R>>,
    /// How to tell a change; `None` if nobody wants to know.
    tell: Option<fn(Delta<R>) -> Change>,
    lifetimes: bool,
}

impl<R: Row> Kept<R> {
    pub(super) fn new(tell: Option<fn(Delta<R>) -> Change>, lifetimes: bool) -> Self {
        Self { rows: BTreeMap::new(), former: None, tell, lifetimes }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &R> {
        self.rows.values()
    }

    pub(super) fn get(&self, key: &R::Key) -> Option<&R> {
        self.rows.get(key)
    }

    /// The rows whose keys are in a range.
    pub(super) fn range(
        &self,
        range: impl std::ops::RangeBounds<R::Key>,
    ) -> impl Iterator<Item = &R> {
        self.rows.range(range).map(|(_, row)| row)
    }

    /// Adds a row or replaces the one of its key.
    pub(super) fn put(&mut self, row: R, changes: &mut VecDeque<Change>) {
        let tells = self.tell.is_some() && self.former.is_none();
        let key = row.key();
        let copy = tells.then(|| row.clone());
        let before = self.rows.insert(key, row);
        if let Some(delta) = copy.and_then(|row| self.delta(before, row)) {
            changes.extend(self.tell.map(|tell| tell(delta)));
        }
    }

    /// Removes a row; returns whether it was there.
    pub(super) fn remove(&mut self, key: &R::Key, changes: &mut VecDeque<Change>) -> bool {
        let Some(row) = self.rows.remove(key) else { return false };
        if self.former.is_none() {
            changes.extend(self.tell.map(|tell| tell(Delta::Removed { row })));
        }
        true
    }

    /// Starts to read the table anew: there are no rows until they have been put.
    pub(super) fn begin(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        // Begun before and not finished: what was told last is what counts.
        self.former.get_or_insert(rows);
    }

    /// Tells which rows are gone since [`begin`](Self::begin).
    pub(super) fn settle_removed(&mut self, changes: &mut VecDeque<Change>) {
        let (Some(former), Some(tell)) = (&mut self.former, self.tell) else { return };
        for (_, row) in former.extract_if(.., |key, _| !self.rows.contains_key(key)) {
            changes.push_back(tell(Delta::Removed { row }));
        }
    }

    /// Tells which rows are new or changed since [`begin`](Self::begin), and goes on as usual.
    pub(super) fn settle_present(&mut self, changes: &mut VecDeque<Change>) {
        let (Some(mut former), Some(tell)) = (self.former.take(), self.tell) else { return };
        for (key, row) in &self.rows {
            let delta = self.delta(former.remove(key), row.clone());
            changes.extend(delta.map(tell));
        }
    }

    fn delta(&self, before: Option<R>, row: R) -> Option<Delta<R>> {
        let Some(before) = before else { return Some(Delta::Added { row }) };
        let members = row.difference(&before);
        let weight = members.iter().map(|member| row.weight(&before, member)).max()?;
        let told = weight == Weight::State || weight == Weight::Lifetime && self.lifetimes;
        told.then_some(Delta::Changed { row, members })
    }
}
