//! Whose turn it is: what users ask for, a few at a time, one user after another.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much is under way at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    /// Of one user.
    pub(crate) each: usize,
    /// Of all users but uid 0.
    pub(crate) all: usize,
    /// Of uid 0, beside the others.
    pub(crate) root: usize,
}

/// What waits, by user, and how much is under way.
///
/// Users take turns, whatever each has asked for; uid 0 waits for nobody else. What waits is not
/// bounded here: whoever asks holds a place of a bounded number.
///
/// Clones share it.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    state: Arc<Mutex<State<T>>>,
}

#[derive(Debug)]
struct State<T> {
    slots: Slots,
    waiting: HashMap<u32, VecDeque<T>>,
    /// The users that have something waiting and may have more under way, in their order.
    order: VecDeque<u32>,
    /// How much is under way of each user; never 0.
    under_way: HashMap<u32, usize>,
    /// Of all but uid 0.
    all: usize,
}

/// One thing that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    turns: Turns<T>,
    uid: u32,
}

impl<T> Clone for Turns<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<T> Turns<T> {
    pub(crate) fn new(slots: Slots) -> Self {
        let state = State {
            slots,
            waiting: HashMap::new(),
            order: VecDeque::new(),
            under_way: HashMap::new(),
            all: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Has a user wait for their turn with something.
    pub(crate) fn push(&self, uid: u32, what: T) {
        let mut state = self.lock();
        state.waiting.entry(uid).or_default().push_back(what);
        state.line_up(uid);
    }

    /// What comes next, if there is a slot for it.
    pub(crate) fn next(&self) -> Option<(T, Slot<T>)> {
        let (what, uid) = self.lock().next()?;
        Some((what, Slot { turns: self.clone(), uid }))
    }

    /// Whether something waits for which there is a slot.
    pub(crate) fn has_next(&self) -> bool {
        let state = self.lock();
        state.order.contains(&0) || !state.order.is_empty() && state.all < state.slots.all
    }

    /// Forgets all that waits.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.order.clear();
        // Dropped with the lock released: it may be anything.
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }

    /// What is inside is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn next(&mut self) -> Option<(T, u32)> {
        let roots = self.order.iter().position(|uid| *uid == 0);
        let next = roots.or_else(|| (self.all < self.slots.all).then_some(0))?;
        let uid = self.order.remove(next)?;
        let queue = self.waiting.get_mut(&uid)?;
        let what = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&uid);
        }
        *self.under_way.entry(uid).or_default() += 1;
        self.all += usize::from(uid != 0);
        self.line_up(uid);
        Some((what, uid))
    }

    /// Puts a user at the end of the order, who is not in it and may have more under way.
    fn line_up(&mut self, uid: u32) {
        let most = if uid == 0 { self.slots.root } else { self.slots.each };
        let has_room = self.under_way.get(&uid).copied().unwrap_or(0) < most;
        if has_room && self.waiting.contains_key(&uid) && !self.order.contains(&uid) {
            self.order.push_back(uid);
        }
    }

    fn end(&mut self, uid: u32) {
        if let Some(count) = self.under_way.get_mut(&uid) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&uid);
            }
            self.all -= usize::from(uid != 0);
            self.line_up(uid);
        }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        self.turns.lock().end(self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(each: usize, all: usize, root: usize) -> Turns<&'static str> {
        Turns::new(Slots { each, all, root })
    }

    /// Takes all that can be begun.
    fn begin(turns: &Turns<&'static str>) -> (Vec<&'static str>, Vec<Slot<&'static str>>) {
        std::iter::from_fn(|| turns.next()).unzip()
    }

    #[test]
    fn users_take_turns() {
        let turns = turns(1, 1, 1);
        for what in ["a1", "a2", "a3"] {
            turns.push(1, what);
        }
        turns.push(2, "b1");
        turns.push(3, "c1");
        let mut order = Vec::new();
        while let Some((what, _slot)) = turns.next() {
            order.push(what);
        }
        assert_eq!(order, ["a1", "b1", "c1", "a2", "a3"]);
    }

    #[test]
    fn no_more_is_under_way_than_may_be() {
        let turns = turns(2, 3, 1);
        for what in ["a1", "a2", "a3"] {
            turns.push(1, what);
        }
        turns.push(2, "b1");
        turns.push(2, "b2");
        let (begun, mut slots) = begin(&turns);
        assert_eq!(begun, ["a1", "b1", "a2"], "two of one user, three of all");
        drop(slots.remove(1));
        assert_eq!(begin(&turns).0, ["b2"], "the first user has two under way");
    }

    #[test]
    fn root_waits_for_nobody_else() {
        let turns = turns(1, 2, 1);
        for uid in 1..=9 {
            turns.push(uid, "stranger");
        }
        let (_, slots) = begin(&turns);
        assert_eq!(slots.len(), 2);
        assert!(!turns.has_next());
        turns.push(0, "root");
        assert!(turns.has_next());
        turns.push(0, "root again");
        let (begun, roots) = begin(&turns);
        assert_eq!(begun, ["root"]);
        drop(roots);
        assert_eq!(begin(&turns).0, ["root again"]);
    }

    #[test]
    fn nothing_is_left_of_users_that_are_done() {
        let turns = turns(1, 1, 1);
        for uid in 0..100 {
            turns.push(uid, "once");
        }
        while turns.next().is_some() {}
        let state = turns.lock();
        assert!(state.waiting.is_empty() && state.under_way.is_empty() && state.order.is_empty());
        assert_eq!(state.all, 0);
    }
}
