//! What strangers may hold at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How much of something there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// For one user.
    pub each: usize,
    /// For all users together: one person may have many user ids.
    pub all: usize,
}

/// Whose bound a request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The user's own.
    Own,
    /// That of all users together.
    All,
}

/// How much users may have over their bounds until nobody may have more: what one read brings
/// (`SCM_MAX_FD` of include/net/scm.h) is there before it can be counted.
pub(super) const MOST_EXCESS: usize = 253;

/// Counts what users hold of one thing, uid 0 apart, so that no crowd keeps the administrator out.
///
/// Clones count together.
#[derive(Clone, Debug)]
pub struct Quota {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bound: Bound,
    held: Mutex<Held>,
    /// Some was given back.
    returned: Notify,
}

#[derive(Debug, Default)]
struct Held {
    /// Of each user; never 0.
    each: HashMap<u32, usize>,
    /// Of all, each up to the bound of one.
    all: usize,
    /// What users have over that.
    excess: usize,
}

/// A part of a quota, given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    quota: Quota,
    uid: u32,
    amount: usize,
}

impl Quota {
    /// One of which nothing is held.
    #[must_use]
    pub fn new(bound: Bound) -> Self {
        let shared = Shared { bound, held: Mutex::default(), returned: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Takes some for a user, if it is within the bounds.
    pub fn take(&self, uid: u32, amount: usize) -> Result<Share, Excess> {
        let mut share = Share { quota: self.clone(), uid, amount: 0 };
        share.grow(amount)?;
        Ok(share)
    }

    /// Takes some for a user, be it over the bounds: what is there already can only be counted.
    #[must_use]
    pub fn take_anyway(&self, uid: u32, amount: usize) -> Share {
        self.lock().add(self.shared.bound, uid, amount);
        Share { quota: self.clone(), uid, amount }
    }

    /// Whether a user may have that much more.
    pub fn check(&self, uid: u32, amount: usize) -> Result<(), Excess> {
        self.lock().check(self.shared.bound, uid, amount)
    }

    /// Waits until a user may have that much more. Cancel safe.
    pub async fn room(&self, uid: u32, amount: usize) {
        loop {
            // Before looking: what is given back meanwhile is not missed.
            let returned = self.shared.returned.notified();
            if self.check(uid, amount).is_ok() {
                return;
            }
            returned.await;
        }
    }

    /// The bounds.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.shared.bound
    }

    /// What is inside is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn check(&self, bound: Bound, uid: u32, amount: usize) -> Result<(), Excess> {
        let own = self.each.get(&uid).copied().unwrap_or(0);
        if uid == 0 {
            Ok(())
        } else if own.saturating_add(amount) > bound.each {
            Err(Excess::Own)
        } else if self.all.saturating_add(amount) > bound.all || self.excess > MOST_EXCESS {
            Err(Excess::All)
        } else {
            Ok(())
        }
    }

    /// What a user has over the bound of one is not taken from the others'.
    fn add(&mut self, bound: Bound, uid: u32, amount: usize) {
        if uid != 0 && amount > 0 {
            let own = self.each.entry(uid).or_default();
            let before = split(bound, *own);
            *own += amount;
            let after = split(bound, *own);
            self.all += after.0 - before.0;
            self.excess += after.1 - before.1;
        }
    }

    fn remove(&mut self, bound: Bound, uid: u32, amount: usize) {
        if uid == 0 || amount == 0 {
            return;
        }
        if let Some(own) = self.each.get_mut(&uid) {
            let before = split(bound, *own);
            *own = own.saturating_sub(amount);
            let after = split(bound, *own);
            self.all = self.all.saturating_sub(before.0 - after.0);
            self.excess = self.excess.saturating_sub(before.1 - after.1);
            if *own == 0 {
                self.each.remove(&uid);
            }
        }
    }
}

/// What a user has, up to the bound of one and over it.
fn split(bound: Bound, own: usize) -> (usize, usize) {
    (own.min(bound.each), own.saturating_sub(bound.each))
}

impl Share {
    /// Takes more, if it is within the bounds.
    pub fn grow(&mut self, amount: usize) -> Result<(), Excess> {
        let mut held = self.quota.lock();
        held.check(self.quota.shared.bound, self.uid, amount)?;
        held.add(self.quota.shared.bound, self.uid, amount);
        drop(held);
        self.amount += amount;
        Ok(())
    }

    /// Gives back all but that much.
    pub fn shrink_to(&mut self, amount: usize) {
        let surplus = self.amount.saturating_sub(amount);
        if surplus > 0 {
            self.quota.lock().remove(self.quota.shared.bound, self.uid, surplus);
            self.amount -= surplus;
            self.quota.shared.returned.notify_waiters();
        }
    }

    /// How much it is.
    #[must_use]
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Whose it is.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_limited_each_and_together_but_not_uid_0() {
        let quota = Quota::new(Bound { each: 3, all: 5 });
        let take = |uid| quota.take(uid, 1);
        let first: Vec<Share> = (0..3).map(|_| take(1_000).unwrap()).collect();
        assert_eq!(take(1_000).unwrap_err(), Excess::Own);
        let _second: Vec<Share> = [1_001, 1_002].map(|uid| take(uid).unwrap()).into();
        assert_eq!(take(1_003).unwrap_err(), Excess::All);
        let _root: Vec<Share> = (0..10).map(|_| take(0).unwrap()).collect();
        drop(first);
        assert!(take(1_003).is_ok());
        assert!(take(1_000).is_ok());
    }

    #[test]
    fn a_share_grows_within_the_bounds_and_shrinks() {
        let quota = Quota::new(Bound { each: 10, all: 15 });
        let mut share = quota.take(7, 4).unwrap();
        assert_eq!(share.grow(7), Err(Excess::Own));
        share.grow(6).unwrap();
        assert_eq!(quota.check(8, 6), Err(Excess::All));
        share.shrink_to(2);
        assert_eq!((share.amount(), quota.check(8, 10)), (2, Ok(())));
        drop(share);
        assert!(quota.lock().each.is_empty());
    }

    #[test]
    fn what_is_there_already_counts_over_the_bounds() {
        let quota = Quota::new(Bound { each: 2, all: 3 });
        let share = quota.take_anyway(7, 253);
        assert_eq!(quota.check(7, 1), Err(Excess::Own));
        assert_eq!(quota.check(8, 1), Ok(()), "at the user's own expense");
        assert_eq!(quota.check(8, 2), Err(Excess::All));
        let other = quota.take_anyway(9, 253);
        assert_eq!(quota.check(8, 1), Err(Excess::All), "they have too much together");
        drop(other);
        let more = quota.take_anyway(7, 1);
        drop(share);
        assert_eq!(quota.check(8, 2), Ok(()));
        drop(more);
        let held = quota.lock();
        assert_eq!((held.all, held.excess), (0, 0));
    }

    #[tokio::test]
    async fn whoever_waits_for_room_gets_it() {
        let quota = Quota::new(Bound { each: 1, all: 1 });
        let share = quota.take(7, 1).unwrap();
        let waiting = tokio::spawn({
            let quota = quota.clone();
            async move { quota.room(8, 1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(share);
        waiting.await.unwrap();
    }
}
