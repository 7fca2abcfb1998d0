use core::ops::RangeInclusive;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use engine::{Instant, Rng};

use crate::transaction::Step;
use crate::{Block, Id, Kind, Protocol, Reservation, Token};

/// What a reservation of somebody without privilege, or one of any ports, begins at.
pub(crate) const FIRST_OPEN_PORT: u16 = 1_024;
/// How many ports there are, with port 0.
const PORTS: usize = 1 << 16;

/// All reservations, also those that are just coming or going: no two of them have a port, an id
/// or a token in common.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<Id, Entry>,
    by_start: BTreeMap<(Protocol, u16), Id>,
    by_token: HashMap<Token, Id>,
    /// Ends of those in force.
    expiries: BTreeSet<(Instant, Id)>,
    held: Held,
}

/// What is held by runtime reservations that took no privilege.
#[derive(Debug, Default)]
struct Held {
    by_user: HashMap<u32, Usage>,
    by_all: Usage,
}

/// How much is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    pub(crate) reservations: u32,
    pub(crate) ports: u32,
}

/// A reservation and where it stands.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) reservation: Reservation,
    pub(crate) stage: Stage,
    /// Its ports are not to be picked automatically.
    pub(crate) is_excluded: bool,
    /// Steps that failed and that nobody waits for, in order.
    pub(crate) owed: Vec<Step>,
}

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody has been told of it yet.
    Making,
    /// Everybody may know it.
    InForce,
    /// It has ended. Its ports are not free before everything of it is gone.
    Leaving,
}

impl Ledger {
    /// Adds a reservation, whose ports, id and token have to be free.
    pub(crate) fn add(&mut self, reservation: Reservation, stage: Stage) {
        let id = reservation.id;
        self.by_start.insert((reservation.protocol, reservation.block.start()), id);
        self.by_token.insert(reservation.token, id);
        self.held.add(&reservation);
        let entry = Entry { reservation, stage, is_excluded: false, owed: Vec::new() };
        self.entries.insert(id, entry);
    }

    /// It is in force from now on.
    pub(crate) fn put_in_force(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.stage = Stage::InForce;
            self.expiries.extend(entry.reservation.expires_at.map(|at| (at, id)));
        }
    }

    /// It is leaving from now on. Returns whether it was in force.
    pub(crate) fn end(&mut self, id: Id) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if let Some(at) = entry.reservation.expires_at {
            self.expiries.remove(&(at, id));
        }
        std::mem::replace(&mut entry.stage, Stage::Leaving) == Stage::InForce
    }

    /// Takes a reservation out: its ports are free.
    pub(crate) fn remove(&mut self, id: Id) {
        self.end(id);
        if let Some(Entry { reservation, .. }) = self.entries.remove(&id) {
            self.by_start.remove(&(reservation.protocol, reservation.block.start()));
            self.by_token.remove(&reservation.token);
            self.held.remove(&reservation);
        }
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// All, by id.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Id, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Those in force, by protocol and port.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = &Reservation> {
        self.by_start.values().filter_map(|id| self.in_force_by_id(*id))
    }

    pub(crate) fn in_force_by_id(&self, id: Id) -> Option<&Reservation> {
        let entry = self.entries.get(&id).filter(|entry| entry.stage == Stage::InForce)?;
        Some(&entry.reservation)
    }

    pub(crate) fn in_force_by_token(&self, token: Token) -> Option<&Reservation> {
        self.in_force_by_id(*self.by_token.get(&token)?)
    }

    /// The one in force, of whatever kind, with exactly this block.
    pub(crate) fn in_force_by_block(
        &self,
        protocol: Protocol,
        block: Block,
    ) -> Option<&Reservation> {
        let found = self.in_force_by_id(*self.by_start.get(&(protocol, block.start()))?)?;
        (found.block == block).then_some(found)
    }

    /// The first port of the block that is another's, and whose.
    pub(crate) fn overlap(&self, protocol: Protocol, block: Block) -> Option<(u16, &Reservation)> {
        let before = self.by_start.range((protocol, 0)..=(protocol, block.start())).next_back();
        let within =
            self.by_start.range((protocol, block.start())..=(protocol, block.last())).next();
        let ids = before.into_iter().chain(within).map(|(_, id)| *id);
        let mut others = ids.filter_map(|id| Some(&self.entries.get(&id)?.reservation));
        let other = others.find(|other| other.block.overlaps(block))?;
        Some((other.block.start().max(block.start()), other))
    }

    pub(crate) fn knows(&self, id: Id, token: Token) -> bool {
        self.entries.contains_key(&id) || self.by_token.contains_key(&token)
    }

    /// What a user holds by runtime reservations, but for those made with privilege.
    pub(crate) fn held_by(&self, uid: u32) -> Usage {
        self.held.by_user.get(&uid).copied().unwrap_or_default()
    }

    /// The same of all users together.
    pub(crate) fn held_by_all(&self) -> Usage {
        self.held.by_all
    }

    /// The ports that are not to be picked automatically: in order, none touching the next. The
    /// kernel has one list for both protocols.
    pub(crate) fn excluded(&self) -> Vec<Block> {
        let excluded = self.entries.values().filter(|entry| entry.is_excluded);
        let mut ranges: Vec<(u16, u16)> = excluded
            .map(|entry| (entry.reservation.block.start(), entry.reservation.block.last()))
            .collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::new();
        for (start, last) in ranges {
            match joined.last_mut() {
                Some(open) if u32::from(start) <= u32::from(open.1) + 1 => {
                    open.1 = open.1.max(last)
                }
                _ => joined.push((start, last)),
            }
        }
        let block =
            |(start, last): (u16, u16)| Block::new(start.into(), u32::from(last - start) + 1).ok();
        joined.into_iter().filter_map(block).collect()
    }

    /// A block of `count` ports that are neither reserved nor `taken`: somewhere in `preferred` if
    /// there is one, else anywhere above the ports that take a privilege.
    pub(crate) fn free_block(
        &self,
        protocol: Protocol,
        count: u16,
        taken: &[Block],
        preferred: &RangeInclusive<u16>,
        rng: &mut Rng,
    ) -> Option<Block> {
        let mut is_free = vec![true; PORTS];
        let reserved = self.entries.values().map(|entry| &entry.reservation);
        let reserved = reserved.filter(|other| other.protocol == protocol).map(|other| other.block);
        for block in reserved.chain(taken.iter().copied()) {
            if let Some(ports) = is_free.get_mut(block.start().into()..=block.last().into()) {
                ports.fill(false);
            }
        }
        let (first, last) = (*preferred.start(), *preferred.end());
        let first = first.max(FIRST_OPEN_PORT);
        // From somewhere in the middle, so that a block just freed is not the next one's at once.
        let span = u64::from(last.saturating_sub(first)) + 1;
        let middle = first.saturating_add(u16::try_from(rng.below(span)).unwrap_or(0));
        let from = [middle..=last, first..=last, FIRST_OPEN_PORT..=u16::MAX];
        from.into_iter().find_map(|range| first_run(&is_free, range, count))
    }

    /// The next end of one in force.
    pub(crate) fn next_expiry(&self) -> Option<(Instant, Id)> {
        self.expiries.first().copied()
    }
}

impl Held {
    fn add(&mut self, reservation: &Reservation) {
        if counts(reservation) {
            self.by_all.add(reservation.block);
            self.by_user.entry(reservation.owner.uid).or_default().add(reservation.block);
        }
    }

    fn remove(&mut self, reservation: &Reservation) {
        let uid = reservation.owner.uid;
        if counts(reservation)
            && let Some(usage) = self.by_user.get_mut(&uid)
        {
            self.by_all.remove(reservation.block);
            usage.remove(reservation.block);
            if *usage == Usage::default() {
                self.by_user.remove(&uid);
            }
        }
    }
}

impl Usage {
    fn add(&mut self, block: Block) {
        self.reservations += 1;
        self.ports += u32::from(block.count());
    }

    fn remove(&mut self, block: Block) {
        self.reservations = self.reservations.saturating_sub(1);
        self.ports = self.ports.saturating_sub(block.count().into());
    }
}

/// Whether it counts toward quotas.
fn counts(reservation: &Reservation) -> bool {
    reservation.kind == Kind::Runtime && !reservation.owner.is_privileged
}

/// The first `count` free ports in a row.
fn first_run(is_free: &[bool], range: RangeInclusive<u16>, count: u16) -> Option<Block> {
    let mut length = 0;
    for port in range {
        length = if is_free.get(usize::from(port)).copied()? { length + 1 } else { 0 };
        if length == count {
            return Block::new(u32::from(port) + 1 - u32::from(count), count.into()).ok();
        }
    }
    None
}
