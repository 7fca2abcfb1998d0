use netlink::Name;
use netlink::link::LinkView;

use crate::Luid;

/// The names and LUIDs of interfaces, which rows of other tables show beside indices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    /// In order of the index, as the kernel sends them.
    entries: Vec<(u32, Entry)>,
}

/// What other tables show of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) luid: Luid,
}

impl Entry {
    pub(crate) fn new(view: &LinkView<'_>) -> Self {
        Self { name: view.name, luid: Luid::of(view) }
    }
}

impl Directory {
    pub(crate) fn get(&self, ifindex: u32) -> Option<&Entry> {
        let position = self.entries.binary_search_by_key(&ifindex, |entry| entry.0).ok()?;
        self.entries.get(position).map(|(_, entry)| entry)
    }

    /// Adds or replaces an entry; returns the former one.
    pub(crate) fn insert(&mut self, ifindex: u32, entry: Entry) -> Option<Entry> {
        if self.entries.last().is_none_or(|last| last.0 < ifindex) {
            self.entries.push((ifindex, entry));
            return None;
        }
        match self.entries.binary_search_by_key(&ifindex, |entry| entry.0) {
            Ok(position) => {
                self.entries.get_mut(position).map(|(_, old)| std::mem::replace(old, entry))
            }
            Err(position) => {
                self.entries.insert(position, (ifindex, entry));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, ifindex: u32) {
        if let Ok(position) = self.entries.binary_search_by_key(&ifindex, |entry| entry.0) {
            self.entries.remove(position);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
