use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use netlink::kernel::RTPROT_DHCP;
use sys::namespace::{self, Kinds};

use crate::dhcp::{DhcpServer, ServerConfig};
use crate::error::{Context as _, Error, Result};
use crate::{Capture, Daemon, Lan, Mounts, Namespace, Program, StateDir, become_root};

/// The first server, which leases [`FIRST_POOL`].
pub(crate) const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The first server's first address.
pub(crate) const FIRST_POOL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// The second server, which leases [`SECOND_POOL`] and on.
pub(crate) const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The second server's first address; [`Stage::neighbor`] uses it already.
pub(crate) const SECOND_POOL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
/// Length of the network's prefix.
pub(crate) const PREFIX_LENGTH: u8 = 24;
/// How long the servers' leases are.
pub(crate) const LEASE_TIME: Duration = Duration::from_secs(3600);
/// The client's interface.
pub(crate) const INTERFACE: &str = "eth0";

/// The network of `iph lab`: two hosts that can be servers, one with an address of its own, and the
/// client.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) first: Namespace,
    pub(crate) second: Namespace,
    pub(crate) client: Namespace,
    pub(crate) capture: Capture,
    pub(crate) state: StateDir,
    /// Its address is [`SECOND_POOL`].
    _neighbor: Namespace,
    _lan: Lan,
}

/// What the client's host has because of a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) addresses: Vec<IpAddr>,
    /// Gateways of default routes with protocol dhcp.
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) name_servers: Vec<IpAddr>,
}

impl Stage {
    /// Builds it, for a process of its own: the calling thread, and the threads and children it
    /// starts later, get a `/run` of their own, so that no file is left behind either.
    pub(crate) fn build() -> Result<Self> {
        become_root()?;
        namespace::unshare(Kinds::MOUNT)
            .and_then(|()| sys::mount::make_all_private())
            .and_then(|()| sys::mount::tmpfs(Path::new("/run"), "mode=0755"))
            .context("a private /run")?;
        let lan = Lan::new()?;
        let mut client = Namespace::without_ipv6()?;
        // Where that is not to be had, the daemon says how it guards ports without.
        if let Ok(mounts) = Mounts::new() {
            client.set_mounts(Arc::new(mounts));
        }
        lan.plug(&client, INTERFACE)?;
        Ok(Self {
            first: lan.host_at(FIRST, PREFIX_LENGTH)?,
            second: lan.host_at(SECOND, PREFIX_LENGTH)?,
            _neighbor: lan.host_at(SECOND_POOL, PREFIX_LENGTH)?,
            capture: Capture::start(&client, INTERFACE)?,
            client,
            state: StateDir::below(Path::new("/run"))?,
            _lan: lan,
        })
    }

    pub(crate) fn start_first_server(&self) -> Result<DhcpServer> {
        let config = ServerConfig::new(FIRST).lease_time(LEASE_TIME);
        DhcpServer::start(&self.first, INTERFACE, config)
    }

    pub(crate) fn start_second_server(&self) -> Result<DhcpServer> {
        let [a, b, c, _] = SECOND_POOL.octets();
        let config = ServerConfig::new(SECOND)
            .lease_time(LEASE_TIME)
            .pool(SECOND_POOL..=Ipv4Addr::new(a, b, c, 250));
        DhcpServer::start(&self.second, INTERFACE, config)
    }

    /// Starts the daemon, which manages nothing until it is told.
    pub(crate) fn start_daemon(&self, program: &Path) -> Result<Daemon> {
        let resolver = self.state.join("resolv.conf");
        let configuration =
            format!("[daemon]\nresolver = \"file\"\nresolver_file = \"{}\"\n", resolver.display());
        Daemon::start(&Program::iph(program), &self.client, &self.state, &configuration)
    }

    /// What the client's kernel and its file of name servers say.
    pub(crate) fn tables(&self) -> Result<Tables> {
        let addresses = self.client.addresses(INTERFACE)?.iter().map(|row| row.address).collect();
        let gateways = self
            .client
            .routes()?
            .iter()
            .filter(|route| route.destination.length == 0 && route.protocol == RTPROT_DHCP)
            .flat_map(|route| route.next_hops.iter().filter_map(|hop| hop.gateway))
            .collect();
        let file = self.state.join("resolv.conf");
        let text = match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.context(file.display().to_string())?,
        };
        let name_servers = text
            .lines()
            .filter_map(|line| line.strip_prefix("nameserver "))
            .map(|address| {
                let bad = || Error::Story(format!("resolv.conf: {address:?} is no address"));
                address.trim().parse().map_err(|_| bad())
            })
            .collect::<Result<_>>()?;
        Ok(Tables { addresses, gateways, name_servers })
    }
}

impl Tables {
    /// What a lease from one of the stage's servers brings, and nothing else.
    pub(crate) fn leased(address: Ipv4Addr, server: Ipv4Addr) -> Self {
        Self {
            addresses: vec![address.into()],
            gateways: vec![server.into()],
            name_servers: vec![server.into()],
        }
    }
}

/// "address 10.77.0.100, default route via 10.77.0.1, name server 10.77.0.1".
impl std::fmt::Display for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |name: &str, values: &[IpAddr]| match values {
            [] => format!("no {name}"),
            values => {
                let values: Vec<String> = values.iter().map(IpAddr::to_string).collect();
                format!("{name} {}", values.join(" and "))
            }
        };
        let via = if self.gateways.is_empty() { "default route" } else { "default route via" };
        let parts = [
            part("address", &self.addresses),
            part(via, &self.gateways),
            part("name server", &self.name_servers),
        ];
        f.write_str(&parts.join(", "))
    }
}
