//! How many interfaces may look for a server at the same time.
//!
//! A thousand interfaces that come up together would send a thousand DISCOVERs at once. A server's
//! socket holds some 170 of them (212,992 bytes by default), and a lost one costs the four seconds
//! of the RFC's retransmission. So only a window of first exchanges is under way at a time; it grows
//! while exchanges complete and shrinks when they do not, and an exchange that takes much longer
//! than the others no longer counts, so that links without a server hold nobody up for long.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use engine::Instant;

/// Exchanges under way at first. One interface more than this waits for an answer to somebody.
const FIRST_WINDOW: usize = 24;
/// What shrinking stops at.
const SMALLEST_WINDOW: usize = 8;
/// What growing stops at: well below the messages that a server's socket holds.
const LARGEST_WINDOW: usize = 96;
/// How long an exchange counts, in terms of the usual one.
const PATIENCE: u32 = 8;
const LEAST_PATIENCE: Duration = Duration::from_millis(60);
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
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            window: FIRST_WINDOW,
            under_way: BTreeMap::new(),
            waiting: VecDeque::new(),
            usual: None,
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
        // A few of many are links without a server; many are a server that cannot keep up.
        if overdue * 2 > before {
            self.window = (self.window / 2).max(SMALLEST_WINDOW);
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
            self.usual = Some(self.usual.map_or(took, |usual| (usual * 7 + took) / 8));
            self.window = (self.window + 1).min(LARGEST_WINDOW);
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
        assert_eq!(admitted(&mut pacer, AT(0)).len(), FIRST_WINDOW);
        let at = pacer.next_at().unwrap();
        assert_eq!(admitted(&mut pacer, at).len(), FIRST_WINDOW / 2);
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let mut pacer = Pacer::default();
        (0..30).for_each(|interface| pacer.ask(interface));
        admitted(&mut pacer, AT(0));
        pacer.forget(29);
        pacer.forget(0);
        pacer.ask(24);
        assert_eq!(admitted(&mut pacer, AT(1)), [24]);
    }
}
