use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use engine::{Engine, Instant};
use wire::HardwareAddress;
use wire::dhcpv4::{Message, MessageType, Op, OptionCode};

use super::{Behaviour, Echo, ServerConfig};

/// How long an offered address is kept for the client that was offered it.
const OFFER_HELD_FOR: Duration = Duration::from_secs(60);
/// How long a declined address is not offered again.
const DECLINE_HELD_FOR: Duration = Duration::from_secs(600);
/// How many received messages are remembered.
const REMEMBERED: usize = 16_384;

/// A DHCPv4 server without I/O (RFC 2131 section 4.3).
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    behaviour: Behaviour,
    bindings: BTreeMap<Ipv4Addr, Binding>,
    /// What is to be sent, and when. In order of `at` but for changes of the delay.
    outbox: VecDeque<(Instant, Transmit)>,
    /// The latest time handed in: what is due at it may leave.
    now: Instant,
    seen: VecDeque<Seen>,
    malformed: u64,
}

/// A UDP payload for the server's port.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// The sender.
    pub source: SocketAddrV4,
    /// The DHCP message.
    pub payload: &'a [u8],
}

/// A UDP payload for a client's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// How to reach the client.
    pub to: Destination,
    /// The DHCP message, or what the server's behaviour made of it.
    pub payload: Vec<u8>,
}

/// How to reach a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Everyone on the link.
    Broadcast,
    /// A client that has the address and answers ARP for it.
    Address(Ipv4Addr),
    /// A client that does not have the address yet.
    Hardware(HardwareAddress, Ipv4Addr),
}

/// An address and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Client identifier (option 61), or hardware type and address of a client without one.
    pub client: Vec<u8>,
    /// The client's hardware address.
    pub hardware: HardwareAddress,
    /// How far it got.
    pub state: BindingState,
    /// When the address is free again.
    pub expires_at: Instant,
}

/// How far a binding got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingState {
    /// Offered, not yet asked for.
    Offered,
    /// Leased.
    Bound,
    /// Given back; the client gets it again if it is still free.
    Released,
    /// Found in use by another host; nobody gets it.
    Declined,
}

/// A message that was received.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// Who sent it.
    pub source: SocketAddrV4,
    /// The message.
    pub message: Message,
}

impl Seen {
    /// What the message was for; `None` for BOOTP.
    pub fn kind(&self) -> Option<MessageType> {
        self.message.message_type()
    }
}

impl Server {
    /// A server with all of its pool free.
    pub fn new(config: ServerConfig) -> Self {
        Self {
            config,
            behaviour: Behaviour::default(),
            bindings: BTreeMap::new(),
            outbox: VecDeque::new(),
            now: Instant::ZERO,
            seen: VecDeque::new(),
            malformed: 0,
        }
    }

    /// What it serves.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// What it serves from now on. Bindings stay, also those the new configuration would not make.
    pub fn config_mut(&mut self) -> &mut ServerConfig {
        &mut self.config
    }

    /// How it misbehaves.
    pub fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// How it misbehaves from now on.
    pub fn behaviour_mut(&mut self) -> &mut Behaviour {
        &mut self.behaviour
    }

    /// Every address that is or was somebody's, in order.
    pub fn bindings(&self) -> &BTreeMap<Ipv4Addr, Binding> {
        &self.bindings
    }

    /// Forgets every binding, as a server does that lost its disk.
    pub fn forget(&mut self) {
        self.bindings.clear();
    }

    /// The messages received, oldest first, as far back as they are remembered.
    pub fn seen(&self) -> impl DoubleEndedIterator<Item = &Seen> {
        self.seen.iter()
    }

    /// How many messages of a type were received and are remembered.
    pub fn count(&self, kind: MessageType) -> usize {
        self.seen.iter().filter(|seen| seen.kind() == Some(kind)).count()
    }

    /// How many datagrams were not DHCP requests.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Sends this to a client, right away.
    pub fn inject(&mut self, transmit: Transmit) {
        self.outbox.push_back((self.now, transmit));
    }

    /// Asks the client that has `address` to renew now, without the authentication that RFC 3203
    /// demands. Returns whether there is such a client.
    pub fn force_renew(&mut self, address: Ipv4Addr) -> bool {
        let Some(binding) = self.bindings.get(&address) else {
            return false;
        };
        let mut message = Message::new(Op::Reply, 0);
        message.chaddr = binding.hardware;
        message.ciaddr = address;
        let kind = u8::from(MessageType::ForceRenew);
        message.options.insert(OptionCode::MESSAGE_TYPE, [kind]);
        message.options.insert(OptionCode::SERVER_IDENTIFIER, self.identifier().octets());
        self.inject(Transmit { to: Destination::Address(address), payload: message.emit() });
        true
    }

    fn identifier(&self) -> Ipv4Addr {
        self.behaviour.identifier.unwrap_or(self.config.address)
    }

    fn receive(&mut self, source: SocketAddrV4, request: &Message, now: Instant) {
        let Some(kind) = request.message_type() else {
            self.malformed += 1;
            return;
        };
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen { at: now, source, message: request.clone() });
        if self.behaviour.ignore.contains(&kind) {
            return;
        }
        match kind {
            MessageType::Discover => self.discover(request, now),
            MessageType::Request => self.request(request, now),
            MessageType::Decline => self.decline(request, now),
            MessageType::Release => self.release(request, now),
            MessageType::Inform => self.inform(request, now),
            _ => {}
        }
    }

    fn discover(&mut self, request: &Message, now: Instant) {
        let client = client(request);
        let Some(address) = self.choose(&client, request, now) else {
            return;
        };
        let rapid = self.config.rapid_commit && request.options.contains(OptionCode::RAPID_COMMIT);
        if rapid {
            self.grant(client, request, address, now);
            self.answer(MessageType::Ack, request, Some(address), now);
        } else {
            let expires_at = now + OFFER_HELD_FOR;
            self.bind(client, request, address, BindingState::Offered, expires_at);
            self.answer(MessageType::Offer, request, Some(address), now);
        }
    }

    /// RFC 2131 section 4.3.2: by server identifier and `ciaddr` the four kinds are told apart.
    fn request(&mut self, request: &Message, now: Instant) {
        if let Some(text) = self.behaviour.refuse.clone() {
            return self.refuse(request, &text, now);
        }
        let client = client(request);
        let requested = address_option(request, OptionCode::REQUESTED_ADDRESS);
        match address_option(request, OptionCode::SERVER_IDENTIFIER) {
            Some(chosen) if chosen != self.identifier() && chosen != self.config.address => {
                // The client took another server's offer.
                self.bindings.retain(|_, binding| {
                    binding.client != client || binding.state != BindingState::Offered
                });
                return;
            }
            Some(_) => {
                let offered = requested.filter(|address| self.may_have(&client, *address, now));
                match offered {
                    Some(address) => {
                        self.grant(client, request, address, now);
                        self.answer(MessageType::Ack, request, Some(address), now);
                    }
                    None => self.refuse(request, "not the address offered", now),
                }
                return;
            }
            None => {}
        }
        let wanted = match request.ciaddr {
            Ipv4Addr::UNSPECIFIED => requested,
            ciaddr => Some(ciaddr),
        };
        let Some(address) = wanted else { return };
        let known = self.bindings.get(&address).is_some_and(|binding| {
            binding.client == client
                && binding.state == BindingState::Bound
                && now < binding.expires_at
        });
        if known {
            self.grant(client, request, address, now);
            self.answer(MessageType::Ack, request, Some(address), now);
        } else if !self.config.on_subnet(address) {
            self.refuse(request, "not an address of this network", now);
        } else if self.config.authoritative {
            if self.config.pool.contains(&address) && self.is_free(&client, address, now) {
                self.grant(client, request, address, now);
                self.answer(MessageType::Ack, request, Some(address), now);
            } else {
                self.refuse(request, "address not available", now);
            }
        }
    }

    fn decline(&mut self, request: &Message, now: Instant) {
        let Some(address) = address_option(request, OptionCode::REQUESTED_ADDRESS) else { return };
        if self.bindings.get(&address).is_some_and(|binding| binding.client == client(request)) {
            let expires_at = now + DECLINE_HELD_FOR;
            self.bind(client(request), request, address, BindingState::Declined, expires_at);
        }
    }

    fn release(&mut self, request: &Message, now: Instant) {
        let client = client(request);
        if let Some(binding) = self.bindings.get_mut(&request.ciaddr)
            && binding.client == client
        {
            binding.state = BindingState::Released;
            binding.expires_at = now;
        }
    }

    fn inform(&mut self, request: &Message, now: Instant) {
        self.answer(MessageType::Ack, request, None, now);
    }

    /// An address for the client: its own, the one it asks for, the first one nobody had, the
    /// first free one.
    fn choose(&self, client: &[u8], request: &Message, now: Instant) -> Option<Ipv4Addr> {
        if let Some(address) = self.behaviour.offer {
            return Some(address);
        }
        let usable = |address: Ipv4Addr| {
            self.config.pool.contains(&address) && self.is_free(client, address, now)
        };
        let own = self
            .bindings
            .iter()
            .find(|(address, binding)| binding.client == client && usable(**address));
        let requested = address_option(request, OptionCode::REQUESTED_ADDRESS);
        own.map(|(address, _)| *address)
            .or_else(|| requested.filter(|address| usable(*address)))
            .or_else(|| self.pool().find(|address| !self.bindings.contains_key(address)))
            .or_else(|| self.pool().find(|address| usable(*address)))
    }

    fn pool(&self) -> impl Iterator<Item = Ipv4Addr> {
        let own = self.config.address;
        let (first, last) = (self.config.pool.start().to_bits(), self.config.pool.end().to_bits());
        (first..=last).map(Ipv4Addr::from_bits).filter(move |address| *address != own)
    }

    /// Whether nobody but perhaps this client has the address.
    fn is_free(&self, client: &[u8], address: Ipv4Addr, now: Instant) -> bool {
        self.bindings.get(&address).is_none_or(|binding| {
            now >= binding.expires_at
                || (binding.client == client && binding.state != BindingState::Declined)
        })
    }

    fn may_have(&self, client: &[u8], address: Ipv4Addr, now: Instant) -> bool {
        self.behaviour.offer == Some(address)
            || (self.config.pool.contains(&address) && self.is_free(client, address, now))
    }

    fn grant(&mut self, client: Vec<u8>, request: &Message, address: Ipv4Addr, now: Instant) {
        let expires_at = now + self.config.lease_time;
        self.bind(client, request, address, BindingState::Bound, expires_at);
    }

    fn bind(
        &mut self,
        client: Vec<u8>,
        request: &Message,
        address: Ipv4Addr,
        state: BindingState,
        expires_at: Instant,
    ) {
        // One address a client and link; what it had before is free.
        self.bindings.retain(|other, binding| {
            *other == address || binding.client != client || binding.state == BindingState::Declined
        });
        let hardware = request.chaddr;
        self.bindings.insert(address, Binding { client, hardware, state, expires_at });
    }

    fn refuse(&mut self, request: &Message, text: &str, now: Instant) {
        let mut answer = self.blank(MessageType::Nak, request);
        answer.siaddr = Ipv4Addr::UNSPECIFIED;
        if !text.is_empty() {
            answer.options.insert(OptionCode::MESSAGE, text);
        }
        self.send(answer, Destination::Broadcast, now);
    }

    /// OFFER or ACK; without an address, the answer to INFORM, which has no times (RFC 2131
    /// section 4.3.5).
    fn answer(
        &mut self,
        kind: MessageType,
        request: &Message,
        address: Option<Ipv4Addr>,
        now: Instant,
    ) {
        let mut answer = self.blank(kind, request);
        let options = &mut answer.options;
        if let Some(address) = address {
            answer.yiaddr = address;
            options.insert(OptionCode::LEASE_TIME, seconds(self.config.lease_time));
            for (code, time) in [
                (OptionCode::RENEWAL_TIME, self.config.renew_after),
                (OptionCode::REBINDING_TIME, self.config.rebind_after),
            ] {
                if let Some(time) = time {
                    options.insert(code, seconds(time));
                }
            }
            if kind == MessageType::Ack && request.message_type() == Some(MessageType::Discover) {
                options.insert(OptionCode::RAPID_COMMIT, []);
            }
        }
        options.insert(OptionCode::SUBNET_MASK, self.config.mask().octets());
        let wanted = request.options.get(OptionCode::PARAMETER_REQUEST_LIST);
        for (code, value) in &self.config.options {
            let asked_for = wanted.is_none_or(|codes| codes.contains(&code.0));
            if asked_for || self.behaviour.unsolicited {
                options.insert(*code, value.clone());
            }
        }
        let broadcast = self.behaviour.broadcast.unwrap_or(request.broadcast);
        let to = match (request.ciaddr, address) {
            _ if self.behaviour.broadcast == Some(true) => Destination::Broadcast,
            (Ipv4Addr::UNSPECIFIED, Some(address)) if !broadcast => {
                Destination::Hardware(request.chaddr, address)
            }
            (Ipv4Addr::UNSPECIFIED, _) => Destination::Broadcast,
            (ciaddr, _) => Destination::Address(ciaddr),
        };
        self.send(answer, to, now);
    }

    /// What every answer has.
    fn blank(&self, kind: MessageType, request: &Message) -> Message {
        let mut answer = Message::reply_to(request);
        answer.ciaddr = match kind {
            MessageType::Ack => request.ciaddr,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        answer.siaddr = self.behaviour.siaddr.unwrap_or(self.config.address);
        answer.options.insert(OptionCode::MESSAGE_TYPE, [u8::from(kind)]);
        answer.options.insert(OptionCode::SERVER_IDENTIFIER, self.identifier().octets());
        let echo = match &self.behaviour.echo {
            Echo::Same => request.options.get(OptionCode::CLIENT_IDENTIFIER),
            Echo::Nothing => None,
            Echo::Other(bytes) => Some(bytes.as_slice()),
        };
        if let Some(identifier) = echo {
            answer.options.insert(OptionCode::CLIENT_IDENTIFIER, identifier);
        }
        answer
    }

    fn send(&mut self, answer: Message, to: Destination, now: Instant) {
        let overloaded = self.behaviour.overload.then(|| answer.emit_within(0).ok()).flatten();
        let mut bytes = overloaded.unwrap_or_else(|| answer.emit());
        if let Some(second) = self.behaviour.duplicate_identifier {
            append_option(&mut bytes, OptionCode::SERVER_IDENTIFIER, &second.octets());
        }
        let payloads = match &self.behaviour.rewrite {
            Some(rewrite) => rewrite.apply(&answer, bytes),
            None => vec![bytes],
        };
        let at = now + self.behaviour.delay;
        self.outbox.extend(payloads.into_iter().map(|payload| (at, Transmit { to, payload })));
    }
}

impl Engine for Server {
    type Input<'a> = Datagram<'a>;
    type Output = Transmit;

    fn handle(&mut self, input: Datagram<'_>, now: Instant) {
        self.handle_timeout(now);
        match Message::parse(input.payload) {
            Ok(message) if message.op == Op::Request => self.receive(input.source, &message, now),
            _ => self.malformed += 1,
        }
    }

    fn poll_output(&mut self) -> Option<Transmit> {
        let due = self.outbox.iter().position(|(at, _)| *at <= self.now)?;
        self.outbox.remove(due).map(|(_, transmit)| transmit)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.outbox.iter().map(|(at, _)| *at).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }
}

/// The key of a client: its identifier, or hardware type and address (RFC 2131 section 4.2).
fn client(request: &Message) -> Vec<u8> {
    match request.options.get(OptionCode::CLIENT_IDENTIFIER) {
        Some(identifier) => identifier.to_vec(),
        None => {
            let [_, hardware_type] = request.hardware_type.0.to_be_bytes();
            [&[hardware_type], request.chaddr.as_bytes()].concat()
        }
    }
}

fn address_option(request: &Message, code: OptionCode) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = request.options.get(code)?.try_into().ok()?;
    Some(octets.into())
}

/// Seconds on the wire; what does not fit is infinite.
fn seconds(time: Duration) -> [u8; 4] {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Puts an option behind the others, before the end mark, as no encoder would.
fn append_option(bytes: &mut Vec<u8>, code: OptionCode, value: &[u8]) {
    let end = bytes.iter().rposition(|byte| *byte == OptionCode::END.0).unwrap_or(bytes.len());
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    let option = [&[code.0, length], value].concat();
    bytes.splice(end..end, option);
}
