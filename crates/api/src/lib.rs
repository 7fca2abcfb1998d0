//! The Varlink contract of iphelperd, in Rust.
//!
//! The contract itself is the IDL under `varlink/`; the modules [`lease`] and [`daemon`] mirror it
//! type for type, and a test compares the two so that they cannot drift. Around them:
//!
//! - [`service`]: `org.varlink.service`, which every Varlink service answers.
//! - [`Time`] and [`Prefix`]: values the IDL carries as text.

pub mod daemon;
pub mod lease;
mod open_enum;
mod prefix;
pub mod service;
mod time;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use prefix::{InvalidPrefix, Prefix};
pub use time::{InvalidTime, Time};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/iphelper/iphelper.sock";

/// One method of an interface; the implementing type is its parameters.
pub trait Method: Serialize + DeserializeOwned {
    /// The qualified name, such as `org.iphelper.Lease.Renew`.
    const NAME: &'static str;

    /// What each reply carries.
    type Reply: Serialize + DeserializeOwned;

    /// The errors of the interface.
    type Error: Serialize + DeserializeOwned + std::error::Error;
}

/// The reply of a method that returns nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Empty {}
