//! Kernel parameters (`/proc/sys/net`), and a table that older kernels have in a file alone; of the
//! calling thread's network namespace.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
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

/// The IPv4 groups that interfaces have joined, by index (`/proc/net/igmp`).
pub(crate) fn ipv4_groups() -> std::io::Result<Vec<(u32, Ipv4Addr)>> {
    Ok(parse_igmp(&fs::read_to_string("/proc/thread-self/net/igmp")?))
}

/// A line of an interface begins with its index; those of its groups follow, indented, and begin
/// with the group as the host's own number.
fn parse_igmp(text: &str) -> Vec<(u32, Ipv4Addr)> {
    let mut groups = Vec::new();
    let mut ifindex = None;
    for line in text.lines() {
        let Some(first) = line.split_whitespace().next() else { continue };
        if line.starts_with(char::is_whitespace) {
            let group = u32::from_str_radix(first, 16).ok();
            let group = group.map(|group| Ipv4Addr::from(group.to_ne_bytes()));
            groups.extend(ifindex.zip(group));
        } else {
            ifindex = first.parse().ok();
        }
    }
    groups
}

/// Sets a parameter of a family on an interface (`net/ipv6/conf/INTERFACE/NAME`).
pub(crate) fn write(
    family: Family,
    interface: &Name,
    name: &str,
    value: i64,
    subject: &str,
) -> Result<(), Error> {
    // The kernel lets no interface be called "." or ".." or anything with a slash, and none that
    // speaks IP "all" or "default".
    let mut path = PathBuf::from(format!("/proc/sys/net/{family}/conf"));
    path.push(interface.as_os_str());
    path.push(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.to_string().as_bytes()));
    written.map_err(|error| Error::parameter(&error, subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_under_their_interface() {
        let one = u32::from_ne_bytes([224, 0, 0, 1]);
        let other = u32::from_ne_bytes([239, 1, 2, 3]);
        let text = format!(
            "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
             1\tlo        :     1      V3\n\t\t\t\t{one:08X}     1 0:00000000\t\t0\n\
             12\teth0      :     2      V3\n\t\t\t\t{one:08X}     1 0:00000000\t\t0\n\
             \t\t\t\t{other:08X}     1 0:00000000\t\t0\n\nodd\n\tzz\n"
        );
        let expected = [(1, [224, 0, 0, 1]), (12, [224, 0, 0, 1]), (12, [239, 1, 2, 3])];
        assert_eq!(parse_igmp(&text), expected.map(|(index, group)| (index, group.into())));
    }

    #[test]
    fn the_file_agrees_with_what_the_kernel_says_otherwise() {
        // The loopback has joined all-hosts everywhere.
        let groups = ipv4_groups().unwrap();
        assert!(groups.contains(&(1, Ipv4Addr::new(224, 0, 0, 1))), "{groups:?}");
    }
}
