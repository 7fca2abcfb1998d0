//! Addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr};

use crate::kernel::*;
use crate::{Error, Family, Message, Name, Request, Row};

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Address {
    /// The interface it belongs to.
    pub interface: u32,
    /// The address. On point-to-point links this host's own.
    pub address: IpAddr,
    /// How many of its bits name the network: of `peer`, where there is one.
    pub prefix_length: u8,
    /// The other end's address, where it differs from this host's.
    pub peer: Option<IpAddr>,
    /// The address that reaches everyone.
    pub broadcast: Option<Ipv4Addr>,
    /// What it is for.
    pub role: Role,
    /// How far it is meaningful (`RT_SCOPE_*`).
    pub scope: u8,
    /// State and origin.
    pub flags: Flags,
    /// A name, normally the interface's. IPv4 only.
    pub label: Option<Name>,
    /// Seconds it remains valid, as of the message; `None` for ever.
    pub valid_seconds: Option<u32>,
    /// Seconds it remains preferred, as of the message; `None` for ever.
    pub preferred_seconds: Option<u32>,
    /// When it was made, in hundredths of a second since boot without suspend.
    pub created_at: Option<u32>,
    /// When it was last changed, on the same clock.
    pub updated_at: Option<u32>,
    /// Who made it (`IFAPROT_*`): 1 loopback, 2 router advertisement, 3 link-local; others are the
    /// administrator's. Linux 5.18.
    pub protocol: Option<u8>,
    /// Metric of its prefix route, 0 for the default.
    pub metric: u32,
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// This interface.
    Unicast,
    /// A group it has joined.
    Multicast,
    /// The nearest of several hosts.
    Anycast,
}

/// `IFA_F_*` flags of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Not yet known to be unique (IPv6).
    #[must_use]
    pub fn is_tentative(self) -> bool {
        self.0 & IFA_F_TENTATIVE != 0
    }

    /// Somebody else has it (IPv6).
    #[must_use]
    pub fn is_duplicate(self) -> bool {
        self.0 & IFA_F_DADFAILED != 0
    }

    /// Valid, but not for new connections.
    #[must_use]
    pub fn is_deprecated(self) -> bool {
        self.0 & IFA_F_DEPRECATED != 0
    }

    /// Does not run out by itself.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        self.0 & IFA_F_PERMANENT != 0
    }

    /// IPv4: another address of the same network comes first. IPv6: a temporary address.
    #[must_use]
    pub fn is_secondary(self) -> bool {
        self.0 & IFA_F_SECONDARY != 0
    }

    /// Its network's route was not added with it.
    #[must_use]
    pub fn is_without_prefix_route(self) -> bool {
        self.0 & IFA_F_NOPREFIXROUTE != 0
    }
}

impl Row for Address {
    type View<'a> = Self;

    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        let known = matches!(
            message.kind,
            RTM_NEWADDR
                | RTM_DELADDR
                | RTM_NEWMULTICAST
                | RTM_DELMULTICAST
                | RTM_GETMULTICAST
                | RTM_NEWANYCAST
                | RTM_DELANYCAST
                | RTM_GETANYCAST
        );
        known.then(|| Self::parse(message)).and_then(Result::transpose)
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
}

impl Address {
    /// `None` for families other than IPv4 and IPv6.
    fn parse(message: &Message<'_>) -> Result<Option<Self>, Error> {
        let (&[family, prefix_length, flags, scope, i0, i1, i2, i3], attributes) =
            message.body::<8>()?;
        let (mut address, mut local, mut other) = (None, None, None);
        let mut row = Self {
            interface: u32::from_ne_bytes([i0, i1, i2, i3]),
            address: Ipv4Addr::UNSPECIFIED.into(),
            prefix_length,
            peer: None,
            broadcast: None,
            role: Role::Unicast,
            scope,
            flags: Flags(flags.into()),
            label: None,
            valid_seconds: None,
            preferred_seconds: None,
            created_at: None,
            updated_at: None,
            protocol: None,
            metric: 0,
        };
        for attribute in attributes {
            // A value of the other family would be nonsense.
            let ip = || attribute.ip().filter(|ip| Family::of(*ip).number() == family);
            match attribute.kind {
                IFA_ADDRESS => address = ip(),
                IFA_LOCAL => local = ip(),
                IFA_MULTICAST => other = ip().map(|ip| (ip, Role::Multicast)),
                IFA_ANYCAST => other = ip().map(|ip| (ip, Role::Anycast)),
                IFA_BROADCAST => {
                    if let Some(IpAddr::V4(broadcast)) = ip() {
                        row.broadcast = Some(broadcast);
                    }
                }
                IFA_LABEL => {
                    row.label = Name::new(attribute.text()).filter(|name| !name.is_empty())
                }
                IFA_FLAGS => {
                    if let Some(flags) = attribute.u32() {
                        row.flags = Flags(flags);
                    }
                }
                IFA_CACHEINFO => {
                    // struct ifa_cacheinfo: preferred, valid (seconds), created, updated.
                    let mut words = attribute.payload.as_chunks::<4>().0.iter();
                    let mut next = || words.next().map(|word| u32::from_ne_bytes(*word));
                    row.preferred_seconds = next().filter(|seconds| *seconds != FOREVER);
                    row.valid_seconds = next().filter(|seconds| *seconds != FOREVER);
                    row.created_at = next();
                    row.updated_at = next();
                }
                IFA_PROTO => row.protocol = attribute.u8().filter(|protocol| *protocol != 0),
                IFA_RT_PRIORITY => row.metric = attribute.u32().unwrap_or_default(),
                _ => {}
            }
        }
        // The kernel says IFA_LOCAL for IPv4 always, and for IPv6 only with a peer; IFA_ADDRESS is
        // the peer where both differ.
        let found = match (local, address, other) {
            (Some(local), address, _) => {
                row.peer = address.filter(|peer| *peer != local);
                Some(local)
            }
            (None, Some(address), _) => Some(address),
            (None, None, Some((address, role))) => {
                row.role = role;
                Some(address)
            }
            (None, None, None) => None,
        };
        let known = family == AF_INET || family == AF_INET6;
        Ok(found.filter(|_| known).map(|address| Self { address, ..row }))
    }
}

/// A lifetime without end (`INFINITY_LIFE_TIME`).
const FOREVER: u32 = u32::MAX;

/// Asks for the unicast addresses of a family, of one interface or of all.
#[must_use]
pub fn dump(family: Family, interface: Option<u32>) -> Request {
    Request::new(RTM_GETADDR, NLM_F_DUMP, &fixed(family, 0, 0, 0, interface.unwrap_or(0)))
}

/// Asks for the multicast groups interfaces have joined. IPv6 on every kernel; IPv4 since
/// Linux 6.14.
#[must_use]
pub fn dump_multicast(family: Family, interface: Option<u32>) -> Request {
    Request::new(RTM_GETMULTICAST, NLM_F_DUMP, &fixed(family, 0, 0, 0, interface.unwrap_or(0)))
}

/// Asks for the anycast addresses of interfaces. IPv6 only.
#[must_use]
pub fn dump_anycast(interface: Option<u32>) -> Request {
    let fixed = fixed(Family::Ipv6, 0, 0, 0, interface.unwrap_or(0));
    Request::new(RTM_GETANYCAST, NLM_F_DUMP, &fixed)
}

/// An address to be put on an interface, or taken off it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// The interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// How many of its bits name the network.
    pub prefix_length: u8,
    /// The other end's address, on point-to-point links.
    pub peer: Option<IpAddr>,
    /// The address that reaches everyone.
    pub broadcast: Option<Ipv4Addr>,
    /// How far it is meaningful (`RT_SCOPE_*`).
    pub scope: u8,
    /// A name: the interface's, or one that begins with it and a colon. IPv4 only.
    pub label: Option<Name>,
    /// Seconds until the kernel removes it; `None` for ever.
    pub valid_seconds: Option<u32>,
    /// Seconds until it is used for nothing new; `None` for ever.
    pub preferred_seconds: Option<u32>,
    /// Leaves it to the caller to add a route to its network.
    pub without_prefix_route: bool,
    /// Metric of the route to its network, 0 for the default.
    pub metric: u32,
    /// Who made it (`IFAPROT_*`, 4 to 255 are free to use). Ignored by kernels before 5.18.
    pub protocol: Option<u8>,
    /// More `IFA_F_*` flags.
    pub flags: u32,
}

impl Assignment {
    /// An address that stays, with nothing special about it.
    #[must_use]
    pub fn new(interface: u32, address: IpAddr, prefix_length: u8) -> Self {
        Self {
            interface,
            address,
            prefix_length,
            peer: None,
            broadcast: None,
            scope: RT_SCOPE_UNIVERSE,
            label: None,
            valid_seconds: None,
            preferred_seconds: None,
            without_prefix_route: false,
            metric: 0,
            protocol: None,
            flags: 0,
        }
    }

    /// Asks to add it. If it is there already, that is an error (`EEXIST`).
    #[must_use]
    pub fn add(&self) -> Request {
        self.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Asks to add it or, if it is there already, to change its lifetimes, metric and protocol.
    #[must_use]
    pub fn replace(&self) -> Request {
        self.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Asks to remove it. If it is not there, that is an error (`EADDRNOTAVAIL`).
    #[must_use]
    pub fn delete(&self) -> Request {
        let family = Family::of(self.address);
        let fixed = fixed(family, self.prefix_length, 0, self.scope, self.interface);
        let mut request = Request::new(RTM_DELADDR, 0, &fixed);
        request.ip(IFA_LOCAL, self.address);
        request.ip(IFA_ADDRESS, self.peer.unwrap_or(self.address));
        request
    }

    fn request(&self, kind: u16, flags: u16) -> Request {
        let family = Family::of(self.address);
        let fixed = fixed(family, self.prefix_length, 0, self.scope, self.interface);
        let mut request = Request::new(kind, flags, &fixed);
        request.ip(IFA_LOCAL, self.address);
        request.ip(IFA_ADDRESS, self.peer.unwrap_or(self.address));
        if let Some(broadcast) = self.broadcast {
            request.ip(IFA_BROADCAST, broadcast.into());
        }
        if let Some(label) = &self.label {
            request.text(IFA_LABEL, label.as_os_str());
        }
        let without_route = if self.without_prefix_route { IFA_F_NOPREFIXROUTE } else { 0 };
        request.u32(IFA_FLAGS, self.flags | without_route);
        let preferred = self.preferred_seconds.unwrap_or(FOREVER);
        let valid = self.valid_seconds.unwrap_or(FOREVER);
        let mut lifetimes = [0_u8; 16];
        for (to, from) in
            lifetimes.iter_mut().zip([preferred.to_ne_bytes(), valid.to_ne_bytes()].concat())
        {
            *to = from;
        }
        request.attribute(IFA_CACHEINFO, &lifetimes);
        if self.metric != 0 {
            request.u32(IFA_RT_PRIORITY, self.metric);
        }
        if let Some(protocol) = self.protocol {
            request.u8(IFA_PROTO, protocol);
        }
        request
    }
}

/// A `struct ifaddrmsg`: family, prefix length, flags, scope, index.
fn fixed(family: Family, prefix_length: u8, flags: u8, scope: u8, interface: u32) -> [u8; 8] {
    let [i0, i1, i2, i3] = interface.to_ne_bytes();
    [family.number(), prefix_length, flags, scope, i0, i1, i2, i3]
}
