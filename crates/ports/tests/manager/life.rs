//! The life of a host, and what must hold whatever happens in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::CommandId;
use iphelper_ports::{
    Admitted, Caller, Command, Config, Event, Id, Kind, Outcome, Protocol, Reservation, Wanted,
};

use crate::host::{Fate, World, block, terms};

const ROOT: Caller = Caller { uid: 0, is_privileged: true };

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Move {
    Create {
        protocol: Protocol,
        start: u32,
        count: u32,
        lifetime: Option<u64>,
    },
    Acquire {
        protocol: Protocol,
        start: Option<u32>,
        count: u32,
        uid: u32,
    },
    /// Of the one at this place among those the model knows.
    Delete {
        place: usize,
        kill: bool,
    },
    Release {
        place: usize,
    },
    Close {
        place: usize,
    },
    Admit {
        place: usize,
        user: u32,
    },
    Occupy {
        protocol: Protocol,
        port: u16,
    },
    Vacate,
    Sleep {
        seconds: u64,
    },
    Restart,
}

/// What callers have been told.
#[derive(Default)]
struct Told {
    /// Reservations that were acknowledged and that nobody has asked to end.
    lasting: BTreeMap<Id, Reservation>,
    /// Those somebody has asked to end, or whose socket or time is over: they may be there or not.
    doubtful: BTreeMap<Id, Reservation>,
    /// The sockets of runtime reservations.
    sockets: Vec<CommandId>,
    ids: BTreeSet<Id>,
    tokens: BTreeSet<u64>,
}

impl Told {
    fn doubt(&mut self, id: Id) {
        if let Some(reservation) = self.lasting.remove(&id) {
            self.doubtful.insert(id, reservation);
        }
    }

    fn at(&self, place: usize, kind: Kind) -> Option<&Reservation> {
        let known = self.lasting.values().chain(self.doubtful.values());
        known.filter(|known| known.kind == kind).nth(place)
    }
}

/// A host, and what must hold of it.
pub(crate) struct Life {
    world: World,
    told: Told,
}

impl Life {
    pub(crate) fn new() -> Self {
        let config =
            Config { runtime_reservations: 4, runtime_ports: 12, dynamic_ports: 2_000..=2_029 };
        Self { world: World::new(config), told: Told::default() }
    }

    /// Something happens, and the effects that follow have these fates.
    pub(crate) fn go_on(&mut self, made: Move, fates: Vec<Fate>) {
        // A restart itself may be hit by the fates of its move; the next one is not.
        self.world.fates = fates.into();
        self.make(made);
        self.world.fates.clear();
        self.listen();
        if self.world.is_caught_up() {
            self.check();
        }
    }

    /// From here on everything works: whatever had failed is made good.
    pub(crate) fn come_to_rest(&mut self) {
        for _ in 0..3 {
            self.world.sleep(Duration::from_secs(31));
            self.listen();
        }
        self.check();
        self.world.assert_consistent();
        assert!(self.world.manager.is_idle());
        for known in self.world.manager.reservations() {
            let mut owners = self.world.host.sockets.values();
            let is_owned = owners.any(|owned| *owned == Some(known.id));
            assert!(known.kind == Kind::Persistent || is_owned, "{known:?} never ends");
        }
        // And once more, as a daemon finds it that was killed now.
        self.world.events.clear();
        self.world.restart();
        self.listen();
        self.check();
        self.world.assert_consistent();
        let odd = self
            .world
            .events
            .iter()
            .find(|event| matches!(event, Event::Contradicted(_) | Event::EffectFailed { .. }));
        assert!(odd.is_none(), "{odd:?}");
    }

    fn make(&mut self, made: Move) {
        let (world, told) = (&mut self.world, &mut self.told);
        match made {
            Move::Create { protocol, start, count, lifetime } => {
                let mut terms = terms(0);
                terms.expires_at = lifetime.map(|seconds| world.now + Duration::from_secs(seconds));
                let block = block(start, count);
                world.command(Command::Create { protocol, block, terms: Box::new(terms) });
            }
            Move::Acquire { protocol, start, count, uid } => {
                let wanted = match start {
                    Some(start) => Wanted::Block(block(start, count)),
                    None => Wanted::Any(u16::try_from(count).unwrap().try_into().unwrap()),
                };
                let caller = Caller { uid, is_privileged: false };
                let terms = Box::new(terms(uid));
                let socket = world.command(Command::Acquire { caller, protocol, wanted, terms });
                told.sockets.push(socket);
            }
            Move::Delete { place, kill } => {
                let Some(known) = told.at(place, Kind::Persistent).cloned() else { return };
                let (protocol, block) = (known.protocol, known.block);
                let is_meant =
                    |other: &&Reservation| (other.protocol, other.block) == (protocol, block);
                let meant: Vec<Id> =
                    told.lasting.values().filter(is_meant).map(|other| other.id).collect();
                meant.into_iter().for_each(|id| told.doubt(id));
                world.command(Command::Delete { protocol, block, kill });
            }
            Move::Release { place } => {
                let Some(known) = told.at(place, Kind::Runtime).cloned() else { return };
                told.doubt(known.id);
                world.command(Command::Release { caller: ROOT, token: known.token });
            }
            Move::Close { place } => {
                let Some(socket) = told.sockets.get(place).copied() else { return };
                if let Some(Some(id)) = world.host.sockets.get(&socket) {
                    told.doubt(*id);
                }
                told.sockets.remove(place);
                world.close(socket);
            }
            Move::Admit { place, user } => {
                let Some(known) = told.at(place, Kind::Persistent) else { return };
                let (protocol, block) = (known.protocol, known.block);
                let whom = Admitted { users: [user].into(), cgroups: BTreeSet::new() };
                world.command(Command::Admit { protocol, block, whom });
            }
            Move::Occupy { protocol, port } => _ = world.host.in_use.insert((protocol, port)),
            Move::Vacate => world.host.in_use.clear(),
            Move::Sleep { seconds } => world.sleep(Duration::from_secs(seconds)),
            Move::Restart => world.restart(),
        }
    }

    /// Takes note of what callers were told meanwhile.
    fn listen(&mut self) {
        let now = self.world.now;
        let over: Vec<Id> = (self.told.lasting.values())
            .filter(|known| known.expires_at.is_some_and(|at| at <= now))
            .map(|known| known.id)
            .collect();
        over.into_iter().for_each(|id| self.told.doubt(id));
        for (command, result) in self.world.replies.drain(..) {
            match result {
                Ok(Outcome::Reserved(made)) => {
                    assert!(self.told.ids.insert(made.id), "an id was given twice");
                    assert!(self.told.tokens.insert(made.token.get()), "a token twice");
                    let is_over = made.expires_at.is_some_and(|at| at <= now);
                    let has_socket = made.kind == Kind::Persistent
                        || self.world.host.sockets.get(&command) == Some(&Some(made.id));
                    assert!(has_socket, "it is not its socket's");
                    match is_over {
                        true => self.told.doubtful.insert(made.id, *made),
                        false => self.told.lasting.insert(made.id, *made),
                    };
                }
                Ok(Outcome::Ended { reservation, .. }) => {
                    self.told.doubtful.remove(&reservation.id);
                    let (id, host) = (reservation.id, &self.world.host);
                    // A runtime reservation may leave something behind that is yet to be removed.
                    let is_gone = !host.disk.contains_key(&id) && !host.guard.contains_key(&id);
                    assert!(is_gone || reservation.kind == Kind::Runtime, "it is there");
                }
                _ => {}
            }
        }
    }

    /// What holds at any moment.
    fn check(&self) {
        let Host { disk, guard, excluded } = self.host();
        for known in self.told.lasting.values() {
            let found = self.world.manager.get(known.id);
            assert!(found.is_some(), "{known:?} was acknowledged and is not in force");
            assert!(disk.contains_key(&known.id), "{known:?} is not on record");
            assert!(guard.contains_key(&known.id), "{known:?} is not enforced");
            let kept = known.block.ports().all(|port| excluded.contains(&port));
            assert!(kept, "{known:?} is picked automatically");
            let is_same =
                found.is_some_and(|found| (found.token, found.block) == (known.token, known.block));
            assert!(is_same, "{known:?} is another now");
        }
        for records in [disk, guard] {
            let all: Vec<_> = records.values().collect();
            for (position, one) in all.iter().enumerate() {
                for other in all.iter().skip(position + 1) {
                    let overlap = one.protocol == other.protocol && one.block.overlaps(other.block);
                    assert!(!overlap, "{one:?} and {other:?}");
                }
            }
        }
    }

    fn host(&self) -> Host<'_> {
        let host = &self.world.host;
        Host { disk: &host.disk, guard: &host.guard, excluded: &host.excluded }
    }
}

struct Host<'a> {
    disk: &'a BTreeMap<Id, Reservation>,
    guard: &'a BTreeMap<Id, Reservation>,
    excluded: &'a BTreeSet<u16>,
}
