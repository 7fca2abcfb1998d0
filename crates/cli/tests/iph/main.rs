//! `iph` against a scripted daemon: every command, every error.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod daemon;
mod fake;
mod ipconfig;
mod lab;
mod lease;
mod manual;
mod port;
mod run;
mod tables;
mod terminal;
