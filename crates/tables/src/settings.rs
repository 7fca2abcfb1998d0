use std::net::{IpAddr, Ipv4Addr};

use netlink::kernel::{RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, RTN_UNICAST, RTPROT_STATIC};
use netlink::{Name, address, neighbor, route};
use serde::{Deserialize, Serialize};
use wire::HardwareAddress;

use crate::{Error, Failure, NeighborState, Prefix, RouteProtocol, RouteType, Scope, Selector};

/// An address to be put on an interface, changed there, or taken off it.
///
/// Made with [`new`](Self::new); what is `None` is left to the kernel. As an object of the API it
/// has the same members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressSettings {
    /// The interface: name, alternative name, index or GUID.
    pub interface: Selector,
    /// This host's address on it.
    pub address: IpAddr,
    /// How many leading bits of `address`, or of `peer` where there is one, name the network.
    pub prefix_length: u8,
    /// The other end's address, on point-to-point links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The address that reaches every host of the network. IPv4 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Ipv4Addr>,
    /// How far it is meaningful (`RT_SCOPE_*`); `global` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The interface's name, or one that begins with it and a colon (`IFA_LABEL`). IPv4 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Name>,
    /// Seconds until the kernel removes it; for ever when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_lifetime: Option<u32>,
    /// Seconds until no new connection uses it; for ever when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_lifetime: Option<u32>,
    /// The kernel adds no route to its network (`IFA_F_NOPREFIXROUTE`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_prefix_route: Option<bool>,
    /// Metric of the route to its network; the kernel's default when absent or 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// Who makes it (`IFAPROT_*`; 4 to 255 are free to use). Ignored before Linux 5.18.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
}

impl AddressSettings {
    /// An address that stays, with nothing special about it.
    pub fn new(interface: impl Into<Selector>, address: IpAddr, prefix_length: u8) -> Self {
        Self {
            interface: interface.into(),
            address,
            prefix_length,
            peer: None,
            broadcast: None,
            scope: None,
            label: None,
            valid_lifetime: None,
            preferred_lifetime: None,
            without_prefix_route: None,
            metric: None,
            protocol: None,
        }
    }

    pub(crate) fn assignment(&self, ifindex: u32) -> address::Assignment {
        address::Assignment {
            peer: self.peer,
            broadcast: self.broadcast,
            scope: self.scope.map_or(RT_SCOPE_UNIVERSE, |scope| scope.0),
            label: self.label,
            valid_seconds: self.valid_lifetime,
            preferred_seconds: self.preferred_lifetime,
            without_prefix_route: self.without_prefix_route.unwrap_or(false),
            metric: self.metric.unwrap_or(0),
            protocol: self.protocol,
            ..address::Assignment::new(ifindex, self.address, self.prefix_length)
        }
    }
}

/// A route to be made, replaced, or removed.
///
/// Made with [`new`](Self::new). Of a route to be removed, only what is said has to agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// Where packets are going.
    pub destination: Prefix,
    /// The interface they leave by: name, alternative name, index or GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Selector>,
    /// The router they go to; none where the destination is on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Several ways instead of the one above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hops: Option<Vec<NextHopSettings>>,
    /// The routing table (`RT_TABLE_*`); 254, main, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// What happens to packets (`RTN_*`); `unicast` when absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<RouteType>,
    /// Who makes it (`RTPROT_*`); `static` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<RouteProtocol>,
    /// How far the destination is (`RT_SCOPE_*`); follows from type and gateway when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Of several routes to a destination, the one with the smallest wins. When absent or 0 the
    /// kernel takes 0 for IPv4 and 1024 for IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// The source address of packets that this host sends without having chosen one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_source: Option<IpAddr>,
    /// Largest packet on this path, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Maximum segment size announced to TCP peers, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertised_mss: Option<u32>,
    /// The gateway is taken to be on the link, even if no address says so (`RTNH_F_ONLINK`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_link: Option<bool>,
    /// Seconds until the kernel removes it; for ever when absent. IPv6 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_lifetime: Option<u32>,
}

impl RouteSettings {
    /// A route that leads nowhere yet.
    pub fn new(destination: Prefix) -> Self {
        Self {
            destination,
            interface: None,
            gateway: None,
            next_hops: None,
            table: None,
            kind: None,
            protocol: None,
            scope: None,
            metric: None,
            preferred_source: None,
            mtu: None,
            advertised_mss: None,
            on_link: None,
            valid_lifetime: None,
        }
    }

    /// The interfaces of all ways.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &Selector> {
        let next_hops = self.next_hops.iter().flatten();
        self.interface.iter().chain(next_hops.map(|next_hop| &next_hop.interface))
    }

    /// The same for the kernel, in which what is not said means the usual.
    pub(crate) fn entry(
        &self,
        ifindex: impl FnMut(&Selector) -> Result<u32, Error>,
    ) -> Result<route::Entry, Error> {
        let mut entry = self.pattern(ifindex)?;
        entry.protocol = self.protocol.map_or(RTPROT_STATIC, |protocol| protocol.0);
        entry.kind = self.kind.map_or(RTN_UNICAST, |kind| kind.0);
        Ok(entry)
    }

    /// The same for the kernel, in which what is not said means any.
    pub(crate) fn pattern(
        &self,
        mut ifindex: impl FnMut(&Selector) -> Result<u32, Error>,
    ) -> Result<route::Entry, Error> {
        let mut next_hops = Vec::new();
        for next_hop in self.next_hops.iter().flatten() {
            next_hops.push(route::NextHopEntry {
                interface: ifindex(&next_hop.interface)?,
                gateway: next_hop.gateway,
                weight: next_hop.weight.unwrap_or(1),
                on_link: next_hop.on_link.unwrap_or(false),
            });
        }
        Ok(route::Entry {
            interface: self.interface.as_ref().map(ifindex).transpose()?,
            gateway: self.gateway,
            next_hops,
            preferred_source: self.preferred_source,
            table: self.table.unwrap_or(RT_TABLE_MAIN),
            protocol: self.protocol.map_or(0, |protocol| protocol.0),
            scope: self.scope.map(|scope| scope.0),
            kind: self.kind.map_or(0, |kind| kind.0),
            priority: self.metric.unwrap_or(0),
            mtu: self.mtu,
            advertised_mss: self.advertised_mss,
            on_link: self.on_link.unwrap_or(false),
            expires_seconds: self.valid_lifetime,
            ..route::Entry::new(self.destination)
        })
    }
}

/// One way of a route that has several.
///
/// Made with [`new`](Self::new).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextHopSettings {
    /// The interface packets leave by: name, alternative name, index or GUID.
    pub interface: Selector,
    /// The router they go to; none where the destination is on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Share of the packets, 1 to 256; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// The gateway is taken to be on the link, even if no address says so (`RTNH_F_ONLINK`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_link: Option<bool>,
}

impl NextHopSettings {
    /// A way to whatever is on the link of that interface.
    pub fn new(interface: impl Into<Selector>) -> Self {
        Self { interface: interface.into(), gateway: None, weight: None, on_link: None }
    }
}

/// A neighbour to be set, or forgotten.
///
/// Made with [`new`](Self::new).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborSettings {
    /// The interface it is behind: name, alternative name, index or GUID.
    pub interface: Selector,
    /// Its IP address.
    pub address: IpAddr,
    /// Its link address. Needed unless it is to be forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub physical_address: Option<HardwareAddress>,
    /// How far the link address can be relied on: `permanent` (when absent), `reachable`, `stale`
    /// or `no_arp`. The kernel enters the others by itself alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<NeighborState>,
}

impl NeighborSettings {
    /// A neighbour of which only the address is said, which is enough to forget it.
    pub fn new(interface: impl Into<Selector>, address: IpAddr) -> Self {
        Self { interface: interface.into(), address, physical_address: None, state: None }
    }

    /// A neighbour that stays as it is.
    pub fn permanent(
        interface: impl Into<Selector>,
        address: IpAddr,
        physical_address: HardwareAddress,
    ) -> Self {
        Self { physical_address: Some(physical_address), ..Self::new(interface, address) }
    }

    pub(crate) fn entry(&self, ifindex: u32) -> Result<neighbor::Entry, Error> {
        let state = match self.state {
            None | Some(NeighborState::Permanent) => neighbor::State::PERMANENT,
            Some(NeighborState::Reachable) => neighbor::State::REACHABLE,
            Some(NeighborState::Stale) => neighbor::State::STALE,
            Some(NeighborState::NoArp) => neighbor::State::NO_ARP,
            Some(_) => {
                return Err(Error::InvalidValue(Failure::new(
                    format_args!("neighbour {}", self.address),
                    "the kernel enters this state by itself alone",
                )));
            }
        };
        let hardware_address = self.physical_address;
        let plain = neighbor::Entry::address(ifindex, self.address);
        Ok(neighbor::Entry { hardware_address, state, ..plain })
    }
}
