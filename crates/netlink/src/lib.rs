//! rtnetlink without I/O: what programs and the kernel say to each other about interfaces,
//! addresses, routes and neighbours.
//!
//! # Levels
//!
//! - **Bytes**: [`Messages`] takes a datagram apart, [`Attributes`] a message, [`Request`] puts one
//!   together. Lengths are checked; nothing panics and nothing loops on any input.
//! - **Rows**: [`link`], [`address`], [`route`] and [`neighbor`] each have a view that borrows from
//!   the datagram, a row that owns, and the requests that read and change the table. Unknown
//!   attributes and kinds are left out; one odd attribute never loses a row. Beside rtnetlink there
//!   are [`ethtool`] for speeds and [`inet_diag`] for sockets.
//! - **Machines**: [`Dump`] makes a snapshot that is never torn, [`Events`] turns notifications
//!   into typed changes and says when some were lost.
//! - **Glue**: [`Connection`] and [`Monitor`] drive these over a [`Transport`]: a real socket with
//!   the feature `socket`, anything else in tests.
//!
//! Reference: `netlink(7)`, `rtnetlink(7)`, and the kernel's `net/core/rtnetlink.c`.

pub mod address;
pub mod attribute;
mod connection;
mod dump;
mod error;
pub mod ethtool;
mod events;
pub mod inet_diag;
pub mod kernel;
pub mod link;
mod message;
mod monitor;
mod name;
pub mod neighbor;
mod request;
pub mod route;
mod row;
#[cfg(feature = "socket")]
mod socket;
pub mod timing;
mod transport;

pub use attribute::{Attribute, Attributes};
pub use connection::{Connection, Visit};
pub use dump::{Dump, Progress};
pub use error::{Error, Reason, Refusal};
pub use events::{Change, Event, Events};
pub use message::{Message, Messages};
pub use monitor::Monitor;
pub use name::Name;
pub use request::Request;
pub use row::{Family, Row};
#[cfg(feature = "socket")]
pub use sys::netlink::Socket;
pub use transport::{Received, Transport};
