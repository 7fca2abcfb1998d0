//! The rows the daemon needs, with the columns it needs.

use std::net::{IpAddr, Ipv4Addr};

use dhcp::v4;
use netlink::kernel::{ENOENT, IFF_DORMANT, RT_TABLE_MAIN, RTN_UNICAST, RTPROT_DHCP};
use netlink::link::{Link, LinkView};
use netlink::route::{Route, RouteView};
use netlink::{Connection, Error, Family, Visit, address, link, route};
use sys::netlink::Socket;
use wire::{HardwareAddress, HardwareType};

use super::ADDRESS_TAG;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// Its index, stable as long as it lives in this namespace.
    pub index: u32,
    /// Its name; replacement characters where it is not UTF-8.
    pub name: String,
    /// ARP hardware type.
    pub hardware_type: HardwareType,
    /// Link-layer address; empty where there is none.
    pub hardware: HardwareAddress,
    /// The link's broadcast address.
    pub broadcast: HardwareAddress,
    /// MTU, bytes.
    pub mtu: u32,
    /// Administratively up, with carrier, and not waiting for authentication (`IFF_DORMANT`).
    pub is_up: bool,
    /// The loopback, which never is a DHCP client.
    pub is_loopback: bool,
}

impl LinkRow {
    pub(super) fn new(view: &LinkView<'_>) -> Self {
        let flags = view.flags;
        Self {
            index: view.index,
            name: view.name.to_string(),
            hardware_type: HardwareType(view.hardware_type),
            hardware: HardwareAddress::new(view.hardware_address).unwrap_or_default(),
            broadcast: HardwareAddress::new(view.broadcast_address).unwrap_or_default(),
            mtu: view.mtu,
            is_up: flags.is_up() && flags.is_lower_up() && flags.0 & IFF_DORMANT == 0,
            is_loopback: flags.is_loopback(),
        }
    }

    /// As the engine needs to know it.
    pub fn link(&self) -> v4::Link {
        v4::Link {
            up: self.is_up,
            hardware_type: self.hardware_type,
            hardware: self.hardware,
            mtu: self.mtu,
        }
    }
}

/// An IPv4 address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRow {
    /// The interface.
    pub interface: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// Its prefix length.
    pub prefix_length: u8,
    /// It carries our tag.
    pub is_ours: bool,
    /// It has an end, as leased addresses do.
    pub is_dynamic: bool,
}

impl AddressRow {
    pub(super) fn new(row: &address::Address) -> Option<Self> {
        let IpAddr::V4(address) = row.address else { return None };
        Some(Self {
            interface: row.interface,
            address,
            prefix_length: row.prefix_length,
            is_ours: row.protocol == Some(ADDRESS_TAG),
            is_dynamic: row.valid_seconds.is_some(),
        })
    }
}

/// An IPv4 route that some DHCP client made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRow {
    /// The interface it leads through.
    pub interface: u32,
    /// Destination and gateway.
    pub route: v4::Route,
    /// Its metric.
    pub metric: u32,
    /// Its preferred source.
    pub source: Option<Ipv4Addr>,
}

impl RouteRow {
    /// `None` for routes that are none of a DHCP client's.
    pub(super) fn new(view: &RouteView<'_>) -> Option<Self> {
        let of_dhcp =
            view.protocol == RTPROT_DHCP && view.table == RT_TABLE_MAIN && view.kind == RTN_UNICAST;
        let IpAddr::V4(destination) = view.destination.address else { return None };
        let gateway = match view.gateway {
            Some(IpAddr::V4(gateway)) => Some(gateway),
            Some(IpAddr::V6(_)) => return None,
            None => None,
        };
        let source = match view.preferred_source {
            Some(IpAddr::V4(source)) => Some(source),
            _ => None,
        };
        of_dhcp.then_some(Self {
            interface: view.interface?,
            route: v4::Route { destination, prefix_length: view.destination.length, gateway },
            metric: view.priority,
            source,
        })
    }
}

/// Everything there is, at one time each.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Interfaces.
    pub links: Vec<LinkRow>,
    /// IPv4 addresses.
    pub addresses: Vec<AddressRow>,
    /// IPv4 routes of DHCP clients.
    pub routes: Vec<RouteRow>,
}

impl Tables {
    pub(super) fn read(connection: &mut Connection<Socket>) -> Result<Self, Error> {
        let links = links(connection)?;
        let mut addresses = Vec::new();
        connection.visit::<address::Address>(&address::dump(Family::Ipv4, None), |visit| {
            match visit {
                Visit::Row(row) => addresses.extend(AddressRow::new(&row)),
                Visit::Restart => addresses.clear(),
            }
        })?;
        let mut routes = Vec::new();
        let request = route::dump(Family::Ipv4, Some(RT_TABLE_MAIN), None);
        let read = connection.visit::<Route>(&request, |visit| match visit {
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
pub fn links(connection: &mut Connection<Socket>) -> Result<Vec<LinkRow>, Error> {
    let mut links = Vec::new();
    connection.visit::<Link>(&link::dump(), |visit| match visit {
        Visit::Row(view) => links.push(LinkRow::new(&view)),
        Visit::Restart => links.clear(),
    })?;
    Ok(links)
}
