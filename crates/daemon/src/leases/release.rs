//! RELEASEs on their way out, each with a socket of its own: the kernel reports there by itself that
//! the packet has left. Nothing is looked at again and again.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use dhcp::v4::Transmit;
use engine::Refused;
use sys::udp;
use wire::dhcpv4::Message;

use super::Leases;
use super::poller::Ready;
use super::roster::{ClientKey, Input};
use super::sockets::{SERVER_PORT, client_socket};
use crate::refusal::refused;

impl Leases {
    /// Puts a RELEASE on the wire. That it has left is an input at once, or when the kernel says so.
    pub(super) fn release(&mut self, client: ClientKey, transmit: Transmit) {
        let has_left = match transmit {
            Transmit::Unicast { source, destination, message } => {
                self.start_leaving(client, source, destination, &message)
            }
            other => self.transmit(client, other).map(|()| true),
        };
        match has_left {
            Ok(true) => self.results.push_back(Input::Released { client, result: Ok(()) }),
            Ok(false) => {}
            Err(error) => {
                self.counters.count("dhcp_send_failed");
                let result = Err(not_sent(&error));
                self.results.push_back(Input::Released { client, result });
            }
        }
    }

    /// Sends it, and returns whether it has left already.
    fn start_leaving(
        &mut self,
        client: ClientKey,
        source: Ipv4Addr,
        server: Ipv4Addr,
        message: &Message,
    ) -> io::Result<bool> {
        // One of its own, also while the lease is being extended: what is reported is its alone.
        let socket = client_socket(source, client.ifindex)?;
        socket.report_leaving()?;
        let to = SocketAddrV4::new(server, SERVER_PORT);
        socket.send_to(&message.emit(), to, Some(source), Some(client.ifindex))?;
        if socket.has_left()? {
            return Ok(true);
        }
        self.poller.add_reports(&socket, Ready::Release(client.ifindex))?;
        self.leaving.insert(client, socket);
        Ok(false)
    }

    /// The kernel has reported of one.
    pub(super) fn on_release(&mut self, client: ClientKey) {
        let result = match self.leaving.get(&client).map(udp::Socket::has_left) {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) => Err(not_sent(&error)),
            Some(Ok(false)) | None => return,
        };
        self.leaving.remove(&client);
        self.tell(Input::Released { client, result });
    }
}

fn not_sent(error: &io::Error) -> Refused {
    refused("it could not be sent", error)
}
