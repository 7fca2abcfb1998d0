//! Interfaces, addresses, routes and neighbours, from the kernel and without the daemon.
//!
//! ```no_run
//! use iphelper::tables::{self, Family};
//!
//! # fn main() -> Result<(), tables::TableError> {
//! for row in tables::ip_interfaces(Family::Unspecified)? {
//!     println!("{} {} mtu {} forwarding {}", row.interface, row.family, row.nl_mtu, row.forwarding_enabled);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Changes
//!
//! [`watch`] first tells all rows as added, then each change, without a gap and without loss.
//!
//! ```no_run
//! use iphelper::Next;
//! use iphelper::tables::{self, Subscription, Table};
//!
//! # fn main() -> Result<(), tables::TableError> {
//! let mut watch = tables::watch(Subscription::to([Table::UnicastAddress, Table::Route]))?;
//! while let Next::Item(change) = watch.wait(None)? {
//!     println!("{change:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Watch::stopper`] ends it from another thread.
//!
//! # Writes
//!
//! They need `CAP_NET_ADMIN`, and tell [`TableError::AlreadyExists`], [`TableError::NotFound`],
//! [`TableError::NoSuchInterface`], [`TableError::NotPermitted`], [`TableError::InvalidValue`] and
//! [`TableError::NotSupported`] apart; [`TableError::kind`] sorts all errors. A program that also asks the
//! daemon converts them into [`iphelper::Error`](crate::Error).
//!
//! ```no_run
//! use iphelper::tables::{self, Family, IpInterfaceSettings};
//!
//! # fn main() -> Result<(), tables::TableError> {
//! let router = IpInterfaceSettings { forwarding_enabled: Some(true), ..Default::default() };
//! tables::set_ip_interface("eth0", Family::Ipv4, &router)?;
//! # Ok(())
//! # }
//! ```
//!
//! Each function opens a connection of its own; a program that asks often keeps a [`Tables`]. All
//! of them see the calling thread's network namespace, need no privilege to read, and wait for the
//! kernel's answer only.

use std::net::IpAddr;
use std::time::Duration;

pub use ::tables::{
    AccessType, AddressSettings, AdminStatus, AnycastAddress, BestRoute, Cache, Change, DadState,
    Delta, Error as TableError, Failure, Family, Guid, GuidTextError, HardwareAddress, Interface,
    InterfaceType, IpInterface, IpInterfaceSettings, LinkLocalAddressBehavior, Luid, Machine,
    MediaConnectState, MulticastAddress, Name, Neighbor, NeighborSettings, NeighborState, NextHop,
    NextHopSettings, NumberTextError, Offload, OperStatus, Prefix, PrefixOrigin, PrefixTextError,
    Route, RouteKey, RouteOrigin, RouteProtocol, RouteSettings, RouteType, RouterDiscoveryBehavior,
    RouterPreference, Row, Scope, Selector, StackEntry, Statistics, Subscription, SuffixOrigin,
    Table, Tables, UnicastAddress, Visit, Watch, WatchStopper, Weight, snapshot,
};

/// All interfaces: see [`Tables::interfaces`].
pub fn interfaces() -> Result<Vec<Interface>, TableError> {
    Tables::open()?.interfaces()
}

/// One interface, by name, alternative name, index, LUID or GUID: see [`Tables::interface`].
pub fn interface(selector: impl Into<Selector>) -> Result<Interface, TableError> {
    Tables::open()?.interface(selector)
}

/// IP on all interfaces: see [`Tables::ip_interfaces`].
pub fn ip_interfaces(family: Family) -> Result<Vec<IpInterface>, TableError> {
    Tables::open()?.ip_interfaces(family)
}

/// IP on all interfaces, with the times of neighbour discovery: see
/// [`Tables::ip_interfaces_with_times`].
pub fn ip_interfaces_with_times(family: Family) -> Result<Vec<IpInterface>, TableError> {
    Tables::open()?.ip_interfaces_with_times(family)
}

/// IP of one family on one interface: see [`Tables::ip_interface`].
pub fn ip_interface(
    selector: impl Into<Selector>,
    family: Family,
) -> Result<IpInterface, TableError> {
    Tables::open()?.ip_interface(selector, family)
}

/// Changes IP of one family on one interface: see [`Tables::set_ip_interface`].
pub fn set_ip_interface(
    selector: impl Into<Selector>,
    family: Family,
    settings: &IpInterfaceSettings,
) -> Result<(), TableError> {
    Tables::open()?.set_ip_interface(selector, family, settings)
}

/// The unicast addresses of all interfaces: see [`Tables::unicast_addresses`].
pub fn unicast_addresses(family: Family) -> Result<Vec<UnicastAddress>, TableError> {
    Tables::open()?.unicast_addresses(family)
}

/// The groups that interfaces have joined: see [`Tables::multicast_addresses`].
pub fn multicast_addresses(family: Family) -> Result<Vec<MulticastAddress>, TableError> {
    Tables::open()?.multicast_addresses(family)
}

/// The anycast addresses of all interfaces: see [`Tables::anycast_addresses`].
pub fn anycast_addresses(family: Family) -> Result<Vec<AnycastAddress>, TableError> {
    Tables::open()?.anycast_addresses(family)
}

/// The routes of all tables: see [`Tables::routes`].
pub fn routes(family: Family) -> Result<Vec<Route>, TableError> {
    Tables::open()?.routes(family)
}

/// The neighbours of all interfaces: see [`Tables::neighbors`].
pub fn neighbors(family: Family) -> Result<Vec<Neighbor>, TableError> {
    Tables::open()?.neighbors(family)
}

/// Which interface rides on which: see [`Tables::interface_stack`].
pub fn interface_stack() -> Result<Vec<StackEntry>, TableError> {
    Tables::open()?.interface_stack()
}

/// How the kernel routes packets to a destination: see [`Tables::best_route`].
pub fn best_route(
    destination: IpAddr,
    source: Option<IpAddr>,
    interface: Option<Selector>,
) -> Result<BestRoute, TableError> {
    Tables::open()?.best_route(destination, source, interface)
}

/// Finds a neighbour's link address now: see [`Tables::resolve_neighbor`].
pub fn resolve_neighbor(
    selector: impl Into<Selector>,
    address: IpAddr,
    timeout: Duration,
) -> Result<Neighbor, TableError> {
    Tables::open()?.resolve_neighbor(selector, address, timeout)
}

/// Tables and their changes: see [`Watch`].
pub fn watch(subscription: Subscription) -> Result<Watch, TableError> {
    Watch::open(subscription)
}
