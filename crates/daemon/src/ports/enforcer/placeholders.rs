//! Where there can be no guard: sockets of the daemon on the reserved ports.
//!
//! They are bound to all addresses and do nothing, so that whoever else binds a port of theirs gets
//! `EADDRINUSE`, with `SO_REUSEADDR` and `SO_REUSEPORT` too. Nobody can be let in.

use std::collections::BTreeMap;
use std::io;

use engine::{Reason, Refused};
use ports::{Admitted, Block, EffectError, Id, Kind, Protocol, Refusal, Reservation};

use crate::refusal::refused;

/// What they cannot do, a sentence each.
pub(super) const LIMITS: [&str; 4] = [
    "sockets of the daemon sit on the reserved ports: nobody can be let in, by token, user or \
     control group",
    "strangers get EADDRINUSE, and are not reported",
    "there are no runtime reservations and no dry runs",
    "the ports are free while the daemon does not run",
];

/// The sockets, by reservation.
#[derive(Debug)]
pub(super) struct Placeholders<S> {
    held: BTreeMap<Id, Held<S>>,
}

#[derive(Debug)]
struct Held<S> {
    protocol: Protocol,
    sockets: BTreeMap<u16, S>,
}

impl<S> Default for Placeholders<S> {
    fn default() -> Self {
        Self { held: BTreeMap::new() }
    }
}

impl<S> Placeholders<S> {
    /// Sits on all ports of a block, or on none, with [`EffectError::InUse`] if somebody else has one.
    pub(super) fn insert(
        &mut self,
        reservation: &Reservation,
        mut occupy: impl FnMut(Protocol, u16) -> io::Result<S>,
    ) -> Result<(), EffectError> {
        check(reservation)?;
        let mut sockets = BTreeMap::new();
        for port in reservation.block.ports() {
            match occupy(reservation.protocol, port) {
                Ok(socket) => _ = sockets.insert(port, socket),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(EffectError::InUse(port));
                }
                Err(error) => {
                    return Err(
                        refused(format_args!("a placeholder on port {port}"), &error).into()
                    );
                }
            }
        }
        let held = Held { protocol: reservation.protocol, sockets };
        self.held.insert(reservation.id, held);
        Ok(())
    }

    /// Sits on the ports of these alone, as far as they are free.
    pub(super) fn enforce(
        &mut self,
        reservations: &[Reservation],
        mut occupy: impl FnMut(Protocol, u16) -> io::Result<S>,
    ) -> Result<(), Refused> {
        let mut short = Ok(());
        let is_wanted = |id: &Id| reservations.iter().any(|reservation| reservation.id == *id);
        self.held.retain(|id, _| is_wanted(id));
        for reservation in reservations.iter().filter(|one| one.kind == Kind::Persistent) {
            let protocol = reservation.protocol;
            let empty = || Held { protocol, sockets: BTreeMap::new() };
            let held = self.held.entry(reservation.id).or_insert_with(empty);
            for port in reservation.block.ports() {
                if held.sockets.contains_key(&port) {
                    continue;
                }
                match occupy(protocol, port) {
                    Ok(socket) => _ = held.sockets.insert(port, socket),
                    Err(error) => {
                        let what = format_args!("{protocol} port {port} is not reserved");
                        let refused = refused(what, &error);
                        match refused.reason {
                            Reason::Shortage => short = Err(refused),
                            _ => tracing::warn!("{refused}"),
                        }
                    }
                }
            }
        }
        short
    }

    /// Leaves the ports of a reservation.
    pub(super) fn remove(&mut self, id: Id) {
        self.held.remove(&id);
    }

    /// Leaves the ports of a block.
    pub(super) fn make_way(&mut self, protocol: Protocol, block: Block) {
        for held in self.held.values_mut().filter(|held| held.protocol == protocol) {
            held.sockets.retain(|port, _| !block.contains(*port));
        }
    }
}

/// Why nobody can be let in.
pub(super) fn cannot_admit() -> EffectError {
    EffectError::TooWeak("placeholders let nobody in".to_owned())
}

/// Whether a reservation asks for nothing that takes a guard.
fn check(reservation: &Reservation) -> Result<(), EffectError> {
    if reservation.kind == Kind::Runtime {
        return Err(EffectError::TooWeak(
            "placeholders do not notice when a socket closes".to_owned(),
        ));
    }
    if reservation.admitted != Admitted::default() {
        return Err(cannot_admit());
    }
    if reservation.dry_run {
        return Err(EffectError::TooWeak("placeholders refuse, and do not report".to_owned()));
    }
    if reservation.refusal != Refusal::AddressInUse {
        return Err(EffectError::TooWeak("strangers get EADDRINUSE and nothing else".to_owned()));
    }
    Ok(())
}
