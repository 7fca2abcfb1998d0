//! How many interfaces may look for a server at the same time.
//!
//! A thousand interfaces that come up together would send a thousand DISCOVERs at once. A server's
//! socket holds some 170 of them (212,992 bytes by default); a bridge floods each to every port,
//! and the kernel's backlog holds 1,000 packets (`net.core.netdev_max_backlog`). What is lost costs
//! the four seconds of the RFC's retransmission. So only a window of first exchanges is under way
//! at a time. It opens quickly while exchanges take no longer than they have to, and closes when
//! they begin to: the time is spent in a queue then, and queues overflow next. An exchange that
//! takes much longer than the others no longer counts, so that links without a server hold nobody
//! up for long.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use engine::Instant;

/// Exchanges under way at first.
const FIRST_WINDOW: usize = 8;
/// What shrinking stops at.
const SMALLEST_WINDOW: usize = 4;
/// What growing stops at: well below the messages that a server's socket holds.
const LARGEST_WINDOW: usize = 64;
/// By how much exchanges vary without a queue.
const VARIATION: Duration = Duration::from_millis(2);
/// How long an exchange counts, in terms of the usual one.
const PATIENCE: u32 = 6;
const LEAST_PATIENCE: Duration = Duration::from_millis(80);
const MOST_PATIENCE: Duration = Duration::from_millis(600);

/// Admits interfaces, in the order they ask.
#[derive(Debug)]
pub(super) struct Pacer {
    window: usize,
    /// Exchanges under way, and when they started.
    under_way: BTreeMap<u32, Instant>,
    waiting: VecDeque<u32>,
    /// What an exchange usually takes, smoothed; `None` before the first.
    usual: Option<Duration>,
    /// What it takes when nobody else is served. Rises slowly: servers grow slower with their
    /// number of leases.
    shortest: Duration,
    /// Exchanges that completed since the last one that did not.
    completed: usize,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            window: FIRST_WINDOW,
            under_way: BTreeMap::new(),
            waiting: VecDeque::new(),
            usual: None,
            shortest: Duration::MAX,
            completed: 0,
        }
    }
}

impl Pacer {
    /// Asks for admission. It comes from [`next`](Self::next), maybe at once.
    pub(super) fn ask(&mut self, interface: u32) {
        if !self.waiting.contains(&interface) {
            self.waiting.push_back(interface);
        }
    }

    /// The next interface to start, if there is room.
    pub(super) fn next(&mut self, now: Instant) -> Option<u32> {
        if self.waiting.is_empty() {
            return None;
        }
        let patience = self.patience();
        let before = self.under_way.len();
        self.under_way.retain(|_, started_at| *started_at + patience > now);
        let overdue = before - self.under_way.len();
        if overdue > 0 {
            self.window = match self.completed {
                // Nobody answers anybody: there is no server to spare.
                0 => (self.window * 2).min(LARGEST_WINDOW),
                // Many are a server that cannot keep up; a few are links without one.
                completed if completed < overdue => (self.window / 2).max(SMALLEST_WINDOW),
                _ => self.window,
            };
            self.completed = 0;
        }
        if self.under_way.len() >= self.window {
            return None;
        }
        let interface = self.waiting.pop_front()?;
        self.under_way.insert(interface, now);
        Some(interface)
    }

    /// Whether the interface waits to be admitted.
    pub(super) fn is_waiting(&self, interface: u32) -> bool {
        self.waiting.contains(&interface)
    }

    /// The exchange is over: with a lease, or (`completed` false) without anything learnt.
    pub(super) fn done(&mut self, interface: u32, completed: bool, now: Instant) {
        let Some(started_at) = self.under_way.remove(&interface) else { return };
        if completed {
            let took = now - started_at;
            self.completed += 1;
            self.usual = Some(self.usual.map_or(took, |usual| (usual * 7 + took) / 8));
            self.shortest = took.min(self.shortest.saturating_add(self.shortest / 2_000));
            if took <= self.shortest.saturating_mul(3) + VARIATION {
                self.window = (self.window + 1).min(LARGEST_WINDOW);
            } else if took > self.shortest.saturating_mul(6) + VARIATION {
                self.window = (self.window - 1).max(SMALLEST_WINDOW);
            }
        }
    }

    /// The interface is gone or started by other means.
    pub(super) fn forget(&mut self, interface: u32) {
        self.under_way.remove(&interface);
        self.waiting.retain(|waiting| *waiting != interface);
    }

    /// Whether an exchange of this interface counts.
    pub(super) fn is_under_way(&self, interface: u32) -> bool {
        self.under_way.contains_key(&interface)
    }

    /// When to call [`next`](Self::next) again; `None` while nobody waits.
    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        self.under_way.values().min().map(|started_at| *started_at + self.patience())
    }

    fn patience(&self) -> Duration {
        let usual = self.usual.map_or(MOST_PATIENCE, |usual| usual * PATIENCE);
        usual.clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Instant = Instant::from_millis;

    fn admitted(pacer: &mut Pacer, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| pacer.next(now)).collect()
    }

    #[test]
    fn one_interface_never_waits() {
        let mut pacer = Pacer::default();
        pacer.ask(7);
        assert_eq!(pacer.next(AT(0)), Some(7));
        assert_eq!(pacer.next_at(), None);
    }

    #[test]
    fn a_fast_server_gets_a_growing_window() {
        let mut pacer = Pacer::default();
        (0..1_000).for_each(|interface| pacer.ask(interface));
        let (mut now, mut most, mut seen) = (AT(0), 0, Vec::new());
        while seen.len() < 1_000 {
            let batch = admitted(&mut pacer, now);
            assert!(!batch.is_empty());
            most = most.max(pacer.under_way.len());
            now += Duration::from_millis(5);
            batch.iter().for_each(|interface| pacer.done(*interface, true, now));
            seen.extend(batch);
        }
        assert!(seen.into_iter().eq(0..1_000), "in the order they asked");
        assert_eq!(most, LARGEST_WINDOW);
        assert!(now < AT(200), "{now:?}");
    }

    #[test]
    fn links_without_a_server_delay_the_others_but_not_for_long() {
        let mut pacer = Pacer::default();
        // Every second link is dead.
        (0..400).for_each(|interface| pacer.ask(interface));
        let (mut now, mut leased) = (AT(0), 0);
        while leased < 200 {
            for interface in admitted(&mut pacer, now) {
                if interface % 2 == 1 {
                    pacer.done(interface, true, now + Duration::from_millis(5));
                    leased += 1;
                }
            }
            now = pacer.next_at().map_or(now + Duration::from_millis(5), |at| at.max(now));
            assert!(now < AT(3_000), "{leased} by {now:?}");
        }
    }

    #[test]
    fn a_server_that_cannot_keep_up_shrinks_the_window() {
        let mut pacer = Pacer::default();
        (0..100).for_each(|interface| pacer.ask(interface));
        let first = admitted(&mut pacer, AT(0));
        assert_eq!(first.len(), FIRST_WINDOW);
        pacer.done(first[0], true, AT(5));
        let at = pacer.next_at().unwrap();
        assert!(admitted(&mut pacer, at).len() <= FIRST_WINDOW / 2);
    }

    #[test]
    fn queues_close_the_window_before_they_overflow() {
        let mut pacer = Pacer::default();
        (0..1_000).for_each(|interface| pacer.ask(interface));
        // One exchange after the other, 4 ms each, whatever the window.
        let (mut now, mut queue, mut most) = (AT(0), VecDeque::new(), 0);
        for _ in 0..1_000 {
            queue.extend(admitted(&mut pacer, now));
            most = most.max(queue.len());
            now += Duration::from_millis(4);
            pacer.done(queue.pop_front().unwrap(), true, now);
        }
        assert!(most <= 16, "{most} at a time");
    }

    #[test]
    fn without_any_server_all_have_asked_soon() {
        let mut pacer = Pacer::default();
        (0..1_000).for_each(|interface| pacer.ask(interface));
        let (mut now, mut asked) = (AT(0), 0);
        while asked < 1_000 {
            asked += admitted(&mut pacer, now).len();
            now = pacer.next_at().unwrap_or(now);
        }
        assert!(now < AT(12_000), "{now:?}");
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let mut pacer = Pacer::default();
        (0..10).for_each(|interface| pacer.ask(interface));
        assert_eq!(admitted(&mut pacer, AT(0)).len(), FIRST_WINDOW);
        pacer.forget(9);
        pacer.forget(0);
        pacer.ask(8);
        assert_eq!(admitted(&mut pacer, AT(1)), [8]);
    }
}
