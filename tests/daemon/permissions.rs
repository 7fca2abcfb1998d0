//! Everybody may look, few may change.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, eventually, eventually_some};
use lab::{Lan, or_skip};
use serde_json::json;

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
    // With that everything has been given up.
    let finder = finder(pid);
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        // Asks another process on behalf of all the rest.
        let expected = if status.starts_with("Name:\tprocesses") { 0 } else { all };
        assert_eq!(capabilities(&status), [expected; 2], "{status}");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        // A list of calls that are denied.
        assert!(status.contains("Seccomp:\t2"), "{status}");
        threads += 1;
    }
    assert!(threads > 3, "{threads}");

    // Another process reads whose sockets they are. It gives up the rest before it reads a request.
    let socket = host.namespace.run(|| UdpSocket::bind("0.0.0.0:5000")).unwrap().unwrap();
    let holders =
        host.connect().list("PortReservation.Holders", json!({"protocol": "udp"}), "holders");
    let holders = holders.unwrap();
    let own = json!(std::process::id());
    assert!(holders.iter().any(|row| row["who"]["pid"] == own), "{holders:?}");
    drop(socket);
    // CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE.
    for task in fs::read_dir(format!("/proc/{finder}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert_eq!(capabilities(&status), [1 << 2 | 1 << 19; 2], "{status}");
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    }
    // Standard input, output and errors, and `/proc`: nothing of the daemon's.
    let open = fs::read_dir(format!("/proc/{finder}/fd")).unwrap().flatten();
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    assert!(open.len() <= 5, "{open:?}");

    // It ends with the daemon, however that ends.
    host.kill();
    eventually("its end", || !Path::new(&format!("/proc/{finder}/fd")).exists());
}

/// When it ends before the daemon, that is told, and the rest goes on.
#[test]
fn the_end_of_the_process_that_looks_into_others_is_told() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    assert!(!host.problems().iter().any(|(subject, _)| subject == "processes"));
    let finder = finder(host.daemon().process().id());
    sys::process::signal(finder, sys::process::SIGKILL).unwrap();
    eventually("a problem", || {
        let problems = host.problems();
        problems.iter().any(|(subject, text)| subject == "processes" && text.contains("has ended"))
    });
    host.call("PortReservation.Status", json!({})).unwrap();
}

/// The permitted and the effective ones.
fn capabilities(status: &str) -> [u64; 2] {
    ["CapPrm", "CapEff"].map(|set| {
        let line = status.lines().find(|line| line.starts_with(set)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    })
}

/// The daemon's process that looks into others.
fn finder(daemon: u32) -> u32 {
    eventually_some("the process that looks into others", || {
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let is_finder = |folder: &Path| {
            let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
            status.starts_with("Name:\tiph-processes\n")
                && status.contains(&format!("PPid:\t{daemon}\n"))
                // Not before it has given up what it does not need.
                && status.contains("NoNewPrivs:\t1")
        };
        let found = processes.map(|entry| entry.path()).find(|folder| is_finder(folder))?;
        found.file_name()?.to_str()?.parse().ok()
    })
}
