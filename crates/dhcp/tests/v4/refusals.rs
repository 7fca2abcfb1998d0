//! What is no longer to be taken from servers, while a lease with it is in use.

use dhcp::v4::*;
use wire::dhcpv4::Message;

use crate::harness::*;

fn refusing() -> Config {
    Config { use_routes: false, use_dns: false, use_mtu: false, use_ntp: false, ..plain() }
}

/// An ACK that sets everything.
fn generous(request: &Message) -> Message {
    let mut ack = ack(request);
    ack.options.set_routers(&[SERVER]).set_dns_servers(&[SERVER]).set_domain_name("example.net");
    ack.options.set_mtu(1_400).set_ntp_servers(&[SERVER]);
    ack
}

/// Bound with a route, a name server and an MTU.
fn bound() -> Host {
    let mut host = Host::bound(plain());
    let (_, outputs) = host.command(Command::Renew, 5);
    host.receive(&generous(&dhcp(&outputs)[0]));
    assert_eq!(host.client.lease().map(|lease| lease.mtu), Some(Some(1_400)));
    assert_eq!(host.client.lease().map(|lease| lease.routes.len()), Some(1));
    host
}

/// Exactly what is to be taken off the host.
#[track_caller]
fn assert_withdrawn(outputs: &[Output]) {
    assert!(
        matches!(
            effects(outputs)[..],
            [Effect::RemoveRoute(_), Effect::SetMtu(None), Effect::SetResolver(None), ..]
        ),
        "{outputs:?}"
    );
    let touches_address =
        |effect: &Effect| matches!(effect, Effect::AddAddress(_) | Effect::RemoveAddress { .. });
    assert!(!effects(outputs).iter().any(touches_address), "{outputs:?}");
}

#[test]
fn what_new_settings_refuse_goes_at_once() {
    let mut host = bound();
    let outputs = host.input(Input::Configure(Box::new(refusing())));
    assert_withdrawn(&outputs);
    assert_eq!(kinds(&outputs), []);
    let lease = host.client.lease().expect("kept");
    assert_eq!((lease.routes.len(), lease.dns.len(), lease.mtu), (0, 0, None));
    // The next start is not to bring it back.
    let Some(Effect::Persist(record)) = effects(&outputs).pop() else { panic!("{outputs:?}") };
    assert_eq!(record.lease.as_ref(), Some(lease));
    // Once is enough.
    assert_eq!(effects(&host.input(Input::Configure(Box::new(refusing())))), []);
    // Let in again, it comes with the next answer.
    assert_eq!(effects(&host.input(Input::Configure(Box::new(plain())))), []);
    let (_, outputs) = host.command(Command::Renew, 5);
    let outputs = host.receive(&generous(&dhcp(&outputs)[0]));
    assert!(effects(&outputs).iter().any(|effect| matches!(effect, Effect::AddRoute(_))));
}

#[test]
fn an_answer_that_was_asked_for_before_does_not_bring_it_back() {
    let mut host = bound();
    let (_, outputs) = host.command(Command::Renew, 5);
    let request = dhcp(&outputs).remove(0);
    assert_withdrawn(&host.input(Input::Configure(Box::new(refusing()))));
    let outputs = host.receive(&generous(&request));
    assert_eq!(host.client.state(), State::Bound);
    assert!(matches!(effects(&outputs)[..], [Effect::AddAddress(_), Effect::Persist(_)]));
}

#[test]
fn nor_does_a_lease_that_is_restored() {
    let record =
        Record { hardware: hardware(1), lease: bound().client.lease().cloned(), released: false };
    let mut host = Host::new(refusing());
    let outputs = host.input(Input::Restore(Box::new(record)));
    assert_withdrawn(&outputs);
    host.input(Input::Link(link(true)));
    host.command(Command::Acquire, 30);
    // Nobody answers: the lease is used all the same.
    let outputs = host.advance(seconds(60.0));
    assert!(!effects(&outputs).iter().any(|effect| matches!(
        effect,
        Effect::AddRoute(_) | Effect::SetMtu(Some(_)) | Effect::SetResolver(Some(_))
    )));
    assert_eq!(host.client.lease().map(|lease| lease.address), Some(ADDRESS));
}
