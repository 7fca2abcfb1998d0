//! INIT to BOUND: what is sent, what is taken, what is not.

use core::net::Ipv4Addr;

use dhcp::v4::*;
use engine::{Engine as _, Instant};
use wire::dhcpv4::{self, MessageType, OptionCode};

use crate::harness::*;

#[test]
fn four_messages_make_a_lease() {
    let mut host = Host::new(plain());
    assert_eq!(host.input(Input::Link(link(true))), []);
    let (id, outputs) = host.command(Command::Acquire, 30);
    let discover = dhcp(&outputs).remove(0);
    assert_eq!(
        outputs,
        [
            changed(State::Stopped, State::Init),
            changed(State::Init, State::Selecting),
            Output::Listen(Listen { dhcp: DhcpListen::Packet, arp: ArpListen::Off }),
            Output::Send(Transmit::Broadcast {
                source: NOBODY,
                message: Box::new(discover.clone()),
            }),
        ]
    );
    host.now += seconds(0.5);
    let outputs = host.receive(&offer(&discover));
    let request = dhcp(&outputs).remove(0);
    assert_eq!(
        outputs,
        [
            changed(State::Selecting, State::Requesting),
            Output::Send(Transmit::Broadcast {
                source: NOBODY,
                message: Box::new(request.clone()),
            }),
        ]
    );
    host.effects_succeed = false;
    let requested_at = host.now;
    host.now += seconds(0.25);
    let outputs = host.receive(&ack(&request));
    let lease = host.client.lease().expect("a lease").clone();
    let route = Route { destination: NOBODY, prefix_length: 0, gateway: Some(SERVER) };
    assert_eq!(lease.routes, [route]);
    // All terms count from the REQUEST (RFC 2131 4.4.1), not from the ACK.
    assert_eq!(lease.obtained_at, requested_at);
    assert_eq!(lease.renew_at, Some(requested_at + seconds(1_800.0)));
    assert_eq!(lease.rebind_at, Some(requested_at + seconds(3_150.0)));
    assert_eq!(lease.expires_at, Some(requested_at + seconds(3_600.0)));
    let record = Record { hardware: hardware(1), lease: Some(lease.clone()), released: false };
    assert_eq!(states(&outputs), [State::Bound]);
    assert_eq!(
        effects(&outputs),
        [
            Effect::AddAddress(Address {
                address: ADDRESS,
                prefix_length: 24,
                broadcast: Some(Ipv4Addr::new(192, 0, 2, 255)),
                expires_at: lease.expires_at,
                link_local: false,
            }),
            Effect::AddRoute(RouteEntry { route, source: ADDRESS, on_link: false }),
            Effect::SetResolver(Some(Resolver {
                servers: vec![SERVER],
                domain: None,
                search: Vec::new(),
            })),
            Effect::Persist(Box::new(record)),
        ]
    );
    assert_eq!(listens(&outputs)[0].dhcp, DhcpListen::Off);

    // Neither the reply nor the event comes before the last result.
    let ids = effect_ids(&outputs);
    for id in &ids[..3] {
        assert_eq!(host.effect(*id, Ok(())), []);
    }
    let boxed = Box::new(lease);
    assert_eq!(
        host.effect(ids[3], Ok(())),
        [
            Output::Event(Event::Acquired(boxed.clone())),
            Output::Reply { id, result: Ok(Outcome::Acquired { lease: boxed, already: false }) },
        ]
    );
}

#[test]
fn an_idle_lease_wakes_up_at_t1() {
    let mut host = Host::bound(plain());
    let outputs = host.advance(seconds(20.0));
    // Once, and not at once: the router is looked up so that it can be recognised (RFC 4436).
    assert!(arps(&outputs).len() <= 3 && dhcp(&outputs).is_empty());
    assert_eq!(host.until_next(), 1_800.0 - 20.0);
    assert!(host.advance(seconds(1_779.0)).is_empty());
}

#[test]
fn discover_is_repeated_and_the_request_has_its_secs_and_xid() {
    let (mut host, _) = Host::started(plain());
    let outputs = host.advance(seconds(15.0));
    let discovers = dhcp(&outputs);
    assert_eq!(kinds(&outputs), [MessageType::Discover; 2]);
    assert!(events(&outputs).iter().any(|e| matches!(e, Event::NoAnswer { tries: 1, .. })));
    let second = &discovers[1];
    assert!((10..=14).contains(&second.secs), "{}", second.secs);
    host.advance(seconds(2.0));
    // The answer to the first of them is as good.
    let outputs = host.receive(&offer(&discovers[0]));
    let request = &dhcp(&outputs)[0];
    assert_eq!((request.xid, request.secs), (discovers[0].xid, discovers[0].secs));
    assert_ne!(discovers[0].xid, second.xid);
}

#[test]
fn a_silent_server_is_given_up_after_28_seconds() {
    let (mut host, outputs) = Host::started(plain());
    let outputs = host.receive(&offer(&dhcp(&outputs)[0]));
    let request = dhcp(&outputs).remove(0);
    let outputs = host.advance(seconds(14.0));
    // Repeated as it was.
    assert_eq!(dhcp(&outputs), [request.clone(), request]);
    let outputs = host.advance(seconds(18.0));
    assert_eq!(states(&outputs), [State::Init, State::Selecting]);
    assert_eq!(kinds(&outputs)[0], MessageType::Discover);
}

#[test]
fn rapid_commit_takes_two_messages() {
    let config = Config { rapid_commit: true, ..plain() };
    let (mut host, outputs) = Host::started(config);
    let discover = &dhcp(&outputs)[0];
    assert_eq!(discover.options.get(OptionCode::RAPID_COMMIT), Some(&[][..]));
    let mut plain_ack = ack_for(discover, ADDRESS);
    assert_eq!(discarded(&host.receive(&plain_ack)), 1);
    // The zero-length option is seen for what it is.
    plain_ack.options.set_rapid_commit();
    let outputs = host.receive(&plain_ack);
    assert_eq!(states(&outputs), [State::Bound]);
    assert_eq!(host.client.counters().discarded(Discard::NotRapid), 1);
}

#[test]
fn an_unasked_rapid_commit_is_not_taken() {
    let (mut host, outputs) = Host::started(plain());
    let mut ack = ack_for(&dhcp(&outputs)[0], ADDRESS);
    ack.options.set_rapid_commit();
    host.receive(&ack);
    assert_eq!(host.client.state(), State::Selecting);
}

#[test]
fn the_window_collects_and_the_wanted_address_wins() {
    let config = Config {
        offer_collection: seconds(0.5),
        request_address: Some(Ipv4Addr::new(192, 0, 2, 77)),
        ..plain()
    };
    let (mut host, outputs) = Host::started(config);
    let discover = dhcp(&outputs).remove(0);
    assert_eq!(discover.options.requested_address(), Some(Ipv4Addr::new(192, 0, 2, 77)));
    let mut outputs = host.receive(&offer(&discover));
    assert_eq!(dhcp(&outputs), []);
    assert_eq!(host.until_next(), 0.5);
    let mut wanted = offer(&discover);
    wanted.yiaddr = Ipv4Addr::new(192, 0, 2, 77);
    wanted.options.set_server_identifier(SERVER_2);
    host.advance(seconds(0.2));
    outputs.extend(host.receive(&wanted));
    outputs.extend(host.advance(seconds(0.3)));
    let request = &dhcp(&outputs)[0];
    assert_eq!(request.options.server_identifier(), Some(SERVER_2));
    assert_eq!(request.options.requested_address(), Some(wanted.yiaddr));
}

#[test]
fn offers_that_no_host_can_use_are_dropped_by_name() {
    type Change = fn(&mut dhcpv4::Message);
    let cases: [(Discard, Change); 19] = [
        (Discard::BadAddress, |m| m.yiaddr = NOBODY),
        (Discard::BadAddress, |m| m.yiaddr = Ipv4Addr::BROADCAST),
        (Discard::BadAddress, |m| m.yiaddr = Ipv4Addr::LOCALHOST),
        (Discard::BadAddress, |m| m.yiaddr = Ipv4Addr::new(224, 0, 0, 5)),
        (Discard::BadAddress, |m| m.yiaddr = Ipv4Addr::new(0, 1, 2, 3)),
        (Discard::BadAddress, |m| m.yiaddr = SERVER),
        (Discard::BadAddress, |m| m.yiaddr = Ipv4Addr::new(192, 0, 2, 0)),
        (Discard::BadAddress, |m| m.yiaddr = Ipv4Addr::new(192, 0, 2, 255)),
        (Discard::BadAddress, |m| {
            m.options.set_subnet_mask(30);
            m.yiaddr = Ipv4Addr::new(192, 0, 2, 103);
        }),
        (Discard::LeaseTooShort, |m| {
            m.options.set_lease_time(0);
        }),
        (Discard::LeaseTooShort, |m| {
            m.options.set_lease_time(1);
        }),
        (Discard::NoLeaseTime, |m| {
            m.options.remove(OptionCode::LEASE_TIME);
        }),
        // siaddr is the next boot server; it never takes the place of option 54.
        (Discard::NoServerIdentifier, |m| {
            m.siaddr = SERVER;
            m.options.remove(OptionCode::SERVER_IDENTIFIER);
        }),
        (Discard::NoServerIdentifier, |m| {
            m.options.set_server_identifier(NOBODY);
        }),
        (Discard::WrongTransaction, |m| m.xid ^= 1),
        (Discard::WrongHardware, |m| m.chaddr = hardware(9)),
        (Discard::NotReply, |m| m.op = dhcpv4::Op::Request),
        (Discard::NoType, |m| {
            m.options.remove(OptionCode::MESSAGE_TYPE);
        }),
        (Discard::WrongClientIdentifier, |m| {
            m.options.set_client_identifier(&[1, 2, 0, 0, 0, 0, 9]);
        }),
    ];
    for (reason, change) in cases {
        let (mut host, outputs) = Host::started(plain());
        let mut bad = offer(&dhcp(&outputs)[0]);
        change(&mut bad);
        let outputs = host.receive(&bad);
        assert!(
            matches!(&outputs[..], [Output::Event(Event::Discarded { reason: text })]
                if text.ends_with(&reason.to_string())),
            "{reason:?}: {outputs:?}"
        );
        assert_eq!(host.client.counters().discarded(reason), 1, "{reason:?}");
        assert_eq!(host.client.state(), State::Selecting);
    }
}

#[test]
fn a_server_that_is_not_the_boot_server_is_asked_by_its_own_name() {
    let (mut host, outputs) = Host::started(plain());
    let mut good = offer(&dhcp(&outputs)[0]);
    good.siaddr = SERVER_2;
    let outputs = host.receive(&good);
    let mut good = ack(&dhcp(&outputs)[0]);
    good.siaddr = SERVER_2;
    host.receive(&good);
    let (_, outputs) = host.command(Command::Renew, 5);
    assert!(matches!(sends(&outputs)[..], [Transmit::Unicast { destination: SERVER, .. }]));
}

#[test]
fn an_echoed_client_identifier_that_matches_is_fine() {
    let (mut host, outputs) = Host::started(plain());
    let discover = &dhcp(&outputs)[0];
    let mut good = offer(discover);
    let own = discover.options.client_identifier().expect("sent");
    good.options.set_client_identifier(own);
    host.receive(&good);
    assert_eq!(host.client.state(), State::Requesting);
}

#[test]
fn only_the_chosen_server_can_grant_or_refuse() {
    let (mut host, outputs) = Host::started(plain());
    let outputs = host.receive(&offer(&dhcp(&outputs)[0]));
    let request = &dhcp(&outputs)[0];
    let mut foreign = ack(request);
    foreign.options.set_server_identifier(SERVER_2);
    let mut other_address = ack(request);
    other_address.yiaddr = Ipv4Addr::new(192, 0, 2, 101);
    for bad in [nak(request, SERVER_2), foreign, other_address] {
        assert_eq!(discarded(&host.receive(&bad)), 1);
        assert_eq!(host.client.state(), State::Requesting);
    }
    host.receive(&ack(request));
    assert_eq!(host.client.state(), State::Bound);
}

#[test]
fn refusals_slow_the_client_down() {
    let (mut host, mut outputs) = Host::started(plain());
    let mut waits = Vec::new();
    for _ in 0..9 {
        let discover = dhcp(&outputs).pop().expect("a DISCOVER");
        let request = dhcp(&host.receive(&offer(&discover))).remove(0);
        outputs = host.receive(&nak(&request, SERVER));
        let refused_at = host.now;
        if dhcp(&outputs).is_empty() {
            outputs = host.next();
        }
        while dhcp(&outputs).is_empty() {
            outputs = host.next();
        }
        waits.push((host.now - refused_at).as_secs_f64());
    }
    let expected = [0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0];
    for (wait, base) in waits.iter().zip(expected) {
        assert!((wait - base).abs() <= 1.0, "{waits:?}");
    }
}

#[test]
fn the_reply_at_the_deadline_says_what_stood_in_the_way() {
    let (mut host, outputs) = Host::started(plain());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&nak(&request, SERVER));
    let outputs = host.advance(seconds(31.0));
    assert!(
        matches!(&replies(&outputs)[..], [(_, Err(Failure::Refused { server: SERVER, message: Some(m) }))]
            if m == "wrong network")
    );

    let (mut host, _) = Host::started(plain());
    let outputs = host.advance(seconds(31.0));
    let [(_, Err(Failure::NoAnswer { waited, tries }))] = &replies(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*waited, seconds(30.0));
    // At 0, 4, 12 and 28 seconds.
    assert!((3..=4).contains(tries), "{tries}");
    assert_eq!(host.client.state(), State::Selecting);
}

#[test]
fn terms_are_sane_whatever_the_server_says() {
    // Lease, T1, T2 as sent; T1, T2 as used.
    let cases = [
        (100, None, None, 50.0, 87.5),
        (100, Some(10), Some(20), 10.0, 20.0),
        (100, Some(20), Some(10), 50.0, 87.5),
        (100, Some(20), Some(20), 50.0, 87.5),
        (100, Some(20), Some(500), 50.0, 87.5),
        (100, Some(20), Some(100), 50.0, 87.5),
        (100, Some(0), Some(50), 50.0, 87.5),
        (100, Some(90), None, 50.0, 87.5),
        (100, Some(30), None, 30.0, 87.5),
        (100, None, Some(60), 50.0, 60.0),
        (2, None, None, 1.0, 1.75),
        (u32::MAX - 1, Some(u32::MAX), Some(u32::MAX), 2_147_483_647.0, 3_758_096_382.25),
    ];
    for (time, t1, t2, renew, rebind) in cases {
        let (mut host, outputs) = Host::started(plain());
        let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
        let mut ack = ack(&request);
        ack.options.set_lease_time(time);
        t1.map(|t1| ack.options.set_renewal_time(t1).len());
        t2.map(|t2| ack.options.set_rebinding_time(t2).len());
        host.receive(&ack);
        let lease = host.client.lease().expect("bound");
        let after = |at: Option<Instant>| (at.expect("it ends") - lease.obtained_at).as_secs_f64();
        assert_eq!(after(lease.renew_at), renew, "{time} {t1:?} {t2:?}");
        assert_eq!(after(lease.rebind_at), rebind, "{time} {t1:?} {t2:?}");
        assert_eq!(after(lease.expires_at), f64::from(time));
    }
}

#[test]
fn an_infinite_lease_has_no_timers() {
    let (mut host, outputs) = Host::started(plain());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let mut ack = ack(&request);
    ack.options.set_lease_time(dhcpv4::INFINITE);
    ack.options.set_renewal_time(10);
    host.receive(&ack);
    host.advance(seconds(30.0));
    assert_eq!(host.client.poll_timeout(), None);
    // It can still be renewed by command.
    let (_, outputs) = host.command(Command::Renew, 5);
    assert_eq!(kinds(&outputs), [MessageType::Request]);
}

#[test]
fn the_initial_delay_is_kept_within_its_bound() {
    let config = Config { initial_delay: seconds(10.0), ..plain() };
    let (mut host, outputs) = Host::started(config);
    assert_eq!(dhcp(&outputs), []);
    assert_eq!(host.client.state(), State::Init);
    assert!(host.until_next() <= 10.0);
    assert_eq!(kinds(&host.next()), [MessageType::Discover]);
}

#[test]
fn forcerenew_is_counted_and_ignored() {
    let mut host = Host::bound(plain());
    let (_, outputs) = host.command(Command::Renew, 5);
    let request = dhcp(&outputs).remove(0);
    let mut force = nak(&request, SERVER);
    force.options.set_message_type(MessageType::ForceRenew);
    let before = host.client.lease().cloned();
    host.receive(&force);
    assert_eq!(host.client.lease().cloned(), before);
    assert_eq!(host.client.counters().received(MessageType::ForceRenew), 1);
    assert_eq!(host.client.counters().discarded(Discard::ForceRenew), 1);
}

#[test]
fn garbage_is_dropped_whatever_the_state() {
    let (mut host, _) = Host::started(plain());
    for length in [0, 1, 200, 239, 240, 300, 1_500] {
        let payload = vec![0xff; length];
        let source = SERVER;
        let outputs = host.input(Input::Message { source, payload: &payload });
        assert_eq!(discarded(&outputs), 1);
    }
    assert_eq!(host.client.counters().discarded(Discard::Malformed), 7);
}

#[test]
fn an_answer_to_another_request_grants_nothing() {
    let (mut host, outputs) = Host::started(plain());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let mut stray = ack(&request);
    stray.xid ^= 1;
    assert_eq!(discarded(&host.receive(&stray)), 1);
    assert_eq!(host.client.counters().discarded(Discard::WrongTransaction), 1);
    // Late offers are not taken either.
    assert_eq!(discarded(&host.receive(&offer(&request))), 1);
    // The chosen server was asked alone: it may leave its name out.
    let mut nameless = ack(&request);
    nameless.options.remove(OptionCode::SERVER_IDENTIFIER);
    host.receive(&nameless);
    assert_eq!(host.client.lease().map(|lease| lease.server), Some(SERVER));

    let (mut host, outputs) = Host::started(plain());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let mut nameless = nak(&request, SERVER);
    nameless.options.remove(OptionCode::SERVER_IDENTIFIER);
    assert_eq!(discarded(&host.receive(&nameless)), 1);
    assert_eq!(host.client.state(), State::Requesting);
}

#[test]
fn a_lease_that_is_over_when_it_comes_is_not_used() {
    let (mut host, outputs) = Host::started(plain());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.advance(seconds(2.5));
    let mut over = ack(&request);
    over.options.set_lease_time(2);
    assert_eq!(effects(&host.receive(&over)), []);
    assert_eq!(host.client.counters().discarded(Discard::LeaseTooShort), 1);
    assert_eq!(host.client.state(), State::Requesting);
}

#[test]
fn offers_are_counted_once_and_kept_in_bounds() {
    let wanted = Ipv4Addr::new(192, 0, 2, 77);
    let collecting =
        || Config { offer_collection: seconds(0.5), request_address: Some(wanted), ..plain() };
    let for_address = |discover: &dhcpv4::Message, address: Ipv4Addr| {
        let mut offer = offer(discover);
        offer.yiaddr = address;
        offer
    };
    let (mut host, outputs) = Host::started(collecting());
    let discover = &dhcp(&outputs)[0];
    for _ in 0..30 {
        host.receive(&offer(discover));
    }
    host.receive(&for_address(discover, wanted));
    let outputs = host.advance(seconds(0.5));
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), Some(wanted));

    let (mut host, outputs) = Host::started(collecting());
    let discover = &dhcp(&outputs)[0];
    for last in 100..117 {
        host.receive(&for_address(discover, Ipv4Addr::new(192, 0, 2, last)));
    }
    assert_eq!(host.client.counters().discarded(Discard::TooManyOffers), 1);
}

#[test]
fn the_server_known_from_before_wins_over_a_faster_one() {
    let config = Config { offer_collection: seconds(0.5), ..plain() };
    let (mut host, outputs) = Host::started(config);
    host.receive(&offer(&dhcp(&outputs)[0]));
    let request = dhcp(&host.advance(seconds(0.5))).remove(0);
    host.receive(&ack(&request));
    host.command(Command::Release, 5);
    let (_, outputs) = host.command(Command::Acquire, 5);
    let discover = &dhcp(&outputs)[0];
    for (last, server) in [(50, SERVER_2), (51, SERVER)] {
        let mut offer = offer(discover);
        offer.yiaddr = Ipv4Addr::new(192, 0, 2, last);
        offer.options.set_server_identifier(server);
        host.receive(&offer);
    }
    let outputs = host.advance(seconds(0.5));
    assert_eq!(dhcp(&outputs)[0].options.server_identifier(), Some(SERVER));
}

#[test]
fn a_lease_forgives_earlier_refusals() {
    let (mut host, mut outputs) = Host::started(plain());
    for _ in 0..3 {
        while dhcp(&outputs).is_empty() {
            outputs = host.next();
        }
        let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
        outputs = host.receive(&nak(&request, SERVER));
    }
    while dhcp(&outputs).is_empty() {
        outputs = host.next();
    }
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&ack(&request));
    let (_, outputs) = host.command(Command::Renew, 5);
    // The first one after it: what a move to another network looks like.
    let outputs = host.receive(&nak(&dhcp(&outputs)[0], SERVER));
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
}

/// CVE-2020-13529 (systemd, NetworkManager): FORCERENEW, and an ACK to nothing that was asked.
#[test]
fn nobody_reconfigures_a_client_that_has_not_asked() {
    let mut host = Host::bound(plain());
    let (_, outputs) = host.command(Command::Renew, 5);
    let request = dhcp(&outputs).remove(0);
    host.receive(&ack(&request));
    let before = host.client.lease().cloned();
    let mut force = nak(&request, SERVER);
    force.options.set_message_type(MessageType::ForceRenew);
    let mut spoofed = ack(&request);
    spoofed.options.set_dns_servers(&[SERVER_2]);
    for message in [force, spoofed, nak(&request, SERVER), offer(&request)] {
        let outputs = host.receive(&message);
        assert!(matches!(outputs[..], [Output::Event(Event::Discarded { .. })]), "{outputs:?}");
        assert_eq!(host.client.lease().cloned(), before);
    }
    assert_eq!(host.client.state(), State::Bound);
}

/// The boot clock never does it, but a restored virtual machine may.
#[test]
fn a_clock_that_steps_back_breaks_nothing() {
    let (mut host, outputs) = Host::started(plain());
    host.now = Instant::from_secs(10);
    assert_eq!(host.sleep(seconds(1.0)), []);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.now = Instant::from_secs(5);
    host.receive(&ack(&request));
    assert_eq!(host.client.state(), State::Bound);
    let (_, outputs) = host.command(Command::Renew, 5);
    host.now = Instant::ZERO;
    host.receive(&ack(&dhcp(&outputs)[0]));
    assert_eq!(host.client.lease().and_then(|l| l.expires_at), Some(Instant::from_secs(3_605)));
    host.command(Command::Release, 5);
    assert_eq!(host.client.state(), State::Released);
}
