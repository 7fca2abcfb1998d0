use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tables::{
    AccessType, AdminStatus, DadState, Error, Family, IpInterface, LinkLocalAddressBehavior,
    MediaConnectState, NeighborState, OperStatus, RouterDiscoveryBehavior, Row, SuffixOrigin,
    Tables, UnicastAddress,
};

use crate::{eventually, in_namespace, ip, ip_do, ip_try, parameter, set_parameter};

/// Interfaces of every kind this kernel makes, some with addresses, some odd.
fn populate() {
    ip_do("link add cable0 type veth peer name cable1");
    ip_do("link add bridge0 type bridge");
    ip_do("link set cable1 master bridge0");
    ip_do("link add macvlan0 link cable0 type macvlan mode bridge");
    ip_do("link add vxlan0 type vxlan id 7 dstport 4789 dev cable0 remote 192.0.2.9");
    ip_do("tuntap add mode tun name tun0");
    ip_do("link set cable0 alias uplink mtu 1400");
    ip_do("link property add dev cable0 altname another-name-for-the-cable");
    for name in ["cable0", "cable1", "bridge0", "macvlan0", "vxlan0", "tun0"] {
        ip_do(&format!("link set {name} up"));
    }
    ip_do("addr add 192.0.2.1/24 brd + dev cable0");
    ip_do("addr add 192.0.2.2/24 dev cable0 label cable0:two valid_lft 3600 preferred_lft 1800");
    ip_do("addr add 198.51.100.1 peer 198.51.100.2/32 dev tun0");
    ip_do("addr add 2001:db8::1/64 dev bridge0 nodad");
    ip_do("addr add 2001:db8:1::1/64 dev cable0 nodad valid_lft 7200 preferred_lft 0");
}

fn text(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn interfaces_agree_with_ip() {
    in_namespace("interfaces_agree_with_ip", |tables| {
        populate();
        // Carriers and operational states follow within a second.
        eventually("the bridge is up", || {
            let row = tables.interface("bridge0").unwrap();
            (row.oper_status == OperStatus::Up).then_some(())
        });
        let rows = tables.interfaces().unwrap();
        let expected = ip("link");
        assert_eq!(rows.len(), expected.len());
        for (row, json) in rows.iter().zip(&expected) {
            let context = format!("{row:#?}\n{json}");
            let name_of = |index: Option<u32>| {
                rows.iter().find(|row| Some(row.ifindex) == index).map(|row| row.name.to_string())
            };
            let string = |key: &str| json[key].as_str().map(str::to_string);
            assert_eq!(text(row.name), json["ifname"], "{context}");
            assert_eq!(text(row.ifindex), json["ifindex"], "{context}");
            assert_eq!(text(row.mtu), json["mtu"], "{context}");
            let hardware = |key: &str| json[key].as_str().unwrap_or_default();
            assert_eq!(text(row.physical_address), hardware("address"), "{context}");
            assert_eq!(text(row.broadcast_physical_address), hardware("broadcast"), "{context}");
            assert_eq!(text(&row.alias), json["ifalias"], "{context}");
            assert_eq!(text(&row.kind), json["linkinfo"]["info_kind"], "{context}");
            assert_eq!(text(&row.port_kind), json["linkinfo"]["info_slave_kind"], "{context}");
            assert_eq!(name_of(row.master), string("master"), "{context}");
            // A vxlan says what it rides on among its own settings.
            let below = string("link")
                .or_else(|| json["linkinfo"]["info_data"]["link"].as_str().map(str::to_string));
            assert_eq!(name_of(row.lower), below, "{context}");
            assert_eq!(
                text(&row.alternative_names),
                json.get("altnames").cloned().unwrap_or(json!([]))
            );
            let flags: Vec<&str> =
                json["flags"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
            assert_eq!(row.admin_status == AdminStatus::Up, flags.contains(&"UP"), "{context}");
            assert_eq!(
                row.media_connect_state == MediaConnectState::Disconnected,
                flags.contains(&"NO-CARRIER"),
                "{context}"
            );
            assert_eq!(row.multicast, flags.contains(&"MULTICAST"), "{context}");
            let state = text(row.oper_status).as_str().unwrap().replace('_', "").to_uppercase();
            assert_eq!(Some(state), string("operstate"), "{context}");
            let expected_type = match json["link_type"].as_str().unwrap() {
                "loopback" => 24,
                "ether" => 6,
                "none" => 131,
                other => panic!("{other}"),
            };
            assert_eq!(row.interface_type.0, expected_type, "{context}");
            assert_eq!(row.luid.ifindex(), row.ifindex);
            // Whatever names it finds it.
            assert_eq!(tables.interface(row.ifindex).unwrap().name, row.name);
            assert_eq!(tables.interface(row.luid).unwrap().name, row.name);
            assert_eq!(tables.interface(row.guid).unwrap().name, row.name);
            assert_eq!(tables.interface(row.name.as_os_str()).unwrap().ifindex, row.ifindex);
            let json = text(row);
            let again: tables::Interface = serde_json::from_value(json).unwrap();
            assert_eq!(again, *row, "JSON loses nothing");
        }
        let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
        // A veth pair claims ten gigabits; a bridge has no speed of its own but its ports'.
        assert_eq!(row("cable0").transmit_link_speed, Some(10_000_000_000));
        assert_eq!(row("cable0").receive_link_speed, row("cable0").transmit_link_speed);
        assert_eq!(row("lo").transmit_link_speed, None);
        assert_eq!(row("lo").access_type, AccessType::Loopback);
        assert_eq!(row("tun0").access_type, AccessType::PointToPoint);
        assert_eq!(row("cable0").access_type, AccessType::Broadcast);
        assert_eq!(tables.ifindex("another-name-for-the-cable").unwrap(), row("cable0").ifindex);
        let guids: BTreeSet<_> = rows.iter().map(|row| row.guid).collect();
        assert_eq!(guids.len(), rows.len());
    });
}

#[test]
fn a_new_name_changes_neither_index_nor_luid() {
    in_namespace("a_new_name_changes_neither_index_nor_luid", |tables| {
        ip_do("link add before type veth peer name peer");
        let before = tables.interface("before").unwrap();
        ip_do("link set before name after");
        let after = tables.interface(before.luid).unwrap();
        assert_eq!((after.name.to_str(), after.ifindex), (Some("after"), before.ifindex));
        assert!(matches!(tables.interface("before"), Err(Error::NoSuchInterface { .. })));
        // The type is part of the LUID.
        let other = tables::Luid::new(tables::InterfaceType::TUNNEL, before.ifindex);
        assert!(matches!(tables.interface(other), Err(Error::NoSuchInterface { .. })));
    });
}

#[test]
fn the_stack_says_who_rides_on_whom() {
    in_namespace("the_stack_says_who_rides_on_whom", |tables| {
        populate();
        let stack = tables.interface_stack().unwrap();
        let mut pairs: Vec<(&str, &str)> = stack
            .iter()
            .map(|entry| {
                (entry.higher_interface.to_str().unwrap(), entry.lower_interface.to_str().unwrap())
            })
            .collect();
        pairs.sort_unstable();
        assert_eq!(pairs, [("bridge0", "cable1"), ("macvlan0", "cable0"), ("vxlan0", "cable0")]);
    });
}

#[test]
fn ip_interfaces_agree_with_the_parameters() {
    in_namespace("ip_interfaces_agree_with_the_parameters", |tables| {
        populate();
        set_parameter("ipv4/conf/cable0/forwarding", "1");
        set_parameter("ipv6/conf/cable0/mtu", "1300");
        set_parameter("ipv6/conf/cable0/dad_transmits", "4");
        set_parameter("ipv6/conf/bridge0/forwarding", "1");
        set_parameter("ipv6/conf/macvlan0/accept_ra", "0");
        set_parameter("ipv6/conf/macvlan0/accept_ra_defrtr", "0");
        set_parameter("ipv6/conf/macvlan0/ra_defrtr_metric", "77");
        set_parameter("ipv6/conf/macvlan0/use_tempaddr", "2");
        set_parameter("ipv4/neigh/cable0/base_reachable_time_ms", "12345");
        set_parameter("ipv6/neigh/cable0/retrans_time_ms", "1234");
        ip_do("link set macvlan0 addrgenmode none");
        ip_do("token set ::17 dev cable0");
        for row in tables.ip_interfaces_with_times(Family::Unspecified).unwrap() {
            let name = row.interface.to_string();
            let own = |name_of: &str| parameter(&format!("{}/conf/{name}/{name_of}", row.family));
            let neigh =
                |name_of: &str| parameter(&format!("{}/neigh/{name}/{name_of}", row.family));
            let context = format!("{row:#?}");
            assert_eq!(row.forwarding_enabled, own("forwarding") == "1", "{context}");
            let base = row.base_reachable_time.map(|time| time.to_string());
            assert_eq!(base, Some(neigh("base_reachable_time_ms")), "{context}");
            let retransmit = row.retransmit_time.map(|time| time.to_string());
            assert_eq!(retransmit, Some(neigh("retrans_time_ms")), "{context}");
            assert!(row.reachable_time.is_some(), "{context}");
            // In a user namespace IPv4 does not show it.
            let path = format!("/proc/sys/net/{}/route/mtu_expires", row.family);
            let expires = std::fs::read_to_string(path).ok();
            let timeout = row.path_mtu_discovery_timeout.map(|time| (time / 1000).to_string());
            assert_eq!(timeout.as_deref(), expires.as_deref().map(str::trim), "{context}");
            if row.family == Family::Ipv6 {
                assert_eq!(row.nl_mtu.to_string(), own("mtu"), "{context}");
                assert_eq!(row.dad_transmits.to_string(), own("dad_transmits"), "{context}");
                assert_eq!(row.metric.to_string(), own("ra_defrtr_metric"), "{context}");
                assert_eq!(row.disable_default_routes, own("accept_ra_defrtr") == "0");
                let number = |value: Option<i32>| value.map(|value| value.to_string());
                assert_eq!(number(row.use_temporary_addresses), Some(own("use_tempaddr")));
                assert_eq!(number(row.accept_router_advertisements), Some(own("accept_ra")));
                assert_eq!(row.hop_limit.map(|l| l.to_string()), Some(own("hop_limit")));
                let listens = match own("accept_ra").as_str() {
                    "0" => false,
                    "2" => true,
                    _ => own("forwarding") == "0",
                };
                assert_eq!(
                    row.router_discovery_behavior == RouterDiscoveryBehavior::Enabled,
                    listens,
                    "{context}"
                );
                assert_eq!(
                    row.link_local_address_behavior == LinkLocalAddressBehavior::AlwaysOff,
                    own("addr_gen_mode") == "1",
                    "{context}"
                );
                assert_eq!(row.zone_indices[..4], [0, row.ifindex, row.ifindex, 0]);
            } else {
                assert_eq!(row.nl_mtu, tables.interface(row.ifindex).unwrap().mtu, "{context}");
                assert_eq!(row.metric.to_string(), own("tag"), "{context}");
                assert_eq!(row.reverse_path_filter.map(|f| f.to_string()), Some(own("rp_filter")));
            }
            let again: IpInterface = serde_json::from_value(text(&row)).unwrap();
            assert_eq!(again, row);
        }
        let token = tables.ip_interface("cable0", Family::Ipv6).unwrap().interface_identifier;
        assert_eq!(token, 0x17);
        // Asked for one by one they are the same.
        for row in tables.ip_interfaces_with_times(Family::Unspecified).unwrap() {
            let one = tables.ip_interface(row.luid, row.family).unwrap();
            let device = ["supports_wake_up_patterns", "transmit_offload", "receive_offload"];
            assert_eq!(one.difference(&row), device, "and what the device says besides");
        }
    });
}

#[test]
fn every_member_of_the_windows_row_is_there() {
    in_namespace("every_member_of_the_windows_row_is_there", |tables| {
        let row = text(tables.ip_interface("lo", Family::Ipv6).unwrap());
        for member in [
            "interface",
            "ifindex",
            "luid",
            "family",
            "max_reassembly_size",
            "interface_identifier",
            "min_router_advertisement_interval",
            "max_router_advertisement_interval",
            "advertising_enabled",
            "forwarding_enabled",
            "weak_host_send",
            "weak_host_receive",
            "use_automatic_metric",
            "use_neighbor_unreachability_detection",
            "managed_address_configuration_supported",
            "other_stateful_configuration_supported",
            "advertise_default_route",
            "router_discovery_behavior",
            "dad_transmits",
            "base_reachable_time",
            "retransmit_time",
            "path_mtu_discovery_timeout",
            "link_local_address_behavior",
            "link_local_address_timeout",
            "zone_indices",
            "site_prefix_length",
            "metric",
            "nl_mtu",
            "connected",
            "supports_wake_up_patterns",
            "supports_neighbor_discovery",
            "supports_router_discovery",
            "reachable_time",
            "transmit_offload",
            "receive_offload",
            "disable_default_routes",
        ] {
            assert!(row.get(member).is_some(), "{member}");
        }
    });
}

#[test]
fn families_come_and_go_with_the_mtu_and_the_switch() {
    in_namespace("families_come_and_go_with_the_mtu_and_the_switch", |tables| {
        ip_do("link add one type veth peer name two");
        let families = |tables: &mut Tables| -> Vec<Family> {
            let rows = tables.ip_interfaces(Family::Unspecified).unwrap();
            rows.iter().filter(|row| row.interface == "one").map(|row| row.family).collect()
        };
        assert_eq!(families(tables), [Family::Ipv4, Family::Ipv6]);
        ip_do("link set one mtu 1000");
        assert_eq!(families(tables), [Family::Ipv4]);
        let error = tables.ip_interface("one", Family::Ipv6).unwrap_err();
        assert!(matches!(&error, Error::NotFound(failure) if failure.code.is_none()), "{error}");
        let error = tables.ip_interface("three", Family::Ipv6).unwrap_err();
        assert!(matches!(error, Error::NoSuchInterface { .. }), "{error}");
        ip_do("link set one mtu 1500");
        assert_eq!(families(tables), [Family::Ipv4, Family::Ipv6]);
        set_parameter("ipv6/conf/one/disable_ipv6", "1");
        assert_eq!(families(tables), [Family::Ipv4]);
        // The least a veth pair takes is 68 bytes; a loopback has no least, and keeps IPv6.
        ip_do("link set lo mtu 60");
        let rows = tables.ip_interfaces(Family::Unspecified).unwrap();
        let of_lo: Vec<_> = rows.iter().filter(|row| row.interface == "lo").collect();
        assert!(of_lo.iter().all(|row| row.family == Family::Ipv6), "{of_lo:?}");
        assert!(tables.interface("lo").is_ok());
        assert!(matches!(
            tables.ip_interface("one", Family::Unspecified),
            Err(Error::InvalidValue(_))
        ));
    });
}

#[test]
fn addresses_agree_with_ip() {
    in_namespace("addresses_agree_with_ip", |tables| {
        populate();
        let rows = tables.unicast_addresses(Family::Unspecified).unwrap();
        let mut found: BTreeMap<(String, String), &UnicastAddress> = BTreeMap::new();
        for row in &rows {
            found.insert((row.interface.to_string(), row.address.to_string()), row);
            let again: UnicastAddress = serde_json::from_value(text(row)).unwrap();
            assert_eq!(again, *row);
        }
        assert_eq!(found.len(), rows.len());
        let mut expected = 0;
        for link in ip("addr") {
            for json in link["addr_info"].as_array().unwrap() {
                let Some(local) = json["local"].as_str() else { continue };
                expected += 1;
                let name = link["ifname"].as_str().unwrap().to_string();
                let row = found[&(name, local.to_string())];
                let context = format!("{row:#?}\n{json}");
                assert_eq!(text(row.ifindex), link["ifindex"], "{context}");
                assert_eq!(text(row.prefix_length), json["prefixlen"], "{context}");
                assert_eq!(text(row.scope), json["scope"], "{context}");
                assert_eq!(text(row.broadcast), json["broadcast"], "{context}");
                assert_eq!(text(row.peer), json["address"], "{context}");
                let forever = |seconds: Option<u32>| seconds.map_or(u64::from(u32::MAX), u64::from);
                let valid = json["valid_life_time"].as_u64().unwrap();
                assert!(forever(row.valid_lifetime).abs_diff(valid) <= 2, "{context}");
                let preferred = json["preferred_life_time"].as_u64().unwrap();
                assert!(forever(row.preferred_lifetime).abs_diff(preferred) <= 2, "{context}");
                let is = |key: &str| json[key] == Value::Bool(true);
                assert_eq!(row.dad_state == DadState::Deprecated, is("deprecated"), "{context}");
                assert_eq!(row.skip_as_source, is("deprecated"), "{context}");
                if row.family == Family::Ipv4 {
                    let label = json["label"].as_str();
                    let own = row.label.unwrap_or(row.interface);
                    assert_eq!(own.to_str(), label, "{context}");
                }
            }
        }
        assert_eq!(rows.len(), expected);
        let link_local = rows
            .iter()
            .find(|row| row.interface == "cable0" && row.address.to_string().starts_with("fe80"))
            .unwrap();
        assert_eq!(link_local.scope_id, link_local.ifindex);
        assert_eq!(link_local.suffix_origin, SuffixOrigin::LinkLayerAddress);
        let only: Vec<_> = tables.unicast_addresses(Family::Ipv4).unwrap();
        assert!(!only.is_empty() && only.iter().all(|row| row.family == Family::Ipv4));
    });
}

#[test]
fn groups_agree_with_ip() {
    in_namespace("groups_agree_with_ip", |tables| {
        populate();
        // Groups of addresses are joined a little later than the addresses are there.
        eventually("the same groups", || {
            let found: BTreeSet<(String, String)> = tables
                .multicast_addresses(Family::Unspecified)
                .unwrap()
                .iter()
                .map(|row| (row.interface.to_string(), row.address.to_string()))
                .collect();
            let mut expected = BTreeSet::new();
            for link in ip("maddr") {
                for json in link["maddr"].as_array().unwrap() {
                    if matches!(json["family"].as_str(), Some("inet" | "inet6")) {
                        let name = link["ifname"].as_str().unwrap().to_string();
                        expected.insert((name, json["address"].as_str().unwrap().to_string()));
                    }
                }
            }
            assert!(expected.len() > 10);
            (found == expected).then_some(())
        });
        set_parameter("ipv6/conf/bridge0/forwarding", "1");
        let anycast = tables.anycast_addresses(Family::Unspecified).unwrap();
        // A router answers to the subnet-router anycast address of each of its networks.
        let is_there = anycast
            .iter()
            .any(|row| row.interface == "bridge0" && row.address.to_string() == "2001:db8::");
        assert!(is_there, "{anycast:?}");
        assert_eq!(tables.anycast_addresses(Family::Ipv4).unwrap(), []);
    });
}

#[test]
fn routes_agree_with_ip() {
    in_namespace("routes_agree_with_ip", |tables| {
        populate();
        ip_do("route add default via 192.0.2.254 dev cable0 metric 100 proto dhcp");
        ip_do(
            "route add 203.0.113.0/24 nexthop via 192.0.2.253 dev cable0 weight 3 nexthop via 198.51.100.2 dev tun0",
        );
        ip_do("route add blackhole 203.0.113.128/25");
        ip_do("route add unreachable 2001:db8:dead::/48 metric 9");
        ip_do("route add 10.0.0.0/8 via 172.31.0.1 dev cable0 onlink mtu 1300 advmss 1200");
        ip_do("route add 10.1.0.0/16 dev cable0 table 1000 src 192.0.2.2");
        ip_do("route add 2001:db8:2::/48 via 2001:db8::ff dev bridge0 pref high");
        ip_do(
            "route add 2001:db8:3::/48 nexthop via 2001:db8::1:1 dev bridge0 nexthop via 2001:db8::1:2 dev bridge0",
        );
        ip_do("route add 10.2.0.0/16 via inet6 2001:db8::77 dev bridge0");
        for (family, argument) in [(Family::Ipv4, "-4"), (Family::Ipv6, "-6")] {
            let rows = tables.routes(family).unwrap();
            let expected = ip(&format!("{argument} route show table all"));
            let mut unmatched: Vec<Value> = rows.iter().map(text).collect();
            for json in &expected {
                let position = unmatched.iter().position(|row| agrees(row, json));
                let position =
                    position.unwrap_or_else(|| panic!("no row for {json}\n{unmatched:#?}"));
                unmatched.remove(position);
            }
            assert_eq!(unmatched, Vec::<Value>::new());
            for row in rows {
                let again: tables::Route = serde_json::from_value(text(&row)).unwrap();
                assert_eq!(again, row);
            }
        }
    });
}

/// Whether a row says what `ip -j -d route` says.
fn agrees(row: &Value, json: &Value) -> bool {
    let destination = match json["dst"].as_str().unwrap() {
        "default" if row["family"] == "ipv4" => "0.0.0.0/0".to_string(),
        "default" => "::/0".to_string(),
        whole if whole.contains('/') => whole.to_string(),
        host if host.contains(':') => format!("{host}/128"),
        host => format!("{host}/32"),
    };
    let table = match json["table"].as_str() {
        None | Some("main") => 254,
        Some("local") => 255,
        Some(other) => other.parse().unwrap(),
    };
    let ways: Vec<&Value> = match json["nexthops"].as_array() {
        Some(ways) => ways.iter().collect(),
        None if json["dev"].is_string() => vec![json],
        None => Vec::new(),
    };
    let hops = row["next_hops"].as_array().unwrap();
    // `ip` says that unreachable routes go through the loopback; so does the kernel, for IPv6.
    let same_ways = hops.len() == ways.len()
        && hops.iter().zip(&ways).all(|(hop, way)| {
            let gateway = match &way["gateway"] {
                Value::Null => &way["via"]["host"],
                gateway => gateway,
            };
            let flag = |name: &str| {
                way["flags"].as_array().is_some_and(|flags| flags.contains(&json!(name)))
            };
            hop["interface"] == way["dev"]
                && hop["gateway"] == *gateway
                && hop["weight"].as_u64() == way["weight"].as_u64().or(Some(1))
                && hop["on_link"] == flag("onlink")
                && hop["dead"] == flag("dead")
                && hop["link_down"] == flag("linkdown")
        });
    let mtu = json["metrics"].as_array().map_or(Value::Null, |all| all[0]["mtu"].clone());
    row["destination"] == destination.as_str()
        && row["table"] == table
        && row["type"] == json["type"]
        && row["protocol"] == json["protocol"]
        && row["metric"].as_u64() == json["metric"].as_u64().or(Some(0))
        && (row["family"] == "ipv6" || row["scope"] == json["scope"])
        && row["preferred_source"] == json["prefsrc"]
        && row["mtu"] == mtu
        && (json["pref"].is_null() || row["preference"] == json["pref"])
        && same_ways
}

#[test]
fn neighbors_of_each_state_agree_with_ip() {
    in_namespace("neighbors_of_each_state_agree_with_ip", |tables| {
        populate();
        let states = ["permanent", "reachable", "stale", "noarp", "delay", "probe", "failed"];
        for (index, state) in states.iter().enumerate() {
            let hardware = if *state == "failed" { "" } else { " lladdr 02:00:00:00:00:99" };
            ip_do(&format!("neigh add 192.0.2.{}{hardware} dev cable0 nud {state}", 100 + index));
        }
        ip_do("neigh add 2001:db8::99 lladdr 02:00:00:00:00:98 dev bridge0 nud stale router");
        // Groups become neighbours as soon as something is sent to them.
        let (rows, expected) = eventually("a table at rest", || {
            let keys = |rows: &[tables::Neighbor]| rows.iter().map(Row::key).collect::<Vec<_>>();
            let rows = tables.neighbors(Family::Unspecified).unwrap();
            let expected = ip("neigh show nud all");
            let again = tables.neighbors(Family::Unspecified).unwrap();
            (keys(&rows) == keys(&again)).then_some((rows, expected))
        });
        let count = |name: &str| {
            expected.iter().filter(|json| json["dst"].as_str().unwrap().starts_with(name)).count()
        };
        assert!(count("192.0.2.1") >= states.len(), "{expected:?}");
        let mut states = BTreeSet::new();
        for json in &expected {
            let row = rows
                .iter()
                .find(|row| text(row.address) == json["dst"] && text(row.interface) == json["dev"])
                .unwrap_or_else(|| panic!("no row for {json}\n{rows:#?}"));
            let context = format!("{row:?}\n{json}");
            // Delay and probe go on by themselves between the two questions.
            let state = json["state"][0].as_str().unwrap().to_lowercase();
            let ours = text(row.state).as_str().unwrap().replace('_', "");
            let moving = ["delay", "probe", "failed", "incomplete"];
            let same = ours == state
                || moving.contains(&ours.as_str()) && moving.contains(&state.as_str());
            assert!(same, "{context}");
            states.insert(ours);
            if row.state != NeighborState::Failed {
                assert_eq!(text(row.physical_address), json["lladdr"], "{context}");
            }
            assert_eq!(row.is_router, json.get("router").is_some(), "{context}");
            let again: tables::Neighbor = serde_json::from_value(text(row)).unwrap();
            assert_eq!(again, *row);
        }
        for state in ["permanent", "reachable", "stale", "noarp"] {
            assert!(states.contains(state), "{states:?}");
        }
        assert_eq!(rows.len(), expected.len());
    });
}

#[test]
fn hosts_of_one_family_are_served() {
    in_namespace("hosts_of_one_family_are_served", |tables| {
        set_parameter("ipv6/conf/all/disable_ipv6", "1");
        set_parameter("ipv6/conf/default/disable_ipv6", "1");
        ip_do("link add one type veth peer name two");
        ip_do("link set one up");
        assert_eq!(tables.ip_interfaces(Family::Ipv6).unwrap(), []);
        assert_eq!(tables.unicast_addresses(Family::Ipv6).unwrap(), []);
        assert_eq!(tables.ip_interfaces(Family::Ipv4).unwrap().len(), 3);
        tables.routes(Family::Ipv6).unwrap();
        tables.neighbors(Family::Ipv6).unwrap();
        set_parameter("ipv6/conf/all/disable_ipv6", "0");
        ip_do("addr flush dev lo");
        assert!(tables.unicast_addresses(Family::Ipv4).unwrap().is_empty());
        assert_eq!(tables.ip_interfaces(Family::Ipv6).unwrap().len(), 3);
        assert_eq!(tables.interfaces().unwrap().len(), 3);
    });
}

#[test]
fn an_interface_of_another_kind_and_an_odd_name_are_served() {
    in_namespace("an_interface_of_another_kind_and_an_odd_name_are_served", |tables| {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        assert!(ip_try("link add odd type veth peer name peer"));
        let status = std::process::Command::new("ip")
            .args(["link", "set", "odd", "name"])
            .arg(OsStr::from_bytes(b"\xff\xfe.x"))
            .status();
        assert!(status.unwrap().success());
        let rows = tables.interfaces().unwrap();
        assert_eq!(rows.len(), 3);
        let odd = rows.iter().find(|row| row.name.to_str().is_none()).unwrap();
        assert_eq!(tables.interface(odd.name.as_os_str()).unwrap().ifindex, odd.ifindex);
        assert!(serde_json::to_string(odd).unwrap().contains('\u{fffd}'));
        tables.ip_interfaces(Family::Unspecified).unwrap();
    });
}

#[test]
fn interfaces_that_are_not_there_are_told_from_nonsense() {
    in_namespace("interfaces_that_are_not_there_are_told_from_nonsense", |tables| {
        let lo = tables.interface("lo").unwrap();
        let absent: [tables::Selector; 7] = [
            999.into(),
            u32::MAX.into(),
            tables::Luid::new(tables::InterfaceType::TUNNEL, lo.ifindex).into(),
            tables::Luid::new(tables::InterfaceType::ETHERNET, 0).into(),
            tables::Guid([7; 16]).into(),
            "none".into(),
            "none".repeat(60).as_str().into(),
        ];
        for selector in absent {
            let error = tables.ip_interface(selector.clone(), Family::Ipv4).unwrap_err();
            // Not IPv4 that is missing: the interface is.
            let Error::NoSuchInterface { interface } = &error else { panic!("{error:?}") };
            assert_eq!(*interface, selector.to_string());
        }
        for selector in [tables::Selector::Index(0), tables::Luid(0).into()] {
            let error = tables.ip_interface(selector, Family::Ipv4).unwrap_err();
            assert!(matches!(error, Error::InvalidValue(_)), "{error}");
        }
        crate::set_parameter("ipv6/conf/lo/disable_ipv6", "1");
        let error = tables.ip_interface(lo.luid, Family::Ipv6).unwrap_err();
        assert!(matches!(&error, Error::NotFound(failure) if failure.code.is_none()), "{error}");
    });
}

#[test]
fn an_interface_goes_by_name_alternative_name_index_and_guid() {
    in_namespace("an_interface_goes_by_name_alternative_name_index_and_guid", |tables| {
        ip_do("link add one type veth peer name two");
        ip_do("link property add dev one altname an-alternative-name-of-one");
        let one = tables.interface("one").unwrap();
        let guid = one.guid.to_string();
        for text in [
            "one".to_owned(),
            "an-alternative-name-of-one".to_owned(),
            one.ifindex.to_string(),
            guid.clone(),
            guid.to_lowercase(),
            format!(r"\device\tcpip_{guid}"),
        ] {
            assert_eq!(tables.ifindex(text.as_str()).unwrap(), one.ifindex, "{text}");
        }
        // A name of digits alone counts before the index.
        ip_do(&format!("link set two name {}", one.ifindex));
        let text = one.ifindex.to_string();
        assert_ne!(tables.ifindex(text.as_str()).unwrap(), one.ifindex);
        for text in ["0", "+1", "4294967296", "00000000000000000000000000000000"] {
            let error = tables.ifindex(text).unwrap_err();
            assert!(matches!(error, Error::NoSuchInterface { .. }), "{text}: {error}");
        }
    });
}

#[test]
fn what_devices_do_is_told_of_one_interface() {
    in_namespace("what_devices_do_is_told_of_one_interface", |tables| {
        use tables::Offload;
        ip_do("link add one type veth peer name two");
        ip_do("link add bridge0 type bridge");
        for family in [Family::Ipv4, Family::Ipv6] {
            // A veth pair makes and checks no sums: it passes packets on within this machine.
            let one = tables.ip_interface("one", family).unwrap();
            let (sends, receives) = (one.transmit_offload.unwrap(), one.receive_offload.unwrap());
            assert!(
                sends.includes(Offload::STREAM_CHECKSUM) && sends.includes(Offload::LARGE_SEND)
            );
            assert!(receives.includes(Offload::DATAGRAM_CHECKSUM), "{receives:?}");
            assert!(!receives.includes(Offload::LARGE_SEND));
            assert_eq!(one.supports_wake_up_patterns, Some(false));
        }
        let listed = tables.ip_interfaces(Family::Ipv4).unwrap();
        assert!(listed.iter().all(|row| row.transmit_offload.is_none()));
        // A bridge checks nothing that its ports received.
        let bridge = tables.ip_interface("bridge0", Family::Ipv4).unwrap();
        assert_eq!(bridge.receive_offload, Some(Offload(0)));
        let wake_up = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                sys::capability::drop_to(&[]).unwrap();
                let mut tables = Tables::open().unwrap();
                tables.ip_interface("one", Family::Ipv4).unwrap().supports_wake_up_patterns
            });
            thread.join().unwrap()
        });
        assert_eq!(wake_up, None);
    });
}
