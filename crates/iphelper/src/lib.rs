//! IP Helper for Linux.
//!
//! A host's addresses come from leases. This crate asks iphelperd, the daemon that holds them, to
//! obtain, extend, give back and show them, and every call tells its outcome: the lease with the
//! server that granted it, or which of the things that can go wrong did. The same daemon reserves
//! blocks of [`ports`] for their owners. The [`tables`] of interfaces, addresses, routes and
//! neighbours need no daemon.
//!
//! ```no_run
//! # fn main() -> Result<(), iphelper::Error> {
//! let lease = iphelper::Lease::of("eth0")?;
//!
//! let acquired = lease.acquire()?;
//! for binding in &acquired.lease.bindings {
//!     println!("{binding} until {:?}", binding.expires_at);
//! }
//!
//! let renewed = lease.renew()?;
//! println!("next at {:?}, asked by {}", renewed.lease.renew_at, renewed.via);
//!
//! let released = lease.release()?;
//! println!("{:?} given back to {}", released.bindings, released.server);
//! # Ok(())
//! # }
//! ```
//!
//! # Which daemon
//!
//! The socket given with [`Lease::at`] or [`Daemon::at`]; else the one named by the environment
//! variable `IPHELPER_SOCKET`; else [`DEFAULT_SOCKET`]. Reading is open to every local user.
//! Changing anything needs uid 0, the daemon's own uid, or membership of the group that its
//! configuration names: others get [`Error::AccessDenied`], which says so.
//!
//! # How long
//!
//! [`Lease::acquire`], [`Lease::renew`], [`Lease::release`] and [`Lease::inform`] answer when
//! everything they mean is done: the lease is in use and on disk, or it is gone and so are its
//! routes. They wait up to 30 seconds, or as [`Lease::timeout`] says. What was begun goes on after
//! that: a client that found no server keeps looking for one.
//!
//! # What went wrong
//!
//! One enum, [`Error`], with a variant for each thing a program may want to treat in its own way.
//! Variants may be added; [`Error::kind`] sorts them into [`ErrorKind`]s, whose list is complete.
//!
//! ```no_run
//! use iphelper::{Error, Lease};
//!
//! match Lease::of("eth0").and_then(|lease| lease.renew()) {
//!     Ok(renewed) => println!("extended by {:?}", renewed.lease.server),
//!     Err(Error::NoAnswer { waited, tries, .. }) => {
//!         println!("nobody answered {tries} tries in {waited:?}; the lease stays in use");
//!     }
//!     Err(Error::Refused { server, message, .. }) => {
//!         println!("{server} said no: {}", message.unwrap_or_default());
//!     }
//!     Err(Error::Unreachable { path, .. }) => println!("nobody at {}", path.display()),
//!     Err(error) => println!("{error}"),
//! }
//! ```
//!
//! # What there is, and what happens
//!
//! ```no_run
//! # fn main() -> Result<(), iphelper::Error> {
//! for lease in iphelper::leases()? {
//!     println!("{} is {}", lease.interface, lease.state);
//! }
//! for event in iphelper::watch()? {
//!     println!("{}", event?.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A stream waits for as long as the daemon runs. `next_within` waits for a bounded time, and tells
//! by [`Next`] a time that is over from the end; a [`Stopper`] ends the stream from another thread.
//!
//! ```no_run
//! # fn main() -> Result<(), iphelper::Error> {
//! let events = iphelper::watch()?;
//! let stopper = events.stopper();
//! let watching = std::thread::spawn(move || events.for_each(|event| println!("{event:?}")));
//! // When the program is to end:
//! stopper.stop();
//! let _ = watching.join();
//! # Ok(())
//! # }
//! ```
//!
//! # Blocking and awaiting
//!
//! The calls above block the thread. With feature `async` each has a twin for tokio, whose name
//! ends in `_async`: [`Lease::renew`] and `Lease::renew_async`.

mod daemon;
mod error;
mod lease;
pub mod ports;
mod stream;
pub mod tables;
mod twins;

pub use ::tables::{ErrorKind, Next};
pub use api::DEFAULT_SOCKET;
pub use api::client::Stopper;
pub use api::lease::{
    AcquireReply, Binding, DhcpOption, Event as LeaseEvent, EventKind as LeaseEventKind,
    Family as LeaseFamily, InformReply, LeaseInfo, ReleaseReply, RenewReply, Route as LeaseRoute,
    Server, State as LeaseState, Via,
};
pub use api::{InvalidTime, Time};
#[cfg(feature = "async")]
pub use daemon::{AsyncEvents, leases_async, watch_async};
pub use daemon::{Daemon, Events, leases, watch};
pub use error::Error;
pub use lease::Lease;
pub use ports::{PortReservation, Protocol, RuntimeReservation};
