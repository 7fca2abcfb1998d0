//! iphelperd: owns the host's leases and port reservations.
//!
//! Joins the engines to the kernel, the disk and the API. In reading order:
//!
//! - `options`, `config`, `configuration`: what it is to do; `claim`: whether another one is there.
//! - `subsystem`: what its tenants have in common. `leases` is the task that owns all DHCP clients,
//!   [`ports`] the one that owns all port reservations; the documentation of each lists tasks and
//!   owners.
//! - `host`, `store`: the threads that carry out effects, beside the resolver's.
//! - `processes`: whose sockets those are, which another process finds out.
//! - `tables`: what the kernel has, for whoever asks.
//! - `service`, `access`: the API, and who may change things.
//! - `users`: what users are called, by a thread that may wait for a name service.
//! - `sandbox`, `supervise`, `problems`, `counters`, `log`: what every daemon needs.
//!
//! [`main`] is the whole program; [`run`] is the daemon without a command line.

mod access;
mod claim;
mod clock;
mod config;
mod configuration;
mod counters;
mod host;
mod inotify;
mod leases;
mod listed;
mod log;
mod names;
mod options;
mod patience;
pub mod ports;
mod problems;
mod processes;
mod readable;
mod refusal;
mod run;
mod sandbox;
mod service;
mod shortage;
mod store;
mod subsystem;
mod supervise;
mod tables;
#[cfg(test)]
mod testing;
mod turns;
mod users;
mod watchdog;
mod work;

pub use options::{DEFAULT_STATE_DIR, Options, UsageError};
pub use processes::{Finder, networks};
pub use run::{RunError, main, run};
pub use sandbox::raise_descriptor_limit;
