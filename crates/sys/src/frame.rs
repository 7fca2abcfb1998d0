//! Whole frames of one interface, link header included (`packet(7)`, `SOCK_RAW`).
//!
//! For forwarders and captures: every protocol, every destination, in both directions.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::packet::{self, TP_STATUS_CSUMNOTREADY};
use crate::socket::{self, ControlBuffer, ControlMessages};

/// A socket that sees every frame of an interface, and sends frames as they are.
///
/// Needs `CAP_NET_RAW`.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

/// What came with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes written to the buffer.
    pub length: usize,
    /// Length of the whole frame: more than `length` if the buffer was too short.
    pub whole_length: usize,
    /// This host sent the frame, through this interface.
    pub outgoing: bool,
    /// The transport checksum was left for hardware to fill in and is not valid.
    pub checksum_not_ready: bool,
}

impl Socket {
    /// Opens a socket on the interface with this index and makes the interface promiscuous for as
    /// long as the socket is open.
    pub fn open(interface: u32) -> io::Result<Self> {
        // Protocol 0 receives nothing until bind(2) names one and the interface.
        let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        let this = Self { fd };
        socket::set(this.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        let everything = libc::ETH_P_ALL as u16;
        socket::bind(this.as_fd(), &packet::name(interface, everything, &[]))?;
        // struct packet_mreq: interface index, type, address length, address.
        let [i0, i1, i2, i3] = interface.to_ne_bytes();
        let [t0, t1] = (libc::PACKET_MR_PROMISC as u16).to_ne_bytes();
        let membership = [i0, i1, i2, i3, t0, t1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        socket::set_bytes(
            this.as_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            &membership,
        )?;
        Ok(this)
    }

    /// Asks for room for `bytes` of queued frames, beyond the system's limit where permitted.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        let wanted = i32::try_from(bytes).unwrap_or(i32::MAX);
        socket::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, wanted)
            .or_else(|_| socket::set(self.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, wanted))
    }

    /// Receives one frame. `WouldBlock` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = ControlBuffer::new();
        let mut name = [0_u8; 20];
        let received =
            socket::receive(self.as_fd(), buffer, &mut name, &mut control.0, libc::MSG_TRUNC)?;
        let [_, _, _, _, _, _, _, _, _, _, kind, ..] = name;
        let auxiliary = ControlMessages::new(&control, &received)
            .find(libc::SOL_PACKET, libc::PACKET_AUXDATA)
            .and_then(<[u8]>::first_chunk::<4>);
        let status = auxiliary.map_or(0, |status| u32::from_ne_bytes(*status));
        Ok(Received {
            length: received.length.min(buffer.len()),
            whole_length: received.length,
            outgoing: kind == libc::PACKET_OUTGOING,
            checksum_not_ready: status & TP_STATUS_CSUMNOTREADY != 0,
        })
    }

    /// Sends one frame, which starts at the link header, through the interface.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        socket::send(self.as_fd(), frame, &[], &[], 0)?;
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::in_new_network;
    use crate::process::is_root;

    #[test]
    fn opens_on_an_interface_there_is_and_sends_only_when_it_is_up() {
        if !is_root() {
            eprintln!(
                "SKIPPED: opens_on_an_interface_there_is_and_sends_only_when_it_is_up: needs root"
            );
            return;
        }
        in_new_network(|| {
            let loopback = 1;
            let error = Socket::open(loopback).unwrap().send(&[0; 14]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NetworkDown);
            assert!(Socket::open(77).is_err(), "no such interface");
        })
        .unwrap();
    }
}
