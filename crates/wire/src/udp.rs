//! UDP over IPv4 (RFC 768), and both headers in one call.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::ipv4::{self, checksum};
use crate::reader::Reader;
use crate::{Error, Layer, Result};

/// Length in bytes of a UDP header.
pub const HEADER_LENGTH: usize = 8;
/// The longest payload in bytes that fits one IPv4 packet without header options.
pub const MAX_PAYLOAD: usize = 65535 - ipv4::HEADER_LENGTH - HEADER_LENGTH;

/// Whether to look at the UDP checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// A wrong checksum is an error; a zero one means that the sender computed none.
    Verify,
    /// The kernel says that the checksum is not complete, because sender and receiver are on the
    /// same host (`TP_STATUS_CSUMNOTREADY` in packet(7)), or has already verified it.
    Ignore,
}

/// A datagram whose header has been checked.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    source_port: u16,
    destination_port: u16,
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the payload of an IPv4 packet from `source` to `destination`, which the checksum
    /// covers.
    ///
    /// A length field below 8 or above the buffer is an error; bytes after it are ignored.
    pub fn parse(
        bytes: &'a [u8],
        source: Ipv4Addr,
        destination: Ipv4Addr,
        policy: ChecksumPolicy,
    ) -> Result<Self> {
        let mut reader = Reader::new(Layer::Udp, bytes);
        let source_port = reader.u16()?;
        let destination_port = reader.u16()?;
        let length = reader.u16()?;
        let sent_checksum = reader.u16()?;
        let payload_length = usize::from(length)
            .checked_sub(HEADER_LENGTH)
            .ok_or(Error::Invalid { layer: Layer::Udp, what: "length", offset: 4 })?;
        let payload = reader.bytes(payload_length)?;
        if policy == ChecksumPolicy::Verify && sent_checksum != 0 {
            let covered = bytes.get(..usize::from(length)).unwrap_or_default();
            if checksum([&pseudo_header(source, destination, length)[..], covered]) != 0 {
                return Err(Error::Checksum { layer: Layer::Udp, offset: 6 });
            }
        }
        Ok(Self { source_port, destination_port, payload })
    }

    /// The sender's port.
    pub fn source_port(&self) -> u16 {
        self.source_port
    }

    /// The receiver's port.
    pub fn destination_port(&self) -> u16 {
        self.destination_port
    }

    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Reads an IPv4 packet that carries a UDP datagram, starting at the IPv4 header.
pub fn parse_ipv4_udp(
    bytes: &[u8],
    policy: ChecksumPolicy,
) -> Result<(ipv4::Header, Datagram<'_>)> {
    let packet = ipv4::Packet::parse(bytes)?;
    let header = packet.header();
    if header.protocol != ipv4::PROTOCOL_UDP {
        return Err(Error::Invalid { layer: Layer::Ipv4, what: "protocol: not udp", offset: 9 });
    }
    let datagram = Datagram::parse(packet.payload(), header.source, header.destination, policy)?;
    Ok((header, datagram))
}

/// Writes an IPv4 packet with a UDP datagram, both checksums complete.
///
/// "Don't fragment" is set and the identification is zero: an atomic datagram (RFC 6864 4).
///
/// A payload above [`MAX_PAYLOAD`] saturates both length fields, which every receiver refuses and
/// no link can send.
pub fn emit_ipv4_udp(
    source: SocketAddrV4,
    destination: SocketAddrV4,
    tos: u8,
    ttl: u8,
    payload: &[u8],
) -> Vec<u8> {
    let length = HEADER_LENGTH.saturating_add(payload.len());
    let header = ipv4::Header {
        source: *source.ip(),
        destination: *destination.ip(),
        ttl,
        protocol: ipv4::PROTOCOL_UDP,
        identification: 0,
        dont_fragment: true,
        tos,
    };
    let mut bytes = Vec::with_capacity(ipv4::HEADER_LENGTH + length);
    bytes.extend(header.emit(length));

    let length = u16::try_from(length).unwrap_or(u16::MAX);
    let udp_header = |sum: u16| {
        let [s0, s1] = source.port().to_be_bytes();
        let [d0, d1] = destination.port().to_be_bytes();
        let [l0, l1] = length.to_be_bytes();
        let [c0, c1] = sum.to_be_bytes();
        [s0, s1, d0, d1, l0, l1, c0, c1]
    };
    let pseudo = pseudo_header(*source.ip(), *destination.ip(), length);
    let sum = match checksum([&pseudo[..], &udp_header(0)[..], payload]) {
        // Zero says "no checksum"; its ones' complement twin says the same number.
        0 => 0xffff,
        sum => sum,
    };
    bytes.extend(udp_header(sum));
    bytes.extend(payload);
    bytes
}

/// What the UDP checksum covers besides the datagram.
fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, length: u16) -> [u8; 12] {
    let [s0, s1, s2, s3] = source.octets();
    let [d0, d1, d2, d3] = destination.octets();
    let [l0, l1] = length.to_be_bytes();
    [s0, s1, s2, s3, d0, d1, d2, d3, 0, ipv4::PROTOCOL_UDP, l0, l1]
}
