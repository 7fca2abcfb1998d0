//! A lease is extended: on command and by itself, by the issuing server alone, and by any server
//! once that one is gone.

use std::fs;
use std::time::Duration;

use iphelper_tests::servers::{SECOND, SERVER, foreign, scripted, scripted_with};
use iphelper_tests::{Host, PATIENCE, eventually, with_each_server};
use lab::dhcp::ServerConfig;
use lab::frame::Packet;
use lab::{Lan, Peer, PeerConfig, PeerKind, StateDir, or_skip};
use serde_json::json;
use wire::dhcpv4::{MessageType, OptionCode};

with_each_server!(on_command, by_another_server);

fn on_command(kind: PeerKind) {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(foreign(&lan, kind, &PeerConfig::new(SERVER)));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    eventually("the kernel to have counted down a little", || {
        host.leased_address().is_some_and(|row| row.valid_seconds < Some(3599))
    });
    let row = host.leased_address().expect("an address");
    host.capture.clear();

    let answer = host.iph(&["lease", "renew", "eth0", "--json"]).success().json();
    assert_eq!(answer["via"], "unicast");
    assert_eq!(answer["lease"]["server"]["address"], SERVER.to_string());
    assert_eq!(answer["lease"]["bindings"][0]["address"], before["bindings"][0]["address"]);
    assert_eq!(answer["lease"]["state"], "bound");
    assert_ne!(answer["lease"]["obtained_at"], before["obtained_at"]);

    // The kernel counts from the new term as soon as the command returns.
    let after = host.leased_address().expect("an address");
    assert_eq!(after.created_at, row.created_at, "the address never left");
    assert!(after.updated_at > row.updated_at, "{row:?} {after:?}");

    let request = host
        .capture
        .wait_for("REQUEST", PATIENCE, |frame| frame.outgoing && frame.is(MessageType::Request))
        .unwrap();
    let Packet::Dhcp { source, destination, message } = &request.packet else { panic!() };
    assert_eq!(*destination.ip(), SERVER);
    assert_eq!(source.ip().to_string(), before["bindings"][0]["address"]);
    assert_eq!(message.ciaddr, *source.ip());
    // RFC 2131 section 4.3.2: neither in RENEWING.
    assert!(!message.options.contains(OptionCode::REQUESTED_ADDRESS));
    assert!(!message.options.contains(OptionCode::SERVER_IDENTIFIER));
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 0);
    if kind == PeerKind::Dnsmasq {
        eventually("two ACKs in the server's log", || {
            server.peer.log().matches("DHCPACK").count() == 2
        });
    }
}

/// The lease is extended by its server until that one dies, and then by another that knows it.
fn by_another_server(kind: PeerKind) {
    let lan = or_skip!(Lan::new());
    let times = (Duration::from_secs(2), Duration::from_secs(4));
    let lease_time = Duration::from_secs(300);
    let config = PeerConfig { times: Some(times), lease_time, ..PeerConfig::new(SERVER) };
    let mut first = or_skip!(foreign(&lan, kind, &config));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    if kind == PeerKind::Udhcpd {
        // It writes its leases now, and would otherwise in two hours.
        first.peer.process().signal(sys::process::SIGUSR1).unwrap();
        let leases = first.state.join("udhcpd.leases");
        eventually("udhcpd's leases on disk", || fs::metadata(&leases).unwrap().len() > 8);
    }

    let state = StateDir::new().unwrap();
    for entry in fs::read_dir(first.state.path()).unwrap().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.contains("leases") || name.contains(".csv") {
            fs::copy(entry.path(), state.join(&*name)).unwrap();
        }
    }
    let namespace = lan.host_at(SECOND, 24).unwrap();
    let config = PeerConfig { address: SECOND, ..config };
    let _second = Peer::start(kind, &namespace, "eth0", &state, &config).unwrap();
    drop(first);

    let client = host.wait_client("the second server", |client| {
        client["server"]["address"] == SECOND.to_string() && client["state"] == "bound"
    });
    assert_eq!(client["bindings"][0]["address"], before["bindings"][0]["address"]);
    assert!(host.leased_address().is_some());
    let broadcast = host
        .capture
        .wait_for("a broadcast REQUEST", PATIENCE, |frame| {
            matches!(&frame.packet, Packet::Dhcp { destination, message, .. }
                if frame.outgoing && destination.ip().is_broadcast()
                    && message.message_type() == Some(MessageType::Request)
                    && !message.ciaddr.is_unspecified())
        })
        .unwrap();
    let message = broadcast.dhcp().unwrap();
    assert!(!message.options.contains(OptionCode::SERVER_IDENTIFIER), "{broadcast}");
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 1);
}

#[test]
fn by_itself_at_t1() {
    let lan = or_skip!(Lan::new());
    let config = ServerConfig::new(SERVER).times(Duration::from_secs(2), Duration::from_secs(60));
    let server = or_skip!(scripted_with(&lan, config));
    let mut host = or_skip!(Host::on(&lan));
    let mut events = {
        host.start("[[interface]]\nname = \"eth0\"");
        host.monitor()
    };
    events.event("renewed", |event| event["kind"] == "renewed");
    server
        .server
        .wait_for("two renewals", PATIENCE, |server| {
            let renewals = server
                .seen()
                .filter(|seen| seen.kind() == Some(MessageType::Request))
                .filter(|seen| !seen.message.ciaddr.is_unspecified());
            (renewals.count() >= 2).then_some(())
        })
        .unwrap();
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 1);
}

#[test]
fn in_vain_the_lease_stays() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    server.server.with(|server| server.behaviour_mut().ignore = vec![MessageType::Request]);
    let error = host
        .call("Lease.Renew", json!({"interface": "eth0", "timeout": 2.5}))
        .expect_err("nobody answers");
    assert_eq!(error.name, "NoAnswer");
    assert!(error.parameters["tries"].as_i64() >= Some(1), "{error:?}");
    assert!(error.parameters["waited"].as_f64() >= Some(2.4), "{error:?}");
    let client = host.client("eth0").unwrap();
    assert_eq!(client["bindings"][0]["address"], before["bindings"][0]["address"]);
    assert!(host.leased_address().is_some());
}

#[test]
fn refused_by_the_server() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let words = "not for you; \u{1b}[31m$(reboot)";
    server.server.with(|server| server.behaviour_mut().refuse = Some(words.into()));
    let error = host.call("Lease.Renew", json!({"interface": "eth0"})).expect_err("refused");
    assert_eq!(error.name, "Refused");
    assert_eq!(error.parameters["server"]["address"], SERVER.to_string());
    let message = error.parameters["message"].as_str().unwrap();
    assert!(message.contains("not for you"), "{error:?}");
    assert!(!message.contains('\u{1b}') && !host.log().contains('\u{1b}'), "hostile bytes escaped");
    host.wait_bare();
    server.server.with(|server| server.behaviour_mut().refuse = None);
    // It starts over by itself, after a pause that keeps a refusing server from a storm.
    host.wait_bound();
}

#[test]
fn after_a_release_any_server_is_asked() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    host.iph(&["lease", "release", "eth0"]).success();
    let answer = host.iph(&["lease", "renew", "eth0", "--json"]).success().json();
    assert_eq!(answer["via"], "broadcast");
    assert_eq!(answer["lease"]["state"], "bound");
    assert!(host.leased_address().is_some());
}
