use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Id, Token};
use crate::Time;
use crate::open_enum::open_enum;

/// Whose ports: each protocol has its own 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, and what rides on it (MPTCP).
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The protocol as the interface spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How long a reservation lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Until deleted, over restarts of the daemon and of the machine.
    Persistent,
    /// Until the last descriptor of the socket that acquired it is closed.
    Runtime,
}

/// How a stranger's bind fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// With `EACCES`, as on Windows.
    AccessDenied,
    /// With `EADDRINUSE`: programs that try one port after another go on to the next.
    AddressInUse,
    /// With `EPERM`.
    NotPermitted,
}

/// A process or a user, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Who {
    /// User identifier: the real one of a process, or the owner of a socket (`sock_diag(7)`) or of a
    /// reservation.
    pub uid: u32,
    /// The user's name (`getpwuid(3)`); absent where no such user is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Process identifier, in the daemon's PID namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name as in `/proc/PID/comm`; anything a process may call itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// systemd unit or scope, from the control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Control group, as a path below the hierarchy's root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

impl Who {
    /// A user of whom only the number is known.
    pub fn user(uid: u32) -> Self {
        Self { uid, ..Self::default() }
    }
}

/// The most telling of what is known, such as `nginx (4711), user www`. What a process calls itself
/// is escaped.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.program, self.pid, &self.unit) {
            (Some(program), Some(pid), _) => write!(f, "{} ({pid}), ", program.escape_debug())?,
            (Some(program), None, _) => write!(f, "{}, ", program.escape_debug())?,
            (None, Some(pid), _) => write!(f, "process {pid}, ")?,
            (None, None, Some(unit)) => write!(f, "{}, ", unit.escape_debug())?,
            (None, None, None) => {}
        }
        match &self.user {
            Some(user) => write!(f, "user {}", user.escape_debug()),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// A reserved block, as it was when the daemon was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reservation {
    /// Names it for good: never used again for another.
    pub id: Id,
    /// Whose ports.
    pub protocol: Protocol,
    /// The first of them, from 1.
    pub start_port: u16,
    /// How many from there on, from 1; the last is at most 65535.
    pub number_of_ports: u16,
    /// How long it lasts.
    pub kind: Kind,
    /// Opens it to a socket; absent for somebody else's runtime reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// Whose it is.
    pub owner: Who,
    /// What it is for, in the owner's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// When it was made.
    pub created_at: Time,
    /// When it ends by itself; absent where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How a stranger's bind fails.
    pub refusal: Refusal,
    /// Strangers are reported and not refused.
    pub dry_run: bool,
    /// Sockets with a grant may bind below 1024 without `CAP_NET_BIND_SERVICE`.
    pub low_ports: bool,
    /// Programs of these users bind without a token.
    pub users: Vec<u32>,
    /// Programs in these control groups, or below, bind without a token: paths below the
    /// hierarchy's root, or systemd units.
    pub cgroups: Vec<String>,
    /// Binds refused, or that would have been in a dry run, since it was put in force.
    pub denials: u64,
}

impl Reservation {
    /// One made now that lets nobody in without a token, refuses strangers as Windows does, and lasts.
    pub fn new(
        id: Id,
        protocol: Protocol,
        start_port: u16,
        number_of_ports: u16,
        kind: Kind,
        owner: Who,
    ) -> Self {
        Self {
            id,
            protocol,
            start_port,
            number_of_ports,
            kind,
            token: None,
            owner,
            purpose: None,
            created_at: Time::now(),
            expires_at: None,
            refusal: Refusal::AccessDenied,
            dry_run: false,
            low_ports: false,
            users: Vec::new(),
            cgroups: Vec::new(),
            denials: 0,
        }
    }
}

/// What, whose and what for: see [`described`].
impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, start_port, number_of_ports, owner, purpose, .. } = self;
        let purpose = purpose.as_deref();
        f.write_str(&described(*protocol, *start_port, *number_of_ports, owner, purpose))
    }
}

/// A reservation in words, such as `tcp 5000-5019 of user sam for "web"`.
pub fn described(
    protocol: Protocol,
    start_port: u16,
    number_of_ports: u16,
    owner: &Who,
    purpose: Option<&str>,
) -> String {
    let ports = match number_of_ports {
        0 | 1 => start_port.to_string(),
        more => format!("{start_port}-{}", start_port.saturating_add(more - 1)),
    };
    let purpose = purpose.map(|purpose| format!(" for {purpose:?}")).unwrap_or_default();
    format!("{protocol} {ports} of {owner}{purpose}")
}

/// A socket that sits on a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Local port it is bound to.
    pub port: u16,
    /// Local address it is bound to; unspecified for all.
    pub address: std::net::IpAddr,
    /// As ss(8) has it: `listen`, `established`, `time-wait`, `bound`, `unconnected`, ...
    pub state: String,
    /// Inode of the socket; absent where there is no socket any more, as in `time-wait`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// A process that has it open; the socket's user alone where no process is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// The reservation the port belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Id>,
    /// The socket was let in by the reservation.
    pub granted: bool,
}

impl Holder {
    /// One of whom nothing else is known.
    pub fn new(
        protocol: Protocol,
        port: u16,
        address: std::net::IpAddr,
        state: impl Into<String>,
    ) -> Self {
        let state = state.into();
        Self {
            protocol,
            port,
            address,
            state,
            inode: None,
            who: None,
            reservation: None,
            granted: false,
        }
    }
}

/// How and by whom, such as `in use (listen) by nginx (4711), user www`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in use ({})", self.state)?;
        match &self.who {
            Some(who) => write!(f, " by {who}"),
            None => Ok(()),
        }
    }
}

/// A bind that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Denial {
    /// When the program called `bind(2)`.
    pub time: Time,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port that it asked for.
    pub port: u16,
    /// The process that asked.
    pub who: Who,
    /// The reservation that the port belongs to.
    pub reservation: Id,
    /// The reservation's first port.
    pub start_port: u16,
    /// How many ports the reservation has.
    pub number_of_ports: u16,
    /// It was reported and not refused: the reservation is a [dry run](Reservation::dry_run).
    pub dry_run: bool,
    /// How many denials before it went unreported because there were too many at once.
    pub suppressed: u64,
}

impl Denial {
    /// A bind of now that was refused.
    pub fn new(
        protocol: Protocol,
        port: u16,
        who: Who,
        reservation: Id,
        start_port: u16,
        number_of_ports: u16,
    ) -> Self {
        Self {
            time: Time::now(),
            protocol,
            port,
            who,
            reservation,
            start_port,
            number_of_ports,
            dry_run: false,
            suppressed: 0,
        }
    }
}

open_enum! {
    /// What happened.
    pub enum EventKind {
        /// The reservation is there: at the start of a subscription.
        State = "state",
        /// A persistent reservation was made.
        Created = "created",
        /// A persistent reservation was deleted.
        Deleted = "deleted",
        /// A runtime reservation was made.
        Acquired = "acquired",
        /// A runtime reservation ended, by its socket or on command.
        Released = "released",
        /// A persistent reservation reached its end.
        Expired = "expired",
        /// Who may use it changed.
        Changed = "changed",
        /// This subscriber was too slow and missed events; "state" events follow for every
        /// reservation there is, as at the start. Concerns none.
        Resync = "resync",
    }
}

/// Something that happened to a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// What happened; decides which of the members below are present.
    pub kind: EventKind,
    /// When the daemon noticed.
    pub time: Time,
    /// One sentence for a person.
    pub text: String,
    /// The reservation after the event, or before its end; a runtime reservation's without its
    /// token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Reservation>,
    /// Users whose programs need no token any more, with [`EventKind::Changed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_added: Option<Vec<u32>>,
    /// Users whose programs need a token again, with [`EventKind::Changed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_removed: Option<Vec<u32>>,
    /// Control groups or units that need no token any more, with [`EventKind::Changed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups_added: Option<Vec<String>>,
    /// Control groups or units that need a token again, with [`EventKind::Changed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups_removed: Option<Vec<String>>,
    /// Sockets that were closed with it, with [`EventKind::Deleted`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed: Option<u32>,
    /// It ended with its socket, not by its token, with [`EventKind::Released`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_closed: Option<bool>,
}

impl Event {
    /// An event of this moment that concerns no reservation.
    pub fn new(kind: EventKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            time: Time::now(),
            text: text.into(),
            reservation: None,
            users_added: None,
            users_removed: None,
            cgroups_added: None,
            cgroups_removed: None,
            killed: None,
            socket_closed: None,
        }
    }

    /// The same of a reservation.
    pub fn of(mut self, reservation: Reservation) -> Self {
        self.reservation = Some(reservation);
        self
    }
}

open_enum! {
    /// How well reservations are enforced.
    pub enum GuardLevel {
        /// By the kernel, in every respect.
        Full = "full",
        /// By the kernel, in most respects.
        Reduced = "reduced",
        /// By sockets of the daemon that sit on the ports.
        Placeholders = "placeholders",
        /// Not at all.
        None = "none",
    }
}

/// How reservations are enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Guard {
    /// What enforces them, and so what it covers.
    pub level: GuardLevel,
    /// There is something to enforce.
    pub needed: bool,
    /// Path of the control group where the programs are attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// That is the root of the hierarchy, so that no program is outside of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covers_all: Option<bool>,
    /// Where the programs are pinned, so that they outlive the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// What this level cannot do, a sentence each, with what would help.
    pub limits: Vec<String>,
}

impl Guard {
    /// One that is needed for nothing yet.
    pub fn new(level: GuardLevel) -> Self {
        Self {
            level,
            needed: false,
            cgroup: None,
            covers_all: None,
            pinned: None,
            limits: Vec::new(),
        }
    }
}
