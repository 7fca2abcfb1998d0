//! Kernel parameters (`/proc/sys/net`), of the calling thread's network namespace.

use std::fs;

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
