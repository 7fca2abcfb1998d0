//! Messages that are sent again until they are answered, in either family.

use core::time::Duration;

use engine::{Instant, Rng};

/// The doubling delays between transmissions of one message, each randomised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
    jitter: Duration,
}

impl Backoff {
    /// Delays from `first` up to `longest`, before randomisation; that takes off or adds at most a
    /// quarter, and at most `jitter`.
    pub(crate) const fn new(first: Duration, longest: Duration, jitter: Duration) -> Self {
        Self { next: first, longest, jitter }
    }

    /// The delay until the next transmission; the one after it is twice as long.
    pub(crate) fn step(&mut self, rng: &mut Rng) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.longest);
        let jitter = (base / 4).min(self.jitter);
        rng.duration(base - jitter, base + jitter)
    }
}

/// One transmission, as its answer will name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its transaction identifier.
    pub(crate) xid: u32,
    /// When it was sent: a lease counts from here.
    pub(crate) at: Instant,
    /// Since the exchange began.
    pub(crate) elapsed: Duration,
}

/// The transmissions that an answer may still come to.
///
/// Each transmission has a transaction identifier of its own, so that an answer tells which of
/// them it is to and the lease counts from the right one, however late it comes.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    started_at: Instant,
    tries: u32,
    recent: [Option<Sent>; Self::REMEMBERED],
}

impl Exchange {
    /// Answers to older transmissions than this many are too late: the delays add up to a minute.
    const REMEMBERED: usize = 4;

    /// One that begins now, of which nothing was sent yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { started_at: now, tries: 0, recent: [None; Self::REMEMBERED] }
    }

    /// When it began.
    pub(crate) fn started_at(&self) -> Instant {
        self.started_at
    }

    /// How many messages were sent.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// A new transmission.
    pub(crate) fn transmit(&mut self, now: Instant, rng: &mut Rng) -> Sent {
        let elapsed = now.duration_since(self.started_at);
        let sent = Sent { xid: rng.next_u32(), at: now, elapsed };
        self.recent.rotate_right(1);
        if let Some(newest) = self.recent.first_mut() {
            *newest = Some(sent);
        }
        self.tries = self.tries.saturating_add(1);
        sent
    }

    /// The transmission of that identifier.
    pub(crate) fn find(&self, xid: u32) -> Option<Sent> {
        self.recent.iter().flatten().find(|s| s.xid == xid).copied()
    }

    /// The newest transmission.
    pub(crate) fn newest(&self) -> Option<Sent> {
        self.recent.first().copied().flatten()
    }

    /// When the newest transmission was sent.
    pub(crate) fn last_sent_at(&self) -> Option<Instant> {
        self.newest().map(|sent| sent.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_knows_its_last_four_transmissions() {
        let mut rng = Rng::from_u64(5);
        let start = Instant::from_secs(100);
        let mut exchange = Exchange::new(start);
        let sent: Vec<Sent> = (0..5)
            .map(|i| exchange.transmit(start + Duration::from_secs(i * 10), &mut rng))
            .collect();
        assert_eq!(exchange.find(sent[0].xid), None);
        assert_eq!(exchange.find(sent[1].xid), Some(sent[1]));
        assert_eq!(exchange.find(sent[4].xid), Some(sent[4]));
        assert_eq!(exchange.newest(), Some(sent[4]));
        assert_eq!((sent[4].elapsed, exchange.tries()), (Duration::from_secs(40), 5));
        assert_eq!(exchange.started_at(), start);
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let seconds = Duration::from_secs;
        let mut rng = Rng::from_u64(7);
        let mut backoff = Backoff::new(seconds(1), seconds(8), seconds(1));
        for base in [1.0, 2.0, 4.0, 8.0, 8.0] {
            let delay = backoff.step(&mut rng).as_secs_f64();
            assert!((delay - base).abs() <= (base / 4.0_f64).min(1.0), "{delay} for {base}");
        }
    }
}
