//! What the end-to-end tests share.
//!
//! [`Host`] is a host under test: a namespace with `eth0` plugged into a [`lab::Lan`], the daemon as
//! it was built, and everything that passes the wire on record. When a test fails, it prints the
//! daemon's log and the frames. [`varlink`] speaks the daemon's protocol by itself, so that the
//! tests do not trust the client library. [`servers`] puts servers on the wire. [`ports`] is a host
//! whose ports are reserved, and the strangers that want them. [`damage`] befalls files; [`Fuse`] is a
//! user whose files never answer.
//!
//! A test waits for conditions, [`PATIENCE`] long at most, and never for time to pass.

use std::time::Duration;

pub mod damage;
mod fuse;
mod host;
mod iph;
pub mod ports;
pub mod servers;
pub mod varlink;

pub use fuse::Fuse;
pub use host::{Host, ROUTE_PROTOCOL_DHCP};
pub use iph::{Answer, iph, run};

/// How long a condition may take that should hold almost at once. Generous, because the tests share
/// the machine with each other.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the condition holds, or fails the test.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    if let Err(error) = lab::wait_until(what, PATIENCE, condition) {
        panic!("{error}");
    }
}

/// Waits until there is something, or fails the test.
#[track_caller]
pub fn eventually_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match lab::wait_for(what, PATIENCE, look) {
        Ok(found) => found,
        Err(error) => panic!("{error}"),
    }
}
