//! The transport that reaches the kernel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use sys::netlink::{NETLINK_GENERIC, NETLINK_ROUTE, NETLINK_SOCK_DIAG, Socket};

use super::{Connection, Monitor, Received, Transport};

/// Room for the notifications of 2,000 interfaces made at once (12.9 MB), with the kernel's
/// overhead.
const MONITOR_QUEUE: usize = 32 * 1024 * 1024;

impl Transport for Socket {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        Self::send(self, datagram)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<Received> {
        Ok(match self.receive_within(buffer, timeout)? {
            sys::netlink::Received::Datagram(length) => Received::Datagram(length),
            sys::netlink::Received::Truncated(length) => Received::Truncated(length),
            sys::netlink::Received::Overrun => Received::Overrun,
        })
    }
}

impl Connection<Socket> {
    /// Opens a connection to the kernel, in the calling thread's network namespace, where it stays.
    pub fn open() -> io::Result<Self> {
        Ok(Self::new(Socket::open(NETLINK_ROUTE)?))
    }

    /// Opens a connection to the families of generic netlink, in the same way.
    pub fn open_generic() -> io::Result<Self> {
        Ok(Self::new(Socket::open(NETLINK_GENERIC)?))
    }

    /// Opens a connection to the tables of sockets, in the same way.
    pub fn open_sock_diag() -> io::Result<Self> {
        Ok(Self::new(Socket::open(NETLINK_SOCK_DIAG)?))
    }
}

impl Monitor<Socket> {
    /// Subscribes to groups (`RTNLGRP_*`, see [`kernel`](crate::kernel)) in the calling thread's
    /// network namespace.
    ///
    /// With `CAP_NET_ADMIN` the queue holds 32 MiB, otherwise what the system allows. Groups that
    /// this kernel does not have are left out: see [`absent`](Self::absent).
    pub fn open(groups: &[u32]) -> io::Result<Self> {
        let socket = Socket::open(NETLINK_ROUTE)?;
        socket.set_receive_buffer(MONITOR_QUEUE)?;
        let mut absent = Vec::new();
        for group in groups {
            match socket.join(*group) {
                // Groups are numbered in the order they came into the kernel.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => absent.push(*group),
                outcome => outcome?,
            }
        }
        Ok(Self::new(socket).without(&absent))
    }
}

impl AsFd for Monitor<Socket> {
    /// Readable when there is something to [`receive`](Monitor::receive).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport().as_fd()
    }
}
