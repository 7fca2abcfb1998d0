//! How reservations are put in force: the engine of the thread that changes the host.
//!
//! It knows by which mechanism reservations are enforced (a guard, placeholder sockets, or nothing),
//! which steps of the kernel each effect of the ledger takes, what is kept of an earlier daemon, and
//! what a failed step means. The steps themselves are those of [`Kernel`], so that a kernel made of
//! values shows what is left when a daemon is killed after any of them.

mod guarded;
mod kernel;
mod placeholders;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use api::ports::GuardLevel;
use engine::{Reason, Refused};
use ports::guard::Features;
use ports::{
    Block, Done, Effect, EffectError, EffectResult, Id, Kind, Protocol, Refusal, Reservation,
};

pub(super) use kernel::Kernel;

use super::guard::{Guard, Installation, Unavailable};
use super::store::Unread;
use super::sysctl::{PortSet, ReservedPorts};
use super::view;
use crate::config::GuardChoice;
use crate::refusal::{self, refused};
use crate::shortage;
use placeholders::Placeholders;

/// How reservations are enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Enforcement {
    pub(super) level: GuardLevel,
    /// The control group that the guard is attached to.
    pub(super) cgroup: Option<String>,
    /// Whether the guard concerns every process; `None` without a guard.
    pub(super) covers_all: Option<bool>,
    /// Where the guard is pinned.
    pub(super) pinned: Option<String>,
    /// What cannot be done, a sentence each.
    pub(super) limits: Vec<String>,
    /// The only way strangers can be refused; `None` where each reservation has its own.
    pub(super) refusal: Option<Refusal>,
}

/// A mechanism that was found.
#[derive(Debug)]
pub(super) struct Opened<I: Installation> {
    pub(super) enforcement: Enforcement,
    /// Gives sockets their grants, from whichever thread.
    pub(super) guard: Option<Arc<Guard<I>>>,
}

/// What came of an effect.
#[derive(Debug)]
pub(super) struct Carried<I: Installation> {
    /// The mechanism, if it was found for this effect.
    pub(super) opened: Option<Opened<I>>,
    pub(super) result: EffectResult,
    /// The socket that is in the way.
    pub(super) holder: Option<Box<api::ports::Holder>>,
}

/// Puts reservations in force.
#[derive(Debug)]
pub(super) struct Enforcer<K: Kernel> {
    kernel: K,
    choice: GuardChoice,
    /// What is enforced of these stays; nothing once the ledger knows of them.
    unread: Unread,
    mechanism: Mechanism<K>,
    /// `None` until first needed.
    reserved: Option<ReservedPorts<K::List>>,
    /// The socket that the last scan found.
    holder: Option<Box<api::ports::Holder>>,
}

#[derive(Debug)]
enum Mechanism<K: Kernel> {
    Unknown,
    Guard(Arc<Guard<K::Installation>>),
    Placeholders(Placeholders<K::Placeholder>),
    Nothing,
}

impl<K: Kernel> Enforcer<K> {
    /// Changes nothing yet. `unread` are the reservations whose record cannot be read.
    pub(super) fn new(kernel: K, choice: GuardChoice, unread: Unread) -> Self {
        let (mechanism, reserved, holder) = (Mechanism::Unknown, None, None);
        Self { kernel, choice, unread, mechanism, reserved, holder }
    }

    /// The kernel, for what is asked of it and concerns no reservation.
    pub(super) fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Finds a mechanism, unless there is one.
    pub(super) fn open(&mut self) -> Result<Option<Opened<K::Installation>>, Refused> {
        match self.mechanism {
            Mechanism::Unknown => self.find_mechanism().map(Some),
            _ => Ok(None),
        }
    }

    /// Carries out an effect of the ledger.
    pub(super) fn carry_out(&mut self, effect: &Effect) -> Carried<K::Installation> {
        if matches!(effect, Effect::Enforce(_)) {
            self.drop_lost_guard();
        }
        let opened = match self.needs_mechanism(effect) {
            true => self.open(),
            false => Ok(None),
        };
        self.holder = None;
        let (opened, result) = match opened {
            Ok(opened) => (opened, self.change(effect)),
            Err(refused) => (None, Err(refused.into())),
        };
        Carried { opened, result, holder: self.holder.take() }
    }

    /// Puts our ports back where somebody else's write has removed them from the kernel's list.
    /// Returns whether it had to.
    pub(super) fn merge(&mut self) -> Result<bool, Refused> {
        let merged = self.reserved().and_then(ReservedPorts::merge);
        merged.map_err(|error| refused("ip_local_reserved_ports", &error))
    }

    /// Lets those control groups in that are there now.
    pub(super) fn readmit(&mut self, reservations: &[Reservation]) {
        for reservation in reservations {
            if let Err(error) = self.admit(reservation) {
                let failure = ports::Failure::from(error);
                tracing::warn!("reservation {}: {failure}", reservation.id);
            }
        }
    }

    /// Takes the guard off.
    pub(super) fn detach(&mut self) -> Result<(), Refused> {
        match std::mem::replace(&mut self.mechanism, Mechanism::Unknown) {
            Mechanism::Guard(guard) => match Arc::try_unwrap(guard) {
                Ok(guard) => {
                    self.kernel.detach(guard).map_err(|error| refused("the guard", &error))
                }
                Err(_) => Err(Refused::other("the guard is in use")),
            },
            _ => Ok(()),
        }
    }

    /// Whether an effect takes a mechanism. Nothing is loaded for the sake of removing it.
    fn needs_mechanism(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Enforce(reservations) => !reservations.is_empty() || self.keeps_something(),
            Effect::Insert(_) | Effect::Admit(_) | Effect::Remove(_) => true,
            Effect::Scan { .. } | Effect::Kill { .. } | Effect::Own { .. } => true,
            Effect::Exclude(_)
            | Effect::Survey { .. }
            | Effect::Persist(_)
            | Effect::Forget { .. } => false,
        }
    }

    /// Whether something may be enforced whose record cannot be read.
    fn keeps_something(&self) -> bool {
        !self.unread.is_empty() && self.kernel.is_guard_pinned()
    }

    /// Forgets a guard that somebody removed.
    fn drop_lost_guard(&mut self) {
        if matches!(&self.mechanism, Mechanism::Guard(guard) if !guard.is_whole()) {
            self.mechanism = Mechanism::Unknown;
        }
    }

    /// Finds the strongest mechanism that is chosen and can be had. It stays unknown while descriptors
    /// or memory are short, which the error says.
    fn find_mechanism(&mut self) -> Result<Opened<K::Installation>, Refused> {
        let mut reasons = match self.choice {
            GuardChoice::Auto => match self.kernel.open_guard() {
                Ok(guard) => {
                    let enforcement = Enforcement::by_guard(&guard);
                    let guard = Arc::new(guard);
                    self.mechanism = Mechanism::Guard(guard.clone());
                    return Ok(Opened { enforcement, guard: Some(guard) });
                }
                Err(Unavailable::NotHere(reasons)) => reasons,
                Err(Unavailable::NotNow(reason)) => {
                    return Err(Refused::new(Reason::Shortage, reason));
                }
            },
            // Programs that an earlier daemon left would refuse what nobody knows of any more.
            GuardChoice::Placeholders | GuardChoice::None => {
                match self.kernel.remove_pinned_guard() {
                    Ok(()) => Vec::new(),
                    Err(error) if shortage::is_one(&error) => {
                        return Err(refused("an earlier guard", &error));
                    }
                    Err(error) => vec![format!("an earlier guard could not be removed: {error}")],
                }
            }
        };
        let level = match self.choice {
            GuardChoice::Auto | GuardChoice::Placeholders => {
                self.mechanism = Mechanism::Placeholders(Placeholders::default());
                reasons.extend(placeholders::LIMITS.iter().map(|limit| (*limit).to_owned()));
                GuardLevel::Placeholders
            }
            GuardChoice::None => {
                self.mechanism = Mechanism::Nothing;
                reasons.push("nothing is enforced, as the configuration has it".to_owned());
                GuardLevel::None
            }
        };
        Ok(Opened { enforcement: Enforcement::without_guard(level, reasons), guard: None })
    }

    fn change(&mut self, effect: &Effect) -> EffectResult {
        match effect {
            Effect::Exclude(blocks) => self.exclude(blocks),
            Effect::Insert(reservation) => self.insert(reservation),
            Effect::Admit(reservation) => self.admit(reservation),
            Effect::Remove(reservation) => self.remove(reservation),
            Effect::Scan { id, protocol, block } => self.scan(*id, *protocol, *block),
            Effect::Survey { protocol } => self.survey(*protocol),
            Effect::Kill { protocol, block } => self.kill(*protocol, *block),
            Effect::Persist(reservation) => {
                self.kernel.write_record(reservation)?;
                Ok(Done::Done)
            }
            Effect::Forget { id, kind } => {
                self.kernel.forget_record(*id, *kind)?;
                Ok(Done::Done)
            }
            Effect::Enforce(reservations) => self.enforce(reservations),
            // The event loop has the sockets.
            Effect::Own { .. } => Err(Refused::other("no socket").into()),
        }
    }

    fn exclude(&mut self, blocks: &[Block]) -> EffectResult {
        // The record of what is ours in the list is kept there.
        self.kernel.make_folder()?;
        let wanted: PortSet = blocks.iter().map(|block| block.ports()).collect();
        let is_all_known = self.unread.is_empty();
        let set = self.reserved().and_then(|reserved| match is_all_known {
            true => reserved.set(&wanted),
            // What else there is of ours is for what may be enforced yet.
            false => reserved.set(&wanted.union(&reserved.ours().clone())),
        });
        set.map_err(|error| refused("net.ipv4.ip_local_reserved_ports", &error))?;
        Ok(Done::Done)
    }

    fn insert(&mut self, reservation: &Reservation) -> EffectResult {
        match &mut self.mechanism {
            Mechanism::Guard(guard) => {
                guarded::put(&mut self.kernel, guard, reservation, None)
                    .map_err(weak_or_refused)?;
                Ok(Done::Done)
            }
            Mechanism::Placeholders(placeholders) => {
                let occupy = |protocol, port| self.kernel.occupy(protocol, port);
                let inserted = placeholders.insert(reservation, occupy);
                let Err(EffectError::InUse(port)) = inserted else {
                    return inserted.map(|()| Done::Done);
                };
                let block = Block::new(port.into(), 1).map_err(|_| EffectError::InUse(port))?;
                let found = self.kernel.first_conflict(reservation.protocol, block, None);
                let found = found.ok().flatten().and_then(|(_, holder)| holder);
                self.holder = found.map(|found| Box::new(view::holder(&found)));
                Err(EffectError::InUse(port))
            }
            Mechanism::Nothing | Mechanism::Unknown => Err(nothing()),
        }
    }

    fn admit(&mut self, reservation: &Reservation) -> EffectResult {
        match &self.mechanism {
            Mechanism::Guard(guard) => {
                guarded::admit(&mut self.kernel, guard, reservation).map_err(weak_or_refused)?;
                Ok(Done::Done)
            }
            _ if reservation.admitted == ports::Admitted::default() => Ok(Done::Done),
            Mechanism::Placeholders(_) => Err(placeholders::cannot_admit()),
            Mechanism::Nothing | Mechanism::Unknown => Err(nothing()),
        }
    }

    fn remove(&mut self, reservation: &Reservation) -> EffectResult {
        match &mut self.mechanism {
            Mechanism::Guard(guard) => {
                let (protocol, block) = (reservation.protocol, reservation.block);
                let removed = guard.remove(reservation.id, protocol, block);
                removed.map_err(|error| refused("the guard", &error))?;
            }
            Mechanism::Placeholders(placeholders) => placeholders.remove(reservation.id),
            Mechanism::Nothing | Mechanism::Unknown => {}
        }
        Ok(Done::Done)
    }

    fn scan(&mut self, id: Id, protocol: Protocol, block: Block) -> EffectResult {
        // Without a guard the placeholders found out already.
        let Mechanism::Guard(guard) = &self.mechanism else { return Ok(Done::Done) };
        let found = self.kernel.first_conflict(protocol, block, Some((guard, id)))?;
        let Some((port, holder)) = found else { return Ok(Done::Done) };
        self.holder = holder.map(|found| Box::new(view::holder(&found)));
        Err(EffectError::InUse(port))
    }

    fn survey(&mut self, protocol: Protocol) -> EffectResult {
        let in_use = self.kernel.ports_in_use(protocol)?;
        // What others keep out of automatic selection they have a use for.
        let reserved =
            self.reserved().map_err(|error| refused("ip_local_reserved_ports", &error))?;
        if let Err(error) = reserved.merge() {
            tracing::debug!("ip_local_reserved_ports: {error}");
        }
        Ok(Done::Taken(kernel::blocks(&in_use.union(reserved.foreign()))))
    }

    fn kill(&mut self, protocol: Protocol, block: Block) -> EffectResult {
        if let Mechanism::Placeholders(placeholders) = &mut self.mechanism {
            placeholders.make_way(protocol, block);
        }
        Ok(Done::Killed(self.kernel.kill(protocol, block)?))
    }

    fn enforce(&mut self, reservations: &[Reservation]) -> EffectResult {
        let runtime = reservations.iter().filter(|one| one.kind == Kind::Runtime);
        let all_ended = || {
            let ended = runtime.map(|one| one.id).collect();
            Ok(Done::Enforced { ended, unrecorded: Vec::new() })
        };
        let enforced = match &mut self.mechanism {
            Mechanism::Guard(guard) => {
                guarded::enforce(&mut self.kernel, guard, reservations, &self.unread)
            }
            Mechanism::Placeholders(placeholders) => {
                let occupy = |protocol, port| self.kernel.occupy(protocol, port);
                placeholders.enforce(reservations, occupy)?;
                all_ended()
            }
            Mechanism::Unknown => {
                let removed = self.kernel.remove_pinned_guard();
                removed.map_err(|error| refused("an earlier guard", &error))?;
                all_ended()
            }
            Mechanism::Nothing => all_ended(),
        };
        if enforced.is_ok() {
            self.unread = Unread::default();
        }
        enforced
    }

    fn reserved(&mut self) -> io::Result<&mut ReservedPorts<K::List>> {
        match &mut self.reserved {
            Some(reserved) => Ok(reserved),
            none => Ok(none.insert(ReservedPorts::over(self.kernel.list())?)),
        }
    }
}

impl Enforcement {
    fn by_guard<I: Installation>(guard: &Guard<I>) -> Self {
        let (features, site) = (guard.features(), guard.site());
        let is_full = features == Features::ALL && guard.limits().is_empty();
        Self {
            level: if is_full { GuardLevel::Full } else { GuardLevel::Reduced },
            cgroup: site.cgroup.as_ref().map(|path| path.display().to_string()),
            covers_all: Some(site.covers_all),
            pinned: Some(site.folder.display().to_string()),
            limits: guard.limits().to_vec(),
            // A program of control groups that refuses without an error of its own: EPERM.
            refusal: (!features.contains(Features::REFUSAL)).then_some(Refusal::NotPermitted),
        }
    }

    fn without_guard(level: GuardLevel, limits: Vec<String>) -> Self {
        let refusal = (level == GuardLevel::Placeholders).then_some(Refusal::AddressInUse);
        Self { level, cgroup: None, covers_all: None, pinned: None, limits, refusal }
    }
}

fn weak_or_refused(error: io::Error) -> EffectError {
    match refusal::reason(&error) {
        Reason::Unsupported => EffectError::TooWeak(error.to_string()),
        _ => refused("the guard", &error).into(),
    }
}

fn nothing() -> EffectError {
    EffectError::TooWeak("nothing is enforced".to_owned())
}
