//! The sockets of one interface: opened only as the engine's `Listen` says.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use dhcp::v4::{ArpListen, DhcpListen, Listen};
use sys::bpf::Filter;
use sys::packet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, Reaper};
use sys::udp;

use super::poller::{Poller, Ready};
use crate::host::LinkRow;

/// Port of DHCP clients (RFC 2131 section 4.1).
pub(super) const CLIENT_PORT: u16 = 68;
/// Port of DHCP servers.
pub(super) const SERVER_PORT: u16 = 67;

/// CS6, network control, as systemd and dhcpcd send (RFC 4594 section 3.2).
pub(super) const TYPE_OF_SERVICE: u8 = 0xc0;

/// What is open.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) packet: Option<packet::Socket>,
    pub(super) udp: Option<udp::Socket>,
    pub(super) arp: Option<packet::Socket>,
    arp_listen: ArpListen,
}

impl Sockets {
    /// Opens and closes what it takes to receive exactly `listen`. On an error the rest is as asked.
    pub(super) fn listen(
        &mut self,
        listen: Listen,
        link: &LinkRow,
        poller: &Poller,
        reaper: Option<&Reaper>,
    ) -> io::Result<()> {
        let dhcp = self.listen_dhcp(listen.dhcp, link, poller, reaper);
        let arp = self.listen_arp(listen.arp, link, poller, reaper);
        dhcp.and(arp)
    }

    /// Closes everything.
    pub(super) fn close(&mut self, poller: &Poller, reaper: Option<&Reaper>) {
        close(&mut self.packet, poller, reaper);
        close(&mut self.arp, poller, reaper);
        self.udp = None;
        self.arp_listen = ArpListen::Off;
    }

    fn listen_dhcp(
        &mut self,
        listen: DhcpListen,
        link: &LinkRow,
        poller: &Poller,
        reaper: Option<&Reaper>,
    ) -> io::Result<()> {
        // The new socket opens before the old one closes: an answer on its way meets one of them.
        match listen {
            DhcpListen::Off => {}
            DhcpListen::Packet if self.packet.is_none() => {
                let filter = Filter::dhcp_client();
                let socket = packet::Socket::open(link.index, ETHERTYPE_IPV4, &filter)?;
                poller.add(&socket, Ready::Packet(link.index))?;
                self.packet = Some(socket);
            }
            DhcpListen::Udp if self.udp.is_none() => {
                let socket = client_socket(Ipv4Addr::UNSPECIFIED, link.index)?;
                poller.add(&socket, Ready::Udp(link.index))?;
                self.udp = Some(socket);
            }
            DhcpListen::Packet | DhcpListen::Udp => {}
        }
        if listen != DhcpListen::Packet {
            close(&mut self.packet, poller, reaper);
        }
        if listen != DhcpListen::Udp {
            self.udp = None;
        }
        Ok(())
    }

    fn listen_arp(
        &mut self,
        listen: ArpListen,
        link: &LinkRow,
        poller: &Poller,
        reaper: Option<&Reaper>,
    ) -> io::Result<()> {
        if listen == self.arp_listen {
            return Ok(());
        }
        let own = link.hardware.as_bytes();
        let filter = match listen {
            ArpListen::Off => {
                close(&mut self.arp, poller, reaper);
                self.arp_listen = listen;
                return Ok(());
            }
            ArpListen::Conflicts(address) => Filter::arp_conflict(address, own),
            // While a router is being asked, everything it and the address's users say.
            ArpListen::ConflictsAnd(address, router) => {
                Filter::arp_from(&[address, router], own.len() as u8)
            }
        };
        match &self.arp {
            Some(socket) => socket.set_filter(&filter)?,
            None => {
                let socket = packet::Socket::open(link.index, ETHERTYPE_ARP, &filter)?;
                poller.add(&socket, Ready::Arp(link.index))?;
                self.arp = Some(socket);
            }
        }
        self.arp_listen = listen;
        Ok(())
    }
}

/// A UDP socket on the client's port of one interface.
pub(super) fn client_socket(source: Ipv4Addr, interface: u32) -> io::Result<udp::Socket> {
    let socket = udp::Socket::bind(SocketAddrV4::new(source, CLIENT_PORT), Some(interface))?;
    // Without it the packet leaves all the same.
    let _ = socket.set_type_of_service(TYPE_OF_SERVICE);
    Ok(socket)
}

fn close(socket: &mut Option<packet::Socket>, poller: &Poller, reaper: Option<&Reaper>) {
    if let Some(socket) = socket.take() {
        poller.remove(&socket);
        match reaper {
            Some(reaper) => reaper.close(socket),
            None => drop(socket),
        }
    }
}
