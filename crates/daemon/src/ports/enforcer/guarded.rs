//! Which writes to a guard's maps a reservation takes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use engine::Refused;
use ports::guard::{Features, Row};
use ports::{
    Admitted, Done, EffectResult, Id, Kind, Owner, Protocol, Reservation, Terms, Unrecorded,
};

use super::Kernel;
use crate::ports::guard::Guard;
use crate::ports::store::Unread;
use crate::ports::sysctl::PortSet;
use crate::refusal::refused;

/// Has the guard enforce exactly these, and those that are enforced and whose record cannot be read.
/// One that cannot be enforced does not keep the others from it; the error names all of them.
pub(super) fn enforce<K: Kernel>(
    kernel: &mut K,
    guard: &Guard<K::Installation>,
    reservations: &[Reservation],
    unread: &Unread,
) -> EffectResult {
    let rows = guard.reservations().map_err(|error| refused("the guard", &error))?;
    let mut rows: BTreeMap<Id, Row> = rows.into_iter().collect();
    let (mut ended, mut unrecorded, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let reserved = |protocol| reservations.iter().filter(move |one| one.protocol == protocol);
    let ports = |protocol| reserved(protocol).map(|one| one.block.ports()).collect::<PortSet>();
    let (tcp, udp) = (ports(Protocol::Tcp), ports(Protocol::Udp));
    let is_free = |row: &Row| {
        let taken = if row.protocol == Protocol::Tcp { &tcp } else { &udp };
        !row.block.ports().any(|port| taken.contains(port))
    };
    let wanted: BTreeSet<Id> = reservations.iter().map(|reservation| reservation.id).collect();
    let unwanted: Vec<Id> = rows.keys().filter(|id| !wanted.contains(id)).copied().collect();
    for id in unwanted {
        let Some(row) = rows.remove(&id) else { continue };
        if unread.contains(id) && is_free(&row) {
            unrecorded.push(as_enforced(kernel, guard, id, &row));
        } else if let Err(error) = guard.remove(id, row.protocol, row.block) {
            failed.push(format!("reservation {id} cannot be removed: {error}"));
        }
    }
    for reservation in reservations {
        let id = reservation.id;
        let present = rows.get(&id);
        if present.is_none() && reservation.kind == Kind::Runtime {
            ended.push(id);
        } else if let Err(error) = put(kernel, guard, reservation, present) {
            failed.push(format!("reservation {id} cannot be enforced as it should be: {error}"));
        }
    }
    match failed.is_empty() {
        true => Ok(Done::Enforced { ended, unrecorded }),
        false => Err(Refused::other(failed.join("; ")).into()),
    }
}

/// A reservation without a record, as the guard has it. Control groups have no names there but their
/// paths, and those that are gone are let in no more.
fn as_enforced<K: Kernel>(
    kernel: &mut K,
    guard: &Guard<K::Installation>,
    id: Id,
    row: &Row,
) -> Unrecorded {
    let (users, groups) = guard.admitted(id);
    let groups: Vec<u64> = groups.into_iter().collect();
    let paths = kernel.cgroup_paths(&groups);
    let terms = Terms {
        owner: Owner { uid: row.owner, is_privileged: row.owner == 0, ..Owner::default() },
        purpose: None,
        created_at: kernel.now(),
        expires_at: row.expires_at,
        refusal: Some(row.refusal),
        dry_run: row.dry_run,
        low_ports: row.low_ports,
        admitted: Admitted {
            users: users.into_iter().filter_map(|user| user.try_into().ok()).collect(),
            cgroups: paths.into_iter().flatten().collect(),
        },
    };
    let kind = if row.runtime { Kind::Runtime } else { Kind::Persistent };
    Unrecorded { id, protocol: row.protocol, block: row.block, kind, terms }
}

/// Puts a reservation in force, with those who need no token. `present` is its row, if it has one.
pub(super) fn put<K: Kernel>(
    kernel: &mut K,
    guard: &Guard<K::Installation>,
    reservation: &Reservation,
    present: Option<&Row>,
) -> io::Result<()> {
    // Whoever is let in already stays so meanwhile.
    let row = Row {
        protocol: reservation.protocol,
        block: reservation.block,
        refusal: reservation.refusal,
        dry_run: reservation.dry_run,
        low_ports: reservation.low_ports,
        runtime: reservation.kind == Kind::Runtime,
        users: present.is_some_and(|row| row.users),
        cgroups: present.is_some_and(|row| row.cgroups),
        owner: reservation.owner.uid,
        expires_at: reservation.expires_at,
        denials: 0,
    };
    if reservation.low_ports && !guard.features().contains(Features::LOW_PORTS) {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel cannot let sockets bind below 1024 without CAP_NET_BIND_SERVICE",
        ));
    }
    guard.insert(reservation.id, &row)?;
    if present.is_none() && reservation.admitted == Admitted::default() {
        return Ok(());
    }
    admit(kernel, guard, reservation)
}

/// Lets in exactly those who need no token.
pub(super) fn admit<K: Kernel>(
    kernel: &mut K,
    guard: &Guard<K::Installation>,
    reservation: &Reservation,
) -> io::Result<()> {
    let users: Vec<u32> = reservation.admitted.users.iter().copied().collect();
    guard.set_users(reservation.id, &users)?;
    if !reservation.admitted.cgroups.is_empty() && !guard.features().contains(Features::CGROUPS) {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel cannot tell control groups at a bind",
        ));
    }
    guard.set_cgroups(reservation.id, &kernel.cgroups(reservation))
}
