//! What reads as UDP over IPv4 is written, with checksums, and read back the same.

#![no_main]

use std::net::SocketAddrV4;

use libfuzzer_sys::fuzz_target;
use wire::ipv4;
use wire::udp::{ChecksumPolicy, Datagram, emit_ipv4_udp, parse_ipv4_udp};

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_ipv4_udp(bytes, ChecksumPolicy::Verify);
    match parse_ipv4_udp(bytes, ChecksumPolicy::Ignore) {
        Ok((header, datagram)) => round_trip(header, datagram),
        // The fuzzer cannot guess header checksums: mend a copy.
        Err(_) => {
            if let Some(mended) = with_header_checksum(bytes)
                && let Ok((header, datagram)) = parse_ipv4_udp(&mended, ChecksumPolicy::Ignore)
            {
                round_trip(header, datagram);
            }
        }
    }
});

fn round_trip(header: ipv4::Header, datagram: Datagram<'_>) {
    let source = SocketAddrV4::new(header.source, datagram.source_port());
    let destination = SocketAddrV4::new(header.destination, datagram.destination_port());
    let written = emit_ipv4_udp(source, destination, header.tos, header.ttl, datagram.payload());
    let (read_header, read) =
        parse_ipv4_udp(&written, ChecksumPolicy::Verify).expect("it was written here");
    let expected = ipv4::Header { identification: 0, dont_fragment: true, ..header };
    assert_eq!(read_header, expected);
    assert_eq!(read.source_port(), datagram.source_port());
    assert_eq!(read.destination_port(), datagram.destination_port());
    assert_eq!(read.payload(), datagram.payload());
}

fn with_header_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut mended = bytes.to_vec();
    let length = usize::from(*bytes.first()? & 15) * 4;
    mended.get_mut(10..12)?.fill(0);
    let mut sum: u32 = mended
        .get(..length)?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |word, &byte| word << 8 | u32::from(byte)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    mended.get_mut(10..12)?.copy_from_slice(&(!(sum as u16)).to_be_bytes());
    Some(mended)
}
