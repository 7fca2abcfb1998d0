//! Whether the network is the one the lease came from (RFC 4436): its router is remembered by
//! hardware address, and asked for again when the link is back.

use core::net::Ipv4Addr;
use core::time::Duration;

use engine::Instant;
use wire::{HardwareAddress, arp};

use super::acquire::How;
use super::engine::Client;
use super::output::{Event, Via};
use super::state::{Bound, Late, Phase, known_router, router};

/// How long after it was bound a client looks at its router: drawn at random, so that a thousand
/// clients that start together do not all broadcast at once.
const LEARN_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// How long to wait for an answer before asking again.
const LEARN_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often the router is asked at most.
const LEARN_TRIES: u32 = 3;
/// RFC 4436 2.1 leaves retransmission to the implementation; the wait must end well before that
/// for the DHCP server.
const VERIFY_AGAIN_AFTER: Duration = Duration::from_millis(200);
const VERIFY_TRIES: u32 = 3;
/// How long the server's answer to the REQUEST that went out beside the probe still counts.
const LATE_ANSWER: Duration = Duration::from_secs(8);

/// A question to the router.
#[derive(Debug)]
pub(super) struct Dna {
    router: Ipv4Addr,
    /// The hardware address it must have; `None` to learn it.
    expected: Option<HardwareAddress>,
    tries: u32,
    next_at: Instant,
}

impl Dna {
    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }

    pub(super) fn router(&self) -> Ipv4Addr {
        self.router
    }
}

impl Client {
    /// Asks the router of the previous network whether it is there.
    pub(super) fn verify_network(&mut self, now: Instant) {
        let known = self.lease().and_then(known_router);
        self.dna = known.map(|(router, hardware)| {
            Box::new(Dna { router, expected: Some(hardware), tries: 0, next_at: now })
        });
    }

    /// Looks for the router of this network, some time soon.
    pub(super) fn learn_router(&mut self, now: Instant) {
        let (soonest, latest) = LEARN_AFTER;
        let has_arp = self.link.is_some_and(|link| !link.hardware.is_empty());
        let router = self.lease().and_then(router).filter(|_| has_arp);
        self.dna = router.map(|router| {
            Box::new(Dna {
                router,
                expected: None,
                tries: 0,
                next_at: now + self.rng.duration(soonest, latest),
            })
        });
    }

    pub(super) fn fire_dna(&mut self, now: Instant) {
        let (Some(dna), Some(link), Some(binding)) = (&mut self.dna, self.link, &self.binding)
        else {
            self.dna = None;
            return;
        };
        let (tries, again_after) = match dna.expected {
            Some(_) => (VERIFY_TRIES, VERIFY_AGAIN_AFTER),
            None => (LEARN_TRIES, LEARN_AGAIN_AFTER),
        };
        if dna.tries >= tries {
            self.dna = None;
            return;
        }
        dna.tries += 1;
        dna.next_at = now + again_after;
        let (router, to) = (dna.router, dna.expected);
        // RFC 4436 2.1.1: "The 'sender protocol address' [...] is set to the candidate IPv4
        // address [...]. The ARP Request is sent to the unicast MAC address of the test node".
        let own = binding.lease.address;
        let packet = arp::Packet::request(link.hardware_type, link.hardware, own, router);
        self.send_arp(packet, to);
    }

    pub(super) fn router_seen(&mut self, packet: &arp::Packet, now: Instant) {
        let Some(dna) = &self.dna else {
            return;
        };
        let answers = packet.operation == arp::Operation::Reply && packet.sender == dna.router;
        if !answers || dna.tries == 0 {
            return;
        }
        match dna.expected {
            Some(expected) if expected == packet.sender_hardware => self.same_network(now),
            // Another router by that address: another network, as the server will tell.
            Some(_) => {}
            None => {
                let gateway = Some((dna.router, packet.sender_hardware));
                self.dna = None;
                let Some(binding) = &mut self.binding else {
                    return;
                };
                if binding.lease.gateway != gateway {
                    binding.lease.gateway = gateway;
                    self.persist_quietly();
                }
            }
        }
    }

    /// The lease goes on. The server's answer, should it still come, counts for more.
    fn same_network(&mut self, now: Instant) {
        self.dna = None;
        let (Phase::Rebooting(rebooting), Some(lease)) = (&self.phase, self.lease()) else {
            return;
        };
        let late =
            rebooting.exchange.newest().map(|sent| Late { sent, until_at: now + LATE_ANSWER });
        let lease = lease.clone();
        if let Some((gateway, _)) = lease.gateway {
            self.event(Event::SameNetwork { gateway });
        }
        self.install(lease, How::Confirmed(Via::SameNetwork), None, now);
        if let Phase::Bound(bound) = &mut self.phase {
            *bound = Bound { late };
        }
    }
}
