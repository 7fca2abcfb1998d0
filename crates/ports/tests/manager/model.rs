//! Random lives of a host: commands, closed sockets, failures of every step and daemons killed at
//! any moment, against what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::host::{Fate, World, block, terms};
use iphelper_ports::{
    Admitted, Caller, Command, CommandId, Config, Event, Id, Kind, Outcome, Protocol, Reservation,
    Token, Wanted,
};
use proptest::prelude::*;

const ROOT: Caller = Caller { uid: 0, is_privileged: true };

#[derive(Debug, Clone)]
enum Move {
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

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

/// Few ports, so that blocks meet each other.
fn moves() -> impl Strategy<Value = (Move, Vec<Fate>)> {
    let (starts, counts, places) = (2_000..2_024_u32, 1..6_u32, 0..8_usize);
    let lifetimes = proptest::option::weighted(0.3, 1..60_u64);
    let made = (protocols(), starts.clone(), counts.clone(), lifetimes).prop_map(
        |(protocol, start, count, lifetime)| Move::Create { protocol, start, count, lifetime },
    );
    let acquired = (protocols(), proptest::option::of(starts), counts, 1..3_u32)
        .prop_map(|(protocol, start, count, uid)| Move::Acquire { protocol, start, count, uid });
    let moved = prop_oneof![
        4 => made,
        4 => acquired,
        3 => (places.clone(), any::<bool>()).prop_map(|(place, kill)| Move::Delete { place, kill }),
        2 => places.clone().prop_map(|place| Move::Release { place }),
        3 => places.clone().prop_map(|place| Move::Close { place }),
        1 => (places, 1..4_u32).prop_map(|(place, user)| Move::Admit { place, user }),
        1 => (protocols(), 2_000..2_030_u16)
            .prop_map(|(protocol, port)| Move::Occupy { protocol, port }),
        1 => Just(Move::Vacate),
        2 => (1..40_u64).prop_map(|seconds| Move::Sleep { seconds }),
        1 => Just(Move::Restart),
    ];
    let fate = prop_oneof![
        20 => Just(Fate::Works),
        2 => Just(Fate::Fails),
        2 => Just(Fate::FailsAfterwards),
        1 => Just(Fate::CrashBefore),
        1 => Just(Fate::CrashAfter),
    ];
    (moved, proptest::collection::vec(fate, 0..12))
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

struct Life {
    world: World,
    told: Told,
}

impl Life {
    fn new() -> Self {
        let config =
            Config { runtime_reservations: 4, runtime_ports: 12, dynamic_ports: 2_000..=2_029 };
        Self { world: World::new(config), told: Told::default() }
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
    fn listen(&mut self) -> Result<(), TestCaseError> {
        let now = self.world.now;
        let over: Vec<Id> = (self.told.lasting.values())
            .filter(|known| known.expires_at.is_some_and(|at| at <= now))
            .map(|known| known.id)
            .collect();
        over.into_iter().for_each(|id| self.told.doubt(id));
        for (command, result) in self.world.replies.drain(..) {
            match result {
                Ok(Outcome::Reserved(made)) => {
                    prop_assert!(self.told.ids.insert(made.id), "an id was given twice");
                    prop_assert!(self.told.tokens.insert(made.token.get()), "a token twice");
                    let is_over = made.expires_at.is_some_and(|at| at <= now);
                    let has_socket = made.kind == Kind::Persistent
                        || self.world.host.sockets.get(&command) == Some(&Some(made.id));
                    prop_assert!(has_socket, "it is not its socket's");
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
                    prop_assert!(is_gone || reservation.kind == Kind::Runtime, "it is there");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What holds at any moment.
    fn check(&self) -> Result<(), TestCaseError> {
        let Host { disk, guard, excluded } = self.host();
        for known in self.told.lasting.values() {
            let found = self.world.manager.get(known.id);
            prop_assert!(found.is_some(), "{known:?} was acknowledged and is not in force");
            prop_assert!(disk.contains_key(&known.id), "{known:?} is not on record");
            prop_assert!(guard.contains_key(&known.id), "{known:?} is not enforced");
            let kept = known.block.ports().all(|port| excluded.contains(&port));
            prop_assert!(kept, "{known:?} is picked automatically");
            let token: Token = found.unwrap().token;
            prop_assert!(token == known.token && found.unwrap().block == known.block);
        }
        for records in [disk, guard] {
            let all: Vec<_> = records.values().collect();
            for (position, one) in all.iter().enumerate() {
                for other in all.iter().skip(position + 1) {
                    let overlap = one.protocol == other.protocol && one.block.overlaps(other.block);
                    prop_assert!(!overlap, "{one:?} and {other:?}");
                }
            }
        }
        Ok(())
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_and_nothing_is_left_behind(
        life in proptest::collection::vec(moves(), 1..40),
    ) {
        let mut world = Life::new();
        for (made, fates) in life {
            // A restart itself may be hit by the fates of its move; the next one is not.
            world.world.fates = fates.into();
            world.make(made);
            world.world.fates.clear();
            world.listen()?;
            if world.world.is_caught_up() {
                world.check()?;
            }
        }
        // From here on everything works: whatever had failed is made good.
        for _ in 0..3 {
            world.world.sleep(Duration::from_secs(31));
            world.listen()?;
        }
        world.check()?;
        world.world.assert_consistent();
        prop_assert!(world.world.manager.is_idle());
        for known in world.world.manager.reservations() {
            let mut owners = world.world.host.sockets.values();
            let is_owned = owners.any(|owned| *owned == Some(known.id));
            prop_assert!(known.kind == Kind::Persistent || is_owned, "{known:?} never ends");
        }
        // And once more, as a daemon finds it that was killed now.
        world.world.events.clear();
        world.world.restart();
        world.listen()?;
        world.check()?;
        world.world.assert_consistent();
        let odd = world.world.events.iter().find(|event| {
            matches!(event, Event::Contradicted(_) | Event::EffectFailed { .. })
        });
        prop_assert!(odd.is_none(), "{odd:?}");
    }
}
