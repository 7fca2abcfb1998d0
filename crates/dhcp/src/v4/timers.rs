//! When to send again: the schedules of RFC 2131.

use core::time::Duration;

use engine::{Instant, Rng};

use crate::exchange::{Backoff, Sent};

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

/// 4, 8, 16, 32, 64, 64, .. seconds, each give or take one.
pub(super) fn standard() -> Backoff {
    Backoff::new(FIRST_RETRANSMISSION, LAST_RETRANSMISSION, JITTER)
}

/// 1, 2, 4, 8, 16, 16, .. seconds, each give or take a quarter, at most a second.
pub(super) fn urgent() -> Backoff {
    let (first, longest) = URGENT_RETRANSMISSION;
    Backoff::new(first, longest, JITTER)
}

/// Seconds since the exchange began, as a message has them (`secs`).
pub(super) fn secs(sent: Sent) -> u16 {
    u16::try_from(sent.elapsed.as_secs()).unwrap_or(u16::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_within_one_second_up_to_64() {
        for seed in 0..50 {
            let mut rng = Rng::from_u64(seed);
            let mut backoff = standard();
            for base in [4, 8, 16, 32, 64, 64, 64] {
                let delay = backoff.step(&mut rng).as_secs_f64();
                assert!((delay - f64::from(base)).abs() <= 1.0, "{delay} for {base}");
            }
        }
    }

    #[test]
    fn backoff_is_spread_over_the_whole_second_before_and_after() {
        let mut rng = Rng::from_u64(4);
        let first = |rng: &mut Rng| standard().step(rng).as_secs_f64();
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
    fn seconds_end_where_their_field_does() {
        let mut rng = Rng::from_u64(5);
        let start = Instant::from_secs(100);
        let mut exchange = crate::exchange::Exchange::new(start);
        let mut after =
            |seconds| secs(exchange.transmit(start + Duration::from_secs(seconds), &mut rng));
        assert_eq!((after(0), after(40), after(1 << 20)), (0, 40, u16::MAX));
    }
}
