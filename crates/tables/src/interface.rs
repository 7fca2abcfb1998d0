use std::borrow::Cow;

use netlink::Name;
use netlink::ethtool::LinkSpeed;
use netlink::kernel::IFF_PROMISC;
use netlink::link::{LinkView, OperationalState, Statistics};
use serde::{Deserialize, Serialize};
use wire::HardwareAddress;

use crate::row::{self, Row, Weight, difference};
use crate::{Guid, InterfaceType, Luid, Machine, stack};

/// A network interface: what `MIB_IF_ROW2` says, as far as Linux knows it, and what Linux says
/// besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Interface {
    /// Its name, which may change.
    #[serde(rename = "interface")]
    pub name: Name,
    /// Its number in this network namespace. A later interface may get it when this one is gone.
    pub ifindex: u32,
    /// Its number and type in one.
    pub luid: Luid,
    /// Its identity across reboots.
    pub guid: Guid,
    /// A description somebody gave it.
    pub alias: Option<Box<str>>,
    /// Other names it answers to.
    pub alternative_names: Vec<Box<str>>,
    /// What it is, by IANA's numbers.
    #[serde(rename = "type")]
    pub interface_type: InterfaceType,
    /// The driver that made it: `veth`, `bridge`, ...; `None` for hardware and the loopback.
    pub kind: Option<Cow<'static, str>>,
    /// What its master made of it: `bridge` for a bridge port.
    pub port_kind: Option<Cow<'static, str>>,
    /// ARP hardware type (`ARPHRD_*`).
    pub hardware_type: u16,
    /// The largest packet, in bytes, without the link header.
    pub mtu: u32,
    /// The smallest MTU the driver accepts.
    pub minimum_mtu: Option<u32>,
    /// The largest MTU the driver accepts; `None` where it names no limit.
    pub maximum_mtu: Option<u32>,
    /// Bits per second it sends; `None` if the driver does not say, or it was not asked. See
    /// [`Tables::interfaces`](crate::Tables::interfaces).
    pub transmit_link_speed: Option<u64>,
    /// Bits per second it receives. Linux knows one speed for both directions.
    pub receive_link_speed: Option<u64>,
    /// Its link address; empty where the link has none.
    pub physical_address: HardwareAddress,
    /// The link address it was built with; `None` for virtual interfaces.
    pub permanent_physical_address: Option<HardwareAddress>,
    /// The link address that reaches everyone; the peer's on point-to-point links.
    pub broadcast_physical_address: HardwareAddress,
    /// What the administrator wants.
    pub admin_status: AdminStatus,
    /// What it does.
    pub oper_status: OperStatus,
    /// Whether what is below is there: a cable, a peer, an association.
    pub media_connect_state: MediaConnectState,
    /// How often the carrier has come or gone.
    pub carrier_changes: Option<u32>,
    /// How it reaches others.
    pub access_type: AccessType,
    /// It belongs to a device on a bus, and is not made of software alone.
    pub hardware_interface: bool,
    /// Something can be plugged into it: it is hardware, and not part of another interface.
    pub connector_present: bool,
    /// It can send to groups.
    pub multicast: bool,
    /// It receives everything on its link.
    pub promiscuous: bool,
    /// All of `IFF_*` (`netdevice(7)`).
    pub flags: u32,
    /// The bridge, bond or VRF it is part of, by index.
    pub master: Option<u32>,
    /// The interface it rides on (VLAN, macvlan) or its other end (veth), by index; see
    /// `lower_namespace`.
    pub lower: Option<u32>,
    /// The namespace that `lower` is an index of (`ip netns list-id`), if not this one.
    pub lower_namespace: Option<i32>,
    /// Interface group.
    pub group: u32,
    /// Packets the transmit queue holds.
    pub transmit_queue_length: Option<u32>,
    /// The bus its device sits on, such as `pci`.
    pub parent_bus: Option<Box<str>>,
    /// The device it belongs to, such as `0000:00:03.0`.
    pub parent_device: Option<Box<str>>,
    /// Counters; `None` if the kernel was asked not to say.
    pub statistics: Option<Statistics>,
}

/// What the administrator wants of an interface (RFC 2863, `ifAdminStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdminStatus {
    /// To be used.
    Up,
    /// Not to be used.
    Down,
}

/// What an interface does (RFC 2863, `ifOperStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OperStatus {
    /// Passes packets.
    Up,
    /// Does not.
    Down,
    /// In a test.
    Testing,
    /// The driver does not say; counts as up.
    Unknown,
    /// Waits for something, such as authentication.
    Dormant,
    /// A part of it is missing.
    NotPresent,
    /// Down because the interface below is.
    LowerLayerDown,
}

/// Whether something is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaConnectState {
    /// An interface that is administratively down does not know.
    Unknown,
    /// The carrier is there.
    Connected,
    /// The carrier is not there.
    Disconnected,
}

/// How an interface reaches others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessType {
    /// This host alone.
    Loopback,
    /// Many at once.
    Broadcast,
    /// Exactly one other end.
    PointToPoint,
    /// Many, one at a time.
    PointToMultiPoint,
}

impl Interface {
    pub(crate) fn new(view: &LinkView<'_>, machine: &Machine) -> Self {
        let luid = Luid::of(view);
        let hardware_interface = view.parent_device.is_some();
        let lower = stack::lower(view);
        Self {
            name: view.name,
            ifindex: view.index,
            luid,
            guid: machine.guid(view),
            alias: view.alias.map(row::text),
            alternative_names: view.alternative_names().map(row::text).collect(),
            interface_type: luid.interface_type(),
            kind: view.kind.map(row::kind),
            port_kind: view.port_kind.map(row::kind),
            hardware_type: view.hardware_type,
            mtu: view.mtu,
            minimum_mtu: view.minimum_mtu,
            maximum_mtu: view.maximum_mtu,
            transmit_link_speed: None,
            receive_link_speed: None,
            physical_address: HardwareAddress::new(view.hardware_address).unwrap_or_default(),
            permanent_physical_address: view.permanent_address.and_then(HardwareAddress::new),
            broadcast_physical_address: HardwareAddress::new(view.broadcast_address)
                .unwrap_or_default(),
            admin_status: if view.flags.is_up() { AdminStatus::Up } else { AdminStatus::Down },
            oper_status: oper_status(view),
            media_connect_state: media_connect_state(view),
            carrier_changes: view.carrier_changes,
            access_type: access_type(view),
            hardware_interface,
            connector_present: hardware_interface && lower.is_none(),
            multicast: view.flags.is_multicast(),
            promiscuous: view.flags.0 & IFF_PROMISC != 0,
            flags: view.flags.0,
            master: view.master,
            lower,
            lower_namespace: view.lower_namespace,
            group: view.group,
            transmit_queue_length: view.transmit_queue_length,
            parent_bus: view.parent_bus.map(row::text),
            parent_device: view.parent_device.map(row::text),
            statistics: view.statistics(),
        }
    }

    pub(crate) fn set_speed(&mut self, speed: LinkSpeed) {
        self.transmit_link_speed = speed.megabits.map(|megabits| u64::from(megabits) * 1_000_000);
        self.receive_link_speed = self.transmit_link_speed;
    }
}

impl Row for Interface {
    type Key = u32;

    fn key(&self) -> u32 {
        self.ifindex
    }

    difference!(
        name as "interface",
        ifindex,
        luid,
        guid,
        alias,
        alternative_names,
        interface_type as "type",
        kind,
        port_kind,
        hardware_type,
        mtu,
        minimum_mtu,
        maximum_mtu,
        transmit_link_speed,
        receive_link_speed,
        physical_address,
        permanent_physical_address,
        broadcast_physical_address,
        admin_status,
        oper_status,
        media_connect_state,
        carrier_changes,
        access_type,
        hardware_interface,
        connector_present,
        multicast,
        promiscuous,
        flags,
        master,
        lower,
        lower_namespace,
        group,
        transmit_queue_length,
        parent_bus,
        parent_device,
        statistics,
    );

    fn weight(&self, _: &Self, member: &str) -> Weight {
        match member {
            // Notifications do not carry speeds: theirs is always unknown.
            "statistics" | "carrier_changes" | "transmit_link_speed" | "receive_link_speed" => {
                Weight::Running
            }
            _ => Weight::State,
        }
    }
}

fn oper_status(view: &LinkView<'_>) -> OperStatus {
    match view.operational_state {
        OperationalState::Up => OperStatus::Up,
        OperationalState::Down => OperStatus::Down,
        OperationalState::Testing => OperStatus::Testing,
        OperationalState::Dormant => OperStatus::Dormant,
        OperationalState::NotPresent => OperStatus::NotPresent,
        OperationalState::LowerLayerDown => OperStatus::LowerLayerDown,
        OperationalState::Unknown | OperationalState::Other(_) => OperStatus::Unknown,
    }
}

fn media_connect_state(view: &LinkView<'_>) -> MediaConnectState {
    match (view.flags.is_up(), view.carrier) {
        (false, _) | (_, None) => MediaConnectState::Unknown,
        (true, Some(true)) => MediaConnectState::Connected,
        (true, Some(false)) => MediaConnectState::Disconnected,
    }
}

fn access_type(view: &LinkView<'_>) -> AccessType {
    let flags = view.flags;
    if flags.is_loopback() {
        AccessType::Loopback
    } else if flags.is_point_to_point() {
        AccessType::PointToPoint
    } else if flags.is_broadcast() {
        AccessType::Broadcast
    } else {
        AccessType::PointToMultiPoint
    }
}
