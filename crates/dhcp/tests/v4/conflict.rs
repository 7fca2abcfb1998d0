//! Somebody else has the address (RFC 5227), or nobody gives one (RFC 3927).

use core::net::Ipv4Addr;

use dhcp::v4::*;
use engine::{CommandId, Engine as _};
use wire::dhcpv4::MessageType;
use wire::{HardwareAddress, HardwareType, arp};

use crate::harness::*;

fn config(conflict_detection: ConflictDetection) -> Config {
    Config { conflict_detection, ..plain() }
}

/// `last` says that it has `address`.
fn claims(last: u8, address: Ipv4Addr) -> arp::Packet {
    arp::Packet::announcement(HardwareType::ETHERNET, hardware(last), address)
}

/// ACK received; the command may not be answered yet.
fn granted(detection: ConflictDetection) -> (Host, Vec<Output>) {
    let (mut host, outputs) = Host::started(config(detection));
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let outputs = host.receive(&ack(&request));
    (host, outputs)
}

/// ARP for the address, the router's left out.
fn about_address(outputs: &[Output]) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let pairs = arps(outputs).into_iter().map(|(p, _)| (p.sender, p.target));
    pairs.filter(|(_, target)| *target == ADDRESS).collect()
}

fn assert_declined(outputs: &[Output]) {
    let decline = dhcp(outputs)
        .into_iter()
        .find(|m| m.message_type() == Some(MessageType::Decline))
        .expect("a DECLINE");
    assert!(
        sends(outputs).iter().any(|t| matches!(t, Transmit::Broadcast { source: NOBODY, message }
            if **message == decline))
    );
    assert_eq!((decline.ciaddr, decline.secs), (NOBODY, 0));
    assert_eq!(decline.options.requested_address(), Some(ADDRESS));
    assert_eq!(decline.options.server_identifier(), Some(SERVER));
}

#[test]
fn background_uses_at_once_and_probes_meanwhile() {
    let (mut host, outputs) = granted(ConflictDetection::Background);
    assert!(matches!(replies(&outputs)[..], [(_, Ok(Outcome::Acquired { .. }))]));
    assert_eq!(listens(&outputs).last().map(|l| l.dhcp), Some(DhcpListen::Off));
    let outputs = host.advance(seconds(20.0));
    // Nothing is put in place twice.
    assert_eq!(effects(&outputs), []);
    let probe = (NOBODY, ADDRESS);
    let announcement = (ADDRESS, ADDRESS);
    assert_eq!(about_address(&outputs), [probe, probe, probe, announcement, announcement]);
    // It goes on watching its address and nothing else.
    assert_eq!(listens(&outputs).last().map(|l| l.arp), Some(ArpListen::Conflicts(ADDRESS)));
    assert_eq!(host.until_next(), 1_780.0);
}

#[test]
fn a_conflict_in_the_background_ends_the_use_and_is_declined() {
    let (mut host, _) = granted(ConflictDetection::Background);
    host.advance(seconds(1.5));
    // The kernel's own answers on the same interface are no conflict, nor is a rival's probe.
    assert_eq!(events(&host.arp(&claims(1, ADDRESS))), []);
    let probe = arp::Packet::probe(HardwareType::ETHERNET, hardware(9), ADDRESS);
    assert_eq!(events(&host.arp(&probe)), []);
    assert_eq!(host.client.state(), State::Bound);

    let outputs = host.arp(&claims(9, ADDRESS));
    assert_declined(&outputs);
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
    assert!(events(&outputs).contains(&Event::Conflict {
        address: ADDRESS,
        hardware: hardware(9),
        defended: false,
    }));
    assert_eq!(host.client.state(), State::Init);
    assert_eq!(host.until_next(), 10.0);
    let outputs = host.next();
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), None);
}

#[test]
fn strict_probes_before_use() {
    let (mut host, outputs) = granted(ConflictDetection::Strict);
    assert_eq!(states(&outputs), [State::Probing]);
    assert_eq!((effects(&outputs), replies(&outputs)), (vec![], vec![]));
    assert_eq!(host.client.lease(), None);
    let mut outputs = Vec::new();
    let began = host.now;
    while replies(&outputs).is_empty() {
        outputs.extend(host.next());
    }
    assert!((4.0..=7.0).contains(&(host.now - began).as_secs_f64()));
    assert!(matches!(replies(&outputs)[..], [(_, Ok(Outcome::Acquired { already: false, .. }))]));
    outputs.extend(host.advance(seconds(3.0)));
    let announced = about_address(&outputs);
    assert_eq!(announced.len(), 5);
    assert_eq!(announced[3], (ADDRESS, ADDRESS));
}

#[test]
fn strict_never_uses_what_another_has_or_probes_for() {
    let rival = arp::Packet::probe(HardwareType::ETHERNET, hardware(9), ADDRESS);
    for packet in [claims(9, ADDRESS), rival] {
        let (mut host, _) = granted(ConflictDetection::Strict);
        host.advance(seconds(1.5));
        let outputs = host.arp(&packet);
        assert_declined(&outputs);
        assert!(!effects(&outputs).iter().any(|e| matches!(e, Effect::AddAddress(_))));
        assert_eq!(host.until_next(), 10.0);
        // The caller learns of it when its time is over.
        let outputs = host.advance(seconds(30.0));
        let failure = Failure::Conflict { address: ADDRESS, hardware: hardware(9) };
        assert_eq!(replies(&outputs), [(CommandId(1), Err(failure))]);
    }
}

#[test]
fn a_command_does_not_cut_the_wait_after_a_decline() {
    let (mut host, _) = granted(ConflictDetection::Strict);
    host.arp(&claims(9, ADDRESS));
    let (_, outputs) = host.command(Command::Acquire, 30);
    assert_eq!(outputs, []);
    assert_eq!(host.until_next(), 10.0);
}

#[test]
fn the_tenth_conflict_in_a_row_slows_down() {
    let (mut host, outputs) = Host::started(config(ConflictDetection::Strict));
    let mut discover = dhcp(&outputs).remove(0);
    let mut waits = Vec::new();
    for _ in 0..11 {
        let request = dhcp(&host.receive(&offer(&discover))).remove(0);
        host.receive(&ack(&request));
        host.arp(&claims(9, ADDRESS));
        let declined_at = host.now;
        let mut outputs = Vec::new();
        while dhcp(&outputs).is_empty() {
            outputs = host.next();
        }
        discover = dhcp(&outputs).remove(0);
        waits.push((host.now - declined_at).as_secs_f64());
    }
    assert_eq!(waits[..9], [10.0; 9]);
    assert_eq!(waits[9..], [60.0; 2]);
}

#[test]
fn an_address_in_use_is_defended_once() {
    let (mut host, _) = granted(ConflictDetection::Background);
    host.advance(seconds(60.0));
    let outputs = host.arp(&claims(9, ADDRESS));
    assert_eq!(about_address(&outputs), [(ADDRESS, ADDRESS)]);
    assert!(matches!(events(&outputs)[..], [Event::Conflict { defended: true, .. }]));
    host.advance(seconds(11.0));
    assert!(matches!(
        events(&host.arp(&claims(9, ADDRESS)))[..],
        [Event::Conflict { defended: true, .. }]
    ));
    host.advance(seconds(5.0));
    let outputs = host.arp(&claims(9, ADDRESS));
    assert_declined(&outputs);
    assert_eq!(host.client.lease(), None);
}

#[test]
fn off_does_nothing_about_conflicts() {
    let (mut host, _) = granted(ConflictDetection::Off);
    let outputs = host.advance(seconds(20.0));
    assert_eq!(about_address(&outputs), []);
    assert_eq!(host.arp(&claims(9, ADDRESS)), []);
    assert_eq!(listens(&outputs).last().map(|l| l.arp), Some(ArpListen::Off));
}

#[test]
fn a_link_without_hardware_addresses_has_no_conflicts() {
    let mut host = Host::new(config(ConflictDetection::Strict));
    let raw = Link {
        hardware: HardwareAddress::default(),
        hardware_type: HardwareType(0xfffe),
        ..link(true)
    };
    host.input(Input::Link(raw));
    let (_, outputs) = host.command(Command::Acquire, 30);
    let discover = dhcp(&outputs).remove(0);
    assert!(discover.broadcast && discover.chaddr.is_empty());
    let request = dhcp(&host.receive(&offer(&discover))).remove(0);
    host.receive(&ack(&request));
    assert_eq!(host.client.state(), State::Bound);
    assert_eq!(arps(&host.advance(seconds(20.0))), []);
}

fn link_local() -> Config {
    Config { link_local: true, ..plain() }
}

/// Without a server until the link-local address is in use.
fn fallen_back() -> (Host, Ipv4Addr) {
    let (mut host, outputs) = Host::started(link_local());
    assert_eq!(dhcp(&outputs)[0].options.auto_configure(), Some(true));
    let mut outputs = Vec::new();
    while host.client.link_local().is_none() {
        outputs.extend(host.next());
    }
    let address = host.client.link_local().expect("just seen");
    assert!((14.0..25.0).contains(&(host.now - engine::Instant::from_secs(1_000)).as_secs_f64()));
    assert_eq!(address.octets()[..2], [169, 254]);
    assert!((1..=254).contains(&address.octets()[2]));
    let added = Effect::AddAddress(Address {
        address,
        prefix_length: 16,
        broadcast: Some(Ipv4Addr::new(169, 254, 255, 255)),
        expires_at: None,
        link_local: true,
    });
    assert!(effects(&outputs).contains(&added));
    assert!(events(&outputs).contains(&Event::LinkLocal { address }));
    (host, address)
}

#[test]
fn link_local_stands_in_until_a_server_answers() {
    let (mut host, address) = fallen_back();
    // The same host gets the same address, whatever its other random numbers are.
    let mut other = Host::seeded(link_local(), 99);
    other.input(Input::Link(link(true)));
    other.command(Command::Acquire, 30);
    other.advance(seconds(30.0));
    assert_eq!(other.client.link_local(), Some(address));

    let mut outputs = Vec::new();
    while dhcp(&outputs).is_empty() {
        outputs = host.next();
    }
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let outputs = host.receive(&ack(&request));
    let removed = Effect::RemoveAddress { address, prefix_length: 16 };
    assert_eq!(effects(&outputs)[0], removed);
    assert_eq!(host.client.link_local(), None);
}

#[test]
fn a_server_may_forbid_link_local() {
    let (mut host, outputs) = Host::started(link_local());
    let mut no = offer(&dhcp(&outputs)[0]);
    no.yiaddr = NOBODY;
    no.options.set_auto_configure(false);
    host.receive(&no);
    host.advance(seconds(120.0));
    assert_eq!(host.client.link_local(), None);
    assert_eq!(host.client.state(), State::Selecting);
}

#[test]
fn a_taken_link_local_address_is_left_for_another() {
    let (mut host, first) = fallen_back();
    // Once defended, then given up.
    let outputs = host.arp(&claims(9, first));
    assert!(events(&outputs).iter().any(|e| matches!(e, Event::Conflict { defended: true, .. })));
    let outputs = host.arp(&claims(9, first));
    assert_eq!(effects(&outputs), [Effect::RemoveAddress { address: first, prefix_length: 16 }]);
    assert_eq!(host.client.link_local(), None);
    host.advance(seconds(10.0));
    let second = host.client.link_local().expect("another one");
    assert_ne!(first, second);
}

#[test]
fn ten_taken_link_local_addresses_make_it_wait() {
    let (mut host, _) = Host::started(link_local());
    host.advance(seconds(30.0));
    let mut tried = Vec::new();
    let started = host.now;
    while tried.len() < 14 {
        if let Some(address) = host.client.link_local() {
            host.arp(&claims(9, address));
            host.arp(&claims(9, address));
        }
        for (packet, _) in arps(&host.next()) {
            if packet.is_probe() && !tried.contains(&packet.target) {
                tried.push(packet.target);
                host.arp(&claims(9, packet.target));
            }
        }
    }
    assert!(host.now - started >= seconds(4.0 * 60.0));
}

#[test]
fn release_takes_the_link_local_address_away() {
    let (mut host, address) = fallen_back();
    let (_, outputs) = host.command(Command::Release, 5);
    assert!(effects(&outputs).contains(&Effect::RemoveAddress { address, prefix_length: 16 }));
    assert_eq!(host.client.poll_timeout(), None);
}

#[test]
fn who_waits_for_an_extension_is_told_of_the_conflict() {
    let (mut host, _) = granted(ConflictDetection::Background);
    host.advance(seconds(60.0));
    let (id, _) = host.command(Command::Renew, 30);
    host.arp(&claims(9, ADDRESS));
    let outputs = host.arp(&claims(9, ADDRESS));
    assert_declined(&outputs);
    let failure = Failure::Conflict { address: ADDRESS, hardware: hardware(9) };
    assert_eq!(replies(&outputs), [(id, Err(failure))]);
}

#[test]
fn who_waits_for_a_lease_that_is_in_conflict_gets_another() {
    let (mut host, outputs) = Host::started(config(ConflictDetection::Background));
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.effects_succeed = false;
    let under_way = effect_ids(&host.receive(&ack(&request)));
    let outputs = host.arp(&claims(9, ADDRESS));
    assert_declined(&outputs);
    for id in under_way.into_iter().chain(effect_ids(&outputs)) {
        assert_eq!(replies(&host.effect(id, Ok(()))), []);
    }
    host.effects_succeed = true;
    let mut other = offer(&dhcp(&host.next())[0]);
    other.yiaddr = Ipv4Addr::new(192, 0, 2, 101);
    let request = dhcp(&host.receive(&other)).remove(0);
    let outputs = host.receive(&ack(&request));
    assert!(matches!(
        &replies(&outputs)[..],
        [(CommandId(1), Ok(Outcome::Acquired { lease, .. }))] if lease.address == other.yiaddr
    ));
}

#[test]
fn a_declined_address_is_not_asked_for_again() {
    let (mut host, _) = granted(ConflictDetection::Strict);
    host.advance(seconds(10.0));
    host.command(Command::Release, 5);
    let (_, outputs) = host.command(Command::Acquire, 30);
    let discover = dhcp(&outputs).remove(0);
    assert_eq!(discover.options.requested_address(), Some(ADDRESS));
    let request = dhcp(&host.receive(&offer(&discover))).remove(0);
    host.receive(&ack(&request));
    host.arp(&claims(9, ADDRESS));
    assert_eq!(dhcp(&host.next())[0].options.requested_address(), None);
}

#[test]
fn an_address_that_proved_free_forgives_earlier_conflicts() {
    for detection in [ConflictDetection::Strict, ConflictDetection::Background] {
        let (mut host, outputs) = Host::started(config(detection));
        let mut discover = dhcp(&outputs).remove(0);
        let mut again = |host: &mut Host, patience: f64| {
            let request = dhcp(&host.receive(&offer(&discover))).remove(0);
            host.receive(&ack(&request));
            host.advance(seconds(patience));
            host.arp(&claims(9, ADDRESS));
            host.arp(&claims(9, ADDRESS));
            assert_eq!(host.client.state(), State::Init);
            let wait = host.until_next();
            discover = dhcp(&host.next()).remove(0);
            wait
        };
        for _ in 0..9 {
            assert_eq!(again(&mut host, 0.0), 10.0);
        }
        assert_eq!(again(&mut host, 30.0), 10.0, "{detection:?}");
    }
}

#[test]
fn a_lease_that_ends_while_it_is_probed_for_is_not_used() {
    let (mut host, outputs) = Host::started(config(ConflictDetection::Strict));
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let mut short = ack(&request);
    short.options.set_lease_time(3);
    host.receive(&short);
    let outputs = host.advance(seconds(4.0));
    assert_eq!(states(&outputs), [State::Init, State::Selecting]);
    assert!(!effects(&outputs).iter().any(|e| matches!(e, Effect::AddAddress(_))));
}

#[test]
fn link_local_waits_for_servers_that_are_slow_to_choose_from() {
    let config = Config { offer_collection: seconds(60.0), ..link_local() };
    let (mut host, outputs) = Host::started(config);
    host.receive(&offer(&dhcp(&outputs)[0]));
    assert_eq!(arps(&host.advance(seconds(59.0))), []);
}

#[test]
fn only_a_server_without_an_address_can_forbid_link_local() {
    let (mut host, outputs) = Host::started(link_local());
    let mut good = offer(&dhcp(&outputs)[0]);
    good.options.set_auto_configure(false);
    host.receive(&good);
    assert_eq!(host.client.state(), State::Requesting);

    // One that comes late ends the use.
    let (mut host, address) = fallen_back();
    let mut outputs = Vec::new();
    while dhcp(&outputs).is_empty() {
        outputs = host.next();
    }
    let mut no = offer(&dhcp(&outputs)[0]);
    no.yiaddr = NOBODY;
    no.options.set_auto_configure(false);
    let outputs = host.receive(&no);
    assert_eq!(effects(&outputs), [Effect::RemoveAddress { address, prefix_length: 16 }]);
    assert_eq!(host.client.link_local(), None);

    // On another link it may be another matter.
    host.input(Input::Link(link(false)));
    host.input(Input::Link(link(true)));
    host.advance(seconds(30.0));
    assert_eq!(host.client.link_local(), Some(address));
}

#[test]
fn the_link_local_address_goes_with_the_link_and_comes_back_when_removed() {
    let (mut host, address) = fallen_back();
    let outputs = host.input(Input::AddressRemoved(address));
    assert!(matches!(&effects(&outputs)[..],
        [Effect::AddAddress(added)] if added.address == address && added.link_local));
    assert_eq!(events(&outputs), [Event::Restored { address }]);

    let outputs = host.input(Input::Link(link(false)));
    assert!(effects(&outputs).contains(&Effect::RemoveAddress { address, prefix_length: 16 }));

    let (mut host, address) = fallen_back();
    let (_, outputs) = host.command(Command::Stop { release: false }, 5);
    assert_eq!(effects(&outputs), [Effect::RemoveAddress { address, prefix_length: 16 }]);

    let (mut host, address) = fallen_back();
    let mut outputs = Vec::new();
    while dhcp(&outputs).is_empty() {
        outputs = host.next();
    }
    assert_eq!(host.client.link_local(), Some(address));
}

#[test]
fn the_link_local_address_is_defended_in_the_open() {
    let (mut host, address) = fallen_back();
    let outputs = host.arp(&claims(9, address));
    assert!(arps(&outputs).iter().any(|(p, _)| (p.sender, p.target) == (address, address)));
}

/// RFC 3927 2.1: not the first and last 256 of the block.
#[test]
fn link_local_addresses_are_drawn_from_the_whole_range_and_no_more() {
    let mut high = 0;
    let mut drawn = std::collections::BTreeSet::new();
    for number in 0..1_024_u16 {
        let [first, last] = number.to_be_bytes();
        let hardware = HardwareAddress::ethernet([2, 0, 0, 0, first, last]);
        let mut host = Host::new(link_local());
        host.input(Input::Link(Link { hardware, ..link(true) }));
        host.command(Command::Acquire, 30);
        host.advance(seconds(25.0));
        let address = host.client.link_local().expect("fallen back");
        let [169, 254, third, _] = address.octets() else { panic!("{address}") };
        assert!((1..=254).contains(&third), "{address}");
        high += u32::from(third >= 128);
        drawn.insert(address);
    }
    assert!(drawn.len() > 1_000 && (400..624).contains(&high), "{} {high}", drawn.len());
}

#[test]
fn an_anonymous_host_draws_another_link_local_address_each_time() {
    let mut drawn = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let mut host = Host::seeded(Config { anonymize: true, ..link_local() }, seed);
        host.input(Input::Link(link(true)));
        host.command(Command::Acquire, 30);
        host.advance(seconds(25.0));
        drawn.extend(host.client.link_local());
    }
    assert_eq!(drawn.len(), 8);
}

#[test]
fn a_claimed_link_local_address_forgives_earlier_conflicts() {
    let (mut host, _) = Host::started(link_local());
    let mut conflicts = 0;
    while conflicts < 9 {
        let probed = arps(&host.next()).into_iter().find(|(packet, _)| packet.is_probe());
        if let Some((packet, _)) = probed {
            host.arp(&claims(9, packet.target));
            conflicts += 1;
        }
    }
    host.advance(seconds(10.0));
    let address = host.client.link_local().expect("nobody objected to the tenth");
    host.arp(&claims(9, address));
    host.arp(&claims(9, address));
    host.advance(seconds(10.0));
    assert!(host.client.link_local().is_some_and(|second| second != address));
}

#[test]
fn nobody_can_keep_a_host_from_trying_another_link_local_address() {
    let (mut host, _) = Host::started(link_local());
    let mut conflicts = Vec::new();
    while conflicts.len() < 10 {
        let probed = arps(&host.next()).into_iter().find(|(packet, _)| packet.is_probe());
        if let Some((packet, _)) = probed {
            host.arp(&claims(9, packet.target));
            conflicts.push(packet.target);
        }
    }
    let last = conflicts[9];
    let mut outputs = Vec::new();
    for _ in 0..61 {
        assert_eq!(events(&host.arp(&claims(9, last))), []);
        outputs.extend(host.advance(seconds(1.0)));
    }
    let probes = arps(&[outputs, host.advance(seconds(1.0))].concat());
    assert!(probes.iter().any(|(packet, _)| packet.is_probe() && packet.target != last));
}
