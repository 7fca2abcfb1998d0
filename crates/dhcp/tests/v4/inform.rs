//! Parameters only, for an address configured by hand (RFC 2131 3.4).

use core::net::Ipv4Addr;

use dhcp::v4::*;
use engine::{CommandId, Engine as _};
use wire::dhcpv4::{MessageType, OptionCode};

use crate::harness::*;

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
    assert!(matches!(replies(&outputs)[..], [(_, Err(Failure::Host(_)))]));
}

#[test]
fn inform_goes_on_beside_everything_else() {
    let address = Ipv4Addr::new(198, 51, 100, 7);
    let (mut host, _) = Host::started(plain());
    let (inform, outputs) = host.command(Command::Inform { address }, 30);
    let question = dhcp(&outputs).remove(0);
    // A second one for the same address shares the exchange.
    let (second, outputs) = host.command(Command::Inform { address }, 30);
    assert_eq!(dhcp(&outputs), []);
    // A release does not make it moot.
    let (_, outputs) = host.command(Command::Release, 5);
    assert!(replies(&outputs).iter().all(|(id, _)| ![inform, second].contains(id)));
    // Nobody is offered or refused anything.
    for bad in [offer(&question), nak(&question, SERVER)] {
        assert_eq!(discarded(&host.receive(&bad)), 1);
    }
    let outputs = host.receive(&ack_for(&question, NOBODY));
    let answered: Vec<CommandId> = replies(&outputs).iter().map(|(id, _)| *id).collect();
    assert_eq!(answered, [inform, second]);

    // Its end is the end of the questions.
    let (id, _) = host.command(Command::Inform { address }, 30);
    host.input(Input::Cancel { id });
    assert_eq!(host.client.poll_timeout(), None);
    host.command(Command::Inform { address }, 30);
    let outputs = host.input(Input::Link(link(false)));
    assert!(matches!(replies(&outputs)[..], [(_, Err(Failure::LinkDown))]));
    assert_eq!(host.client.poll_timeout(), None);
    host.input(Input::Link(link(true)));
    host.command(Command::Inform { address }, 30);
    let (_, outputs) = host.command(Command::Stop { release: false }, 5);
    assert!(matches!(
        replies(&outputs)[..],
        [(_, Err(Failure::Cancelled)), (_, Ok(Outcome::Stopped))]
    ));
    assert_eq!(host.client.poll_timeout(), None);
}

#[test]
fn inform_never_asks_for_a_lease_time() {
    let config = Config { request_lease_time: Some(seconds(600.0)), ..plain() };
    let mut host = Host::new(config);
    host.input(Input::Link(link(true)));
    let (_, outputs) = host.command(Command::Inform { address: ADDRESS }, 5);
    assert!(!dhcp(&outputs)[0].options.contains(OptionCode::LEASE_TIME));
}

#[test]
fn what_asks_for_nothing_is_no_try() {
    let mut host = Host::bound(plain());
    let address = Ipv4Addr::new(198, 51, 100, 7);
    let (inform, _) = host.command(Command::Inform { address }, 3);
    host.command(Command::Release, 5);
    let outputs = host.advance(seconds(3.0));
    assert!(matches!(
        replies(&outputs)[..],
        [(id, Err(Failure::NoAnswer { tries: 1, .. }))] if id == inform
    ));
}

#[test]
fn a_refusal_of_something_else_is_not_its_answer() {
    let (mut host, outputs) = Host::started(plain());
    let address = Ipv4Addr::new(198, 51, 100, 7);
    let (inform, _) = host.command(Command::Inform { address }, 5);
    let request = dhcp(&host.receive(&offer(&dhcp(&outputs)[0]))).remove(0);
    host.receive(&nak(&request, SERVER));
    let outputs = host.advance(seconds(5.0));
    assert!(matches!(replies(&outputs)[..], [(id, Err(Failure::NoAnswer { .. }))] if id == inform));
}

#[test]
fn what_is_refused_is_not_in_the_answer_either() {
    let mut host = Host::new(Config { use_routes: false, use_dns: false, ..plain() });
    host.input(Input::Link(link(true)));
    let (_, outputs) = host.command(Command::Inform { address: ADDRESS }, 5);
    let outputs = host.receive(&ack_for(&dhcp(&outputs)[0], NOBODY));
    let [(_, Ok(Outcome::Informed { lease }))] = &replies(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!((lease.routes.len(), lease.dns.len()), (0, 0));
}
