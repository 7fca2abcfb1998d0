//! Restart, carrier changes, other networks: what becomes of the previous lease.

use core::net::Ipv4Addr;

use dhcp::v4::*;
use engine::Engine as _;
use wire::dhcpv4::MessageType;
use wire::{HardwareType, arp};

use crate::harness::*;

/// A client after a restart of the daemon, with the record of another's lease.
fn restarted(config: Config, change: impl FnOnce(&mut Record)) -> (Host, Vec<Output>) {
    let before = Host::bound(config.clone());
    let mut record =
        Record { hardware: hardware(1), lease: before.client.lease().cloned(), released: false };
    change(&mut record);
    let mut host = Host::new(config);
    host.now += seconds(100.0);
    let mut outputs = host.input(Input::Restore(Box::new(record)));
    outputs.extend(host.input(Input::Link(link(true))));
    outputs.extend(host.command(Command::Acquire, 30).1);
    (host, outputs)
}

fn with_gateway(record: &mut Record) {
    record.lease.as_mut().expect("a lease").gateway = Some((SERVER, hardware(0xfe)));
}

fn router_answers(last: u8) -> arp::Packet {
    arp::Packet::request(HardwareType::ETHERNET, hardware(1), ADDRESS, SERVER).reply(hardware(last))
}

#[test]
fn a_restart_asks_for_the_address_while_it_stays() {
    let (mut host, outputs) = restarted(plain(), |_| ());
    assert_eq!(states(&outputs), [State::InitReboot, State::Rebooting]);
    assert_eq!(effects(&outputs), []);
    let [Transmit::Broadcast { source: NOBODY, message }] = &sends(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(message.message_type(), Some(MessageType::Request));
    assert_eq!(message.ciaddr, NOBODY);
    assert_eq!(message.options.requested_address(), Some(ADDRESS));
    assert_eq!(message.options.server_identifier(), None);
    assert_eq!(host.client.lease().map(|lease| lease.address), Some(ADDRESS));

    let outputs = host.receive(&ack(message));
    assert_eq!(states(&outputs), [State::Bound]);
    // Everything is put in place: nobody knows what of it is still there.
    assert!(matches!(
        effects(&outputs)[..],
        [
            Effect::AddAddress(_),
            Effect::AddRoute(_),
            Effect::SetResolver(Some(_)),
            Effect::Persist(_)
        ]
    ));
    assert!(
        events(&outputs).iter().any(|e| matches!(e, Event::Renewed { via: Via::Broadcast, .. }))
    );
    assert!(matches!(replies(&outputs)[..], [(_, Ok(Outcome::Acquired { .. }))]));
}

#[test]
fn a_restart_while_no_server_answers_keeps_the_lease_to_its_end() {
    let (mut host, _) = restarted(plain(), |_| ());
    let outputs = host.advance(seconds(11.0));
    assert_eq!(states(&outputs), [State::Init, State::Selecting]);
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::AddAddress(_))));
    assert_eq!(host.client.lease().map(|lease| lease.address), Some(ADDRESS));
    // Who asks now is told that there is one.
    let (_, outputs) = host.command(Command::Acquire, 5);
    assert!(matches!(replies(&outputs)[..], [(_, Ok(Outcome::Acquired { already: true, .. }))]));
    // Any server is asked all the while.
    assert!(kinds(&host.advance(seconds(600.0))).len() > 10);
    let outputs = host.advance(seconds(3_000.0));
    assert!(events(&outputs).contains(&Event::Expired { address: ADDRESS }));
    assert_eq!(host.client.lease(), None);
}

#[test]
fn a_refusal_after_a_restart_means_another_network() {
    let (mut host, outputs) = restarted(plain(), |_| ());
    let outputs = host.receive(&nak(&dhcp(&outputs)[0], SERVER_2));
    assert!(
        effects(&outputs).contains(&Effect::RemoveAddress { address: ADDRESS, prefix_length: 24 })
    );
    // Without a wait, for this is what a move looks like.
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
    assert_eq!(replies(&outputs), []);
}

#[test]
fn records_that_are_of_no_use() {
    // Released: nothing happens until told.
    let record = |released, hardware| {
        Box::new(Record { hardware, lease: Host::bound(plain()).client.lease().cloned(), released })
    };
    let mut host = Host::new(plain());
    host.input(Input::Restore(record(true, hardware(1))));
    assert_eq!(host.client.state(), State::Released);
    assert_eq!(host.input(Input::Link(link(true))), []);
    let (_, outputs) = host.command(Command::Acquire, 5);
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), Some(ADDRESS));
    assert_eq!(kinds(&outputs), [MessageType::Discover]);

    // Another's: taken off the interface, and not asked for.
    for link_first in [true, false] {
        let mut host = Host::new(plain());
        let mut outputs = Vec::new();
        if link_first {
            outputs.extend(host.input(Input::Link(link(true))));
        }
        outputs.extend(host.input(Input::Restore(record(false, hardware(9)))));
        if !link_first {
            outputs.extend(host.input(Input::Link(link(true))));
        }
        assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
        let (_, outputs) = host.command(Command::Acquire, 5);
        assert_eq!(kinds(&outputs), [MessageType::Discover]);
        assert_eq!(dhcp(&outputs)[0].options.requested_address(), None);
    }

    // Expired while nobody ran: taken off the interface, and asked for.
    let mut host = Host::new(plain());
    host.now += seconds(5_000.0);
    host.input(Input::Link(link(true)));
    let outputs = host.input(Input::Restore(record(false, hardware(1))));
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
    let (_, outputs) = host.command(Command::Acquire, 5);
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), Some(ADDRESS));
}

#[test]
fn the_router_proves_the_network_before_the_server_answers() {
    let (mut host, outputs) = restarted(plain(), with_gateway);
    // Both questions at once; the router is asked alone.
    assert_eq!(kinds(&outputs), [MessageType::Request]);
    let request = dhcp(&outputs).remove(0);
    let [(probe, Some(to))] = &arps(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!((*to, probe.sender, probe.target), (hardware(0xfe), ADDRESS, SERVER));
    assert!(listens(&outputs).contains(&Listen {
        dhcp: DhcpListen::Packet,
        arp: ArpListen::ConflictsAnd(ADDRESS, SERVER),
    }));

    // Another router by that address proves nothing.
    assert_eq!(host.arp(&router_answers(0xaa)), []);
    let expires_at = host.client.lease().and_then(|lease| lease.expires_at);
    let outputs = host.arp(&router_answers(0xfe));
    assert_eq!(states(&outputs), [State::Bound]);
    assert!(events(&outputs).contains(&Event::SameNetwork { gateway: SERVER }));
    assert!(
        events(&outputs).iter().any(|e| matches!(e, Event::Renewed { via: Via::SameNetwork, .. }))
    );
    assert!(matches!(replies(&outputs)[..], [(_, Ok(Outcome::Acquired { .. }))]));
    assert_eq!(host.client.lease().and_then(|lease| lease.expires_at), expires_at);

    // The server's word counts for more when it comes.
    let outputs = host.receive(&nak(&request, SERVER));
    assert_eq!(host.client.lease(), None);
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
}

#[test]
fn a_late_ack_extends_the_recognised_lease() {
    let (mut host, outputs) = restarted(plain(), with_gateway);
    let request = dhcp(&outputs).remove(0);
    host.arp(&router_answers(0xfe));
    let requested_at = host.now;
    host.now += seconds(2.0);
    host.receive(&ack(&request));
    let lease = host.client.lease().expect("bound");
    assert_eq!(lease.obtained_at, requested_at);
    assert_eq!(lease.gateway, Some((SERVER, hardware(0xfe))));

    let (mut host, _) = restarted(plain(), with_gateway);
    host.arp(&router_answers(0xfe));
    let outputs = host.advance(seconds(9.0));
    assert_eq!(listens(&outputs).last(), Some(&Listen::default()));
    assert_eq!(host.until_next(), 1_800.0 - 109.0);
}

#[test]
fn the_router_is_learned_once_and_kept_on_disk() {
    let mut host = Host::bound(plain());
    assert!((1.0..=5.0).contains(&host.until_next()));
    let outputs = host.next();
    let [(question, None)] = &arps(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!((question.sender, question.target), (ADDRESS, SERVER));
    let outputs = host.arp(&router_answers(0xfe));
    let gateway = Some((SERVER, hardware(0xfe)));
    assert_eq!(host.client.lease().expect("bound").gateway, gateway);
    assert!(matches!(
        &effects(&outputs)[..],
        [Effect::Persist(record)] if record.lease.as_ref().is_some_and(|l| l.gateway == gateway)
    ));
    assert_eq!(
        host.until_next(),
        (host.client.lease().unwrap().renew_at.unwrap() - host.now).as_secs_f64()
    );
    // An extension keeps it and does not ask again.
    let (_, outputs) = host.command(Command::Renew, 5);
    host.receive(&ack(&dhcp(&outputs)[0]));
    assert_eq!(host.client.lease().expect("bound").gateway, gateway);
    assert_eq!(arps(&host.advance(seconds(60.0))), []);
}

#[test]
fn carrier_loss_keeps_the_lease_and_its_return_confirms_it() {
    let mut host = Host::bound(plain());
    host.advance(seconds(10.0));
    let outputs = host.input(Input::Link(link(false)));
    assert_eq!(outputs, [changed(State::Bound, State::Stopped)]);
    assert_eq!(host.client.lease().map(|lease| lease.address), Some(ADDRESS));
    // Nothing but the lease's end wakes it up.
    assert!(host.until_next() > 3_500.0);
    host.now += seconds(30.0);
    let outputs = host.input(Input::Link(link(true)));
    assert_eq!(states(&outputs), [State::InitReboot, State::Rebooting]);
    assert_eq!(effects(&outputs), []);
    host.receive(&ack(&dhcp(&outputs)[0]));
    assert_eq!(host.client.state(), State::Bound);

    host.input(Input::Link(link(false)));
    let outputs = host.advance(seconds(4_000.0));
    assert!(events(&outputs).contains(&Event::Expired { address: ADDRESS }));
    assert_eq!(host.client.poll_timeout(), None);
    let outputs = host.input(Input::Link(link(true)));
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
}

#[test]
fn another_hardware_address_starts_over() {
    let mut host = Host::bound(plain());
    let other = Link { hardware: hardware(5), ..link(true) };
    let outputs = host.input(Input::Link(other));
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
    let discover = &dhcp(&outputs)[0];
    assert_eq!(discover.message_type(), Some(MessageType::Discover));
    assert_eq!((discover.chaddr, discover.options.requested_address()), (hardware(5), None));
    assert_eq!(discover.options.client_identifier(), Some(&[1, 2, 0, 0, 0, 0, 5][..]));
}

#[test]
fn link_news_without_a_change_is_no_news() {
    let mut host = Host::bound(plain());
    let wider = Link { mtu: 9_000, ..link(true) };
    assert_eq!(host.input(Input::Link(wider)), []);
    assert_eq!(host.client.state(), State::Bound);
}

#[test]
fn renew_while_rebooting_is_answered_by_its_outcome() {
    let (mut host, outputs) = restarted(plain(), |_| ());
    let (id, more) = host.command(Command::Renew, 20);
    assert_eq!(more, []);
    let outputs = host.receive(&ack(&dhcp(&outputs)[0]));
    assert!(replies(&outputs).iter().any(
        |(i, r)| *i == id && matches!(r, Ok(Outcome::Renewed { via: Via::Broadcast, .. }))
    ));
}

#[test]
fn what_somebody_removed_comes_back_and_wars_are_slow() {
    let mut host = Host::bound(plain());
    host.advance(seconds(10.0));
    let outputs = host.input(Input::AddressRemoved(ADDRESS));
    assert!(matches!(effects(&outputs)[..], [Effect::AddAddress(_), Effect::AddRoute(_)]));
    assert_eq!(events(&outputs), [Event::Restored { address: ADDRESS }]);
    let mut restored = 0;
    for _ in 0..600 {
        let outputs = [host.input(Input::AddressRemoved(ADDRESS)), host.advance(seconds(1.0))];
        restored += events(&outputs.concat()).len();
    }
    assert!((10..40).contains(&restored), "{restored} in ten minutes");
    host.advance(seconds(100.0));
    let route = host.client.lease().expect("bound").routes[0];
    let outputs = host.input(Input::RouteRemoved(route));
    assert_eq!(events(&outputs), [Event::Restored { address: ADDRESS }]);
    // Not ours, or not any more.
    let foreign = Ipv4Addr::new(198, 51, 100, 1);
    assert_eq!(host.input(Input::AddressRemoved(foreign)), []);
    host.command(Command::Release, 5);
    assert_eq!(host.input(Input::AddressRemoved(ADDRESS)), []);
}

#[test]
fn an_anonymous_client_does_not_ask_for_what_it_had() {
    let config = Config { anonymize: true, ..plain() };
    let (_, outputs) = restarted(config, |_| ());
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), None);
}
