//! The ledger on a host that carries out its effects, or fails to.

mod commands;
mod host;
mod model;
