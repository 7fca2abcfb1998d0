use core::fmt;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// The randomness of one engine: a cryptographic generator whose seed is handed in.
///
/// Transaction identifiers are sent in clear, so a weak generator would let an observer foresee
/// the next one and answer before the server does; ChaCha8 does not.
#[derive(Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// A generator that yields the same numbers for the same seed, on every machine.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// [`from_seed`](Self::from_seed) for tests and simulations, where 64 bits are enough.
    pub fn from_u64(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Another generator, whose numbers tell nothing of this one's.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        Self::from_seed(seed)
    }

    /// A uniform 32-bit number.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A uniform 64-bit number.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number in `0..bound`; zero when `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire's multiply-shift: the bias is below 2^-32 for the bounds protocols use.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A uniform duration in `low..=high`, to the nanosecond; `low` when `high` is not above it.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        let span = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX - 1);
        low.saturating_add(Duration::from_nanos(self.below(span.saturating_add(1))))
    }

    /// True with a probability of `numerator` in `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}

/// Shows nothing of the state: a log line must not give the next transaction identifier away.
impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers() {
        let mut a = Rng::from_u64(7);
        let mut b = Rng::from_u64(7);
        let mut c = Rng::from_u64(8);
        let numbers: Vec<u64> = (0..8).map(|_| a.next_u64()).collect();
        assert_eq!(numbers, (0..8).map(|_| b.next_u64()).collect::<Vec<_>>());
        assert_ne!(numbers, (0..8).map(|_| c.next_u64()).collect::<Vec<_>>());
    }

    #[test]
    fn durations_stay_inside_their_bounds_and_reach_both_halves() {
        let mut rng = Rng::from_u64(1);
        let (low, high) = (Duration::from_secs(3), Duration::from_secs(5));
        let drawn: Vec<Duration> = (0..1_000).map(|_| rng.duration(low, high)).collect();
        assert!(drawn.iter().all(|d| (low..=high).contains(d)));
        assert!(drawn.iter().any(|d| *d < Duration::from_secs(4)));
        assert!(drawn.iter().any(|d| *d > Duration::from_secs(4)));
        assert_eq!(rng.duration(high, low), high);
    }
}
