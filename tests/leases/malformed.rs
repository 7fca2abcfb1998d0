//! Messages that are damaged, forged or hostile: the published faults of other clients among them.
//! None is taken for a lease, none loses a good one, and all are counted.

use std::net::{Ipv4Addr, SocketAddrV4};

use iphelper_tests::servers::{ELSEWHERE, SERVER, Scripted, scripted};
use iphelper_tests::{Host, PATIENCE};
use lab::dhcp::Rewrite;
use lab::{Lan, or_skip};
use serde_json::json;
use wire::dhcpv4::{Message, MessageType, Op};
use wire::udp::emit_ipv4_udp;

/// Where the options begin, behind the cookie.
const OPTIONS: usize = 240;
/// An address that damaged messages offer, and nobody leases: 10.66.66.N.
const BAIT: [u8; 3] = [10, 66, 66];

type Damage = fn(&[u8]) -> Vec<u8>;

/// Turns a good OFFER or ACK into one that must not be used.
const USELESS: &[(&str, Damage)] = &[
    ("nothing at all", |_| Vec::new()),
    ("one byte", |_| vec![2]),
    ("cut in the fixed part", |good| good[..100].to_vec()),
    ("cut before the cookie", |good| good[..236].to_vec()),
    ("no options", |good| good[..OPTIONS].to_vec()),
    ("another cookie", |good| patched(good, 236, &[99, 130, 83, 98])),
    ("a request", |good| patched(good, 0, &[1])),
    ("another transaction", |good| patched(good, 4, &[good[4] ^ 1])),
    ("another client", |good| patched(good, 33, &[good[33] ^ 1])),
    ("a hardware address of 17 bytes", |good| patched(good, 2, &[17])),
    ("a hardware address of 255 bytes", |good| patched(good, 2, &[255])),
    ("no message type", |good| without(good, 53)),
    ("an empty message type", |good| with(good, 53, &[])),
    ("an unknown message type", |good| with(good, 53, &[77])),
    ("a message type of clients", |good| with(good, 53, &[1])),
    ("FORCERENEW (CVE-2020-13529)", |good| with(good, 53, &[9])),
    ("no server identifier", |good| without(good, 54)),
    ("a server identifier of three bytes", |good| with(good, 54, &[10, 98, 0])),
    ("server 0.0.0.0", |good| with(good, 54, &[0; 4])),
    ("server 255.255.255.255", |good| with(good, 54, &[255; 4])),
    ("a lease of no time", |good| with(good, 51, &[0; 4])),
    ("another client's identifier (RFC 6842)", |good| with(good, 61, b"\0somebody else")),
    ("address 0.0.0.0", |good| patched(good, 16, &[0; 4])),
    ("address 255.255.255.255", |good| patched(good, 16, &[255; 4])),
    ("address 127.0.0.1", |good| patched(good, 16, &[127, 0, 0, 1])),
    ("address 224.0.0.1", |good| patched(good, 16, &[224, 0, 0, 1])),
];

/// Puts something odd into a good OFFER and ACK, which have to be used all the same: one bad
/// option never loses the rest.
const ODD: &[(&str, Damage)] = &[
    ("mask of 16 bytes (CVE-2009-0692)", |good| with(good, 1, &[255; 16])),
    ("mask of 255 bytes (CVE-2009-0692)", |good| with(good, 1, &[0xcc; 255])),
    ("mask of three bytes", |good| with(good, 1, &[255; 3])),
    ("router of three bytes", |good| with(good, 3, &[10, 98, 0])),
    ("name servers of six bytes", |good| with(good, 6, &[10, 98, 0, 1, 6, 6])),
    ("no name server", |good| with(good, 6, &[])),
    ("60 name servers", |good| with(good, 6, &[6; 240])),
    ("shell in the domain (CVE-2011-0997)", |good| with(good, 15, b"x; $(reboot) `id` | sh")),
    ("functions for bash (CVE-2014-6271)", |good| with(good, 15, b"() { :;}; /bin/reboot")),
    ("lines in the domain", |good| with(good, 15, b"a\nnameserver 6.6.6.6\n")),
    ("escapes in the domain", |good| with(good, 15, b"a\x1b[31m\x07\x00b")),
    ("a domain of 255 bytes", |good| with(good, 15, &[b'a'; 255])),
    ("shell in the host name", |good| with(good, 12, b"h';reboot;'")),
    ("a quote in option 252 (CVE-2018-1111)", |good| with(good, 252, b"x'&reboot&'")),
    ("a path as time zone", |good| with(good, 101, b"../../../../etc/passwd")),
    ("search list pointing at itself (CVE-2020-7461)", |good| with(good, 119, &[0xc0, 0])),
    ("search list pointing ahead", |good| with(good, 119, &[0xc0, 4, 1, b'a', 1, b'b', 0])),
    ("search list of a label past the end", |good| with(good, 119, &[63, b'a'])),
    ("search list with a line in it", |good| with(good, 119, b"\x05a\n6.6\x03com\0")),
    ("search list of labels without end", |good| with(good, 119, &[1; 250])),
    ("route of 33 bits", |good| with(good, 121, &[33, 1, 2, 3, 4, 10, 98, 0, 1])),
    ("route cut short", |good| with(good, 121, &[24, 192, 0, 2, 10])),
    ("route of one byte", |good| with(good, 121, &[255])),
    ("MTU 0", |good| with(good, 26, &[0, 0])),
    ("MTU 67", |good| with(good, 26, &[0, 67])),
    ("MTU of one byte", |good| with(good, 26, &[5])),
    ("MTU of three bytes", |good| with(good, 26, &[5, 220, 0])),
    ("captive portal of one byte", |good| with(good, 114, b"h")),
    ("captive portal with escapes", |good| with(good, 114, b"http://a\x1b[0m\"/><script>")),
    ("6rd of one byte (CVE-2016-2148)", |good| with(good, 212, &[32])),
    ("T1 after T2", |good| with(&with(good, 58, &[0, 0, 14, 0]), 59, &[0, 0, 1, 0])),
    ("T1 and T2 after the end", |good| with(&with(good, 58, &[0x7f; 4]), 59, &[0x7f; 4])),
    ("T1 and T2 zero", |good| with(&with(good, 58, &[0; 4]), 59, &[0; 4])),
    ("T1 of three bytes", |good| with(good, 58, &[0, 0, 1])),
    ("a lease one second short of eternity", |good| with(good, 51, &[255, 255, 255, 254])),
    ("overload of no bytes", |good| with(good, 52, &[])),
    ("overload 255", |good| with(good, 52, &[255])),
    ("overload within the overloaded field", overload_within_overload),
    ("overloaded fields without an end", |good| filled_fields(good, 0)),
    ("an overloaded field cut in an option", |good| filled_fields(good, 200)),
    ("no end", |good| good[..good.len() - 1].to_vec()),
    ("a code and no length at the end", |good| [unended(good), &[6][..]].concat()),
    ("a length past the end", |good| [unended(good), &[6, 200, 1][..]].concat()),
    ("every option empty", every_option_empty),
    ("an option in 100 parts (RFC 3396)", |good| {
        let parts: Vec<u8> = (0..100).flat_map(|_| [224, 4, 1, 2, 3, 4]).collect();
        [unended(good), &parts, &[255]].concat()
    }),
    ("a kilobyte of padding", |good| [unended(good), &[0; 1000], &[255]].concat()),
    ("options behind the end", |good| [good, &[6, 4, 6, 6, 6, 6]].concat()),
];

#[test]
fn useless_answers_are_dropped() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let junk_first = |good: &[u8]| {
        let useless = USELESS.iter().zip(1..);
        // Those whose address is not the point offer one by which they can be told.
        let useless = useless.map(|((_, damage), number)| {
            let [a, b, c] = BAIT;
            match good.get(16..20) {
                Some(offered) => {
                    let mut bad = damage(good);
                    if bad.get(16..20) == Some(offered) {
                        bad = patched(&bad, 16, &[a, b, c, number]);
                    }
                    bad
                }
                None => damage(good),
            }
        });
        useless.chain([good.to_vec()]).collect::<Vec<_>>()
    };
    server.server.with(|server| {
        server.behaviour_mut().rewrite = Some(Rewrite::new(move |_, bytes| junk_first(&bytes)));
    });
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("rapid_commit = true");
    assert!(in_pool(&client["bindings"][0]["address"]), "{client:#?}");
    // The same again through the UDP socket of a lease in use.
    let renewed = host.iph(&["lease", "renew", "eth0", "--json"]).success().json();
    assert_eq!(renewed["lease"]["bindings"][0]["address"], client["bindings"][0]["address"]);
    assert!(!baited(&host), "a REQUEST for an address of a damaged message");
    assert!(host.daemon_lives());
    let discarded = host.counter("discarded");
    assert!(discarded >= USELESS.len() as i64, "{:?}", host.call("Daemon.Counters", json!({})));
    let told = |line: &&str| line.contains("DEBUG") && line.contains("packet from 10.98.0.1");
    assert!(host.log().lines().filter(told).count() >= USELESS.len(), "each with its reason");
}

#[test]
fn odd_answers_are_used_as_far_as_they_are_good() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    let mut wrong = Vec::new();
    for (name, damage) in ODD {
        let damage = *damage;
        server.server.with(|server| {
            server.behaviour_mut().rewrite = Some(Rewrite::new(move |_, good| vec![damage(&good)]));
        });
        let acquired = host.call("Lease.Acquire", json!({"interface": "eth0", "timeout": 3}));
        assert!(host.daemon_lives(), "{name} ended the daemon");
        match acquired {
            Ok(reply) if in_pool(&reply["lease"]["bindings"][0]["address"]) => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
        let resolver = host.resolver_file();
        let strange = |line: &&str| {
            let mut words = line.split(' ');
            let keyword = words.next().unwrap_or_default();
            let plain =
                |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
            !line.starts_with('#')
                && (!["nameserver", "search", "domain"].contains(&keyword) || !words.all(plain))
        };
        if let Some(line) = resolver.lines().find(strange) {
            wrong.push(format!("{name}: in the resolver's file: {line:?}"));
        }
        if resolver.contains("nameserver 6.6.6.6")
            && !name.contains("60 name servers")
            && !name.contains("behind")
        {
            wrong.push(format!("{name}: a name server out of a string"));
        }
        let mtu = host.namespace.link("eth0").unwrap().mtu;
        if mtu != 1500 {
            wrong.push(format!("{name}: MTU {mtu}"));
        }
        let released = host.call("Lease.Release", json!({"interface": "eth0"}));
        if released.is_err() {
            // An attempt may still go on.
            wrong.push(format!("{name}: not released: {released:?}"));
        }
    }
    let log = host.log();
    let control = |c: char| c.is_control() && c != '\n' && c != '\t';
    if let Some(line) = log.lines().find(|line| line.contains(control)) {
        wrong.push(format!("control characters in the log: {line:?}"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Damage below DHCP: in the headers of IPv4 and UDP.
#[test]
fn bad_headers_are_dropped() {
    type Header = (&'static str, fn(&mut Vec<u8>));
    const BAD: &[Header] = &[
        ("UDP length 0 (CVE-2015-8605)", |p| p[24..26].copy_from_slice(&[0, 0])),
        ("UDP length 7 (n-dhcp4)", |p| p[24..26].copy_from_slice(&[0, 7])),
        ("UDP length past the packet", |p| p[24..26].copy_from_slice(&[0xff, 0xff])),
        ("IPv4 length past the packet", |p| p[2..4].copy_from_slice(&[0xff, 0xff])),
        ("IPv4 length of a header", |p| p[2..4].copy_from_slice(&[0, 20])),
        ("IPv4 length 0", |p| p[2..4].copy_from_slice(&[0, 0])),
        ("a header of 16 bytes", |p| p[0] = 0x44),
        ("a header of 60 bytes", |p| p[0] = 0x4f),
        ("version 6", |p| p[0] = 0x65),
        ("TCP", |p| p[9] = 6),
        ("a first fragment", |p| p[6..8].copy_from_slice(&[0x20, 0])),
        ("a later fragment", |p| p[6..8].copy_from_slice(&[0, 185])),
        ("another port", |p| p[22..24].copy_from_slice(&69_u16.to_be_bytes())),
        ("a UDP checksum that is wrong", |p| p[26] ^= 0x55),
        ("cut in the UDP header", |p| p.truncate(24)),
        ("cut in the IPv4 header", |p| p.truncate(10)),
    ];
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    server.server.with(|server| server.behaviour_mut().ignore = vec![MessageType::Discover]);
    let mut host = or_skip!(Host::on(&lan));
    host.start("[[interface]]\nname = \"eth0\"");
    let discover = server
        .server
        .wait_for("DISCOVER", PATIENCE, |server| Some(server.seen().next()?.message.clone()))
        .unwrap();

    let sender = Sender::open(&server);
    for ((_, damage), number) in BAD.iter().zip(1..) {
        let [a, b, c] = BAIT;
        let mut packet = sender.packet(&offer(&discover, Ipv4Addr::new(a, b, c, number)));
        damage(&mut packet);
        if packet.len() >= 20 {
            packet[10..12].fill(0);
            let sum = internet_checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        sender.send(&packet);
    }
    let mut bad_sum = sender.packet(&offer(&discover, Ipv4Addr::new(10, 66, 66, 99)));
    bad_sum[10] ^= 0x55;
    sender.send(&bad_sum);
    // The last of them: a good one, from a relay's port as some send it, proves that it listens.
    server.server.with(|server| server.behaviour_mut().ignore.clear());
    host.wait_bound();
    assert!(!baited(&host), "a REQUEST for an address of a damaged packet");
    assert!(host.daemon_lives());
}

/// ARP that is damaged, or our own, is no conflict.
#[test]
fn bad_arp_is_no_conflict() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("");
    let address: Ipv4Addr = client["bindings"][0]["address"].as_str().unwrap().parse().unwrap();
    let own = host.namespace.link("eth0").unwrap().hardware_address;
    let own = wire::HardwareAddress::new(own.as_bytes()).unwrap();
    let ethernet = wire::HardwareType::ETHERNET;
    let good = wire::arp::Packet::announcement(ethernet, own, address).emit();
    let stranger = wire::HardwareAddress::ethernet([2, 9, 9, 9, 9, 9]);
    let claim = wire::arp::Packet::announcement(ethernet, stranger, address).emit();
    let index = server.namespace.index_of("eth0").unwrap();
    let open = || {
        let filter = sys::bpf::Filter::drop_all();
        sys::packet::Socket::open(index, sys::packet::ETHERTYPE_ARP, &filter)
    };
    let socket = server.namespace.run(open).unwrap().unwrap();
    let bad: [Vec<u8>; 6] = [
        good.clone(),
        claim[..20].to_vec(),
        claim[..27].to_vec(),
        patched(&claim, 2, &[0x86, 0xdd]),
        patched(&claim, 4, &[255]),
        patched(&claim, 5, &[16]),
    ];
    for packet in bad {
        socket.send(&[0xff; 6], &packet).unwrap();
    }
    let renewed = host.iph(&["lease", "renew", "eth0", "--json"]).success().json();
    assert_eq!(renewed["lease"]["bindings"][0]["address"], client["bindings"][0]["address"]);
    assert_eq!(host.capture.counters().dhcp(MessageType::Decline), 0);
    assert!(!host.log().contains("conflict with"), "{}", host.log());
}

/// Unauthenticated FORCERENEW from the right server changes nothing (CVE-2020-13529).
#[test]
fn forcerenew_is_ignored() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("");
    let address = client["bindings"][0]["address"].as_str().unwrap().parse().unwrap();
    assert!(server.server.with(|server| server.force_renew(address)));
    host.capture
        .wait_for("FORCERENEW", PATIENCE, |frame| frame.is(MessageType::ForceRenew))
        .unwrap();
    // A renewal on command comes after whatever that one would have caused.
    host.iph(&["lease", "renew", "eth0"]).success();
    assert_eq!(
        host.capture.counters().dhcp(MessageType::Request),
        2,
        "the first, and the command's"
    );
}

fn in_pool(address: &serde_json::Value) -> bool {
    let address = address.as_str().and_then(|text| text.parse::<Ipv4Addr>().ok());
    address.is_some_and(|address| address.octets()[..3] == SERVER.octets()[..3])
}

/// Whether the client ever asked for, or used, an address that only damaged messages had.
fn baited(host: &Host) -> bool {
    let bait = |address: Option<&[u8]>| address.is_some_and(|bytes| bytes.starts_with(&BAIT));
    host.capture.frames().iter().filter(|frame| frame.outgoing).any(|frame| {
        let asked =
            frame.dhcp().and_then(|m| m.options.get(wire::dhcpv4::OptionCode::REQUESTED_ADDRESS));
        let used = frame.arp().map(|arp| arp.sender.octets());
        bait(asked) || bait(used.as_ref().map(|octets| &octets[..]))
    })
}

/// Sends IPv4 packets from the server's host to everyone.
struct Sender(sys::packet::Socket);

impl Sender {
    fn open(server: &Scripted) -> Self {
        let index = server.namespace.index_of("eth0").unwrap();
        let filter = sys::bpf::Filter::drop_all();
        let open = || sys::packet::Socket::open(index, sys::packet::ETHERTYPE_IPV4, &filter);
        Self(server.namespace.run(open).unwrap().unwrap())
    }

    fn packet(&self, message: &Message) -> Vec<u8> {
        let source = SocketAddrV4::new(SERVER, 67);
        let destination = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        emit_ipv4_udp(source, destination, 0, 64, &message.emit())
    }

    fn send(&self, packet: &[u8]) {
        self.0.send(&[0xff; 6], packet).unwrap();
    }
}

fn offer(discover: &Message, address: Ipv4Addr) -> Message {
    let mut offer = Message::new(Op::Reply, discover.xid);
    offer.chaddr = discover.chaddr;
    offer.yiaddr = address;
    offer.options.set_message_type(MessageType::Offer);
    offer.options.insert(wire::dhcpv4::OptionCode::SERVER_IDENTIFIER, ELSEWHERE.octets());
    offer.options.insert(wire::dhcpv4::OptionCode::LEASE_TIME, 3600_u32.to_be_bytes());
    offer
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn patched(bytes: &[u8], at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

/// The message without its end option.
fn unended(good: &[u8]) -> &[u8] {
    assert_eq!(good.last(), Some(&255));
    &good[..good.len() - 1]
}

/// The message without an option.
fn without(good: &[u8], code: u8) -> Vec<u8> {
    let (mut kept, mut rest) = (good[..OPTIONS].to_vec(), &good[OPTIONS..]);
    while let [present, length, ..] = *rest {
        if present == 255 {
            break;
        }
        let (option, behind) = rest.split_at(2 + usize::from(length));
        if present != code {
            kept.extend(option);
        }
        rest = behind;
    }
    kept.push(255);
    kept
}

/// The message with an option in place of the one it may have, whatever its length.
fn with(good: &[u8], code: u8, value: &[u8]) -> Vec<u8> {
    let mut message = without(good, code);
    message.pop();
    message.extend([code, u8::try_from(value.len()).unwrap()]);
    message.extend(value);
    message.push(255);
    message
}

/// Both old fields hold options, among them one that says so again.
fn overload_within_overload(good: &[u8]) -> Vec<u8> {
    let field = [52, 1, 3, 255];
    with(&patched(&patched(good, 44, &field), 108, &field), 52, &[3])
}

/// Both old fields are declared to hold options, and hold this byte throughout.
fn filled_fields(good: &[u8], byte: u8) -> Vec<u8> {
    with(&patched(&patched(good, 44, &[byte; 64]), 108, &[byte; 128]), 52, &[3])
}

/// Every option that the message does not have, with no bytes.
fn every_option_empty(good: &[u8]) -> Vec<u8> {
    let mut message = unended(good).to_vec();
    for code in 1..=254 {
        if ![1, 51, 53, 54].contains(&code) {
            message.extend([code, 0]);
        }
    }
    message.push(255);
    message
}
