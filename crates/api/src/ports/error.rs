use serde::{Deserialize, Serialize};

use super::{Holder, Reservation};

/// The interface's errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
#[non_exhaustive]
pub enum Error {
    /// Start or count is 0, or the block passes 65535; or another argument is out of its range.
    #[error("{parameter}: {reason}")]
    #[serde(rename = "org.iphelper.PortReservation.InvalidParameter")]
    InvalidParameter {
        /// The parameter's name.
        parameter: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A port of the block is in use, or the block overlaps a reservation.
    #[error("port {port} {}", taken(holder.as_deref(), reservation.as_deref()))]
    #[serde(rename = "org.iphelper.PortReservation.SharingViolation")]
    SharingViolation {
        /// The first port in the way.
        port: u16,
        /// The socket that sits on it.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<Box<Holder>>,
        /// The reservation that it belongs to.
        #[serde(skip_serializing_if = "Option::is_none")]
        reservation: Option<Box<Reservation>>,
    },

    /// There is no reservation of exactly this block, or none of any kind.
    #[error("there is no such reservation")]
    #[serde(rename = "org.iphelper.PortReservation.NotFound")]
    NotFound,

    /// No reservation has this token, or it was deleted.
    #[error("no reservation has this token")]
    #[serde(rename = "org.iphelper.PortReservation.InvalidToken")]
    InvalidToken,

    /// The descriptor cannot be associated.
    #[error("the socket cannot be associated: {reason}")]
    #[serde(rename = "org.iphelper.PortReservation.SocketNotSupported")]
    SocketNotSupported {
        /// What it is, and what it would have to be.
        reason: String,
    },

    /// The caller holds as much by runtime reservations as one user may, or all users together do.
    #[error("{limit} {what} may be held, and {held} are")]
    #[serde(rename = "org.iphelper.PortReservation.QuotaExceeded")]
    QuotaExceeded {
        /// Of what: `ports by runtime reservations`, `runtime reservations`, which are the caller's,
        /// or `ports by runtime reservations of all users`.
        what: String,
        /// How many may be held.
        limit: u32,
        /// How many are.
        held: u32,
    },

    /// No free block of that many ports.
    #[error("no block of {number_of_ports} ports is free")]
    #[serde(rename = "org.iphelper.PortReservation.NoFreeBlock")]
    NoFreeBlock {
        /// How many were asked for.
        number_of_ports: u16,
    },

    /// The present way of enforcing cannot do that.
    #[error("not possible while the guard's level is {level}: {reason}")]
    #[serde(rename = "org.iphelper.PortReservation.GuardTooWeak")]
    GuardTooWeak {
        /// The level: see [`Guard::level`](super::Guard::level).
        level: super::GuardLevel,
        /// What it cannot do, and what would help.
        reason: String,
    },

    /// The kernel or the disk refused what the reservation needs; nothing was changed.
    #[error("the reservation could not be put in force: {reason}")]
    #[serde(rename = "org.iphelper.PortReservation.Host")]
    Host {
        /// What was refused, and why.
        reason: String,
    },

    /// The daemon is ending.
    #[error("the daemon is ending")]
    #[serde(rename = "org.iphelper.PortReservation.Cancelled")]
    Cancelled,

    /// The caller may not do that.
    #[error("access denied: {needed} needed")]
    #[serde(rename = "org.iphelper.PortReservation.AccessDenied")]
    AccessDenied {
        /// What would do.
        needed: String,
    },
}

fn taken(holder: Option<&Holder>, reservation: Option<&Reservation>) -> String {
    match (holder, reservation) {
        (Some(holder), _) => format!("is {holder}"),
        (None, Some(reservation)) => format!("is reserved: {reservation}"),
        (None, None) => "is in use".to_owned(),
    }
}

impl crate::InterfaceError for Error {
    fn access_denied(needed: String) -> Self {
        Self::AccessDenied { needed }
    }

    fn cancelled() -> Self {
        Self::Cancelled
    }
}
