use std::fmt;
use std::io;

use netlink::kernel::ENODEV;
use netlink::{Reason, Refusal};

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

    /// What was asked for, or the interface it belongs to, is not there. If it is the interface that
    /// was asked for, the code is `ENODEV`.
    #[error("{0}")]
    NotFound(Failure),

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

    pub(crate) fn no_such_interface(selector: impl fmt::Display) -> Self {
        let problem = io::Error::from_raw_os_error(ENODEV).to_string();
        Self::NotFound(Failure { subject: selector.to_string(), problem, code: Some(ENODEV) })
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

    /// Says which interface it was about, where all that was known of it is its index: the subject
    /// `address 192.0.2.1/24 on interface 3` gets a name in the place of `3`.
    #[must_use]
    pub fn about(mut self, ifindex: u32, name: &str) -> Self {
        if let Some(failure) = self.failure_mut()
            && let Some(rest) = failure.subject.strip_suffix(&format!("interface {ifindex}"))
        {
            failure.subject = format!("{rest}interface {name}");
        }
        self
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

    fn failure_mut(&mut self) -> Option<&mut Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_gives_way_to_the_name_and_nothing_else_does() {
        let subject = |subject: &str| {
            let error = Error::not_found(subject).about(3, "eth0");
            error.failure().unwrap().subject.clone()
        };
        assert_eq!(
            subject("address 192.0.2.3/24 on interface 3"),
            "address 192.0.2.3/24 on interface eth0"
        );
        assert_eq!(subject("interface 3"), "interface eth0");
        assert_eq!(subject("interface 13"), "interface 13");
        assert_eq!(subject("interface 3 of 4"), "interface 3 of 4");
    }
}
