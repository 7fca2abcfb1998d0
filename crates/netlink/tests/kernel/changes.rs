use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use netlink::address::{self, Address, Assignment};
use netlink::link::{self, Kind, Link, Settings};
use netlink::route::{Entry, Prefix};
use netlink::{Change, Event, Family, Monitor, Row, Transport, kernel};
use sys::netlink::{NETLINK_ROUTE, Socket};

use crate::{in_namespace, rename, veth};

const GROUPS: [u32; 6] = [
    kernel::RTNLGRP_LINK,
    kernel::RTNLGRP_NEIGH,
    kernel::RTNLGRP_IPV4_IFADDR,
    kernel::RTNLGRP_IPV6_IFADDR,
    kernel::RTNLGRP_IPV4_ROUTE,
    kernel::RTNLGRP_IPV6_ROUTE,
];

/// Receives until `wanted` says that the last event was the one.
fn until<T: Transport>(
    monitor: &mut Monitor<T>,
    what: &str,
    mut wanted: impl FnMut(&Event<'_>) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut found = false;
    while !found {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "never came: {what}");
        monitor.receive(Some(left), |event| found |= wanted(&event)).unwrap();
    }
}

#[test]
fn groups_that_the_kernel_does_not_have_are_left_out() {
    in_namespace("groups_that_the_kernel_does_not_have_are_left_out", |connection| {
        let mut monitor = Monitor::open(&[4000, kernel::RTNLGRP_LINK]).unwrap();
        assert_eq!(monitor.absent(), [4000]);
        let (one, _) = veth(connection, "one", "two");
        // What is kept comes first, and nothing stands between.
        monitor.keep().unwrap();
        assert!(monitor.is_behind());
        connection.request(&Settings::new().mtu(1400).apply_to(one)).unwrap();
        let mut seen = Vec::new();
        until(&mut monitor, "the MTU", |event| {
            if let Event::Link(Change::Present, view) = event
                && view.index == one
            {
                seen.push(view.mtu);
            }
            seen.last() == Some(&1400)
        });
        assert!(seen.first() == Some(&1500) && !monitor.is_behind(), "{seen:?}");
    });
}

#[test]
fn a_timeout_may_be_for_ever() {
    in_namespace("a_timeout_may_be_for_ever", |connection| {
        connection.set_timeout(Duration::MAX);
        connection.request(&Settings::new().up().apply_to(1)).unwrap();
        assert_eq!(connection.dump::<Link>(&link::dump()).unwrap().len(), 1);
        assert_eq!(connection.one::<Link>(&link::by_index(1)).unwrap().name, "lo");
    });
}

#[test]
fn each_change_is_told() {
    in_namespace("each_change_is_told", |connection| {
        let mut monitor = Monitor::open(&GROUPS).unwrap();
        let (one, _) = veth(connection, "one", "two");
        until(
            &mut monitor,
            "the new interface",
            |event| matches!(event, Event::Link(Change::Present, view) if view.index == one),
        );
        let assignment = Assignment::new(one, "192.0.2.1".parse().unwrap(), 24);
        connection.request(&assignment.add()).unwrap();
        until(
            &mut monitor,
            "the address",
            |event| matches!(event, Event::Address(Change::Present, row) if row.address == assignment.address),
        );
        let mut entry = Entry::new(Prefix::new("203.0.113.0".parse().unwrap(), 24));
        entry.interface = Some(one);
        connection.request(&entry.add()).unwrap();
        connection.request(&entry.delete()).unwrap();
        for change in [Change::Present, Change::Gone] {
            until(&mut monitor, "the route", |event| {
                matches!(event, Event::Route(c, view)
                    if *c == change && view.destination == entry.destination)
            });
        }
        connection.request(&assignment.delete()).unwrap();
        until(
            &mut monitor,
            "the address goes",
            |event| matches!(event, Event::Address(Change::Gone, row) if row.address == assignment.address),
        );
        rename(connection, one, "renamed");
        until(&mut monitor, "the new name", |event| {
            matches!(event, Event::Link(Change::Present, view)
                if view.index == one && view.name == "renamed")
        });
        connection.request(&link::delete(one)).unwrap();
        until(
            &mut monitor,
            "the interface goes",
            |event| matches!(event, Event::Link(Change::Gone, view) if view.index == one),
        );
        while monitor.receive(Some(Duration::ZERO), |_| ()).unwrap() {}
    });
}

#[test]
fn a_bridge_port_leaving_is_not_an_interface_leaving() {
    in_namespace("a_bridge_port_leaving_is_not_an_interface_leaving", |connection| {
        let (one, _) = veth(connection, "one", "two");
        connection.request(&Settings::new().name("bridge").create(&Kind::PlainBridge)).unwrap();
        let bridge = connection.one::<Link>(&link::by_name("bridge")).unwrap().index;
        let mut monitor = Monitor::open(&[kernel::RTNLGRP_LINK]).unwrap();
        for master in [Some(bridge), None] {
            connection.request(&Settings::new().master(master).apply_to(one)).unwrap();
        }
        connection.request(&link::delete(bridge)).unwrap();
        until(&mut monitor, "the bridge goes", |event| {
            let Event::Link(Change::Gone, view) = event else { return false };
            assert_ne!(view.index, one, "the port's bridge settings went, not the port");
            view.index == bridge
        });
    });
}

#[test]
fn losses_are_admitted_and_made_good() {
    in_namespace("losses_are_admitted_and_made_good", |connection| {
        // As small as the kernel lets it be: this burst cannot fit.
        let socket = Socket::open(NETLINK_ROUTE).unwrap();
        assert!(socket.set_receive_buffer(4096).unwrap() < 10_000);
        socket.join(kernel::RTNLGRP_LINK).unwrap();
        socket.join(kernel::RTNLGRP_IPV6_IFADDR).unwrap();
        let mut monitor = Monitor::new(socket);
        for index in 0..40 {
            veth(connection, &format!("a{index}"), &format!("b{index}"));
        }
        let mut lost = false;
        let mut links = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        let key = |row: &Address| (row.interface, row.address);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut resync = false;
            let quiet = Some(Duration::from_millis(300));
            let more = monitor
                .receive(quiet, |event| match event {
                    Event::Link(Change::Present, view) => {
                        links.insert(view.index, Link::from_view(&view).name);
                    }
                    Event::Link(Change::Gone, view) => _ = links.remove(&view.index),
                    Event::Address(Change::Present, row) => _ = addresses.insert(key(&row), ()),
                    Event::Address(Change::Gone, row) => _ = addresses.remove(&key(&row)),
                    Event::Lost => resync = true,
                    _ => {}
                })
                .unwrap();
            if resync {
                lost = true;
                let rows = connection.dump::<Link>(&link::dump()).unwrap();
                links = rows.iter().map(|link| (link.index, link.name)).collect();
                let rows = connection.dump::<Address>(&address::dump(Family::Ipv6, None)).unwrap();
                addresses = rows.iter().map(|row| (key(row), ())).collect();
            }
            let rows = connection.dump::<Link>(&link::dump()).unwrap();
            let truth: BTreeMap<_, _> = rows.iter().map(|link| (link.index, link.name)).collect();
            let rows = connection.dump::<Address>(&address::dump(Family::Ipv6, None)).unwrap();
            let true_addresses: BTreeMap<_, _> = rows.iter().map(|row| (key(row), ())).collect();
            if !more && links == truth && addresses == true_addresses {
                break;
            }
            assert!(Instant::now() < deadline, "the table never became the kernel's");
        }
        assert!(lost, "nothing was lost: the test proves nothing");
    });
}
