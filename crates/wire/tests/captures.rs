//! Real exchanges are read the way their server meant them.

mod support;

use std::net::Ipv4Addr;

use iphelper_wire::dhcpv4::{
    CLIENT_PORT, Message, MessageType, Op, OptionCode, Route, SERVER_PORT,
};
use iphelper_wire::udp::{ChecksumPolicy, parse_ipv4_udp};
use iphelper_wire::{Error, HardwareAddress, HardwareType, Layer, arp};
use support::{captured_arp, captured_dhcp, captured_ipv4};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENT: HardwareAddress = HardwareAddress::ethernet([2, 0, 0, 0, 0, 2]);

#[expect(clippy::panic, reason = "a recording that cannot be read fails the test")]
fn exchange(name: &str) -> Vec<Message> {
    captured_dhcp(name)
        .iter()
        .map(|bytes| match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => panic!("{name}: {error}"),
        })
        .collect()
}

fn types(messages: &[Message]) -> Vec<MessageType> {
    messages.iter().filter_map(Message::message_type).collect()
}

fn ip(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

#[test]
fn four_messages_in_order() {
    use MessageType::{Ack, Discover, Offer, Request};
    for name in ["dnsmasq-udhcpc", "isc-dhcpcd", "kea-dhclient", "kea-udhcpc", "udhcpd-dhclient"] {
        let messages = exchange(name);
        assert_eq!(types(&messages), [Discover, Offer, Request, Ack], "{name}");
        assert!(messages.iter().all(|m| m.xid == messages[0].xid && m.chaddr == CLIENT), "{name}");
        assert_eq!(messages[0].op, Op::Request);
        assert_eq!(messages[3].op, Op::Reply);
        assert_eq!(messages[2].options.requested_address(), Some(messages[1].yiaddr), "{name}");
        for reply in [&messages[1], &messages[3]] {
            assert_eq!(reply.options.server_identifier(), Some(SERVER), "{name}");
            assert_eq!(reply.options.subnet_mask(), Some((ip(255, 255, 255, 0), 24)), "{name}");
        }
    }
}

#[test]
fn nothing_in_them_is_malformed() {
    for message in exchange("") {
        assert_eq!(message.options.malformed(), []);
        assert_eq!(message.options.check().count(), 0);
    }
}

#[test]
fn they_survive_being_written() {
    for message in exchange("") {
        assert_eq!(Message::parse(&message.emit()), Ok(message.clone()));
    }
}

#[test]
fn isc_compresses_the_search_list_and_names_a_boot_server() {
    let ack = &exchange("isc-dhcpcd")[3];
    assert_eq!(ack.options.get(OptionCode::DOMAIN_SEARCH).map(<[u8]>::len), Some(19));
    assert_eq!(ack.options.domain_search(), ["a.example.org", "b.example.org"]);
    assert_eq!(ack.options.domain_name(), Some("isc.example.org"));
    assert_eq!(ack.options.host_name(), Some("leased"));
    assert_eq!(ack.options.lease_time(), Some(600));
    assert_eq!(ack.options.renewal_time(), None);
    assert_eq!(ack.sname, b"boot.example.org");
    assert_eq!(ack.file, b"pxelinux.0");
    assert_eq!(ack.siaddr, ip(10, 77, 0, 9));
}

#[test]
fn kea_sends_timers_and_classless_routes() {
    let ack = &exchange("kea-dhclient")[3];
    assert_eq!(ack.yiaddr, ip(10, 77, 0, 50));
    assert_eq!(ack.options.lease_time(), Some(3600));
    assert_eq!(ack.options.renewal_time(), Some(900));
    assert_eq!(ack.options.rebinding_time(), Some(1800));
    assert_eq!(ack.options.mtu(), Some(1400));
    assert_eq!(ack.options.dns_servers(), [SERVER, ip(10, 77, 0, 2)]);
    assert_eq!(ack.options.ntp_servers(), [ip(10, 77, 0, 3)]);
    assert_eq!(ack.options.domain_search(), ["eng.example.org", "example.org"]);
    assert_eq!(
        ack.options.classless_routes(),
        [Route { destination: ip(10, 0, 0, 0), prefix_len: 8, router: ip(10, 77, 0, 1) }]
    );
    assert_eq!(ack.options.routers(), [SERVER]);
}

#[test]
fn rapid_commit_is_two_messages() {
    let messages = exchange("dnsmasq-dhcpcd");
    assert_eq!(types(&messages), [MessageType::Discover, MessageType::Ack]);
    let [discover, ack] = &messages[..] else { panic!() };
    assert!(discover.options.rapid_commit());
    assert!(ack.options.rapid_commit());
    assert_eq!(discover.options.auto_configure(), Some(true));
    assert_eq!(discover.options.get(OptionCode::FORCERENEW_NONCE), Some(&[1][..]));
    assert_eq!(discover.options.max_message_size(), Some(1472));
    let identifier = discover.options.client_identifier().unwrap();
    assert_eq!((identifier.len(), identifier[0]), (19, 255));
    assert_eq!(
        ack.options.classless_routes(),
        [
            Route { destination: ip(10, 0, 0, 0), prefix_len: 8, router: ip(10, 77, 0, 254) },
            Route { destination: ip(0, 0, 0, 0), prefix_len: 0, router: SERVER },
        ]
    );
    assert_eq!(ack.options.captive_portal(), Some("https://portal.example.org/api"));
}

#[test]
fn init_reboot_asks_without_a_server() {
    let messages = exchange("dnsmasq-dhcpcd-reboot");
    assert_eq!(types(&messages), [MessageType::Request, MessageType::Ack]);
    assert_eq!(messages[0].options.server_identifier(), None);
    assert_eq!(messages[0].options.requested_address(), Some(messages[1].yiaddr));
    assert_eq!(messages[0].ciaddr, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn udhcpc_says_who_it_is() {
    let discover = &exchange("dnsmasq-udhcpc")[0];
    assert_eq!(discover.options.vendor_class(), Some(&b"vendor"[..]));
    assert_eq!(discover.options.client_identifier(), Some(&[255, 1, 2, 3, 4, 5][..]));
    let fqdn = discover.options.fqdn().unwrap();
    assert_eq!(fqdn.name, "host.example.org.");
    assert!(discover.options.parameter_request_list().contains(&OptionCode::ROUTER));
}

/// dnsmasq answers through a UDP socket; on a virtual link the kernel leaves its checksum for the
/// hardware that never comes. Everything else in the recordings went through packet sockets.
#[test]
fn unfinished_checksums_are_refused_unless_told() {
    let mut unfinished = 0;
    for (name, _) in support::CAPTURES {
        for bytes in captured_ipv4(name) {
            let (header, datagram) = parse_ipv4_udp(&bytes, ChecksumPolicy::Ignore).unwrap();
            let ports = [datagram.source_port(), datagram.destination_port()];
            assert!(ports == [CLIENT_PORT, SERVER_PORT] || ports == [SERVER_PORT, CLIENT_PORT]);
            match parse_ipv4_udp(&bytes, ChecksumPolicy::Verify) {
                Ok((same, _)) => assert_eq!(same, header),
                Err(error) => {
                    assert_eq!(error, Error::Checksum { layer: Layer::Udp, offset: 6 });
                    assert!(name.starts_with("dnsmasq") && header.source == SERVER, "{name}");
                    unfinished += 1;
                }
            }
        }
    }
    assert_eq!(unfinished, 4);
}

#[test]
fn arp_probes_and_announcements() {
    let packets: Vec<_> =
        captured_arp().iter().map(|bytes| arp::Packet::parse(bytes).unwrap()).collect();
    assert_eq!(packets.len(), 15);
    for packet in packets {
        let (hardware_type, own) = (HardwareType::ETHERNET, packet.sender_hardware);
        let made = match packet.sender {
            sender if packet.is_probe() => {
                assert!(sender.is_unspecified());
                arp::Packet::probe(hardware_type, own, packet.target)
            }
            sender if sender == packet.target => {
                arp::Packet::announcement(hardware_type, own, packet.target)
            }
            sender => arp::Packet::request(hardware_type, own, sender, packet.target),
        };
        // busybox fills the target's hardware address of a probe with ones.
        let expected = arp::Packet { target_hardware: packet.target_hardware, ..made };
        assert_eq!(packet, expected);
        assert_eq!(arp::Packet::parse(&packet.emit()), Ok(packet));
    }
}
