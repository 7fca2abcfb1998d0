//! The network is recognised by its router (RFC 4436).

use core::net::Ipv4Addr;

use dhcp::v4::*;
use wire::dhcpv4::MessageType;
use wire::{HardwareType, arp};

use crate::harness::*;
use crate::reboot::{restarted, with_gateway};

const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);

fn router_answers(last: u8) -> arp::Packet {
    arp::Packet::request(HardwareType::ETHERNET, hardware(1), ADDRESS, SERVER).reply(hardware(last))
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
    assert_eq!(arps(&outputs), []);
    assert_eq!(listens(&outputs).last(), Some(&Listen::default()));
    assert_eq!(host.until_next(), 1_800.0 - 109.0);
}

#[test]
fn a_late_answer_is_known_by_its_transaction() {
    let (mut host, outputs) = restarted(plain(), with_gateway);
    let request = dhcp(&outputs).remove(0);
    host.arp(&router_answers(0xfe));
    let expires_at = host.client.lease().and_then(|lease| lease.expires_at);
    let mut stray = ack(&request);
    stray.xid ^= 1;
    assert_eq!(discarded(&host.receive(&stray)), 1);
    assert_eq!(host.client.lease().and_then(|lease| lease.expires_at), expires_at);
    // And by its time.
    host.advance(seconds(8.1));
    assert_eq!(discarded(&host.receive(&ack(&request))), 1);
}

#[test]
fn only_the_routers_own_answer_proves_the_network() {
    let (mut host, _) = restarted(plain(), with_gateway);
    let good = router_answers(0xfe);
    let question = arp::Packet { operation: arp::Operation::Request, ..good.clone() };
    let other_host = arp::Packet { sender: OTHER, ..good };
    for packet in [question, other_host] {
        assert_eq!(host.arp(&packet), []);
        assert_eq!(host.client.state(), State::Rebooting);
    }
    // Three times, 200 ms apart; then the server alone decides.
    let outputs = host.advance(seconds(2.9));
    assert_eq!(arps(&outputs).len(), 2);
    assert_eq!(host.client.state(), State::Rebooting);

    // Nobody asked yet: the router's word on its own is no answer.
    let mut host = Host::bound(plain());
    assert_eq!(host.arp(&router_answers(0xfe)), []);
    assert_eq!(host.client.lease().and_then(|lease| lease.gateway), None);
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
fn a_router_that_changes_is_learned_anew() {
    let mut host = Host::bound(plain());
    host.next();
    host.arp(&router_answers(0xfe));
    let (_, outputs) = host.command(Command::Renew, 5);
    let mut moved = ack(&dhcp(&outputs)[0]);
    moved.options.set_routers(&[SERVER_2]);
    host.receive(&moved);
    assert_eq!(host.client.lease().and_then(|lease| lease.gateway), None);
    let outputs = host.advance(seconds(5.1));
    assert!(arps(&outputs).iter().any(|(packet, _)| packet.target == SERVER_2));
}

#[test]
fn a_confirmed_lease_may_be_behind_another_router() {
    let mut host = Host::bound(plain());
    host.next();
    host.arp(&router_answers(0xfe));
    host.input(Input::Link(link(false)));
    let outputs = host.input(Input::Link(link(true)));
    host.receive(&ack(&dhcp(&outputs)[0]));
    let outputs = host.advance(seconds(5.1));
    assert!(arps(&outputs).iter().any(|(packet, to)| packet.target == SERVER && to.is_none()));
    host.arp(&router_answers(0xaa));
    let gateway = host.client.lease().and_then(|lease| lease.gateway);
    assert_eq!(gateway, Some((SERVER, hardware(0xaa))));
}
