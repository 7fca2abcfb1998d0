//! What a socket is that somebody else made: a descriptor received, say.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::socket;

pub use libc::{
    AF_INET, AF_INET6, IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM,
};

/// What the kernel says of a socket, whatever its owner says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// `AF_*` (`SO_DOMAIN`).
    pub domain: i32,
    /// `SOCK_*` (`SO_TYPE`).
    pub kind: i32,
    /// `IPPROTO_*` (`SO_PROTOCOL`).
    pub protocol: i32,
    /// The cookie of its network namespace, as [`namespace::network_cookie`] has it for the calling
    /// thread's; `None` before Linux 5.14.
    ///
    /// [`namespace::network_cookie`]: crate::namespace::network_cookie
    pub network: Option<u64>,
    /// A number that no other socket has while the machine is up (`SO_COOKIE`).
    pub cookie: u64,
    /// Its local port, if it is an IPv4 or IPv6 socket that has one.
    pub port: Option<u16>,
}

/// What never changes of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `AF_*` (`SO_DOMAIN`).
    pub domain: i32,
    /// `SOCK_*` (`SO_TYPE`).
    pub kind: i32,
    /// `IPPROTO_*` (`SO_PROTOCOL`).
    pub protocol: i32,
}

/// What never changes of a socket. Waits for nobody: none of these options takes the socket's lock
/// (`sk_getsockopt` of net/core/sock.c). `ENOTSOCK` if it is something else.
pub fn kind(socket: impl AsFd) -> io::Result<Kind> {
    let fd = socket.as_fd();
    Ok(Kind {
        domain: number(fd, libc::SO_DOMAIN)?,
        kind: number(fd, libc::SO_TYPE)?,
        protocol: number(fd, libc::SO_PROTOCOL)?,
    })
}

/// Describes a socket. `ENOTSOCK` if it is something else; `EBADF` if it only stands for a path
/// (`O_PATH`).
///
/// The port takes getsockname(2), which waits for whoever has the socket's lock, and no signal ends
/// that: somebody who sends from memory that is not there (a mapping of a FUSE file) has it for as long
/// as they want. A stranger's socket is described where that holds up nobody else.
pub fn describe(socket: impl AsFd) -> io::Result<Description> {
    let fd = socket.as_fd();
    let domain = number(fd, libc::SO_DOMAIN)?;
    Ok(Description {
        domain,
        kind: number(fd, libc::SO_TYPE)?,
        protocol: number(fd, libc::SO_PROTOCOL)?,
        network: cookie(fd, libc::SO_NETNS_COOKIE).ok(),
        cookie: cookie(fd, libc::SO_COOKIE)?,
        port: if matches!(domain, AF_INET | AF_INET6) { port(fd)? } else { None },
    })
}

/// `struct sockaddr_in` and `struct sockaddr_in6` both have the port after the family, in the
/// network's order.
fn port(fd: BorrowedFd<'_>) -> io::Result<Option<u16>> {
    let mut name = [0_u8; 28];
    socket::local_name(fd, &mut name)?;
    let [_, _, high, low, ..] = name;
    Ok(Some(u16::from_be_bytes([high, low])).filter(|port| *port != 0))
}

fn number(fd: BorrowedFd<'_>, option: libc::c_int) -> io::Result<i32> {
    let mut value = [0_u8; 4];
    socket::read_bytes(fd, libc::SOL_SOCKET, option, &mut value)?;
    Ok(i32::from_ne_bytes(value))
}

fn cookie(fd: BorrowedFd<'_>, option: libc::c_int) -> io::Result<u64> {
    let mut value = [0_u8; 8];
    socket::read_bytes(fd, libc::SOL_SOCKET, option, &mut value)?;
    Ok(u64::from_ne_bytes(value))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::namespace::{in_new_network, network_cookie};

    #[test]
    fn sockets_of_programs_are_what_they_are() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let described = describe(&listener).unwrap();
        let expected = Description {
            domain: AF_INET,
            kind: SOCK_STREAM,
            protocol: IPPROTO_TCP,
            network: network_cookie().ok(),
            cookie: described.cookie,
            port: Some(listener.local_addr().unwrap().port()),
        };
        assert_eq!(described, expected);
        assert_eq!(describe(listener.try_clone().unwrap()).unwrap(), expected, "the same socket");

        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let described = describe(&udp).unwrap();
        assert_eq!(
            (described.domain, described.kind, described.protocol),
            (AF_INET6, SOCK_DGRAM, IPPROTO_UDP)
        );
        assert_eq!(described.port, Some(udp.local_addr().unwrap().port()));
        assert_ne!(described.cookie, expected.cookie);
    }

    #[test]
    fn an_unbound_socket_has_no_port_and_others_never_have() {
        let unbound = socket::open(AF_INET6, SOCK_STREAM, 0).unwrap();
        let described = describe(&unbound).unwrap();
        assert_eq!((described.protocol, described.port), (IPPROTO_TCP, None));
        let (unix, _other) = UnixStream::pair().unwrap();
        assert_eq!(describe(&unix).unwrap().domain, libc::AF_UNIX);
        assert_eq!(describe(&unix).unwrap().port, None);
    }

    #[test]
    fn mptcp_is_told_from_tcp() {
        match socket::open(AF_INET, SOCK_STREAM, IPPROTO_MPTCP) {
            Ok(socket) => assert_eq!(describe(&socket).unwrap().protocol, IPPROTO_MPTCP),
            Err(error) => eprintln!("SKIPPED: mptcp_is_told_from_tcp: {error}"),
        }
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        let error = describe(File::open("/dev/null").unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
    }

    #[test]
    fn a_socket_stays_in_its_namespace() {
        if !crate::process::is_root() {
            eprintln!("SKIPPED: a_socket_stays_in_its_namespace: needs root");
            return;
        }
        let (there, socket) = in_new_network(|| {
            (network_cookie().unwrap(), socket::open(AF_INET, SOCK_DGRAM, 0).unwrap())
        })
        .unwrap();
        assert_eq!(describe(&socket).unwrap().network, Some(there));
        assert_ne!(there, network_cookie().unwrap());
    }
}
