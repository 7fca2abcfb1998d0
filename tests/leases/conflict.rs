//! Another host owns the address (RFC 5227).

use std::net::{IpAddr, Ipv4Addr};

use iphelper_tests::servers::{SERVER, scripted, scripted_with};
use iphelper_tests::{Host, PATIENCE, eventually};
use lab::dhcp::{BindingState, ServerConfig};
use lab::frame::Packet;
use lab::{Lan, Namespace, or_skip};
use serde_json::json;
use wire::HardwareType;
use wire::dhcpv4::{MessageType, OptionCode};

const TAKEN: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 100);
const FREE: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 101);

/// Two addresses to lease, the first of which is another host's.
fn lan_with_a_taken_address() -> lab::Result<(Lan, iphelper_tests::servers::Scripted, Namespace)> {
    let lan = Lan::new()?;
    let owner = lan.host_at(TAKEN, 24)?;
    let server = scripted_with(&lan, ServerConfig::new(SERVER).pool(TAKEN..=FREE))?;
    Ok((lan, server, owner))
}

fn on_eth0(host: &Host, address: Ipv4Addr) -> bool {
    host.namespace.has_address("eth0", address).unwrap()
}

#[test]
fn found_in_the_background() {
    let (lan, server, owner) = or_skip!(lan_with_a_taken_address());
    let mut host = or_skip!(Host::on(&lan));
    // So that nothing happens before somebody watches.
    lan.set_carrier(&host.port, false).unwrap();
    host.start("[[interface]]\nname = \"eth0\"\nconflict_detection = \"background\"");
    let mut events = host.monitor();
    lan.set_carrier(&host.port, true).unwrap();
    let conflict = events.event("the conflict", |event| event["kind"] == "conflict");
    let hardware = owner.link("eth0").unwrap().hardware_address.to_string();
    assert!(conflict["text"].as_str().unwrap().contains(&hardware), "{conflict:#?}");

    // The address is gone at once, and the server knows why.
    eventually("the taken address gone", || !on_eth0(&host, TAKEN));
    let decline =
        host.capture.wait_for("DECLINE", PATIENCE, |frame| frame.is(MessageType::Decline)).unwrap();
    let Packet::Dhcp { source, destination, message } = &decline.packet else { panic!() };
    assert!(destination.ip().is_broadcast() && source.ip().is_unspecified(), "{decline}");
    let option = |code| message.options.get(code).map(<[u8]>::to_vec);
    assert_eq!(option(OptionCode::REQUESTED_ADDRESS), Some(TAKEN.octets().to_vec()));
    assert_eq!(option(OptionCode::SERVER_IDENTIFIER), Some(SERVER.octets().to_vec()));
    assert!(message.ciaddr.is_unspecified());
    // The capture may be ahead of the server.
    eventually("the address declined", || {
        server.server.with(|server| server.bindings()[&TAKEN].state == BindingState::Declined)
    });

    // Ten seconds later it starts over (RFC 2131 section 3.1.5), and gets the other.
    lab::wait_until("the free address", PATIENCE * 2, || on_eth0(&host, FREE)).unwrap();
    let again = host
        .capture
        .frames()
        .into_iter()
        .rfind(|frame| frame.outgoing && frame.is(MessageType::Discover))
        .unwrap();
    let waited = again.at.duration_since(decline.at);
    assert!((9.5..14.0).contains(&waited.as_secs_f64()), "started over after {waited:?}");
    assert!(!on_eth0(&host, TAKEN));
    assert_eq!(host.log().matches("it was given up").count(), 1, "{}", host.log());
}

#[test]
fn found_before_use() {
    let (lan, _server, _owner) = or_skip!(lan_with_a_taken_address());
    let mut host = or_skip!(Host::on(&lan));
    host.start("[defaults]\nconflict_detection = \"strict\"");
    // Within less than the ten seconds after which it starts over.
    let error = host
        .call("Lease.Acquire", json!({"interface": "eth0", "timeout": 8}))
        .expect_err("a conflict");
    assert_eq!(error.name, "Conflict");
    assert_eq!(error.parameters["address"], TAKEN.to_string());
    // It was never used: nobody heard it as a sender's address.
    let used = host
        .capture
        .frames()
        .iter()
        .any(|frame| frame.outgoing && frame.arp().is_some_and(|arp| arp.sender == TAKEN));
    assert!(!used);
    assert!(!on_eth0(&host, TAKEN));
}

#[test]
fn probed_for_before_use_and_announced() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start("[[interface]]\nname = \"eth0\"\nconflict_detection = \"strict\"");
    host.wait_state("probing");
    assert_eq!(host.leased_address(), None, "not before it is known to be free");
    host.wait_bound();
    let frames = host.capture.frames();
    let probes = frames.iter().filter(|f| f.outgoing && f.arp().is_some_and(|arp| arp.is_probe()));
    assert_eq!(probes.count(), 3, "RFC 5227 section 1.1: PROBE_NUM");
    let announces = |frame: &lab::frame::Frame| {
        frame.outgoing && frame.arp().is_some_and(|arp| arp.sender == arp.target)
    };
    host.capture.wait_for("an announcement", PATIENCE, announces).unwrap();
}

#[test]
fn switched_off() {
    let (lan, _server, _owner) = or_skip!(lan_with_a_taken_address());
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("conflict_detection = \"off\"");
    assert!(on_eth0(&host, TAKEN), "the administrator wanted it so");
    let probed = host.capture.frames().iter().any(|frame| {
        frame.outgoing && frame.arp().is_some_and(|arp| arp.is_probe() || arp.sender == arp.target)
    });
    assert!(!probed);
}

/// Somebody starts to use the address long after it was leased: once it is defended.
#[test]
fn later_is_defended_against() {
    let lan = or_skip!(Lan::new());
    let _server = or_skip!(scripted(&lan));
    let mut host = or_skip!(Host::on(&lan));
    host.start_bound("");
    let Some(IpAddr::V4(address)) = host.leased_address().map(|row| row.address) else { panic!() };
    // Its own announcements end first, so that the next one is the defence.
    let announces = |frame: &lab::frame::Frame| {
        frame.outgoing
            && frame.arp().is_some_and(|arp| arp.sender == address && arp.target == address)
    };
    eventually("both announcements", || {
        host.capture.frames().iter().filter(|frame| announces(frame)).count() == 2
    });
    host.capture.clear();

    let stranger = lan.host_at("10.98.0.9".parse().unwrap(), 24).unwrap();
    announce(&stranger, address);
    host.capture.wait_for("the defence", PATIENCE, announces).unwrap();
    assert!(on_eth0(&host, address));
    assert_eq!(host.client("eth0").unwrap()["state"], "bound");
    let hardware = stranger.link("eth0").unwrap().hardware_address.to_string();
    let line = host.wait_log("the conflict in the log", |line| line.contains(&hardware));
    assert!(line.contains("WARN") && line.contains(&address.to_string()), "{line}");
}

/// Claims an address from `eth0` of a host.
fn announce(host: &Namespace, address: Ipv4Addr) {
    let link = host.link("eth0").unwrap();
    let own = wire::HardwareAddress::new(link.hardware_address.as_bytes()).unwrap();
    let packet = wire::arp::Packet::announcement(HardwareType::ETHERNET, own, address);
    let open = || {
        let filter = sys::bpf::Filter::drop_all();
        sys::packet::Socket::open(link.index, sys::packet::ETHERTYPE_ARP, &filter)
    };
    let socket = host.run(open).unwrap().unwrap();
    socket.send(&[0xff; 6], &packet.emit()).unwrap();
}
