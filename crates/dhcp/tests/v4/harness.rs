//! One client, driven by hand: every step hands back what came out of it.

use core::net::Ipv4Addr;
use core::time::Duration;

use engine::{CommandId, EffectId, Engine as _, Instant, Rng};
use iphelper_dhcp::v4::*;
use wire::dhcpv4::{Message, MessageType, Op};
use wire::{HardwareAddress, HardwareType, arp};

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const SERVER_2: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// One hour: T1 at 1800 s, T2 at 3150 s.
pub(crate) const LEASE: u32 = 3_600;

pub(crate) fn hardware(last: u8) -> HardwareAddress {
    HardwareAddress::ethernet([2, 0, 0, 0, 0, last])
}

pub(crate) fn link(up: bool) -> Link {
    Link { up, hardware_type: HardwareType::ETHERNET, hardware: hardware(1), mtu: 1_500 }
}

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Conflict detection off, no rapid commit, no chance: the plainest client.
pub(crate) fn plain() -> Config {
    Config {
        conflict_detection: ConflictDetection::Off,
        rapid_commit: false,
        spread_renewals: false,
        ..Config::default()
    }
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) client: Client,
    pub(crate) now: Instant,
    /// Effects answer with success by themselves.
    pub(crate) effects_succeed: bool,
    next_command: u64,
}

impl Host {
    pub(crate) fn new(config: Config) -> Self {
        Self::seeded(config, 1)
    }

    pub(crate) fn seeded(config: Config, seed: u64) -> Self {
        Self {
            client: Client::new(config, Rng::from_u64(seed)),
            now: Instant::from_secs(1_000),
            effects_succeed: true,
            next_command: 0,
        }
    }

    /// With the link up, and told to acquire.
    pub(crate) fn started(config: Config) -> (Self, Vec<Output>) {
        let mut host = Self::new(config);
        host.input(Input::Link(link(true)));
        let (_, outputs) = host.command(Command::Acquire, 30);
        (host, outputs)
    }

    /// Bound to `ADDRESS` from `SERVER` for `LEASE` seconds, its command answered.
    pub(crate) fn bound(config: Config) -> Self {
        let (mut host, outputs) = Self::started(config);
        let discover = dhcp(&outputs).remove(0);
        let outputs = host.receive(&offer(&discover));
        let request = dhcp(&outputs).remove(0);
        let outputs = host.receive(&ack(&request));
        assert!(
            matches!(replies(&outputs)[..], [(_, Ok(Outcome::Acquired { .. }))]),
            "{outputs:?}"
        );
        assert_eq!(host.client.state(), State::Bound);
        host
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        self.client.handle(input, self.now);
        self.drain()
    }

    pub(crate) fn command(&mut self, command: Command, deadline: u64) -> (CommandId, Vec<Output>) {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        let deadline = self.now + Duration::from_secs(deadline);
        let outputs = self.input(Input::Command { id, command, deadline });
        (id, outputs)
    }

    pub(crate) fn receive(&mut self, message: &Message) -> Vec<Output> {
        let payload = message.emit();
        self.input(Input::Message { source: SERVER, payload: &payload })
    }

    pub(crate) fn arp(&mut self, packet: &arp::Packet) -> Vec<Output> {
        self.input(Input::Arp(packet))
    }

    pub(crate) fn effect(&mut self, id: EffectId, result: EffectResult) -> Vec<Output> {
        self.input(Input::Effect { id, result })
    }

    /// Lets time pass, firing each timer at its own time.
    pub(crate) fn advance(&mut self, by: Duration) -> Vec<Output> {
        let end = self.now + by;
        let mut outputs = Vec::new();
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a deadline in the past: {at:?}");
            self.now = at;
            self.client.handle_timeout(at);
            outputs.extend(self.drain());
            assert!(self.client.poll_timeout().is_none_or(|next| next > at));
        }
        self.now = end;
        outputs
    }

    /// As a machine that slept: no timer fires until the end.
    pub(crate) fn sleep(&mut self, by: Duration) -> Vec<Output> {
        self.now += by;
        self.client.handle_timeout(self.now);
        self.drain()
    }

    /// Lets time pass until the next timer.
    pub(crate) fn next(&mut self) -> Vec<Output> {
        let at = self.client.poll_timeout().expect("a timer");
        self.advance(at - self.now)
    }

    /// Seconds until the next timer.
    pub(crate) fn until_next(&self) -> f64 {
        (self.client.poll_timeout().expect("a timer") - self.now).as_secs_f64()
    }

    fn drain(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.client.poll_output() {
            if let (Output::Effect { id, .. }, true) = (&output, self.effects_succeed) {
                let result = Ok(());
                self.client.handle(Input::Effect { id: *id, result }, self.now);
                outputs.push(output);
            } else {
                outputs.push(output);
            }
        }
        outputs
    }
}

/// A server's answer with everything a good one has.
fn answer(request: &Message, kind: MessageType, address: Ipv4Addr) -> Message {
    let mut reply = Message::reply_to(request);
    reply.yiaddr = address;
    let options = &mut reply.options;
    options.set_message_type(kind);
    options.set_server_identifier(SERVER);
    options.set_lease_time(LEASE);
    options.set_subnet_mask(24);
    options.set_routers(&[SERVER]);
    options.set_dns_servers(&[SERVER]);
    reply
}

pub(crate) fn offer(discover: &Message) -> Message {
    answer(discover, MessageType::Offer, ADDRESS)
}

/// For the address that the request is about.
pub(crate) fn ack(request: &Message) -> Message {
    let requested = request.options.requested_address();
    answer(request, MessageType::Ack, requested.unwrap_or(request.ciaddr))
}

pub(crate) fn nak(request: &Message, server: Ipv4Addr) -> Message {
    let mut reply = Message::reply_to(request);
    reply.op = Op::Reply;
    reply.options.set_message_type(MessageType::Nak);
    reply.options.set_server_identifier(server);
    reply.options.set_message("wrong network");
    reply
}

pub(crate) fn sends(outputs: &[Output]) -> Vec<Transmit> {
    let send = |output: &Output| match output {
        Output::Send(transmit) | Output::Effect { effect: Effect::Release(transmit), .. } => {
            Some(transmit.clone())
        }
        _ => None,
    };
    outputs.iter().filter_map(send).collect()
}

pub(crate) fn dhcp(outputs: &[Output]) -> Vec<Message> {
    let message = |transmit: Transmit| match transmit {
        Transmit::Broadcast { message, .. } | Transmit::Unicast { message, .. } => Some(*message),
        Transmit::Arp { .. } => None,
    };
    sends(outputs).into_iter().filter_map(message).collect()
}

pub(crate) fn arps(outputs: &[Output]) -> Vec<(arp::Packet, Option<HardwareAddress>)> {
    let arp = |transmit| match transmit {
        Transmit::Arp { packet, to } => Some((packet, to)),
        _ => None,
    };
    sends(outputs).into_iter().filter_map(arp).collect()
}

pub(crate) fn kinds(outputs: &[Output]) -> Vec<MessageType> {
    let kind = |message: &Message| message.message_type().expect("a type");
    dhcp(outputs).iter().map(kind).collect()
}

pub(crate) fn effects(outputs: &[Output]) -> Vec<Effect> {
    let effect = |output: &Output| match output {
        Output::Effect { effect, .. } => Some(effect.clone()),
        _ => None,
    };
    outputs.iter().filter_map(effect).collect()
}

pub(crate) fn effect_ids(outputs: &[Output]) -> Vec<EffectId> {
    let id = |output: &Output| match output {
        Output::Effect { id, .. } => Some(*id),
        _ => None,
    };
    outputs.iter().filter_map(id).collect()
}

pub(crate) fn events(outputs: &[Output]) -> Vec<Event> {
    let event = |output: &Output| match output {
        Output::Event(event) => Some(event.clone()),
        _ => None,
    };
    outputs.iter().filter_map(event).collect()
}

/// The states gone through.
pub(crate) fn states(outputs: &[Output]) -> Vec<State> {
    let state = |event: Event| match event {
        Event::StateChanged { to, .. } => Some(to),
        _ => None,
    };
    events(outputs).into_iter().filter_map(state).collect()
}

pub(crate) fn replies(outputs: &[Output]) -> Vec<(CommandId, Result<Outcome, Failure>)> {
    let reply = |output: &Output| match output {
        Output::Reply { id, result } => Some((*id, result.clone())),
        _ => None,
    };
    outputs.iter().filter_map(reply).collect()
}

pub(crate) fn listens(outputs: &[Output]) -> Vec<Listen> {
    let listen = |output: &Output| match output {
        Output::Listen(listen) => Some(*listen),
        _ => None,
    };
    outputs.iter().filter_map(listen).collect()
}

/// An ACK for that address, whatever was asked.
pub(crate) fn ack_for(request: &Message, address: Ipv4Addr) -> Message {
    answer(request, MessageType::Ack, address)
}

pub(crate) fn changed(from: State, to: State) -> Output {
    Output::Event(Event::StateChanged { from, to })
}

/// How many messages were not used.
pub(crate) fn discarded(outputs: &[Output]) -> usize {
    let is = |event: &&Event| matches!(event, Event::Discarded { .. });
    events(outputs).iter().filter(is).count()
}

/// What is sent, ARP left out.
pub(crate) fn dhcp_sends(outputs: &[Output]) -> Vec<Transmit> {
    let mut all = sends(outputs);
    all.retain(|transmit| !matches!(transmit, Transmit::Arp { .. }));
    all
}
