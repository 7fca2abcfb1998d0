//! IPv4 (RFC 791), unfragmented packets only.

use std::net::Ipv4Addr;

use crate::reader::Reader;
use crate::{Error, Layer, Result};

/// Length in bytes of a header without options.
pub const HEADER_LENGTH: usize = 20;
/// The protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// The bit of the fragment field that forbids fragmenting.
const DONT_FRAGMENT: u16 = 0x4000;
/// The bits of the fragment field that are set in fragments only: "more fragments" and the offset.
const FRAGMENT: u16 = 0x3fff;

/// The fields of an IPv4 header, without its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Who sent the packet.
    pub source: Ipv4Addr,
    /// Whom it is for.
    pub destination: Ipv4Addr,
    /// How many routers it may still pass.
    pub ttl: u8,
    /// What the payload is, for example [`PROTOCOL_UDP`].
    pub protocol: u8,
    /// Tells the fragments of different packets apart; of no meaning in an unfragmented one.
    pub identification: u16,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// The whole former type-of-service byte: differentiated services code point and ECN bits.
    pub tos: u8,
}

/// A packet whose header has been checked.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    header: Header,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version, header length, total length against the buffer, and the header checksum,
    /// and refuses fragments. Header options are skipped.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let invalid = |what, offset| Error::Invalid { layer: Layer::Ipv4, what, offset };
        let mut reader = Reader::new(Layer::Ipv4, bytes);
        let first = reader.u8()?;
        if first >> 4 != 4 {
            return Err(invalid("version", 0));
        }
        let header_length = usize::from(first & 0x0f) * 4;
        if header_length < HEADER_LENGTH {
            return Err(invalid("header length", 0));
        }
        let tos = reader.u8()?;
        let total_length = usize::from(reader.u16()?);
        if total_length < header_length {
            return Err(invalid("total length", 2));
        }
        let identification = reader.u16()?;
        let fragment = reader.u16()?;
        let ttl = reader.u8()?;
        let protocol = reader.u8()?;
        reader.u16()?;
        let header = Header {
            source: reader.address()?,
            destination: reader.address()?,
            ttl,
            protocol,
            identification,
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            tos,
        };

        let mut whole = Reader::new(Layer::Ipv4, bytes);
        if checksum([whole.bytes(header_length)?]) != 0 {
            return Err(Error::Checksum { layer: Layer::Ipv4, offset: 10 });
        }
        let payload = whole.bytes(total_length - header_length)?;
        if fragment & FRAGMENT != 0 {
            return Err(invalid("fragment field: a fragment", 6));
        }
        Ok(Self { header, payload })
    }

    /// The header's fields.
    pub fn header(&self) -> Header {
        self.header
    }

    /// What follows the header, without link padding.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

impl Header {
    /// Writes a header without options for a payload of `payload_length` bytes.
    ///
    /// A payload above 65515 bytes saturates the total length.
    pub fn emit(&self, payload_length: usize) -> [u8; HEADER_LENGTH] {
        let total = u16::try_from(HEADER_LENGTH.saturating_add(payload_length)).unwrap_or(u16::MAX);
        let [total_high, total_low] = total.to_be_bytes();
        let [id_high, id_low] = self.identification.to_be_bytes();
        let [flags, offset] = if self.dont_fragment { DONT_FRAGMENT } else { 0 }.to_be_bytes();
        let [s0, s1, s2, s3] = self.source.octets();
        let [d0, d1, d2, d3] = self.destination.octets();
        let with_checksum = |[high, low]: [u8; 2]| {
            [
                0x45,
                self.tos,
                total_high,
                total_low,
                id_high,
                id_low,
                flags,
                offset,
                self.ttl,
                self.protocol,
                high,
                low,
                s0,
                s1,
                s2,
                s3,
                d0,
                d1,
                d2,
                d3,
            ]
        };
        with_checksum(checksum([&with_checksum([0, 0])[..]]).to_be_bytes())
    }
}

/// The Internet checksum (RFC 1071) over the parts in order; zero over data that includes a
/// correct checksum. Every part but the last must have an even length.
pub(crate) fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let (pairs, odd) = part.as_chunks::<2>();
        sum += pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum::<u64>();
        sum += odd.iter().map(|&byte| u64::from(byte) << 8).sum::<u64>();
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // At most 0xffff after folding.
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header whose checksum is known: the worked example of many textbooks.
    const GOOD: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ];

    fn packet_with(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = [&GOOD[..], &[0; 95]].concat();
        change(&mut bytes);
        bytes[10..12].fill(0);
        let header_length = usize::from(bytes[0] & 15) * 4;
        let sum = checksum([&bytes[..header_length]]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn known_checksum() {
        assert_eq!(checksum([&GOOD[..]]), 0);
        let packet = packet_with(|_| {});
        assert_eq!(packet[..20], GOOD);
        let header = Packet::parse(&packet).unwrap().header();
        assert_eq!(header.emit(95), GOOD);
        assert_eq!(checksum([&[0x12][..]]), !0x1200);
        assert_eq!(checksum([]), 0xffff);
    }

    #[test]
    fn refused() {
        let invalid = |what, offset| Error::Invalid { layer: Layer::Ipv4, what, offset };
        for (bytes, error) in [
            (packet_with(|b| b[0] = 0x65), invalid("version", 0)),
            (packet_with(|b| b[0] = 0x44), invalid("header length", 0)),
            (packet_with(|b| b[3] = 19), invalid("total length", 2)),
            (packet_with(|b| b[6] = 0x20), invalid("fragment field: a fragment", 6)),
            (packet_with(|b| b[7] = 1), invalid("fragment field: a fragment", 6)),
            (
                packet_with(|b| b[3] = 116),
                Error::Truncated { layer: Layer::Ipv4, offset: 20, needed: 96, available: 95 },
            ),
        ] {
            assert_eq!(Packet::parse(&bytes).unwrap_err(), error);
        }
        let mut damaged = packet_with(|_| {});
        damaged[8] ^= 1;
        let error = Error::Checksum { layer: Layer::Ipv4, offset: 10 };
        assert_eq!(Packet::parse(&damaged).unwrap_err(), error);
    }

    #[test]
    fn options_and_padding_are_skipped() {
        let bytes = packet_with(|b| {
            b[0] = 0x46;
            b[20..24].copy_from_slice(&[0x94, 4, 0, 0]);
            b[24] = 0xaa;
            b[3] = 25;
        });
        assert_eq!(Packet::parse(&bytes).unwrap().payload(), [0xaa]);
    }
}
