use engine::{CommandId, EffectId, Refused};

use crate::{Admitted, Block, Id, Kind, Protocol, Reservation};

/// What the manager wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Change something in the host; the result comes back as `Input::Effect`.
    Effect {
        /// Names the effect in its result.
        id: EffectId,
        /// What to do.
        effect: Effect,
    },
    /// Tell whoever watches.
    Event(Event),
    /// The end of a command.
    Reply {
        /// The command's.
        id: CommandId,
        /// What became of it.
        result: Result<Outcome, Failure>,
    },
}

/// A change to the host, or a look at it. One is under way at a time.
///
/// An effect that failed may have happened all the same, in part or as a whole; doing one twice
/// comes to the same as doing it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make exactly these the ports of ours that are never picked automatically: in order, none
    /// touching the next.
    Exclude(Vec<Block>),
    /// Refuse strangers from now on. Whoever is bound stays.
    Insert(Box<Reservation>),
    /// Bring those who need no token up to date in what `Insert` put there.
    Admit(Box<Reservation>),
    /// Undo `Insert`. That it is not there counts as done, here and for `Forget`.
    Remove(Box<Reservation>),
    /// Look for a socket on a port of the block: `EffectError::InUse` if there is one.
    Scan {
        /// The reservation that is in force there already.
        id: Id,
        /// Whose ports.
        protocol: Protocol,
        /// Which ports.
        block: Block,
    },
    /// Find all ports that are in use or set aside by others: `Done::Taken`.
    Survey {
        /// Whose ports.
        protocol: Protocol,
    },
    /// Give the socket that came with the command its grant, and make it the one whose end ends
    /// the reservation.
    Own {
        /// The command's.
        command: CommandId,
        /// The reservation's.
        id: Id,
    },
    /// Close all sockets on ports of the block: `Done::Killed`.
    Kill {
        /// Whose ports.
        protocol: Protocol,
        /// Which ports.
        block: Block,
    },
    /// Put the record on disk. Its result says that it lasts as long as the reservation may.
    Persist(Box<Reservation>),
    /// Take the record off the disk. Its result says that it stays off as long as it could come
    /// back.
    Forget {
        /// The reservation's.
        id: Id,
        /// One of a runtime reservation does not come back after a power failure.
        kind: Kind,
    },
    /// Enforce exactly these, after a start: put in place what is missing, remove all else.
    /// Runtime reservations that are missing are not put in place but reported; what is enforced
    /// though its record cannot be read stays, and is reported: `Done::Enforced`.
    Enforce(Vec<Reservation>),
}

/// What happened, for logs and subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What was on record is enforced and what has ended meanwhile is removed, or could not be,
    /// which another event has told.
    Restored,
    /// A persistent reservation was made.
    Created(Box<Reservation>),
    /// A persistent reservation was deleted.
    Deleted {
        /// What it was.
        reservation: Box<Reservation>,
        /// Sockets on its ports that were closed with it.
        killed: u32,
    },
    /// A runtime reservation was made.
    Acquired(Box<Reservation>),
    /// A runtime reservation ended.
    Released {
        /// What it was.
        reservation: Box<Reservation>,
        /// With its socket, not by its token.
        socket_closed: bool,
    },
    /// A reservation's time was over.
    Expired(Box<Reservation>),
    /// Other programs need no token now.
    Changed {
        /// What it is now.
        reservation: Box<Reservation>,
        /// Who needed none before.
        before: Admitted,
    },
    /// A record cannot be used: another one has its ports, its id or its token.
    Contradicted(Box<Reservation>),
    /// The record cannot be read of what is enforced still. It stays in force, with a new token.
    Kept(Box<Reservation>),
    /// An effect that nobody waits for failed. It will be tried again.
    EffectFailed {
        /// The reservation it was for.
        id: Option<Id>,
        /// What failed and why.
        reason: String,
    },
    /// Everything that had failed is done.
    CaughtUp,
}

/// How a command ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is enforced and on disk.
    Reserved(Box<Reservation>),
    /// It is gone.
    Ended {
        /// What it was.
        reservation: Box<Reservation>,
        /// Sockets that were closed.
        killed: u32,
    },
    /// Those who need no token are as the reservation says now.
    Changed(Box<Reservation>),
}

/// How a command failed: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another reservation has a port of the block.
    #[error("port {port} is reserved")]
    Overlap {
        /// The first such port.
        port: u16,
        /// The other.
        with: Box<Reservation>,
    },
    /// A socket sits on a port of the block.
    #[error("port {0} is in use")]
    InUse(u16),
    /// There is no persistent reservation of exactly this block.
    #[error("there is no reservation of exactly this block")]
    NotFound,
    /// No reservation has this token.
    #[error("no reservation has this token")]
    InvalidToken,
    /// The caller may not do that.
    #[error("{needed} is needed")]
    AccessDenied {
        /// What would do.
        needed: &'static str,
    },
    /// The caller holds as much as one user may, or all users do.
    #[error("{limit} {what} may be held, and {held} are")]
    QuotaExceeded {
        /// What is limited.
        what: Limited,
        /// How many may be held.
        limit: u32,
        /// How many are held.
        held: u32,
    },
    /// Nowhere are that many ports in a row free.
    #[error("nowhere are {count} ports in a row free")]
    NoFreeBlock {
        /// That many.
        count: u16,
    },
    /// The present way of enforcing cannot do that.
    #[error("{0}")]
    TooWeak(String),
    /// The kernel or the disk would not do what it takes.
    #[error("{0}")]
    Host(Refused),
    /// The daemon is ending.
    #[error("cancelled")]
    Cancelled,
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// A user's ports by runtime reservations.
    Ports,
    /// A user's runtime reservations.
    Reservations,
    /// The ports of all users together by runtime reservations. What was made with privilege is not
    /// among them.
    PortsOfAll,
}

impl core::fmt::Display for Limited {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Ports => "ports by runtime reservations",
            Self::Reservations => "runtime reservations",
            Self::PortsOfAll => "ports by runtime reservations of all users",
        })
    }
}
