//! Reservations, sockets and events as the API shows them.

use api::Time;
use api::ports::{self as shown, EventKind, Holder, Who};
use ports::{Failure, Kind, Protocol, Refusal, Reservation};

use super::scan;
use crate::clock::Clock;

/// A reservation, without its token.
pub(super) fn reservation(
    reservation: &Reservation,
    denials: u64,
    owner: Option<String>,
    clock: Clock,
) -> shown::Reservation {
    shown::Reservation {
        id: reservation.id.get().into(),
        protocol: protocol(reservation.protocol),
        start_port: reservation.block.start(),
        number_of_ports: reservation.block.count(),
        kind: match reservation.kind {
            Kind::Persistent => shown::Kind::Persistent,
            Kind::Runtime => shown::Kind::Runtime,
        },
        token: None,
        owner: Who {
            uid: reservation.owner.uid,
            user: owner,
            pid: reservation.owner.pid,
            program: reservation.owner.program.clone(),
            unit: reservation.owner.unit.clone(),
            cgroup: reservation.owner.cgroup.clone(),
        },
        purpose: reservation.purpose.clone(),
        created_at: reservation.created_at.into(),
        expires_at: reservation.expires_at.map(|at| clock.wall(at).into()),
        refusal: match reservation.refusal {
            Refusal::AccessDenied => shown::Refusal::AccessDenied,
            Refusal::AddressInUse => shown::Refusal::AddressInUse,
            Refusal::NotPermitted => shown::Refusal::NotPermitted,
        },
        dry_run: reservation.dry_run,
        low_ports: reservation.low_ports,
        users: reservation.admitted.users.iter().copied().collect(),
        cgroups: reservation.admitted.cgroups.iter().cloned().collect(),
        denials,
    }
}

/// A socket, with what the kernel's list says of it.
pub(super) fn holder(found: &scan::Holder) -> Holder {
    Holder {
        protocol: protocol(found.protocol),
        port: found.port(),
        address: found.address(),
        state: found.state(),
        inode: found.inode().map(u64::from),
        who: found.uid().map(Who::user),
        reservation: None,
        granted: false,
    }
}

pub(super) fn protocol(protocol: Protocol) -> shown::Protocol {
    match protocol {
        Protocol::Tcp => shown::Protocol::Tcp,
        Protocol::Udp => shown::Protocol::Udp,
    }
}

pub(super) fn asked_protocol(protocol: shown::Protocol) -> Protocol {
    match protocol {
        shown::Protocol::Tcp => Protocol::Tcp,
        shown::Protocol::Udp => Protocol::Udp,
    }
}

pub(super) fn asked_refusal(refusal: shown::Refusal) -> Refusal {
    match refusal {
        shown::Refusal::AccessDenied => Refusal::AccessDenied,
        shown::Refusal::AddressInUse => Refusal::AddressInUse,
        shown::Refusal::NotPermitted => Refusal::NotPermitted,
    }
}

/// A reservation as a sentence names it.
pub(super) fn name(reservation: &Reservation) -> String {
    let Reservation { protocol, block, owner, .. } = reservation;
    let purpose = reservation.purpose.as_deref();
    let purpose = purpose.map(|text| format!(" for {text:?}")).unwrap_or_default();
    format!("{protocol} {block} of uid {}{purpose}", owner.uid)
}

/// What happened, as an event.
pub(super) fn event(kind: EventKind, text: String, about: shown::Reservation) -> shown::Event {
    let token = about.token.filter(|_| about.kind == shown::Kind::Persistent);
    let reservation = Some(shown::Reservation { token, ..about });
    shown::Event { kind, time: Time::now(), text, reservation }
}

/// A failure as callers know it, where nothing has to be added.
pub(super) fn error(failure: Failure, level: shown::GuardLevel) -> shown::Error {
    match failure {
        Failure::Overlap { port, .. } | Failure::InUse(port) => {
            shown::Error::SharingViolation { port, holder: None, reservation: None }
        }
        Failure::NotFound => shown::Error::NotFound,
        Failure::InvalidToken => shown::Error::InvalidToken,
        Failure::AccessDenied { needed } => {
            shown::Error::AccessDenied { needed: needed.to_owned() }
        }
        Failure::QuotaExceeded { what, limit, held } => {
            shown::Error::QuotaExceeded { what: what.to_string(), limit, held }
        }
        Failure::NoFreeBlock { count } => shown::Error::NoFreeBlock { number_of_ports: count },
        Failure::TooWeak(reason) => shown::Error::GuardTooWeak { level, reason },
        Failure::Cancelled => shown::Error::Cancelled,
        Failure::Host(refused) => shown::Error::Host { reason: refused.text },
    }
}
