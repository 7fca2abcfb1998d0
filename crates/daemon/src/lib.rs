//! iphelperd: owns the host's leases.
//!
//! Joins the engines to the kernel, the disk and the API. In reading order:
//!
//! - `options`, [`config`], [`configuration`]: what it is to do; `claim`: whether another one is there.
//! - [`leases`]: the one task that owns all engines; its documentation lists tasks and owners.
//! - [`ports`]: the one task that owns all port reservations.
//! - `host`, [`store`]: the threads that carry out effects, beside the resolver's.
//! - [`processes`]: whose sockets those are, which another process finds out.
//! - [`tables`]: what the kernel has, for whoever asks.
//! - [`service`], [`access`]: the API, and who may change things.
//! - `users`: what users are called, by a thread that may wait for a name service.
//! - [`sandbox`], [`supervise`], [`problems`], [`counters`], [`log`]: what every daemon needs.
//!
//! [`main`] is the whole program; [`run`] is the daemon without a command line.

pub mod access;
mod claim;
mod clock;
pub mod config;
pub mod configuration;
pub mod counters;
mod host;
mod inotify;
pub mod leases;
mod listed;
pub mod log;
mod names;
mod options;
mod patience;
pub mod ports;
pub mod problems;
pub mod processes;
mod readable;
mod refusal;
mod run;
pub mod sandbox;
pub mod service;
mod shortage;
pub mod store;
mod subsystem;
pub mod supervise;
pub mod tables;
#[cfg(test)]
mod testing;
mod turns;
mod users;
mod watchdog;
mod work;

pub use clock::Clock;
pub use options::{DEFAULT_STATE_DIR, Options, UsageError};
pub use run::{RunError, main, run};
