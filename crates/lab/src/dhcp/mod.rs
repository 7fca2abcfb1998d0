//! A DHCPv4 server for labs and tests.
//!
//! It is never a product: it keeps its leases in memory, does not probe addresses before it offers
//! them, and misbehaves on request. [`Server`] is the protocol without I/O, for simulated worlds;
//! [`DhcpServer`] runs one on an interface of a [`Namespace`](crate::Namespace).

mod behaviour;
mod config;
mod server;
#[cfg(test)]
mod tests;
mod thread;

pub use behaviour::{Behaviour, Echo, Rewrite};
pub use config::ServerConfig;
pub use server::{Binding, BindingState, Datagram, Destination, Seen, Server, Transmit};
pub use thread::DhcpServer;
