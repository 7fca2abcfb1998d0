use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use engine::{Instant, Rng};

/// What a link does to the packets of one direction. The default is a perfect one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Impairment {
    /// Share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Share of packets that arrive twice.
    pub duplication: f64,
    /// Share of packets that are overtaken: they wait [`delay`](Self::delay) and
    /// [`jitter`](Self::jitter) once more, and at least a millisecond.
    pub reordering: f64,
    /// How long every packet is on its way.
    pub delay: Duration,
    /// The most that is added to the delay, drawn anew for each packet. Packets stay in order.
    pub jitter: Duration,
}

impl Impairment {
    /// A link that only loses packets.
    pub fn loss(share: f64) -> Self {
        Self { loss: share, ..Self::default() }
    }

    /// A link that only takes time.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// One direction of a bad link, without I/O: packets in, packets out when it is their time.
///
/// The same seed does the same to the same packets.
#[derive(Debug)]
pub struct Emulator<P> {
    impairment: Impairment,
    rng: Rng,
    queue: BinaryHeap<Reverse<Queued<P>>>,
    /// Packets so far, the order among those that arrive at one instant.
    count: u64,
    /// When the last packet that was not overtaken arrives: none after it arrives before.
    last_at: Instant,
    lost: u64,
}

#[derive(Debug)]
struct Queued<P> {
    at: Instant,
    number: u64,
    packet: P,
}

impl<P: Clone> Emulator<P> {
    /// A link with nothing on its way.
    pub fn new(impairment: Impairment, rng: Rng) -> Self {
        let queue = BinaryHeap::new();
        Self { impairment, rng, queue, count: 0, last_at: Instant::ZERO, lost: 0 }
    }

    /// Changes what happens to the packets that follow.
    pub fn set_impairment(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    /// A packet enters the link.
    pub fn push(&mut self, packet: P, now: Instant) {
        // Every packet draws the same numbers, so that a changed share does not change what
        // happens to all others.
        let Impairment { loss, duplication, reordering, delay, jitter } = self.impairment;
        let lost = self.happens(loss);
        let duplicated = self.happens(duplication);
        let overtaken = self.happens(reordering);
        let time = delay + self.rng.duration(Duration::ZERO, jitter);
        if lost {
            self.lost += 1;
            return;
        }
        let at = if overtaken {
            now + time + (delay + jitter).max(Duration::from_millis(1))
        } else {
            self.last_at = self.last_at.max(now + time);
            self.last_at
        };
        if duplicated {
            self.enqueue(at, packet.clone());
        }
        self.enqueue(at, packet);
    }

    /// The next packet that has arrived at `now`.
    pub fn pop(&mut self, now: Instant) -> Option<P> {
        let due = self.next_at().is_some_and(|at| at <= now);
        due.then(|| self.queue.pop()).flatten().map(|Reverse(queued)| queued.packet)
    }

    /// When the next packet arrives.
    pub fn next_at(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(queued)| queued.at)
    }

    /// How many packets were lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn happens(&mut self, share: f64) -> bool {
        const PARTS: u64 = 1_000_000;
        // Between 0 and a million, whatever the share.
        let parts = (share.clamp(0.0, 1.0) * PARTS as f64) as u64;
        self.rng.chance(parts, PARTS)
    }

    fn enqueue(&mut self, at: Instant, packet: P) {
        self.queue.push(Reverse(Queued { at, number: self.count, packet }));
        self.count += 1;
    }
}

impl<P> Queued<P> {
    fn key(&self) -> (Instant, u64) {
        (self.at, self.number)
    }
}

impl<P> PartialEq for Queued<P> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<P> Eq for Queued<P> {}

impl<P> PartialOrd for Queued<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Queued<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: u32 = 10_000;

    /// Sends one packet a millisecond and returns what arrives, with its time.
    fn sent_through(impairment: Impairment, seed: u64) -> Vec<(u32, Instant)> {
        let mut link = Emulator::new(impairment, Rng::from_u64(seed));
        let mut arrived = Vec::new();
        for packet in 0..PACKETS {
            let now = Instant::from_millis(packet.into());
            arrived.extend(std::iter::from_fn(|| link.pop(now)).map(|packet| (packet, now)));
            link.push(packet, now);
        }
        while let Some(at) = link.next_at() {
            arrived.extend(link.pop(at).map(|packet| (packet, at)));
        }
        arrived
    }

    fn share(count: usize) -> f64 {
        count as f64 / f64::from(PACKETS)
    }

    #[test]
    fn a_perfect_link_keeps_everything_and_its_order() {
        let arrived = sent_through(Impairment::default(), 1);
        let packets: Vec<u32> = arrived.into_iter().map(|(packet, _)| packet).collect();
        assert_eq!(packets, (0..PACKETS).collect::<Vec<_>>());
    }

    #[test]
    fn loss_and_duplication_have_their_share_under_every_seed() {
        // Four standard deviations of 10,000 draws at 0.2 are 0.016.
        for seed in 0..20 {
            let lossy = sent_through(Impairment::loss(0.2), seed);
            assert!((share(lossy.len()) - 0.8).abs() < 0.016, "seed {seed}: {}", lossy.len());
            let double = Impairment { duplication: 0.2, ..Impairment::default() };
            let doubled = sent_through(double, seed);
            assert!((share(doubled.len()) - 1.2).abs() < 0.016, "seed {seed}: {}", doubled.len());
        }
        assert!(sent_through(Impairment::loss(1.0), 1).is_empty());
    }

    #[test]
    fn jitter_delays_within_bounds_and_keeps_the_order() {
        let impairment = Impairment {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(5),
            ..Impairment::default()
        };
        let arrived = sent_through(impairment, 3);
        assert!(arrived.windows(2).all(|pair| pair[0].0 < pair[1].0), "out of order");
        for (packet, at) in arrived {
            let time = at.duration_since(Instant::from_millis(packet.into()));
            let bounds = Duration::from_millis(10)..=Duration::from_millis(16);
            assert!(bounds.contains(&time), "packet {packet} took {time:?}");
        }
    }

    #[test]
    fn reordering_lets_its_share_be_overtaken() {
        let impairment = Impairment {
            reordering: 0.1,
            delay: Duration::from_millis(5),
            ..Impairment::default()
        };
        let arrived = sent_through(impairment, 4);
        assert_eq!(arrived.len(), PACKETS as usize);
        let late = |(packet, at): &&(u32, Instant)| {
            at.duration_since(Instant::from_millis((*packet).into())) >= Duration::from_millis(10)
        };
        assert!((share(arrived.iter().filter(late).count()) - 0.1).abs() < 0.012);
        assert!(arrived.windows(2).any(|pair| pair[0].0 > pair[1].0), "nothing was overtaken");
    }

    #[test]
    fn the_seed_decides() {
        let bad = Impairment { loss: 0.3, duplication: 0.1, ..Impairment::default() };
        assert_eq!(sent_through(bad, 7), sent_through(bad, 7));
        assert_ne!(sent_through(bad, 7), sent_through(bad, 8));
    }
}
