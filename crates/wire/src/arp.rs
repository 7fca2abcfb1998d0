//! ARP for IPv4 (RFC 826), with what address conflict detection adds (RFC 5227).

use std::net::Ipv4Addr;

use crate::reader::Reader;
use crate::{Error, HardwareAddress, HardwareType, Layer, Result};

/// The protocol type of IPv4.
const IPV4: u16 = 0x0800;

/// An ARP packet that asks about or tells of an IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The kind of link.
    pub hardware_type: HardwareType,
    /// What the sender wants.
    pub operation: Operation,
    /// The sender's link-layer address.
    pub sender_hardware: HardwareAddress,
    /// The sender's IPv4 address; unspecified in a probe.
    pub sender: Ipv4Addr,
    /// The target's link-layer address; zeros in a request. As long as `sender_hardware` on the
    /// wire.
    pub target_hardware: HardwareAddress,
    /// The IPv4 address asked for.
    pub target: Ipv4Addr,
}

/// What an ARP packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
    /// Anything else, such as reverse ARP.
    Other(u16),
}

impl Packet {
    /// Reads a packet; what follows it is link padding.
    ///
    /// Fails when the packet is not about IPv4 or its hardware addresses are longer than
    /// [`HardwareAddress::MAX_LENGTH`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let invalid = |what, offset| Error::Invalid { layer: Layer::Arp, what, offset };
        let mut reader = Reader::new(Layer::Arp, bytes);
        let hardware_type = HardwareType(reader.u16()?);
        if reader.u16()? != IPV4 {
            return Err(invalid("protocol type", 2));
        }
        let hardware_length = usize::from(reader.u8()?);
        if reader.u8()? != 4 {
            return Err(invalid("protocol address length", 5));
        }
        let operation = Operation::from(reader.u16()?);
        let hardware = |reader: &mut Reader<'_>| {
            let bytes = reader.bytes(hardware_length)?;
            HardwareAddress::new(bytes).ok_or_else(|| invalid("hardware address length", 4))
        };
        Ok(Self {
            hardware_type,
            operation,
            sender_hardware: hardware(&mut reader)?,
            sender: reader.address()?,
            target_hardware: hardware(&mut reader)?,
            target: reader.address()?,
        })
    }

    /// Writes the packet, without link padding.
    ///
    /// The target's hardware address is cut or filled with zeros to the length of the sender's:
    /// the packet has one length for both.
    pub fn emit(&self) -> Vec<u8> {
        let own = self.sender_hardware.as_bytes();
        let target = self.target_hardware.as_bytes();
        let mut bytes = Vec::with_capacity(16 + 2 * own.len());
        bytes.extend(self.hardware_type.0.to_be_bytes());
        bytes.extend(IPV4.to_be_bytes());
        // At most 32.
        bytes.push(own.len() as u8);
        bytes.push(4);
        bytes.extend(u16::from(self.operation).to_be_bytes());
        bytes.extend(own);
        bytes.extend(self.sender.octets());
        bytes.extend(target.iter().copied().chain(core::iter::repeat(0)).take(own.len()));
        bytes.extend(self.target.octets());
        bytes
    }

    /// An ARP Probe (RFC 5227 1.1): asks whether `target` is in use without claiming it.
    pub fn probe(hardware_type: HardwareType, own: HardwareAddress, target: Ipv4Addr) -> Self {
        Self::request(hardware_type, own, Ipv4Addr::UNSPECIFIED, target)
    }

    /// An ARP Announcement (RFC 5227 1.1): claims `address` and refreshes the neighbours' caches.
    pub fn announcement(
        hardware_type: HardwareType,
        own: HardwareAddress,
        address: Ipv4Addr,
    ) -> Self {
        Self::request(hardware_type, own, address, address)
    }

    /// A plain request for `target` by the holder of `sender`.
    pub fn request(
        hardware_type: HardwareType,
        own: HardwareAddress,
        sender: Ipv4Addr,
        target: Ipv4Addr,
    ) -> Self {
        Self {
            hardware_type,
            operation: Operation::Request,
            sender_hardware: own,
            sender,
            target_hardware: own.zeroed(),
            target,
        }
    }

    /// The answer of `own`, which holds the address that this request asks for.
    pub fn reply(&self, own: HardwareAddress) -> Self {
        Self {
            hardware_type: self.hardware_type,
            operation: Operation::Reply,
            sender_hardware: own,
            sender: self.target,
            target_hardware: self.sender_hardware,
            target: self.sender,
        }
    }

    /// Whether this asks for an address on behalf of a host that has none yet.
    pub fn is_probe(&self) -> bool {
        self.operation == Operation::Request && self.sender.is_unspecified()
    }
}

impl From<u16> for Operation {
    fn from(value: u16) -> Self {
        match value {
            1 => Self::Request,
            2 => Self::Reply,
            other => Self::Other(other),
        }
    }
}

impl From<Operation> for u16 {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Request => 1,
            Operation::Reply => 2,
            Operation::Other(other) => other,
        }
    }
}
