use std::net::IpAddr;

use netlink::address::Assignment;
use netlink::route::{self, Entry, NextHopEntry, Prefix, Route};
use netlink::{Connection, Family, Reason, kernel};
use serde_json::Value;
use sys::netlink::Socket;

use crate::{in_namespace, ip, ip_do, veth, wait_until};

/// Compares the routes of a family, in all tables, with what `ip` says.
fn compare(connection: &mut Connection<Socket>, family: Family) -> Vec<Route> {
    let routes = connection.dump::<Route>(&route::dump(family, None, None)).unwrap();
    let option = if family == Family::Ipv4 { "-4" } else { "-6" };
    let expected = ip(&format!("-N {option} route show table all"));
    assert_eq!(routes.len(), expected.len(), "{routes:#?}\n{expected:#?}");
    for (route, json) in routes.iter().zip(&expected) {
        let context = format!("{route:?}\n{json}");
        let number = |key: &str| json[key].as_str().map(|text| text.parse::<u32>().unwrap());
        let destination = match json["dst"].as_str().unwrap() {
            "default" => "default".to_string(),
            other => match other.split_once('/') {
                Some(_) => other.to_string(),
                None if family == Family::Ipv4 => format!("{other}/32"),
                None => format!("{other}/128"),
            },
        };
        let ours = match route.destination.length {
            0 => "default".to_string(),
            _ => route.destination.to_string(),
        };
        assert_eq!(ours, destination, "{context}");
        assert_eq!(route.table, number("table").unwrap_or(254), "{context}");
        assert_eq!(u32::from(route.protocol), number("protocol").unwrap(), "{context}");
        assert_eq!(u32::from(route.scope), number("scope").unwrap_or(0), "{context}");
        assert_eq!(u32::from(route.kind), number("type").unwrap(), "{context}");
        assert_eq!(u64::from(route.priority), json["metric"].as_u64().unwrap_or(0), "{context}");
        assert_eq!(
            route.preferred_source.map(|source| source.to_string()).as_deref(),
            json["prefsrc"].as_str(),
            "{context}"
        );
        let metrics = &json["metrics"][0];
        assert_eq!(route.metrics.mtu.map(u64::from), metrics["mtu"].as_u64(), "{context}");
        let mss = metrics["advmss"].as_u64();
        assert_eq!(route.metrics.advertised_mss.map(u64::from), mss, "{context}");
        match json["nexthops"].as_array() {
            Some(list) => {
                assert_eq!(list.len(), route.next_hops.len(), "{context}");
                for (ours, json) in route.next_hops.iter().zip(list) {
                    assert_eq!(gateway(ours.gateway), gateway_of(json), "{context}");
                    assert_eq!(Some(u64::from(ours.weight)), json["weight"].as_u64(), "{context}");
                }
            }
            None => {
                let first = route.next_hops.first();
                assert_eq!(gateway(first.and_then(|hop| hop.gateway)), gateway_of(json));
                assert_eq!(
                    first.and_then(|hop| hop.interface).is_some(),
                    json["dev"].is_string(),
                    "{context}"
                );
                let on_link = first.is_some_and(|hop| hop.flags & 4 != 0);
                let flags = json["flags"].as_array().unwrap();
                assert_eq!(on_link, flags.contains(&Value::from("onlink")), "{context}");
            }
        }
    }
    routes
}

fn gateway(gateway: Option<IpAddr>) -> Option<String> {
    gateway.map(|gateway| gateway.to_string())
}

fn gateway_of(json: &Value) -> Option<String> {
    json["gateway"].as_str().or(json["via"]["host"].as_str()).map(str::to_string)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn ipv4_routes_as_ip_shows_them() {
    in_namespace("ipv4_routes_as_ip_shows_them", |connection| {
        let (one, two) = veth(connection, "one", "two");
        ip_do("link set lo up");
        let assignment = Assignment::new(one, address("192.0.2.1"), 24);
        connection.request(&assignment.add()).unwrap();

        let mut default = Entry::new(Prefix::ALL_IPV4);
        default.interface = Some(one);
        default.gateway = Some(address("192.0.2.254"));
        default.preferred_source = Some(address("192.0.2.1"));
        default.protocol = kernel::RTPROT_DHCP;
        default.priority = 1026;
        default.mtu = Some(1400);
        default.advertised_mss = Some(1200);
        let mut on_link = Entry::new(Prefix::new(address("203.0.113.0"), 24));
        on_link.interface = Some(one);
        on_link.gateway = Some(address("10.99.99.1"));
        on_link.on_link = true;
        let mut direct = Entry::new(Prefix::new(address("10.99.99.1"), 32));
        direct.interface = Some(one);
        direct.table = 1000;
        let mut blackhole = Entry::new(Prefix::new(address("198.51.100.0"), 24));
        blackhole.kind = kernel::RTN_BLACKHOLE;
        let mut multipath = Entry::new(Prefix::new(address("10.0.0.0"), 8));
        let hop = |interface, last| NextHopEntry {
            interface,
            gateway: Some(address(last)),
            weight: if interface == one { 1 } else { 200 },
            on_link: true,
        };
        multipath.next_hops = vec![hop(one, "192.0.2.7"), hop(two, "192.0.2.8")];
        let mut via_ipv6 = Entry::new(Prefix::new(address("172.16.0.0"), 12));
        via_ipv6.interface = Some(one);
        via_ipv6.gateway = Some(address("fe80::1"));

        let entries = [&default, &on_link, &direct, &blackhole, &multipath, &via_ipv6];
        let requests: Vec<_> = entries.iter().map(|entry| entry.add()).collect();
        for outcome in connection.request_all(&requests) {
            outcome.unwrap();
        }
        let routes = compare(connection, Family::Ipv4);
        let found = |entry: &Entry| {
            routes.iter().find(|route| route.destination == entry.destination).unwrap()
        };
        assert_eq!(found(&default).protocol, 16);
        assert_eq!(found(&default).metrics.mtu, Some(1400));
        assert_eq!(found(&direct).table, 1000);
        assert_eq!(found(&direct).scope, kernel::RT_SCOPE_LINK);
        assert_eq!(found(&multipath).next_hops[1].weight, 200);
        assert_eq!(found(&blackhole).next_hops, []);

        // Filters are the kernel's.
        let table = connection.dump::<Route>(&route::dump(Family::Ipv4, Some(1000), None)).unwrap();
        assert_eq!(table.len(), 1);
        let by_interface =
            connection.dump::<Route>(&route::dump(Family::Ipv4, Some(254), Some(two))).unwrap();
        assert!(by_interface.iter().all(|route| route.destination == multipath.destination));

        // The way a packet goes.
        let way = connection.one::<Route>(&route::lookup(address("9.9.9.9"), None, None)).unwrap();
        assert_eq!(way.next_hops[0].gateway, default.gateway);
        assert_eq!(way.preferred_source, default.preferred_source);
        let error = connection
            .one::<Route>(&route::lookup(address("198.51.100.9"), None, None))
            .unwrap_err();
        assert_eq!(error.reason(), Some(Reason::InvalidValue), "{error}");

        let requests: Vec<_> = entries.iter().map(|entry| entry.delete()).collect();
        for outcome in connection.request_all(&requests) {
            outcome.unwrap();
        }
        let left = compare(connection, Family::Ipv4);
        assert!(left.iter().all(|route| route.protocol == kernel::RTPROT_KERNEL), "{left:?}");
    });
}

#[test]
fn ipv6_routes_as_ip_shows_them() {
    in_namespace("ipv6_routes_as_ip_shows_them", |connection| {
        let (one, _) = veth(connection, "one", "two");
        let assignment = Assignment::new(one, address("2001:db8::1"), 64);
        connection.request(&assignment.add()).unwrap();
        let mut default = Entry::new(Prefix::ALL_IPV6);
        default.interface = Some(one);
        default.gateway = Some(address("fe80::1"));
        default.expires_seconds = Some(1000);
        let mut prohibit = Entry::new(Prefix::new(address("2001:db8:bad::"), 48));
        prohibit.kind = kernel::RTN_PROHIBIT;
        prohibit.interface = Some(1);
        for request in [default.add(), prohibit.add()] {
            connection.request(&request).unwrap();
        }
        wait_until("addresses are no longer tentative, so that routes stand still", || {
            ip("-6 addr show tentative")
                .iter()
                .all(|link| link["addr_info"].as_array().is_none_or(|list| list.is_empty()))
        });
        let routes = compare(connection, Family::Ipv6);
        let default = routes.iter().find(|route| route.destination == Prefix::ALL_IPV6).unwrap();
        assert_eq!(default.priority, 1024);
        let expires = default.expires.unwrap().as_secs();
        assert!((980..=1000).contains(&expires), "{expires}");
    });
}

#[test]
fn replacing_and_refusing() {
    in_namespace("replacing_and_refusing", |connection| {
        let (one, _) = veth(connection, "one", "two");
        let mut entry = Entry::new(Prefix::new(address("203.0.113.0"), 24));
        entry.interface = Some(one);
        connection.request(&entry.add()).unwrap();
        let error = connection.request(&entry.add()).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::AlreadyExists));
        entry.mtu = Some(1300);
        connection.request(&entry.replace()).unwrap();
        let routes = connection.dump::<Route>(&route::dump(Family::Ipv4, Some(254), None)).unwrap();
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].metrics.mtu, Some(1300));
        connection.request(&entry.delete()).unwrap();
        let error = connection.request(&entry.delete()).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NotFound));
        entry.gateway = Some(address("10.1.2.3"));
        let error = connection.request(&entry.add()).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::InvalidValue));
        assert!(error.to_string().contains("invalid gateway"), "{error}");
    });
}
