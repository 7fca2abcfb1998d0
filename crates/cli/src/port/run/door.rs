//! Lets sockets of supervised programs in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use api::client::{CallError, Client};
use api::ports::{Acquire, Associate, Error, Kind, List, Protocol, Reservation, Token};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use sys::process::{self, PidFd};
use sys::seccomp::{Bind, Listener};

use super::super::block::{Block, Which};
use super::unknown;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// The tokens of some reservations, and the way to have sockets let in.
#[derive(Debug)]
pub(super) struct Door {
    keys: Vec<(Token, Block)>,
    /// Binds to port 0 are let into the first reservation of their protocol.
    assign: bool,
    daemon: Option<Client>,
    /// Sockets whose reservations end with them.
    owners: Vec<OwnedFd>,
}

/// The longest part of a socket address that is looked at: family and port, which stand in the same
/// places in both families (`ip(7)`, `ipv6(7)`).
const FAMILY_AND_PORT: usize = 4;

const AF_INET: u16 = AddressFamily::INET.as_raw();
const AF_INET6: u16 = AddressFamily::INET6.as_raw();

impl Door {
    /// Checks, with sockets of its own, that the caller may let sockets into the reservations.
    pub(super) fn open(session: &Session, which: &[Which], assign: bool) -> Result<Self, Failure> {
        let reservations = session.list(&List::default())?;
        let mut door = Self { keys: Vec::new(), assign, daemon: None, owners: Vec::new() };
        for which in which {
            let found = reservations.iter().find(|reservation| which.is(reservation));
            let token = match (found.map(|found| found.token), which) {
                (Some(Some(token)), _) => token,
                (Some(None), _) => return Err(somebody_elses(found)),
                // A runtime reservation of somebody who told its token.
                (None, Which::Number(number)) => Token::from(*number),
                (None, Which::Block(_)) => return Err(unknown(which)),
            };
            let reservation = door.try_token(session, token)?;
            door.keys.push((token, Block::from(&reservation)));
        }
        Ok(door)
    }

    /// Reserves so many ports for as long as this lives.
    pub(super) fn acquire(
        &mut self,
        session: &Session,
        protocol: Protocol,
        number_of_ports: u16,
        purpose: &str,
    ) -> Result<(), Failure> {
        let owner = unbound(match protocol {
            Protocol::Tcp => SocketType::STREAM,
            Protocol::Udp => SocketType::DGRAM,
        })?;
        let purpose = Some(purpose.to_owned()).filter(|purpose| !purpose.is_empty());
        let call =
            Acquire { socket: 0, start_port: None, number_of_ports, protocol: None, purpose };
        let connection = session.connection().map_err(|error| crate::hints::client(&error))?;
        let daemon = self.daemon.insert(connection);
        let reservation = daemon.call_with(&call, &[owner.as_fd()])?.reservation;
        let token = reservation.token.ok_or_else(|| somebody_elses(Some(&reservation)))?;
        self.keys.push((token, Block::from(&reservation)));
        self.owners.push(owner);
        Ok(())
    }

    /// The ports that are let into.
    pub(super) fn blocks(&self) -> Vec<Block> {
        self.keys.iter().map(|(_, block)| *block).collect()
    }

    /// Lets the socket of a waiting bind in, if its port is one of the reservations'.
    ///
    /// What the caller of bind wrote may change under this: it decides about nothing but whether
    /// the socket is let in, which the program has a right to.
    pub(super) fn admit(
        &mut self,
        session: &Session,
        listener: &Listener,
        bind: &Bind,
    ) -> Result<(), String> {
        let Some(port) = port(bind) else { return Ok(()) };
        if !self.keys.iter().any(|(_, block)| self.opens(block, port)) {
            return Ok(());
        }
        // Programs that do not let themselves be traced (prctl(2), PR_SET_DUMPABLE) and sockets
        // that are none: the kernel refuses the bind in its own words.
        let socket = PidFd::of_thread(bind.thread).and_then(|of| of.descriptor(bind.descriptor));
        let socket = match socket {
            Ok(socket) if listener.is_waiting(bind) => socket,
            Ok(_) => return Ok(()),
            Err(error) => {
                let thread = bind.thread;
                return Err(format!("the socket of process {thread} cannot be had: {error}"));
            }
        };
        let protocol = match rustix::net::sockopt::socket_type(&socket) {
            Ok(SocketType::STREAM) => Protocol::Tcp,
            Ok(SocketType::DGRAM) => Protocol::Udp,
            _ => return Ok(()),
        };
        let opens =
            |(_, block): &&(Token, Block)| block.protocol == protocol && self.opens(block, port);
        let Some((token, _)) = self.keys.iter().find(opens).copied() else { return Ok(()) };
        match self.associate(session, token, socket.as_fd()) {
            Ok(_) => Ok(()),
            // Bound already: the kernel refuses the second bind.
            Err(CallError::Method(Error::SocketNotSupported { .. })) => Ok(()),
            Err(error) => Err(format!("{protocol} port {port} stays closed: {error}")),
        }
    }

    fn opens(&self, block: &Block, port: u16) -> bool {
        block.contains(port) || (port == 0 && self.assign)
    }

    /// The reservation, found by its token with a socket that is bound to nothing.
    fn try_token(&mut self, session: &Session, token: Token) -> Result<Reservation, Failure> {
        let mut refused = None;
        for kind in [SocketType::STREAM, SocketType::DGRAM] {
            match self.associate(session, token, unbound(kind)?.as_fd()) {
                Ok(reservation) => return Ok(reservation),
                // It is of the other protocol.
                Err(error @ CallError::Method(Error::SocketNotSupported { .. })) => {
                    refused = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(refused.map_or_else(|| Failure::new(Exit::Failed, "no socket was tried"), Into::into))
    }

    fn associate(
        &mut self,
        session: &Session,
        token: Token,
        socket: BorrowedFd<'_>,
    ) -> Result<Reservation, CallError<Error>> {
        let call = Associate { token, socket: 0 };
        // The daemon may have been restarted since the last call.
        if let Some(daemon) = &mut self.daemon {
            match daemon.call_with(&call, &[socket]) {
                Err(CallError::Client(_)) => self.daemon = None,
                answer => return answer.map(|reply| reply.reservation),
            }
        }
        let daemon = self.daemon.insert(session.connection()?);
        daemon.call_with(&call, &[socket]).map(|reply| reply.reservation)
    }
}

/// The port that is asked for; `None` if none is, or what is asked cannot be read.
fn port(bind: &Bind) -> Option<u16> {
    let mut start = [0; FAMILY_AND_PORT];
    if bind.thread == 0 || bind.length < FAMILY_AND_PORT {
        return None;
    }
    process::read_memory(bind.thread, bind.address, &mut start).ok()?;
    let [family_0, family_1, port_0, port_1] = start;
    let family = u16::from_ne_bytes([family_0, family_1]);
    matches!(family, AF_INET | AF_INET6).then_some(u16::from_be_bytes([port_0, port_1]))
}

fn unbound(kind: SocketType) -> Result<OwnedFd, Failure> {
    socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)
        .map_err(|error| Failure::new(Exit::Failed, format!("no socket can be had: {error}")))
}

fn somebody_elses(reservation: Option<&Reservation>) -> Failure {
    let failure = Failure::new(Exit::Denied, "the reservation's token is known to its owner alone");
    match reservation.map(|reservation| reservation.kind) {
        Some(Kind::Runtime) => failure.hint("Whoever acquired it can tell the token."),
        _ => failure.hint("Try again with `sudo`."),
    }
}
