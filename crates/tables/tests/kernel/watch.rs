use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use netlink::kernel::*;
use netlink::{Connection, Monitor, Socket};
use tables::{
    Cache, Change, Delta, Error, Family, Interface, IpInterface, Machine, NeighborState, Next, Row,
    Subscription, Table, Tables, UnicastAddress, Watch,
};

use crate::{in_namespace, ip_batch, ip_do, set_parameter};

/// What a subscriber knows who applies nothing but the changes.
#[derive(Default)]
struct Mirror {
    interfaces: BTreeMap<u32, Interface>,
    ip_interfaces: BTreeMap<(u32, Family), IpInterface>,
    unicast: BTreeMap<<UnicastAddress as Row>::Key, UnicastAddress>,
    multicast: BTreeMap<<tables::MulticastAddress as Row>::Key, tables::MulticastAddress>,
    routes: BTreeMap<tables::RouteKey, tables::Route>,
    neighbors: BTreeMap<<tables::Neighbor as Row>::Key, tables::Neighbor>,
    stack: BTreeMap<(u32, u32), tables::StackEntry>,
}

impl Mirror {
    fn apply(&mut self, change: Change) {
        fn one<R: Row>(rows: &mut BTreeMap<R::Key, R>, delta: Delta<R>) {
            match delta {
                Delta::Added { row } => {
                    let before = rows.insert(row.key(), row.clone());
                    assert!(before.is_none(), "added twice: {row:?}");
                }
                Delta::Changed { row, members } => {
                    assert!(!members.is_empty());
                    let before = rows.insert(row.key(), row.clone());
                    assert!(before.is_some(), "changed, but never added: {row:?}");
                }
                Delta::Removed { row } => {
                    assert!(rows.remove(&row.key()).is_some(), "removed twice: {row:?}");
                }
            }
        }
        match change {
            Change::Interface(delta) => one(&mut self.interfaces, *delta),
            Change::IpInterface(delta) => one(&mut self.ip_interfaces, delta),
            Change::UnicastAddress(delta) => one(&mut self.unicast, delta),
            Change::MulticastAddress(delta) => one(&mut self.multicast, delta),
            Change::Route(delta) => one(&mut self.routes, delta),
            Change::Neighbor(delta) => one(&mut self.neighbors, delta),
            Change::Stack(delta) => one(&mut self.stack, delta),
            _ => {}
        }
    }

    /// What differs between the mirror and the kernel's tables, in words; empty if nothing does.
    fn difference(&self, tables: &mut Tables, follows: impl Fn(Table) -> bool) -> Vec<String> {
        let mut all = Vec::new();
        compare(&mut all, &self.interfaces, tables.interfaces().unwrap());
        let both = Family::Unspecified;
        compare(&mut all, &self.ip_interfaces, tables.ip_interfaces(both).unwrap());
        compare(&mut all, &self.unicast, tables.unicast_addresses(both).unwrap());
        if follows(Table::MulticastAddress) {
            compare(&mut all, &self.multicast, tables.multicast_addresses(both).unwrap());
        }
        compare(&mut all, &self.routes, tables.routes(both).unwrap());
        compare(&mut all, &self.stack, tables.interface_stack().unwrap());
        // The kernel keeps to itself that it began to look for a neighbour, or needs not look.
        let silent = |row: &tables::Neighbor| {
            use NeighborState::{Delay, Incomplete, NoArp, None};
            matches!(row.state, Incomplete | Delay | NoArp | None)
        };
        let rows = tables.neighbors(both).unwrap();
        let hidden: BTreeSet<_> = rows.iter().filter(|row| silent(row)).map(Row::key).collect();
        let mut mirror = self.neighbors.clone();
        mirror.retain(|key, row| !silent(row) && !hidden.contains(key));
        let rows = rows.into_iter().filter(|row| !silent(row)).collect();
        compare(&mut all, &mirror, rows);
        all
    }
}

fn compare<R: Row>(all: &mut Vec<String>, mirror: &BTreeMap<R::Key, R>, kernel: Vec<R>)
where
    R::Key: Debug,
{
    let mut missing: BTreeMap<&R::Key, &R> = mirror.iter().collect();
    for row in kernel {
        let Some(known) = missing.remove(&row.key()) else {
            all.push(format!("unknown to the watch: {row:?}"));
            continue;
        };
        let members: Vec<&str> = row
            .difference(known)
            .into_iter()
            .filter(|member| row.weight(known, member) == tables::Weight::State)
            .collect();
        if !members.is_empty() {
            all.push(format!("{members:?} differ: {row:?} {known:?}"));
        }
    }
    all.extend(missing.into_values().map(|row| format!("gone from the kernel: {row:?}")));
}

/// The next change, soon.
fn next(watch: &mut Watch) -> Change {
    watch.wait(Some(Duration::from_secs(10))).unwrap().item().unwrap()
}

/// Applies changes until the mirror is the kernel's image.
fn settle(watch: &mut Watch, mirror: &mut Mirror, tables: &mut Tables) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        while let Next::Item(change) = watch.wait(Some(Duration::from_millis(100))).unwrap() {
            mirror.apply(change);
        }
        let difference = mirror.difference(tables, |table| watch.cache().follows(table));
        if difference.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "never the same: {difference:#?}");
    }
}

#[test]
fn a_subscriber_sees_everything() {
    in_namespace("a_subscriber_sees_everything", |tables| {
        ip_do("link add before type veth peer name beside");
        ip_do("link set before up");
        ip_do("addr add 192.0.2.1/24 dev before");
        let mut watch = Watch::open(Subscription::to_all()).unwrap();
        let mut mirror = Mirror::default();
        settle(&mut watch, &mut mirror, tables);
        assert!(mirror.interfaces.len() == 3 && mirror.unicast.len() >= 3);
        for step in [
            "link set beside up",
            "link add bridge type bridge",
            "link set bridge up",
            "link set beside master bridge",
            "addr add 192.0.2.2/24 dev before",
            "addr add 2001:db8::1/64 dev bridge",
            "link add macvlan link before type macvlan",
            "link set before mtu 1400",
            "link set before alias hello",
            "route add 203.0.113.0/24 via 192.0.2.254",
            "route append 203.0.113.0/24 via 192.0.2.253",
            "route replace 203.0.113.0/24 via 192.0.2.252",
            "route add 198.51.100.0/24 nexthop via 192.0.2.9 nexthop via 192.0.2.10",
            "-6 route add 2001:db8:5::/48 nexthop via 2001:db8::9 nexthop via 2001:db8::a",
            "-6 route append 2001:db8:5::/48 via 2001:db8::b",
            "-6 route del 2001:db8:5::/48 via 2001:db8::a",
            "-6 route replace 2001:db8:5::/48 via 2001:db8::c",
            "route add blackhole 10.0.0.0/8",
            "route add 10.1.0.0/16 dev before src 192.0.2.2",
            // Of the same ways, by somebody else.
            "route add 10.2.0.0/16 dev before",
            "route append 10.2.0.0/16 dev before proto 77",
            "route del 10.2.0.0/16 dev before proto 77",
            // Of another interface than the address it prefers.
            "route add 10.5.0.0/16 dev bridge src 192.0.2.2",
            "addr add 2001:db8:99::5/64 dev before nodad",
            "-6 route add 2001:db8:98::/48 dev bridge src 2001:db8:99::5",
            "addr del 2001:db8:99::5/64 dev before",
            "nexthop add id 7 via 192.0.2.9 dev before",
            "nexthop add id 8 via 192.0.2.10 dev before",
            "nexthop add id 9 group 7/8",
            "route add 10.3.0.0/16 nhid 7",
            "route add 10.4.0.0/16 nhid 9",
            "nexthop replace id 7 via 192.0.2.11 dev before",
            "nexthop del id 7",
            "nexthop del id 8",
            "neigh add 192.0.2.77 lladdr 02:00:00:00:00:01 dev before nud stale",
            "neigh replace 192.0.2.77 lladdr 02:00:00:00:00:02 dev before nud permanent",
            "addr del 192.0.2.2/24 dev before",
            "link set beside down",
            "link set beside up",
            "link set before down",
            "link set before name after",
            "link set after up",
            "link set beside nomaster",
            "link set after mtu 1000",
            "link set after mtu 1500",
            "link del macvlan",
            "route flush table main proto boot",
            "neigh flush dev after",
            "link del after",
            "link add one type veth peer name two",
            "link set one up",
            "link set two up",
        ] {
            ip_do(step);
            settle(&mut watch, &mut mirror, tables);
        }
        for (name, value) in [
            ("ipv4/conf/bridge/forwarding", "1"),
            ("ipv6/conf/bridge/forwarding", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/ip_forward", "1"),
            // Told by the link-local address that goes and comes.
            ("ipv6/conf/one/disable_ipv6", "1"),
            ("ipv6/conf/one/disable_ipv6", "0"),
        ] {
            set_parameter(name, value);
            settle(&mut watch, &mut mirror, tables);
        }
        assert_eq!(mirror.interfaces.len(), 4);
    });
}

#[test]
fn ages_of_routes_are_known_where_a_change_was_seen() {
    in_namespace("ages_of_routes_are_known_where_a_change_was_seen", |_| {
        ip_do("link add one type veth peer name two");
        ip_do("link set one up");
        ip_do("route add 198.51.100.0/24 dev one");
        let mut watch = Watch::open(Subscription::to([Table::Route])).unwrap();
        while watch.poll_change().is_some() {}
        ip_do("route add 203.0.113.0/24 dev one");
        let mut added = false;
        while !added {
            let change = next(&mut watch);
            let Change::Route(delta) = change else { panic!("{change:?}") };
            added = delta.row().destination.to_string() == "203.0.113.0/24";
        }
        let later = Instant::now() + Duration::from_secs(100);
        let age = |watch: &Watch, destination: &str| {
            let mut routes = watch.cache().routes();
            let row = routes.find(|row| row.destination.to_string() == destination).unwrap();
            let mut row = iphelper_tables::Route::clone(row);
            row.set_age(watch.cache().route_changed_at(&row.key()), later);
            row.age
        };
        assert_eq!(age(&watch, "198.51.100.0/24"), None);
        assert!((100..110).contains(&age(&watch, "203.0.113.0/24").unwrap()));
    });
}

#[test]
fn tables_that_are_too_large_are_not_kept() {
    in_namespace("tables_that_are_too_large_are_not_kept", |_| {
        let all = Watch::open(Subscription::to([Table::Interface])).unwrap();
        // Some kernels have others beside the loopback interface.
        let present = all.cache().interfaces().count();
        let few = Subscription::to([Table::Interface]).at_most(present + 1);
        ip_do("link add one type veth peer name two");
        assert!(matches!(Watch::open(few), Err(Error::TooLarge { most }) if most == present + 1));
        ip_do("link delete one");
        let mut watch = Watch::open(few).unwrap();
        assert_eq!(watch.cache().interfaces().count(), present);
        // Also those that grow.
        ip_do("link add one type veth peer name two");
        assert!(matches!(watch.process(), Err(Error::TooLarge { .. })));
        assert_eq!(watch.cache().interfaces().count(), 0, "it holds nothing");
        assert!(matches!(watch.process(), Err(Error::TooLarge { .. })));
        ip_do("link delete one");
        assert!(watch.process().unwrap());
        assert_eq!(watch.cache().interfaces().count(), present);
    });
}

#[test]
fn changes_say_what_changed() {
    in_namespace("changes_say_what_changed", |_| {
        ip_do("link add one type veth peer name two");
        let mut watch = Watch::open(Subscription::to([Table::Interface])).unwrap();
        while let Some(change) = watch.poll_change() {
            let Change::Interface(delta) = change else { panic!("{change:?}") };
            assert!(matches!(*delta, Delta::Added { .. }), "{delta:?}");
        }
        ip_do("link set one mtu 1400");
        let change = next(&mut watch);
        let json = serde_json::to_value(&change).unwrap();
        assert_eq!((&json["table"], &json["change"]), (&"interface".into(), &"changed".into()));
        assert_eq!(json["members"], serde_json::json!(["mtu"]));
        assert_eq!((&json["row"]["interface"], &json["row"]["mtu"]), (&"one".into(), &1400.into()));
        // Tables nobody asked for are not told.
        ip_do("addr add 192.0.2.1/24 dev one");
        ip_do("link del one");
        let mut removed = Vec::new();
        while removed.len() < 2 {
            let change = next(&mut watch);
            let Change::Interface(delta) = change else { panic!("{change:?}") };
            if !delta.is_present() {
                removed.push(delta.row().name.to_string());
            }
        }
        removed.sort();
        assert_eq!(removed, ["one", "two"]);
    });
}

#[test]
fn refreshed_lifetimes_are_told_on_request_only() {
    in_namespace("refreshed_lifetimes_are_told_on_request_only", |_| {
        ip_do("link add one type veth peer name two");
        ip_do("addr add 2001:db8::1/64 dev one nodad valid_lft 1000 preferred_lft 500");
        let addresses = Subscription::to([Table::UnicastAddress]);
        let mut quiet = Watch::open(addresses).unwrap();
        let mut all = Watch::open(addresses.with_lifetimes()).unwrap();
        while quiet.poll_change().is_some() {}
        while all.poll_change().is_some() {}
        // The kernel counts in hundredths of a second.
        std::thread::sleep(Duration::from_millis(30));
        ip_do("addr change 2001:db8::1/64 dev one nodad valid_lft 1000 preferred_lft 500");
        let change = next(&mut all);
        assert!(matches!(change, Change::UnicastAddress(Delta::Changed { .. })), "{change:?}");
        ip_do("addr change 2001:db8::1/64 dev one nodad valid_lft forever preferred_lft forever");
        let change = next(&mut quiet);
        let Change::UnicastAddress(Delta::Changed { row, members }) = change else { panic!() };
        assert!(members.contains(&"flags") && row.valid_lifetime.is_none(), "{members:?}");
    });
}

#[test]
fn a_watch_is_ended_from_another_thread() {
    in_namespace("a_watch_is_ended_from_another_thread", |_| {
        let mut watch = Watch::open(Subscription::to([Table::Interface])).unwrap();
        while watch.poll_change().is_some() {}
        assert_eq!(watch.wait(Some(Duration::from_millis(10))).unwrap(), Next::TimedOut);
        let stopper = watch.stopper().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| watch.wait(Some(Duration::from_secs(20))).unwrap());
            // Before it waits or while it does.
            stopper.clone().stop();
            assert_eq!(waiting.join().unwrap(), Next::Ended);
        });
        // For good, whatever happens.
        ip_do("link add one type veth peer name two");
        assert_eq!(watch.wait(None).unwrap(), Next::Ended);
    });
}

/// A watch whose queue overflows at once.
fn cramped() -> Watch {
    let subscription = Subscription::to_all();
    let socket = Socket::open(0).unwrap();
    assert!(socket.set_receive_buffer(4096).unwrap() < 10_000);
    let mut absent = Vec::new();
    for group in [
        RTNLGRP_LINK,
        RTNLGRP_NEIGH,
        RTNLGRP_IPV4_IFADDR,
        RTNLGRP_IPV4_ROUTE,
        RTNLGRP_IPV6_IFADDR,
        RTNLGRP_IPV6_ROUTE,
        RTNLGRP_IPV6_IFINFO,
        RTNLGRP_IPV4_NETCONF,
        RTNLGRP_IPV6_NETCONF,
        RTNLGRP_IPV4_MCADDR,
        RTNLGRP_IPV6_MCADDR,
        RTNLGRP_IPV6_ACADDR,
    ] {
        match socket.join(group) {
            // Not on this kernel.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => absent.push(group),
            outcome => outcome.unwrap(),
        }
    }
    let cache = Cache::new(subscription, Machine::local()).without_groups(&absent);
    Watch::new(Monitor::new(socket).without(&absent), Connection::open().unwrap(), cache)
}

#[test]
fn what_was_lost_is_made_good_exactly() {
    in_namespace("what_was_lost_is_made_good_exactly", |tables| {
        let mut watch = cramped();
        let mut mirror = Mirror::default();
        for round in 0..3 {
            let lines: Vec<String> = (0..30)
                .flat_map(|n| {
                    [
                        format!("link add a{round}x{n} type veth peer name b{round}x{n}"),
                        format!("addr add 10.{round}.{n}.1/24 dev a{round}x{n}"),
                        format!("link set a{round}x{n} up"),
                        format!("link set b{round}x{n} up"),
                    ]
                })
                .collect();
            ip_batch(&lines);
            settle(&mut watch, &mut mirror, tables);
            ip_do(&format!("link del a{round}x0"));
            ip_do(&format!("link set a{round}x1 mtu 1300"));
        }
        settle(&mut watch, &mut mirror, tables);
        assert_eq!(mirror.interfaces.len(), 1 + 3 * 29 * 2);
    });
}

/// Interfaces made by the burst test: 2,000 with `IPHELPER_LONG_TESTS`.
fn burst() -> usize {
    if std::env::var_os("IPHELPER_LONG_TESTS").is_some() { 2000 } else { 200 }
}

#[test]
fn a_burst_with_a_slow_subscriber_ends_in_the_kernels_table() {
    in_namespace("a_burst_with_a_slow_subscriber_ends_in_the_kernels_table", |tables| {
        let mut watch = Watch::open(Subscription::to_all()).unwrap();
        let mut mirror = Mirror::default();
        let lines: Vec<String> = (0..burst() / 2)
            .flat_map(|n| {
                [
                    format!("link add a{n} type veth peer name b{n}"),
                    format!("addr add 10.{}.{}.1/24 dev a{n}", n / 256, n % 256),
                    format!("link set a{n} up"),
                    format!("link set b{n} up"),
                ]
            })
            .collect();
        std::thread::scope(|scope| {
            let maker = scope.spawn(|| ip_batch(&lines));
            // 50 microseconds of work for each change.
            while !maker.is_finished() {
                if let Next::Item(change) = watch.wait(Some(Duration::from_millis(10))).unwrap() {
                    mirror.apply(change);
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        settle(&mut watch, &mut mirror, tables);
        assert_eq!(mirror.interfaces.len(), 1 + burst());
    });
}
