//! Everybody may look, few may change.

use iphelper_tests::Host;
use iphelper_tests::servers::scripted;
use lab::{Lan, or_skip};

/// Nobody's number, in no group.
const STRANGER: u32 = 54_321;

/// A group that every Debian has, and its number.
const GROUP: (&str, u32) = ("users", 100);

fn in_user_namespace(test: &str) -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let inside = !map.contains("4294967295");
    if inside {
        eprintln!("SKIPPED: {test}: there are no other users in this user namespace");
    }
    inside
}

#[test]
fn a_stranger_reads_and_changes_nothing() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    if in_user_namespace("a_stranger_reads_and_changes_nothing") {
        return;
    }
    host.start_bound("");
    let list = host.iph_as(STRANGER, &["lease", "list", "--json"]);
    assert_eq!(list.code, 0, "{list:#?}");
    assert!(list.out.contains("eth0"), "{list:#?}");
    for command in ["renew", "release", "acquire"] {
        let answer = host.iph_as(STRANGER, &["lease", command, "eth0"]);
        assert_eq!(answer.code, 4, "{command}: {answer:#?}");
        assert!(answer.err.to_lowercase().contains("denied"), "{answer:#?}");
    }
    assert_eq!(host.iph_as(STRANGER, &["daemon", "reload"]).code, 4);
    assert_eq!(host.client("eth0").unwrap()["state"], "bound");
    assert!(host.leased_address().is_some());
}

#[test]
fn members_of_the_group_change_leases() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    if in_user_namespace("members_of_the_group_change_leases") {
        return;
    }
    if !groups.contains(&format!("{}:x:{}:", GROUP.0, GROUP.1)) {
        eprintln!("SKIPPED: members_of_the_group_change_leases: no group {GROUP:?} here");
        return;
    }
    host.daemon_keys = format!("group = \"{}\"", GROUP.0);
    host.start_bound("");
    let member = |arguments: &[&str]| host.iph_in(STRANGER, &[GROUP.1], arguments);
    assert_eq!(host.iph_as(STRANGER, &["lease", "renew", "eth0"]).code, 4);
    for command in ["renew", "release", "acquire"] {
        member(&["lease", command, "eth0"]).success();
    }
}

/// What the daemon does not need, a fault in it cannot use.
#[test]
fn the_daemon_keeps_few_capabilities() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    let pid = host.daemon().process().id();
    // CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_BPF (capabilities(7)).
    let all: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39;
    // CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE: one thread reads whose sockets they are, and serves
    // nobody.
    let reader: u64 = 1 << 2 | 1 << 19;
    let mut readers = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for set in ["CapPrm", "CapEff"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            let bits = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
            match status.starts_with("Name:\tprocesses\n") {
                true => {
                    assert_eq!(bits, reader, "{status}");
                    readers += 1;
                }
                false => assert_eq!(bits, all, "{status}"),
            }
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    assert_eq!(readers, 2, "one thread, and its two sets");
}
