//! A server that does not want the address the host remembers (DHCPNAK).

use std::net::Ipv4Addr;

use iphelper_tests::servers::{ELSEWHERE, SERVER, foreign, scripted, scripted_with};
use iphelper_tests::{Host, PATIENCE, with_each_server};
use lab::dhcp::{Behaviour, Destination, ServerConfig, Transmit};
use lab::{Lan, PeerConfig, PeerKind, or_skip};
use wire::dhcpv4::{Message, MessageType, Op, OptionCode};

with_each_server!(after_the_network_was_renumbered);

fn after_the_network_was_renumbered(kind: PeerKind) {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(foreign(&lan, kind, &PeerConfig::new(SERVER)));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    let mut events = host.monitor();
    drop(server);
    let _server = or_skip!(foreign(&lan, kind, &PeerConfig::new(ELSEWHERE)));
    host.capture.clear();
    lan.set_carrier(&host.port, false).unwrap();
    host.wait_client("the cut", |client| client["link_up"] == false);
    lan.set_carrier(&host.port, true).unwrap();

    let refused = events.event("refused", |event| event["kind"] == "refused");
    assert!(refused["text"].as_str().unwrap().contains("10.99.0.1"), "{refused:#?}");
    let client = host.settled(host.wait_client("an address of the new network", |client| {
        client["state"] == "bound" && client["server"]["address"] == ELSEWHERE.to_string()
    }));
    assert_ne!(client["bindings"][0]["address"], before["bindings"][0]["address"]);
    let addresses: Vec<_> = host.namespace.addresses("eth0").unwrap();
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    assert_eq!(addresses[0].address.to_string(), client["bindings"][0]["address"]);
    assert_eq!(host.default_routes().iter().map(|route| route.0).collect::<Vec<_>>(), [ELSEWHERE]);
    let resolver = host.resolver_file();
    assert!(resolver.contains("10.99.0.1") && !resolver.contains("10.98.0.1"), "{resolver}");
    // It had asked for the address it knew (INIT-REBOOT) before it looked for another.
    let request = host
        .capture
        .wait_for("REQUEST", PATIENCE, |frame| frame.outgoing && frame.is(MessageType::Request))
        .unwrap();
    let asked = request.dhcp().unwrap().options.get(OptionCode::REQUESTED_ADDRESS);
    let asked = asked.map(|bytes| <[u8; 4]>::try_from(bytes).unwrap());
    assert_eq!(
        before["bindings"][0]["address"],
        Ipv4Addr::from(asked.expect("option 50")).to_string()
    );
}

/// A server that refuses everything is asked less and less often.
#[test]
fn again_and_again_makes_no_storm() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted(&lan));
    server.server.with(|server| {
        *server.behaviour_mut() = Behaviour { refuse: Some("no".into()), ..Behaviour::default() };
    });
    let mut host = or_skip!(Host::on(&lan));
    host.start("[[interface]]\nname = \"eth0\"");
    let seen = |kind| server.server.with(|server| server.count(kind));
    lab::wait_until("four refusals", PATIENCE * 4, || seen(MessageType::Request) >= 4).unwrap();
    let times = server.server.with(|server| {
        let requests = server.seen().filter(|seen| seen.kind() == Some(MessageType::Request));
        requests.map(|seen| seen.at).collect::<Vec<_>>()
    });
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
    // Once it may be a misunderstanding; from then on it waits, longer and longer.
    assert!(gaps[1].as_millis() >= 500, "{gaps:?}");
    assert!(gaps[2] > gaps[1], "{gaps:?}");
}

/// Somebody else's refusal is not ours: another transaction, another server, another client.
#[test]
fn by_a_stranger_means_nothing() {
    let lan = or_skip!(Lan::new());
    let server = or_skip!(scripted_with(&lan, ServerConfig::new(SERVER)));
    let mut host = or_skip!(Host::on(&lan));
    let before = host.start_bound("");
    let xid = host.capture.frames().iter().rev().find_map(|frame| Some(frame.dhcp()?.xid)).unwrap();
    let hardware = host.namespace.link("eth0").unwrap().hardware_address;
    let hardware = wire::HardwareAddress::new(hardware.as_bytes()).unwrap();
    for (xid, identifier) in [(xid, ELSEWHERE), (xid.wrapping_add(1), SERVER), (xid, SERVER)] {
        let mut nak = Message::new(Op::Reply, xid);
        nak.chaddr = hardware;
        nak.options.insert(OptionCode::MESSAGE_TYPE, [u8::from(MessageType::Nak)]);
        nak.options.insert(OptionCode::SERVER_IDENTIFIER, identifier.octets());
        server.server.with(|server| {
            server.inject(Transmit { to: Destination::Broadcast, payload: nak.emit() });
        });
    }
    host.capture.wait_for("the NAKs", PATIENCE, |frame| frame.is(MessageType::Nak)).unwrap();
    // Only a renewal proves that none of them was taken in.
    let answer = host.iph(&["lease", "renew", "eth0", "--json"]).success().json();
    assert_eq!(answer["lease"]["bindings"][0]["address"], before["bindings"][0]["address"]);
    assert_eq!(host.capture.counters().dhcp(MessageType::Discover), 1);
}
