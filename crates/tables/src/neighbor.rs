use std::net::IpAddr;

use netlink::kernel::*;
use netlink::neighbor::Neighbor as Entry;
use netlink::{Family, Name};
use serde::{Deserialize, Serialize};
use wire::HardwareAddress;

use crate::Luid;
use crate::directory::Entry as Interface;
use crate::route::RouteProtocol;
use crate::row::{Row, Weight, difference};

/// What is known about a neighbour, as `MIB_IPNET_ROW2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Neighbor {
    /// The name of the interface it is behind.
    pub interface: Name,
    /// The index of that interface.
    pub ifindex: u32,
    /// The LUID of that interface.
    pub luid: Luid,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The neighbour's IP address.
    pub address: IpAddr,
    /// Its link address, once it is known.
    pub physical_address: Option<HardwareAddress>,
    /// How far that can be relied on.
    pub state: NeighborState,
    /// It is a router (IPv6).
    pub is_router: bool,
    /// It does not answer.
    pub is_unreachable: bool,
    /// Who made it.
    pub protocol: RouteProtocol,
    /// `NTF_*`.
    pub flags: u8,
    /// Seconds since it was last confirmed to be there.
    pub confirmed_ago: Option<u32>,
    /// Seconds since it was last used.
    pub used_ago: Option<u32>,
    /// Seconds since its state last changed.
    pub updated_ago: Option<u32>,
}

/// How far a neighbour's link address can be relied on (RFC 4861 section 7.3.2, and `NUD_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NeighborState {
    /// Nothing known.
    None,
    /// Being looked for.
    Incomplete,
    /// Confirmed a short while ago.
    Reachable,
    /// Not confirmed lately; good until used.
    Stale,
    /// Used while stale; about to be asked.
    Delay,
    /// Being asked.
    Probe,
    /// Does not answer (`NlnsUnreachable`).
    Failed,
    /// Needs no resolution: broadcast, multicast, loopback.
    NoArp,
    /// Set by hand.
    Permanent,
}

impl NeighborState {
    /// The state of the kernel's bits, of which one is set at a time.
    #[must_use]
    pub fn new(state: netlink::neighbor::State) -> Self {
        match state.0 {
            NUD_INCOMPLETE => Self::Incomplete,
            NUD_REACHABLE => Self::Reachable,
            NUD_STALE => Self::Stale,
            NUD_DELAY => Self::Delay,
            NUD_PROBE => Self::Probe,
            NUD_FAILED => Self::Failed,
            NUD_NOARP => Self::NoArp,
            bits if bits & NUD_PERMANENT != 0 => Self::Permanent,
            _ => Self::None,
        }
    }
}

impl Neighbor {
    pub(crate) fn new(row: &Entry, entry: &Interface) -> Self {
        let seconds = |hundredths: Option<u32>| hundredths.map(|hundredths| hundredths / 100);
        Self {
            interface: entry.name,
            ifindex: row.interface,
            luid: entry.luid,
            family: Family::of(row.address),
            address: row.address,
            physical_address: row.hardware_address,
            state: NeighborState::new(row.state),
            is_router: row.is_router,
            is_unreachable: NeighborState::new(row.state) == NeighborState::Failed,
            protocol: RouteProtocol(row.protocol),
            flags: row.flags,
            confirmed_ago: seconds(row.confirmed_ago),
            used_ago: seconds(row.used_ago),
            updated_ago: seconds(row.updated_ago),
        }
    }
}

impl Row for Neighbor {
    type Key = (u32, IpAddr);

    fn key(&self) -> (u32, IpAddr) {
        (self.ifindex, self.address)
    }

    difference!(
        interface,
        ifindex,
        luid,
        family,
        address,
        physical_address,
        state,
        is_router,
        is_unreachable,
        protocol,
        flags,
        confirmed_ago,
        used_ago,
        updated_ago,
    );

    fn weight(&self, _: &Self, member: &str) -> Weight {
        match member {
            "confirmed_ago" | "used_ago" | "updated_ago" => Weight::Running,
            _ => Weight::State,
        }
    }
}
