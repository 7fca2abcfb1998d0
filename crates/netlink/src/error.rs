use std::fmt;
use std::io;

use crate::kernel::*;

/// Why something netlink failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes that should have been a netlink message are not: the kernel's fault, or the
    /// transport's.
    #[error("netlink message of type {kind} at byte {offset} is malformed: {what}")]
    Malformed {
        /// The message's type (`RTM_*`, `NLMSG_*`), 0 if it is not known.
        kind: u16,
        /// Where the message starts in its datagram.
        offset: usize,
        /// What is wrong with it.
        what: &'static str,
    },

    /// The kernel refused a request.
    #[error("{0}")]
    Refused(Refusal),

    /// The table changed during every attempt to read it. Worth trying again later.
    #[error("the table changed during each of {attempts} attempts to read it")]
    Inconsistent {
        /// How often it was read.
        attempts: u32,
    },

    /// The kernel did not answer in time.
    #[error("the kernel did not answer in time")]
    TimedOut,

    /// The kernel acknowledged a question without answering it.
    #[error("the kernel gave no answer")]
    NoAnswer,

    /// The socket failed.
    #[error("netlink socket: {0}")]
    Io(#[from] io::Error),
}

impl Error {
    /// What kind of refusal this is, if it is one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(refusal) => Some(refusal.reason()),
            Self::Malformed { .. }
            | Self::Inconsistent { .. }
            | Self::TimedOut
            | Self::NoAnswer
            | Self::Io(_) => None,
        }
    }

    /// The kernel's error number, if it refused a request.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Malformed { .. }
            | Self::Inconsistent { .. }
            | Self::TimedOut
            | Self::NoAnswer
            | Self::Io(_) => None,
        }
    }
}

/// The kernel's "no", with its extended text where it gave one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The error number, positive (`errno(3)`).
    pub code: i32,
    /// What the kernel says is wrong (`NLMSGERR_ATTR_MSG`).
    pub message: Option<String>,
    /// Byte of the request, counted from its header, that the kernel objects to
    /// (`NLMSGERR_ATTR_OFFS`).
    pub offset: Option<u32>,
}

/// Refusals sorted by what the caller can do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is there already.
    AlreadyExists,
    /// It, or the interface it belongs to, is not there.
    NotFound,
    /// The caller may not do this.
    NotPermitted,
    /// A value is wrong, or does not fit the rest of the configuration.
    InvalidValue,
    /// This kernel cannot do it.
    NotSupported,
    /// Something else is using it.
    Busy,
    /// Anything else: see the code.
    Other,
}

impl Refusal {
    /// What kind of refusal this is.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.code {
            EEXIST => Reason::AlreadyExists,
            ENOENT | ESRCH | ENXIO | ENODEV | EADDRNOTAVAIL => Reason::NotFound,
            EPERM | EACCES => Reason::NotPermitted,
            EINVAL | ERANGE | E2BIG | ENETUNREACH => Reason::InvalidValue,
            EOPNOTSUPP | EAFNOSUPPORT | EPROTONOSUPPORT => Reason::NotSupported,
            EBUSY => Reason::Busy,
            _ => Reason::Other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.code))?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_carry_the_kernels_own_words() {
        let refusal = Refusal { code: 17, message: Some("Already there".into()), offset: None };
        assert_eq!(refusal.reason(), Reason::AlreadyExists);
        assert_eq!(Error::Refused(refusal).to_string(), "File exists (os error 17): Already there");
    }
}
