//! The ledger on a host that carries out its effects, or fails to.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod commands;
mod host;
mod life;
mod model;
