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

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: HardwareAddress = HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    #[test]
    fn probe_bytes() {
        let probe = Packet::probe(HardwareType::ETHERNET, OWN, ADDRESS);
        assert!(probe.is_probe());
        let expected =
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1];
        assert_eq!(probe.emit(), expected);
    }

    #[test]
    fn announcement_is_no_probe() {
        let announcement = Packet::announcement(HardwareType::ETHERNET, OWN, ADDRESS);
        assert!(!announcement.is_probe());
        assert_eq!((announcement.sender, announcement.target), (ADDRESS, ADDRESS));
        assert_eq!(announcement.operation, Operation::Request);
    }

    /// A reply from 0.0.0.0 is nonsense, but no probe.
    #[test]
    fn reply() {
        let asker = HardwareAddress::ethernet([2, 0, 0, 0, 0, 9]);
        let reply = Packet::probe(HardwareType::ETHERNET, asker, ADDRESS).reply(OWN);
        assert_eq!((reply.sender_hardware, reply.sender), (OWN, ADDRESS));
        assert_eq!((reply.target_hardware, reply.target), (asker, Ipv4Addr::UNSPECIFIED));
        assert!(!reply.is_probe() && !reply.reply(OWN).is_probe());
    }

    /// InfiniBand addresses have 20 bytes; a target of another length takes the sender's.
    #[test]
    fn infiniband() {
        let own = HardwareAddress::new(&[7; 20]).unwrap();
        let mut packet = Packet::probe(HardwareType::INFINIBAND, own, ADDRESS);
        assert_eq!(packet.emit().len(), 56);
        assert_eq!(Packet::parse(&packet.emit()), Ok(packet.clone()));
        packet.target_hardware = OWN;
        assert_eq!(packet.emit().len(), 56);
        packet.target_hardware = HardwareAddress::new(&[7; 32]).unwrap();
        assert_eq!(Packet::parse(&packet.emit()).unwrap().target_hardware, own);
    }

    #[test]
    fn not_about_ipv4() {
        let good = Packet::probe(HardwareType::ETHERNET, OWN, ADDRESS).emit();
        for (offset, value, what) in
            [(2, 0x86, "protocol type"), (5, 16, "protocol address length")]
        {
            let mut bytes = good.clone();
            bytes[offset] = value;
            let error = Error::Invalid { layer: Layer::Arp, what, offset };
            assert_eq!(Packet::parse(&bytes), Err(error));
        }
        let mut long = vec![0; 600];
        long[..8].copy_from_slice(&[0, 1, 8, 0, 33, 4, 0, 1]);
        assert!(matches!(Packet::parse(&long), Err(Error::Invalid { offset: 4, .. })));
    }
}
