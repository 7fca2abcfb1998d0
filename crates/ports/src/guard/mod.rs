//! The guard: programs that run in the kernel at every bind, and their maps.
//!
//! Everything here is pure. The programs are made of [`Instruction`]s for one network namespace and
//! for what a kernel can do ([`Features`]); loading, attaching and pinning them is the daemon's.
//! `guard.c`, beside this crate's manifest, says the same in C, for those who read that more easily.
//!
//! # Programs
//!
//! | [`Hook`] | runs | does |
//! |---|---|---|
//! | `Bind4`, `Bind6` | before a bind | refuses strangers, chooses a port for granted binds to port 0 |
//! | `AfterBind4`, `AfterBind6` | after the port is taken | refuses those that were let in before the port was reserved |
//! | `Release` | when a socket's last descriptor is closed | frees its port, ends its runtime reservation |
//! | `Sysctl` | before a kernel parameter is read or written | reports writes of the reserved ports |
//!
//! [`Presence`] says which of them are attached when.
//!
//! They are attached to the root of the control groups and so run for every process of the machine,
//! containers included, and leave when the port is not reserved or the socket of another network
//! namespace. Descendants cannot overrule them.
//!
//! # Maps
//!
//! See [`Map`]. `Owners` alone is read in the common case: one load from an array whatever the
//! number of reservations. A reservation is in force from the moment its row *and* its owners are
//! there: writing the row first and deleting it first makes both steps atomic for everybody.
//!
//! # Grants
//!
//! A grant is the id of a reservation, in the state of the socket that has it. Ids are never used
//! again, so a deleted reservation's grants are void without looking for their sockets.

mod asm;
mod btf;
mod features;
mod instruction;
mod layout;
mod maps;
mod programs;

pub use btf::types;
pub use features::Features;
pub use instruction::Instruction;
pub use layout::{Caller, Event, Row, Socket, What, grant_key, granted};
pub use maps::{Map, MapSpec};
pub use programs::{Hook, Presence, Program};

use crate::Protocol;

/// Ports of one protocol, 0 included.
const TABLE: u32 = 1 << 16;

/// Ports of both protocols: length of the tables of ports.
pub const PORTS: u32 = 2 * TABLE;

/// Licence of the programs, as the kernel is told. They call nothing that is for the GPL alone.
pub const LICENSE: &str = "MIT";

/// Version of the maps' layout. Programs of one version work with all maps of it.
pub const LAYOUT: &str = "v1";

/// Where a port is in the tables of ports.
pub const fn index(protocol: Protocol, port: u16) -> u32 {
    match protocol {
        Protocol::Tcp => port as u32,
        Protocol::Udp => TABLE + port as u32,
    }
}
