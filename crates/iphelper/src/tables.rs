//! Interfaces, addresses, routes and neighbours, from the kernel and without the daemon.
//!
//! ```no_run
//! use iphelper::tables::{self, Family};
//!
//! # fn main() -> Result<(), tables::Error> {
//! for row in tables::ip_interfaces(Family::Unspecified)? {
//!     println!("{} {} mtu {} forwarding {}", row.interface, row.family, row.nl_mtu, row.forwarding_enabled);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each function opens a connection of its own; a program that asks often keeps a [`Tables`]. All
//! of them see the calling thread's network namespace, need no privilege to read, and wait for the
//! kernel's answer only.

pub use ::tables::*;

/// All interfaces: see [`Tables::interfaces`].
pub fn interfaces() -> Result<Vec<Interface>, Error> {
    Tables::open()?.interfaces()
}

/// One interface, by name, index, LUID or GUID: see [`Tables::interface`].
pub fn interface(selector: impl Into<Selector>) -> Result<Interface, Error> {
    Tables::open()?.interface(selector)
}

/// IP on all interfaces: see [`Tables::ip_interfaces`].
pub fn ip_interfaces(family: Family) -> Result<Vec<IpInterface>, Error> {
    Tables::open()?.ip_interfaces(family)
}

/// The unicast addresses of all interfaces: see [`Tables::unicast_addresses`].
pub fn unicast_addresses(family: Family) -> Result<Vec<UnicastAddress>, Error> {
    Tables::open()?.unicast_addresses(family)
}

/// The groups that interfaces have joined: see [`Tables::multicast_addresses`].
pub fn multicast_addresses(family: Family) -> Result<Vec<MulticastAddress>, Error> {
    Tables::open()?.multicast_addresses(family)
}

/// The anycast addresses of all interfaces: see [`Tables::anycast_addresses`].
pub fn anycast_addresses(family: Family) -> Result<Vec<AnycastAddress>, Error> {
    Tables::open()?.anycast_addresses(family)
}

/// The routes of all tables: see [`Tables::routes`].
pub fn routes(family: Family) -> Result<Vec<Route>, Error> {
    Tables::open()?.routes(family)
}

/// The neighbours of all interfaces: see [`Tables::neighbors`].
pub fn neighbors(family: Family) -> Result<Vec<Neighbor>, Error> {
    Tables::open()?.neighbors(family)
}

/// Which interface rides on which: see [`Tables::interface_stack`].
pub fn interface_stack() -> Result<Vec<StackEntry>, Error> {
    Tables::open()?.interface_stack()
}
