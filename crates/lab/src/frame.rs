//! Frames as a lab looks at them: DHCP and ARP in detail, the rest by number.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddrV4;

use engine::Instant;
use wire::dhcpv4::{CLIENT_PORT, Message, MessageType, SERVER_PORT};
use wire::udp::{ChecksumPolicy, parse_ipv4_udp};
use wire::{HardwareAddress, arp};

const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;

/// A DHCP or ARP frame that was seen on an interface.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When it was taken from the kernel.
    pub at: Instant,
    /// The host it was seen on sent it.
    pub outgoing: bool,
    /// Link address of the sender.
    pub source: HardwareAddress,
    /// To whom, on the link.
    pub destination: HardwareAddress,
    /// What it holds.
    pub packet: Packet,
}

/// What a frame holds.
#[derive(Debug, Clone)]
pub enum Packet {
    /// An ARP packet.
    Arp(arp::Packet),
    /// A DHCP message.
    Dhcp {
        /// From address and port.
        source: SocketAddrV4,
        /// To address and port.
        destination: SocketAddrV4,
        /// The message.
        message: Box<Message>,
    },
}

/// What kind of packet a frame carries, as far as a lab counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ARP packet.
    Arp,
    /// A DHCP message of this type.
    Dhcp(MessageType),
    /// Something on the DHCP ports that is no DHCP message, or no whole one.
    BadDhcp,
    /// Another protocol, by its EtherType.
    Other(u16),
}

/// Frames by kind. Shown as "2 DISCOVER, 1 OFFER, 3 ARP".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Frame {
    /// Reads an Ethernet frame. `None` if it holds something else than ARP and DHCP, or is damaged.
    pub fn parse(bytes: &[u8], outgoing: bool, at: Instant) -> Option<Self> {
        let destination = HardwareAddress::new(bytes.get(..6)?)?;
        let source = HardwareAddress::new(bytes.get(6..12)?)?;
        let payload = bytes.get(ETHERNET_HEADER..)?;
        let packet = match ethertype(bytes)? {
            ETHERTYPE_ARP => Packet::Arp(arp::Packet::parse(payload).ok()?),
            ETHERTYPE_IPV4 => {
                let (header, datagram) = parse_ipv4_udp(payload, ChecksumPolicy::Ignore).ok()?;
                if !is_dhcp(datagram.source_port(), datagram.destination_port()) {
                    return None;
                }
                Packet::Dhcp {
                    source: SocketAddrV4::new(header.source, datagram.source_port()),
                    destination: SocketAddrV4::new(header.destination, datagram.destination_port()),
                    message: Box::new(Message::parse(datagram.payload()).ok()?),
                }
            }
            _ => return None,
        };
        Some(Self { at, outgoing, source, destination, packet })
    }

    /// The DHCP message, if it is one.
    pub fn dhcp(&self) -> Option<&Message> {
        match &self.packet {
            Packet::Dhcp { message, .. } => Some(message),
            Packet::Arp(_) => None,
        }
    }

    /// The ARP packet, if it is one.
    pub fn arp(&self) -> Option<&arp::Packet> {
        match &self.packet {
            Packet::Arp(packet) => Some(packet),
            Packet::Dhcp { .. } => None,
        }
    }

    /// Whether it is a DHCP message of this type.
    pub fn is(&self, kind: MessageType) -> bool {
        self.dhcp().and_then(Message::message_type) == Some(kind)
    }
}

/// One line, for failure reports.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.outgoing { "out" } else { "in" };
        write!(f, "{:?} {way} {} > {} ", self.at, self.source, self.destination)?;
        match &self.packet {
            Packet::Arp(arp) => {
                let (sender, target) = (arp.sender, arp.target);
                write!(f, "ARP {:?} {sender} > {target}", arp.operation)
            }
            Packet::Dhcp { source, destination, message } => {
                write!(f, "{source} > {destination} ")?;
                match message.message_type() {
                    Some(kind) => write!(f, "{kind}")?,
                    None => write!(f, "BOOTP")?,
                }
                let Message { xid, ciaddr, yiaddr, .. } = message.as_ref();
                write!(f, " xid {xid:08x} ciaddr {ciaddr} yiaddr {yiaddr}")
            }
        }
    }
}

impl Kind {
    /// The kind of an Ethernet frame. `None` for what is too short to be one.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let payload = bytes.get(ETHERNET_HEADER..)?;
        Some(match ethertype(bytes)? {
            ETHERTYPE_ARP => Self::Arp,
            ETHERTYPE_IPV4 => match parse_ipv4_udp(payload, ChecksumPolicy::Ignore) {
                Ok((_, datagram))
                    if is_dhcp(datagram.source_port(), datagram.destination_port()) =>
                {
                    let message = Message::parse(datagram.payload()).ok();
                    message
                        .and_then(|message| message.message_type())
                        .map_or(Self::BadDhcp, Self::Dhcp)
                }
                _ => Self::Other(ETHERTYPE_IPV4),
            },
            other => Self::Other(other),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arp => f.write_str("ARP"),
            Self::Dhcp(kind) => write!(f, "{kind}"),
            Self::BadDhcp => f.write_str("bad DHCP"),
            Self::Other(ethertype) => write!(f, "{ethertype:#06x}"),
        }
    }
}

impl Counters {
    /// Counts one frame.
    pub fn add(&mut self, kind: Kind) {
        *self.0.entry(kind.to_string()).or_default() += 1;
    }

    /// How many of a kind there were.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(&kind.to_string()).copied().unwrap_or_default()
    }

    /// How many DHCP messages of a type there were.
    pub fn dhcp(&self, kind: MessageType) -> u64 {
        self.of(Kind::Dhcp(kind))
    }

    /// How many there were of all kinds.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.0.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        f.write_str(&parts.join(", "))
    }
}

fn ethertype(bytes: &[u8]) -> Option<u16> {
    let field = bytes.get(12..ETHERNET_HEADER)?;
    field.try_into().ok().map(u16::from_be_bytes)
}

fn is_dhcp(source: u16, destination: u16) -> bool {
    [source, destination].iter().all(|port| [CLIENT_PORT, SERVER_PORT].contains(port))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use wire::HardwareType;
    use wire::dhcpv4::{Op, OptionCode};
    use wire::udp::emit_ipv4_udp;

    use super::*;

    fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&[0xff; 6], &[2, 0, 0, 0, 0, 1], &ethertype.to_be_bytes()[..], payload].concat()
    }

    #[test]
    fn frames_are_told_apart_and_counted() {
        let mut message = Message::new(Op::Request, 7);
        message.options.insert(OptionCode::MESSAGE_TYPE, [1]);
        let client = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
        let server = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
        let udp = |payload: &[u8]| emit_ipv4_udp(client, server, 0, 64, payload);
        let discover = ethernet(0x0800, &udp(&message.emit()));
        let junk = ethernet(0x0800, &udp(b"junk"));
        let own = HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
        let probe = arp::Packet::probe(HardwareType::ETHERNET, own, Ipv4Addr::new(10, 0, 0, 1));
        let probe = ethernet(0x0806, &probe.emit());
        let ipv6 = ethernet(0x86dd, &[0; 40]);

        let mut counters = Counters::default();
        for frame in [&discover, &discover, &junk, &probe, &ipv6] {
            counters.add(Kind::of(frame).unwrap());
        }
        assert_eq!(counters.to_string(), "1 0x86dd, 1 ARP, 2 DISCOVER, 1 bad DHCP");
        assert_eq!((counters.dhcp(MessageType::Discover), counters.total()), (2, 5));
        assert_eq!(Kind::of(&[0; 13]), None);

        let frame = Frame::parse(&discover, false, Instant::ZERO).unwrap();
        assert!(frame.is(MessageType::Discover) && frame.source == own);
        assert!(Frame::parse(&probe, true, Instant::ZERO).unwrap().arp().unwrap().is_probe());
        assert!(Frame::parse(&junk, true, Instant::ZERO).is_none());
    }
}
