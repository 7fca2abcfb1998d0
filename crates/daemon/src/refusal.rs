//! Why the host would not do something, sorted by what engines and the daemon can act on.

use std::fmt::Display;
use std::io::{self, ErrorKind};

use engine::{Reason, Refused};
use netlink::kernel::ENODEV;
use rustix::io::Errno;

/// What the host would not do, and why.
pub(crate) fn refused(what: impl Display, error: &io::Error) -> Refused {
    Refused::new(reason(error), format!("{what}: {error}"))
}

/// What the kernel would not do by netlink, and why.
pub(crate) fn refused_by_kernel(what: impl Display, error: &netlink::Error) -> Refused {
    Refused::new(of_netlink(error), format!("{what}: {error}"))
}

/// What kind of refusal an error is. One without a number of the kernel's was made by a program,
/// and is never a shortage.
pub(crate) fn reason(error: &io::Error) -> Reason {
    match Errno::from_io_error(error) {
        Some(number) => of_number(number),
        None => match error.kind() {
            ErrorKind::Unsupported => Reason::Unsupported,
            ErrorKind::TimedOut => Reason::TimedOut,
            _ => Reason::Other,
        },
    }
}

/// What kind of refusal an answer of the kernel is.
pub(crate) fn of_netlink(error: &netlink::Error) -> Reason {
    match error {
        netlink::Error::Refused(refusal) => match refusal.reason() {
            netlink::Reason::AlreadyExists => Reason::AlreadyThere,
            netlink::Reason::NotFound if refusal.code == ENODEV => Reason::NoSuchInterface,
            netlink::Reason::NotFound => Reason::NotThere,
            netlink::Reason::NotPermitted => Reason::NotPermitted,
            netlink::Reason::NotSupported => Reason::Unsupported,
            netlink::Reason::InvalidValue | netlink::Reason::Busy => Reason::Other,
            netlink::Reason::Other => reason(&io::Error::from_raw_os_error(refusal.code)),
        },
        netlink::Error::TimedOut => Reason::TimedOut,
        netlink::Error::Io(error) => reason(error),
        netlink::Error::Malformed { .. }
        | netlink::Error::Inconsistent { .. }
        | netlink::Error::NoAnswer => Reason::Other,
    }
}

/// Short are descriptors, of the process (`EMFILE`) or of the host (`ENFILE`), memory, and threads
/// (`EAGAIN`); a call that a signal cut short (`EINTR`) goes with them.
fn of_number(number: Errno) -> Reason {
    match number {
        Errno::EXIST => Reason::AlreadyThere,
        Errno::NOENT | Errno::SRCH => Reason::NotThere,
        Errno::NODEV => Reason::NoSuchInterface,
        Errno::PERM | Errno::ACCESS => Reason::NotPermitted,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT => {
            Reason::Unsupported
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN | Errno::INTR => {
            Reason::Shortage
        }
        Errno::TIMEDOUT => Reason::TimedOut,
        _ => Reason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_can_be_done_about_them() {
        for (number, expected) in [
            (Errno::EXIST, Reason::AlreadyThere),
            (Errno::SRCH, Reason::NotThere),
            (Errno::NODEV, Reason::NoSuchInterface),
            (Errno::PERM, Reason::NotPermitted),
            (Errno::OPNOTSUPP, Reason::Unsupported),
            (Errno::MFILE, Reason::Shortage),
            (Errno::NFILE, Reason::Shortage),
            (Errno::NOMEM, Reason::Shortage),
            (Errno::AGAIN, Reason::Shortage),
            (Errno::TIMEDOUT, Reason::TimedOut),
            (Errno::INVAL, Reason::Other),
            (Errno::NOSPC, Reason::Other),
        ] {
            let error = io::Error::from(number);
            assert_eq!(reason(&error), expected, "{error}");
        }
        // A lock that somebody has, as the standard library tells it.
        assert_eq!(reason(&ErrorKind::WouldBlock.into()), Reason::Other);
        assert_eq!(reason(&io::Error::new(ErrorKind::Unsupported, "no")), Reason::Unsupported);
        assert_eq!(refused("a socket", &Errno::MFILE.into()).reason, Reason::Shortage);
    }
}
