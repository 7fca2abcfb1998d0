//! Link-layer sockets (`packet(7)`).
//!
//! The sockets are `SOCK_DGRAM`: payloads start at the network header and the kernel writes and
//! strips the link header, so that the same code serves Ethernet, InfiniBand and links without a
//! link header.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use crate::bpf::Filter;
use crate::socket::{self, ControlBuffer, ControlMessages, check};

pub use crate::reaper::Reaper;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;

/// The longest link address the kernel knows (`MAX_ADDR_LEN`).
const MAXIMUM_LINK_ADDRESS: usize = 32;
/// Bytes of a `sockaddr_ll` before its link address.
const NAME_HEADER: usize = 12;

// From linux/if_packet.h; absent in libc.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
pub(crate) const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;

/// A packet socket on one interface and EtherType.
///
/// Needs `CAP_NET_RAW`. Dropping it waits for an RCU grace period, 10 ms and more: an event loop
/// hands it to a [`Reaper`] instead.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    interface: u32,
    ethertype: u16,
}

/// What came with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes written to the buffer.
    pub length: usize,
    /// Length of the whole packet: more than `length` if the buffer was too short.
    pub whole_length: usize,
    /// Index of the interface it arrived on.
    pub interface: u32,
    /// Its EtherType.
    pub ethertype: u16,
    /// ARP hardware type of the interface (`ARPHRD_*`).
    pub hardware_type: u16,
    /// To whom it was addressed on the link.
    pub kind: Kind,
    /// Link address of the sender; empty on links without.
    pub source: LinkAddress,
    /// The transport checksum was left for hardware to fill in and is not valid: packets of this
    /// host's own virtual links. Do not verify it.
    pub checksum_not_ready: bool,
    /// The VLAN tag (priority, eligibility and identifier) the packet carried outside its payload.
    pub vlan: Option<u16>,
}

/// To whom a packet was addressed on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This host (`PACKET_HOST`).
    Host,
    /// Everyone on the link.
    Broadcast,
    /// A link multicast group.
    Multicast,
    /// Another host, seen because the interface is promiscuous.
    OtherHost,
    /// Anything else, by its `PACKET_*` number.
    Other(u8),
}

/// A link address of up to 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkAddress {
    length: u8,
    bytes: [u8; MAXIMUM_LINK_ADDRESS],
}

impl LinkAddress {
    /// The address's bytes: 6 on Ethernet, 20 on InfiniBand, none on links without addresses.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }

    fn new(from: &[u8]) -> Self {
        let mut address = Self::default();
        for (to, from) in address.bytes.iter_mut().zip(from) {
            *to = *from;
        }
        address.length = from.len().min(MAXIMUM_LINK_ADDRESS) as u8;
        address
    }
}

impl Socket {
    /// Opens a socket that receives what `filter` passes of `ethertype` on `interface` (an index;
    /// 0 means all).
    ///
    /// The filter is in place before the first packet can arrive. Packets sent by this host are
    /// never received.
    pub fn open(interface: u32, ethertype: u16, filter: &Filter) -> io::Result<Self> {
        // Protocol 0 receives nothing until bind(2) names one: no unfiltered packet slips in.
        let fd = socket::open(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
        let this = Self { fd, interface, ethertype };
        this.set_filter(filter)?;
        socket::set(this.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        // Since Linux 4.20; without it `receive` does the skipping.
        let _ = socket::set(this.as_fd(), libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
        socket::bind(this.as_fd(), &name(interface, ethertype, &[]))?;
        Ok(this)
    }

    /// Index of the interface the socket was opened on.
    #[must_use]
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// Replaces the filter in one step: every packet meets the old or the new one.
    ///
    /// Packets already queued stay; they passed the old filter.
    pub fn set_filter(&self, filter: &Filter) -> io::Result<()> {
        attach(self.as_fd(), filter)
    }

    /// Receives one packet, from the network header on. `WouldBlock` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = ControlBuffer::new();
        let mut name = [0_u8; NAME_HEADER + MAXIMUM_LINK_ADDRESS];
        loop {
            let received =
                socket::receive(self.as_fd(), buffer, &mut name, &mut control.0, libc::MSG_TRUNC)?;
            let [_, _, e0, e1, i0, i1, i2, i3, h0, h1, kind, address_length, address @ ..] = name;
            if kind == libc::PACKET_OUTGOING {
                continue;
            }
            let address = address.get(..usize::from(address_length)).unwrap_or(&address);
            let (mut checksum_not_ready, mut vlan) = (false, None);
            let auxiliary = ControlMessages::new(&control, &received)
                .find(libc::SOL_PACKET, libc::PACKET_AUXDATA);
            // struct tpacket_auxdata: status, length, snapshot length (u32), link and network
            // header offsets, VLAN tag, VLAN protocol (u16).
            if let Some(&[s0, s1, s2, s3, _, _, _, _, _, _, _, _, _, _, _, _, v0, v1, ..]) =
                auxiliary
            {
                let status = u32::from_ne_bytes([s0, s1, s2, s3]);
                checksum_not_ready = status & TP_STATUS_CSUMNOTREADY != 0;
                vlan = (status & TP_STATUS_VLAN_VALID != 0).then_some(u16::from_ne_bytes([v0, v1]));
            }
            return Ok(Received {
                length: received.length.min(buffer.len()),
                whole_length: received.length,
                interface: u32::from_ne_bytes([i0, i1, i2, i3]),
                ethertype: u16::from_be_bytes([e0, e1]),
                hardware_type: u16::from_ne_bytes([h0, h1]),
                kind: Kind::new(kind),
                source: LinkAddress::new(address),
                checksum_not_ready,
                vlan,
            });
        }
    }

    /// Sends `payload`, which starts at the network header, to a link address on the socket's
    /// interface.
    ///
    /// `destination` has as many bytes as the link's addresses (`ff:ff:ff:ff:ff:ff` broadcasts on
    /// Ethernet); it is ignored on links without addresses.
    pub fn send(&self, destination: &[u8], payload: &[u8]) -> io::Result<()> {
        self.send_to(self.interface, self.ethertype, destination, payload)
    }

    /// Like [`send`](Self::send), with the interface and EtherType stated.
    pub fn send_to(
        &self,
        interface: u32,
        ethertype: u16,
        destination: &[u8],
        payload: &[u8],
    ) -> io::Result<()> {
        if destination.len() > MAXIMUM_LINK_ADDRESS {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let name = name(interface, ethertype, destination);
        socket::send(self.as_fd(), payload, &name, &[], 0)?;
        Ok(())
    }
}

impl Kind {
    fn new(number: u8) -> Self {
        match number {
            libc::PACKET_HOST => Self::Host,
            libc::PACKET_BROADCAST => Self::Broadcast,
            libc::PACKET_MULTICAST => Self::Multicast,
            libc::PACKET_OTHERHOST => Self::OtherHost,
            other => Self::Other(other),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.fd
    }
}

/// Attaches a filter to any socket (`SO_ATTACH_FILTER`, `socket(7)`), replacing the one before.
fn attach(fd: BorrowedFd<'_>, filter: &Filter) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.code.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: filter.code.as_ptr().cast_mut().cast(),
    };
    // SAFETY: setsockopt(2) reads a sock_fprog and through it `len` instructions, which have the
    // layout of sock_filter (repr(C), same fields); it copies them and keeps no pointer.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// A `sockaddr_ll` in the kernel's layout. Longer than libc's type when the link address is: the
/// kernel reads as many bytes as the device's addresses have.
pub(crate) fn name(interface: u32, ethertype: u16, address: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(NAME_HEADER + MAXIMUM_LINK_ADDRESS);
    name.extend_from_slice(&(libc::AF_PACKET as u16).to_ne_bytes());
    name.extend_from_slice(&ethertype.to_be_bytes());
    name.extend_from_slice(&interface.to_ne_bytes());
    name.extend_from_slice(&[0, 0, 0, address.len() as u8]);
    name.extend_from_slice(address);
    // The kernel refuses names shorter than the type's nominal 20 bytes.
    name.resize(name.len().max(NAME_HEADER + 8), 0);
    name
}
