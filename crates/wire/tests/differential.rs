//! The same bytes read, and the same values written, by dhcproto, smoltcp and etherparse.
//!
//! Where all agree, all are probably right. Where this crate differs it does so on purpose, and a
//! test says how; if one of those fails after an update, the other crate has changed its mind.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in helpers of tests, where a panic is a failed test"
)]

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{DhcpOption, OptionCode as TheirCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use iphelper_wire::dhcpv4::{Fqdn, Message, MessageType, Op, OptionCode, View};
use iphelper_wire::udp::{ChecksumPolicy, Datagram, emit_ipv4_udp, parse_ipv4_udp};
use iphelper_wire::{arp, ipv4};
use smoltcp::wire as theirs;
use support::{Numbers, captured_arp, captured_dhcp, captured_ipv4, reply_with};

fn dhcproto(bytes: &[u8]) -> dhcproto::v4::Message {
    dhcproto::v4::Message::decode(&mut Decoder::new(bytes)).unwrap()
}

/// The options of a message of dhcproto as raw values.
fn raw_options(message: &dhcproto::v4::Message) -> BTreeMap<u8, Vec<u8>> {
    let raw = |option: &DhcpOption| {
        let mut bytes = Vec::new();
        option.encode(&mut Encoder::new(&mut bytes)).unwrap();
        // A code and a length before each piece of 255 bytes (RFC 3396).
        bytes.chunks(257).flat_map(|piece| piece[2..].to_vec()).collect()
    };
    message.opts().iter().map(|(code, option)| (u8::from(*code), raw(option))).collect()
}

fn assert_same(ours: &Message, theirs: &dhcproto::v4::Message) {
    assert_eq!(ours.op == Op::Request, theirs.opcode() == dhcproto::v4::Opcode::BootRequest);
    assert_eq!(ours.xid, theirs.xid());
    assert_eq!(ours.secs, theirs.secs());
    assert_eq!(ours.hops, theirs.hops());
    assert_eq!(ours.broadcast, theirs.flags().broadcast());
    assert_eq!(ours.ciaddr, theirs.ciaddr());
    assert_eq!(ours.yiaddr, theirs.yiaddr());
    assert_eq!(ours.siaddr, theirs.siaddr());
    assert_eq!(ours.giaddr, theirs.giaddr());
    assert_eq!(ours.chaddr.as_bytes(), theirs.chaddr());
    // dhcproto keeps the zero that ends the name.
    let name = |field: Option<&[u8]>| {
        field.unwrap_or_default().split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
    };
    assert_eq!(ours.sname, name(theirs.sname()));
    assert_eq!(ours.file, name(theirs.fname()));

    let mut ours_raw: BTreeMap<_, _> =
        ours.options.iter().map(|(code, data)| (code.0, data.to_vec())).collect();
    let mut theirs_raw = raw_options(theirs);
    // Names have more than one encoding; the decoded ones are compared below.
    for code in [OptionCode::DOMAIN_SEARCH, OptionCode::FQDN] {
        ours_raw.remove(&code.0);
        theirs_raw.remove(&code.0);
    }
    assert_eq!(ours_raw, theirs_raw);
    let search = match theirs.opts().get(TheirCode::DomainSearch) {
        Some(DhcpOption::DomainSearch(names)) => names.iter().map(|n| n.to_string()).collect(),
        _ => Vec::new(),
    };
    let without_dot = |name: &String| name.trim_end_matches('.').to_owned();
    assert_eq!(ours.options.domain_search(), search.iter().map(without_dot).collect::<Vec<_>>());
}

/// Options in the forms their RFCs give them, no code twice.
fn well_formed(numbers: &mut Numbers) -> Message {
    let address = |numbers: &mut Numbers| Ipv4Addr::from(numbers.next() as u32);
    let mut message = Message::new(Op::Reply, numbers.next() as u32);
    message.secs = numbers.next() as u16;
    message.broadcast = numbers.below(2) == 0;
    message.yiaddr = address(numbers);
    message.siaddr = address(numbers);
    message.giaddr = address(numbers);
    message.chaddr = [2, 0, 0, 0, 0, numbers.next() as u8].into();
    message.sname = vec![b's'; numbers.below(64)];
    message.file = vec![b'f'; numbers.below(128)];
    let options = &mut message.options;
    options.set_message_type(MessageType::Ack).set_server_identifier(address(numbers));
    for choice in 0..16 {
        if numbers.below(3) == 0 {
            continue;
        }
        let list: Vec<_> = (0..=numbers.below(9)).map(|_| address(numbers)).collect();
        let number = numbers.next() as u32;
        match choice {
            0 => options.set_subnet_mask((number % 33) as u8),
            1 => options.set_routers(&list),
            2 => options.set_dns_servers(&list),
            3 => options.set_ntp_servers(&list),
            4 => options.set_lease_time(number),
            5 => options.set_renewal_time(number),
            6 => options.set_rebinding_time(number),
            7 => options.set_mtu(number as u16 | 0x100),
            8 => options.set_host_name("host"),
            9 => options.set_domain_name("example.org"),
            10 => options.set_domain_search(&["a.example", "b.example", "c"]).unwrap(),
            11 => options.set_classless_routes(&[iphelper_wire::dhcpv4::Route {
                destination: Ipv4Addr::new(10, 0, 0, 0),
                prefix_len: (number % 33).max(8) as u8,
                router: list[0],
            }]),
            12 => options.set_broadcast_address(list[0]),
            13 => options.set_message("no"),
            14 => options.set_ipv6_only_preferred(number),
            _ => options.insert(OptionCode::VENDOR_SPECIFIC, number.to_be_bytes()),
        };
    }
    message
}

#[test]
fn dhcproto_reads_the_recordings_the_same() {
    let (mut same, mut text_names) = (0, 0);
    for bytes in captured_dhcp("") {
        let (ours, theirs) = (Message::parse(&bytes).unwrap(), dhcproto(&bytes));
        if ours.options.fqdn().is_some_and(|fqdn| fqdn.flags & Fqdn::WIRE_FORM == 0) {
            // On purpose: udhcpc writes its name as text (RFC 4702 2.3.1), and dnsmasq answers in
            // kind. dhcproto takes it for wire form, fails, and loses the options that follow.
            assert!(theirs.opts().get(TheirCode::ClientFQDN).is_none());
            text_names += 1;
        } else {
            assert_same(&ours, &theirs);
            same += 1;
        }
    }
    assert!(same >= 12 && text_names >= 4, "{same} same, {text_names} with text names");
}

#[test]
fn dhcproto_reads_what_we_write() {
    let mut numbers = Numbers(4);
    for _ in 0..2000 {
        let message = well_formed(&mut numbers);
        assert_same(&message, &dhcproto(&message.emit()));
    }
}

#[test]
fn we_read_what_dhcproto_writes() {
    let mut numbers = Numbers(5);
    for _ in 0..2000 {
        let message = dhcproto(&well_formed(&mut numbers).emit());
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).unwrap();
        assert_same(&Message::parse(&bytes).unwrap(), &message);
    }
}

/// On purpose: dhcproto stops at the first option it cannot read, and the rest is lost.
#[test]
fn better_than_dhcproto_a_bad_option_costs_nothing_else() {
    let bytes = reply_with(&[53, 1, 5, 3, 3, 1, 2, 3, 51, 4, 0, 0, 14, 16, 255]);
    assert_eq!(Message::parse(&bytes).unwrap().options.lease_time(), Some(3600));
    assert!(dhcproto(&bytes).opts().get(TheirCode::AddressLeaseTime).is_none());
}

/// On purpose: dhcproto keeps the last piece of a long option only (RFC 3396 joins them).
#[test]
fn better_than_dhcproto_long_options_are_joined() {
    let bytes = reply_with(&[6, 4, 1, 1, 1, 1, 53, 1, 5, 6, 4, 2, 2, 2, 2, 255]);
    assert_eq!(Message::parse(&bytes).unwrap().options.dns_servers().len(), 2);
    let message = dhcproto(&bytes);
    let Some(DhcpOption::DomainNameServer(servers)) =
        message.opts().get(TheirCode::DomainNameServer)
    else {
        panic!("dhcproto has changed");
    };
    assert_eq!(servers.len(), 1);
}

/// On purpose: dhcproto does not look for options in the file and sname fields, checks no magic
/// cookie, and panics on `chaddr()` if the hardware address length is above 16.
#[test]
fn better_than_dhcproto_overload_and_cookie() {
    let mut bytes = reply_with(&[52, 1, 1, 255]);
    bytes[108..115].copy_from_slice(&[51, 4, 0, 0, 14, 16, 255]);
    assert_eq!(Message::parse(&bytes).unwrap().options.lease_time(), Some(3600));
    assert!(dhcproto(&bytes).opts().get(TheirCode::AddressLeaseTime).is_none());
    bytes[236] = 0;
    assert!(Message::parse(&bytes).is_err());
    assert_eq!(dhcproto(&bytes).xid(), 0);
}

#[test]
fn smoltcp_reads_dhcp_the_same() {
    for bytes in captured_dhcp("") {
        let ours = Message::parse(&bytes).unwrap();
        let packet = theirs::DhcpPacket::new_checked(&bytes[..]).unwrap();
        let repr = theirs::DhcpRepr::parse(&packet).unwrap();
        assert_eq!(repr.transaction_id, ours.xid);
        assert_eq!(repr.your_ip, ours.yiaddr);
        assert_eq!(repr.client_ip, ours.ciaddr);
        assert_eq!(repr.server_ip, ours.siaddr);
        assert_eq!(repr.client_hardware_address.as_bytes(), ours.chaddr.as_bytes());
        assert_eq!(repr.server_identifier, ours.options.server_identifier());
        assert_eq!(repr.requested_ip, ours.options.requested_address());
        assert_eq!(repr.lease_duration, ours.options.lease_time());
        assert_eq!(repr.renew_duration, ours.options.renewal_time());
        assert_eq!(repr.rebind_duration, ours.options.rebinding_time());
        assert_eq!(repr.subnet_mask, ours.options.subnet_mask().map(|(mask, _)| mask));
        assert_eq!(repr.router, ours.options.routers().first().copied());
        assert_eq!(repr.max_size, ours.options.max_message_size());
        let servers: Vec<_> = repr.dns_servers.into_iter().flatten().collect();
        assert_eq!(servers, ours.options.dns_servers());
        let fields: Vec<_> = View::parse(&bytes)
            .unwrap()
            .option_fields()
            .map(|field| field.map(|field| (field.code.0, field.data)))
            .collect::<Result<_, _>>()
            .unwrap();
        let options: Vec<_> = packet.options().map(|option| (option.kind, option.data)).collect();
        assert_eq!(fields, options);
    }
}

/// Damages an IPv4 packet; mends the header checksum of every other one.
fn damaged(packets: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = packets[numbers.below(packets.len())].clone();
    for _ in 0..numbers.below(3) {
        // The headers are where it matters.
        let at = numbers.below(32);
        bytes[at] = [0, 1, 0x44, 0x46, 0x5f, 0x80, numbers.next() as u8][numbers.below(7)];
    }
    bytes.truncate(bytes.len() - [0, 0, 1, 300][numbers.below(4)]);
    let header_length = usize::from(bytes[0] & 15) * 4;
    if numbers.below(2) == 0 && header_length >= 20 && header_length <= bytes.len() {
        bytes[10..12].fill(0);
        let sum = !theirs::checksum::data(&bytes[..header_length]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

#[test]
fn smoltcp_accepts_the_same_ipv4_and_udp() {
    let packets = captured_ipv4("");
    let mut numbers = Numbers(6);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..50_000 {
        let bytes = damaged(&packets, &mut numbers);
        let ours = ipv4::Packet::parse(&bytes);
        let packet = theirs::Ipv4Packet::new_checked(&bytes[..]).ok().filter(|packet| {
            packet.version() == 4
                && packet.header_len() >= 20
                && packet.verify_checksum()
                // smoltcp reassembles; this crate refuses fragments.
                && !packet.more_frags()
                && packet.frag_offset() == 0
        });
        assert_eq!(ours.is_ok(), packet.is_some(), "{:?} {bytes:02x?}", ours.err());
        let (Ok(ours), Some(packet)) = (ours, packet) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let header = ours.header();
        assert_eq!((header.source, header.destination), (packet.src_addr(), packet.dst_addr()));
        assert_eq!(
            (header.ttl, header.protocol),
            (packet.hop_limit(), packet.next_header().into())
        );
        assert_eq!(
            (header.identification, header.dont_fragment),
            (packet.ident(), packet.dont_frag())
        );
        assert_eq!(header.tos, packet.dscp() << 2 | packet.ecn());
        assert_eq!(ours.payload(), packet.payload());

        let (source, destination) = (header.source, header.destination);
        for policy in [ChecksumPolicy::Verify, ChecksumPolicy::Ignore] {
            let ours = Datagram::parse(ours.payload(), source, destination, policy);
            let datagram = theirs::UdpPacket::new_checked(packet.payload()).ok().filter(|d| {
                policy == ChecksumPolicy::Ignore
                    || d.checksum() == 0
                    || d.verify_checksum(&source.into(), &destination.into())
            });
            assert_eq!(ours.is_ok(), datagram.is_some(), "{:?} {bytes:02x?}", ours.err());
            if let (Ok(ours), Some(datagram)) = (ours, datagram) {
                assert_eq!(ours.source_port(), datagram.src_port());
                assert_eq!(ours.destination_port(), datagram.dst_port());
                assert_eq!(ours.payload(), datagram.payload());
            }
        }
    }
    assert!(accepted > 5000 && refused > 5000, "{accepted} accepted, {refused} refused");
}

#[test]
fn etherparse_reads_ipv4_and_udp_the_same() {
    let packets = captured_ipv4("");
    let mut numbers = Numbers(7);
    let mut compared = 0;
    for _ in 0..20_000 {
        let bytes = damaged(&packets, &mut numbers);
        let Ok((header, datagram)) = parse_ipv4_udp(&bytes, ChecksumPolicy::Ignore) else {
            continue;
        };
        let sliced = etherparse::SlicedPacket::from_ip(&bytes).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ipv4)) = &sliced.net else { panic!("{bytes:02x?}") };
        let Some(etherparse::TransportSlice::Udp(udp)) = &sliced.transport else {
            panic!("{bytes:02x?}")
        };
        assert_eq!(header.source, ipv4.header().source_addr());
        assert_eq!(header.destination, ipv4.header().destination_addr());
        assert_eq!(header.ttl, ipv4.header().ttl());
        assert_eq!(datagram.source_port(), udp.source_port());
        assert_eq!(datagram.destination_port(), udp.destination_port());
        assert_eq!(datagram.payload(), udp.payload());
        compared += 1;
    }
    assert!(compared > 2000, "{compared} compared");
}

#[test]
fn etherparse_writes_the_same_bytes() {
    let mut numbers = Numbers(8);
    for length in 0..1500 {
        let source = SocketAddrV4::new((numbers.next() as u32).into(), numbers.next() as u16);
        let destination = SocketAddrV4::new((numbers.next() as u32).into(), numbers.next() as u16);
        let ttl = numbers.next() as u8;
        let payload: Vec<u8> = (0..length).map(|_| numbers.next() as u8).collect();
        let mut expected = Vec::new();
        etherparse::PacketBuilder::ipv4(source.ip().octets(), destination.ip().octets(), ttl)
            .udp(source.port(), destination.port())
            .write(&mut expected, &payload)
            .unwrap();
        assert_eq!(emit_ipv4_udp(source, destination, 0, ttl, &payload), expected);
    }
}

#[test]
fn smoltcp_and_etherparse_read_arp_the_same() {
    let packets = captured_arp();
    let mut numbers = Numbers(9);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = packets[numbers.below(packets.len())].clone();
        for _ in 0..numbers.below(3) {
            let at = numbers.below(bytes.len());
            bytes[at] = [0, 1, 2, 7, numbers.next() as u8][numbers.below(5)];
        }
        bytes.truncate(bytes.len() - numbers.below(4) * numbers.below(2));
        let ours = arp::Packet::parse(&bytes);
        let packet = theirs::ArpPacket::new_checked(&bytes[..]).ok().filter(|packet| {
            packet.protocol_type() == theirs::EthernetProtocol::Ipv4
                && packet.protocol_len() == 4
                && packet.hardware_len() <= 32
        });
        assert_eq!(ours.is_ok(), packet.is_some(), "{:?} {bytes:02x?}", ours.err());
        let (Ok(ours), Some(packet)) = (ours, packet) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        assert_eq!(ours.hardware_type.0, packet.hardware_type().into());
        assert_eq!(u16::from(ours.operation), packet.operation().into());
        assert_eq!(ours.sender_hardware.as_bytes(), packet.source_hardware_addr());
        assert_eq!(ours.sender.octets(), packet.source_protocol_addr());
        assert_eq!(ours.target_hardware.as_bytes(), packet.target_hardware_addr());
        assert_eq!(ours.target.octets(), packet.target_protocol_addr());
        let slice = etherparse::ArpPacketSlice::from_slice(&bytes).unwrap();
        assert_eq!(ours.sender_hardware.as_bytes(), slice.sender_hw_addr());
        assert_eq!(ours.target.octets(), slice.target_protocol_addr());
    }
    assert!(accepted > 5000 && refused > 2000, "{accepted} accepted, {refused} refused");
}
