//! Which ports are taken, and by which sockets.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use netlink::inet_diag::{self, InetSocket, Query, State, States};
use netlink::kernel::EINVAL;
use netlink::{Connection, Error, Family, Reason};
use ports::{Block, Protocol, guard};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use sys::netlink::Socket;

use super::sysctl::PortSet;

/// A socket that sits on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    /// Of which protocol. A subflow of MPTCP is a TCP socket, and has the inode of its MPTCP socket.
    pub protocol: Protocol,
    /// The kernel's row.
    pub socket: InetSocket,
}

/// A port that cannot be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conflict {
    /// The lowest there is.
    pub port: u16,
    /// Who has it; `None` where the kernel would not say.
    pub holder: Option<Holder>,
}

/// What looks at the ports of one network namespace.
#[derive(Debug)]
pub(super) struct Scanner {
    connection: Connection<Socket>,
    /// Sockets that the kernel keeps silent about.
    hidden: Hidden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hidden {
    None,
    /// TCP sockets that are bound and nothing else: before Linux 6.8.
    Bound,
    /// All: the kernel has no `inet_diag`.
    All,
}

/// Ports that are tried to find out what the kernel shows.
const FIRST_PROBED: u16 = 1_024;
const APART: usize = 97;

impl Scanner {
    /// Looks at the network namespace of the calling thread, from whichever thread later.
    ///
    /// Binds a socket to some port for a moment, to find out what the kernel shows.
    pub(super) fn open() -> io::Result<Self> {
        let mut this = Self { connection: Connection::open_sock_diag()?, hidden: Hidden::None };
        this.hidden = this.probe();
        Ok(this)
    }

    /// All sockets with a local port of the range, by port. Both protocols unless one is named.
    ///
    /// The tables change while they are read: what comes or goes meanwhile may be there or not.
    ///
    /// With the guard's map of sockets each comes with what the guard
    /// [knows of it](Holder::guarded), which takes `CAP_BPF`.
    pub(super) fn holders(
        &mut self,
        protocol: Option<Protocol>,
        ports: RangeInclusive<u16>,
        sockets: Option<BorrowedFd<'_>>,
    ) -> Result<Vec<Holder>, Error> {
        let mut holders = Vec::new();
        for each in [Protocol::Tcp, Protocol::Udp] {
            if protocol.is_none_or(|protocol| protocol == each) {
                self.list(each, States::ALL, &ports, sockets, &mut holders)?;
            }
        }
        // Stable: IPv4 before IPv6, as they were read.
        holders.sort_by_key(|holder| (holder.port(), holder.rank()));
        Ok(holders)
    }

    /// The lowest port of the block that a socket sits on. Connections that are over and only
    /// remembered (`TIME_WAIT`) do not count.
    ///
    /// Where the kernel does not list all sockets, ports are found to be taken by binding to them:
    /// `admit` is called with each socket before that, for a guard not to stand in the way.
    pub(super) fn first_conflict(
        &mut self,
        protocol: Protocol,
        block: Block,
        admit: impl FnMut(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<Option<Conflict>, Error> {
        let mut holders = Vec::new();
        if self.hidden != Hidden::All {
            self.list(protocol, present(), &block.ports(), None, &mut holders)?;
        }
        let listed = holders
            .into_iter()
            .min_by_key(|holder| (holder.port(), holder.rank()))
            .map(|holder| Conflict { port: holder.port(), holder: Some(holder) });
        if !self.hides(protocol) {
            return Ok(listed);
        }
        // Below the one that is known.
        let end = listed.map_or(block.last(), |conflict| conflict.port.saturating_sub(1));
        let tried = try_ports(protocol, block.start()..=end, admit)?;
        Ok(tried.map(|port| Conflict { port, holder: None }).or(listed))
    }

    /// All ports that a socket sits on, those that are only remembered left out, and on old kernels
    /// those of TCP sockets that are bound and nothing else.
    pub(super) fn ports_in_use(&mut self, protocol: Protocol) -> Result<PortSet, Error> {
        let mut holders = Vec::new();
        self.list(protocol, present(), &(0..=u16::MAX), None, &mut holders)?;
        let ports: BTreeSet<u16> = holders.iter().map(Holder::port).collect();
        Ok(ports.into_iter().map(|port| port..=port).collect())
    }

    /// Ends the sockets on ports of the block, and returns how many there were.
    ///
    /// Their connections are reset, listeners listen no more, and the next call of their programs
    /// fails. A port that was bound by name stays bound until its program closes the descriptor.
    /// TCP sockets that are bound and nothing else are not found by the kernel, and stay; so do
    /// listeners of MPTCP.
    ///
    /// Needs a kernel made with `INET_DIAG_DESTROY`.
    pub(super) fn kill(&mut self, protocol: Protocol, block: Block) -> Result<u32, Error> {
        let mut holders = Vec::new();
        self.list(protocol, present(), &block.ports(), None, &mut holders)?;
        let requests: Vec<_> =
            holders.iter().map(|holder| holder.socket.destroy(diag(protocol))).collect();
        let mut killed = 0;
        for outcome in self.connection.request_all(&requests) {
            match outcome {
                Ok(()) => killed += 1,
                // Gone by itself, or one of those that the kernel does not find.
                Err(error) if error.reason() == Some(Reason::NotFound) => {}
                // The kernel leaves listeners of MPTCP alone (`tcp_abort_override`).
                Err(error) if error.code() == Some(EINVAL) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(killed)
    }

    fn list(
        &mut self,
        protocol: Protocol,
        states: States,
        ports: &RangeInclusive<u16>,
        sockets: Option<BorrowedFd<'_>>,
        holders: &mut Vec<Holder>,
    ) -> Result<(), Error> {
        for family in [Family::Ipv4, Family::Ipv6] {
            let mut query = Query::new(diag(protocol), family).states(states).ports(ports.clone());
            if let Some(sockets) = sockets {
                query = query.storage(sockets.as_raw_fd());
            }
            let rows = self.connection.dump::<InetSocket>(&query.dump())?;
            holders.extend(rows.into_iter().map(|socket| Holder { protocol, socket }));
        }
        Ok(())
    }

    fn hides(&self, protocol: Protocol) -> bool {
        match self.hidden {
            Hidden::None => false,
            Hidden::Bound => protocol == Protocol::Tcp,
            Hidden::All => true,
        }
    }

    /// Finds out what the kernel shows: a socket that is bound and nothing else, or nothing.
    fn probe(&mut self) -> Hidden {
        // The kernel has no port to give where all of its range is reserved; some other may be free.
        let mut ports = [0].into_iter().chain((FIRST_PROBED..=u16::MAX).rev().step_by(APART));
        let bound = ports.find_map(|port| {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            let socket = bind(Protocol::Tcp, any, false).ok()?;
            Some((sys::inet::describe(&socket).ok()?.port?, socket))
        });
        // Without one, which takes a host without a free port, what is hidden has to be assumed.
        let port = bound.as_ref().map_or(0, |(port, _)| *port);
        let mut found = Vec::new();
        match self.list(Protocol::Tcp, States::BOUND, &(port..=port), None, &mut found) {
            Err(error) => {
                tracing::info!("sockets are not listed: {error}");
                Hidden::All
            }
            Ok(()) if found.is_empty() => Hidden::Bound,
            Ok(()) => Hidden::None,
        }
    }
}

impl Holder {
    /// Its local port.
    pub(super) fn port(&self) -> u16 {
        self.socket.local.port()
    }

    /// Its local address.
    pub(super) fn address(&self) -> IpAddr {
        self.socket.local.ip()
    }

    /// What it does there: `listen`, `established`, `bound` and so on, as [`State`] has it.
    pub(super) fn state(&self) -> String {
        match (self.protocol, self.socket.state) {
            // A TCP socket with a port that does nothing with it.
            (Protocol::Tcp, State::CLOSED) => "bound".to_owned(),
            (_, state) => state.to_string(),
        }
    }

    /// The inode of its descriptors, if it has any.
    pub(super) fn inode(&self) -> Option<u32> {
        Some(self.socket.inode).filter(|inode| *inode != 0)
    }

    /// Its owner, where the kernel knows one: it says 0 for connections without a descriptor.
    pub(super) fn uid(&self) -> Option<u32> {
        let uid = self.socket.uid;
        (uid != 0 || self.socket.inode != 0).then_some(uid)
    }

    /// What the guard's programs know of it. The kernel says so of TCP sockets that listen or are
    /// connected alone; of accepted connections nothing is known.
    pub(super) fn guarded(&self) -> Option<guard::Socket> {
        guard::Socket::from_bytes(&self.socket.storage?)
    }

    /// Whether it is a connection of TCP, which may have its port from the socket that listens.
    pub(super) fn is_connection(&self) -> bool {
        self.protocol == Protocol::Tcp
            && !matches!(self.socket.state, State::LISTEN | State::CLOSED)
    }

    /// Whoever listens answers for a port.
    fn rank(&self) -> u8 {
        match self.socket.state {
            State::LISTEN => 0,
            State::CLOSED => 1,
            State::TIME_WAIT => 3,
            _ => 2,
        }
    }
}

/// All states in which a socket keeps others off its port.
fn present() -> States {
    States::ALL.without(State::TIME_WAIT)
}

fn diag(protocol: Protocol) -> inet_diag::Protocol {
    match protocol {
        Protocol::Tcp => inet_diag::Protocol::Tcp,
        Protocol::Udp => inet_diag::Protocol::Udp,
    }
}

/// The lowest port of the range that cannot be bound to, on all addresses.
fn try_ports(
    protocol: Protocol,
    mut ports: RangeInclusive<u16>,
    mut admit: impl FnMut(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<Option<u16>> {
    for port in &mut ports {
        let mut taken = |reuse| match bind_admitted(protocol, port, reuse, &mut admit) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(true),
            Err(error) => Err(error),
        };
        // A connection that is only remembered is in the way of those alone that do not say reuse.
        if taken(false)? && (protocol == Protocol::Udp || taken(true)?) {
            return Ok(Some(port));
        }
    }
    Ok(None)
}

/// Binds to a port on all addresses: of both families, or of IPv4 where there is no IPv6.
fn bind_admitted(
    protocol: Protocol,
    port: u16,
    reuse: bool,
    admit: &mut impl FnMut(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let attempt = |address: IpAddr, admit: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>| {
        let address = SocketAddr::new(address, port);
        let socket = open(protocol, address, reuse)?;
        admit(socket.as_fd())?;
        net::bind(&socket, &address)?;
        Ok(socket)
    };
    match attempt(Ipv6Addr::UNSPECIFIED.into(), admit) {
        Err(error)
            if [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
                .contains(&Errno::from_io_error(&error).unwrap_or(Errno::IO)) =>
        {
            attempt(Ipv4Addr::UNSPECIFIED.into(), admit)
        }
        result => result,
    }
}

fn bind(protocol: Protocol, address: SocketAddr, reuse: bool) -> io::Result<OwnedFd> {
    let socket = open(protocol, address, reuse)?;
    net::bind(&socket, &address)?;
    Ok(socket)
}

/// A socket that takes IPv4 as well if it is one of IPv6.
fn open(protocol: Protocol, address: SocketAddr, reuse: bool) -> io::Result<OwnedFd> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    if reuse {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests;
