//! The tables of a host's network: interfaces, IP interfaces, addresses, routes, neighbours. Read
//! in one consistent state, followed as they change, and changed.
//!
//! Everything comes from the kernel (`rtnetlink(7)`): no daemon, no runtime, no files but a few
//! kernel parameters. Calls block for as long as the kernel takes, microseconds to milliseconds.
//!
//! ```no_run
//! use iphelper_tables::{Error, Family, Tables};
//!
//! # fn main() -> Result<(), Error> {
//! let mut tables = Tables::open()?;
//! for row in tables.ip_interfaces(Family::Ipv4)? {
//!     println!("{}: MTU {}, forwarding {}", row.interface, row.nl_mtu, row.forwarding_enabled);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Rows
//!
//! | row | Windows structure | kernel |
//! |---|---|---|
//! | [`Interface`] | `MIB_IF_ROW2` | `RTM_GETLINK`; speeds by `ethtool` |
//! | [`IpInterface`] | `MIB_IPINTERFACE_ROW` | the same dump (`IFLA_AF_SPEC`); times by `RTM_GETNEIGHTBL` |
//! | [`UnicastAddress`] | `MIB_UNICASTIPADDRESS_ROW` | `RTM_GETADDR` |
//! | [`MulticastAddress`], [`AnycastAddress`] | `MIB_MULTICASTIPADDRESS_ROW`, `MIB_ANYCASTIPADDRESS_ROW` | `RTM_GETMULTICAST`, `RTM_GETANYCAST` |
//! | [`Route`] | `MIB_IPFORWARD_ROW2` | `RTM_GETROUTE` |
//! | [`Neighbor`] | `MIB_IPNET_ROW2` | `RTM_GETNEIGH` |
//! | [`StackEntry`] | `MIB_IFSTACK_ROW` | `RTM_GETLINK` |
//!
//! Rows own what they say, and serialise to JSON with the names of their members. Each names its
//! interface three times: the name for people, the index for the kernel, and the [`Luid`], which
//! says the type as well. A name may change; the other two stay as long as the interface. Across
//! reboots there is the [`Guid`].
//!
//! # Reading
//!
//! [`Tables`] reads one table at a time, whole. If it changes while the kernel sends it, it is read
//! again, a bounded number of times; then the error is [`Error::Inconsistent`]. One odd interface,
//! attribute or name never breaks a table. [`snapshot`] reads several as they are at one moment.
//!
//! # Following
//!
//! [`Watch`] tells all rows as added, then each [`Change`], typed and with the members that
//! changed. Nothing is lost: when the kernel says that notifications were, the tables are read
//! again, and the difference is told. [`Cache`] is the part of it without I/O.
//!
//! # Changing
//!
//! [`Tables::set_ip_interface`], and `add_`, `set_` and `delete_` for addresses, routes and
//! neighbours. [`Error`] tells apart what is there already, what is not there, what is not
//! permitted, what is wrong and what Linux cannot do, whether this crate found out or the kernel
//! said so. [`Tables::best_route`] and [`Tables::resolve_neighbor`] ask the kernel to route and to
//! resolve.
//!
//! # Namespaces and privileges
//!
//! A [`Tables`] or [`Watch`] belongs to the network namespace of the thread that opened it; kernel
//! parameters are always those of the calling thread's. Reading needs no privilege, changing needs
//! `CAP_NET_ADMIN` there. A [`Watch`] with that capability has a larger queue.

mod address;
mod directory;
mod error;
mod guid;
mod interface;
mod ip_interface;
mod luid;
mod neighbor;
mod number;
mod parameter;
mod route;
mod row;
mod selector;
mod settings;
mod signed;
mod stack;
mod tables;
mod watch;
mod write;

pub use address::{
    AnycastAddress, DadState, MulticastAddress, PrefixOrigin, Scope, SuffixOrigin, UnicastAddress,
};
pub use error::{Error, ErrorKind, Failure};
pub use guid::{Guid, GuidTextError, Machine};
pub use interface::{AccessType, AdminStatus, Interface, MediaConnectState, OperStatus};
pub use ip_interface::{IpInterface, LinkLocalAddressBehavior, Offload, RouterDiscoveryBehavior};
pub use luid::{InterfaceType, Luid};
pub use neighbor::{Neighbor, NeighborState};
pub use number::NumberTextError;
pub use route::{
    NextHop, Route, RouteKey, RouteOrigin, RouteProtocol, RouteType, RouterPreference,
};
pub use row::{Row, Weight};
pub use selector::Selector;
pub use settings::{AddressSettings, NeighborSettings, NextHopSettings, RouteSettings};
pub use stack::StackEntry;
pub use tables::Tables;
pub use watch::{
    Cache, Change, Delta, Next, Read, Subscription, Table, Watch, WatchStopper, snapshot,
};
pub use write::{BestRoute, IpInterfaceSettings};

pub use netlink::link::Statistics;
pub use netlink::route::{Prefix, PrefixTextError};
pub use netlink::{Family, Name, Visit};
pub use wire::HardwareAddress;
