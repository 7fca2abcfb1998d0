//! Work that waits for the kernel, on threads of its own: users take turns, and what nobody waits for
//! any more is not begun.

use std::fmt;

use tokio::sync::oneshot;

use crate::access::Caller;
use crate::turns::{Slot, Slots, Turns};

/// How much nicer than the event loop the threads are (nice(2)): those who ask for much must not keep
/// the processors from those who ask for little, nor from the leases.
const NICENESS: i32 = 10;

/// Where callers wait for their turn. Clones are one.
#[derive(Clone)]
pub(crate) struct Work {
    turns: Turns<Waiting>,
}

/// Who gets the next place, and for whom.
type Waiting = (oneshot::Sender<Place>, Caller);

/// The place of a piece of work among those under way, until this is dropped.
pub(crate) struct Place {
    work: Work,
    /// `None` only while dropping.
    slot: Option<Slot<Waiting>>,
    /// The connection that asked counts as long.
    _caller: Caller,
}

impl Work {
    /// Work of which so much is under way at a time.
    pub(crate) fn new(slots: Slots) -> Self {
        Self { turns: Turns::new(slots) }
    }

    /// Does something for a caller when it is their turn. What is returned beside the result keeps the
    /// place: a caller that is sent much keeps it until that is sent.
    ///
    /// Fails when the event loop ends, or by a panic.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<(T, Place)> {
        self.place(caller).await?.run(work).await
    }

    /// Waits for a caller's turn. Whoever stops waiting is passed over.
    pub(crate) async fn place(&self, caller: &Caller) -> Option<Place> {
        let (give, given) = oneshot::channel();
        self.turns.push(caller.user(), (give, caller.clone()));
        self.begin();
        given.await.ok()
    }

    /// Gives the places that are free.
    fn begin(&self) {
        while let Some(((give, caller), slot)) = self.turns.next() {
            // Looked at first: a place that comes back would be given from within its drop.
            if !give.is_closed() {
                let place = Place { work: self.clone(), slot: Some(slot), _caller: caller };
                let _ = give.send(place);
            }
        }
    }
}

impl Place {
    /// Does something on a thread that may wait, to its end even if nobody waits for that.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<(T, Self)> {
        let work = move || {
            // Of this thread alone. One that is as nice already, or may not be, is no worse.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            (work(), self)
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slot = None;
        self.work.begin();
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Work").finish_non_exhaustive()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Place").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn one_at_a_time() -> Work {
        Work::new(Slots { each: 1, all: 1, root: 1 })
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let work = one_at_a_time();
        let caller = Caller::for_test(1_000);
        let begun = Arc::new(AtomicUsize::new(0));
        let (go_on, waiting) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let (work, caller) = (work.clone(), caller.clone());
            async move { work.run(&caller, move || waiting.recv_timeout(DEADLINE)).await }
        });
        tokio::task::yield_now().await;
        let left: Vec<_> = (0..10)
            .map(|_| {
                let (work, caller, begun) = (work.clone(), caller.clone(), begun.clone());
                let count = move || begun.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move { work.run(&caller, count).await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        left.iter().for_each(tokio::task::JoinHandle::abort);
        for one in left {
            assert!(one.await.unwrap_err().is_cancelled());
        }
        go_on.send(()).unwrap();
        let (result, place) = first.await.unwrap().unwrap();
        assert_eq!(result, Ok(()));
        drop(place);
        let last = work.run(&caller, || "done").await.unwrap();
        assert_eq!(last.0, "done");
        assert_eq!(begun.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_place_is_kept_until_it_is_let_go_of() {
        let work = one_at_a_time();
        let caller = Caller::for_test(1_000);
        let (_, place) = work.run(&caller, || ()).await.unwrap();
        let other = Caller::for_test(1_001);
        let mut second = std::pin::pin!(work.run(&other, || ()));
        let soon = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
        assert!(soon.is_err(), "begun beside the first");
        let root = Caller::for_test(0);
        tokio::time::timeout(DEADLINE, work.run(&root, || ())).await.unwrap().unwrap();
        drop(place);
        tokio::time::timeout(DEADLINE, second).await.unwrap().unwrap();
    }
}
