use std::net::IpAddr;
use std::time::Instant;

use netlink::kernel::*;
use netlink::route::{Prefix, RouteView};
use netlink::{Family, Name};
use serde::{Deserialize, Serialize};

use crate::address::Scope;
use crate::directory::Directory;
use crate::row::{Row, Weight, difference};
use crate::{Luid, number};

/// A route, as `MIB_IPFORWARD_ROW2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Route {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Where packets it applies to are going; length 0 is the default route.
    pub destination: Prefix,
    /// Where they come from (IPv6 subtrees); `None` for anywhere.
    pub source: Option<Prefix>,
    /// The table it is in: 254 main, 255 local, 253 default.
    pub table: u32,
    /// What happens to packets.
    #[serde(rename = "type")]
    pub kind: RouteType,
    /// Who made it.
    pub protocol: RouteProtocol,
    /// Where it comes from, by Windows' names: what the protocol says.
    pub origin: RouteOrigin,
    /// How far its destination is. IPv6 routes are all `global`.
    pub scope: Scope,
    /// Type of service it applies to, 0 for any. IPv4 only.
    pub type_of_service: u8,
    /// Routes with smaller numbers win. All of it: interfaces add nothing.
    pub metric: u32,
    /// The ways packets can go: none for blackholes, several for multipath routes.
    pub next_hops: Vec<NextHop>,
    /// The next-hop object the route refers to, if any.
    pub next_hop_id: Option<u32>,
    /// The source address for packets of this host.
    pub preferred_source: Option<IpAddr>,
    /// Router preference (RFC 4191). IPv6 only.
    pub preference: Option<RouterPreference>,
    /// Largest packet on this path, in bytes.
    pub mtu: Option<u32>,
    /// Path MTU discovery does not change the MTU.
    pub mtu_locked: bool,
    /// Maximum segment size told to TCP peers, in bytes.
    pub advertised_mss: Option<u32>,
    /// Hop limit of packets sent.
    pub hop_limit: Option<u32>,
    /// Initial congestion window, in segments.
    pub initial_congestion_window: Option<u32>,
    /// Initial receive window, in segments.
    pub initial_receive_window: Option<u32>,
    /// Seconds it remains valid; `None` for ever.
    pub valid_lifetime: Option<u32>,
    /// Seconds since it was last changed, where somebody saw that: see
    /// [`set_age`](Self::set_age). Linux itself does not know.
    pub age: Option<u32>,
}

/// One way a packet can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NextHop {
    /// The name of the interface it leaves by.
    pub interface: Option<Name>,
    /// The index of that interface.
    pub ifindex: Option<u32>,
    /// The LUID of that interface.
    pub luid: Option<Luid>,
    /// The router it goes to; `None` when the destination is on the link. May be IPv6 for an IPv4
    /// route (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// Share of the packets, 1 to 256.
    pub weight: u16,
    /// The gateway is taken to be on the link even if no address says so.
    pub on_link: bool,
    /// Not used: the interface is down.
    pub dead: bool,
    /// The interface has no carrier.
    pub link_down: bool,
}

/// What happens to packets (`RTN_*`).
///
/// As text, also with serde, the names of `ip route`: `unicast`, `local`, `blackhole`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteType(pub u8);

number::text_of_number! {
    RouteType, "type of route",
    "unspecified" => RTN_UNSPEC,
    "unicast" => RTN_UNICAST,
    "local" => RTN_LOCAL,
    "broadcast" => RTN_BROADCAST,
    "anycast" => RTN_ANYCAST,
    "multicast" => RTN_MULTICAST,
    "blackhole" => RTN_BLACKHOLE,
    "unreachable" => RTN_UNREACHABLE,
    "prohibit" => RTN_PROHIBIT,
    "throw" => RTN_THROW,
}

/// Who made a route, or a neighbour (`RTPROT_*`, `linux/rtnetlink.h`).
///
/// As text, also with serde, the names of `/etc/iproute2/rt_protos`: `kernel`, `boot`, `static`,
/// `ra`, `dhcp`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteProtocol(pub u8);

number::text_of_number! {
    RouteProtocol, "routing protocol",
    "unspec" => RTPROT_UNSPEC,
    "redirect" => RTPROT_REDIRECT,
    "kernel" => RTPROT_KERNEL,
    "boot" => RTPROT_BOOT,
    "static" => RTPROT_STATIC,
    "gated" => 8,
    "ra" => RTPROT_RA,
    "mrt" => 10,
    "zebra" => 11,
    "bird" => 12,
    "dnrouted" => 13,
    "xorp" => 14,
    "ntk" => 15,
    "dhcp" => RTPROT_DHCP,
    "mrouted" => 17,
    "keepalived" => 18,
    "babel" => 42,
    "openr" => 99,
    "bgp" => 186,
    "isis" => 187,
    "ospf" => 188,
    "rip" => 189,
    "eigrp" => 192,
}

/// Where a route comes from (`NL_ROUTE_ORIGIN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteOrigin {
    /// A person, or a program.
    Manual,
    /// The kernel: it follows from addresses.
    WellKnown,
    /// DHCP.
    Dhcp,
    /// A router advertisement.
    RouterAdvertisement,
}

/// How much a router wants to be used (RFC 4191).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterPreference {
    /// After others.
    Low,
    /// As most.
    Medium,
    /// Before others.
    High,
}

impl Route {
    /// Says how long ago it was last changed, by what a
    /// [cache](crate::Cache::route_changed_at) has seen.
    pub fn set_age(&mut self, changed_at: Option<Instant>, now: Instant) {
        self.age = changed_at.map(|at| {
            u32::try_from(now.saturating_duration_since(at).as_secs()).unwrap_or(u32::MAX)
        });
    }

    pub(crate) fn new(view: &RouteView<'_>, directory: &Directory) -> Self {
        let metrics = view.metrics();
        Self {
            family: Family::of(view.destination.address),
            destination: view.destination,
            source: Some(view.source).filter(|source| source.length != 0),
            table: view.table,
            kind: RouteType(view.kind),
            protocol: RouteProtocol(view.protocol),
            origin: match view.protocol {
                RTPROT_KERNEL => RouteOrigin::WellKnown,
                RTPROT_DHCP => RouteOrigin::Dhcp,
                RTPROT_RA => RouteOrigin::RouterAdvertisement,
                _ => RouteOrigin::Manual,
            },
            scope: Scope(view.scope),
            type_of_service: view.type_of_service,
            metric: view.priority,
            next_hops: view.next_hops().map(|next_hop| NextHop::new(next_hop, directory)).collect(),
            next_hop_id: view.next_hop_id,
            preferred_source: view.preferred_source,
            preference: match view.preference {
                Some(0) => Some(RouterPreference::Medium),
                Some(1) => Some(RouterPreference::High),
                Some(3) => Some(RouterPreference::Low),
                _ => None,
            },
            mtu: metrics.mtu,
            mtu_locked: metrics.mtu_locked,
            advertised_mss: metrics.advertised_mss,
            hop_limit: metrics.hop_limit,
            initial_congestion_window: metrics.initial_congestion_window,
            initial_receive_window: metrics.initial_receive_window,
            valid_lifetime: view
                .expires
                .map(|left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX)),
            age: None,
        }
    }

    /// The interfaces it leads to, by index.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> + '_ {
        self.next_hops.iter().filter_map(|next_hop| next_hop.ifindex)
    }
}

impl NextHop {
    fn new(next_hop: netlink::route::NextHop, directory: &Directory) -> Self {
        let entry = next_hop.interface.and_then(|ifindex| directory.get(ifindex));
        let has = |flag: u32| u32::from(next_hop.flags) & flag != 0;
        Self {
            interface: entry.map(|entry| entry.name),
            ifindex: next_hop.interface,
            luid: entry.map(|entry| entry.luid),
            gateway: next_hop.gateway,
            weight: next_hop.weight,
            on_link: has(RTNH_F_ONLINK),
            dead: has(RTNH_F_DEAD),
            link_down: has(RTNH_F_LINKDOWN),
        }
    }
}

/// What tells a route from all others: the kernel keeps several of one destination, table and
/// metric apart by their ways, and IPv4 routes of the same ways by who made them and the address
/// they prefer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct RouteKey {
    /// The kernel's number of the routing table (`RTA_TABLE`).
    pub table: u32,
    /// Which destinations it is for.
    pub destination: Prefix,
    /// Which sources it is for, where it is for some only (`RTA_SRC`).
    pub source: Option<Prefix>,
    /// Its type of service.
    pub type_of_service: u8,
    /// Smaller ones come first (`RTA_PRIORITY`).
    pub metric: u32,
    /// What it does.
    pub kind: RouteType,
    /// Its ways: interface and gateway.
    pub ways: Vec<(Option<u32>, Option<IpAddr>)>,
    /// Who made it.
    pub protocol: RouteProtocol,
    /// How far its destination is.
    pub scope: Scope,
    /// The source address for packets of this host.
    pub preferred_source: Option<IpAddr>,
}

impl Row for Route {
    type Key = RouteKey;

    fn key(&self) -> RouteKey {
        RouteKey {
            table: self.table,
            destination: self.destination,
            source: self.source,
            type_of_service: self.type_of_service,
            metric: self.metric,
            kind: self.kind,
            ways: self.next_hops.iter().map(|way| (way.ifindex, way.gateway)).collect(),
            protocol: self.protocol,
            scope: self.scope,
            preferred_source: self.preferred_source,
        }
    }

    difference!(
        family,
        destination,
        source,
        table,
        kind as "type",
        protocol,
        origin,
        scope,
        type_of_service,
        metric,
        next_hops,
        next_hop_id,
        preferred_source,
        preference,
        mtu,
        mtu_locked,
        advertised_mss,
        hop_limit,
        initial_congestion_window,
        initial_receive_window,
        valid_lifetime,
        age,
    );

    fn weight(&self, before: &Self, member: &str) -> Weight {
        let still_ends = self.valid_lifetime.is_some() && before.valid_lifetime.is_some();
        match member {
            "age" => Weight::Running,
            "valid_lifetime" if still_ends => Weight::Lifetime,
            _ => Weight::State,
        }
    }
}
