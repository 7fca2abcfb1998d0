//! Netlink sockets (`netlink(7)`): bytes in, bytes out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::socket;

/// Routing, links, addresses, neighbours (`rtnetlink(7)`).
pub const NETLINK_ROUTE: i32 = libc::NETLINK_ROUTE;
/// Socket information (`sock_diag(7)`).
pub const NETLINK_SOCK_DIAG: i32 = libc::NETLINK_SOCK_DIAG;
/// Families with names instead of numbers.
pub const NETLINK_GENERIC: i32 = libc::NETLINK_GENERIC;

/// The receive buffer that loses nothing to speed: the kernel never fills a dump datagram beyond
/// 32 KiB.
pub const BUFFER_SIZE: usize = 32 * 1024;

/// A netlink socket that talks to the kernel and to nobody else.
///
/// Strict checking, extended acknowledgements and short acknowledgements are on, where the kernel
/// has them.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    port: u32,
}

/// The outcome of a receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A datagram of this many bytes is in the buffer.
    Datagram(usize),
    /// The datagram had this many bytes, more than the buffer: its tail is gone.
    Truncated(usize),
    /// The kernel had more to say than the socket could hold: messages are lost (`ENOBUFS`).
    Overrun,
}

impl Socket {
    /// Opens a socket of a protocol, such as [`NETLINK_ROUTE`].
    pub fn open(protocol: i32) -> io::Result<Self> {
        let fd = socket::open(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
        // Each came with a kernel release (4.2, 4.12, 4.20): without them dumps are unfiltered and
        // errors have no text, but nothing breaks.
        for option in [libc::NETLINK_CAP_ACK, libc::NETLINK_EXT_ACK, libc::NETLINK_GET_STRICT_CHK] {
            let _ = socket::set(fd.as_fd(), libc::SOL_NETLINK, option, 1);
        }
        // struct sockaddr_nl: family, padding, port, groups. Port 0 lets the kernel choose.
        let [f0, f1] = (libc::AF_NETLINK as u16).to_ne_bytes();
        socket::bind(fd.as_fd(), &[f0, f1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        let mut name = [0_u8; 12];
        socket::local_name(fd.as_fd(), &mut name)?;
        let [_, _, _, _, p0, p1, p2, p3, ..] = name;
        Ok(Self { fd, port: u32::from_ne_bytes([p0, p1, p2, p3]) })
    }

    /// The port identifier the kernel gave this socket. Notifications about this socket's own
    /// requests carry it in their header.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Subscribes to a multicast group, by number (`RTNLGRP_*`).
    pub fn join(&self, group: u32) -> io::Result<()> {
        self.set(libc::NETLINK_ADD_MEMBERSHIP, group as i32)
    }

    /// Ends a subscription.
    pub fn leave(&self, group: u32) -> io::Result<()> {
        self.set(libc::NETLINK_DROP_MEMBERSHIP, group as i32)
    }

    /// Asks for room for `bytes` of queued messages and returns what the kernel granted.
    ///
    /// With `CAP_NET_ADMIN` the system's limit (`net.core.rmem_max`) does not apply.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        let wanted = i32::try_from(bytes).unwrap_or(i32::MAX);
        if socket::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, wanted).is_err() {
            socket::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, wanted)?;
        }
        let mut granted = [0_u8; 4];
        socket::read_bytes(self.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &mut granted)?;
        // The kernel doubles the value for its own overhead, and says the doubled one.
        Ok(usize::try_from(i32::from_ne_bytes(granted)).unwrap_or(0) / 2)
    }

    /// Sends one datagram, of one or more requests, to the kernel.
    pub fn send(&self, requests: &[u8]) -> io::Result<()> {
        let [f0, f1] = (libc::AF_NETLINK as u16).to_ne_bytes();
        let kernel = [f0, f1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        socket::send(self.as_fd(), requests, &kernel, &[], 0)?;
        Ok(())
    }

    /// Receives one datagram from the kernel; those of other processes are thrown away.
    /// `WouldBlock` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            let mut name = [0_u8; 12];
            let result = socket::receive(self.as_fd(), buffer, &mut name, &mut [], libc::MSG_TRUNC);
            let received = match result {
                Ok(received) => received,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Received::Overrun);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let [_, _, _, _, sender @ .., _, _, _, _] = name;
            if sender != [0; 4] {
                continue;
            }
            return Ok(if received.length > buffer.len() {
                Received::Truncated(received.length)
            } else {
                Received::Datagram(received.length)
            });
        }
    }

    /// Like [`receive`](Self::receive), but waits for a datagram until `timeout` is over (`None`:
    /// for ever) and fails with `TimedOut` then.
    pub fn receive_within(
        &self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        // Dumps are produced while they are read, so trying first saves a system call each time.
        let until = timeout.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
        loop {
            match self.receive(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let left = until.map(|at| at.saturating_duration_since(std::time::Instant::now()));
            if !socket::wait(self.as_fd(), libc::POLLIN, left)? {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
        }
    }

    fn set(&self, option: libc::c_int, value: i32) -> io::Result<()> {
        socket::set(self.as_fd(), libc::SOL_NETLINK, option, value)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
