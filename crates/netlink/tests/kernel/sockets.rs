//! Sockets of every kind, as sock_diag lists them and ends them.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;

use netlink::inet_diag::{InetSocket, Protocol, Query, State, States};
use netlink::link::Settings;
use netlink::{Connection, Family, Reason};
use socket2::{Domain, Socket as Socket2, Type};
use sys::netlink::Socket;

use crate::{in_namespace, wait_until};

const FIRST: u16 = 5000;
const LAST: u16 = 5099;

/// Runs a test in a new network namespace whose loopback is up.
fn with_sockets(test: &str, work: impl FnOnce(&mut Connection<Socket>) + Send) {
    in_namespace(test, |connection| {
        connection.request(&Settings::new().up().apply_to(1)).unwrap();
        work(&mut Connection::open_sock_diag().unwrap());
    });
}

/// The sockets on the ports that the tests use.
fn list(connection: &mut Connection<Socket>, protocol: Protocol) -> Vec<InetSocket> {
    let mut rows = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        let query = Query::new(protocol, family).ports(FIRST..=LAST);
        rows.extend(connection.dump::<InetSocket>(&query.dump()).unwrap());
    }
    rows
}

fn on_port(rows: &[InetSocket], port: u16) -> Vec<InetSocket> {
    rows.iter().filter(|row| row.local.port() == port).copied().collect()
}

/// Whether TCP sockets that are bound and nothing else are listed: found out with one.
fn lists_bound(connection: &mut Connection<Socket>, test: &str) -> bool {
    let _idle = bound(Domain::IPV4, Type::STREAM, "127.0.0.1:5099");
    let is_listed = !on_port(&list(connection, Protocol::Tcp), 5099).is_empty();
    if !is_listed {
        eprintln!("SKIPPED: {test}: in part: the kernel does not list sockets that are only bound");
    }
    is_listed
}

fn inode(socket: impl AsFd) -> u32 {
    let file = std::fs::File::from(socket.as_fd().try_clone_to_owned().unwrap());
    u32::try_from(file.metadata().unwrap().ino()).unwrap()
}

fn bound(domain: Domain, kind: Type, address: &str) -> Socket2 {
    let socket = Socket2::new(domain, kind, None).unwrap();
    let address: SocketAddr = address.parse().unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// An MPTCP socket, where the kernel has them.
fn mptcp(address: &str) -> std::io::Result<Socket2> {
    let socket = Socket2::new(Domain::IPV4, Type::STREAM, Some(262.into()))?;
    let address: SocketAddr = address.parse().unwrap();
    socket.bind(&address.into())?;
    Ok(socket)
}

#[test]
fn every_kind_of_socket_is_listed_with_its_owner() {
    let test = "every_kind_of_socket_is_listed_with_its_owner";
    with_sockets(test, |connection| {
        let lists_bound = lists_bound(connection, test);
        let listener = TcpListener::bind("127.0.0.1:5000").unwrap();
        let client = bound(Domain::IPV4, Type::STREAM, "127.0.0.1:5001");
        client.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let idle = bound(Domain::IPV6, Type::STREAM, "[::]:5002");
        let six = TcpListener::bind("[::1]:5003").unwrap();
        let shared = [(); 2].map(|()| {
            let socket = Socket2::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&"127.0.0.1:5004".parse::<SocketAddr>().unwrap().into()).unwrap();
            socket.listen(1).unwrap();
            socket
        });

        let owner = std::fs::File::from(six.as_fd().try_clone_to_owned().unwrap());
        // Root of a user namespace knows no other user.
        let given_away = std::os::unix::fs::fchown(&owner, Some(1234), None).is_ok();

        let rows = list(connection, Protocol::Tcp);
        let states = |port| {
            let mut states: Vec<_> = on_port(&rows, port).iter().map(|row| row.state).collect();
            states.sort();
            states
        };
        assert_eq!(states(5000), [State::ESTABLISHED, State::LISTEN]);
        assert_eq!(states(5001), [State::ESTABLISHED]);
        let idle_states = if lists_bound { vec![State::CLOSED] } else { vec![] };
        assert_eq!(states(5002), idle_states, "bound and nothing else");
        assert_eq!(states(5003), [State::LISTEN]);
        assert_eq!(states(5004), [State::LISTEN, State::LISTEN]);
        assert_eq!(rows.len(), 6 + usize::from(lists_bound));

        let expect = |port, socket: &dyn AsFd| {
            let inode = inode(socket.as_fd());
            let rows = on_port(&rows, port);
            let row = rows.iter().find(|row| row.inode == inode).unwrap();
            let described = sys::inet::describe(socket.as_fd()).unwrap();
            let uid = if port == 5003 && given_away { 1234 } else { 0 };
            assert_eq!((row.uid, row.cookie), (uid, described.cookie), "port {port}");
            assert!(row.cgroup.is_some(), "port {port}");
            *row
        };
        assert_eq!(expect(5000, &listener).send_queue, 128, "the backlog of std");
        assert_eq!(expect(5000, &accepted).remote, "127.0.0.1:5001".parse().unwrap());
        expect(5001, &client);
        if lists_bound {
            assert_eq!(expect(5002, &idle).is_ipv6_only, Some(false));
        }
        let row = expect(5003, &six);
        assert_eq!(row.family(), Family::Ipv6);
        assert_eq!(row.local, "[::1]:5003".parse().unwrap());
        shared.iter().for_each(|socket| _ = expect(5004, socket));
        if let Some(mount) = sys::cgroup::mount().unwrap() {
            let own = sys::cgroup::own().unwrap().unwrap();
            let own = mount.point.join(own.trim_start_matches('/'));
            let inode = std::fs::metadata(&own).unwrap().ino();
            assert_eq!(row.cgroup, Some(inode), "{}", own.display());
        }

        // Before Linux 6.8 those that are bound and nothing else are in no list.
        let only = Query::new(Protocol::Tcp, Family::Ipv6).states(States::BOUND);
        let rows = connection.dump::<InetSocket>(&only.dump()).unwrap();
        let ports: Vec<_> = rows.iter().map(|row| row.local.port()).collect();
        assert_eq!(ports, if lists_bound { vec![5002] } else { vec![] });
    });
}

#[test]
fn udp_is_a_list_of_its_own() {
    with_sockets("udp_is_a_list_of_its_own", |connection| {
        let alone = UdpSocket::bind("127.0.0.1:5000").unwrap();
        let connected = UdpSocket::bind("[::]:5001").unwrap();
        connected.connect("[::1]:5003").unwrap();
        let rows = list(connection, Protocol::Udp);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].state, rows[0].inode), (State::CLOSED, inode(&alone)));
        assert_eq!((rows[1].state, rows[1].inode), (State::ESTABLISHED, inode(&connected)));
        assert_eq!(rows[1].remote, "[::1]:5003".parse().unwrap());
        assert!(list(connection, Protocol::Tcp).is_empty());
        assert!(list(connection, Protocol::UdpLite).is_empty());
        let Ok(lite) = Socket2::new(Domain::IPV4, Type::DGRAM, Some(136.into())) else { return };
        lite.bind(&"127.0.0.1:5000".parse::<SocketAddr>().unwrap().into()).unwrap();
        assert_eq!(list(connection, Protocol::UdpLite)[0].inode, inode(&lite));
    });
}

#[test]
fn connections_that_are_over_are_remembered_without_an_owner() {
    with_sockets("connections_that_are_over_are_remembered_without_an_owner", |connection| {
        let listener = TcpListener::bind("127.0.0.1:5000").unwrap();
        let mut client = TcpStream::connect("127.0.0.1:5000").unwrap();
        // Whoever closes first remembers.
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        drop(listener);
        let state = |connection: &mut _, states| {
            let query = Query::new(Protocol::Tcp, Family::Ipv4).ports(5000..=5000).states(states);
            connection_dump(connection, &query)
        };
        wait_until("the connection is only remembered", || {
            let rows = state(connection, States::ALL);
            rows.iter().any(|row| row.state == State::TIME_WAIT)
        });
        let rows = state(connection, States::of(State::TIME_WAIT));
        assert_eq!((rows.len(), rows[0].inode, rows[0].uid), (1, 0, 0));
        let others = state(connection, States::ALL.without(State::TIME_WAIT));
        assert!(others.is_empty(), "{others:?}");
    });
}

fn connection_dump(connection: &mut Connection<Socket>, query: &Query) -> Vec<InetSocket> {
    connection.dump::<InetSocket>(&query.dump()).unwrap()
}

#[test]
fn mptcp_is_listed_twice_with_one_inode() {
    let test = "mptcp_is_listed_twice_with_one_inode";
    with_sockets(test, |connection| {
        let lists_bound = lists_bound(connection, test);
        let (listening, idle) =
            match mptcp("127.0.0.1:5000").and_then(|one| Ok((one, mptcp("127.0.0.1:5001")?))) {
                Ok(sockets) => sockets,
                Err(error) => {
                    eprintln!("SKIPPED: mptcp_is_listed_twice_with_one_inode: {error}");
                    return;
                }
            };
        listening.listen(1).unwrap();
        let client = mptcp("127.0.0.1:5002").unwrap();
        client.connect(&"127.0.0.1:5000".parse::<SocketAddr>().unwrap().into()).unwrap();
        let (accepted, _) = listening.accept().unwrap();
        let tcp = list(connection, Protocol::Tcp);
        // The subflows alone tell of all that is bound, and whose it is.
        for (port, socket) in
            [(5000, &listening), (5001, &idle), (5002, &client), (5000, &accepted)]
        {
            if port == 5001 && !lists_bound {
                continue;
            }
            let rows = on_port(&tcp, port);
            let inode = inode(socket);
            assert!(rows.iter().any(|row| row.inode == inode), "{port} {inode} {rows:?}");
        }
        let mptcp = list(connection, Protocol::Mptcp);
        assert!(mptcp.iter().any(|row| row.inode == inode(&listening)), "{mptcp:?}");
        if lists_bound {
            assert!(mptcp.len() < tcp.len(), "those that are bound and nothing else are missing");
        }
    });
}

#[test]
fn only_the_ports_asked_for_are_listed() {
    with_sockets("only_the_ports_asked_for_are_listed", |connection| {
        let ports = [1, 255, 256, 4999, 5000, 5001, 65_535];
        let sockets = ports.map(|port| UdpSocket::bind(("127.0.0.1", port)).unwrap());
        for (range, expected) in [
            (5000..=5000, &[5000][..]),
            (4999..=5001, &[4999, 5000, 5001]),
            (0..=255, &[1, 255]),
            (256..=256, &[256]),
            (5002..=65_535, &[65_535]),
            (5002..=65_534, &[]),
            (1..=65_535, &ports),
            (0..=65_535, &ports),
        ] {
            let query = Query::new(Protocol::Udp, Family::Ipv4).ports(range.clone());
            let mut found: Vec<_> =
                connection_dump(connection, &query).iter().map(|row| row.local.port()).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{range:?}");
        }
        drop(sockets);
    });
}

#[test]
fn a_socket_is_ended_by_its_row() {
    let test = "a_socket_is_ended_by_its_row";
    with_sockets(test, |connection| {
        let lists_bound = lists_bound(connection, test);
        let listener = TcpListener::bind("127.0.0.1:5000").unwrap();
        let mut client = TcpStream::connect("127.0.0.1:5000").unwrap();
        let (_accepted, _) = listener.accept().unwrap();
        let rows = list(connection, Protocol::Tcp);
        let accepted = rows.iter().find(|row| row.state == State::ESTABLISHED).unwrap();
        match connection.request(&accepted.destroy(Protocol::Tcp)) {
            Err(error) if error.reason() == Some(Reason::NotSupported) => {
                eprintln!("SKIPPED: a_socket_is_ended_by_its_row: {error}");
                return;
            }
            outcome => outcome.unwrap(),
        }
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        let error = connection.request(&accepted.destroy(Protocol::Tcp)).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NotFound));
        let listening = rows.iter().find(|row| row.state == State::LISTEN).unwrap();
        connection.request(&listening.destroy(Protocol::Tcp)).unwrap();
        assert!(TcpStream::connect("127.0.0.1:5000").is_err());
        assert!(listener.accept().is_err());
        let left = list(connection, Protocol::Tcp);
        let left: Vec<_> = left.iter().map(|row| (row.state, row.inode)).collect();
        let bound = if lists_bound { vec![(State::CLOSED, inode(&listener))] } else { vec![] };
        assert_eq!(left, bound, "still bound");

        let udp = UdpSocket::bind("[::1]:5001").unwrap();
        let row = list(connection, Protocol::Udp)[0];
        connection.request(&row.destroy(Protocol::Udp)).unwrap();
        assert!(udp.recv(&mut [0]).is_err());
        assert_eq!(list(connection, Protocol::Udp)[0].inode, inode(&udp), "still bound");
    });
}
