//! Recorded packets, cut and damaged: the decoders return, and what they return can be written and
//! read again.

mod support;

use std::hint::black_box;

use iphelper_wire::arp;
use iphelper_wire::dhcpv4::{Message, OptionCode};
use iphelper_wire::udp::{ChecksumPolicy, parse_ipv4_udp};
use support::{Numbers, captured_arp, captured_dhcp, captured_ipv4};

const ROUNDS: usize = 100_000;

/// Reads everything there is to read, and checks that writing loses nothing.
fn exercise_dhcp(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    assert_eq!(Message::parse(&message.emit()), Ok(message.clone()));
    let options = &message.options;
    black_box((
        options.message_type(),
        options.server_identifier(),
        options.lease_time(),
        options.static_routes(),
        options.dns_servers(),
        options.fqdn(),
        options.message(),
        options.captive_portal(),
        options.user_class(),
    ));
    if let Some((mask, length)) = options.subnet_mask() {
        assert_eq!(mask.to_bits().count_ones(), length.into());
    }
    for route in options.classless_routes() {
        assert!(route.prefix_len <= 32);
    }
    assert!(options.mtu().is_none_or(|mtu| mtu >= 68));
    for name in options.domain_search().iter().map(String::as_str).chain(options.host_name()) {
        assert!(name.len() <= 253 && name.bytes().all(|b| b.is_ascii_graphic()), "{name:?}");
    }
}

fn exercise_ipv4(bytes: &[u8]) {
    for policy in [ChecksumPolicy::Verify, ChecksumPolicy::Ignore] {
        if let Ok((_, datagram)) = parse_ipv4_udp(bytes, policy) {
            exercise_dhcp(datagram.payload());
        }
    }
}

fn exercise_arp(bytes: &[u8]) {
    if let Ok(packet) = arp::Packet::parse(bytes) {
        assert_eq!(arp::Packet::parse(&packet.emit()), Ok(packet));
    }
}

/// Damages a few bytes, or moves, repeats, cuts or fills a part.
#[expect(clippy::indexing_slicing, reason = "an index out of range fails the test")]
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    const TELLING: [u8; 12] = [0, 1, 3, 4, 5, 52, 53, 63, 64, 0xc0, 254, 255];
    for _ in 0..=numbers.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = numbers.below(bytes.len());
        match numbers.below(6) {
            0 => bytes[at] = numbers.next() as u8,
            1 => bytes[at] ^= 1 << numbers.below(8),
            2 => bytes[at] = TELLING[numbers.below(TELLING.len())],
            3 => bytes.truncate(at),
            4 => {
                let part = bytes[at..].iter().take(1 + numbers.below(40)).copied();
                let part: Vec<u8> = part.collect();
                let to = numbers.below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => bytes.insert(at, OptionCode::OVERLOAD.0),
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "an index out of range fails the test")]
fn mutated(packets: &[Vec<u8>], seed: u64, exercise: impl Fn(&[u8])) {
    let mut numbers = Numbers(seed);
    for _ in 0..ROUNDS {
        let mut bytes = packets[numbers.below(packets.len())].clone();
        mutate(&mut bytes, &mut numbers);
        exercise(&bytes);
    }
}

#[test]
fn every_prefix() {
    for bytes in captured_dhcp("") {
        (0..=bytes.len()).for_each(|length| exercise_dhcp(&bytes[..length]));
    }
    for bytes in captured_ipv4("") {
        (0..=bytes.len()).for_each(|length| exercise_ipv4(&bytes[..length]));
    }
    for bytes in captured_arp() {
        (0..=bytes.len()).for_each(|length| exercise_arp(&bytes[..length]));
    }
}

#[test]
fn mutated_dhcp() {
    mutated(&captured_dhcp(""), 1, exercise_dhcp);
}

#[test]
fn mutated_ipv4() {
    mutated(&captured_ipv4(""), 2, exercise_ipv4);
}

#[test]
fn mutated_arp() {
    mutated(&captured_arp(), 3, exercise_arp);
}
