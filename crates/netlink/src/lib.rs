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
//!   are [`ethtool`] for speeds, [`inet_diag`] and [`unix_diag`] for sockets.
//! - **Machines**: [`Dump`] makes a snapshot that is never torn, [`Events`] turns notifications
//!   into typed changes and says when some were lost.
//! - **Glue**, with the feature `socket`: `Connection` and `Monitor` drive these over a `Transport`,
//!   which is a real socket, or plays the kernel in tests. They wait, and read the clock to bound
//!   it; the levels above do neither.
//!
//! Reference: `netlink(7)`, `rtnetlink(7)`, and the kernel's `net/core/rtnetlink.c`.

pub mod address;
pub mod attribute;
#[cfg(feature = "socket")]
mod blocking;
mod dump;
mod error;
pub mod ethtool;
mod events;
pub mod inet_diag;
pub mod kernel;
pub mod link;
mod message;
mod name;
pub mod neighbor;
mod request;
pub mod route;
mod row;
pub mod timing;
pub mod unix_diag;

pub use attribute::{Attribute, Attributes};
#[cfg(feature = "socket")]
pub use blocking::{Connection, Monitor, Received, Socket, Transport, Visit};
pub use dump::{Dump, Progress};
pub use error::{Error, Reason, Refusal};
pub use events::{Change, Event, Events};
pub use message::{Message, Messages};
pub use name::Name;
pub use request::Request;
pub use row::{Family, Row};
