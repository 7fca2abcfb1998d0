//! Who is refused, and how.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::Instant;
use lab::or_skip;
use ports::guard::{Features, Row};
use ports::{Protocol, Refusal};

use crate::site::{
    EACCES, EADDRINUSE, EPERM, Site, Sort, bind, fd, granted, id, port_of, refusal, row, stranger,
};

#[test]
fn strangers_are_refused_on_every_way_to_a_port() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            let before: Vec<_> = Sort::ALL.map(|sort| (sort, sort.socket())).into();
            guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
            guard.insert(id(2), &row(Protocol::Udp, 5000, 10)).unwrap();
            let refused = refusal(features, EACCES);
            for (sort, socket) in &before {
                assert_eq!(bind(socket, sort.any(), 5000), refused, "{sort:?} made before");
            }
            for sort in Sort::ALL {
                for port in [5000, 5004, 5009] {
                    assert_eq!(stranger(sort, port), refused, "{sort:?} {port}");
                }
                for port in [4999, 5010] {
                    assert_eq!(stranger(sort, port), Ok(port), "{sort:?} {port}");
                }
                let socket = sort.socket();
                socket.set_reuse_address(true).unwrap();
                socket.set_reuse_port(true).unwrap();
                assert_eq!(bind(&socket, sort.any(), 5001), refused, "{sort:?} reuse");
            }
            let addresses: [IpAddr; 3] = [
                Ipv6Addr::LOCALHOST.into(),
                Ipv6Addr::UNSPECIFIED.into(),
                Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
            ];
            for address in addresses {
                for sort in [Sort::Tcp6, Sort::Udp6] {
                    let socket = sort.socket();
                    socket.set_only_v6(false).unwrap();
                    assert_eq!(bind(&socket, address, 5001), refused, "{sort:?} {address}");
                }
            }
            guard.detach().unwrap();
            for sort in Sort::ALL {
                assert_eq!(stranger(sort, 5000), Ok(5000), "{sort:?} after the guard");
            }
        });
    });
}

#[test]
fn tcp_and_udp_are_reserved_by_themselves() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 1)).unwrap();
        guard.insert(id(2), &row(Protocol::Udp, 65_535, 1)).unwrap();
        assert_eq!(stranger(Sort::Udp4, 5000), Ok(5000));
        assert_eq!(stranger(Sort::Tcp4, 65_535), Ok(65_535));
        assert_eq!(stranger(Sort::Tcp4, 5000), Err(EACCES));
        assert_eq!(stranger(Sort::Udp4, 65_535), Err(EACCES));
        // A grant of one is none of the other.
        let socket = granted(&guard, Sort::Udp4, 1);
        assert_eq!(bind(&socket, Sort::Udp4.any(), 65_535), Err(EACCES));
    });
}

#[test]
fn each_reservation_has_its_refusal() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            let kinds = [
                (Refusal::AccessDenied, EACCES),
                (Refusal::AddressInUse, EADDRINUSE),
                (Refusal::NotPermitted, EPERM),
            ];
            for (number, (kind, errno)) in (1..).zip(kinds) {
                let wanted = row(Protocol::Tcp, 5000 + number as u32, 1);
                guard.insert(id(number), &Row { refusal: kind, ..wanted }).unwrap();
                let port = 5000 + number as u16;
                assert_eq!(stranger(Sort::Tcp4, port), refusal(features, errno), "{kind:?}");
                assert_eq!(guard.denials(id(number)).unwrap(), 1, "{kind:?}");
            }
            guard.detach().unwrap();
        });
    });
}

#[test]
fn other_network_namespaces_are_not_concerned() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 1)).unwrap();
        assert_eq!(stranger(Sort::Tcp4, 5000), Err(EACCES));
        let other = sys::namespace::in_new_network(|| stranger(Sort::Tcp4, 5000)).unwrap();
        assert_eq!(other, Ok(5000));
    });
}

#[test]
fn the_largest_block_has_its_first_and_last_port() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let started = std::time::Instant::now();
        guard.insert(id(1), &row(Protocol::Tcp, 1, 65_535)).unwrap();
        eprintln!("65,535 ports in {:?}", started.elapsed());
        for port in [1, 1023, 1024, 40_000, 65_535] {
            assert_eq!(stranger(Sort::Tcp4, port), Err(EACCES), "{port}");
        }
        guard.remove(id(1), Protocol::Tcp, ports::Block::new(1, 65_535).unwrap()).unwrap();
        for port in [1, 1024, 65_535] {
            assert_eq!(stranger(Sort::Tcp4, port), Ok(port));
        }
    });
}

#[test]
fn dry_runs_count_and_let_in() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, _| {
            let wanted = row(Protocol::Tcp, 5000, 2);
            guard.insert(id(1), &Row { dry_run: true, low_ports: true, ..wanted }).unwrap();
            let sits = Sort::Tcp4.socket();
            assert_eq!(bind(&sits, Sort::Tcp4.any(), 5000), Ok(5000));
            assert_eq!(stranger(Sort::Tcp6, 5001), Ok(5001));
            assert_eq!(guard.denials(id(1)).unwrap(), 2);
            // Its port is known to be taken.
            let socket = granted(&guard, Sort::Tcp4, 1);
            assert_eq!(bind(&socket, Sort::Tcp4.any(), 0), Ok(5001));
            // In earnest from now on; who sits there stays.
            guard.insert(id(1), &wanted).unwrap();
            assert_eq!(guard.denials(id(1)).unwrap(), 2, "the count goes on");
            assert!(stranger(Sort::Tcp4, 5000).is_err());
            assert_eq!(port_of(&sits), 5000);
            guard.detach().unwrap();
        });
    });
}

#[test]
fn an_expired_reservation_is_none() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let at = |after: u64| Some(Instant::from_nanos(sys::clock::boottime() + after));
        let wanted = row(Protocol::Tcp, 5000, 2);
        guard.insert(id(1), &Row { expires_at: at(3_600_000_000_000), ..wanted }).unwrap();
        let socket = granted(&guard, Sort::Tcp4, 1);
        assert_eq!(stranger(Sort::Tcp4, 5000), Err(EACCES));
        guard.insert(id(1), &Row { expires_at: at(0), ..wanted }).unwrap();
        assert_eq!(stranger(Sort::Tcp4, 5000), Ok(5000));
        assert_eq!(bind(&socket, Sort::Tcp4.any(), 0), Err(EACCES), "its grant is void");
        // Prolonged, it is in force again.
        guard.insert(id(1), &wanted).unwrap();
        assert_eq!(stranger(Sort::Tcp4, 5000), Err(EACCES));
        assert!(matches!(bind(&socket, Sort::Tcp4.any(), 0), Ok(5000 | 5001)));
        assert!(guard.state(fd(&socket)).unwrap().counted != 0);
    });
}

#[test]
fn low_ports_need_no_capability_where_the_reservation_says_so() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            for (number, low_ports) in [(1, false), (2, true)] {
                let wanted = row(Protocol::Tcp, 70 + number as u32, 1);
                guard.insert(id(number), &Row { low_ports, ..wanted }).unwrap();
            }
            let ordinary = granted(&guard, Sort::Tcp4, 1);
            let low = granted(&guard, Sort::Tcp4, 2);
            let any = granted(&guard, Sort::Tcp6, 2);
            let results = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    sys::capability::drop_to(&[]).unwrap();
                    (
                        bind(&ordinary, Sort::Tcp4.any(), 71),
                        bind(&any, Sort::Tcp6.any(), 0),
                        bind(&low, Sort::Tcp4.any(), 72),
                    )
                });
                thread.join().unwrap()
            });
            if features.contains(Features::LOW_PORTS) {
                // Both are for port 72: the later one finds it taken.
                assert_eq!(results, (Err(EACCES), Ok(72), Err(EADDRINUSE)));
            } else {
                assert_eq!(results, (Err(EACCES), Err(EACCES), Err(EACCES)));
            }
            guard.detach().unwrap();
        });
    });
}

#[test]
fn who_was_let_in_before_the_reservation_is_stopped_after_it() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            // Without the programs before a bind every bind is one they have let in.
            for name in ["bind4", "bind6"] {
                let path = guard.site().folder.join("v1").join(name);
                sys::ebpf::Link::open(&path).unwrap().detach().unwrap();
            }
            assert_eq!(stranger(Sort::Tcp4, 5000), Ok(5000));
            guard.insert(id(1), &row(Protocol::Tcp, 5000, 2)).unwrap();
            guard.insert(id(2), &row(Protocol::Udp, 5000, 2)).unwrap();
            let dry = row(Protocol::Tcp, 6000, 1);
            guard.insert(id(3), &Row { dry_run: true, ..dry }).unwrap();
            for sort in Sort::ALL {
                assert_eq!(stranger(sort, 5001), refusal(features, EACCES), "{sort:?}");
                assert_eq!(stranger(sort, 5002), Ok(5002), "{sort:?}");
            }
            assert_eq!(guard.denials(id(2)).unwrap(), 2);
            assert_eq!(stranger(Sort::Tcp4, 6000), Ok(6000));
            let other = sys::namespace::in_new_network(|| stranger(Sort::Tcp4, 5000)).unwrap();
            assert_eq!(other, Ok(5000), "another namespace");
            // Nobody is on the way for ever.
            let is_let_in = || stranger(Sort::Tcp4, 5000).is_ok();
            lab::wait_until("the end", Duration::from_secs(5), is_let_in).unwrap();
            guard.detach().unwrap();
        });
    });
}
