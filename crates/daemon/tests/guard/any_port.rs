//! Port 0 on granted sockets.

use std::collections::BTreeSet;
use std::net::TcpStream;

use lab::or_skip;
use ports::guard::Features;
use ports::{Block, Protocol};
use socket2::Socket;

use crate::site::{
    EACCES, EADDRINUSE, Inside, Site, Sort, bind, fd, granted, id, refusal, row, stranger,
};

/// A reservation of `count` ports from 5000 for this sort of sockets, and then a test with all
/// variants that can grant to them.
fn with_block(inside: &Inside, sort: Sort, count: u32, test: impl Fn(&mut Taker<'_>, Features)) {
    inside.variants(|guard, features| {
        guard.insert(id(1), &row(sort.protocol(), 5000, count)).unwrap();
        if !sort.is_mptcp() || features.contains(Features::MPTCP) {
            test(&mut Taker { guard: &guard, sort, held: Vec::new() }, features);
        }
        guard.detach().unwrap();
    });
}

struct Taker<'a> {
    guard: &'a iphelper_daemon::ports::guard::Guard,
    sort: Sort,
    held: Vec<(u16, Socket)>,
}

impl Taker<'_> {
    fn take(&mut self) -> Result<u16, i32> {
        let socket = granted(self.guard, self.sort, 1);
        let port = bind(&socket, self.sort.any(), 0)?;
        self.held.push((port, socket));
        Ok(port)
    }

    fn ports(&self) -> BTreeSet<u16> {
        self.held.iter().map(|(port, _)| *port).collect()
    }

    fn free(&mut self, port: u16) {
        self.held.retain(|(held, _)| *held != port);
    }
}

#[test]
fn every_port_of_the_block_is_given_once_and_freed_ones_again() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        for sort in Sort::ALL {
            with_block(inside, sort, 64, |taker, features| {
                for _ in 0..64 {
                    taker.take().unwrap();
                }
                let all: BTreeSet<u16> = (5000..5064).collect();
                assert_eq!(taker.ports(), all, "{sort:?}");
                assert_eq!(taker.take(), refusal(features, EADDRINUSE), "{sort:?}");
                for port in [5007, 5063, 5030] {
                    taker.free(port);
                }
                let again: BTreeSet<u16> = (0..3).map(|_| taker.take().unwrap()).collect();
                assert_eq!(again, BTreeSet::from([5007, 5030, 5063]), "{sort:?}");
                assert_eq!(taker.take(), refusal(features, EADDRINUSE), "{sort:?}");
            });
        }
    });
}

#[test]
fn listening_and_explicit_binds_count_too() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        for sort in [Sort::Tcp4, Sort::Udp6, Sort::Mptcp6] {
            with_block(inside, sort, 3, |taker, features| {
                let explicit = granted(taker.guard, sort, 1);
                assert_eq!(bind(&explicit, sort.any(), 5001), Ok(5001));
                if sort != Sort::Udp6 {
                    explicit.listen(1).unwrap();
                }
                // A second bind of a bound socket fails and changes nothing.
                assert!(bind(&explicit, sort.any(), 5002).is_err());
                assert!(bind(&explicit, sort.any(), 0).is_err());
                let taken: BTreeSet<u16> = [taker.take().unwrap(), taker.take().unwrap()].into();
                assert_eq!(taken, BTreeSet::from([5000, 5002]), "{sort:?}");
                assert_eq!(taker.take(), refusal(features, EADDRINUSE), "{sort:?}");
                drop(explicit);
                assert_eq!(taker.take(), Ok(5001), "{sort:?}");
            });
        }
    });
}

#[test]
fn a_shared_port_is_free_when_the_last_of_both_is_closed() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        with_block(inside, Sort::Tcp4, 1, |taker, features| {
            let both = [0, 1].map(|_| {
                let socket = granted(taker.guard, Sort::Tcp4, 1);
                socket.set_reuse_port(true).unwrap();
                assert_eq!(bind(&socket, Sort::Tcp4.any(), 5000), Ok(5000));
                socket
            });
            let [first, second] = both;
            drop(first);
            assert_eq!(taker.take(), refusal(features, EADDRINUSE));
            drop(second);
            assert_eq!(taker.take(), Ok(5000));
        });
    });
}

#[test]
fn a_bind_that_fails_in_the_kernel_does_not_stop_the_next() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        // The kernel holds both ports by sockets the guard has never seen.
        let [one, other] = [5000, 5001].map(|port| {
            let socket = Sort::Tcp4.socket();
            assert_eq!(bind(&socket, Sort::Tcp4.any(), port), Ok(port));
            socket
        });
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 3)).unwrap();
        let socket = granted(&guard, Sort::Tcp4, 1);
        assert_eq!(bind(&socket, Sort::Tcp4.any(), 0), Err(EADDRINUSE));
        assert_eq!(bind(&socket, Sort::Tcp4.any(), 0), Err(EADDRINUSE));
        assert_eq!(bind(&socket, Sort::Tcp4.any(), 0), Ok(5002));
        drop((one, other));
        // What the failed ones had claimed was given back.
        let taken: BTreeSet<u16> = (0..2)
            .map(|_| {
                let socket = granted(&guard, Sort::Tcp4, 1);
                let port = bind(&socket, Sort::Tcp4.any(), 0).unwrap();
                std::mem::forget(socket);
                port
            })
            .collect();
        assert_eq!(taken, BTreeSet::from([5000, 5001]));
    });
}

#[test]
fn ports_in_time_wait_are_come_to_last() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 8)).unwrap();
        let mut used = Vec::new();
        for _ in 0..8 {
            let listener = granted(&guard, Sort::Tcp4, 1);
            let port = bind(&listener, Sort::Tcp4.any(), 0).unwrap();
            listener.listen(1).unwrap();
            let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            // The server closes first: its end waits.
            drop(listener.accept().unwrap());
            drop((listener, client));
            used.push(port);
        }
        let all: Vec<u16> = (5000..5008).collect();
        assert_eq!(used, all, "in turn");
    });
}

#[test]
fn all_ports_of_a_large_block_are_found() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            guard.insert(id(1), &row(Protocol::Udp, 10_000, 3_000)).unwrap();
            let mut held: Vec<(u16, Socket)> = Vec::new();
            for _ in 0..3_000 {
                let socket = granted(&guard, Sort::Udp4, 1);
                let port = bind(&socket, Sort::Udp4.any(), 0).unwrap();
                held.push((port, socket));
            }
            // One that is free, as far from the next one as can be.
            let freed = 12_998;
            held.retain(|(port, _)| *port != freed);
            let socket = granted(&guard, Sort::Udp4, 1);
            let mut tries = 1;
            while bind(&socket, Sort::Udp4.any(), 0).is_err() {
                tries += 1;
                assert!(tries < 4, "each try looks at another thousand");
            }
            let expected = if features.contains(Features::LONG_SEARCH) { 1 } else { 3 };
            assert_eq!(tries, expected);
            assert_eq!(crate::site::port_of(&socket), freed);
            guard.detach().unwrap();
        });
    });
}

#[test]
fn binds_at_the_same_time_never_choose_the_same_port() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        if !guard.features().contains(Features::CLAIMS) {
            return;
        }
        const COUNT: usize = 4_000;
        guard.insert(id(1), &row(Protocol::Udp, 10_000, COUNT as u32)).unwrap();
        let take = || {
            (0..COUNT / 4).map(|_| {
                let socket = granted(&guard, Sort::Udp4, 1);
                (bind(&socket, Sort::Udp4.any(), 0).unwrap(), socket)
            })
        };
        let held: Vec<(u16, Socket)> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| take().collect::<Vec<_>>()));
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let ports: BTreeSet<u16> = held.iter().map(|(port, _)| *port).collect();
        assert_eq!(ports.len(), COUNT);
    });
}

#[test]
fn without_a_grant_port_0_is_what_it_always_was() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
        guard.set_users(id(1), &[0]).unwrap();
        let port = stranger(Sort::Tcp4, 0).unwrap();
        assert!(!(5000..5010).contains(&port));
        // Nor has a grant of UDP to do with TCP.
        guard.insert(id(2), &row(Protocol::Udp, 5000, 10)).unwrap();
        let port = bind(&granted(&guard, Sort::Tcp4, 2), Sort::Tcp4.any(), 0).unwrap();
        assert!(!(5000..5010).contains(&port));
    });
}

#[test]
fn the_grant_of_a_reservation_that_is_gone_gives_no_port() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            guard.insert(id(1), &row(Protocol::Tcp, 5000, 10)).unwrap();
            let socket = granted(&guard, Sort::Tcp4, 1);
            guard.remove(id(1), Protocol::Tcp, Block::new(5000, 10).unwrap()).unwrap();
            assert_eq!(bind(&socket, Sort::Tcp4.any(), 0), refusal(features, EACCES));
            assert_eq!(guard.state(fd(&socket)).unwrap().counted, 0);
            guard.detach().unwrap();
        });
    });
}
