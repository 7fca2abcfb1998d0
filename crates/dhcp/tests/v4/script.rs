//! A client fed with whatever bytes say: inputs of every kind, in any order, with any answers.

use core::net::Ipv4Addr;
use core::time::Duration;

use dhcp::v4::*;
use engine::{CommandId, Engine as _, Instant, Refused};
use wire::dhcpv4::{Message, MessageType, Op, OptionCode};
use wire::{HardwareAddress, HardwareType, arp};

use crate::checked::Checked;

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// One of few addresses, so that they meet again.
    fn address(&mut self) -> Ipv4Addr {
        match self.next() {
            255 => Ipv4Addr::BROADCAST,
            254 => Ipv4Addr::LOCALHOST,
            253 => Ipv4Addr::new(224, 0, 0, 1),
            252 => Ipv4Addr::UNSPECIFIED,
            last => Ipv4Addr::new(10, 0, 0, last & 7),
        }
    }

    fn hardware(&mut self) -> HardwareAddress {
        HardwareAddress::ethernet([2, 0, 0, 0, 0, self.next() & 3])
    }

    fn seconds(&mut self) -> u32 {
        match self.next() {
            255 => u32::MAX,
            254 => u32::MAX - 1,
            n @ 200.. => u32::from(n) * 1_000,
            n => u32::from(n),
        }
    }
}

/// Runs a script; panics when something does not hold.
pub(crate) fn run(script: &[u8]) {
    let mut bytes = Bytes(script);
    let config = config(&mut bytes);
    let mut checked = Checked::new(config, 1, Instant::from_secs(100));
    let mut asked: Option<Message> = None;
    let mut own = bytes.hardware();
    while !bytes.0.is_empty() {
        let outputs = step(&mut checked, &mut bytes, asked.as_ref(), &mut own);
        for output in outputs {
            if let Output::Send(
                Transmit::Broadcast { message, .. } | Transmit::Unicast { message, .. },
            ) = output
            {
                asked = Some(*message);
            }
        }
    }
    // Whatever is under way ends: every command is answered.
    for _ in 0..10_000 {
        let last = checked.commands.values().max().copied();
        let Some(at) = checked.client.poll_timeout() else {
            break;
        };
        if last.is_none_or(|last| last < at) {
            break;
        }
        checked.now = at;
        checked.timeout();
    }
    assert!(checked.commands.is_empty(), "{:?}", checked.commands);
}

fn config(bytes: &mut Bytes<'_>) -> Config {
    Config {
        conflict_detection: match bytes.next() % 3 {
            0 => ConflictDetection::Background,
            1 => ConflictDetection::Strict,
            _ => ConflictDetection::Off,
        },
        rapid_commit: bytes.flag(),
        link_local: bytes.flag(),
        anonymize: bytes.next() > 200,
        ipv6_only: bytes.flag(),
        use_routes: bytes.flag(),
        offer_collection: Duration::from_millis(u64::from(bytes.next() & 3) * 500),
        ..Config::default()
    }
}

fn step(
    checked: &mut Checked,
    bytes: &mut Bytes<'_>,
    asked: Option<&Message>,
    own: &mut HardwareAddress,
) -> Vec<Output> {
    let now = checked.now;
    match bytes.next() % 18 {
        0 => {
            checked.now += Duration::from_millis(u64::from(bytes.next()) * 10);
            checked.timeout()
        }
        1 => {
            checked.now += Duration::from_secs(u64::from(bytes.next()) * 60);
            checked.timeout()
        }
        2 | 3 => {
            // The clock has 584 years; a few of the longest leases after each other use them up.
            let end = Instant::from_nanos(u64::MAX / 2);
            if let Some(at) = checked.client.poll_timeout().filter(|at| *at < end) {
                checked.now = at;
            }
            checked.timeout()
        }
        4 | 5 => {
            if bytes.next() > 240 {
                *own = bytes.hardware();
            }
            checked.input(Input::Link(Link {
                up: bytes.next() > 40,
                hardware_type: HardwareType::ETHERNET,
                hardware: *own,
                mtu: u32::from(bytes.next()) * 16,
            }))
        }
        6 | 7 => {
            let command = match bytes.next() % 8 {
                0..=2 => Command::Acquire,
                3 | 4 => Command::Renew,
                5 => Command::Release,
                6 => Command::Inform { address: bytes.address() },
                _ => Command::Stop { release: bytes.flag() },
            };
            let deadline = now + Duration::from_secs(u64::from(bytes.next() & 63));
            checked.command(command, deadline)
        }
        8 => {
            let id = checked.commands.keys().next().copied();
            let id = id.unwrap_or(CommandId(u64::from(bytes.next())));
            checked.input(Input::Cancel { id })
        }
        9..=11 => {
            let payload = asked.map(|asked| reply(bytes, asked).emit());
            let payload = payload.unwrap_or_default();
            let source = bytes.address();
            checked.input(Input::Message { source, payload: &payload })
        }
        12 => {
            let payload = bytes.0.get(..300.min(bytes.0.len())).unwrap_or_default();
            let source = Ipv4Addr::new(10, 0, 0, 1);
            checked.input(Input::Message { source, payload })
        }
        13 => {
            let packet = arp::Packet {
                hardware_type: HardwareType::ETHERNET,
                operation: match bytes.flag() {
                    true => arp::Operation::Reply,
                    false => arp::Operation::Request,
                },
                sender_hardware: bytes.hardware(),
                sender: bytes.address(),
                target_hardware: bytes.hardware(),
                target: bytes.address(),
            };
            checked.input(Input::Arp(&packet))
        }
        14 | 15 => {
            let fails = bytes.next() > 230;
            let Some(id) = checked.effects.keys().next().copied() else {
                return Vec::new();
            };
            let result = if fails { Err(Refused::other("no")) } else { Ok(()) };
            checked.result(id, result)
        }
        16 => match bytes.next() % 3 {
            0 => checked.input(Input::AddressRemoved(bytes.address())),
            1 => {
                let route = checked.client.lease().and_then(|l| l.routes.first().copied());
                match route {
                    Some(route) => checked.input(Input::RouteRemoved(route)),
                    None => Vec::new(),
                }
            }
            _ => {
                let config = config(bytes);
                checked.input(Input::Configure(Box::new(config)))
            }
        },
        _ => {
            let record = Record {
                hardware: bytes.hardware(),
                lease: checked.client.lease().cloned(),
                released: bytes.flag(),
            };
            checked.input(Input::Restore(Box::new(record)))
        }
    }
}

/// An answer to what was asked, right in most ways.
fn reply(bytes: &mut Bytes<'_>, asked: &Message) -> Message {
    let mut reply = Message::reply_to(asked);
    let wrong = bytes.next();
    let right = wrong < 128;
    reply.yiaddr = match asked.options.requested_address() {
        Some(address) if right => address,
        _ if right && !asked.ciaddr.is_unspecified() => asked.ciaddr,
        _ => bytes.address(),
    };
    if wrong > 250 {
        reply.xid ^= 1;
    }
    if wrong > 245 {
        reply.op = Op::Request;
    }
    let kind = match (bytes.next() % 8, asked.message_type()) {
        (0..=4, Some(MessageType::Discover)) => MessageType::Offer,
        (0..=4, _) | (5, _) => MessageType::Ack,
        (6, _) => MessageType::Nak,
        _ => MessageType::from(bytes.next()),
    };
    let options = &mut reply.options;
    options.set_message_type(kind);
    options.set_lease_time(bytes.seconds());
    match asked.options.server_identifier() {
        Some(server) if right => options.set_server_identifier(server),
        _ => options.set_server_identifier(bytes.address()),
    };
    let extra = bytes.next();
    if extra & 1 != 0 {
        options.set_subnet_mask(bytes.next() % 33);
    }
    if extra & 2 != 0 {
        options.set_routers(&[bytes.address(), bytes.address()]);
    }
    if extra & 4 != 0 {
        options.set_renewal_time(bytes.seconds());
        options.set_rebinding_time(bytes.seconds());
    }
    if extra & 8 != 0 {
        options.set_rapid_commit();
    }
    if extra & 16 != 0 {
        options.set_dns_servers(&[bytes.address()]);
        options.set_message("\u{1b}[31m no \u{202e}");
    }
    if extra & 32 != 0 {
        options.set_client_identifier(&[1, 2, 0, 0, 0, 0, bytes.next() & 3]);
    }
    if extra & 64 != 0 {
        options.insert(OptionCode(bytes.next()), [bytes.next(), bytes.next()]);
    }
    if extra & 128 != 0 && bytes.next() > 128 {
        options.set_ipv6_only_preferred(bytes.seconds());
        options.set_auto_configure(bytes.flag());
    }
    reply
}
