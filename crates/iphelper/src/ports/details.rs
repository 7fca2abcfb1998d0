use std::fmt;
use std::time::SystemTime;

use api::ports::described;

use super::{EventKind, Id, Kind, Protocol, Refusal, Token, Who};
use crate::from_api::from_api;

/// A reserved block, as it was when the daemon was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reservation {
    /// Names it for good: never used again for another.
    pub id: Id,
    /// Whose ports.
    pub protocol: Protocol,
    /// The first of them.
    pub start_port: u16,
    /// How many.
    pub number_of_ports: u16,
    /// How long it lasts.
    pub kind: Kind,
    /// Opens it to a socket; `None` for somebody else's runtime reservation.
    pub token: Option<Token>,
    /// Whose it is.
    pub owner: Who,
    /// What it is for, in the owner's words.
    pub purpose: Option<String>,
    /// Since when.
    pub created_at: SystemTime,
    /// Until when, if not for good.
    pub expires_at: Option<SystemTime>,
    /// How a stranger's bind fails.
    pub refusal: Refusal,
    /// Strangers are reported and not refused.
    pub dry_run: bool,
    /// Sockets that were let in may bind below 1024 without `CAP_NET_BIND_SERVICE`.
    pub low_ports: bool,
    /// Programs of these users bind without a token.
    pub users: Vec<u32>,
    /// Programs in these control groups, or below, bind without a token: paths below the
    /// hierarchy's root, or systemd units.
    pub cgroups: Vec<String>,
    /// Binds refused, or that would have been in a dry run, since it was put in force.
    pub denials: u64,
}

/// What, whose and what for, such as `tcp 5000-5019 of user sam for "web"`.
impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, start_port, number_of_ports, owner, purpose, .. } = self;
        let purpose = purpose.as_deref();
        f.write_str(&described(*protocol, *start_port, *number_of_ports, owner, purpose))
    }
}

from_api!(api::ports::Reservation => Reservation {
    id,
    protocol,
    start_port,
    number_of_ports,
    kind,
    token,
    owner,
    purpose,
    created_at: into,
    expires_at: each,
    refusal,
    dry_run,
    low_ports,
    users,
    cgroups,
    denials,
});

/// A bind that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// When.
    pub time: SystemTime,
    /// Of which protocol.
    pub protocol: Protocol,
    /// The port asked for.
    pub port: u16,
    /// Who asked.
    pub who: Who,
    /// The reservation that the port belongs to.
    pub reservation: Id,
    /// Its first port.
    pub start_port: u16,
    /// How many it has.
    pub number_of_ports: u16,
    /// Reported and not refused.
    pub dry_run: bool,
    /// How many before it went untold because there were too many.
    pub suppressed: u64,
}

from_api!(api::ports::Denial => Denial {
    time: into,
    protocol,
    port,
    who,
    reservation,
    start_port,
    number_of_ports,
    dry_run,
    suppressed,
});

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub time: SystemTime,
    /// One sentence for a person.
    pub text: String,
    /// The reservation after the event, or before its end; `None` for [`EventKind::Resync`]. A
    /// runtime reservation's comes without its token.
    pub reservation: Option<Reservation>,
}

from_api!(api::ports::Event => Event { kind, time: into, text, reservation: each });

/// How reservations are enforced, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How they are enforced.
    pub guard: super::Guard,
    /// Persistent reservations.
    pub reservations: u32,
    /// Runtime reservations.
    pub runtime_reservations: u32,
    /// Ports reserved by both.
    pub ports: u32,
    /// Ports that users hold by runtime reservations made without privilege.
    pub runtime_ports: Option<u32>,
    /// How many of these all users together may hold.
    pub runtime_ports_limit: Option<u32>,
}

from_api!(api::ports::StatusReply => Status {
    guard,
    reservations,
    runtime_reservations,
    ports,
    runtime_ports,
    runtime_ports_limit,
});
