//! The part of the story about a block of ports.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use api::client::{CallError, Client};
use api::ports::{
    Associate, Create, Delete, Denials, Error as Refused, GuardLevel, Protocol, Reservation, Status,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{PATIENCE, Story, check, milliseconds};
use crate::error::{Context as _, Error, Result};

const FIRST_PORT: u16 = 5000;
const COUNT: u16 = 20;
/// The one that a stranger wants.
const WANTED: u16 = 5003;

impl Story<'_> {
    /// A block is reserved, a stranger refused, a socket let in, and the block released.
    ///
    /// In a user namespace the kernel lets nobody guard ports: what stands in for it there is told,
    /// and what that cannot do.
    pub(super) fn ports(&mut self) -> Result<()> {
        let start = Instant::now();
        let create = Create {
            purpose: Some("the lab".into()),
            ..Create::new(Protocol::Tcp, FIRST_PORT, COUNT)
        };
        let reservation = match self.try_call(&create)? {
            Ok(reply) => reply.reservation,
            Err(error @ Refused::GuardTooWeak { .. }) => {
                return self.step("reserve", &format!("not here: {error}"));
            }
            Err(error) => return Err(Error::Story(format!("reserving: {error}"))),
        };
        let took = milliseconds(start.elapsed());
        let guard = self.call(&Status {})?.guard;
        let last = FIRST_PORT + COUNT - 1;
        let level = &guard.level;
        let why = match (level, guard.limits.first()) {
            (GuardLevel::Full, _) | (_, None) => String::new(),
            (_, Some(limit)) => format!(" ({limit})"),
        };
        self.step(
            "reserve",
            &format!("tcp {FIRST_PORT} to {last} after {took}; guard: {level}{why}"),
        )?;
        self.stranger(level)?;
        self.let_in(level, &reservation)?;
        self.lift(&reservation)
    }

    /// Root without a token is a stranger too.
    fn stranger(&mut self, level: &GuardLevel) -> Result<()> {
        match self.bind(&self.unbound()?, WANTED)? {
            Ok(_) if *level == GuardLevel::None => {
                self.step("stranger", &format!("nothing guards: tcp {WANTED} could be bound"))
            }
            Ok(_) => Err(Error::Story(format!("a stranger bound tcp {WANTED}"))),
            Err(error) if *level == GuardLevel::Placeholders => {
                self.step("stranger", &format!("root may not bind tcp {WANTED}: {error}"))
            }
            Err(error) => {
                let who = self.denied()?;
                self.step(
                    "stranger",
                    &format!("root may not bind tcp {WANTED}: {error}; seen: {who}"),
                )
            }
        }
    }

    /// Whom the daemon saw refused.
    fn denied(&self) -> Result<String> {
        let failed = |error: CallError<Refused>| Error::Story(format!("refusals: {error}"));
        let client = Client::connect(self.daemon.socket(), Some(PATIENCE));
        let client = client.map_err(|error| failed(error.into()))?;
        let mut replies = client.stream(&Denials { recent: Some(1) }).map_err(failed)?;
        replies.set_timeout(Some(PATIENCE));
        let denial = match replies.next() {
            Some(reply) => reply.map_err(failed)?.denial,
            None => return Err(Error::Story("nobody tells of refusals".into())),
        };
        let pid = std::process::id();
        let own = denial.who.pid.is_none_or(|told| told == pid) && denial.port == WANTED;
        check(own, || format!("another was refused: {denial:?}"))?;
        Ok(match denial.who.program {
            Some(program) => format!("{program} ({pid})"),
            None => format!("uid {}", denial.who.uid),
        })
    }

    fn let_in(&mut self, level: &GuardLevel, reservation: &Reservation) -> Result<()> {
        let none = || Error::Story("the reservation has no token".into());
        let token = reservation.token.ok_or_else(none)?;
        let socket = self.unbound()?;
        match self.try_call_with(&Associate { token, socket: 0 }, &[socket.as_fd()])? {
            Ok(_) => {}
            Err(error @ Refused::GuardTooWeak { .. }) if *level != GuardLevel::Full => {
                return self.step("let in", &format!("not here: {error}"));
            }
            Err(error) => return Err(Error::Story(format!("letting a socket in: {error}"))),
        }
        let port = match self.bind(&socket, 0)? {
            Ok(port) => port,
            Err(error) => return Err(Error::Story(format!("a socket was let in, but {error}"))),
        };
        let block = FIRST_PORT..FIRST_PORT + COUNT;
        check(block.contains(&port), || format!("port 0 became {port}, of no block"))?;
        let wanted = self.unbound()?;
        self.call_with(&Associate { token, socket: 0 }, &[wanted.as_fd()])?;
        let bound = self.bind(&wanted, WANTED)?;
        check(bound.is_ok(), || format!("a socket was let in, but {bound:?}"))?;
        self.step(
            "let in",
            &format!("sockets with the token: port 0 became tcp {port}, and {WANTED} is bound"),
        )
    }

    fn lift(&mut self, reservation: &Reservation) -> Result<()> {
        let Reservation { protocol, start_port, number_of_ports, .. } = *reservation;
        let start = Instant::now();
        self.call(&Delete { protocol, start_port, number_of_ports, kill: None })?;
        let took = milliseconds(start.elapsed());
        let bound = self.bind(&self.unbound()?, WANTED)?;
        check(bound.is_ok(), || format!("released, but: {bound:?}"))?;
        self.step("release", &format!("after {took} anybody binds tcp {WANTED} again"))
    }

    /// A socket of the client's host.
    fn unbound(&self) -> Result<OwnedFd> {
        let make = || {
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(io::Error::from)
        };
        self.stage.client.run(make)?.context("socket")
    }

    /// Binds it, and returns the port it got.
    fn bind(&self, socket: &OwnedFd, port: u16) -> Result<io::Result<u16>> {
        let bind = || {
            rustix::net::bind(socket, &std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
            let name = std::net::SocketAddrV4::try_from(rustix::net::getsockname(socket)?)?;
            Ok(name.port())
        };
        self.stage.client.run(bind)
    }
}
