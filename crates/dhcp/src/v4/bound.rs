//! The lease in use: put in place, extended, given up.

use core::net::Ipv4Addr;
use core::time::Duration;

use engine::Instant;

use super::acd::Acd;
use super::acquire::How;
use super::apply::{changes, removal};
use super::engine::Client;
use super::host::Purpose;
use super::lease::{Lease, Route, State};
use super::message::Kind;
use super::output::{Effect, Event, Via};
use super::state::{Binding, Bound, Extending, Phase, Urgent, router};
use super::timers::{MINIMUM_REACQUISITION, reacquire_at, urgent};
use crate::exchange::{Exchange, Sent};

impl Client {
    /// Puts a lease in place of what there was. `acd` is what has already been done to find out
    /// that its address is free.
    pub(super) fn install(&mut self, mut lease: Lease, how: How, acd: Option<Acd>, now: Instant) {
        self.withdraw_link_local();
        lease.leave_out_refused(self.newest_config());
        if self.lease().is_some_and(|old| {
            old.address != lease.address || old.prefix_length != lease.prefix_length
        }) {
            self.drop_binding();
        }
        let old = self.binding.take();
        if let Some(old) = &old
            && router(&old.lease) == router(&lease)
        {
            lease.gateway = old.lease.gateway;
        }
        let extended = matches!(how, How::Extended(_));
        let mut effects = changes(old.as_ref().map(|old| &old.lease), &lease, !extended);

        let purpose = match how {
            How::Obtained => Purpose::Acquire,
            How::Confirmed(via) => Purpose::Confirm(via),
            How::Extended(via) => Purpose::Extend(via),
        };
        let mut binding = match old {
            Some(mut old) => {
                old.lease = lease;
                old
            }
            None => self.new_binding(lease, true),
        };
        binding.in_use = true;
        if !extended || binding.acd.is_none() {
            binding.acd = acd;
            let address = binding.lease.address;
            if acd.is_none() && self.detects_conflicts() {
                binding.acd = Some(Acd::start(address, now, &mut self.rng));
            }
        }
        self.binding = Some(binding);
        self.hint = None;
        self.set_phase(Phase::Bound(Bound { late: None }));
        effects.extend(self.record());
        let batch = self.carry_out(purpose, effects);
        self.await_batch(batch);
        let known = self.lease().is_some_and(|lease| lease.gateway.is_some());
        if !known || !(extended || how == How::Confirmed(Via::SameNetwork)) {
            self.learn_router(now);
        }
    }

    /// Uses the previous lease although no server has confirmed it.
    pub(super) fn use_unconfirmed(&mut self, now: Instant) {
        let Some(binding) = self.binding.as_mut() else {
            return;
        };
        let address = binding.lease.address;
        binding.acd = None;
        if self.detects_conflicts() {
            let acd = Acd::start(address, now, &mut self.rng);
            if let Some(binding) = self.binding.as_mut() {
                binding.acd = Some(acd);
            }
        }
        if !self.must_probe_first(address) {
            self.put_in_use();
        }
    }

    /// Puts the lease held on the interface.
    pub(super) fn put_in_use(&mut self) {
        if let Some(binding) = self.binding.as_mut() {
            binding.in_use = true;
            let effects = changes(None, &binding.lease, true);
            self.carry_out(Purpose::Other, effects);
        }
    }

    pub(super) fn new_binding(&mut self, lease: Lease, in_use: bool) -> Box<Binding> {
        Box::new(Binding {
            id: self.batches.new_binding(),
            lease,
            in_use,
            acd: None,
            restore_at: None,
            restored: (0, None),
        })
    }

    /// Removes everything of the lease from the host and hands it back. Commands that waited for
    /// it to be applied wait for another.
    pub(super) fn drop_binding(&mut self) -> Option<Lease> {
        let binding = self.binding.take()?;
        self.dna = None;
        self.unawait(binding.id);
        self.carry_out(Purpose::Other, removal(&binding.lease));
        Some(binding.lease)
    }

    /// Gives up a lease that is past its term.
    pub(super) fn expire(&mut self, now: Instant) {
        let Some(lease) = self.drop_binding() else {
            return;
        };
        self.event(Event::Expired { address: lease.address, prefix_length: lease.prefix_length });
        self.hint = Some(Box::new(lease));
        if matches!(
            self.phase.state(),
            State::Bound | State::Renewing | State::Rebinding | State::Rebooting
        ) {
            self.init(now, Duration::ZERO);
        }
        self.extension_becomes_acquisition();
    }

    pub(super) fn fire_bound(&mut self, now: Instant) {
        if let Phase::Bound(bound) = &mut self.phase
            && bound.late.is_some_and(|late| late.until_at <= now)
        {
            bound.late = None;
        }
        if self.lease().and_then(|l| l.renew_at).is_some_and(|at| at <= now) {
            self.extend(None, now);
        }
    }

    /// Asks for an extension: the issuing server until T2, any server after it.
    pub(super) fn extend(&mut self, urgent: Option<Urgent>, now: Instant) {
        let extending =
            Box::new(Extending { exchange: Exchange::new(now), retransmit_at: now, urgent });
        let rebind_at = self.lease().and_then(|lease| lease.rebind_at);
        if rebind_at.is_some_and(|at| at <= now) {
            self.set_phase(Phase::Rebinding(extending));
            self.fire_rebinding(now);
        } else {
            self.set_phase(Phase::Renewing(extending));
            self.fire_renewing(now);
        }
    }

    /// A renewal by command: asks now, and quickly again, until `until_at`. Several share one
    /// exchange.
    pub(super) fn extend_urgently(&mut self, until_at: Instant, now: Instant) {
        /// Another command soon after does not make another packet.
        const SOONEST: Duration = Duration::from_secs(1);
        let (Phase::Renewing(extending) | Phase::Rebinding(extending)) = &mut self.phase else {
            let backoff = urgent();
            return self.extend(Some(Urgent { backoff, until_at }), now);
        };
        let last = extending.exchange.last_sent_at().unwrap_or(now);
        let until_at = match &extending.urgent {
            Some(urgent) => urgent.until_at.max(until_at),
            None => until_at,
        };
        let backoff = urgent();
        extending.urgent = Some(Urgent { backoff, until_at });
        extending.retransmit_at = extending.retransmit_at.min((last + SOONEST).max(now));
    }

    pub(super) fn fire_renewing(&mut self, now: Instant) {
        let Some(lease) = self.binding.as_ref().map(|binding| &binding.lease) else {
            return;
        };
        let (address, server) = (lease.address, lease.server);
        let (renew_at, rebind_at) = (lease.renew_at, lease.rebind_at);
        if rebind_at.is_some_and(|at| at <= now) {
            return self.rebind(now);
        }
        let natural = renew_at.is_some_and(|at| at <= now);
        let Some(again) = self.retransmit_extending(rebind_at, natural, now) else {
            return;
        };
        match again {
            Again::Stop => self.set_phase(Phase::Bound(Bound { late: None })),
            Again::Send(sent) => self.send(Kind::Extend { address }, sent, address, Some(server)),
        }
    }

    /// T2 has passed: the exchange goes on with all servers.
    fn rebind(&mut self, now: Instant) {
        let Phase::Renewing(extending) = &mut self.phase else {
            return;
        };
        let extending = Box::new(Extending {
            exchange: extending.exchange.clone(),
            retransmit_at: now,
            urgent: extending.urgent.take(),
        });
        self.set_phase(Phase::Rebinding(extending));
        self.fire_rebinding(now);
    }

    pub(super) fn fire_rebinding(&mut self, now: Instant) {
        let Some(lease) = self.binding.as_ref().map(|binding| &binding.lease) else {
            return;
        };
        let (address, expires_at) = (lease.address, lease.expires_at);
        if let Some(Again::Send(sent)) = self.retransmit_extending(expires_at, true, now) {
            self.send(Kind::Extend { address }, sent, address, None);
        }
    }

    /// The next transmission of an extension, if one is due; `natural` says that the lease's own
    /// times ask for it, whoever waits.
    fn retransmit_extending(
        &mut self,
        limit: Option<Instant>,
        natural: bool,
        now: Instant,
    ) -> Option<Again> {
        let (Phase::Renewing(extending) | Phase::Rebinding(extending)) = &mut self.phase else {
            return None;
        };
        let own_pace =
            |at: Instant| limit.map_or(at + MINIMUM_REACQUISITION, |limit| reacquire_at(at, limit));
        if extending.urgent.as_ref().is_some_and(|urgent| urgent.until_at <= now) {
            extending.urgent = None;
            if !natural {
                return Some(Again::Stop);
            }
            let last = extending.exchange.last_sent_at().unwrap_or(now);
            extending.retransmit_at = own_pace(last).max(now);
        }
        if extending.retransmit_at > now {
            return None;
        }
        let (since, unanswered) = (extending.exchange.started_at(), extending.exchange.tries());
        let sent = extending.exchange.transmit(now, &mut self.rng);
        extending.retransmit_at = match &mut extending.urgent {
            Some(urgent) => now + urgent.backoff.step(&mut self.rng),
            None => own_pace(now),
        };
        if unanswered > 0 {
            self.no_answer(since, unanswered, now);
        }
        Some(Again::Send(sent))
    }

    pub(super) fn on_address_removed(&mut self, address: Ipv4Addr, now: Instant) {
        if self.lease().is_some_and(|lease| lease.address == address) {
            self.something_removed(now);
        } else if self.link_local() == Some(address) {
            self.reapply_link_local();
        }
    }

    pub(super) fn on_route_removed(&mut self, route: Route, now: Instant) {
        if self.lease().is_some_and(|lease| lease.routes.contains(&route)) {
            self.something_removed(now);
        }
    }

    /// Puts back what somebody removed: at once the first time, later the more often it happens,
    /// so that two managers of one interface do not keep each other busy.
    fn something_removed(&mut self, now: Instant) {
        /// After a minute of peace the next removal is a first one again.
        const PEACE: Duration = Duration::from_secs(60);
        let up = self.is_up();
        let Some(binding) = self.binding.as_mut().filter(|binding| binding.in_use) else {
            return;
        };
        if !up || binding.restore_at.is_some() {
            return;
        }
        let (count, last) = binding.restored;
        let count = match last {
            Some(last) if now.duration_since(last) < PEACE => count,
            _ => 0,
        };
        binding.restored.0 = count;
        let delay = match count {
            0 => Duration::ZERO,
            _ => Duration::from_secs(1 << (count - 1).min(5)),
        };
        binding.restore_at = Some(now + delay);
    }

    pub(super) fn fire_restore(&mut self, now: Instant) {
        /// The kernel counts lifetimes in whole seconds and may be early by one.
        const ALMOST_EXPIRED: Duration = Duration::from_secs(2);
        let Some(binding) = self.binding.as_mut() else {
            return;
        };
        binding.restore_at = None;
        let lease = &binding.lease;
        if lease.expires_at.is_some_and(|at| at <= now + ALMOST_EXPIRED) {
            return;
        }
        binding.restored = (binding.restored.0.saturating_add(1), Some(now));
        let address = lease.address;
        // The kernel took the routes along with the address; the rest does not hang on it.
        let effects = changes(None, lease, true)
            .into_iter()
            .filter(|e| matches!(e, Effect::AddAddress(_) | Effect::AddRoute(_)))
            .collect();
        self.carry_out(Purpose::Other, effects);
        self.event(Event::Restored { address });
    }
}

/// What an extension does next.
enum Again {
    Send(Sent),
    /// Nobody waits any more, and T1 is still to come.
    Stop,
}
