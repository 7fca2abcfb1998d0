//! When to send again: the schedules of RFC 2131, and the transactions they make.

use core::time::Duration;

use engine::{Instant, Rng};

/// RFC 2131 4.1: "the delay before the first retransmission SHOULD be 4 seconds randomized by the
/// value of a uniform random number chosen from the range -1 to +1".
const FIRST_RETRANSMISSION: Duration = Duration::from_secs(4);
/// RFC 2131 4.1: "up to a maximum of 64 seconds".
const LAST_RETRANSMISSION: Duration = Duration::from_secs(64);
/// RFC 2131 4.1: the most that randomisation takes off or adds.
const JITTER: Duration = Duration::from_secs(1);
/// First and longest delay while somebody waits for the answer of a known server: one lost packet
/// must not cost a person four seconds. No RFC has a word on renewals by command.
const URGENT_RETRANSMISSION: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(16));
/// RFC 2131 4.4.5: "down to a minimum of 60 seconds, before retransmitting the DHCPREQUEST".
pub(super) const MINIMUM_REACQUISITION: Duration = Duration::from_secs(60);

/// The doubling delays between transmissions of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// 4, 8, 16, 32, 64, 64, .. seconds, each give or take one.
    pub(super) fn standard() -> Self {
        Self { next: FIRST_RETRANSMISSION, longest: LAST_RETRANSMISSION }
    }

    /// 1, 2, 4, 8, 16, 16, .. seconds, each give or take a quarter, at most a second.
    pub(super) fn urgent() -> Self {
        let (next, longest) = URGENT_RETRANSMISSION;
        Self { next, longest }
    }

    /// The delay until the next transmission; the one after it is twice as long.
    pub(super) fn step(&mut self, rng: &mut Rng) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.longest);
        let jitter = (base / 4).min(JITTER);
        rng.duration(base - jitter, base + jitter)
    }
}

/// When to ask again in RENEWING (`limit` is T2) and REBINDING (`limit` is the lease's end): after
/// "one-half of the remaining time", at least a minute (RFC 2131 4.4.5).
pub(super) fn reacquire_at(now: Instant, limit: Instant) -> Instant {
    now + (limit.duration_since(now) / 2).max(MINIMUM_REACQUISITION)
}

/// How long to wait before looking for servers again after `count` refusals in a row: not at all
/// after the first, which a move to another network explains, then 2, 4, .. 64 seconds, so that a
/// server that offers and refuses in turn costs a packet a minute and no storm.
pub(super) fn refusal_delay(count: u32, rng: &mut Rng) -> Duration {
    match count {
        0 | 1 => Duration::ZERO,
        _ => {
            let base = Duration::from_secs(1 << (count - 1).min(6));
            rng.duration(base - JITTER, base + JITTER)
        }
    }
}

/// One transmission, as its answer will name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    /// Its transaction identifier.
    pub(super) xid: u32,
    /// When it was sent: a lease counts from here.
    pub(super) at: Instant,
    /// Seconds since the exchange began, as the message has them.
    pub(super) secs: u16,
}

/// The transmissions that an answer may still come to.
///
/// Each transmission has a transaction identifier of its own, so that an answer tells which of
/// them it is to and the lease counts from the right one, however late it comes.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// When the first message was sent.
    pub(super) started_at: Instant,
    /// How many were sent.
    pub(super) tries: u32,
    recent: [Option<Sent>; Self::REMEMBERED],
}

impl Exchange {
    /// Answers to older transmissions than this many are too late: the delays add up to a minute.
    const REMEMBERED: usize = 4;

    pub(super) fn new(now: Instant) -> Self {
        Self { started_at: now, tries: 0, recent: [None; Self::REMEMBERED] }
    }

    /// A new transmission.
    pub(super) fn transmit(&mut self, now: Instant, rng: &mut Rng) -> Sent {
        let elapsed = now.duration_since(self.started_at).as_secs();
        let sent =
            Sent { xid: rng.next_u32(), at: now, secs: u16::try_from(elapsed).unwrap_or(u16::MAX) };
        self.recent.rotate_right(1);
        if let Some(newest) = self.recent.first_mut() {
            *newest = Some(sent);
        }
        self.tries = self.tries.saturating_add(1);
        sent
    }

    /// The transmission of that identifier.
    pub(super) fn find(&self, xid: u32) -> Option<Sent> {
        self.recent.iter().flatten().find(|s| s.xid == xid).copied()
    }

    /// The newest transmission.
    pub(super) fn newest(&self) -> Option<Sent> {
        self.recent.first().copied().flatten()
    }

    /// When the newest transmission was sent.
    pub(super) fn last_sent_at(&self) -> Option<Instant> {
        self.newest().map(|sent| sent.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_within_one_second_up_to_64() {
        for seed in 0..50 {
            let mut rng = Rng::from_u64(seed);
            let mut backoff = Backoff::standard();
            for base in [4, 8, 16, 32, 64, 64, 64] {
                let delay = backoff.step(&mut rng).as_secs_f64();
                assert!((delay - f64::from(base)).abs() <= 1.0, "{delay} for {base}");
            }
        }
    }

    #[test]
    fn backoff_is_spread_over_the_whole_second_before_and_after() {
        let mut rng = Rng::from_u64(4);
        let first = |rng: &mut Rng| Backoff::standard().step(rng).as_secs_f64();
        let delays: Vec<f64> = (0..1_000).map(|_| first(&mut rng)).collect();
        let share = |low: f64| delays.iter().filter(|d| (low..low + 0.5).contains(*d)).count();
        for low in [3.0, 3.5, 4.0, 4.5] {
            assert!((150..350).contains(&share(low)), "{low}: {}", share(low));
        }
    }

    #[test]
    fn reacquisition_halves_the_rest_down_to_a_minute() {
        let now = Instant::from_secs(1_000);
        let after = |limit| reacquire_at(now, Instant::from_secs(limit)) - now;
        assert_eq!(after(2_000), Duration::from_secs(500));
        assert_eq!(after(1_120), Duration::from_secs(60));
        assert_eq!(after(1_001), Duration::from_secs(60));
        assert_eq!(after(0), Duration::from_secs(60));
    }

    #[test]
    fn refusals_slow_down_to_about_a_minute() {
        let mut rng = Rng::from_u64(3);
        assert_eq!(refusal_delay(1, &mut rng), Duration::ZERO);
        for (count, base) in [(2, 2.0), (3, 4.0), (7, 64.0), (u32::MAX, 64.0)] {
            let delay = refusal_delay(count, &mut rng).as_secs_f64();
            assert!((delay - base).abs() <= 1.0, "{delay} for {count}");
        }
    }

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
        assert_eq!((sent[4].secs, exchange.tries), (40, 5));
        let late = exchange.transmit(start + Duration::from_secs(1 << 20), &mut rng);
        assert_eq!(late.secs, u16::MAX);
    }
}
