use std::fmt;
use std::io;

use netlink::kernel::ENODEV;
use netlink::{Reason, Refusal};

use crate::Selector;

/// Why something about the tables failed.
///
/// The first variants say what the caller can do; each carries a [`Failure`], whether it was found
/// out before the kernel was asked or the kernel said so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was to be made is there already.
    #[error("{0}")]
    AlreadyExists(Failure),

    /// What was asked for is not there, where its interface is.
    #[error("{0}")]
    NotFound(Failure),

    /// There is no such interface.
    #[error("there is no interface {interface}")]
    NoSuchInterface {
        /// What was asked for: a name, an index, a LUID or a GUID.
        interface: String,
    },

    /// The caller lacks the privilege: changes need `CAP_NET_ADMIN`.
    #[error("{0}")]
    NotPermitted(Failure),

    /// A value is wrong in itself, or does not fit what it was meant for.
    #[error("{0}")]
    InvalidValue(Failure),

    /// Linux, this kernel, or this interface has no such thing.
    #[error("{0}")]
    NotSupported(Failure),

    /// Nobody answers for the address, or no route leads there.
    #[error("{0}")]
    Unreachable(Failure),

    /// There was no answer in time.
    #[error("{0}")]
    TimedOut(Failure),

    /// The kernel refused for another reason.
    #[error("{0}")]
    Refused(Failure),

    /// The table changed during every attempt to read it. Worth trying again later; a
    /// [`snapshot`](crate::snapshot) does not need it to rest.
    #[error("the tables changed during each of {attempts} attempts to read them")]
    Inconsistent {
        /// How often they were read.
        attempts: u32,
    },

    /// There are more rows than were to be [kept](crate::Subscription::at_most).
    #[error("the tables have more than {most} rows")]
    TooLarge {
        /// How many may be kept.
        most: usize,
    },

    /// The kernel's messages cannot be understood.
    #[error(transparent)]
    Netlink(netlink::Error),

    /// A socket or file failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What failed and why, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What it was about: `address 192.0.2.1/24`, `interface eth0`.
    pub subject: String,
    /// What is wrong, in the kernel's own words where it gave any.
    pub problem: String,
    /// The kernel's error number (`errno(3)`), or the one it would give; `None` where there is none.
    pub code: Option<i32>,
}

impl Failure {
    pub(crate) fn new(subject: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { subject: subject.to_string(), problem: problem.to_string(), code: None }
    }
}

/// The sorts of failure that a program tells apart, of this crate and of those that build on it.
///
/// The list is complete: no sort is added or split, so that a `match` needs no last arm. The errors
/// themselves say more, and may gain variants, each of one of these sorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What was named is not there: an interface, a row, a lease, a reservation.
    NotFound,
    /// What was to be made is there already, or somebody else has it.
    AlreadyExists,
    /// The caller lacks the privilege.
    AccessDenied,
    /// A value is wrong in itself, or does not fit what it was meant for.
    InvalidInput,
    /// Linux, this kernel, this interface or this daemon has no such thing.
    NotSupported,
    /// Not at present: a link is down, or a table never rests. Worth trying again.
    NotReady,
    /// No host answers: a neighbour, or any server.
    Unreachable,
    /// The time allowed was over before the outcome was known.
    TimedOut,
    /// The kernel, the disk, or a server refused.
    Refused,
    /// There is more than is kept, or less left than was asked for.
    LimitExceeded,
    /// A later command made this one moot, or the other side is ending.
    Cancelled,
    /// The daemon is not there, or went away.
    Disconnected,
    /// The answer is not understood.
    Protocol,
    /// A socket or a file failed.
    Io,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

impl Error {
    pub(crate) fn invalid(subject: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::InvalidValue(Failure::new(subject, problem))
    }

    pub(crate) fn not_supported(subject: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::NotSupported(Failure::new(subject, problem))
    }

    pub(crate) fn not_found(subject: impl fmt::Display) -> Self {
        Self::NotFound(Failure::new(subject, "not found"))
    }

    pub(crate) fn no_such_interface(selector: &Selector) -> Self {
        Self::NoSuchInterface { interface: selector.to_string() }
    }

    /// What the kernel said of a request on an interface: that it has none of this index is about
    /// the one asked for.
    pub(crate) fn on(self, selector: &Selector) -> Self {
        match self {
            Self::NotFound(Failure { code: Some(ENODEV), .. }) => Self::no_such_interface(selector),
            error => error,
        }
    }

    /// Sorts the kernel's answer about `subject`.
    pub(crate) fn of(error: netlink::Error, subject: impl fmt::Display) -> Self {
        let refusal = match error {
            netlink::Error::Refused(refusal) => refusal,
            netlink::Error::TimedOut => {
                return Self::TimedOut(Failure::new(subject, "the kernel did not answer in time"));
            }
            other => return Self::reading(other),
        };
        let failure = failure(&refusal, subject);
        match refusal.reason() {
            Reason::AlreadyExists => Self::AlreadyExists(failure),
            Reason::NotFound => Self::NotFound(failure),
            Reason::NotPermitted => Self::NotPermitted(failure),
            Reason::InvalidValue => Self::InvalidValue(failure),
            Reason::NotSupported => Self::NotSupported(failure),
            Reason::Busy | Reason::Other => Self::Refused(failure),
        }
    }

    /// Sorts what can go wrong when a table is read.
    pub(crate) fn reading(error: netlink::Error) -> Self {
        match error {
            netlink::Error::Inconsistent { attempts } => Self::Inconsistent { attempts },
            netlink::Error::Io(error) => Self::Io(error),
            error @ (netlink::Error::Refused(_) | netlink::Error::TimedOut) => {
                Self::of(error, "table")
            }
            other => Self::Netlink(other),
        }
    }

    /// Sorts the outcome of writing a kernel parameter.
    pub(crate) fn parameter(error: &io::Error, subject: impl fmt::Display) -> Self {
        let code = error.raw_os_error();
        let problem = error.to_string();
        let failure = Failure { subject: subject.to_string(), problem, code };
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotSupported(failure),
            // Containers often have /proc/sys mounted read-only.
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotPermitted(failure)
            }
            io::ErrorKind::InvalidInput => Self::InvalidValue(failure),
            _ => Self::Refused(failure),
        }
    }

    /// Which sort of failure it is: what a program tells apart.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoSuchInterface { .. } => ErrorKind::NotFound,
            Self::AlreadyExists(_) => ErrorKind::AlreadyExists,
            Self::NotPermitted(_) => ErrorKind::AccessDenied,
            Self::InvalidValue(_) => ErrorKind::InvalidInput,
            Self::NotSupported(_) => ErrorKind::NotSupported,
            Self::Unreachable(_) => ErrorKind::Unreachable,
            Self::TimedOut(_) => ErrorKind::TimedOut,
            Self::Refused(_) => ErrorKind::Refused,
            Self::Inconsistent { .. } => ErrorKind::NotReady,
            Self::TooLarge { .. } => ErrorKind::LimitExceeded,
            Self::Netlink(_) => ErrorKind::Protocol,
            Self::Io(_) => ErrorKind::Io,
        }
    }

    /// What failed and why, where it is more than a broken socket.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::AlreadyExists(failure)
            | Self::NotFound(failure)
            | Self::NotPermitted(failure)
            | Self::InvalidValue(failure)
            | Self::NotSupported(failure)
            | Self::Unreachable(failure)
            | Self::TimedOut(failure)
            | Self::Refused(failure) => Some(failure),
            _ => None,
        }
    }
}

pub(crate) fn failure(refusal: &Refusal, subject: impl fmt::Display) -> Failure {
    Failure { subject: subject.to_string(), problem: refusal.to_string(), code: Some(refusal.code) }
}
