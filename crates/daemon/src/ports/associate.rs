//! Giving a socket its grant.

use std::os::fd::AsFd as _;

use ::ports::{Done, EffectError, EffectResult, Id, Kind, Protocol, Token};
use api::ports::{self as asked, Error, GuardLevel};
use api::server::Descriptor;
use engine::{CommandId, Refused};
use sys::inet;

use super::handle::Described;
use super::{Ports, view};
use crate::access::Caller;
use crate::refusal::refused;

impl Ports {
    /// Gives a socket its grant, if the token is right and the caller may use it.
    pub(super) fn associate(
        &mut self,
        caller: &Caller,
        token: asked::Token,
        socket: &Described,
    ) -> Result<Box<asked::Reservation>, Error> {
        let token = Token::new(token.into()).ok_or(Error::InvalidToken)?;
        let opened = self.manager.open(token, self.caller(caller));
        let reservation = opened.map_err(|failure| view::error(failure, self.level()))?;
        let protocol = self.usable(socket)?;
        if protocol != reservation.protocol {
            return Err(unsupported(format!(
                "it is a {protocol} socket, and the ports are of {}",
                reservation.protocol
            )));
        }
        let guard = self.guard.as_ref();
        let Some(guard) = guard else {
            let reason = "without a guard in the kernel no socket can be let in".to_owned();
            return Err(Error::GuardTooWeak { level: self.level(), reason });
        };
        let granted = guard.grant(socket.descriptor.as_fd(), reservation.id, false);
        granted.map_err(|error| match error.kind() {
            std::io::ErrorKind::Unsupported => {
                unsupported("this kernel cannot let MPTCP sockets in".to_owned())
            }
            _ => Error::Host { reason: format!("the guard: {error}") },
        })?;
        Ok(self.shown(reservation, caller))
    }

    /// Whose ports a socket binds, if it is one that can be let in.
    pub(super) fn usable(&self, socket: &Described) -> Result<Protocol, Error> {
        let described = &socket.description;
        if !matches!(described.domain, inet::AF_INET | inet::AF_INET6) {
            return Err(unsupported("it is neither an IPv4 nor an IPv6 socket".to_owned()));
        }
        let protocol = match (described.kind, described.protocol) {
            (inet::SOCK_STREAM, inet::IPPROTO_TCP | inet::IPPROTO_MPTCP) => Protocol::Tcp,
            (inet::SOCK_DGRAM, inet::IPPROTO_UDP) => Protocol::Udp,
            _ => return Err(unsupported("it is neither a TCP nor a UDP socket".to_owned())),
        };
        if described.network.is_some_and(|network| network != self.network) {
            let reason = "it is of another network namespace than the daemon";
            return Err(unsupported(reason.to_owned()));
        }
        match described.port {
            Some(port) => Err(unsupported(format!("it is bound to port {port} already"))),
            None => Ok(protocol),
        }
    }

    /// The runtime reservation in force that ends with a socket.
    pub(super) fn owned_by(&self, socket: &Descriptor) -> Option<Id> {
        let guard = self.guard.as_ref()?;
        let owned = guard.state(socket.as_fd()).ok()?.owned?;
        guard.row(owned).ok()?.map(|_| owned)
    }

    /// Makes the socket of a command the owner of a reservation.
    pub(super) fn own(&self, command: CommandId, id: Id) -> EffectResult {
        let socket = self.pending.get(&command).and_then(|pending| pending.socket.as_ref());
        let guard = self.guard.as_ref();
        let (Some(socket), Some(guard)) = (socket, guard) else {
            return Err(EffectError::TooWeak(
                "nobody would notice when the socket closes".to_owned(),
            ));
        };
        match guard.grant(socket.as_fd(), id, true) {
            Ok(()) => Ok(Done::Done),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Refused::other("the socket owns another reservation").into())
            }
            Err(error) => Err(refused("the guard", &error).into()),
        }
    }

    /// Ends the runtime reservations that the guard has ended.
    pub(super) fn notice_closed(&mut self) {
        match self.guard_events {
            Some(_) => self.on_guard_events(),
            None => self.look_for_closed(),
        }
    }

    /// The same for all that the guard could not tell of: it asks the kernel for each.
    pub(super) fn look_for_closed(&mut self) {
        let guard = self.guard.clone();
        let Some(guard) = guard else { return };
        let runtime = self.manager.reservations().filter(|one| one.kind == Kind::Runtime);
        let is_over = |id: &Id| guard.row(*id).is_ok_and(|row| row.is_none());
        let over: Vec<Id> = runtime.map(|one| one.id).filter(is_over).collect();
        for id in over {
            self.tell(::ports::Input::Closed(id));
        }
    }

    pub(super) fn level(&self) -> GuardLevel {
        self.enforcement.as_ref().map_or(GuardLevel::None, |found| found.level.clone())
    }
}

/// Why a socket could not be described.
pub(super) fn not_described(error: &std::io::Error) -> Error {
    unsupported(match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::NOTSOCK.raw_os_error() => {
            "it is not a socket".to_owned()
        }
        _ => error.to_string(),
    })
}

pub(super) fn unsupported(reason: String) -> Error {
    Error::SocketNotSupported { reason }
}
