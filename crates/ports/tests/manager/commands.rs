//! What each command does to the host, step by step, and how it is taken back.

use std::time::Duration;

use crate::host::{Fate, World, block, terms};
use engine::{Refused, Rng};
use iphelper_ports::{
    Admitted, Caller, Command, Config, Event, Failure, Input, Kind, Limited, Outcome,
    Protocol::{self, Tcp, Udp},
    Refusal, Reservation, Token, Wanted,
};

const ROOT: Caller = Caller { uid: 0, is_privileged: true };
const USER: Caller = Caller { uid: 1_000, is_privileged: false };

impl World {
    /// Gives a command that is carried out at once.
    fn ask(&mut self, command: Command) -> Result<Outcome, Failure> {
        let id = self.command(command);
        let (answered, result) = self.replies.pop_back().expect("an answer");
        assert_eq!(answered, id);
        result
    }
}

fn world() -> World {
    World::new(Config::default())
}

fn create(protocol: Protocol, start: u32, count: u32) -> Command {
    Command::Create { protocol, block: block(start, count), terms: Box::new(terms(0)) }
}

fn delete(protocol: Protocol, start: u32, count: u32) -> Command {
    Command::Delete { protocol, block: block(start, count), kill: false }
}

fn acquire(caller: Caller, wanted: Wanted) -> Command {
    Command::Acquire { caller, protocol: Tcp, wanted, terms: Box::new(terms(caller.uid)) }
}

fn any(count: u16) -> Wanted {
    Wanted::Any(count.try_into().unwrap())
}

fn reserved(result: Result<Outcome, Failure>) -> Reservation {
    match result {
        Ok(Outcome::Reserved(reservation)) => *reservation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_is_reserved_looked_up_and_deleted() {
    let mut world = world();
    let made = reserved(world.ask(create(Tcp, 5_000, 20)));
    assert_eq!((made.block, made.kind), (block(5_000, 20), Kind::Persistent));
    assert_eq!(made.refusal, Refusal::AccessDenied);
    assert_eq!(world.trace, ["Exclude", "Insert", "Scan", "Persist"]);
    world.assert_consistent();
    assert_eq!(world.manager.find(Tcp, block(5_000, 20)), Some(&made));
    for other in [block(5_000, 19), block(5_001, 19), block(5_000, 21)] {
        assert_eq!(world.manager.find(Tcp, other), None, "{other}");
        let delete = Command::Delete { protocol: Tcp, block: other, kill: false };
        assert_eq!(world.ask(delete), Err(Failure::NotFound), "{other}");
    }
    assert_eq!(world.manager.find(Udp, block(5_000, 20)), None);

    world.trace.clear();
    let ended = Outcome::Ended { reservation: Box::new(made.clone()), killed: 0 };
    assert_eq!(world.ask(delete(Tcp, 5_000, 20)), Ok(ended));
    assert_eq!(world.trace, ["Forget", "Remove", "Exclude"]);
    assert!(world.manager.is_empty() && world.host.excluded.is_empty());
    world.assert_consistent();
    assert_eq!(world.ask(delete(Tcp, 5_000, 20)), Err(Failure::NotFound));
    let made = Box::new(made);
    assert_eq!(
        world.events,
        [Event::Created(made.clone()), Event::Deleted { reservation: made, killed: 0 }]
    );
}

#[test]
fn an_overlap_names_the_first_port_and_the_other() {
    let mut world = world();
    let first = Box::new(reserved(world.ask(create(Tcp, 5_000, 20))));
    for (start, count, port) in [
        (5_000, 20, 5_000),
        (4_990, 11, 5_000),
        (5_019, 9, 5_019),
        (5_005, 1, 5_005),
        (1, 65_535, 5_000),
    ] {
        let overlap = Failure::Overlap { port, with: first.clone() };
        assert_eq!(world.ask(create(Tcp, start, count)), Err(overlap), "{start} {count}");
    }
    // The ports before and behind, and those of the other protocol, are free.
    for (protocol, start, count) in [(Tcp, 4_990, 10), (Tcp, 5_020, 1), (Udp, 5_000, 20)] {
        reserved(world.ask(create(protocol, start, count)));
    }
    world.assert_consistent();
    // The kernel's list knows no protocols.
    world.ask(delete(Tcp, 5_000, 20)).unwrap();
    assert!((4_990..=5_020).all(|port| world.host.excluded.contains(&port)));
    world.assert_consistent();
}

#[test]
fn a_port_in_use_takes_everything_back() {
    let mut world = world();
    world.host.in_use.insert((Tcp, 5_007));
    assert_eq!(world.ask(create(Tcp, 5_000, 20)), Err(Failure::InUse(5_007)));
    assert_eq!(world.trace, ["Exclude", "Insert", "Scan", "Remove", "Exclude"]);
    world.assert_consistent();
    assert!(world.manager.is_empty() && world.events.is_empty());
    reserved(world.ask(create(Udp, 5_000, 20)));
}

#[test]
fn every_step_that_fails_is_taken_back() {
    for fate in [Fate::Fails, Fate::FailsAfterwards] {
        for step in 0..4 {
            let mut world = world();
            world.fates = (0..step).map(|_| Fate::Works).chain([fate]).collect();
            let failed = world.ask(create(Tcp, 5_000, 20));
            assert_eq!(failed, Err(Failure::Host(Refused::other("it would not"))));
            assert!(world.manager.is_empty(), "{:?}", world.trace);
            world.assert_consistent();
        }
        for step in 0..3 {
            let mut world = world();
            let made = reserved(world.ask(create(Tcp, 5_000, 20)));
            world.fates = (0..step).map(|_| Fate::Works).chain([fate]).collect();
            let failed = world.ask(delete(Tcp, 5_000, 20));
            assert_eq!(failed, Err(Failure::Host(Refused::other("it would not"))));
            assert_eq!(world.manager.find(Tcp, made.block), Some(&made));
            world.assert_consistent();
        }
    }
}

#[test]
fn what_cannot_be_taken_back_is_tried_again_and_its_ports_are_nobodys() {
    let mut world = world();
    world.fates =
        [Fate::Works, Fate::Works, Fate::Works, Fate::FailsAfterwards, Fate::Fails].into();
    world.ask(create(Tcp, 5_000, 20)).unwrap_err();
    assert_eq!(world.manager.reservations().count(), 0);
    assert_eq!(world.host.disk.len(), 1);
    assert!(matches!(world.ask(create(Tcp, 5_019, 1)), Err(Failure::Overlap { port: 5_019, .. })));

    world.fates = [Fate::Fails].into();
    world.sleep(Duration::from_secs(30));
    assert_eq!(world.host.disk.len(), 1);
    assert!(!world.events.contains(&Event::CaughtUp));
    world.sleep(Duration::from_secs(30));
    assert!(world.manager.is_empty() && world.events.contains(&Event::CaughtUp));
    world.assert_consistent();
    assert_eq!(engine::Engine::poll_timeout(&world.manager), None);
    reserved(world.ask(create(Tcp, 5_019, 1)));
}

#[test]
fn killing_comes_while_strangers_are_still_refused() {
    let mut world = world();
    reserved(world.ask(create(Tcp, 5_000, 20)));
    world.host.in_use.extend([(Tcp, 5_000), (Tcp, 5_001), (Udp, 5_000), (Tcp, 5_020)]);
    world.trace.clear();
    let kill = Command::Delete { protocol: Tcp, block: block(5_000, 20), kill: true };
    match world.ask(kill) {
        Ok(Outcome::Ended { killed: 2, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(world.trace, ["Forget", "Kill", "Remove", "Exclude"]);
    assert_eq!(world.host.in_use.len(), 2);
}

#[test]
fn a_runtime_reservation_ends_with_its_socket() {
    let mut world = world();
    let socket = world.command(acquire(USER, Wanted::Block(block(5_000, 2))));
    let made = reserved(world.replies.pop_back().unwrap().1);
    assert_eq!((made.kind, made.owner.uid), (Kind::Runtime, 1_000));
    assert_eq!(world.trace, ["Exclude", "Insert", "Scan", "Own", "Persist"]);
    assert_eq!(world.host.sockets[&socket], Some(made.id));
    // It is not one of those that are looked up and deleted by their block.
    assert_eq!(world.manager.find(Tcp, made.block), None);
    assert_eq!(world.ask(delete(Tcp, 5_000, 2)), Err(Failure::NotFound));

    world.close(socket);
    assert!(world.manager.is_empty());
    world.assert_consistent();
    assert!(matches!(world.events.last(), Some(Event::Released { .. })));
}

#[test]
fn a_runtime_reservation_is_released_by_its_owner() {
    let mut world = world();
    let made = reserved(world.ask(acquire(USER, any(3))));
    let release = |caller, token| Command::Release { caller, token };
    let stranger = Caller { uid: 1_001, ..USER };
    let denied = world.ask(release(stranger, made.token));
    assert!(matches!(denied, Err(Failure::AccessDenied { .. })), "{denied:?}");
    let wrong = Token::new(made.token.get() ^ 1).unwrap();
    assert_eq!(world.ask(release(USER, wrong)), Err(Failure::InvalidToken));
    let persistent = reserved(world.ask(create(Tcp, 6_000, 1)));
    assert_eq!(world.ask(release(ROOT, persistent.token)), Err(Failure::InvalidToken));
    world.ask(release(USER, made.token)).unwrap();
    assert_eq!(world.ask(release(USER, made.token)), Err(Failure::InvalidToken));
    world.assert_consistent();
}

#[test]
fn a_free_block_is_found_among_reserved_and_used_ports() {
    let config = Config { dynamic_ports: 40_000..=40_019, ..Config::default() };
    let mut world = World::new(config);
    reserved(world.ask(create(Tcp, 40_000, 6)));
    world.host.in_use.insert((Tcp, 40_012));
    let found = reserved(world.ask(acquire(ROOT, any(6))));
    assert!(
        [block(40_006, 6), block(40_013, 6), block(40_014, 6)].contains(&found.block),
        "{}",
        found.block
    );
    // Twice in that range, then elsewhere.
    reserved(world.ask(acquire(ROOT, any(6))));
    let elsewhere = reserved(world.ask(acquire(ROOT, any(6))));
    assert_eq!(elsewhere.block, block(1_024, 6));
    world.assert_consistent();

    let most = any(65_535 - 1_023);
    assert_eq!(world.ask(acquire(ROOT, most)), Err(Failure::NoFreeBlock { count: 64_512 }));
}

#[test]
fn somebody_who_is_faster_makes_it_look_again() {
    let mut world = world();
    world.host.races = 2;
    reserved(world.ask(acquire(USER, any(3))));
    assert_eq!(world.trace.iter().filter(|step| *step == "Survey").count(), 3);
    world.assert_consistent();
    assert_eq!(world.manager.reservations().count(), 1);

    world.host.races = u32::MAX;
    assert_eq!(world.ask(acquire(USER, any(3))), Err(Failure::NoFreeBlock { count: 3 }));
    world.assert_consistent();
    assert_eq!(world.manager.reservations().count(), 1);
}

#[test]
fn a_user_has_a_quota_and_root_has_none() {
    let config = Config { runtime_ports: 10, runtime_reservations: 3, ..Config::default() };
    let mut world = World::new(config);
    reserved(world.ask(acquire(USER, any(6))));
    let over = Failure::QuotaExceeded { what: Limited::Ports, limit: 10, held: 6 };
    assert_eq!(world.ask(acquire(USER, any(5))), Err(over));
    reserved(world.ask(acquire(USER, any(1))));
    let third = reserved(world.ask(acquire(USER, any(1))));
    let over = Failure::QuotaExceeded { what: Limited::Reservations, limit: 3, held: 3 };
    assert_eq!(world.ask(acquire(USER, any(1))), Err(over));
    // Others have their own, root as much as there is.
    reserved(world.ask(acquire(Caller { uid: 1_001, ..USER }, any(10))));
    reserved(world.ask(acquire(ROOT, any(100))));
    world.ask(Command::Release { caller: USER, token: third.token }).unwrap();
    reserved(world.ask(acquire(USER, any(3))));
}

#[test]
fn all_users_together_get_half_of_the_automatic_ports() {
    let config = Config { dynamic_ports: 40_000..=40_099, ..Config::default() };
    let mut world = World::new(config);
    // What privilege took pushes nobody out.
    reserved(world.ask(acquire(ROOT, any(60))));
    let of = |uid, count| acquire(Caller { uid, ..USER }, any(count));
    let held: Vec<_> = (0..5).map(|user| reserved(world.ask(of(2_000 + user, 10)))).collect();
    let over = Failure::QuotaExceeded { what: Limited::PortsOfAll, limit: 50, held: 50 };
    assert_eq!(
        over.to_string(),
        "50 ports by runtime reservations of all users may be held, and 50 are"
    );
    assert_eq!(world.ask(of(3_000, 1)), Err(over.clone()));
    assert_eq!(world.manager.runtime_ports_of_all(), (50, 50));
    // Also for the next daemon.
    world.restart();
    assert_eq!(world.ask(of(3_000, 1)), Err(over));
    let caller = Caller { uid: 2_000, ..USER };
    world.ask(Command::Release { caller, token: held[0].token }).unwrap();
    reserved(world.ask(of(3_000, 10)));
}

#[test]
fn ports_below_1024_are_not_for_everybody() {
    let mut world = world();
    let low = Wanted::Block(block(1_023, 2));
    assert!(matches!(world.ask(acquire(USER, low)), Err(Failure::AccessDenied { .. })));
    let made = reserved(world.ask(acquire(ROOT, low)));
    assert_eq!(made.refusal, Refusal::AddressInUse);
}

#[test]
fn a_token_opens_for_those_it_is_for() {
    let mut world = world();
    let mut terms = terms(1_000);
    terms.admitted.users.insert(1_002);
    let make = Command::Create { protocol: Tcp, block: block(5_000, 1), terms: Box::new(terms) };
    let persistent = reserved(world.ask(make));
    let runtime = reserved(world.ask(acquire(USER, any(1))));
    for (uid, is_privileged, opens, opens_runtime) in [
        (0, true, true, true),
        (1_000, false, true, true),
        (1_001, false, false, false),
        (1_002, false, true, false),
    ] {
        let caller = Caller { uid, is_privileged };
        assert_eq!(world.manager.open(persistent.token, caller).is_ok(), opens, "{uid}");
        assert_eq!(world.manager.open(runtime.token, caller).is_ok(), opens_runtime, "{uid}");
    }
    let other = Token::draw(&mut Rng::from_u64(77));
    assert_eq!(world.manager.open(other, ROOT), Err(Failure::InvalidToken));
}

#[test]
fn those_without_a_token_come_and_go() {
    let mut world = world();
    reserved(world.ask(create(Tcp, 5_000, 1)));
    let whom = |users: &[u32], cgroups: &[&str]| Admitted {
        users: users.iter().copied().collect(),
        cgroups: cgroups.iter().map(|&cgroup| cgroup.to_owned()).collect(),
    };
    let (protocol, block) = (Tcp, block(5_000, 1));
    world.trace.clear();
    world.ask(Command::Admit { protocol, block, whom: whom(&[7, 8], &["a.service"]) }).unwrap();
    assert_eq!(world.trace, ["Persist", "Admit"]);
    world.ask(Command::Expel { protocol, block, whom: whom(&[8, 9], &[]) }).unwrap();
    let now = world.manager.find(protocol, block).unwrap();
    assert_eq!(now.admitted, whom(&[7], &["a.service"]));
    world.assert_consistent();

    for fates in [vec![Fate::FailsAfterwards], vec![Fate::Works, Fate::FailsAfterwards]] {
        world.fates = fates.into();
        world.ask(Command::Expel { protocol, block, whom: whom(&[7], &[]) }).unwrap_err();
        let now = world.manager.find(protocol, block).unwrap();
        assert_eq!(now.admitted, whom(&[7], &["a.service"]));
        world.assert_consistent();
    }
    assert_eq!(world.events.len(), 3);
}

#[test]
fn a_reservation_expires() {
    let mut world = world();
    let mut terms = terms(0);
    terms.expires_at = Some(world.now + Duration::from_secs(10));
    let made = Command::Create { protocol: Tcp, block: block(5_000, 1), terms: Box::new(terms) };
    let made = reserved(world.ask(made));
    assert_eq!(engine::Engine::poll_timeout(&world.manager), made.expires_at);
    world.sleep(Duration::from_secs(9));
    assert!(world.manager.get(made.id).is_some());
    // It goes whatever fails.
    world.fates = [Fate::Fails, Fate::Fails, Fate::Fails].into();
    world.sleep(Duration::from_secs(1));
    assert_eq!(world.manager.open(made.token, ROOT), Err(Failure::InvalidToken));
    assert!(world.events.iter().any(|event| matches!(event, Event::Expired(_))));
    world.sleep(Duration::from_secs(30));
    world.assert_consistent();
    assert!(world.manager.is_empty());
}

#[test]
fn a_restart_finds_everything_again() {
    let mut world = world();
    let persistent = reserved(world.ask(create(Tcp, 5_000, 20)));
    let alive = world.command(acquire(USER, any(2)));
    let closed = world.command(acquire(USER, any(2)));
    let mut terms = terms(0);
    terms.expires_at = Some(world.now + Duration::from_secs(10));
    let short = Command::Create { protocol: Udp, block: block(7_000, 1), terms: Box::new(terms) };
    let short = reserved(world.ask(short));
    // While no daemon lives: a socket closes, a time ends, and a stray row comes from somewhere.
    let owned = world.host.sockets.remove(&closed).flatten().unwrap();
    world.host.guard.remove(&owned);
    let stray = Reservation { id: iphelper_ports::Id::new(99).unwrap(), ..persistent.clone() };
    world.host.guard.insert(stray.id, stray);
    world.host.excluded.clear();
    world.now += Duration::from_secs(11);
    world.events.clear();
    world.restart();
    world.assert_consistent();
    let known: Vec<_> = world.manager.reservations().map(|known| known.id).collect();
    assert_eq!(known, [persistent.id, world.host.sockets[&alive].unwrap()]);
    assert!(world.manager.open(persistent.token, ROOT).is_ok());
    assert!(world.events.contains(&Event::Restored));
    assert!(world.events.contains(&Event::Expired(Box::new(short))));
    world.close(alive);
    world.assert_consistent();
}

#[test]
fn records_that_contradict_each_other_are_told() {
    let mut world = world();
    let first = reserved(world.ask(create(Tcp, 5_000, 20)));
    let mut copy = first.clone();
    copy.created_at += Duration::from_secs(1);
    copy.id = iphelper_ports::Id::new(5).unwrap();
    world.host.disk.insert(copy.id, copy.clone());
    world.events.clear();
    world.restart();
    assert_eq!(world.events[0], Event::Contradicted(Box::new(copy)));
    assert_eq!(world.manager.reservations().collect::<Vec<_>>(), [&first]);
    assert_eq!(world.host.guard.len(), 1);
}

#[test]
fn what_cannot_be_enforced_at_start_is_tried_again() {
    let mut world = world();
    reserved(world.ask(create(Tcp, 5_000, 20)));
    world.host.guard.clear();
    world.host.excluded.clear();
    world.fates = [Fate::Fails, Fate::Fails].into();
    world.restart();
    assert!(world.events.contains(&Event::Restored));
    assert!(world.host.guard.is_empty());
    assert_eq!(world.manager.reservations().count(), 1);
    world.sleep(Duration::from_secs(1));
    world.assert_consistent();
    assert_eq!(world.events.last(), Some(&Event::CaughtUp));
}

#[test]
fn what_has_lost_its_record_stays_in_force() {
    let mut world = world();
    let lost = reserved(world.ask(create(Tcp, 5_000, 20)));
    let other = reserved(world.ask(create(Tcp, 6_000, 1)));
    world.host.disk.remove(&lost.id);
    world.host.unreadable.insert(lost.id);
    world.restart();
    let kept = world.manager.get(lost.id).unwrap().clone();
    assert!(world.events.contains(&Event::Kept(Box::new(kept.clone()))));
    assert_eq!((kept.block, kept.owner.uid), (lost.block, lost.owner.uid));
    assert_ne!(kept.token, lost.token, "which nobody knows any more");
    assert_eq!(world.host.excluded.len(), 21);
    let over = world.ask(acquire(USER, Wanted::Block(block(5_019, 1))));
    assert!(matches!(over, Err(Failure::Overlap { port: 5_019, .. })), "{over:?}");
    world.ask(delete(Tcp, 5_000, 20)).unwrap();
    world.assert_consistent();
    assert_eq!(world.manager.reservations().map(|one| one.id).collect::<Vec<_>>(), [other.id]);
}

/// Soon at first, and less and less often.
#[test]
fn what_goes_on_failing_is_tried_less_and_less_often() {
    let mut world = world();
    reserved(world.ask(create(Tcp, 5_000, 20)));
    let due_in = |world: &World| {
        let due = engine::Engine::poll_timeout(&world.manager).unwrap();
        due.duration_since(world.now)
    };
    world.fates = [Fate::Fails].into();
    world.restart();
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(due_in(&world), Duration::from_secs(seconds));
        world.fates = [Fate::Fails].into();
        world.sleep(Duration::from_secs(seconds));
    }
    world.sleep(Duration::from_secs(30));
    assert_eq!(world.events.last(), Some(&Event::CaughtUp));
    world.fates = [Fate::Fails].into();
    world.input(iphelper_ports::Input::Lost);
    assert_eq!(due_in(&world), Duration::from_secs(1));
}

#[test]
fn the_end_cancels_those_who_wait() {
    let mut world = world();
    world.input(Input::Stop);
    assert_eq!(world.ask(create(Tcp, 5_000, 1)), Err(Failure::Cancelled));
    assert!(world.manager.is_idle());
}
