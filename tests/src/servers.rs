//! Servers on the wire.

use std::net::Ipv4Addr;

use lab::dhcp::{DhcpServer, ServerConfig};
use lab::{Lan, Namespace, Peer, PeerConfig, PeerKind, StateDir};

/// Where the server usually is.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
/// Another server on the same subnet.
pub const SECOND: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);
/// A server of another subnet.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The lab's own server at an address of a /24, on a host of its own.
#[derive(Debug)]
pub struct Scripted {
    /// The server.
    pub server: DhcpServer,
    /// Its host; `eth0` is plugged in.
    pub namespace: Namespace,
}

/// A server others wrote, on a host of its own.
#[derive(Debug)]
pub struct Foreign {
    /// The server.
    pub peer: Peer,
    /// Its host; `eth0` is plugged in.
    pub namespace: Namespace,
    /// Its files.
    pub state: StateDir,
}

/// Starts the lab's server with its usual configuration at [`SERVER`].
pub fn scripted(lan: &Lan) -> lab::Result<Scripted> {
    scripted_with(lan, ServerConfig::new(SERVER))
}

/// Starts the lab's server.
pub fn scripted_with(lan: &Lan, config: ServerConfig) -> lab::Result<Scripted> {
    let namespace = lan.host_at(config.address, config.prefix_length)?;
    let server = DhcpServer::start(&namespace, "eth0", config)?;
    Ok(Scripted { server, namespace })
}

/// Starts a server of others.
pub fn foreign(lan: &Lan, kind: PeerKind, config: &PeerConfig) -> lab::Result<Foreign> {
    kind.available()?;
    let namespace = lan.host_at(config.address, config.prefix_length)?;
    let state = StateDir::new()?;
    let peer = Peer::start(kind, &namespace, "eth0", &state, config)?;
    Ok(Foreign { peer, namespace, state })
}

impl Foreign {
    /// Ends the server, its host and its leases' file stay.
    pub fn kill(mut self) -> (Namespace, StateDir) {
        self.peer.process().kill();
        (self.namespace, self.state)
    }
}

/// Makes tests of functions that take a [`PeerKind`]: one a server, in a module named after it.
#[macro_export]
macro_rules! with_each_server {
    ($($test:ident),+ $(,)?) => {
        $crate::with_each_server!(@ dnsmasq Dnsmasq: $($test),+);
        $crate::with_each_server!(@ kea Kea: $($test),+);
        $crate::with_each_server!(@ isc_dhcpd IscDhcpd: $($test),+);
        $crate::with_each_server!(@ udhcpd Udhcpd: $($test),+);
    };
    (@ $module:ident $kind:ident: $($test:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(lab::PeerKind::$kind);
                }
            )+
        }
    };
}
