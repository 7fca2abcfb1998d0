//! Effects on the host, in batches: what waits for them is told when the last result is in.

use core::net::Ipv4Addr;
use core::time::Duration;

use engine::{EffectId, Instant, Refused};

use super::engine::Client;
use super::input::EffectResult;
use super::output::{Effect, Event, Failure, Output, Told, Via};
use super::state::Phase;

/// How long to wait after the kernel would not take the address.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The effects under way.
#[derive(Debug, Default)]
pub(super) struct Hands {
    last_id: u64,
    in_flight: Vec<InFlight>,
    batches: Vec<Batch>,
}

/// Names a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchId(u64);

#[derive(Debug)]
struct InFlight {
    effect: EffectId,
    batch: BatchId,
    role: Role,
}

/// What it means that an effect fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
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

/// Effects that belong together.
#[derive(Debug)]
pub(super) struct Batch {
    id: BatchId,
    pub(super) purpose: Purpose,
    /// The binding they apply.
    binding: Option<u64>,
    waiting: usize,
    pub(super) failure: Option<Refused>,
    /// Why its RELEASE did not leave, if it did not.
    untold: Option<String>,
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
    Release { address: Ipv4Addr, server: Ipv4Addr },
    /// Nothing that anybody waits for.
    Other,
}

impl Hands {
    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The batch that gives a lease back, if one is under way.
    pub(super) fn releasing(&self) -> Option<BatchId> {
        let batch =
            self.batches.iter().find(|batch| matches!(batch.purpose, Purpose::Release { .. }))?;
        Some(batch.id)
    }

    /// There is no RELEASE in that batch, because it could not leave.
    pub(super) fn tell_nobody(&mut self, id: BatchId, reason: &Failure) {
        if let Some(batch) = self.batches.iter_mut().find(|batch| batch.id == id) {
            batch.untold = Some(reason.to_string());
        }
    }

    /// The batch that applies that binding for the first time or anew, if one is under way.
    pub(super) fn applying(&self, binding: u64) -> Option<BatchId> {
        let batch = self
            .batches
            .iter()
            .rev()
            .find(|batch| batch.binding == Some(binding) && batch.purpose != Purpose::Other)?;
        Some(batch.id)
    }

    /// Whether the batch applies that binding.
    pub(super) fn is_for(&self, id: BatchId, binding: u64) -> bool {
        self.batches.iter().any(|batch| batch.id == id && batch.binding == Some(binding))
    }
}

impl Batch {
    /// What became of its RELEASE.
    pub(super) fn told(&self) -> Told {
        match &self.untold {
            None => Told::Sent,
            Some(reason) => Told::NotSent { reason: reason.clone() },
        }
    }
}

impl Client {
    /// Orders effects. What waits for them is told by [`Client::finish`].
    pub(super) fn carry_out(&mut self, purpose: Purpose, effects: Vec<Effect>) -> BatchId {
        let id = BatchId(self.hands.new_id());
        let anew = matches!(purpose, Purpose::Acquire | Purpose::Confirm(_));
        let applies = anew || matches!(purpose, Purpose::Extend(_));
        self.hands.batches.push(Batch {
            id,
            purpose,
            binding: self.binding.as_ref().filter(|_| applies).map(|b| b.id),
            waiting: effects.len(),
            failure: None,
            untold: None,
        });
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
            let effect_id = EffectId(self.hands.new_id());
            self.hands.in_flight.push(InFlight { effect: effect_id, batch: id, role });
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
        let position = self.hands.in_flight.iter().position(|f| f.effect == id);
        let Some(position) = position else {
            return;
        };
        let InFlight { batch, role, .. } = self.hands.in_flight.swap_remove(position);
        let Some(position) = self.hands.batches.iter().position(|b| b.id == batch) else {
            return;
        };
        let mut lost = None;
        if let Some(batch) = self.hands.batches.get_mut(position) {
            batch.waiting = batch.waiting.saturating_sub(1);
            match (result, role) {
                (Ok(()), _) => {}
                (Err(refused), Role::Told) => batch.untold = Some(refused.text),
                (Err(refused), Role::Optional(what)) => {
                    self.event(Event::EffectFailed { reason: format!("{what}: {refused}") });
                }
                (Err(refused), Role::Address | Role::Lifetimes | Role::Persist) => {
                    let what =
                        if role == Role::Persist { "record of the lease" } else { "address" };
                    let reason = format!("{what}: {refused}");
                    let failure = Refused::new(refused.reason, reason.clone());
                    batch.failure.get_or_insert(failure);
                    if role == Role::Address {
                        lost = batch.binding;
                    }
                    self.event(Event::EffectFailed { reason });
                }
            }
        }
        let done = self.hands.batches.get(position).is_some_and(|b| b.waiting == 0);
        if lost.is_some() && lost == self.binding.as_ref().map(|binding| binding.id) {
            self.lose_address(batch, now);
        }
        if done {
            let position = self.hands.batches.iter().position(|b| b.id == batch);
            if let Some(position) = position {
                let batch = self.hands.batches.remove(position);
                self.finish(&batch);
            }
        }
        self.hands.shrink();
    }

    /// The kernel would not take the address: nothing can be leased for now.
    fn lose_address(&mut self, batch: BatchId, now: Instant) {
        let refused = self.hands.batches.iter().find(|b| b.id == batch);
        if let Some(refused) = refused.and_then(|batch| batch.failure.clone()) {
            self.fail_batch(batch, &Failure::Host(refused));
        }
        self.hint = self.drop_binding().map(Box::new);
        if !matches!(self.phase, Phase::Stopped | Phase::Released) {
            self.init(now, RETRY_AFTER);
        }
    }

    fn finish(&mut self, batch: &Batch) {
        let current = self.binding.as_ref().filter(|b| Some(b.id) == batch.binding);
        let lease = current.map(|binding| Box::new(binding.lease.clone()));
        match (batch.purpose, lease) {
            (Purpose::Acquire, Some(lease)) => self.event(Event::Acquired(lease)),
            (Purpose::Confirm(via) | Purpose::Extend(via), Some(lease)) => {
                self.event(Event::Renewed { lease, via });
            }
            (Purpose::Release { address, server }, _) => {
                let told = batch.told();
                self.event(Event::Released { address, server, told });
            }
            _ => {}
        }
        self.settle(batch.id, batch);
    }
}

impl Hands {
    fn shrink(&mut self) {
        if self.in_flight.is_empty() && self.batches.is_empty() {
            self.in_flight = Vec::new();
            self.batches = Vec::new();
        }
    }
}
