//! Clients and servers on one link that loses, duplicates, delays and reorders, with machines that
//! sleep, clocks that jump and servers that die. Time is simulated, and everything follows from the seed.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use dhcp::v4::*;
use engine::{EffectId, Engine as _, Instant, Rng};
use wire::dhcpv4::{Message, MessageType};
use wire::{HardwareAddress, HardwareType, arp};

use crate::checked::Checked;

/// What the link does to a packet.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Of a hundred packets.
    lost: u64,
    doubled: u64,
    /// The longest delay, milliseconds; shorter ones overtake.
    delay: u64,
}

const CALM: Weather = Weather { lost: 0, doubled: 0, delay: 2 };
const ROUGH: Weather = Weather { lost: 15, doubled: 5, delay: 700 };

#[derive(Debug)]
enum Delivery {
    /// A client's message to one server or all.
    Ask(usize, Option<Ipv4Addr>, Vec<u8>),
    /// A server's message to a client.
    Answer(usize, Ipv4Addr, Vec<u8>),
    /// An ARP packet from a client to all others.
    Arp(usize, arp::Packet),
    /// A result for a client.
    Result(usize, EffectId, EffectResult),
}

#[derive(Debug)]
struct Node {
    checked: Checked,
    hardware: HardwareAddress,
    up: bool,
    asleep_until: Option<Instant>,
    /// How far its clock has jumped ahead of the world's.
    ahead: Duration,
    /// Results that came while it slept.
    held: Vec<(EffectId, EffectResult)>,
    /// When messages that ask for something went out.
    asked: Vec<Instant>,
}

#[derive(Debug)]
struct Server {
    address: Ipv4Addr,
    /// Last octets of the third byte `pool`.
    pool: u8,
    size: u8,
    lease: u32,
    alive: bool,
    /// Refuses what it does not know.
    authoritative: bool,
    /// Grants at once when it may (RFC 4039).
    rapid: bool,
    /// Who has which address, until when.
    leases: BTreeMap<Ipv4Addr, (HardwareAddress, Instant)>,
    declined: BTreeSet<Ipv4Addr>,
}

#[derive(Debug)]
struct World {
    now: Instant,
    rng: Rng,
    weather: Weather,
    nodes: Vec<Node>,
    servers: Vec<Server>,
    queue: BTreeMap<(Instant, u64), Delivery>,
    sequence: u64,
}

impl World {
    fn new(seed: u64, clients: u8, config: &dyn Fn(u64) -> Config, servers: Vec<Server>) -> Self {
        let now = Instant::from_secs(10);
        let node = |index: u8| Node {
            checked: Checked::new(
                config(u64::from(index) + seed),
                seed * 100 + u64::from(index),
                now,
            ),
            hardware: HardwareAddress::ethernet([2, 0, 0, 0, 1, index]),
            up: false,
            asleep_until: None,
            ahead: Duration::ZERO,
            held: Vec::new(),
            asked: Vec::new(),
        };
        Self {
            now,
            rng: Rng::from_u64(seed),
            weather: CALM,
            nodes: (0..clients).map(node).collect(),
            servers,
            queue: BTreeMap::new(),
            sequence: 0,
        }
    }

    fn post(&mut self, delivery: Delivery, reliable: bool) {
        let Weather { lost, doubled, delay } = self.weather;
        if !reliable && self.rng.chance(lost, 100) {
            return;
        }
        let wait = self.rng.duration(Duration::from_micros(100), Duration::from_millis(delay));
        if !reliable && self.rng.chance(doubled, 100) {
            let again = match &delivery {
                Delivery::Ask(from, to, bytes) => Delivery::Ask(*from, *to, bytes.clone()),
                Delivery::Answer(to, from, bytes) => Delivery::Answer(*to, *from, bytes.clone()),
                Delivery::Arp(from, packet) => Delivery::Arp(*from, packet.clone()),
                Delivery::Result(..) => return,
            };
            self.sequence += 1;
            self.queue.insert((self.now + wait * 2, self.sequence), again);
        }
        self.sequence += 1;
        self.queue.insert((self.now + wait, self.sequence), delivery);
    }

    /// Runs until `end`, checking all the way.
    fn run(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let delivery = self.queue.keys().next().map(|(at, _)| *at);
            let timer = |node: &Node| match node.asleep_until {
                Some(until) => Some(until),
                // At once if the clock jumped over it.
                None => {
                    let at = node.checked.client.poll_timeout()?;
                    Some((at - node.ahead).max(self.now))
                }
            };
            let timer = self.nodes.iter().filter_map(timer).min();
            let Some(next) = [delivery, timer].into_iter().flatten().min().filter(|at| *at <= end)
            else {
                break;
            };
            assert!(next >= self.now);
            self.now = next;
            if delivery == Some(next) {
                let (_, delivery) = self.queue.pop_first().expect("it is there");
                self.deliver(delivery);
            } else {
                self.fire();
            }
            self.check();
        }
        self.now = end;
    }

    fn fire(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            if node.asleep_until.is_some_and(|until| until > self.now) {
                continue;
            }
            let woke = node.asleep_until.take().is_some();
            let now = self.now + node.ahead;
            let due = node.checked.client.poll_timeout().is_some_and(|at| at <= now);
            if woke || due {
                node.checked.now = now;
                let outputs = node.checked.timeout();
                self.act(index, outputs);
                for (id, result) in std::mem::take(&mut self.nodes[index].held) {
                    self.post(Delivery::Result(index, id, result), true);
                }
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let awake = |node: &Node| node.asleep_until.is_none();
        match delivery {
            Delivery::Ask(from, to, bytes) => {
                let message = Message::parse(&bytes).expect("a client wrote it");
                for index in 0..self.servers.len() {
                    let server = &mut self.servers[index];
                    if server.alive && to.is_none_or(|to| to == server.address) {
                        let source = server.address;
                        if let Some(answer) = server.answer(&message, self.now) {
                            let answer = Delivery::Answer(from, source, answer.emit());
                            self.post(answer, false);
                        }
                    }
                }
            }
            Delivery::Answer(to, source, bytes) => {
                if self.nodes[to].up && awake(&self.nodes[to]) {
                    let payload = &bytes;
                    self.input(to, Input::Message { source, payload });
                }
            }
            Delivery::Arp(from, packet) => {
                for to in (0..self.nodes.len()).filter(|to| *to != from) {
                    let node = &self.nodes[to];
                    if !node.up || !awake(node) {
                        continue;
                    }
                    let holds = node.checked.addresses.contains_key(&packet.target);
                    if holds && packet.operation == arp::Operation::Request {
                        // The kernel of that host answers.
                        let reply = packet.reply(node.hardware);
                        if self.nodes[from].up && awake(&self.nodes[from]) {
                            self.input(from, Input::Arp(&reply));
                        }
                    }
                    self.input(to, Input::Arp(&packet));
                }
            }
            Delivery::Result(to, id, result) => {
                // A machine that sleeps gets it when it wakes.
                let node = &mut self.nodes[to];
                if node.asleep_until.is_some() {
                    node.held.push((id, result));
                    return;
                }
                node.checked.now = self.now + node.ahead;
                let outputs = node.checked.result(id, result);
                self.act(to, outputs);
            }
        }
    }

    fn input(&mut self, index: usize, input: Input<'_>) {
        let node = &mut self.nodes[index];
        node.checked.now = self.now + node.ahead;
        let outputs = node.checked.input(input);
        self.act(index, outputs);
    }

    fn command(&mut self, index: usize, command: Command, deadline: u64) {
        let node = &mut self.nodes[index];
        if node.asleep_until.is_none() {
            node.checked.now = self.now + node.ahead;
            let deadline = node.checked.now + Duration::from_secs(deadline);
            let outputs = node.checked.command(command, deadline);
            self.act(index, outputs);
        }
    }

    fn link(&mut self, index: usize, up: bool) {
        let node = &mut self.nodes[index];
        if node.asleep_until.is_some() {
            return;
        }
        node.up = up;
        let hardware = node.hardware;
        self.input(
            index,
            Input::Link(Link { up, hardware_type: HardwareType::ETHERNET, hardware, mtu: 1_500 }),
        );
    }

    fn act(&mut self, index: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(Transmit::Arp { packet, .. }) => {
                    self.post(Delivery::Arp(index, packet), self.weather.lost < 20);
                }
                Output::Send(Transmit::Broadcast { message, .. }) => {
                    self.note(index, &message);
                    self.post(Delivery::Ask(index, None, message.emit()), false);
                }
                Output::Send(Transmit::Unicast { destination, message, .. }) => {
                    self.note(index, &message);
                    self.post(Delivery::Ask(index, Some(destination), message.emit()), false);
                }
                Output::Effect { id, effect } => {
                    if let Effect::Release(Transmit::Unicast { destination, message, .. }) = effect
                    {
                        self.post(Delivery::Ask(index, Some(destination), message.emit()), false);
                    }
                    self.post(Delivery::Result(index, id, Ok(())), true);
                }
                Output::Listen(_) | Output::Event(_) | Output::Reply { .. } => {}
            }
        }
    }

    fn note(&mut self, index: usize, message: &Message) {
        let kind = message.message_type();
        if matches!(kind, Some(MessageType::Discover | MessageType::Request)) {
            self.nodes[index].asked.push(self.now);
        }
    }

    /// Never two users of one address, as long as servers keep their books.
    fn check(&self) {
        if self.servers.iter().any(|s| self.servers.iter().filter(|o| o.pool == s.pool).count() > 1)
        {
            return;
        }
        let mut owners: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.asleep_until.is_some() {
                continue;
            }
            for (address, end) in &node.checked.addresses {
                if end.is_some_and(|end| end <= self.now + node.ahead) {
                    continue;
                }
                let other = owners.insert(*address, index);
                assert_eq!(other, None, "{address} is used twice");
            }
        }
    }

    fn heal(&mut self) {
        self.weather = CALM;
        for server in &mut self.servers {
            server.alive = true;
        }
        let far = Duration::from_secs(1);
        for node in &mut self.nodes {
            if node.asleep_until.is_some() {
                node.asleep_until = Some(self.now + far);
            }
        }
        self.run(Duration::from_secs(2));
        for index in 0..self.nodes.len() {
            if !self.nodes[index].up {
                self.link(index, true);
            }
            self.command(index, Command::Acquire, 30);
        }
    }
}

impl Server {
    fn new(number: u8, pool: u8, lease: u32, authoritative: bool) -> Self {
        Self {
            address: Ipv4Addr::new(10, 0, 0, number),
            pool,
            size: 20,
            lease,
            alive: true,
            authoritative,
            rapid: false,
            leases: BTreeMap::new(),
            declined: BTreeSet::new(),
        }
    }

    fn answer(&mut self, message: &Message, now: Instant) -> Option<Message> {
        let who = message.chaddr;
        let named = message.options.server_identifier();
        let requested = message.options.requested_address();
        match message.message_type()? {
            MessageType::Discover => {
                let address = self.choose(who, requested, now)?;
                if !self.rapid || !message.options.rapid_commit() {
                    return Some(self.reply(message, MessageType::Offer, address));
                }
                self.lease_to(address, who, now);
                Some(self.reply(message, MessageType::Ack, address))
            }
            MessageType::Request => {
                if named.is_some_and(|named| named != self.address) {
                    return None;
                }
                let address = requested.unwrap_or(message.ciaddr);
                let known = self.leases.get(&address).is_some_and(|(owner, _)| *owner == who);
                if self.is_free(address, who, now) && (named.is_some() || known) {
                    self.lease_to(address, who, now);
                    return Some(self.reply(message, MessageType::Ack, address));
                }
                let mut nak = self.reply(message, MessageType::Nak, Ipv4Addr::UNSPECIFIED);
                nak.options.set_message("not yours");
                (named.is_some() || self.authoritative).then_some(nak)
            }
            MessageType::Decline => {
                self.declined.extend(requested);
                None
            }
            MessageType::Release => {
                self.leases.remove(&message.ciaddr);
                None
            }
            _ => None,
        }
    }

    fn lease_to(&mut self, address: Ipv4Addr, who: HardwareAddress, now: Instant) {
        let end = now + Duration::from_secs(self.lease.into());
        self.leases.insert(address, (who, end));
    }

    fn is_free(&self, address: Ipv4Addr, who: HardwareAddress, now: Instant) -> bool {
        let [.., pool, last] = address.octets();
        let ours = pool == self.pool && (1..=self.size).contains(&last);
        let lease = self.leases.get(&address);
        let taken = lease.is_some_and(|(owner, end)| *owner != who && *end > now);
        ours && !taken && !self.declined.contains(&address)
    }

    fn choose(
        &self,
        who: HardwareAddress,
        requested: Option<Ipv4Addr>,
        now: Instant,
    ) -> Option<Ipv4Addr> {
        let held = self.leases.iter().find(|(_, (owner, _))| *owner == who);
        let all = (1..=self.size).map(|last| Ipv4Addr::new(10, 0, self.pool, last));
        held.map(|(address, _)| *address)
            .into_iter()
            .chain(requested)
            .chain(all)
            .find(|address| self.is_free(*address, who, now))
    }

    fn reply(&self, request: &Message, kind: MessageType, address: Ipv4Addr) -> Message {
        let mut reply = Message::reply_to(request);
        reply.yiaddr = address;
        let options = &mut reply.options;
        options.set_message_type(kind);
        options.set_server_identifier(self.address);
        if kind != MessageType::Nak {
            options.set_lease_time(self.lease).set_subnet_mask(16);
            options.set_routers(&[Ipv4Addr::new(10, 0, 0, 254)]);
            if request.options.rapid_commit() && kind == MessageType::Ack {
                options.set_rapid_commit();
            }
        }
        reply
    }
}

fn config(index: u64) -> Config {
    Config {
        conflict_detection: match index % 3 {
            0 => ConflictDetection::Off,
            1 => ConflictDetection::Background,
            _ => ConflictDetection::Strict,
        },
        link_local: index.is_multiple_of(4),
        offer_collection: Duration::from_millis(index % 2 * 300),
        ..Config::default()
    }
}

fn in_world(seed: u64, test: impl FnOnce(&mut World) + std::panic::UnwindSafe, mut world: World) {
    let test = std::panic::AssertUnwindSafe(|| test(&mut world));
    assert!(std::panic::catch_unwind(test).is_ok(), "seed {seed}");
}

#[test]
fn every_client_is_bound_when_the_network_is_healthy_again() {
    for seed in 0..200_u64 {
        let lease = [120, 300, 900][seed as usize % 3];
        let authoritative = seed.is_multiple_of(2);
        let servers =
            vec![Server::new(1, 1, lease, authoritative), Server::new(2, 2, lease, authoritative)];
        let world = World::new(seed, 5, &config, servers);
        in_world(seed, trouble, world);
    }
}

fn trouble(world: &mut World) {
    world.weather = ROUGH;
    for _ in 0..40 {
        let index = world.rng.below(world.nodes.len() as u64) as usize;
        match world.rng.below(13) {
            0..=2 => {
                let up = !world.nodes[index].up || world.rng.chance(1, 2);
                world.link(index, up);
            }
            3 | 4 => world.command(index, Command::Acquire, 30),
            5 => world.command(index, Command::Renew, 10),
            6 => world.command(index, Command::Release, 5),
            7 => {
                let longest = Duration::from_secs(2_000);
                let sleep = world.rng.duration(Duration::ZERO, longest);
                world.nodes[index].asleep_until.get_or_insert(world.now + sleep);
            }
            8 => {
                let server = world.rng.below(world.servers.len() as u64) as usize;
                world.servers[server].alive ^= true;
            }
            9 => {
                let address = world.nodes[index].checked.addresses.keys().next().copied();
                if let (Some(address), None) = (address, world.nodes[index].asleep_until) {
                    world.input(index, Input::AddressRemoved(address));
                }
            }
            10 => {
                let longest = Duration::from_secs(1_000);
                let jump = world.rng.duration(Duration::ZERO, longest);
                world.nodes[index].ahead += jump;
            }
            _ => {}
        }
        let pause = world.rng.duration(Duration::ZERO, Duration::from_secs(60));
        world.run(pause);
    }
    world.heal();
    world.run(Duration::from_secs(400));
    for node in &world.nodes {
        let client = &node.checked.client;
        assert!(client.state().has_lease(), "{:?}", client.state());
        let lease = client.lease().expect("bound");
        assert!(node.checked.addresses.contains_key(&lease.address));
        assert_eq!(node.checked.commands.len(), 0);
        assert!(node.checked.effects.len() <= 1, "{:?}", node.checked.effects);
        // One lease, one address: nothing was left behind.
        assert_eq!(node.checked.addresses.len(), 1, "{:?}", node.checked.addresses);
    }
}

#[test]
fn two_servers_with_one_pool_end_with_one_owner_of_each_address() {
    for seed in 0..60 {
        // Both hand out the same addresses and know nothing of each other.
        let servers = vec![Server::new(1, 1, 7_200, true), Server::new(2, 1, 7_200, true)];
        let detecting = |index: u64| Config {
            conflict_detection: match index % 2 {
                0 => ConflictDetection::Background,
                _ => ConflictDetection::Strict,
            },
            ..Config::default()
        };
        let world = World::new(seed, 8, &detecting, servers);
        in_world(
            seed,
            |world| {
                for index in 0..world.nodes.len() {
                    world.link(index, true);
                    world.command(index, Command::Acquire, 30);
                    let pause = world.rng.duration(Duration::ZERO, Duration::from_millis(300));
                    world.run(pause);
                }
                world.run(Duration::from_secs(900));
                let mut owners = BTreeSet::new();
                for node in &world.nodes {
                    assert!(node.checked.client.state().has_lease());
                    assert_eq!(node.checked.addresses.len(), 1);
                    for address in node.checked.addresses.keys() {
                        assert!(owners.insert(*address), "{address} has two owners");
                    }
                }
            },
            world,
        );
    }
}

#[test]
fn a_server_that_offers_and_refuses_makes_no_storm() {
    for seed in 0..20 {
        let mut server = Server::new(1, 1, 600, true);
        server.size = 1;
        let mut world = World::new(seed, 1, &|_| Config::default(), vec![server]);
        // The only address is another's by the time it is asked for.
        world.link(0, true);
        world.command(0, Command::Acquire, 30);
        for _ in 0..7_200 {
            let other = HardwareAddress::ethernet([2, 9, 9, 9, 9, 9]);
            let address = Ipv4Addr::new(10, 0, 1, 1);
            let asked = world.nodes[0].asked.len();
            let server = &mut world.servers[0];
            match asked % 2 {
                0 => server.leases.remove(&address),
                _ => server.leases.insert(address, (other, world.now + Duration::from_secs(9_999))),
            };
            world.run(Duration::from_millis(500));
        }
        let asked = world.nodes[0].asked.len();
        assert!((20..200).contains(&asked), "{asked} messages in an hour");
    }
}

#[test]
fn without_a_server_the_client_asks_on_the_schedule_of_the_rfc() {
    for seed in 0..50 {
        let mut world = World::new(seed, 1, &|_| Config::default(), Vec::new());
        world.link(0, true);
        world.command(0, Command::Acquire, 30);
        world.run(Duration::from_secs(600));
        let asked = &world.nodes[0].asked;
        let gaps: Vec<f64> = asked.windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
        for (gap, base) in
            gaps.iter().zip([4.0, 8.0, 16.0, 32.0].into_iter().chain([64.0].repeat(9)))
        {
            assert!((gap - base).abs() <= 1.0, "{gaps:?}");
        }
        assert!(gaps.len() >= 11);
    }
}
