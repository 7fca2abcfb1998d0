use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tables::Cache;

use super::{Change, Filter, TableRow};

/// A table in one state, for any number of readers: a copy of it costs a pointer.
#[derive(Debug)]
pub struct Snapshot<R> {
    rows: Arc<Inner<R>>,
}

#[derive(Debug)]
struct Inner<R> {
    rows: Vec<Kept<R>>,
    /// There are so many newer ones that this is in the way.
    superseded: AtomicBool,
}

/// A snapshot, for as long as somebody reads it.
#[derive(Debug)]
pub struct Shared<R> {
    rows: Weak<Inner<R>>,
}

/// A row, shared with the cache it is from.
#[derive(Debug)]
struct Kept<R> {
    row: Arc<R>,
    changed_at: Option<Instant>,
}

/// How far a reader of a snapshot is, and what it asked for.
#[derive(Debug)]
pub struct Reading<R> {
    snapshot: Snapshot<R>,
    filter: Filter,
    /// The next row to look at.
    at: usize,
}

impl<R: TableRow> Snapshot<R> {
    /// What a cache has.
    pub fn of(cache: &Cache) -> Self {
        let kept = |row: &Arc<R>| Kept { row: row.clone(), changed_at: row.changed_at(cache) };
        Self::new(R::cached(cache).map(kept).collect())
    }

    /// What was read from the kernel.
    pub fn from_rows(rows: Vec<R>) -> Self {
        let kept = |row| Kept { row: Arc::new(row), changed_at: None };
        Self::new(rows.into_iter().map(kept).collect())
    }

    fn new(rows: Vec<Kept<R>>) -> Self {
        Self { rows: Arc::new(Inner { rows, superseded: AtomicBool::new(false) }) }
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.rows.is_empty()
    }

    /// A way back to it that does not keep it.
    pub fn downgrade(&self) -> Shared<R> {
        Shared { rows: Arc::downgrade(&self.rows) }
    }

    /// The rows a reader asked for, from the first on.
    pub fn read(self, filter: Filter) -> Reading<R> {
        Reading { snapshot: self, filter, at: 0 }
    }
}

impl<R> Shared<R> {
    /// The snapshot, if somebody still reads it.
    pub fn upgrade(&self) -> Option<Snapshot<R>> {
        Some(Snapshot { rows: self.rows.upgrade()? })
    }

    /// Whether readers that do not read are in the way of newer ones.
    pub fn is_superseded(&self) -> bool {
        self.rows.upgrade().is_some_and(|inner| inner.superseded.load(Ordering::Relaxed))
    }

    /// Has readers that do not read give it up. Returns whether there are any.
    pub fn supersede(&self) -> bool {
        let inner = self.rows.upgrade();
        inner.is_some_and(|inner| {
            inner.superseded.store(true, Ordering::Relaxed);
            true
        })
    }
}

impl<R> Clone for Snapshot<R> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone() }
    }
}

impl<R: TableRow> Reading<R> {
    /// Rows looked at in one step: few enough that others do not notice.
    const STEP: usize = 1_024;

    /// Whether a reader that does not read is in the way of newer ones.
    pub fn is_superseded(&self) -> bool {
        self.snapshot.rows.superseded.load(Ordering::Relaxed)
    }

    /// The next rows that were asked for, at most `most`; fewer, or none, before the end: one step
    /// looks at a bounded number of rows. `None` at the end.
    pub fn step(&mut self, most: usize) -> Option<Vec<R>> {
        let keeps_statistics = self.filter.statistics;
        self.next(most, |kept| {
            let mut row = R::clone(&kept.row);
            if !keeps_statistics {
                row.strip();
            }
            row.set_changed_at(kept.changed_at);
            row
        })
    }

    /// As [`step`](Self::step), as changes that add the rows.
    pub fn added(&mut self, most: usize) -> Option<Vec<Change>> {
        self.next(most, |kept| Change::added(R::clone(&kept.row)))
    }

    fn next<T>(&mut self, most: usize, show: impl Fn(&Kept<R>) -> T) -> Option<Vec<T>> {
        let left = self.snapshot.rows.rows.get(self.at..).filter(|left| !left.is_empty())?;
        let mut found = Vec::new();
        for kept in left.iter().take(Self::STEP) {
            if found.len() == most {
                break;
            }
            self.at += 1;
            if kept.row.is_wanted(&self.filter) {
                found.push(show(kept));
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tables::StackEntry;

    fn entry(name: &str) -> StackEntry {
        let json = serde_json::json!({
            "higher_interface": name, "higher_ifindex": 1, "higher_luid": 1,
            "lower_interface": "lower", "lower_ifindex": 2, "lower_luid": 2,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn readers_share_the_rows() {
        let snapshot = Snapshot::from_rows(vec![entry("a"), entry("b")]);
        let shared = snapshot.downgrade();
        let reading = snapshot.clone().read(Filter::default());
        drop(snapshot);
        assert!(shared.upgrade().is_some());
        drop(reading);
        assert!(shared.upgrade().is_none());
    }

    #[test]
    fn a_step_is_bounded_by_what_is_found_and_by_what_is_looked_at() {
        let names: Vec<String> = (0..3_000).map(|number| format!("veth{number}")).collect();
        let rows = names.iter().map(|name| entry(name)).collect();
        let snapshot = Snapshot::from_rows(rows);
        let read = |filter: Filter| {
            let mut reading = snapshot.clone().read(filter);
            let steps: Vec<Vec<StackEntry>> = std::iter::from_fn(|| reading.step(64)).collect();
            steps
        };
        let all = read(Filter::default());
        assert!(all.iter().all(|step| step.len() <= 64));
        let found: Vec<String> =
            all.iter().flatten().map(|row| row.higher_interface.to_string()).collect();
        assert_eq!(found, names);
        let one = read(Filter { interface: Some("veth2500".to_owned()), ..Filter::default() });
        let lengths: Vec<usize> = one.iter().map(Vec::len).collect();
        assert_eq!(lengths, [0, 0, 1]);
    }
}
