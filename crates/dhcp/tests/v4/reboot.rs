//! Restart, carrier changes, other networks: what becomes of the previous lease.

use core::net::Ipv4Addr;

use dhcp::v4::*;
use engine::Engine as _;
use wire::dhcpv4::MessageType;
use wire::{HardwareType, arp};

use crate::harness::*;

/// A client after a restart of the daemon, with the record of another's lease.
pub(crate) fn restarted(config: Config, change: impl FnOnce(&mut Record)) -> (Host, Vec<Output>) {
    let before = Host::bound(plain());
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

pub(crate) fn with_gateway(record: &mut Record) {
    record.lease.as_mut().expect("a lease").gateway = Some((SERVER, hardware(0xfe)));
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
    // Twice in all, the first of them before.
    assert_eq!(kinds(&outputs)[..2], [MessageType::Request, MessageType::Discover]);
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::AddAddress(_))));
    assert_eq!(host.client.lease().map(|lease| lease.address), Some(ADDRESS));
    // Who asks now is told that there is one.
    let (_, outputs) = host.command(Command::Acquire, 5);
    assert!(matches!(replies(&outputs)[..], [(_, Ok(Outcome::Acquired { already: true, .. }))]));
    // Any server is asked all the while.
    assert!(kinds(&host.advance(seconds(600.0))).len() > 10);
    let outputs = host.advance(seconds(3_000.0));
    assert!(events(&outputs).contains(&Event::Expired { address: ADDRESS, prefix_length: 24 }));
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
    assert!(events(&outputs).contains(&Event::Expired { address: ADDRESS, prefix_length: 24 }));
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

/// Nobody has answered for the previous address: it is used, and servers are looked for.
fn unconfirmed(config: Config) -> (Host, wire::dhcpv4::Message) {
    let (mut host, _) = restarted(config, |_| ());
    let outputs = host.advance(seconds(11.0));
    assert_eq!(host.client.state(), State::Selecting);
    let discover = dhcp(&outputs).pop().expect("a DISCOVER");
    (host, discover)
}

const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);

/// The REQUEST for an offer of `OTHER`.
fn request_other(host: &mut Host, discover: &wire::dhcpv4::Message) -> wire::dhcpv4::Message {
    let mut offer = offer(discover);
    offer.yiaddr = OTHER;
    dhcp(&host.receive(&offer)).remove(0)
}

#[test]
fn another_address_takes_the_place_of_the_unconfirmed_one() {
    let (mut host, discover) = unconfirmed(plain());
    let request = request_other(&mut host, &discover);
    let outputs = host.receive(&ack(&request));
    let effects = effects(&outputs);
    let position = |test: &dyn Fn(&Effect) -> bool| effects.iter().position(test);
    let removed = position(&|e| matches!(e, Effect::RemoveAddress { address: ADDRESS, .. }));
    let added = position(&|e| matches!(e, Effect::AddAddress(a) if a.address == OTHER));
    assert!(removed.is_some() && removed < added, "{effects:?}");
}

#[test]
fn a_refusal_of_another_address_leaves_the_unconfirmed_one() {
    let (mut host, discover) = unconfirmed(plain());
    let request = request_other(&mut host, &discover);
    let outputs = host.receive(&nak(&request, SERVER));
    assert!(!effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
    assert_eq!(host.client.lease().map(|lease| lease.address), Some(ADDRESS));
}

#[test]
fn a_conflict_over_another_address_leaves_the_unconfirmed_one() {
    let config = Config { conflict_detection: ConflictDetection::Strict, ..plain() };
    let (mut host, discover) = unconfirmed(config);
    let request = request_other(&mut host, &discover);
    host.receive(&ack(&request));
    assert_eq!(host.client.state(), State::Probing);
    let taken = arp::Packet::announcement(HardwareType::ETHERNET, hardware(9), OTHER);
    let outputs = host.arp(&taken);
    assert_eq!(kinds(&outputs), [MessageType::Decline]);
    assert!(!effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
    assert_eq!(host.client.lease().map(|lease| lease.address), Some(ADDRESS));
}

#[test]
fn a_conflict_over_the_confirmed_address_takes_it_off() {
    let config = Config { conflict_detection: ConflictDetection::Strict, ..plain() };
    let (mut host, outputs) = restarted(config, |_| ());
    host.receive(&ack(&dhcp(&outputs)[0]));
    assert_eq!(host.client.state(), State::Probing);
    let taken = arp::Packet::announcement(HardwareType::ETHERNET, hardware(9), ADDRESS);
    let outputs = host.arp(&taken);
    // An earlier daemon may have left it there.
    let removed = Effect::RemoveAddress { address: ADDRESS, prefix_length: 24 };
    assert!(effects(&outputs).contains(&removed));
    assert_eq!(host.client.lease(), None);
    // Nor does the next daemon ask for it.
    assert!(matches!(
        effects(&outputs).last(),
        Some(Effect::Persist(record)) if record.lease.is_none()
    ));
}

#[test]
fn the_unconfirmed_address_is_watched_over() {
    let config = Config { conflict_detection: ConflictDetection::Background, ..plain() };
    let (mut host, _) = unconfirmed(config);
    let taken = arp::Packet::announcement(HardwareType::ETHERNET, hardware(9), ADDRESS);
    let outputs = host.arp(&taken);
    assert_eq!(kinds(&outputs), [MessageType::Decline]);
    assert_eq!(host.client.lease(), None);
}

#[test]
fn no_link_local_address_beside_the_unconfirmed_one() {
    let (mut host, _) = unconfirmed(Config { link_local: true, ..plain() });
    host.advance(seconds(60.0));
    assert_eq!(host.client.link_local(), None);
}

#[test]
fn only_the_previous_address_is_confirmed() {
    let (mut host, outputs) = restarted(plain(), |_| ());
    let request = &dhcp(&outputs)[0];
    let mut nameless = ack(request);
    nameless.options.remove(wire::dhcpv4::OptionCode::SERVER_IDENTIFIER);
    let mut nobodys = nak(request, SERVER);
    nobodys.options.remove(wire::dhcpv4::OptionCode::SERVER_IDENTIFIER);
    for bad in [ack_for(request, OTHER), nameless, nobodys, offer(request)] {
        assert_eq!(discarded(&host.receive(&bad)), 1);
        assert_eq!(host.client.state(), State::Rebooting);
    }
}

#[test]
fn what_is_not_in_use_or_cannot_be_is_not_put_back() {
    // Restored, and nobody has said anything about it yet.
    let (mut host, _) = restarted(plain(), |_| ());
    assert_eq!(host.input(Input::AddressRemoved(ADDRESS)), []);

    // The link is down.
    let mut host = Host::bound(plain());
    host.input(Input::AddressRemoved(ADDRESS));
    host.input(Input::AddressRemoved(ADDRESS));
    host.input(Input::Link(link(false)));
    assert_eq!(host.input(Input::AddressRemoved(ADDRESS)), []);
    assert_eq!(effects(&host.advance(seconds(100.0))), []);

    // The kernel may end it a little early.
    let mut host = Host::bound(plain());
    host.advance(seconds(3_598.5));
    assert_eq!(effects(&host.input(Input::AddressRemoved(ADDRESS))), []);
}

#[test]
fn a_probed_lease_is_asked_for_again_after_the_link_was_down() {
    let config = Config { conflict_detection: ConflictDetection::Strict, ..plain() };
    let (mut host, outputs) = Host::started(config);
    let mut good = offer(&dhcp(&outputs)[0]);
    good.yiaddr = OTHER;
    let request = dhcp(&host.receive(&good)).remove(0);
    host.receive(&ack(&request));
    assert_eq!(host.client.state(), State::Probing);
    host.input(Input::Link(link(false)));
    let outputs = host.input(Input::Link(link(true)));
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), Some(OTHER));
}

#[test]
fn link_loss_ends_what_hangs_on_the_wire() {
    let config = Config { conflict_detection: ConflictDetection::Background, ..plain() };
    let mut host = Host::bound(config);
    host.advance(seconds(0.5));
    let outputs = host.input(Input::Link(link(false)));
    assert_eq!(listens(&outputs).last(), Some(&Listen::default()));
    // Nothing but the lease's end is left to wait for.
    assert!(host.until_next() > 3_500.0);
    assert_eq!(host.advance(seconds(60.0)), []);
    let taken = arp::Packet::announcement(HardwareType::ETHERNET, hardware(9), ADDRESS);
    assert_eq!(host.arp(&taken), []);
}

#[test]
fn another_hardware_address_has_no_past() {
    let mut host = Host::bound(plain());
    host.command(Command::Release, 5);
    host.input(Input::Link(Link { hardware: hardware(5), ..link(true) }));
    let (_, outputs) = host.command(Command::Acquire, 5);
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), None);

    // Who waits for an extension is content with a new lease.
    let mut host = Host::bound(plain());
    let (id, _) = host.command(Command::Renew, 30);
    let outputs = host.input(Input::Link(Link { hardware: hardware(5), ..link(true) }));
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let outputs = host.receive(&nak(&request, SERVER));
    assert_eq!(replies(&outputs), []);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let outputs = host.receive(&ack(&request));
    assert!(matches!(&replies(&outputs)[..], [(i, Ok(Outcome::Acquired { .. }))] if *i == id));
}

#[test]
fn a_record_comes_before_everything_else_or_not_at_all() {
    let mut host = Host::bound(plain());
    let before = host.client.lease().cloned();
    let lease = before.clone().map(|lease| Lease { address: OTHER, ..lease });
    let record = Record { hardware: hardware(1), lease, released: false };
    assert_eq!(host.input(Input::Restore(Box::new(record))), []);
    assert_eq!(host.client.lease().cloned(), before);
}

#[test]
fn the_next_network_is_not_blamed_for_the_refusals_of_the_last() {
    let (mut host, mut outputs) = Host::started(plain());
    for _ in 0..4 {
        while dhcp(&outputs).is_empty() {
            outputs = host.next();
        }
        let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
        outputs = host.receive(&nak(&request, SERVER));
    }
    assert_eq!(kinds(&outputs), []);
    host.input(Input::Link(link(false)));
    let outputs = host.input(Input::Link(link(true)));
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    assert_eq!(kinds(&host.receive(&nak(&request, SERVER))), [MessageType::Discover]);
}

#[test]
fn a_release_before_the_link_is_known_is_on_disk_all_the_same() {
    let lease = Host::bound(plain()).client.lease().cloned();
    let mut host = Host::new(plain());
    let record = Record { hardware: hardware(1), lease, released: false };
    host.input(Input::Restore(Box::new(record)));
    let (id, outputs) = host.command(Command::Release, 5);
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
    assert!(matches!(
        effects(&outputs).last(),
        Some(Effect::Persist(record)) if record.released && record.hardware == hardware(1)
    ));
    // Nobody could be told.
    assert_eq!(replies(&outputs), [(id, Err(Failure::LinkDown))]);
}

#[test]
fn strict_detection_probes_for_the_unconfirmed_address_as_well() {
    let config = || Config { conflict_detection: ConflictDetection::Strict, ..plain() };
    let adds = |outputs: &[Output]| {
        effects(outputs).iter().any(|effect| matches!(effect, Effect::AddAddress(_)))
    };
    // Nor does it help to know the router.
    let (mut host, outputs) = restarted(config(), with_gateway);
    assert_eq!(arps(&outputs), []);
    let outputs = host.advance(seconds(6.0));
    assert!(!adds(&outputs));
    let outputs = host.advance(seconds(14.0));
    assert!(adds(&outputs));
    let probes = arps(&outputs).into_iter().filter(|(p, _)| p.is_probe() && p.target == ADDRESS);
    assert!((1..=3).contains(&probes.count()));

    let (mut host, _) = unconfirmed(config());
    let rival = arp::Packet::probe(HardwareType::ETHERNET, hardware(9), ADDRESS);
    let outputs = host.arp(&rival);
    assert_eq!(kinds(&outputs), [MessageType::Decline]);
    assert!(!adds(&outputs));
    assert_eq!(host.client.lease(), None);

    // What stayed in use while the carrier was away is used on.
    let (mut host, outputs) = Host::started(config());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&ack(&request));
    host.advance(seconds(30.0));
    host.input(Input::Link(link(false)));
    let outputs = host.input(Input::Link(link(true)));
    host.receive(&ack(&dhcp(&outputs)[0]));
    assert_eq!(host.client.state(), State::Bound);
}
