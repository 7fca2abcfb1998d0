//! How reservations are enforced, and everything else a reservation takes of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use api::ports::GuardLevel;
use engine::{Reason, Refused};
use ports::guard::{Features, Row};
use ports::{
    Admitted, Block, Done, Effect, EffectError, EffectResult, Id, Kind, Owner, Protocol, Refusal,
    Reservation, Terms, Unrecorded,
};

use super::cgroups::{Cgroups, Comings};
use super::guard::{Guard, Places, Unavailable};
use super::killer::Killer;
use super::placeholder::Placeholders;
use super::scan::Scanner;
use super::store::{Records, Unread};
use super::sysctl::{PortSet, ReservedPorts};
use super::view;
use crate::config::GuardChoice;
use crate::refusal::{self, refused, refused_by_kernel};
use crate::shortage;

/// How long closing the sockets of a block is waited for; nothing else is changed meanwhile.
const KILL_WITHIN: Duration = Duration::from_secs(5);

/// How reservations are enforced.
#[derive(Debug)]
pub(super) struct Enforcing {
    pub(super) level: GuardLevel,
    /// Where the guard is attached.
    pub(super) cgroup: Option<String>,
    pub(super) covers_all: Option<bool>,
    pub(super) pinned: Option<String>,
    /// What cannot be done, a sentence each.
    pub(super) limits: Vec<String>,
    /// The only way strangers can be refused; `None` where each reservation has its own.
    pub(super) refusal: Option<Refusal>,
    /// Gives sockets their grants, from whichever thread.
    pub(super) guard: Option<Arc<Guard>>,
}

/// What changes the host.
#[derive(Debug)]
pub(super) struct Hands {
    choice: GuardChoice,
    /// Or why there are none.
    places: Result<Places, Vec<String>>,
    /// Cookie of the network namespace.
    network: u64,
    records: Records,
    /// What is enforced of these stays; nothing once the ledger knows of them.
    unread: Unread,
    means: Means,
    /// `None` until first needed, as everything is.
    reserved: Option<ReservedPorts>,
    scanner: Option<Scanner>,
    killer: Killer,
    /// `None` where there are no control groups.
    cgroups: Option<Cgroups>,
}

#[derive(Debug)]
enum Means {
    Unknown,
    Guard(Arc<Guard>),
    Placeholders(Placeholders),
    Nothing,
}

impl Hands {
    pub(super) fn new(
        choice: GuardChoice,
        places: Result<Places, Vec<String>>,
        network: u64,
        records: Records,
        unread: Unread,
    ) -> io::Result<Self> {
        let cgroups = places.as_ref().ok().map(|places| Cgroups::new(places.cgroup_root()?));
        Ok(Self {
            choice,
            network,
            records,
            unread,
            means: Means::Unknown,
            reserved: None,
            scanner: None,
            killer: Killer::default(),
            cgroups: cgroups.transpose()?,
            places,
        })
    }

    /// Whether it is known how reservations are enforced.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.means, Means::Unknown)
    }

    /// Whether an effect takes the means to enforce. Nothing is loaded for the sake of removing it.
    pub(super) fn is_needed_for(&self, effect: &Effect) -> bool {
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
        let is_pinned = |places| Guard::is_pinned(places, self.network);
        !self.unread.is_empty() && self.places.as_ref().is_ok_and(is_pinned)
    }

    /// Lets go of a guard that somebody removed.
    pub(super) fn let_go_of_what_is_lost(&mut self) {
        if matches!(&self.means, Means::Guard(guard) if !guard.is_whole()) {
            self.means = Means::Unknown;
        }
    }

    /// Finds out how reservations can be enforced, and gets ready to. It stays unknown while
    /// something is short that this takes, which the error tells.
    pub(super) fn open(&mut self) -> Result<Enforcing, Refused> {
        let mut reasons = match (&self.places, self.choice) {
            (Ok(places), GuardChoice::Auto) => match Guard::open(places, self.network) {
                Ok(guard) => {
                    let guard = Arc::new(guard);
                    let enforcing = Enforcing::by_guard(&guard, places);
                    self.means = Means::Guard(guard);
                    return Ok(enforcing);
                }
                Err(Unavailable::NotHere(reasons)) => reasons,
                Err(Unavailable::NotNow(reason)) => {
                    return Err(Refused::new(Reason::Shortage, reason));
                }
            },
            (Err(reasons), GuardChoice::Auto) => reasons.clone(),
            // Programs that an earlier daemon left would refuse what nobody knows of any more.
            (Ok(places), _) => match Guard::remove_pinned(places, self.network) {
                Ok(()) => Vec::new(),
                Err(error) if shortage::is_one(&error) => {
                    return Err(refused("an earlier guard", &error));
                }
                Err(error) => vec![format!("an earlier guard could not be removed: {error}")],
            },
            (Err(_), _) => Vec::new(),
        };
        let level = match self.choice {
            GuardChoice::Auto | GuardChoice::Placeholders => {
                self.means = Means::Placeholders(Placeholders::default());
                reasons.extend(Placeholders::LIMITS.iter().map(|limit| (*limit).to_owned()));
                GuardLevel::Placeholders
            }
            GuardChoice::None => {
                self.means = Means::Nothing;
                reasons.push("nothing is enforced, as the configuration has it".to_owned());
                GuardLevel::None
            }
        };
        Ok(Enforcing::weakly(level, reasons))
    }

    /// Carries out an effect. A socket that is in the way is handed out as well.
    pub(super) fn carry_out(
        &mut self,
        effect: &Effect,
        holder: &mut Option<Box<api::ports::Holder>>,
    ) -> EffectResult {
        match effect {
            Effect::Exclude(blocks) => self.exclude(blocks),
            Effect::Insert(reservation) => self.insert(reservation, holder),
            Effect::Admit(reservation) => self.admit(reservation),
            Effect::Remove(reservation) => self.remove(reservation),
            Effect::Scan { id, protocol, block } => self.scan(*id, *protocol, *block, holder),
            Effect::Survey { protocol } => self.survey(*protocol),
            Effect::Kill { protocol, block } => self.kill(*protocol, *block),
            Effect::Persist(reservation) => done(self.records.write(reservation)),
            Effect::Forget { id, kind } => done(self.records.forget(*id, *kind)),
            Effect::Enforce(reservations) => self.enforce(reservations),
            // The event loop has the sockets.
            Effect::Own { .. } => Err(Refused::other("no socket").into()),
        }
    }

    /// Puts our ports back where somebody else's write has removed them.
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

    /// Notices control groups that come and go, once that matters.
    pub(super) fn comings(&self) -> Option<Arc<Comings>> {
        self.cgroups.as_ref()?.comings()
    }

    /// The paths of control groups by number; `None` for those that are gone.
    pub(super) fn paths(&mut self, ids: &[u64]) -> Vec<Option<String>> {
        match &mut self.cgroups {
            Some(cgroups) => cgroups.paths(ids),
            None => vec![None; ids.len()],
        }
    }

    /// Takes the guard off.
    pub(super) fn detach(&mut self) -> Result<(), Refused> {
        match std::mem::replace(&mut self.means, Means::Unknown) {
            Means::Guard(guard) => match Arc::try_unwrap(guard) {
                Ok(guard) => guard.detach().map_err(|error| refused("the guard", &error)),
                Err(_) => Err(Refused::other("the guard is in use")),
            },
            _ => Ok(()),
        }
    }

    fn exclude(&mut self, blocks: &[Block]) -> EffectResult {
        // What is ours in the list is remembered there.
        self.records.make_folder()?;
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

    fn insert(
        &mut self,
        reservation: &Reservation,
        holder: &mut Option<Box<api::ports::Holder>>,
    ) -> EffectResult {
        match &mut self.means {
            Means::Guard(guard) => {
                put(guard, &mut self.cgroups, reservation, None).map_err(weak_or_refused)?;
                Ok(Done::Done)
            }
            Means::Placeholders(placeholders) => {
                let inserted = placeholders.insert(reservation);
                let Err(EffectError::InUse(port)) = inserted else {
                    return inserted.map(|()| Done::Done);
                };
                let block = Block::new(port.into(), 1).map_err(|_| EffectError::InUse(port))?;
                let scanner = scanner(&mut self.scanner)?;
                let found = scanner.first_conflict(reservation.protocol, block, |_| Ok(()));
                let found = found.ok().flatten().and_then(|conflict| conflict.holder);
                *holder = found.map(|found| Box::new(view::holder(&found)));
                Err(EffectError::InUse(port))
            }
            Means::Nothing | Means::Unknown => Err(nothing()),
        }
    }

    fn admit(&mut self, reservation: &Reservation) -> EffectResult {
        match &self.means {
            Means::Guard(guard) => {
                admit(guard, &mut self.cgroups, reservation).map_err(weak_or_refused)?;
                Ok(Done::Done)
            }
            _ if reservation.admitted == ports::Admitted::default() => Ok(Done::Done),
            Means::Placeholders(_) => Err(Placeholders::cannot_admit()),
            Means::Nothing | Means::Unknown => Err(nothing()),
        }
    }

    fn remove(&mut self, reservation: &Reservation) -> EffectResult {
        match &mut self.means {
            Means::Guard(guard) => {
                let (protocol, block) = (reservation.protocol, reservation.block);
                let removed = guard.remove(reservation.id, protocol, block);
                removed.map_err(|error| refused("the guard", &error))?;
            }
            Means::Placeholders(placeholders) => placeholders.remove(reservation.id),
            Means::Nothing | Means::Unknown => {}
        }
        Ok(Done::Done)
    }

    fn scan(
        &mut self,
        id: Id,
        protocol: Protocol,
        block: Block,
        holder: &mut Option<Box<api::ports::Holder>>,
    ) -> EffectResult {
        let guard = match &self.means {
            Means::Guard(guard) => guard.clone(),
            // The placeholders would not be there.
            Means::Placeholders(_) | Means::Nothing | Means::Unknown => return Ok(Done::Done),
        };
        let scanner = scanner(&mut self.scanner)?;
        let found = scanner
            .first_conflict(protocol, block, |socket| guard.grant(socket, id, false))
            .map_err(|error| refused_by_kernel("the list of sockets", &error))?;
        let Some(conflict) = found else { return Ok(Done::Done) };
        *holder = conflict.holder.map(|found| Box::new(view::holder(&found)));
        Err(EffectError::InUse(conflict.port))
    }

    fn survey(&mut self, protocol: Protocol) -> EffectResult {
        let in_use = scanner(&mut self.scanner)?.ports_in_use(protocol);
        let in_use = in_use.map_err(|error| refused_by_kernel("the list of sockets", &error))?;
        // What others keep out of automatic selection they have a use for.
        let reserved =
            self.reserved().map_err(|error| refused("ip_local_reserved_ports", &error))?;
        if let Err(error) = reserved.merge() {
            tracing::debug!("ip_local_reserved_ports: {error}");
        }
        let taken = in_use.union(reserved.foreign());
        let block = |ports: std::ops::RangeInclusive<u16>| {
            let (start, last) = (u32::from(*ports.start()).max(1), u32::from(*ports.end()));
            Block::new(start, (last + 1).saturating_sub(start)).ok()
        };
        Ok(Done::Taken(taken.ranges().filter_map(block).collect()))
    }

    fn kill(&mut self, protocol: Protocol, block: Block) -> EffectResult {
        if let Means::Placeholders(placeholders) = &mut self.means {
            placeholders.make_way(protocol, block);
        }
        let kill = move || {
            let killed = Scanner::open()
                .map_err(netlink::Error::from)
                .and_then(|mut scanner| scanner.kill(protocol, block));
            killed.map_err(|error| refused_by_kernel("SOCK_DESTROY", &error))
        };
        let killed = self.killer.run(KILL_WITHIN, kill).map_err(|refused| {
            let text = format!("the sockets cannot be closed: {refused}");
            Refused::new(refused.reason, text)
        });
        Ok(Done::Killed(killed?))
    }

    fn enforce(&mut self, reservations: &[Reservation]) -> EffectResult {
        let runtime = reservations.iter().filter(|one| one.kind == Kind::Runtime);
        let all_ended = || {
            let ended = runtime.map(|one| one.id).collect();
            Ok(Done::Enforced { ended, unrecorded: Vec::new() })
        };
        let enforced = match &mut self.means {
            Means::Guard(guard) => enforce(guard, &mut self.cgroups, reservations, &self.unread),
            Means::Placeholders(placeholders) => {
                placeholders.enforce(reservations)?;
                all_ended()
            }
            Means::Unknown => match &self.places {
                Ok(places) => {
                    Guard::remove_pinned(places, self.network)
                        .map_err(|error| refused("an earlier guard", &error))?;
                    all_ended()
                }
                Err(_) => all_ended(),
            },
            Means::Nothing => all_ended(),
        };
        if enforced.is_ok() {
            self.unread = Unread::default();
        }
        enforced
    }

    fn reserved(&mut self) -> io::Result<&mut ReservedPorts> {
        match &mut self.reserved {
            Some(reserved) => Ok(reserved),
            none => {
                let (path, boot_id) = (self.records.reserved_ports(), self.records.boot_id());
                Ok(none.insert(ReservedPorts::open(path, boot_id, self.network)?))
            }
        }
    }
}

impl Enforcing {
    fn by_guard(guard: &Arc<Guard>, places: &Places) -> Self {
        let is_full = guard.features() == Features::ALL && guard.limits().is_empty();
        Self {
            level: if is_full { GuardLevel::Full } else { GuardLevel::Reduced },
            cgroup: places.cgroup_path().map(|path| path.display().to_string()),
            covers_all: Some(places.covers_all()),
            pinned: Some(guard.folder().display().to_string()),
            limits: guard.limits().to_vec(),
            // What a program of control groups that says no and nothing else comes to.
            refusal: (!guard.features().contains(Features::REFUSAL))
                .then_some(Refusal::NotPermitted),
            guard: Some(guard.clone()),
        }
    }

    fn weakly(level: GuardLevel, limits: Vec<String>) -> Self {
        let refusal = (level == GuardLevel::Placeholders).then_some(Refusal::AddressInUse);
        Self { level, cgroup: None, covers_all: None, pinned: None, limits, refusal, guard: None }
    }
}

/// Has the guard enforce exactly these, and those that are enforced and whose record cannot be read.
/// One that cannot be enforced stands in no other's way, and is told afterwards.
fn enforce(
    guard: &Guard,
    cgroups: &mut Option<Cgroups>,
    reservations: &[Reservation],
    unread: &Unread,
) -> EffectResult {
    let rows = guard.reservations().map_err(|error| refused("the guard", &error))?;
    let mut rows: BTreeMap<Id, Row> = rows.into_iter().collect();
    let (mut ended, mut unrecorded, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let reserved = |protocol| reservations.iter().filter(move |one| one.protocol == protocol);
    let ports = |protocol| reserved(protocol).map(|one| one.block.ports()).collect::<PortSet>();
    let (tcp, udp) = (ports(Protocol::Tcp), ports(Protocol::Udp));
    let is_free = |row: &Row| {
        let taken = if row.protocol == Protocol::Tcp { &tcp } else { &udp };
        !row.block.ports().any(|port| taken.contains(port))
    };
    let wanted: BTreeSet<Id> = reservations.iter().map(|reservation| reservation.id).collect();
    let unwanted: Vec<Id> = rows.keys().filter(|id| !wanted.contains(id)).copied().collect();
    for id in unwanted {
        let Some(row) = rows.remove(&id) else { continue };
        if unread.contains(id) && is_free(&row) {
            unrecorded.push(as_enforced(guard, cgroups, id, &row));
        } else if let Err(error) = guard.remove(id, row.protocol, row.block) {
            failed.push(format!("reservation {id} cannot be removed: {error}"));
        }
    }
    for reservation in reservations {
        let id = reservation.id;
        let present = rows.get(&id);
        if present.is_none() && reservation.kind == Kind::Runtime {
            ended.push(id);
        } else if let Err(error) = put(guard, cgroups, reservation, present) {
            failed.push(format!("reservation {id} cannot be enforced as it should be: {error}"));
        }
    }
    match failed.is_empty() {
        true => Ok(Done::Enforced { ended, unrecorded }),
        false => Err(Refused::other(failed.join("; ")).into()),
    }
}

/// A reservation without a record, as the guard has it. Control groups have no names there but their
/// paths, and those that are gone are let in no more.
fn as_enforced(guard: &Guard, cgroups: &mut Option<Cgroups>, id: Id, row: &Row) -> Unrecorded {
    let (users, groups) = guard.admitted(id);
    let groups: Vec<u64> = groups.into_iter().collect();
    let paths = cgroups.as_mut().map(|cgroups| cgroups.paths(&groups)).unwrap_or_default();
    let terms = Terms {
        owner: Owner { uid: row.owner, is_privileged: row.owner == 0, ..Owner::default() },
        purpose: None,
        created_at: SystemTime::now(),
        expires_at: row.expires_at,
        refusal: Some(row.refusal),
        dry_run: row.dry_run,
        low_ports: row.low_ports,
        admitted: Admitted {
            users: users.into_iter().filter_map(|user| user.try_into().ok()).collect(),
            cgroups: paths.into_iter().flatten().collect(),
        },
    };
    let kind = if row.runtime { Kind::Runtime } else { Kind::Persistent };
    Unrecorded { id, protocol: row.protocol, block: row.block, kind, terms }
}

/// Puts a reservation in force, with those who need no token.
fn put(
    guard: &Guard,
    cgroups: &mut Option<Cgroups>,
    reservation: &Reservation,
    present: Option<&Row>,
) -> io::Result<()> {
    // Whoever is let in already stays so meanwhile.
    let row = Row {
        protocol: reservation.protocol,
        block: reservation.block,
        refusal: reservation.refusal,
        dry_run: reservation.dry_run,
        low_ports: reservation.low_ports,
        runtime: reservation.kind == Kind::Runtime,
        users: present.is_some_and(|row| row.users),
        cgroups: present.is_some_and(|row| row.cgroups),
        owner: reservation.owner.uid,
        expires_at: reservation.expires_at,
        denials: 0,
    };
    if reservation.low_ports && !guard.features().contains(Features::LOW_PORTS) {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel cannot let sockets bind below 1024 without CAP_NET_BIND_SERVICE",
        ));
    }
    guard.insert(reservation.id, &row)?;
    if present.is_none() && reservation.admitted == ports::Admitted::default() {
        return Ok(());
    }
    admit(guard, cgroups, reservation)
}

fn admit(
    guard: &Guard,
    cgroups: &mut Option<Cgroups>,
    reservation: &Reservation,
) -> io::Result<()> {
    let users: Vec<u32> = reservation.admitted.users.iter().copied().collect();
    guard.set_users(reservation.id, &users)?;
    if !reservation.admitted.cgroups.is_empty() && !guard.features().contains(Features::CGROUPS) {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel cannot tell control groups at a bind",
        ));
    }
    let ids = cgroups.as_mut().map(|cgroups| cgroups.ids(reservation)).unwrap_or_default();
    guard.set_cgroups(reservation.id, &ids)
}

fn scanner(scanner: &mut Option<Scanner>) -> Result<&mut Scanner, Refused> {
    match scanner {
        Some(scanner) => Ok(scanner),
        None => {
            let opened = Scanner::open().map_err(|error| refused("the list of sockets", &error))?;
            Ok(scanner.insert(opened))
        }
    }
}

fn done(result: Result<(), Refused>) -> EffectResult {
    Ok(result.map(|()| Done::Done)?)
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
