//! Packets on their way in.

use std::io;

use dhcp::v4::Input;
use engine::Engine as _;
use wire::arp;
use wire::udp::{ChecksumPolicy, parse_ipv4_udp};

use super::Leases;
use crate::clock;

/// Packets taken from one socket before others have their turn.
const TURN: usize = 16;
/// The longest packet that is looked at; longer ones are cut, and then refused by the decoder. A
/// server may not exceed the size the client states, which is far below.
pub(super) const BUFFER: usize = 16 * 1024;

impl Leases {
    pub(super) fn on_packet(&mut self, index: u32) {
        for _ in 0..TURN {
            let Some(interface) = self.interfaces.get_mut(&index) else { return };
            let Some(socket) = &interface.sockets.packet else { return };
            let received = match socket.receive(&mut self.buffer) {
                Ok(received) => received,
                Err(error) => return self.on_receive_error(index, &error),
            };
            let bytes = self.buffer.get(..received.length).unwrap_or_default();
            let policy = match received.checksum_not_ready {
                true => ChecksumPolicy::Ignore,
                false => ChecksumPolicy::Verify,
            };
            match parse_ipv4_udp(bytes, policy) {
                Ok((header, datagram)) => {
                    let (source, payload) = (header.source, datagram.payload());
                    interface.client.handle(Input::Message { source, payload }, clock::now());
                }
                Err(error) => {
                    self.counters.count("packet.malformed");
                    tracing::debug!("{}: packet not used: {error}", self.name(index));
                }
            }
            self.drain(index);
        }
    }

    pub(super) fn on_udp(&mut self, index: u32) {
        for _ in 0..TURN {
            let Some(interface) = self.interfaces.get_mut(&index) else { return };
            let Some(socket) = &interface.sockets.udp else { return };
            let received = match socket.receive(&mut self.buffer) {
                Ok(received) => received,
                Err(error) => return self.on_receive_error(index, &error),
            };
            let payload = self.buffer.get(..received.length).unwrap_or_default();
            let source = *received.source.ip();
            interface.client.handle(Input::Message { source, payload }, clock::now());
            self.drain(index);
        }
    }

    pub(super) fn on_arp(&mut self, index: u32) {
        for _ in 0..TURN {
            let Some(interface) = self.interfaces.get_mut(&index) else { return };
            let Some(socket) = &interface.sockets.arp else { return };
            let received = match socket.receive(&mut self.buffer) {
                Ok(received) => received,
                Err(error) => return self.on_receive_error(index, &error),
            };
            let bytes = self.buffer.get(..received.length).unwrap_or_default();
            match arp::Packet::parse(bytes) {
                // A host answers for all its addresses on all its interfaces (arp_ignore = 0), so
                // that interfaces on one link seem to dispute each other's.
                Ok(packet) if self.own_hardware.contains_key(&packet.sender_hardware) => {
                    self.counters.count("arp.own");
                }
                Ok(packet) => interface.client.handle(Input::Arp(&packet), clock::now()),
                Err(error) => {
                    self.counters.count("arp.malformed");
                    tracing::debug!("{}: ARP packet not used: {error}", self.name(index));
                }
            }
            self.drain(index);
        }
    }

    /// Errors of a socket are told once each and change nothing: the link's state comes from the
    /// kernel's notifications.
    fn on_receive_error(&mut self, index: u32, error: &io::Error) {
        if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            self.counters.count("receive-failed");
            tracing::debug!("{}: {error}", self.name(index));
        }
    }
}
