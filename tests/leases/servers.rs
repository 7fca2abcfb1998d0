//! Servers that are right in an unusual way, or wrong in a usual one.

use std::net::Ipv4Addr;

use iphelper_tests::servers::{ELSEWHERE, SERVER, scripted, scripted_with};
use iphelper_tests::{Host, PATIENCE};
use lab::dhcp::{Behaviour, Echo, ServerConfig};
use lab::frame::Packet;
use lab::{Lan, or_skip};
use serde_json::json;
use wire::dhcpv4::{MessageType, OptionCode};

/// A lease from a server that behaves so, and a renewal.
fn leases(behaviour: Behaviour) -> Option<Host> {
    let lan = Lan::new();
    let lan = match lan {
        Err(lab::Error::Unavailable(reason)) => {
            eprintln!("SKIPPED: servers: {reason}");
            return None;
        }
        other => other.unwrap(),
    };
    let server = scripted(&lan).unwrap();
    server.server.with(|server| *server.behaviour_mut() = behaviour);
    let mut host = Host::on(&lan).unwrap();
    let client = host.start_bound("");
    let renewed = host.iph(&["lease", "renew", "eth0", "--json"]).success().json();
    assert_eq!(renewed["lease"]["bindings"][0]["address"], client["bindings"][0]["address"]);
    assert_eq!(renewed["via"], "unicast");
    Some(host)
}

#[test]
fn siaddr_is_not_the_server() {
    let siaddr = Ipv4Addr::new(10, 98, 0, 66);
    let Some(host) = leases(Behaviour { siaddr: Some(siaddr), ..Behaviour::default() }) else {
        return;
    };
    assert_eq!(host.client("eth0").unwrap()["server"]["address"], SERVER.to_string());
    let astray = host.capture.frames().iter().any(|frame| {
        matches!(&frame.packet, Packet::Dhcp { destination, .. } if *destination.ip() == siaddr)
    });
    assert!(!astray);
}

#[test]
fn two_server_identifiers() {
    // RFC 3396 joins them to eight bytes, which is no address; the first is the server.
    leases(Behaviour { duplicate_identifier: Some(ELSEWHERE), ..Behaviour::default() });
}

#[test]
fn options_in_the_old_fields() {
    let Some(host) = leases(Behaviour { overload: true, ..Behaviour::default() }) else { return };
    assert_eq!(host.default_routes().len(), 1);
    assert!(host.resolver_file().contains("nameserver 10.98.0.1"));
}

#[test]
fn no_echo_of_the_client_identifier() {
    leases(Behaviour { echo: Echo::Nothing, ..Behaviour::default() });
}

#[test]
fn every_answer_broadcast() {
    leases(Behaviour { broadcast: Some(true), ..Behaviour::default() });
}

#[test]
fn ipv6_only_networks_are_left_alone() {
    let lan = or_skip!(Lan::new());
    let config =
        ServerConfig::new(SERVER).option(OptionCode::IPV6_ONLY_PREFERRED, 1800_u32.to_be_bytes());
    let _server = or_skip!(scripted_with(&lan, config));
    let mut host = or_skip!(Host::on(&lan));
    host.start("[defaults]\nipv6_only = true");
    let error = host.call("Lease.Acquire", json!({"interface": "eth0"})).expect_err("no IPv4");
    assert_eq!(error.name, "Ipv6Only");
    assert_eq!(error.parameters["wait"], 1800.0);
    assert_eq!(host.client("eth0").unwrap()["state"], "ipv6-only");
    assert_eq!(host.leased_address(), None);
    assert_eq!(host.capture.counters().dhcp(MessageType::Request), 0);
}

#[test]
fn parameters_only() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.namespace.add_address("eth0", Ipv4Addr::new(10, 98, 0, 50), 24).unwrap();
    host.start("");
    let reply = host.call("Lease.Inform", json!({"interface": "eth0"})).expect("parameters");
    assert_eq!(reply["lease"]["dns"][0], SERVER.to_string());
    assert_eq!(reply["address"], "10.98.0.50");
    assert_eq!(reply["lease"]["bindings"], json!([]));
    let inform =
        host.capture.wait_for("INFORM", PATIENCE, |frame| frame.is(MessageType::Inform)).unwrap();
    assert_eq!(inform.dhcp().unwrap().ciaddr, Ipv4Addr::new(10, 98, 0, 50));
    assert_eq!(host.namespace.addresses("eth0").unwrap().len(), 1, "nothing is added");
}

/// A client made for one question goes with its answer, but not when a lease was asked for since.
#[test]
fn a_lease_outlives_a_question_for_parameters() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.namespace.add_address("eth0", Ipv4Addr::new(10, 98, 0, 50), 24).unwrap();
    host.start("");
    let mut connection = host.connect();
    let question = std::thread::spawn(move || {
        connection.call("Lease.Inform", json!({"interface": "eth0", "timeout": 1.5}))
    });
    host.capture.wait_for("INFORM", PATIENCE, |frame| frame.is(MessageType::Inform)).unwrap();
    let refused = host.call("Lease.Renew", json!({"interface": "eth0"})).unwrap_err();
    assert_eq!(refused.name, "NotManaged");
    let _server = or_skip!(scripted(&lan));
    let leased = host.call("Lease.Acquire", json!({"interface": "eth0"})).expect("a lease");
    let unanswered = question.join().expect("the question's thread").unwrap_err();
    assert_eq!(unanswered.name, "NoAnswer");
    let client = host.client("eth0").expect("still managed");
    assert_eq!(client["bindings"][0]["address"], leased["lease"]["bindings"][0]["address"]);
    assert_eq!(client["state"], "bound");
}

#[test]
fn link_local_until_one_answers() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("[[interface]]\nname = \"eth0\"\nlink_local = true");
    let found = lab::wait_for("an address of 169.254/16", PATIENCE * 3, || {
        let rows = host.namespace.addresses("eth0").unwrap();
        rows.into_iter().find(|row| row.address.to_string().starts_with("169.254."))
    });
    let row = found.unwrap();
    assert_eq!(row.prefix_length, 16);
    assert_eq!(host.client("eth0").unwrap()["link_local"], row.address.to_string());
    let _server = or_skip!(scripted(&lan));
    let renewed = host.call("Lease.Acquire", json!({"interface": "eth0", "timeout": 30}));
    assert!(renewed.is_ok(), "{renewed:?}");
    lab::wait_until("the link-local address gone", PATIENCE, || {
        host.namespace.addresses("eth0").unwrap().len() == 1
    })
    .unwrap();
}

#[test]
fn who_the_client_says_it_is() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let keys = "client_identifier = \"01:02:03:04\"\nhost_name = \"box\"\nvendor_class = \"lab 1\"\n\
                user_class = [\"a\", \"bc\"]\nrequest_options = [42, 150]\nbroadcast = \"always\"";
    let client = host.start_bound(keys);
    assert_eq!(client["client_identifier"], "01:02:03:04");
    let frames = host.capture.frames();
    let discover = frames.iter().find(|frame| frame.is(MessageType::Discover)).unwrap();
    let message = discover.dhcp().unwrap();
    let option = |code| message.options.get(code).unwrap_or_default().to_vec();
    assert_eq!(option(OptionCode::CLIENT_IDENTIFIER), [1, 2, 3, 4]);
    assert_eq!(option(OptionCode::HOST_NAME), b"box");
    assert_eq!(option(OptionCode::VENDOR_CLASS), b"lab 1");
    assert_eq!(option(OptionCode::USER_CLASS), b"\x01a\x02bc");
    let requested = option(OptionCode::PARAMETER_REQUEST_LIST);
    assert!(requested.contains(&42) && requested.contains(&150), "{requested:?}");
    assert!(message.broadcast, "the broadcast flag");
}

/// RFC 7844: nothing that tells who it is.
#[test]
fn who_the_client_does_not_say_it_is() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("anonymize = true\nhost_name = \"box\"\nvendor_class = \"lab 1\"");
    for frame in host.capture.frames().iter().filter(|frame| frame.outgoing) {
        let Some(message) = frame.dhcp() else { continue };
        for code in [OptionCode::HOST_NAME, OptionCode::VENDOR_CLASS, OptionCode::FQDN] {
            assert!(!message.options.contains(code), "{code} in {frame}");
        }
        let identifier = message.options.get(OptionCode::CLIENT_IDENTIFIER).unwrap_or_default();
        assert_ne!(identifier.first(), Some(&255), "no DUID");
    }
}
