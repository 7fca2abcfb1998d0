use std::net::{IpAddr, Ipv4Addr};

use netlink::address::{self, Address, Assignment, Role};
use netlink::{Connection, Family, Name, Reason};
use serde_json::Value;
use sys::netlink::Socket;

use crate::{in_namespace, ip, ip_do, veth, wait_until};

/// Compares every address with what `ip` says about it.
fn compare(connection: &mut Connection<Socket>) -> Vec<Address> {
    let addresses = connection.dump::<Address>(&address::dump(Family::Unspecified, None)).unwrap();
    let expected = ip("addr");
    let expected: Vec<(u32, &Value)> = expected
        .iter()
        .flat_map(|link| {
            let index = link["ifindex"].as_u64().unwrap() as u32;
            link["addr_info"].as_array().unwrap().iter().map(move |json| (index, json))
        })
        .collect();
    assert_eq!(addresses.len(), expected.len());
    for (interface, json) in expected {
        let local: IpAddr = json["local"].as_str().unwrap().parse().unwrap();
        let row = addresses
            .iter()
            .find(|row| row.interface == interface && row.address == local)
            .unwrap_or_else(|| panic!("{json}"));
        let context = format!("{row:?}\n{json}");
        assert_eq!(Some(u64::from(row.prefix_length)), json["prefixlen"].as_u64(), "{context}");
        let text = |key: &str| json[key].as_str();
        assert_eq!(row.peer.map(|peer| peer.to_string()).as_deref(), text("address"), "{context}");
        assert_eq!(
            row.broadcast.map(|broadcast| broadcast.to_string()).as_deref(),
            text("broadcast"),
            "{context}"
        );
        assert_eq!(row.label.map(|label| label.to_string()).as_deref(), text("label"), "{context}");
        let scope = match row.scope {
            0 => "global",
            200 => "site",
            253 => "link",
            254 => "host",
            _ => "other",
        };
        assert_eq!(Some(scope), text("scope"), "{context}");
        assert_eq!(row.role, Role::Unicast);
        // `ip` shows "for ever" as the number it is; seconds may pass between both questions.
        let near = |ours: Option<u32>, key: &str| {
            let theirs = json[key].as_u64().unwrap();
            u64::from(ours.unwrap_or(u32::MAX)).abs_diff(theirs) <= 2
        };
        assert!(near(row.valid_seconds, "valid_life_time"), "{context}");
        assert!(near(row.preferred_seconds, "preferred_life_time"), "{context}");
        assert_eq!(row.flags.is_tentative(), json["tentative"] == true, "{context}");
        assert_eq!(row.flags.is_deprecated(), json["deprecated"] == true, "{context}");
        assert_eq!(row.flags.is_permanent(), json["dynamic"] != true, "{context}");
        assert_eq!(row.flags.is_without_prefix_route(), json["noprefixroute"] == true, "{context}");
        assert_eq!(u64::from(row.metric), json["metric"].as_u64().unwrap_or(0), "{context}");
    }
    addresses
}

#[test]
fn addresses_as_ip_shows_them() {
    in_namespace("addresses_as_ip_shows_them", |connection| {
        let (one, two) = veth(connection, "one", "two");
        ip_do("link set lo up");
        let mut plain = Assignment::new(one, "192.0.2.1".parse().unwrap(), 24);
        plain.broadcast = Some(Ipv4Addr::new(192, 0, 2, 255));
        plain.valid_seconds = Some(3600);
        plain.preferred_seconds = Some(1800);
        plain.without_prefix_route = true;
        plain.label = Name::new("one:dhcp");
        plain.protocol = Some(16);
        connection.request(&plain.add()).unwrap();
        let mut peer = Assignment::new(two, "198.51.100.1".parse().unwrap(), 32);
        peer.peer = Some("198.51.100.2".parse().unwrap());
        peer.metric = 77;
        connection.request(&peer.add()).unwrap();
        let mut ipv6 = Assignment::new(one, "2001:db8::1".parse().unwrap(), 64);
        ipv6.preferred_seconds = Some(0);
        ipv6.valid_seconds = Some(500);
        connection.request(&ipv6.add()).unwrap();
        let mut ipv6_peer = Assignment::new(two, "2001:db8:1::1".parse().unwrap(), 128);
        ipv6_peer.peer = Some("2001:db8:1::2".parse().unwrap());
        connection.request(&ipv6_peer.add()).unwrap();
        // Duplicate detection ends by itself; the comparison needs a table that stands still.
        wait_until("no address is tentative", || {
            let request = address::dump(Family::Ipv6, None);
            let rows = connection.dump::<Address>(&request).unwrap();
            rows.len() == 3 && rows.iter().all(|row| !row.flags.is_tentative())
        });
        let rows = compare(connection);
        let found = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            *rows.iter().find(|row| row.address == address).unwrap()
        };
        assert_eq!(found("192.0.2.1").protocol, Some(16));
        assert_eq!(found("192.0.2.1").label.unwrap(), "one:dhcp");
        assert!(found("192.0.2.1").created_at.is_some());
        assert_eq!(found("198.51.100.1").metric, 77);
        assert_eq!(found("2001:db8:1::1").peer, ipv6_peer.peer);
        assert!(found("2001:db8::1").flags.is_deprecated());
    });
}

#[test]
fn replacing_changes_lifetimes_in_place() {
    in_namespace("replacing_changes_lifetimes_in_place", |connection| {
        let (one, _) = veth(connection, "one", "two");
        let mut assignment = Assignment::new(one, "192.0.2.1".parse().unwrap(), 24);
        assignment.valid_seconds = Some(100);
        assignment.preferred_seconds = Some(100);
        connection.request(&assignment.replace()).unwrap();
        assignment.valid_seconds = Some(5000);
        assignment.preferred_seconds = Some(4000);
        connection.request(&assignment.replace()).unwrap();
        let rows = compare(connection);
        let rows: Vec<_> = rows.iter().filter(|row| row.address.is_ipv4()).collect();
        assert_eq!(rows.len(), 1);
        assert!((3990..=4000).contains(&rows[0].preferred_seconds.unwrap()));
        assert!((4990..=5000).contains(&rows[0].valid_seconds.unwrap()));
        assignment.valid_seconds = None;
        assignment.preferred_seconds = None;
        connection.request(&assignment.replace()).unwrap();
        let rows = connection.dump::<Address>(&address::dump(Family::Ipv4, None)).unwrap();
        assert_eq!((rows[0].valid_seconds, rows[0].flags.is_permanent()), (None, true));
    });
}

#[test]
fn refusals_are_told_apart() {
    in_namespace("refusals_are_told_apart", |connection| {
        let (one, _) = veth(connection, "one", "two");
        let assignment = Assignment::new(one, "192.0.2.1".parse().unwrap(), 24);
        let reason = |result: Result<(), netlink::Error>| result.unwrap_err().reason();
        assert_eq!(reason(connection.request(&assignment.delete())), Some(Reason::NotFound));
        connection.request(&assignment.add()).unwrap();
        assert_eq!(reason(connection.request(&assignment.add())), Some(Reason::AlreadyExists));
        let nowhere = Assignment { interface: 4711, ..assignment };
        assert_eq!(reason(connection.request(&nowhere.add())), Some(Reason::NotFound));
        let absurd = Assignment { prefix_length: 33, ..assignment };
        assert_eq!(reason(connection.request(&absurd.add())), Some(Reason::InvalidValue));
        connection.request(&assignment.delete()).unwrap();
        let rows = connection.dump::<Address>(&address::dump(Family::Ipv4, None)).unwrap();
        assert!(rows.is_empty());
    });
}

#[test]
fn the_kernel_filters_by_interface_and_family() {
    in_namespace("the_kernel_filters_by_interface_and_family", |connection| {
        let (one, two) = veth(connection, "one", "two");
        for (interface, address, length) in
            [(one, "192.0.2.1", 24), (two, "192.0.2.2", 24), (one, "2001:db8::1", 64)]
        {
            let assignment = Assignment::new(interface, address.parse().unwrap(), length);
            connection.request(&assignment.add()).unwrap();
        }
        let rows = connection.dump::<Address>(&address::dump(Family::Ipv4, Some(two))).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].interface, two);
        let rows = connection.dump::<Address>(&address::dump(Family::Ipv6, Some(one))).unwrap();
        assert!(rows.iter().all(|row| row.address.is_ipv6() && row.interface == one));
        assert!(!rows.is_empty());
        // An interface that is not there is an error, not an empty table.
        let error =
            connection.dump::<Address>(&address::dump(Family::Ipv4, Some(4711))).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NotFound));
    });
}

#[test]
fn groups_and_anycast_addresses() {
    in_namespace("groups_and_anycast_addresses", |connection| {
        let (one, _) = veth(connection, "one", "two");
        std::fs::write("/proc/sys/net/ipv6/conf/one/forwarding", "1").unwrap();
        let assignment = Assignment::new(one, "2001:db8::1".parse().unwrap(), 64);
        connection.request(&assignment.add()).unwrap();
        let all_nodes: IpAddr = "ff02::1".parse().unwrap();
        wait_until("the groups are those ip shows", || {
            let request = address::dump_multicast(Family::Ipv6, Some(one));
            let rows = connection.dump::<Address>(&request).unwrap();
            assert!(rows.iter().any(|row| row.address == all_nodes), "{rows:?}");
            assert!(rows.iter().all(|row| row.role == Role::Multicast));
            let expected = ip("-6 maddr show dev one");
            rows.len() == expected[0]["maddr"].as_array().unwrap().len()
        });
        // A router answers for the subnet-router anycast address (RFC 4291 section 2.6.1).
        let router: IpAddr = "2001:db8::".parse().unwrap();
        wait_until("the subnet-router anycast address appears", || {
            let rows = connection.dump::<Address>(&address::dump_anycast(Some(one))).unwrap();
            rows.iter().any(|row| row.address == router && row.role == Role::Anycast)
        });
    });
}
