//! The rows the daemon needs, with the columns it needs.

use std::fmt;
use std::net::IpAddr;

use ::tables::{Guid, Machine};
use netlink::kernel::{ENOENT, IFF_DORMANT, RT_TABLE_MAIN, RTN_UNICAST, RTPROT_DHCP};
use netlink::link::{Link, LinkView};
use netlink::route::RouteView;
use netlink::{Connection, Error, Family, Visit, address, link, route};
use sys::netlink::Socket;
use wire::{HardwareAddress, HardwareType};

use super::ADDRESS_TAG;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkRow {
    /// Its index, stable as long as it lives in this namespace.
    pub(crate) index: u32,
    /// Its name; replacement characters where it is not UTF-8.
    pub(crate) name: String,
    /// Other names it answers to, up to 127 bytes each (`IFLA_PROP_LIST`).
    pub(crate) alternative_names: Vec<String>,
    /// What it goes by across reboots.
    pub(crate) guid: Guid,
    /// ARP hardware type.
    pub(crate) hardware_type: HardwareType,
    /// Link-layer address; empty where there is none.
    pub(crate) hardware: HardwareAddress,
    /// The link's broadcast address.
    pub(crate) broadcast: HardwareAddress,
    /// MTU, bytes.
    pub(crate) mtu: u32,
    /// Administratively up, with carrier, and not waiting for authentication (`IFF_DORMANT`).
    pub(crate) is_up: bool,
    /// The loopback, which never is a DHCP client.
    pub(crate) is_loopback: bool,
}

impl LinkRow {
    pub(super) fn new(view: &LinkView<'_>, machine: &Machine) -> Self {
        let flags = view.flags;
        Self {
            index: view.index,
            name: view.name.to_string(),
            alternative_names: view
                .alternative_names()
                .map(|name| name.to_string_lossy().into_owned())
                .collect(),
            guid: machine.guid(view),
            hardware_type: HardwareType(view.hardware_type),
            hardware: HardwareAddress::new(view.hardware_address).unwrap_or_default(),
            broadcast: HardwareAddress::new(view.broadcast_address).unwrap_or_default(),
            mtu: view.mtu,
            is_up: flags.is_up() && flags.is_lower_up() && flags.0 & IFF_DORMANT == 0,
            is_loopback: flags.is_loopback(),
        }
    }
}

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressRow {
    /// The interface.
    pub(crate) interface: u32,
    /// The address.
    pub(crate) address: IpAddr,
    /// Its prefix length.
    pub(crate) prefix_length: u8,
    /// It carries our tag.
    pub(crate) is_ours: bool,
    /// It has an end, as leased addresses do.
    pub(crate) is_dynamic: bool,
}

impl AddressRow {
    pub(super) fn new(row: &address::Address) -> Self {
        Self {
            interface: row.interface,
            address: row.address,
            prefix_length: row.prefix_length,
            is_ours: row.protocol == Some(ADDRESS_TAG),
            is_dynamic: row.valid_seconds.is_some(),
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// The destination's network.
    pub(crate) destination: IpAddr,
    /// How many of its bits count.
    pub(crate) prefix_length: u8,
    /// The next hop; `None` for what is on the link.
    pub(crate) gateway: Option<IpAddr>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination, self.prefix_length)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, " via {gateway}"))
    }
}

/// A route that some DHCP client made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteRow {
    /// The interface it leads through.
    pub(crate) interface: u32,
    /// Destination and gateway.
    pub(crate) route: Route,
    /// Its metric.
    pub(crate) metric: u32,
}

impl RouteRow {
    /// `None` for routes that are none of a DHCP client's.
    pub(super) fn new(view: &RouteView<'_>) -> Option<Self> {
        let of_dhcp =
            view.protocol == RTPROT_DHCP && view.table == RT_TABLE_MAIN && view.kind == RTN_UNICAST;
        let route = Route {
            destination: view.destination.address,
            prefix_length: view.destination.length,
            gateway: view.gateway,
        };
        of_dhcp.then_some(Self { interface: view.interface?, route, metric: view.priority })
    }
}

/// Everything there is, at one time each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    /// Interfaces.
    pub(crate) links: Vec<LinkRow>,
    /// IPv4 addresses.
    pub(crate) addresses: Vec<AddressRow>,
    /// IPv4 routes of DHCP clients.
    pub(crate) routes: Vec<RouteRow>,
}

impl Tables {
    pub(super) fn read(connection: &mut Connection<Socket>) -> Result<Self, Error> {
        let links = links(connection)?;
        let mut addresses = Vec::new();
        connection.visit::<address::Address>(&address::dump(Family::Ipv4, None), |visit| {
            match visit {
                Visit::Row(row) => addresses.push(AddressRow::new(&row)),
                Visit::Restart => addresses.clear(),
            }
        })?;
        let mut routes = Vec::new();
        let request = route::dump(Family::Ipv4, Some(RT_TABLE_MAIN), None);
        let read = connection.visit::<route::Route>(&request, |visit| match visit {
            Visit::Row(view) => routes.extend(RouteRow::new(&view)),
            Visit::Restart => routes.clear(),
        });
        match read {
            // The main table is made with the first route.
            Err(Error::Refused(refusal)) if refusal.code == ENOENT => {}
            other => other?,
        }
        Ok(Self { links, addresses, routes })
    }
}

/// Reads the interfaces.
pub(crate) fn links(connection: &mut Connection<Socket>) -> Result<Vec<LinkRow>, Error> {
    let machine = Machine::local();
    let mut links = Vec::new();
    connection.visit::<Link>(&link::dump(), |visit| match visit {
        Visit::Row(view) => links.push(LinkRow::new(&view, &machine)),
        Visit::Restart => links.clear(),
    })?;
    Ok(links)
}
