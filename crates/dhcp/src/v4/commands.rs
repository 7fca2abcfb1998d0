//! Commands: what they set in motion, and their one reply.

use core::net::Ipv4Addr;

use engine::{CommandId, Instant, Reason, Refused};

use super::apply::removal;
use super::engine::Client;
use super::host::{Batch, Purpose};
use super::input::Command;
use super::message::Kind;
use super::output::{Effect, Failure, Outcome, Output};
use super::state::Phase;
use crate::batches::{BatchId, BindingId};
use crate::commands;
use crate::exchange::Exchange;

/// The commands that have not been answered.
pub(super) type Commands = commands::Commands<Command, Wait, Failure>;
pub(super) type Pending = commands::Pending<Command, Wait, Failure>;

/// What a command waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Any lease.
    Lease,
    /// An answer about the lease there is.
    Extension,
    /// Effects.
    Batch(BatchId),
    /// The answer to INFORM.
    Inform,
}

impl Client {
    pub(super) fn on_command(
        &mut self,
        id: CommandId,
        command: Command,
        deadline: Instant,
        now: Instant,
    ) {
        let pending = Pending::new((id, command), Wait::Lease, now, deadline, self.asked);
        match command {
            Command::Acquire => self.acquire(pending, now),
            Command::Renew => self.renew(pending, now),
            Command::Release => self.release(pending, now),
            Command::Inform { address } => self.inform(pending, address, now),
            Command::Stop { release: true } => self.release(pending, now),
            Command::Stop { release: false } => self.stop(pending),
        }
    }

    /// The caller is gone; what it set in motion goes on.
    pub(super) fn on_cancel(&mut self, id: CommandId) {
        if self.commands.take_first(|command| command.id() == id).is_some() {
            self.reply(id, Err(Failure::Cancelled));
        }
        self.end_informs();
    }

    fn acquire(&mut self, mut pending: Pending, now: Instant) {
        self.wanted = true;
        let settled = !matches!(self.phase, Phase::Rebooting(_) | Phase::InitReboot);
        if let Some(binding) = self.binding.as_ref().filter(|b| b.in_use && settled && self.is_up())
        {
            match self.batches.applying(binding.id) {
                Some(batch) => {
                    pending.wait_for(Wait::Batch(batch));
                    self.commands.push(pending);
                }
                None => {
                    let lease = Box::new(binding.lease.clone());
                    let already = true;
                    self.reply(pending.id(), Ok(Outcome::Acquired { lease, already }));
                }
            }
            return;
        }
        self.want_lease(pending, now);
    }

    fn renew(&mut self, mut pending: Pending, now: Instant) {
        self.wanted = true;
        let Some(binding) = self.binding.as_ref().filter(|_| self.is_up()) else {
            return self.want_lease(pending, now);
        };
        if let Some(batch) = self.batches.applying(binding.id) {
            // Its terms are as fresh as they can be.
            pending.wait_for(Wait::Batch(batch));
            self.commands.push(pending);
        } else if self.state().has_lease() {
            let deadline = pending.deadline();
            pending.wait_for(Wait::Extension);
            self.commands.push(pending);
            self.extend_urgently(deadline, now);
        } else if matches!(self.phase, Phase::Rebooting(_)) {
            pending.wait_for(Wait::Extension);
            self.commands.push(pending);
        } else {
            self.want_lease(pending, now);
        }
    }

    fn want_lease(&mut self, mut pending: Pending, now: Instant) {
        if self.link.is_some_and(|link| !link.up) {
            // It is taken up when the link is.
            if matches!(self.phase, Phase::Released) {
                self.set_phase(Phase::Stopped);
            }
            return self.reply(pending.id(), Err(Failure::LinkDown));
        }
        if let Phase::Ipv6Only(ipv6_only) = &self.phase {
            let wait = ipv6_only.until_at - now;
            return self.reply(pending.id(), Err(Failure::Ipv6Only { wait }));
        }
        if let Phase::Init(init) = &self.phase {
            pending.set_obstacle(init.obstacle.clone());
        }
        self.commands.push(pending);
        self.start_if_idle(now);
        self.hurry(now);
    }

    fn start_if_idle(&mut self, now: Instant) {
        match self.phase {
            Phase::Stopped | Phase::Released if self.is_up() => self.begin(now),
            Phase::Released => self.set_phase(Phase::Stopped),
            _ => {}
        }
    }

    fn release(&mut self, mut pending: Pending, now: Instant) {
        self.wanted = false;
        let stop = matches!(pending.command(), Command::Stop { .. });
        self.cancel_others(stop);
        self.withdraw_link_local();
        let nothing_since = self.binding.is_none() && !matches!(self.phase, Phase::Probing(_));
        if let Some(batch) = self.batches.releasing().filter(|_| nothing_since) {
            self.rest(stop);
            pending.wait_for(Wait::Batch(batch));
            return self.commands.push(pending);
        }
        let probed = match &self.phase {
            Phase::Probing(probing) => Some(probing.lease.clone()),
            _ => None,
        };
        let applied = self.binding.take();
        let in_use = applied.is_some();
        self.dna = None;
        let Some(lease) = applied.map(|binding| binding.lease).or(probed) else {
            self.rest(stop);
            self.persist_quietly();
            let result = if stop { Ok(Outcome::Stopped) } else { Err(Failure::NotLeased) };
            return self.reply(pending.id(), result);
        };

        let (address, prefix_length, server) = (lease.address, lease.prefix_length, lease.server);
        let sent = Exchange::new(now).transmit(now, &mut self.rng);
        let kind = Kind::Release { address, server };
        let release = match in_use {
            true => self.transmit(kind, sent, address, Some(server)),
            // Not on the interface yet, so it cannot be the source of a unicast packet.
            false => self.transmit(kind, sent, Ipv4Addr::UNSPECIFIED, None),
        };
        let mut effects: Vec<Effect> = release.into_iter().map(Effect::Release).collect();
        if in_use {
            effects.extend(removal(&lease));
        }
        self.hint = Some(Box::new(lease));
        self.rest(stop);
        effects.extend(self.record());
        let batch = self.carry_out(Purpose::Release { address, prefix_length, server }, effects);
        pending.wait_for(Wait::Batch(batch));
        if !self.is_up() {
            if let Some(batch) = self.batches.get_mut(batch) {
                batch.note_not_sent(Failure::LinkDown.to_string());
            }
            pending.set_obstacle(Some(Box::new(Failure::LinkDown)));
        }
        self.commands.push(pending);
    }

    /// Ends in the state that a release or a stop leaves behind.
    fn rest(&mut self, stop: bool) {
        if stop {
            self.set_phase(Phase::Stopped);
        } else {
            self.set_phase(Phase::Released);
        }
    }

    /// Leaves everything as it is, for the next daemon to find.
    fn stop(&mut self, pending: Pending) {
        self.wanted = false;
        self.cancel_others(true);
        self.withdraw_link_local();
        self.dna = None;
        if let Some(binding) = self.binding.take() {
            self.hint = Some(Box::new(binding.lease));
        }
        if !matches!(self.phase, Phase::Released) {
            self.set_phase(Phase::Stopped);
        }
        self.reply(pending.id(), Ok(Outcome::Stopped));
    }

    /// Cancels what a release makes moot; `all` cancels the rest too.
    fn cancel_others(&mut self, all: bool) {
        let is_moot = |pending: &Pending| {
            all || matches!(pending.command(), Command::Acquire | Command::Renew)
        };
        while let Some(command) = self.commands.take_first(is_moot) {
            self.reply(command.id(), Err(Failure::Cancelled));
        }
        self.end_informs();
    }

    pub(super) fn reply(&mut self, id: CommandId, result: Result<Outcome, Failure>) {
        self.output(Output::Reply { id, result });
    }

    /// Answers the commands whose deadline has come.
    pub(super) fn fire_deadlines(&mut self, now: Instant) {
        while let Some(command) = self.commands.take_first(|command| command.deadline() <= now) {
            let (id, wait) = (command.id(), command.wait());
            let waited = now - command.started_at();
            let tries = command.tries(self.asked);
            let failure = match (wait, command.into_obstacle()) {
                (_, Some(obstacle)) => obstacle,
                (Wait::Batch(_), None) => Failure::Host(Refused::new(
                    Reason::TimedOut,
                    format!("not applied within {:.1} s", waited.as_secs_f64()),
                )),
                _ if self.link.is_none() => Failure::LinkDown,
                _ => Failure::NoAnswer { waited, tries },
            };
            self.reply(id, Err(failure));
        }
        self.end_informs();
    }

    /// Fails the commands that wait for that.
    pub(super) fn fail_commands(&mut self, wait: Wait, failure: &Failure) {
        while let Some(command) = self.commands.take_first(|command| command.wait() == wait) {
            self.reply(command.id(), Err(failure.clone()));
        }
    }

    pub(super) fn fail_batch(&mut self, batch: BatchId, failure: &Failure) {
        self.fail_commands(Wait::Batch(batch), failure);
    }

    pub(super) fn fail_for_link_down(&mut self) {
        for wait in [Wait::Lease, Wait::Extension, Wait::Inform] {
            self.fail_commands(wait, &Failure::LinkDown);
        }
    }

    /// Notes what stands between the commands and their lease.
    pub(super) fn obstacle(&mut self, failure: &Failure) {
        for command in self.commands.iter_mut() {
            if matches!(command.wait(), Wait::Lease | Wait::Extension) {
                command.set_obstacle(Some(Box::new(failure.clone())));
            }
        }
    }

    /// The lease they asked to extend is gone: any other will do.
    pub(super) fn extension_becomes_acquisition(&mut self) {
        for command in self.commands.iter_mut() {
            if command.wait() == Wait::Extension {
                command.wait_for(Wait::Lease);
            }
        }
    }

    /// A lease was granted; who waits for one now waits for it to be applied.
    pub(super) fn await_batch(&mut self, batch: BatchId) {
        let binding = self.binding.as_ref().map(|binding| binding.id);
        for command in self.commands.iter_mut() {
            let superseded = match (command.wait(), binding) {
                (Wait::Batch(old), Some(binding)) => self.batches.is_for(old, binding),
                _ => false,
            };
            if superseded || matches!(command.wait(), Wait::Lease | Wait::Extension) {
                command.wait_for(Wait::Batch(batch));
            }
        }
    }

    /// That binding will never be applied; who waits for it waits for another lease.
    pub(super) fn unawait(&mut self, binding: BindingId) {
        for command in self.commands.iter_mut() {
            if let Wait::Batch(batch) = command.wait()
                && self.batches.is_for(batch, binding)
            {
                command.wait_for(Wait::Lease);
            }
        }
    }

    /// Answers those who waited for a batch.
    pub(super) fn settle(&mut self, batch: &Batch) {
        let wait = Wait::Batch(batch.id());
        while let Some(command) = self.commands.take_first(|command| command.wait() == wait) {
            let (id, asked) = (command.id(), command.command());
            let lease = self.lease().cloned().map(Box::new);
            let result = match (batch.failure(), command.into_obstacle()) {
                (Some(refused), _) => Err(Failure::Host(refused.clone())),
                (None, Some(obstacle @ Failure::LinkDown)) => Err(obstacle),
                (None, _) => match (*batch.purpose(), asked, lease) {
                    (_, Command::Stop { .. }, _) => Ok(Outcome::Stopped),
                    (Purpose::Release { address, prefix_length, server }, ..) => {
                        Ok(Outcome::Released { address, prefix_length, server, told: batch.told() })
                    }
                    (Purpose::Confirm(via) | Purpose::Extend(via), Command::Renew, Some(lease)) => {
                        Ok(Outcome::Renewed { lease, via })
                    }
                    (_, _, Some(lease)) => Ok(Outcome::Acquired { lease, already: false }),
                    (_, _, None) => Err(Failure::Cancelled),
                },
            };
            self.reply(id, result);
        }
    }
}
