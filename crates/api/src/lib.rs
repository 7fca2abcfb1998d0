//! The Varlink contract of iphelperd, in Rust.
//!
//! The contract itself is the IDL under `varlink/`; the modules [`interface`], [`lease`], [`ports`]
//! and [`daemon`] mirror it type for type, and a test compares the two so that they cannot drift.
//! Around them:
//!
//! - [`protocol`]: messages on the wire, without I/O.
//! - [`service`]: `org.varlink.service`, which every Varlink service answers.
//! - [`server`]: one connection of a service without I/O, and, with feature `tokio`, all of them.
//! - [`client`]: a blocking client, and, with feature `async`, one for tokio.
//! - [`Time`], [`Timeout`] and [`Prefix`]: values the IDL carries as text.

mod as_text;
mod calls;
pub mod client;
#[cfg(test)]
mod contract;
pub mod daemon;
pub mod interface;
pub mod lease;
mod open_enum;
mod passing;
mod pattern;
pub mod ports;
pub mod protocol;
pub mod server;
pub mod service;
mod time;
mod timeout;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use pattern::matches;
pub use tables::{Prefix, PrefixTextError};
pub use time::{InvalidTime, Time};
pub use timeout::{InvalidTimeout, Timeout};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/iphelper/iphelper.sock";

/// One method of an interface; the implementing type is its parameters.
pub trait Method: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The qualified name, such as `org.iphelper.Lease.Renew`.
    const NAME: &'static str;

    /// Whether it changes something, which takes uid 0 or membership of the daemon's group.
    const CHANGES: bool;

    /// What each reply carries.
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// The errors of the interface.
    type Error: Serialize + DeserializeOwned + std::error::Error + Send + Sync + 'static;
}

/// A method that is answered with all the objects there are, in any number of replies. None is an
/// answer like any other.
pub trait Listing: Method {
    /// The reply's member that holds them.
    const MEMBER: &'static str;

    /// What they are.
    type Object: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Those of one reply.
    fn objects(reply: Self::Reply) -> Vec<Self::Object>;
}

/// What the errors of each interface have in common.
pub trait InterfaceError: Sized {
    /// The caller may not do that; the error says what would do.
    fn access_denied(needed: String) -> Self;

    /// The daemon is ending.
    fn cancelled() -> Self;
}

/// The reply of a method that returns nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Empty {}
