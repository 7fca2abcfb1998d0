//! Several interfaces, and what a server is not allowed to set.

use std::net::Ipv4Addr;

use iphelper_tests::servers::{SERVER, scripted, scripted_with};
use iphelper_tests::{Host, PATIENCE};
use lab::dhcp::{Behaviour, ServerConfig};
use lab::{Lan, or_skip};
use wire::dhcpv4::OptionCode;

#[test]
fn two_default_routes_keep_their_order() {
    let (first, second) = (or_skip!(Lan::new()), or_skip!(Lan::new()));
    let _first_server = or_skip!(scripted(&first));
    let elsewhere = iphelper_tests::servers::ELSEWHERE;
    let _second_server = or_skip!(scripted_with(&second, ServerConfig::new(elsewhere)));
    let mut host = or_skip!(Host::on(&first));
    second.plug(&host.namespace, "eth1").unwrap();
    host.start("[[interface]]\nname = \"eth*\"");
    for interface in ["eth0", "eth1"] {
        let client = host.wait_client_of(interface, "a lease", |client| client["state"] == "bound");
        host.settled(client);
    }
    let index = |interface: &str| host.namespace.index_of(interface).unwrap();
    // 1024 + ifindex each: no two are alike, and the order does not depend on who was first.
    let expected = [(SERVER, 1024 + index("eth0")), (elsewhere, 1024 + index("eth1"))];
    let sorted = |host: &Host| {
        let mut routes = host.default_routes();
        routes.sort_by_key(|route| route.1);
        routes
    };
    assert_eq!(sorted(&host), expected);
    for interface in ["eth0", "eth1", "eth0"] {
        host.iph(&["lease", "release", interface]).success();
        host.iph(&["lease", "acquire", interface]).success();
        assert_eq!(sorted(&host), expected, "after {interface} was the last");
    }
}

/// TunnelVision (CVE-2024-3661): a server must not be able to route around a VPN.
#[test]
fn refused_routes_name_servers_and_mtu() {
    let lan = or_skip!(Lan::new());
    // 0.0.0.0/1 and 128.0.0.0/1 through the server.
    let routes = [1, 0, 10, 98, 0, 1, 1, 128, 10, 98, 0, 1];
    let config = ServerConfig::new(SERVER)
        .option(OptionCode::CLASSLESS_ROUTE, routes)
        .option(OptionCode::CLASSLESS_ROUTE_MICROSOFT, routes)
        .option(OptionCode::INTERFACE_MTU, [5, 120]);
    let server = or_skip!(scripted_with(&lan, config));
    server.server.with(|server| {
        *server.behaviour_mut() = Behaviour { unsolicited: true, ..Behaviour::default() };
    });
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("use_routes = false\nuse_dns = false\nuse_mtu = false");
    assert_eq!(host.dhcp_routes(), []);
    assert_eq!(host.namespace.link("eth0").unwrap().mtu, 1500);
    assert!(!host.resolver_file().contains("nameserver"));
    assert_eq!(client["routes"], serde_json::json!([]));
    // They were not even asked for.
    let asked = host.capture.frames().iter().find_map(|frame| {
        let options = &frame.dhcp()?.options;
        options.get(OptionCode::PARAMETER_REQUEST_LIST).map(<[u8]>::to_vec)
    });
    let asked = asked.expect("a parameter request list");
    for refused in [3, 6, 26, 121, 249] {
        assert!(!asked.contains(&refused), "{asked:?}");
    }
}

/// The door is shut when the configuration says so, not when the lease is next extended; and a daemon
/// that starts without a server does not open it again.
#[test]
fn what_is_refused_from_now_on_goes_at_once() {
    const SECTION: &str =
        "[[interface]]\nname = \"eth0\"\nuse_routes = false\nuse_dns = false\nuse_mtu = false";
    let lan = or_skip!(Lan::new());
    let routes = [1, 0, 10, 98, 0, 1, 1, 128, 10, 98, 0, 1];
    let config = ServerConfig::new(SERVER)
        .option(OptionCode::CLASSLESS_ROUTE, routes)
        .option(OptionCode::INTERFACE_MTU, [5, 120]);
    let server = or_skip!(scripted_with(&lan, config));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("");
    let before = host.settled(client)["bindings"][0]["address"].clone();
    assert_eq!(host.dhcp_routes().len(), 2, "{:?}", host.dhcp_routes());
    let shut = |host: &Host| {
        host.dhcp_routes().is_empty()
            && host.namespace.link("eth0").unwrap().mtu == 1500
            && !host.resolver_file().contains("nameserver")
    };
    assert!(!shut(&host));
    drop(server);
    host.reload(SECTION);
    lab::wait_until("what is refused to go", PATIENCE, || shut(&host)).unwrap();
    assert_eq!(host.wait_client("the lease", |_| true)["bindings"][0]["address"], before);

    host.kill();
    host.start(SECTION);
    // Nobody answers: the address is used all the same, and any server is looked for.
    let client = host.wait_client("the lease from before, unconfirmed", |client| {
        client["state"] == "selecting" && client["bindings"][0]["address"] == before
    });
    assert_eq!(client["routes"], serde_json::json!([]));
    assert!(shut(&host), "{:?}", host.dhcp_routes());
    assert_eq!(host.leased_address().map(|a| a.address.to_string()).as_deref(), before.as_str());
}

#[test]
fn an_mtu_is_put_back() {
    let lan = or_skip!(Lan::new());
    let config = ServerConfig::new(SERVER).option(OptionCode::INTERFACE_MTU, [5, 120]);
    let _server = or_skip!(scripted_with(&lan, config));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    assert_eq!(host.namespace.link("eth0").unwrap().mtu, 1400);
    host.iph(&["lease", "release", "eth0"]).success();
    assert_eq!(host.namespace.link("eth0").unwrap().mtu, 1500);
}

#[test]
fn a_gateway_outside_the_subnet_is_reached_all_the_same() {
    let lan = or_skip!(Lan::new());
    let config =
        ServerConfig::new(SERVER).prefix_length(32).option(OptionCode::ROUTER, [169, 254, 1, 1]);
    let pool = "10.98.0.7".parse().unwrap()..="10.98.0.7".parse().unwrap();
    // As clouds do it: a /32 and a router that is nobody's neighbour.
    let _server = or_skip!(scripted_with(&lan, config.pool(pool)));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    assert_eq!(host.leased_address().unwrap().prefix_length, 32);
    let gateways: Vec<_> = host.default_routes().iter().map(|route| route.0.to_string()).collect();
    assert_eq!(gateways, ["169.254.1.1"]);
}

/// The MTU that counts is the one from before any lease, also when one lease follows another
/// without a pause.
#[test]
fn an_mtu_is_put_back_after_two_leases() {
    let lan = or_skip!(Lan::new());
    // A server that says nothing about addresses it does not know: the old lease is in use until
    // the new one takes its place.
    let config = ServerConfig::new(SERVER).authoritative(false);
    let config = config.option(OptionCode::INTERFACE_MTU, [5, 120]);
    let server = or_skip!(scripted_with(&lan, config));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    let other = Ipv4Addr::new(10, 98, 0, 77);
    server.server.with(|server| {
        server.forget();
        server.config_mut().pool = other..=other;
    });
    lan.set_carrier(&host.port, false).unwrap();
    host.wait_state("stopped");
    lan.set_carrier(&host.port, true).unwrap();
    let after = host.wait_client("the other address", |client| {
        client["bindings"][0]["address"] == other.to_string() && client["state"] == "bound"
    });
    host.settled(after);
    assert_ne!(before["bindings"][0]["address"], other.to_string());
    assert_eq!(host.namespace.link("eth0").unwrap().mtu, 1400);
    host.iph(&["lease", "release", "eth0"]).success();
    assert_eq!(host.namespace.link("eth0").unwrap().mtu, 1500);
}

#[test]
fn another_metric_counts_from_the_next_lease() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("metric = 30");
    host.reload("[[interface]]\nname = \"eth0\"\nmetric = 50");
    host.wait_log("the reload", |log| log.contains("read again"));
    assert_eq!(host.default_routes(), [(SERVER, 30)]);
    host.iph(&["lease", "release", "eth0"]).success();
    host.iph(&["lease", "acquire", "eth0"]).success();
    assert_eq!(host.default_routes(), [(SERVER, 50)]);
}
