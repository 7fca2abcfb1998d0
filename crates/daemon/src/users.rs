//! What users are called.
//!
//! A name service may be on a network, and slow or silent; a user without a name is as good a reason
//! to ask it as any. So one thread asks, one name after another, and whoever wants to know a name waits
//! for as long as it is worth, or goes without.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer holds; one that there is no such user, shorter: it may be made.
const KEPT: Duration = Duration::from_secs(600);
const ABSENT_KEPT: Duration = Duration::from_secs(10);
/// The most names that are kept, and that wait to be asked for. What is more goes without.
const NAMES: usize = 4096;
const WAITING: usize = 1024;
/// Without anything to ask for that long the thread ends.
const IDLE: Duration = Duration::from_secs(5);

type Then = Box<dyn FnOnce(Option<String>) + Send>;

/// The names, for any number of holders.
#[derive(Clone)]
pub(crate) struct Users {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: std::sync::Condvar,
    look_up: fn(u32) -> Option<String>,
}

#[derive(Default)]
struct State {
    known: HashMap<u32, (Option<String>, Instant)>,
    queue: VecDeque<u32>,
    waiting: HashMap<u32, Vec<Then>>,
    is_running: bool,
}

impl Default for Users {
    fn default() -> Self {
        Self::over(|uid| sys::credentials::user_name(uid).ok().flatten())
    }
}

impl Users {
    fn over(look_up: fn(u32) -> Option<String>) -> Self {
        let shared = Shared { state: Mutex::default(), wake: std::sync::Condvar::new(), look_up };
        Self { shared: Arc::new(shared) }
    }

    /// Calls `then` with the name of a user: at once if it is known, else from the thread that asks.
    pub(crate) fn ask(&self, uid: u32, then: impl FnOnce(Option<String>) + Send + 'static) {
        let mut state = self.shared.lock();
        if let Some((name, until)) = state.known.get(&uid)
            && Instant::now() < *until
        {
            let name = name.clone();
            drop(state);
            return then(name);
        }
        let is_waited_for = state.waiting.contains_key(&uid);
        if !is_waited_for && state.queue.len() >= WAITING {
            drop(state);
            return then(None);
        }
        state.waiting.entry(uid).or_default().push(Box::new(then));
        if !is_waited_for {
            state.queue.push_back(uid);
        }
        if state.is_running {
            self.shared.wake.notify_one();
            return;
        }
        let shared = self.shared.clone();
        let started = thread::Builder::new().name("users".into()).spawn(move || shared.work());
        match started {
            Ok(_) => state.is_running = true,
            // Asked again by the next one; nobody waits for ever.
            Err(error) => tracing::debug!("no thread to look users up: {error}"),
        }
    }

    /// The name of a user; `None` also if it is not known in time.
    pub(crate) fn name(&self, uid: u32, until: Instant) -> Option<String> {
        let (tell, told) = mpsc::channel();
        self.ask(uid, move |name| _ = tell.send(name));
        told.recv_timeout(until.saturating_duration_since(Instant::now())).ok().flatten()
    }
}

impl Shared {
    /// What is inside is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            let Some(uid) = state.queue.pop_front() else {
                let waited = self.wake.wait_timeout(state, IDLE);
                let timed_out;
                (state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
                if timed_out.timed_out() && state.queue.is_empty() {
                    state.is_running = false;
                    return;
                }
                continue;
            };
            drop(state);
            let name = (self.look_up)(uid);
            let now = Instant::now();
            state = self.lock();
            if state.known.len() >= NAMES {
                state.known.retain(|_, (_, until)| now < *until);
            }
            if state.known.len() < NAMES {
                let kept = if name.is_some() { KEPT } else { ABSENT_KEPT };
                state.known.insert(uid, (name.clone(), now + kept));
            }
            let waiting = state.waiting.remove(&uid).unwrap_or_default();
            drop(state);
            for then in waiting {
                then(name.clone());
            }
            state = self.lock();
        }
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("known", &self.shared.lock().known.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::testing::wait_until;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_name_is_asked_for_once() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let users = Users::over(|uid| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            (uid != 7).then(|| format!("user{uid}"))
        });
        for _ in 0..3 {
            assert_eq!(users.name(1, soon()).as_deref(), Some("user1"));
            assert_eq!(users.name(7, soon()), None);
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 2);
        assert_eq!(Users::default().name(0, soon()).as_deref(), Some("root"));
    }

    #[test]
    fn a_silent_service_is_not_waited_for_and_fills_nothing() {
        static LET_GO: AtomicU32 = AtomicU32::new(0);
        let users = Users::over(|uid| {
            wait_until("the service answers", || LET_GO.load(Ordering::Relaxed) != 0);
            Some(format!("user{uid}"))
        });
        let begun_at = Instant::now();
        assert_eq!(users.name(1, begun_at + Duration::from_millis(20)), None);
        for uid in 0..100_000 {
            users.ask(uid, |_| ());
        }
        assert!(begun_at.elapsed() < Duration::from_secs(8), "nobody waited");
        assert!(users.shared.lock().waiting.len() <= WAITING + 1);
        LET_GO.store(1, Ordering::Relaxed);
        assert_eq!(users.name(1, soon()).as_deref(), Some("user1"), "the late answer is kept");
    }
}
