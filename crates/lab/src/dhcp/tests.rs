//! Tables of (time, message) and answers.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use engine::{Engine as _, Instant};
use wire::HardwareAddress;
use wire::dhcpv4::{Message, MessageType, Op, OptionCode, View};

use super::{
    Behaviour, BindingState, Datagram, Destination, Echo, Rewrite, Server, ServerConfig, Transmit,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);

fn server() -> Server {
    Server::new(ServerConfig::new(SERVER).pool(FIRST..=SECOND))
}

fn hardware(client: u8) -> HardwareAddress {
    HardwareAddress::ethernet([2, 0, 0, 0, 0, client])
}

fn message(client: u8, kind: MessageType) -> Message {
    let mut message = Message::new(Op::Request, 0x1234_5600 | u32::from(client));
    message.chaddr = hardware(client);
    message.options.insert(OptionCode::MESSAGE_TYPE, [u8::from(kind)]);
    message
}

fn with(mut message: Message, code: OptionCode, value: impl Into<Vec<u8>>) -> Message {
    message.options.insert(code, value);
    message
}

/// REQUEST in answer to an offer.
fn select(client: u8, address: Ipv4Addr, server: Ipv4Addr) -> Message {
    let request = message(client, MessageType::Request);
    let request = with(request, OptionCode::REQUESTED_ADDRESS, address.octets());
    with(request, OptionCode::SERVER_IDENTIFIER, server.octets())
}

/// REQUEST after a restart.
fn reboot(client: u8, address: Ipv4Addr) -> Message {
    let request = message(client, MessageType::Request);
    with(request, OptionCode::REQUESTED_ADDRESS, address.octets())
}

/// REQUEST of a client that has the address.
fn renew(client: u8, address: Ipv4Addr) -> Message {
    let mut request = message(client, MessageType::Request);
    request.ciaddr = address;
    request
}

fn at(seconds: u64) -> Instant {
    Instant::from_secs(seconds)
}

/// Hands a message in and returns what is sent at once.
fn tell(server: &mut Server, seconds: u64, message: &Message) -> Vec<Transmit> {
    let source = SocketAddrV4::new(message.ciaddr, 68);
    server.handle(Datagram { source, payload: &message.emit() }, at(seconds));
    std::iter::from_fn(|| server.poll_output()).collect()
}

/// The one answer.
fn ask(server: &mut Server, seconds: u64, message: &Message) -> (Message, Destination) {
    let answers = tell(server, seconds, message);
    assert_eq!(answers.len(), 1, "one answer to {message:?}");
    (Message::parse(&answers[0].payload).unwrap(), answers[0].to)
}

fn kind_and_address(answer: &Message) -> (MessageType, Ipv4Addr) {
    (answer.message_type().unwrap(), answer.yiaddr)
}

/// Takes a client through DISCOVER and REQUEST.
fn lease(server: &mut Server, seconds: u64, client: u8) -> Ipv4Addr {
    let (offer, _) = ask(server, seconds, &message(client, MessageType::Discover));
    assert_eq!(offer.message_type(), Some(MessageType::Offer));
    let (ack, _) = ask(server, seconds, &select(client, offer.yiaddr, SERVER));
    assert_eq!(kind_and_address(&ack), (MessageType::Ack, offer.yiaddr));
    ack.yiaddr
}

#[test]
fn four_messages_make_a_lease() {
    let mut server = Server::new(
        ServerConfig::new(SERVER).times(Duration::from_secs(100), Duration::from_secs(200)),
    );
    let (offer, to) = ask(&mut server, 1, &message(1, MessageType::Discover));
    assert_eq!(kind_and_address(&offer), (MessageType::Offer, FIRST));
    assert_eq!(to, Destination::Hardware(hardware(1), FIRST));
    assert_eq!((offer.xid, offer.chaddr), (0x1234_5601, hardware(1)));
    for (code, value) in [
        (OptionCode::SERVER_IDENTIFIER, &[10, 77, 0, 1]),
        (OptionCode::LEASE_TIME, &[0, 0, 0x0e, 0x10]),
        (OptionCode::RENEWAL_TIME, &[0, 0, 0, 100]),
        (OptionCode::REBINDING_TIME, &[0, 0, 0, 200]),
        (OptionCode::SUBNET_MASK, &[255, 255, 255, 0]),
        (OptionCode::ROUTER, &[10, 77, 0, 1]),
    ] {
        assert_eq!(offer.options.get(code), Some(&value[..]), "{code}");
    }
    let (ack, _) = ask(&mut server, 1, &select(1, FIRST, SERVER));
    assert_eq!(kind_and_address(&ack), (MessageType::Ack, FIRST));
    let binding = &server.bindings()[&FIRST];
    assert_eq!((binding.state, binding.expires_at), (BindingState::Bound, at(3601)));
    assert_eq!((server.count(MessageType::Discover), server.count(MessageType::Request)), (1, 1));
}

#[test]
fn a_client_keeps_its_address_and_others_get_other_ones() {
    let mut server = server();
    assert_eq!(lease(&mut server, 0, 1), FIRST);
    assert_eq!(lease(&mut server, 0, 2), SECOND);
    assert!(tell(&mut server, 0, &message(3, MessageType::Discover)).is_empty(), "pool exhausted");
    assert_eq!(lease(&mut server, 10, 1), FIRST);
    // Client 2's lease runs out.
    assert_eq!(lease(&mut server, 3601, 3), SECOND);
}

#[test]
fn requests_without_server_identifier_follow_the_table_of_rfc_2131() {
    let foreign = Ipv4Addr::new(192, 0, 2, 7);
    type Answer = Option<(MessageType, Ipv4Addr)>;
    // (authoritative, request, answer)
    let table: [(bool, Message, Answer); 9] = [
        (true, reboot(1, FIRST), Some((MessageType::Ack, FIRST))),
        (true, renew(1, FIRST), Some((MessageType::Ack, FIRST))),
        (true, reboot(2, FIRST), Some((MessageType::Nak, Ipv4Addr::UNSPECIFIED))),
        (true, reboot(2, SECOND), Some((MessageType::Ack, SECOND))),
        (true, reboot(1, foreign), Some((MessageType::Nak, Ipv4Addr::UNSPECIFIED))),
        (false, renew(1, FIRST), Some((MessageType::Ack, FIRST))),
        (false, reboot(2, FIRST), None),
        (false, reboot(2, SECOND), None),
        (false, reboot(2, foreign), Some((MessageType::Nak, Ipv4Addr::UNSPECIFIED))),
    ];
    for (authoritative, request, expected) in table {
        let mut server = server();
        lease(&mut server, 0, 1);
        server.config_mut().authoritative = authoritative;
        let answers = tell(&mut server, 1, &request);
        let got = answers
            .first()
            .map(|answer| kind_and_address(&Message::parse(&answer.payload).unwrap()));
        assert_eq!(got, expected, "authoritative {authoritative}: {request:?}");
    }
}

#[test]
fn answers_go_where_the_client_can_hear_them() {
    let mut server = server();
    lease(&mut server, 0, 1);
    assert_eq!(ask(&mut server, 1, &renew(1, FIRST)).1, Destination::Address(FIRST));
    let mut deaf = message(2, MessageType::Discover);
    deaf.broadcast = true;
    assert_eq!(ask(&mut server, 1, &deaf).1, Destination::Broadcast);
    assert_eq!(ask(&mut server, 1, &reboot(2, FIRST)).1, Destination::Broadcast, "a NAK");
    server.behaviour_mut().broadcast = Some(true);
    assert_eq!(ask(&mut server, 1, &renew(1, FIRST)).1, Destination::Broadcast);
}

#[test]
fn declined_addresses_are_not_offered_again_and_released_ones_are() {
    let mut server = server();
    lease(&mut server, 0, 1);
    let decline =
        with(message(1, MessageType::Decline), OptionCode::REQUESTED_ADDRESS, FIRST.octets());
    assert!(tell(&mut server, 1, &decline).is_empty());
    assert_eq!(server.bindings()[&FIRST].state, BindingState::Declined);
    assert_eq!(lease(&mut server, 2, 1), SECOND);

    let mut release = message(1, MessageType::Release);
    release.ciaddr = SECOND;
    assert!(tell(&mut server, 3, &release).is_empty());
    assert_eq!(server.bindings()[&SECOND].state, BindingState::Released);
    assert_eq!(lease(&mut server, 4, 2), SECOND);
}

#[test]
fn another_servers_choice_frees_the_offer() {
    let mut server = server();
    ask(&mut server, 0, &message(1, MessageType::Discover));
    let elsewhere = select(1, FIRST, Ipv4Addr::new(10, 77, 0, 2));
    assert!(tell(&mut server, 0, &elsewhere).is_empty());
    assert!(server.bindings().is_empty());
}

#[test]
fn rapid_commit_needs_both_sides() {
    let rapid = with(message(1, MessageType::Discover), OptionCode::RAPID_COMMIT, []);
    let mut server = server();
    assert_eq!(ask(&mut server, 0, &rapid).0.message_type(), Some(MessageType::Offer));
    server.config_mut().rapid_commit = true;
    let (ack, _) = ask(&mut server, 0, &rapid);
    assert_eq!(kind_and_address(&ack), (MessageType::Ack, FIRST));
    assert!(ack.options.contains(OptionCode::RAPID_COMMIT));
    assert_eq!(server.bindings()[&FIRST].state, BindingState::Bound);
}

#[test]
fn inform_is_answered_without_times() {
    let mut inform = message(1, MessageType::Inform);
    inform.ciaddr = Ipv4Addr::new(10, 77, 0, 9);
    let mut server = server();
    let (ack, to) = ask(&mut server, 0, &inform);
    assert_eq!(kind_and_address(&ack), (MessageType::Ack, Ipv4Addr::UNSPECIFIED));
    assert!(!ack.options.contains(OptionCode::LEASE_TIME));
    assert_eq!(to, Destination::Address(inform.ciaddr));
    assert!(server.bindings().is_empty());
}

#[test]
fn options_are_sent_as_asked_for() {
    let mut server = Server::new(ServerConfig::new(SERVER).option(OptionCode(200), [1; 300]));
    let few = with(
        message(1, MessageType::Discover),
        OptionCode::PARAMETER_REQUEST_LIST,
        [OptionCode::ROUTER.0],
    );
    let (offer, _) = ask(&mut server, 0, &few);
    assert!(offer.options.contains(OptionCode::ROUTER));
    assert!(!offer.options.contains(OptionCode::DNS_SERVER));
    let (offer, _) = ask(&mut server, 0, &message(1, MessageType::Discover));
    assert_eq!(offer.options.get(OptionCode(200)), Some(&[1; 300][..]), "a long option");
    server.behaviour_mut().unsolicited = true;
    assert!(ask(&mut server, 0, &few).0.options.contains(OptionCode::DNS_SERVER));
}

#[test]
fn misbehaviour_is_what_was_ordered() {
    let other = Ipv4Addr::new(10, 77, 0, 66);
    let behaving = |behaviour: Behaviour| {
        let mut server = server();
        *server.behaviour_mut() = behaviour;
        server
    };
    let discover = with(message(1, MessageType::Discover), OptionCode::CLIENT_IDENTIFIER, [1, 2]);
    let identifier = OptionCode::SERVER_IDENTIFIER;

    let mut silent =
        behaving(Behaviour { ignore: vec![MessageType::Discover], ..Behaviour::default() });
    assert!(tell(&mut silent, 0, &discover).is_empty());
    assert!(silent.bindings().is_empty());

    let mut lying = behaving(Behaviour {
        identifier: Some(other),
        siaddr: Some(FIRST),
        offer: Some(Ipv4Addr::new(192, 0, 2, 1)),
        echo: Echo::Other(vec![9]),
        ..Behaviour::default()
    });
    let (offer, _) = ask(&mut lying, 0, &discover);
    assert_eq!(offer.options.get(identifier), Some(&other.octets()[..]));
    assert_eq!((offer.siaddr, offer.yiaddr), (FIRST, Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(offer.options.get(OptionCode::CLIENT_IDENTIFIER), Some(&[9][..]));

    let mut refusing =
        behaving(Behaviour { refuse: Some("go away".into()), ..Behaviour::default() });
    let (nak, _) = ask(&mut refusing, 0, &select(1, FIRST, SERVER));
    assert_eq!(nak.message_type(), Some(MessageType::Nak));
    assert_eq!(nak.options.get(OptionCode::MESSAGE), Some(&b"go away"[..]));

    let mut twice =
        behaving(Behaviour { duplicate_identifier: Some(other), ..Behaviour::default() });
    let bytes = tell(&mut twice, 0, &discover).remove(0).payload;
    let view = View::parse(&bytes).unwrap();
    let identifiers: Vec<&[u8]> = view
        .option_fields()
        .filter_map(|field| field.ok())
        .filter(|field| field.code == identifier)
        .map(|field| field.data)
        .collect();
    assert_eq!(identifiers, [&SERVER.octets()[..], &other.octets()[..]]);

    let mut full = behaving(Behaviour { overload: true, ..Behaviour::default() });
    full.config_mut().options.push((OptionCode(200), vec![7; 60]));
    let bytes = tell(&mut full, 0, &discover).remove(0).payload;
    assert_ne!(View::parse(&bytes).unwrap().overload(), (false, false));
    let offer = Message::parse(&bytes).unwrap();
    assert_eq!(offer.options.get(OptionCode(200)), Some(&[7; 60][..]));
    assert_eq!(offer.options.get(identifier), Some(&SERVER.octets()[..]));

    let mut cut =
        behaving(Behaviour { rewrite: Some(Rewrite::truncate(200)), ..Behaviour::default() });
    assert_eq!(tell(&mut cut, 0, &discover)[0].payload.len(), 200);

    let junk = Rewrite::precede_with([2; 250]);
    let mut noisy = behaving(Behaviour { rewrite: Some(junk), ..Behaviour::default() });
    let sent = tell(&mut noisy, 0, &discover);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].payload[4..8], sent[1].payload[4..8], "the transaction identifier");
}

#[test]
fn delayed_answers_wait_their_time() {
    let mut server = server();
    server.behaviour_mut().delay = Duration::from_secs(3);
    assert!(tell(&mut server, 10, &message(1, MessageType::Discover)).is_empty());
    assert_eq!(server.poll_timeout(), Some(at(13)));
    server.handle_timeout(at(12));
    assert!(server.poll_output().is_none());
    server.handle_timeout(at(13));
    assert!(server.poll_output().is_some());
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn force_renew_goes_to_clients_there_are() {
    let mut server = server();
    lease(&mut server, 0, 1);
    assert!(!server.force_renew(SECOND));
    assert!(server.force_renew(FIRST));
    let sent = server.poll_output().unwrap();
    assert_eq!(sent.to, Destination::Address(FIRST));
    let message = Message::parse(&sent.payload).unwrap();
    assert_eq!(message.message_type(), Some(MessageType::ForceRenew));
}

#[test]
fn what_is_no_request_is_counted_and_dropped() {
    let mut server = server();
    let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
    let mut reply = message(1, MessageType::Offer);
    reply.op = Op::Reply;
    for payload in [vec![], vec![1; 40], reply.emit()] {
        server.handle(Datagram { source, payload: &payload }, at(0));
        assert!(server.poll_output().is_none());
    }
    assert_eq!(server.malformed(), 3);
}
