mod world;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant as RealTime};

use api::daemon::ProblemKind;
use dhcp::v4::{self, Outcome, Told};
use engine::Rng;

use super::output::Refusal;
use super::{ClientKey, Failure, Input, Operation};
use crate::host::{AddressRow, LinkRow, Notice};
use crate::problems::Subject;
use crate::testing;
use world::{Answer, NETWORK, World};

const MANAGED: &str = "[[interface]]\nname = 'eth*'\n";
const SECOND: Duration = Duration::from_secs(1);

fn one_leased() -> (World, Ipv4Addr) {
    let mut world = World::new(1, MANAGED);
    world.plug(2, "eth0");
    world.run(SECOND);
    world.check();
    let address = world.leased(2).unwrap();
    (world, address)
}

#[test]
fn a_lease_follows_its_interface_to_a_new_name() {
    let (mut world, address) = one_leased();
    world.change_link(2, |link| link.name = "uplink".into());
    world.run(SECOND);
    world.check();
    assert_eq!(world.leased(2), Some(address));
    assert!(!world.disk.contains_key("eth0"), "the record went along");
    assert_eq!(world.resolver.keys().collect::<Vec<_>>(), ["uplink"]);

    // The configuration does not name it any more. It was managed when it was renamed; a daemon
    // that starts now leaves it alone.
    world.kill();
    world.run(SECOND);
    assert!(world.roster.client(ClientKey::ipv4(NETWORK, 2)).is_none());
}

#[test]
fn an_interface_that_is_back_asks_for_its_address() {
    let (mut world, address) = one_leased();
    let hardware = world.links[&2].hardware;
    world.unplug(2);
    world.run(SECOND);
    world.check();
    world.plug_in(LinkRow { hardware, ..testing::link(9, "eth0") });
    world.run(SECOND);
    world.check();
    assert_eq!(world.leased(9), Some(address));
}

#[test]
fn an_interface_that_was_released_stays_so_when_it_is_back() {
    let (mut world, _) = one_leased();
    let hardware = world.links[&2].hardware;
    world.command("eth0", Operation::Release, 10 * SECOND);
    world.run(SECOND);
    world.unplug(2);
    world.plug_in(LinkRow { hardware, ..testing::link(9, "eth0") });
    world.run(SECOND);
    let (interface, _) = world.roster.client(ClientKey::ipv4(NETWORK, 9)).unwrap();
    assert_eq!(interface.client.state(), v4::State::Released);
    assert!(world.addresses.is_empty());
}

#[test]
fn another_hardware_address_is_another_client() {
    let (mut world, address) = one_leased();
    let identifier = |world: &World| {
        let (interface, _) = world.roster.client(ClientKey::ipv4(NETWORK, 2)).unwrap();
        interface.client.client_identifier()
    };
    let before = identifier(&world);
    world.change_link(2, |link| link.is_up = false);
    world.change_link(2, |link| {
        link.hardware = [2, 0, 0, 0, 9, 9].into();
        link.is_up = true;
    });
    world.run(60 * SECOND);
    world.check();
    assert_ne!(identifier(&world), before);
    assert_ne!(world.leased(2).unwrap(), address);
}

#[test]
fn routes_of_an_earlier_daemon_keep_their_metric() {
    let (mut world, address) = one_leased();
    let metrics =
        |world: &World| -> Vec<u32> { world.routes.keys().map(|(_, _, metric)| *metric).collect() };
    let before = metrics(&world);
    world.reconfigure(&format!("{MANAGED}metric = 70\n"));
    world.kill();
    world.run(SECOND);
    world.check();
    assert_eq!(world.leased(2), Some(address));
    assert_eq!(metrics(&world), before, "a second route beside the first is of no use");
    world.command("eth0", Operation::Release, 10 * SECOND);
    world.run(SECOND);
    assert!(metrics(&world).is_empty());
    world.command("eth0", Operation::Acquire, 10 * SECOND);
    world.run(SECOND);
    assert_eq!(metrics(&world), vec![70; before.len()]);
}

#[test]
fn an_address_of_an_earlier_daemon_that_nobody_leases_is_removed() {
    let (mut world, address) = one_leased();
    world.kill();
    // Another lease than the one on record: that of a daemon that was killed before it wrote.
    let stray = Ipv4Addr::new(10, 9, 9, 9);
    let row = AddressRow { address: stray.into(), ..world.addresses[&(2, address)] };
    world.addresses.insert((2, stray), row);
    let others = AddressRow { address: [10, 8, 8, 8].into(), is_ours: false, ..row };
    world.addresses.insert((2, Ipv4Addr::new(10, 8, 8, 8)), others);
    world.run(SECOND);
    assert!(!world.addresses.contains_key(&(2, stray)));
    assert!(world.addresses.contains_key(&(2, Ipv4Addr::new(10, 8, 8, 8))), "not ours");
    assert_eq!(world.leased(2), Some(address));
}

#[test]
fn an_address_that_somebody_removed_is_put_back() {
    let (mut world, address) = one_leased();
    world.remove_address(2, address);
    world.run(SECOND);
    world.check();
    assert_eq!(world.leased(2), Some(address));
}

#[test]
fn what_notifications_lost_is_found_in_the_tables() {
    let (mut world, address) = one_leased();
    world.addresses.remove(&(2, address));
    world.links.insert(3, testing::link(3, "eth1"));
    world.tell(Input::Notice(Notice::Lost));
    world.run(SECOND);
    world.check();
    assert_eq!(world.leased(2), Some(address));
    assert!(world.leased(3).is_some());
}

#[test]
fn a_release_waits_until_it_has_left() {
    let (mut world, address) = one_leased();
    // Its server does not answer for its link address.
    world.release = None;
    let id = world.command("eth0", Operation::Release, 10 * SECOND);
    world.run(SECOND);
    assert!(world.addresses.contains_key(&(2, address)), "the packet comes from it");
    assert!(!world.answers.contains_key(&id));
    world.run(SECOND);
    let Some(Answer::Done(Outcome::Released { told, .. })) = world.answers.get(&id) else {
        panic!("{:?}", world.answers);
    };
    assert!(matches!(told, Told::NotSent { .. }), "{told:?}");
    world.check();
    assert_eq!(world.given_back.len(), 0);
}

#[test]
fn an_interface_that_goes_while_a_release_waits_answers_all_the_same() {
    let (mut world, _) = one_leased();
    world.release = None;
    let id = world.command("eth0", Operation::Release, 10 * SECOND);
    world.unplug(2);
    world.run(SECOND);
    let Some(Answer::Failed(Failure::InterfaceGone)) = world.answers.get(&id) else {
        panic!("{:?}", world.answers);
    };
    world.check();
}

#[test]
fn what_a_configuration_no_longer_names_is_given_back() {
    let (mut world, address) = one_leased();
    world.reconfigure("");
    world.run(SECOND);
    assert!(world.given_back.contains(&address));
    assert!(world.roster.client(ClientKey::ipv4(NETWORK, 2)).is_none());
    assert!(world.addresses.is_empty() && world.routes.is_empty() && world.resolver.is_empty());

    // Somebody asks for one while the last is being given back: the client stays.
    world.reconfigure(MANAGED);
    world.run(SECOND);
    world.release = None;
    world.reconfigure("");
    let id = world.command("eth0", Operation::Acquire, 10 * SECOND);
    world.run(5 * SECOND);
    assert!(matches!(world.answers.get(&id), Some(Answer::Done(Outcome::Acquired { .. }))));
    assert!(world.leased(2).is_some());
}

#[test]
fn a_daemon_that_ends_gives_back_what_it_is_to() {
    let (mut world, address) = one_leased();
    world.reconfigure(&format!("[daemon]\nrelease_on_stop = true\n{MANAGED}"));
    world.tell(Input::Stop);
    assert!(!world.roster.has_ended());
    world.run(SECOND);
    assert!(world.roster.has_ended());
    assert!(world.given_back.contains(&address));
    assert!(world.addresses.is_empty());
}

#[test]
fn commands_that_no_client_takes_are_refused() {
    let mut world = World::new(1, "");
    world.plug(1, "lo");
    world.change_link(1, |link| link.is_loopback = true);
    world.plug(2, "eth0");
    world.run(SECOND);
    for (interface, command, expected) in [
        ("eth7", Operation::Acquire, Refusal::NoSuchInterface),
        ("lo", Operation::Acquire, Refusal::Loopback),
        ("eth0", Operation::Renew, Refusal::NotManaged { ifindex: 2 }),
        ("eth0", Operation::Release, Refusal::NotManaged { ifindex: 2 }),
        ("eth0", Operation::Inform(None), Refusal::NoAddress),
    ] {
        let id = world.command(interface, command, SECOND);
        let Some(Answer::Refused(refusal)) = world.answers.get(&id) else {
            panic!("{command:?} of {interface}: {:?}", world.answers.get(&id));
        };
        assert_eq!(*refusal, expected, "{command:?} of {interface}");
    }
}

#[test]
fn a_caller_that_leaves_is_not_answered_and_the_client_goes_on() {
    let mut world = World::new(1, "");
    world.plug(2, "eth0");
    world.is_server_up = false;
    world.run(SECOND);
    let id = world.command("eth0", Operation::Acquire, 60 * SECOND);
    world.run(SECOND);
    world.tell(Input::Cancel(id));
    world.is_server_up = true;
    world.run(60 * SECOND);
    assert!(world.answers.is_empty(), "{:?}", world.answers);
    assert!(world.leased(2).is_some());
}

#[test]
fn a_disk_that_was_full_gets_the_record_later() {
    let (mut world, address) = one_leased();
    world.disk.clear();
    let id = world.command("eth0", Operation::Renew, 10 * SECOND);
    world.is_disk_full = true;
    world.run(SECOND);
    assert!(world.answers.contains_key(&id));
    assert!(world.problems.contains(&(Subject::Part("store"), ProblemKind::StoreUnwritable)));
    assert!(!world.disk.contains_key("eth0"));
    world.is_disk_full = false;
    world.run(40 * SECOND);
    assert_eq!(world.leased(2), Some(address));
    assert!(!world.problems.contains(&(Subject::Part("store"), ProblemKind::StoreUnwritable)));
}

/// Renames, hot-plug, lost carriers, restarts and kills over a thousand interfaces.
fn churn(seed: u64, interfaces: u32) {
    let mut world = World::new(seed, MANAGED);
    let mut rng = Rng::from_u64(seed + 1);
    for ifindex in 2..2 + interfaces {
        world.plug(ifindex, &format!("eth{ifindex}"));
    }
    world.run(5 * SECOND);
    world.check();
    for ifindex in 2..2 + interfaces {
        assert!(world.leased(ifindex).is_some(), "seed {seed}: eth{ifindex}");
    }
    let mut next = 2 + interfaces;
    for round in 0..interfaces / 2 {
        let present: Vec<u32> = world.links.keys().copied().collect();
        let ifindex = present[rng.below(present.len() as u64) as usize];
        let address = world.leased(ifindex);
        if round % (interfaces / 8).max(1) == 1 {
            world.kill();
        }
        match rng.below(5) {
            0 => world.change_link(ifindex, |link| link.name = format!("eth-{round}")),
            1 => {
                let link = world.links[&ifindex].clone();
                world.unplug(ifindex);
                world.plug_in(LinkRow { index: next, ..link });
                next += 1;
            }
            2 => world.change_link(ifindex, |link| link.is_up = !link.is_up),
            3 => {
                if let Some(address) = address {
                    world.remove_address(ifindex, address);
                }
            }
            _ => {
                let name = world.links[&ifindex].name.clone();
                let command = [Operation::Renew, Operation::Release, Operation::Acquire]
                    [rng.below(3) as usize];
                world.command(&name, command, 20 * SECOND);
            }
        }
        world.run(Duration::from_millis(rng.below(20)));
    }
    // Everything is up, and a last kill: what was acknowledged is found again.
    let down: Vec<u32> =
        world.links.values().filter(|link| !link.is_up).map(|link| link.index).collect();
    down.into_iter().for_each(|ifindex| world.change_link(ifindex, |link| link.is_up = true));
    world.run(60 * SECOND);
    world.check();
    let before: Vec<_> =
        world.links.keys().map(|ifindex| (*ifindex, world.leased(*ifindex))).collect();
    world.kill();
    world.run(60 * SECOND);
    world.check();
    for (ifindex, address) in before {
        assert_eq!(world.leased(ifindex), address, "seed {seed}: {}", world.links[&ifindex].name);
        let (interface, _) = world.roster.client(ClientKey::ipv4(NETWORK, ifindex)).unwrap();
        let is_released = interface.client.state() == v4::State::Released;
        assert_eq!(is_released, address.is_none(), "seed {seed}: {ifindex}");
    }
}

#[test]
fn a_thousand_interfaces_come_change_and_go() {
    let began = RealTime::now();
    churn(1, 1_000);
    // A statement for whoever reads the log, not a check: machines differ.
    eprintln!("a thousand interfaces took {:?}", began.elapsed());
}

#[test]
fn many_small_worlds() {
    for seed in 2..102 {
        churn(seed, 12);
    }
}
