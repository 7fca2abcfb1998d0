use std::net::IpAddr;

use netlink::address::Assignment;
use netlink::neighbor::{self, Entry, Neighbor, State};
use netlink::{Family, Reason};
use wire::HardwareAddress;

use crate::{in_namespace, ip, ip_do, veth, wait_until};

#[test]
fn neighbors_as_ip_shows_them() {
    in_namespace("neighbors_as_ip_shows_them", |connection| {
        let (one, two) = veth(connection, "one", "two");
        let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, 7]);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let states = [
            ("192.0.2.1", State::PERMANENT, "PERMANENT"),
            ("192.0.2.2", State::STALE, "STALE"),
            ("192.0.2.3", State::NO_ARP, "NOARP"),
            ("2001:db8::4", State::PERMANENT, "PERMANENT"),
            ("2001:db8::5", State::REACHABLE, "REACHABLE"),
        ];
        for (text, state, _) in states {
            let permanent = Entry::permanent(one, address(text), hardware);
            connection.request(&Entry { state, ..permanent }.add()).unwrap();
        }
        let elsewhere = Entry::permanent(two, address("192.0.2.9"), hardware);
        connection.request(&elsewhere.add()).unwrap();

        let rows =
            connection.dump::<Neighbor>(&neighbor::dump(Family::Unspecified, Some(one))).unwrap();
        let json = ip("neigh show dev one nud all");
        for (text, state, name) in states {
            let row = rows.iter().find(|row| row.address == address(text)).unwrap();
            assert_eq!(row.state, state);
            assert!(row.state.is_usable());
            assert_eq!(row.hardware_address, Some(hardware));
            assert_eq!(row.interface, one);
            let json = json.iter().find(|json| json["dst"] == text).unwrap();
            assert_eq!(json["state"][0], name);
            assert_eq!(json["lladdr"], hardware.to_string());
        }
        assert_eq!(rows.len(), json.len());
        assert!(rows.iter().all(|row| row.interface == one), "the kernel filters");

        let entry = Entry::address(one, address("192.0.2.1"));
        connection.request(&entry.delete()).unwrap();
        let error = connection.request(&entry.delete()).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NotFound));
        let moved = HardwareAddress::ethernet([2, 0, 0, 0, 0, 8]);
        connection.request(&Entry::permanent(two, address("192.0.2.9"), moved).replace()).unwrap();
        let rows = connection.dump::<Neighbor>(&neighbor::dump(Family::Ipv4, Some(two))).unwrap();
        assert_eq!(rows[0].hardware_address, Some(moved));
    });
}

#[test]
fn resolving_asks_the_link_now() {
    in_namespace("resolving_asks_the_link_now", |connection| {
        let (one, _) = veth(connection, "one", "two");
        let assignment = Assignment::new(one, "192.0.2.1".parse().unwrap(), 24);
        connection.request(&assignment.add()).unwrap();
        let target: IpAddr = "192.0.2.2".parse().unwrap();
        connection.request(&Entry::address(one, target).resolve()).unwrap();
        let rows = connection.dump::<Neighbor>(&neighbor::dump(Family::Ipv4, Some(one))).unwrap();
        assert_eq!(rows[0].address, target);
        assert_eq!(rows[0].state, State::INCOMPLETE);
        assert_eq!(rows[0].hardware_address, None);
        wait_until("nobody answers", || {
            let rows =
                connection.dump::<Neighbor>(&neighbor::dump(Family::Ipv4, Some(one))).unwrap();
            rows[0].state == State::FAILED
        });
    });
}

#[test]
fn proxies_are_a_table_of_their_own() {
    in_namespace("proxies_are_a_table_of_their_own", |connection| {
        veth(connection, "one", "two");
        ip_do("neigh add proxy 192.0.2.99 dev one");
        let ordinary = connection.dump::<Neighbor>(&neighbor::dump(Family::Ipv4, None)).unwrap();
        assert!(ordinary.is_empty(), "{ordinary:?}");
        let proxies = connection.dump::<Neighbor>(&neighbor::dump_proxies(Family::Ipv4)).unwrap();
        assert_eq!(proxies.len(), 1);
        assert!(proxies[0].is_proxy);
    });
}
