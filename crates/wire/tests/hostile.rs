//! Inputs that broke other DHCP clients, and their kin: none of them breaks this decoder, and none
//! of them costs more than the one option it is in.

mod support;

use std::net::{Ipv4Addr, SocketAddrV4};

use iphelper_wire::dhcpv4::{Malformed, Message, MessageType, OptionCode, Options, Reason, View};
use iphelper_wire::udp::{ChecksumPolicy, Datagram, emit_ipv4_udp, parse_ipv4_udp};
use iphelper_wire::{Error, Layer};
use support::reply_with;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// An ACK with a server identifier before and a router after the options under test.
#[expect(clippy::unwrap_used, reason = "the fixed fields are good: an error fails the test")]
fn ack_with(under_test: &[u8]) -> Options {
    let before = [53, 1, 5, 54, 4, 192, 0, 2, 1];
    let after = [3, 4, 192, 0, 2, 254, 255];
    let message = Message::parse(&reply_with(&[&before, under_test, &after].concat())).unwrap();
    assert_eq!(message.message_type(), Some(MessageType::Ack));
    assert_eq!(message.options.server_identifier(), Some(SERVER));
    assert_eq!(message.options.routers(), [Ipv4Addr::new(192, 0, 2, 254)]);
    message.options
}

fn option(code: OptionCode, data: &[u8]) -> Vec<u8> {
    [&[code.0, data.len() as u8], data].concat()
}

/// Reads one option with `data` among good ones; asserts that it is malformed for `reason`.
fn malformed(code: OptionCode, data: &[u8], reason: Reason) -> Options {
    let options = ack_with(&option(code, data));
    assert_eq!(options.malformed(), [Malformed { code, reason }], "{data:02x?}");
    assert_eq!(options.get(code), Some(data), "the bytes are kept");
    options
}

/// CVE-2009-0692 (dhclient): a subnet mask longer than a mask.
#[test]
fn long_subnet_mask() {
    for length in [5, 8, 64, 255] {
        let options = malformed(OptionCode::SUBNET_MASK, &vec![255; length], Reason::Length);
        assert_eq!(options.subnet_mask(), None);
    }
}

/// CVE-2011-0997 (dhclient), CVE-2014-6271 (bash), CVE-2026-10805 (NetworkManager): names that mean
/// something to a shell or a configuration file.
#[test]
fn names_for_shells() {
    let names: &[&[u8]] = &[
        b"$(reboot)",
        b"`reboot`",
        b"a;reboot",
        b"a|reboot",
        b"a&reboot",
        b"a\nb",
        b"a\0b",
        b"() { :;}; reboot",
        b"a b",
        b"../../etc/passwd",
        b"a\"b",
        b"a'b",
        b"a/b",
        b"a:b",
        b"a%b",
        b"a\\b",
        b"-rf",
        b"a-",
        b"a..b",
        b".a",
        b"caf\xc3\xa9",
        b"\xff\xfe",
    ];
    for name in names {
        for code in [OptionCode::HOST_NAME, OptionCode::DOMAIN_NAME] {
            let options = ack_with(&option(code, name));
            assert_eq!(options.malformed().len(), 1, "{name:?}");
            assert_eq!((options.host_name(), options.domain_name()), (None, None), "{name:?}");
            assert_eq!(options.get(code), Some(*name));
        }
        let label = [&[name.len() as u8], *name, &[0]].concat();
        assert_eq!(ack_with(&option(OptionCode::DOMAIN_SEARCH, &label)).domain_search(), [""; 0]);
        let fqdn = [&[4, 0, 0], &label[..]].concat();
        assert_eq!(ack_with(&option(OptionCode::FQDN, &fqdn)).fqdn(), None, "{name:?}");
    }
    malformed(OptionCode::HOST_NAME, &[b'a'; 64], Reason::Name);
    malformed(OptionCode::HOST_NAME, &[b"a.".repeat(127).as_slice(), b"."].concat(), Reason::Name);
    malformed(OptionCode::HOST_NAME, b"", Reason::Length);
    malformed(OptionCode::HOST_NAME, b"\0\0", Reason::Length);
}

/// CVE-2018-1111 (NetworkManager): a quote in option 252. The text readers promise no more than
/// the absence of control characters, the URI readers allow no quotes.
#[test]
fn quotes_in_text() {
    let options = ack_with(&option(OptionCode::PROXY_AUTODISCOVERY, b"x'&reboot #"));
    assert_eq!(options.text(OptionCode::PROXY_AUTODISCOVERY), Some("x'&reboot #"));
    malformed(OptionCode::PROXY_AUTODISCOVERY, b"x\nreboot", Reason::Text);
    for uri in [&b"http://a/\"b"[..], b"http://a/ b", b"no-scheme", b"http://a/\n", b":x", b""] {
        assert_eq!(ack_with(&option(OptionCode::CAPTIVE_PORTAL, uri)).captive_portal(), None);
    }
}

/// A message for people may not steer a terminal.
#[test]
fn escape_sequences_in_the_message() {
    let options = ack_with(&option(OptionCode::MESSAGE, b"no\x1b[2J\xff lease\0"));
    assert_eq!(options.message().as_deref(), Some("no\u{fffd}[2J\u{fffd} lease"));
}

/// CVE-2015-8605 (dhclient, dhcpd), n-dhcp4 `7bbf762` (NetworkManager): UDP length against buffer.
#[test]
fn udp_length() {
    let good = emit_ipv4_udp(
        SocketAddrV4::new(SERVER, 67),
        SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
        0,
        64,
        b"payload",
    );
    assert!(parse_ipv4_udp(&good, ChecksumPolicy::Verify).is_ok());
    for policy in [ChecksumPolicy::Verify, ChecksumPolicy::Ignore] {
        for length in (0..=7).chain([16, 17, 0x7fff, 0xffff]) {
            let mut bytes = good.clone();
            bytes[24..26].copy_from_slice(&u16::to_be_bytes(length));
            let error = parse_ipv4_udp(&bytes, policy).unwrap_err();
            let expected = match length {
                0..8 => Error::Invalid { layer: Layer::Udp, what: "length", offset: 4 },
                _ => Error::Truncated {
                    layer: Layer::Udp,
                    offset: 8,
                    needed: usize::from(length) - 8,
                    available: 7,
                },
            };
            assert_eq!(error, expected);
        }
    }
    for length in 0..8 {
        let policy = ChecksumPolicy::Ignore;
        assert!(Datagram::parse(&[0; 8][..length], SERVER, SERVER, policy).is_err());
    }
}

/// CVE-2012-6698, -6699, -6700, CVE-2014-6060 (dhcpcd), dhcpcd #179: an option that is longer than
/// the message, a message that stops anywhere.
#[test]
fn options_over_the_end() {
    for (tail, code) in [(&[6, 4, 1, 2, 3][..], 6), (&[6, 255], 6), (&[6], 6), (&[15, 1], 15)] {
        let bytes = reply_with(&[&[53, 1, 5][..], tail].concat());
        let options = Message::parse(&bytes).unwrap().options;
        assert_eq!(options.message_type(), Some(MessageType::Ack));
        let code = OptionCode(code);
        assert_eq!(options.malformed(), [Malformed { code, reason: Reason::Truncated }]);
        assert_eq!(options.get(code), None);
    }
    let whole = reply_with(&[53, 1, 5, 255]);
    for length in 0..240 {
        let error = Message::parse(&whole[..length]).unwrap_err();
        assert!(
            matches!(error, Error::Truncated { layer: Layer::Dhcpv4, .. }),
            "{length}: {error}"
        );
    }
    assert!(Message::parse(&whole[..240]).unwrap().options.is_empty());
    // No end mark, as some servers send it.
    assert_eq!(Message::parse(&whole[..243]).unwrap().options.malformed(), []);
}

/// CVE-2014-7912 and -7913 (dhcpcd), CVE-2016-1503 and -1504 (dhcpcd), busybox CVE-2018-20679 and
/// CVE-2019-5747: four-byte options of other lengths.
#[test]
fn fixed_length_options_of_other_lengths() {
    use OptionCode as O;
    for length in [0, 1, 2, 3, 5, 7, 8, 255] {
        let data = vec![1; length];
        for code in [O::LEASE_TIME, O::RENEWAL_TIME, O::REBINDING_TIME, O::IPV6_ONLY_PREFERRED] {
            let options = malformed(code, &data, Reason::Length);
            assert_eq!(options.lease_time(), None);
            assert_eq!(options.renewal_time(), None);
            assert_eq!(options.rebinding_time(), None);
            assert_eq!(options.ipv6_only_preferred(), None);
        }
        assert_eq!(
            malformed(O::BROADCAST_ADDRESS, &data, Reason::Length).broadcast_address(),
            None
        );
        if length != 2 {
            assert_eq!(malformed(O::INTERFACE_MTU, &data, Reason::Length).mtu(), None);
        }
        if length != 1 {
            assert_eq!(malformed(O::AUTO_CONFIGURE, &data, Reason::Length).auto_configure(), None);
        }
    }
    for mtu in [0_u16, 1, 67] {
        assert_eq!(malformed(O::INTERFACE_MTU, &mtu.to_be_bytes(), Reason::Range).mtu(), None);
    }
    for mask in [[255, 0, 255, 0], [0, 0, 0, 1], [254, 255, 255, 255]] {
        assert_eq!(malformed(O::SUBNET_MASK, &mask, Reason::Mask).subnet_mask(), None);
    }
    for (mask, length) in [([0; 4], 0), ([255, 255, 255, 254], 31), ([255; 4], 32)] {
        let options = ack_with(&option(O::SUBNET_MASK, &mask));
        assert_eq!(options.subnet_mask(), Some((mask.into(), length)));
    }
    assert!(!malformed(O::RAPID_COMMIT, &[1], Reason::Length).rapid_commit());
}

/// dhcpcd master `8b312918` dropped the ACK for its empty option 80.
#[test]
fn empty_rapid_commit() {
    assert!(ack_with(&[80, 0]).rapid_commit());
    assert!(ack_with(&[80, 0, 80, 0]).rapid_commit());
}

/// CVE-2019-11579 (dhcpcd) and the overload loops before it: option 52 that ends the message, that
/// has other values, and that stands in an area it opened.
#[test]
fn overload() {
    let cut = Message::parse(&reply_with(&[53, 1, 5, 52])).unwrap();
    assert_eq!(cut.options.malformed().len(), 1);
    for value in [&[][..], &[0], &[4], &[255], &[1, 1]] {
        let bytes = reply_with(&[&[52, value.len() as u8], value, &[255]].concat());
        assert_eq!(View::parse(&bytes).unwrap().overload(), (false, false), "{value:?}");
    }

    let mut bytes = reply_with(&[53, 1, 5, 52, 1, 1, 255]);
    // The file field opens the sname field: not allowed. It also has no end mark.
    bytes[108..236].fill(0);
    bytes[108..118].copy_from_slice(&[52, 1, 3, 51, 4, 0, 0, 14, 16, 52]);
    bytes[44..50].copy_from_slice(&[3, 4, 1, 1, 1, 1]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.options.lease_time(), Some(3600));
    assert_eq!(message.options.routers(), [Ipv4Addr::UNSPECIFIED; 0]);
    assert_eq!(message.file, b"");
    assert_eq!(message.sname, [3, 4, 1, 1, 1, 1]);
    assert!(!message.options.contains(OptionCode::OVERLOAD));

    // All three areas; the one option is in pieces over all of them, in the order of RFC 3396.
    let mut bytes = reply_with(&[119, 2, 3, b'e', 52, 1, 3, 255]);
    bytes[108..113].copy_from_slice(&[119, 2, b'n', b'g', 255]);
    bytes[44..48].copy_from_slice(&[119, 1, 0, 255]);
    assert_eq!(Message::parse(&bytes).unwrap().options.domain_search(), ["eng"]);
}

/// CVE-2020-7461 (FreeBSD dhclient), CVE-2016-2147 (busybox): names of option 119.
#[test]
fn search_list_pointers() {
    let search = OptionCode::DOMAIN_SEARCH;
    let refused: &[(&[u8], Reason)] = &[
        (&[0xc0, 0x00], Reason::Pointer),
        (&[1, b'a', 0xc0, 0x00], Reason::Pointer),
        (&[1, b'a', 0xc0, 0x02], Reason::Pointer),
        (&[1, b'a', 0xc0, 0x04, 0], Reason::Pointer),
        (&[1, b'a', 0xff, 0xff], Reason::Pointer),
        (&[0xc0, 0x02, 0xc0, 0x00], Reason::Pointer),
        (&[1, b'a', 0xc0], Reason::Length),
        (&[1, b'a'], Reason::Length),
        (&[1], Reason::Length),
        (&[63, b'a', b'a'], Reason::Length),
        (&[0x40, 0], Reason::Name),
        (&[0x80, 0], Reason::Name),
        (&[0], Reason::Length),
        (&[], Reason::Length),
        (&[3, b'a', b'.', b'b', 0], Reason::Name),
    ];
    for (data, reason) in refused {
        assert_eq!(malformed(search, data, *reason).domain_search(), [""; 0]);
    }
    // A chain of pointers that grows a name above 255 bytes.
    let mut data = vec![63; 64];
    data[1..64].fill(b'a');
    data.push(0);
    for round in 0..4_u8 {
        let target = if round == 0 { 0 } else { 65 + (round - 1) * 66 };
        data.push(63);
        data.extend([b'a'; 63]);
        data.extend([0xc0, target]);
    }
    let bytes: Vec<u8> = data.chunks(255).flat_map(|piece| option(search, piece)).collect();
    assert_eq!(ack_with(&bytes).malformed(), [Malformed { code: search, reason: Reason::Name }]);
    // Two-byte pointers to a long name: the list is bounded.
    let mut data = vec![63; 64];
    data[1..64].fill(b'a');
    data.push(0);
    data.extend([0xc0, 0x00].repeat(1000));
    let bytes: Vec<u8> = data.chunks(255).flat_map(|piece| option(search, piece)).collect();
    assert_eq!(ack_with(&bytes).malformed(), [Malformed { code: search, reason: Reason::Length }]);
}

/// smoltcp #305 and PR 562: more DNS servers than fit, and a list that is not a multiple of 4.
#[test]
fn address_lists() {
    let dns = OptionCode::DNS_SERVER;
    let many: Vec<u8> = (0..252).collect();
    assert_eq!(ack_with(&option(dns, &many)).dns_servers().len(), 63);
    for length in [0, 1, 2, 3, 5, 6, 7, 255] {
        let options = malformed(dns, &vec![8; length], Reason::Length);
        assert_eq!(options.dns_servers(), [Ipv4Addr::UNSPECIFIED; 0]);
    }
    malformed(OptionCode::STATIC_ROUTE, &[1; 12], Reason::Length);
}

/// CVE-2021-26675 (ConnMan): more options and bytes than any buffer of fixed size.
#[test]
fn ten_thousand_options() {
    let mut bytes = Vec::new();
    for _ in 0..5 {
        for code in 100..=250 {
            bytes.extend(option(OptionCode(code), &[0; 80]));
        }
    }
    let options = ack_with(&bytes);
    assert_eq!(options.get(OptionCode(200)).map(<[u8]>::len), Some(400));
}

/// CVE-2018-5732 (dhclient): an opaque option of the greatest size in many pieces.
#[test]
fn long_opaque_option() {
    let piece = option(OptionCode::VENDOR_SPECIFIC, &[0xee; 255]);
    let options = ack_with(&piece.repeat(200));
    assert_eq!(options.get(OptionCode::VENDOR_SPECIFIC), Some(&[0xee; 51000][..]));
}

/// mozim `64b4198`: lifetimes at the end of the range come out as they are; nothing is multiplied.
#[test]
fn infinite_lease() {
    let options = ack_with(&option(OptionCode::LEASE_TIME, &[255; 4]));
    assert_eq!(options.lease_time(), Some(iphelper_wire::dhcpv4::INFINITE));
}

/// CVE-2024-3661 (TunnelVision) rests on option 121; whether to follow it is the caller's choice.
/// Here: its decoding at the edges.
#[test]
fn classless_routes() {
    use OptionCode as O;
    for (data, reason) in [
        (&[][..], Reason::Length),
        (&[33, 1, 2, 3, 4, 5, 6, 7, 8, 9], Reason::Range),
        (&[255], Reason::Range),
        (&[0], Reason::Length),
        (&[24, 10, 0, 0, 10, 0, 0], Reason::Length),
        (&[0, 10, 0, 0, 1, 32], Reason::Length),
    ] {
        assert_eq!(malformed(O::CLASSLESS_ROUTE, data, reason).classless_routes(), []);
    }
    // Bits after the prefix are dropped; a bad 121 gives way to 249.
    let options = ack_with(
        &[option(O::CLASSLESS_ROUTE, &[1]), option(O(249), &[9, 10, 255, 10, 0, 0, 1])].concat(),
    );
    let [route] = options.classless_routes()[..] else { panic!() };
    assert_eq!((route.destination, route.prefix_len), (Ipv4Addr::new(10, 128, 0, 0), 9));
}

/// Servers and relay agents that send an option twice.
#[test]
fn repeated_options() {
    // Same again: nothing to complain of.
    let options = ack_with(&[
        54, 4, 192, 0, 2, 1, 53, 1, 5, 12, 3, b'n', b'a', b's', 12, 3, b'n', b'a', b's',
    ]);
    assert_eq!(options.host_name(), Some("nas"));
    assert_eq!(options.malformed(), []);
    // Another: the first one counts (`ack_with` looks), and it is told.
    let options = ack_with(&[54, 4, 192, 0, 2, 66]);
    let code = OptionCode::SERVER_IDENTIFIER;
    assert_eq!(options.malformed(), [Malformed { code, reason: Reason::Conflict }]);
    // A fixed option in pieces is still one option (RFC 3396 5).
    assert_eq!(ack_with(&[51, 2, 0, 0, 51, 2, 14, 16]).lease_time(), Some(3600));
    // Lists grow.
    let twice = ack_with(&[6, 4, 1, 1, 1, 1, 6, 4, 2, 2, 2, 2]);
    assert_eq!(twice.dns_servers(), [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(2, 2, 2, 2)]);
}

/// Nothing after the end mark counts, not even an overload.
#[test]
fn after_the_end_mark() {
    let bytes = reply_with(&[53, 1, 5, 255, 51, 4, 0, 0, 14, 16, 52, 1, 3, 6, 200]);
    let options = Message::parse(&bytes).unwrap().options;
    assert_eq!((options.len(), options.malformed()), (1, &[][..]));
    assert_eq!(View::parse(&bytes).unwrap().overload(), (false, false));
}

/// Not DHCP, or not for us to read.
#[test]
fn fixed_fields() {
    let good = reply_with(&[255]);
    for (offset, value, what) in [
        (0, 0, "op"),
        (0, 3, "op"),
        (2, 17, "hardware address length"),
        (2, 255, "hardware address length"),
        (236, 0, "magic cookie"),
    ] {
        let mut bytes = good.clone();
        bytes[offset] = value;
        let error = Error::Invalid { layer: Layer::Dhcpv4, what, offset };
        assert_eq!(Message::parse(&bytes), Err(error));
    }
}

/// User classes: the list of RFC 3004, and what Microsoft clients send instead.
#[test]
fn user_classes() {
    let user_class = OptionCode::USER_CLASS;
    let options = ack_with(&option(user_class, &[1, b'a', 2, b'b', b'c']));
    assert_eq!(options.user_class(), [&b"a"[..], b"bc"]);
    for data in [&b"MSFT"[..], &[0], &[2, b'a'], &[]] {
        let none: [&[u8]; 0] = [];
        assert_eq!(malformed(user_class, data, Reason::Length).user_class(), none);
    }
}

/// CVE-2018-15688 (systemd, NetworkManager, in DHCPv6): a server identifier of another length than
/// it has. One that is cut short is none, and does not cost the message.
#[test]
fn server_identifiers_of_other_lengths() {
    for length in [0, 1, 3, 5, 8, 255] {
        let bytes = [&[53, 1, 2][..], &option(OptionCode::SERVER_IDENTIFIER, &vec![10; length])];
        let options = Message::parse(&reply_with(&bytes.concat())).unwrap().options;
        assert_eq!(options.server_identifier(), None, "{length}");
        assert_eq!(options.message_type(), Some(MessageType::Offer));
        let code = OptionCode::SERVER_IDENTIFIER;
        assert_eq!(options.malformed(), [Malformed { code, reason: Reason::Length }]);
    }
}

/// Numbers below what their RFCs allow, and identifiers too short to be any.
#[test]
fn too_small_and_too_short() {
    use OptionCode as O;
    for size in [0_u16, 1, 575] {
        let options = malformed(O::MAX_MESSAGE_SIZE, &size.to_be_bytes(), Reason::Range);
        assert_eq!(options.max_message_size(), None);
    }
    assert_eq!(ack_with(&[57, 2, 2, 64]).max_message_size(), Some(576));
    for identifier in [&[][..], &[1]] {
        let options = malformed(O::CLIENT_IDENTIFIER, identifier, Reason::Length);
        assert_eq!(options.client_identifier(), None);
    }
    for value in [2, 255] {
        assert_eq!(malformed(O::AUTO_CONFIGURE, &[value], Reason::Range).auto_configure(), None);
    }
    for code in [O::PARAMETER_REQUEST_LIST, O::VENDOR_CLASS] {
        malformed(code, &[], Reason::Length);
    }
}

/// The full name as text, from clients older than RFC 4702, is checked as the other names are.
#[test]
fn names_of_old_clients() {
    let fqdn = |name: &[u8]| ack_with(&option(OptionCode::FQDN, &[&[0, 0, 0], name].concat()));
    assert_eq!(fqdn(b"nas.example").fqdn().map(|fqdn| fqdn.name), Some("nas.example".to_owned()));
    assert_eq!(fqdn(b"").fqdn().map(|fqdn| fqdn.name), Some(String::new()));
    for name in [&b"nas;reboot"[..], b"nas\n", b"-nas", b"nas..example", b"\xff"] {
        assert_eq!(fqdn(name).fqdn(), None, "{name:?}");
    }
    // Hosts with an underscore in their names are many; those of one letter are names.
    for name in [&b"my_host"[..], b"_x", b"a", b"a."] {
        assert!(ack_with(&option(OptionCode::HOST_NAME, name)).host_name().is_some(), "{name:?}");
    }
}

/// Text in different pieces is one text (RFC 3396 7), however short they are.
#[test]
fn pieces_of_text() {
    let options = ack_with(&[12, 2, b'n', b'a', 12, 1, b's']);
    assert_eq!((options.host_name(), options.malformed()), (Some("nas"), &[][..]));
}
