//! Conflict detection for the leased address: probing, defence, giving up.

use core::net::Ipv4Addr;
use core::time::Duration;

use engine::Instant;
use wire::arp;

use super::acd::{Acd, Due, MAX_CONFLICTS, RATE_LIMIT_INTERVAL, Verdict};
use super::acquire::How;
use super::commands::Wait;
use super::config::ConflictDetection;
use super::engine::Client;
use super::lease::Lease;
use super::message::Kind;
use super::output::{Event, Failure};
use super::state::{Binding, Init, Phase, Probing};
use crate::exchange::Exchange;

/// RFC 2131 3.1 (5): "The client SHOULD wait a minimum of ten seconds before restarting the
/// configuration process to avoid excessive network traffic in case of looping."
const DECLINE_WAIT: Duration = Duration::from_secs(10);

impl Client {
    /// Whether the address has to be probed for before it is used: strict detection, and it is not
    /// in use yet.
    pub(super) fn must_probe_first(&self, address: Ipv4Addr) -> bool {
        let used = |binding: &Binding| binding.in_use && binding.lease.address == address;
        let strict = self.config.conflict_detection == ConflictDetection::Strict;
        strict && self.detects_conflicts() && !self.binding.as_deref().is_some_and(used)
    }

    /// Strict detection: the address is probed for before it is used.
    pub(super) fn probe_first(&mut self, lease: Lease, now: Instant) {
        let acd = Acd::start(lease.address, now, &mut self.rng);
        self.set_phase(Phase::Probing(Box::new(Probing { lease, acd })));
    }

    pub(super) fn fire_probing(&mut self, now: Instant) {
        let Phase::Probing(probing) = &mut self.phase else {
            return;
        };
        if probing.lease.expires_at.is_some_and(|at| at <= now) {
            self.hint = Some(Box::new(probing.lease.clone()));
            return self.init(now, Duration::ZERO);
        }
        match probing.acd.fire(now, &mut self.rng) {
            Some(Due::Clear) => {
                let (lease, acd) = (probing.lease.clone(), probing.acd);
                self.conflicts = 0;
                self.install(lease, How::Obtained, Some(acd), now);
            }
            Some(Due::Probe) => {
                let address = probing.acd.address();
                self.probe(address);
            }
            Some(Due::Announce) | None => {}
        }
    }

    /// Probes and announces the address in use.
    pub(super) fn fire_conflict_detection(&mut self, now: Instant) {
        let Some(binding) = &mut self.binding else {
            return;
        };
        let (Some(acd), in_use) = (&mut binding.acd, binding.in_use) else {
            return;
        };
        let due = acd.fire(now, &mut self.rng);
        let address = acd.address();
        match due {
            Some(Due::Probe) => self.probe(address),
            Some(Due::Clear) => {
                self.conflicts = 0;
                // The previous lease, that no server has confirmed.
                if !in_use {
                    self.put_in_use();
                }
            }
            Some(Due::Announce) => self.announce(address),
            None => {}
        }
    }

    pub(super) fn on_arp(&mut self, packet: &arp::Packet, now: Instant) {
        let Some(link) = self.link.filter(|link| link.up) else {
            return;
        };
        self.router_seen(packet, now);
        self.link_local_seen(packet, now);
        let own = link.hardware;
        if let Phase::Probing(probing) = &mut self.phase {
            if probing.acd.judge(packet, &own, false, now) == Verdict::Conflict {
                let lease = probing.lease.clone();
                self.decline(lease, packet, now);
            }
            return;
        }
        let Some(binding) = &mut self.binding else {
            return;
        };
        let (Some(acd), in_use) = (&mut binding.acd, binding.in_use) else {
            return;
        };
        match acd.judge(packet, &own, in_use, now) {
            Verdict::Harmless => {}
            Verdict::Defend => {
                let address = acd.address();
                self.announce(address);
                self.event(Event::Conflict {
                    address,
                    hardware: packet.sender_hardware,
                    defended: true,
                });
            }
            Verdict::Conflict => {
                if let Some(lease) = self.drop_binding() {
                    self.decline(lease, packet, now);
                }
            }
        }
    }

    /// Another host has the address: tells the server and starts over, later.
    fn decline(&mut self, lease: Lease, packet: &arp::Packet, now: Instant) {
        let (address, server) = (lease.address, lease.server);
        let hardware = packet.sender_hardware;
        let sent = Exchange::new(now).transmit(now, &mut self.rng);
        let source = Ipv4Addr::UNSPECIFIED;
        self.send(Kind::Decline { address, server }, sent, source, None);
        self.event(Event::Conflict { address, hardware, defended: false });
        if self.lease().is_some_and(|lease| lease.address == address) {
            self.drop_binding();
        }
        let failure = Failure::Conflict { address, hardware };
        self.fail_commands(Wait::Extension, &failure);
        self.obstacle(&failure);
        self.hint = None;
        self.conflicts = self.conflicts.saturating_add(1);
        let wait = match self.conflicts {
            MAX_CONFLICTS.. => RATE_LIMIT_INTERVAL,
            _ => DECLINE_WAIT,
        };
        self.set_phase(Phase::Init(Init {
            start_at: now + wait,
            obstacle: Some(Box::new(failure)),
            soonest_at: None,
        }));
        self.persist_quietly();
    }

    pub(super) fn probe(&mut self, address: Ipv4Addr) {
        if let Some(link) = self.link {
            let packet = arp::Packet::probe(link.hardware_type, link.hardware, address);
            self.send_arp(packet, None);
        }
    }

    pub(super) fn announce(&mut self, address: Ipv4Addr) {
        if let Some(link) = self.link {
            let packet = arp::Packet::announcement(link.hardware_type, link.hardware, address);
            self.send_arp(packet, None);
        }
    }
}
