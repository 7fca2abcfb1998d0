//! Acquire, release, inform, stop: exactly one reply each, when it is true.

use dhcp::v4::*;
use engine::{CommandId, Engine as _, Refused};
use wire::dhcpv4::MessageType;
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
            Effect::Release(_),
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
            Output::Event(Event::Released { address, prefix_length: 24, server, told: Told::Sent }),
            Output::Reply {
                id,
                result: Ok(Outcome::Released {
                    address,
                    prefix_length: 24,
                    server,
                    told: Told::Sent
                })
            },
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
    let released =
        || Ok(Outcome::Released { address, prefix_length: 24, server, told: Told::Sent });
    assert_eq!(answered, [(first, released()), (second, released())]);
}

/// The address goes all the same, and both the caller and those who watch know what the server does
/// not.
#[test]
fn a_release_that_does_not_leave_is_told() {
    let mut host = Host::bound(plain());
    host.effects_succeed = false;
    let (id, outputs) = host.command(Command::Release, 5);
    let (sent, rest) = effect_ids(&outputs).split_first().map(|(s, r)| (*s, r.to_vec())).unwrap();
    let reason = || "nobody answers for it".to_owned();
    assert_eq!(host.effect(sent, Err(Refused::other(reason()))), []);
    let mut outputs = Vec::new();
    for effect in rest {
        outputs.extend(host.effect(effect, Ok(())));
    }
    let (address, server) = (ADDRESS, SERVER);
    let told = || Told::NotSent { reason: reason() };
    assert_eq!(
        outputs,
        [
            Output::Event(Event::Released { address, prefix_length: 24, server, told: told() }),
            Output::Reply {
                id,
                result: Ok(Outcome::Released { address, prefix_length: 24, server, told: told() })
            },
        ]
    );
    assert_eq!(host.client.state(), State::Released);
    assert_eq!(host.client.poll_timeout(), None);
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
    assert!(matches!(replies(&outputs)[..], [(_, Err(Failure::Host(_)))]));
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
    let told = |event: &Event| matches!(event, Event::Released { told: Told::NotSent { .. }, .. });
    assert!(events(&outputs).iter().any(told), "{outputs:?}");
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

#[test]
fn who_asks_while_the_link_is_down_is_told_so_and_wanted_all_the_same() {
    let mut host = Host::bound(plain());
    host.input(Input::Link(link(false)));
    for command in [Command::Acquire, Command::Renew, Command::Inform { address: ADDRESS }] {
        let (id, outputs) = host.command(command, 5);
        assert_eq!(replies(&outputs), [(id, Err(Failure::LinkDown))], "{command:?}");
    }
    host.input(Input::Link(link(true)));
    host.command(Command::Release, 5);
    host.input(Input::Link(link(false)));
    let (id, outputs) = host.command(Command::Acquire, 5);
    assert_eq!(replies(&outputs), [(id, Err(Failure::LinkDown))]);
    assert_eq!(host.client.state(), State::Stopped);
    assert_eq!(kinds(&host.input(Input::Link(link(true)))), [MessageType::Discover]);
}

#[test]
fn a_release_on_a_link_that_is_down_removes_and_says_that_nobody_was_told() {
    let mut host = Host::bound(plain());
    host.input(Input::Link(link(false)));
    let (id, outputs) = host.command(Command::Release, 5);
    assert_eq!(sends(&outputs), []);
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
    assert_eq!(replies(&outputs), [(id, Err(Failure::LinkDown))]);
    assert_eq!(host.client.state(), State::Released);
}

#[test]
fn acquire_while_the_previous_address_is_asked_for_waits_for_the_answer() {
    let mut host = Host::bound(plain());
    host.input(Input::Link(link(false)));
    let outputs = host.input(Input::Link(link(true)));
    assert_eq!(host.client.state(), State::Rebooting);
    let request = dhcp(&outputs).remove(0);
    let (id, outputs) = host.command(Command::Acquire, 5);
    assert_eq!(outputs, []);
    let outputs = host.receive(&ack(&request));
    assert!(matches!(&replies(&outputs)[..], [(i, Ok(Outcome::Acquired { .. }))] if *i == id));
}

#[test]
fn what_was_released_is_not_wanted_when_the_link_is_back() {
    // Also when there was nothing to give back yet.
    let (mut host, _) = Host::started(plain());
    let (_, outputs) = host.command(Command::Release, 5);
    assert!(matches!(&effects(&outputs)[..], [Effect::Persist(record)] if record.released));
    host.input(Input::Link(link(false)));
    assert_eq!(host.input(Input::Link(link(true))), []);

    let mut host = Host::bound(plain());
    host.command(Command::Stop { release: false }, 5);
    host.input(Input::Link(link(false)));
    assert_eq!(host.input(Input::Link(link(true))), []);
}

#[test]
fn a_release_in_the_middle_of_applying_takes_everything_back() {
    let (mut host, outputs) = Host::started(plain());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.effects_succeed = false;
    let applying = effect_ids(&host.receive(&ack(&request)));
    let (release, outputs) = host.command(Command::Release, 5);
    assert_eq!(replies(&outputs), [(CommandId(1), Err(Failure::Cancelled))]);
    assert_eq!(kinds(&outputs), [MessageType::Release]);
    let mut answered = Vec::new();
    for id in applying.into_iter().chain(effect_ids(&outputs)) {
        answered.extend(replies(&host.effect(id, Ok(()))));
    }
    assert!(matches!(&answered[..], [(i, Ok(Outcome::Released { .. }))] if *i == release));
}

#[test]
fn renew_in_the_middle_of_a_release_begins_anew_and_both_are_told() {
    let mut host = Host::bound(plain());
    host.effects_succeed = false;
    let (release, outputs) = host.command(Command::Release, 5);
    let releasing = effect_ids(&outputs);
    let (renew, outputs) = host.command(Command::Renew, 10);
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let outputs = host.receive(&ack(&request));
    let applying = effect_ids(&outputs);
    // The record on disk is the later one.
    assert!(matches!(
        effects(&outputs).last(),
        Some(Effect::Persist(record)) if !record.released && record.lease.is_some()
    ));
    let mut answered = Vec::new();
    for id in releasing.into_iter().chain(applying) {
        answered.extend(replies(&host.effect(id, Ok(()))));
    }
    let [(first, Ok(Outcome::Released { .. })), (second, Ok(Outcome::Acquired { .. }))] =
        &answered[..]
    else {
        panic!("{answered:?}");
    };
    assert_eq!((*first, *second), (release, renew));
    assert_eq!(host.client.state(), State::Bound);

    // A release of the new lease is one of its own.
    let (_, outputs) = host.command(Command::Release, 5);
    assert_eq!(kinds(&outputs), [MessageType::Release]);
}

#[test]
fn a_second_release_does_not_lean_on_the_first_when_there_is_a_lease_again() {
    let mut host = Host::bound(plain());
    host.effects_succeed = false;
    host.command(Command::Release, 30);
    let (_, outputs) = host.command(Command::Renew, 30);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&ack(&request));
    let (_, outputs) = host.command(Command::Release, 30);
    assert_eq!(kinds(&outputs), [MessageType::Release]);
    assert!(effects(&outputs).iter().any(|e| matches!(e, Effect::RemoveAddress { .. })));
    assert_eq!(host.client.lease(), None);
}

#[test]
fn a_release_of_a_probed_address_is_broadcast() {
    let config = Config { conflict_detection: ConflictDetection::Strict, ..plain() };
    let (mut host, outputs) = Host::started(config);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&ack(&request));
    assert_eq!(host.client.state(), State::Probing);
    let (id, outputs) = host.command(Command::Release, 5);
    // It is not on the interface to be sent from.
    let [Transmit::Broadcast { source: NOBODY, message }] = &sends(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(message.message_type(), Some(MessageType::Release));
    assert_eq!(message.ciaddr, ADDRESS);
    assert!(matches!(replies(&outputs)[..], [_, (i, Ok(Outcome::Released { .. }))] if i == id));
    let (_, outputs) = host.command(Command::Acquire, 5);
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), Some(ADDRESS));
}

#[test]
fn a_cancelled_renewal_still_extends_the_lease() {
    let mut host = Host::bound(plain());
    host.advance(seconds(60.0));
    let (id, outputs) = host.command(Command::Renew, 10);
    let cancelled = host.input(Input::Cancel { id });
    assert_eq!(replies(&cancelled), [(id, Err(Failure::Cancelled))]);
    let outputs = host.receive(&ack(&dhcp(&outputs)[0]));
    assert_eq!(replies(&outputs), []);
    assert!(events(&outputs).iter().any(|e| matches!(e, Event::Renewed { .. })));
}

#[test]
fn acquire_soon_after_the_first_discover_sends_no_second() {
    let (mut host, _) = Host::started(plain());
    host.advance(seconds(1.0));
    let (_, outputs) = host.command(Command::Acquire, 30);
    let outputs = [outputs, host.advance(seconds(1.9))].concat();
    assert_eq!(dhcp(&outputs), []);
}

#[test]
fn a_hurried_client_slows_down_from_the_beginning() {
    let (mut host, _) = Host::started(plain());
    host.advance(seconds(200.0));
    host.command(Command::Acquire, 300);
    host.advance(seconds(3.1));
    let gap = host.until_next();
    assert!(gap <= 5.0, "{gap}");
}

#[test]
fn messages_are_counted_by_kind() {
    let mut host = Host::bound(plain());
    let (_, outputs) = host.command(Command::Renew, 5);
    host.receive(&ack(&dhcp(&outputs)[0]));
    host.command(Command::Release, 5);
    let counters = host.client.counters();
    let sent = [MessageType::Discover, MessageType::Request, MessageType::Release]
        .map(|kind| counters.sent(kind));
    assert_eq!(sent, [1, 2, 1]);
    assert_eq!(counters.received(MessageType::Ack), 2);
    // A release asks for nothing: it is not one of the tries of who waits afterwards.
    let (_, _) = host.command(Command::Acquire, 1);
    let outputs = host.advance(seconds(1.0));
    assert!(matches!(replies(&outputs)[..], [(_, Err(Failure::NoAnswer { tries: 1, .. }))]));
}

#[test]
fn who_waits_for_a_lease_is_told_of_the_newest_when_that_is_on_disk() {
    let mut host = Host::new(plain());
    host.input(Input::Link(link(true)));
    let (id, outputs) = host.command(Command::Acquire, 5_000);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.effects_succeed = false;
    let first = effect_ids(&host.receive(&ack(&request)));
    let request = dhcp(&host.advance(seconds(1_800.0))).pop().expect("a renewal");
    let second = effect_ids(&host.receive(&ack(&request)));
    for effect in first {
        assert_eq!(replies(&host.effect(effect, Ok(()))), []);
    }
    let answered: Vec<_> =
        second.into_iter().flat_map(|effect| replies(&host.effect(effect, Ok(())))).collect();
    assert!(matches!(&answered[..], [(i, Ok(_))] if *i == id), "{answered:?}");
}

#[test]
fn a_refused_address_is_forgotten_on_disk_and_not_asked_for_again() {
    let mut host = Host::bound(plain());
    host.command(Command::Release, 5);
    let (_, outputs) = host.command(Command::Acquire, 30);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    let outputs = host.receive(&nak(&request, SERVER));
    assert_eq!(dhcp(&outputs)[0].options.requested_address(), None);
    assert!(matches!(&effects(&outputs)[..], [Effect::Persist(r)] if r.lease.is_none()));
}

#[test]
fn a_lease_that_is_being_applied_is_of_no_use_on_a_link_that_is_down() {
    let (mut host, outputs) = Host::started(plain());
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.effects_succeed = false;
    host.receive(&ack(&request));
    host.input(Input::Link(link(false)));
    for command in [Command::Acquire, Command::Renew] {
        let (id, outputs) = host.command(command, 5);
        assert_eq!(replies(&outputs), [(id, Err(Failure::LinkDown))], "{command:?}");
    }
}
