use std::os::fd::AsFd;
use std::path::PathBuf;

use api::ports as asked;

use super::{CHANGE, Protocol, Reservation, Token};
use crate::twins::twins;
use crate::{Daemon, Error};

/// A block of ports that is reserved as long as a socket lives.
///
/// The kernel itself frees it with the last descriptor of the socket that acquired it, also when
/// the program is killed or the daemon does not run. Dropping this handle frees nothing.
#[derive(Clone, Debug)]
pub struct RuntimeReservation {
    details: Reservation,
    daemon: Daemon,
}

impl RuntimeReservation {
    twins! {
        /// Reserves any free block of that many ports for the life of `socket`, of whose protocol
        /// they are, and lets the socket in.
        ///
        /// Needs no privilege; [`Error::QuotaExceeded`] is what one user cannot have.
        pub fn acquire / acquire_async(socket: impl AsFd, number_of_ports: u16)
            -> Result<Self, Error>
        {
            wait!(Self::builder(number_of_ports), acquire / acquire_async, (socket))
        }

        /// Lets another socket into the block, before it is bound.
        pub fn associate / associate_async(&self, socket: impl AsFd) -> Result<(), Error> {
            let token = self.token()?;
            wait!(self.daemon, associate / associate_async, (token, socket)).map(drop)
        }

        /// Ends the reservation before its socket does.
        pub fn release / release_async(&self) -> Result<(), Error> {
            let call = asked::Release { token: self.token()? };
            wait!(connect!(self.daemon, Some(CHANGE)).call(&call))?;
            Ok(())
        }
    }

    /// What else there is to say about a reservation before it is made.
    pub fn builder(number_of_ports: u16) -> RuntimeReservationBuilder {
        let call = asked::Acquire {
            socket: 0,
            start_port: None,
            number_of_ports,
            protocol: None,
            purpose: None,
        };
        RuntimeReservationBuilder { call, daemon: Daemon::new() }
    }

    /// The reservation as it was made.
    pub fn details(&self) -> &Reservation {
        &self.details
    }

    /// Opens the reservation to other sockets of the same user.
    ///
    /// Fails with [`Error::InvalidToken`] if the daemon did not tell it.
    pub fn token(&self) -> Result<Token, Error> {
        self.details.token.ok_or(Error::InvalidToken)
    }

    /// The daemon that is asked.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

/// A runtime reservation to be made.
///
/// ```no_run
/// use iphelper::RuntimeReservation;
/// use socket2::{Domain, Socket, Type};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
/// let block = RuntimeReservation::builder(4).start_port(50_000).purpose("call 17");
/// let reservation = block.acquire(&socket)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is reserved before `acquire`"]
pub struct RuntimeReservationBuilder {
    call: asked::Acquire,
    daemon: Daemon,
}

impl RuntimeReservationBuilder {
    /// The first port; any free block when not said.
    pub fn start_port(mut self, start_port: u16) -> Self {
        self.call.start_port = Some(start_port);
        self
    }

    /// Insists on the protocol of the socket: one of another is refused.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.call.protocol = Some(protocol);
        self
    }

    /// What it is for: shown to whoever runs into it.
    pub fn purpose(mut self, purpose: impl Into<String>) -> Self {
        self.call.purpose = Some(purpose.into());
        self
    }

    /// Asks the daemon that listens at that socket.
    pub fn at(mut self, socket: impl Into<PathBuf>) -> Self {
        self.daemon = Daemon::at(socket);
        self
    }

    twins! {
        /// Makes it: see [`RuntimeReservation::acquire`].
        pub fn acquire / acquire_async(self, socket: impl AsFd) -> Result<RuntimeReservation, Error> {
            let socket = [socket.as_fd()];
            let reply = wait!(connect!(self.daemon, Some(CHANGE)).call_with(&self.call, &socket))?;
            Ok(RuntimeReservation { details: reply.reservation, daemon: self.daemon })
        }
    }
}
