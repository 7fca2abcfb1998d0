//! Which fields and options go out, by configuration and link.

use core::time::Duration;
use std::collections::BTreeSet;

use dhcp::v4::*;
use wire::dhcpv4::{self, Message, OptionCode};
use wire::{HardwareAddress, HardwareType};

use crate::harness::*;

fn first_message(config: Config, link: Link) -> Message {
    let mut host = Host::new(config);
    host.input(Input::Link(link));
    let (_, outputs) = host.command(Command::Acquire, 30);
    dhcp(&outputs).remove(0)
}

fn codes(message: &Message) -> Vec<u8> {
    message.options.iter().map(|(code, _)| code.0).collect()
}

#[test]
fn a_plain_discover() {
    let discover = first_message(Config::default(), link(true));
    assert_eq!(codes(&discover), [53, 61, 80, 57, 55]);
    assert_eq!(discover.options.client_identifier(), Some(&[1, 2, 0, 0, 0, 0, 1][..]));
    assert_eq!(discover.options.max_message_size(), Some(1_500));
    assert_eq!((discover.chaddr, discover.hardware_type), (hardware(1), HardwareType::ETHERNET));
    assert!(!discover.broadcast);
    assert_eq!((discover.ciaddr, discover.siaddr, discover.giaddr), (NOBODY, NOBODY, NOBODY));
    assert_eq!(discover.secs, 0);
    let list: Vec<u8> =
        discover.options.parameter_request_list().iter().map(|code| code.0).collect();
    // RFC 3442: classless routes before routers.
    assert_eq!(list, [1, 121, 3, 6, 15, 119, 249, 26, 28, 42, 58, 59, 114]);
}

#[test]
fn everything_a_configuration_can_add() {
    let config = Config {
        client_identifier: ClientIdentifier::Duid { iaid: 0x0102_0304, duid: vec![0, 4, 9, 9] },
        host_name: Some("nas".to_owned()),
        vendor_class: Some(b"iphelper".to_vec()),
        user_class: vec![b"lab".to_vec(), b"x".to_vec()],
        request_options: vec![OptionCode::TFTP_SERVER_NAME, OptionCode::ROUTER],
        request_lease_time: Some(Duration::from_secs(600)),
        broadcast: Broadcast::Always,
        use_host_name: true,
        ..Config::default()
    };
    let discover = first_message(config.clone(), link(true));
    let options = &discover.options;
    assert_eq!(options.client_identifier(), Some(&[255, 1, 2, 3, 4, 0, 4, 9, 9][..]));
    assert_eq!(options.host_name(), Some("nas"));
    assert_eq!(options.vendor_class(), Some(&b"iphelper"[..]));
    assert_eq!(options.user_class(), [&b"lab"[..], b"x"]);
    assert_eq!(options.lease_time(), Some(600));
    assert!(discover.broadcast);
    let list = options.parameter_request_list();
    assert!(list.contains(&OptionCode::TFTP_SERVER_NAME));
    assert!(list.contains(&OptionCode::HOST_NAME));
    let routers = list.iter().filter(|code| **code == OptionCode::ROUTER);
    assert_eq!(routers.count(), 1);

    // Once there is an address, it can be answered to directly.
    let mut host = Host::bound(config);
    let (_, outputs) = host.command(Command::Renew, 5);
    assert!(!dhcp(&outputs)[0].broadcast);
}

#[test]
fn the_full_name_takes_the_place_of_the_host_name() {
    let named = |name: &str, server_updates| {
        let config = Config {
            host_name: Some("nas".to_owned()),
            fqdn: Some(Fqdn { name: name.to_owned(), server_updates }),
            ..plain()
        };
        first_message(config, link(true))
    };
    let fqdn = named("nas.example.net.", true).options.fqdn().expect("sent");
    assert_eq!(fqdn.name, "nas.example.net.");
    assert_eq!(fqdn.flags, dhcpv4::Fqdn::SERVER_UPDATES | dhcpv4::Fqdn::WIRE_FORM);
    assert_eq!(named("nas.example.net.", true).options.host_name(), None);
    let fqdn = named("nas", false).options.fqdn().expect("sent");
    assert_eq!(fqdn.flags, dhcpv4::Fqdn::NO_UPDATES | dhcpv4::Fqdn::WIRE_FORM);
    // One that cannot be written is no name.
    let bad = named("not a name", true);
    assert_eq!((bad.options.fqdn(), bad.options.host_name()), (None, Some("nas")));
}

#[test]
fn settings_that_make_no_option_make_none() {
    let config = Config {
        client_identifier: ClientIdentifier::None,
        host_name: Some(String::new()),
        vendor_class: Some(Vec::new()),
        user_class: vec![Vec::new()],
        ..plain()
    };
    assert_eq!(codes(&first_message(config, link(true))), [53, 57, 55]);
    for bytes in [vec![], vec![1], vec![1; 256]] {
        let config = Config { client_identifier: ClientIdentifier::Raw(bytes), ..plain() };
        assert_eq!(codes(&first_message(config, link(true))), [53, 57, 55]);
    }
}

#[test]
fn an_anonymous_client_sends_nothing_that_identifies_it() {
    let config = Config {
        client_identifier: ClientIdentifier::Duid { iaid: 1, duid: vec![0, 4, 9, 9] },
        host_name: Some("nas".to_owned()),
        fqdn: Some(Fqdn { name: "nas.example.net.".to_owned(), server_updates: true }),
        vendor_class: Some(b"iphelper".to_vec()),
        user_class: vec![b"lab".to_vec()],
        request_options: vec![OptionCode::TFTP_SERVER_NAME],
        request_address: Some(ADDRESS),
        request_lease_time: Some(Duration::from_secs(600)),
        rapid_commit: true,
        link_local: true,
        anonymize: true,
        ..plain()
    };
    let discover = first_message(config, link(true));
    let mut sent = codes(&discover);
    sent.sort_unstable();
    assert_eq!(sent, [53, 55, 61]);
    assert_eq!(discover.options.client_identifier(), Some(&[1, 2, 0, 0, 0, 0, 1][..]));
    let list = discover.options.parameter_request_list();
    assert!(!list.contains(&OptionCode::TFTP_SERVER_NAME));
}

/// RFC 7844 sections 3.1 and 3.6.
#[test]
fn an_anonymous_client_is_not_known_by_the_order_of_its_options() {
    let mut host = Host::new(Config { anonymize: true, rapid_commit: true, ..plain() });
    host.input(Input::Link(link(true)));
    let (_, outputs) = host.command(Command::Acquire, 3_600);
    let mut sent = dhcp(&outputs);
    while sent.len() < 20 {
        sent.extend(dhcp(&host.next()));
    }
    let distinct = |orders: Vec<Vec<u8>>| orders.into_iter().collect::<BTreeSet<_>>().len();
    assert!(distinct(sent.iter().map(codes).collect()) > 3);
    let requested = |message: &Message| -> Vec<u8> {
        message.options.parameter_request_list().iter().map(|code| code.0).collect()
    };
    for list in sent.iter().map(requested) {
        let of = |code| list.iter().position(|listed| *listed == code).expect("asked for");
        assert!(of(121) < of(3), "RFC 3442: classless routes before routers: {list:?}");
    }
    assert!(distinct(sent.iter().map(requested).collect()) > 3);
}

#[test]
fn what_is_refused_is_not_asked_for() {
    let config =
        Config { use_routes: false, use_dns: false, use_mtu: false, use_ntp: false, ..plain() };
    let list = first_message(config, link(true)).options.parameter_request_list();
    let list: Vec<u8> = list.iter().map(|code| code.0).collect();
    assert_eq!(list, [1, 28, 58, 59, 114]);
}

#[test]
fn infiniband_has_no_room_for_its_address() {
    let infiniband = Link {
        hardware_type: HardwareType::INFINIBAND,
        hardware: HardwareAddress::new(&[7; 20]).expect("20 bytes"),
        mtu: 65_520,
        up: true,
    };
    let discover = first_message(plain(), infiniband);
    assert!(discover.chaddr.is_empty() && discover.broadcast);
    assert_eq!(discover.options.client_identifier().map(<[u8]>::len), Some(21));
    assert_eq!(discover.options.max_message_size(), Some(1_500));

    // The answer's chaddr says nothing then; the transaction does.
    let mut host = Host::new(plain());
    host.input(Input::Link(infiniband));
    let (_, outputs) = host.command(Command::Acquire, 30);
    host.receive(&offer(&dhcp(&outputs)[0]));
    assert_eq!(host.client.state(), State::Requesting);
}

#[test]
fn small_links_still_offer_the_least_a_server_may_send() {
    let small = Link { mtu: 100, ..link(true) };
    assert_eq!(first_message(plain(), small).options.max_message_size(), Some(576));
}

#[test]
fn invitations_are_for_discover_alone() {
    let config = Config { rapid_commit: true, link_local: true, ..plain() };
    let (mut host, outputs) = Host::started(config);
    let discover = &dhcp(&outputs)[0];
    let has = |message: &Message, code| message.options.contains(code);
    assert!(has(discover, OptionCode::RAPID_COMMIT) && has(discover, OptionCode::AUTO_CONFIGURE));
    let request = dhcp(&host.receive(&offer(discover))).remove(0);
    assert!(!has(&request, OptionCode::RAPID_COMMIT) && !has(&request, OptionCode::AUTO_CONFIGURE));
}

#[test]
fn an_anonymous_client_takes_no_rapid_commit() {
    let config = Config { rapid_commit: true, anonymize: true, ..plain() };
    let (mut host, outputs) = Host::started(config);
    let mut rapid = ack_for(&dhcp(&outputs)[0], ADDRESS);
    rapid.options.set_rapid_commit();
    assert_eq!(discarded(&host.receive(&rapid)), 1);
    assert_eq!(host.client.state(), State::Selecting);
}

#[test]
fn servers_broadcast_where_they_could_not_answer_otherwise() {
    let asks = |hardware_type, hardware: &[u8]| {
        let hardware = HardwareAddress::new(hardware).expect("at most 32 bytes");
        first_message(plain(), Link { hardware_type, hardware, ..link(true) }).broadcast
    };
    assert!(!asks(HardwareType::ETHERNET, &[2; 6]));
    assert!(!asks(HardwareType::IEEE_1394, &[2; 16]));
    // RFC 4390 2.2, whatever the length of the address.
    assert!(asks(HardwareType::INFINIBAND, &[2; 8]));
    // No room in chaddr, or nothing to put there.
    assert!(asks(HardwareType(99), &[2; 17]));
    assert!(asks(HardwareType(99), &[]));
    let never = Config { broadcast: Broadcast::Never, ..plain() };
    let hardware = HardwareAddress::default();
    assert!(!first_message(never, Link { hardware, ..link(true) }).broadcast);
}
