//! Address conflict detection (RFC 5227) for one address; RFC 3927 uses the same for its own.

use core::net::Ipv4Addr;
use core::time::Duration;

use engine::{Instant, Rng};
use wire::{HardwareAddress, arp};

/// RFC 5227 1.1: "PROBE_WAIT 1 second (initial random delay)".
const PROBE_WAIT: Duration = Duration::from_secs(1);
/// RFC 5227 1.1: "PROBE_NUM 3 (number of probe packets)".
const PROBE_NUM: u8 = 3;
/// RFC 5227 1.1: "PROBE_MIN 1 second (minimum delay until repeated probe)".
const PROBE_MIN: Duration = Duration::from_secs(1);
/// RFC 5227 1.1: "PROBE_MAX 2 seconds (maximum delay until repeated probe)".
const PROBE_MAX: Duration = Duration::from_secs(2);
/// RFC 5227 1.1: "ANNOUNCE_WAIT 2 seconds (delay before announcing)".
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
/// RFC 5227 1.1: "ANNOUNCE_NUM 2 (number of Announcement packets)".
const ANNOUNCE_NUM: u8 = 2;
/// RFC 5227 1.1: "ANNOUNCE_INTERVAL 2 seconds (time between Announcement packets)".
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// RFC 5227 1.1: "DEFEND_INTERVAL 10 seconds (minimum interval between defensive ARPs)".
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// RFC 5227 1.1: "MAX_CONFLICTS 10 (max conflicts before rate-limiting)".
pub(super) const MAX_CONFLICTS: u32 = 10;
/// RFC 5227 1.1: "RATE_LIMIT_INTERVAL 60 seconds (delay between successive attempts)".
pub(super) const RATE_LIMIT_INTERVAL: Duration = Duration::from_secs(60);

/// The detection for one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acd {
    address: Ipv4Addr,
    stage: Stage,
    /// When the address was last defended.
    defended_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// `sent` probes are out, the next thing is due at `next_at`: a probe, or after the last one
    /// the end of the wait.
    Probing { sent: u8, next_at: Instant },
    /// The address is ours; `sent` announcements are out.
    Announcing { sent: u8, next_at: Instant },
    /// Nothing left to do but to watch.
    Watching,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a probe.
    Probe,
    /// Nobody objected: the address may be used. An announcement is due at once.
    Clear,
    /// Send an announcement.
    Announce,
}

/// What an ARP packet means for the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Harmless,
    /// Another host uses it: announce it once more and go on.
    Defend,
    /// Another host has it: give it up.
    Conflict,
}

impl Acd {
    /// Starts probing for `address`.
    pub(super) fn start(address: Ipv4Addr, now: Instant, rng: &mut Rng) -> Self {
        let next_at = now + rng.duration(Duration::ZERO, PROBE_WAIT);
        Self { address, stage: Stage::Probing { sent: 0, next_at }, defended_at: None }
    }

    /// The address.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// When [`fire`](Self::fire) has something to do.
    pub(super) fn next_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Probing { next_at, .. } | Stage::Announcing { next_at, .. } => Some(next_at),
            Stage::Watching => None,
        }
    }

    /// What is due at `now`, once.
    pub(super) fn fire(&mut self, now: Instant, rng: &mut Rng) -> Option<Due> {
        if self.next_at().is_none_or(|next_at| next_at > now) {
            return None;
        }
        match self.stage {
            Stage::Probing { sent, .. } if sent < PROBE_NUM => {
                let sent = sent + 1;
                let delay = match sent {
                    PROBE_NUM => ANNOUNCE_WAIT,
                    _ => rng.duration(PROBE_MIN, PROBE_MAX),
                };
                let next_at = now + delay;
                self.stage = Stage::Probing { sent, next_at };
                Some(Due::Probe)
            }
            Stage::Probing { .. } => {
                self.stage = Stage::Announcing { sent: 0, next_at: now };
                Some(Due::Clear)
            }
            Stage::Announcing { sent, .. } => {
                let sent = sent + 1;
                let next_at = now + ANNOUNCE_INTERVAL;
                self.stage = match sent {
                    ANNOUNCE_NUM.. => Stage::Watching,
                    _ => Stage::Announcing { sent, next_at },
                };
                Some(Due::Announce)
            }
            Stage::Watching => None,
        }
    }

    /// Judges a packet. `in_use` says that the address is on the interface: the kernel then
    /// answers the probes of others, and only who already uses the address is in conflict.
    pub(super) fn judge(
        &mut self,
        packet: &arp::Packet,
        own: &HardwareAddress,
        in_use: bool,
        now: Instant,
    ) -> Verdict {
        if packet.sender_hardware == *own {
            return Verdict::Harmless;
        }
        let probing = matches!(self.stage, Stage::Probing { .. });
        if packet.sender != self.address {
            // RFC 5227 2.1.1: a probe for the same address is as much of a conflict, as two hosts
            // must not both conclude that it is free.
            let rival = probing && !in_use && packet.is_probe() && packet.target == self.address;
            return if rival { Verdict::Conflict } else { Verdict::Harmless };
        }
        let defended_lately =
            self.defended_at.is_some_and(|at| now.duration_since(at) < DEFEND_INTERVAL);
        if probing || defended_lately {
            return Verdict::Conflict;
        }
        // RFC 5227 2.4 (b): "the host [...] MAY elect to attempt to defend its address by
        // recording the time that the conflicting ARP packet was received, and then broadcasting
        // one single ARP Announcement".
        self.defended_at = Some(now);
        Verdict::Defend
    }
}

#[cfg(test)]
mod tests {
    use wire::HardwareType;

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    fn hardware(last: u8) -> HardwareAddress {
        HardwareAddress::ethernet([2, 0, 0, 0, 0, last])
    }

    fn uses(last: u8) -> arp::Packet {
        arp::Packet::announcement(HardwareType::ETHERNET, hardware(last), ADDRESS)
    }

    fn probes(last: u8) -> arp::Packet {
        arp::Packet::probe(HardwareType::ETHERNET, hardware(last), ADDRESS)
    }

    fn run_to_watching(acd: &mut Acd, rng: &mut Rng) -> Vec<(Instant, Due)> {
        let mut log = Vec::new();
        while let Some(at) = acd.next_at() {
            log.extend(acd.fire(at, rng).map(|due| (at, due)));
        }
        log
    }

    #[test]
    fn probes_and_announces_on_the_schedule_of_the_rfc() {
        for seed in 0..100 {
            let mut rng = Rng::from_u64(seed);
            let start = Instant::from_secs(50);
            let mut acd = Acd::start(ADDRESS, start, &mut rng);
            assert_eq!(acd.fire(start - Duration::from_nanos(1), &mut rng), None);
            let log = run_to_watching(&mut acd, &mut rng);
            let what: Vec<Due> = log.iter().map(|(_, due)| *due).collect();
            use Due::{Announce, Clear, Probe};
            assert_eq!(what, [Probe, Probe, Probe, Clear, Announce, Announce]);
            let gap = |i: usize| (log[i].0 - log[i - 1].0).as_secs_f64();
            assert!(log[0].0 - start <= PROBE_WAIT);
            assert!((1.0..=2.0).contains(&gap(1)) && (1.0..=2.0).contains(&gap(2)));
            assert_eq!((gap(3), gap(4), gap(5)), (2.0, 0.0, 2.0));
            assert!((4.0..=7.0).contains(&(log[3].0 - start).as_secs_f64()));
        }
    }

    #[test]
    fn while_probing_any_user_is_a_conflict_and_a_rival_only_before_use() {
        let mut rng = Rng::from_u64(1);
        let now = Instant::from_secs(1);
        let mut acd = Acd::start(ADDRESS, now, &mut rng);
        let own = hardware(1);
        assert_eq!(acd.judge(&uses(2), &own, false, now), Verdict::Conflict);
        assert_eq!(acd.judge(&uses(2), &own, true, now), Verdict::Conflict);
        assert_eq!(acd.judge(&probes(2), &own, false, now), Verdict::Conflict);
        assert_eq!(acd.judge(&probes(2), &own, true, now), Verdict::Harmless);

        // A probe for another address, and a question of somebody who has an address.
        let other = Ipv4Addr::new(192, 0, 2, 11);
        let elsewhere = arp::Packet::probe(HardwareType::ETHERNET, hardware(2), other);
        let question = arp::Packet::request(HardwareType::ETHERNET, hardware(2), other, ADDRESS);
        for packet in [elsewhere, question] {
            assert_eq!(acd.judge(&packet, &own, false, now), Verdict::Harmless);
        }
        // Who comes later is told by our announcement.
        run_to_watching(&mut acd, &mut rng);
        assert_eq!(acd.judge(&probes(2), &own, false, now), Verdict::Harmless);
    }

    #[test]
    fn our_own_packets_are_never_a_conflict() {
        let mut rng = Rng::from_u64(1);
        let now = Instant::from_secs(1);
        let mut acd = Acd::start(ADDRESS, now, &mut rng);
        for packet in [uses(1), probes(1), probes(2).reply(hardware(1))] {
            assert_eq!(acd.judge(&packet, &hardware(1), true, now), Verdict::Harmless);
        }
        let other = arp::Packet::request(
            HardwareType::ETHERNET,
            hardware(3),
            Ipv4Addr::new(192, 0, 2, 1),
            ADDRESS,
        );
        assert_eq!(acd.judge(&other, &hardware(1), true, now), Verdict::Harmless);
    }

    #[test]
    fn defends_once_in_ten_seconds() {
        let mut rng = Rng::from_u64(1);
        let own = hardware(1);
        let mut acd = Acd::start(ADDRESS, Instant::ZERO, &mut rng);
        run_to_watching(&mut acd, &mut rng);
        let at = Instant::from_secs;
        assert_eq!(acd.judge(&uses(2), &own, true, at(100)), Verdict::Defend);
        assert_eq!(acd.judge(&uses(2), &own, true, at(110)), Verdict::Defend);
        assert_eq!(acd.judge(&uses(2), &own, true, at(119)), Verdict::Conflict);
    }
}
