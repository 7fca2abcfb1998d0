//! What the maps hold, byte for byte. Numbers are in the machine's own order.

use engine::Instant;

use super::{TABLE, index};
use crate::{Block, Id, Protocol, Refusal};

/// A reservation as the programs know it: the value of [`Map::Reservations`](super::Map).
///
/// A port whose row is missing or expired is not reserved, whatever
/// [`Map::Owners`](super::Map::Owners) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Whose ports.
    pub protocol: Protocol,
    /// Which ports.
    pub block: Block,
    /// How strangers are refused.
    pub refusal: Refusal,
    /// Strangers are reported and not refused.
    pub dry_run: bool,
    /// Sockets with a grant may bind below 1024 without `CAP_NET_BIND_SERVICE`.
    pub low_ports: bool,
    /// It ends with a socket.
    pub runtime: bool,
    /// [`Map::Users`](super::Map::Users) has entries for it.
    pub users: bool,
    /// [`Map::Cgroups`](super::Map::Cgroups) has entries for it.
    pub cgroups: bool,
    /// User it is for, so that a daemon without a record can tell whose it was.
    pub owner: u32,
    /// When it ends by itself.
    pub expires_at: Option<Instant>,
    /// Binds refused, or that would have been. Kept by the programs.
    pub denials: u64,
}

/// State of a socket: the value of [`Map::Sockets`](super::Map::Sockets), gone with the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Socket {
    /// Reservation whose ports it may bind.
    pub granted: Option<Id>,
    /// Runtime reservation that ends with it.
    pub owned: Option<Id>,
    /// Reservation whose port it was let in to last. Kept by the programs.
    pub passed: Option<Id>,
    /// [Index](index) of the port it is counted at in [`Map::Used`](super::Map::Used); 0 for none.
    /// Kept by the programs.
    pub counted: u32,
}

/// Something the programs saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
    /// Whose doing.
    pub caller: Caller,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A bind was refused, or would have been in a dry run.
    Refused {
        /// Reservation of the port.
        reservation: Id,
        /// Whose port.
        protocol: Protocol,
        /// The port.
        port: u16,
        /// It was only reported.
        dry_run: bool,
        /// Refusals since the last event that were counted and not reported.
        suppressed: u32,
    },
    /// The last descriptor of a runtime reservation's socket was closed: the reservation is over.
    Released {
        /// The reservation.
        reservation: Id,
    },
    /// Somebody, in whichever network namespace, is about to write
    /// `net.ipv4.ip_local_reserved_ports`.
    ReservedPortsWritten,
}

/// A process, as far as the kernel lets the program know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// Process in the initial process namespace; 0 when unknown.
    pub process: u32,
    /// User in the initial user namespace.
    pub user: u32,
    /// Control group, by the number that is its folder's inode; 0 when unknown.
    pub cgroup: u64,
    /// Name of the thread that binds, at most 15 bytes; empty when unknown.
    pub program: Vec<u8>,
}

/// Key of [`Map::Users`](super::Map::Users), where `who` is a user, and of
/// [`Map::Cgroups`](super::Map::Cgroups), where it is a control group.
pub fn grant_key(reservation: Id, who: u64) -> [u8; 16] {
    let mut writer = Writer([0; 16]);
    writer.put(0, &reservation.get().to_ne_bytes());
    writer.put(8, &who.to_ne_bytes());
    writer.0
}

/// What is in such a key: the reservation, and who.
pub fn granted(key: &[u8]) -> Option<(Id, u64)> {
    Some((Id::new(number_64(key, 0)?)?, number_64(key, 8)?))
}

/// Where the fields of a row are.
pub(super) mod row {
    pub(in super::super) const EXPIRES_AT: i16 = 0;
    pub(in super::super) const DENIALS: i16 = 8;
    /// When the present second of reports began.
    pub(in super::super) const WINDOW_AT: i16 = 16;
    /// Index of the first port.
    pub(in super::super) const FIRST: i16 = 24;
    pub(in super::super) const COUNT: i16 = 28;
    /// Where the next search for a free port starts, from the first port on.
    pub(in super::super) const CURSOR: i16 = 32;
    pub(in super::super) const ERRNO: i16 = 36;
    pub(in super::super) const FLAGS: i16 = 40;
    pub(in super::super) const OWNER: i16 = 44;
    /// Reports in the present second.
    pub(in super::super) const REPORTED: i16 = 48;
    /// Refusals not reported since the last report.
    pub(in super::super) const SUPPRESSED: i16 = 52;
}

/// Bits of a row's flags.
pub(super) mod flag {
    pub(in super::super) const DRY_RUN: i32 = 1 << 0;
    pub(in super::super) const LOW_PORTS: i32 = 1 << 1;
    pub(in super::super) const USERS: i32 = 1 << 2;
    pub(in super::super) const CGROUPS: i32 = 1 << 3;
    pub(in super::super) const RUNTIME: i32 = 1 << 4;
}

/// Where the fields of a socket's state are.
pub(super) mod socket {
    pub(in super::super) const GRANTED: i16 = 0;
    pub(in super::super) const OWNED: i16 = 8;
    pub(in super::super) const PASSED: i16 = 16;
    pub(in super::super) const COUNTED: i16 = 24;
}

/// Where the fields of an event are.
pub(super) mod event {
    pub(in super::super) const AT: i16 = 0;
    pub(in super::super) const RESERVATION: i16 = 8;
    pub(in super::super) const KIND: i16 = 16;
    pub(in super::super) const PROCESS: i16 = 20;
    pub(in super::super) const USER: i16 = 24;
    pub(in super::super) const INDEX: i16 = 28;
    pub(in super::super) const SUPPRESSED: i16 = 32;
    pub(in super::super) const CGROUP: i16 = 40;
    pub(in super::super) const PROGRAM: i16 = 48;
}

/// Kinds of events, by number.
pub(super) mod kind {
    pub(in super::super) const REFUSED: i32 = 1;
    pub(in super::super) const WOULD_REFUSE: i32 = 2;
    pub(in super::super) const RELEASED: i32 = 3;
    pub(in super::super) const RESERVED_PORTS_WRITTEN: i32 = 4;
}

pub(super) const ROW_LENGTH: usize = 56;
pub(super) const SOCKET_LENGTH: usize = 32;
pub(super) const EVENT_LENGTH: usize = 64;
/// `TASK_COMM_LEN`.
pub(super) const PROGRAM_LENGTH: usize = 16;

/// `errno(3)`, as x86, ARM, RISC-V and most others number them.
pub(super) mod errno {
    pub(in super::super) const EPERM: i32 = 1;
    pub(in super::super) const EACCES: i32 = 13;
    pub(in super::super) const EADDRINUSE: i32 = 98;
}

impl Row {
    /// Length of a row in bytes.
    pub const LENGTH: usize = ROW_LENGTH;

    /// As the programs read it. Nothing is reported yet in its present second.
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let flags = [
            (self.dry_run, flag::DRY_RUN),
            (self.low_ports, flag::LOW_PORTS),
            (self.users, flag::USERS),
            (self.cgroups, flag::CGROUPS),
            (self.runtime, flag::RUNTIME),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag);
        let errno = match self.refusal {
            Refusal::AccessDenied => errno::EACCES,
            Refusal::AddressInUse => errno::EADDRINUSE,
            Refusal::NotPermitted => errno::EPERM,
        };
        // One that expires at the moment of boot would never do, by the meaning of 0.
        let expires_at = self.expires_at.map_or(0, |at| at.as_nanos().max(1));
        let mut writer = Writer([0; Self::LENGTH]);
        writer.put(row::EXPIRES_AT, &expires_at.to_ne_bytes());
        writer.put(row::DENIALS, &self.denials.to_ne_bytes());
        writer.put(row::FIRST, &index(self.protocol, self.block.start()).to_ne_bytes());
        writer.put(row::COUNT, &u32::from(self.block.count()).to_ne_bytes());
        writer.put(row::ERRNO, &errno.to_ne_bytes());
        writer.put(row::FLAGS, &flags.to_ne_bytes());
        writer.put(row::OWNER, &self.owner.to_ne_bytes());
        writer.0
    }

    /// Reads one; `None` when it is none that [`to_bytes`](Self::to_bytes) and the programs make.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LENGTH {
            return None;
        }
        let first = number_32(bytes, row::FIRST)?;
        let refusal = match number_32(bytes, row::ERRNO)? as i32 {
            errno::EACCES => Refusal::AccessDenied,
            errno::EADDRINUSE => Refusal::AddressInUse,
            errno::EPERM => Refusal::NotPermitted,
            _ => return None,
        };
        let flags = number_32(bytes, row::FLAGS)? as i32;
        let has = |flag| flags & flag != 0;
        let expires_at = number_64(bytes, row::EXPIRES_AT)?;
        Some(Self {
            protocol: protocol(first)?,
            block: Block::new(first % TABLE, number_32(bytes, row::COUNT)?).ok()?,
            refusal,
            dry_run: has(flag::DRY_RUN),
            low_ports: has(flag::LOW_PORTS),
            runtime: has(flag::RUNTIME),
            users: has(flag::USERS),
            cgroups: has(flag::CGROUPS),
            owner: number_32(bytes, row::OWNER)?,
            expires_at: (expires_at != 0).then_some(Instant::from_nanos(expires_at)),
            denials: number_64(bytes, row::DENIALS)?,
        })
    }
}

impl Socket {
    /// Length of the state in bytes.
    pub const LENGTH: usize = SOCKET_LENGTH;

    /// Name, offset and size of each field.
    pub(super) const MEMBERS: [(&str, i16, u32); 4] = [
        ("granted", socket::GRANTED, 8),
        ("owned", socket::OWNED, 8),
        ("passed", socket::PASSED, 8),
        ("counted", socket::COUNTED, 4),
    ];

    /// As the programs read it.
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let id = |id: Option<Id>| id.map_or(0, Id::get).to_ne_bytes();
        let mut writer = Writer([0; Self::LENGTH]);
        writer.put(socket::GRANTED, &id(self.granted));
        writer.put(socket::OWNED, &id(self.owned));
        writer.put(socket::PASSED, &id(self.passed));
        writer.put(socket::COUNTED, &self.counted.to_ne_bytes());
        writer.0
    }

    /// Reads one; `None` when it is too short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id = |offset| number_64(bytes, offset).map(Id::new);
        Some(Self {
            granted: id(socket::GRANTED)?,
            owned: id(socket::OWNED)?,
            passed: id(socket::PASSED)?,
            counted: number_32(bytes, socket::COUNTED)?,
        })
    }
}

impl Event {
    /// Length of an event in bytes.
    pub const LENGTH: usize = EVENT_LENGTH;

    /// Reads one; `None` when it is none that the programs make.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LENGTH {
            return None;
        }
        let reservation = || Id::new(number_64(bytes, event::RESERVATION)?);
        let kind = number_32(bytes, event::KIND)? as i32;
        let what = match kind {
            kind::REFUSED | kind::WOULD_REFUSE => {
                let index = number_32(bytes, event::INDEX)?;
                What::Refused {
                    reservation: reservation()?,
                    protocol: protocol(index)?,
                    port: (index % TABLE) as u16,
                    dry_run: kind == kind::WOULD_REFUSE,
                    suppressed: number_32(bytes, event::SUPPRESSED)?,
                }
            }
            kind::RELEASED => What::Released { reservation: reservation()? },
            kind::RESERVED_PORTS_WRITTEN => What::ReservedPortsWritten,
            _ => return None,
        };
        let name = bytes.get(event::PROGRAM as usize..)?;
        Some(Self {
            at: Instant::from_nanos(number_64(bytes, event::AT)?),
            what,
            caller: Caller {
                process: number_32(bytes, event::PROCESS)?,
                user: number_32(bytes, event::USER)?,
                cgroup: number_64(bytes, event::CGROUP)?,
                program: name.iter().copied().take_while(|byte| *byte != 0).collect(),
            },
        })
    }
}

/// Whose table of ports an index is in.
fn protocol(index: u32) -> Option<Protocol> {
    match index / TABLE {
        0 => Some(Protocol::Tcp),
        1 => Some(Protocol::Udp),
        _ => None,
    }
}

struct Writer<const LENGTH: usize>([u8; LENGTH]);

impl<const LENGTH: usize> Writer<LENGTH> {
    fn put(&mut self, offset: i16, bytes: &[u8]) {
        let start = offset as usize;
        if let Some(place) = self.0.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

fn number_32(bytes: &[u8], offset: i16) -> Option<u32> {
    bytes.get(offset as usize..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

fn number_64(bytes: &[u8], offset: i16) -> Option<u64> {
    bytes.get(offset as usize..)?.first_chunk().map(|chunk| u64::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u64) -> Id {
        Id::new(number).unwrap()
    }

    prop_compose! {
        fn rows()(
            udp: bool,
            (start, count) in (1_u32..=65_535)
                .prop_flat_map(|start| (Just(start), 1..=65_536 - start)),
            refusal in 0_usize..3,
            flags: [bool; 5],
            owner: u32,
            expires_at in proptest::option::of(1_u64..),
            denials: u64,
        ) -> Row {
            let [dry_run, low_ports, runtime, users, cgroups] = flags;
            Row {
                protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
                block: Block::new(start, count).unwrap(),
                refusal: [Refusal::AccessDenied, Refusal::AddressInUse, Refusal::NotPermitted]
                    [refusal],
                dry_run,
                low_ports,
                runtime,
                users,
                cgroups,
                owner,
                expires_at: expires_at.map(Instant::from_nanos),
                denials,
            }
        }
    }

    proptest! {
        #[test]
        fn rows_read_as_written(row in rows()) {
            prop_assert_eq!(Row::from_bytes(&row.to_bytes()), Some(row));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(row) = Row::from_bytes(&bytes) {
                prop_assert_eq!(Row::from_bytes(&row.to_bytes()), Some(row));
            }
            let _ = Event::from_bytes(&bytes);
            let _ = Socket::from_bytes(&bytes);
        }
    }

    #[test]
    fn sockets_read_as_written() {
        let socket = Socket { granted: Some(id(7)), owned: None, passed: Some(id(9)), counted: 5 };
        assert_eq!(Socket::from_bytes(&socket.to_bytes()), Some(socket));
        assert_eq!(Socket::from_bytes(&[0; 32]), Some(Socket::default()));
        assert_eq!(Socket::from_bytes(&[0; 27]), None);
    }

    fn event_bytes(kind: i32, index: u32) -> [u8; Event::LENGTH] {
        let mut writer = Writer([0; Event::LENGTH]);
        writer.put(event::AT, &5_u64.to_ne_bytes());
        writer.put(event::RESERVATION, &77_u64.to_ne_bytes());
        writer.put(event::KIND, &kind.to_ne_bytes());
        writer.put(event::PROCESS, &123_u32.to_ne_bytes());
        writer.put(event::USER, &1000_u32.to_ne_bytes());
        writer.put(event::INDEX, &index.to_ne_bytes());
        writer.put(event::SUPPRESSED, &3_u32.to_ne_bytes());
        writer.put(event::CGROUP, &9_u64.to_ne_bytes());
        writer.put(event::PROGRAM, b"nc\0\0");
        writer.0
    }

    #[test]
    fn events_name_protocol_and_port() {
        let read = Event::from_bytes(&event_bytes(kind::WOULD_REFUSE, TABLE + 53)).unwrap();
        let what = What::Refused {
            reservation: id(77),
            protocol: Protocol::Udp,
            port: 53,
            dry_run: true,
            suppressed: 3,
        };
        let caller = Caller { process: 123, user: 1000, cgroup: 9, program: b"nc".to_vec() };
        assert_eq!(read, Event { at: Instant::from_nanos(5), what, caller });
        let released = Event::from_bytes(&event_bytes(kind::RELEASED, 0)).unwrap();
        assert_eq!(released.what, What::Released { reservation: id(77) });
        assert_eq!(Event::from_bytes(&event_bytes(kind::REFUSED, 2 * TABLE)), None);
        assert_eq!(Event::from_bytes(&event_bytes(9, 0)), None);
    }

    #[test]
    fn keys_name_their_reservation() {
        assert_eq!(granted(&grant_key(id(7), 1000)), Some((id(7), 1000)));
        assert_eq!(granted(&grant_key(id(7), u64::MAX)), Some((id(7), u64::MAX)));
        assert_eq!(granted(&[0; 16]), None);
        assert_eq!(granted(&[1; 12]), None);
    }
}
