//! IPv4 UDP that says where each datagram came from and went to (`ip(7)`, `udp(7)`).

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::socket::{self, ControlBuffer, ControlMessages};

/// A UDP socket that may broadcast and shares its port with others (`SO_REUSEADDR`).
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

/// What came with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes written to the buffer.
    pub length: usize,
    /// Length of the whole datagram: more than `length` if the buffer was too short.
    pub whole_length: usize,
    /// Who sent it.
    pub source: SocketAddrV4,
    /// Index of the interface it arrived on.
    pub interface: u32,
    /// The destination address in its IP header: one of ours, a broadcast or a group.
    pub destination: Ipv4Addr,
}

impl Socket {
    /// Opens a socket bound to `local`, and to the interface with this index if one is given.
    ///
    /// Ports below 1024 need `CAP_NET_BIND_SERVICE`.
    pub fn bind(local: SocketAddrV4, interface: Option<u32>) -> io::Result<Self> {
        let fd = socket::open(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP)?;
        let this = Self { fd };
        socket::set(this.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        socket::set(this.as_fd(), libc::SOL_SOCKET, libc::SO_BROADCAST, 1)?;
        socket::set(this.as_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        if let Some(interface) = interface {
            let index = i32::try_from(interface)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            // Before bind(2): else sockets on other interfaces would conflict.
            socket::set(this.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, index)?;
        }
        socket::bind(this.as_fd(), &name(local))?;
        Ok(this)
    }

    /// The address the socket is bound to.
    pub fn local_address(&self) -> io::Result<SocketAddrV4> {
        let mut local = [0_u8; 16];
        socket::local_name(self.as_fd(), &mut local)?;
        Ok(address(local))
    }

    /// Sets the type-of-service byte of what is sent (`IP_TOS`).
    pub fn set_type_of_service(&self, value: u8) -> io::Result<()> {
        socket::set(self.as_fd(), libc::IPPROTO_IP, libc::IP_TOS, i32::from(value))
    }

    /// Receives one datagram. `WouldBlock` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = ControlBuffer::new();
        let mut name = [0_u8; 16];
        let received =
            socket::receive(self.as_fd(), buffer, &mut name, &mut control.0, libc::MSG_TRUNC)?;
        // struct in_pktinfo: interface index, local address, destination address.
        let information = ControlMessages::new(&control, &received)
            .find(libc::IPPROTO_IP, libc::IP_PKTINFO)
            .and_then(<[u8]>::first_chunk::<12>);
        let (interface, destination) = match information {
            Some(&[i0, i1, i2, i3, _, _, _, _, a, b, c, d]) => {
                (u32::from_ne_bytes([i0, i1, i2, i3]), Ipv4Addr::new(a, b, c, d))
            }
            None => (0, Ipv4Addr::UNSPECIFIED),
        };
        Ok(Received {
            length: received.length.min(buffer.len()),
            whole_length: received.length,
            source: address(name),
            interface,
            destination,
        })
    }

    /// Has the kernel report when a datagram sent from now on leaves: when it is handed to the
    /// interface's queue, after the link address of its next hop was found. The socket polls as in
    /// error (`POLLERR`) while [`has_left`](Self::has_left) has something to tell.
    ///
    /// That is `SOF_TIMESTAMPING_TX_SCHED` (Documentation/networking/timestamping.rst), which does
    /// not depend on the driver.
    pub fn report_leaving(&self) -> io::Result<()> {
        // The datagram itself is not wanted back; without it, no privilege is needed.
        let flags = libc::SOF_TIMESTAMPING_TX_SCHED | libc::SOF_TIMESTAMPING_OPT_TSONLY;
        socket::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags as i32)
    }

    /// Whether a datagram has left of which this was not said yet. Fails with an error that the
    /// socket has met.
    pub fn has_left(&self) -> io::Result<bool> {
        let mut control = ControlBuffer::new();
        let report =
            socket::receive(self.as_fd(), &mut [], &mut [], &mut control.0, libc::MSG_ERRQUEUE);
        match report {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket::pending_error(self.as_fd())?.map_or(Ok(false), Err)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends one datagram, from `source` and through `interface` where these are given; otherwise
    /// routing chooses.
    ///
    /// Naming the interface reaches a neighbour (or `255.255.255.255`) without any route.
    pub fn send_to(
        &self,
        payload: &[u8],
        destination: SocketAddrV4,
        source: Option<Ipv4Addr>,
        interface: Option<u32>,
    ) -> io::Result<()> {
        let mut control = Vec::new();
        if source.is_some() || interface.is_some() {
            let mut information = Vec::with_capacity(12);
            information.extend_from_slice(&interface.unwrap_or(0).to_ne_bytes());
            information.extend_from_slice(&source.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
            information.extend_from_slice(&[0; 4]);
            socket::push_control(&mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, &information);
        }
        socket::send(self.as_fd(), payload, &name(destination), &control, 0)?;
        Ok(())
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

/// A `sockaddr_in` in the kernel's layout.
fn name(address: SocketAddrV4) -> [u8; 16] {
    let [f0, f1] = (libc::AF_INET as u16).to_ne_bytes();
    let [p0, p1] = address.port().to_be_bytes();
    let [a, b, c, d] = address.ip().octets();
    [f0, f1, p0, p1, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn address(name: [u8; 16]) -> SocketAddrV4 {
    let [_, _, p0, p1, a, b, c, d, ..] = name;
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p0, p1]))
}
