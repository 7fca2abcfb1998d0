use core::num::NonZeroU16;
use std::collections::BTreeSet;
use std::time::SystemTime;

use engine::{CommandId, EffectId, Instant, Refused};

use crate::{Block, Config, Id, Kind, Owner, Protocol, Refusal, Reservation, Token};

/// What the world tells the manager.
#[derive(Debug)]
pub enum Input {
    /// The reservations on record, before everything else. Whatever the host enforces besides is
    /// removed. Answered by [`Event::Restored`](crate::Event::Restored).
    Restore(Vec<Reservation>),
    /// New limits. What is held already stays.
    Configure(Config),
    /// Somebody wants something. Answered by exactly one `Output::Reply` with the same `id`.
    Command {
        /// Chosen by the caller, not in use by another command.
        id: CommandId,
        /// What is wanted.
        command: Command,
    },
    /// How an effect ended. Every `Output::Effect` is answered by one of these.
    Effect {
        /// The effect's.
        id: EffectId,
        /// What came of it.
        result: EffectResult,
    },
    /// The guard has ended a runtime reservation: its socket is gone.
    Closed(Id),
    /// Nothing is enforced any more: somebody removed what did. It is enforced anew.
    Lost,
    /// The daemon ends. Commands that wait for their turn are cancelled, and so are later ones.
    Stop,
}

/// What a person or a program can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Reserve a block until it is deleted.
    Create {
        /// Whose ports.
        protocol: Protocol,
        /// Which ports.
        block: Block,
        /// On what terms.
        terms: Box<Terms>,
    },
    /// End the persistent reservation of exactly this block.
    Delete {
        /// Whose ports.
        protocol: Protocol,
        /// Which ports.
        block: Block,
        /// Close the sockets that are bound there.
        kill: bool,
    },
    /// Reserve a block for the life of the socket that came with the command.
    Acquire {
        /// Who asks.
        caller: Caller,
        /// Whose ports.
        protocol: Protocol,
        /// Which ports, or how many.
        wanted: Wanted,
        /// On what terms.
        terms: Box<Terms>,
    },
    /// End a runtime reservation before its socket does.
    Release {
        /// Who asks.
        caller: Caller,
        /// Opens it.
        token: Token,
    },
    /// Let programs in without a token, to the persistent reservation of exactly this block.
    Admit {
        /// Whose ports.
        protocol: Protocol,
        /// Which ports.
        block: Block,
        /// Whose programs.
        whom: Admitted,
    },
    /// Take back what `Admit` gave.
    Expel {
        /// Whose ports.
        protocol: Protocol,
        /// Which ports.
        block: Block,
        /// Whose programs.
        whom: Admitted,
    },
}

/// What a reservation is to be, apart from its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Who it is for.
    pub owner: Owner,
    /// What it is for, in the owner's words.
    pub purpose: Option<String>,
    /// The wall clock now.
    pub created_at: SystemTime,
    /// When it is to end by itself.
    pub expires_at: Option<Instant>,
    /// How strangers are refused; as suits the block when `None`.
    pub refusal: Option<Refusal>,
    /// Report strangers and do not refuse them.
    pub dry_run: bool,
    /// Let sockets with a grant bind below 1024 without `CAP_NET_BIND_SERVICE`.
    pub low_ports: bool,
    /// Whose programs need no token.
    pub admitted: Admitted,
}

/// Whose programs need no token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admitted {
    /// Users.
    pub users: BTreeSet<u32>,
    /// Control groups, with those below: paths below the hierarchy's root, or systemd units.
    pub cgroups: BTreeSet<String>,
}

/// Ports for a runtime reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// These.
    Block(Block),
    /// That many in a row that nobody uses.
    Any(NonZeroU16),
}

impl Wanted {
    /// How many ports.
    pub const fn count(self) -> u16 {
        match self {
            Self::Block(block) => block.count(),
            Self::Any(count) => count.get(),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// May change everything, without limits.
    pub is_privileged: bool,
}

/// How an effect ended.
pub type EffectResult = Result<Done, EffectError>;

/// What an effect tells when it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Just that.
    Done,
    /// How many sockets `Effect::Kill` closed.
    Killed(u32),
    /// The ports that `Effect::Survey` found not to be free, in any order.
    Taken(Vec<Block>),
    /// What else `Effect::Enforce` found out.
    Enforced {
        /// Runtime reservations whose socket is gone.
        ended: Vec<Id>,
        /// What is enforced still though its record cannot be read.
        unrecorded: Vec<Unrecorded>,
    },
}

/// A reservation whose record cannot be read, as far as it is known from what is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded {
    /// Names it.
    pub id: Id,
    /// Whose ports.
    pub protocol: Protocol,
    /// Which ports.
    pub block: Block,
    /// What ends it.
    pub kind: Kind,
    /// All else.
    pub terms: Terms,
}

/// Why an effect was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectError {
    /// A socket sits on this port: `Effect::Scan` found it, or `Effect::Insert` ran into it.
    InUse(u16),
    /// The present way of enforcing cannot do that; in words.
    TooWeak(String),
    /// The kernel or the disk would not.
    Refused(Refused),
}

impl From<Refused> for EffectError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}
