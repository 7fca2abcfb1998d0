//! What each notification does to the tables, and what the kernel leaves unsaid.

use std::net::IpAddr;

use netlink::Change as Presence;
use netlink::Family;
use netlink::address::{Address, Role};
use netlink::kernel::{
    IFF_LOWER_UP, IFF_RUNNING, RT_SCOPE_HOST, RTM_F_CLONED, RTN_ANYCAST, RTN_LOCAL, RTPROT_KERNEL,
};
use netlink::link::{Ipv6Link, LinkView, Netconf};
use netlink::route::RouteView;

use super::Table;
use super::cache::Cache;
use crate::directory::Entry;
use crate::row::Row as _;
use crate::{
    AdminStatus, AnycastAddress, Interface, IpInterface, MulticastAddress, Neighbor, NextHop,
    Route, RouteKey, UnicastAddress, stack,
};

impl Cache {
    pub(super) fn link(&mut self, view: &LinkView<'_>) {
        let ifindex = view.index;
        let entry = Entry::new(view);
        let former_entry = self.directory.insert(ifindex, entry);
        if former_entry.is_some_and(|former| former != entry) {
            self.rename(ifindex, entry);
        }
        let mut row = Interface::new(view, &self.machine);
        let former = self.interfaces.get(&ifindex);
        if let Some(former) = former {
            // Notifications do not carry speeds.
            row.transmit_link_speed = former.transmit_link_speed;
            row.receive_link_speed = former.receive_link_speed;
        }
        let above = |row: &Interface| stack::pairs(row).map(|pair| (pair.higher, pair.lower));
        self.stack_moved |= former.is_none_or(|former| !above(former).eq(above(&row)));
        let moved = former.map(|former| (reach(former), reach(&row)));
        if former.is_some_and(|former| former.mtu != row.mtu) {
            // IPv6 hears of it after this was said: its own MTU follows, or it comes or goes.
            self.link_may_differ(ifindex);
        }
        let other_end = stack::other_end(&row);
        self.interfaces.put(row, &mut self.changes);
        if let Some(peer) = other_end.and_then(|peer| self.interfaces.get(&peer))
            && peer.lower.is_none()
        {
            // It was told when it had no other end yet.
            let peer = Interface { lower: Some(ifindex), ..peer.clone() };
            self.interfaces.put(peer, &mut self.changes);
        }
        if let Some((before, now)) = moved {
            self.reach_moved(ifindex, before, now);
        }
        if self.subscription.includes(Table::IpInterface) {
            for family in [Family::Ipv4, Family::Ipv6] {
                match IpInterface::new(view, family, self.timeouts) {
                    Some(row) => self.ip_interfaces.put(row, &mut self.changes),
                    None => _ = self.ip_interfaces.remove(&(ifindex, family), &mut self.changes),
                }
            }
        }
        if view.ipv6().is_none() {
            self.ipv6_gone(ifindex);
        }
        for (presence, address) in self.early.remove(&ifindex).unwrap_or_default() {
            self.address(presence, &address);
        }
    }

    /// Does to the routes over an interface what the kernel does without a word when the interface
    /// goes up or down, or its carrier does.
    fn reach_moved(&mut self, ifindex: u32, before: Reach, now: Reach) {
        if before == now || !self.subscription.includes(Table::Route) {
            return;
        }
        let via = |way: &NextHop| way.ifindex == Some(ifindex);
        if before.up && now.up {
            // What is local to this host does not need the carrier (fib_sync_down_dev,
            // fib6_ifdown).
            let needs_carrier = |route: &Route| match route.family {
                Family::Ipv6 => !matches!(route.kind.0, RTN_LOCAL | RTN_ANYCAST),
                _ => route.scope.0 != RT_SCOPE_HOST,
            };
            let mut routes: Vec<Route> =
                self.routes_of(ifindex).filter(|route| needs_carrier(route)).cloned().collect();
            for route in &mut routes {
                for way in route.next_hops.iter_mut().filter(|way| via(way)) {
                    way.link_down = !now.carrier;
                }
            }
            for route in routes {
                self.put_route(route);
            }
            return;
        }
        // Down: IPv4 routes go, or one of their ways does. Up: that way may be used again.
        let is_dead = |route: &Route| route.next_hops.iter().any(|way| via(way) && way.dead);
        if before.up || self.routes_of(ifindex).any(is_dead) {
            self.routes_may_differ(ifindex);
        }
    }

    /// With an interface goes what belongs to it. The kernel told most of that before.
    pub(super) fn link_gone(&mut self, ifindex: u32) {
        self.early.remove(&ifindex);
        self.stale_links.remove(&ifindex);
        self.stale_routes.remove(&ifindex);
        let changes = &mut self.changes;
        macro_rules! purge {
            ($table:ident, $belongs:expr) => {
                let keys: Vec<_> =
                    self.$table.rows().filter($belongs).map(|row| row.key()).collect();
                for key in keys {
                    self.$table.remove(&key, changes);
                }
            };
        }
        if self.interfaces.get(&ifindex).is_none() {
            return;
        }
        purge!(neighbors, |row| row.ifindex == ifindex);
        self.routes_changed_at.retain(|key, _| {
            key.ways.is_empty() || key.ways.iter().any(|(way, _)| *way != Some(ifindex))
        });
        purge!(routes, |row| row.interfaces().all(|way| way == ifindex)
            && !row.next_hops.is_empty());
        purge!(anycast, |row| row.ifindex == ifindex);
        purge!(multicast, |row| row.ifindex == ifindex);
        purge!(unicast, |row| row.ifindex == ifindex);
        for family in [Family::Ipv4, Family::Ipv6] {
            self.ip_interfaces.remove(&(ifindex, family), changes);
        }
        self.interfaces.remove(&ifindex, changes);
        self.directory.remove(ifindex);
        self.stack_moved = true;
        // Multipath routes go on without this way.
        let others: Vec<u32> = self.routes_of(ifindex).flat_map(Route::interfaces).collect();
        self.stale_routes.extend(others.into_iter().filter(|other| *other != ifindex));
    }

    /// With IPv6 go its addresses. The kernel does not tell of the last groups.
    fn ipv6_gone(&mut self, ifindex: u32) {
        let changes = &mut self.changes;
        macro_rules! purge {
            ($($table:ident),+) => {
                $(let keys: Vec<_> = self
                    .$table
                    .rows()
                    .filter(|row| row.ifindex == ifindex && row.family == Family::Ipv6)
                    .map(|row| row.key())
                    .collect();
                for key in keys {
                    self.$table.remove(&key, changes);
                })+
            };
        }
        purge!(anycast, multicast, unicast);
    }

    /// Writes an interface's new name, or LUID, into the rows that show it.
    fn rename(&mut self, ifindex: u32, entry: Entry) {
        let changes = &mut self.changes;
        macro_rules! rename {
            ($table:ident, $belongs:expr, $row:ident => $write:block) => {
                let rows: Vec<_> = self.$table.rows().filter($belongs).cloned().collect();
                for mut $row in rows {
                    $write
                    self.$table.put($row, changes);
                }
            };
            ($($table:ident),+) => {
                $(rename!($table, |row| row.ifindex == ifindex, row => {
                    (row.interface, row.luid) = (entry.name, entry.luid);
                });)+
            };
        }
        rename!(unicast, |row| row.ifindex == ifindex, row => {
            (row.interface, row.luid) = (entry.name, entry.luid);
            row.label = row.label.filter(|label| *label != entry.name);
        });
        rename!(multicast, anycast, neighbors);
        let leads = |row: &&Route| row.interfaces().any(|other| other == ifindex);
        rename!(routes, leads, row => {
            for way in row.next_hops.iter_mut().filter(|way| way.ifindex == Some(ifindex)) {
                (way.interface, way.luid) = (Some(entry.name), Some(entry.luid));
            }
        });
        self.stack_moved = true;
    }

    pub(super) fn address(&mut self, presence: Presence, address: &Address) {
        let ifindex = address.interface;
        let Some(entry) = self.directory.get(ifindex) else {
            // A new interface joins its first groups before the kernel tells of it.
            self.early.entry(ifindex).or_default().push((presence, *address));
            return;
        };
        let changes = &mut self.changes;
        macro_rules! keep {
            ($table:ident, $row:ident, $kind:ident) => {
                if self.subscription.includes(Table::$kind) {
                    let row = $row::new(address, entry);
                    match presence {
                        Presence::Present => self.$table.put(row, changes),
                        Presence::Gone => _ = self.$table.remove(&row.key(), changes),
                    }
                }
            };
        }
        match address.role {
            Role::Unicast => keep!(unicast, UnicastAddress, UnicastAddress),
            Role::Multicast => keep!(multicast, MulticastAddress, MulticastAddress),
            Role::Anycast => keep!(anycast, AnycastAddress, AnycastAddress),
        }
        if presence == Presence::Gone && address.role == Role::Unicast {
            // IPv4 routes that prefer it go, by whatever interface; IPv6 ones prefer nothing then.
            let prefers = |route: &&Route| route.preferred_source == Some(address.address);
            let ways: Vec<u32> = self.routes.rows().filter(prefers).flat_map(ways).collect();
            self.stale_routes.extend(ways);
        }
        match (address.address, presence) {
            // The first sign of IPv6 being turned on, and the last when it is turned off.
            (IpAddr::V6(ipv6), _) if ipv6.is_unicast_link_local() => {
                let known = self.ip_interfaces.get(&(ifindex, Family::Ipv6)).is_some();
                if known != (presence == Presence::Present) {
                    self.link_may_differ(ifindex);
                }
            }
            _ => {}
        }
    }

    pub(super) fn route(&mut self, view: &RouteView<'_>) {
        if view.flags & RTM_F_CLONED != 0 || !self.subscription.includes(Table::Route) {
            return;
        }
        let route = Route::new(view, &self.directory);
        let key = route.key();
        // Is the new one beside those of the same metric, or in their place? The same goes for
        // IPv6, where the ways of a multipath route come one by one. What the kernel makes itself
        // is beside: it has a route to all groups by every interface.
        if route.protocol.0 != RTPROT_KERNEL && self.routes.get(&key).is_none() {
            let rivals: Vec<u32> = self.rivals(&key).flat_map(ways).collect();
            if !rivals.is_empty() {
                self.stale_routes.extend(rivals);
                self.stale_routes.extend(ways(&route));
            }
        }
        self.put_route(route);
    }

    /// Adds or replaces a route, and notes when.
    pub(super) fn put_route(&mut self, route: Route) {
        let told = self.changes.len();
        let key = route.key();
        self.routes.put(route, &mut self.changes);
        if self.changes.len() > told
            && let Some(now) = self.now
        {
            self.routes_changed_at.insert(key, now);
        }
    }

    /// Removes a route; returns whether it was there.
    pub(super) fn remove_route(&mut self, key: &RouteKey) -> bool {
        self.routes_changed_at.remove(key);
        self.routes.remove(key, &mut self.changes)
    }

    pub(super) fn route_gone(&mut self, view: &RouteView<'_>) {
        if view.flags & RTM_F_CLONED != 0 || !self.subscription.includes(Table::Route) {
            return;
        }
        let route = Route::new(view, &self.directory);
        let key = route.key();
        if !self.remove_route(&key) && route.protocol.0 != RTPROT_KERNEL {
            // One way of several.
            let rivals: Vec<u32> = self.rivals(&key).flat_map(ways).collect();
            self.stale_routes.extend(rivals);
        }
    }

    /// The routes that differ from `key` in nothing but what they do and the ways they go.
    fn rivals(&self, key: &RouteKey) -> impl Iterator<Item = &Route> {
        let key = key.clone();
        let first = RouteKey { kind: crate::RouteType(0), ways: Vec::new(), ..key.clone() };
        self.routes.range(first..).take_while(move |row| {
            row.table == key.table
                && row.destination == key.destination
                && row.source == key.source
                && row.type_of_service == key.type_of_service
                && row.metric == key.metric
        })
    }

    pub(super) fn routes_of(&self, ifindex: u32) -> impl Iterator<Item = &Route> {
        self.routes.rows().filter(move |route| route.interfaces().any(|other| other == ifindex))
    }

    /// The routes that refer to a next-hop object go with it, or go another way.
    pub(super) fn next_hop_moved(&mut self, id: u32) {
        if self.routes.rows().any(|route| route.next_hop_id == Some(id)) {
            // By which interfaces they go then is not known.
            self.stale_routes.insert(0);
        }
    }

    pub(super) fn neighbor(&mut self, presence: Presence, row: &netlink::neighbor::Neighbor) {
        if row.is_proxy || !self.subscription.includes(Table::Neighbor) {
            return;
        }
        let Some(entry) = self.directory.get(row.interface) else { return };
        let row = Neighbor::new(row, entry);
        match presence {
            Presence::Present => self.neighbors.put(row, &mut self.changes),
            Presence::Gone => _ = self.neighbors.remove(&row.key(), &mut self.changes),
        }
    }

    pub(super) fn ipv6(&mut self, presence: Presence, row: &Ipv6Link) {
        let settings = &row.settings;
        let known = self.ip_interfaces.get(&(row.index, Family::Ipv6));
        let same = match (known, presence) {
            (Some(known), Presence::Present) => {
                settings.is_disabled() != Some(true)
                    && known.managed_address_configuration_supported
                        == settings.managed_address_configuration()
                    && known.other_stateful_configuration_supported
                        == settings.other_stateful_configuration()
                    && known.retransmit_time == settings.retransmit_milliseconds
                    && settings.mtu().is_none_or(|mtu| i64::from(mtu) == i64::from(known.nl_mtu))
            }
            (None, Presence::Gone) => true,
            _ => false,
        };
        if !same {
            self.link_may_differ(row.index);
        }
    }

    pub(super) fn netconf(&mut self, presence: Presence, row: Netconf) {
        let Some(ifindex) = row.interface else { return };
        let known = self.ip_interfaces.get(&(ifindex, row.family));
        let same = match (known, presence, row.forwarding) {
            (Some(known), Presence::Present, Some(on)) => known.forwarding_enabled == on,
            (Some(_), Presence::Present, None) | (None, Presence::Gone, _) => true,
            _ => false,
        };
        if !same {
            self.link_may_differ(ifindex);
        }
    }

    fn link_may_differ(&mut self, ifindex: u32) {
        let concerned = [Table::IpInterface, Table::MulticastAddress, Table::AnycastAddress];
        let is_watched = concerned.into_iter().any(|table| self.subscription.includes(table));
        if is_watched && self.directory.get(ifindex).is_some() {
            self.stale_links.insert(ifindex);
        }
    }

    fn routes_may_differ(&mut self, ifindex: u32) {
        if self.subscription.includes(Table::Route) && self.routes_of(ifindex).next().is_some() {
            self.stale_routes.insert(ifindex);
        }
    }
}

/// Whether packets can leave by an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    up: bool,
    carrier: bool,
}

fn reach(row: &Interface) -> Reach {
    Reach {
        up: row.admin_status == AdminStatus::Up,
        carrier: row.flags & (IFF_RUNNING | IFF_LOWER_UP) != 0,
    }
}

/// Under which interfaces a route has to be read: 0 if it leads to none.
fn ways(route: &Route) -> Vec<u32> {
    let ways: Vec<u32> = route.interfaces().collect();
    if ways.is_empty() { vec![0] } else { ways }
}
