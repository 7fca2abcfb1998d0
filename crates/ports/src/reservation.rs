use core::fmt;
use std::time::SystemTime;

use engine::Instant;
use serde::{Deserialize, Serialize};

use crate::{Admitted, Block, Id, Token};

/// Whose ports. TCP and UDP ports of the same number have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What ends a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Somebody deletes it. It outlives the daemon and the boot.
    Persistent,
    /// The last descriptor of the socket that acquired it is closed.
    Runtime,
}

/// How the bind of a stranger fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// `EACCES`, as on Windows.
    AccessDenied,
    /// `EADDRINUSE`: programs that look for a port one by one go on to the next.
    AddressInUse,
    /// `EPERM`.
    NotPermitted,
}

impl Refusal {
    /// What becomes of a block's strangers unless something else is asked for.
    ///
    /// glibc's bindresvport(3) tries the ports from 512 to 1023 in turn, and gives up at the first
    /// error that is not `EADDRINUSE`.
    pub const fn default_for(block: Block) -> Self {
        match block.start() {
            0..1_024 => Self::AddressInUse,
            _ => Self::AccessDenied,
        }
    }
}

/// Who a reservation is for, as far as was known when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// It is a runtime reservation that was made with the privilege to change everything, and counts
    /// toward no quota.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_privileged: bool,
    /// Process that asked for it. Its number may be another's by now.
    pub pid: Option<u32>,
    /// That process's name, as in `/proc/PID/comm`.
    pub program: Option<String>,
    /// Its systemd unit or scope.
    pub unit: Option<String>,
    /// Its control group, as a path below the hierarchy's root.
    pub cgroup: Option<String>,
}

/// A block of ports that only sockets with a grant may bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Names it.
    pub id: Id,
    /// Opens it.
    pub token: Token,
    /// Whose ports.
    pub protocol: Protocol,
    /// Which ports.
    pub block: Block,
    /// What ends it.
    pub kind: Kind,
    /// Who it is for.
    pub owner: Owner,
    /// What it is for, in the owner's words.
    pub purpose: Option<String>,
    /// When it was made, by the wall clock.
    pub created_at: SystemTime,
    /// When it ends by itself.
    pub expires_at: Option<Instant>,
    /// How strangers are refused.
    pub refusal: Refusal,
    /// Strangers are reported and not refused.
    pub dry_run: bool,
    /// Sockets with a grant may bind below 1024 without `CAP_NET_BIND_SERVICE`.
    pub low_ports: bool,
    /// Whose programs need no token.
    pub admitted: Admitted,
}
