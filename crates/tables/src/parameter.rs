//! Kernel parameters (`/proc/sys/net`), of the calling thread's network namespace.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use netlink::{Family, Name};

use crate::Error;
use crate::ip_interface::PathMtuTimeouts;

/// How long discovered path MTUs are believed, in milliseconds. One value for all interfaces.
pub(crate) fn path_mtu_timeouts() -> PathMtuTimeouts {
    let read = |path: &str| {
        let seconds: u32 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
        Some(seconds.saturating_mul(1000))
    };
    PathMtuTimeouts {
        ipv4: read("/proc/sys/net/ipv4/route/mtu_expires"),
        ipv6: read("/proc/sys/net/ipv6/route/mtu_expires"),
    }
}

/// Sets a parameter of a family on an interface (`net/ipv6/conf/INTERFACE/NAME`).
pub(crate) fn write(
    family: Family,
    interface: &Name,
    name: &str,
    value: i64,
    subject: &str,
) -> Result<(), Error> {
    // The kernel lets no interface be called "." or ".." or anything with a slash.
    let mut path = PathBuf::from(format!("/proc/sys/net/{family}/conf"));
    path.push(interface.as_os_str());
    path.push(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.to_string().as_bytes()));
    written.map_err(|error| Error::parameter(&error, subject))
}
