//! The last resort: sockets of ours that sit on the ports, where there can be no guard.
//!
//! They are bound to all addresses and do nothing, so that whoever else binds a port of theirs hears
//! `EADDRINUSE`, with `SO_REUSEADDR` and `SO_REUSEPORT` too. Nobody can be let in.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use engine::{Reason, Refused};
use ports::{Admitted, Block, EffectError, Id, Kind, Protocol, Refusal, Reservation};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::refusal::refused;

/// The sockets, by reservation.
#[derive(Debug, Default)]
pub(super) struct Placeholders {
    held: BTreeMap<Id, Held>,
}

#[derive(Debug)]
struct Held {
    protocol: Protocol,
    sockets: BTreeMap<u16, OwnedFd>,
}

impl Placeholders {
    /// What they cannot do.
    pub(super) const LIMITS: [&str; 4] = [
        "sockets of the daemon sit on the reserved ports: nobody can be let in, by token, user or \
         control group",
        "strangers hear EADDRINUSE, and are not reported",
        "there are no runtime reservations and no dry runs",
        "the ports are free while the daemon does not run",
    ];

    /// Sits on all ports of a block, or on none, with [`EffectError::InUse`] if somebody else has one.
    pub(super) fn insert(&mut self, reservation: &Reservation) -> Result<(), EffectError> {
        check(reservation)?;
        let mut sockets = BTreeMap::new();
        for port in reservation.block.ports() {
            match occupy(reservation.protocol, port) {
                Ok(socket) => _ = sockets.insert(port, socket),
                Err(Errno::ADDRINUSE) => return Err(EffectError::InUse(port)),
                Err(error) => {
                    let what = format_args!("a placeholder on port {port}");
                    return Err(refused(what, &error.into()).into());
                }
            }
        }
        let held = Held { protocol: reservation.protocol, sockets };
        self.held.insert(reservation.id, held);
        Ok(())
    }

    /// Sits on the ports of these alone, as far as they are free.
    pub(super) fn enforce(&mut self, reservations: &[Reservation]) -> Result<(), Refused> {
        let mut short = Ok(());
        let is_wanted = |id: &Id| reservations.iter().any(|reservation| reservation.id == *id);
        self.held.retain(|id, _| is_wanted(id));
        for reservation in reservations.iter().filter(|one| one.kind == Kind::Persistent) {
            let protocol = reservation.protocol;
            let empty = || Held { protocol, sockets: BTreeMap::new() };
            let held = self.held.entry(reservation.id).or_insert_with(empty);
            for port in reservation.block.ports() {
                if held.sockets.contains_key(&port) {
                    continue;
                }
                match occupy(protocol, port) {
                    Ok(socket) => _ = held.sockets.insert(port, socket),
                    Err(error) => {
                        let what = format_args!("{protocol} port {port} is not reserved");
                        let refused = refused(what, &error.into());
                        match refused.reason {
                            Reason::Shortage => short = Err(refused),
                            _ => tracing::warn!("{refused}"),
                        }
                    }
                }
            }
        }
        short
    }

    pub(super) fn remove(&mut self, id: Id) {
        self.held.remove(&id);
    }

    /// Leaves the ports of a block, for those who are to be found there.
    pub(super) fn make_way(&mut self, protocol: Protocol, block: Block) {
        for held in self.held.values_mut().filter(|held| held.protocol == protocol) {
            held.sockets.retain(|port, _| !block.contains(*port));
        }
    }

    pub(super) fn cannot_admit() -> EffectError {
        EffectError::TooWeak("placeholders let nobody in".to_owned())
    }
}

/// Whether a reservation asks for nothing that takes a guard.
fn check(reservation: &Reservation) -> Result<(), EffectError> {
    if reservation.kind == Kind::Runtime {
        return Err(EffectError::TooWeak(
            "placeholders do not notice when a socket closes".to_owned(),
        ));
    }
    if reservation.admitted != Admitted::default() {
        return Err(Placeholders::cannot_admit());
    }
    if reservation.dry_run {
        return Err(EffectError::TooWeak("placeholders refuse, and do not report".to_owned()));
    }
    if reservation.refusal != Refusal::AddressInUse {
        return Err(EffectError::TooWeak("strangers hear EADDRINUSE and nothing else".to_owned()));
    }
    Ok(())
}

/// Binds a socket to a port on all addresses.
fn occupy(protocol: Protocol, port: u16) -> Result<OwnedFd, Errno> {
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
