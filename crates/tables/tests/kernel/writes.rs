use std::net::IpAddr;
use std::time::{Duration, Instant};

use tables::{
    AddressSettings, DadState, Error, Family, HardwareAddress, IpInterfaceSettings,
    LinkLocalAddressBehavior, NeighborSettings, NeighborState, NextHopSettings, Prefix,
    RouteSettings, RouterDiscoveryBehavior, Tables,
};

use crate::{in_namespace, ip, ip_do, parameter};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two namespaces' worth of cable in one: `one` with addresses, `two` as its other end.
fn cable(tables: &mut Tables) -> u32 {
    ip_do("link add one type veth peer name two");
    ip_do("link set one up");
    ip_do("link set two up");
    ip_do("addr add 192.0.2.1/24 dev one");
    ip_do("addr add 2001:db8::1/64 dev one nodad");
    tables.ifindex("one").unwrap()
}

#[test]
fn settings_of_ip_interfaces_reach_the_kernel() {
    in_namespace("settings_of_ip_interfaces_reach_the_kernel", |tables| {
        cable(tables);
        let ipv4 = IpInterfaceSettings {
            forwarding_enabled: Some(true),
            metric: Some(50),
            nl_mtu: Some(1450),
            base_reachable_time: Some(20_000),
            retransmit_time: Some(500),
            reverse_path_filter: Some(2),
            // As they are: no change, no error.
            weak_host_send: Some(true),
            advertising_enabled: Some(false),
            dad_transmits: Some(0),
            router_discovery_behavior: Some(RouterDiscoveryBehavior::Dhcp),
            ..Default::default()
        };
        tables.set_ip_interface("one", Family::Ipv4, &ipv4).unwrap();
        let row = tables.ip_interface("one", Family::Ipv4).unwrap();
        assert!(row.forwarding_enabled && !row.use_automatic_metric);
        assert_eq!((row.metric, row.nl_mtu), (50, 1450));
        assert_eq!((row.base_reachable_time, row.retransmit_time), (Some(20_000), Some(500)));
        assert_eq!(row.reverse_path_filter, Some(2));
        assert_eq!(parameter("ipv4/conf/one/forwarding"), "1");
        assert_eq!(parameter("ipv4/neigh/one/base_reachable_time_ms"), "20000");
        assert_eq!(parameter("ipv6/neigh/one/base_reachable_time_ms"), "30000");
        let route = &ip("route show 192.0.2.0/24")[0];
        assert_eq!(route["metric"], 50, "{route}");

        let ipv6 = IpInterfaceSettings {
            forwarding_enabled: Some(true),
            metric: Some(70),
            nl_mtu: Some(1300),
            dad_transmits: Some(3),
            router_discovery_behavior: Some(RouterDiscoveryBehavior::Enabled),
            base_reachable_time: Some(15_000),
            retransmit_time: Some(700),
            link_local_address_behavior: Some(LinkLocalAddressBehavior::AlwaysOff),
            interface_identifier: None,
            disable_default_routes: Some(true),
            use_temporary_addresses: Some(2),
            autoconfiguration: Some(false),
            hop_limit: Some(32),
            ..Default::default()
        };
        tables.set_ip_interface("one", Family::Ipv6, &ipv6).unwrap();
        let row = tables.ip_interface("one", Family::Ipv6).unwrap();
        assert!(row.forwarding_enabled && row.disable_default_routes);
        assert_eq!((row.metric, row.nl_mtu, row.dad_transmits), (70, 1300, 3));
        assert_eq!((row.base_reachable_time, row.retransmit_time), (Some(15_000), Some(700)));
        assert_eq!(row.router_discovery_behavior, RouterDiscoveryBehavior::Enabled);
        assert_eq!(row.link_local_address_behavior, LinkLocalAddressBehavior::AlwaysOff);
        assert_eq!(row.use_temporary_addresses, Some(2));
        assert_eq!((row.autoconfiguration, row.hop_limit), (Some(false), Some(32)));
        assert_eq!(parameter("ipv6/conf/one/accept_ra"), "2");
        let route = &ip("-6 route show 2001:db8::/64")[0];
        assert_eq!(route["metric"], 70, "{route}");

        let back = IpInterfaceSettings { use_automatic_metric: Some(true), ..Default::default() };
        for family in [Family::Ipv4, Family::Ipv6] {
            tables.set_ip_interface("one", family, &back).unwrap();
            assert!(tables.ip_interface("one", family).unwrap().use_automatic_metric);
        }
        assert_eq!(ip("route show 192.0.2.0/24")[0].get("metric"), None);
        assert_eq!(ip("-6 route show 2001:db8::/64")[0]["metric"], 256);
        let after = tables.unicast_addresses(Family::Unspecified).unwrap();
        let kept = after.iter().find(|row| row.address == address("2001:db8::1")).unwrap();
        assert_eq!((kept.dad_state, kept.valid_lifetime), (DadState::Preferred, None));
    });
}

/// Members as they are said, from a row as it is shown.
fn settings_of(row: &tables::IpInterface) -> IpInterfaceSettings {
    let row = serde_json::to_value(row).unwrap();
    let members = serde_json::to_value(IpInterfaceSettings::default()).unwrap();
    let members = members.as_object().unwrap().keys();
    let said: serde_json::Map<_, _> =
        members.map(|member| (member.clone(), row[member].clone())).collect();
    serde_json::from_value(said.into()).unwrap()
}

#[test]
fn a_row_set_as_it_is_changes_nothing() {
    in_namespace("a_row_set_as_it_is_changes_nothing", |tables| {
        cable(tables);
        let parameters = || {
            let directory = std::fs::read_dir("/proc/sys/net/ipv6/conf/one").unwrap();
            let mut all: Vec<_> = directory
                .map(|entry| entry.unwrap().path())
                .map(|path| (path.clone(), std::fs::read_to_string(path).ok()))
                .collect();
            all.sort();
            all
        };
        for (forwarding, accept) in [("0", "0"), ("0", "1"), ("1", "1"), ("1", "2")] {
            crate::set_parameter("ipv6/conf/one/forwarding", forwarding);
            crate::set_parameter("ipv6/conf/one/accept_ra", accept);
            for family in [Family::Ipv4, Family::Ipv6] {
                let before = (tables.ip_interface("one", family).unwrap(), parameters());
                let settings = settings_of(&before.0);
                tables.set_ip_interface("one", family, &settings).unwrap();
                let mut row = tables.ip_interface("one", family).unwrap();
                // Drawn anew by the kernel now and then.
                row.reachable_time = before.0.reachable_time;
                assert_eq!((row, parameters()), before, "{forwarding} {accept}");
            }
        }
        // What follows from another member is as it was, all the same.
        crate::set_parameter("ipv6/conf/one/forwarding", "0");
        crate::set_parameter("ipv6/conf/one/accept_ra", "1");
        let row = tables.ip_interface("one", Family::Ipv6).unwrap();
        let router = IpInterfaceSettings { forwarding_enabled: Some(true), ..settings_of(&row) };
        tables.set_ip_interface("one", Family::Ipv6, &router).unwrap();
        assert_eq!(parameter("ipv6/conf/one/accept_ra"), "2");
    });
}

#[test]
fn an_identifier_is_a_token() {
    in_namespace("an_identifier_is_a_token", |tables| {
        cable(tables);
        let settings =
            IpInterfaceSettings { interface_identifier: Some(0x1234), ..Default::default() };
        tables.set_ip_interface("one", Family::Ipv6, &settings).unwrap();
        let row = tables.ip_interface("one", Family::Ipv6).unwrap();
        assert_eq!(row.interface_identifier, 0x1234);
        assert!(matches!(
            tables.set_ip_interface("one", Family::Ipv4, &settings),
            Err(Error::NotSupported(_))
        ));
    });
}

#[test]
fn settings_that_cannot_be_change_nothing() {
    in_namespace("settings_that_cannot_be_change_nothing", |tables| {
        cable(tables);
        let nothing = IpInterfaceSettings { metric: Some(9), ..Default::default() };
        let before = tables.ip_interface("one", Family::Ipv6).unwrap();
        let not_supported = [
            IpInterfaceSettings { advertising_enabled: Some(true), ..nothing },
            IpInterfaceSettings { weak_host_receive: Some(false), ..nothing },
            IpInterfaceSettings { site_prefix_length: Some(64), ..nothing },
            IpInterfaceSettings { reverse_path_filter: Some(1), ..nothing },
            IpInterfaceSettings {
                link_local_address_behavior: Some(LinkLocalAddressBehavior::Delayed),
                ..nothing
            },
        ];
        for settings in not_supported {
            let error = tables.set_ip_interface("one", Family::Ipv6, &settings).unwrap_err();
            assert!(matches!(error, Error::NotSupported(_)), "{error} {settings:?}");
        }
        let invalid = [
            IpInterfaceSettings { nl_mtu: Some(1279), ..nothing },
            IpInterfaceSettings { metric: Some(0), ..Default::default() },
            IpInterfaceSettings { metric: Some(u32::MAX), ..Default::default() },
            IpInterfaceSettings { use_automatic_metric: Some(false), ..Default::default() },
            IpInterfaceSettings {
                use_automatic_metric: Some(false),
                metric: Some(1024),
                ..Default::default()
            },
            IpInterfaceSettings { base_reachable_time: Some(0), ..nothing },
            IpInterfaceSettings { dad_transmits: Some(u32::MAX), ..nothing },
        ];
        for settings in invalid {
            let error = tables.set_ip_interface("one", Family::Ipv6, &settings).unwrap_err();
            assert!(matches!(error, Error::InvalidValue(_)), "{error} {settings:?}");
        }
        // Only the kernel knows these.
        for (family, settings) in [
            (Family::Ipv6, IpInterfaceSettings { nl_mtu: Some(9000), ..Default::default() }),
            (Family::Ipv4, IpInterfaceSettings { nl_mtu: Some(70_000), ..Default::default() }),
        ] {
            let error = tables.set_ip_interface("one", family, &settings).unwrap_err();
            let Error::InvalidValue(failure) = &error else { panic!("{error}") };
            assert!(failure.code.is_some() && failure.subject.contains("nl_mtu"), "{error}");
        }
        let mut after = tables.ip_interface("one", Family::Ipv6).unwrap();
        after.reachable_time = before.reachable_time;
        assert_eq!(after, before);
        assert!(matches!(
            tables.set_ip_interface("none", Family::Ipv6, &nothing),
            Err(Error::NoSuchInterface { .. })
        ));
    });
}

#[test]
fn addresses_are_added_changed_and_deleted() {
    in_namespace("addresses_are_added_changed_and_deleted", |tables| {
        let one = cable(tables);
        for (text, length) in [("198.51.100.7", 24), ("2001:db8:7::7", 64)] {
            let new = AddressSettings {
                valid_lifetime: Some(1000),
                preferred_lifetime: Some(500),
                ..AddressSettings::new(one, address(text), length)
            };
            assert!(matches!(tables.set_address(&new), Err(Error::NotFound(_))));
            assert!(matches!(tables.delete_address(&new), Err(Error::NotFound(_))));
            tables.add_address(&new).unwrap();
            assert!(matches!(tables.add_address(&new), Err(Error::AlreadyExists(_))));
            let longer =
                AddressSettings { valid_lifetime: None, preferred_lifetime: None, ..new.clone() };
            tables.set_address(&longer).unwrap();
            let rows = tables.unicast_addresses(Family::of(new.address)).unwrap();
            let row = rows.iter().find(|row| row.address == new.address).unwrap();
            assert_eq!((row.valid_lifetime, row.prefix_length), (None, length));
            tables.delete_address(&new).unwrap();
            assert!(matches!(tables.delete_address(&new), Err(Error::NotFound(_))));
            let nowhere = AddressSettings { interface: 999.into(), ..new };
            assert!(is_no_interface(tables.add_address(&nowhere), "999"));
        }
        let good = AddressSettings::new(one, address("198.51.100.8"), 24);
        for wrong in [
            AddressSettings { prefix_length: 33, ..good.clone() },
            AddressSettings { address: address("224.0.0.9"), ..good.clone() },
            AddressSettings { address: address("0.0.0.0"), ..good.clone() },
            AddressSettings { address: address("255.255.255.255"), ..good.clone() },
            AddressSettings { address: address("ff02::9"), prefix_length: 64, ..good.clone() },
            AddressSettings { peer: Some(address("2001:db8::9")), ..good.clone() },
            AddressSettings {
                valid_lifetime: Some(1),
                preferred_lifetime: Some(2),
                ..good.clone()
            },
            AddressSettings { valid_lifetime: Some(1), preferred_lifetime: None, ..good.clone() },
            AddressSettings {
                valid_lifetime: Some(0),
                preferred_lifetime: Some(0),
                ..good.clone()
            },
            AddressSettings { interface: 0.into(), ..good.clone() },
            AddressSettings {
                broadcast: Some([198, 51, 100, 255].into()),
                ..AddressSettings::new(one, address("2001:db8:7::8"), 64)
            },
            AddressSettings {
                label: tables::Name::new("one:x"),
                ..AddressSettings::new(one, address("2001:db8:7::8"), 64)
            },
        ] {
            assert!(matches!(tables.add_address(&wrong), Err(Error::InvalidValue(_))), "{wrong:?}");
        }
        crate::set_parameter("ipv6/conf/one/disable_ipv6", "1");
        let ipv6 = AddressSettings::new(one, address("2001:db8:8::8"), 64);
        let error = tables.add_address(&ipv6).unwrap_err();
        assert!(matches!(error, Error::NotSupported(_)), "{error}");
    });
}

#[test]
fn routes_are_added_changed_and_deleted() {
    in_namespace("routes_are_added_changed_and_deleted", |tables| {
        let one = cable(tables);
        for (destination, gateway, other) in [
            ("203.0.113.0/24", "192.0.2.254", "192.0.2.253"),
            ("2001:db8:9::/48", "2001:db8::fe", "2001:db8::fd"),
        ] {
            let mut route = RouteSettings::new(destination.parse().unwrap());
            assert!(matches!(tables.add_route(&route), Err(Error::InvalidValue(_))));
            route.gateway = Some(address(gateway));
            route.interface = Some(one.into());
            assert!(matches!(tables.set_route(&route), Err(Error::NotFound(_))));
            assert!(matches!(tables.delete_route(&route), Err(Error::NotFound(_))));
            tables.add_route(&route).unwrap();
            assert!(matches!(tables.add_route(&route), Err(Error::AlreadyExists(_))));
            route.gateway = Some(address(other));
            tables.set_route(&route).unwrap();
            let rows = tables.routes(Family::of(route.destination.address)).unwrap();
            let mut found = rows.iter().filter(|row| row.destination == route.destination);
            assert_eq!(found.next().unwrap().next_hops[0].gateway, route.gateway);
            assert!(found.next().is_none());
            tables.delete_route(&route).unwrap();
            route.interface = Some(999.into());
            assert!(is_no_interface(tables.add_route(&route), "999"));
        }
        let mut route = RouteSettings::new("203.0.113.1/24".parse().unwrap());
        route.interface = Some(one.into());
        assert!(matches!(tables.add_route(&route), Err(Error::InvalidValue(_))), "host bits");
        route.destination.length = 64;
        assert!(matches!(tables.add_route(&route), Err(Error::InvalidValue(_))));
        assert!(matches!(tables.delete_route(&route), Err(Error::InvalidValue(_))));
        route.destination = "203.0.113.0/24".parse().unwrap();
        route.gateway = Some(address("10.9.9.9"));
        let error = tables.add_route(&route).unwrap_err();
        assert!(
            matches!(&error, Error::InvalidValue(failure) if failure.code.is_some()),
            "{error}"
        );
        assert!(error.to_string().contains("Nexthop has invalid gateway"), "{error}");
        route.table = Some(4000);
        assert!(matches!(tables.set_route(&route), Err(Error::NotFound(_))));
        let mut route = RouteSettings::new("203.0.113.0/24".parse().unwrap());
        route.interface = Some(one.into());
        let ends = RouteSettings { valid_lifetime: Some(60), ..route.clone() };
        assert!(matches!(tables.add_route(&ends), Err(Error::NotSupported(_))));
        let foreign = Some(address("2001:db8::1"));
        let wrong = RouteSettings { preferred_source: foreign, ..route.clone() };
        assert!(
            matches!(tables.add_route(&wrong), Err(Error::InvalidValue(f)) if f.code.is_none())
        );
        for (weight, gateway) in [(0, "192.0.2.254"), (257, "192.0.2.254")] {
            let way = NextHopSettings {
                gateway: Some(address(gateway)),
                weight: Some(weight),
                ..NextHopSettings::new(one)
            };
            let wrong =
                RouteSettings { interface: None, next_hops: Some(vec![way]), ..route.clone() };
            assert!(matches!(tables.add_route(&wrong), Err(Error::InvalidValue(_))), "{weight}");
        }
    });
}

#[test]
fn neighbors_are_added_changed_deleted_and_flushed() {
    in_namespace("neighbors_are_added_changed_deleted_and_flushed", |tables| {
        let one = cable(tables);
        let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, 9]);
        for text in ["192.0.2.9", "2001:db8::9"] {
            let new = NeighborSettings::permanent(one, address(text), hardware);
            assert!(matches!(tables.set_neighbor(&new), Err(Error::NotFound(_))));
            assert!(matches!(tables.delete_neighbor(&new), Err(Error::NotFound(_))));
            tables.add_neighbor(&new).unwrap();
            assert!(matches!(tables.add_neighbor(&new), Err(Error::AlreadyExists(_))));
            let other = HardwareAddress::ethernet([2, 0, 0, 0, 0, 10]);
            let moved = NeighborSettings::permanent(one, address(text), other);
            tables.set_neighbor(&moved).unwrap();
            let rows = tables.neighbors(Family::of(new.address)).unwrap();
            let row = rows.iter().find(|row| row.address == new.address).unwrap();
            assert_eq!((row.physical_address, row.state), (Some(other), NeighborState::Permanent));
            // What was set by hand stays.
            tables.flush_neighbors(Family::Unspecified, None).unwrap();
            tables.delete_neighbor(&new).unwrap();
            let nowhere = NeighborSettings { interface: 999.into(), ..new };
            assert!(is_no_interface(tables.add_neighbor(&nowhere), "999"));
        }
        for wrong in ["127.0.0.1", "::1", "224.0.0.1", "ff02::1", "0.0.0.0", "255.255.255.255"] {
            let entry = NeighborSettings::permanent(one, address(wrong), hardware);
            assert!(matches!(tables.add_neighbor(&entry), Err(Error::InvalidValue(_))), "{wrong}");
        }
        let without = NeighborSettings::new(one, address("192.0.2.9"));
        assert!(matches!(tables.add_neighbor(&without), Err(Error::InvalidValue(_))));
        for last in 20..40 {
            ip_do(&format!("neigh add 192.0.2.{last} lladdr 02:00:00:00:00:09 dev one nud stale"));
        }
        assert_eq!(tables.flush_neighbors(Family::Ipv4, Some(one.into())).unwrap(), 20);
        assert_eq!(tables.flush_neighbors(Family::Ipv4, Some(one.into())).unwrap(), 0);
    });
}

#[test]
fn neighbors_are_resolved_now() {
    in_namespace("neighbors_are_resolved_now", |tables| {
        let one = cable(tables);
        // The other end lives elsewhere and answers.
        let far = std::thread::spawn(|| {
            sys::namespace::in_new_network(|| sys::namespace::current_network().unwrap()).unwrap()
        })
        .join()
        .unwrap();
        use std::os::fd::AsRawFd as _;
        let path = format!("/proc/{}/fd/{}", std::process::id(), far.as_raw_fd());
        let status =
            std::process::Command::new("ip").args(["link", "set", "two", "netns", &path]).status();
        assert!(status.unwrap().success());
        use std::os::fd::AsFd as _;
        sys::namespace::in_network(far.as_fd(), || {
            ip_do("addr add 192.0.2.2/24 dev two");
            ip_do("addr add 2001:db8::2/64 dev two nodad");
            ip_do("link set two up");
        })
        .unwrap();
        let far_hardware = sys::namespace::in_network(far.as_fd(), || {
            Tables::open().unwrap().interface("two").unwrap().physical_address
        })
        .unwrap();
        let timeout = Duration::from_secs(10);
        for text in ["192.0.2.2", "2001:db8::2", "192.0.2.2"] {
            let found = tables.resolve_neighbor("one", address(text), timeout).unwrap();
            assert_eq!(found.physical_address, Some(far_hardware));
            assert!(found.is_usable());
        }
        // What is known may be wrong: it is asked again.
        ip_do("neigh replace 192.0.2.2 lladdr 02:00:00:00:00:77 dev one nud reachable");
        let found = tables.resolve_neighbor(one, address("192.0.2.2"), timeout).unwrap();
        assert_eq!(found.physical_address, Some(far_hardware));
        ip_do("neigh replace 192.0.2.3 lladdr 02:00:00:00:00:77 dev one nud permanent");
        // For ever is not too long.
        let found = tables.resolve_neighbor(one, address("192.0.2.3"), Duration::MAX).unwrap();
        assert_eq!(found.state, NeighborState::Permanent);
        let found = tables.resolve_neighbor(one, address("192.0.2.2"), Duration::MAX).unwrap();
        assert_eq!(found.physical_address, Some(far_hardware));

        let begin = Instant::now();
        let short = Duration::from_millis(150);
        let error = tables.resolve_neighbor(one, address("192.0.2.99"), short).unwrap_err();
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(2));
        for family in ["ipv4", "ipv6"] {
            crate::set_parameter(&format!("{family}/neigh/one/retrans_time_ms"), "50");
        }
        for text in ["192.0.2.98", "2001:db8::98"] {
            let error = tables.resolve_neighbor(one, address(text), timeout).unwrap_err();
            assert!(matches!(error, Error::Unreachable(_)), "{error}");
        }
        // There is nobody to ask behind a tunnel, and no need to.
        ip_do("tuntap add mode tun name tun0");
        ip_do("addr add 203.0.113.1/24 dev tun0");
        ip_do("link set tun0 up");
        for text in ["203.0.113.2", "2001:db8:5::2"] {
            let found = tables.resolve_neighbor("tun0", address(text), timeout).unwrap();
            assert_eq!((found.state, found.physical_address), (NeighborState::NoArp, None));
            assert_eq!(found.address, address(text));
        }
        for wrong in ["127.0.0.1", "ff02::1"] {
            let error = tables.resolve_neighbor(one, address(wrong), timeout).unwrap_err();
            assert!(matches!(error, Error::InvalidValue(_)), "{error}");
        }
        let error = tables.resolve_neighbor("none", address("192.0.2.2"), timeout).unwrap_err();
        assert!(matches!(error, Error::NoSuchInterface { .. }), "{error}");
    });
}

#[test]
fn the_best_route_is_the_kernels() {
    in_namespace("the_best_route_is_the_kernels", |tables| {
        let one = cable(tables);
        ip_do("link add three type veth peer name four");
        for name in ["three", "four"] {
            ip_do(&format!("link set {name} up"));
        }
        ip_do("addr add 198.51.100.1/24 dev three");
        ip_do("route add default via 192.0.2.254 dev one metric 100");
        ip_do("route add default via 198.51.100.254 dev three metric 200");
        ip_do("route add 203.0.113.0/24 via 198.51.100.253 dev three src 192.0.2.1");
        ip_do("route add unreachable 203.0.113.64/26");
        ip_do("route add blackhole 203.0.113.128/26");
        ip_do("route add prohibit 203.0.113.192/26");
        ip_do("-6 route add default via 2001:db8::fe dev one");
        let best = |tables: &mut Tables, to: &str| tables.best_route(address(to), None, None);
        let found = best(tables, "8.8.8.8").unwrap();
        assert_eq!(found.route.destination, Prefix::ALL_IPV4);
        assert_eq!((found.route.metric, found.next_hop.ifindex), (100, Some(one)));
        assert_eq!(found.next_hop.gateway, Some(address("192.0.2.254")));
        assert_eq!(found.source, Some(address("192.0.2.1")));
        let found = best(tables, "203.0.113.9").unwrap();
        assert_eq!(found.route.destination.to_string(), "203.0.113.0/24");
        assert_eq!(found.next_hop.interface.unwrap(), "three");
        assert_eq!(found.source, Some(address("192.0.2.1")));
        let found = best(tables, "192.0.2.77").unwrap();
        assert_eq!((found.next_hop.gateway, found.route.protocol.0), (None, 2));
        let found = best(tables, "2001:4860::1").unwrap();
        assert_eq!(found.source, Some(address("2001:db8::1")));
        assert_eq!(found.route.destination, Prefix::ALL_IPV6);
        assert_eq!(found.next_hop.gateway, Some(address("2001:db8::fe")));
        // By interface, by source.
        let three = Some("three".into());
        let found = tables.best_route(address("8.8.8.8"), None, three).unwrap();
        assert_eq!((found.route.metric, found.source), (200, Some(address("198.51.100.1"))));
        let source = Some(address("198.51.100.1"));
        let found = tables.best_route(address("8.8.8.8"), source, None).unwrap();
        assert_eq!(found.source, source);
        // All of a network may be this host's.
        ip_do("route add local 10.77.0.0/24 dev lo");
        let source = Some(address("10.77.0.5"));
        let found = tables.best_route(address("8.8.8.8"), source, None).unwrap();
        assert_eq!((found.source, found.next_hop.ifindex), (source, Some(one)));
        for to in ["203.0.113.65", "203.0.113.130", "203.0.113.200"] {
            let error = best(tables, to).unwrap_err();
            assert!(matches!(error, Error::Unreachable(_)), "{to}: {error}");
        }
        for source in ["10.9.9.9", "2001:db8::1"] {
            let error =
                tables.best_route(address("8.8.8.8"), Some(address(source)), None).unwrap_err();
            assert!(matches!(error, Error::InvalidValue(_)), "{error}");
        }
        let outcome = tables.best_route(address("8.8.8.8"), None, Some("none".into()));
        assert!(is_no_interface(outcome, "none"));
        ip_do("route del default metric 100");
        ip_do("route del default metric 200");
        assert!(matches!(best(tables, "8.8.8.8"), Err(Error::Unreachable(_))));
        ip_do("-6 route del default");
        assert!(matches!(best(tables, "2001:4860::1"), Err(Error::Unreachable(_))));
        // As `ip route get` says, for a route of several ways.
        let mut several = RouteSettings::new("10.0.0.0/8".parse().unwrap());
        let next_hop = |gateway| NextHopSettings {
            gateway: Some(address(gateway)),
            ..NextHopSettings::new(one)
        };
        several.next_hops = Some(["192.0.2.254", "192.0.2.253"].map(next_hop).into());
        tables.add_route(&several).unwrap();
        for last in 1..20 {
            let to = format!("10.1.1.{last}");
            let found = best(tables, &to).unwrap();
            let expected = &ip(&format!("route get {to}"))[0];
            assert_eq!(found.next_hop.gateway.unwrap().to_string(), expected["gateway"]);
            assert_eq!(found.route.next_hops.len(), 2);
        }
    });
}

#[test]
fn changes_without_the_privilege_are_refused() {
    in_namespace("changes_without_the_privilege_are_refused", |tables| {
        let one = cable(tables);
        let refused = std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                sys::capability::drop_to(&[]).unwrap();
                let mut tables = Tables::open().unwrap();
                let new = AddressSettings::new(one, address("198.51.100.7"), 24);
                let mut route = RouteSettings::new("203.0.113.0/24".parse().unwrap());
                route.interface = Some(one.into());
                let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, 9]);
                let entry = NeighborSettings::permanent(one, address("192.0.2.9"), hardware);
                let mtu = IpInterfaceSettings { nl_mtu: Some(1400), ..Default::default() };
                // Reading needs nothing.
                tables.interfaces().unwrap();
                tables.routes(Family::Unspecified).unwrap();
                [
                    tables.add_address(&new),
                    tables.add_route(&route),
                    tables.add_neighbor(&entry),
                    tables.set_ip_interface("one", Family::Ipv4, &mtu),
                ]
            });
            thread.join().unwrap()
        });
        for outcome in refused {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::NotPermitted(_)), "{error}");
        }
    });
}

fn is_no_interface<R>(outcome: Result<R, Error>, asked: &str) -> bool {
    matches!(outcome, Err(Error::NoSuchInterface { interface }) if interface == asked)
}
