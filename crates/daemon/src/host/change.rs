//! Changes to the host's network, as values.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use engine::{Instant, Reason};
use netlink::Request;
use netlink::address::Assignment;
use netlink::kernel::{RT_SCOPE_LINK, RTPROT_DHCP};
use netlink::link::Settings;
use netlink::route::{Entry, Prefix};

use super::{ADDRESS_TAG, Route};
use crate::clock;

/// `IPV4_DEVCONF_PROMOTE_SECONDARIES` (`linux/ip.h`).
const PROMOTE_SECONDARIES: u16 = 20;

/// A change to the host's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Puts an address on an interface, or brings its lifetimes up to date.
    AddAddress(Address),
    /// Takes an address off an interface.
    RemoveAddress { interface: u32, address: IpAddr, prefix_length: u8 },
    /// Has the kernel keep the other IPv4 addresses of a subnet when its first one goes. By itself it
    /// takes them along, whoever they belong to (`__inet_del_ifa` in net/ipv4/devinet.c).
    KeepOtherAddresses { interface: u32 },
    /// Installs a route.
    AddRoute(RouteEntry),
    /// Removes a route, if it is one of ours.
    RemoveRoute(RouteEntry),
    /// Sets the MTU, in bytes.
    SetMtu { interface: u32, mtu: u32 },
    /// Sets the host's name.
    SetHostName(String),
}

/// An address to put on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    /// The interface's index.
    pub(crate) interface: u32,
    /// The address.
    pub(crate) address: IpAddr,
    /// How many of its bits name the network.
    pub(crate) prefix_length: u8,
    /// The address that reaches everyone there, for IPv4.
    pub(crate) broadcast: Option<Ipv4Addr>,
    /// Until when it is used for new connections; `None` for ever.
    pub(crate) preferred_until: Option<Instant>,
    /// When the kernel is to remove it by itself; `None` for never.
    pub(crate) expires_at: Option<Instant>,
    /// It means something on its link alone.
    pub(crate) is_link_local: bool,
    /// Of the route to its network, so that several interfaces in one subnet keep their order.
    pub(crate) metric: u32,
}

/// A route to install or remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteEntry {
    /// The index of the interface it leads through.
    pub(crate) interface: u32,
    /// Destination and gateway.
    pub(crate) route: Route,
    /// The preferred source.
    pub(crate) source: IpAddr,
    /// The gateway lies outside the subnet and has to be reached on the link all the same.
    pub(crate) is_on_link: bool,
    /// Its metric.
    pub(crate) metric: u32,
}

impl Change {
    /// The message to the kernel; `None` for the host's name, which has a system call of its own.
    pub(super) fn request(&self, now: Instant) -> Option<Request> {
        Some(match self {
            Self::AddAddress(address) => address.assignment(now).replace(),
            Self::RemoveAddress { interface, address, prefix_length } => {
                assignment(*interface, *address, *prefix_length).delete()
            }
            Self::KeepOtherAddresses { interface } => {
                Settings::new().ipv4_settings(&[(PROMOTE_SECONDARIES, 1)]).apply_to(*interface)
            }
            // Beside others of the same metric: replacing could take another interface's.
            Self::AddRoute(entry) => entry.entry().append(),
            Self::RemoveRoute(entry) => entry.entry().delete(),
            Self::SetMtu { interface, mtu } => Settings::new().mtu(*mtu).apply_to(*interface),
            Self::SetHostName(_) => return None,
        })
    }

    /// Whether a refusal means that it is as it should be already.
    pub(super) fn is_fine(&self, reason: Reason) -> bool {
        match self {
            Self::RemoveAddress { .. } | Self::RemoveRoute(_) => {
                matches!(reason, Reason::NotThere | Reason::NoSuchInterface)
            }
            Self::AddRoute(_) => reason == Reason::AlreadyThere,
            Self::AddAddress(_)
            | Self::KeepOtherAddresses { .. }
            | Self::SetMtu { .. }
            | Self::SetHostName(_) => false,
        }
    }
}

impl Address {
    fn assignment(&self, now: Instant) -> Assignment {
        let left = |at| clock::whole_seconds(now, at);
        let mut assignment = assignment(self.interface, self.address, self.prefix_length);
        assignment.broadcast = self.broadcast;
        assignment.valid_seconds = self.expires_at.map(left);
        assignment.preferred_seconds = self.preferred_until.map(left);
        assignment.metric = self.metric;
        if self.is_link_local {
            assignment.scope = RT_SCOPE_LINK;
        }
        assignment
    }
}

impl RouteEntry {
    fn entry(&self) -> Entry {
        let Route { destination, prefix_length, gateway } = self.route;
        let mut entry = Entry::new(Prefix::new(destination, prefix_length));
        entry.interface = Some(self.interface);
        entry.gateway = gateway;
        entry.preferred_source = Some(self.source);
        entry.protocol = RTPROT_DHCP;
        entry.priority = self.metric;
        entry.on_link = self.is_on_link && gateway.is_some();
        entry
    }
}

fn assignment(interface: u32, address: IpAddr, prefix_length: u8) -> Assignment {
    let mut assignment = Assignment::new(interface, address, prefix_length);
    assignment.protocol = Some(ADDRESS_TAG);
    assignment
}

/// What is to be done, after "would not".
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddAddress(Address { address, prefix_length, .. }) => {
                write!(f, "add address {address}/{prefix_length}")
            }
            Self::RemoveAddress { address, prefix_length, .. } => {
                write!(f, "remove address {address}/{prefix_length}")
            }
            Self::KeepOtherAddresses { .. } => f.write_str("keep other addresses"),
            Self::AddRoute(entry) => write!(f, "add route {}", entry.route),
            Self::RemoveRoute(entry) => write!(f, "remove route {}", entry.route),
            Self::SetMtu { mtu, .. } => write!(f, "set the MTU to {mtu}"),
            Self::SetHostName(name) => write!(f, "call the host {name}"),
        }
    }
}
