//! Settings that change while the client runs.

use dhcp::v4::*;
use wire::dhcpv4::{Message, MessageType};

use crate::harness::*;

fn renamed(config: Config) -> Config {
    Config { client_identifier: ClientIdentifier::Raw(vec![0, 1, 2, 3]), ..config }
}

fn identifier(message: &Message) -> Option<&[u8]> {
    message.options.client_identifier()
}

const BY_HARDWARE: Option<&[u8]> = Some(&[1, 2, 0, 0, 0, 0, 1]);
const RENAMED: Option<&[u8]> = Some(&[0, 1, 2, 3]);

#[test]
fn new_settings_wait_for_the_next_exchange() {
    let (mut host, outputs) = Host::started(plain());
    let discover = dhcp(&outputs).remove(0);
    let outputs = host.receive(&offer(&discover));
    let config = Config { vendor_class: Some(b"new".to_vec()), ..renamed(plain()) };
    host.input(Input::Configure(Box::new(config)));
    let request = dhcp(&outputs).remove(0);
    let again = dhcp(&host.advance(seconds(5.1))).remove(0);
    assert_eq!(again, request);
    // The echo is judged by what was sent.
    let mut granted = ack(&request);
    granted.options.set_client_identifier(&[1, 2, 0, 0, 0, 0, 1]);
    host.receive(&granted);
    assert_eq!(host.client.state(), State::Bound);
    let (_, outputs) = host.command(Command::Renew, 5);
    assert_eq!(dhcp(&outputs)[0].options.vendor_class(), Some(&b"new"[..]));
}

/// RFC 2131 4.2 and 3.1 (6).
#[test]
fn a_lease_is_extended_and_given_back_by_the_name_it_was_given_to() {
    let mut host = Host::bound(plain());
    host.input(Input::Configure(Box::new(renamed(plain()))));
    let (_, outputs) = host.command(Command::Renew, 5);
    let request = dhcp(&outputs).remove(0);
    assert_eq!(identifier(&request), BY_HARDWARE);
    let mut echoing = ack(&request);
    echoing.options.set_client_identifier(&[1, 2, 0, 0, 0, 0, 1]);
    host.receive(&echoing);
    assert_eq!(host.client.state(), State::Bound);
    assert_eq!(host.client.client_identifier().as_deref(), BY_HARDWARE);

    host.input(Input::Link(link(false)));
    let outputs = host.input(Input::Link(link(true)));
    let request = dhcp(&outputs).remove(0);
    assert_eq!(identifier(&request), BY_HARDWARE);
    host.receive(&ack(&request));

    let (_, outputs) = host.command(Command::Release, 5);
    assert_eq!(kinds(&outputs), [MessageType::Release]);
    assert_eq!(identifier(&dhcp(&outputs)[0]), BY_HARDWARE);
    let (_, outputs) = host.command(Command::Acquire, 5);
    assert_eq!(identifier(&dhcp(&outputs)[0]), RENAMED);
}

#[test]
fn a_lease_that_ends_takes_its_name_with_it() {
    let ends: [fn(&mut Host) -> Vec<Output>; 2] = [
        |host| host.sleep(seconds(4_000.0)),
        |host| {
            let (_, outputs) = host.command(Command::Renew, 5);
            host.receive(&nak(&dhcp(&outputs)[0], SERVER))
        },
    ];
    for end in ends {
        let mut host = Host::bound(plain());
        host.input(Input::Configure(Box::new(renamed(plain()))));
        let outputs = end(&mut host);
        assert_eq!(kinds(&outputs), [MessageType::Discover]);
        assert_eq!(identifier(&dhcp(&outputs)[0]), RENAMED);
    }

    // Taken back before it counted.
    let mut host = Host::bound(plain());
    host.input(Input::Configure(Box::new(renamed(plain()))));
    host.input(Input::Configure(Box::new(plain())));
    let outputs = host.sleep(seconds(4_000.0));
    assert_eq!(identifier(&dhcp(&outputs)[0]), BY_HARDWARE);
}

#[test]
fn a_client_that_nobody_answers_asks_with_the_new_settings_soon() {
    let (mut host, _) = Host::started(plain());
    host.advance(seconds(100.0));
    // The same again changes nothing.
    let slow = host.until_next();
    host.input(Input::Configure(Box::new(plain())));
    assert_eq!(host.until_next(), slow);

    let config = Config { broadcast: Broadcast::Always, ..renamed(plain()) };
    let outputs = host.input(Input::Configure(Box::new(config)));
    assert_eq!(kinds(&outputs), [MessageType::Discover]);
    let discover = &dhcp(&outputs)[0];
    assert_eq!((identifier(discover), discover.broadcast, discover.secs), (RENAMED, true, 0));
}

#[test]
fn reloading_makes_no_storm() {
    let (mut host, _) = Host::started(plain());
    let mut discovers = 0;
    for round in 0..600_u32 {
        let vendor_class = Some(round.to_be_bytes().to_vec());
        host.input(Input::Configure(Box::new(Config { vendor_class, ..plain() })));
        discovers += kinds(&host.advance(seconds(0.1))).len();
    }
    assert!((15..=20).contains(&discovers), "{discovers} in a minute");
}

#[test]
fn who_no_longer_wants_a_link_local_address_loses_it() {
    let (mut host, _) = Host::started(Config { link_local: true, ..plain() });
    host.advance(seconds(30.0));
    let address = host.client.link_local().expect("fallen back");
    host.input(Input::Configure(Box::new(plain())));
    let outputs = host.advance(seconds(70.0));
    assert_eq!(effects(&outputs), [Effect::RemoveAddress { address, prefix_length: 16 }]);
    assert_eq!(host.client.link_local(), None);
}

#[test]
fn offers_that_are_there_are_chosen_from_before_new_settings_count() {
    let config = Config { offer_collection: seconds(10.0), ..plain() };
    let (mut host, outputs) = Host::started(config);
    let discover = dhcp(&outputs).remove(0);
    host.receive(&offer(&discover));
    host.input(Input::Configure(Box::new(renamed(plain()))));
    let outputs = host.advance(seconds(9.9));
    assert_eq!(states(&outputs), []);
    let request = dhcp(&host.advance(seconds(0.2))).remove(0);
    assert_eq!((request.xid, identifier(&request)), (discover.xid, BY_HARDWARE));
}
