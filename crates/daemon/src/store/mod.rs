//! What survives a restart: small files below the state directory, one for each record.
//!
//! `Records` is a folder of them; what stands in one is its tenant's business (`Record`).
//! A record is on disk, and would survive a power failure, before anybody is told so.

mod envelope;
mod failure;
pub(crate) mod file;
mod lock;
mod records;

pub(crate) use failure::{describe, refused};
pub(crate) use lock::Lock;
pub(crate) use lock::StoreError;
pub(crate) use records::{Boot, Found, Record, Records};

#[cfg(test)]
pub(crate) use envelope::{open, seal};
