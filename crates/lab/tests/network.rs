//! Networks: what is plugged together carries packets, and nothing of it stays.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use iphelper_lab::{Direction, Impairment, Lan, Namespace, Process, or_skip, wait_for, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const ONE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

fn socket(host: &Namespace, address: Ipv4Addr) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind((address, 5000))).unwrap().unwrap();
    socket.set_read_timeout(Some(5 * SECOND)).unwrap();
    socket
}

/// Numbered datagrams from one socket to another; returns the numbers that arrive, sorted: when a
/// thread moves to another processor, the kernel itself lets packets overtake each other.
fn send_numbers(from: &UdpSocket, to: &UdpSocket, count: u8) -> Vec<u8> {
    for number in 0..count {
        from.send_to(&[number], to.local_addr().unwrap()).unwrap();
    }
    to.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = [0; 16];
    let mut arrived: Vec<u8> =
        std::iter::from_fn(|| to.recv(&mut buffer).ok().map(|_| buffer[0])).collect();
    arrived.sort_unstable();
    arrived
}

#[test]
fn hosts_of_a_lan_reach_each_other() {
    let lan = or_skip!(Lan::new());
    let (one, two) = (lan.host_at(ONE, 24).unwrap(), lan.host_at(TWO, 24).unwrap());
    let (here, there) = (socket(&one, ONE), socket(&two, TWO));
    here.send_to(b"hello", SocketAddr::from((TWO, 5000))).unwrap();
    let mut buffer = [0; 16];
    let (length, sender) = there.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], sender), (&b"hello"[..], SocketAddr::from((ONE, 5000))));
    assert!(one.has_address("eth0", ONE).unwrap());
    assert!(!one.has_address("eth0", TWO).unwrap());
    assert_eq!(one.routes().unwrap().len(), 1);
}

#[test]
fn a_cut_cable_takes_the_carrier_away() {
    let lan = or_skip!(Lan::new());
    let host = Namespace::without_ipv6().unwrap();
    let port = lan.plug(&host, "eth0").unwrap();
    let carrier = || host.link("eth0").unwrap().flags.is_lower_up();
    assert!(carrier());
    lan.set_carrier(&port, false).unwrap();
    wait_until("no carrier", 5 * SECOND, || !carrier()).unwrap();
    lan.set_carrier(&port, true).unwrap();
    wait_until("carrier", 5 * SECOND, carrier).unwrap();
}

#[test]
fn a_thousand_interfaces_in_one_go() {
    let lan = or_skip!(Lan::new());
    let host = Namespace::without_ipv6().unwrap();
    let start = Instant::now();
    let ports = lan.plug_many(&host, "c", 1000).unwrap();
    let took = start.elapsed();
    assert_eq!(ports.len(), 1000);
    let link = host.link("c1000").unwrap();
    assert_eq!(link.hardware_address.to_string(), "02:77:00:00:03:e8");
    assert!(link.flags.is_up() && link.flags.is_lower_up());
    assert_eq!(host.links().unwrap().len(), 1001);
    assert!(took < 60 * SECOND, "{took:?}");
}

#[test]
fn a_link_does_to_packets_what_it_is_told() {
    let lan = or_skip!(Lan::new());
    let near = lan.host_at(ONE, 24).unwrap();
    let far = Namespace::without_ipv6().unwrap();
    let (_port, link) = lan.plug_through_link(&far, "eth0", 42).unwrap();
    far.add_address("eth0", TWO, 24).unwrap();
    let (here, there) = (socket(&near, ONE), socket(&far, TWO));

    let everything: Vec<u8> = (0..100).collect();
    assert_eq!(send_numbers(&there, &here, 100), everything, "a perfect link");
    assert!(link.left(Direction::Forth).total() >= 100);

    link.impair_one(Direction::Forth, Impairment::loss(0.5));
    let arrived = send_numbers(&there, &here, 100);
    let lost = link.lost(Direction::Forth);
    assert_eq!(arrived.len() as u64, 100 - lost, "nothing but what the link dropped is missing");
    // Six standard deviations.
    assert!((20..=80).contains(&lost), "{lost} of 100 lost");
    assert_eq!(link.lost(Direction::Back), 0);

    link.impair(Impairment { duplication: 1.0, ..Impairment::default() });
    assert_eq!(send_numbers(&there, &here, 3), [0, 0, 1, 1, 2, 2]);

    let delay = Duration::from_millis(150);
    link.impair(Impairment::delay(delay));
    let start = Instant::now();
    there.send_to(b"late", here.local_addr().unwrap()).unwrap();
    here.set_read_timeout(Some(5 * SECOND)).unwrap();
    here.recv(&mut [0; 16]).unwrap();
    assert!(start.elapsed() >= delay, "{:?}", start.elapsed());
}

#[test]
fn an_interface_can_move_and_be_renamed() {
    let lan = or_skip!(Lan::new());
    let (one, two) = (lan.host().unwrap(), Namespace::without_ipv6().unwrap());
    one.set_down("eth0").unwrap();
    one.change("eth0", &netlink::link::Settings::new().name("wan").up()).unwrap();
    one.move_to("wan", &two).unwrap();
    assert!(one.link("wan").is_err());
    two.delete("wan").unwrap();
    assert_eq!(two.links().unwrap().len(), 1, "the loopback");
}

#[test]
fn processes_are_inside_and_what_they_print_is_kept() {
    let lan = or_skip!(Lan::new());
    let host = lan.host().unwrap();
    let mut list = Command::new("cat");
    list.arg("/proc/self/net/dev");
    let printed = Process::start(&host, list).unwrap().finish(10 * SECOND).unwrap();
    assert!(printed.contains("eth0:"), "{printed}");

    let mut failing = Command::new("sh");
    failing.args(["-c", "echo out; echo err >&2; exit 3"]);
    let error = Process::start(&host, failing).unwrap().finish(10 * SECOND).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit status: 3") && text.contains("out") && text.contains("err"));

    let mut sleeper = Command::new("sleep");
    sleeper.arg("1000");
    let mut sleeper = Process::start(&host, sleeper).unwrap();
    assert!(sleeper.wait(Duration::from_millis(1)).is_err());
    sleeper.kill();
    assert!(sleeper.status().is_some());
}

/// The victim of `a_killed_lab_leaves_nothing`: builds a lab, says its process numbers, and waits.
#[test]
#[ignore = "run by other tests as a process of its own"]
fn victim() {
    let lan = Lan::new().unwrap();
    let host = lan.host().unwrap();
    let mut sleeper = Command::new("sleep");
    sleeper.arg("1000");
    let sleeper = Process::start(&host, sleeper).unwrap();
    println!("victim's child is {}", sleeper.id());
    std::thread::sleep(1000 * SECOND);
}

#[test]
fn a_killed_lab_leaves_nothing() {
    let here = or_skip!(Namespace::new());
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["--exact", "victim", "--ignored", "--nocapture"]);
    victim.stdin(Stdio::null());
    let mut victim = Process::start(&here, victim).unwrap();
    let told = "victim's child is ";
    let line = victim.wait_for_line("its child", 20 * SECOND, |line| line.contains(told)).unwrap();
    let child: u32 = line.split(told).nth(1).unwrap().trim().parse().unwrap();
    let network = |process: u32| std::fs::read_link(format!("/proc/{process}/ns/net"));
    let inside = network(child).unwrap();
    assert_ne!(inside, network(std::process::id()).unwrap());
    assert!(!processes_in(&inside).is_empty());
    // Only a mount could keep it. Asked while it lives: its number may be another's afterwards.
    let mounts = sys::mountinfo::read().unwrap();
    assert!(!mounts.iter().any(|mount| mount.kind == b"nsfs" && mount.root == inside));

    victim.kill();

    let gone = || processes_in(&inside).is_empty().then_some(());
    wait_for("the end of everything in the victim's namespace", 10 * SECOND, gone).unwrap();
    assert!(network(child).is_err(), "the child is gone");
}

fn processes_in(network: &std::path::Path) -> Vec<String> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    numbers
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|number| {
            std::fs::read_link(format!("/proc/{number}/ns/net")).is_ok_and(|ns| ns == network)
        })
        .collect()
}
