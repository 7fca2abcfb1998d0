use std::sync::atomic::{AtomicBool, Ordering};

use netlink::address::{self, Address};
use netlink::link::{self, Kind, Link, Settings};
use netlink::{Connection, Family, Reason, Request, Visit};

use crate::in_namespace;

#[test]
fn snapshots_are_whole_while_interfaces_come_and_go() {
    in_namespace("snapshots_are_whole_while_interfaces_come_and_go", |connection| {
        let pairs: Vec<Request> = (0..150)
            .map(|index| {
                let peer = Settings::new().name(format!("b{index}"));
                Settings::new().name(format!("a{index}")).create(&Kind::Veth { peer })
            })
            .collect();
        for outcome in connection.request_all(&pairs) {
            outcome.unwrap();
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut connection = Connection::open().unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let peer = Settings::new().name("churn-b");
                    let create = Settings::new().name("churn-a").create(&Kind::Veth { peer });
                    connection.request(&create).unwrap();
                    let index = connection.one::<Link>(&link::by_name("churn-a")).unwrap().index;
                    connection.request(&link::delete(index)).unwrap();
                }
            });
            let mut restarts = 0;
            for _ in 0..100 {
                let mut names = Vec::new();
                connection
                    .visit::<Link>(&link::dump(), |visit| match visit {
                        Visit::Row(view) => names.push(view.name.to_string()),
                        Visit::Restart => {
                            restarts += 1;
                            names.clear();
                        }
                    })
                    .unwrap();
                let stable = names.iter().filter(|name| !name.starts_with("churn")).count();
                assert_eq!(stable, 301, "loopback and both ends of 150 pairs");
                names.sort();
                names.dedup();
                assert!(names.len() == 301 || names.len() == 303, "{}", names.len());
            }
            stop.store(true, Ordering::Relaxed);
            eprintln!("{restarts} of {} readings were torn and repeated", restarts + 100);
        });
    });
}

#[test]
fn many_requests_in_flight_keep_their_answers_apart() {
    in_namespace("many_requests_in_flight_keep_their_answers_apart", |connection| {
        // Every third one is refused; the rest must not suffer.
        let requests: Vec<Request> = (0..500)
            .map(|index| match index % 3 {
                0 => link::delete(1_000_000 + index),
                _ => {
                    let alias = format!("number {index}");
                    Settings::new().alias(alias).apply_to(1)
                }
            })
            .collect();
        let outcomes = connection.request_all(&requests);
        assert_eq!(outcomes.len(), 500);
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(()) => assert_ne!(index % 3, 0),
                Err(error) => {
                    assert_eq!((index % 3, error.reason()), (0, Some(Reason::NotFound)));
                }
            }
        }
        let loopback = connection.one::<Link>(&link::by_index(1)).unwrap();
        assert_eq!(loopback.alias.unwrap(), "number 499");
        assert!(connection.request_all(&[]).is_empty());
    });
}

#[test]
fn a_table_longer_than_a_datagram() {
    in_namespace("a_table_longer_than_a_datagram", |connection| {
        std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0").unwrap();
        connection.request(&Settings::new().up().apply_to(1)).unwrap();
        let requests: Vec<Request> = (1..2000_u32)
            .map(|index| {
                let address = std::net::Ipv4Addr::from(0x0a00_0000 + index);
                address::Assignment::new(1, address.into(), 32).add()
            })
            .collect();
        for outcome in connection.request_all(&requests) {
            outcome.unwrap();
        }
        let rows = connection.dump::<Address>(&address::dump(Family::Ipv4, None)).unwrap();
        // 127.0.0.1 as well.
        assert_eq!(rows.len(), 2000);

        // A reading given up half-way does not stand in the way of the next.
        connection.set_timeout(std::time::Duration::from_nanos(1));
        let error = connection.dump::<Address>(&address::dump(Family::Ipv4, None)).unwrap_err();
        assert!(matches!(error, netlink::Error::TimedOut), "{error}");
        connection.set_timeout(std::time::Duration::from_secs(10));
        let rows = connection.dump::<Address>(&address::dump(Family::Ipv4, None)).unwrap();
        assert_eq!(rows.len(), 2000);
    });
}
