use netlink::link::{self, Kind, Link, MacvlanMode, OperationalState, Settings};
use netlink::{Connection, Reason};
use serde_json::Value;
use sys::netlink::Socket;

use crate::{in_namespace, ip, ip_do, rename, supports, veth, wait_until};

/// Compares every interface with what `ip` says about it.
fn compare(connection: &mut Connection<Socket>) -> Vec<Link> {
    let links = connection.dump::<Link>(&link::dump()).unwrap();
    let expected = ip("-s link");
    assert_eq!(links.len(), expected.len());
    let name_of = |index: Option<u32>| {
        let index = index?;
        links.iter().find(|link| link.index == index).map(|link| link.name.to_string())
    };
    for (link, json) in links.iter().zip(&expected) {
        let number = |key: &str| json[key].as_u64().map(|number| number as u32);
        let text = |key: &str| json[key].as_str().map(str::to_string);
        let context = format!("{link:?}\n{json}");
        assert_eq!(Some(link.index), number("ifindex"), "{context}");
        assert_eq!(Some(link.name.to_string()), text("ifname"), "{context}");
        assert_eq!(Some(link.mtu), number("mtu"), "{context}");
        assert_eq!(link.minimum_mtu.unwrap_or(0), number("min_mtu").unwrap(), "{context}");
        assert_eq!(link.maximum_mtu.unwrap_or(0), number("max_mtu").unwrap(), "{context}");
        assert_eq!(link.promiscuity, number("promiscuity"), "{context}");
        assert_eq!(link.transmit_queue_length.unwrap_or(0), number("txqlen").unwrap_or(0));
        assert_eq!(link.transmit_queues, number("num_tx_queues"), "{context}");
        assert_eq!(link.receive_queues, number("num_rx_queues"), "{context}");
        assert_eq!(Some(link.hardware_address.to_string()), text("address"), "{context}");
        assert_eq!(Some(link.broadcast_address.to_string()), text("broadcast"), "{context}");
        assert_eq!(
            link.alias.clone().map(|alias| alias.into_string().unwrap()),
            text("ifalias"),
            "{context}"
        );
        let names: Vec<_> =
            link.alternative_names.iter().map(|name| name.to_str().unwrap()).collect();
        let expected_names: Vec<_> = json["altnames"]
            .as_array()
            .map_or(Vec::new(), |names| names.iter().map(|n| n.as_str().unwrap()).collect());
        assert_eq!(names, expected_names, "{context}");
        let kind = link.kind.as_ref().map(|kind| kind.to_str().unwrap());
        assert_eq!(kind, json["linkinfo"]["info_kind"].as_str(), "{context}");
        let port_kind = link.port_kind.as_ref().map(|kind| kind.to_str().unwrap());
        assert_eq!(port_kind, json["linkinfo"]["info_slave_kind"].as_str(), "{context}");
        assert_eq!(name_of(link.master), text("master"), "{context}");
        match link.lower_namespace {
            None => assert_eq!(name_of(link.lower), text("link"), "{context}"),
            Some(id) => {
                assert_eq!(Some(i64::from(id)), json["link_netnsid"].as_i64(), "{context}");
                assert_eq!(link.lower, number("link_index"), "{context}");
            }
        }
        let state = match link.operational_state {
            OperationalState::Up => "UP",
            OperationalState::Down => "DOWN",
            OperationalState::LowerLayerDown => "LOWERLAYERDOWN",
            OperationalState::Unknown => "UNKNOWN",
            other => panic!("{other:?}"),
        };
        assert_eq!(Some(state), json["operstate"].as_str(), "{context}");
        let has = |flag: &str| json["flags"].as_array().unwrap().contains(&Value::from(flag));
        assert_eq!(link.flags.is_up(), has("UP"), "{context}");
        assert_eq!(link.flags.is_lower_up(), has("LOWER_UP"), "{context}");
        assert_eq!(link.flags.is_loopback(), has("LOOPBACK"), "{context}");
        assert_eq!(link.flags.is_broadcast(), has("BROADCAST"), "{context}");
        assert_eq!(link.flags.is_multicast(), has("MULTICAST"), "{context}");
        assert_eq!(link.flags.is_point_to_point(), has("POINTOPOINT"), "{context}");
        assert_eq!(link.flags.is_without_arp(), has("NOARP"), "{context}");
        let received = &json["stats64"]["rx"];
        let sent = &json["stats64"]["tx"];
        let statistics = link.statistics.unwrap();
        // Counters go on between the two questions; the ends of the structure pin the layout.
        assert!(statistics.received_bytes <= received["bytes"].as_u64().unwrap(), "{context}");
        assert!(statistics.sent_packets <= sent["packets"].as_u64().unwrap(), "{context}");
        assert_eq!(Some(statistics.receive_errors), received["errors"].as_u64(), "{context}");
        assert_eq!(Some(statistics.collisions), sent["collisions"].as_u64(), "{context}");
    }
    links
}

fn named<'a>(links: &'a [Link], name: &str) -> &'a Link {
    links.iter().find(|link| link.name == name).unwrap()
}

#[test]
fn veth_and_bridge_as_ip_shows_them() {
    in_namespace("veth_and_bridge_as_ip_shows_them", |connection| {
        let (one, two) = veth(connection, "one", "two");
        let bridge = Settings::new().name("bridge").up().create(&Kind::PlainBridge);
        connection.request(&bridge).unwrap();
        let bridge = connection.one::<Link>(&link::by_name("bridge")).unwrap();
        let change =
            Settings::new().master(Some(bridge.index)).alias("uplink to nowhere").mtu(1400);
        connection.request(&change.apply_to(one)).unwrap();
        ip_do("link property add dev two altname other-name");
        ip_do("link property add dev two altname a-name-longer-than-fifteen-bytes");
        wait_until("the bridge port forwards", || {
            let link = connection.one::<Link>(&link::by_index(bridge.index)).unwrap();
            link.operational_state == OperationalState::Up
        });
        let links = compare(connection);
        assert_eq!(named(&links, "one").master, Some(bridge.index));
        assert_eq!(named(&links, "one").port_kind.as_deref(), Some("bridge".as_ref()));
        assert_eq!(named(&links, "one").lower, Some(two));
        assert_eq!(named(&links, "one").mtu, 1400);
        assert_eq!(named(&links, "two").alternative_names.len(), 2);
        let json = ip("link show bridge");
        let data = &json[0]["linkinfo"]["info_data"];
        assert_eq!(data["forward_delay"], 0);
        assert_eq!(data["stp_state"], 0);
        assert_eq!(data["mcast_snooping"], 0);

        for name in ["other-name", "a-name-longer-than-fifteen-bytes"] {
            assert_eq!(connection.one::<Link>(&link::by_name(name)).unwrap().index, two);
        }
        let error = connection.one::<Link>(&link::by_name("another-such-long-name")).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NotFound));
    });
}

#[test]
fn macvlan_and_vxlan_as_ip_shows_them() {
    let test = "macvlan_and_vxlan_as_ip_shows_them";
    in_namespace(test, |connection| {
        let (one, _) = veth(connection, "one", "two");
        let macvlan = Kind::Macvlan { mode: MacvlanMode::Bridge };
        connection.request(&Settings::new().name("mac0").lower(one).up().create(&macvlan)).unwrap();
        let vxlan = Kind::Vxlan { identifier: 42, port: 4789 };
        if supports(connection, test, &vxlan) {
            connection.request(&Settings::new().name("vx0").create(&vxlan)).unwrap();
            let json = ip("link show vx0");
            assert_eq!(json[0]["linkinfo"]["info_data"]["id"], 42);
            assert_eq!(json[0]["linkinfo"]["info_data"]["port"], 4789);
        }
        let links = compare(connection);
        assert_eq!(named(&links, "mac0").lower, Some(one));
        assert_eq!(ip("link show mac0")[0]["linkinfo"]["info_data"]["mode"], "bridge");
    });
}

#[test]
fn a_veth_whose_other_end_is_elsewhere() {
    in_namespace("a_veth_whose_other_end_is_elsewhere", |connection| {
        let elsewhere = sys::namespace::in_new_network(sys::namespace::current_network);
        let elsewhere = elsewhere.unwrap().unwrap();
        use std::os::fd::AsFd;
        let hardware = [2, 0, 0, 0, 0, 9];
        let peer =
            Settings::new().name("inner").hardware_address(&hardware).namespace(elsewhere.as_fd());
        connection.request(&Settings::new().name("outer").create(&Kind::Veth { peer })).unwrap();
        let links = compare(connection);
        assert!(named(&links, "outer").lower_namespace.is_some());
        let inner = sys::namespace::in_network(elsewhere.as_fd(), || {
            let mut connection = Connection::open().unwrap();
            compare(&mut connection);
            connection.one::<Link>(&link::by_name("inner")).unwrap()
        });
        assert_eq!(inner.unwrap().hardware_address.as_bytes(), hardware);
    });
}

#[test]
fn settings_change_what_they_say_and_nothing_else() {
    in_namespace("settings_change_what_they_say_and_nothing_else", |connection| {
        let (one, _) = veth(connection, "one", "two");
        let before = connection.one::<Link>(&link::by_index(one)).unwrap();
        rename(connection, one, "renamed");
        let after = connection.one::<Link>(&link::by_index(one)).unwrap();
        assert_eq!(after.name, "renamed");
        assert!(!after.flags.is_up());
        assert_eq!((after.mtu, after.hardware_address), (before.mtu, before.hardware_address));
        let address = [2, 0, 0, 0, 0, 1];
        connection.request(&Settings::new().up().hardware_address(&address).apply_to(one)).unwrap();
        let after = connection.one::<Link>(&link::by_name("renamed")).unwrap();
        assert!(after.flags.is_up());
        assert_eq!(after.hardware_address.as_bytes(), address);
    });
}

#[test]
fn per_family_settings_are_those_of_proc() {
    in_namespace("per_family_settings_are_those_of_proc", |connection| {
        // Down: a carrier that comes resets the IPv6 MTU.
        let peer = Settings::new().name("two");
        connection.request(&Settings::new().name("one").create(&Kind::Veth { peer })).unwrap();
        let one = connection.one::<Link>(&link::by_name("one")).unwrap().index;
        let set = |family: &str, name: &str, value: i32| {
            // /proc/sys/net follows the thread that opens it.
            std::fs::write(format!("/proc/sys/net/{family}/conf/one/{name}"), value.to_string())
                .unwrap();
        };
        set("ipv4", "forwarding", 1);
        set("ipv4", "proxy_arp", 1);
        set("ipv4", "rp_filter", 2);
        set("ipv4", "arp_announce", 2);
        set("ipv4", "arp_ignore", 1);
        set("ipv4", "accept_local", 1);
        set("ipv6", "hop_limit", 77);
        set("ipv6", "mtu", 1333);
        set("ipv6", "accept_ra", 2);
        set("ipv6", "autoconf", 0);
        set("ipv6", "dad_transmits", 5);
        set("ipv6", "router_solicitations", 3);
        let link = connection.one::<Link>(&link::by_index(one)).unwrap();
        let (ipv4, ipv6) = (link.ipv4.unwrap(), link.ipv6.unwrap());
        assert_eq!(ipv4.forwarding(), Some(true));
        assert_eq!(ipv4.multicast_forwarding(), Some(false));
        assert_eq!(ipv4.proxy_arp(), Some(true));
        assert_eq!(ipv4.reverse_path_filter(), Some(2));
        assert_eq!(ipv4.arp_announce(), Some(2));
        assert_eq!(ipv4.arp_ignore(), Some(1));
        assert_eq!(ipv4.accept_local(), Some(true));
        assert_eq!(ipv6.forwarding(), Some(false));
        assert_eq!(ipv6.hop_limit(), Some(77));
        assert_eq!(ipv6.mtu(), Some(1333));
        assert_eq!(ipv6.accept_router_advertisements(), Some(2));
        assert_eq!(ipv6.autoconfiguration(), Some(false));
        assert_eq!(ipv6.duplicate_detection_transmits(), Some(5));
        assert_eq!(ipv6.router_solicitations(), Some(3));
        assert_eq!(ipv6.is_disabled(), Some(false));
        assert!(!ipv6.has_router_advertisement());
        assert!(ipv6.reachable_milliseconds.unwrap() >= 15_000);
        let retransmit =
            std::fs::read_to_string("/proc/sys/net/ipv6/neigh/one/retrans_time_ms").unwrap();
        assert_eq!(ipv6.retransmit_milliseconds, retransmit.trim().parse().ok());

        // An MTU below 1280 takes IPv6 away.
        connection.request(&Settings::new().mtu(1000).apply_to(one)).unwrap();
        let link = connection.one::<Link>(&link::by_index(one)).unwrap();
        assert!(link.ipv6.is_none() && link.ipv4.is_some());
    });
}

#[test]
fn refusals_say_why() {
    in_namespace("refusals_say_why", |connection| {
        let (one, _) = veth(connection, "one", "two");
        let create = Settings::new().name("one").create(&Kind::PlainBridge);
        let error = connection.request(&create).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::AlreadyExists));
        let error = connection.one::<Link>(&link::by_name("nobody")).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NotFound));
        let error = connection.request(&link::delete(4711)).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NotFound));
        let error = connection.request(&Settings::new().mtu(1 << 20).apply_to(one)).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::InvalidValue));
        assert!(error.to_string().contains("mtu greater than device maximum"), "{error}");
        let kind = Kind::Other("no-such-kind".into());
        let error = connection.request(&Settings::new().name("x").create(&kind)).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NotSupported));
        assert!(error.to_string().contains("Unknown device type"), "{error}");
        // Names too long for the kernel are refused, not cut.
        for length in [16, 2000] {
            let name = "n".repeat(length);
            let error = connection.request(&Settings::new().name(&name).apply_to(one)).unwrap_err();
            assert_eq!(error.reason(), Some(Reason::InvalidValue), "{error}");
        }
        // The connection is still good.
        connection.one::<Link>(&link::by_index(one)).unwrap();
    });
}

#[test]
fn names_need_not_be_utf8() {
    in_namespace("names_need_not_be_utf8", |connection| {
        use std::os::unix::ffi::OsStrExt;
        let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe-odd");
        connection.request(&Settings::new().name(odd).create(&Kind::PlainBridge)).unwrap();
        let links = connection.dump::<Link>(&link::dump()).unwrap();
        assert!(links.iter().any(|link| link.name.as_os_str() == odd));
        assert_eq!(connection.one::<Link>(&link::by_name(odd)).unwrap().name.as_os_str(), odd);
    });
}
