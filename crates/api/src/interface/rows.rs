use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tables::{
    AnycastAddress, Cache, Error, Family, Interface, IpInterface, MulticastAddress, Name, Neighbor,
    Route, StackEntry, Tables, UnicastAddress, Weight,
};

use super::{Change, Table};

/// Which rows of a table are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A name, or a pattern with `*` and `?`; every interface when absent. See
    /// [`resolve`](Self::resolve) for what else an interface goes by.
    pub interface: Option<String>,
    /// Both when absent.
    pub family: Option<Family>,
    /// Interfaces with their counters, which no cache has.
    pub statistics: bool,
}

impl Filter {
    /// The family, `Unspecified` for both.
    pub fn family(&self) -> Family {
        self.family.unwrap_or_default()
    }

    /// Puts the interface's name in place of an alternative name, an index or a GUID, by which no row
    /// but its own knows it. A pattern stays, and so does what no interface goes by.
    pub fn resolve(&mut self, tables: &mut Tables) {
        if let Some(reference) = &self.interface
            && !reference.contains(['*', '?'])
            && let Ok(name) = tables.name(reference.as_str())
        {
            self.interface = Some(name.as_os_str().to_string_lossy().into_owned());
        }
    }

    fn names(&self, name: &Name) -> bool {
        self.text(&name.as_os_str().to_string_lossy())
    }

    fn text(&self, name: &str) -> bool {
        self.interface.as_ref().is_none_or(|pattern| crate::matches(pattern, name))
    }
}

/// A row of one of the tables.
pub trait TableRow: tables::Row + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its table.
    const TABLE: Table;

    /// Whether the row is asked for.
    fn is_wanted(&self, filter: &Filter) -> bool;

    /// Reads the table from the kernel, in one state.
    fn read(tables: &mut Tables, family: Family) -> Result<Vec<Self>, Error>;

    /// The table in a cache.
    fn cached(cache: &Cache) -> impl Iterator<Item = &Arc<Self>>;

    /// A change of the table, with this row.
    fn put_into(self, change: &mut Change);

    /// Takes out what is not kept up to date by notifications.
    fn strip(&mut self) {}

    /// When it was last changed, where that is shown and a cache has seen it.
    fn changed_at(&self, cache: &Cache) -> Option<Instant> {
        let _ = cache;
        None
    }

    /// Says when it was last changed.
    fn set_changed_at(&mut self, changed_at: Option<Instant>) {
        let _ = changed_at;
    }

    /// Of the members of this row that changed, those that do not go on by themselves.
    fn told(&self, members: &[&'static str]) -> Vec<&'static str> {
        let told = |member: &&&str| self.weight(self, member) != Weight::Running;
        members.iter().filter(told).copied().collect()
    }
}

/// A `List...` call.
pub trait TableListing: crate::Listing<Object = Self::Row, Error = super::Error> {
    /// What it lists.
    type Row: TableRow;

    /// Which of them.
    fn filter(&self) -> Filter;
}

macro_rules! table {
    (
        $row:ident in $table:ident as $member:ident,
        read $read:expr, cached $cached:ident, wanted $wanted:expr
        $(, strip $strip:expr)? $(, changed $changed_at:expr, $set:expr)?
    ) => {
        impl TableRow for $row {
            const TABLE: Table = Table::$table;

            fn is_wanted(&self, filter: &Filter) -> bool {
                let wanted: fn(&Self, &Filter) -> bool = $wanted;
                wanted(self, filter)
            }

            fn read(tables: &mut Tables, family: Family) -> Result<Vec<Self>, Error> {
                let read: fn(&mut Tables, Family) -> Result<Vec<Self>, Error> = $read;
                read(tables, family)
            }

            fn cached(cache: &Cache) -> impl Iterator<Item = &Arc<Self>> {
                cache.$cached()
            }

            fn put_into(self, change: &mut Change) {
                change.$member = Some(Box::new(self));
            }

            $(fn strip(&mut self) {
                let strip: fn(&mut Self) = $strip;
                strip(self);
            })?

            $(fn changed_at(&self, cache: &Cache) -> Option<Instant> {
                let changed_at: fn(&Self, &Cache) -> Option<Instant> = $changed_at;
                changed_at(self, cache)
            }

            fn set_changed_at(&mut self, changed_at: Option<Instant>) {
                let set: fn(&mut Self, Option<Instant>) = $set;
                set(self, changed_at);
            })?
        }
    };
}

fn of_interface(name: &Name, family: Family, filter: &Filter) -> bool {
    filter.family().includes(family) && filter.names(name)
}

table!(
    Interface in Interface as interface,
    read |tables, _| tables.interfaces(), cached interfaces,
    wanted |row, filter| {
        filter.names(&row.name) || row.alternative_names.iter().any(|name| filter.text(name))
    },
    strip |row| row.statistics = None
);
table!(
    IpInterface in IpInterface as ip_interface,
    read Tables::ip_interfaces_with_times, cached ip_interfaces,
    wanted |row, filter| of_interface(&row.interface, row.family, filter)
);
table!(
    UnicastAddress in UnicastAddress as unicast_address,
    read Tables::unicast_addresses, cached unicast_addresses,
    wanted |row, filter| of_interface(&row.interface, row.family, filter)
);
table!(
    MulticastAddress in MulticastAddress as multicast_address,
    read Tables::multicast_addresses, cached multicast_addresses,
    wanted |row, filter| of_interface(&row.interface, row.family, filter)
);
table!(
    AnycastAddress in AnycastAddress as anycast_address,
    read Tables::anycast_addresses, cached anycast_addresses,
    wanted |row, filter| of_interface(&row.interface, row.family, filter)
);
table!(
    Route in Route as route,
    read Tables::routes, cached routes,
    wanted |row, filter| {
        let leads_there = || {
            let names = row.next_hops.iter().filter_map(|next_hop| next_hop.interface.as_ref());
            filter.interface.is_none() || names.into_iter().any(|name| filter.names(name))
        };
        filter.family().includes(row.family) && leads_there()
    },
    changed |row, cache| cache.route_changed_at(&tables::Row::key(row)),
    |row, changed_at| row.set_age(changed_at, Instant::now())
);
table!(
    Neighbor in Neighbor as neighbor,
    read Tables::neighbors, cached neighbors,
    wanted |row, filter| of_interface(&row.interface, row.family, filter)
);
table!(
    StackEntry in Stack as stack,
    read |tables, _| tables.interface_stack(), cached interface_stack,
    wanted |row, filter| {
        filter.names(&row.higher_interface) || filter.names(&row.lower_interface)
    }
);

macro_rules! listings {
    ($($list:ident => $row:ident,)+) => { $(
        impl TableListing for super::$list {
            type Row = $row;

            fn filter(&self) -> Filter {
                Filter { interface: self.interface.clone(), family: self.family, statistics: false }
            }
        }
    )+ };
}

listings! {
    ListIpInterfaces => IpInterface,
    ListUnicastAddresses => UnicastAddress,
    ListMulticastAddresses => MulticastAddress,
    ListAnycastAddresses => AnycastAddress,
    ListRoutes => Route,
    ListNeighbors => Neighbor,
}

impl TableListing for super::ListInterfaces {
    type Row = Interface;

    fn filter(&self) -> Filter {
        let statistics = self.statistics.unwrap_or(false);
        Filter { interface: self.interface.clone(), family: None, statistics }
    }
}

impl TableListing for super::ListStack {
    type Row = StackEntry;

    fn filter(&self) -> Filter {
        Filter { interface: self.interface.clone(), ..Filter::default() }
    }
}
