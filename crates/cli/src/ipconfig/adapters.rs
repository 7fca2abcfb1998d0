//! What there is to say about this host and its adapters.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use api::lease::Lease;
use netlink::address::{Address, Role};
use netlink::kernel::RT_TABLE_MAIN;
use netlink::link::Link;
use netlink::route::Route;
use netlink::{Connection, Family, Name};
use serde::Serialize;

/// `ARPHRD_PPP`, linux/if_arp.h.
const ARPHRD_PPP: u16 = 512;
/// Tunnels of IPv4, IPv6, 6to4, GRE over IPv4 and over IPv6; and interfaces of IP alone.
const ARPHRD_TUNNELS: [u16; 6] = [768, 769, 776, 778, 823, 65534];

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<Lease>,
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
    pub(super) fn read(leases: Vec<Lease>) -> Result<Self, netlink::Error> {
        let mut kernel = Connection::open()?;
        let links: Vec<Link> = kernel.dump(&netlink::link::dump())?;
        let addresses: Vec<Address> =
            kernel.dump(&netlink::address::dump(Family::Unspecified, None))?;
        let routes: Vec<Route> =
            kernel.dump(&netlink::route::dump(Family::Unspecified, None, None))?;
        Ok(Self::join(&links, &addresses, &routes, leases))
    }

    fn join(links: &[Link], addresses: &[Address], routes: &[Route], leases: Vec<Lease>) -> Self {
        let mut leases: BTreeMap<u32, Lease> =
            leases.into_iter().map(|lease| (lease.ifindex, lease)).collect();
        let mut search_domains = Vec::new();
        for lease in leases.values() {
            search_domains.extend(lease.domain_name.iter().chain(&lease.domain_search).cloned());
        }
        if search_domains.is_empty() {
            search_domains = configured_search_domains();
        }
        let mut seen = std::collections::HashSet::new();
        search_domains.retain(|domain| seen.insert(domain.clone()));

        let mut links: Vec<_> = links.iter().filter(|link| !link.flags.is_loopback()).collect();
        links.sort_by_key(|link| link.index);
        let adapters = links.into_iter().map(|link| Adapter {
            interface: link.name.to_string(),
            ifindex: link.index,
            kind: Kind::of(link),
            description: description(link),
            hardware_address: link.hardware_address.to_string(),
            connected: link.flags.is_up() && link.flags.is_lower_up(),
            addresses: addresses_of(link.index, addresses),
            gateways: gateways_of(link.index, routes),
            lease: leases.remove(&link.index),
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
    fn of(link: &Link) -> Self {
        match link.hardware_type {
            ARPHRD_PPP => Self::Ppp,
            kind if ARPHRD_TUNNELS.contains(&kind) => Self::Tunnel,
            1 if is_wireless(&link.name) => Self::Wireless,
            1 => Self::Ethernet,
            _ => Self::Unknown,
        }
    }
}

fn is_wireless(name: &Name) -> bool {
    Path::new("/sys/class/net").join(name.as_os_str()).join("phy80211").exists()
}

/// The alias somebody gave it, or what the kernel calls its driver or device.
fn description(link: &Link) -> String {
    let kind = link.kind.as_ref().map(|kind| format!("Linux {} interface", kind.display()));
    let device = || match (&link.parent_bus, &link.parent_device) {
        (Some(bus), Some(device)) => format!("{} device {}", bus.display(), device.display()),
        _ => "Linux network interface".to_owned(),
    };
    let alias = link.alias.as_ref().map(|alias| alias.to_string_lossy().into_owned());
    alias.or(kind).unwrap_or_else(device)
}

fn addresses_of(index: u32, addresses: &[Address]) -> Vec<Unicast> {
    let ours = addresses.iter().filter(|row| row.interface == index && row.role == Role::Unicast);
    let mut ours: Vec<_> = ours
        .map(|row| Unicast {
            address: row.address,
            prefix_length: row.prefix_length,
            status: match row.flags {
                flags if flags.is_duplicate() => Status::Duplicate,
                flags if flags.is_tentative() => Status::Tentative,
                flags if flags.is_deprecated() => Status::Deprecated,
                _ => Status::Preferred,
            },
            temporary: row.address.is_ipv6() && row.flags.is_secondary(),
        })
        .collect();
    // Windows' order: addresses of IPv6 before those of IPv4, link-local ones last among them.
    ours.sort_by_key(|unicast| match unicast.address {
        IpAddr::V6(address) => (0, unicast.temporary, address.is_unicast_link_local()),
        IpAddr::V4(_) => (1, false, false),
    });
    ours
}

fn gateways_of(index: u32, routes: &[Route]) -> Vec<IpAddr> {
    let defaults =
        routes.iter().filter(|route| route.destination.length == 0 && route.table == RT_TABLE_MAIN);
    let mut gateways: Vec<_> = defaults
        .flat_map(|route| route.next_hops.iter().map(move |hop| (route.priority, hop)))
        .filter(|(_, hop)| hop.interface == Some(index))
        .filter_map(|(priority, hop)| Some((hop.gateway?, priority)))
        .collect();
    gateways.sort_by_key(|(gateway, priority)| (gateway.is_ipv4(), *priority));
    gateways.dedup_by_key(|(gateway, _)| *gateway);
    gateways.into_iter().map(|(gateway, _)| gateway).collect()
}

/// What resolv.conf(5) has searched; the last line of either name counts.
fn configured_search_domains() -> Vec<String> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("search" | "domain")).then_some(words)
    });
    lines.next_back().into_iter().flatten().map(str::to_owned).collect()
}
