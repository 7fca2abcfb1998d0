//! Packets on their way in.

use std::io;

use engine::Engine as _;
use wire::arp;
use wire::udp::{ChecksumPolicy, parse_ipv4_udp};

use super::Leases;
use super::roster::{ClientKey, Input};
use crate::clock;

/// Packets taken from one socket before others have their turn.
const TURN: usize = 16;
/// The longest packet that is looked at; longer ones are cut, and then refused by the decoder. A
/// server may not exceed the size the client states, which is far below.
pub(super) const BUFFER: usize = 16 * 1024;

impl Leases {
    pub(super) fn on_packet(&mut self, client: ClientKey) {
        for _ in 0..TURN {
            let sockets = self.sockets.get(&client);
            let Some(socket) = sockets.and_then(|sockets| sockets.packet.as_ref()) else { return };
            let received = match socket.receive(&mut self.buffer) {
                Ok(received) => received,
                Err(error) => return self.on_receive_error(client, &error),
            };
            let bytes = self.buffer.get(..received.length).unwrap_or_default();
            let policy = match received.checksum_not_ready {
                true => ChecksumPolicy::Ignore,
                false => ChecksumPolicy::Verify,
            };
            match parse_ipv4_udp(bytes, policy) {
                Ok((header, datagram)) => {
                    let (source, payload) = (header.source, datagram.payload());
                    self.roster.handle(Input::Message { client, source, payload }, clock::now());
                    self.drain();
                }
                Err(error) => self.on_malformed(client, "dhcp", &error),
            }
        }
    }

    pub(super) fn on_udp(&mut self, client: ClientKey) {
        for _ in 0..TURN {
            let sockets = self.sockets.get(&client);
            let Some(socket) = sockets.and_then(|sockets| sockets.udp.as_ref()) else { return };
            let received = match socket.receive(&mut self.buffer) {
                Ok(received) => received,
                Err(error) => return self.on_receive_error(client, &error),
            };
            let payload = self.buffer.get(..received.length).unwrap_or_default();
            let source = *received.source.ip();
            self.roster.handle(Input::Message { client, source, payload }, clock::now());
            self.drain();
        }
    }

    pub(super) fn on_arp(&mut self, client: ClientKey) {
        for _ in 0..TURN {
            let sockets = self.sockets.get(&client);
            let Some(socket) = sockets.and_then(|sockets| sockets.arp.as_ref()) else { return };
            let received = match socket.receive(&mut self.buffer) {
                Ok(received) => received,
                Err(error) => return self.on_receive_error(client, &error),
            };
            let bytes = self.buffer.get(..received.length).unwrap_or_default();
            match arp::Packet::parse(bytes) {
                Ok(packet) => {
                    self.roster.handle(Input::Arp { client, packet: &packet }, clock::now());
                    self.drain();
                }
                Err(error) => self.on_malformed(client, "arp", &error),
            }
        }
    }

    fn on_malformed(&mut self, client: ClientKey, protocol: &str, error: &dyn std::fmt::Display) {
        self.counters.add("packets_malformed", &[("protocol", protocol.to_owned())], 1);
        tracing::debug!("{}: packet not used: {error}", self.roster.name(client.ifindex));
    }

    /// Errors of a socket are logged once each and change nothing: the link's state comes from the
    /// kernel's notifications.
    fn on_receive_error(&mut self, client: ClientKey, error: &io::Error) {
        if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            self.counters.count("packet_receive_failed");
            tracing::debug!("{}: {error}", self.roster.name(client.ifindex));
        }
    }
}
