//! What went wrong with ports, and what a person may do about it.

use api::client::CallError;
use api::ports::{Error, Holder, Kind, List, Reservation};

use super::block::Block;
use super::shown::{owner, who};
use crate::exit::{Exit, Failure};
use crate::hints::Explained;
use crate::session::Session;

impl Explained for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::AccessDenied { .. } => Exit::Denied,
            _ => Exit::Failed,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::SharingViolation { port, holder: Some(holder), .. } => {
                let by = holder.who.as_ref().map(|known| format!(" by {}", who(known)));
                let Holder { protocol, state, .. } = &**holder;
                format!("{protocol} port {port} is in use ({state}){}", by.unwrap_or_default())
            }
            Self::SharingViolation { port, reservation: Some(reservation), .. } => {
                format!("port {port} is reserved: {}", whose(reservation))
            }
            Self::NotFound => "there is no reservation of exactly these ports".to_owned(),
            Self::InvalidParameter { parameter, reason } => {
                format!("{}: {reason}", parameter.replace('_', " "))
            }
            _ => self.to_string(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::SharingViolation { holder: Some(holder), .. } => free_holder(holder),
            Self::SharingViolation { reservation: Some(reservation), .. } => {
                free_reservation(reservation)
            }
            Self::SharingViolation { .. } => "`iph port holders` says who sits where.".to_owned(),
            Self::InvalidToken => {
                "A token ends with its reservation: `iph port list` shows those there are, and \
                 `iph port lookup` the token of one."
                    .to_owned()
            }
            Self::SocketNotSupported { .. } => {
                "A socket is let in before it is bound, in the network namespace of the daemon."
                    .to_owned()
            }
            Self::QuotaExceeded { .. } => {
                "`runtime_ports` and `runtime_reservations` in the section [ports] of the \
                 configuration bound what one user holds; all users together hold half as many \
                 ports as net.ipv4.ip_local_port_range has."
                    .to_owned()
            }
            Self::NoFreeBlock { .. } => "`iph port holders` says who sits where.".to_owned(),
            Self::GuardTooWeak { .. } => {
                "`iph port status` says what would make more possible.".to_owned()
            }
            Self::Host { .. } => "`iph port status` and `iph daemon status` say more.".to_owned(),
            Self::AccessDenied { .. } => "Try again with `sudo`.".to_owned(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

/// The failure of a call about a block. Where there is none of exactly that block, those that are
/// nearly meant are named.
pub(super) fn explained(session: &Session, block: &Block, error: CallError<Error>) -> Failure {
    let failed = match error {
        CallError::Method(Error::NotFound) => crate::hints::method(&Error::NotFound),
        error => return error.into(),
    };
    let reservations = session.list(&List::default()).unwrap_or_default();
    let near: Vec<_> = reservations
        .iter()
        .filter(|reservation| Block::from(*reservation).overlaps(block))
        .collect();
    if near.is_empty() {
        return failed.hint("`iph port list` shows what is reserved.");
    }
    near.iter().fold(failed, |failed, reservation| {
        failed.hint(format!("The exact block is needed; there is {}.", whose(reservation)))
    })
}

/// `tcp/5000-5019 of root, for "media"`.
fn whose(reservation: &Reservation) -> String {
    let owner = owner(reservation);
    let purpose = match &reservation.purpose {
        Some(purpose) => format!(", for \"{purpose}\""),
        None => ", for a purpose that was not said".to_owned(),
    };
    format!("{} of {owner}{purpose}", Block::from(reservation))
}

fn free_holder(holder: &Holder) -> String {
    let known = holder.who.as_ref();
    match (known.and_then(|who| who.unit.as_ref()), known.and_then(|who| who.pid)) {
        (Some(unit), _) if unit.ends_with(".service") => {
            format!("`systemctl stop {unit}` ends it, or choose other ports.")
        }
        (_, Some(pid)) => format!("`kill {pid}` ends it, or choose other ports."),
        (_, None) => "`iph port holders` says more to root; or choose other ports.".to_owned(),
    }
}

fn free_reservation(reservation: &Reservation) -> String {
    match reservation.kind {
        Kind::Persistent => {
            format!("`iph port release {}` frees it.", Block::from(reservation))
        }
        Kind::Runtime => {
            let pid = reservation.owner.pid.map(|pid| format!(" (process {pid})"));
            format!("It ends with the program that holds it{}.", pid.unwrap_or_default())
        }
    }
}
