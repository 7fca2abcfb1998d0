use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use netlink::address::Address;
use netlink::kernel::RTM_F_CLONED;
use netlink::{Change as Presence, Event, Family, Request, address, link, neighbor, route};

use super::kept::Kept;
use super::{Change, Subscription, Table};
use crate::directory::Directory;
use crate::ip_interface::PathMtuTimeouts;
use crate::row::Row as _;
use crate::{
    AnycastAddress, Interface, IpInterface, Machine, MulticastAddress, Neighbor, Route, RouteKey,
    StackEntry, UnicastAddress, stack,
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
    pub(super) subscription: Subscription,
    pub(super) machine: Machine,
    pub(super) timeouts: PathMtuTimeouts,
    pub(super) directory: Directory,
    pub(super) interfaces: Kept<Interface>,
    pub(super) ip_interfaces: Kept<IpInterface>,
    pub(super) unicast: Kept<UnicastAddress>,
    pub(super) multicast: Kept<MulticastAddress>,
    pub(super) anycast: Kept<AnycastAddress>,
    pub(super) routes: Kept<Route>,
    pub(super) neighbors: Kept<Neighbor>,
    pub(super) stack: Kept<StackEntry>,
    /// Something about the stack may have changed.
    pub(super) stack_moved: bool,
    /// Notifications were lost: everything has to be read.
    pub(super) lost: bool,
    /// Whole tables that have yet to be read, the last first.
    pub(super) reads: Vec<Read>,
    /// Interfaces to be read again.
    pub(super) stale_links: BTreeSet<u32>,
    /// Interfaces whose routes have to be read again; 0 for those without any.
    pub(super) stale_routes: BTreeSet<u32>,
    /// What was told of addresses whose interface is not known yet.
    pub(super) early: BTreeMap<u32, Vec<(Presence, Address)>>,
    /// The routes of one interface, while they are read.
    pub(super) partial: Vec<Route>,
    /// When routes that changed since the table was read did so last.
    pub(super) routes_changed_at: BTreeMap<RouteKey, Instant>,
    pub(super) now: Option<Instant>,
    pub(super) changes: VecDeque<Change>,
    /// The tables read anew have yet to tell how they differ from what they were, after `changes`.
    pub(super) telling: bool,
    /// Tables of whose changes this kernel does not tell.
    pub(super) untold: Vec<Table>,
}

/// Something to be read from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            routes_changed_at: BTreeMap::new(),
            now: None,
            changes: VecDeque::new(),
            telling: false,
            untold: Vec::new(),
        }
    }

    /// Takes note that this kernel does not have some of the groups that tell of changes.
    #[must_use]
    pub fn without_groups(mut self, absent: &[u32]) -> Self {
        let concerned = Table::ALL.into_iter().filter(|table| {
            let groups = Subscription::to([*table]).groups();
            self.subscription.includes(*table) && groups.iter().any(|group| absent.contains(group))
        });
        // A kernel without next-hop objects does not miss them.
        self.untold = concerned.filter(|table| *table != Table::Route).collect();
        self
    }

    /// Whether a table is watched, and the kernel tells of its changes: before Linux 6.14 it does
    /// not of multicast and anycast addresses, which are then as they were when they were read.
    #[must_use]
    pub fn follows(&self, table: Table) -> bool {
        self.subscription.includes(table) && !self.untold.contains(&table)
    }

    /// Sets the time at which the kernel says what is handed over next.
    pub fn set_time(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// A number of a table that is another one whenever its rows may be others.
    #[must_use]
    pub fn generation(&self, table: Table) -> u64 {
        match table {
            Table::Interface => self.interfaces.generation(),
            Table::IpInterface => self.ip_interfaces.generation(),
            Table::UnicastAddress => self.unicast.generation(),
            Table::MulticastAddress => self.multicast.generation(),
            Table::AnycastAddress => self.anycast.generation(),
            Table::Route => self.routes.generation(),
            Table::Neighbor => self.neighbors.generation(),
            Table::Stack => self.stack.generation(),
        }
    }

    /// When a route was last changed, if that was seen: Linux itself does not know, and the rows do
    /// not say it. [`Route::set_age`](crate::Route::set_age) takes it.
    #[must_use]
    pub fn route_changed_at(&self, key: &RouteKey) -> Option<Instant> {
        self.routes_changed_at.get(key).copied()
    }

    /// Takes what the kernel says, in order: notifications, and the rows of answers.
    pub fn handle(&mut self, event: Event<'_>) {
        if self.lost || self.is_too_large() {
            // The reading to come knows all that was told before it.
            return;
        }
        self.finish_telling();
        match event {
            Event::Link(Presence::Present, view) => self.link(&view),
            Event::Link(Presence::Gone, view) => self.link_gone(view.index),
            Event::Address(presence, address) => self.address(presence, &address),
            Event::Route(Presence::Present, view) => self.route(&view),
            Event::Route(Presence::Gone, view) => self.route_gone(&view),
            Event::Neighbor(presence, row) => self.neighbor(presence, &row),
            Event::Ipv6(presence, row) => self.ipv6(presence, &row),
            Event::Netconf(presence, row) => self.netconf(presence, row),
            Event::NextHop(_, id) => self.next_hop_moved(id),
            Event::Lost => self.lost = true,
            // A message whose fixed part is cut off names nothing that could be read again.
            Event::Malformed(_) | Event::Other(_) => {}
        }
    }

    /// Whether there are more rows than were to be [kept](Subscription::at_most): nothing is taken any
    /// more, and the tables are incomplete.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let rows = self.interfaces.len()
            + self.ip_interfaces.len()
            + self.unicast.len()
            + self.multicast.len()
            + self.anycast.len()
            + self.routes.len()
            + self.neighbors.len()
            + self.stack.len();
        rows > self.subscription.most()
    }

    /// Forgets everything: all has to be read again.
    pub fn forget(&mut self) {
        self.interfaces.clear();
        self.ip_interfaces.clear();
        self.unicast.clear();
        self.multicast.clear();
        self.anycast.clear();
        self.routes.clear();
        self.neighbors.clear();
        self.stack.clear();
        self.early.clear();
        self.partial = Vec::new();
        self.routes_changed_at.clear();
        self.changes = VecDeque::new();
        self.telling = false;
        self.reads.clear();
        self.lost = true;
    }

    /// What has to be read next, if anything. Reading has begun with this call.
    pub fn poll_read(&mut self) -> Option<Read> {
        if self.is_current() {
            return None;
        }
        self.finish_telling();
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
        if self.is_too_large() {
            return;
        }
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
                    self.remove_route(&key);
                }
                for route in routes {
                    self.put_route(route);
                }
            }
            read => {
                if read == Read::Routes {
                    self.routes_changed_at.retain(|key, _| self.routes.get(key).is_some());
                }
                self.reads.retain(|other| *other != read);
            }
        }
    }

    /// Finishes a round: the changes of tables that were read anew, and of the stack, can be
    /// [polled](Self::poll_change).
    ///
    /// Does nothing while whole tables have yet to be read.
    pub fn settle(&mut self) {
        if self.is_reading() {
            return;
        }
        self.finish_telling();
        if std::mem::take(&mut self.stack_moved) {
            self.rebuild_stack();
        }
        macro_rules! settle {
            ($($table:ident)+) => { $(self.$table.settle();)+ };
        }
        settle!(interfaces ip_interfaces stack unicast multicast anycast routes neighbors);
        self.telling = true;
    }

    /// The next difference between tables read anew and what they were. They are made one by one:
    /// a copy of every row at once would double the tables.
    fn tell(&mut self) -> Option<Change> {
        // What rides on something goes before it, and comes after it.
        let told = (self.neighbors.tell_removed())
            .or_else(|| self.routes.tell_removed())
            .or_else(|| self.anycast.tell_removed())
            .or_else(|| self.multicast.tell_removed())
            .or_else(|| self.unicast.tell_removed())
            .or_else(|| self.stack.tell_removed())
            .or_else(|| self.ip_interfaces.tell_removed())
            .or_else(|| self.interfaces.tell_removed())
            .or_else(|| self.interfaces.tell_present())
            .or_else(|| self.ip_interfaces.tell_present())
            .or_else(|| self.stack.tell_present())
            .or_else(|| self.unicast.tell_present())
            .or_else(|| self.multicast.tell_present())
            .or_else(|| self.anycast.tell_present())
            .or_else(|| self.routes.tell_present())
            .or_else(|| self.neighbors.tell_present());
        self.telling &= told.is_some();
        told
    }

    /// Makes all differences: the tables are about to change.
    fn finish_telling(&mut self) {
        while self.telling {
            let told = self.tell();
            self.changes.extend(told);
        }
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
        let change = self.changes.pop_front();
        if self.changes.is_empty() && self.changes.capacity() > MANY {
            // There may have been hundreds of thousands.
            self.changes = VecDeque::new();
        }
        match change {
            None if self.telling => self.tell(),
            change => change,
        }
    }

    /// Forgets the changes that have not been polled: nobody wants to know them.
    pub fn forget_changes(&mut self) {
        self.changes = VecDeque::new();
        self.telling = false;
        macro_rules! forget {
            ($($table:ident)+) => { $(self.$table.forget();)+ };
        }
        forget!(interfaces ip_interfaces stack unicast multicast anycast routes neighbors);
    }

    /// The interfaces as they are now. Kept whether they are watched or not.
    pub fn interfaces(&self) -> impl Iterator<Item = &Arc<Interface>> {
        self.interfaces.shared()
    }

    /// The IP interfaces as they are now, if they are watched.
    pub fn ip_interfaces(&self) -> impl Iterator<Item = &Arc<IpInterface>> {
        self.ip_interfaces.shared()
    }

    /// The unicast addresses as they are now, if they are watched.
    pub fn unicast_addresses(&self) -> impl Iterator<Item = &Arc<UnicastAddress>> {
        self.unicast.shared()
    }

    /// The multicast addresses as they are now, if they are watched.
    pub fn multicast_addresses(&self) -> impl Iterator<Item = &Arc<MulticastAddress>> {
        self.multicast.shared()
    }

    /// The anycast addresses as they are now, if they are watched.
    pub fn anycast_addresses(&self) -> impl Iterator<Item = &Arc<AnycastAddress>> {
        self.anycast.shared()
    }

    /// The routes as they are now, if they are watched.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.shared()
    }

    /// The neighbours as they are now, if they are watched.
    ///
    /// The kernel does not tell when it begins to look for a neighbour, when it doubts one that it
    /// uses, or when it notes one that needs no resolution: `incomplete`, `delay` and `no_arp`
    /// come with the next change, or with the next reading.
    pub fn neighbors(&self) -> impl Iterator<Item = &Arc<Neighbor>> {
        self.neighbors.shared()
    }

    /// The interface stack as it is now, if it is watched.
    pub fn interface_stack(&self) -> impl Iterator<Item = &Arc<StackEntry>> {
        self.stack.shared()
    }

    /// Takes a group that the kernel told by other means than netlink.
    pub(super) fn ipv4_group(&mut self, ifindex: u32, group: std::net::Ipv4Addr) {
        let entry = self.directory.get(ifindex);
        let row = entry.and_then(|entry| MulticastAddress::ipv4(ifindex, entry, group));
        if let Some(row) = row {
            self.multicast.put(row, &mut self.changes);
        }
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
