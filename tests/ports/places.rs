//! Where the guard is attached and pinned, on hosts that do not show it.

use std::process::Command;
use std::sync::Arc;

use iphelper_tests::ports::{Protocol, SOMEBODY, Site};
use iphelper_tests::{PATIENCE, eventually};
use lab::{Daemon, Mounts, StateDir, or_skip};
use serde_json::json;

#[test]
fn told_by_the_status() {
    let mut site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    let guard = site.guard();
    let pinned = guard["pinned"].as_str().expect("a directory");
    assert!(pinned.starts_with(Mounts::BPFFS), "{guard}");
    assert_eq!((&guard["needed"], &guard["covers_all"]), (&true.into(), &true.into()), "{guard}");
    let pins = site.pins();
    assert!(!pins.is_empty() && pins.iter().all(|(path, _)| path.starts_with(pinned)), "{pins:?}");
}

/// Whoever removes the pins takes the guard off. A daemon that runs makes it anew.
#[test]
fn removed_while_the_daemon_runs() {
    const SIGCONT: i32 = 18;
    const SIGSTOP: i32 = 19;
    let mut site = or_skip!(Site::started());
    site.create_with(Protocol::Tcp, 5000, 20, json!({"users": [SOMEBODY]}));
    let mut owner = site.stranger();
    owner.socket("owner", "udp4");
    let wanted = json!({"socket": 0, "number_of_ports": 4, "start_port": 6000});
    owner.call(&site.socket(), "owner", "Acquire", wanted).unwrap();
    for _ in 0..3 {
        // So that nothing comes between.
        site.host.signal(SIGSTOP);
        site.unpin();
        site.host.signal(SIGCONT);
        eventually("a new guard", || !site.pins().is_empty());
        eventually("the end of what a socket owned", || site.reservations().len() == 1);
        eventually("the end of what is left out", || site.left_out() == (5000..5020).collect());
        eventually("what was before", || {
            let mut user = site.stranger();
            user.become_user(SOMEBODY);
            site.stranger().try_bind("tcp4", 5000) == "EACCES"
                && user.try_bind("tcp4", 5019) == "ok 5019"
        });
        assert!(site.has_guard(), "{}", site.guard());
    }
    site.create(Protocol::Tcp, 7000, 1);
    assert_eq!(site.stranger().try_bind("tcp4", 7000), "EACCES");
}

/// A shell in a network namespace (`ip netns exec`) hides both. The daemon mounts them for itself,
/// or says what is missing; it never takes a reservation and leaves the ports open.
#[test]
fn hidden() {
    let mut site = or_skip!(Mounts::hidden().and_then(|mounts| Site::with(Arc::new(mounts))));
    site.start();
    match site.try_create(Protocol::Tcp, 5000, 20, json!({})) {
        Ok(_) => {
            assert_ne!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
            let guard = site.guard();
            assert_ne!(guard["level"], "none", "{guard}");
            // What ends with the daemon is said to.
            let limits = guard["limits"].as_array().unwrap().len();
            site.host.kill();
            let holds = site.stranger().try_bind("tcp4", 5000) != "ok 5000";
            assert!(holds || limits > 0, "{guard}");
            site.start();
            assert_ne!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
        }
        Err(error) => {
            assert_eq!(error.name, "GuardTooWeak", "{error:?}");
            assert!(!site.guard()["limits"].as_array().unwrap().is_empty());
            assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
        }
    }
}

/// Containers often have kernel parameters that cannot be written. Automatic assignment would hand
/// out reserved ports: that is refused, or said, and nothing is left half done.
#[test]
fn parameters_that_cannot_be_written() {
    let mounts = or_skip!(Mounts::new());
    let read_only = || {
        for options in
            [&["--bind", "/proc/sys", "/proc/sys"][..], &["-o", "remount,bind,ro", "/proc/sys"]]
        {
            assert!(Command::new("mount").args(options).status().expect("mount(8)").success());
        }
    };
    mounts.run(read_only).unwrap();
    let mut site = or_skip!(Site::with(Arc::new(mounts)));
    site.start();
    match site.try_create(Protocol::Tcp, 5000, 20, json!({})) {
        Ok(_) => assert!(!site.has_guard(), "{}", site.guard()),
        Err(error) => {
            assert_eq!(error.name, "Host", "{error:?}");
            assert_eq!(site.stranger().try_bind("tcp4", 5000), "ok 5000");
            assert!(site.reservations().is_empty());
        }
    }
}

/// Two daemons of one network would take each other's ports away.
#[test]
fn one_daemon_a_network() {
    let site = or_skip!(Site::started());
    site.create(Protocol::Tcp, 5000, 20);
    let state = StateDir::new().unwrap();
    let program = &site.host.program;
    let mut second =
        Daemon::start_without_waiting(program, &site.host.namespace, &state, "").unwrap();
    assert_eq!(second.process().wait(PATIENCE).unwrap().code(), Some(1), "{}", second.log());
    assert_eq!(site.stranger().try_bind("tcp4", 5000), "EACCES");
    assert_eq!(site.reservations().len(), 1);
    assert_eq!(site.left_out(), (5000..5020).collect());
    site.create(Protocol::Udp, 7000, 1);
}
