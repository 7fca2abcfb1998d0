//! What there is to say about this host and its adapters.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::IpAddr;

use api::interface::tables::{
    AdminStatus, DadState, Error, Family, Interface, InterfaceType, OperStatus, Route, Tables,
    UnicastAddress,
};
use api::lease::LeaseInfo;
use serde::Serialize;

/// The table that packets are routed by unless a rule says otherwise (`RT_TABLE_MAIN`).
const MAIN: u32 = 254;

/// This host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) routes_packets: bool,
    pub(super) search_domains: Vec<String>,
    pub(super) adapters: Vec<Adapter>,
}

/// An interface other than loopback, and the lease the daemon holds for it.
#[derive(Debug, Serialize)]
pub(super) struct Adapter {
    pub(super) interface: String,
    pub(super) ifindex: u32,
    pub(super) kind: Kind,
    pub(super) description: String,
    /// Hexadecimal bytes separated by colons; empty where there is none.
    pub(super) hardware_address: String,
    /// Has carrier.
    pub(super) connected: bool,
    pub(super) addresses: Vec<Unicast>,
    pub(super) gateways: Vec<IpAddr>,
    /// The lease's; without one, those the host asks, where the adapter has a gateway.
    pub(super) name_servers: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<LeaseInfo>,
}

/// What Windows calls an adapter of this sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Ethernet,
    Wireless,
    Tunnel,
    Ppp,
    Unknown,
}

/// An address of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Unicast {
    pub(super) address: IpAddr,
    pub(super) prefix_length: u8,
    pub(super) status: Status,
    /// Made up by RFC 8981, for connections of this host's own.
    pub(super) temporary: bool,
}

/// Whether an address may be used, in Windows' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Preferred,
    Deprecated,
    Tentative,
    Duplicate,
}

impl Host {
    /// Reads the kernel's tables and joins them with the leases.
    pub(super) fn read(leases: Vec<LeaseInfo>) -> Result<Self, Error> {
        let mut kernel = Tables::open()?;
        let (interfaces, addresses) = kernel.interfaces_and_addresses(Family::Unspecified)?;
        let routes = kernel.routes(Family::Unspecified)?;
        Ok(Self::join(&interfaces, &addresses, &routes, leases, Resolver::read()))
    }

    fn join(
        interfaces: &[Interface],
        addresses: &[UnicastAddress],
        routes: &[Route],
        leases: Vec<LeaseInfo>,
        resolver: Resolver,
    ) -> Self {
        let mut leases: BTreeMap<u32, LeaseInfo> =
            leases.into_iter().map(|lease| (lease.ifindex, lease)).collect();
        let mut search_domains = Vec::new();
        for lease in leases.values() {
            search_domains.extend(lease.domain_name.iter().chain(&lease.domain_search).cloned());
        }
        if search_domains.is_empty() {
            search_domains = resolver.search_domains;
        }
        let mut seen = HashSet::new();
        search_domains.retain(|domain| seen.insert(domain.clone()));

        let loopback = |row: &&Interface| row.interface_type == InterfaceType::LOOPBACK;
        let mut rows: Vec<_> = interfaces.iter().filter(|row| !loopback(row)).collect();
        rows.sort_by_key(|row| row.ifindex);
        let adapters = rows.into_iter().map(|row| {
            let lease = leases.remove(&row.ifindex);
            let gateways = gateways_of(row.ifindex, routes);
            let name_servers = match &lease {
                Some(lease) if !lease.dns.is_empty() => lease.dns.clone(),
                // What this host asks, by way of its routers as far as anybody knows.
                _ if !gateways.is_empty() => resolver.name_servers.clone(),
                _ => Vec::new(),
            };
            Adapter {
                interface: row.name.to_string(),
                ifindex: row.ifindex,
                kind: Kind::of(row.interface_type),
                description: description(row),
                hardware_address: row.physical_address.to_string(),
                connected: row.admin_status == AdminStatus::Up
                    && matches!(row.oper_status, OperStatus::Up | OperStatus::Unknown),
                addresses: addresses_of(row.ifindex, addresses),
                gateways,
                name_servers,
                lease,
            }
        });
        Self {
            name: sys::hostname::read()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            routes_packets: fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|text| text.trim() == "1"),
            search_domains,
            adapters: adapters.collect(),
        }
    }
}

impl Kind {
    fn of(interface_type: InterfaceType) -> Self {
        match interface_type {
            InterfaceType::ETHERNET => Self::Ethernet,
            InterfaceType::WIFI => Self::Wireless,
            InterfaceType::TUNNEL => Self::Tunnel,
            InterfaceType::PPP => Self::Ppp,
            _ => Self::Unknown,
        }
    }
}

/// The alias somebody gave it, or what the kernel calls its driver or device.
fn description(row: &Interface) -> String {
    let kind = row.kind.as_ref().map(|kind| format!("Linux {kind} interface"));
    let device = || match (&row.parent_bus, &row.parent_device) {
        (Some(bus), Some(device)) => format!("{bus} device {device}"),
        _ => "Linux network interface".to_owned(),
    };
    row.alias.as_ref().map(ToString::to_string).or(kind).unwrap_or_else(device)
}

fn addresses_of(ifindex: u32, addresses: &[UnicastAddress]) -> Vec<Unicast> {
    let ours = addresses.iter().filter(|row| row.ifindex == ifindex);
    let mut ours: Vec<_> = ours
        .map(|row| Unicast {
            address: row.address,
            prefix_length: row.prefix_length,
            status: match row.dad_state {
                DadState::Duplicate => Status::Duplicate,
                DadState::Tentative => Status::Tentative,
                DadState::Deprecated => Status::Deprecated,
                DadState::Preferred => Status::Preferred,
            },
            temporary: row.temporary,
        })
        .collect();
    // Windows' order: addresses of IPv6 before those of IPv4, link-local ones last among them.
    ours.sort_by_key(|unicast| match unicast.address {
        IpAddr::V6(address) => (0, unicast.temporary, address.is_unicast_link_local()),
        IpAddr::V4(_) => (1, false, false),
    });
    ours
}

fn gateways_of(ifindex: u32, routes: &[Route]) -> Vec<IpAddr> {
    let defaults = routes.iter().filter(|row| row.destination.length == 0 && row.table == MAIN);
    let mut gateways: Vec<_> = defaults
        .flat_map(|row| row.next_hops.iter().map(move |hop| (row.metric, hop)))
        .filter(|(_, hop)| hop.ifindex == Some(ifindex))
        .filter_map(|(metric, hop)| Some((hop.gateway?, metric)))
        .collect();
    gateways.sort_by_key(|(gateway, metric)| (gateway.is_ipv4(), *metric));
    gateways.dedup_by_key(|(gateway, _)| *gateway);
    gateways.into_iter().map(|(gateway, _)| gateway).collect()
}

/// What resolv.conf(5) says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Resolver {
    name_servers: Vec<IpAddr>,
    search_domains: Vec<String>,
}

/// systemd-resolved's own address, behind which are those of this file.
const STUB: &str = "127.0.0.53";
const BEHIND_THE_STUB: &str = "/run/systemd/resolve/resolv.conf";

impl Resolver {
    fn read() -> Self {
        let read = |path| Self::parse(&fs::read_to_string(path).unwrap_or_default());
        let configured = read("/etc/resolv.conf");
        let is_stub = |server: &IpAddr| server.to_string() == STUB;
        match configured.name_servers.iter().any(is_stub) {
            true => Self { name_servers: read(BEHIND_THE_STUB).name_servers, ..configured },
            false => configured,
        }
    }

    fn parse(text: &str) -> Self {
        let mut this = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // The last line of either name counts.
                Some("search" | "domain") => {
                    this.search_domains = words.map(str::to_owned).collect();
                }
                // A zone may follow the address.
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.split('%').next());
                    this.name_servers.extend(address.and_then(|word| word.parse::<IpAddr>().ok()));
                }
                _ => {}
            }
        }
        this
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_is_read_as_the_libc_reads_it() {
        let text = "# a comment\nsearch old.example\nnameserver 192.0.2.53\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nsearch example.org example.net\n";
        let expected = Resolver {
            name_servers: vec!["192.0.2.53".parse().unwrap(), "fe80::1".parse().unwrap()],
            search_domains: vec!["example.org".into(), "example.net".into()],
        };
        assert_eq!(Resolver::parse(text), expected);
        assert_eq!(Resolver::parse(""), Resolver::default());
    }

    #[test]
    fn an_adapter_without_a_lease_is_what_the_kernel_and_the_resolver_say() {
        let Ok(mut kernel) = Tables::open() else {
            eprintln!("SKIPPED: an_adapter_without_a_lease: no rtnetlink here");
            return;
        };
        let (interfaces, addresses) = kernel.interfaces_and_addresses(Family::Unspecified).unwrap();
        let routes = kernel.routes(Family::Unspecified).unwrap();
        let resolver =
            Resolver { name_servers: vec!["192.0.2.53".parse().unwrap()], ..Resolver::default() };
        let host = Host::join(&interfaces, &addresses, &routes, Vec::new(), resolver);
        assert!(host.adapters.iter().all(|adapter| adapter.interface != "lo"));
        for adapter in &host.adapters {
            let routed = !adapter.gateways.is_empty();
            assert_eq!(!adapter.name_servers.is_empty(), routed, "{adapter:?}");
            assert!(adapter.lease.is_none());
        }
    }
}
