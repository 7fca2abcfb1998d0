use netlink::Name;
use netlink::address::Address;
use netlink::ethtool::{self, FamilyId, LinkSpeed};
use netlink::link::{Link, LinkView};
use netlink::neighbor::Neighbor as NeighborEntry;
use netlink::{
    Connection, Family, Request, Socket, Transport, Visit, address, link, neighbor, route,
};

use crate::directory::{Directory, Entry};
use crate::ip_interface::PathMtuTimeouts;
use crate::{
    AnycastAddress, Error, Interface, IpInterface, Machine, MulticastAddress, Neighbor, NextHop,
    Route, Selector, StackEntry, UnicastAddress, parameter, stack,
};

/// The longest alternative name (`ALTIFNAMSIZ`, with its terminator).
const LONGEST_NAME: usize = 127;

/// A connection to the kernel of one network namespace, to read and change its tables.
///
/// Everything waits for the kernel's answer, normally for micro- to milliseconds. Each table is
/// read in one consistent state, in as few requests as there are: one dump for interfaces and IP
/// interfaces, two for the tables whose rows name interfaces.
///
/// The `visit_*` functions show one row after the other, for tables too large to hold twice. They
/// may begin anew when the table changes while it is read: then [`Visit::Restart`] says to forget
/// the rows shown so far. Only success means that the rows since are a whole table.
#[derive(Debug)]
pub struct Tables<T = Socket> {
    pub(crate) connection: Connection<T>,
    pub(crate) machine: Machine,
    /// To ask of devices what rtnetlink does not know, where the kernel can say it.
    pub(crate) devices: Option<(Connection<T>, FamilyId)>,
}

impl Tables {
    /// Connects to the kernel, in the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        let tables = Self::new(Connection::open()?, Machine::local());
        Ok(match Connection::open_generic() {
            Ok(generic) => tables.with_devices(generic),
            // Nothing but what it says is missing without it.
            Err(_) => tables,
        })
    }
}

impl<T: Transport> Tables<T> {
    /// Uses a connection, as the machine of this identity.
    pub fn new(connection: Connection<T>, machine: Machine) -> Self {
        Self { connection, machine, devices: None }
    }

    /// Asks for speeds and features by a connection to the families of generic netlink in the same
    /// network namespace. Without it, or before Linux 5.6, they are not known.
    #[must_use]
    pub fn with_devices(mut self, mut generic: Connection<T>) -> Self {
        let family = generic.one::<FamilyId>(&ethtool::family());
        self.devices = family.ok().map(|family| (generic, family));
        self
    }

    /// All interfaces, in order of their index, with their speeds: two dumps.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        let mut rows = Vec::new();
        self.visit_interfaces(collect(&mut rows))?;
        // Kernels before 6.9 go through a table of hashes.
        rows.sort_by_key(|row| row.ifindex);
        if let Some((generic, family)) = &mut self.devices {
            // A driver that fails to answer leaves its interface's speed unknown, and no more.
            let _ = generic.visit::<LinkSpeed>(&ethtool::dump_speeds(*family), |visit| {
                let Visit::Row(speed) = visit else { return };
                let position = rows.binary_search_by_key(&speed.interface, |row| row.ifindex);
                if let Some(row) = position.ok().and_then(|position| rows.get_mut(position)) {
                    row.set_speed(speed);
                }
            });
        }
        Ok(rows)
    }

    /// Shows all interfaces, without their speeds: one dump.
    pub fn visit_interfaces(
        &mut self,
        mut visitor: impl FnMut(Visit<Interface>),
    ) -> Result<(), Error> {
        let machine = &self.machine;
        let visit = self.connection.visit::<Link>(&link::dump(), |visit| {
            visitor(match visit {
                Visit::Row(view) => Visit::Row(Interface::new(&view, machine)),
                Visit::Restart => Visit::Restart,
            });
        });
        visit.map_err(Error::reading)
    }

    /// One interface, with its speed.
    pub fn interface(&mut self, selector: impl Into<Selector>) -> Result<Interface, Error> {
        let mut row = self.one_link(&selector.into(), Interface::new)?;
        if let Some((generic, family)) = &mut self.devices
            && let Ok(speed) = generic.one::<LinkSpeed>(&ethtool::speed(*family, row.ifindex))
        {
            row.set_speed(speed);
        }
        Ok(row)
    }

    /// The index of an interface.
    pub fn ifindex(&mut self, selector: impl Into<Selector>) -> Result<u32, Error> {
        self.one_link(&selector.into(), |view, _| view.index)
    }

    /// The name of an interface.
    pub fn name(&mut self, selector: impl Into<Selector>) -> Result<Name, Error> {
        self.one_link(&selector.into(), |view, _| view.name)
    }

    /// The index of an interface, for a request by which the kernel finds out whether it is there.
    pub(crate) fn index_of(&mut self, selector: &Selector) -> Result<u32, Error> {
        match selector {
            Selector::Index(ifindex @ 1..) => Ok(*ifindex),
            selector => self.one_link(selector, |view, _| view.index),
        }
    }

    /// The IP interfaces of a family: one row for each interface and family, in order of index and
    /// family. One dump; without the times of neighbour discovery that [`IpInterface`] mentions.
    pub fn ip_interfaces(&mut self, family: Family) -> Result<Vec<IpInterface>, Error> {
        let mut rows = Vec::new();
        self.visit_ip_interfaces(family, collect(&mut rows))?;
        rows.sort_by_key(|row| (row.ifindex, row.family));
        Ok(rows)
    }

    /// Shows the IP interfaces of a family.
    pub fn visit_ip_interfaces(
        &mut self,
        family: Family,
        mut visitor: impl FnMut(Visit<IpInterface>),
    ) -> Result<(), Error> {
        let timeouts = parameter::path_mtu_timeouts();
        let visit = self.connection.visit::<Link>(&link::dump(), |visit| match visit {
            Visit::Row(view) => {
                ip_rows(&view, family, timeouts).for_each(|row| visitor(Visit::Row(row)))
            }
            Visit::Restart => visitor(Visit::Restart),
        });
        visit.map_err(Error::reading)
    }

    /// The unicast addresses of a family.
    pub fn unicast_addresses(&mut self, family: Family) -> Result<Vec<UnicastAddress>, Error> {
        let mut rows = Vec::new();
        self.visit_unicast_addresses(family, collect(&mut rows))?;
        Ok(rows)
    }

    /// Shows the unicast addresses of a family.
    pub fn visit_unicast_addresses(
        &mut self,
        family: Family,
        visitor: impl FnMut(Visit<UnicastAddress>),
    ) -> Result<(), Error> {
        let request = address::dump(family, None);
        self.visit_addresses(&request, family, UnicastAddress::new, visitor)
    }

    /// All interfaces, and the unicast addresses of a family on them.
    pub fn interfaces_and_addresses(
        &mut self,
        family: Family,
    ) -> Result<(Vec<Interface>, Vec<UnicastAddress>), Error> {
        let (mut interfaces, mut addresses) = (Vec::new(), Vec::new());
        self.visit_interfaces_and_addresses(
            family,
            collect(&mut interfaces),
            collect(&mut addresses),
        )?;
        Ok((interfaces, addresses))
    }

    /// Shows all interfaces, then the unicast addresses of a family on them, in two dumps.
    ///
    /// An address of an interface that came in between is left out. For tables that are one image
    /// of one moment, see [`snapshot`](crate::snapshot).
    pub fn visit_interfaces_and_addresses(
        &mut self,
        family: Family,
        mut interfaces: impl FnMut(Visit<Interface>),
        mut addresses: impl FnMut(Visit<UnicastAddress>),
    ) -> Result<(), Error> {
        let machine = &self.machine;
        let mut directory = Directory::default();
        let visit = self.connection.visit::<Link>(&link::dump(), |visit| match visit {
            Visit::Row(view) => {
                directory.insert(view.index, Entry::new(&view));
                interfaces(Visit::Row(Interface::new(&view, machine)));
            }
            Visit::Restart => {
                directory.clear();
                interfaces(Visit::Restart);
            }
        });
        visit.map_err(Error::reading)?;
        let request = address::dump(family, None);
        let visit = self.connection.visit::<Address>(&request, |visit| match visit {
            Visit::Row(address) if !family.includes(Family::of(address.address)) => {}
            Visit::Row(address) => {
                if let Some(entry) = directory.get(address.interface) {
                    addresses(Visit::Row(UnicastAddress::new(&address, entry)));
                }
            }
            Visit::Restart => addresses(Visit::Restart),
        });
        visit.map_err(Error::reading)
    }

    /// The groups that interfaces have joined.
    ///
    /// Linux tells IPv4 groups by netlink from 6.14 on; before, they are read from
    /// `/proc/net/igmp` of the calling thread's network namespace.
    pub fn multicast_addresses(&mut self, family: Family) -> Result<Vec<MulticastAddress>, Error> {
        let mut rows = Vec::new();
        for family in [Family::Ipv4, Family::Ipv6].into_iter().filter(|f| family.includes(*f)) {
            let request = address::dump_multicast(family, None);
            let mut part = Vec::new();
            let read =
                self.visit_addresses(&request, family, MulticastAddress::new, collect(&mut part));
            match read {
                Ok(()) => rows.append(&mut part),
                Err(Error::NotSupported(_)) if family == Family::Ipv4 => {
                    let directory = self.directory()?;
                    rows.extend(parameter::ipv4_groups()?.into_iter().filter_map(
                        |(ifindex, group)| {
                            MulticastAddress::ipv4(ifindex, directory.get(ifindex)?, group)
                        },
                    ));
                }
                // A kernel without IPv6 has no groups of it.
                Err(Error::NotSupported(_)) if family == Family::Ipv6 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }

    /// The anycast addresses of a family; Linux has them for IPv6 alone.
    pub fn anycast_addresses(&mut self, family: Family) -> Result<Vec<AnycastAddress>, Error> {
        let mut rows = Vec::new();
        if family.includes(Family::Ipv6) {
            let request = address::dump_anycast(None);
            let ipv6 = Family::Ipv6;
            match self.visit_addresses(&request, ipv6, AnycastAddress::new, collect(&mut rows)) {
                Ok(()) | Err(Error::NotSupported(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }

    /// The routes of a family, of all tables.
    pub fn routes(&mut self, family: Family) -> Result<Vec<Route>, Error> {
        let mut rows = Vec::new();
        self.visit_routes(family, collect(&mut rows))?;
        Ok(rows)
    }

    /// Shows the routes of a family, of all tables.
    pub fn visit_routes(
        &mut self,
        family: Family,
        mut visitor: impl FnMut(Visit<Route>),
    ) -> Result<(), Error> {
        let mut directory = self.directory()?;
        let mut late = Vec::new();
        let request = route::dump(family, None, None);
        let visit = self.connection.visit::<netlink::route::Route>(&request, |visit| match visit {
            Visit::Row(view) if !family.includes(Family::of(view.destination.address)) => {}
            Visit::Row(view) => {
                let route = Route::new(&view, &directory);
                let is_named = |way: &NextHop| way.interface.is_some() || way.ifindex.is_none();
                match route.next_hops.iter().all(is_named) {
                    true => visitor(Visit::Row(route)),
                    false => late.push(route),
                }
            }
            Visit::Restart => {
                late.clear();
                visitor(Visit::Restart);
            }
        });
        visit.map_err(Error::reading)?;
        for mut route in late {
            if self.name_ways(&mut route, &mut directory)? {
                visitor(Visit::Row(route));
            }
        }
        Ok(())
    }

    /// The neighbours of a family.
    pub fn neighbors(&mut self, family: Family) -> Result<Vec<Neighbor>, Error> {
        let mut rows = Vec::new();
        self.visit_neighbors(family, collect(&mut rows))?;
        Ok(rows)
    }

    /// Shows the neighbours of a family.
    pub fn visit_neighbors(
        &mut self,
        family: Family,
        mut visitor: impl FnMut(Visit<Neighbor>),
    ) -> Result<(), Error> {
        let mut directory = self.directory()?;
        let mut late = Vec::new();
        let request = neighbor::dump(family, None);
        let visit = self.connection.visit::<NeighborEntry>(&request, |visit| match visit {
            Visit::Row(row) if !family.includes(Family::of(row.address)) => {}
            Visit::Row(row) => match directory.get(row.interface) {
                Some(entry) => visitor(Visit::Row(Neighbor::new(&row, entry))),
                None => late.push(row),
            },
            Visit::Restart => {
                late.clear();
                visitor(Visit::Restart);
            }
        });
        visit.map_err(Error::reading)?;
        for row in late {
            if let Some(entry) = self.late_entry(&mut directory, row.interface)? {
                visitor(Visit::Row(Neighbor::new(&row, &entry)));
            }
        }
        Ok(())
    }

    /// Which interface rides on which.
    pub fn interface_stack(&mut self) -> Result<Vec<StackEntry>, Error> {
        let mut pairs = Vec::new();
        let mut directory = Directory::default();
        let visit = self.connection.visit::<Link>(&link::dump(), |visit| match visit {
            Visit::Row(view) => {
                directory.insert(view.index, Entry::new(&view));
                pairs.extend(stack::pairs_of_view(&view));
            }
            Visit::Restart => {
                directory.clear();
                pairs.clear();
            }
        });
        visit.map_err(Error::reading)?;
        Ok(pairs.into_iter().filter_map(|pair| StackEntry::new(pair, &directory)).collect())
    }

    /// Addresses of any sort, with the names of their interfaces.
    ///
    /// A kernel without a family answers with what it has of the other.
    fn visit_addresses<R>(
        &mut self,
        request: &Request,
        family: Family,
        row: impl Fn(&Address, &Entry) -> R,
        mut visitor: impl FnMut(Visit<R>),
    ) -> Result<(), Error> {
        let mut directory = self.directory()?;
        let mut late = Vec::new();
        let visit = self.connection.visit::<Address>(request, |visit| match visit {
            Visit::Row(address) if !family.includes(Family::of(address.address)) => {}
            Visit::Row(address) => match directory.get(address.interface) {
                Some(entry) => visitor(Visit::Row(row(&address, entry))),
                None => late.push(address),
            },
            Visit::Restart => {
                late.clear();
                visitor(Visit::Restart);
            }
        });
        visit.map_err(Error::reading)?;
        for address in late {
            if let Some(entry) = self.late_entry(&mut directory, address.interface)? {
                visitor(Visit::Row(row(&address, &entry)));
            }
        }
        Ok(())
    }

    /// The names of all interfaces.
    pub(crate) fn directory(&mut self) -> Result<Directory, Error> {
        let mut directory = Directory::default();
        let visit = self.connection.visit::<Link>(&link::dump(), |visit| match visit {
            Visit::Row(view) => _ = directory.insert(view.index, Entry::new(&view)),
            Visit::Restart => directory.clear(),
        });
        visit.map_err(Error::reading)?;
        Ok(directory)
    }

    /// The entry of an interface that came after the directory was made; `None` if it is gone
    /// again, and with it the row that named it.
    fn late_entry(
        &mut self,
        directory: &mut Directory,
        ifindex: u32,
    ) -> Result<Option<Entry>, Error> {
        if let Some(entry) = directory.get(ifindex) {
            return Ok(Some(*entry));
        }
        match self.one_link(&ifindex.into(), |view, _| Entry::new(view)) {
            Ok(entry) => {
                directory.insert(ifindex, entry);
                Ok(Some(entry))
            }
            Err(Error::NoSuchInterface { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names the interfaces of a route's ways that the directory does not know. Returns whether the
    /// route is still there: with the interfaces of all its ways it is gone.
    pub(crate) fn name_ways(
        &mut self,
        route: &mut Route,
        directory: &mut Directory,
    ) -> Result<bool, Error> {
        let mut is_there = route.next_hops.is_empty();
        for way in &mut route.next_hops {
            if let (Some(ifindex), None) = (way.ifindex, way.interface)
                && let Some(entry) = self.late_entry(directory, ifindex)?
            {
                (way.interface, way.luid) = (Some(entry.name), Some(entry.luid));
            }
            is_there |= way.interface.is_some() || way.ifindex.is_none();
        }
        Ok(is_there)
    }

    /// Asks for one interface, and makes something of it.
    pub(crate) fn one_link<R>(
        &mut self,
        selector: &Selector,
        make: impl Fn(&LinkView<'_>, &Machine) -> R,
    ) -> Result<R, Error> {
        let by_index = |ifindex: u32| match i32::try_from(ifindex) {
            Ok(1..) => Ok(link::by_index(ifindex)),
            _ => Err(Error::no_such_interface(selector)),
        };
        let request = match selector {
            Selector::Index(0) | Selector::Luid(crate::Luid(0)) => {
                return Err(Error::invalid("interface 0", "stands for none"));
            }
            Selector::Index(ifindex) => by_index(*ifindex)?,
            Selector::Luid(luid) => by_index(luid.ifindex())?,
            Selector::Name(name) if name.len() > LONGEST_NAME => {
                return Err(Error::no_such_interface(selector));
            }
            Selector::Name(name) => link::by_name(name),
            Selector::Guid(guid) => {
                let machine = &self.machine;
                let mut found = None;
                let visit = self.connection.visit::<Link>(&link::dump(), |visit| match visit {
                    Visit::Row(view) if machine.guid(&view) == *guid => {
                        found.get_or_insert_with(|| make(&view, machine));
                    }
                    Visit::Row(_) => {}
                    Visit::Restart => found = None,
                });
                visit.map_err(Error::reading)?;
                return found.ok_or_else(|| Error::no_such_interface(selector));
            }
        };
        let machine = &self.machine;
        let answer = self.connection.one_view::<Link, _>(&request, |view| {
            let matches =
                !matches!(selector, Selector::Luid(luid) if *luid != crate::Luid::of(view));
            matches.then(|| make(view, machine))
        });
        match answer {
            Ok(Some(row)) => Ok(row),
            Ok(None) => Err(Error::no_such_interface(selector)),
            Err(error) => {
                let error = Error::of(error, format_args!("interface {selector}")).on(selector);
                match (&error, selector.index()) {
                    (Error::NoSuchInterface { .. }, Some(ifindex)) => {
                        self.one_link(&ifindex.into(), make)
                    }
                    _ => Err(error),
                }
            }
        }
    }
}

/// The rows of an interface in a family, or in both.
pub(crate) fn ip_rows(
    view: &LinkView<'_>,
    family: Family,
    timeouts: PathMtuTimeouts,
) -> impl Iterator<Item = IpInterface> {
    [Family::Ipv4, Family::Ipv6]
        .into_iter()
        .filter(move |one| family.includes(*one))
        .filter_map(move |one| IpInterface::new(view, one, timeouts))
}

fn collect<R>(rows: &mut Vec<R>) -> impl FnMut(Visit<R>) {
    |visit| match visit {
        Visit::Row(row) => rows.push(row),
        Visit::Restart => rows.clear(),
    }
}
