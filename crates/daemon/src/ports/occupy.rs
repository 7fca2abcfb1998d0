//! Binding the sockets that hold reserved ports where there can be no guard.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use ports::Protocol;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

/// Binds a socket to a port on all addresses.
pub(super) fn occupy(protocol: Protocol, port: u16) -> Result<OwnedFd, Errno> {
    match bind(protocol, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
        // A host without IPv6.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
            bind(protocol, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        result => result,
    }
}

fn bind(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let (family, is_ipv6) = match address {
        SocketAddr::V4(_) => (AddressFamily::INET, false),
        SocketAddr::V6(_) => (AddressFamily::INET6, true),
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let open = || {
        let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        if is_ipv6 {
            sockopt::set_ipv6_v6only(&socket, false)?;
        }
        Ok(socket)
    };
    let socket = open()?;
    match (net::bind(&socket, &address), protocol) {
        // A connection that is over and only remembered is no reason to leave the port alone. The
        // option counts for both sides, so it is gone before anybody else could use it.
        (Err(Errno::ADDRINUSE), Protocol::Tcp) => {
            let socket = open()?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            net::bind(&socket, &address)?;
            sockopt::set_socket_reuseaddr(&socket, false)?;
            Ok(socket)
        }
        (result, _) => result.map(|()| socket),
    }
}
