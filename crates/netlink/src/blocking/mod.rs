//! What waits for the kernel: the one part of this crate that does I/O and reads a clock.

mod connection;
mod monitor;
mod socket;
mod transport;

pub use connection::{Connection, Visit};
pub use monitor::Monitor;
pub use sys::netlink::Socket;
pub use transport::{Received, Transport};
