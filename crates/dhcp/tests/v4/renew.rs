//! BOUND to the end of the lease: renewing, rebinding, expiry, and what commands change of it.

use dhcp::v4::*;
use engine::CommandId;
use wire::dhcpv4::MessageType;
use wire::{HardwareType, arp};

use crate::harness::*;

#[test]
fn t1_asks_the_issuing_server_alone_and_half_the_rest_later_again() {
    let mut host = Host::bound(plain());
    let outputs = host.advance(seconds(1_800.0));
    assert_eq!(states(&outputs), [State::Renewing]);
    let [Transmit::Unicast { source, destination, message }] = &dhcp_sends(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!((*source, *destination), (ADDRESS, SERVER));
    assert_eq!(message.ciaddr, ADDRESS);
    assert_eq!(message.options.requested_address(), None);
    assert_eq!(message.options.server_identifier(), None);
    assert_eq!(listens(&outputs).last().map(|l| l.dhcp), Some(DhcpListen::Udp));

    // T2 is at 3150 s: 675 s, 337.5 s, 168.75 s, 84.375 s, then 60 s and T2.
    let mut gaps = Vec::new();
    while host.client.state() == State::Renewing {
        gaps.push(host.until_next());
        let outputs = host.next();
        assert_eq!(kinds(&outputs), [MessageType::Request]);
    }
    assert_eq!(gaps, [675.0, 337.5, 168.75, 84.375, 60.0, 24.375]);

    // Every server from then on; the lease ends at 3600 s: 225 s, 112.5 s, 60 s, then the end.
    assert_eq!(host.client.state(), State::Rebinding);
    let mut gaps = Vec::new();
    loop {
        gaps.push(host.until_next());
        let outputs = host.next();
        if host.client.state() != State::Rebinding {
            let removed = Effect::RemoveAddress { address: ADDRESS, prefix_length: 24 };
            assert_eq!(effects(&outputs).last(), Some(&removed));
            assert!(
                events(&outputs).contains(&Event::Expired { address: ADDRESS, prefix_length: 24 })
            );
            assert_eq!(states(&outputs), [State::Init, State::Selecting]);
            // The address is asked for again.
            let again = dhcp(&outputs)[0].options.requested_address();
            assert_eq!(again, Some(ADDRESS));
            break;
        }
        assert!(matches!(sends(&outputs)[..], [Transmit::Broadcast { source: ADDRESS, .. }]));
    }
    assert_eq!(gaps, [225.0, 112.5, 60.0, 52.5]);
    assert_eq!(host.client.lease(), None);
}

#[test]
fn clients_of_one_boot_do_not_renew_together() {
    let config = Config { spread_renewals: true, ..plain() };
    let mut drawn = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let mut host = Host::seeded(config.clone(), seed);
        host.input(Input::Link(link(true)));
        let (_, outputs) = host.command(Command::Acquire, 30);
        let outputs = host.receive(&offer(&dhcp(&outputs)[0]));
        host.receive(&ack(&dhcp(&outputs)[0]));
        let lease = host.client.lease().unwrap();
        let after = |at: Option<engine::Instant>| (at.unwrap() - lease.obtained_at).as_secs_f64();
        let (t1, t2) = (after(lease.renew_at), after(lease.rebind_at));
        assert!((1_800.0 - 1_800.0 / 32.0..=1_800.0).contains(&t1), "{t1}");
        assert!((3_150.0 - 3_150.0 / 32.0..=3_150.0).contains(&t2), "{t2}");
        assert_eq!(after(lease.expires_at), 3_600.0);
        drawn.insert((lease.renew_at, lease.rebind_at));
        let outputs = host.advance(seconds(t1 - 0.001));
        assert_eq!(dhcp(&outputs), []);
        let outputs = host.advance(seconds(0.002));
        assert_eq!(states(&outputs), [State::Renewing]);
    }
    assert!(drawn.len() > 90, "{}", drawn.len());
}

#[test]
fn chance_does_not_bring_t2_before_t1() {
    for seed in 0..100 {
        let mut host = Host::seeded(Config { spread_renewals: true, ..plain() }, seed);
        host.input(Input::Link(link(true)));
        let (_, outputs) = host.command(Command::Acquire, 30);
        let outputs = host.receive(&offer(&dhcp(&outputs)[0]));
        let mut close = ack(&dhcp(&outputs)[0]);
        close.options.set_renewal_time(3_000).set_rebinding_time(3_001);
        host.receive(&close);
        let lease = host.client.lease().unwrap();
        assert!(lease.renew_at < lease.rebind_at, "{lease:?}");
    }
}

#[test]
fn an_extension_changes_only_what_has_changed() {
    let mut host = Host::bound(plain());
    let outputs = host.advance(seconds(1_800.0));
    let mut same = ack(&dhcp(&outputs)[0]);
    let outputs = host.receive(&same);
    let expires_at = host.client.lease().and_then(|lease| lease.expires_at);
    assert_eq!(expires_at, Some(host.now + seconds(3_600.0)));
    assert!(matches!(
        &effects(&outputs)[..],
        [Effect::AddAddress(address), Effect::Persist(_)] if address.expires_at == expires_at
    ));
    assert!(matches!(
        &events(&outputs)[..],
        [Event::StateChanged { to: State::Bound, .. }, Event::Renewed { via: Via::Unicast, .. }]
    ));

    let outputs = host.advance(seconds(1_800.0));
    same = ack(&dhcp(&outputs)[0]);
    same.options.set_routers(&[SERVER_2]);
    same.options.set_dns_servers(&[]);
    same.options.set_mtu(1_400);
    let outputs = host.receive(&same);
    let kinds: Vec<String> = effects(&outputs)
        .iter()
        .map(|effect| format!("{effect:?}").split(['(', ' ']).next().unwrap().to_owned())
        .collect();
    assert_eq!(
        kinds,
        ["AddAddress", "RemoveRoute", "AddRoute", "SetMtu", "SetResolver", "Persist"]
    );
    assert!(effects(&outputs).contains(&Effect::SetResolver(None)));
}

#[test]
fn a_lost_extension_still_counts_from_its_own_request() {
    let mut host = Host::bound(plain());
    let outputs = host.advance(seconds(1_800.0));
    let first = dhcp(&outputs).remove(0);
    let first_at = host.now;
    host.advance(seconds(675.0));
    // The answer to the first comes after the second was sent.
    host.receive(&ack(&first));
    let lease = host.client.lease().expect("bound");
    assert_eq!(lease.obtained_at, first_at);
}

#[test]
fn foreign_refusals_do_not_end_a_lease() {
    let mut host = Host::bound(plain());
    let outputs = host.advance(seconds(1_800.0));
    let request = dhcp(&outputs).remove(0);
    let mut anonymous = nak(&request, SERVER);
    anonymous.options.remove(wire::dhcpv4::OptionCode::SERVER_IDENTIFIER);
    let mut other_hardware = nak(&request, SERVER);
    other_hardware.chaddr = hardware(7);
    let mut other_transaction = nak(&request, SERVER);
    other_transaction.xid ^= 0x100;
    for bad in [nak(&request, SERVER_2), anonymous, other_hardware, other_transaction] {
        assert_eq!(discarded(&host.receive(&bad)), 1);
        assert_eq!(host.client.state(), State::Renewing);
    }

    let outputs = host.receive(&nak(&request, SERVER));
    assert!(matches!(
        &events(&outputs)[0],
        Event::Refused { server: SERVER, message: Some(m) } if m == "wrong network"
    ));
    assert!(
        effects(&outputs).contains(&Effect::RemoveAddress { address: ADDRESS, prefix_length: 24 })
    );
    // It is forgotten on disk as well, and not asked for again.
    assert!(effects(&outputs).iter().any(
        |e| matches!(e, Effect::Persist(record) if record.lease.is_none() && !record.released)
    ));
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), None);
}

#[test]
fn any_server_may_refuse_or_extend_while_rebinding() {
    for refused in [true, false] {
        let mut host = Host::bound(plain());
        host.advance(seconds(1_801.0));
        let outputs = host.advance(seconds(1_349.0));
        assert_eq!(host.client.state(), State::Rebinding);
        let request = dhcp(&outputs).pop().expect("a REQUEST");
        if refused {
            host.receive(&nak(&request, SERVER_2));
            assert_eq!(host.client.lease(), None);
        } else {
            let mut other = ack(&request);
            other.options.set_server_identifier(SERVER_2);
            let outputs = host.receive(&other);
            assert_eq!(host.client.lease().map(|lease| lease.server), Some(SERVER_2));
            assert!(
                events(&outputs)
                    .iter()
                    .any(|e| matches!(e, Event::Renewed { via: Via::Broadcast, .. }))
            );
        }
    }
}

#[test]
fn sleep_past_the_end_ends_the_lease_before_anything_else() {
    let mut host = Host::bound(plain());
    host.advance(seconds(60.0));
    let outputs = host.sleep(seconds(10_000.0));
    let first = effects(&outputs);
    assert!(matches!(first[0], Effect::RemoveRoute(_)));
    assert!(events(&outputs).contains(&Event::Expired { address: ADDRESS, prefix_length: 24 }));
    let position = |test: &dyn Fn(&Output) -> bool| outputs.iter().position(test);
    let removed =
        position(&|o| matches!(o, Output::Effect { effect: Effect::RemoveAddress { .. }, .. }));
    let sent = position(&|o| matches!(o, Output::Send(_)));
    assert!(removed < sent && removed.is_some());
    assert_eq!(host.client.state(), State::Selecting);

    // The same when it is not a timer but an input that wakes it up.
    let mut host = Host::bound(plain());
    host.now += seconds(4_000.0);
    let outputs = host.input(Input::AddressRemoved(ADDRESS));
    assert!(!effects(&outputs).iter().any(|e| matches!(e, Effect::AddAddress(_))));
    assert_eq!(host.client.lease(), None);
}

#[test]
fn sleep_past_t2_asks_everybody_at_once() {
    let mut host = Host::bound(plain());
    host.advance(seconds(60.0));
    let outputs = host.sleep(seconds(3_300.0));
    assert_eq!(states(&outputs), [State::Rebinding]);
    assert!(matches!(sends(&outputs)[..], [Transmit::Broadcast { source: ADDRESS, .. }]));
}

#[test]
fn renew_by_command_asks_the_issuing_server_now_and_soon_again() {
    let mut host = Host::bound(plain());
    host.advance(seconds(60.0));
    let (id, outputs) = host.command(Command::Renew, 10);
    assert!(matches!(sends(&outputs)[..], [Transmit::Unicast { destination: SERVER, .. }]));
    let outputs = host.advance(seconds(9.9));
    // After 1, 3 and 7 seconds.
    assert!((2..=4).contains(&dhcp(&outputs).len()));
    assert!(dhcp_sends(&outputs).iter().all(|t| matches!(t, Transmit::Unicast { .. })));
    let outputs = host.advance(seconds(0.1));
    let [(replied, Err(Failure::NoAnswer { waited, tries }))] = &replies(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!((*replied, *waited), (id, seconds(10.0)));
    assert!((3..=5).contains(tries));
    // The lease stays as it was, with its own times.
    assert_eq!(host.client.state(), State::Bound);
    assert_eq!(host.until_next(), 1_800.0 - 70.0);
    assert_eq!(listens(&outputs).last().map(|l| l.dhcp), Some(DhcpListen::Off));
}

#[test]
fn renew_by_command_is_told_the_outcome() {
    for refused in [true, false] {
        let mut host = Host::bound(plain());
        host.advance(seconds(60.0));
        let (id, outputs) = host.command(Command::Renew, 10);
        let request = dhcp(&outputs).remove(0);
        if refused {
            let outputs = host.receive(&nak(&request, SERVER));
            let failure =
                Failure::Refused { server: SERVER, message: Some("wrong network".to_owned()) };
            assert_eq!(replies(&outputs), [(id, Err(failure))]);
        } else {
            host.effects_succeed = false;
            let outputs = host.receive(&ack(&request));
            assert_eq!(replies(&outputs), []);
            let ids = effect_ids(&outputs);
            assert_eq!(replies(&host.effect(ids[1], Ok(()))), []);
            let lease = Box::new(host.client.lease().expect("bound").clone());
            let via = Via::Unicast;
            let outputs = host.effect(ids[0], Ok(()));
            assert_eq!(replies(&outputs), [(id, Ok(Outcome::Renewed { lease, via }))]);
        }
    }
}

#[test]
fn two_renewals_share_one_exchange() {
    let mut host = Host::bound(plain());
    host.advance(seconds(60.0));
    let (first, outputs) = host.command(Command::Renew, 10);
    let request = dhcp(&outputs).remove(0);
    let (second, outputs) = host.command(Command::Renew, 20);
    assert_eq!(dhcp(&outputs), []);
    let outputs = host.receive(&ack(&request));
    let ids: Vec<CommandId> = replies(&outputs).iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [first, second]);

    // Each has its own deadline.
    host.command(Command::Renew, 5);
    host.command(Command::Renew, 9);
    assert_eq!(replies(&host.advance(seconds(5.0))).len(), 1);
    assert_eq!(host.client.state(), State::Renewing);
    assert_eq!(replies(&host.advance(seconds(4.0))).len(), 1);
    assert_eq!(host.client.state(), State::Bound);
}

#[test]
fn renew_by_command_past_t2_asks_everybody() {
    let mut host = Host::bound(plain());
    host.advance(seconds(3_200.0));
    let (_, outputs) = host.command(Command::Renew, 10);
    let outputs = [outputs, host.advance(seconds(2.0))].concat();
    assert!(!dhcp(&outputs).is_empty());
    assert!(sends(&outputs).iter().all(|t| matches!(t, Transmit::Broadcast { .. })));
    // Without an answer the lease's own pace goes on.
    host.advance(seconds(8.0));
    assert_eq!(host.client.state(), State::Rebinding);
    assert!(host.until_next() >= 45.0);
}

#[test]
fn renew_by_command_across_t1_goes_on_at_the_natural_pace() {
    let mut host = Host::bound(plain());
    host.advance(seconds(1_795.0));
    host.command(Command::Renew, 10);
    host.advance(seconds(10.0));
    assert_eq!(host.client.state(), State::Renewing);
    assert!(host.until_next() > 600.0);
}

#[test]
fn an_extension_is_for_the_address_there_is() {
    let mut host = Host::bound(plain());
    let outputs = host.advance(seconds(1_800.0));
    let request = dhcp(&outputs).remove(0);
    let mut another = ack(&request);
    another.yiaddr = core::net::Ipv4Addr::new(192, 0, 2, 101);
    assert_eq!(discarded(&host.receive(&another)), 1);
    assert_eq!(host.client.state(), State::Renewing);
    // Only the issuing server was asked: it may leave its name out.
    let mut nameless = ack(&request);
    nameless.options.remove(wire::dhcpv4::OptionCode::SERVER_IDENTIFIER);
    host.receive(&nameless);
    assert_eq!(host.client.lease().map(|lease| lease.server), Some(SERVER));

    // Everybody was asked: whose lease would it be?
    let outputs = host.advance(seconds(3_200.0));
    assert_eq!(host.client.state(), State::Rebinding);
    let mut nameless = ack(&dhcp(&outputs).pop().expect("a REQUEST"));
    nameless.options.remove(wire::dhcpv4::OptionCode::SERVER_IDENTIFIER);
    assert_eq!(discarded(&host.receive(&nameless)), 1);
    assert_eq!(host.client.state(), State::Rebinding);
}

/// A server with several addresses may answer by another name than it was asked by; whoever
/// answers has seen the question, which went to it alone.
#[test]
fn the_server_that_answers_a_renewal_says_its_own_name() {
    let mut host = Host::bound(plain());
    let (_, outputs) = host.command(Command::Renew, 5);
    let mut renamed = ack(&dhcp(&outputs)[0]);
    renamed.options.set_server_identifier(SERVER_2);
    host.receive(&renamed);
    let (_, outputs) = host.command(Command::Renew, 5);
    assert!(matches!(sends(&outputs)[..], [Transmit::Unicast { destination: SERVER_2, .. }]));
}

#[test]
fn an_answer_to_the_last_renewal_counts_while_rebinding() {
    let mut host = Host::bound(plain());
    let outputs = host.advance(seconds(3_149.0));
    let last = dhcp(&outputs).pop().expect("a REQUEST");
    let outputs = host.advance(seconds(1.0));
    assert_eq!(states(&outputs), [State::Rebinding]);
    // The seconds of one process go on (RFC 2131 2).
    assert_eq!(dhcp(&outputs)[0].secs, 1_350);
    assert!(events(&outputs).iter().any(|e| matches!(e, Event::NoAnswer { .. })));
    host.receive(&ack(&last));
    assert_eq!(host.client.state(), State::Bound);
}

#[test]
fn another_prefix_is_another_address() {
    let conflict_detection = ConflictDetection::Background;
    let mut host = Host::bound(Config { conflict_detection, ..plain() });
    host.advance(seconds(60.0));
    let (_, outputs) = host.command(Command::Renew, 5);
    let mut wider = ack(&dhcp(&outputs)[0]);
    wider.options.set_subnet_mask(16);
    let outputs = host.receive(&wider);
    let removed = Effect::RemoveAddress { address: ADDRESS, prefix_length: 24 };
    let effects = effects(&outputs);
    let position = |test: &dyn Fn(&Effect) -> bool| effects.iter().position(test);
    let added = position(&|e| matches!(e, Effect::AddAddress(a) if a.prefix_length == 16));
    assert!(position(&|e| *e == removed) < added && effects.contains(&removed), "{effects:?}");
    // Which is watched over like any other.
    let taken = arp::Packet::announcement(HardwareType::ETHERNET, hardware(9), ADDRESS);
    assert_eq!(kinds(&host.arp(&taken)), [MessageType::Decline]);
}

#[test]
fn an_extension_needs_no_probes() {
    for conflict_detection in [ConflictDetection::Background, ConflictDetection::Strict] {
        let (mut host, outputs) = Host::started(Config { conflict_detection, ..plain() });
        let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
        host.receive(&ack(&request));
        host.advance(seconds(60.0));
        let (id, outputs) = host.command(Command::Renew, 5);
        let outputs = host.receive(&ack(&dhcp(&outputs)[0]));
        assert_eq!(states(&outputs), [State::Bound]);
        assert!(matches!(&replies(&outputs)[..], [(i, Ok(Outcome::Renewed { .. }))] if *i == id));
        let outputs = host.advance(seconds(60.0));
        assert!(!arps(&outputs).iter().any(|(packet, _)| packet.target == ADDRESS));
    }
}

#[test]
fn what_an_extension_takes_back_is_taken_back() {
    let mut host = Host::bound(plain());
    let mut renew = |change: fn(&mut wire::dhcpv4::Message)| {
        let (_, outputs) = host.command(Command::Renew, 5);
        let mut ack = ack(&dhcp(&outputs)[0]);
        change(&mut ack);
        effects(&host.receive(&ack))
    };
    let with = renew(|ack| {
        ack.options.set_mtu(1_400);
    });
    assert!(with.contains(&Effect::SetMtu(Some(1_400))));
    assert!(renew(|_| ()).contains(&Effect::SetMtu(None)));
    renew(|ack| {
        ack.options.set_mtu(1_400);
    });
    let (_, outputs) = host.command(Command::Release, 5);
    assert!(effects(&outputs).contains(&Effect::SetMtu(None)));
}

#[test]
fn a_renewal_that_outlives_its_lease_becomes_an_acquisition() {
    let mut host = Host::bound(plain());
    host.advance(seconds(3_595.0));
    let (id, _) = host.command(Command::Renew, 30);
    let outputs = host.advance(seconds(6.0));
    assert!(events(&outputs).contains(&Event::Expired { address: ADDRESS, prefix_length: 24 }));
    assert_eq!(replies(&outputs), []);
    let discover = dhcp(&outputs).pop().expect("a DISCOVER");
    let request = dhcp(&host.receive(&offer(&discover))).remove(0);
    // Which goes on through refusals.
    let outputs = host.receive(&nak(&request, SERVER));
    assert_eq!(replies(&outputs), []);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let outputs = host.receive(&ack(&request));
    assert!(matches!(&replies(&outputs)[..], [(i, Ok(Outcome::Acquired { .. }))] if *i == id));
}

#[test]
fn the_latest_deadline_sets_the_end_of_the_hurry() {
    for deadlines in [[20, 5], [5, 20]] {
        let mut host = Host::bound(plain());
        for deadline in deadlines {
            host.command(Command::Renew, deadline);
        }
        host.advance(seconds(5.1));
        assert_eq!(host.client.state(), State::Renewing);
        assert!(!dhcp(&host.advance(seconds(10.0))).is_empty(), "{deadlines:?}");
        host.advance(seconds(5.0));
        assert_eq!(host.client.state(), State::Bound);
    }
}

#[test]
fn renewals_by_command_make_no_storm() {
    let mut host = Host::bound(plain());
    let mut requests = 0;
    for _ in 0..600 {
        let (_, outputs) = host.command(Command::Renew, 30);
        requests += dhcp(&[outputs, host.advance(seconds(0.1))].concat()).len();
    }
    // A second apart, less a quarter by chance.
    assert!((55..=80).contains(&requests), "{requests} in a minute");
}

#[test]
fn the_end_of_a_hurry_sends_nothing() {
    let mut host = Host::bound(plain());
    host.advance(seconds(1_795.0));
    host.command(Command::Renew, 10);
    host.advance(seconds(9.999));
    let outputs = host.advance(seconds(0.002));
    assert_eq!((dhcp(&outputs), replies(&outputs).len()), (vec![], 1));
    assert_eq!(host.client.state(), State::Renewing);
}

#[test]
fn a_hurry_goes_on_past_t2_with_everybody() {
    let mut host = Host::bound(plain());
    host.advance(seconds(3_148.0));
    host.command(Command::Renew, 30);
    let outputs = host.advance(seconds(20.0));
    let to_all = sends(&outputs);
    let to_all = to_all.iter().filter(|t| matches!(t, Transmit::Broadcast { .. })).count();
    // At T2, and some 3, 7 and 15 seconds after the command.
    assert!((3..=5).contains(&to_all), "{to_all}");
}
