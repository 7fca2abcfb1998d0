//! `org.iphelper.Interface` against its IDL. Rows are made from JSON: only their own crate makes
//! them otherwise.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tables::{
    AccessType, AdminStatus, DadState, Family, LinkLocalAddressBehavior, MediaConnectState,
    NeighborState, OperStatus, PrefixOrigin, RouteOrigin, RouterDiscoveryBehavior,
    RouterPreference, SuffixOrigin,
};

use super::{
    address, check_enum, check_errors, check_method, check_methods, check_type, interface, timeout,
};
use tables::{AddressSettings, NeighborSettings, NextHopSettings, RouteSettings};

use crate::interface::*;
use crate::{Empty, Method};

fn make<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

/// An object with the members of both.
fn with(mut base: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more} is no object") };
    base.as_object_mut().unwrap().extend(more);
    base
}

fn belongs() -> Value {
    json!({"interface": "eth0", "ifindex": 2, "luid": 6u64 << 48 | 2 << 24})
}

fn of_family() -> Value {
    with(belongs(), json!({"family": "ipv4"}))
}

fn statistics() -> Value {
    let names = [
        "received_packets",
        "sent_packets",
        "received_bytes",
        "sent_bytes",
        "receive_errors",
        "send_errors",
        "receive_dropped",
        "send_dropped",
        "received_multicast",
        "collisions",
        "receive_length_errors",
        "receive_overflow_errors",
        "receive_crc_errors",
        "receive_frame_errors",
        "receive_fifo_errors",
        "receive_missed_errors",
        "send_aborted_errors",
        "send_carrier_errors",
        "send_fifo_errors",
        "send_heartbeat_errors",
        "send_window_errors",
        "received_compressed",
        "sent_compressed",
        "receive_unhandled",
    ];
    names
        .into_iter()
        .map(|name| (name.to_owned(), json!(1)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn interface_row() -> Value {
    with(
        belongs(),
        json!({
            "guid": "{6D3F53B2-1A77-4F0E-9C64-E0B85F2DA917}", "alias": "uplink",
            "alternative_names": ["enp0s3"], "type": 6, "kind": "veth", "port_kind": "bridge",
            "hardware_type": 1, "mtu": 1500, "minimum_mtu": 68, "maximum_mtu": 65535,
            "transmit_link_speed": 1_000_000_000, "receive_link_speed": 1_000_000_000,
            "physical_address": "02:00:00:00:00:01",
            "permanent_physical_address": "02:00:00:00:00:01",
            "broadcast_physical_address": "ff:ff:ff:ff:ff:ff",
            "admin_status": "up", "oper_status": "up", "media_connect_state": "connected",
            "carrier_changes": 1, "access_type": "broadcast", "hardware_interface": true,
            "connector_present": true, "multicast": true, "promiscuous": false, "flags": 69699,
            "master": 3, "lower": 4, "lower_namespace": 0, "group": 0,
            "transmit_queue_length": 1000, "parent_bus": "pci", "parent_device": "0000:00:03.0",
            "statistics": statistics(),
        }),
    )
}

fn settings() -> Value {
    json!({
        "advertising_enabled": false, "forwarding_enabled": true, "weak_host_send": true,
        "weak_host_receive": true, "use_automatic_metric": true,
        "use_neighbor_unreachability_detection": true,
        "managed_address_configuration_supported": false,
        "other_stateful_configuration_supported": false, "advertise_default_route": false,
        "router_discovery_behavior": "enabled", "dad_transmits": 1, "base_reachable_time": 30000,
        "retransmit_time": 1000, "path_mtu_discovery_timeout": 600_000,
        "link_local_address_behavior": "always_on", "link_local_address_timeout": 0,
        "interface_identifier": 0, "site_prefix_length": 0, "metric": 1024, "nl_mtu": 1500,
        "disable_default_routes": false, "use_temporary_addresses": 0, "autoconfiguration": true,
        "hop_limit": 64, "accept_router_advertisements": 1, "reverse_path_filter": 0,
    })
}

fn ip_interface_row() -> Value {
    let more = json!({
        "max_reassembly_size": 65535, "min_router_advertisement_interval": 0,
        "max_router_advertisement_interval": 0, "zone_indices": vec![0; 16], "connected": true,
        "supports_wake_up_patterns": false, "supports_neighbor_discovery": true,
        "supports_router_discovery": true, "reachable_time": 31000, "transmit_offload": 0,
        "receive_offload": 0,
    });
    with(of_family(), with(settings(), more))
}

fn unicast_row() -> Value {
    with(
        of_family(),
        json!({
            "address": "192.0.2.7", "prefix_length": 24, "peer": "192.0.2.8",
            "broadcast": "192.0.2.255", "scope": "global", "scope_id": 0,
            "dad_state": "preferred", "prefix_origin": "dhcp", "suffix_origin": "dhcp",
            "valid_lifetime": 3600, "preferred_lifetime": 3600, "skip_as_source": false,
            "temporary": false, "without_prefix_route": false, "label": "eth0:1", "metric": 0,
            "protocol": 105, "flags": 128, "created_at": 1, "updated_at": 2,
        }),
    )
}

fn group_row() -> Value {
    with(of_family(), json!({"address": "224.0.0.1", "scope_id": 0}))
}

fn next_hop() -> Value {
    let more = json!({
        "gateway": "192.0.2.1", "weight": 1, "on_link": false, "dead": false, "link_down": false,
    });
    with(belongs(), more)
}

fn route_row() -> Value {
    json!({
        "family": "ipv4", "destination": "0.0.0.0/0", "source": "192.0.2.0/24", "table": 254,
        "type": "unicast", "protocol": "dhcp", "origin": "dhcp", "scope": "global",
        "type_of_service": 0, "metric": 1026, "next_hops": [next_hop()], "next_hop_id": 1,
        "preferred_source": "192.0.2.7", "preference": "medium", "mtu": 1400, "mtu_locked": false,
        "advertised_mss": 1360, "hop_limit": 64, "initial_congestion_window": 10,
        "initial_receive_window": 10, "valid_lifetime": 1800, "age": 5,
    })
}

fn neighbor_row() -> Value {
    with(
        of_family(),
        json!({
            "address": "192.0.2.1", "physical_address": "02:00:00:00:00:02",
            "state": "reachable", "is_router": false, "is_unreachable": false,
            "protocol": "unspec", "flags": 0, "confirmed_ago": 1, "used_ago": 2, "updated_ago": 3,
        }),
    )
}

fn stack_row() -> Value {
    json!({
        "higher_interface": "br0", "higher_ifindex": 3, "higher_luid": 1,
        "lower_interface": "eth0", "lower_ifindex": 2, "lower_luid": 1,
    })
}

fn address_settings() -> AddressSettings {
    make(json!({
        "interface": "eth0", "address": "192.0.2.7", "prefix_length": 24, "peer": "192.0.2.8",
        "broadcast": "192.0.2.255", "scope": "link", "label": "eth0:1", "valid_lifetime": 60,
        "preferred_lifetime": 30, "without_prefix_route": true, "metric": 7, "protocol": 99,
    }))
}

fn next_hop_settings() -> Value {
    json!({"interface": "eth0", "gateway": "192.0.2.1", "weight": 2, "on_link": true})
}

fn route_settings() -> RouteSettings {
    make(json!({
        "destination": "198.51.100.0/24", "interface": "eth0", "gateway": "192.0.2.1",
        "next_hops": [next_hop_settings()], "table": 100, "type": "unicast",
        "protocol": "static", "scope": "global", "metric": 7, "preferred_source": "192.0.2.7",
        "mtu": 1400, "advertised_mss": 1360, "on_link": true, "valid_lifetime": 60,
    }))
}

fn neighbor_settings() -> NeighborSettings {
    make(json!({
        "interface": "eth0", "address": "192.0.2.1", "physical_address": "02:00:00:00:00:02",
        "state": "reachable",
    }))
}

fn full_change() -> Change {
    make(json!({
        "kind": "changed", "table": "interface", "members": ["mtu"],
        "interface": interface_row(), "ip_interface": ip_interface_row(),
        "unicast_address": unicast_row(), "multicast_address": group_row(),
        "anycast_address": group_row(), "route": route_row(), "neighbor": neighbor_row(),
        "stack": stack_row(),
    }))
}

#[test]
fn rows_are_those_of_the_idl() {
    let idl = interface(IDL);
    check_type(&idl, "Statistics", &make::<tables::Statistics>(statistics()));
    check_type(&idl, "Interface", &make::<tables::Interface>(interface_row()));
    check_type(&idl, "IpInterface", &make::<tables::IpInterface>(ip_interface_row()));
    check_type(&idl, "UnicastAddress", &make::<tables::UnicastAddress>(unicast_row()));
    check_type(&idl, "MulticastAddress", &make::<tables::MulticastAddress>(group_row()));
    check_type(&idl, "AnycastAddress", &make::<tables::AnycastAddress>(group_row()));
    check_type(&idl, "NextHop", &make::<tables::NextHop>(next_hop()));
    check_type(&idl, "Route", &make::<tables::Route>(route_row()));
    check_type(&idl, "Neighbor", &make::<tables::Neighbor>(neighbor_row()));
    check_type(&idl, "StackEntry", &make::<tables::StackEntry>(stack_row()));
    check_type(&idl, "Change", &full_change());
    check_type(&idl, "IpInterfaceSettings", &make::<tables::IpInterfaceSettings>(settings()));
    check_type(&idl, "AddressSettings", &address_settings());
    check_type(&idl, "NextHopSettings", &make::<NextHopSettings>(next_hop_settings()));
    check_type(&idl, "RouteSettings", &route_settings());
    check_type(&idl, "NeighborSettings", &neighbor_settings());
    // And the 14 below.
    assert_eq!(idl.custom_types().count(), 16 + 14);
}

#[test]
fn enums_are_those_of_the_idl() {
    use tables::LinkLocalAddressBehavior::*;

    let idl = interface(IDL);
    check_enum(&idl, "Family", &[Family::Ipv4, Family::Ipv6]);
    check_enum(&idl, "AdminStatus", &[AdminStatus::Up, AdminStatus::Down]);
    let oper = [
        OperStatus::Up,
        OperStatus::Down,
        OperStatus::Testing,
        OperStatus::Unknown,
        OperStatus::Dormant,
        OperStatus::NotPresent,
        OperStatus::LowerLayerDown,
    ];
    check_enum(&idl, "OperStatus", &oper);
    let media =
        [MediaConnectState::Unknown, MediaConnectState::Connected, MediaConnectState::Disconnected];
    check_enum(&idl, "MediaConnectState", &media);
    let access = [
        AccessType::Loopback,
        AccessType::Broadcast,
        AccessType::PointToPoint,
        AccessType::PointToMultiPoint,
    ];
    check_enum(&idl, "AccessType", &access);
    let discovery = [
        RouterDiscoveryBehavior::Disabled,
        RouterDiscoveryBehavior::Enabled,
        RouterDiscoveryBehavior::Dhcp,
    ];
    check_enum(&idl, "RouterDiscoveryBehavior", &discovery);
    let link_local: [LinkLocalAddressBehavior; 3] = [AlwaysOff, Delayed, AlwaysOn];
    check_enum(&idl, "LinkLocalAddressBehavior", &link_local);
    let dad = [DadState::Tentative, DadState::Duplicate, DadState::Deprecated, DadState::Preferred];
    check_enum(&idl, "DadState", &dad);
    let prefix = [
        PrefixOrigin::Manual,
        PrefixOrigin::WellKnown,
        PrefixOrigin::Dhcp,
        PrefixOrigin::RouterAdvertisement,
    ];
    check_enum(&idl, "PrefixOrigin", &prefix);
    let suffix = [
        SuffixOrigin::Manual,
        SuffixOrigin::WellKnown,
        SuffixOrigin::Dhcp,
        SuffixOrigin::LinkLayerAddress,
        SuffixOrigin::Random,
    ];
    check_enum(&idl, "SuffixOrigin", &suffix);
    let origin = [
        RouteOrigin::Manual,
        RouteOrigin::WellKnown,
        RouteOrigin::Dhcp,
        RouteOrigin::RouterAdvertisement,
    ];
    check_enum(&idl, "RouteOrigin", &origin);
    let preference = [RouterPreference::Low, RouterPreference::Medium, RouterPreference::High];
    check_enum(&idl, "RouterPreference", &preference);
    let states = [
        NeighborState::None,
        NeighborState::Incomplete,
        NeighborState::Reachable,
        NeighborState::Stale,
        NeighborState::Delay,
        NeighborState::Probe,
        NeighborState::Failed,
        NeighborState::NoArp,
        NeighborState::Permanent,
    ];
    check_enum(&idl, "NeighborState", &states);
    check_enum(&idl, "Table", &Table::ALL);
    let one_line = IDL.replace("\n# ", " ");
    let kinds: Vec<&str> = ChangeKind::KNOWN.iter().map(|kind| kind.as_str()).collect();
    assert!(one_line.contains(&kinds.join(", ")), "kinds of changes");
}

#[test]
fn methods_are_those_of_the_idl() {
    let idl = interface(IDL);
    let name = || "eth0".to_owned();
    let filter = Some(name());
    let family = Some(Family::Ipv4);
    macro_rules! lists {
        ($($list:ident: $row:expr),+ $(,)?) => { $(
            let reply = Rows { rows: vec![make($row)] };
            check_method(&idl, &$list { interface: filter.clone(), family }, &reply);
        )+ };
    }
    lists!(
        ListIpInterfaces: ip_interface_row(),
        ListUnicastAddresses: unicast_row(),
        ListMulticastAddresses: group_row(),
        ListAnycastAddresses: group_row(),
        ListRoutes: route_row(),
        ListNeighbors: neighbor_row(),
    );
    let interfaces = Rows { rows: vec![make(interface_row())] };
    let list = ListInterfaces { interface: filter.clone(), statistics: Some(true) };
    check_method(&idl, &list, &interfaces);
    let stack = Rows { rows: vec![make(stack_row())] };
    check_method(&idl, &ListStack { interface: filter.clone() }, &stack);
    let monitor = Monitor { tables: Some(vec![Table::Route]), interface: filter.clone(), family };
    check_method(&idl, &monitor, &MonitorReply { changes: vec![full_change()] });
    let row = Row { row: make(interface_row()) };
    check_method(&idl, &GetInterface { interface: name() }, &row);
    let row = Row { row: make(ip_interface_row()) };
    let get = GetIpInterface { interface: name(), family: Family::Ipv4 };
    check_method(&idl, &get, &row);
    let set = Set { interface: name(), family: Family::Ipv4, settings: make(settings()) };
    check_method(&idl, &set, &row);
    macro_rules! changes {
        ($($method:ident $member:ident: $settings:expr),+ $(,)?) => { $(
            check_method(&idl, &$method { $member: $settings }, &Empty {});
        )+ };
    }
    changes!(
        AddAddress address: address_settings(),
        SetAddress address: address_settings(),
        DeleteAddress address: address_settings(),
        AddRoute route: route_settings(),
        SetRoute route: route_settings(),
        DeleteRoute route: route_settings(),
        AddNeighbor neighbor: neighbor_settings(),
        SetNeighbor neighbor: neighbor_settings(),
        DeleteNeighbor neighbor: neighbor_settings(),
    );
    let flush = FlushNeighbors { interface: filter.clone(), family };
    check_method(&idl, &flush, &FlushNeighborsReply { flushed: 1 });
    let resolve = ResolveNeighbor { interface: name(), address: address(), timeout: timeout() };
    check_method(&idl, &resolve, &Row { row: make(neighbor_row()) });
    let best = BestRoute { destination: address(), source: Some(address()), interface: filter };
    let answer = json!({"route": route_row(), "next_hop": next_hop(), "source": "192.0.2.7"});
    check_method(&idl, &best, &make(answer));
    check_methods(
        &idl,
        &[
            ListInterfaces::NAME,
            ListIpInterfaces::NAME,
            ListUnicastAddresses::NAME,
            ListMulticastAddresses::NAME,
            ListAnycastAddresses::NAME,
            ListRoutes::NAME,
            ListNeighbors::NAME,
            ListStack::NAME,
            Monitor::NAME,
            GetInterface::NAME,
            GetIpInterface::NAME,
            Set::NAME,
            AddAddress::NAME,
            SetAddress::NAME,
            DeleteAddress::NAME,
            AddRoute::NAME,
            SetRoute::NAME,
            DeleteRoute::NAME,
            AddNeighbor::NAME,
            SetNeighbor::NAME,
            DeleteNeighbor::NAME,
            FlushNeighbors::NAME,
            ResolveNeighbor::NAME,
            BestRoute::NAME,
        ],
    );
}

#[test]
fn errors_are_those_of_the_idl() {
    use Error::*;

    let subject = || "address 192.0.2.1/24 on interface 2".to_owned();
    let problem = || "it is there already".to_owned();
    let samples = [
        NoSuchInterface { interface: "eth0".into() },
        AlreadyExists { subject: subject(), problem: problem() },
        NotFound { subject: subject(), problem: problem() },
        InvalidValue { subject: subject(), problem: problem() },
        NotSupported { subject: subject(), problem: problem() },
        Unreachable { subject: subject(), problem: problem() },
        TimedOut { subject: subject(), problem: problem() },
        Host { subject: subject(), problem: problem() },
        Inconsistent { attempts: 50 },
        TooLarge { most: 262_144 },
        AccessDenied { needed: "uid 0".into() },
        Cancelled,
    ];
    check_errors(&interface(IDL), &samples);
}
