//! Interfaces come, go, lose their carrier, change their names and move away.

use iphelper_tests::servers::{ELSEWHERE, SERVER, scripted, scripted_with};
use iphelper_tests::{Host, PATIENCE, eventually};
use lab::dhcp::ServerConfig;
use lab::{Lan, Namespace, or_skip};
use netlink::link::Settings;
use wire::dhcpv4::MessageType;

#[test]
fn back_on_the_same_network() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    let row = host.leased_address().unwrap();
    // The router has to be known before it can be recognised (RFC 4436).
    host.capture
        .wait_for("the router's ARP", PATIENCE, |frame| {
            !frame.outgoing && frame.arp().is_some_and(|arp| arp.sender == SERVER)
        })
        .unwrap();
    host.capture.clear();
    lan.set_carrier(&host.port, false).unwrap();
    host.wait_client("the cut", |client| client["link_up"] == false);
    assert!(host.leased_address().is_some(), "a cut of a moment costs nothing");
    lan.set_carrier(&host.port, true).unwrap();
    let after = host
        .wait_client("the mend", |client| client["link_up"] == true && client["state"] == "bound");
    assert_eq!(after["bindings"][0]["address"], before["bindings"][0]["address"]);
    let now = host.leased_address().unwrap();
    assert_eq!(now.created_at, row.created_at, "the address never left");
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 0);
    eventually("the route", || host.default_routes().len() == 1);
}

/// RFC 4436: where no server answers, the router's address proves that the network is the same.
#[test]
fn recognised_by_its_router() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    host.capture
        .wait_for("the router's ARP", PATIENCE, |frame| {
            !frame.outgoing && frame.arp().is_some_and(|arp| arp.sender == SERVER)
        })
        .unwrap();
    let mut events = host.monitor();
    let silent = vec![MessageType::Discover, MessageType::Request];
    server.server.with(|server| server.behaviour_mut().ignore = silent);
    lan.set_carrier(&host.port, false).unwrap();
    host.wait_client("the cut", |client| client["link_up"] == false);
    lan.set_carrier(&host.port, true).unwrap();
    let event = events.event("same-network", |event| event["kind"] == "same-network");
    assert_eq!(event["lease"]["bindings"][0]["address"], before["bindings"][0]["address"]);
    let client = host.wait_state("bound");
    assert_eq!(
        client["bindings"][0]["expires_at"], before["bindings"][0]["expires_at"],
        "nobody extended it"
    );
    assert!(host.leased_address().is_some());
}

#[test]
fn back_on_another_network() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    lan.set_carrier(&host.port, false).unwrap();
    host.wait_client("the cut", |client| client["link_up"] == false);
    drop(server);
    let _other = or_skip!(scripted_with(&lan, ServerConfig::new(ELSEWHERE)));
    lan.set_carrier(&host.port, true).unwrap();
    let after = host.settled(host.wait_client("a lease there", |client| {
        client["server"]["address"] == ELSEWHERE.to_string() && client["state"] == "bound"
    }));
    assert_ne!(after["bindings"][0]["address"], before["bindings"][0]["address"]);
    assert_eq!(host.namespace.addresses("eth0").unwrap().len(), 1);
    assert_eq!(host.default_routes().iter().map(|r| r.0).collect::<Vec<_>>(), [ELSEWHERE]);
}

#[test]
fn down_at_first() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.namespace.set_down("eth0").unwrap();
    host.start("[[interface]]\nname = \"eth0\"");
    let client = host.wait_state("stopped");
    assert_eq!(client["link_up"], false);
    let answer = host.iph(&["lease", "acquire", "eth0"]);
    assert_eq!(answer.code, 1, "{answer:#?}");
    host.namespace.set_up("eth0").unwrap();
    host.wait_bound();
}

#[test]
fn renamed() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    let row = host.leased_address().unwrap();
    host.capture.clear();
    host.namespace.change("eth0", &Settings::new().name("lan0")).unwrap();
    let after = host.wait_client_of("lan0", "the lease under the new name", |client| {
        client["state"] == "bound"
    });
    assert_eq!(after["bindings"][0]["address"], before["bindings"][0]["address"]);
    assert_eq!(after["ifindex"], before["ifindex"]);
    assert_eq!(host.leased_address_of("lan0").unwrap().created_at, row.created_at);
    assert!(host.client("eth0").is_none());
    let renewed = host.iph(&["lease", "renew", "lan0", "--json"]).success().json();
    assert_eq!(renewed["lease"]["bindings"][0]["address"], before["bindings"][0]["address"]);
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 0);
}

/// Nothing has been written since under the new name.
#[test]
fn renamed_before_a_restart() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    host.iph(&["lease", "acquire", "eth0"]).success();
    let address = host.leased_address().unwrap().address;
    host.namespace.change("eth0", &Settings::new().name("lan0")).unwrap();
    host.wait_client_of("lan0", "the lease under the new name", |client| {
        client["state"] == "bound"
    });
    let moved = host.state.join("leases/ipv4/lan0.json");
    eventually("the record to follow", || moved.exists());
    host.kill();
    host.capture.clear();
    host.start("");
    let after = host.wait_client_of("lan0", "the lease", |client| client["state"] == "bound");
    assert_eq!(after["bindings"][0]["address"], address.to_string());
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 0);
    assert_eq!(host.problems(), []);
}

#[test]
fn plugged_in_later() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start("[[interface]]\nname = \"usb*\"");
    assert!(host.client("eth0").is_none(), "not ours to manage");
    lan.plug(&host.namespace, "usb0").unwrap();
    host.settled(host.wait_client_of("usb0", "a lease", |client| client["state"] == "bound"));
    assert!(host.leased_address_of("usb0").is_some());
    assert!(host.leased_address().is_none());

    host.namespace.delete("usb0").unwrap();
    eventually("the client to go with its interface", || host.client("usb0").is_none());
    lan.plug(&host.namespace, "usb0").unwrap();
    host.wait_client_of("usb0", "a lease again", |client| client["state"] == "bound");
    assert!(host.daemon_lives());
}

#[test]
fn moved_to_another_namespace() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let away = Namespace::without_ipv6().unwrap();
    host.namespace.move_to("eth0", &away).unwrap();
    eventually("the client to go with its interface", || host.client("eth0").is_none());
    eventually("name servers gone", || !host.resolver_file().contains("nameserver"));
    assert!(host.daemon_lives());
    assert!(!host.log().contains("somebody removed"), "nobody is blamed: {}", host.log());
    away.move_to("eth0", &host.namespace).unwrap();
    host.namespace.set_up("eth0").unwrap();
    host.wait_bound();
}
