//! Runtime reservations end with their socket, whether a daemon runs or not.

use std::process::{Command, Stdio};
use std::time::Duration;

use iphelper_daemon::ports::guard::Guard;
use lab::or_skip;
use ports::guard::{Features, Row, What};
use ports::{Block, Protocol};
use socket2::Socket;

use crate::site::{EACCES, Site, Sort, bind, fd, id, row, stranger};

/// A socket of this sort that owns a reservation of one port.
fn owner(guard: &Guard, sort: Sort, number: u64, port: u32) -> Socket {
    let wanted = Row { runtime: true, ..row(sort.protocol(), port, 1) };
    guard.insert(id(number), &wanted).unwrap();
    let socket = sort.socket();
    guard.grant(fd(&socket), id(number), true).unwrap();
    socket
}

fn is_reserved(port: u16) -> bool {
    stranger(Sort::Tcp4, port).is_err()
}

#[test]
fn the_last_descriptor_ends_it() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        inside.variants(|guard, features| {
            let mut events = guard.events().unwrap();
            assert_eq!(events.is_some(), features.contains(Features::EVENTS));
            for (number, sort) in (1..).zip(Sort::ALL) {
                if sort.is_mptcp() && !features.contains(Features::MPTCP) {
                    continue;
                }
                let socket = owner(&guard, sort, number, 5000);
                assert_eq!(bind(&socket, sort.any(), 0), Ok(5000), "{sort:?}");
                let copy = socket.try_clone().unwrap();
                drop(socket);
                assert!(guard.row(id(number)).unwrap().is_some(), "{sort:?} has a copy");
                drop(copy);
                assert_eq!(guard.row(id(number)).unwrap(), None, "{sort:?}");
                assert_eq!(stranger(sort, 5000), Ok(5000), "{sort:?}");
                let seen = events.as_mut().map(|events| events.drain()).unwrap_or_default();
                let released = What::Released { reservation: id(number) };
                if features.contains(Features::EVENTS) {
                    assert!(seen.iter().any(|event| event.what == released), "{sort:?} {seen:?}");
                }
                guard.remove(id(number), sort.protocol(), Block::new(5000, 1).unwrap()).unwrap();
            }
            guard.detach().unwrap();
        });
    });
}

#[test]
fn it_ends_without_a_daemon_too() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let socket = owner(&guard, Sort::Tcp4, 1, 5000);
        drop(guard);
        assert_eq!(stranger(Sort::Tcp4, 5000), Err(EACCES));
        drop(socket);
        assert_eq!(stranger(Sort::Tcp4, 5000), Ok(5000));
        let guard = inside.guard();
        assert_eq!(guard.reservations().unwrap(), []);
        // The news waited.
        let seen = guard.events().unwrap().unwrap().drain();
        assert!(seen.iter().any(|event| event.what == What::Released { reservation: id(1) }));
    });
}

#[test]
fn a_child_that_inherited_it_keeps_it_until_it_is_killed() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let socket = owner(&guard, Sort::Tcp4, 1, 5000);
        // Its input is the socket.
        let input: std::os::fd::OwnedFd = socket.into();
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::from(input)).spawn().unwrap();
        assert!(is_reserved(5000));
        child.kill().unwrap();
        child.wait().unwrap();
        lab::wait_until("the port", Duration::from_secs(5), || !is_reserved(5000)).unwrap();
        drop(guard);
    });
}

#[test]
fn a_listener_ends_it_whatever_becomes_of_its_connections() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let listener = owner(&guard, Sort::Tcp4, 1, 5000);
        assert_eq!(bind(&listener, Sort::Tcp4.any(), 5000), Ok(5000));
        listener.listen(1).unwrap();
        let client = std::net::TcpStream::connect("127.0.0.1:5000").unwrap();
        let (accepted, _) = listener.accept().unwrap();
        drop(listener);
        assert_eq!(guard.row(id(1)).unwrap(), None);
        drop((accepted, client));
    });
}

#[test]
fn one_socket_owns_one_reservation_at_a_time() {
    let site = or_skip!(Site::new());
    site.run(|inside| {
        let guard = inside.guard();
        let socket = owner(&guard, Sort::Tcp4, 1, 5000);
        guard.insert(id(2), &Row { runtime: true, ..row(Protocol::Tcp, 6000, 1) }).unwrap();
        let refused = guard.grant(fd(&socket), id(2), true).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
        guard.remove(id(1), Protocol::Tcp, Block::new(5000, 1).unwrap()).unwrap();
        guard.grant(fd(&socket), id(2), true).unwrap();
        drop(socket);
        assert_eq!(guard.row(id(2)).unwrap(), None);
    });
}
