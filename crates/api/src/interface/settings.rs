use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use tables::{HardwareAddress, Name, NeighborKernelState, NeighborState, Prefix};
use tables::{Protocol, RouteType, Scope};

use super::Error;

/// An address to be put on an interface, or taken off it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressSettings {
    /// Name, alternative name or GUID.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// How many of its bits name the network.
    pub prefix_length: u8,
    /// The other end's address, on point-to-point links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The address that reaches everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Ipv4Addr>,
    /// `global` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// A name; IPv4 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Name>,
    /// Seconds; for ever when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_lifetime: Option<u32>,
    /// Seconds; for ever when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_lifetime: Option<u32>,
    /// Without a route to its network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_prefix_route: Option<bool>,
    /// Metric of the route to its network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// Who makes it (`IFAPROT_*`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
}

impl AddressSettings {
    /// An address that stays, with nothing special about it.
    pub fn new(interface: impl Into<String>, address: IpAddr, prefix_length: u8) -> Self {
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

    /// The same for the kernel, given the interface's index.
    pub(super) fn entry(&self, ifindex: u32) -> tables::AddressSettings {
        let plain = tables::AddressSettings::new(ifindex, self.address, self.prefix_length);
        tables::AddressSettings {
            peer: self.peer,
            broadcast: self.broadcast,
            scope: self.scope.map_or(plain.scope, |scope| scope.0),
            label: self.label,
            valid_seconds: self.valid_lifetime,
            preferred_seconds: self.preferred_lifetime,
            without_prefix_route: self.without_prefix_route.unwrap_or(false),
            metric: self.metric.unwrap_or(0),
            protocol: self.protocol,
            ..plain
        }
    }
}

/// One way of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextHopSettings {
    /// The interface packets leave by.
    pub interface: String,
    /// The router they go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Share of the packets, 1 to 256; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// The gateway is taken to be on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_link: Option<bool>,
}

/// A route to be made, or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// Where packets are going.
    pub destination: Prefix,
    /// The interface they leave by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The router they go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Several ways instead of the one above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hops: Option<Vec<NextHopSettings>>,
    /// 254, main, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// `unicast` when absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<RouteType>,
    /// `static` when absent; any, for a route to be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// What follows from type and gateway, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Routes with smaller numbers win.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// The source address for packets of this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_source: Option<IpAddr>,
    /// Largest packet on this path, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Maximum segment size told to TCP peers, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertised_mss: Option<u32>,
    /// The gateway is taken to be on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_link: Option<bool>,
    /// Seconds. IPv6 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_lifetime: Option<u32>,
}

/// What is done with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Make,
    Remove,
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

    /// The same for the kernel, given a way to find out the index of an interface.
    pub(super) fn entry(
        &self,
        purpose: Purpose,
        mut ifindex: impl FnMut(&str) -> Result<u32, Error>,
    ) -> Result<tables::RouteSettings, Error> {
        let plain = tables::RouteSettings::new(self.destination);
        // What is not said about a route to be removed is 0: any.
        let usual = |number: u8| if purpose == Purpose::Make { number } else { 0 };
        let mut next_hops = Vec::new();
        for next_hop in self.next_hops.iter().flatten() {
            next_hops.push(tables::NextHopSettings {
                interface: ifindex(&next_hop.interface)?,
                gateway: next_hop.gateway,
                weight: next_hop.weight.unwrap_or(1),
                on_link: next_hop.on_link.unwrap_or(false),
            });
        }
        Ok(tables::RouteSettings {
            interface: self.interface.as_deref().map(ifindex).transpose()?,
            gateway: self.gateway,
            next_hops,
            preferred_source: self.preferred_source,
            table: self.table.unwrap_or(plain.table),
            protocol: self.protocol.map_or(usual(plain.protocol), |protocol| protocol.0),
            scope: self.scope.map(|scope| scope.0),
            kind: self.kind.map_or(usual(plain.kind), |kind| kind.0),
            priority: self.metric.unwrap_or(0),
            mtu: self.mtu,
            advertised_mss: self.advertised_mss,
            on_link: self.on_link.unwrap_or(false),
            expires_seconds: self.valid_lifetime,
            ..plain
        })
    }
}

/// A neighbour to be set, or forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborSettings {
    /// Name, alternative name or GUID of the interface it is behind.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Its link address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub physical_address: Option<HardwareAddress>,
    /// `permanent` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<NeighborState>,
}

impl NeighborSettings {
    /// The same for the kernel, given the interface's index.
    pub(super) fn entry(&self, ifindex: u32) -> Result<tables::NeighborSettings, Error> {
        let state = match self.state {
            None | Some(NeighborState::Permanent) => NeighborKernelState::PERMANENT,
            Some(NeighborState::Reachable) => NeighborKernelState::REACHABLE,
            Some(NeighborState::Stale) => NeighborKernelState::STALE,
            Some(NeighborState::NoArp) => NeighborKernelState::NO_ARP,
            Some(_) => {
                return Err(Error::InvalidValue {
                    subject: format!("neighbour {}", self.address),
                    problem: "the kernel enters this state by itself alone".to_owned(),
                });
            }
        };
        let hardware_address = self.physical_address;
        let plain = tables::NeighborSettings::address(ifindex, self.address);
        Ok(tables::NeighborSettings { hardware_address, state, ..plain })
    }
}
