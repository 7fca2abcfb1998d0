use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::fixed;
use crate::Request;
use crate::kernel::*;

/// What an interface should be like: for changing one, creating one, and for the other end of a
/// veth pair. Only what is said is touched.
///
/// ```
/// use iphelper_netlink::link::{Kind, Settings};
/// let peer = Settings::new().name("inner");
/// let pair = Settings::new().name("outer").up().create(&Kind::Veth { peer });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    index: u32,
    flags: u32,
    /// Which bits of `flags` are meant.
    change: u32,
    /// Only its attributes count.
    attributes: Request,
}

impl Default for Settings {
    fn default() -> Self {
        Self { index: 0, flags: 0, change: 0, attributes: Request::new(0, 0, &[]) }
    }
}

impl Settings {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name: for an existing interface, renames it.
    #[must_use]
    pub fn name(mut self, name: impl AsRef<OsStr>) -> Self {
        self.attributes.text(IFLA_IFNAME, name.as_ref());
        self
    }

    /// Chooses the index of a new interface.
    #[must_use]
    pub fn index(mut self, index: u32) -> Self {
        self.index = index;
        self
    }

    /// Sets it up.
    #[must_use]
    pub fn up(self) -> Self {
        self.flag(IFF_UP, true)
    }

    /// Sets it down.
    #[must_use]
    pub fn down(self) -> Self {
        self.flag(IFF_UP, false)
    }

    /// Turns one of the `IFF_*` flags on or off.
    #[must_use]
    pub fn flag(mut self, flag: u32, on: bool) -> Self {
        self.change |= flag;
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
        self
    }

    /// Sets the MTU, in bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.attributes.u32(IFLA_MTU, mtu);
        self
    }

    /// Sets the link address.
    #[must_use]
    pub fn hardware_address(mut self, address: &[u8]) -> Self {
        self.attributes.attribute(IFLA_ADDRESS, address);
        self
    }

    /// Makes it a port of a bridge, bond or VRF, or of nothing.
    #[must_use]
    pub fn master(mut self, index: Option<u32>) -> Self {
        self.attributes.u32(IFLA_MASTER, index.unwrap_or(0));
        self
    }

    /// Puts it on top of another interface.
    #[must_use]
    pub fn lower(mut self, index: u32) -> Self {
        self.attributes.u32(IFLA_LINK, index);
        self
    }

    /// Moves it to (or creates it in) another network namespace. The descriptor must be open until
    /// the kernel has answered.
    #[must_use]
    pub fn namespace(mut self, namespace: BorrowedFd<'_>) -> Self {
        self.attributes.attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        self
    }

    /// Describes it; the empty text takes the description away.
    #[must_use]
    pub fn alias(mut self, alias: impl AsRef<OsStr>) -> Self {
        self.attributes.text(IFLA_IFALIAS, alias.as_ref());
        self
    }

    /// Sets how many packets the transmit queue holds.
    #[must_use]
    pub fn transmit_queue_length(mut self, packets: u32) -> Self {
        self.attributes.u32(IFLA_TXQLEN, packets);
        self
    }

    /// Puts it into a group.
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.attributes.u32(IFLA_GROUP, group);
        self
    }

    /// Sets how IPv6 addresses are generated: 0 EUI-64, 1 not at all, 2 stable-privacy, 3 random.
    #[must_use]
    pub fn ipv6_address_generation(mut self, mode: u8) -> Self {
        self.attributes.nest(IFLA_AF_SPEC, |families| {
            families.nest(AF_INET6.into(), |ipv6| {
                ipv6.u8(IFLA_INET6_ADDR_GEN_MODE, mode);
            });
        });
        self
    }

    /// Sets the interface identifier of addresses made from advertised prefixes (`ip token`).
    #[must_use]
    pub fn ipv6_token(mut self, token: std::net::Ipv6Addr) -> Self {
        self.attributes.nest(IFLA_AF_SPEC, |families| {
            families.nest(AF_INET6.into(), |ipv6| {
                ipv6.attribute(IFLA_INET6_TOKEN, &token.octets());
            });
        });
        self
    }

    /// Sets IPv4 settings by number (`IPV4_DEVCONF_*`, from 1 on, `linux/ip.h`), as
    /// [`Ipv4Settings::value`](super::Ipv4Settings::value) reads them.
    #[must_use]
    pub fn ipv4_settings(mut self, values: &[(u16, i32)]) -> Self {
        self.attributes.nest(IFLA_AF_SPEC, |families| {
            families.nest(AF_INET.into(), |ipv4| {
                ipv4.nest(IFLA_INET_CONF, |settings| {
                    for (number, value) in values {
                        settings.attribute(*number, &value.to_ne_bytes());
                    }
                });
            });
        });
        self
    }

    /// Asks to change the interface of this index.
    #[must_use]
    pub fn apply_to(&self, index: u32) -> Request {
        let fixed = fixed(index, self.flags, self.change);
        let mut request = Request::new(RTM_NEWLINK, 0, &fixed);
        request.raw(self.attributes.payload());
        request
    }

    /// Asks for a new interface. One of the same name is an error (`EEXIST`).
    #[must_use]
    pub fn create(&self, kind: &Kind) -> Request {
        let fixed = fixed(self.index, self.flags, self.change);
        let mut request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &fixed);
        request.raw(self.attributes.payload());
        request.nest(IFLA_LINKINFO, |information| {
            information.text(IFLA_INFO_KIND, kind.name());
            information.nest(IFLA_INFO_DATA, |data| kind.data(data));
        });
        request
    }

    /// Fixed part and attributes, as they stand inside another interface's settings.
    fn embedded(&self, request: &mut Request) {
        request.raw(&fixed(self.index, self.flags, self.change));
        request.raw(self.attributes.payload());
    }
}

/// What to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Two interfaces joined by a virtual cable (`veth(4)`).
    Veth {
        /// The other end. It cannot be created up: the kernel refuses (`ENOTCONN`) because the
        /// cable is not plugged in yet.
        peer: Settings,
    },
    /// A bridge that forwards at once: no spanning tree, no forwarding delay, no multicast
    /// snooping. What a test network wants.
    PlainBridge,
    /// A bridge with the kernel's defaults: ports forward after a delay, multicast is snooped.
    Bridge,
    /// A second link address on the interface given by [`Settings::lower`].
    Macvlan {
        /// Who can talk to whom.
        mode: MacvlanMode,
    },
    /// Ethernet in UDP.
    Vxlan {
        /// Network identifier, 24 bits.
        identifier: u32,
        /// UDP port; IANA's is 4789.
        port: u16,
    },
    /// Any other kind that needs no settings: `dummy`, `ifb`, `vrf`, ...
    Other(OsString),
}

/// Who can talk to whom on macvlan interfaces of one lower interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MacvlanMode {
    /// Each with the outside only.
    Private = 1,
    /// Among each other by way of the switch outside.
    Vepa = 2,
    /// Among each other directly.
    Bridge = 4,
    /// One interface takes everything.
    PassThrough = 8,
}

impl Kind {
    fn name(&self) -> &OsStr {
        OsStr::new(match self {
            Self::Veth { .. } => "veth",
            Self::PlainBridge | Self::Bridge => "bridge",
            Self::Macvlan { .. } => "macvlan",
            Self::Vxlan { .. } => "vxlan",
            Self::Other(kind) => return kind,
        })
    }

    fn data(&self, data: &mut Request) {
        match self {
            Self::Veth { peer } => {
                data.nest(VETH_INFO_PEER, |request| peer.embedded(request));
            }
            Self::PlainBridge => {
                data.u32(IFLA_BR_FORWARD_DELAY, 0);
                data.u32(IFLA_BR_STP_STATE, 0);
                data.u8(IFLA_BR_MCAST_SNOOPING, 0);
            }
            Self::Macvlan { mode } => {
                data.u32(IFLA_MACVLAN_MODE, *mode as u32);
            }
            Self::Vxlan { identifier, port } => {
                data.u32(IFLA_VXLAN_ID, *identifier);
                data.attribute(IFLA_VXLAN_PORT, &port.to_be_bytes());
            }
            Self::Bridge | Self::Other(_) => {}
        }
    }
}

/// Asks to delete the interface of this index; with a veth, its other end goes too.
#[must_use]
pub fn delete(index: u32) -> Request {
    Request::new(RTM_DELLINK, 0, &fixed(index, 0, 0))
}
