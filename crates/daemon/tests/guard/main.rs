//! The guard in the kernel: every rule of it, with the programs of this kernel and with those of
//! lesser ones.
//!
//! Each test has a network namespace and a BPF file system of its own, and nothing is left of either
//! when it ends, however it ends.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]

mod any_port;
mod binds;
mod child;
mod grants;
mod life;
mod pins;
mod reports;
mod shortage;
mod site;
mod twin;
