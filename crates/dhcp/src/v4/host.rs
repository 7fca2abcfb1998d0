//! Effects on the host, in batches: what waits for them is told when the last result is in.

use core::net::Ipv4Addr;
use core::time::Duration;

use engine::{EffectId, Instant, Refused};

use super::engine::Client;
use super::input::EffectResult;
use super::output::{Effect, Event, Failure, Output, Told, Via};
use super::state::Phase;
use crate::batches::{self, BatchId, BindingId};

/// How long to wait after the kernel would not take the address.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The effects under way.
pub(super) type Batches = batches::Batches<Purpose, Role>;
pub(super) type Batch = batches::Batch<Purpose>;

/// What it means that an effect fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// There is no lease without it.
    Address,
    /// The command fails; the address keeps the lifetimes it had.
    Lifetimes,
    /// The command fails, the lease does not.
    Persist,
    /// The client goes on without it.
    Optional(&'static str),
    /// Whether the server was told belongs to how the command ends well.
    Told,
}

/// What a batch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new lease.
    Acquire,
    /// The previous lease, confirmed.
    Confirm(Via),
    /// The lease in use, extended.
    Extend(Via),
    /// A lease given back.
    Release { address: Ipv4Addr, prefix_length: u8, server: Ipv4Addr },
    /// Nothing that anybody waits for.
    Other,
}

impl Batches {
    /// The batch that gives a lease back, if one is under way.
    pub(super) fn releasing(&self) -> Option<BatchId> {
        let gives_back = |batch: &&Batch| matches!(batch.purpose(), Purpose::Release { .. });
        self.iter().find(gives_back).map(Batch::id)
    }

    /// The batch that applies that binding for the first time or anew, if one is under way.
    pub(super) fn applying(&self, binding: BindingId) -> Option<BatchId> {
        let applies =
            |batch: &&Batch| batch.binding() == Some(binding) && *batch.purpose() != Purpose::Other;
        self.iter().rev().find(applies).map(Batch::id)
    }

    /// Whether the batch applies that binding.
    pub(super) fn is_for(&self, id: BatchId, binding: BindingId) -> bool {
        self.get(id).is_some_and(|batch| batch.binding() == Some(binding))
    }
}

impl Batch {
    /// What became of its RELEASE.
    pub(super) fn told(&self) -> Told {
        match self.not_sent() {
            None => Told::Sent,
            Some(reason) => Told::NotSent { reason: reason.to_owned() },
        }
    }
}

impl Client {
    /// Orders effects. What waits for them is told by [`Client::finish`].
    pub(super) fn carry_out(&mut self, purpose: Purpose, effects: Vec<Effect>) -> BatchId {
        let anew = matches!(purpose, Purpose::Acquire | Purpose::Confirm(_));
        let applies = anew || matches!(purpose, Purpose::Extend(_));
        let binding = self.binding.as_ref().filter(|_| applies).map(|binding| binding.id);
        let id = self.batches.begin(purpose, binding);
        for effect in effects {
            let role = match &effect {
                Effect::AddAddress(_) if anew => Role::Address,
                Effect::AddAddress(_) if applies => Role::Lifetimes,
                Effect::Persist(_) => Role::Persist,
                Effect::AddAddress(_) => Role::Optional("address"),
                Effect::RemoveAddress { .. } => Role::Optional("removal of the address"),
                Effect::AddRoute(_) => Role::Optional("route"),
                Effect::RemoveRoute(_) => Role::Optional("removal of a route"),
                Effect::SetMtu(_) => Role::Optional("mtu"),
                Effect::SetResolver(_) => Role::Optional("name servers"),
                Effect::SetHostName(_) => Role::Optional("host name"),
                Effect::Release(_) => Role::Told,
            };
            let effect_id = self.batches.add(id, role);
            self.output(Output::Effect { id: effect_id, effect });
        }
        id
    }

    /// Puts what is held now on disk; nobody waits for it.
    pub(super) fn persist_quietly(&mut self) {
        if let Some(effect) = self.record() {
            self.carry_out(Purpose::Other, vec![effect]);
        }
    }

    pub(super) fn on_effect(&mut self, id: EffectId, result: EffectResult, now: Instant) {
        let Some((batch, role)) = self.batches.end(id) else {
            return;
        };
        match (result, role) {
            (Ok(()), _) => {}
            (Err(refused), Role::Told) => {
                if let Some(batch) = self.batches.get_mut(batch) {
                    batch.note_not_sent(refused.text);
                }
            }
            (Err(refused), Role::Optional(what)) => {
                self.event(Event::EffectFailed { reason: format!("{what}: {refused}") });
            }
            (Err(refused), Role::Address | Role::Lifetimes | Role::Persist) => {
                self.on_failure(batch, role, &refused, now);
            }
        }
        if let Some(batch) = self.batches.take_finished(batch) {
            self.finish(&batch);
        }
    }

    /// Something that the batch cannot do without was not done.
    fn on_failure(&mut self, batch: BatchId, role: Role, refused: &Refused, now: Instant) {
        let what = if role == Role::Persist { "record of the lease" } else { "address" };
        let reason = format!("{what}: {refused}");
        self.event(Event::EffectFailed { reason: reason.clone() });
        let Some(failed) = self.batches.get_mut(batch) else {
            return;
        };
        failed.fail(Refused::new(refused.reason, reason));
        let lost = failed.binding().filter(|_| role == Role::Address);
        if lost.is_some() && lost == self.binding.as_ref().map(|binding| binding.id) {
            self.lose_address(batch, now);
        }
    }

    /// The kernel would not take the address: nothing can be leased for now.
    fn lose_address(&mut self, batch: BatchId, now: Instant) {
        let refused = self.batches.get(batch).and_then(Batch::failure).cloned();
        if let Some(refused) = refused {
            self.fail_batch(batch, &Failure::Host(refused));
        }
        self.hint = self.drop_binding().map(Box::new);
        if !matches!(self.phase, Phase::Stopped | Phase::Released) {
            self.init(now, RETRY_AFTER);
        }
    }

    fn finish(&mut self, batch: &Batch) {
        let current = self.binding.as_ref().filter(|b| Some(b.id) == batch.binding());
        let lease = current.map(|binding| Box::new(binding.lease.clone()));
        match (*batch.purpose(), lease) {
            (Purpose::Acquire, Some(lease)) => self.event(Event::Acquired(lease)),
            (Purpose::Confirm(via) | Purpose::Extend(via), Some(lease)) => {
                self.event(Event::Renewed { lease, via });
            }
            (Purpose::Release { address, prefix_length, server }, _) => {
                let told = batch.told();
                self.event(Event::Released { address, prefix_length, server, told });
            }
            _ => {}
        }
        self.settle(batch);
    }
}
