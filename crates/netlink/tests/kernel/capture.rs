//! The same bytes through this codec and through netlink-packet-route; and the same bytes cut off
//! at every place.

use std::net::IpAddr;

use netlink::address::{self, Address, Assignment};
use netlink::link::{self, Ipv4Settings, Ipv6Settings, Kind, Link, Settings};
use netlink::neighbor::{self, Entry as NeighborEntry, Neighbor};
use netlink::route::{self, Entry, Prefix, Route};
use netlink::{Connection, Dump, Event, Events, Family, Messages, Request, Row};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage as Oracle;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{AfSpecInet, AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkInfo};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
use netlink_packet_route::route::{RouteAddress, RouteAttribute};
use sys::netlink::{NETLINK_ROUTE, Received, Socket};

use crate::{in_namespace, ip_do, veth};

/// The datagrams that answer a dump request.
fn capture(request: &Request) -> Vec<Vec<u8>> {
    let socket = Socket::open(NETLINK_ROUTE).unwrap();
    let mut outgoing = Vec::new();
    Dump::new(request.clone(), 1).request(&mut outgoing);
    socket.send(&outgoing).unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut datagrams = Vec::new();
    loop {
        let timeout = Some(std::time::Duration::from_secs(5));
        let Received::Datagram(length) = socket.receive_within(&mut buffer, timeout).unwrap()
        else {
            panic!("lost something");
        };
        let datagram = buffer[..length].to_vec();
        let done = Messages::new(&datagram).any(|message| message.unwrap().kind == 3);
        datagrams.push(datagram);
        if done {
            return datagrams;
        }
    }
}

/// A namespace with something of everything.
fn populate(connection: &mut Connection<Socket>) {
    let (one, two) = veth(connection, "one", "two");
    ip_do("link set lo up");
    connection.request(&Settings::new().name("bridge").create(&Kind::Bridge)).unwrap();
    ip_do("link set two master bridge alias something");
    ip_do("link property add dev two altname other-name");
    for text in ["192.0.2.1", "2001:db8::1"] {
        let mut assignment = Assignment::new(one, text.parse().unwrap(), 24);
        assignment.valid_seconds = Some(3600);
        assignment.preferred_seconds = Some(1800);
        connection.request(&assignment.add()).unwrap();
    }
    ip_do("address add 198.51.100.1 peer 198.51.100.2/32 dev two");
    let mut default = Entry::new(Prefix::ALL_IPV4);
    default.gateway = Some("192.0.2.254".parse().unwrap());
    default.interface = Some(one);
    default.mtu = Some(1400);
    default.priority = 100;
    connection.request(&default.add()).unwrap();
    ip_do("route add 10.0.0.0/8 nexthop via 192.0.2.7 weight 3 nexthop dev two");
    ip_do("route add blackhole 203.0.113.0/24");
    let hardware = wire::HardwareAddress::ethernet([2, 0, 0, 0, 0, 7]);
    for text in ["192.0.2.9", "2001:db8::9"] {
        let entry = NeighborEntry::permanent(two, text.parse().unwrap(), hardware);
        connection.request(&entry.add()).unwrap();
    }
}

/// Reads every row of a capture both ways, and returns how many there are.
fn both<R: Row>(request: &Request, mut compare: impl FnMut(R, Oracle)) -> usize {
    let mut count = 0;
    for datagram in capture(request) {
        for message in Messages::new(&datagram) {
            let message = message.unwrap();
            let Some(view) = R::view(&message) else { continue };
            let oracle = NetlinkMessage::<Oracle>::deserialize(&datagram[message.offset..]);
            let NetlinkPayload::InnerMessage(oracle) = oracle.unwrap().payload else {
                panic!("{message:?}");
            };
            compare(R::from_view(&view.unwrap()), oracle);
            count += 1;
        }
    }
    count
}

#[test]
fn links_agree_with_netlink_packet_route() {
    in_namespace("links_agree_with_netlink_packet_route", |connection| {
        populate(connection);
        let count = both::<Link>(&link::dump(), |link, oracle| {
            let Oracle::NewLink(oracle) = oracle else { panic!() };
            assert_eq!(link.index, oracle.header.index);
            assert_eq!(link.hardware_type, u16::from(oracle.header.link_layer_type));
            assert_eq!(link.flags.0, oracle.header.flags.bits());
            let (ipv4, ipv6) = (link.ipv4.clone(), link.ipv6.clone());
            for attribute in oracle.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => assert_eq!(link.name, name.as_str()),
                    LinkAttribute::IfAlias(text) => {
                        assert_eq!(link.alias.as_deref(), Some(text.as_ref()));
                    }
                    LinkAttribute::Mtu(mtu) => assert_eq!(link.mtu, mtu),
                    LinkAttribute::MinMtu(mtu) => assert_eq!(link.minimum_mtu.unwrap_or(0), mtu),
                    LinkAttribute::MaxMtu(mtu) => assert_eq!(link.maximum_mtu.unwrap_or(0), mtu),
                    LinkAttribute::Link(index) => assert_eq!(link.lower.unwrap_or(0), index),
                    LinkAttribute::Controller(index) => assert_eq!(link.master, Some(index)),
                    LinkAttribute::Address(bytes) => {
                        assert_eq!(link.hardware_address.as_bytes(), bytes);
                    }
                    LinkAttribute::Broadcast(bytes) => {
                        assert_eq!(link.broadcast_address.as_bytes(), bytes);
                    }
                    LinkAttribute::Carrier(carrier) => {
                        assert_eq!(link.carrier, Some(carrier != 0));
                    }
                    LinkAttribute::CarrierChanges(count) => {
                        assert_eq!(link.carrier_changes, Some(count));
                    }
                    LinkAttribute::TxQueueLen(length) => {
                        assert_eq!(link.transmit_queue_length, Some(length));
                    }
                    LinkAttribute::NumTxQueues(count) => {
                        assert_eq!(link.transmit_queues, Some(count));
                    }
                    LinkAttribute::OperState(state) => {
                        let ours = format!("{:?}", link.operational_state);
                        assert_eq!(ours, format!("{state:?}"));
                    }
                    LinkAttribute::Stats64(stats) => {
                        let ours = link.statistics.unwrap();
                        assert_eq!(ours.received_packets, stats.rx_packets);
                        assert_eq!(ours.sent_bytes, stats.tx_bytes);
                        assert_eq!(ours.sent_compressed, stats.tx_compressed);
                        assert_eq!(ours.receive_unhandled, stats.rx_nohandler);
                    }
                    LinkAttribute::LinkInfo(list) => {
                        for item in list {
                            if let LinkInfo::Kind(kind) = item {
                                let ours = link.kind.as_deref();
                                assert_eq!(ours, Some(kind.to_string().as_ref()));
                            }
                        }
                    }
                    LinkAttribute::AfSpecUnspec(families) => {
                        for family in families {
                            compare_family(&family, ipv4.as_ref(), ipv6.as_ref());
                        }
                    }
                    _ => {}
                }
            }
        });
        assert!(count >= 4);
    });
}

fn compare_family(family: &AfSpecUnspec, ipv4: Option<&Ipv4Settings>, ipv6: Option<&Ipv6Settings>) {
    match family {
        AfSpecUnspec::Inet(list) => {
            for item in list {
                if let AfSpecInet::DevConf(conf) = item {
                    let ipv4 = ipv4.unwrap();
                    assert_eq!(ipv4.forwarding(), Some(conf.forwarding != 0));
                    assert_eq!(ipv4.reverse_path_filter(), Some(conf.rp_filter));
                    assert_eq!(ipv4.value(33), Some(conf.arp_evict_nocarrier));
                }
            }
        }
        AfSpecUnspec::Inet6(list) => {
            let ipv6 = ipv6.unwrap();
            for item in list {
                match item {
                    AfSpecInet6::DevConf(conf) => {
                        assert_eq!(ipv6.forwarding(), Some(conf.forwarding != 0));
                        assert_eq!(ipv6.mtu(), Some(conf.mtu6));
                        assert_eq!(ipv6.value(52), Some(conf.ra_defrtr_metric));
                    }
                    AfSpecInet6::CacheInfo(cache) => {
                        assert_eq!(ipv6.maximum_reassembly, Some(cache.max_reasm_len as u32));
                        assert_eq!(ipv6.reachable_milliseconds, Some(cache.reachable_time as u32));
                        assert_eq!(ipv6.retransmit_milliseconds, Some(cache.retrans_time as u32));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[test]
fn addresses_agree_with_netlink_packet_route() {
    in_namespace("addresses_agree_with_netlink_packet_route", |connection| {
        populate(connection);
        let count = both::<Address>(&address::dump(Family::Unspecified, None), |row, oracle| {
            let Oracle::NewAddress(oracle) = oracle else { panic!() };
            assert_eq!(row.interface, oracle.header.index);
            assert_eq!(row.prefix_length, oracle.header.prefix_len);
            assert_eq!(row.scope, u8::from(oracle.header.scope));
            for attribute in oracle.attributes {
                match attribute {
                    AddressAttribute::Local(address) => assert_eq!(row.address, address),
                    AddressAttribute::Address(address) => {
                        assert_eq!(row.peer.unwrap_or(row.address), address);
                    }
                    AddressAttribute::Label(label) => {
                        assert_eq!(row.label.unwrap(), label.as_str());
                    }
                    AddressAttribute::Broadcast(address) => {
                        assert_eq!(row.broadcast, Some(address));
                    }
                    AddressAttribute::Flags(flags) => assert_eq!(row.flags.0, flags.bits()),
                    AddressAttribute::CacheInfo(cache) => {
                        assert_eq!(row.valid_seconds.unwrap_or(u32::MAX), cache.ifa_valid);
                        assert_eq!(row.preferred_seconds.unwrap_or(u32::MAX), cache.ifa_preferred);
                        assert_eq!(row.created_at, Some(cache.cstamp));
                        assert_eq!(row.updated_at, Some(cache.tstamp));
                    }
                    _ => {}
                }
            }
        });
        // Two of loopback, and the three above.
        assert_eq!(count, 5);
    });
}

#[test]
fn routes_agree_with_netlink_packet_route() {
    in_namespace("routes_agree_with_netlink_packet_route", |connection| {
        populate(connection);
        let ip = |address: RouteAddress| -> IpAddr {
            match address {
                RouteAddress::Inet(address) => address.into(),
                RouteAddress::Inet6(address) => address.into(),
                other => panic!("{other:?}"),
            }
        };
        let request = route::dump(Family::Unspecified, None, None);
        let mut multipath = 0;
        let count = both::<Route>(&request, |row, oracle| {
            let Oracle::NewRoute(oracle) = oracle else { panic!() };
            assert_eq!(row.destination.length, oracle.header.destination_prefix_length);
            assert_eq!(row.protocol, u8::from(oracle.header.protocol));
            assert_eq!(row.scope, u8::from(oracle.header.scope));
            assert_eq!(row.kind, u8::from(oracle.header.kind));
            for attribute in oracle.attributes {
                match attribute {
                    RouteAttribute::Table(table) => assert_eq!(row.table, table),
                    RouteAttribute::Priority(priority) => assert_eq!(row.priority, priority),
                    RouteAttribute::Oif(index) => {
                        assert_eq!(row.next_hops[0].interface, Some(index));
                    }
                    RouteAttribute::Destination(address) => {
                        assert_eq!(row.destination.address, ip(address));
                    }
                    RouteAttribute::Gateway(address) => {
                        assert_eq!(row.next_hops[0].gateway, Some(ip(address)));
                    }
                    RouteAttribute::PrefSource(address) => {
                        assert_eq!(row.preferred_source, Some(ip(address)));
                    }
                    RouteAttribute::MultiPath(list) => {
                        multipath += 1;
                        assert_eq!(row.next_hops.len(), list.len());
                        for (ours, theirs) in row.next_hops.iter().zip(list) {
                            assert_eq!(ours.interface, Some(theirs.interface_index));
                            assert_eq!(ours.weight, u16::from(theirs.hops) + 1);
                            assert_eq!(ours.flags, theirs.flags.bits());
                        }
                    }
                    _ => {}
                }
            }
        });
        assert!(count >= 10, "{count}");
        assert_eq!(multipath, 1);
    });
}

#[test]
fn neighbors_agree_with_netlink_packet_route() {
    in_namespace("neighbors_agree_with_netlink_packet_route", |connection| {
        populate(connection);
        let request = neighbor::dump(Family::Unspecified, None);
        let count = both::<Neighbor>(&request, |row, oracle| {
            let Oracle::NewNeighbour(oracle) = oracle else { panic!() };
            assert_eq!(row.interface, oracle.header.ifindex);
            assert_eq!(row.state.0, u16::from(oracle.header.state));
            assert_eq!(row.kind, u8::from(oracle.header.kind));
            for attribute in oracle.attributes {
                match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                        assert_eq!(row.address, IpAddr::from(address));
                    }
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                        assert_eq!(row.address, IpAddr::from(address));
                    }
                    NeighbourAttribute::LinkLayerAddress(bytes) => {
                        assert_eq!(row.hardware_address.unwrap().as_bytes(), bytes);
                    }
                    NeighbourAttribute::Probes(probes) => assert_eq!(row.probes, Some(probes)),
                    _ => {}
                }
            }
        });
        assert!(count >= 2, "{count}");
    });
}

/// Reads everything there is to read from a datagram, whatever it holds.
fn read_all(datagram: &[u8]) {
    Events::new().handle(datagram, |event| match event {
        Event::Link(_, view) => _ = Link::from_view(&view),
        Event::Route(_, view) => _ = Route::from_view(&view),
        _ => {}
    });
    for message in Messages::new(datagram).flatten() {
        let _ = message.outcome();
    }
}

#[test]
fn real_dumps_cut_off_or_changed_anywhere_do_no_harm() {
    in_namespace("real_dumps_cut_off_or_changed_anywhere_do_no_harm", |connection| {
        populate(connection);
        let requests = [
            link::dump(),
            address::dump(Family::Unspecified, None),
            route::dump(Family::Unspecified, None, None),
            neighbor::dump(Family::Unspecified, None),
        ];
        for datagram in requests.iter().flat_map(capture) {
            for length in 0..datagram.len() {
                read_all(&datagram[..length]);
                // A message that fits the datagram again, with its last attribute cut.
                for message in Messages::new(&datagram).flatten() {
                    let end = message.offset + 16 + message.payload.len();
                    if (message.offset + 16..end).contains(&length) {
                        let mut cut = datagram[message.offset..length].to_vec();
                        let length = cut.len() as u32;
                        cut[..4].copy_from_slice(&length.to_ne_bytes());
                        read_all(&cut);
                    }
                }
            }
            let mut changed = datagram.clone();
            for index in 0..changed.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let before = std::mem::replace(&mut changed[index], value);
                    read_all(&changed);
                    changed[index] = before;
                }
            }
        }
    });
}
