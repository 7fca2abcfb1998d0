use std::fmt;
use std::ops::BitOr;

use crate::kernel::*;

/// Where a socket stands, as a number of TCP's (`TCP_*` of `net/tcp_states.h`). Other transports
/// use [`ESTABLISHED`](Self::ESTABLISHED) and [`CLOSED`](Self::CLOSED).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State(pub u8);

impl State {
    /// Connected.
    pub const ESTABLISHED: Self = Self(TCP_ESTABLISHED);
    /// Connecting.
    pub const SYN_SENT: Self = Self(TCP_SYN_SENT);
    /// Being connected to.
    pub const SYN_RECEIVED: Self = Self(TCP_SYN_RECV);
    /// Closed here; the peer has not confirmed it.
    pub const FIN_WAIT_1: Self = Self(TCP_FIN_WAIT1);
    /// Closed here, not there.
    pub const FIN_WAIT_2: Self = Self(TCP_FIN_WAIT2);
    /// Closed on both sides; remembered for a minute. Belongs to no program.
    pub const TIME_WAIT: Self = Self(TCP_TIME_WAIT);
    /// Not connected and not listening: bound at most.
    pub const CLOSED: Self = Self(TCP_CLOSE);
    /// Closed there, not here.
    pub const CLOSE_WAIT: Self = Self(TCP_CLOSE_WAIT);
    /// Closed there, then here; the peer has not confirmed it.
    pub const LAST_ACK: Self = Self(TCP_LAST_ACK);
    /// Listening.
    pub const LISTEN: Self = Self(TCP_LISTEN);
    /// Closed on both sides at once.
    pub const CLOSING: Self = Self(TCP_CLOSING);
    /// Being connected to, in the kernel's short form. Belongs to no program yet.
    pub const NEW_SYN_RECEIVED: Self = Self(TCP_NEW_SYN_RECV);
}

/// As in RFC 9293, in lower case with hyphens; "unconnected" for [`State::CLOSED`].
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::ESTABLISHED => "established",
            Self::SYN_SENT => "syn-sent",
            Self::SYN_RECEIVED | Self::NEW_SYN_RECEIVED => "syn-received",
            Self::FIN_WAIT_1 => "fin-wait-1",
            Self::FIN_WAIT_2 => "fin-wait-2",
            Self::TIME_WAIT => "time-wait",
            Self::CLOSED => "unconnected",
            Self::CLOSE_WAIT => "close-wait",
            Self::LAST_ACK => "last-ack",
            Self::LISTEN => "listen",
            Self::CLOSING => "closing",
            Self(number) => return write!(f, "state-{number}"),
        })
    }
}

/// A set of [`State`]s to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// All there are, and TCP sockets that are bound and nothing else, which the kernel lists since
    /// Linux 6.8 under a bit of their own and says to be [`State::CLOSED`].
    pub const ALL: Self = Self((1 << (TCP_BOUND_INACTIVE + 1)) - 2);
    /// TCP sockets that are bound and nothing else.
    pub const BOUND: Self = Self(1 << TCP_BOUND_INACTIVE);

    /// The set of one.
    #[must_use]
    pub fn of(state: State) -> Self {
        Self(1_u32.checked_shl(state.0.into()).unwrap_or(0))
    }

    /// All but one.
    #[must_use]
    pub fn without(self, state: State) -> Self {
        Self(self.0 & !Self::of(state).0)
    }

    /// As the kernel has them: bit N for state N.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for States {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
