use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ::tables::Machine;
use netlink::kernel::{
    RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_LINK,
};
use netlink::{Messages, Row, address, link, route};
use sys::netlink::{BUFFER_SIZE, NETLINK_ROUTE, Received, Socket};

use super::tables::{AddressRow, LinkRow, RouteRow};

/// Room for the notifications of a thousand interfaces that come and get their addresses at once.
const QUEUE: usize = 8 << 20;

/// A change the kernel told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// An interface is new or changed.
    Link(LinkRow),
    /// An interface is gone, or went to another namespace.
    LinkGone(u32),
    /// An address is new or changed.
    Address(AddressRow),
    /// Somebody else removed an address, or its lifetime ended.
    AddressGone(AddressRow),
    /// Somebody else's address went along with one that we removed.
    AddressTakenAlong(AddressRow),
    /// Somebody else removed a DHCP client's route.
    RouteGone(RouteRow),
    /// Some were lost: read the tables again.
    Lost,
}

/// Notifications about interfaces, IPv4 addresses and IPv4 routes.
#[derive(Debug)]
pub(crate) struct Notices {
    socket: Socket,
    /// The port of the socket that makes our own changes.
    own_port: u32,
    machine: Machine,
}

impl Notices {
    /// Subscribes, in the calling thread's network namespace.
    pub(crate) fn open(own_port: u32) -> io::Result<Self> {
        let socket = Socket::open(NETLINK_ROUTE)?;
        socket.set_receive_buffer(QUEUE)?;
        for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE] {
            socket.join(group)?;
        }
        Ok(Self { socket, own_port, machine: Machine::local() })
    }

    /// Receives what has come, one datagram after the other, at most `most` of them. Removals that
    /// we asked for ourselves are left out.
    pub(crate) fn receive(&self, most: usize, mut notice: impl FnMut(Notice)) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_SIZE];
        for _ in 0..most {
            match self.socket.receive(&mut buffer) {
                Ok(Received::Datagram(length)) => {
                    self.take(buffer.get(..length).unwrap_or_default(), &mut notice);
                }
                Ok(Received::Truncated(_) | Received::Overrun) => notice(Notice::Lost),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&self, datagram: &[u8], notice: &mut impl FnMut(Notice)) {
        for message in Messages::new(datagram) {
            let Ok(message) = message else { return notice(Notice::Lost) };
            let ours = message.port == self.own_port;
            if let Some(view) = link::Link::view(&message) {
                match view {
                    Ok(view) if message.kind == RTM_DELLINK => notice(Notice::LinkGone(view.index)),
                    Ok(view) => notice(Notice::Link(LinkRow::new(&view, &self.machine))),
                    Err(_) => notice(Notice::Lost),
                }
            } else if let Some(view) = address::Address::view(&message) {
                let row = view.ok().map(|row| AddressRow::new(&row));
                match (row, message.kind == RTM_DELADDR) {
                    (Some(row), false) => notice(Notice::Address(row)),
                    (Some(row), true) if !ours => notice(Notice::AddressGone(row)),
                    (Some(row), true) if !row.is_ours => notice(Notice::AddressTakenAlong(row)),
                    _ => {}
                }
            } else if message.kind == RTM_DELROUTE
                && !ours
                && let Some(Ok(view)) = route::Route::view(&message)
                && let Some(row) = RouteRow::new(&view)
            {
                notice(Notice::RouteGone(row));
            }
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
