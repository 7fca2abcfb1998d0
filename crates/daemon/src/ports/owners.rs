use std::collections::{HashMap, HashSet};

/// What owners of reservations are called, as far as it has been found out.
///
/// Anybody can own one for a moment, as each of thousands of users: those of reservations that have
/// ended are forgotten when they may be half of all.
#[derive(Debug)]
pub(super) struct Owners {
    names: HashMap<u32, Option<String>>,
    /// With so many, it is found out who owns something yet.
    most: usize,
}

/// So many are kept whether they own something or not.
const LEAST: usize = 256;

impl Default for Owners {
    fn default() -> Self {
        Self { names: HashMap::new(), most: LEAST }
    }
}

impl Owners {
    /// Takes note of one who comes to own something, beside the `present` ones. Returns whether the
    /// name has to be looked up.
    pub(super) fn note(&mut self, uid: u32, present: impl Iterator<Item = u32>) -> bool {
        if self.names.contains_key(&uid) {
            return false;
        }
        if self.names.len() >= self.most {
            let present: HashSet<u32> = present.collect();
            self.names.retain(|known, _| present.contains(known));
            self.most = LEAST.max(2 * self.names.len());
        }
        self.names.insert(uid, None);
        true
    }

    /// The user is called that. One who has been forgotten meanwhile stays so.
    pub(super) fn name(&mut self, uid: u32, name: Option<String>) {
        self.names.entry(uid).and_modify(|known| *known = name);
    }

    /// What the user is called.
    pub(super) fn of(&self, uid: u32) -> Option<String> {
        self.names.get(&uid).cloned().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_own_something_are_remembered_and_not_many_others() {
        let mut owners = Owners::default();
        let present = || 0..300;
        for uid in present() {
            assert!(owners.note(uid, present()));
            owners.name(uid, Some(uid.to_string()));
        }
        for uid in 1_000..50_000 {
            assert!(owners.note(uid, present()));
            assert!(owners.names.len() <= 2 * present().len());
        }
        assert!(present().all(|uid| owners.of(uid) == Some(uid.to_string())));
        assert!(!owners.note(7, present()));
        owners.name(1_000, Some("late".to_owned()));
        assert_eq!(owners.of(1_000), None);
    }
}
