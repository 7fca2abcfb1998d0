//! Descriptors that never answer: sockets which their owner keeps locked, files of FUSE that are never
//! closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use iphelper_tests::servers::{SERVER, Scripted, scripted, scripted_with};
use iphelper_tests::{Fuse, Host};
use lab::dhcp::ServerConfig;
use lab::{Daemon, Lan, Mounts, Namespace, or_skip};
use serde_json::json;
use sys::process::SIGKILL;

/// Nobody's number.
const STRANGER: u32 = 54_321;
/// Longer than an answer takes on a machine with other things to do.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_secs(6);

/// A host with mounts of its own, for what is pinned of reservations, and a lease of a few seconds.
fn host() -> lab::Result<(Lan, Scripted, Host)> {
    let lan = Lan::new()?;
    let server = scripted_with(&lan, ServerConfig::new(SERVER).lease_time(LEASE))?;
    let mut namespace = Namespace::new()?;
    namespace.set_mounts(Arc::new(Mounts::new()?));
    let port = lan.plug(&namespace, "eth0")?;
    let mut host = Host::with(namespace, port)?;
    host.start_bound("");
    Ok((lan, server, host))
}

#[test]
fn locked_sockets_hold_nobody_up() {
    let (_lan, _server, host) = or_skip!(host());
    let socket = host.socket();
    let methods = ["Associate", "Acquire"].map(|m| format!("org.iphelper.PortReservation.{m}"));
    let mut attack = vec!["call", socket.to_str().unwrap()];
    // More than there are threads that wait for the kernel.
    attack.extend(methods.iter().cycle().take(8).map(String::as_str));
    let _attacker = or_skip!(Fuse::start(&host.namespace, STRANGER, &attack));

    let until = Instant::now() + 2 * LEASE;
    while Instant::now() < until {
        for method in ["Daemon.Status", "PortReservation.Status", "Lease.List"] {
            let began = Instant::now();
            host.call(method, json!({})).unwrap();
            assert!(began.elapsed() < ANSWERED_WITHIN, "{method}: {:?}", began.elapsed());
        }
        // Other strangers are served by the thread that has the attacker's calls.
        let began = Instant::now();
        let listed = host.iph_as(STRANGER + 1, &["lease", "list"]);
        assert_eq!(listed.code, 0, "{listed:?}");
        assert!(began.elapsed() < ANSWERED_WITHIN, "another user: {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    // Twice as long as it lasts, the lease is still there.
    assert!(host.leased_address().is_some());
    assert!(host.call("Lease.Renew", json!({"interface": "eth0"})).is_ok());
}

#[test]
fn a_file_that_is_never_closed_keeps_no_daemon_from_starting() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let socket = host.socket();
    let attack = ["malformed", socket.to_str().unwrap()];
    let attacker = or_skip!(Fuse::start(&host.namespace, STRANGER, &attack));
    let began = Instant::now();
    host.call("Daemon.Status", json!({})).unwrap();
    assert!(began.elapsed() < ANSWERED_WITHIN, "{:?}", began.elapsed());

    // One thread of it does not end, so that it cannot be waited for.
    let killed = host.daemon().process().id();
    sys::process::signal(killed, SIGKILL).unwrap();
    let configuration = host.configuration("[[interface]]\nname = \"eth0\"");
    let next = Daemon::start(&host.program, &host.namespace, &host.state, &configuration);
    let _next = next.unwrap_or_else(|error| panic!("{error}"));
    assert!(host.daemon_lives(), "the attacker still holds on");
    host.wait_bound();
    drop(attacker);
}
