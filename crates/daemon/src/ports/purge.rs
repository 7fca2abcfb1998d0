//! Undoing without a daemon what a daemon put into the kernel.

use std::io;
use std::path::{Path, PathBuf};

use super::guard::{Guard, Places};
use super::store::Records;
use super::sysctl::{PortSet, ReservedPorts};
use crate::clock;

/// What was taken out of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// Where the guard was pinned, if there was one.
    pub pinned: Option<PathBuf>,
    /// How many ports were taken off the list of those that the kernel does not pick by itself.
    pub ports: u32,
}

/// Takes everything out of the kernel that enforces reservations in the network namespace of the
/// calling thread. Records in `state_dir` stay: the next daemon puts them in force again.
///
/// Fails with `WouldBlock` while a daemon runs, and with `PermissionDenied` without the privilege;
/// what was taken out by then is out.
pub fn purge(state_dir: &Path) -> io::Result<Purged> {
    let network = sys::namespace::network_cookie()?;
    let mut pinned = None;
    // Without these places there is nothing pinned.
    if let Ok(places) = Places::present()
        && Guard::is_pinned(&places, network)
    {
        Guard::remove_pinned(&places, network)?;
        pinned = Some(places.pins().join(network.to_string()));
    }
    let boot_id = clock::boot_id();
    let record = Records::new(state_dir, &boot_id).reserved_ports();
    let mut reserved = ReservedPorts::open(record, &boot_id, network)?;
    let ports = reserved.ours().count();
    reserved.set(&PortSet::new())?;
    Ok(Purged { pinned, ports })
}
