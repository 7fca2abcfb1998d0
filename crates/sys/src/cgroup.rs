//! Version 2 of control groups: where their tree is, and who is where in it (`cgroups(7)`).

use std::fs;
use std::io;

use crate::mountinfo::{self, Mount};

/// The latest mount of the tree, if there is one.
pub fn mount() -> io::Result<Option<Mount>> {
    Ok(mountinfo::read()?.into_iter().rfind(|mount| mount.kind == b"cgroup2"))
}

/// The group of the calling process, as a path below the tree's root; `None` where it has none.
pub fn own() -> io::Result<Option<String>> {
    Ok(of(&fs::read_to_string("/proc/self/cgroup")?).map(str::to_owned))
}

/// The group of a process, from the lines of `/proc/PID/cgroup`. Those of version 1 are passed
/// over, and of one that was removed comes the path that it had.
pub fn of(lines: &str) -> Option<&str> {
    let path = lines.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.strip_suffix(" (deleted)").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_version_2_is_the_one_that_counts() {
        for (lines, path) in [
            ("12:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/user.slice/c\n", Some("/user.slice/c")),
            ("0::/\n", Some("/")),
            ("0::/x.service (deleted)\n", Some("/x.service")),
            ("10::/\n1:name=0::/a:/b\n", None),
            ("", None),
        ] {
            assert_eq!(of(lines), path, "{lines:?}");
        }
    }

    #[test]
    fn this_process_is_below_the_mount() {
        let (Some(mount), Some(own)) = (mount().unwrap(), own().unwrap()) else {
            eprintln!("SKIPPED: this_process_is_below_the_mount: no cgroup2");
            return;
        };
        assert!(mountinfo::read().unwrap().contains(&mount));
        assert!(own.starts_with('/'), "{own}");
    }
}
