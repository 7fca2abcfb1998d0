use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use netlink::address::{Address, Role};
use netlink::kernel::{
    IFF_LOWER_UP, IFF_RUNNING, RT_SCOPE_HOST, RTM_F_CLONED, RTN_ANYCAST, RTN_LOCAL, RTPROT_KERNEL,
};
use netlink::link::{Ipv6Link, LinkView, Netconf};
use netlink::route::RouteView;
use netlink::{Change as Presence, Event, Family, Request, address, link, neighbor, route};

use super::kept::Kept;
use super::{Change, Subscription, Table};
use crate::directory::{Directory, Entry};
use crate::ip_interface::PathMtuTimeouts;
use crate::row::Row as _;
use crate::{
    AdminStatus, AnycastAddress, Interface, IpInterface, Machine, MulticastAddress, Neighbor,
    NextHop, Route, RouteKey, StackEntry, UnicastAddress, stack,
};

/// Tables that follow the kernel's notifications, without I/O.
///
/// It is told what the kernel says ([`handle`](Self::handle)), says what has to be read from the
/// kernel ([`poll_read`](Self::poll_read)), and yields the changes
/// ([`poll_change`](Self::poll_change)). Its owner does, each time something came:
///
/// 1. Subscribe to notifications before anything else, and hand over all that have come.
/// 2. While there is a read, send its request, hand the rows over ([`read`](Self::read)) and say
///    when it [ended](Self::end_read); a torn reading [begins anew](Self::restart_read).
/// 3. If there was one, hand over the notifications that came meanwhile, and go on with 2.
/// 4. [`settle`](Self::settle): now the changes are complete.
///
/// A table read anew is not told row by row: [`settle`](Self::settle) compares it with what it was,
/// so that a loss of notifications leads to exactly the difference.
///
/// Where the kernel keeps silent (an IPv4 route that ends with its address; IPv4 and IPv6 routes
/// whose ways lose their carrier; settings that are not notified) or speaks ambiguously (a route
/// beside one of the same metric), the cache reads again what may have changed: one interface, or
/// the routes of one interface.
#[derive(Debug)]
pub struct Cache {
    subscription: Subscription,
    machine: Machine,
    timeouts: PathMtuTimeouts,
    directory: Directory,
    interfaces: Kept<Interface>,
    ip_interfaces: Kept<IpInterface>,
    unicast: Kept<UnicastAddress>,
    multicast: Kept<MulticastAddress>,
    anycast: Kept<AnycastAddress>,
    routes: Kept<Route>,
    neighbors: Kept<Neighbor>,
    stack: Kept<StackEntry>,
    /// Something about the stack may have changed.
    stack_moved: bool,
    /// Notifications were lost: everything has to be read.
    lost: bool,
    /// Whole tables that have yet to be read, the last first.
    reads: Vec<Read>,
    /// Interfaces to be read again.
    stale_links: BTreeSet<u32>,
    /// Interfaces whose routes have to be read again; 0 for those without any.
    stale_routes: BTreeSet<u32>,
    /// What was told of addresses whose interface is not known yet.
    early: BTreeMap<u32, Vec<(Presence, Address)>>,
    /// The routes of one interface, while they are read.
    partial: Vec<Route>,
    changes: VecDeque<Change>,
}

/// Something to be read from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Read {
    /// All interfaces.
    Links,
    /// One interface. Not being there is an answer: see [`Cache::end_read`].
    Link(u32),
    /// All unicast addresses.
    Addresses,
    /// All multicast addresses of a family.
    Groups(Family),
    /// All anycast addresses.
    Anycasts,
    /// All routes.
    Routes,
    /// The routes that lead to an interface.
    RoutesOf(u32),
    /// All neighbours.
    Neighbors,
}

impl Read {
    /// What to ask the kernel.
    #[must_use]
    pub fn request(self) -> Request {
        match self {
            Self::Links => link::dump(),
            Self::Link(ifindex) => link::by_index(ifindex),
            Self::Addresses => address::dump(Family::Unspecified, None),
            Self::Groups(family) => address::dump_multicast(family, None),
            Self::Anycasts => address::dump_anycast(None),
            Self::Routes => route::dump(Family::Unspecified, None, None),
            Self::RoutesOf(ifindex) => route::dump(Family::Unspecified, None, Some(ifindex)),
            Self::Neighbors => neighbor::dump(Family::Unspecified, None),
        }
    }
}

/// More interfaces than this at once are not asked for one by one.
const MANY: usize = 64;

impl Cache {
    /// Knows nothing yet: everything has to be read.
    #[must_use]
    pub fn new(subscription: Subscription, machine: Machine) -> Self {
        let lifetimes = subscription.lifetimes();
        macro_rules! kept {
            ($table:ident) => {
                kept!($table, Change::$table)
            };
            ($table:ident, $tell:expr) => {
                Kept::new(subscription.includes(Table::$table).then_some($tell), lifetimes)
            };
        }
        Self {
            subscription,
            machine,
            timeouts: crate::parameter::path_mtu_timeouts(),
            directory: Directory::default(),
            interfaces: kept!(Interface, |delta| Change::Interface(Box::new(delta))),
            ip_interfaces: kept!(IpInterface),
            unicast: kept!(UnicastAddress),
            multicast: kept!(MulticastAddress),
            anycast: kept!(AnycastAddress),
            routes: kept!(Route),
            neighbors: kept!(Neighbor),
            stack: kept!(Stack),
            stack_moved: false,
            lost: true,
            reads: Vec::new(),
            stale_links: BTreeSet::new(),
            stale_routes: BTreeSet::new(),
            early: BTreeMap::new(),
            partial: Vec::new(),
            changes: VecDeque::new(),
        }
    }

    /// Takes what the kernel says, in order: notifications, and the rows of answers.
    pub fn handle(&mut self, event: Event<'_>) {
        match event {
            // The reading to come knows all that was told before it.
            _ if self.lost => {}
            Event::Link(Presence::Present, view) => self.link(&view),
            Event::Link(Presence::Gone, view) => self.link_gone(view.index),
            Event::Address(presence, address) => self.address(presence, &address),
            Event::Route(Presence::Present, view) => self.route(&view),
            Event::Route(Presence::Gone, view) => self.route_gone(&view),
            Event::Neighbor(presence, row) => self.neighbor(presence, &row),
            Event::Ipv6(presence, row) => self.ipv6(presence, &row),
            Event::Netconf(presence, row) => self.netconf(presence, row),
            Event::Lost => self.lost = true,
            // A message whose fixed part is cut off names nothing that could be read again.
            Event::Malformed(_) | Event::Other(_) => {}
            _ => {}
        }
    }

    /// What has to be read next, if anything. Reading has begun with this call.
    pub fn poll_read(&mut self) -> Option<Read> {
        if std::mem::take(&mut self.lost) {
            self.begin();
        }
        if let Some(read) = self.reads.last() {
            return Some(*read);
        }
        if self.stale_links.len() > MANY {
            self.stale_links.clear();
            self.begin_links();
            self.reads.push(Read::Links);
            return Some(Read::Links);
        }
        if let Some(ifindex) = self.stale_links.first() {
            return Some(Read::Link(*ifindex));
        }
        let ifindex = *self.stale_routes.first()?;
        if ifindex == 0 || self.stale_routes.len() > MANY {
            self.stale_routes.clear();
            self.routes.begin();
            self.reads.push(Read::Routes);
            return Some(Read::Routes);
        }
        self.partial.clear();
        Some(Read::RoutesOf(ifindex))
    }

    /// Takes a row of the answer to a read.
    pub fn read(&mut self, read: Read, event: Event<'_>) {
        match (read, event) {
            (Read::RoutesOf(_), Event::Route(_, view)) => {
                if view.flags & RTM_F_CLONED == 0 {
                    self.partial.push(Route::new(&view, &self.directory));
                }
            }
            (Read::Routes, Event::Route(_, view)) => {
                if view.flags & RTM_F_CLONED == 0 {
                    self.routes.put(Route::new(&view, &self.directory), &mut self.changes);
                }
            }
            (_, event) => self.handle(event),
        }
    }

    /// Takes note that the answer to a read starts from the beginning.
    pub fn restart_read(&mut self, read: Read) {
        match read {
            // Interfaces of an earlier attempt would stay for ever.
            Read::Links => self.begin_links(),
            Read::Addresses => self.unicast.begin(),
            Read::Groups(_) => {
                // The other family's groups are read again as well.
                self.multicast.begin();
                self.reads.retain(|read| !matches!(read, Read::Groups(_)));
                self.reads.extend([Read::Groups(Family::Ipv6), Read::Groups(Family::Ipv4)]);
            }
            Read::Anycasts => self.anycast.begin(),
            Read::Routes => self.routes.begin(),
            Read::Neighbors => self.neighbors.begin(),
            Read::RoutesOf(_) => self.partial.clear(),
            Read::Link(_) => {}
        }
    }

    /// Takes note that a read has ended, and whether there was anything to read.
    ///
    /// For [`Read::Link`], nothing means that the interface is gone.
    pub fn end_read(&mut self, read: Read, found: bool) {
        match read {
            Read::Link(ifindex) => {
                self.stale_links.remove(&ifindex);
                if !found {
                    self.link_gone(ifindex);
                }
            }
            Read::RoutesOf(ifindex) => {
                self.stale_routes.remove(&ifindex);
                let routes = std::mem::take(&mut self.partial);
                let present: BTreeSet<RouteKey> = routes.iter().map(Route::key).collect();
                let gone: Vec<RouteKey> = self
                    .routes_of(ifindex)
                    .map(Route::key)
                    .filter(|key| !present.contains(key))
                    .collect();
                for key in gone {
                    self.routes.remove(&key, &mut self.changes);
                }
                for route in routes {
                    self.routes.put(route, &mut self.changes);
                }
            }
            read => self.reads.retain(|other| *other != read),
        }
    }

    /// Finishes a round: makes the changes of tables that were read anew, and of the stack.
    ///
    /// Does nothing while whole tables have yet to be read.
    pub fn settle(&mut self) {
        if self.lost || !self.reads.is_empty() {
            return;
        }
        if std::mem::take(&mut self.stack_moved) {
            self.rebuild_stack();
        }
        let changes = &mut self.changes;
        // What rides on something goes before it, and comes after it.
        self.neighbors.settle_removed(changes);
        self.routes.settle_removed(changes);
        self.anycast.settle_removed(changes);
        self.multicast.settle_removed(changes);
        self.unicast.settle_removed(changes);
        self.stack.settle_removed(changes);
        self.ip_interfaces.settle_removed(changes);
        self.interfaces.settle_removed(changes);
        self.interfaces.settle_present(changes);
        self.ip_interfaces.settle_present(changes);
        self.stack.settle_present(changes);
        self.unicast.settle_present(changes);
        self.multicast.settle_present(changes);
        self.anycast.settle_present(changes);
        self.routes.settle_present(changes);
        self.neighbors.settle_present(changes);
    }

    /// Whether nothing has to be read.
    #[must_use]
    pub fn is_current(&self) -> bool {
        !self.lost
            && self.reads.is_empty()
            && self.stale_links.is_empty()
            && self.stale_routes.is_empty()
    }

    /// Whether nothing can be told before tables have been read.
    pub(super) fn is_reading(&self) -> bool {
        self.lost || !self.reads.is_empty()
    }

    /// The next change, if there is one.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// How many changes are waiting.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.changes.len()
    }

    /// The interfaces as they are now. Kept whether they are watched or not.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.rows()
    }

    /// The IP interfaces as they are now, if they are watched.
    pub fn ip_interfaces(&self) -> impl Iterator<Item = &IpInterface> {
        self.ip_interfaces.rows()
    }

    /// The unicast addresses as they are now, if they are watched.
    pub fn unicast_addresses(&self) -> impl Iterator<Item = &UnicastAddress> {
        self.unicast.rows()
    }

    /// The multicast addresses as they are now, if they are watched.
    pub fn multicast_addresses(&self) -> impl Iterator<Item = &MulticastAddress> {
        self.multicast.rows()
    }

    /// The anycast addresses as they are now, if they are watched.
    pub fn anycast_addresses(&self) -> impl Iterator<Item = &AnycastAddress> {
        self.anycast.rows()
    }

    /// The routes as they are now, if they are watched.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.rows()
    }

    /// The neighbours as they are now, if they are watched.
    ///
    /// The kernel does not tell when it begins to look for a neighbour, when it doubts one that it
    /// uses, or when it notes one that needs no resolution: `incomplete`, `delay` and `no_arp`
    /// come with the next change, or with the next reading.
    pub fn neighbors(&self) -> impl Iterator<Item = &Neighbor> {
        self.neighbors.rows()
    }

    /// The interface stack as it is now, if it is watched.
    pub fn interface_stack(&self) -> impl Iterator<Item = &StackEntry> {
        self.stack.rows()
    }

    /// Starts to read everything that is watched.
    fn begin(&mut self) {
        self.early.clear();
        self.stale_links.clear();
        self.stale_routes.clear();
        self.begin_links();
        self.unicast.begin();
        self.multicast.begin();
        self.anycast.begin();
        self.routes.begin();
        self.neighbors.begin();
        self.reads.clear();
        let mut read = |table, reads: &[Read]| {
            if self.subscription.includes(table) {
                self.reads.extend_from_slice(reads);
            }
        };
        // The last is read first: rows of the others name interfaces.
        read(Table::Neighbor, &[Read::Neighbors]);
        read(Table::Route, &[Read::Routes]);
        read(Table::AnycastAddress, &[Read::Anycasts]);
        let groups = [Read::Groups(Family::Ipv6), Read::Groups(Family::Ipv4)];
        read(Table::MulticastAddress, &groups);
        read(Table::UnicastAddress, &[Read::Addresses]);
        self.reads.push(Read::Links);
    }

    fn begin_links(&mut self) {
        self.directory.clear();
        self.interfaces.begin();
        self.ip_interfaces.begin();
        self.stack.begin();
        self.stack_moved = true;
    }

    fn link(&mut self, view: &LinkView<'_>) {
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
                self.routes.put(route, &mut self.changes);
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
    fn link_gone(&mut self, ifindex: u32) {
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

    fn address(&mut self, presence: Presence, address: &Address) {
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
        match (address.address, presence) {
            (IpAddr::V4(_), Presence::Gone) if address.role == Role::Unicast => {
                let prefers = |route: &Route| route.preferred_source == Some(address.address);
                if self.routes.rows().any(prefers) {
                    self.routes_may_differ(ifindex);
                }
            }
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

    fn route(&mut self, view: &RouteView<'_>) {
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
        self.routes.put(route, &mut self.changes);
    }

    fn route_gone(&mut self, view: &RouteView<'_>) {
        if view.flags & RTM_F_CLONED != 0 || !self.subscription.includes(Table::Route) {
            return;
        }
        let route = Route::new(view, &self.directory);
        let key = route.key();
        if !self.routes.remove(&key, &mut self.changes) && route.protocol.0 != RTPROT_KERNEL {
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

    fn routes_of(&self, ifindex: u32) -> impl Iterator<Item = &Route> {
        self.routes.rows().filter(move |route| route.interfaces().any(|other| other == ifindex))
    }

    fn neighbor(&mut self, presence: Presence, row: &netlink::neighbor::Neighbor) {
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

    fn ipv6(&mut self, presence: Presence, row: &Ipv6Link) {
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

    fn netconf(&mut self, presence: Presence, row: Netconf) {
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

    fn rebuild_stack(&mut self) {
        if !self.subscription.includes(Table::Stack) {
            return;
        }
        self.stack.begin();
        let entries: Vec<StackEntry> = self
            .interfaces
            .rows()
            .flat_map(stack::pairs)
            .filter_map(|pair| StackEntry::new(pair, &self.directory))
            .collect();
        for entry in entries {
            self.stack.put(entry, &mut self.changes);
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
