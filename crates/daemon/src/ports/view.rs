//! Reservations, sockets and events as the API shows them.

use api::ports::{self as shown, EventKind, Holder, Who};
use ports::{Admitted, Failure, Kind, Protocol, Refusal, Reservation};

use super::scan;
use crate::clock::Clock;

/// A reservation, without its token.
pub(super) fn reservation(
    reservation: &Reservation,
    denials: u64,
    owner: Option<String>,
    clock: Clock,
) -> shown::Reservation {
    let mut owned_by = Who::user(reservation.owner.uid);
    owned_by.user = owner;
    owned_by.pid = reservation.owner.pid;
    owned_by.program.clone_from(&reservation.owner.program);
    owned_by.unit.clone_from(&reservation.owner.unit);
    owned_by.cgroup.clone_from(&reservation.owner.cgroup);
    let kind = match reservation.kind {
        Kind::Persistent => shown::Kind::Persistent,
        Kind::Runtime => shown::Kind::Runtime,
    };
    let mut view = shown::Reservation::new(
        reservation.id.get().into(),
        protocol(reservation.protocol),
        reservation.block.start(),
        reservation.block.count(),
        kind,
        owned_by,
    );
    view.purpose.clone_from(&reservation.purpose);
    view.created_at = reservation.created_at.into();
    view.expires_at = reservation.expires_at.map(|at| clock.wall(at).into());
    view.refusal = match reservation.refusal {
        Refusal::AccessDenied => shown::Refusal::AccessDenied,
        Refusal::AddressInUse => shown::Refusal::AddressInUse,
        Refusal::NotPermitted => shown::Refusal::NotPermitted,
    };
    view.dry_run = reservation.dry_run;
    view.low_ports = reservation.low_ports;
    view.users = reservation.admitted.users.iter().copied().collect();
    view.cgroups = reservation.admitted.cgroups.iter().cloned().collect();
    view.denials = denials;
    view
}

/// A socket, with what the kernel's list says of it.
pub(super) fn holder(found: &scan::Holder) -> Holder {
    {
        let mut holder =
            Holder::new(protocol(found.protocol), found.port(), found.address(), found.state());
        holder.inode = found.inode().map(u64::from);
        holder.who = found.uid().map(Who::user);
        holder.granted = false;
        holder
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

/// What happened, as an event that everybody may see.
pub(super) fn event(kind: EventKind, text: String, about: shown::Reservation) -> shown::Event {
    let mut about = about;
    about.token.take_if(|_| about.kind != shown::Kind::Persistent);
    shown::Event::new(kind, text).of(about)
}

/// Adds who needs no token any more, and who does again.
pub(super) fn with_admitted(event: &mut shown::Event, before: &Admitted, now: &Admitted) {
    event.users_added = Some(now.users.difference(&before.users).copied().collect());
    event.users_removed = Some(before.users.difference(&now.users).copied().collect());
    event.cgroups_added = Some(now.cgroups.difference(&before.cgroups).cloned().collect());
    event.cgroups_removed = Some(before.cgroups.difference(&now.cgroups).cloned().collect());
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
