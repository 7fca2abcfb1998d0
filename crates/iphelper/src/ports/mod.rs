//! Blocks of ports that only their owner's programs may bind.
//!
//! ```no_run
//! use iphelper::{PortReservation, Protocol};
//! use socket2::{Domain, Socket, Type};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // By an administrator: 5000 to 5019 are taken from everybody.
//! let reservation = PortReservation::create(Protocol::Tcp, 5000, 20)?;
//!
//! // A socket that is not bound yet is let in.
//! let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
//! reservation.associate(&socket)?;
//! // Now bind(2) takes a port of the block, and for port 0 a free one of it.
//! socket.bind(&"[::]:0".parse::<std::net::SocketAddr>()?.into())?;
//! # Ok(())
//! # }
//! ```
//!
//! A reservation lasts over restarts of the daemon and the machine until it is
//! [deleted](PortReservation::delete). Its block finds it again:
//! [`PortReservation::lookup`]. Creating and deleting need the privileges that all changes need;
//! looking up does not. Associating needs them too, or to be the reservation's owner or one of its
//! users.
//!
//! # Who holds a port, who was refused
//!
//! ```no_run
//! use iphelper::{Error, PortReservation, Protocol, ports};
//!
//! # fn main() -> Result<(), iphelper::Error> {
//! match PortReservation::create(Protocol::Tcp, 8000, 100) {
//!     Err(Error::SharingViolation { port, holder: Some(holder), .. }) => {
//!         println!("{port} is {holder}");
//!     }
//!     Err(Error::SharingViolation { port, reservation: Some(reservation), .. }) => {
//!         println!("{port} belongs to {reservation}");
//!     }
//!     other => println!("{:?}", other?.details()),
//! }
//! for reservation in ports::list()? {
//!     println!("{reservation}, {} refused", reservation.denials);
//! }
//! for denial in ports::denials(0)? {
//!     let denial = denial?;
//!     println!("{} wanted {} {}", denial.who, denial.protocol, denial.port);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # For as long as a socket lives
//!
//! ```no_run
//! use iphelper::RuntimeReservation;
//! use socket2::{Domain, Socket, Type};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
//! // Ten ports in a row, wherever they are free; no privilege needed.
//! let reservation = RuntimeReservation::acquire(&socket, 10)?;
//! println!("{}", reservation.details());
//! // It ends with the last descriptor of the socket, even if this program is killed.
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "async")]
mod asynchronous;
mod persistent;
mod runtime;

use std::os::fd::AsFd;
use std::time::Duration;

use api::ports as asked;

#[cfg(feature = "async")]
pub use asynchronous::{
    associate_async, denials_async, holders_async, list_async, status_async, watch_async,
};
pub use persistent::{PortReservation, PortReservationBuilder};
pub use runtime::{RuntimeReservation, RuntimeReservationBuilder};

pub use api::ports::{
    Denial, Event, EventKind, Guard, GuardLevel, Holder, Id, InvalidNumber, Kind, Protocol,
    Refusal, Reservation, StatusReply as Status, Token, Who,
};

use crate::stream::stream;
use crate::{Daemon, Error};

/// How long the daemon may take over a change: it looks for holders, and waits for the disk.
const CHANGE: Duration = Duration::from_secs(35);

/// All reservations, by protocol and port; from [`Daemon::new`].
pub fn list() -> Result<Vec<Reservation>, Error> {
    Daemon::new().port_reservations()
}

/// Lets a socket into the block of that token, before it is bound; from [`Daemon::new`].
///
/// For programs that were given a token. Those that know the block ask
/// [`PortReservation::lookup`].
pub fn associate(token: Token, socket: impl AsFd) -> Result<Reservation, Error> {
    Daemon::new().associate(token, socket)
}

/// Who sits on which port; from [`Daemon::new`].
pub fn holders(filter: &HolderFilter) -> Result<Vec<Holder>, Error> {
    Daemon::new().port_holders(filter)
}

/// Refused binds as they happen, after at most `recent` of the past; from [`Daemon::new`].
pub fn denials(recent: u32) -> Result<Denials, Error> {
    Daemon::new().port_denials(recent)
}

/// What happens to reservations, from now on; from [`Daemon::new`].
pub fn watch() -> Result<Events, Error> {
    Daemon::new().watch_ports()
}

/// How reservations are enforced now; from [`Daemon::new`].
pub fn status() -> Result<Status, Error> {
    Daemon::new().port_status()
}

/// Which ports are asked about; all there are by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolderFilter {
    /// Both when `None`.
    pub protocol: Option<Protocol>,
    /// The first port.
    pub start_port: Option<u16>,
    /// How many from there on; one when `None`.
    pub number_of_ports: Option<u16>,
    /// On reserved ports only.
    pub reserved: bool,
}

impl HolderFilter {
    fn call(&self) -> asked::Holders {
        let Self { protocol, start_port, number_of_ports, reserved } = *self;
        asked::Holders { protocol, start_port, number_of_ports, reserved: Some(reserved) }
    }
}

/// Port reservations.
impl Daemon {
    /// All reservations, by protocol and port.
    pub fn port_reservations(&self) -> Result<Vec<Reservation>, Error> {
        let replies = self.client(None)?.call_more(&asked::List::default());
        listed(replies.map_err(Error::from), |reply| reply.reservation)
    }

    /// Finds the persistent reservation of exactly this block.
    pub fn port_reservation(
        &self,
        protocol: Protocol,
        start_port: u16,
        number_of_ports: u16,
    ) -> Result<PortReservation, Error> {
        let call = asked::Lookup { protocol, start_port, number_of_ports };
        let reply = self.client(None)?.call(&call)?;
        Ok(PortReservation::new(reply, self.clone()))
    }

    /// Lets a socket into the block of that token, before it is bound.
    pub fn associate(&self, token: Token, socket: impl AsFd) -> Result<Reservation, Error> {
        let call = asked::Associate { token, socket: 0 };
        let reply = self.client(None)?.call_with(&call, &[socket.as_fd()])?;
        Ok(reply.reservation)
    }

    /// Who sits on which port, reserved or not, by protocol and port.
    pub fn port_holders(&self, filter: &HolderFilter) -> Result<Vec<Holder>, Error> {
        let replies = self.client(None)?.call_more(&filter.call());
        listed(replies.map_err(Error::from), |reply| reply.holder)
    }

    /// Refused binds as they happen, after at most `recent` of the past, oldest first.
    pub fn port_denials(&self, recent: u32) -> Result<Denials, Error> {
        let call = asked::Denials { recent: Some(recent) };
        Ok(Denials::new(self.client(None)?.stream(&call)?))
    }

    /// What happens to reservations, from now on; first an event of kind [`EventKind::State`] for
    /// each there is.
    pub fn watch_ports(&self) -> Result<Events, Error> {
        Ok(Events::new(self.client(None)?.stream(&asked::Monitor {})?))
    }

    /// How reservations are enforced now.
    pub fn port_status(&self) -> Result<Status, Error> {
        Ok(self.client(None)?.call(&asked::Status {})?)
    }
}

stream! {
    asked::Denials, |reply| reply.denial => Denial;

    /// Refused binds as they happen.
    ///
    /// A program that takes them too slowly misses some: [`Denial::suppressed`] says how many. Ends
    /// after an error, of which [`Error::Cancelled`] and [`Error::Closed`] mean that the daemon
    /// ended.
    pub struct Denials;

    /// Refused binds as they happen; as [`Denials`].
    pub struct AsyncDenials;
}

stream! {
    asked::Monitor, |reply| reply.event => Event;

    /// What happens to reservations, as it happens.
    ///
    /// A program that takes it too slowly misses some, and is told by one of kind
    /// [`EventKind::Resync`]; what there is then follows anew. Ends after an error, of which
    /// [`Error::Cancelled`] and [`Error::Closed`] mean that the daemon ended.
    pub struct Events;

    /// What happens to reservations, as it happens; as [`Events`].
    pub struct AsyncEvents;
}

/// A list is empty where the daemon says that there is nothing.
fn listed<R, T>(replies: Result<Vec<R>, Error>, object: impl Fn(R) -> T) -> Result<Vec<T>, Error> {
    match replies {
        Ok(replies) => Ok(replies.into_iter().map(object).collect()),
        Err(Error::NoSuchReservation) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
