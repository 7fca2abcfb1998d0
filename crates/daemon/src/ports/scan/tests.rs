//! Against sockets of this process, in new network namespaces.

use std::net::{TcpListener, TcpStream, UdpSocket};

use netlink::link::Settings;

use super::*;

/// Runs a test in a new network namespace whose loopback is up.
fn in_namespace(test: &str, work: impl FnOnce(&mut Scanner) + Send) {
    if !sys::process::is_root() {
        eprintln!("SKIPPED: {test}: needs root");
        return;
    }
    let run = || {
        Connection::open().unwrap().request(&Settings::new().up().apply_to(1)).unwrap();
        work(&mut Scanner::open().unwrap());
    };
    sys::namespace::in_new_network(run).unwrap();
}

fn block(start: u32, count: u32) -> Block {
    Block::new(start, count).unwrap()
}

fn bound(protocol: Protocol, address: &str) -> OwnedFd {
    bind(protocol, address.parse().unwrap(), false).unwrap()
}

/// `None` where the kernel has no MPTCP.
fn mptcp_listener(address: &str) -> Option<OwnedFd> {
    let protocol = Some(net::ipproto::MPTCP);
    let kind = SocketType::STREAM;
    let socket =
        net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, protocol).ok()?;
    net::bind(&socket, &address.parse::<SocketAddr>().unwrap()).unwrap();
    net::listen(&socket, 1).unwrap();
    Some(socket)
}

/// A block of 100 ports from 5000 on.
fn conflict(scanner: &mut Scanner, protocol: Protocol) -> Option<u16> {
    let found = scanner.first_conflict(protocol, block(5000, 100), |_| Ok(())).unwrap();
    found.map(|conflict| conflict.port)
}

/// All ways of finding out: as this kernel lets us, as an old one would, as one without lists.
fn every_way(scanner: &mut Scanner, protocol: Protocol) -> [Option<u16>; 3] {
    let hidden = scanner.hidden;
    let found = [hidden, Hidden::Bound, Hidden::All].map(|hidden| {
        scanner.hidden = hidden;
        conflict(scanner, protocol)
    });
    scanner.hidden = hidden;
    found
}

#[test]
fn the_lowest_port_in_use_is_found_in_every_way() {
    in_namespace("the_lowest_port_in_use_is_found_in_every_way", |scanner| {
        let _outside = [
            bound(Protocol::Tcp, "0.0.0.0:4999"),
            bound(Protocol::Tcp, "0.0.0.0:5100"),
            bound(Protocol::Udp, "127.0.0.1:5050"),
        ];
        assert_eq!(every_way(scanner, Protocol::Tcp), [None; 3]);
        assert_eq!(every_way(scanner, Protocol::Udp), [Some(5050); 3]);
        for (port, address) in
            [(5099, "127.0.0.1"), (5070, "[::]"), (5060, "[::1]"), (5055, "0.0.0.0")]
        {
            let _bound = bound(Protocol::Tcp, &format!("{address}:{port}"));
            assert_eq!(every_way(scanner, Protocol::Tcp), [Some(port); 3], "{address}");
            let _listener = TcpListener::bind("127.0.0.1:5000").unwrap();
            assert_eq!(every_way(scanner, Protocol::Tcp), [Some(5000); 3]);
        }
        assert_eq!(every_way(scanner, Protocol::Tcp), [None; 3]);
    });
}

#[test]
fn a_connection_that_is_over_is_in_nobodys_way() {
    in_namespace("a_connection_that_is_over_is_in_nobodys_way", |scanner| {
        let listener = TcpListener::bind("127.0.0.1:5000").unwrap();
        let client = TcpStream::connect("127.0.0.1:5000").unwrap();
        drop(listener.accept().unwrap());
        drop(client);
        drop(listener);
        crate::testing::wait_until("the connection is over", || {
            let holders = scanner.holders(Some(Protocol::Tcp), 5000..=5000, None).unwrap();
            holders.len() == 1 && holders[0].socket.state == State::TIME_WAIT
        });
        let remembered = scanner.holders(None, 5000..=5000, None).unwrap()[0];
        assert_eq!((remembered.inode(), remembered.uid()), (None, None));
        assert_eq!(every_way(scanner, Protocol::Tcp), [None; 3]);
    });
}

#[test]
fn holders_come_by_port_with_their_state() {
    let test = "holders_come_by_port_with_their_state";
    in_namespace(test, |scanner| {
        let listener = TcpListener::bind("[::]:5001").unwrap();
        let client = TcpStream::connect("127.0.0.1:5001").unwrap();
        let _accepted = listener.accept().unwrap();
        let _idle = bound(Protocol::Tcp, "127.0.0.1:5000");
        let _udp = UdpSocket::bind("127.0.0.1:5000").unwrap();
        let holders = scanner.holders(None, 5000..=5999, None).unwrap();
        let shown: Vec<_> = holders
            .iter()
            .map(|holder| format!("{} {} {}", holder.protocol, holder.socket.local, holder.state()))
            .collect();
        let mut expected = vec![
            "tcp 127.0.0.1:5000 bound",
            "udp 127.0.0.1:5000 unconnected",
            "tcp [::]:5001 listen",
            "tcp [::ffff:127.0.0.1]:5001 established",
        ];
        let lists_bound = scanner.hidden == Hidden::None;
        if !lists_bound {
            eprintln!("SKIPPED: {test}: in part: sockets that are only bound are not listed");
            expected.remove(0);
        }
        assert_eq!(shown, expected);
        assert!(holders.iter().all(|holder| holder.uid() == Some(0) && holder.inode().is_some()));
        assert_eq!(scanner.holders(Some(Protocol::Udp), 0..=u16::MAX, None).unwrap().len(), 1);
        let used = scanner.ports_in_use(Protocol::Tcp).unwrap();
        let own = client.local_addr().unwrap().port();
        assert!([5001, own].iter().all(|port| used.contains(*port)), "{used:?}");
        assert_eq!(used.contains(5000), lists_bound);
        assert_eq!(used.count(), 2 + u32::from(lists_bound));
    });
}

#[test]
fn the_guard_is_asked_before_each_try() {
    in_namespace("the_guard_is_asked_before_each_try", |scanner| {
        scanner.hidden = Hidden::All;
        let mut asked = 0;
        let admit = |_: BorrowedFd<'_>| {
            asked += 1;
            Ok(())
        };
        let found = scanner.first_conflict(Protocol::Udp, block(5000, 20), admit).unwrap();
        assert_eq!((found, asked), (None, 20));
        let refused = |_: BorrowedFd<'_>| Err(io::Error::from_raw_os_error(13));
        let error = scanner.first_conflict(Protocol::Udp, block(5000, 20), refused).unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error}");
    });
}

#[test]
fn what_is_killed_is_in_use_no_more() {
    in_namespace("what_is_killed_is_in_use_no_more", |scanner| {
        let listener = TcpListener::bind("127.0.0.1:5000").unwrap();
        let _client = TcpStream::connect("127.0.0.1:5000").unwrap();
        let _accepted = listener.accept().unwrap();
        let _outside = TcpListener::bind("127.0.0.1:5100").unwrap();
        // The kernel would not end it, and that is no reason to let the others live.
        let multipath = mptcp_listener("127.0.0.1:5001");
        match scanner.kill(Protocol::Tcp, block(5000, 100)) {
            Err(error) if error.reason() == Some(Reason::NotSupported) => {
                eprintln!("SKIPPED: what_is_killed_is_in_use_no_more: {error}");
                return;
            }
            killed => assert_eq!(killed.unwrap(), 2, "a listener and a connection"),
        }
        assert!(listener.accept().is_err());
        assert_eq!(scanner.kill(Protocol::Tcp, block(5000, 100)).unwrap(), 0);
        drop((listener, multipath));
        assert_eq!(conflict(scanner, Protocol::Tcp), None);
        TcpStream::connect("127.0.0.1:5100").unwrap();
    });
}

/// The slow way, port by port, is not taken for want of a port to find out with.
#[test]
fn what_the_kernel_shows_is_found_out_without_a_port_of_its_choice() {
    in_namespace("what_the_kernel_shows_is_found_out_without_a_port_of_its_choice", |scanner| {
        std::fs::write(crate::ports::sysctl::FILE, "1024-65535").unwrap();
        let any = "0.0.0.0:0".parse().unwrap();
        assert!(bind(Protocol::Tcp, any, false).is_err());
        assert_eq!(Scanner::open().unwrap().hidden, scanner.hidden);
        let _other = bound(Protocol::Tcp, "0.0.0.0:65535");
        assert_eq!(Scanner::open().unwrap().hidden, scanner.hidden);
    });
}
