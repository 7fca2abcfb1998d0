//! The tables of a host's network.

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
mod stack;
mod tables;
mod watch;
mod write;

pub use address::{
    AnycastAddress, DadState, MulticastAddress, PrefixOrigin, Scope, SuffixOrigin, UnicastAddress,
};
pub use error::{Error, Failure};
pub use guid::{Guid, GuidTextError, Machine};
pub use interface::{AccessType, AdminStatus, Interface, MediaConnectState, OperStatus};
pub use ip_interface::{IpInterface, LinkLocalAddressBehavior, Offload, RouterDiscoveryBehavior};
pub use luid::{InterfaceType, Luid};
pub use neighbor::{Neighbor, NeighborState};
pub use number::NumberTextError;
pub use route::{NextHop, Protocol, Route, RouteKey, RouteOrigin, RouteType, RouterPreference};
pub use row::{Row, Weight};
pub use selector::Selector;
pub use stack::StackEntry;
pub use tables::Tables;
pub use watch::{Cache, Change, Delta, Read, Subscription, Table, Watch, snapshot};
pub use write::{BestRoute, IpInterfaceSettings};

pub use netlink::address::Assignment as AddressSettings;
pub use netlink::link::Statistics;
pub use netlink::neighbor::{Entry as NeighborSettings, State as NeighborKernelState};
pub use netlink::route::{Entry as RouteSettings, NextHopEntry as NextHopSettings};
pub use netlink::route::{Prefix, PrefixTextError};
pub use netlink::{Family, Name, Visit};
pub use wire::HardwareAddress;
