//! Somebody else changes what is ours.

use std::net::IpAddr;

use iphelper_tests::servers::scripted;
use iphelper_tests::{Host, eventually};
use lab::{Lan, or_skip};
use netlink::route::{Entry, Prefix};

#[test]
fn the_address_comes_back_with_its_routes() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let routes = host.default_routes();
    let row = host.leased_address().unwrap();
    let IpAddr::V4(address) = row.address else { panic!() };
    let mut events = host.monitor();
    host.namespace.delete_address("eth0", address, row.prefix_length).unwrap();
    let event = events.event("restored", |event| event["kind"] == "restored");
    assert!(event["text"].as_str().unwrap().contains(&address.to_string()), "{event:#?}");
    eventually("the address", || host.namespace.has_address("eth0", address).unwrap());
    eventually("the route", || host.default_routes() == routes);
    let again = host.leased_address().unwrap();
    assert!(again.valid_seconds.is_some(), "with its lifetime: {again:?}");
    host.wait_log("a line in the log", |line| {
        line.contains(&address.to_string()) && line.contains("back")
    });
}

#[test]
fn a_route_comes_back() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let routes = host.default_routes();
    let mut events = host.monitor();
    delete_default_route(&host);
    events.event("restored", |event| event["kind"] == "restored");
    eventually("the route", || host.default_routes() == routes);
}

/// The kernel makes an address that comes after ours in our subnet hang on ours.
#[test]
fn an_administrators_address_beside_ours_stays() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let IpAddr::V4(leased) = host.leased_address().unwrap().address else { panic!() };
    let beside = "10.98.0.77".parse().unwrap();
    host.namespace.add_address("eth0", beside, 24).unwrap();
    // Answered for the address: the daemon knows of it.
    eventually("an answer to INFORM", || host.iph(&["lease", "inform", "eth0"]).code == 0);
    host.iph(&["lease", "release", "eth0"]).success();
    assert!(!host.namespace.has_address("eth0", leased).unwrap());
    assert!(host.namespace.has_address("eth0", beside).unwrap());
}

#[test]
fn an_administrators_objects_stay() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    let (address, gateway) =
        ("192.0.2.1".parse().unwrap(), "192.0.2.254".parse::<IpAddr>().unwrap());
    host.namespace.add_address("eth0", address, 24).unwrap();
    let index = host.namespace.index_of("eth0").unwrap();
    let static_route = Entry {
        interface: Some(index),
        gateway: Some(gateway),
        protocol: netlink::kernel::RTPROT_STATIC,
        ..Entry::new(Prefix::new("198.51.100.0".parse().unwrap(), 24))
    };
    host.namespace.request("static route", &static_route.add()).unwrap();
    host.start("[[interface]]\nname = \"eth0\"");
    host.wait_state("bound");
    host.iph(&["lease", "release", "eth0"]).success();
    let rows = host.namespace.addresses("eth0").unwrap();
    assert_eq!(rows.iter().map(|row| row.address).collect::<Vec<_>>(), [IpAddr::from(address)]);
    let routes = host.namespace.routes().unwrap();
    let kept = routes.iter().any(|route| route.destination.address.to_string() == "198.51.100.0");
    assert!(kept, "{routes:#?}");
}

fn delete_default_route(host: &Host) {
    let route = host.dhcp_routes().into_iter().find(|r| r.destination.length == 0).unwrap();
    let hop = route.next_hops.first().unwrap();
    let entry = Entry {
        interface: hop.interface,
        gateway: hop.gateway,
        priority: route.priority,
        protocol: route.protocol,
        ..Entry::new(route.destination)
    };
    host.namespace.request("deletion of the route", &entry.delete()).unwrap();
}
