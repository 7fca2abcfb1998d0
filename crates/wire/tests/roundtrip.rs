//! What is written is read back as it was, for values of any kind.

use std::net::{Ipv4Addr, SocketAddrV4};

use iphelper_wire::dhcpv4::{Fqdn, Message, MessageType, Op, OptionCode, Options, Route};
use iphelper_wire::udp::{ChecksumPolicy, MAX_PAYLOAD, emit_ipv4_udp, parse_ipv4_udp};
use iphelper_wire::{HardwareAddress, HardwareType, arp, ipv4};
use proptest::collection::vec;
use proptest::prelude::*;

fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn hardware(length: usize) -> impl Strategy<Value = HardwareAddress> {
    vec(any::<u8>(), length).prop_filter_map("above 32 bytes", |bytes| HardwareAddress::new(&bytes))
}

fn any_hardware() -> impl Strategy<Value = HardwareAddress> {
    (0..=16_usize).prop_flat_map(hardware)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9_]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z]{1,10}){0,6}"
}

fn route() -> impl Strategy<Value = Route> {
    (any::<u32>(), 0..=32_u8, address()).prop_map(|(bits, prefix_len, router)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
        Route { destination: (bits & mask).into(), prefix_len, router }
    })
}

/// Options of any code, length and content, also such as no RFC allows.
fn options() -> impl Strategy<Value = Options> {
    let data = prop_oneof![
        8 => vec(any::<u8>(), 0..40),
        2 => vec(any::<u8>(), 40..300),
        1 => (250..800_usize).prop_map(|length| vec![b'a'; length]),
    ];
    vec((any::<u8>(), data), 0..20).prop_map(|list| {
        let mut options = Options::new();
        for (code, data) in list {
            options.insert(OptionCode(code), data);
        }
        options
    })
}

/// Text of a fixed field: it ends at the first zero.
fn field(length: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(1..=u8::MAX, 0..length)
}

prop_compose! {
    fn message()(
        reply in any::<bool>(),
        hardware_type in any::<u8>(),
        hops in any::<u8>(),
        xid in any::<u32>(),
        secs in any::<u16>(),
        broadcast in any::<bool>(),
        addresses in [address(), address(), address(), address()],
        chaddr in any_hardware(),
        sname in field(64),
        file in field(128),
        options in options(),
    ) -> Message {
        let [ciaddr, yiaddr, siaddr, giaddr] = addresses;
        Message {
            op: if reply { Op::Reply } else { Op::Request },
            hardware_type: HardwareType(hardware_type.into()),
            hops, xid, secs, broadcast, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file,
            options,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dhcp_message(message in message()) {
        let bytes = message.emit();
        prop_assert!(bytes.len() >= 300);
        prop_assert_eq!(Message::parse(&bytes), Ok(message));
    }

    /// Options in the other fields are the same options, in another order.
    #[test]
    fn dhcp_message_within_a_limit(message in message(), limit in 300..1200_usize) {
        let Ok(bytes) = message.emit_within(limit) else { return Ok(()) };
        prop_assert!(bytes.len() <= limit);
        let mut read = Message::parse(&bytes).unwrap();
        let sorted = |options: &Options| {
            let mut list: Vec<_> = options.iter().map(|(c, d)| (c, d.to_vec())).collect();
            list.sort();
            list
        };
        prop_assert_eq!(sorted(&read.options), sorted(&message.options));
        read.options = message.options.clone();
        prop_assert_eq!(read, message);
    }

    #[test]
    fn dhcp_typed_options(
        message_type in any::<u8>().prop_map(MessageType::from),
        prefix_len in 0..=32_u8,
        lists in [vec(address(), 1..80), vec(address(), 1..9), vec(address(), 1..9)],
        times in any::<[u32; 4]>(),
        mtu in 68..=u16::MAX,
        size in 576..=u16::MAX,
        search in vec(name(), 1..12),
        routes in vec(route(), 1..40),
        fqdn in (any::<u8>(), prop_oneof![Just(String::new()), name()], any::<bool>()),
        classes in vec(vec(any::<u8>(), 1..20), 1..5),
    ) {
        let [routers, dns, ntp] = lists;
        let (flags, mut name, complete) = fqdn;
        if complete && !name.is_empty() {
            name.push('.');
        }
        let fqdn = Fqdn { flags: flags | Fqdn::WIRE_FORM, name };
        let mut sent = Message::new(Op::Reply, 1);
        sent.options
            .set_message_type(message_type)
            .set_subnet_mask(prefix_len)
            .set_routers(&routers)
            .set_dns_servers(&dns)
            .set_ntp_servers(&ntp)
            .set_lease_time(times[0])
            .set_renewal_time(times[1])
            .set_rebinding_time(times[2])
            .set_ipv6_only_preferred(times[3])
            .set_mtu(mtu)
            .set_max_message_size(size)
            .set_host_name(&search[0])
            .set_domain_search(&search).unwrap()
            .set_classless_routes(&routes)
            .set_fqdn(&fqdn).unwrap()
            .set_user_class(&classes).unwrap()
            .set_rapid_commit();

        let read = Message::parse(&sent.emit()).unwrap().options;
        prop_assert_eq!(read.malformed(), []);
        prop_assert_eq!(read.message_type(), Some(message_type));
        prop_assert_eq!(read.subnet_mask().map(|(_, length)| length), Some(prefix_len));
        prop_assert_eq!(read.routers(), routers);
        prop_assert_eq!(read.dns_servers(), dns);
        prop_assert_eq!(read.ntp_servers(), ntp);
        prop_assert_eq!(read.lease_time(), Some(times[0]));
        prop_assert_eq!(read.renewal_time(), Some(times[1]));
        prop_assert_eq!(read.rebinding_time(), Some(times[2]));
        prop_assert_eq!(read.ipv6_only_preferred(), Some(times[3]));
        prop_assert_eq!(read.mtu(), Some(mtu));
        prop_assert_eq!(read.max_message_size(), Some(size));
        prop_assert_eq!(read.host_name(), Some(search[0].as_str()));
        prop_assert_eq!(read.domain_search(), search);
        prop_assert_eq!(read.classless_routes(), routes);
        prop_assert_eq!(read.fqdn(), Some(fqdn));
        prop_assert_eq!(read.user_class(), classes);
        prop_assert!(read.rapid_commit());
    }

    #[test]
    fn ipv4_udp(
        source in (address(), any::<u16>()),
        destination in (address(), any::<u16>()),
        tos in any::<u8>(),
        ttl in any::<u8>(),
        payload in vec(any::<u8>(), 0..600),
        padding in vec(any::<u8>(), 0..40),
    ) {
        let source = SocketAddrV4::new(source.0, source.1);
        let destination = SocketAddrV4::new(destination.0, destination.1);
        let mut bytes = emit_ipv4_udp(source, destination, tos, ttl, &payload);
        bytes.extend(padding);
        let (header, datagram) = parse_ipv4_udp(&bytes, ChecksumPolicy::Verify).unwrap();
        prop_assert_eq!(header, ipv4::Header {
            source: *source.ip(),
            destination: *destination.ip(),
            ttl,
            protocol: ipv4::PROTOCOL_UDP,
            identification: 0,
            dont_fragment: true,
            tos,
        });
        prop_assert_eq!(datagram.source_port(), source.port());
        prop_assert_eq!(datagram.destination_port(), destination.port());
        prop_assert_eq!(datagram.payload(), payload);
    }

    #[test]
    fn arp_packet(
        hardware_type in any::<u16>(),
        operation in any::<u16>(),
        (sender_hardware, target_hardware) in
            (0..=32_usize).prop_flat_map(|length| (hardware(length), hardware(length))),
        sender in address(),
        target in address(),
    ) {
        let packet = arp::Packet {
            hardware_type: HardwareType(hardware_type),
            operation: operation.into(),
            sender_hardware,
            sender,
            target_hardware,
            target,
        };
        prop_assert_eq!(arp::Packet::parse(&packet.emit()), Ok(packet));
    }

    #[test]
    fn hardware_address_text(address in (0..=32_usize).prop_flat_map(hardware)) {
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        let dashes = address.to_string().replace(':', "-").to_uppercase();
        prop_assert_eq!(dashes.parse(), Ok(address));
    }

    /// Any bytes at all.
    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..600)) {
        let _ = parse_ipv4_udp(&bytes, ChecksumPolicy::Ignore);
        let _ = arp::Packet::parse(&bytes);
        let mut dhcp = vec![0; 240];
        dhcp.splice(0..3, [2, 1, 6]);
        dhcp.splice(236..240, [0x63, 0x82, 0x53, 0x63]);
        dhcp.extend(&bytes);
        let message = Message::parse(&dhcp).unwrap();
        prop_assert_eq!(Message::parse(&message.emit()), Ok(message));
    }
}

/// The length fields cannot say it: no receiver takes it for a shorter datagram.
#[test]
fn payload_above_the_limit() {
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    let longest = emit_ipv4_udp(any, any, 0, 64, &vec![7; MAX_PAYLOAD]);
    let (_, datagram) = parse_ipv4_udp(&longest, ChecksumPolicy::Verify).unwrap();
    assert_eq!(datagram.payload().len(), MAX_PAYLOAD);
    let longer = emit_ipv4_udp(any, any, 0, 64, &vec![7; MAX_PAYLOAD + 1]);
    assert!(parse_ipv4_udp(&longer, ChecksumPolicy::Ignore).is_err());
}

/// The overload path is taken, and the limit is kept to the byte.
#[test]
fn overload_at_the_limit() {
    let mut message = Message::new(Op::Reply, 1);
    message.options.set_message_type(MessageType::Ack);
    message.options.insert(OptionCode::VENDOR_SPECIFIC, [1; 50]);
    message.options.insert(OptionCode::ROOT_PATH, [b'r'; 100]);
    message.options.insert(OptionCode::MERIT_DUMP_FILE, [b'm'; 60]);
    // 240 fixed, 3 + 52 + 102 + 62 options, 1 end.
    assert_eq!(message.emit().len(), 460);
    assert_eq!(message.emit_within(460).unwrap(), message.emit());
    let bytes = message.emit_within(459).unwrap();
    assert!(bytes.len() < 460);
    // File and sname are both in use: 102 bytes fit the one only, 62 the other.
    let bytes_at_least = message.emit_within(300).unwrap();
    assert_eq!(bytes_at_least.len(), 300);
    assert_eq!(bytes_at_least[240..243], [52, 1, 3]);
    assert_eq!(Message::parse(&bytes_at_least).unwrap().options.len(), 4);
    // Both other fields are taken by names: no room.
    message.file = b"file".to_vec();
    message.sname = b"sname".to_vec();
    assert!(message.emit_within(459).is_err());
}

/// Every limit is kept, also where the options field is full to the last byte.
#[test]
fn every_limit() {
    let mut message = Message::new(Op::Reply, 1);
    for code in 130..=220 {
        message.options.insert(OptionCode(code), [1]);
    }
    let fitting: Vec<_> =
        (300..=520).filter_map(|limit| Some((limit, message.emit_within(limit).ok()?))).collect();
    for (limit, bytes) in &fitting {
        assert!(bytes.len() <= *limit, "{} bytes in {limit}", bytes.len());
        assert_eq!(Message::parse(bytes).unwrap().options.len(), 91);
    }
    // 91 options of 3 bytes: 126 bytes in file, 63 in sname, 84 beside 244 in the options field.
    assert_eq!(fitting.first().map(|(limit, bytes)| (*limit, bytes.len())), Some((328, 328)));
}

/// An option that fills the file field leaves no byte for the end mark.
#[test]
fn end_mark_has_its_place() {
    let mut message = Message::new(Op::Reply, 1);
    message.options.insert(OptionCode(200), [1; 125]);
    let bytes = message.emit_within(300).unwrap();
    assert_eq!((bytes[108], bytes[109], bytes[235]), (200, 125, 255));
    message.options.insert(OptionCode(200), [1; 126]);
    assert!(message.emit_within(300).is_err());
}

/// RFC 3396: all pieces but the last are full, and equal pieces of long text are not repeats.
#[test]
fn pieces_of_long_options() {
    let mut message = Message::new(Op::Reply, 1);
    message.options.insert(OptionCode::ROOT_PATH, [b'r'; 510]);
    let bytes = message.emit();
    assert_eq!(bytes[240..242], [17, 255]);
    assert_eq!(bytes[497..499], [17, 255]);
    assert_eq!(bytes.len(), 240 + 2 * 257 + 1);
    assert_eq!(Message::parse(&bytes), Ok(message));
}

/// A sum of zero is written as all ones, because zero says "no checksum", which is accepted.
#[test]
fn udp_checksum_zero() {
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    let zero_sums = (0..=u16::MAX)
        .map(|payload| emit_ipv4_udp(any, any, 0, 64, &payload.to_be_bytes()))
        .inspect(|bytes| assert_ne!(bytes[26..28], [0, 0]))
        .filter(|bytes| bytes[26..28] == [0xff, 0xff])
        .count();
    assert!(zero_sums > 0);

    let mut bytes = emit_ipv4_udp(any, any, 0, 64, b"payload");
    bytes[26..28].fill(0);
    assert!(parse_ipv4_udp(&bytes, ChecksumPolicy::Verify).is_ok());
    bytes[27] = 1;
    assert!(parse_ipv4_udp(&bytes, ChecksumPolicy::Verify).is_err());
    assert!(parse_ipv4_udp(&bytes, ChecksumPolicy::Ignore).is_ok());
}

/// RFC 2131 2: "The remaining bits of the flags field [...] MUST be [...] ignored by servers and
/// relay agents".
#[test]
fn one_flag_of_sixteen() {
    let mut bytes = Message::new(Op::Reply, 1).emit();
    for (flags, broadcast) in [(0_u16, false), (0x7fff, false), (0x8000, true), (0xffff, true)] {
        bytes[10..12].copy_from_slice(&flags.to_be_bytes());
        let read = Message::parse(&bytes).unwrap();
        assert_eq!(read.broadcast, broadcast, "{flags:#x}");
        assert_eq!(read.emit()[10..12], [if broadcast { 0x80 } else { 0 }, 0]);
    }
}

/// RFC 4390 2.1: a hardware address that does not fit is left out, and its length is zero.
#[test]
fn infiniband_has_no_chaddr() {
    let mut message = Message::new(Op::Request, 1);
    message.hardware_type = HardwareType::INFINIBAND;
    message.chaddr = HardwareAddress::new(&[7; 20]).unwrap();
    let bytes = message.emit();
    assert_eq!(bytes[1..3], [32, 0]);
    assert_eq!(bytes[28..44], [0; 16]);
    message.chaddr = HardwareAddress::new(&[7; 16]).unwrap();
    let bytes = message.emit();
    assert_eq!((bytes[2], &bytes[28..44]), (16, &[7; 16][..]));
}

/// RFC 2131 table 3.
#[test]
fn what_a_reply_takes_over() {
    let mut request = Message::new(Op::Request, 0x1234_5678);
    request.broadcast = true;
    request.hops = 3;
    request.secs = 9;
    request.giaddr = Ipv4Addr::new(192, 0, 2, 254);
    request.ciaddr = Ipv4Addr::new(192, 0, 2, 9);
    request.chaddr = HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
    request.hardware_type = HardwareType::IEEE_802;
    let reply = Message::reply_to(&request);
    let expected =
        Message { op: Op::Reply, hops: 0, secs: 0, ciaddr: Ipv4Addr::UNSPECIFIED, ..request };
    assert_eq!(reply, expected);
}
