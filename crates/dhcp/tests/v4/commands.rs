//! Acquire, release, inform, stop: exactly one reply each, when it is true.

use core::net::Ipv4Addr;

use dhcp::v4::*;
use engine::Engine as _;
use wire::dhcpv4::{MessageType, OptionCode};
use wire::{HardwareType, arp};

use crate::harness::*;

#[test]
fn release_gives_back_then_removes_then_answers() {
    let mut host = Host::bound(plain());
    host.effects_succeed = false;
    let (id, outputs) = host.command(Command::Release, 5);
    let [Transmit::Unicast { source, destination, message }] = &sends(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!((*source, *destination), (ADDRESS, SERVER));
    assert_eq!(message.message_type(), Some(MessageType::Release));
    assert_eq!((message.ciaddr, message.secs, message.broadcast), (ADDRESS, 0, false));
    assert_eq!(message.options.server_identifier(), Some(SERVER));
    assert_eq!(message.options.requested_address(), None);
    assert!(message.options.client_identifier().is_some());
    // The packet leaves while the address is there to send it from.
    let position = |test: fn(&Output) -> bool| outputs.iter().position(test);
    assert!(
        position(|o| matches!(o, Output::Send(_)))
            < position(|o| matches!(o, Output::Effect { .. }))
    );
    let record = effects(&outputs).pop();
    assert!(
        matches!(&record, Some(Effect::Persist(r)) if r.released && r.lease.is_some()),
        "{record:?}"
    );
    assert!(matches!(
        effects(&outputs)[..],
        [
            Effect::RemoveRoute(_),
            Effect::SetResolver(None),
            Effect::RemoveAddress { address: ADDRESS, .. },
            Effect::Persist(_)
        ]
    ));
    assert_eq!(replies(&outputs), []);
    let (last, rest) = effect_ids(&outputs).split_last().map(|(l, r)| (*l, r.to_vec())).unwrap();
    for id in rest {
        assert_eq!(host.effect(id, Ok(())), []);
    }
    let outputs = host.effect(last, Ok(()));
    let (address, server) = (ADDRESS, SERVER);
    assert_eq!(
        outputs,
        [
            Output::Event(Event::Released { address, server }),
            Output::Reply { id, result: Ok(Outcome::Released { address, server }) },
        ]
    );
    // And it stays released, also when the link comes and goes.
    assert_eq!(host.client.poll_timeout(), None);
    host.input(Input::Link(link(false)));
    assert_eq!(host.input(Input::Link(link(true))), []);
    assert_eq!(host.client.state(), State::Released);
    let (id, outputs) = host.command(Command::Release, 5);
    assert_eq!(replies(&outputs), [(id, Err(Failure::NotLeased))]);
}

#[test]
fn renew_after_release_asks_any_server() {
    let mut host = Host::bound(plain());
    host.command(Command::Release, 5);
    let (id, outputs) = host.command(Command::Renew, 5);
    assert!(matches!(sends(&outputs)[..], [Transmit::Broadcast { .. }]));
    let discover = &dhcp(&outputs)[0];
    assert_eq!(discover.message_type(), Some(MessageType::Discover));
    assert_eq!(discover.options.requested_address(), Some(ADDRESS));
    let mut other = offer(discover);
    other.options.set_server_identifier(SERVER_2);
    let request = dhcp(&host.receive(&other)).remove(0);
    let mut other = ack(&request);
    other.options.set_server_identifier(SERVER_2);
    let outputs = host.receive(&other);
    assert!(
        matches!(&replies(&outputs)[..], [(i, Ok(Outcome::Acquired { lease, already: false }))]
            if *i == id && lease.server == SERVER_2)
    );
}

#[test]
fn acquire_with_a_lease_answers_at_once() {
    let mut host = Host::bound(plain());
    let (id, outputs) = host.command(Command::Acquire, 5);
    let lease = Box::new(host.client.lease().expect("bound").clone());
    let already = true;
    assert_eq!(outputs, [Output::Reply { id, result: Ok(Outcome::Acquired { lease, already }) }]);
}

#[test]
fn acquire_while_a_lease_is_being_applied_waits_for_it() {
    let (mut host, outputs) = Host::started(plain());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.effects_succeed = false;
    let outputs = host.receive(&ack(&request));
    let (second, later) = host.command(Command::Acquire, 5);
    let (third, renew) = host.command(Command::Renew, 5);
    assert_eq!((later, renew), (vec![], vec![]));
    let mut answered = Vec::new();
    for id in effect_ids(&outputs) {
        answered.extend(replies(&host.effect(id, Ok(()))));
    }
    let ids: Vec<CommandId> = answered.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [CommandId(1), second, third]);
    assert!(answered.iter().all(|(_, result)| result.is_ok()));
}

#[test]
fn release_cancels_those_who_wait_for_a_lease() {
    let (mut host, _) = Host::started(plain());
    let (renew, _) = host.command(Command::Renew, 30);
    let (release, outputs) = host.command(Command::Release, 5);
    assert_eq!(
        replies(&outputs),
        [
            (CommandId(1), Err(Failure::Cancelled)),
            (renew, Err(Failure::Cancelled)),
            (release, Err(Failure::NotLeased)),
        ]
    );
    assert_eq!(host.client.state(), State::Released);
    assert_eq!(host.client.poll_timeout(), None);
}

#[test]
fn two_releases_share_one_packet_and_both_are_told() {
    let mut host = Host::bound(plain());
    host.effects_succeed = false;
    let (first, outputs) = host.command(Command::Release, 5);
    let (second, more) = host.command(Command::Release, 5);
    assert_eq!(more, []);
    let mut answered = Vec::new();
    for id in effect_ids(&outputs) {
        answered.extend(replies(&host.effect(id, Ok(()))));
    }
    let (address, server) = (ADDRESS, SERVER);
    let released = || Ok(Outcome::Released { address, server });
    assert_eq!(answered, [(first, released()), (second, released())]);
}

#[test]
fn a_cancelled_command_is_answered_once_and_its_work_goes_on() {
    let (mut host, outputs) = Host::started(plain());
    let cancelled = host.input(Input::Cancel { id: CommandId(1) });
    assert_eq!(replies(&cancelled), [(CommandId(1), Err(Failure::Cancelled))]);
    assert_eq!(host.input(Input::Cancel { id: CommandId(1) }), []);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let outputs = host.receive(&ack(&request));
    assert_eq!(replies(&outputs), []);
    assert_eq!(host.client.state(), State::Bound);
}

#[test]
fn a_deadline_that_has_passed_is_answered_at_once() {
    let mut host = Host::new(plain());
    host.input(Input::Link(link(true)));
    let (id, outputs) = host.command(Command::Acquire, 0);
    assert!(matches!(replies(&outputs)[..], [(i, Err(Failure::NoAnswer { .. }))] if i == id));
    assert_eq!(host.client.state(), State::Selecting);
}

#[test]
fn effects_that_never_end_do_not_hold_a_command_past_its_deadline() {
    let (mut host, outputs) = Host::started(plain());
    host.effects_succeed = false;
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&ack(&request));
    let outputs = host.advance(seconds(30.0));
    assert!(matches!(replies(&outputs)[..], [(_, Err(Failure::Host { .. }))]));
}

#[test]
fn with_the_link_down_commands_fail_at_once_and_are_taken_up_later() {
    let mut host = Host::new(plain());
    host.input(Input::Link(link(false)));
    for command in [Command::Acquire, Command::Renew, Command::Inform { address: ADDRESS }] {
        let (id, outputs) = host.command(command, 30);
        assert_eq!(outputs, [Output::Reply { id, result: Err(Failure::LinkDown) }]);
    }
    let outputs = host.input(Input::Link(link(true)));
    assert_eq!(kinds(&outputs), [MessageType::Discover]);

    // Released on a dead link: gone from here, and the caller knows that the server was not told.
    let mut host = Host::bound(plain());
    host.input(Input::Link(link(false)));
    let (id, outputs) = host.command(Command::Release, 5);
    assert_eq!(sends(&outputs), []);
    assert_eq!(replies(&outputs), [(id, Err(Failure::LinkDown))]);
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
    assert_eq!(host.client.state(), State::Released);
}

#[test]
fn losing_the_link_answers_who_waits_for_the_wire() {
    let (mut host, _) = Host::started(plain());
    let outputs = host.input(Input::Link(link(false)));
    assert_eq!(replies(&outputs), [(CommandId(1), Err(Failure::LinkDown))]);
    assert_eq!(host.client.state(), State::Stopped);
    assert_eq!(host.client.poll_timeout(), None);
}

#[test]
fn before_the_first_link_nothing_is_sent_and_commands_wait() {
    let mut host = Host::new(plain());
    let (id, outputs) = host.command(Command::Acquire, 30);
    assert_eq!(outputs, []);
    let (late, _) = host.command(Command::Renew, 1);
    let outputs = host.advance(seconds(2.0));
    assert_eq!(replies(&outputs), [(late, Err(Failure::LinkDown))]);
    let outputs = host.input(Input::Link(link(true)));
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let outputs = host.receive(&ack(&request));
    assert_eq!(replies(&outputs)[0].0, id);
}

#[test]
fn acquire_hurries_a_client_that_has_slowed_down_but_not_a_penance() {
    let (mut host, _) = Host::started(plain());
    host.advance(seconds(100.0));
    let (_, outputs) = host.command(Command::Acquire, 30);
    let outputs = [outputs, host.advance(seconds(3.1))].concat();
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
}

/// Refused `times` in a row.
fn refused(times: u32) -> Host {
    let (mut host, mut outputs) = Host::started(plain());
    for _ in 0..times {
        while dhcp(&outputs).is_empty() {
            outputs = host.next();
        }
        let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
        outputs = host.receive(&nak(&request, SERVER));
    }
    assert_eq!(host.client.state(), State::Init);
    host
}

/// Strict detection found the address taken.
fn declined() -> Host {
    let config = Config { conflict_detection: ConflictDetection::Strict, ..plain() };
    let (mut host, outputs) = Host::started(config);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&ack(&request));
    host.arp(&arp::Packet::announcement(HardwareType::ETHERNET, hardware(9), ADDRESS));
    assert_eq!(host.client.state(), State::Init);
    host
}

#[test]
fn a_command_during_a_penance_learns_what_it_is_for() {
    let refusal = Failure::Refused { server: SERVER, message: Some("wrong network".to_owned()) };
    let conflict = Failure::Conflict { address: ADDRESS, hardware: hardware(9) };
    type Case = (fn() -> Host, Failure, f64);
    let cases: [Case; 2] = [(|| refused(6), refusal, 2.0), (declined, conflict, 10.0)];
    for (host, failure, asked_after) in cases {
        for command in [Command::Acquire, Command::Renew] {
            let mut host = host();
            let began_at = host.now;
            let (id, outputs) = host.command(command, 1);
            assert_eq!(outputs, []);
            let outputs = host.advance(seconds(1.0));
            assert_eq!(replies(&outputs), [(id, Err(failure.clone()))]);
            // Only the wait after a refusal is cut short.
            let mut outputs = Vec::new();
            while dhcp(&outputs).is_empty() {
                outputs = host.next();
            }
            assert_eq!(host.now - began_at, seconds(asked_after), "{failure}");
        }
    }
}

#[test]
fn commands_make_no_storm_of_a_server_that_refuses() {
    let mut host = refused(6);
    let end = host.now + seconds(60.0);
    let mut discovers = 0;
    while host.now < end {
        let (_, mut outputs) = host.command(Command::Acquire, 30);
        outputs.extend(host.advance(seconds(0.1)));
        for discover in dhcp(&outputs) {
            discovers += 1;
            let request = dhcp(&host.receive(&offer(&discover))).remove(0);
            host.receive(&nak(&request, SERVER));
        }
    }
    assert!((20..=30).contains(&discovers), "{discovers}");
}

#[test]
fn inform_asks_for_parameters_only() {
    let mut host = Host::new(plain());
    host.input(Input::Link(link(true)));
    let address = Ipv4Addr::new(198, 51, 100, 7);
    let (id, outputs) = host.command(Command::Inform { address }, 10);
    let inform = dhcp(&outputs).remove(0);
    assert_eq!(inform.message_type(), Some(MessageType::Inform));
    assert_eq!(inform.ciaddr, address);
    assert_eq!(inform.options.requested_address(), None);
    assert!(!inform.options.contains(OptionCode::LEASE_TIME));
    assert_eq!(host.client.state(), State::Stopped);
    let again = host.advance(seconds(5.0));
    assert_eq!(kinds(&again), [MessageType::Inform]);

    let mut answer = ack_for(&inform, NOBODY);
    answer.options.remove(OptionCode::LEASE_TIME);
    let outputs = host.receive(&answer);
    let [(replied, Ok(Outcome::Informed { lease }))] = &replies(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!((*replied, lease.address, lease.server), (id, address, SERVER));
    assert_eq!((lease.expires_at, &lease.dns[..]), (None, &[SERVER][..]));
    assert_eq!(host.client.poll_timeout(), None);
    assert_eq!(effects(&outputs), []);

    let (id, _) = host.command(Command::Inform { address }, 3);
    let outputs = host.advance(seconds(3.0));
    assert!(
        matches!(replies(&outputs)[..], [(i, Err(Failure::NoAnswer { tries: 1, .. }))] if i == id)
    );
    let (_, outputs) = host.command(Command::Inform { address: NOBODY }, 3);
    assert!(matches!(replies(&outputs)[..], [(_, Err(Failure::Host { .. }))]));
}

#[test]
fn stop_leaves_the_lease_for_the_next_daemon() {
    let mut host = Host::bound(plain());
    let (id, outputs) = host.command(Command::Stop { release: false }, 5);
    assert_eq!(replies(&outputs), [(id, Ok(Outcome::Stopped))]);
    assert_eq!((effects(&outputs), sends(&outputs)), (vec![], vec![]));
    assert_eq!(host.client.poll_timeout(), None);
    assert_eq!(host.client.state(), State::Stopped);
}

#[test]
fn stop_with_release_gives_the_lease_back() {
    let mut host = Host::bound(plain());
    let (id, outputs) = host.command(Command::Stop { release: true }, 5);
    assert_eq!(kinds(&outputs), [MessageType::Release]);
    assert_eq!(replies(&outputs), [(id, Ok(Outcome::Stopped))]);
    let (id, outputs) = host.command(Command::Stop { release: true }, 5);
    assert_eq!(replies(&outputs), [(id, Ok(Outcome::Stopped))]);
}
