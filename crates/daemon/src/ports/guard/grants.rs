use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Mutex, PoisonError};

use ports::Id;
use ports::guard::{grant_key, granted};
use sys::ebpf::Map;

/// Who is let in without a token, by reservation: one of the guard's maps, and what is in it.
///
/// Only the daemon that has the guard's lock writes these maps, so what it read once and wrote since
/// is what is there. To look for a reservation's entries in the kernel takes a walk through those of
/// all others.
#[derive(Debug)]
pub(super) struct Grants<M> {
    map: M,
    known: Mutex<Known>,
}

type Known = HashMap<Id, BTreeSet<u64>>;

/// A map of the kernel whose keys are made by [`grant_key`].
pub trait Entries: std::fmt::Debug {
    /// The keys of all entries.
    fn keys(&self) -> io::Result<Vec<Vec<u8>>>;
    /// Adds an entry.
    fn add(&self, key: &[u8; 16]) -> io::Result<()>;
    /// Deletes an entry, and returns whether there was one.
    fn delete(&self, key: &[u8]) -> io::Result<bool>;
}

impl<M: Entries> Grants<M> {
    /// Reads the map, and removes what is for no reservation in force.
    pub(super) fn open(map: M, is_in_force: impl Fn(Id) -> bool) -> io::Result<Self> {
        let mut known = Known::new();
        for found in map.keys()? {
            match granted(&found).filter(|(id, _)| is_in_force(*id)) {
                Some((id, who)) => _ = known.entry(id).or_default().insert(who),
                None => _ = map.delete(&found)?,
            }
        }
        Ok(Self { map, known: Mutex::new(known) })
    }

    /// Makes `wanted` all that a reservation's entries name.
    pub(super) fn set(&self, id: Id, wanted: &BTreeSet<u64>) -> io::Result<()> {
        // Follows the map entry by entry, so that nothing is half done after a panic.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() && !known.contains_key(&id) {
            return Ok(());
        }
        let present = known.entry(id).or_default();
        for who in wanted {
            if !present.contains(who) {
                self.map.add(&grant_key(id, *who))?;
                present.insert(*who);
            }
        }
        let surplus: Vec<u64> = present.difference(wanted).copied().collect();
        for who in surplus {
            self.map.delete(&grant_key(id, who))?;
            present.remove(&who);
        }
        if present.is_empty() {
            known.remove(&id);
        }
        Ok(())
    }

    /// Whom a reservation's entries name.
    pub(super) fn of(&self, id: Id) -> BTreeSet<u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).cloned().unwrap_or_default()
    }
}

impl Entries for Map {
    fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        self.keys()
    }

    fn add(&self, key: &[u8; 16]) -> io::Result<()> {
        self.update(key, &1_u32.to_ne_bytes())
    }

    fn delete(&self, key: &[u8]) -> io::Result<bool> {
        self.delete(key)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A map that counts what is asked of it, a key read as one.
    #[derive(Debug, Default)]
    struct Counted {
        keys: RefCell<BTreeSet<Vec<u8>>>,
        calls: Cell<usize>,
        room: Cell<Option<usize>>,
    }

    impl Counted {
        fn count(&self, calls: usize) {
            self.calls.set(self.calls.get() + calls);
        }
    }

    impl Entries for &Counted {
        fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
            self.count(self.keys.borrow().len());
            Ok(self.keys.borrow().iter().cloned().collect())
        }

        fn add(&self, key: &[u8; 16]) -> io::Result<()> {
            self.count(1);
            if self.room.get() == Some(self.keys.borrow().len()) {
                return Err(io::Error::from_raw_os_error(7));
            }
            self.keys.borrow_mut().insert(key.to_vec());
            Ok(())
        }

        fn delete(&self, key: &[u8]) -> io::Result<bool> {
            self.count(1);
            Ok(self.keys.borrow_mut().remove(key))
        }
    }

    fn id(number: u64) -> Id {
        Id::new(number).unwrap()
    }

    fn open(map: &Counted) -> Grants<&Counted> {
        Grants::open(map, |_| true).unwrap()
    }

    #[test]
    fn what_one_reservation_takes_does_not_grow_with_the_others() {
        let map = Counted::default();
        let grants = open(&map);
        let users: BTreeSet<u64> = (1_000..1_256).collect();
        for number in 1..=250 {
            map.calls.set(0);
            grants.set(id(number), &users).unwrap();
            assert_eq!(map.calls.get(), users.len(), "reservation {number}");
        }
        // The next daemon reads each once, and has nothing to write.
        map.calls.set(0);
        let grants = open(&map);
        for number in 1..=4_000 {
            let wanted = if number <= 250 { users.clone() } else { BTreeSet::new() };
            grants.set(id(number), &wanted).unwrap();
        }
        assert_eq!(map.calls.get(), 250 * users.len());
    }

    #[test]
    fn only_what_changes_is_written() {
        let map = Counted::default();
        let grants = open(&map);
        grants.set(id(1), &[1, 2, 3].into()).unwrap();
        grants.set(id(2), &[1].into()).unwrap();
        map.calls.set(0);
        grants.set(id(1), &[2, 3, 4].into()).unwrap();
        assert_eq!(map.calls.get(), 2);
        assert_eq!(grants.of(id(1)), [2, 3, 4].into());
        grants.set(id(1), &BTreeSet::new()).unwrap();
        assert_eq!(grants.of(id(1)), BTreeSet::new());
        assert_eq!(map.keys.borrow().len(), 1);
    }

    #[test]
    fn what_is_for_no_reservation_in_force_is_removed() {
        let map = Counted::default();
        let grants = open(&map);
        for number in 1..=3 {
            grants.set(id(number), &[7].into()).unwrap();
        }
        let grants = Grants::open(&map, |found| found == id(2)).unwrap();
        assert_eq!((grants.of(id(2)), grants.of(id(1))), ([7].into(), BTreeSet::new()));
        assert_eq!(*map.keys.borrow(), BTreeSet::from([grant_key(id(2), 7).to_vec()]));
    }

    #[test]
    fn a_full_map_loses_nothing_that_was_in_it() {
        let map = Counted::default();
        let grants = open(&map);
        grants.set(id(1), &[1, 2].into()).unwrap();
        map.room.set(Some(3));
        grants.set(id(1), &[2, 3, 4].into()).unwrap_err();
        map.room.set(None);
        assert_eq!(grants.of(id(1)), [1, 2, 3].into());
        grants.set(id(1), &[2, 3, 4].into()).unwrap();
        assert_eq!(map.keys.borrow().len(), 3);
    }
}
