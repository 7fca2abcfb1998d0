//! DHCP servers in a network, ours and those of others: each answers a client's DISCOVER.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use iphelper_lab::dhcp::{DhcpServer, ServerConfig};
use iphelper_lab::frame::Frame;
use iphelper_lab::{Capture, Lan, Namespace, Peer, PeerConfig, PeerKind, StateDir, or_skip};
use sys::bpf::Filter;
use sys::packet::{ETHERTYPE_IPV4, Socket};
use wire::HardwareAddress;
use wire::dhcpv4::{Message, MessageType, Op, OptionCode};
use wire::udp::emit_ipv4_udp;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client of two messages.
struct Client {
    hardware: HardwareAddress,
    socket: Socket,
    capture: Capture,
}

impl Client {
    fn new(host: &Namespace) -> Self {
        let link = host.link("eth0").unwrap();
        let open = || Socket::open(link.index, ETHERTYPE_IPV4, &Filter::drop_all());
        let socket = host.run(open).unwrap().unwrap();
        let capture = Capture::start(host, "eth0").unwrap();
        Self { hardware: link.hardware_address, socket, capture }
    }

    fn send(&self, kind: MessageType, options: &[(OptionCode, [u8; 4])]) {
        let mut message = Message::new(Op::Request, 0x0102_0304);
        message.chaddr = self.hardware;
        message.options.insert(OptionCode::MESSAGE_TYPE, [u8::from(kind)]);
        for (code, value) in options {
            message.options.insert(*code, *value);
        }
        let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let everyone = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        let packet = emit_ipv4_udp(source, everyone, 0, 64, &message.emit());
        self.socket.send(&[0xff; 6], &packet).unwrap();
    }

    fn answer(&self, kind: MessageType) -> Frame {
        let answer = |frame: &Frame| frame.is(kind) && !frame.outgoing;
        self.capture.wait_for(&kind.to_string(), TIMEOUT, answer).unwrap()
    }

    /// DISCOVER, OFFER, REQUEST, ACK.
    fn lease(&self) -> Ipv4Addr {
        self.send(MessageType::Discover, &[]);
        let offer = self.answer(MessageType::Offer).dhcp().unwrap().clone();
        let server = offer.options.get(OptionCode::SERVER_IDENTIFIER).unwrap().try_into().unwrap();
        assert_eq!(server, SERVER.octets());
        let chosen = [
            (OptionCode::REQUESTED_ADDRESS, offer.yiaddr.octets()),
            (OptionCode::SERVER_IDENTIFIER, server),
        ];
        self.send(MessageType::Request, &chosen);
        let ack = self.answer(MessageType::Ack).dhcp().unwrap().clone();
        assert_eq!(ack.yiaddr, offer.yiaddr);
        ack.yiaddr
    }
}

#[test]
fn the_embedded_server_leases_on_a_wire() {
    let lan = or_skip!(Lan::new());
    let server_host = lan.host_at(SERVER, 24).unwrap();
    let server = DhcpServer::start(&server_host, "eth0", ServerConfig::new(SERVER)).unwrap();
    let host = lan.host().unwrap();
    let client = Client::new(&host);
    assert_eq!(client.lease(), Ipv4Addr::new(10, 77, 0, 100));
    let seen = |server: &iphelper_lab::dhcp::Server| {
        (server.count(MessageType::Request) == 1).then_some(())
    };
    server.wait_for("a request", TIMEOUT, seen).unwrap();
    let counters = client.capture.counters();
    assert_eq!(counters.dhcp(MessageType::Discover), 1);
    assert_eq!(counters.dhcp(MessageType::Ack), 1);
    assert!(client.capture.frames()[0].outgoing, "the capture sees both directions");
}

#[test]
fn a_burst_of_clients_loses_nobody() {
    const CLIENTS: u16 = 1000;
    let lan = or_skip!(Lan::new());
    let server_host = lan.host_at(SERVER, 16).unwrap();
    let pool = Ipv4Addr::new(10, 77, 1, 0)..=Ipv4Addr::new(10, 77, 250, 0);
    let config = ServerConfig::new(SERVER).prefix_length(16).pool(pool);
    let server = DhcpServer::start(&server_host, "eth0", config).unwrap();
    let host = lan.host().unwrap();
    let mut client = Client::new(&host);
    // While this is held the server answers nobody, and the messages queue up.
    server.with(|_| {
        for number in 0..CLIENTS {
            let [a, b] = number.to_be_bytes();
            client.hardware = HardwareAddress::ethernet([2, 0x77, 0, 0, a, b]);
            client.send(MessageType::Discover, &[]);
        }
    });
    let everyone = |server: &iphelper_lab::dhcp::Server| {
        (server.bindings().len() == usize::from(CLIENTS)).then_some(())
    };
    server.wait_for("everyone's address", TIMEOUT, everyone).unwrap();
}

#[test]
fn a_server_can_change_its_manners_at_any_time() {
    let lan = or_skip!(Lan::new());
    let server_host = lan.host_at(SERVER, 24).unwrap();
    let server = DhcpServer::start(&server_host, "eth0", ServerConfig::new(SERVER)).unwrap();
    let host = lan.host().unwrap();
    let client = Client::new(&host);
    server.with(|server| server.behaviour_mut().refuse = Some("closed".into()));
    client.send(MessageType::Request, &[(OptionCode::REQUESTED_ADDRESS, [10, 77, 0, 150])]);
    let nak = client.answer(MessageType::Nak);
    assert_eq!(nak.dhcp().unwrap().options.get(OptionCode::MESSAGE), Some(&b"closed"[..]));

    server.with(|server| server.behaviour_mut().delay = Duration::from_millis(200));
    let before = sys::clock::boottime();
    client.send(MessageType::Discover, &[]);
    let offer = client.answer(MessageType::Offer);
    assert!(offer.at.as_nanos() - before >= 200_000_000);
}

fn lease_from(kind: PeerKind, lan: &Lan) -> iphelper_lab::Result<()> {
    kind.available()?;
    let server_host = lan.host_at(SERVER, 24)?;
    let state = StateDir::new()?;
    let config = PeerConfig::new(SERVER);
    let peer = Peer::start(kind, &server_host, "eth0", &state, &config)?;
    let host = lan.host()?;
    let address = Client::new(&host).lease();
    assert!(config.pool.contains(&address), "{address}\n{}", peer.log());
    Ok(())
}

#[test]
fn dnsmasq_leases() {
    let lan = or_skip!(Lan::new());
    or_skip!(lease_from(PeerKind::Dnsmasq, &lan));
}

#[test]
fn kea_leases() {
    let lan = or_skip!(Lan::new());
    or_skip!(lease_from(PeerKind::Kea, &lan));
}

#[test]
fn dhcpd_leases() {
    let lan = or_skip!(Lan::new());
    or_skip!(lease_from(PeerKind::IscDhcpd, &lan));
}

#[test]
fn udhcpd_leases() {
    let lan = or_skip!(Lan::new());
    or_skip!(lease_from(PeerKind::Udhcpd, &lan));
}
