//! Network interfaces.

mod inet;
mod settings;
mod view;

use std::ffi::OsString;

use wire::HardwareAddress;

pub use inet::{Ipv4Settings, Ipv6Settings};
pub use settings::{Kind, MacvlanMode, Settings, delete};
pub use view::{LinkView, Statistics};

use crate::kernel::*;
use crate::{Error, Family, Message, Name, Request, Row};

/// A network interface, with everything a link dump says that iphelper uses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Its number, never used again while its namespace lives (unless somebody insists).
    pub index: u32,
    /// Its name, which may change.
    pub name: Name,
    /// A description somebody gave it.
    pub alias: Option<OsString>,
    /// Other names it answers to.
    pub alternative_names: Vec<OsString>,
    /// What driver made it: `veth`, `bridge`, ...; `None` for most hardware, and loopback.
    pub kind: Option<OsString>,
    /// What its master made of it: `bridge` for a bridge port.
    pub port_kind: Option<OsString>,
    /// ARP hardware type (`ARPHRD_*`): 1 Ethernet, 32 InfiniBand, 772 loopback, 65534 none.
    pub hardware_type: u16,
    /// `IFF_*`.
    pub flags: Flags,
    /// Operational state (RFC 2863).
    pub operational_state: OperationalState,
    /// Whether the link below is there: a cable, a peer, an association.
    pub carrier: Option<bool>,
    /// How often the carrier has come or gone.
    pub carrier_changes: Option<u32>,
    /// The largest packet, in bytes, without the link header.
    pub mtu: u32,
    /// The smallest MTU the driver accepts.
    pub minimum_mtu: Option<u32>,
    /// The largest MTU the driver accepts; `None` where it names no limit.
    pub maximum_mtu: Option<u32>,
    /// Its link address.
    pub hardware_address: HardwareAddress,
    /// The link address it was built with.
    pub permanent_address: Option<HardwareAddress>,
    /// The link address that reaches everyone; the peer's on point-to-point links.
    pub broadcast_address: HardwareAddress,
    /// The bridge, bond or VRF it is part of.
    pub master: Option<u32>,
    /// The interface it rides on (VLAN, macvlan) or its other end (veth). In the namespace
    /// `lower_namespace`, if that is given: the number means nothing here then.
    pub lower: Option<u32>,
    /// The namespace identifier (`ip netns list-id`) that `lower` belongs to.
    pub lower_namespace: Option<i32>,
    /// Interface group.
    pub group: u32,
    /// Packets the transmit queue holds.
    pub transmit_queue_length: Option<u32>,
    /// Transmit queues.
    pub transmit_queues: Option<u32>,
    /// Receive queues.
    pub receive_queues: Option<u32>,
    /// How many want the interface promiscuous.
    pub promiscuity: Option<u32>,
    /// The bus its device sits on, such as `pci`.
    pub parent_bus: Option<OsString>,
    /// The device it belongs to, such as `0000:00:03.0`.
    pub parent_device: Option<OsString>,
    /// Counters.
    pub statistics: Option<Statistics>,
    /// IPv4 on this interface; `None` where it is not configured.
    pub ipv4: Option<Ipv4Settings>,
    /// IPv6 on this interface; `None` where it is not configured, such as with an MTU below 1280.
    pub ipv6: Option<Ipv6Settings>,
}

/// `IFF_*` flags of an interface (`netdevice(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Set up by its administrator (`IFF_UP`).
    #[must_use]
    pub fn is_up(self) -> bool {
        self.0 & IFF_UP != 0
    }

    /// Operational (`IFF_RUNNING`, RFC 2863 up or unknown).
    #[must_use]
    pub fn is_running(self) -> bool {
        self.0 & IFF_RUNNING != 0
    }

    /// The link below is there (`IFF_LOWER_UP`): the carrier.
    #[must_use]
    pub fn is_lower_up(self) -> bool {
        self.0 & IFF_LOWER_UP != 0
    }

    /// A loopback.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.0 & IFF_LOOPBACK != 0
    }

    /// Has a broadcast address.
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self.0 & IFF_BROADCAST != 0
    }

    /// Has exactly one other end.
    #[must_use]
    pub fn is_point_to_point(self) -> bool {
        self.0 & IFF_POINTOPOINT != 0
    }

    /// Can multicast.
    #[must_use]
    pub fn is_multicast(self) -> bool {
        self.0 & IFF_MULTICAST != 0
    }

    /// Does not resolve addresses (`IFF_NOARP`).
    #[must_use]
    pub fn is_without_arp(self) -> bool {
        self.0 & IFF_NOARP != 0
    }
}

/// Operational state (`IF_OPER_*`, RFC 2863).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationalState {
    /// The driver does not say. Counts as up.
    Unknown,
    /// Some part of it is missing.
    NotPresent,
    /// Down.
    Down,
    /// Down because the interface it rides on is.
    LowerLayerDown,
    /// In a test.
    Testing,
    /// Waiting for something, such as authentication.
    Dormant,
    /// Up.
    Up,
    /// A state newer than this list.
    Other(u8),
}

impl OperationalState {
    /// The state of this kernel number.
    #[must_use]
    pub fn new(number: u8) -> Self {
        match number {
            0 => Self::Unknown,
            1 => Self::NotPresent,
            2 => Self::Down,
            3 => Self::LowerLayerDown,
            4 => Self::Testing,
            5 => Self::Dormant,
            6 => Self::Up,
            other => Self::Other(other),
        }
    }
}

impl Row for Link {
    type View<'a> = LinkView<'a>;

    fn view<'a>(message: &Message<'a>) -> Option<Result<LinkView<'a>, Error>> {
        // Messages of a family describe its settings on the interface: AF_BRIDGE those of a bridge
        // port, AF_INET6 what Ipv6Link reads. The rest of the interface is not in them.
        matches!(message.kind, RTM_NEWLINK | RTM_DELLINK)
            .then(|| LinkView::parse(message))
            .filter(|view| !matches!(view, Ok(view) if view.family != AF_UNSPEC))
    }

    fn from_view(view: &LinkView<'_>) -> Self {
        let owned = |text: Option<&std::ffi::OsStr>| text.map(std::ffi::OsStr::to_os_string);
        Self {
            index: view.index,
            name: view.name,
            alias: owned(view.alias),
            alternative_names: view.alternative_names().map(Into::into).collect(),
            kind: owned(view.kind),
            port_kind: owned(view.port_kind),
            hardware_type: view.hardware_type,
            flags: view.flags,
            operational_state: view.operational_state,
            carrier: view.carrier,
            carrier_changes: view.carrier_changes,
            mtu: view.mtu,
            minimum_mtu: view.minimum_mtu,
            maximum_mtu: view.maximum_mtu,
            hardware_address: HardwareAddress::new(view.hardware_address).unwrap_or_default(),
            permanent_address: view.permanent_address.and_then(HardwareAddress::new),
            broadcast_address: HardwareAddress::new(view.broadcast_address).unwrap_or_default(),
            master: view.master,
            lower: view.lower,
            lower_namespace: view.lower_namespace,
            group: view.group,
            transmit_queue_length: view.transmit_queue_length,
            transmit_queues: view.transmit_queues,
            receive_queues: view.receive_queues,
            promiscuity: view.promiscuity,
            parent_bus: owned(view.parent_bus),
            parent_device: owned(view.parent_device),
            statistics: view.statistics(),
            ipv4: view.ipv4(),
            ipv6: view.ipv6(),
        }
    }
}

/// What the kernel tells when IPv6 on an interface changes (group `RTNLGRP_IPV6_IFINFO`): routers
/// have been heard, or IPv6 is not configured any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ipv6Link {
    /// The interface.
    pub index: u32,
    /// IPv6 on it.
    pub settings: Ipv6Settings,
}

impl Row for Ipv6Link {
    type View<'a> = Self;

    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        if !matches!(message.kind, RTM_NEWLINK | RTM_DELLINK) {
            return None;
        }
        match message.body::<16>() {
            Ok((&[AF_INET6, _, _, _, i0, i1, i2, i3, ..], attributes)) => {
                let settings = Ipv6Settings::parse(attributes.get(IFLA_PROTINFO)?.nested())?;
                Some(Ok(Self { index: u32::from_ne_bytes([i0, i1, i2, i3]), settings }))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn from_view(view: &Self) -> Self {
        view.clone()
    }
}

/// What the kernel tells when one of the settings programs wait for changes (groups
/// `RTNLGRP_IPV4_NETCONF` and `RTNLGRP_IPV6_NETCONF`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Netconf {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The interface; `None` for the settings of all, or of new ones.
    pub interface: Option<u32>,
    /// Passes packets on, if the message is about that.
    pub forwarding: Option<bool>,
}

impl Row for Netconf {
    type View<'a> = Self;

    fn view<'a>(message: &Message<'a>) -> Option<Result<Self, Error>> {
        if !matches!(message.kind, RTM_NEWNETCONF | RTM_DELNETCONF) {
            return None;
        }
        // A `struct netconfmsg`: family, and padding.
        let (&[family, _, _, _], attributes) = match message.body::<4>() {
            Ok(body) => body,
            Err(error) => return Some(Err(error)),
        };
        let family = match family {
            AF_INET => Family::Ipv4,
            AF_INET6 => Family::Ipv6,
            _ => return None,
        };
        let index = attributes.get(NETCONFA_IFINDEX)?.i32()?;
        let forwarding = attributes.get(NETCONFA_FORWARDING).and_then(|value| value.i32());
        Some(Ok(Self {
            family,
            interface: u32::try_from(index).ok(),
            forwarding: forwarding.map(|value| value != 0),
        }))
    }

    fn from_view(view: &Self) -> Self {
        *view
    }
}

/// Asks for all interfaces.
#[must_use]
pub fn dump() -> Request {
    Request::new(RTM_GETLINK, NLM_F_DUMP, &fixed(0, 0, 0))
}

/// Asks for the interface of this index.
#[must_use]
pub fn by_index(index: u32) -> Request {
    Request::new(RTM_GETLINK, 0, &fixed(index, 0, 0))
}

/// Asks for the interface of this name, or of this alternative name.
#[must_use]
pub fn by_name(name: impl AsRef<std::ffi::OsStr>) -> Request {
    let name = name.as_ref();
    // Either attribute finds either sort of name; only the second takes long ones, and only
    // Linux 5.5 and later know it.
    let attribute = if name.len() > Name::MAX_LENGTH { IFLA_ALT_IFNAME } else { IFLA_IFNAME };
    let mut request = Request::new(RTM_GETLINK, 0, &fixed(0, 0, 0));
    request.text(attribute, name);
    request
}

/// A `struct ifinfomsg`: family, padding, type, index, flags, change mask.
fn fixed(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    let [c0, c1, c2, c3] = change.to_ne_bytes();
    [AF_UNSPEC, 0, 0, 0, i0, i1, i2, i3, f0, f1, f2, f3, c0, c1, c2, c3]
}
