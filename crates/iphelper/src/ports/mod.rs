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

mod persistent;
mod runtime;

use std::os::fd::AsFd;
use std::time::Duration;

use api::ports as asked;

pub use persistent::{PortReservation, PortReservationBuilder};
pub use runtime::{RuntimeReservation, RuntimeReservationBuilder};

pub use api::ports::{
    Denial, Event as ReservationEvent, EventKind as ReservationEventKind, Guard, GuardLevel,
    Holder, Id, InvalidNumber, Kind, Protocol, Refusal, Reservation, StatusReply as Status, Token,
    Who,
};

use crate::stream::{OfReplies, stream};
use crate::twins::twins;
use crate::{Daemon, Error};

/// How long the daemon may take over a change: it looks for holders, and waits for the disk.
const CHANGE: Duration = Duration::from_secs(35);

twins! {
    /// All reservations, by protocol and port; from [`Daemon::new`].
    pub fn list / list_async() -> Result<Vec<Reservation>, Error> {
        wait!(Daemon::new(), port_reservations / port_reservations_async, ())
    }

    /// Lets a socket into the block of that token, before it is bound; from [`Daemon::new`].
    ///
    /// For programs that were given a token. Those that know the block ask
    /// [`PortReservation::lookup`].
    pub fn associate / associate_async(token: Token, socket: impl AsFd) -> Result<Reservation, Error> {
        wait!(Daemon::new(), associate / associate_async, (token, socket))
    }

    /// Who sits on which port; from [`Daemon::new`].
    pub fn holders / holders_async(filter: &HolderFilter) -> Result<Vec<Holder>, Error> {
        wait!(Daemon::new(), port_holders / port_holders_async, (filter))
    }

    /// Refused binds as they happen, after at most `recent` of the past; from [`Daemon::new`].
    pub fn denials / denials_async(recent: u32)
        -> Result<Denials, Error> => Result<AsyncDenials, Error>
    {
        wait!(Daemon::new(), port_denials / port_denials_async, (recent))
    }

    /// What happens to reservations, from now on; from [`Daemon::new`].
    pub fn watch / watch_async() -> Result<Events, Error> => Result<AsyncEvents, Error> {
        wait!(Daemon::new(), watch_ports / watch_ports_async, ())
    }

    /// How reservations are enforced now; from [`Daemon::new`].
    pub fn status / status_async() -> Result<Status, Error> {
        wait!(Daemon::new(), port_status / port_status_async, ())
    }
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
    twins! {
        /// All reservations, by protocol and port.
        pub fn port_reservations / port_reservations_async(&self)
            -> Result<Vec<Reservation>, Error>
        {
            Ok(wait!(connect!(self, None).list(&asked::List::default()))?)
        }

        /// Finds the persistent reservation of exactly this block.
        pub fn port_reservation / port_reservation_async(
            &self,
            protocol: Protocol,
            start_port: u16,
            number_of_ports: u16,
        ) -> Result<PortReservation, Error> {
            let call = asked::Lookup { protocol, start_port, number_of_ports };
            let reply = wait!(connect!(self, None).call(&call))?;
            Ok(PortReservation::new(reply, self.clone()))
        }

        /// Lets a socket into the block of that token, before it is bound.
        pub fn associate / associate_async(&self, token: Token, socket: impl AsFd)
            -> Result<Reservation, Error>
        {
            let call = asked::Associate { token, socket: 0 };
            let socket = [socket.as_fd()];
            Ok(wait!(connect!(self, None).call_with(&call, &socket))?.reservation)
        }

        /// Who sits on which port, reserved or not, by protocol and port.
        pub fn port_holders / port_holders_async(&self, filter: &HolderFilter)
            -> Result<Vec<Holder>, Error>
        {
            Ok(wait!(connect!(self, None).list(&filter.call()))?)
        }

        /// Refused binds as they happen, after at most `recent` of the past, oldest first.
        pub fn port_denials / port_denials_async(&self, recent: u32)
            -> Result<Denials, Error> => Result<AsyncDenials, Error>
        {
            let call = asked::Denials { recent: Some(recent) };
            Ok(OfReplies::of(wait!(connect!(self, None).stream(&call))?))
        }

        /// What happens to reservations, from now on; first an event of kind [`ReservationEventKind::State`]
        /// for each there is.
        pub fn watch_ports / watch_ports_async(&self)
            -> Result<Events, Error> => Result<AsyncEvents, Error>
        {
            Ok(OfReplies::of(wait!(connect!(self, None).stream(&asked::Monitor {}))?))
        }

        /// How reservations are enforced now.
        pub fn port_status / port_status_async(&self) -> Result<Status, Error> {
            Ok(wait!(connect!(self, None).call(&asked::Status {}))?)
        }
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
    asked::Monitor, |reply| reply.event => ReservationEvent;

    /// What happens to reservations, as it happens.
    ///
    /// A program that takes it too slowly misses some, and is told by one of kind
    /// [`ReservationEventKind::Resync`]; what there is then follows anew. Ends after an error, of which
    /// [`Error::Cancelled`] and [`Error::Closed`] mean that the daemon ended.
    pub struct Events;

    /// What happens to reservations, as it happens; as [`Events`].
    pub struct AsyncEvents;
}
