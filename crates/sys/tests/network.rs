//! Packet and UDP sockets over a veth pair, in a network namespace of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "in helpers of tests, where a panic is a failed test"
)]

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use iphelper_sys::bpf::Filter;
use iphelper_sys::packet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, Kind, Reaper};
use iphelper_sys::{namespace, netlink, process, udp};

const ONE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TWO: [u8; 6] = [2, 0, 0, 0, 0, 2];
const BROADCAST: [u8; 6] = [0xff; 6];

/// Runs a test in a namespace with a veth pair, `one` and `two`, both up; `work` gets their
/// indices.
fn with_pair(test: &str, work: impl FnOnce(u32, u32) + Send) {
    if !process::is_root() {
        eprintln!("SKIPPED: {test}: needs root");
        return;
    }
    namespace::in_new_network(|| {
        ip("link add one address 02:00:00:00:00:01 type veth peer two address 02:00:00:00:00:02");
        for name in ["one", "two"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1").unwrap();
            ip(&format!("link set {name} up"));
        }
        work(index("one"), index("two"));
    })
    .unwrap();
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.expect("iproute2 is installed").success(), "ip {arguments}");
}

fn index(name: &str) -> u32 {
    let output = Command::new("ip").args(["-o", "link", "show", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(':').next().unwrap().parse().unwrap()
}

/// What is received within five seconds.
fn soon<R>(mut receive: impl FnMut() -> io::Result<R>) -> R {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match receive() {
            Ok(received) => return received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(Instant::now() < deadline, "nothing came");
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn receive(socket: &packet::Socket) -> (packet::Received, Vec<u8>) {
    let mut buffer = [0; 2048];
    let received = soon(|| socket.receive(&mut buffer));
    (received, buffer[..received.length].to_vec())
}

fn is_empty(socket: &packet::Socket) -> bool {
    match socket.receive(&mut [0; 2048]) {
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        Ok(_) => false,
    }
}

/// A packet nothing filters out: what was sent before it has arrived when it has.
fn dhcp_reply(transaction: u8) -> Vec<u8> {
    ipv4_udp(&[], 0, 17, 68, &[2, 1, 6, 0, transaction, 0, 0, 0])
}

fn ipv4_udp(options: &[u8], fragment: u16, protocol: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + 8 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 192, 0, 2, 1, 255, 255, 255, 255]);
    packet.extend(options);
    packet.extend(67_u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend(((8 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

#[test]
fn the_kernel_runs_the_dhcp_filter() {
    with_pair("the_kernel_runs_the_dhcp_filter", |one, two| {
        let sender = packet::Socket::open(one, ETHERTYPE_IPV4, &Filter::drop_all()).unwrap();
        let receiver = packet::Socket::open(two, ETHERTYPE_IPV4, &Filter::dhcp_client()).unwrap();
        let reply = [2, 1, 6, 0, 9, 9, 9, 9];
        let unwanted = [
            ipv4_udp(&[], 0x2000, 17, 68, &reply),
            ipv4_udp(&[], 0x0100, 17, 68, &reply),
            ipv4_udp(&[], 0, 6, 68, &reply),
            ipv4_udp(&[], 0, 17, 67, &reply),
            ipv4_udp(&[], 0, 17, 68, &[1, 1, 6, 0]),
            ipv4_udp(&[], 0, 17, 68, &[]),
            vec![0x45],
        ];
        for packet in &unwanted {
            sender.send(&BROADCAST, packet).unwrap();
        }
        let with_options = ipv4_udp(&[1; 12], 0, 17, 68, &reply);
        sender.send(&BROADCAST, &with_options).unwrap();
        sender.send(&TWO, &dhcp_reply(7)).unwrap();

        let (received, packet) = receive(&receiver);
        assert_eq!(packet, with_options, "the first to pass is the first that should");
        assert_eq!(received.interface, two);
        assert_eq!(received.ethertype, ETHERTYPE_IPV4);
        assert_eq!(received.hardware_type, 1);
        assert_eq!(received.source.as_bytes(), ONE);
        assert_eq!(received.kind, Kind::Broadcast);
        assert_eq!((received.length, received.whole_length), (packet.len(), packet.len()));
        assert!(!received.checksum_not_ready);
        assert_eq!(received.vlan, None);
        let (received, packet) = receive(&receiver);
        assert_eq!(packet, dhcp_reply(7));
        assert_eq!(received.kind, Kind::Host);
        assert!(is_empty(&receiver));
        assert!(is_empty(&sender), "a sender does not hear itself");
    });
}

fn arp(operation: u8, hardware: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    packet.extend(hardware);
    packet.extend(sender);
    packet.extend([0; 6]);
    packet.extend(target);
    packet
}

#[test]
fn the_kernel_runs_the_arp_filters() {
    with_pair("the_kernel_runs_the_arp_filters", |one, two| {
        let ours = [192, 0, 2, 7];
        let other = [192, 0, 2, 8];
        let sender = packet::Socket::open(one, ETHERTYPE_ARP, &Filter::drop_all()).unwrap();
        let conflict = Filter::arp_conflict(ours.into(), &TWO);
        let receiver = packet::Socket::open(two, ETHERTYPE_ARP, &conflict).unwrap();
        let replies = Filter::arp_from(&[Ipv4Addr::from(other)], 6);
        let resolver = packet::Socket::open(two, ETHERTYPE_ARP, &replies).unwrap();
        let claim = arp(2, ONE, ours, ours);
        let probe = arp(1, ONE, [0; 4], ours);
        for packet in [
            &arp(1, ONE, other, ours),
            &arp(2, TWO, ours, ours),
            &arp(1, ONE, [0; 4], other),
            &claim,
            &probe,
        ] {
            sender.send(&BROADCAST, packet).unwrap();
        }
        assert_eq!(receive(&receiver).1[..28], claim);
        assert_eq!(receive(&receiver).1[..28], probe);
        assert!(is_empty(&receiver));
        assert_eq!(receive(&resolver).1[..28], arp(1, ONE, other, ours));
        assert!(is_empty(&resolver));
    });
}

#[test]
fn filters_are_replaced_without_a_gap() {
    with_pair("filters_are_replaced_without_a_gap", |one, two| {
        let sender = packet::Socket::open(one, ETHERTYPE_IPV4, &Filter::drop_all()).unwrap();
        let receiver = packet::Socket::open(two, ETHERTYPE_IPV4, &Filter::drop_all()).unwrap();
        sender.send(&TWO, &dhcp_reply(1)).unwrap();
        receiver.set_filter(&Filter::dhcp_client()).unwrap();
        sender.send(&TWO, &dhcp_reply(2)).unwrap();
        assert_eq!(receive(&receiver).1, dhcp_reply(2));
        receiver.set_filter(&Filter::drop_all()).unwrap();
        sender.send(&TWO, &dhcp_reply(3)).unwrap();
        receiver.set_filter(&Filter::dhcp_client()).unwrap();
        sender.send(&TWO, &dhcp_reply(4)).unwrap();
        assert_eq!(receive(&receiver).1, dhcp_reply(4));
    });
}

#[test]
fn short_buffers_tell_how_long_the_packet_was() {
    with_pair("short_buffers_tell_how_long_the_packet_was", |one, two| {
        let sender = packet::Socket::open(one, ETHERTYPE_IPV4, &Filter::drop_all()).unwrap();
        let receiver = packet::Socket::open(two, ETHERTYPE_IPV4, &Filter::pass_all()).unwrap();
        let packet = ipv4_udp(&[], 0, 17, 68, &[7; 1000]);
        sender.send(&TWO, &packet).unwrap();
        let mut buffer = [0; 100];
        let received = soon(|| receiver.receive(&mut buffer));
        assert_eq!((received.length, received.whole_length), (100, packet.len()));
        assert!(sender.send(&[0; 33], &packet).is_err(), "no link address is that long");
    });
}

#[test]
fn checksums_left_to_hardware_are_reported() {
    with_pair("checksums_left_to_hardware_are_reported", |one, two| {
        ip("addr add 192.0.2.1/24 dev one");
        // The kernel's own UDP leaves the checksum to a veth, which never computes it.
        ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev one nud permanent");
        let receiver = packet::Socket::open(two, ETHERTYPE_IPV4, &Filter::dhcp_client()).unwrap();
        let server = udp::Socket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 67), None).unwrap();
        let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 68);
        server.send_to(&[2, 0, 0, 0], to, None, Some(one)).unwrap();
        let (received, packet) = receive(&receiver);
        assert!(received.checksum_not_ready);
        assert_eq!(packet[28..], [2, 0, 0, 0]);
    });
}

#[test]
fn closing_does_not_stall_the_caller() {
    with_pair("closing_does_not_stall_the_caller", |one, _| {
        let open = || packet::Socket::open(one, ETHERTYPE_IPV4, &Filter::drop_all()).unwrap();
        let sockets: Vec<_> = (0..20).map(|_| open()).collect();
        let reaper = Reaper::start().unwrap();
        let start = Instant::now();
        for socket in sockets {
            reaper.close(socket);
        }
        let handed_over = start.elapsed();
        drop(reaper);
        let closed = start.elapsed();
        eprintln!("20 sockets handed over in {handed_over:?}, closed in {closed:?}");
        assert!(handed_over < closed);
    });
}

fn receive_udp(socket: &udp::Socket) -> (udp::Received, Vec<u8>) {
    let mut buffer = [0; 2048];
    let received = soon(|| socket.receive(&mut buffer));
    (received, buffer[..received.length].to_vec())
}

#[test]
fn udp_tells_and_chooses_addresses_and_interfaces() {
    with_pair("udp_tells_and_chooses_addresses_and_interfaces", |one, _| {
        // The other end in another namespace, so that packets really travel.
        let fd = namespace::in_new_network(namespace::current_network).unwrap().unwrap();
        let holder = Command::new("sleep").arg("60").spawn_in(&fd);
        ip(&format!("link set two netns {}", holder.0.id()));
        ip("addr add 192.0.2.1/24 dev one");
        ip("addr add 192.0.2.11/24 dev one");
        let (client, two) = namespace::in_network(fd.as_fd(), || {
            ip("link set two up");
            ip("addr add 192.0.2.2/24 dev two");
            let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
            (udp::Socket::bind(any, Some(index("two"))).unwrap(), index("two"))
        })
        .unwrap();
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 67);
        let server = udp::Socket::bind(any, Some(one)).unwrap();
        assert_eq!(server.local_address().unwrap(), any);
        // Sharing the port is possible, as every interface's client has it.
        let shared = udp::Socket::bind(any, None).unwrap();
        drop(shared);

        let everyone = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        client.send_to(b"discover", everyone, None, Some(two)).unwrap();
        let (received, payload) = receive_udp(&server);
        assert_eq!(payload, b"discover");
        assert_eq!(received.interface, one);
        assert_eq!(received.destination, Ipv4Addr::BROADCAST);
        assert_eq!(received.source, SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 68));

        let from = Ipv4Addr::new(192, 0, 2, 11);
        server.send_to(b"offer", received.source, Some(from), None).unwrap();
        let (received, payload) = receive_udp(&client);
        assert_eq!(payload, b"offer");
        assert_eq!(received.source, SocketAddrV4::new(from, 67));
        assert_eq!(received.destination, Ipv4Addr::new(192, 0, 2, 2));
        assert_eq!(received.interface, two);
        assert_eq!(received.whole_length, 5);

        let not_ours = Some(Ipv4Addr::new(203, 0, 113, 1));
        assert!(server.send_to(b"x", everyone, not_ours, None).is_err());
    });
}

/// A child that is killed when the test is done with it.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

trait SpawnIn {
    fn spawn_in(&mut self, namespace: &std::os::fd::OwnedFd) -> Child;
}

impl SpawnIn for Command {
    fn spawn_in(&mut self, namespace: &std::os::fd::OwnedFd) -> Child {
        use process::CommandExt;
        let namespace = namespace.try_clone().unwrap();
        Child(self.in_network(namespace).die_with_parent().spawn().unwrap())
    }
}

#[test]
fn the_kernel_reports_when_a_datagram_leaves() {
    with_pair("the_kernel_reports_when_a_datagram_leaves", |_, two| {
        ip("addr add 192.0.2.2/24 dev two");
        ip("neighbor add 192.0.2.7 lladdr 02:00:00:00:00:07 dev two nud permanent");
        let local = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 68);
        let socket = udp::Socket::bind(local, Some(two)).unwrap();
        socket.report_leaving().unwrap();
        assert!(!socket.has_left().unwrap(), "nothing was sent");
        let send = |last| {
            let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, last), 67);
            socket.send_to(b"x", to, None, Some(two)).unwrap();
        };
        send(7);
        assert!(socket.has_left().unwrap(), "at once");
        assert!(!socket.has_left().unwrap(), "once");

        send(8);
        assert!(!socket.has_left().unwrap(), "nobody answers yet");
        ip("neighbor replace 192.0.2.8 lladdr 02:00:00:00:00:08 dev two nud reachable");
        let left = || socket.has_left()?.then_some(()).ok_or(io::ErrorKind::WouldBlock.into());
        soon(left);
    });
}

#[test]
fn children_live_where_they_are_put() {
    with_pair("children_live_where_they_are_put", |_, _| {
        use process::CommandExt;
        let elsewhere = namespace::in_new_network(namespace::current_network).unwrap().unwrap();
        let directory = std::env::temp_dir().join(format!("iphelper-child-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let script =
            format!("cat /proc/self/net/dev; touch {0}/inside && ls {0}", directory.display());
        let output = Command::new("sh")
            .args(["-c", &script])
            .in_network(elsewhere)
            .private_mounts(&[&directory])
            .unwrap()
            .die_with_parent()
            .own_process_group()
            .output()
            .unwrap();
        let left = std::fs::read_dir(&directory).unwrap().count();
        std::fs::remove_dir(&directory).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("lo:") && !text.contains("one:"), "{text}");
        assert!(text.ends_with("inside\n"), "{text}");
        assert_eq!(left, 0, "the child's tmpfs is its own");
    });
}

#[test]
fn children_die_with_the_thread_that_spawned_them() {
    use process::CommandExt;
    let child = std::thread::spawn(|| {
        let child = Command::new("sleep").arg("600").die_with_parent().spawn().unwrap();
        assert!(
            !process::PidFd::open(child.id()).unwrap().wait_ended(Some(Duration::ZERO)).unwrap()
        );
        child
    });
    let mut child = child.join().unwrap();
    let handle = process::PidFd::open(child.id()).unwrap();
    let ended = handle.wait_ended(Some(Duration::from_secs(5))).unwrap();
    let _ = child.kill();
    let status = child.wait().unwrap();
    assert!(ended, "it went on: {status}");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(process::SIGKILL));
}

#[test]
fn signals_reach_the_process_meant() {
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    process::signal(child.id(), 0).unwrap();
    let handle = process::PidFd::open(child.id()).unwrap();
    handle.signal(process::SIGTERM).unwrap();
    assert!(handle.wait_ended(Some(Duration::from_secs(5))).unwrap());
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.wait().unwrap().signal(), Some(process::SIGTERM));
    assert!(handle.signal(process::SIGTERM).is_err(), "the handle never means another process");
    assert!(process::signal(0, process::SIGTERM).is_err(), "not the whole group");
    assert!(process::signal(u32::MAX, process::SIGTERM).is_err(), "not everyone");
}

#[test]
fn a_user_namespace_makes_anyone_root_of_it() {
    use process::CommandExt;
    let kinds = namespace::Kinds::USER | namespace::Kinds::NETWORK | namespace::Kinds::UTS;
    let script =
        "id -u; id -g; cat /proc/self/uid_map; ip link add outer type veth 2>&1 && echo made";
    let spawned = Command::new("sh").args(["-c", script]).in_new_namespaces(kinds).output();
    let output = match spawned {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: a_user_namespace_makes_anyone_root_of_it: {error}");
            return;
        }
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let user = process::effective_user().to_string();
    assert_eq!(words, ["0", "0", "0", &user, "1", "made"], "{text}");
}

#[test]
fn netlink_round_trip_and_silence() {
    let socket = netlink::Socket::open(netlink::NETLINK_ROUTE).unwrap();
    assert_ne!(socket.port(), 0);
    let mut buffer = vec![0; netlink::BUFFER_SIZE];
    let error = socket.receive(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let start = Instant::now();
    let error = socket.receive_within(&mut buffer, Some(Duration::from_millis(20))).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= Duration::from_millis(20));
    // RTM_GETLINK, dump, of all links: header, then struct ifinfomsg.
    let mut request = vec![32, 0, 0, 0, 18, 0, 1, 3, 5, 0, 0, 0, 0, 0, 0, 0];
    request.extend([0; 16]);
    socket.send(&request).unwrap();
    let timeout = Some(Duration::from_secs(5));
    let netlink::Received::Datagram(length) = socket.receive_within(&mut buffer, timeout).unwrap()
    else {
        panic!()
    };
    assert_eq!(buffer[4..6], 16_u16.to_ne_bytes(), "RTM_NEWLINK");
    assert!(length > 100);
    // The rest, into a buffer too short for it.
    socket.send(&request).unwrap();
    while let Ok(received) = socket.receive(&mut buffer[..20]) {
        if let netlink::Received::Truncated(length) = received {
            assert!(length > 20);
            return;
        }
    }
    panic!("nothing was truncated");
}

#[test]
fn overruns_are_told_from_silence() {
    with_pair("overruns_are_told_from_silence", |_, _| {
        let socket = netlink::Socket::open(netlink::NETLINK_ROUTE).unwrap();
        assert!(socket.set_receive_buffer(2048).unwrap() < 8192);
        socket.join(1).unwrap();
        for count in 0..30 {
            ip(&format!("link set one alias number-{count}"));
        }
        let mut buffer = vec![0; netlink::BUFFER_SIZE];
        let mut outcomes = Vec::new();
        while let Ok(received) = socket.receive(&mut buffer) {
            outcomes.push(received);
        }
        assert!(outcomes.contains(&netlink::Received::Overrun), "{outcomes:?}");
        // It goes on afterwards; and nothing comes once the group is left.
        ip("link set one alias after");
        assert!(matches!(socket.receive(&mut buffer), Ok(netlink::Received::Datagram(_))));
        socket.leave(1).unwrap();
        ip("link set one alias unheard");
        assert!(socket.receive(&mut buffer).is_err());
        let granted = socket.set_receive_buffer(32 << 20).unwrap();
        // Only root of the machine passes the system's limit.
        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        let is_machines = users.split_whitespace().eq(["0", "0", "4294967295"]);
        assert!(granted >= 32 << 20 || !is_machines, "forced");
    });
}

#[test]
fn messages_of_other_processes_are_thrown_away() {
    with_pair("messages_of_other_processes_are_thrown_away", |_, _| {
        let socket = netlink::Socket::open(netlink::NETLINK_ROUTE).unwrap();
        // iproute2 cannot forge; Python can.
        let script = format!(
            "import socket\ns = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n\
             s.sendto(b'forged' * 10, ({}, 0))",
            socket.port()
        );
        match Command::new("python3").args(["-c", &script]).status() {
            Ok(status) if status.success() => {}
            other => {
                eprintln!(
                    "SKIPPED: messages_of_other_processes_are_thrown_away: python3: {other:?}"
                );
                return;
            }
        }
        let error = socket.receive(&mut [0; 1024]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}
