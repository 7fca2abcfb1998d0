//! What the kernel has, and what others do to what is ours there.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use api::daemon::ProblemKind;
use dhcp::v4;
use engine::Refused;
use wire::arp;

use super::Roster;
use super::key::ClientKey;
use super::output::Output;
use crate::host::{AddressRow, Change, Notice, Route, RouteRow, Tables};
use crate::problems::Subject;

impl Roster {
    pub(super) fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Link(link) => self.on_link(link),
            Notice::LinkGone(ifindex) => self.on_link_gone(ifindex),
            Notice::Address(row) => self.on_address(row),
            Notice::AddressGone(row) => {
                self.forget_foreign(row);
                self.on_address_gone(row);
            }
            Notice::AddressTakenAlong(row) => self.forget_foreign(row),
            Notice::RouteGone(row) => self.on_route_gone(row),
            Notice::Lost => {
                self.counters.count("kernel_notifications_lost");
                self.read_tables();
            }
        }
    }

    /// Has the tables read, to find out what notifications did not tell.
    pub(super) fn read_tables(&mut self) {
        if !self.is_reading_tables {
            self.is_reading_tables = true;
            let installed = self.interfaces.iter();
            let installed = installed.map(|(key, interface)| (*key, interface.installed.clone()));
            self.expected = installed.collect();
            self.put(Output::ReadTables);
        }
    }

    /// Compares what there is with what is known. Notifications may run ahead of the tables; what
    /// is compared here is true at worst for a moment too long, and the next one corrects it. What
    /// was installed after the reading was asked for is not missed.
    pub(super) fn on_tables(&mut self, tables: Result<Tables, Refused>) {
        self.is_reading_tables = false;
        self.knows_tables = true;
        let (subject, kind) = (Subject::Part("kernel"), ProblemKind::KernelUnreadable);
        let tables = match tables {
            Ok(tables) => tables,
            Err(refused) => {
                return self.put(Output::Raise { subject, kind, text: refused.text });
            }
        };
        self.put(Output::Clear { subject, kind });
        let present: BTreeSet<u32> = tables.links.iter().map(|link| link.index).collect();
        let gone: Vec<u32> =
            self.links.keys().copied().filter(|index| !present.contains(index)).collect();
        gone.into_iter().for_each(|ifindex| self.on_link_gone(ifindex));
        tables.links.into_iter().for_each(|link| self.on_link(link));
        for (client, input) in self.missing(&tables.addresses, &tables.routes) {
            self.tell(client, input);
        }
        self.remove_left_behind(&tables.addresses);
        self.foreign.clear();
        tables.addresses.into_iter().for_each(|row| self.on_address(row));
    }

    /// What was ours when the tables were asked for and still should be, and is not in them.
    fn missing(
        &mut self,
        addresses: &[AddressRow],
        routes: &[RouteRow],
    ) -> Vec<(ClientKey, v4::Input<'static>)> {
        let address = |row: &AddressRow| Some((row.interface, ipv4(row.address)?));
        let addresses: HashSet<_> = addresses.iter().filter_map(address).collect();
        let route = |row: &RouteRow| Some((row.interface, ipv4_route(&row.route)?));
        let routes: HashSet<_> = routes.iter().filter_map(route).collect();
        let mut missing = Vec::new();
        for (client, expected) in std::mem::take(&mut self.expected) {
            let Some(interface) = self.interfaces.get(&client) else { continue };
            let ifindex = client.ifindex;
            for (address, _) in &expected.addresses {
                let is_there = addresses.contains(&(ifindex, *address));
                if !is_there && interface.installed.expects(*address, self.now) {
                    missing.push((client, v4::Input::AddressRemoved(*address)));
                }
            }
            let still = |route: &&_| interface.installed.routes.contains(route);
            for route in expected.routes.iter().filter(still) {
                if !routes.contains(&(ifindex, *route)) {
                    missing.push((client, v4::Input::RouteRemoved(*route)));
                }
            }
        }
        missing
    }

    /// Removes addresses with our tag that no lease speaks for: an earlier daemon was killed and
    /// its lease is over, or another server's lease took its place.
    fn remove_left_behind(&mut self, addresses: &[AddressRow]) {
        for row in addresses.iter().filter(|row| row.is_ours) {
            let client = self.key(row.interface);
            let Some(interface) = self.interfaces.get(&client) else { continue };
            let Some(address) = ipv4(row.address) else { continue };
            let is_leased = interface.client.lease().is_some_and(|lease| lease.address == address);
            let is_link_local = interface.client.link_local() == Some(address);
            let is_installed =
                interface.installed.addresses.iter().any(|(known, _)| *known == address);
            if !is_leased && !is_link_local && !is_installed {
                tracing::info!(
                    "{}: removing {}, which nobody leases any more",
                    self.name(row.interface),
                    row.address
                );
                let AddressRow { interface, address, prefix_length, .. } = *row;
                let change = Change::RemoveAddress { interface, address, prefix_length };
                self.change_unasked(client, change);
            }
        }
    }

    fn on_address(&mut self, row: AddressRow) {
        if !row.is_ours {
            self.forget_foreign(row);
            self.foreign.entry(row.interface).or_default().push(row);
            self.keep_others(row.interface);
        }
    }

    /// Sees to it that an address of somebody else's on a managed interface stays when ours goes.
    fn keep_others(&mut self, ifindex: u32) {
        let client = self.key(ifindex);
        let Some(interface) = self.interfaces.get_mut(&client) else { return };
        if !std::mem::replace(&mut interface.keeps_others, true) {
            self.change_unasked(client, Change::KeepOtherAddresses { interface: ifindex });
        }
    }

    fn forget_foreign(&mut self, row: AddressRow) {
        if let Some(rows) = self.foreign.get_mut(&row.interface) {
            rows.retain(|known| known.address != row.address);
        }
    }

    fn on_address_gone(&mut self, row: AddressRow) {
        if self.is_missed(&row)
            && let Some(address) = ipv4(row.address)
        {
            tracing::warn!("{}: somebody removed {address}", self.name(row.interface));
            self.tell(self.key(row.interface), v4::Input::AddressRemoved(address));
        }
    }

    fn on_route_gone(&mut self, row: RouteRow) {
        if self.is_missed_route(&row)
            && let Some(route) = ipv4_route(&row.route)
        {
            let name = self.name(row.interface);
            tracing::warn!("{name}: somebody removed the route to {}", row.route);
            self.tell(self.key(row.interface), v4::Input::RouteRemoved(route));
        }
    }

    /// Whether an address that went should be there: it is ours and has not run out.
    pub(crate) fn is_missed(&self, row: &AddressRow) -> bool {
        let interface = self.interfaces.get(&self.key(row.interface));
        let (Some(interface), Some(address)) = (interface, ipv4(row.address)) else { return false };
        interface.installed.expects(address, self.now)
    }

    /// Whether a route that went should be there.
    pub(crate) fn is_missed_route(&self, row: &RouteRow) -> bool {
        let Some(interface) = self.interfaces.get(&self.key(row.interface)) else { return false };
        let is_up = self.links.get(&row.interface).is_some_and(|link| link.is_up);
        let installed = &interface.installed;
        let is_installed =
            ipv4_route(&row.route).is_some_and(|route| installed.routes.contains(&route));
        let is_ours = row.metric == interface.metric && is_installed;
        // The kernel takes the routes of an address that runs out along with it.
        let lives =
            installed.addresses.iter().any(|(address, _)| installed.expects(*address, self.now));
        is_ours && is_up && lives
    }

    /// An address of the interface that was configured by hand, or by somebody else.
    pub(super) fn address_of_others(&self, ifindex: u32) -> Option<Ipv4Addr> {
        self.foreign.get(&ifindex)?.iter().find_map(|row| ipv4(row.address))
    }

    pub(super) fn on_arp(&mut self, client: ClientKey, packet: &arp::Packet) {
        // A host answers for all its addresses on all its interfaces (arp_ignore = 0), so that
        // interfaces on one link seem to dispute each other's.
        if self.own_hardware.contains_key(&packet.sender_hardware) {
            self.counters.count("arp_of_own_interfaces");
        } else {
            self.tell(client, v4::Input::Arp(packet));
        }
    }
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// A route as the DHCP engine knows it, if it is one of IPv4 by way of IPv4.
fn ipv4_route(route: &Route) -> Option<v4::Route> {
    let gateway = route.gateway.map(ipv4);
    Some(v4::Route {
        destination: ipv4(route.destination)?,
        prefix_length: route.prefix_length,
        gateway: match gateway {
            Some(gateway) => Some(gateway?),
            None => None,
        },
    })
}
