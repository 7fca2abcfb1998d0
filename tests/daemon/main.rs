//! The daemon itself and its command: who may do what, the configuration, the log, the units.

mod cli;
mod configuration;
mod door;
mod fuse;
mod log;
mod one_daemon;
mod permissions;
mod unit;
