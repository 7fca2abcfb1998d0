//! What can go wrong.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use api::client::{self, CallError};
use api::{lease, ports};

use crate::ports::{GuardLevel, Holder, Reservation};
use crate::{ErrorKind, LeaseFamily, Server};

/// A call came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no interface of that name.
    #[error("there is no interface {interface}")]
    NoSuchInterface {
        /// The name asked for.
        interface: String,
    },

    /// The interface's addresses are not the daemon's to manage: it is neither configured for DHCP
    /// nor was a lease acquired on it.
    #[error("{interface} is not managed{}", match holder {
        Some(holder) => format!(" here but by {holder}"),
        None => String::new(),
    })]
    NotManaged {
        /// Name of the interface.
        interface: String,
        /// Another DHCP client that manages it, where one was seen.
        holder: Option<String>,
    },

    /// There is no lease to release.
    #[error("{interface} holds no lease")]
    NotLeased {
        /// Name of the interface.
        interface: String,
    },

    /// The interface has no carrier, or is administratively down.
    #[error("the link of {interface} is down")]
    LinkDown {
        /// Name of the interface.
        interface: String,
    },

    /// No server answered. The client keeps trying; a lease that is still valid stays in use.
    #[error("no DHCP server answered on {interface} in {:.1} s (tries: {tries})",
        waited.as_secs_f64())]
    NoAnswer {
        /// Name of the interface.
        interface: String,
        /// How long was waited.
        waited: Duration,
        /// Packets sent.
        tries: u32,
    },

    /// A server refused. The lease, if one was in use, is gone; the client starts over.
    #[error("{server} refused the lease on {interface}{}", match message {
        Some(message) => format!(": {message:?}"),
        None => String::new(),
    })]
    Refused {
        /// Name of the interface.
        interface: String,
        /// The server that refused.
        server: Server,
        /// Its own words. It may be anybody's: escape them before they reach a terminal.
        message: Option<String>,
    },

    /// Another host uses the address. The client starts over.
    #[error("{address} on {interface} is in use by {hardware_address}")]
    Conflict {
        /// Name of the interface.
        interface: String,
        /// The address that another host uses.
        address: IpAddr,
        /// Who uses it: hexadecimal bytes separated by colons.
        hardware_address: String,
    },

    /// The network asks its hosts to do without IPv4 (RFC 8925).
    #[error("the network of {interface} asks for IPv6 only for {} s", wait.as_secs())]
    Ipv6Only {
        /// Name of the interface.
        interface: String,
        /// For how long.
        wait: Duration,
    },

    /// A later command made this one moot, or the daemon is ending.
    #[error("cancelled by a later command or the daemon's end")]
    Cancelled,

    /// The kernel or the disk refused what the lease needs, or the interface lacks what is needed.
    #[error("failed on {interface}: {reason}")]
    Host {
        /// Name of the interface.
        interface: String,
        /// What was refused, and why.
        reason: String,
    },

    /// This user may not do that.
    #[error("access denied: {needed} needed")]
    AccessDenied {
        /// What would do.
        needed: String,
    },

    /// Leases of that family are not served by the daemon.
    #[error("leases of this family are not served: {family:?}")]
    FamilyNotSupported {
        /// The family that was asked for.
        family: LeaseFamily,
    },

    /// A port or a count is 0, the block passes 65535, or another argument is out of its range.
    #[error("{parameter}: {reason}")]
    InvalidParameter {
        /// The parameter's name, as the API has it.
        parameter: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A port of the block is in use, or the block overlaps a reservation.
    #[error("port {port} {}", match (holder, reservation) {
        (Some(holder), _) => format!("is {holder}"),
        (None, Some(reservation)) => format!("is reserved: {reservation}"),
        (None, None) => "is in use".to_owned(),
    })]
    SharingViolation {
        /// The first port in the way.
        port: u16,
        /// The socket that sits on it.
        holder: Option<Box<Holder>>,
        /// The reservation that it belongs to.
        reservation: Option<Box<Reservation>>,
    },

    /// No reservation has exactly these ports.
    #[error("there is no such reservation")]
    NoSuchReservation,

    /// No reservation has this token, or it was deleted.
    #[error("no reservation has this token")]
    InvalidToken,

    /// The socket is none, neither TCP nor UDP, of the other protocol, of another network
    /// namespace, or bound already.
    #[error("the socket cannot be associated: {reason}")]
    SocketNotSupported {
        /// What it is, and what it would have to be.
        reason: String,
    },

    /// This user holds as much by runtime reservations as one user may, or all users together do.
    #[error("{limit} {what} may be held, and {held} are")]
    QuotaExceeded {
        /// Of what.
        what: String,
        /// How many may be held.
        limit: u32,
        /// How many are.
        held: u32,
    },

    /// No block of that many ports is free.
    #[error("no block of {number_of_ports} ports is free")]
    NoFreeBlock {
        /// How many were asked for.
        number_of_ports: u16,
    },

    /// The daemon's present way of enforcing reservations cannot do that.
    #[error("not possible while the guard's level is {level}: {reason}")]
    GuardTooWeak {
        /// How well it enforces them.
        level: GuardLevel,
        /// What it cannot do, and what would help.
        reason: String,
    },

    /// The kernel or the disk refused what a reservation needs; nothing was changed.
    #[error("the reservation could not be put in force: {reason}")]
    NotEnforced {
        /// What was refused, and why.
        reason: String,
    },

    /// The timeout is zero, or longer than ten minutes.
    #[error("a timeout of {0:?} is not possible: more than 0, at most 600 s")]
    InvalidTimeout(Duration),

    /// No daemon listens there: it does not run, or listens elsewhere.
    #[error("no daemon listens at {}", path.display())]
    Unreachable {
        /// Path of the socket that was tried.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },

    /// The daemon said nothing for longer than the call may take. It may still do what it was
    /// asked to.
    #[error("the daemon does not answer")]
    TimedOut,

    /// The daemon closed the connection: it ended.
    #[error("the daemon closed the connection")]
    Closed,

    /// This user, or all users together, hold as much of the daemon as they may.
    #[error("{reason}")]
    LimitExceeded {
        /// Of what, and how much is allowed.
        reason: String,
    },

    /// The daemon answered what this version does not understand.
    #[error("the daemon's answer is not understood")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// A table could not be read or changed: see [`tables`](crate::tables), which ask the kernel and
    /// not the daemon.
    #[error(transparent)]
    Tables(#[from] tables::Error),
}

impl Error {
    /// Which sort of failure it is: what a program tells apart.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchInterface { .. }
            | Self::NotManaged { .. }
            | Self::NotLeased { .. }
            | Self::NoSuchReservation
            | Self::InvalidToken => ErrorKind::NotFound,
            Self::Conflict { .. } | Self::SharingViolation { .. } => ErrorKind::AlreadyExists,
            Self::AccessDenied { .. } => ErrorKind::AccessDenied,
            Self::InvalidParameter { .. } | Self::InvalidTimeout(_) => ErrorKind::InvalidInput,
            Self::FamilyNotSupported { .. }
            | Self::SocketNotSupported { .. }
            | Self::GuardTooWeak { .. } => ErrorKind::NotSupported,
            Self::LinkDown { .. } | Self::Ipv6Only { .. } => ErrorKind::NotReady,
            Self::NoAnswer { .. } => ErrorKind::Unreachable,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Refused { .. } | Self::Host { .. } | Self::NotEnforced { .. } => {
                ErrorKind::Refused
            }
            Self::QuotaExceeded { .. } | Self::NoFreeBlock { .. } | Self::LimitExceeded { .. } => {
                ErrorKind::LimitExceeded
            }
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Unreachable { .. } | Self::Closed => ErrorKind::Disconnected,
            Self::Protocol(_) => ErrorKind::Protocol,
            Self::Tables(error) => error.kind(),
        }
    }
}

impl From<lease::Error> for Error {
    fn from(error: lease::Error) -> Self {
        match error {
            lease::Error::NoSuchInterface { interface } => Self::NoSuchInterface { interface },
            lease::Error::NotManaged { interface, holder } => {
                Self::NotManaged { interface, holder }
            }
            lease::Error::NotLeased { interface } => Self::NotLeased { interface },
            lease::Error::LinkDown { interface } => Self::LinkDown { interface },
            lease::Error::NoAnswer { interface, waited, tries } => {
                Self::NoAnswer { interface, waited: seconds(waited), tries }
            }
            lease::Error::Refused { interface, server, message } => {
                Self::Refused { interface, server, message }
            }
            lease::Error::Conflict { interface, address, hardware_address } => {
                Self::Conflict { interface, address, hardware_address }
            }
            lease::Error::Ipv6Only { interface, wait } => {
                Self::Ipv6Only { interface, wait: seconds(wait) }
            }
            lease::Error::Cancelled { interface: _ } => Self::Cancelled,
            lease::Error::Host { interface, reason } => Self::Host { interface, reason },
            lease::Error::AccessDenied { needed } => Self::AccessDenied { needed },
            lease::Error::FamilyNotSupported { family } => Self::FamilyNotSupported { family },
            other => Self::Protocol(Box::new(other)),
        }
    }
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::Unreachable { path, source } => Self::Unreachable { path, source },
            client::Error::AccessDenied { path } => {
                Self::AccessDenied { needed: format!("access to {}", path.display()) }
            }
            client::Error::TimedOut => Self::TimedOut,
            client::Error::Closed => Self::Closed,
            client::Error::Crowded(error) => Self::LimitExceeded { reason: error.to_string() },
            other => Self::Protocol(Box::new(other)),
        }
    }
}

impl From<ports::Error> for Error {
    fn from(error: ports::Error) -> Self {
        use ports::Error as E;
        match error {
            E::InvalidParameter { parameter, reason } => {
                Self::InvalidParameter { parameter, reason }
            }
            E::SharingViolation { port, holder, reservation } => {
                Self::SharingViolation { port, holder, reservation }
            }
            E::NotFound => Self::NoSuchReservation,
            E::InvalidToken => Self::InvalidToken,
            E::SocketNotSupported { reason } => Self::SocketNotSupported { reason },
            E::QuotaExceeded { what, limit, held } => Self::QuotaExceeded { what, limit, held },
            E::NoFreeBlock { number_of_ports } => Self::NoFreeBlock { number_of_ports },
            E::GuardTooWeak { level, reason } => Self::GuardTooWeak { level, reason },
            E::Host { reason } => Self::NotEnforced { reason },
            E::Cancelled => Self::Cancelled,
            E::AccessDenied { needed } => Self::AccessDenied { needed },
            other => Self::Protocol(Box::new(other)),
        }
    }
}

impl<E> From<CallError<E>> for Error
where
    E: std::error::Error + Into<Self>,
{
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Method(error) => error.into(),
            CallError::Client(error) => error.into(),
        }
    }
}

/// Seconds of the daemon's; nonsense counts as none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
