//! A lease that nobody extends ends on time, with everything that came with it.

use std::time::Duration;

use iphelper_tests::servers::{SERVER, foreign, scripted_with};
use iphelper_tests::{Host, PATIENCE, with_each_server};
use lab::dhcp::ServerConfig;
use lab::{Lan, PeerConfig, PeerKind, or_skip};

with_each_server!(when_the_server_is_gone);

fn when_the_server_is_gone(kind: PeerKind) {
    let lan = or_skip!(Lan::new());
    // dnsmasq leases for two minutes at least, and that is how long this takes with it.
    let seconds = if kind == PeerKind::Dnsmasq { 120 } else { 8 };
    let lease_time = Duration::from_secs(seconds);
    let server =
        or_skip!(foreign(&lan, kind, &PeerConfig { lease_time, ..PeerConfig::new(SERVER) }));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("");
    drop(server);
    let gone = lab::wait_until("the lease's end", lease_time + PATIENCE, || {
        host.leased_address().is_none()
    });
    gone.unwrap();
    // The kernel counts whole seconds, and is early rather than late.
    let early = seconds_of(client["bindings"][0]["expires_at"].as_str().unwrap()) - now();
    assert!((-0.5..3.0).contains(&early), "{early} s before the end");
    host.wait_bare();
    host.wait_client("looking for servers again", |client| client["state"] == "selecting");
    host.wait_log("the end in the log", |line| line.contains("ran out"));
    let log = host.log();
    assert!(!log.contains("somebody removed"), "nobody is blamed: {log}");
}

#[test]
fn also_without_the_daemon() {
    let lan = or_skip!(Lan::new());
    let config = ServerConfig::new(SERVER).lease_time(Duration::from_secs(5));
    let server = or_skip!(scripted_with(&lan, config));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    host.kill();
    drop(server);
    assert!(host.leased_address().is_some(), "a crash is no reason to lose the address");
    lab::wait_until("the kernel to end the address", PATIENCE, || host.leased_address().is_none())
        .unwrap();
    assert_eq!(host.dhcp_routes().len(), 0, "routes go with their source address");
}

/// Seconds since 1970, of a time as the API writes it.
fn seconds_of(text: &str) -> f64 {
    let output = std::process::Command::new("date").args(["-u", "+%s.%N", "-d", text]).output();
    String::from_utf8(output.expect("date").stdout).unwrap().trim().parse().expect(text)
}

fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}
