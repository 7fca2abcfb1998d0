//! The daemon ends, in whatever way, and comes back: the address never leaves the interface.

use std::net::Ipv4Addr;
use std::process::ExitStatus;
use std::time::Duration;

use iphelper_tests::servers::{SERVER, foreign, scripted, scripted_with};
use iphelper_tests::{Host, PATIENCE, with_each_server};
use lab::dhcp::{BindingState, ServerConfig};
use lab::{Lan, PeerConfig, PeerKind, or_skip};
use wire::dhcpv4::{MessageType, OptionCode};

with_each_server!(after_sigterm, after_sigkill);

fn after_sigterm(kind: PeerKind) {
    asks_for_its_address_again(kind, |host| assert!(host.stop().success()));
}

fn after_sigkill(kind: PeerKind) {
    asks_for_its_address_again(kind, Host::kill);
}

fn asks_for_its_address_again(kind: PeerKind, end: fn(&mut Host)) {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(foreign(&lan, kind, &PeerConfig::new(SERVER)));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    let row = host.leased_address().expect("an address");
    let routes = host.default_routes();
    end(&mut host);
    let meanwhile = host.leased_address().expect("the address stays without the daemon");
    assert!(meanwhile.valid_seconds.is_some(), "the kernel goes on counting");
    assert_eq!(host.default_routes(), routes);
    assert_eq!(host.capture.counters().dhcp(MessageType::Release), 0);
    host.capture.clear();

    let after = host.start_bound("");
    assert_eq!(after["bindings"][0]["address"], before["bindings"][0]["address"]);
    let request = host
        .capture
        .wait_for("REQUEST", PATIENCE, |frame| frame.outgoing && frame.is(MessageType::Request))
        .unwrap();
    let message = request.dhcp().unwrap();
    let asked = message.options.get(OptionCode::REQUESTED_ADDRESS).expect("option 50");
    let asked = Ipv4Addr::from(<[u8; 4]>::try_from(asked).unwrap());
    assert_eq!(before["bindings"][0]["address"], asked.to_string());
    assert!(message.ciaddr.is_unspecified(), "RFC 2131 section 4.3.2: INIT-REBOOT");
    host.capture.wait_for("ACK", PATIENCE, |frame| frame.is(MessageType::Ack)).unwrap();
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 0);
    assert_eq!(
        host.leased_address().map(|row| row.created_at),
        Some(row.created_at),
        "the same address all along, not a new one"
    );
    assert_eq!(host.default_routes(), routes);
}

#[test]
fn with_nobody_to_ask_the_lease_goes_on() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    host.kill();
    drop(server);
    host.start("[[interface]]\nname = \"eth0\"");
    // RFC 2131 section 3.2 item 4: the client may go on until the lease ends. It also looks for
    // other servers.
    let client = host.wait_client("an end of asking for it", |client| {
        !["init-reboot", "rebooting"].contains(&client["state"].as_str().unwrap())
    });
    assert_eq!(client["bindings"][0]["address"], before["bindings"][0]["address"]);
    assert_eq!(
        client["bindings"][0]["expires_at"], before["bindings"][0]["expires_at"],
        "nobody extended it"
    );
    assert!(host.leased_address().is_some());
    assert!(host.resolver_file().contains("nameserver"));
    assert_eq!(host.default_routes().len(), 1);
}

#[test]
fn after_the_lease_has_ended() {
    let lan = or_skip!(Lan::new());
    let config = ServerConfig::new(SERVER).lease_time(Duration::from_secs(3));
    let server = or_skip!(scripted_with(&lan, config));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    host.kill();
    server.server.with(|server| server.behaviour_mut().ignore = vec![MessageType::Request]);
    lab::wait_until("the end", PATIENCE, || host.leased_address().is_none()).unwrap();
    host.start("[[interface]]\nname = \"eth0\"");
    // The old lease is not used again before somebody grants it.
    host.capture.wait_for("a question", PATIENCE, |frame| frame.outgoing).unwrap();
    assert_eq!(host.leased_address(), None);
    server.server.with(|server| server.behaviour_mut().ignore.clear());
    host.wait_bound();
}

#[test]
fn released_at_the_end_where_told_so() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.daemon_keys = "release_on_stop = true".into();
    host.start_bound("");
    let status: ExitStatus = host.stop();
    assert!(status.success(), "{status}");
    assert_eq!(host.leased_address(), None);
    assert_eq!(host.dhcp_routes(), []);
    assert!(!host.resolver_file().contains("nameserver"));
    let released = server.server.wait_for("RELEASE", PATIENCE, |server| {
        let mut bindings = server.bindings().values();
        bindings.all(|binding| binding.state == BindingState::Released).then_some(())
    });
    released.unwrap();
    // That was the daemon's end, not a command: the next one acquires.
    host.start_bound("");
}

#[test]
fn through_iph_daemon_run() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.program = lab::Program::iph(lab::built("iph").unwrap_or_else(|error| panic!("{error}")));
    host.start_bound("");
    assert!(host.stop().success());
}
