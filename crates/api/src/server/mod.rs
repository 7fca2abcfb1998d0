//! The serving side: one connection without I/O, and the loop around all of them.
//!
//! [`Connection`] is everything about a connection that is not I/O. With feature `tokio`, `serve`
//! runs one task for each connection around it, so that no client waits for another: a client
//! that does not read stops its own task, and nothing else.

mod connection;
#[cfg(feature = "tokio")]
mod conversation;
mod descriptor;
#[cfg(feature = "tokio")]
mod door;
#[cfg(feature = "tokio")]
mod exchange;
#[cfg(feature = "tokio")]
mod handler;
#[cfg(feature = "tokio")]
mod line;
#[cfg(feature = "tokio")]
mod monitors;
mod passed;
#[cfg(feature = "tokio")]
mod quota;
#[cfg(feature = "tokio")]
mod serve;
#[cfg(feature = "tokio")]
mod statistics;
#[cfg(feature = "tokio")]
mod strangers;

pub use connection::{Call, Connection, Request};
pub use descriptor::{Descriptor, NotPassed};
#[cfg(feature = "tokio")]
pub use door::Limits;
#[cfg(feature = "tokio")]
pub use handler::{
    Asked, IsSuperseded, Lazy, Listed, Monitoring, Part, Place, Serves, Service, Subscription,
};
#[cfg(feature = "tokio")]
pub use quota::{Bound, Excess, Quota, Share};
#[cfg(feature = "tokio")]
pub use serve::serve;
#[cfg(feature = "tokio")]
pub use statistics::Statistics;
#[cfg(feature = "tokio")]
pub(crate) use {exchange::Exchange, line::Over};
