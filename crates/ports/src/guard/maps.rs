use super::layout::{EVENT_LENGTH, ROW_LENGTH, SOCKET_LENGTH};
use super::{PORTS, btf};

/// The guard's maps. Their numbers stand in for them in a program without descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Map {
    /// [Index](crate::guard::index) of a port → id of the reservation it belongs to, 0 for none.
    Owners,
    /// Id → [`Row`](crate::guard::Row).
    Reservations,
    /// [Id and uid](crate::guard::grant_key) → anything.
    Users,
    /// [Id and control group](crate::guard::grant_key) → anything.
    Cgroups,
    /// Socket → [`Socket`](crate::guard::Socket).
    Sockets,
    /// Index of a port → how many sockets were let in there and are not closed.
    Used,
    /// [`Event`](crate::guard::Event)s for the daemon.
    Events,
}

/// What the kernel is told about a map when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSpec {
    /// Type, by the numbers of `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// How many it holds; of a ring buffer, its bytes.
    pub entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Types of key and value among those of [`btf::types`], where they must be told.
    pub types: Option<(u32, u32)>,
}

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const SOCKET_STORAGE: u32 = 24;
const RING_BUFFER: u32 = 27;

/// Elements take memory only while they are there.
const NO_PREALLOCATION: u32 = 1 << 0;
/// The daemon reads and writes it as its own memory.
const MAPPABLE: u32 = 1 << 10;

/// More than one of every port would fill.
const RESERVATIONS: u32 = PORTS;
/// Grants by user or control group, of all reservations.
const GRANTS: u32 = 1 << 16;
/// A page, and therefore a ring buffer, is 64 KiB on some machines. Holds some 800 events.
const RING_LENGTH: u32 = 1 << 16;

impl Map {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Owners,
        Self::Reservations,
        Self::Users,
        Self::Cgroups,
        Self::Sockets,
        Self::Used,
        Self::Events,
    ];

    /// Its name in the kernel and in the folder of pins.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owners => "owners",
            Self::Reservations => "reservations",
            Self::Users => "users",
            Self::Cgroups => "cgroups",
            Self::Sockets => "sockets",
            Self::Used => "used",
            Self::Events => "events",
        }
    }

    /// How to make it.
    pub const fn spec(self) -> MapSpec {
        let plain = MapSpec { kind: HASH, key: 8, value: 4, entries: 0, flags: 0, types: None };
        match self {
            Self::Owners => {
                let flags = MAPPABLE;
                MapSpec { kind: ARRAY, key: 4, value: 8, entries: PORTS, flags, ..plain }
            }
            Self::Reservations => MapSpec {
                value: ROW_LENGTH as u32,
                entries: RESERVATIONS,
                flags: NO_PREALLOCATION,
                ..plain
            },
            Self::Users | Self::Cgroups => {
                MapSpec { key: 16, entries: GRANTS, flags: NO_PREALLOCATION, ..plain }
            }
            Self::Sockets => MapSpec {
                kind: SOCKET_STORAGE,
                key: 4,
                value: SOCKET_LENGTH as u32,
                flags: NO_PREALLOCATION,
                types: Some((btf::KEY, btf::SOCKET)),
                ..plain
            },
            Self::Used => MapSpec { kind: ARRAY, key: 4, entries: PORTS, ..plain },
            Self::Events => {
                MapSpec { kind: RING_BUFFER, key: 0, value: 0, entries: RING_LENGTH, ..plain }
            }
        }
    }
}

// A full ring buffer must hold at least one event and its header.
const _: () = assert!(EVENT_LENGTH + 8 < RING_LENGTH as usize);
