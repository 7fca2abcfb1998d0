//! An address of 169.254/16 while no server answers (RFC 3927).

use core::net::Ipv4Addr;

use engine::{Instant, Rng};
use wire::{HardwareAddress, arp};

use super::acd::{Acd, Due, MAX_CONFLICTS, RATE_LIMIT_INTERVAL, Verdict};
use super::engine::Client;
use super::host::Purpose;
use super::output::{Address, Effect, Event};

/// RFC 3927 2.1: "169.254.1.0 to 169.254.254.255"; "the first 256 and last 256 addresses [...] are
/// reserved".
const FIRST: u32 = 0xa9fe_0100;
const COUNT: u64 = 254 * 256;

/// The address being claimed or in use.
#[derive(Debug)]
pub(super) struct LinkLocal {
    acd: Acd,
    /// Nobody objected, and it is on the interface.
    claimed: bool,
    /// Addresses that others had.
    conflicts: u32,
    /// Chooses addresses: by the hardware address, so that a host tends to get the same one again
    /// (RFC 3927 2.1).
    choice: Rng,
    /// Too many conflicts: the next address is tried then.
    paused_until: Option<Instant>,
}

impl LinkLocal {
    fn new(hardware: &HardwareAddress, anonymize: bool, now: Instant, rng: &mut Rng) -> Self {
        let mut choice = match anonymize {
            true => Rng::from_u64(rng.next_u64()),
            false => {
                let mut seed = [0; 32];
                for (to, from) in seed.iter_mut().zip(hardware.as_bytes()) {
                    *to = *from;
                }
                Rng::from_seed(seed)
            }
        };
        let acd = Acd::start(pick(&mut choice), now, rng);
        Self { acd, claimed: false, conflicts: 0, choice, paused_until: None }
    }

    /// The address, once it is in use.
    pub(super) fn in_use(&self) -> Option<Ipv4Addr> {
        self.claimed.then(|| self.acd.address())
    }

    /// The address that others must not use.
    pub(super) fn watched(&self) -> Option<Ipv4Addr> {
        self.paused_until.is_none().then(|| self.acd.address())
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.paused_until.or(self.acd.next_at())
    }
}

fn pick(choice: &mut Rng) -> Ipv4Addr {
    // Below 2^16.
    Ipv4Addr::from_bits(FIRST + choice.below(COUNT) as u32)
}

fn entry(address: Ipv4Addr) -> Address {
    Address {
        address,
        prefix_length: 16,
        broadcast: Some(Ipv4Addr::new(169, 254, 255, 255)),
        expires_at: None,
        link_local: true,
    }
}

fn removal(address: Ipv4Addr) -> Effect {
    Effect::RemoveAddress { address, prefix_length: 16 }
}

impl Client {
    /// Begins to claim an address, if that is wanted, allowed and of any use.
    pub(super) fn start_link_local(&mut self, now: Instant) {
        let Some(link) = self.link.filter(|link| !link.hardware.is_empty()) else {
            return;
        };
        let allowed = self.config.link_local && !self.auto_configure_forbidden;
        if allowed && self.link_local.is_none() && self.binding.is_none() {
            let anonymize = self.config.anonymize;
            let local = LinkLocal::new(&link.hardware, anonymize, now, &mut self.rng);
            self.link_local = Some(Box::new(local));
        }
    }

    /// RFC 3927 1.9: a routable address "SHOULD" replace it.
    pub(super) fn withdraw_link_local(&mut self) {
        let local = self.link_local.take();
        if let Some(address) = local.and_then(|local| local.in_use()) {
            self.carry_out(Purpose::Other, vec![removal(address)]);
        }
    }

    pub(super) fn reapply_link_local(&mut self) {
        if let Some(address) = self.link_local() {
            self.carry_out(Purpose::Other, vec![Effect::AddAddress(entry(address))]);
            self.event(Event::Restored { address });
        }
    }

    pub(super) fn fire_link_local(&mut self, now: Instant) {
        let Some(local) = self.link_local.as_mut() else {
            return;
        };
        if local.paused_until.take().is_some() {
            local.acd = Acd::start(pick(&mut local.choice), now, &mut self.rng);
            return;
        }
        let due = local.acd.fire(now, &mut self.rng);
        let address = local.acd.address();
        match due {
            Some(Due::Probe) => self.probe(address),
            Some(Due::Clear) => {
                local.claimed = true;
                local.conflicts = 0;
                self.carry_out(Purpose::Other, vec![Effect::AddAddress(entry(address))]);
                self.event(Event::LinkLocal { address });
            }
            Some(Due::Announce) => self.announce(address),
            None => {}
        }
    }

    /// Looks for conflicts in what others send.
    pub(super) fn link_local_seen(&mut self, packet: &arp::Packet, now: Instant) {
        let (Some(local), Some(link)) = (self.link_local.as_mut(), self.link) else {
            return;
        };
        if local.paused_until.is_some() {
            return;
        }
        let verdict = local.acd.judge(packet, &link.hardware, local.claimed, now);
        let address = local.acd.address();
        let defended = match verdict {
            Verdict::Harmless => return,
            Verdict::Defend => {
                self.announce(address);
                true
            }
            Verdict::Conflict => {
                let was_in_use = core::mem::take(&mut local.claimed);
                local.conflicts = local.conflicts.saturating_add(1);
                if local.conflicts >= MAX_CONFLICTS {
                    // RFC 3927 2.2.1: "MUST limit the rate at which it probes for new addresses
                    // to no more than one new address per RATE_LIMIT_INTERVAL".
                    local.paused_until = Some(now + RATE_LIMIT_INTERVAL);
                } else {
                    local.acd = Acd::start(pick(&mut local.choice), now, &mut self.rng);
                }
                if was_in_use {
                    self.carry_out(Purpose::Other, vec![removal(address)]);
                }
                false
            }
        };
        self.event(Event::Conflict { address, hardware: packet.sender_hardware, defended });
    }
}
