//! A lease is given back: the server knows, and nothing of it is left when the command returns.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use iphelper_tests::servers::{Foreign, SERVER, Scripted, foreign, scripted, scripted_with};
use iphelper_tests::{Host, PATIENCE, eventually, with_each_server};
use lab::dhcp::{BindingState, ServerConfig};
use lab::frame::Packet;
use lab::{Lan, PeerConfig, PeerKind, Process, or_skip};
use serde_json::json;
use wire::dhcpv4::{MessageType, OptionCode};

with_each_server!(on_command);

fn on_command(kind: PeerKind) {
    let lan = or_skip!(Lan::new());
    let mut server = or_skip!(foreign(&lan, kind, &PeerConfig::new(SERVER)));
    let mut host = or_skip!(Host::on(&lan));
    let client = host.start_bound("");
    let address: Ipv4Addr = client["bindings"][0]["address"].as_str().unwrap().parse().unwrap();
    eventually("the lease in the server's books", || !given_back(kind, &mut server, address));

    let answer = host.iph(&["lease", "release", "eth0", "--json"]).success().json();
    // Not a moment later.
    assert_eq!(host.leased_address(), None);
    assert_eq!(host.dhcp_routes(), []);
    assert!(!host.resolver_file().contains("nameserver"), "{}", host.resolver_file());
    assert_eq!(answer["bindings"][0]["address"], address.to_string());
    assert_eq!(answer["server"]["address"], SERVER.to_string());

    let release = host
        .capture
        .wait_for("RELEASE", PATIENCE, |frame| frame.outgoing && frame.is(MessageType::Release))
        .unwrap();
    let Packet::Dhcp { source, destination, message } = &release.packet else { panic!() };
    assert_eq!((*source.ip(), *destination.ip()), (address, SERVER));
    assert_eq!(message.ciaddr, address);
    let identifier = message.options.get(OptionCode::SERVER_IDENTIFIER);
    assert_eq!(identifier, Some(&SERVER.octets()[..]));
    assert!(!message.options.contains(OptionCode::REQUESTED_ADDRESS));

    eventually("the address free in the server's books", || given_back(kind, &mut server, address));
    assert_eq!(host.client("eth0").unwrap()["state"], "released");
}

/// Whether the server's books have the address as free.
fn given_back(kind: PeerKind, server: &mut Foreign, address: Ipv4Addr) -> bool {
    if kind == PeerKind::Udhcpd {
        return udhcpd_seconds_left(server, address) == Some(0);
    }
    let read = |name: &str| fs::read_to_string(server.state.join(name)).unwrap_or_default();
    let address = address.to_string();
    match kind {
        PeerKind::Dnsmasq => !read("dnsmasq.leases").contains(&address),
        // The last entry of an address counts; one that ended lasts 0 seconds.
        PeerKind::Kea => read("kea4.csv")
            .lines()
            .rfind(|line| line.split(',').next() == Some(&address))
            .is_none_or(|line| line.split(',').nth(3) == Some("0")),
        PeerKind::IscDhcpd => read("dhcpd.leases")
            .split(&format!("lease {address} {{"))
            .last()
            .is_none_or(|entry| !entry.contains("binding state active")),
        PeerKind::Udhcpd => unreachable!(),
    }
}

/// What udhcpd's books have left of a lease. They are binary: the time of writing in 8 bytes, then
/// 36 bytes a lease that begin with the seconds left and the address (busybox, `dhcpd.h`).
fn udhcpd_seconds_left(server: &mut Foreign, address: Ipv4Addr) -> Option<u32> {
    // It writes them now, and would otherwise in two hours.
    server.peer.process().signal(sys::process::SIGUSR1).unwrap();
    let books = fs::read(server.state.join("udhcpd.leases")).unwrap();
    let mut leases = books.get(8..)?.chunks_exact(36);
    let lease = leases.find(|lease| lease[4..8] == address.octets())?;
    Some(u32::from_be_bytes(lease[..4].try_into().unwrap()))
}

#[test]
fn stays_so_until_told_also_over_a_restart() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    host.iph(&["lease", "release", "eth0"]).success();
    let bindings = server.server.with(|server| server.bindings().clone());
    assert!(bindings.values().all(|binding| binding.state == BindingState::Released));
    host.capture.clear();
    host.kill();
    host.start("[[interface]]\nname = \"eth0\"");
    assert_eq!(host.wait_state("released")["bindings"], json!([]));
    // Carrier is no command either.
    lan.set_carrier(&host.port, false).unwrap();
    host.wait_client("the cut", |client| client["link_up"] == false);
    lan.set_carrier(&host.port, true).unwrap();
    host.wait_client("the mend", |client| client["link_up"] == true);
    assert_eq!(host.client("eth0").unwrap()["state"], "released");
    assert_eq!(host.capture.counters().to_string(), "", "nothing is sent");

    host.iph(&["lease", "acquire", "eth0"]).success();
    assert!(host.leased_address().is_some());
}

#[test]
fn without_a_lease() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("[[interface]]\nname = \"eth0\"");
    host.wait_state("selecting");
    let release = |interface: &str| {
        host.call("Lease.Release", json!({"interface": interface})).expect_err("no lease").name
    };
    assert_eq!(release("eth0"), "NotLeased");
    assert_eq!(release("eth7"), "NoSuchInterface");
    assert_eq!(release("lo"), "NotManaged");
    // Even so, it is released now, and stops looking.
    assert_eq!(host.client("eth0").unwrap()["state"], "released");
}

#[test]
fn an_attempt_to_acquire_is_called_off() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    host.start("");
    let mut waiting = host.connect();
    waiting.subscribe("Lease.Acquire", json!({"interface": "eth0"}));
    host.wait_state("selecting");
    let error = host.call("Lease.Release", json!({"interface": "eth0"})).expect_err("no lease");
    assert_eq!(error.name, "NotLeased");
    let error = waiting.receive().unwrap().expect_err("called off");
    assert_eq!(error.name, "Cancelled");
    assert_eq!(host.client("eth0").unwrap()["state"], "released");
}

#[test]
fn to_a_server_that_is_gone() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    drop(server);
    // RELEASE has no answer: the host's side is done all the same.
    host.iph(&["lease", "release", "eth0"]).success();
    assert_eq!(host.leased_address(), None);
    assert_eq!(host.dhcp_routes(), []);
}

/// Nobody answers ARP for the server any more: the kernel cannot put the RELEASE on the wire. The
/// address goes all the same, the caller is told what the server was not, and meanwhile everybody
/// else is served.
#[test]
fn to_a_server_that_does_not_answer_arp() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    let server = or_skip!(scripted(&lan));
    host.start_bound("");
    silence(&server, &host);
    host.capture.clear();

    let before = processor_ticks(&mut host);
    let mut releasing = host.connect();
    releasing.subscribe("Lease.Release", json!({"interface": "eth0"}));
    host.capture
        .wait_for("ARP for the server", PATIENCE, |frame| {
            matches!(&frame.packet, Packet::Arp(arp) if frame.outgoing && arp.target == SERVER)
        })
        .unwrap();
    // It waits now, for more than a second.
    assert!(host.leased_address().is_some());
    host.call("Daemon.Status", json!({})).expect("the status meanwhile");
    let answer = releasing.receive().unwrap().expect("the address is gone");
    let used = processor_ticks(&mut host) - before;
    assert!(used < 30, "{used} hundredths of a second of the processor");

    assert_eq!(host.leased_address(), None);
    assert_eq!(host.dhcp_routes(), []);
    assert_eq!(answer["server"]["address"], SERVER.to_string());
    assert_eq!(answer["message_sent"], false);
    assert!(answer["reason"].as_str().unwrap().contains("nothing on the link answers"), "{answer}");
    assert_eq!(host.capture.counters().dhcp(MessageType::Release), 0);
    assert!(host.log().contains("was not told"), "{}", host.log());
    assert_eq!(host.client("eth0").unwrap()["state"], "released");
}

/// The same while the lease is being extended, with a packet for that on its way already.
#[test]
fn to_a_server_that_does_not_answer_arp_when_asked_to_extend() {
    let lan = or_skip!(Lan::new());
    let mut host = or_skip!(Host::on(&lan));
    let config = ServerConfig::new(SERVER).times(Duration::from_secs(1), Duration::from_secs(1000));
    let server = or_skip!(scripted_with(&lan, config));
    host.start_bound("");
    silence(&server, &host);
    host.wait_state("renewing");
    let answer = host.iph(&["lease", "release", "eth0"]).success();
    assert!(answer.out.contains("The server 10.98.0.1 was not told: "), "{answer:#?}");
    assert_eq!(host.leased_address(), None);
}

/// From now on a server answers ARP for no address, and the host's kernel knows nothing of it.
fn silence(server: &Scripted, host: &Host) {
    // ip-sysctl.rst, `arp_ignore`.
    server.namespace.set_parameter("net/ipv4/conf/eth0/arp_ignore", "8").unwrap();
    let mut ip = Command::new("ip");
    ip.args(["neighbor", "flush", "dev", "eth0"]);
    Process::start(&host.namespace, ip).unwrap().finish(PATIENCE).unwrap();
}

/// What the daemon has used of the processor, in ticks of 10 ms (`utime` and `stime`,
/// proc_pid_stat(5)).
fn processor_ticks(host: &mut Host) -> u64 {
    let pid = host.daemon().process().id();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // What follows the name begins with the third field.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
