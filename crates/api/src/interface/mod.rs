//! `org.iphelper.Interface`: the tables of the host's network.
//!
//! Mirrors `varlink/org.iphelper.Interface.varlink`, whose comments say what each method does. Its
//! rows are those of the tables themselves, which a program may as well read without the daemon;
//! calls that need no cache are carried out alike in process and by the daemon: see [`Local`].

mod change;
mod error;
mod local;
mod rows;
mod snapshot;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tables::{
    AddressSettings, AnycastAddress, BestRoute as BestRouteReply, Family, Interface, IpInterface,
    IpInterfaceSettings, MulticastAddress, Neighbor, NeighborSettings, Route, RouteSettings,
    StackEntry, UnicastAddress,
};

pub use change::{Change, ChangeKind};
pub use error::Error;
pub use local::Local;
pub use rows::{Filter, TableListing, TableRow};
pub use snapshot::{Reading, Shared, Snapshot};
pub use tables::{self, Table};

use crate::calls::calls;
use crate::{Empty, Timeout};

/// The interface's description, as `GetInterfaceDescription` returns it.
pub const IDL: &str = include_str!("../../../../varlink/org.iphelper.Interface.varlink");

/// A part of a table: each reply of a `List...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows<R> {
    /// About a buffer full of them.
    pub rows: Vec<R>,
}

/// The answer of a method that tells of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row<R> {
    /// The row as it is after the call.
    pub row: R,
}

/// Parameters of `ListInterfaces`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListInterfaces {
    /// A name, a pattern with `*` and `?`, or an alternative name, index or GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// With counters, from the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<bool>,
}

/// Parameters of `ListStack`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListStack {
    /// A name, a pattern with `*` and `?`, or an alternative name, index or GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

macro_rules! list {
    ($($method:ident),+ $(,)?) => { $(
        #[doc = concat!("Parameters of `", stringify!($method), "`.")]
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $method {
            /// A name, a pattern with `*` and `?`, or an alternative name, index or GUID.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub interface: Option<String>,
            /// Both when absent.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub family: Option<Family>,
        }
    )+ };
}

list!(
    ListIpInterfaces,
    ListUnicastAddresses,
    ListMulticastAddresses,
    ListAnycastAddresses,
    ListRoutes,
    ListNeighbors,
);

/// Parameters of `Monitor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    /// All when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<Table>>,
    /// A name, a pattern with `*` and `?`, or an alternative name, index or GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Both when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
}

impl Monitor {
    /// Whether a table is among those asked for.
    pub fn includes(&self, table: Table) -> bool {
        self.tables.as_ref().is_none_or(|tables| tables.contains(&table))
    }

    /// Which rows are asked for.
    pub fn filter(&self) -> Filter {
        Filter { interface: self.interface.clone(), family: self.family, statistics: false }
    }
}

/// Reply of `Monitor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorReply {
    /// What changed, in order; at least one.
    pub changes: Vec<Change>,
}

/// Parameters of `GetInterface`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetInterface {
    /// Name, alternative name, index or GUID.
    pub interface: String,
}

/// Parameters of `GetIpInterface`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetIpInterface {
    /// Name, alternative name, index or GUID.
    pub interface: String,
    /// One of both.
    pub family: Family,
}

/// Parameters of `Set`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Name, alternative name, index or GUID.
    pub interface: String,
    /// One of both.
    pub family: Family,
    /// What to change.
    pub settings: IpInterfaceSettings,
}

macro_rules! change {
    ($settings:ident $member:ident: $($method:ident),+) => { $(
        #[doc = concat!("Parameters of `", stringify!($method), "`.")]
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $method {
            /// Which, and how it is to be.
            pub $member: $settings,
        }
    )+ };
}

change!(AddressSettings address: AddAddress, SetAddress, DeleteAddress);
change!(RouteSettings route: AddRoute, SetRoute, DeleteRoute);
change!(NeighborSettings neighbor: AddNeighbor, SetNeighbor, DeleteNeighbor);

/// Parameters of `FlushNeighbors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlushNeighbors {
    /// Name, alternative name, index or GUID; all interfaces when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Both when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
}

/// Reply of `FlushNeighbors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushNeighborsReply {
    /// How many were forgotten.
    pub flushed: u64,
}

/// Parameters of `ResolveNeighbor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveNeighbor {
    /// Name, alternative name, index or GUID.
    pub interface: String,
    /// Whose link address.
    pub address: IpAddr,
    /// How long to wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
}

/// Parameters of `BestRoute`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestRoute {
    /// Where packets are going.
    pub destination: IpAddr,
    /// Where they come from: an address of this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The interface they have to leave by: name, alternative name,
    /// index or GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

calls! {
    "org.iphelper.Interface", Error;
    list ListInterfaces => Rows<Interface> { rows: Interface },
    list ListIpInterfaces => Rows<IpInterface> { rows: IpInterface },
    list ListUnicastAddresses => Rows<UnicastAddress> { rows: UnicastAddress },
    list ListMulticastAddresses => Rows<MulticastAddress> { rows: MulticastAddress },
    list ListAnycastAddresses => Rows<AnycastAddress> { rows: AnycastAddress },
    list ListRoutes => Rows<Route> { rows: Route },
    list ListNeighbors => Rows<Neighbor> { rows: Neighbor },
    list ListStack => Rows<StackEntry> { rows: StackEntry },
    monitor Monitor => MonitorReply,
    read GetInterface => Row<Interface>,
    read GetIpInterface => Row<IpInterface>,
    change Set => Row<IpInterface>,
    change AddAddress => Empty,
    change SetAddress => Empty,
    change DeleteAddress => Empty,
    change AddRoute => Empty,
    change SetRoute => Empty,
    change DeleteRoute => Empty,
    change AddNeighbor => Empty,
    change SetNeighbor => Empty,
    change DeleteNeighbor => Empty,
    change FlushNeighbors => FlushNeighborsReply,
    change ResolveNeighbor => Row<Neighbor>,
    read BestRoute => BestRouteReply,
}
